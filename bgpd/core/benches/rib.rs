//! The way of a route through the core, in bulk: octets to values, values into the RIB, the RIB to octets again.
//!
//! Each benchmark works on a generated table of IPv4 routes (`test_tables`, always the same; `ARTERE_BENCH_ROUTES` of them),
//! and the counter beside a time says routes a second. `tests/bench/instructions` runs each once and counts instructions.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bgp_core::config::{Ducts, Multipath, NeighborConfig, PolicyMode, Relation, SpeakerConfig};
use bgp_core::policy::SessionFacts;
use bgp_core::policy::import::Arrival;
use bgp_core::rib::decision::{KeySource, PathKey, decide};
use bgp_core::rib::{Connected, PeerId, PeerInfo, Retain, Rib};
use bgp_wire::message::{HEADER_LEN, MAX_LEN, decode, frame};
use bgp_wire::{Message, SessionContext, Update};
use divan::Bencher;
use divan::counter::ItemsCount;
use net_types::{Asn, Family, Monotime, Prefix, RouterId};
use test_tables::{Player, Table, generate_of};

const NOW: Monotime = Monotime(1_000_000_000_000);
/// The neighbour that takes routes.
const LISTENER: u8 = 9;
/// Octets a socket takes at a time.
const ROOM: usize = 64 << 10;

fn main() {
    divan::main();
}

/// What is timed: by this name the instruction count finds it.
#[inline(never)]
fn counted<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[allow(clippy::disallowed_methods, reason = "a bench is no core: it is told the size of its table")]
fn routes() -> usize {
    static ROUTES: LazyLock<usize> =
        LazyLock::new(|| std::env::var("ARTERE_BENCH_ROUTES").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000));
    *ROUTES
}

fn address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, n)
}

fn context(ebgp: bool) -> SessionContext {
    SessionContext { ebgp, four_octet_as: true, families: vec![Family::IPV4_UNICAST], ..SessionContext::initial() }
}

/// The table as neighbour `n` sends it.
fn octets(table: &Table, n: u8) -> Vec<u8> {
    let player = Player { first_as: Asn(64501), next_hop4: Some(address(n)), next_hop6: None };
    table.announcements(&player, &context(true)).unwrap_or_default().to_vec()
}

fn updates(mut bytes: &[u8]) -> Vec<Update> {
    let context = context(true);
    let mut all = Vec::new();
    while let Ok(Some(found)) = frame(bytes, MAX_LEN)
        && let Some((whole, rest)) = bytes.split_at_checked(found.len)
    {
        let body = whole.get(HEADER_LEN..).unwrap_or_default();
        if let Ok(Message::Update(update)) = decode(found.kind, black_box(body), &context) {
            all.push(update);
        }
        bytes = rest;
    }
    all
}

fn announced(n: u8) -> Vec<Update> {
    updates(&octets(&generate_of(routes(), 0, 1), n))
}

fn withdrawn() -> Vec<Update> {
    updates(&generate_of(routes(), 0, 1).withdrawals(&context(true)).unwrap_or_default())
}

fn speaker() -> SpeakerConfig {
    SpeakerConfig {
        local_as: Asn(64500),
        router_id: RouterId::from(u32::from(address(254))),
        lab: true,
        own_prefixes: vec![Prefix::V4(u32::from(Ipv4Addr::new(203, 0, 113, 0)), 24)],
        internal_prefixes: Vec::new(),
        cluster_id: None,
        selection_deferral: Duration::ZERO,
        max_med_on_startup: Duration::ZERO,
        wait_for_fib: false,
        ducts: Ducts::default(),
        multipath: Multipath::default(),
    }
}

fn rib() -> Rib {
    let mut rib = Rib::new(speaker(), NOW, false);
    let subnet = Prefix::V4(u32::from(address(0)), 24);
    let ifname = "eth0".to_owned();
    rib.set_connected(
        NOW,
        vec![Connected { ifindex: 1, ifname, prefix: subnet, address: address(254).into(), up: true }],
    );
    rib
}

/// Neighbour `n` comes up.
fn join(rib: &mut Rib, n: u8, relation: Relation, policy: PolicyMode) {
    let internal = relation.is_internal();
    // Feeders are of one AS, who listens of another: no loop.
    let remote_as = Asn(if internal {
        64500
    } else if n == LISTENER {
        64502
    } else {
        64501
    });
    let config = NeighborConfig::ordinary("n", IpAddr::V4(address(n)), remote_as, relation);
    rib.peer_up(
        NOW,
        PeerInfo {
            id: PeerId(n.into()),
            config: Arc::new(NeighborConfig { policy, export: n == LISTENER, ..config }),
            session: context(!internal),
            remote_as,
            bgp_identifier: RouterId::from(u32::from(address(n))),
            address: address(n).into(),
            local_address: address(254).into(),
            local_ipv4: Some(address(254)),
            local_ipv6: None,
            local_ipv6_link_local: None,
            ifindex: Some(1),
            peer_role: None,
            graceful_restart: None,
            enhanced_refresh: false,
        },
    );
}

