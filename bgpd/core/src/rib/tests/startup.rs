//! A start with nothing in the kernel: own prefixes are the last resort until the table is in (ADR 0019). Judged by what
//! neighbours decode.

use super::*;
use crate::policy::export::MAX_MED;
use proptest::prelude::*;

const OWN: &str = "203.0.113.0/24";
const OWN_V6: &str = "2001:db8:501::/48";

fn cold() -> Lab {
    let config = SpeakerConfig { wait_for_fib: true, max_med_on_startup: Duration::from_secs(60), ..speaker() };
    let mut lab = Lab::with(config, false);
    lab.rib.set_announcements(lab.now, BTreeSet::from([p(OWN), p(OWN_V6)]));
    for n in [1, 7] {
        lab.rib.peer_configured(PeerId(n), Arc::new(neighbor(n, relation(n))));
    }
    lab.pump();
    lab
}

/// 7 is of our own AS.
fn relation(n: u32) -> Relation {
    if n == 7 { Relation::Internal } else { Relation::Transit }
}

fn up(lab: &mut Lab, n: u32) {
    lab.up_with(with_gr(info(n, &neighbor(n, relation(n))), true, false));
}

fn ends(lab: &mut Lab, n: u32) {
    lab.send(n, end_of_rib(V4));
    lab.send(n, end_of_rib(V6));
}

/// MEDs of both own prefixes as the neighbour has them.
fn meds(lab: &Lab, n: u32) -> [Option<u32>; 2] {
    [OWN, OWN_V6].map(|prefix| lab.told[&PeerId(n)].routes[&p(prefix)].0.med)
}

fn over(lab: &Lab) -> Vec<bool> {
    let of = |e: &RibEvent| match e {
        RibEvent::LastResortOver { expired } => Some(*expired),
        _ => None,
    };
    lab.events.iter().filter_map(of).collect()
}

const HIGH: [Option<u32>; 2] = [Some(MAX_MED); 2];
const USUAL: [Option<u32>; 2] = [None; 2];

#[test]
fn own_prefixes_are_the_last_resort_until_every_neighbours_end_of_rib() {
    let mut lab = cold();
    up(&mut lab, 1);
    assert_eq!(meds(&lab, 1), HIGH);
    lab.announce(1, "198.51.100.128/28", &[64501]);
    ends(&mut lab, 1);
    assert_eq!(meds(&lab, 1), HIGH, "7 is not up");
    let state = lab.rib.summary().last_resort.unwrap();
    assert_eq!((state.neighbors_in, state.neighbors, state.until), (1, 2, Monotime::from_secs(1060)));
    up(&mut lab, 7);
    // Inside the AS too: who has two ways in is to take the other one.
    assert_eq!(meds(&lab, 7), HIGH);
    lab.send(7, end_of_rib(V4));
    assert_eq!((meds(&lab, 1), over(&lab)), (HIGH, vec![]), "IPv6 is still to come");
    lab.send(7, end_of_rib(V6));
    assert_eq!((meds(&lab, 1), meds(&lab, 7), over(&lab)), (USUAL, USUAL, vec![false]));
    assert_eq!(lab.rib.summary().last_resort, None);
    let told = |n| &lab.told[&PeerId(n)];
    assert_eq!((told(1).withdrawals, told(7).withdrawals), (0, 0), "an UPDATE that replaces");
    // What was learnt has no part in it.
    assert_eq!(told(7).routes[&p("198.51.100.128/28")].0.med, None);
    // It never comes back, and new prefixes have no part in it any more.
    lab.down(1, None);
    up(&mut lab, 1);
    assert_eq!((meds(&lab, 1), lab.rib.summary().last_resort), (USUAL, None));
}

