//! The difference, over the fake kernel: chosen cases, then random lives.

use super::fake::{FakeKernel, FakeRoute, Fault};
use super::losses::{Level, Losses};
use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const CONFIG: FibConfig = FibConfig { rtproto: 220, table: 254, metric: 512, nexthop_id_base: 1000 };

fn p(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn hop(gateway: &str, ifindex: u32) -> NextHop {
    NextHop { gateway: gateway.parse().ok(), ifindex, through: None }
}

fn via(hops: &[NextHop]) -> Option<RouteTarget> {
    Some(RouteTarget::next_hops(hops.to_vec()))
}

fn open(kernel: FakeKernel) -> FibSync<FakeKernel> {
    FibSync::open(kernel, CONFIG).unwrap()
}

fn fresh() -> FibSync<FakeKernel> {
    open(FakeKernel::new(CONFIG))
}

fn flush(sync: &mut FibSync<FakeKernel>) -> Vec<FibResult> {
    let mut results = Vec::new();
    for _ in 0..200 {
        if sync.pending() == 0 {
            return results;
        }
        results.extend(sync.flush(3));
    }
    panic!("does not settle: {sync:?}");
}

/// What the kernel does with a prefix, through its objects and their buckets.
fn stands(kernel: &FakeKernel, prefix: Prefix) -> Option<RouteTarget> {
    let route = kernel.routes.get(&(prefix, CONFIG.metric)).filter(|r| r.protocol == CONFIG.rtproto)?;
    let object = kernel.nexthops.get(&route.nexthop_id?)?;
    let single = |id: &u32| match &kernel.nexthops.get(id)?.kind {
        NexthopKind::Single(h) => Some(*h),
        _ => None,
    };
    match &object.kind {
        NexthopKind::Single(h) => Some(RouteTarget::next_hops(vec![*h])),
        NexthopKind::Blackhole => Some(RouteTarget::Discard),
        NexthopKind::Resilient(group) => {
            let shape: Vec<_> =
                group.members.iter().map(|m| Some((single(&m.id)?, m.weight))).collect::<Option<_>>()?;
            let owned = |id: u32| kernel.buckets[&object.id].iter().filter(|o| **o == id).count() as u32;
            let owners: Vec<u32> = group.members.iter().map(|m| owned(m.id)).collect();
            let shares: Vec<u32> = form::shares(&shape, group.buckets).into_iter().map(|(_, n)| n).collect();
            assert_eq!(owners, shares, "{group:?}");
            Some(form::target_of(&shape))
        }
        NexthopKind::Group(_) | NexthopKind::Other => None,
    }
}

/// Where the kernel sends a prefix, none for a blackhole.
fn resolved(kernel: &FakeKernel, prefix: Prefix) -> Option<Vec<NextHop>> {
    stands(kernel, prefix).map(|t| t.active().iter().map(|h| h.hop).collect())
}

/// What a target means for packets: who gets how much, a backup nothing.
fn divided(target: &RouteTarget) -> Vec<(NextHop, u32)> {
    form::shares(&form::shape(target), form::BUCKETS)
}

/// To `active` while it lives, to `backup` else.
fn protected(active: NextHop, backup: NextHop) -> RouteTarget {
    RouteTarget::forward(vec![WeightedHop { hop: active, weight: 1 }], Some(backup))
}

#[test]
fn routes_with_the_same_next_hops_share_one_object_and_the_last_user_takes_it_away() {
    let mut sync = fresh();
    let (a, b) = (hop("192.0.2.1", 1), hop("fe80::1", 2));
    sync.set(p("198.51.100.0/24"), via(&[a, b]).as_ref(), 1);
    sync.set(p("203.0.113.0/24"), via(&[b, a, a]).as_ref(), 2);
    sync.set(p("2001:db8::/32"), via(&[b]).as_ref(), 3);
    let mut results = flush(&mut sync);
    results.sort_by_key(|r| r.cookie);
    assert_eq!(
        results.iter().map(|r| (r.cookie, r.result.is_ok())).collect::<Vec<_>>(),
        [(1, true), (2, true), (3, true)]
    );
    let kernel = sync.kernel_mut();
    assert_eq!(kernel.nexthops.len(), 4, "a single, two members and a group");
    assert_eq!(resolved(kernel, p("203.0.113.0/24")), Some(vec![a, b]));
    assert_eq!(resolved(kernel, p("2001:db8::/32")), Some(vec![b]));

    for prefix in ["198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"] {
        sync.set(p(prefix), None, 9);
    }
    assert_eq!(flush(&mut sync).len(), 3);
    assert!(sync.kernel_mut().nexthops.is_empty() && sync.kernel_mut().routes.is_empty());
    assert_eq!(sync.iter().count(), 0);
}

#[test]
fn a_change_makes_before_it_breaks_and_a_wanted_route_that_stands_costs_no_write() {
    let mut sync = fresh();
    let prefix = p("198.51.100.0/24");
    sync.set(prefix, via(&[hop("192.0.2.1", 1)]).as_ref(), 1);
    flush(&mut sync);
    let before = sync.kernel_mut().writes;
    sync.set(prefix, via(&[hop("192.0.2.1", 1)]).as_ref(), 2);
    let results = flush(&mut sync);
    assert_eq!((results.len(), results[0].cookie, sync.kernel_mut().writes), (1, 2, before));
    // One object, one route replaced, one object removed: never a moment without a route (a delete would be a write more).
    sync.set(prefix, via(&[hop("192.0.2.9", 1)]).as_ref(), 3);
    flush(&mut sync);
    assert_eq!(sync.kernel_mut().writes, before + 3);
    assert_eq!(resolved(sync.kernel_mut(), prefix), Some(vec![hop("192.0.2.9", 1)]));
    sync.set(prefix, Some(&RouteTarget::Discard), 4);
    flush(&mut sync);
    assert_eq!(resolved(sync.kernel_mut(), prefix), Some(vec![]));
}

#[test]
fn a_restart_adopts_without_a_write_and_the_sweep_takes_only_ours() {
    let mut sync = fresh();
    let (kept, gone, group) = (p("198.51.100.0/24"), p("203.0.113.0/24"), p("192.0.2.0/24"));
    let (a, b) = (hop("192.0.2.1", 1), hop("192.0.2.2", 2));
    sync.set(kept, via(&[a]).as_ref(), 1);
    sync.set(gone, via(&[b]).as_ref(), 2);
    sync.set(group, via(&[a, b]).as_ref(), 3);
    flush(&mut sync);
    let mut kernel = sync.kernel_mut().clone();
    let foreign = FakeRoute { protocol: 4, nexthop_id: None };
    kernel.routes.insert((p("2001:db8::/32"), 512), foreign);
    kernel.routes.insert((kept, 100), FakeRoute { protocol: 220, nexthop_id: None });
    kernel.writes = 0;

    let mut sync = open(kernel);
    assert!(sync.iter().all(|e| e.state == FibState::Stale));
    sync.set(kept, via(&[a]).as_ref(), 11);
    sync.set(group, via(&[b, a]).as_ref(), 12);
    assert_eq!(flush(&mut sync).iter().filter(|r| r.result.is_ok()).count(), 2);
    assert_eq!(sync.kernel_mut().writes, 0, "adopted as it stands");
    assert!(resolved(sync.kernel_mut(), gone).is_some(), "nothing goes before the sweep");
    assert_eq!(sync.sweep_stale(), 2, "one unclaimed, one of an earlier metric");
    assert!(flush(&mut sync).is_empty());
    let kernel = sync.kernel_mut();
    assert_eq!(kernel.routes.len(), 3, "{:?}", kernel.routes);
    assert_eq!(kernel.routes.get(&(p("2001:db8::/32"), 512)), Some(&foreign));
    assert_eq!(kernel.nexthops.len(), 4);
}

#[test]
fn another_programs_route_at_our_place_is_reported_and_left() {
    let mut kernel = FakeKernel::new(CONFIG);
    let prefix = p("198.51.100.0/24");
    let foreign = FakeRoute { protocol: 4, nexthop_id: None };
    kernel.routes.insert((prefix, 512), foreign);
    let mut sync = open(kernel);
    sync.set(prefix, via(&[hop("192.0.2.1", 1)]).as_ref(), 1);
    let results = flush(&mut sync);
    assert!(results[0].result.as_ref().is_err_and(|e| e.contains("another program")), "{results:?}");
    assert_eq!(sync.kernel_mut().routes.get(&(prefix, 512)), Some(&foreign));
    let report = sync.full_pass().unwrap();
    assert_eq!((report.foreign, report.clean()), (1, false));
    sync.kernel_mut().routes.clear();
    sync.full_pass().unwrap();
    assert!(flush(&mut sync).iter().any(|r| r.cookie == 1 && r.result.is_ok()), "told when it succeeds at last");
    assert!(sync.full_pass().unwrap().clean());
}

#[test]
fn a_foreign_object_with_our_next_id_is_stepped_around() {
    let mut sync = fresh();
    let foreign = NexthopObject { id: 1000, protocol: 4, afi: Some(Afi::IPV4), kind: NexthopKind::Blackhole };
    sync.kernel_mut().nexthops.insert(1000, foreign.clone());
    sync.set(p("198.51.100.0/24"), via(&[hop("192.0.2.1", 1)]).as_ref(), 1);
    let results = flush(&mut sync);
    assert!(results.iter().any(|r| r.result.is_ok()), "{results:?}");
    assert_eq!(sync.kernel_mut().nexthops.get(&1000), Some(&foreign));
    sync.set(p("198.51.100.0/24"), None, 2);
    flush(&mut sync);
    assert_eq!(sync.kernel_mut().nexthops.len(), 1, "ours went, the foreign one stays");
}

#[test]
fn a_dead_link_fails_its_routes_shrinks_its_groups_and_its_return_restores_both() {
    let mut sync = fresh();
    let (a, b) = (hop("192.0.2.1", 1), hop("192.0.2.2", 2));
    let (single, both) = (p("198.51.100.0/24"), p("203.0.113.0/24"));
    sync.set(single, via(&[b]).as_ref(), 1);
    sync.set(both, via(&[a, b]).as_ref(), 2);
    flush(&mut sync);
    sync.kernel_mut().link_down(2);
    sync.links_lost(&[2]);
    let results = flush(&mut sync);
    assert_eq!(results.len(), 1, "{results:?}");
    assert!(results[0].prefix == single && results[0].result.as_ref().is_err_and(|e| e.contains("not up")));
    assert_eq!(resolved(sync.kernel_mut(), both), Some(vec![a]), "the group forwards over what is left");
    assert_eq!(sync.get(&single).unwrap().state, FibState::Failed);
    sync.kernel_mut().link_up(2);
    sync.links_up(&[2]);
    let results = flush(&mut sync);
    assert!(results.iter().any(|r| r.cookie == 1 && r.result.is_ok()), "{results:?}");
    assert_eq!(resolved(sync.kernel_mut(), single), Some(vec![b]), "what has no other way does not wait");
    assert_eq!(resolved(sync.kernel_mut(), both), Some(vec![a]), "what has one does");
    sync.links_returned(&[2]);
    flush(&mut sync);
    assert_eq!(resolved(sync.kernel_mut(), both), Some(vec![a, b]));
    assert!(sync.full_pass().unwrap().clean());
}

#[test]
fn a_busy_kernel_is_asked_again_a_bounded_number_of_times() {
    let mut sync = fresh();
    let prefix = p("198.51.100.0/24");
    sync.set(prefix, Some(&RouteTarget::Discard), 1);
    // The object, then the route, each refused twice.
    let busy = Some(Fault::Errno(libc::ENOBUFS));
    sync.kernel_mut().faults.extend([busy, busy, None, busy]);
    assert!(flush(&mut sync)[0].result.is_ok());
    sync.set(prefix, None, 2);
    sync.kernel_mut().faults.extend([busy; 5]);
    let results = flush(&mut sync);
    assert!(results.len() == 1 && results[0].result.as_ref().is_err_and(|e| e.contains("given up")), "{results:?}");
    sync.full_pass().unwrap();
    assert!(flush(&mut sync)[0].result.is_ok());
    assert!(sync.kernel_mut().routes.is_empty());
}

#[test]
fn a_lost_answer_is_asked_for_again() {
    let mut sync = fresh();
    sync.kernel_mut().faults.extend([Some(Fault::LostAnswer), Some(Fault::LostAnswer)]);
    sync.set(p("198.51.100.0/24"), via(&[hop("192.0.2.1", 1)]).as_ref(), 1);
    let results = flush(&mut sync);
    assert!(results.len() == 1 && results[0].result.is_ok(), "{results:?}");
    assert_eq!(sync.kernel_mut().nexthops.len(), 1);
}

#[test]
fn wants_and_the_sweep_may_come_before_all_is_adopted() {
    let mut sync = fresh();
    let prefixes: Vec<Prefix> = (0..60u32).map(|i| Prefix::V4(0x0a00_0000 | i << 8, 24)).collect();
    for prefix in &prefixes {
        sync.set(*prefix, via(&[hop("192.0.2.1", 1)]).as_ref(), 1);
    }
    flush(&mut sync);
    let mut kernel = sync.kernel_mut().clone();
    kernel.writes = 0;
    let mut sync = FibSync::begin(kernel, CONFIG).unwrap();
    assert!(sync.adopting() && !sync.is_empty() && sync.len() < 60, "it is known that there are some: {}", sync.len());
    // Half of them from both sides, so known and yet unknown ones; one goes elsewhere, one is new.
    let other = via(&[hop("192.0.2.2", 1)]);
    for (i, prefix) in prefixes.iter().enumerate().filter(|(i, _)| *i < 15 || *i >= 45) {
        let want = if i == 50 { other.clone() } else { via(&[hop("192.0.2.1", 1)]) };
        sync.set(*prefix, want.as_ref(), 100 + i as u64);
    }
    sync.set(p("203.0.113.0/24"), other.as_ref(), 7);
    sync.sweep_stale();
    sync.flush(1000);
    assert_eq!(sync.kernel_mut().writes, 0, "nothing is written before all is read");
    while sync.adopting() {
        sync.step_pass().unwrap();
    }
    while sync.pending() > 0 {
        sync.flush(1000);
    }
    // An object, two routes on it, thirty routes that nobody wants.
    assert_eq!(sync.kernel_mut().writes, 1 + 2 + 30);
    assert_eq!(sync.len(), 31);
    assert_eq!(resolved(sync.kernel_mut(), prefixes[50]), Some(vec![hop("192.0.2.2", 1)]));
    assert_eq!(resolved(sync.kernel_mut(), prefixes[20]), None);
    assert!(sync.full_pass().unwrap().clean());
}

#[test]
fn a_pass_tells_apart_what_changed_before_it_and_what_we_did_meanwhile() {
    let mut sync = fresh();
    let prefixes: Vec<Prefix> = (0..40u32).map(|i| Prefix::V4(0x0a00_0000 | i << 8, 24)).collect();
    for prefix in &prefixes {
        sync.set(*prefix, via(&[hop("192.0.2.1", 1)]).as_ref(), 1);
    }
    flush(&mut sync);
    sync.sweep_stale();
    sync.kernel_mut().routes.remove(&(prefixes[0], 512));
    sync.begin_pass().unwrap();
    // What is read from now on is older than these.
    sync.set(prefixes[30], None, 2);
    sync.set(prefixes[31], via(&[hop("192.0.2.2", 1)]).as_ref(), 2);
    sync.set(p("203.0.113.0/24"), via(&[hop("192.0.2.1", 1)]).as_ref(), 2);
    flush(&mut sync);
    let writes = sync.kernel_mut().writes;
    let report = loop {
        if let Some(report) = sync.step_pass().unwrap() {
            break report;
        }
    };
    assert_eq!((report.missing, report.wrong, report.extra), (1, 0, 0), "{report:?}");
    flush(&mut sync);
    assert_eq!(sync.kernel_mut().writes, writes + 1);
    assert!(sync.full_pass().unwrap().clean());
}

#[test]
fn a_lost_removal_and_a_lost_replacement_end_as_wanted_last() {
    let mut sync = fresh();
    let (a, b) = (via(&[hop("192.0.2.1", 1)]), via(&[hop("192.0.2.2", 1)]));
    let prefix = p("198.51.100.0/24");
    sync.set(prefix, a.as_ref(), 1);
    sync.set(p("203.0.113.0/24"), b.as_ref(), 1);
    flush(&mut sync);
    // Replaced, but we do not know; then wanted as it was.
    sync.set(prefix, b.as_ref(), 2);
    sync.kernel_mut().faults.push_back(Some(Fault::LostAnswer));
    sync.flush(10);
    sync.set(prefix, a.as_ref(), 3);
    flush(&mut sync);
    assert_eq!(resolved(sync.kernel_mut(), prefix), Some(vec![hop("192.0.2.1", 1)]));
    sync.set(prefix, None, 4);
    sync.kernel_mut().faults.push_back(Some(Fault::LostAnswer));
    assert!(flush(&mut sync).iter().any(|r| r.cookie == 4 && r.result.is_ok()));
    assert!(sync.get(&prefix).is_none() && sync.full_pass().unwrap().clean());
}

fn many(n: u32) -> Vec<Prefix> {
    (0..n).map(|i| Prefix::V4(0x0a00_0000 | i << 8, 24)).collect()
}

fn set_all(sync: &mut FibSync<FakeKernel>, prefixes: &[Prefix], target: &RouteTarget) {
    prefixes.iter().for_each(|p| sync.set(*p, Some(target), 1));
}

/// Messages of each kind that `work` costs: objects put, deleted, routes put, deleted.
fn cost(sync: &mut FibSync<FakeKernel>, work: impl FnOnce(&mut FibSync<FakeKernel>)) -> [u64; 4] {
    let before = sync.counters();
    work(sync);
    let now = sync.counters();
    [
        now.nexthops_put - before.nexthops_put,
        now.nexthops_deleted - before.nexthops_deleted,
        now.routes_put - before.routes_put,
        now.routes_deleted - before.routes_deleted,
    ]
}

#[test]
fn a_lost_hop_costs_one_message_and_the_ribs_next_word_none_and_its_return_two() {
    let mut sync = fresh();
    sync.sweep_stale();
    let (a, b, c) = (hop("192.0.2.1", 1), hop("192.0.2.2", 2), hop("192.0.2.3", 3));
    let prefixes = many(500);
    set_all(&mut sync, &prefixes, &protected(a, b));
    flush(&mut sync);
    assert_eq!(cost(&mut sync, |s| s.hops_lost(&[a], LossReason::BfdDown)), [0, 1, 0, 0]);
    assert_eq!(resolved(sync.kernel_mut(), prefixes[7]), Some(vec![b]), "before a flush");
    assert_eq!(cost(&mut sync, |s| s.hops_lost(&[a], LossReason::SessionDown)), [0; 4]);
    // The RIB: over what is left, as a plain next hop.
    let told = cost(&mut sync, |s| {
        set_all(s, &prefixes, &via(&[b]).unwrap());
        assert_eq!(flush(s).iter().filter(|r| r.result.is_ok()).count(), 500);
    });
    assert_eq!(told, [0; 4]);
    // And with a new backup, in place.
    let told = cost(&mut sync, |s| {
        set_all(s, &prefixes, &protected(b, c));
        flush(s);
    });
    assert_eq!(told, [2, 0, 0, 0], "the new member, the group");
    assert_eq!(stands(sync.kernel_mut(), prefixes[9]), Some(protected(b, c)));
    sync.hops_returned(&[a], LossReason::SessionDown);
    flush(&mut sync);
    assert_eq!(stands(sync.kernel_mut(), prefixes[9]), Some(protected(b, c)), "one reason stands, and nobody asked");
    sync.hops_returned(&[a], LossReason::BfdDown);
    let told = cost(&mut sync, |s| {
        set_all(s, &prefixes, &protected(a, b));
        flush(s);
    });
    assert_eq!(told, [2, 1, 0, 0], "the member, the group, and what is not needed goes");
    assert_eq!(stands(sync.kernel_mut(), prefixes[9]), Some(protected(a, b)));
    assert!(sync.full_pass().unwrap().clean() && !sync.waiting());
}

#[test]
fn a_hop_that_returns_before_the_rib_has_spoken_is_taken_up_again() {
    let mut sync = fresh();
    sync.sweep_stale();
    let (a, b) = (hop("192.0.2.1", 1), hop("192.0.2.2", 2));
    let prefixes = many(50);
    set_all(&mut sync, &prefixes, &protected(a, b));
    flush(&mut sync);
    sync.hops_lost(&[a], LossReason::BfdDown);
    sync.hops_returned(&[a], LossReason::BfdDown);
    let told = cost(&mut sync, |s| drop(flush(s)));
    assert_eq!((told, stands(sync.kernel_mut(), prefixes[0])), ([2, 0, 0, 0], Some(protected(a, b))));
}

#[test]
fn where_only_some_ask_the_fewer_get_routes_of_their_own_and_nobody_is_sent_where_nobody_asked() {
    // At a cold start nobody sweeps: there is nothing that waits to be claimed.
    for (share, swept) in [(100, true), (400, true), (100, false), (400, false)] {
        let mut sync = fresh();
        if swept {
            sync.sweep_stale();
        }
        let (a, b) = (hop("192.0.2.1", 1), hop("192.0.2.2", 2));
        let prefixes = many(500);
        set_all(&mut sync, &prefixes, &protected(a, b));
        flush(&mut sync);
        sync.hops_lost(&[a], LossReason::SessionDown);
        set_all(&mut sync, &prefixes, &via(&[b]).unwrap());
        flush(&mut sync);
        sync.hops_returned(&[a], LossReason::SessionDown);
        set_all(&mut sync, &prefixes[..share], &protected(a, b));
        assert_eq!(cost(&mut sync, |s| drop(flush(s))), [0; 4], "it waits for the others");
        assert!(sync.waiting());
        sync.part();
        let told = cost(&mut sync, |s| {
            while s.pending() > 0 {
                s.flush(3);
                let kernel = s.kernel_mut();
                assert!(prefixes[share..].iter().all(|p| resolved(kernel, *p) == Some(vec![b])));
            }
        });
        assert_eq!(told[2], share.min(500 - share) as u64, "{told:?}");
        assert!(prefixes[..share].iter().all(|p| stands(sync.kernel_mut(), *p) == Some(protected(a, b))));
        assert!(!sync.waiting() && sync.full_pass().unwrap().clean());
    }
}

#[test]
fn the_last_hop_of_one_group_stays_and_other_groups_are_led_around_it() {
    let mut sync = fresh();
    sync.sweep_stale();
    let (a, b, c) = (hop("192.0.2.1", 1), hop("192.0.2.2", 2), hop("192.0.2.3", 3));
    let prefixes = many(2);
    sync.set(prefixes[0], Some(&protected(c, a)), 1);
    sync.set(prefixes[1], Some(&protected(a, b)), 1);
    flush(&mut sync);
    sync.hops_lost(&[c], LossReason::BfdDown);
    sync.hops_lost(&[a], LossReason::BfdDown);
    assert_eq!(resolved(sync.kernel_mut(), prefixes[1]), Some(vec![b]));
    assert!(resolved(sync.kernel_mut(), prefixes[0]).is_some(), "its route did not go");
    flush(&mut sync);
    sync.links_lost(&[1]);
    flush(&mut sync);
    assert_eq!(resolved(sync.kernel_mut(), prefixes[0]), Some(vec![c]), "rather a doubtful hop than a dead link");
}

#[test]
fn a_restart_adopts_a_shrunken_group_and_grows_it_in_place() {
    let mut sync = fresh();
    let (a, b) = (hop("192.0.2.1", 1), hop("192.0.2.2", 2));
    let prefixes = many(50);
    set_all(&mut sync, &prefixes, &protected(a, b));
    flush(&mut sync);
    sync.kernel_mut().link_down(1);
    let mut kernel = sync.kernel_mut().clone();
    kernel.link_up(1);
    let mut sync = open(kernel);
    let told = cost(&mut sync, |s| {
        set_all(s, &prefixes, &protected(a, b));
        flush(s);
        s.sweep_stale();
        flush(s);
    });
    assert_eq!(told, [2, 0, 0, 0]);
    assert_eq!(stands(sync.kernel_mut(), prefixes[3]), Some(protected(a, b)));
    assert!(sync.full_pass().unwrap().clean());
}

#[derive(Clone, Debug)]
enum Event {
    Set(usize, usize),
    SetAll(usize),
    Flush(usize),
    LinkDown(u32),
    LinkUp(u32),
    Told,
    Returned,
    HopsLost(usize, usize),
    HopsReturned(usize, usize),
    Part,
    LoseRoute(usize),
    LoseNexthop(usize),
    ForeignRoute(usize),
    Fault(u8),
    Pass,
    BeginPass,
    StepPass(usize),
    Blind(bool),
    /// Told after this many steps of the adoption; 0: adopted before anything else happens.
    Restart(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        8 => (0..8usize, 0..TARGETS).prop_map(|(p, t)| Event::Set(p, t)),
        3 => (0..TARGETS).prop_map(Event::SetAll),
        4 => (1..5usize).prop_map(Event::Flush),
        2 => (1..4u32).prop_map(Event::LinkDown),
        2 => (1..4u32).prop_map(Event::LinkUp),
        2 => Just(Event::Told),
        2 => Just(Event::Returned),
        3 => (0..4usize, 0..2usize).prop_map(|(h, r)| Event::HopsLost(h, r)),
        3 => (0..4usize, 0..2usize).prop_map(|(h, r)| Event::HopsReturned(h, r)),
        2 => Just(Event::Part),
        2 => (0..8usize).prop_map(Event::LoseRoute),
        2 => (0..8usize).prop_map(Event::LoseNexthop),
        1 => (0..8usize).prop_map(Event::ForeignRoute),
        2 => (0..4u8).prop_map(Event::Fault),
        1 => Just(Event::Pass),
        1 => Just(Event::BeginPass),
        4 => (1..40usize).prop_map(Event::StepPass),
        1 => any::<bool>().prop_map(Event::Blind),
        1 => (0..4usize).prop_map(Event::Restart),
    ];
    prop::collection::vec(event, 1..80)
}

fn prefixes() -> Vec<Prefix> {
    let texts = ["192.0.2.0/24", "198.51.100.0/24", "198.51.100.0/25", "203.0.113.0/24", "0.0.0.0/0"];
    texts.into_iter().chain(["2001:db8::/32", "2001:db8:1::/48", "::/0"]).map(p).collect()
}

const TARGETS: usize = 16;
const REASONS: [LossReason; 2] = [LossReason::BfdDown, LossReason::Drained];

/// Hop number `n` of a prefix; v6 prefixes get v6 gateways only.
fn gateway(v4: bool, n: u32) -> NextHop {
    match (v4, n) {
        (true, 1) => hop("192.0.2.1", 1),
        (true, 2) => hop("192.0.2.2", 2),
        (_, 0) => hop("", 1),
        (_, n) => hop("fe80::1", n),
    }
}

/// Target number `t` for a prefix.
fn target(prefix: Prefix, t: usize) -> Option<RouteTarget> {
    let gateway = |n: u32| gateway(prefix.is_v4(), n);
    type Numbers<'a> = (&'a [(u32, u16)], Option<u32>);
    let sets: [Numbers<'_>; TARGETS - 2] = [
        (&[(0, 1)], None),
        (&[(1, 1)], None),
        (&[(2, 1)], None),
        (&[(3, 1)], None),
        (&[(1, 1), (2, 1)], None),
        (&[(2, 1), (3, 3)], None),
        (&[(1, 1), (2, 1), (3, 1)], None),
        (&[(1, 1)], Some(2)),
        (&[(2, 1)], Some(1)),
        (&[(2, 1)], Some(3)),
        (&[(1, 1)], Some(3)),
        (&[(1, 1), (2, 1)], Some(3)),
        (&[(1, 50), (3, 1)], Some(2)),
        (&[(0, 1)], Some(2)),
    ];
    match t {
        0 => None,
        1 => Some(RouteTarget::Discard),
        n => {
            let (active, backup) = sets[n - 2];
            let active = active.iter().map(|(n, weight)| WeightedHop { hop: gateway(*n), weight: *weight }).collect();
            Some(RouteTarget::forward(active, backup.map(gateway)))
        }
    }
}