/// Neighbour `n` sends these, and the kernel takes what comes of it.
fn feed(rib: &mut Rib, n: u8, updates: &[Update]) {
    for update in updates {
        rib.update(NOW, PeerId(n.into()), update);
        kernel(rib);
    }
    settle(rib);
}

fn kernel(rib: &mut Rib) {
    loop {
        let batch = rib.poll_fib(1024);
        if batch.wants.is_empty() {
            break;
        }
        rib.fib_results(batch.wants.iter().map(|w| (w.prefix, w.cookie, Ok(()))));
    }
    while rib.poll_event().is_some() {}
}

/// What is about the whole table, to its end.
fn settle(rib: &mut Rib) {
    while rib.work(NOW) || rib.tidy() {
        kernel(rib);
    }
    kernel(rib);
}

/// The listener takes all there is for it; octets.
fn pull(rib: &mut Rib) -> usize {
    let mut octets = 0;
    while let Some(id) = rib.poll_ready_peer() {
        while let Some(outgoing) = rib.next_updates(NOW, id, ROOM) {
            octets += black_box(outgoing.into_bytes()).len();
        }
    }
    octets
}

/// A RIB that `feeders` have filled with the same table.
fn filled(feeders: &[u8]) -> Rib {
    let mut rib = rib();
    for n in feeders {
        join(&mut rib, *n, Relation::Transit, PolicyMode::AcceptAll);
        feed(&mut rib, *n, &announced(*n));
    }
    rib
}

/// Times one pass of `work` over what `prepare` makes, a table's routes each.
fn bench<I, R>(b: Bencher<'_, '_>, prepare: impl Fn() -> I, work: impl Fn(I) -> R + Sync) {
    b.counter(ItemsCount::new(routes())).with_inputs(prepare).bench_local_values(|input| counted(|| work(input)));
}

/// Octets to values.
#[divan::bench]
fn decode_table(b: Bencher<'_, '_>) {
    bench(b, || octets(&generate_of(routes(), 0, 1), 1), |octets| updates(&octets));
}

/// What policy makes of each route of a transit, by itself: once a set, then each prefix.
#[divan::bench]
fn import_policy(b: Bencher<'_, '_>) {
    let speaker = speaker();
    let neighbor = NeighborConfig::ordinary("n", IpAddr::V4(address(1)), Asn(64501), Relation::Transit);
    let session = SessionFacts {
        peer: PeerId(1),
        remote_as: Asn(64501),
        bgp_identifier: RouterId::from(u32::from(address(1))),
        address: address(1).into(),
        local_address: address(254).into(),
        local_ipv4: Some(address(254)),
        local_ipv6: None,
        link_local: None,
        peer_role: None,
        context: context(true),
        enhanced_refresh: false,
        connected: vec![Prefix::V4(u32::from(address(0)), 24)],
    };
    bench(
        b,
        || announced(1),
        |updates| {
            for update in &updates {
                for reach in &update.reach {
                    let arrival = Arrival {
                        speaker: &speaker,
                        neighbor: &neighbor,
                        session: &session,
                        next_hop: &reach.next_hop,
                        attributes: &update.attributes,
                    };
                    let verdict = arrival.judge();
                    for nlri in &reach.nlri {
                        black_box(verdict.refuses(&arrival, &nlri.prefix));
                    }
                }
            }
            updates
        },
    );
}

/// The whole decision process over so many paths, by itself; the counter says decisions.
#[divan::bench(args = [2, 4, 10])]
fn best_path(b: Bencher<'_, '_>, paths: u8) {
    let updates = announced(1);
    let sets: Vec<Vec<PathKey>> = updates
        .windows(paths.into())
        .map(|window| {
            let key = |(n, update): (u8, &Update)| {
                let (address, identifier) = (address(n).into(), RouterId::from(u32::from(address(n))));
                let source = KeySource { peer: PeerId(n.into()), local: false, external: true, identifier, address };
                PathKey::new(&update.attributes, source, 0, 0, Asn(64500))
            };
            (1..).zip(window).map(key).collect()
        })
        .collect();
    let mut lost = Vec::new();
    b.counter(ItemsCount::new(sets.len())).bench_local(|| {
        for keys in &sets {
            black_box(decide(keys, &mut lost));
        }
    });
}

/// The first path of each prefix; intern, decide, want it in the kernel.
#[divan::bench(args = [PolicyMode::AcceptAll, PolicyMode::Relationship])]
fn insert(b: Bencher<'_, '_>, policy: PolicyMode) {
    let prepare = || {
        let mut rib = rib();
        join(&mut rib, 1, Relation::Transit, policy);
        (rib, announced(1))
    };
    bench(b, prepare, |(mut rib, updates)| {
        feed(&mut rib, 1, &updates);
        rib
    });
}

/// A second path of each prefix, which loses; no kernel table is kept.
#[divan::bench]
fn insert_worse(b: Bencher<'_, '_>) {
    let prepare = || {
        let mut rib = rib();
        rib.without_kernel();
        join(&mut rib, 1, Relation::Transit, PolicyMode::AcceptAll);
        feed(&mut rib, 1, &announced(1));
        join(&mut rib, 2, Relation::Transit, PolicyMode::AcceptAll);
        (rib, announced(2))
    };
    bench(b, prepare, |(mut rib, updates)| {
        feed(&mut rib, 2, &updates);
        rib
    });
}

