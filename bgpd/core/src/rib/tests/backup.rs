//! What takes over when a next hop is lost, and that choosing it is nobody else's business.

use super::*;

const PREFIX: &str = "203.0.113.0/28";
/// Next hops on interfaces 2, 3 and 4.
const HOPS: [&str; 3] = ["192.0.2.7", "198.51.100.130", "198.51.100.200"];

fn four_links() -> ConnectedTable {
    let more =
        [link(3, "198.51.100.128/26", "198.51.100.129", true), link(4, "198.51.100.192/26", "198.51.100.193", true)];
    links().into_iter().chain(more).collect()
}

fn ducts(all: &[(&str, &[&str])]) -> Ducts {
    let mut ducts = Ducts::default();
    for (duct, interfaces) in all {
        interfaces.iter().for_each(|i| drop(ducts.insert((*i).to_owned(), (*duct).to_owned())));
    }
    ducts
}

/// Internal neighbours 7, 8 and 9; a customer 2 that listens.
fn lab_with(ducts: Ducts) -> Lab {
    let mut lab = Lab::with(SpeakerConfig { wait_for_fib: true, ducts, ..speaker() }, false);
    lab.rib.set_connected(lab.now, four_links());
    [7, 8, 9].into_iter().for_each(|n| lab.up(n, Relation::Internal));
    lab.up(2, Relation::Customer);
    lab
}

fn route(hop: &str, local_pref: u32) -> Update {
    announce(&[PREFIX], hop, PathAttributes { local_pref: Some(local_pref), ..attrs(&[64511]) })
}

/// One path from each, the first the best.
fn three_paths(ducts: Ducts) -> Lab {
    let mut lab = lab_with(ducts);
    for (n, (hop, local_pref)) in (7..).zip(HOPS.into_iter().zip([300, 200, 100])) {
        lab.send(n, route(hop, local_pref));
    }
    lab
}

fn one(hop: &str) -> Vec<(String, u16)> {
    vec![(hop.to_owned(), 1)]
}

fn backup(lab: &Lab) -> (String, String) {
    let backup = lab.rib.fib_entry(&p(PREFIX)).unwrap().backup.unwrap();
    assert_eq!(lab.best(PREFIX).unwrap().backup.as_ref(), Some(&backup));
    (backup.hop.gateway.unwrap().to_string(), backup.shared_fate)
}

#[test]
fn the_backup_is_the_best_path_of_another_fate() {
    let mut lab = three_paths(ducts(&[("north", &["eth2", "eth3"]), ("south", &["eth4"])]));
    assert_eq!(lab.forwarding(PREFIX), (one(HOPS[0]), Some(HOPS[2].to_owned())));
    assert_eq!(backup(&lab), (HOPS[2].to_owned(), String::new()));
    let explained = lab.rib.explain_route(&p(PREFIX)).unwrap();
    let outcomes: Vec<_> = explained.paths.iter().map(|x| x.outcome).collect();
    assert_eq!(outcomes, [Outcome::Best, Outcome::Lost, Outcome::Backup]);
    assert!(explained.forwarding.ends_with(
        "forward via 192.0.2.7 dev eth2; backup: 198.51.100.200 dev eth4 (the best of the paths with another next hop and \
         another fate)"
    ), "{}", explained.forwarding);
    // Without it the other one in the same duct is better than none, and it is known to be so.
    lab.send(9, withdraw(&[PREFIX]));
    assert_eq!(backup(&lab), (HOPS[1].to_owned(), "same duct as the active one: north".to_owned()));
    let explained = lab.rib.explain_route(&p(PREFIX)).unwrap();
    assert!(explained.forwarding.contains("same duct as the active one: north"), "{}", explained.forwarding);
    lab.send(8, withdraw(&[PREFIX]));
    assert_eq!(lab.forwarding(PREFIX), (one(HOPS[0]), None));
    // The best goes: who stood by is in use.
    lab.send(9, route(HOPS[2], 100));
    lab.send(7, withdraw(&[PREFIX]));
    assert_eq!(lab.forwarding(PREFIX), (one(HOPS[2]), None));
}

#[test]
fn an_interface_in_no_duct_is_a_fate_of_its_own_and_next_hops_on_it_share_it() {
    let mut lab = three_paths(Ducts::default());
    assert_eq!(backup(&lab), (HOPS[1].to_owned(), String::new()));
    lab.send(8, route("192.0.2.8", 200));
    assert_eq!(backup(&lab), (HOPS[2].to_owned(), String::new()));
    lab.send(9, withdraw(&[PREFIX]));
    assert_eq!(backup(&lab), ("192.0.2.8".to_owned(), "same interface as the active one: eth2".to_owned()));
    // The same next hop from another neighbour stands by for nothing.
    lab.send(8, route(HOPS[0], 200));
    assert_eq!(lab.forwarding(PREFIX), (one(HOPS[0]), None));
}

