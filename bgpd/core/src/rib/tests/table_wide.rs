//! Large tables: no call does more than its slice, what is said of many routes is said once, and how much they take.

use super::*;
use crate::rib::SLICE;

const ROUTES: u32 = 200_000;

fn prefix(n: u32) -> Prefix {
    Prefix::V4(0x1000_0000 + (n << 8), 24)
}

/// `n` routes in UPDATEs of `share` prefixes, each with an attribute set of its own.
fn fill(rib: &mut Rib, peer: u32, next_hop: &str, routes: u32, share: u32) {
    for first in (0..routes).step_by(share as usize) {
        let nlri = (first..(first + share).min(routes)).map(|n| Nlri { prefix: prefix(n), path_id: 0 }).collect();
        let mut attributes = attrs(&[64500 + peer, 3356, 1299, 200_000 + first % 50_000, first]);
        attributes.communities = [1, 2, 3].map(|c| bgp_wire::Community(first ^ c << 24)).into_iter().collect();
        attributes.communities.sort_unstable();
        let reach = [Reach { family: V4, next_hop: nh(next_hop), nlri }].into_iter().collect();
        let update = Update { reach, attributes, ..Update::default() };
        assert_eq!(rib.update(Monotime::from_secs(1), PeerId(peer), &update), None);
    }
    while !rib.poll_fib(1024).wants.is_empty() {}
}

/// A RIB with the same table from each of these neighbours; the least number's is the best.
fn table(routes: u32, share: u32, peers: &[u32]) -> Rib {
    let now = Monotime::from_secs(1);
    let mut rib = Rib::new(speaker(), now, false);
    rib.set_connected(now, links());
    for n in peers {
        rib.peer_up(now, with_gr(info(*n, &neighbor(*n, Relation::Customer)), true, false));
        fill(&mut rib, *n, &format!("198.51.100.{n}"), routes, share);
    }
    while rib.work(now) || rib.tidy() {}
    rib
}

/// Lets the sweep come to rest; the destinations looked at by each call, all together.
fn sweep(rib: &mut Rib) -> usize {
    let mut all = 0;
    loop {
        let before = rib.loc.looked;
        let more = rib.work(Monotime::from_secs(2));
        let looked = rib.loc.looked - before;
        // A look at each, and the decision of it.
        assert!(looked <= 2 * SLICE, "{looked} looks and decisions in one call");
        all += looked;
        while !rib.poll_fib(1024).wants.is_empty() {}
        if !more && !rib.tidy() {
            return all;
        }
    }
}

#[test]
fn no_event_looks_at_more_than_its_slice() {
    let mut rib = table(ROUTES, 10, &[1, 2]);
    let now = Monotime::from_secs(2);
    let config = neighbor(1, Relation::Customer);
    let better = NeighborConfig { local_pref: Some(200), ..config.clone() };
    let mut down = links();
    down.iter_mut().filter(|c| c.ifindex == 1).for_each(|c| c.up = false);
    let retain = Retain { families: vec![V4, V6], restart_time: Duration::from_secs(60) };
    type Event = Box<dyn Fn(&mut Rib)>;
    let events: [(&str, Event, usize); 9] = [
        ("session up", Box::new(move |r| r.peer_up(now, info(3, &neighbor(3, Relation::Customer)))), 0),
        ("restart", Box::new(move |r| r.peer_down(now, PeerId(1), Some(retain.clone()))), 0),
        (
            "back, nothing kept",
            Box::new(move |r| r.peer_up(now, info(1, &neighbor(1, Relation::Customer)))),
            ROUTES as usize,
        ),
        ("again", Box::new(|r| fill(r, 1, "198.51.100.1", 1000, 10)), 0),
        (
            "another policy",
            Box::new(move |r| r.peer_reconfigured(now, PeerId(2), Arc::new(better.clone()))),
            ROUTES as usize,
        ),
        ("link down", Box::new(move |r| r.set_connected(now, down.clone())), ROUTES as usize),
        ("link up", Box::new(move |r| r.set_connected(now, links())), ROUTES as usize),
        (
            "other speaker",
            Box::new(move |r| r.set_speaker(now, SpeakerConfig { local_as: Asn(64499), ..speaker() })),
            ROUTES as usize,
        ),
        ("session down", Box::new(move |r| r.peer_down(now, PeerId(2), None)), ROUTES as usize),
    ];
    for (what, event, least) in events {
        let before = rib.loc.looked;
        event(&mut rib);
        let at_once = rib.loc.looked - before;
        assert!(at_once <= 1000, "{what}: {at_once} destinations in the call itself");
        let all = sweep(&mut rib);
        // Twice round and a bit at most, a look and a decision each.
        assert!((least..=5 * ROUTES as usize).contains(&all), "{what}: {all} destinations in all");
    }
    assert_eq!(rib.summary().families[0].paths, 1000);
}

