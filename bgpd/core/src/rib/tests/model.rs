//! Whatever happened before, the Loc-RIB, the kernel and the neighbours' tables are those of the routes that are left:
//! against a naive model, and against the same RIB fed once.

use super::*;
use proptest::prelude::*;
use std::num::NonZeroU16;

/// 1 to 3 are eBGP, 7 and 8 are iBGP.
const PEERS: [u32; 5] = [1, 2, 3, 7, 8];
/// Destinations, then routes that carry the loopback 203.0.113.9 (these always have direct next hops).
const PREFIXES: [&str; 6] = [
    "198.51.100.128/28",
    "198.51.100.144/28",
    "198.51.100.128/25",
    "198.51.100.192/26",
    "203.0.113.8/29",
    "203.0.113.9/32",
];
const LOOPBACK: &str = "203.0.113.9";

#[derive(Clone, Debug)]
enum Op {
    Announce { peer: usize, prefix: usize, length: usize, group: u32, med: u32, recursive: bool },
    Withdraw { peer: usize, prefix: usize },
    Flap { peer: usize, retain: bool },
    Refresh { peer: usize },
    Link { ifindex: u32, up: bool },
    Kernel { answering: bool },
    Tidy { tidying: bool },
    Wants { joined: bool, most: u16, relax: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let (peer, prefix) = (0..PEERS.len(), 0..PREFIXES.len());
    prop_oneof![
        12 => (peer.clone(), prefix.clone(), 1usize..3, 0u32..2, 0u32..3, any::<bool>()).prop_map(
            |(peer, prefix, length, group, med, recursive)| Op::Announce { peer, prefix, length, group, med, recursive }
        ),
        5 => (peer.clone(), prefix).prop_map(|(peer, prefix)| Op::Withdraw { peer, prefix }),
        1 => (peer.clone(), any::<bool>()).prop_map(|(peer, retain)| Op::Flap { peer, retain }),
        1 => peer.prop_map(|peer| Op::Refresh { peer }),
        2 => (1u32..3, any::<bool>()).prop_map(|(ifindex, up)| Op::Link { ifindex, up }),
        2 => any::<bool>().prop_map(|answering| Op::Kernel { answering }),
        2 => any::<bool>().prop_map(|tidying| Op::Tidy { tidying }),
        2 => (any::<bool>(), 1u16..4, any::<bool>())
            .prop_map(|(joined, most, relax)| Op::Wants { joined, most, relax }),
    ]
}

type Held = BTreeMap<(u32, usize), Update>;

fn config(n: u32) -> NeighborConfig {
    neighbor(n, if n < 7 { Relation::Customer } else { Relation::Internal })
}

fn session(n: u32) -> PeerInfo {
    with_gr(info(n, &config(n)), true, false)
}

fn route(n: u32, prefix: usize, length: usize, group: u32, med: u32, recursive: bool) -> Update {
    let first = if n < 7 { 64500 + n } else { 64505 + group };
    let path: Vec<u32> = std::iter::once(first).chain([64510, 64511]).take(length).collect();
    let direct = if n < 7 { format!("198.51.100.{n}") } else { format!("192.0.2.{n}") };
    let next_hop = if recursive && n >= 7 && prefix < 4 { LOOPBACK.to_owned() } else { direct };
    announce(&[PREFIXES[prefix]], &next_hop, PathAttributes { med: Some(med), ..attrs(&path) })
}

fn links_up(up: [bool; 2]) -> ConnectedTable {
    let mut table = links();
    table.iter_mut().for_each(|c| c.up = up[c.ifindex as usize - 1]);
    table
}

fn lab() -> Lab {
    let mut lab = Lab::with(SpeakerConfig { wait_for_fib: true, ..speaker() }, false);
    PEERS.into_iter().for_each(|n| lab.up_with(session(n)));
    lab
}

/// Both interfaces in one duct or none, and so many paths.
fn config_of((joined, most, relax): (bool, u16, bool)) -> SpeakerConfig {
    let mut ducts = Ducts::default();
    if joined {
        ["eth1", "eth2"].into_iter().for_each(|i| drop(ducts.insert(i.to_owned(), "north".to_owned())));
    }
    let most = NonZeroU16::new(most).unwrap();
    let multipath = Multipath { ebgp: most, ibgp: most, relax_as_path: relax, link_bandwidth: false };
    SpeakerConfig { wait_for_fib: true, ducts, multipath, ..speaker() }
}

/// One usable path.
#[derive(Clone)]
struct Usable<'a> {
    n: u32,
    attributes: &'a PathAttributes,
    cost: u32,
    hop: ResolvedNextHop,
}

