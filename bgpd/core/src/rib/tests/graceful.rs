//! RFC 4724 on both sides, RFC 7313.

use super::*;

fn retain(seconds: u64) -> Option<Retain> {
    Some(Retain { families: vec![V4, V6], restart_time: Duration::from_secs(seconds) })
}

/// Neighbour 1 (with Graceful Restart) has sent two routes and its End-of-RIB, 2 listens; then 1 goes down.
fn restarted() -> Lab {
    let mut lab = Lab::new();
    lab.up_with(with_gr(info(1, &neighbor(1, Relation::Transit)), true, false));
    lab.up(2, Relation::Customer);
    lab.announce(1, "198.51.100.128/28", &[64501]);
    lab.announce(1, "198.51.100.144/28", &[64501]);
    lab.send(1, end_of_rib(V4));
    lab.send(1, end_of_rib(V6));
    lab.down(1, retain(120));
    lab
}

fn stale(lab: &Lab, n: u32) -> usize {
    lab.rib.neighbor_counts(PeerId(n))[0].stale
}

#[test]
fn without_graceful_restart_routes_go_with_the_session() {
    let mut lab = Lab::new();
    lab.up(1, Relation::Transit);
    lab.up(2, Relation::Customer);
    lab.announce(1, "198.51.100.128/28", &[64501]);
    lab.down(1, None);
    assert!(!lab.told(2, "198.51.100.128/28") && lab.kernel.is_empty());
    assert_eq!(lab.rib.summary().attribute_sets, 0);
    assert_eq!(lab.rib.summary().next_hops, 0);
}

#[test]
fn rfc4724_4_2_stale_routes_stay_in_use() {
    let lab = restarted();
    assert_eq!(stale(&lab, 1), 2);
    assert!(lab.told(2, "198.51.100.128/28") && lab.told(2, "198.51.100.144/28"));
    assert_eq!(lab.told[&PeerId(2)].withdrawals, 0);
    assert_eq!(lab.kernel.len(), 2);
    assert!(lab.best("198.51.100.128/28").unwrap().stale);
}

#[test]
fn rfc4724_4_2_stale_purged_at_restart_time() {
    let mut lab = restarted();
    lab.sleep(119);
    assert_eq!(stale(&lab, 1), 2);
    lab.sleep(2);
    assert!(!lab.told(2, "198.51.100.128/28") && lab.kernel.is_empty());
    assert!(lab.events.iter().any(|e| matches!(e, RibEvent::StalePurged { peer: PeerId(1), count: 2, .. })));
    assert_eq!(lab.rib.poll_timeout(), None);
}

#[test]
fn rfc4724_4_2_stale_purged_at_eor() {
    let mut lab = restarted();
    lab.up_with(with_gr(info(1, &neighbor(1, Relation::Transit)), true, true));
    assert_eq!(stale(&lab, 1), 2);
    lab.announce(1, "198.51.100.128/28", &[64501]);
    assert_eq!(stale(&lab, 1), 1);
    lab.send(1, end_of_rib(V6));
    assert_eq!(stale(&lab, 1), 1, "another family's End-of-RIB");
    lab.send(1, end_of_rib(V4));
    assert!(lab.told(2, "198.51.100.128/28") && !lab.told(2, "198.51.100.144/28"));
    assert_eq!(lab.told[&PeerId(2)].withdrawals, 1);
    assert_eq!(lab.rib.poll_timeout(), None);
}

#[test]
fn rfc4724_4_2_stale_purged_when_forwarding_state_was_lost() {
    for back in
        [with_gr(info(1, &neighbor(1, Relation::Transit)), false, true), info(1, &neighbor(1, Relation::Transit)), {
            let mut without_family = with_gr(info(1, &neighbor(1, Relation::Transit)), true, true);
            without_family.session.families = vec![V6];
            without_family
        }]
    {
        let mut lab = restarted();
        lab.up_with(back);
        assert!(!lab.told(2, "198.51.100.128/28") && lab.kernel.is_empty());
    }
}

#[test]
fn rfc4724_4_2_a_second_restart_removes_what_was_still_stale() {
    let mut lab = restarted();
    lab.up_with(with_gr(info(1, &neighbor(1, Relation::Transit)), true, true));
    lab.announce(1, "198.51.100.128/28", &[64501]);
    lab.down(1, retain(120));
    assert!(lab.told(2, "198.51.100.128/28") && !lab.told(2, "198.51.100.144/28"));
    assert_eq!(stale(&lab, 1), 1);
}

#[test]
fn rfc4724_4_2_no_end_of_rib_for_ever_is_bounded() {
    let mut lab = restarted();
    lab.up_with(with_gr(info(1, &neighbor(1, Relation::Transit)), true, true));
    lab.sleep(crate::rib::graceful::STALE_WAIT.as_secs() + 1);
    assert!(lab.kernel.is_empty());
}

