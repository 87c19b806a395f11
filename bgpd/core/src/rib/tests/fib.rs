//! Wants for the kernel, and that nothing is announced before it can be forwarded.

use super::*;

fn waiting() -> Lab {
    let mut lab = Lab::with(SpeakerConfig { wait_for_fib: true, ..speaker() }, false);
    lab.answering = false;
    lab
}

#[test]
fn announced_only_once_the_kernel_has_it() {
    let mut lab = waiting();
    lab.up(1, Relation::Transit);
    lab.up(2, Relation::Customer);
    lab.announce(1, "198.51.100.128/28", &[64501]);
    assert!(!lab.told(2, "198.51.100.128/28"));
    lab.answer_all();
    assert!(lab.told(2, "198.51.100.128/28"));
    assert!(!lab.told(1, "198.51.100.128/28"), "RFC 4271 §9.2: not back to where it came from");
}

#[test]
fn without_a_kernel_table_wants_are_true_at_once() {
    let mut lab = waiting();
    lab.rib.without_kernel();
    lab.up(1, Relation::Transit);
    lab.up(2, Relation::Customer);
    let route = announce(&["198.51.100.128/28"], "198.51.100.1", attrs(&[64501]));
    for (update, told) in [(route, true), (withdraw(&["198.51.100.128/28"]), false)] {
        lab.rib.update(lab.now, PeerId(1), &update);
        assert_eq!(lab.rib.poll_fib(1), FibBatch::default());
        lab.pump();
        assert_eq!(lab.told(2, "198.51.100.128/28"), told);
    }
}

#[test]
fn while_a_better_path_waits_the_old_announcement_stays() {
    let mut lab = waiting();
    lab.up(1, Relation::Transit);
    lab.up(2, Relation::Transit);
    lab.up(3, Relation::Customer);
    lab.announce(1, "198.51.100.128/28", &[64501, 64510]);
    lab.answer_all();
    lab.announce(2, "198.51.100.128/28", &[64502]);
    assert_eq!(lab.best_peer("198.51.100.128/28"), Some(2));
    let as_told = |lab: &Lab| lab.told[&PeerId(3)].routes[&p("198.51.100.128/28")].0.as_path.to_string();
    assert_eq!(as_told(&lab), "64500 64501 64510");
    lab.answer_all();
    assert_eq!(as_told(&lab), "64500 64502");
    assert_eq!(lab.told[&PeerId(3)].withdrawals, 0);
}

#[test]
fn a_mark_that_was_not_pulled_yet_does_not_become_a_withdrawal_while_the_kernel_works() {
    let mut lab = waiting();
    lab.up(1, Relation::Transit);
    lab.up(2, Relation::Transit);
    lab.up(3, Relation::Customer);
    lab.announce(1, "198.51.100.128/28", &[64501, 64510]);
    lab.answer_all();
    // Same next hop, so nothing waits: marked. Before anybody pulls, a better path appears that does wait.
    let longer = announce(&["198.51.100.128/28"], "198.51.100.1", attrs(&[64501, 64510, 64511]));
    lab.rib.update(lab.now, PeerId(1), &longer);
    lab.announce(2, "198.51.100.128/28", &[64502]);
    assert!(lab.told(3, "198.51.100.128/28"));
    assert_eq!(lab.told[&PeerId(3)].withdrawals, 0);
    lab.answer_all();
    assert_eq!(lab.told[&PeerId(3)].routes[&p("198.51.100.128/28")].0.as_path.to_string(), "64500 64502");
}

#[test]
fn a_prefix_without_a_path_is_withdrawn_at_once() {
    let mut lab = waiting();
    lab.up(1, Relation::Transit);
    lab.up(2, Relation::Customer);
    lab.announce(1, "198.51.100.128/28", &[64501]);
    lab.answer_all();
    lab.send(1, withdraw(&["198.51.100.128/28"]));
    assert!(!lab.told(2, "198.51.100.128/28"));
    assert!(lab.kernel.is_empty());
    assert_eq!(lab.rib.summary().families[0].prefixes, 0);
}

#[test]
fn what_the_kernel_refuses_is_not_announced_until_it_takes_it() {
    let mut lab = waiting();
    lab.up(1, Relation::Transit);
    lab.up(2, Relation::Customer);
    lab.announce(1, "198.51.100.128/28", &[64501]);
    let (prefix, cookie) = lab.unanswered[0];
    lab.rib.fib_result(prefix, cookie, Err("table full".into()));
    lab.pump();
    assert!(!lab.told(2, "198.51.100.128/28"));
    let entry = lab.rib.fib_entry(&prefix).unwrap();
    assert_eq!((entry.state, entry.error.as_str()), (FibState::Failed, "table full"));
    assert!(lab.rib.explain_route(&prefix).unwrap().forwarding.contains("table full"));
    lab.answer_all();
    assert!(lab.told(2, "198.51.100.128/28"));
    assert_eq!(lab.rib.fib_entry(&prefix).unwrap().error, "");
    // It fails later: what was announced is taken back. The FIB keeps the low half of a cookie only.
    lab.rib.fib_result(prefix, cookie & u64::from(u32::MAX), Err("device is gone".into()));
    lab.pump();
    assert!(!lab.told(2, "198.51.100.128/28"));
}