#[test]
fn rfc4271_9_2_the_end_of_it_is_one_message_a_prefix_whatever_the_table_holds() {
    let mut lab = cold();
    up(&mut lab, 1);
    up(&mut lab, 7);
    for n in 0..200 {
        lab.announce(1, &format!("10.0.{n}.0/24"), &[64501]);
    }
    ends(&mut lab, 1);
    let announced = |lab: &Lab| [V4, V6].map(|f| lab.rib.out.counters(PeerId(7), f).announced);
    let (before, looked) = (announced(&lab), lab.rib.loc.looked);
    ends(&mut lab, 7);
    assert_eq!(announced(&lab), before.map(|n| n + 1));
    assert_eq!(lab.rib.loc.looked, looked, "nothing is decided again");
}

#[test]
fn it_waits_for_the_kernel_to_confirm_what_was_wanted_by_then_and_for_no_more() {
    let mut lab = cold();
    up(&mut lab, 1);
    up(&mut lab, 7);
    lab.answering = false;
    lab.announce(1, "198.51.100.128/28", &[64501]);
    ends(&mut lab, 1);
    ends(&mut lab, 7);
    let first = std::mem::take(&mut lab.unanswered);
    assert_eq!(lab.rib.summary().last_resort.unwrap().fib_pending, 1);
    lab.announce(1, "198.51.100.144/28", &[64501]);
    assert_eq!((meds(&lab, 1), over(&lab)), (HIGH, vec![]));
    lab.rib.fib_result(first[0].0, first[0].1, Ok(()));
    lab.pump();
    assert_eq!((meds(&lab, 1), over(&lab)), (USUAL, vec![false]));
}

#[test]
fn the_timer_ends_it() {
    let mut lab = cold();
    up(&mut lab, 1);
    ends(&mut lab, 1);
    lab.sleep(59);
    assert_eq!((meds(&lab, 1), over(&lab)), (HIGH, vec![]));
    lab.sleep(2);
    assert_eq!((meds(&lab, 1), over(&lab)), (USUAL, vec![true]));
    assert_eq!(lab.told[&PeerId(1)].withdrawals, 0);
    assert_eq!(lab.rib.poll_timeout(), None);
}

#[test]
fn a_changed_time_counts_from_the_start_and_zero_ends_it() {
    let mut lab = cold();
    up(&mut lab, 1);
    let with =
        |seconds| SpeakerConfig { wait_for_fib: true, max_med_on_startup: Duration::from_secs(seconds), ..speaker() };
    lab.rib.set_speaker(lab.now, with(30));
    lab.pump();
    lab.sleep(29);
    assert_eq!(meds(&lab, 1), HIGH);
    lab.rib.set_speaker(lab.now, with(0));
    lab.sleep(0);
    assert_eq!(meds(&lab, 1), USUAL);
    lab.rib.set_speaker(lab.now, with(300));
    lab.pump();
    assert_eq!((meds(&lab, 1), lab.rib.summary().last_resort), (USUAL, None));
}

#[test]
fn rfc4724_2_who_need_not_send_end_of_rib_is_waited_for_until_it_is_up() {
    let mut lab = cold();
    up(&mut lab, 7);
    ends(&mut lab, 7);
    assert_eq!(meds(&lab, 7), HIGH);
    lab.up(1, Relation::Transit);
    // No UPDATE with the high MED ever went there.
    assert_eq!((meds(&lab, 1), lab.rib.out.counters(PeerId(1), V4).announced), (USUAL, 1));
    assert_eq!((meds(&lab, 7), over(&lab)), (USUAL, vec![false]));
}

#[test]
fn rfc4724_4_1_a_neighbour_that_restarts_itself_still_owes_its_table() {
    let mut lab = cold();
    up(&mut lab, 1);
    ends(&mut lab, 1);
    lab.up_with(with_gr(info(7, &neighbor(7, Relation::Internal)), true, true));
    assert_eq!(meds(&lab, 1), HIGH, "it is the one that knows the ways inside");
    ends(&mut lab, 7);
    assert_eq!(meds(&lab, 1), USUAL);
}