#[test]
fn a_backup_that_comes_goes_or_changes_is_no_news_to_neighbours() {
    let mut lab = lab_with(Ducts::default());
    lab.send(7, route(HOPS[0], 300));
    assert!(lab.told(2, PREFIX));
    let cookie = lab.rib.fib_entry(&p(PREFIX)).unwrap().cookie;
    let changes =
        [(8, route(HOPS[1], 200)), (9, route(HOPS[2], 250)), (9, route(HOPS[2], 100)), (8, withdraw(&[PREFIX]))];
    for (wanted, (n, update)) in [HOPS[1], HOPS[2], HOPS[1], HOPS[2]].into_iter().zip(changes) {
        lab.rib.update(lab.now, PeerId(n), &update);
        assert!(!lab.rib.has_ready_peer());
        let entry = lab.rib.fib_entry(&p(PREFIX)).unwrap();
        assert_eq!((entry.state, entry.cookie), (FibState::Installed, cookie));
        assert_eq!(lab.rib.summary().families[0].fib_pending, 0);
        let batch = lab.rib.poll_fib(10);
        let [want] = batch.wants.as_slice() else { panic!("one want: {batch:?}") };
        assert_eq!(batch.target(want).unwrap().backup().unwrap().gateway, Some(ip(wanted)));
        assert_eq!(want.cookie as u32, cookie as u32);
        // Before the kernel answers: who comes now is told.
        lab.up(3, Relation::Customer);
        assert!(lab.told(3, PREFIX));
        lab.down(3, None);
        lab.rib.fib_result(want.prefix, want.cookie, Ok(()));
        assert!(!lab.rib.has_ready_peer());
    }
    assert_eq!(lab.told[&PeerId(2)].withdrawals, 0);
}

#[test]
fn a_backup_does_not_delay_an_announcement_that_waits_for_the_kernel() {
    let mut lab = lab_with(Ducts::default());
    lab.answering = false;
    lab.send(7, route(HOPS[0], 300));
    let (prefix, first) = lab.unanswered.remove(0);
    lab.send(8, route(HOPS[1], 200));
    assert!(!lab.told(2, PREFIX));
    lab.rib.fib_result(prefix, first, Ok(()));
    lab.pump();
    assert!(lab.told(2, PREFIX), "what is forwarded over is what was confirmed");
    assert_eq!(lab.unanswered.len(), 1);
    // A better path waits, its backup changes meanwhile: the first answer is as good.
    lab.answer_all();
    lab.send(9, route(HOPS[2], 400));
    let (_, better) = lab.unanswered.remove(0);
    lab.send(8, withdraw(&[PREFIX]));
    lab.rib.fib_result(prefix, better, Ok(()));
    assert_eq!(lab.rib.fib_entry(&prefix).unwrap().state, FibState::Installed);
}

#[test]
fn without_a_kernel_table_nobody_looks_for_a_backup() {
    let mut lab = Lab::with(speaker(), false);
    lab.rib.without_kernel();
    lab.rib.set_connected(lab.now, four_links());
    [7, 8].into_iter().for_each(|n| lab.up(n, Relation::Internal));
    lab.send(7, route(HOPS[0], 300));
    lab.send(8, route(HOPS[1], 200));
    assert_eq!(lab.rib.fib_entry(&p(PREFIX)).unwrap().target.backup(), None);
    assert!(lab.best(PREFIX).unwrap().backup.is_none());
}

#[test]
fn other_ducts_change_wants_only_where_the_backup_does_and_nothing_else() {
    let mut lab = three_paths(Ducts::default());
    lab.send(7, announce(&["203.0.113.16/28"], HOPS[0], attrs(&[64511])));
    let cookie = lab.rib.fib_entry(&p(PREFIX)).unwrap().cookie;
    let joined = ducts(&[("north", &["eth2", "eth3"])]);
    let now = SpeakerConfig { wait_for_fib: true, ducts: joined, ..speaker() };
    lab.rib.set_speaker(lab.now, now.clone());
    while lab.rib.work(lab.now) {}
    assert!(!lab.rib.has_ready_peer());
    let wants: Vec<Prefix> = lab.rib.poll_fib(10).wants.iter().map(|w| w.prefix).collect();
    assert_eq!(wants, [p(PREFIX)]);
    assert_eq!(backup(&lab), (HOPS[2].to_owned(), String::new()));
    assert_eq!(lab.rib.fib_entry(&p(PREFIX)).unwrap().cookie, cookie);
    // Another name for the same duct is the same.
    lab.rib.set_speaker(lab.now, SpeakerConfig { ducts: ducts(&[("east", &["eth3", "eth2"])]), ..now });
    while lab.rib.work(lab.now) {}
    assert!(!lab.rib.has_ready_peer() && lab.rib.poll_fib(10).wants.is_empty());
}

#[test]
fn an_interface_that_takes_another_name_takes_its_duct() {
    let mut lab = three_paths(ducts(&[("north", &["eth2", "fibre-b"])]));
    assert_eq!(backup(&lab).0, HOPS[1]);
    let mut renamed = four_links();
    renamed.iter_mut().filter(|c| c.ifindex == 3).for_each(|c| c.ifname = "fibre-b".to_owned());
    lab.rib.set_connected(lab.now, renamed);
    lab.pump();
    assert_eq!(backup(&lab).0, HOPS[2]);
}

#[test]
fn a_link_that_is_lost_takes_its_backups_along() {
    let mut lab = three_paths(Ducts::default());
    let mut down = four_links();
    down.iter_mut().filter(|c| c.ifindex == 3).for_each(|c| c.up = false);
    lab.rib.set_connected(lab.now, down);
    lab.pump();
    assert_eq!(lab.forwarding(PREFIX), (one(HOPS[0]), Some(HOPS[2].to_owned())));
    lab.rib.set_connected(lab.now, four_links());
    lab.pump();
    assert_eq!(lab.forwarding(PREFIX), (one(HOPS[0]), Some(HOPS[1].to_owned())));
    lab.down(8, None);
    assert_eq!(lab.forwarding(PREFIX), (one(HOPS[0]), Some(HOPS[2].to_owned())));
}