#[test]
fn rfc4724_4_2_only_families_named_are_kept() {
    let mut lab = restarted();
    lab.up_with(with_gr(info(1, &neighbor(1, Relation::Transit)), true, true));
    lab.send(1, announce(&["2001:db8:900::/48"], "2001:db8:1::1", attrs(&[64501])));
    lab.down(1, Some(Retain { families: vec![V6], restart_time: Duration::from_secs(5) }));
    assert_eq!(lab.kernel.len(), 1);
    assert!(lab.told(2, "2001:db8:900::/48") && !lab.told(2, "198.51.100.128/28"));
}

/// A restarted speaker with neighbours 1 and 2 configured.
fn restarting() -> Lab {
    let mut lab = Lab::with(SpeakerConfig { wait_for_fib: true, ..speaker() }, true);
    for n in [1, 2] {
        lab.rib.peer_configured(PeerId(n), Arc::new(neighbor(n, Relation::Transit)));
    }
    lab
}

fn complete(lab: &Lab) -> Vec<bool> {
    let of = |e: &RibEvent| match e {
        RibEvent::RestartComplete { deferral_expired } => Some(*deferral_expired),
        _ => None,
    };
    lab.events.iter().filter_map(of).collect()
}

#[test]
fn rfc4724_4_1_first_decision_waits_for_end_of_rib_of_all() {
    let mut lab = restarting();
    lab.rib.set_announcements(lab.now, BTreeSet::from([p("203.0.113.0/24")]));
    lab.up_with(with_gr(info(1, &neighbor(1, Relation::Transit)), true, false));
    lab.announce(1, "198.51.100.128/28", &[64501]);
    lab.send(1, end_of_rib(V4));
    lab.send(1, end_of_rib(V6));
    assert!(lab.rib.summary().restarting && lab.kernel.is_empty());
    assert!(lab.rib.explain_route(&p("198.51.100.128/28")).unwrap().forwarding.contains("§4.1"));
    lab.up_with(with_gr(info(2, &neighbor(2, Relation::Transit)), true, false));
    lab.announce(2, "198.51.100.128/28", &[64502]);
    lab.send(2, end_of_rib(V4));
    assert!(
        lab.kernel.is_empty() && lab.told[&PeerId(1)].routes.is_empty() && lab.told[&PeerId(1)].end_of_rib.is_empty()
    );
    assert_eq!(complete(&lab), []);
    lab.answering = false;
    lab.send(2, end_of_rib(V6));
    assert!(!lab.rib.summary().restarting);
    assert_eq!(lab.kernel.len(), 2);
    assert_eq!(complete(&lab), [false]);
    // End-of-RIB makes the neighbour drop what we have not repeated: it waits for the kernel.
    assert!(lab.told[&PeerId(1)].end_of_rib.is_empty() && lab.told[&PeerId(1)].routes.is_empty());
    lab.answer_all();
    assert_eq!(lab.told[&PeerId(1)].end_of_rib, BTreeSet::from([V4, V6]));
    assert!(lab.told(1, "203.0.113.0/24"));
}

#[test]
fn rfc4724_4_1_deferral_timer_ends_the_wait() {
    let mut lab = restarting();
    lab.up_with(with_gr(info(1, &neighbor(1, Relation::Transit)), true, false));
    lab.announce(1, "198.51.100.128/28", &[64501]);
    lab.send(1, end_of_rib(V4));
    lab.send(1, end_of_rib(V6));
    lab.sleep(119);
    assert!(lab.kernel.is_empty(), "2 is not up: pending");
    lab.sleep(2);
    assert_eq!(lab.kernel.len(), 1);
    assert_eq!(complete(&lab), [true]);
    assert_eq!(lab.told[&PeerId(1)].end_of_rib, BTreeSet::from([V4, V6]));
}

#[test]
fn rfc4724_4_1_neighbours_that_restarted_too_or_know_no_gr_are_not_waited_for() {
    let mut lab = restarting();
    lab.up_with(with_gr(info(1, &neighbor(1, Relation::Transit)), true, true));
    assert!(lab.rib.summary().restarting);
    lab.up(2, Relation::Transit);
    assert!(!lab.rib.summary().restarting);
    assert_eq!(complete(&lab), [false]);
}

#[test]
fn rfc4724_4_1_disabled_and_removed_neighbours_are_not_waited_for() {
    let mut lab = restarting();
    let mut disabled = neighbor(3, Relation::Transit);
    disabled.enabled = false;
    lab.rib.peer_configured(PeerId(3), Arc::new(disabled));
    lab.up_with(with_gr(info(1, &neighbor(1, Relation::Transit)), true, false));
    lab.send(1, end_of_rib(V4));
    lab.send(1, end_of_rib(V6));
    assert!(lab.rib.summary().restarting);
    lab.rib.peer_removed(lab.now, PeerId(2));
    lab.pump();
    assert_eq!(complete(&lab), [false]);
}