/// A second path of each prefix, which loses and is wanted in the kernel as the backup.
#[divan::bench]
fn insert_backup(b: Bencher<'_, '_>) {
    let prepare = || {
        let mut rib = filled(&[1]);
        join(&mut rib, 2, Relation::Transit, PolicyMode::AcceptAll);
        (rib, announced(2))
    };
    bench(b, prepare, |(mut rib, updates)| {
        feed(&mut rib, 2, &updates);
        rib
    });
}

/// A third path of each prefix, which loses to both and changes nothing.
#[divan::bench]
fn insert_third(b: Bencher<'_, '_>) {
    let prepare = || {
        let mut rib = filled(&[1, 2]);
        join(&mut rib, 3, Relation::Transit, PolicyMode::AcceptAll);
        (rib, announced(3))
    };
    bench(b, prepare, |(mut rib, updates)| {
        feed(&mut rib, 3, &updates);
        rib
    });
}

/// A second path of each prefix, which wins.
#[divan::bench]
fn insert_better(b: Bencher<'_, '_>) {
    let prepare = || {
        let mut rib = filled(&[2]);
        join(&mut rib, 1, Relation::Transit, PolicyMode::AcceptAll);
        (rib, announced(1))
    };
    bench(b, prepare, |(mut rib, updates)| {
        feed(&mut rib, 1, &updates);
        rib
    });
}

/// The only path of each prefix is withdrawn.
#[divan::bench]
fn withdraw(b: Bencher<'_, '_>) {
    bench(
        b,
        || (filled(&[1]), withdrawn()),
        |(mut rib, updates)| {
            feed(&mut rib, 1, &updates);
            rib
        },
    );
}

/// The best of two neighbours leaves: each prefix is decided again.
#[divan::bench]
fn neighbor_leaves(b: Bencher<'_, '_>) {
    bench(
        b,
        || filled(&[1, 2]),
        |mut rib| {
            rib.peer_down(NOW, PeerId(1), None::<Retain>);
            settle(&mut rib);
            rib
        },
    );
}

/// A neighbour joins and takes the table: export policy, changes to the attributes, packing.
#[divan::bench(args = ["ebgp", "customer", "rr-client"])]
fn export(b: Bencher<'_, '_>, to: &str) {
    let (relation, policy) = match to {
        "ebgp" => (Relation::Transit, PolicyMode::AcceptAll),
        "customer" => (Relation::Customer, PolicyMode::Relationship),
        _ => (Relation::RrClient, PolicyMode::Relationship),
    };
    bench(
        b,
        || filled(&[1]),
        |mut rib| {
            join(&mut rib, LISTENER, relation, policy);
            assert!(pull(&mut rib) > routes(), "every route goes out");
            rib
        },
    );
}

/// A listener that has taken all of an empty table.
fn listening(mut rib: Rib) -> Rib {
    join(&mut rib, LISTENER, Relation::Transit, PolicyMode::AcceptAll);
    pull(&mut rib);
    rib
}

/// What came while a neighbour listened, as it takes it.
#[divan::bench]
fn export_news(b: Bencher<'_, '_>) {
    let prepare = || {
        let mut rib = rib();
        join(&mut rib, 1, Relation::Transit, PolicyMode::AcceptAll);
        rib = listening(rib);
        feed(&mut rib, 1, &announced(1));
        rib
    };
    bench(b, prepare, |mut rib| {
        assert!(pull(&mut rib) > 4 * routes(), "every route goes out");
        rib
    });
}

/// What was withdrawn while a neighbour listened, as it takes it.
#[divan::bench]
fn export_withdraw(b: Bencher<'_, '_>) {
    let prepare = || {
        let mut rib = listening(filled(&[1]));
        feed(&mut rib, 1, &withdrawn());
        rib
    };
    bench(b, prepare, |mut rib| {
        assert!(pull(&mut rib) > 3 * routes(), "every route goes");
        rib
    });
}

/// One route a message, by another path than before, told to a neighbour before the next comes.
#[divan::bench]
fn churn(b: Bencher<'_, '_>) {
    let prepare = || {
        let alone = |u: &Update| {
            let mut attributes = u.attributes.clone();
            attributes.as_path = attributes.as_path.prepend(Asn(64501), 1);
            let one = |n| Update {
                reach: u.reach.iter().map(|r| bgp_wire::Reach { nlri: vec![n], ..r.clone() }).collect(),
                attributes: attributes.clone(),
                ..u.clone()
            };
            u.reach.iter().flat_map(|r| r.nlri.clone()).map(one).collect::<Vec<_>>()
        };
        let single: Vec<Update> = announced(1).iter().flat_map(alone).collect();
        (listening(filled(&[1])), single)
    };
    bench(b, prepare, |(mut rib, updates)| {
        for update in &updates {
            rib.update(NOW, PeerId(1), update);
            kernel(&mut rib);
            assert!(pull(&mut rib) > 0, "it is told");
        }
        rib
    });
}