#[test]
fn rfc4724_4_1_a_restart_over_a_standing_table_has_none() {
    let config = SpeakerConfig { wait_for_fib: true, max_med_on_startup: Duration::from_secs(60), ..speaker() };
    let mut lab = Lab::with(config, true);
    lab.rib.set_announcements(lab.now, BTreeSet::from([p(OWN), p(OWN_V6)]));
    lab.rib.peer_configured(PeerId(7), Arc::new(neighbor(7, Relation::Internal)));
    up(&mut lab, 1);
    ends(&mut lab, 1);
    assert!(lab.told[&PeerId(1)].routes.is_empty() && lab.rib.summary().last_resort.is_none());
    up(&mut lab, 7);
    ends(&mut lab, 7);
    assert_eq!((meds(&lab, 1), over(&lab)), (USUAL, vec![]));
}

#[test]
fn internal_prefixes_have_no_part_in_it() {
    let config = SpeakerConfig {
        internal_prefixes: vec![p("192.0.2.0/25")],
        max_med_on_startup: Duration::from_secs(60),
        ..speaker()
    };
    let mut lab = Lab::with(config, false);
    lab.rib.set_connected(lab.now, links());
    lab.rib.peer_configured(PeerId(1), Arc::new(neighbor(1, Relation::Transit)));
    up(&mut lab, 7);
    // It is on a link of ours: we need nobody to reach it.
    assert_eq!(lab.told[&PeerId(7)].routes[&p("192.0.2.0/25")].0.med, None);
    assert!(lab.rib.summary().last_resort.is_some());
}

#[test]
fn rfc7911_a_neighbour_of_several_paths_hears_the_end_of_it_too() {
    let mut lab = cold();
    let mut config = neighbor(7, Relation::Internal);
    config.add_path = AddPath { receive: false, send: crate::config::SendPaths::All };
    let mut seven = with_gr(info(7, &config), true, false);
    seven.session.add_path_send = vec![V4, V6];
    lab.up_with(seven);
    let path = |lab: &Lab| {
        let paths = lab.told[&PeerId(7)].paths.iter().filter(|(n, _)| n.prefix == p(OWN));
        paths.map(|(n, (a, _))| (n.path_id, a.med)).collect::<Vec<_>>()
    };
    assert_eq!(path(&lab), [(1, Some(MAX_MED))]);
    ends(&mut lab, 7);
    up(&mut lab, 1);
    ends(&mut lab, 1);
    assert_eq!((path(&lab), lab.told[&PeerId(7)].withdrawals), (vec![(1, None)], 0));
}