#[test]
fn rfc4724_4_1_end_of_rib_waits_no_longer_than_a_minute_for_the_kernel() {
    let mut lab = restarting();
    lab.answering = false;
    lab.up(1, Relation::Transit);
    lab.announce(1, "198.51.100.128/28", &[64501]);
    lab.up(2, Relation::Transit);
    assert!(!lab.rib.summary().restarting && lab.told[&PeerId(1)].end_of_rib.is_empty());
    lab.sleep(crate::rib::graceful::FIRST_WANTS_WAIT.as_secs() + 1);
    assert_eq!(lab.told[&PeerId(1)].end_of_rib, BTreeSet::from([V4, V6]));
}

#[test]
fn rfc4724_4_1_end_of_rib_waits_for_the_first_wants_only() {
    let mut lab = restarting();
    lab.answering = false;
    lab.up(1, Relation::Transit);
    lab.announce(1, "198.51.100.128/28", &[64501]);
    lab.announce(1, "198.51.100.144/28", &[64501]);
    lab.up(2, Relation::Transit);
    let first = std::mem::take(&mut lab.unanswered);
    assert_eq!(first.len(), 2);
    // Churn goes on: one of the first changes its mind, a new one appears. Neither is waited for.
    lab.send(1, announce(&["198.51.100.144/28"], "198.51.100.9", attrs(&[64501])));
    lab.announce(1, "198.51.100.160/28", &[64501]);
    assert!(lab.told[&PeerId(1)].end_of_rib.is_empty());
    lab.rib.fib_result(first[0].0, first[0].1, Ok(()));
    lab.pump();
    assert_eq!(lab.unanswered.len(), 2);
    assert_eq!(lab.told[&PeerId(1)].end_of_rib, BTreeSet::from([V4, V6]));
}

#[test]
fn rfc4724_2_end_of_rib_follows_the_initial_dump_even_of_an_empty_table() {
    let mut lab = Lab::new();
    lab.up(1, Relation::Transit);
    assert_eq!(lab.told[&PeerId(1)].end_of_rib, BTreeSet::from([V4, V6]));
}

fn refresh(subtype: RouteRefreshSubtype) -> RouteRefresh {
    RouteRefresh { family: V4, subtype }
}

fn mark(lab: &mut Lab, subtype: RouteRefreshSubtype) {
    lab.rib.route_refresh(lab.now, PeerId(1), refresh(subtype));
    lab.pump();
}

#[test]
fn rfc7313_4_what_is_not_repeated_before_eorr_goes() {
    let mut lab = Lab::new();
    lab.up(1, Relation::Transit);
    lab.up(2, Relation::Customer);
    lab.announce(1, "198.51.100.128/28", &[64501]);
    lab.announce(1, "198.51.100.144/28", &[64501]);
    mark(&mut lab, RouteRefreshSubtype::End);
    assert_eq!(lab.kernel.len(), 2, "an EoRR without BoRR is ignored");
    mark(&mut lab, RouteRefreshSubtype::Begin);
    lab.announce(1, "198.51.100.128/28", &[64501]);
    assert!(lab.told(2, "198.51.100.144/28"), "used until EoRR");
    mark(&mut lab, RouteRefreshSubtype::End);
    assert!(lab.told(2, "198.51.100.128/28") && !lab.told(2, "198.51.100.144/28"));
    assert_eq!(lab.told[&PeerId(2)].withdrawals, 1);
}

#[test]
fn rfc7313_4_eorr_that_never_comes_is_bounded() {
    let mut lab = Lab::new();
    lab.up(1, Relation::Transit);
    lab.announce(1, "198.51.100.128/28", &[64501]);
    mark(&mut lab, RouteRefreshSubtype::Begin);
    lab.sleep(crate::rib::graceful::REFRESH_WAIT.as_secs() + 1);
    assert!(lab.kernel.is_empty());
}

#[test]
fn rfc7313_4_borr_before_end_of_rib_is_ignored_with_graceful_restart() {
    let mut lab = Lab::new();
    lab.up_with(with_gr(info(1, &neighbor(1, Relation::Transit)), true, false));
    lab.announce(1, "198.51.100.128/28", &[64501]);
    mark(&mut lab, RouteRefreshSubtype::Begin);
    mark(&mut lab, RouteRefreshSubtype::End);
    assert_eq!(lab.kernel.len(), 1);
    lab.send(1, end_of_rib(V4));
    mark(&mut lab, RouteRefreshSubtype::Begin);
    mark(&mut lab, RouteRefreshSubtype::End);
    assert!(lab.kernel.is_empty());
}

#[test]
fn rfc2918_4_a_request_repeats_the_family_between_borr_and_eorr() {
    let mut lab = Lab::new();
    lab.up(1, Relation::Customer);
    lab.up(2, Relation::Transit);
    lab.announce(2, "198.51.100.128/28", &[64502]);
    lab.told.get_mut(&PeerId(1)).unwrap().routes.clear();
    mark(&mut lab, RouteRefreshSubtype::Request);
    assert!(lab.told(1, "198.51.100.128/28"));
    assert_eq!(lab.told[&PeerId(1)].refresh, [RouteRefreshSubtype::Begin, RouteRefreshSubtype::End]);
}