/// RFC 4271 §9.1 over a plain list, each step as a filter up to the interior cost; what is left by the identifier, which grows
/// with the number.
fn equals<'a>(mut usable: Vec<Usable<'a>>) -> Vec<Usable<'a>> {
    let length = |u: &Usable<'_>| u.attributes.as_path.asns().count();
    let shortest = usable.iter().map(length).min();
    usable.retain(|u| Some(length(u)) == shortest);
    let meds: Vec<_> = usable.iter().map(|u| (u.attributes.as_path.neighbor_as(), u.attributes.med)).collect();
    usable.retain(|u| {
        let (by, med) = (u.attributes.as_path.neighbor_as(), u.attributes.med);
        !meds.iter().any(|(other, less)| *other == by && *less < med)
    });
    let rest = |u: &Usable<'_>| (u.n >= 7, u.cost);
    let least = usable.iter().map(rest).min();
    usable.retain(|u| Some(rest(u)) == least);
    usable.sort_by_key(|u| u.n);
    usable
}

/// What the kernel should hold, from the list of usable paths.
fn target(usable: &[Usable<'_>], (joined, most, relax): (bool, u16, bool)) -> Option<FibTarget> {
    let equals_best = equals(usable.to_vec());
    let best = equals_best.first()?;
    let mut active: Vec<ResolvedNextHop> = Vec::new();
    for path in &equals_best {
        let alike = relax || path.attributes.as_path == best.attributes.as_path;
        if alike && !active.contains(&path.hop) && active.len() < usize::from(most) {
            active.push(path.hop);
        }
    }
    let others: Vec<Usable<'_>> = usable.iter().filter(|u| !active.contains(&u.hop)).cloned().collect();
    let apart = |u: &Usable<'_>| !joined && active.iter().all(|hop| hop.ifindex != u.hop.ifindex);
    let another_fate: Vec<Usable<'_>> = others.iter().filter(|u| apart(u)).cloned().collect();
    let backup = equals(another_fate).first().or(equals(others).first()).map(|u| u.hop);
    active.sort_unstable();
    let active = active.into_iter().map(|hop| WeightedNextHop { hop, weight: 1 }).collect();
    Some(FibTarget::Forward { active, backup })
}

/// The best path's sender and what the kernel should hold, with recursion one deep as `PREFIXES` says.
fn naive(held: &Held, up: [bool; 2], wants: (bool, u16, bool)) -> BTreeMap<usize, (u32, FibTarget)> {
    let mut all = BTreeMap::new();
    // The next hop of the best path.
    let mut leads: BTreeMap<usize, ResolvedNextHop> = BTreeMap::new();
    // Loopback carriers first: what hangs on them is decided after them.
    for prefix in [5, 4, 3, 2, 1, 0] {
        let mut usable = Vec::new();
        for ((n, _), update) in held.iter().filter(|((_, of), _)| *of == prefix) {
            let address = update.reach[0].next_hop;
            let link = if address == nh(LOOPBACK) {
                let through = Some(ip(LOOPBACK));
                leads.get(&5).or(leads.get(&4)).map(|hop| (1, ResolvedNextHop { through, ..*hop }))
            } else {
                let ifindex = if *n < 7 { 1 } else { 2 };
                let hop = ResolvedNextHop { gateway: Some(address.address()), ifindex, through: None };
                up[ifindex as usize - 1].then_some((0, hop))
            };
            usable.extend(link.map(|(cost, hop)| Usable { n: *n, attributes: &update.attributes, cost, hop }));
        }
        if let (Some(best), Some(target)) = (equals(usable.clone()).first(), target(&usable, wants)) {
            leads.insert(prefix, best.hop);
            all.insert(prefix, (best.n, target));
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn incremental_is_the_naive_model_and_from_scratch(ops in prop::collection::vec(op(), 1..80)) {
        let (mut at, mut held, mut up, mut wants) = (lab(), Held::new(), [true, true], (false, 1, false));
        for op in ops {
            match op {
                Op::Announce { peer, prefix, length, group, med, recursive } => {
                    let n = PEERS[peer];
                    let update = route(n, prefix, length, group, med, recursive);
                    held.insert((n, prefix), update.clone());
                    at.send(n, update);
                }
                Op::Withdraw { peer, prefix } => {
                    held.remove(&(PEERS[peer], prefix));
                    at.send(PEERS[peer], withdraw(&[PREFIXES[prefix]]));
                }
                Op::Flap { peer, retain } => {
                    // With retention everything but the first route comes again before End-of-RIB.
                    let n = PEERS[peer];
                    let families = vec![V4, V6];
                    at.down(n, retain.then_some(Retain { families, restart_time: Duration::from_secs(60) }));
                    at.up_with(session(n));
                    let mut first = true;
                    held.retain(|(of, _), update| {
                        let again = *of != n || retain && !std::mem::take(&mut first);
                        if *of == n && again {
                            at.send(n, update.clone());
                        }
                        again
                    });
                    at.send(n, end_of_rib(V4));
                }
                Op::Refresh { peer } => {
                    at.rib.route_refresh(at.now, PeerId(PEERS[peer]), RouteRefresh {
                        family: V4,
                        subtype: RouteRefreshSubtype::Request,
                    });
                    at.pump();
                }
                Op::Link { ifindex, up: is_up } => {
                    up[ifindex as usize - 1] = is_up;
                    at.rib.set_connected(at.now, links_up(up));
                    at.pump();
                }
                Op::Tidy { tidying } => at.tidying = tidying,
                Op::Wants { joined, most, relax } => {
                    wants = (joined, most, relax);
                    at.rib.set_speaker(at.now, config_of(wants));
                    at.pump();
                }
                Op::Kernel { answering } => {
                    at.answering = answering;
                    if answering {
                        at.answer_all();
                    }
                }
            }
        }
        at.answering = true;
        at.answer_all();

        let model = naive(&held, up, wants);
        for (index, prefix) in PREFIXES.iter().enumerate() {
            let ours = at.best_peer(prefix).zip(at.kernel.get(&p(prefix)).cloned());
            prop_assert_eq!(&ours, &model.get(&index).cloned(), "{} of {:?}", prefix, held);
        }

        // Nothing is forwarded over a next hop that the kernel was told to be gone.
        for target in at.kernel.values() {
            let hops = target.active().iter().map(|m| m.hop).chain(target.backup());
            prop_assert!(hops.into_iter().all(|hop| !at.gone.contains(&hop)), "{:?} of {:?}", target, at.hop_events);
        }

        // The same routes once, in the opposite order, the links as they ended up from the start.
        let mut scratch = lab();
        scratch.rib.set_speaker(scratch.now, config_of(wants));
        scratch.rib.set_connected(scratch.now, links_up(up));
        for ((n, _), update) in held.iter().rev() {
            scratch.send(*n, update.clone());
        }
        prop_assert_eq!(&at.kernel, &scratch.kernel);
        for n in PEERS {
            prop_assert_eq!(&at.told[&PeerId(n)].routes, &scratch.told[&PeerId(n)].routes, "told to {}", n);
            prop_assert_eq!(at.rib.neighbor_counts(PeerId(n)), {
                let mut counts = scratch.rib.neighbor_counts(PeerId(n));
                let ended = at.rib.neighbor_counts(PeerId(n));
                counts.iter_mut().zip(ended).for_each(|(c, e)| c.end_of_rib_received = e.end_of_rib_received);
                counts
            });
        }
        prop_assert_eq!(at.rib.summary(), scratch.rib.summary());

        // Nothing is left behind.
        for n in PEERS {
            at.down(n, None);
        }
        at.tidying = true;
        at.pump();
        prop_assert_eq!(at.rib.loc.table.len(), 0);
        prop_assert_eq!(at.rib.loc.fib.targets.len(), 1, "discard alone is left");
        let left = at.rib.summary();
        prop_assert_eq!((left.attribute_sets, left.next_hops, left.families[0].prefixes, left.families[0].paths), (0, 0, 0, 0));
        prop_assert!(at.kernel.is_empty());
    }
}