#[test]
fn rfc7313_4_a_transfer_s_marks_are_one_word_whatever_its_size() {
    let mut rib = table(ROUTES, 10, &[1]);
    let now = Monotime::from_secs(2);
    rib.update(now, PeerId(1), &end_of_rib(V4));
    let mark = |rib: &mut Rib, subtype| {
        let before = rib.loc.looked;
        rib.route_refresh(now, PeerId(1), RouteRefresh { family: V4, subtype });
        assert_eq!(rib.loc.looked, before);
    };
    mark(&mut rib, RouteRefreshSubtype::Begin);
    assert_eq!(sweep(&mut rib), 0);
    fill(&mut rib, 1, "198.51.100.1", ROUTES - 10, 10);
    mark(&mut rib, RouteRefreshSubtype::End);
    sweep(&mut rib);
    assert_eq!(rib.neighbor_counts(PeerId(1))[0].received, ROUTES as usize - 10);
    let purged = std::iter::from_fn(|| rib.poll_event()).find_map(|e| match e {
        RibEvent::StalePurged { count, .. } => Some(count),
        _ => None,
    });
    assert_eq!(purged, Some(10));
    // Stale as one, too: no look at a route, and each counts as stale.
    let before = rib.loc.looked;
    let retain = Retain { families: vec![V4], restart_time: Duration::from_secs(60) };
    rib.peer_down(now, PeerId(1), Some(retain));
    assert_eq!((rib.loc.looked, rib.neighbor_counts(PeerId(1))[0].stale), (before, ROUTES as usize - 10));
}

#[test]
fn nothing_is_left_of_a_table_that_went() {
    let mut rib = table(20_000, 3, &[1, 2]);
    let relationship = NeighborConfig { policy: PolicyMode::Relationship, ..neighbor(2, Relation::Peer) };
    rib.peer_reconfigured(Monotime::from_secs(2), PeerId(2), Arc::new(relationship));
    sweep(&mut rib);
    let counts = rib.neighbor_counts(PeerId(2))[0];
    // Changed, tagged and refused ones.
    assert!(counts.received == 20_000 && (1..20_000).contains(&counts.accepted), "{counts:?}");
    for n in [1, 2] {
        rib.peer_down(Monotime::from_secs(2), PeerId(n), None);
    }
    sweep(&mut rib);
    let summary = rib.summary();
    assert_eq!((summary.attribute_sets, summary.next_hops), (0, 0));
    assert_eq!((summary.families[0].prefixes, summary.families[0].paths), (0, 0));
    // Empty indexes and lists of chunks.
    assert!(rib.memory().total() < 128 * 1024, "{:?}", rib.memory());
}

#[test]
fn what_is_withdrawn_is_cleared_away_at_leisure_but_two_places_for_each_new_one() {
    const HALF: u32 = 20_000;
    let mut rib = table(HALF, 10, &[1]);
    let now = Monotime::from_secs(2);
    let nlri = |of: std::ops::Range<u32>| of.map(|n| Nlri { prefix: prefix(n), path_id: 0 }).collect();
    for first in (0..HALF).step_by(100) {
        let unreach = [Unreach { family: V4, nlri: nlri(first..first + 100) }].into_iter().collect();
        rib.update(now, PeerId(1), &Update { unreach, ..Update::default() });
        while !rib.poll_fib(1024).wants.is_empty() {}
    }
    assert_eq!((rib.summary().families[0].prefixes, rib.loc.table.len()), (0, HALF as usize));
    for first in (HALF..2 * HALF).step_by(100) {
        let reach = [Reach { family: V4, next_hop: nh("198.51.100.1"), nlri: nlri(first..first + 100) }];
        let update =
            Update { reach: reach.into_iter().collect(), attributes: attrs(&[64501, first]), ..Update::default() };
        rib.update(now, PeerId(1), &update);
        assert!(rib.loc.table.len() <= HALF as usize + 100);
    }
    assert_eq!(rib.loc.table.len(), HALF as usize);
    assert!(!rib.tidy());
}

#[test]
fn a_route_takes_so_many_octets() {
    // Three routes to an attribute set, as in a full feed.
    let (routes, share) = (ROUTES, 3);
    let one = table(routes, share, &[1]).memory();
    let each = |octets: usize| octets as f64 / f64::from(routes);
    println!("{:.1} octets a route: {one:?}", each(one.total()));
    assert!(each(one.destinations) < 32.5, "{one:?}");
    assert!(each(one.index) < 16.0, "{one:?}");
    assert!(each(one.attributes) * f64::from(share) < 105.0, "{one:?}");
    assert!(each(one.total()) < 86.0, "{:.1}: {one:?}", each(one.total()));
    // A second feed with attributes of its own pays for these and twelve octets.
    let two = table(routes, share, &[1, 2]).memory();
    assert!(each(two.further_paths) < 12.5, "{two:?}");
    // One that shares its attribute sets (a second session of the same neighbour) pays for the path alone; so does one
    // whose sets are shared by many routes.
    let (few, fewer) = (table(routes, 50, &[1]).memory(), table(routes, 50, &[1, 2]).memory());
    assert!(each(fewer.total() - few.total()) < 16.0, "{few:?} {fewer:?}");
}