#[derive(Clone, Debug)]
enum Op {
    Up { n: u32, gr: bool, restarting: bool },
    Down { n: u32 },
    Ends { n: u32, v4: bool },
    Announce { n: u32, third: u8 },
    Own { both: bool },
    Answer,
    Answering { yes: bool },
    Sleep { seconds: u64 },
    Enabled { n: u32, yes: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let n = prop_oneof![Just(1u32), Just(2), Just(7)];
    prop_oneof![
        4 => (n.clone(), any::<bool>(), any::<bool>()).prop_map(|(n, gr, restarting)| Op::Up { n, gr, restarting }),
        1 => n.clone().prop_map(|n| Op::Down { n }),
        6 => (n.clone(), any::<bool>()).prop_map(|(n, v4)| Op::Ends { n, v4 }),
        3 => (n.clone(), 0u8..4).prop_map(|(n, third)| Op::Announce { n, third }),
        1 => any::<bool>().prop_map(|both| Op::Own { both }),
        2 => Just(Op::Answer),
        1 => any::<bool>().prop_map(|yes| Op::Answering { yes }),
        2 => (1u64..20).prop_map(|seconds| Op::Sleep { seconds }),
        1 => (n, any::<bool>()).prop_map(|(n, yes)| Op::Enabled { n, yes }),
    ]
}

proptest! {
    /// Whoever is up has the own prefixes, by the MED of the moment; they are never withdrawn; it ends once, not while
    /// somebody owes us a table, and not later than the timer.
    #[test]
    fn own_prefixes_are_there_throughout_with_the_meds_of_the_moment(ops in prop::collection::vec(op(), 1..60)) {
        let config = SpeakerConfig { max_med_on_startup: Duration::from_secs(60), ..speaker() };
        let mut lab = Lab::with(config, false);
        let (start, mut all_told) = (lab.now, false);
        lab.rib.set_announcements(lab.now, BTreeSet::from([p(OWN), p(OWN_V6)]));
        let mut enabled = BTreeMap::from([(1, true), (2, true), (7, true)]);
        // What each has sent on its session; without Graceful Restart it need send nothing.
        let mut sent: BTreeMap<u32, Option<BTreeSet<Family>>> = BTreeMap::new();
        for n in [1, 2, 7] {
            lab.rib.peer_configured(PeerId(n), Arc::new(neighbor(n, relation(n))));
        }
        lab.pump();
        for op in ops {
            let was_over = lab.rib.summary().last_resort.is_none();
            match op {
                Op::Up { n, gr, restarting } => {
                    let plain = info(n, &NeighborConfig { enabled: enabled[&n], ..neighbor(n, relation(n)) });
                    lab.up_with(if gr { with_gr(plain, true, restarting) } else { plain });
                    sent.insert(n, gr.then(BTreeSet::new));
                }
                Op::Down { n } if sent.remove(&n).is_some() => lab.down(n, None),
                Op::Ends { n, v4 } if sent.contains_key(&n) => {
                    let family = if v4 { V4 } else { V6 };
                    if let Some(Some(families)) = sent.get_mut(&n) {
                        families.insert(family);
                    }
                    lab.send(n, end_of_rib(family));
                }
                Op::Announce { n, third } if sent.contains_key(&n) => {
                    let next_hop = if n == 7 { "192.0.2.7".to_owned() } else { format!("198.51.100.{n}") };
                    let path = if n == 7 { vec![64510] } else { vec![64500 + n] };
                    lab.send(n, announce(&[&format!("10.0.{third}.0/24")], &next_hop, attrs(&path)));
                }
                Op::Own { both } => {
                    let wanted = if both { vec![p(OWN), p(OWN_V6)] } else { vec![p(OWN)] };
                    lab.rib.set_announcements(lab.now, wanted.into_iter().collect());
                    lab.pump();
                }
                Op::Answer => lab.answer_all(),
                Op::Answering { yes } => lab.answering = yes,
                Op::Sleep { seconds } => lab.sleep(seconds),
                Op::Enabled { n, yes } => {
                    enabled.insert(n, yes);
                    let config = NeighborConfig { enabled: yes, ..neighbor(n, relation(n)) };
                    lab.rib.peer_reconfigured(lab.now, PeerId(n), Arc::new(config));
                    lab.pump();
                }
                Op::Down { .. } | Op::Ends { .. } | Op::Announce { .. } => {}
            }
            let going_on = lab.rib.summary().last_resort.is_some();
            prop_assert!(!(was_over && going_on), "it came back");
            let owes = |n: &u32| enabled[n] && match sent.get(n) {
                None => true,
                Some(None) => false,
                Some(Some(families)) => families.len() < 2,
            };
            // Who owes again after all had told is not waited for; the kernel still is.
            all_told |= ![1, 2, 7].iter().any(owes);
            let late = lab.now >= start + Duration::from_secs(60);
            prop_assert!(!(late && going_on), "longer than the timer");
            prop_assert!(!(all_told && lab.unanswered.is_empty() && going_on), "nothing is waited for");
            match over(&lab)[..] {
                [] => prop_assert!(going_on),
                [true] => prop_assert!(!going_on && late),
                [false] => prop_assert!(!going_on && all_told),
                _ => prop_assert!(false, "it ended twice"),
            }
            let announced = lab.rib.summary().announced;
            for n in sent.keys() {
                let told = &lab.told[&PeerId(*n)];
                for prefix in [OWN, OWN_V6] {
                    let route = told.routes.get(&p(prefix));
                    prop_assert_eq!(route.is_some(), announced.contains(&p(prefix)));
                    let med = if going_on { Some(MAX_MED) } else { None };
                    prop_assert!(route.is_none_or(|(a, _)| a.med == med), "{}: {:?}", n, route);
                }
            }
        }
    }
}
