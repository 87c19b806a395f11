//! News of next hops that are looked up over routes: told at once, however many prefixes are behind them.

use super::*;

/// More than a slice of the sweep.
const BEHIND: u32 = 3 * SLICE as u32;
const LOOPBACK: &str = "2001:db8:ffff::9";
const CARRIER: &str = "2001:db8:ffff::9/128";

/// The loopback as led to over `gateway`.
fn hop(gateway: &str, ifindex: u32) -> ResolvedNextHop {
    ResolvedNextHop { gateway: Some(ip(gateway)), ifindex, through: Some(ip(LOOPBACK)) }
}

/// A site's router with the loopback, which 7 carries, and what is behind it, from a reflector 9.
fn site() -> Lab {
    let mut lab = Lab::new();
    [7, 8, 9].into_iter().for_each(|n| lab.up(n, Relation::Internal));
    lab.send(7, announce(&[CARRIER], "2001:db8:2::7", attrs(&[])));
    let behind = |n: u32| Nlri { prefix: Prefix::V6(0x2001_0db8 << 96 | u128::from(n) << 64, 64), path_id: 0 };
    let reach = [Reach { family: V6, next_hop: nh(LOOPBACK), nlri: (0..BEHIND).map(behind).collect() }].into();
    lab.send(9, Update { reach, attributes: attrs(&[64511]), ..Update::default() });
    assert_eq!(lab.kernel.len() as u32, BEHIND + 1);
    assert_eq!(lab.hop_events, [HopEvent::Returned(hop("2001:db8:2::7", 2))]);
    lab.hop_events.clear();
    lab
}

/// What was told before the table was looked at.
fn at_once(lab: &mut Lab) -> Vec<HopEvent> {
    lab.hear_of_hops();
    std::mem::take(&mut lab.hop_events)
}

#[test]
fn a_next_hop_that_is_lost_is_one_event_before_the_table_is_swept() {
    let mut lab = site();
    lab.rib.update(lab.now, PeerId(7), &withdraw(&[CARRIER]));
    assert_eq!(at_once(&mut lab), [HopEvent::Lost(hop("2001:db8:2::7", 2))]);
    let untouched = lab.rib.poll_fib(10).wants;
    assert_eq!(untouched.iter().map(|w| w.prefix).collect::<Vec<_>>(), [p(CARRIER)]);
    lab.pump();
    assert!(lab.hop_events.is_empty());
    assert_eq!(lab.kernel.keys().filter(|prefix| **prefix != p(CARRIER)).count(), 0);
    lab.send(8, announce(&[CARRIER], "2001:db8:2::8", attrs(&[])));
    assert_eq!(at_once(&mut lab), [HopEvent::Returned(hop("2001:db8:2::8", 2))]);
    assert_eq!(lab.kernel.len() as u32, BEHIND + 1);
}

#[test]
fn a_next_hop_that_moves_is_one_event_before_the_table_is_swept() {
    let mut lab = site();
    lab.send(8, announce(&[CARRIER], "2001:db8:2::8", attrs(&[64510])));
    assert!(at_once(&mut lab).is_empty(), "a worse way changes nothing");
    lab.rib.update(lab.now, PeerId(7), &withdraw(&[CARRIER]));
    let moved = HopEvent::Moved { from: hop("2001:db8:2::7", 2), to: hop("2001:db8:2::8", 2) };
    assert_eq!(at_once(&mut lab), [moved]);
    lab.pump();
    let over = |lab: &Lab, hop| lab.kernel.values().filter(|t| t.active()[0].hop == hop).count() as u32;
    assert_eq!(over(&lab, hop("2001:db8:2::8", 2)), BEHIND);
    // It is on a link of ours now: what forwarded over the route forwards over the link.
    let mut with_lan = links();
    with_lan.push(link(5, "2001:db8:ffff::/64", "2001:db8:ffff::250", true));
    lab.rib.set_connected(lab.now, with_lan);
    let to = ResolvedNextHop { gateway: Some(ip(LOOPBACK)), ifindex: 5, through: None };
    // A route of its length or longer still wins over the subnet.
    assert!(at_once(&mut lab).is_empty());
    lab.rib.update(lab.now, PeerId(8), &withdraw(&[CARRIER]));
    assert_eq!(at_once(&mut lab), [HopEvent::Moved { from: hop("2001:db8:2::8", 2), to }]);
    lab.pump();
    assert_eq!(over(&lab, to), BEHIND);
    // From then on it is the link's to tell.
    lab.rib.set_connected(lab.now, links());
    lab.pump();
    assert!(at_once(&mut lab).is_empty());
}