#[test]
fn an_answer_to_an_older_want_counts_for_nothing() {
    let mut lab = waiting();
    lab.up(1, Relation::Transit);
    lab.up(2, Relation::Transit);
    lab.up(3, Relation::Customer);
    lab.announce(1, "198.51.100.128/28", &[64501, 64510]);
    let (prefix, old) = lab.unanswered.remove(0);
    lab.announce(2, "198.51.100.128/28", &[64502]);
    lab.rib.fib_result(prefix, old, Ok(()));
    lab.pump();
    assert!(!lab.told(3, "198.51.100.128/28"));
    assert_eq!(lab.rib.summary().families[0].fib_pending, 1);
    lab.answer_all();
    assert!(lab.told(3, "198.51.100.128/28"));
    assert_eq!((lab.rib.summary().families[0].fib_installed, lab.rib.summary().families[0].fib_pending), (1, 0));
}

#[test]
fn a_flap_between_two_polls_costs_no_write() {
    let mut rib = Rib::new(speaker(), Monotime::ZERO, false);
    let now = Monotime::ZERO;
    rib.set_connected(now, links());
    rib.peer_up(now, info(1, &neighbor(1, Relation::Transit)));
    for _ in 0..10 {
        rib.update(now, PeerId(1), &announce(&["198.51.100.128/28"], "198.51.100.1", attrs(&[64501])));
        rib.update(now, PeerId(1), &withdraw(&["198.51.100.128/28"]));
    }
    assert_eq!(rib.poll_fib(1), FibBatch::default());
    rib.update(now, PeerId(1), &announce(&["198.51.100.128/28"], "198.51.100.1", attrs(&[64501])));
    let batch = rib.poll_fib(2);
    assert_eq!((batch.wants.len(), batch.targets.len(), batch.wants[0].target), (1, 1, Some(0)));
}

#[test]
fn own_prefixes_are_discard_routes_unless_connected_and_only_own_space() {
    let mut lab = waiting();
    lab.up(1, Relation::Transit);
    lab.rib.set_announcements(lab.now, BTreeSet::from([p("203.0.113.0/24"), p("198.51.100.128/28")]));
    lab.pump();
    assert!(!lab.told(1, "203.0.113.0/24"), "waits for the discard route");
    lab.answer_all();
    assert!(lab.told(1, "203.0.113.0/24"));
    assert_eq!(lab.kernel.len(), 1);
    assert_eq!(lab.via("203.0.113.0/24"), Some(("discard".into(), 0)));
    assert!(!lab.told(1, "198.51.100.128/28"));
    assert!(lab.events.contains(&RibEvent::AnnouncementRefused { prefix: p("198.51.100.128/28") }));
    let mut with_lan = links();
    with_lan.push(link(5, "203.0.113.0/24", "203.0.113.1", true));
    lab.rib.set_connected(lab.now, with_lan);
    lab.pump();
    assert!(lab.kernel.is_empty(), "the subnet's own route is enough");
    assert!(lab.told(1, "203.0.113.0/24"));
    lab.rib.set_connected(lab.now, links());
    lab.answer_all();
    assert_eq!(lab.via("203.0.113.0/24"), Some(("discard".into(), 0)));
    lab.rib.set_announcements(lab.now, BTreeSet::new());
    lab.pump();
    assert!(lab.kernel.is_empty() && !lab.told(1, "203.0.113.0/24"));
}

#[test]
fn internal_prefixes_follow_their_interfaces_and_stay_inside() {
    let internal = vec![p("203.0.113.64/26"), p("203.0.113.9/32")];
    let mut lab = Lab::with(SpeakerConfig { internal_prefixes: internal, ..speaker() }, false);
    lab.up(1, Relation::Transit);
    lab.up(7, Relation::Internal);
    assert!(!lab.told(7, "203.0.113.64/26"));
    let mut table = links();
    table.push(link(5, "203.0.113.64/27", "203.0.113.65", true));
    lab.rib.set_connected(lab.now, table.clone());
    lab.pump();
    assert!(lab.told(7, "203.0.113.64/26") && !lab.told(1, "203.0.113.64/26"));
    assert!(!lab.told(7, "203.0.113.9/32"));
    assert!(lab.kernel.is_empty());
    table.last_mut().unwrap().up = false;
    lab.rib.set_connected(lab.now, table);
    lab.pump();
    assert!(!lab.told(7, "203.0.113.64/26"));
}