fn both_families(n: usize) -> Vec<NextHop> {
    [true, false].map(|v4| gateway(v4, n as u32)).to_vec()
}

fn live(events: Vec<Event>) {
    let mut kernel = FakeKernel::new(CONFIG);
    let foreign_hop = NexthopObject { id: 1002, protocol: 4, afi: Some(Afi::IPV4), kind: NexthopKind::Blackhole };
    kernel.nexthops.insert(1002, foreign_hop.clone());
    let foreign_route = FakeRoute { protocol: 4, nexthop_id: None };
    let mut foreign = BTreeSet::new();
    let mut sync = open(kernel);
    sync.sweep_stale();
    let prefixes = prefixes();
    let mut wants: BTreeMap<Prefix, RouteTarget> = BTreeMap::new();
    let mut last_word: BTreeMap<Prefix, (u64, Result<(), String>)> = BTreeMap::new();
    let mut cookie = 0;
    let mut cookies = BTreeMap::new();
    let mut losses = Losses::default();
    let mut note = |results: Vec<FibResult>| {
        for r in results {
            last_word.insert(r.prefix, (r.cookie, r.result));
        }
    };
    for event in events {
        match event {
            Event::Set(_, t) | Event::SetAll(t) => {
                let chosen = if let Event::Set(i, _) = event { i..i + 1 } else { 0..prefixes.len() };
                for prefix in &prefixes[chosen] {
                    let want = target(*prefix, t);
                    cookie += 1;
                    cookies.insert(*prefix, cookie);
                    sync.set(*prefix, want.as_ref(), cookie);
                    match want {
                        Some(w) => wants.insert(*prefix, w),
                        None => wants.remove(prefix),
                    };
                }
            }
            Event::HopsLost(n, r) => {
                both_families(n).into_iter().for_each(|h| _ = losses.lose(h, REASONS[r]));
                sync.hops_lost(&both_families(n), REASONS[r]);
            }
            Event::HopsReturned(n, r) => {
                both_families(n).into_iter().for_each(|h| _ = losses.regain(h, REASONS[r]));
                sync.hops_returned(&both_families(n), REASONS[r]);
            }
            Event::Part => sync.part(),
            Event::Returned => {
                let up: Vec<u32> = (1..4).filter(|l| !sync.kernel_mut().down.contains(l)).collect();
                up.iter().for_each(|l| losses.regain_link(*l));
                sync.links_returned(&up);
            }
            Event::Flush(n) => note(sync.flush(n)),
            Event::LinkDown(i) => {
                sync.kernel_mut().link_down(i);
            }
            Event::LinkUp(i) => sync.kernel_mut().link_up(i),
            Event::Told => {
                let (down, up): (Vec<u32>, Vec<u32>) = (1..4).partition(|l| sync.kernel_mut().down.contains(l));
                down.iter().for_each(|l| losses.lose_link(*l));
                up.iter().for_each(|l| losses.link_up(*l));
                sync.links_lost(&down);
                sync.links_up(&up);
            }
            Event::LoseRoute(i) => {
                let place = (prefixes[i], CONFIG.metric);
                if !foreign.contains(&place) {
                    sync.kernel_mut().routes.remove(&place);
                    // Every other one is announced.
                    if i % 2 == 0 {
                        sync.routes_removed(&[prefixes[i]]);
                    }
                }
            }
            Event::LoseNexthop(i) => {
                let ours = sync.kernel_mut().nexthops.keys().copied().filter(|id| *id != 1002).nth(i);
                ours.map(|id| sync.kernel_mut().remove_nexthop(id));
                if i % 2 == 0 {
                    sync.objects_changed();
                }
            }
            Event::ForeignRoute(i) => {
                let place = (prefixes[i], CONFIG.metric);
                if !sync.kernel_mut().routes.contains_key(&place) && sync.get(&prefixes[i]).is_none() {
                    sync.kernel_mut().routes.insert(place, foreign_route);
                    foreign.insert(place);
                }
            }
            Event::Fault(kind) => {
                let fault =
                    [Some(Fault::Errno(libc::ENOBUFS)), Some(Fault::Errno(libc::EBUSY)), Some(Fault::LostAnswer), None];
                sync.kernel_mut().faults.push_back(fault[usize::from(kind)]);
            }
            Event::Pass => {
                sync.full_pass().unwrap();
            }
            Event::BeginPass => sync.begin_pass().unwrap(),
            Event::StepPass(n) => {
                for _ in 0..n {
                    if sync.passing() {
                        sync.step_pass().unwrap();
                    }
                }
            }
            Event::Blind(blind) => sync.kernel_mut().blind = blind,
            Event::Restart(steps) => {
                let kernel = sync.kernel_mut().clone();
                sync = FibSync::begin(kernel, CONFIG).unwrap();
                losses = Losses::default();
                for _ in 1..steps {
                    sync.step_pass().unwrap();
                }
                while steps == 0 && sync.adopting() {
                    sync.step_pass().unwrap();
                }
                for (prefix, want) in &wants {
                    sync.set(*prefix, Some(want), cookies[prefix]);
                }
                sync.sweep_stale();
            }
        }
        assert_eq!(sync.kernel_mut().nexthops.get(&1002), Some(&foreign_hop), "a foreign object is left alone");
        for place in &foreign {
            assert_eq!(sync.kernel_mut().routes.get(place), Some(&foreign_route), "a foreign route is left alone");
        }
    }
    // Calm returns: first what is lost stays lost.
    let kernel = sync.kernel_mut();
    kernel.faults.clear();
    kernel.routes.retain(|place, _| !foreign.contains(place));
    let (down, up): (Vec<u32>, Vec<u32>) = (1..4).partition(|l| kernel.down.contains(l));
    while sync.passing() {
        sync.step_pass().unwrap();
    }
    down.iter().for_each(|l| losses.lose_link(*l));
    up.iter().for_each(|l| losses.regain_link(*l));
    sync.links_lost(&down);
    sync.links_returned(&up);
    note(settle(&mut sync));
    for prefix in &prefixes {
        let alive = |t: &RouteTarget| *t == RouteTarget::Discard || t.hops().any(|h| losses.level(&h) != Level::Dead);
        if wants.get(prefix).is_some_and(|t| !alive(t)) {
            continue;
        }
        let want = wants.get(prefix).map(|t| losses.left_of(t));
        let seen = stands(sync.kernel_mut(), *prefix).as_ref().map(divided);
        assert_eq!(seen, want.as_ref().map(divided), "{prefix} wants {:?}\n{sync:?}", wants.get(prefix));
    }
    // Then it returns.
    sync.kernel_mut().down.clear();
    for (n, reason) in (0..4).flat_map(|n| REASONS.map(|r| (n, r))) {
        sync.hops_returned(&both_families(n), reason);
    }
    sync.links_returned(&[1, 2, 3]);
    note(settle(&mut sync));
    let report = sync.full_pass().unwrap();
    assert!(report.clean(), "{report:?}\n{sync:?}");
    note(flush(&mut sync));
    for prefix in &prefixes {
        let seen = stands(sync.kernel_mut(), *prefix).as_ref().map(divided);
        assert_eq!(seen, wants.get(prefix).map(divided), "{prefix} {sync:?}");
        if wants.contains_key(prefix) {
            assert_eq!(last_word.get(prefix).map(|(c, r)| (*c, r.is_ok())), Some((cookies[prefix], true)), "{prefix}");
        }
    }
    assert_eq!(sync.iter().count(), wants.len());
    // Exactly the objects that are used, and as few as there can be.
    let kernel = sync.kernel_mut();
    let mut used: BTreeSet<u32> = kernel.routes.values().filter_map(|r| r.nexthop_id).collect();
    for object in kernel.nexthops.values().filter(|o| used.contains(&o.id)).cloned().collect::<Vec<_>>() {
        if let NexthopKind::Resilient(group) = &object.kind {
            used.extend(group.members.iter().map(|m| m.id));
        }
    }
    used.insert(1002);
    assert_eq!(kernel.nexthops.keys().copied().collect::<BTreeSet<_>>(), used);
}

/// Flushes to the end, with those parted that wait for one another.
fn settle(sync: &mut FibSync<FakeKernel>) -> Vec<FibResult> {
    let mut results = flush(sync);
    for _ in 0..20 {
        sync.full_pass().unwrap();
        results.extend(flush(sync));
        if !sync.waiting() {
            return results;
        }
        sync.part();
        results.extend(flush(sync));
    }
    panic!("waits for ever: {sync:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(2000), ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_the_kernel_ends_as_wanted(events in events()) {
        live(events);
    }
}