#[test]
fn a_neighbour_that_leaves_takes_the_next_hops_it_carried_along_at_once() {
    let mut lab = site();
    // Its session ends; the sweep would come by its route at some time.
    lab.rib.peer_down(lab.now, PeerId(7), None);
    assert_eq!(at_once(&mut lab), [HopEvent::Lost(hop("2001:db8:2::7", 2))]);
    let mut lab = site();
    lab.send(8, announce(&[CARRIER], "2001:db8:2::8", attrs(&[64510])));
    lab.rib.peer_down(lab.now, PeerId(7), None);
    let moved = HopEvent::Moved { from: hop("2001:db8:2::7", 2), to: hop("2001:db8:2::8", 2) };
    assert_eq!(at_once(&mut lab), [moved], "the other carrier takes over, and a shorter route is not looked for");
    lab.told.remove(&PeerId(7));
    lab.pump();
    assert!(lab.hop_events.is_empty());
}

#[test]
fn a_next_hop_two_routes_deep_goes_with_the_link_at_the_end() {
    let mut lab = site();
    // The carrier itself is behind another loopback, which 8 carries.
    lab.send(8, announce(&["2001:db8:ffff::1/128"], "2001:db8:2::8", attrs(&[])));
    lab.send(7, announce(&[CARRIER], "2001:db8:ffff::1", attrs(&[])));
    lab.hop_events.clear();
    let mut down = links();
    down.iter_mut().filter(|c| c.ifindex == 2).for_each(|c| c.up = false);
    lab.rib.set_connected(lab.now, down);
    let lost = at_once(&mut lab);
    let other =
        ResolvedNextHop { gateway: Some(ip("2001:db8:2::8")), ifindex: 2, through: Some(ip("2001:db8:ffff::1")) };
    assert!(
        lost.contains(&HopEvent::Lost(hop("2001:db8:2::8", 2))) && lost.contains(&HopEvent::Lost(other)),
        "{lost:?}"
    );
    assert_eq!(lost.len(), 2);
    lab.rib.set_connected(lab.now, links());
    lab.pump();
    assert_eq!(lab.gone.len(), 1, "the way over 7 stays gone: {:?}", lab.gone);
    assert_eq!(lab.kernel.values().filter(|t| t.active()[0].hop == hop("2001:db8:2::8", 2)).count() as u32, BEHIND);
}

#[test]
fn one_gateway_is_a_next_hop_of_its_own_for_each_it_leads_to() {
    let mut lab = Lab::new();
    [7, 8].into_iter().for_each(|n| lab.up(n, Relation::Internal));
    lab.send(7, announce(&[CARRIER, "2001:db8:ffff::1/128"], "2001:db8:2::7", attrs(&[])));
    let over = |hop: &str, local_pref| {
        announce(&["2001:db8:900::/48"], hop, PathAttributes { local_pref: Some(local_pref), ..attrs(&[64511]) })
    };
    lab.send(7, over(LOOPBACK, 200));
    lab.send(8, over("2001:db8:ffff::1", 100));
    let target = &lab.kernel[&p("2001:db8:900::/48")];
    assert_eq!(target.active()[0].hop, hop("2001:db8:2::7", 2));
    // One router behind the gateway stands by for the other, on one link as they are.
    assert_eq!(target.backup().unwrap().through, Some(ip("2001:db8:ffff::1")));
    let entry = lab.rib.fib_entry(&p("2001:db8:900::/48")).unwrap();
    assert_eq!(entry.backup.unwrap().shared_fate, "same interface as the active one: eth2");
    lab.rib.update(lab.now, PeerId(7), &withdraw(&["2001:db8:ffff::1/128"]));
    assert_eq!(
        at_once(&mut lab).last(),
        Some(&HopEvent::Lost(ResolvedNextHop { through: Some(ip("2001:db8:ffff::1")), ..hop("2001:db8:2::7", 2) }))
    );
    lab.pump();
    assert_eq!(lab.kernel[&p("2001:db8:900::/48")].backup(), None);
}
