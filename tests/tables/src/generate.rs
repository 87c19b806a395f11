//! A table out of a seed: the same arguments give the same bytes, on any machine.
//!
//! Prefixes look like the public Internet's (unicast space without special-purpose blocks; the length mix of a full
//! table, nothing longer than /24 or /48), so that filters see what they will see in life. AS numbers are documentation
//! ones (RFC 5398) only, without those that the labs give to real neighbours.

use super::Table;
use bgp_wire::{AsPath, Community, Origin, PathAttributes};
use net_types::{Asn, Prefix, bogon_prefix};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// (length, share in a thousand), after full tables of route collectors.
const V4_LENGTHS: [(u8, u32); 9] =
    [(24, 590), (23, 100), (22, 120), (21, 50), (20, 50), (19, 35), (18, 18), (17, 9), (16, 28)];
const V6_LENGTHS: [(u8, u32); 9] =
    [(48, 480), (47, 20), (46, 40), (44, 100), (40, 100), (36, 50), (34, 10), (33, 20), (32, 180)];
/// How far from the origin: path lengths 1 to 5, share in a thousand.
const PATH_LENGTHS: [(u8, u32); 5] = [(1, 40), (2, 300), (3, 400), (4, 190), (5, 70)];
/// Routes that share one set of attributes, on average.
const SHARING: usize = 6;

/// AS numbers that may stand in a generated path.
fn path_asns() -> Vec<Asn> {
    (64496..=64499).chain(64505..=64509).chain(65536..=65551).map(Asn).collect()
}

/// `count` routes, one in four of them IPv6.
pub fn generate(count: usize, seed: u64) -> Table {
    generate_of(count - count / 4, count / 4, seed)
}

/// So many routes of each family.
pub fn generate_of(v4: usize, v6: usize, seed: u64) -> Table {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut table = Table::default();
    let mut seen = HashSet::new();
    for (wanted, v4) in [(v4, true), (v6, false)] {
        let mut left = wanted;
        while left > 0 {
            let attributes = attributes(&mut rng);
            let run = (1 + below(&mut rng, 2 * SHARING as u32 - 1) as usize).min(left);
            for _ in 0..run {
                let prefix = fresh(&mut rng, v4, &mut seen);
                table.add(attributes.clone(), prefix);
            }
            left -= run;
        }
    }
    table
}

fn fresh(rng: &mut ChaCha8Rng, v4: bool, seen: &mut HashSet<Prefix>) -> Prefix {
    loop {
        let (len, addr) = if v4 {
            (pick(rng, &V4_LENGTHS), IpAddr::V4(Ipv4Addr::from(rng.next_u32())))
        } else {
            // 2000::/3 is all that IANA gives out as global unicast; the registries' blocks begin with these.
            let blocks = [0x2001_u16, 0x2400, 0x2600, 0x2800, 0x2a00, 0x2c00];
            let block = blocks.get(below(rng, blocks.len() as u32) as usize).copied().unwrap_or(0x2a00);
            let low = (u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())) >> 16;
            let spread = if block == 0x2001 { 0 } else { u128::from(below(rng, 16)) << 112 };
            (pick(rng, &V6_LENGTHS), IpAddr::V6(Ipv6Addr::from(u128::from(block) << 112 | spread | low)))
        };
        let Ok(prefix) = Prefix::new(addr, len) else { continue };
        // Documentation space is the lab's own; it must not come from outside by chance either.
        if bogon_prefix(&prefix, false).is_none() && seen.insert(prefix) {
            return prefix;
        }
    }
}

fn attributes(rng: &mut ChaCha8Rng) -> PathAttributes {
    let pool = path_asns();
    let mut path: Vec<Asn> = Vec::new();
    let hops = usize::from(pick(rng, &PATH_LENGTHS));
    while path.len() < hops {
        let Some(asn) = pool.get(below(rng, pool.len() as u32) as usize).copied() else { break };
        if !path.contains(&asn) {
            path.push(asn);
        }
    }
    // One origin in eight prepends itself.
    if below(rng, 8) == 0
        && let Some(last) = path.last().copied()
    {
        path.extend(std::iter::repeat_n(last, 1 + below(rng, 2) as usize));
    }
    let mut communities = Vec::new();
    if below(rng, 10) < 6 {
        for _ in 0..=below(rng, 3) {
            communities.push(Community((64505 + below(rng, 5)) << 16 | below(rng, 1000)));
        }
        communities.sort_unstable();
        communities.dedup();
    }
    let origin = match below(rng, 20) {
        0 => Origin::Incomplete,
        _ => Origin::Igp,
    };
    let med = (below(rng, 8) == 0).then(|| below(rng, 200));
    PathAttributes {
        origin,
        as_path: AsPath::sequence(path),
        med,
        communities: communities.into(),
        ..PathAttributes::default()
    }
}

/// A number below `n`; the bias of the remainder does not matter here.
fn below(rng: &mut ChaCha8Rng, n: u32) -> u32 {
    rng.next_u32() % n.max(1)
}

fn pick(rng: &mut ChaCha8Rng, shares: &[(u8, u32)]) -> u8 {
    let mut at = below(rng, shares.iter().map(|s| s.1).sum());
    for &(value, share) in shares {
        if at < share {
            return value;
        }
        at -= share;
    }
    shares.first().map_or(0, |s| s.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use net_types::bogon_asn;

    #[test]
    fn same_seed_same_table_and_another_seed_another() {
        let table = generate(2_000, 1);
        assert_eq!(table, generate(2_000, 1));
        assert_ne!(table, generate(2_000, 2));
        assert_eq!(table.count(), (1_500, 500));
    }

    #[test]
    fn the_table_looks_like_the_internet_and_names_nobody() {
        let table = generate(20_000, 1);
        assert_eq!(table.count(), (15_000, 5_000));
        let mut seen = HashSet::new();
        let mut longest = (0, 0);
        for (a, prefixes) in &table.groups {
            assert!((1..=7).contains(&a.as_path.decision_len()), "{}", a.as_path);
            assert!(a.as_path.asns().all(|n| bogon_asn(n, true).is_none() && bogon_asn(n, false).is_some()));
            assert!(!a.as_path.asns().any(|n| (64500..=64504).contains(&n.0) || n.0 >= 64510 && n.0 <= 64511));
            for p in prefixes {
                assert!(bogon_prefix(p, false).is_none(), "{p}");
                assert!(if p.is_v4() { (16..=24).contains(&p.len()) } else { (32..=48).contains(&p.len()) }, "{p}");
                assert!(seen.insert(*p), "{p} twice");
                if p.is_v4() && p.len() == 24 {
                    longest.0 += 1;
                } else if p.len() == 48 {
                    longest.1 += 1;
                }
            }
        }
        // Small blocks fill up (there are only so many /16), so the mix is checked loosely.
        assert!(longest.0 > 7_500 && longest.1 > 2_000, "{longest:?}");
    }
}
