//! Groups, packing, End-of-RIB, refresh, and what a slow neighbour costs.

use std::collections::BTreeMap;
use std::sync::Arc;

use bgp_wire::{NextHop, PathAttributes, UnknownAttribute};
use bytes::Bytes;
use net_types::{Asn, Family};

use super::testutil::{Receiver, Source, Table};
use super::{AdjRibOut, DEFAULT_BUDGET, Outgoing, View};
use crate::config::{NeighborConfig, Relation};
use crate::policy::testutil::{arc, attributes, hop, id, ip, neighbor, prefix, session, source, speaker};
use crate::policy::{RouteSource, SessionFacts, SourceKind};
use crate::rib::PeerId;

/// Customer routes (peer 9's), one attribute set each unless shared.
struct World {
    out: AdjRibOut,
    table: Table,
    receivers: BTreeMap<PeerId, Receiver>,
}

impl World {
    fn new() -> World {
        let customer = NeighborConfig { remote_as: Asn(64502), ..neighbor(Relation::Customer) };
        let mut table = Table::default();
        let s: RouteSource<'_> = source(SourceKind::External, Some(&customer));
        let (peer, kind, bgp_identifier, address) = (s.peer, s.kind, s.bgp_identifier, s.peer_address);
        table.sources.insert(9, Source { peer, neighbor: Some(customer), kind, bgp_identifier, address });
        World { out: AdjRibOut::new(Arc::new(speaker())), table, receivers: BTreeMap::new() }
    }

    fn set(&mut self, p: &str, a: &PathAttributes) {
        let p = prefix(p);
        let next_hop: NextHop = if p.is_v4() { hop("192.0.2.9") } else { hop("2001:db8::9") };
        self.table.set(&mut self.out, p, (a, next_hop), 9);
    }

    fn remove(&mut self, p: &str) {
        self.table.remove(&mut self.out, &prefix(p));
    }

    fn up(&mut self, n: &NeighborConfig, s: &SessionFacts) {
        self.out.add_peer(n, s);
        self.receivers.insert(s.peer, Receiver::new(&s.context));
    }

    fn take(&mut self, peer: PeerId, budget: usize) -> Option<Outgoing> {
        let outgoing = self.out.next_updates(&mut self.table, peer, budget)?;
        self.receivers.get_mut(&peer).unwrap().receive(&outgoing.clone().into_bytes());
        Some(outgoing)
    }

    /// The next buffer, which the neighbour has read.
    fn pull(&mut self, peer: PeerId, budget: usize) -> Option<Bytes> {
        self.take(peer, budget).map(Outgoing::into_bytes)
    }

    fn drain(&mut self, peer: PeerId) -> usize {
        let mut octets = 0;
        while self.out.has_pending(peer) {
            octets += self.pull(peer, DEFAULT_BUDGET).map_or(0, |bytes| bytes.len());
        }
        assert!(self.pull(peer, DEFAULT_BUDGET).is_none());
        self.table.clear_away(&mut self.out);
        octets
    }

    fn held(&self, peer: PeerId) -> Vec<String> {
        self.receivers[&peer].table.keys().map(ToString::to_string).collect()
    }
}

fn peer(n: &NeighborConfig, last: u8) -> SessionFacts {
    SessionFacts {
        peer: PeerId(u32::from(last)),
        bgp_identifier: id(&format!("10.255.0.{last}")),
        address: ip(&format!("192.0.2.{last}")),
        ..session(n)
    }
}

const TWO: PeerId = PeerId(2);
const THREE: PeerId = PeerId(3);

#[test]
fn routes_with_equal_attributes_share_messages() {
    let (mut w, n) = (World::new(), neighbor(Relation::Transit));
    let shared = arc(attributes(&[64502]));
    // Two sets, interleaved: 512 routes of 4 octets each, two messages.
    let other = arc(attributes(&[64502, 64502]));
    for i in 0..512 {
        w.set(&format!("80.{}.{}.0/24", i / 256, i % 256), if i % 2 == 0 { &shared } else { &other });
    }
    w.up(&n, &peer(&n, 2));
    w.drain(TWO);
    let r = &w.receivers[&TWO];
    assert_eq!(r.table.len(), 512);
    // ... and End-of-RIB of two families.
    assert_eq!(r.messages, 2 + 2);
    assert_eq!(w.out.counters(TWO, Family::IPV4_UNICAST).advertised, 512);
}

#[test]
fn rfc4724_2_end_of_rib_once_per_family_after_everything() {
    let (mut w, n) = (World::new(), neighbor(Relation::Transit));
    for i in 0..100usize {
        w.set(&format!("80.0.{i}.0/24"), &arc(attributes(&vec![64502; i + 1])));
    }
    w.up(&n, &peer(&n, 2));
    while w.receivers[&TWO].table.len() < 100 {
        assert!(w.receivers[&TWO].end_of_rib.is_empty());
        w.pull(TWO, 300).unwrap();
    }
    w.drain(TWO);
    assert_eq!(w.receivers[&TWO].end_of_rib, [Family::IPV4_UNICAST, Family::IPV6_UNICAST]);
    w.set("80.1.0.0/24", &arc(attributes(&[64502])));
    w.drain(TWO);
    assert_eq!(w.receivers[&TWO].table.len(), 101);
}

#[test]
fn rfc4724_2_end_of_rib_with_nothing_to_send_and_nothing_allowed() {
    for policy in [crate::config::PolicyMode::Relationship, crate::config::PolicyMode::Deny] {
        let mut w = World::new();
        let n = NeighborConfig { policy, ..neighbor(Relation::Transit) };
        w.up(&n, &peer(&n, 2));
        w.drain(TWO);
        assert_eq!(w.receivers[&TWO].end_of_rib.len(), 2);
    }
}

#[test]
fn nothing_is_withdrawn_that_was_not_advertised() {
    let (mut w, n) = (World::new(), neighbor(Relation::Transit));
    w.up(&n, &peer(&n, 2));
    w.drain(TWO);
    // Refused by export (the path holds the neighbour's AS), then gone.
    w.set("80.0.0.0/24", &arc(attributes(&[64502, 64501])));
    assert_eq!(w.drain(TWO), 0);
    w.remove("80.0.0.0/24");
    assert_eq!(w.drain(TWO), 0);
    // There and gone between two pulls.
    w.set("80.0.0.0/24", &arc(attributes(&[64502])));
    w.remove("80.0.0.0/24");
    assert_eq!(w.drain(TWO), 0);
    // Marked, but the export is what it was.
    w.set("80.0.0.0/24", &arc(attributes(&[64502])));
    assert_ne!(w.drain(TWO), 0);
    w.set("80.0.0.0/24", &arc(PathAttributes { local_pref: Some(7), ..attributes(&[64502]) }));
    assert_eq!(w.drain(TWO), 0);
}

#[test]
fn withdrawals_go_first() {
    let (mut w, n) = (World::new(), neighbor(Relation::Transit));
    w.set("80.0.0.0/24", &arc(attributes(&[64502])));
    w.up(&n, &peer(&n, 2));
    w.drain(TWO);
    w.set("80.0.1.0/24", &arc(attributes(&[64502])));
    w.remove("80.0.0.0/24");
    let bytes = w.pull(TWO, DEFAULT_BUDGET).unwrap();
    // Type UPDATE, then a Withdrawn Routes Length that is not zero.
    assert_eq!((bytes[18], &bytes[19..21]), (2, &[0, 4][..]));
    assert_eq!(w.held(TWO), ["80.0.1.0/24"]);
}

#[test]
fn members_of_a_group_share_one_buffer() {
    let (mut w, n) = (World::new(), neighbor(Relation::Transit));
    let (a, b) = (peer(&n, 2), peer(&n, 3));
    w.up(&n, &a);
    w.up(&n, &b);
    assert_eq!(w.out.group_count(), 1);
    w.set("80.0.0.0/24", &arc(attributes(&[64502])));
    let first = w.take(TWO, DEFAULT_BUDGET).unwrap();
    let second = w.take(THREE, DEFAULT_BUDGET).unwrap();
    assert_eq!(first.shared().as_ptr(), second.shared().as_ptr());
    // Another AS as neighbour: the same answer. Another relationship: another one.
    let other = NeighborConfig { remote_as: Asn(64510), ..n };
    w.up(&other, &peer(&other, 4));
    assert_eq!(w.out.group_count(), 1);
    let other = neighbor(Relation::Peer);
    w.up(&other, &peer(&other, 5));
    assert_eq!(w.out.group_count(), 2);
}

#[test]
fn split_horizon_inside_a_group() {
    let (mut w, n) = (World::new(), NeighborConfig { remote_as: Asn(64503), ..neighbor(Relation::Customer) });
    w.up(&n, &peer(&n, 9));
    w.up(&n, &peer(&n, 3));
    assert_eq!(w.out.group_count(), 1);
    w.set("80.0.0.0/24", &arc(attributes(&[64502])));
    w.drain(PeerId(9));
    w.drain(THREE);
    assert_eq!((w.held(PeerId(9)).len(), w.held(THREE).len()), (0, 1));
    w.remove("80.0.0.0/24");
    assert_eq!(w.drain(PeerId(9)), 0);
    w.drain(THREE);
    assert_eq!(w.held(THREE).len(), 0);
}

#[test]
fn a_slow_neighbour_costs_a_position_not_a_copy() {
    let (mut w, n) = (World::new(), neighbor(Relation::Transit));
    w.up(&n, &peer(&n, 2));
    w.up(&n, &peer(&n, 3));
    w.drain(TWO);
    w.drain(THREE);
    for round in 0..1000u32 {
        for i in 0..10 {
            let p = format!("80.0.{}.0/24", (round % 20) * 10 + i);
            w.set(&p, &arc(PathAttributes { atomic_aggregate: round % 40 < 20, ..attributes(&[64502]) }));
        }
        w.drain(TWO);
    }
    let sizes = w.out.groups.iter().flatten().next().unwrap().sizes();
    assert_eq!(sizes, (200, 200), "one log entry per changed prefix");
    w.drain(THREE);
    assert_eq!(w.receivers[&TWO].table, w.receivers[&THREE].table);
    assert_eq!(w.out.groups.iter().flatten().next().unwrap().sizes(), (0, 200));
    for i in 0..200 {
        w.remove(&format!("80.0.{i}.0/24"));
    }
    w.drain(TWO);
    assert_eq!(w.out.groups.iter().flatten().next().unwrap().sizes(), (200, 200));
    w.out.remove_peer(THREE);
    assert_eq!(w.out.groups.iter().flatten().next().unwrap().sizes(), (0, 0));
    assert!(w.held(TWO).is_empty());
}

#[test]
fn rfc2918_4_refresh_sends_the_family_again() {
    let (mut w, n) = (World::new(), neighbor(Relation::Transit));
    w.set("80.0.0.0/24", &arc(attributes(&[64502])));
    w.set("2001:db8:a00::/48", &arc(attributes(&[64502])));
    let s = SessionFacts { enhanced_refresh: false, ..peer(&n, 2) };
    w.up(&n, &s);
    w.drain(TWO);
    let before = w.receivers[&TWO].messages;
    w.out.refresh(TWO, Family::IPV4_UNICAST);
    assert!(w.out.has_pending(TWO));
    w.drain(TWO);
    assert_eq!(w.receivers[&TWO].messages, before + 1);
    assert_eq!(w.out.counters(TWO, Family::IPV4_UNICAST).announced, 2);
    assert_eq!(w.out.counters(TWO, Family::IPV6_UNICAST).announced, 1);
    assert_eq!(w.out.counters(TWO, Family::IPV4_UNICAST).advertised, 1);
}

#[test]
fn rfc7313_4_refresh_stands_between_borr_and_eorr() {
    let (mut w, n) = (World::new(), neighbor(Relation::Transit));
    for i in 0..50 {
        w.set(&format!("80.0.{i}.0/24"), &arc(attributes(&vec![64502; i + 1])));
    }
    w.up(&n, &peer(&n, 2));
    // Asked for before the first End-of-RIB: BoRR waits for it (the receiver checks).
    w.out.refresh(TWO, Family::IPV4_UNICAST);
    w.drain(TWO);
    assert_eq!(w.receivers[&TWO].refreshed, [Family::IPV4_UNICAST]);
    assert_eq!(w.receivers[&TWO].table.len(), 50);
    // Changes in the middle of a refresh, a small buffer at a time: nothing is lost at EoRR.
    w.out.refresh(TWO, Family::IPV4_UNICAST);
    for i in 0..50 {
        w.pull(TWO, 120);
        if i % 3 == 0 {
            w.remove(&format!("80.0.{i}.0/24"));
        } else {
            w.set(&format!("80.0.{i}.0/24"), &arc(attributes(&[64502])));
        }
    }
    w.drain(TWO);
    assert_eq!(w.receivers[&TWO].refreshed.len(), 2);
    assert_eq!(w.held(TWO).len(), w.table.prefixes().len());
    // A family that is not in force is not refreshed.
    let v4_only = NeighborConfig { families: vec![Family::IPV4_UNICAST], ..n };
    w.up(&v4_only, &peer(&v4_only, 3));
    w.drain(THREE);
    w.out.refresh(THREE, Family::IPV6_UNICAST);
    assert_eq!(w.drain(THREE), 0);
}

#[test]
fn rfc4271_9_2_attributes_too_long_for_a_message_withdraw_the_route() {
    let (mut w, n) = (World::new(), neighbor(Relation::Transit));
    let long = |octets: usize| {
        let value = Bytes::from(vec![0u8; octets]);
        arc(PathAttributes { unknown: vec![UnknownAttribute { flags: 0xe0, code: 99, value }], ..attributes(&[64502]) })
    };
    let mut big = peer(&n, 3);
    big.context.extended_message = true;
    w.up(&n, &peer(&n, 2));
    w.up(&n, &big);
    assert_eq!(w.out.group_count(), 2);
    w.set("80.0.0.0/24", &long(100));
    w.set("80.0.1.0/24", &long(5000));
    w.drain(TWO);
    w.drain(THREE);
    assert_eq!(w.held(TWO), ["80.0.0.0/24"]);
    assert_eq!(w.held(THREE).len(), 2);
    w.set("80.0.0.0/24", &long(5000));
    w.drain(TWO);
    w.drain(THREE);
    assert!(w.held(TWO).is_empty());
    assert_eq!(w.held(THREE).len(), 2);
    let c = w.out.counters(TWO, Family::IPV4_UNICAST);
    assert_eq!((c.advertised, c.unsendable, c.withdrawn), (0, 2, 1));
    // Gone for good: nothing to withdraw any more.
    w.remove("80.0.0.0/24");
    assert_eq!(w.drain(TWO), 0);
    // One that fits with a short prefix only: each route is judged by itself.
    let room = 4096 - 23 - 5;
    let fixed = {
        let mut buf = bytes::BytesMut::new();
        let a = PathAttributes { as_path: bgp_wire::AsPath::sequence([Asn(64500), Asn(64502)]), ..Default::default() };
        let nlri = [bgp_wire::Nlri { prefix: prefix("80.0.0.0/24"), path_id: 0 }];
        let context = &peer(&n, 2).context;
        bgp_wire::update::encode_announce(Family::IPV4_UNICAST, &hop("192.0.2.1"), &a, nlri, context, &mut buf)
            .unwrap();
        // Without header, length fields and the route itself.
        buf.len() - 23 - 4
    };
    let edge = long(room + 5 - fixed - 4 - 3);
    w.set("80.0.2.0/24", &edge);
    w.set("80.2.0.0/16", &edge);
    w.drain(TWO);
    assert_eq!(w.held(TWO), ["80.2.0.0/16"]);
}

#[test]
fn changed_configuration_replaces_without_a_gap() {
    let (mut w, n) = (World::new(), neighbor(Relation::Transit));
    for i in 0..20 {
        w.set(&format!("80.0.{i}.0/24"), &arc(attributes(&vec![64502; i + 1])));
    }
    w.up(&n, &peer(&n, 2));
    w.drain(TWO);
    let cosmetic = NeighborConfig { description: "x".into(), hold_time: 30, ..n.clone() };
    w.out.change_peer(&cosmetic, &peer(&n, 2));
    assert!(!w.out.has_pending(TWO));
    let prepending = NeighborConfig { prepend: 1, ..n.clone() };
    w.out.change_peer(&prepending, &peer(&n, 2));
    w.remove("80.0.0.0/24");
    w.drain(TWO);
    let r = &w.receivers[&TWO];
    assert_eq!((r.table.len(), r.withdrawn, r.end_of_rib.len()), (19, 1, 2));
    assert!(r.table.values().all(|(a, _)| a.as_path.asns().take(2).eq([Asn(64500), Asn(64500)])));
    assert_eq!(w.out.counters(TWO, Family::IPV4_UNICAST).advertised, 19);
    let deny = NeighborConfig { policy: crate::config::PolicyMode::Deny, ..n };
    w.out.change_peer(&deny, &peer(&deny, 2));
    w.drain(TWO);
    assert!(w.held(TWO).is_empty());
}

#[test]
fn changed_speaker_sends_only_what_differs() {
    let (mut w, n) = (World::new(), neighbor(Relation::Transit));
    w.set("80.0.0.0/24", &arc(attributes(&[64502])));
    w.up(&n, &peer(&n, 2));
    w.drain(TWO);
    let wider = crate::config::SpeakerConfig { own_prefixes: vec![], ..speaker() };
    w.out.set_speaker(Arc::new(wider));
    assert_eq!(w.drain(TWO), 0);
    let renumbered = crate::config::SpeakerConfig { local_as: Asn(64499), ..speaker() };
    w.out.set_speaker(Arc::new(renumbered));
    assert_ne!(w.drain(TWO), 0);
}

#[test]
fn what_a_neighbour_holds_can_be_listed() {
    let (mut w, n) = (World::new(), neighbor(Relation::Transit));
    w.set("80.0.1.0/24", &arc(attributes(&[64502])));
    w.set("80.0.0.0/24", &arc(attributes(&[64502])));
    w.up(&n, &peer(&n, 2));
    assert_eq!(w.out.advertised(TWO).count(), 0);
    w.drain(TWO);
    let mut listed: Vec<_> = w.out.advertised(TWO).collect();
    listed.sort_by_key(|d| w.table.prefix(*d));
    let listed: Vec<_> = listed.into_iter().filter_map(|d| w.out.advertised_route(&w.table, TWO, d)).collect();
    let listed: Vec<_> = listed.iter().map(|r| (r.prefix, ((*r.attributes).clone(), r.next_hop))).collect();
    let held: Vec<_> = w.receivers[&TWO].table.clone().into_iter().collect();
    assert_eq!(listed, held);
    let dest = w.table.dest(&prefix("80.0.1.0/24")).unwrap();
    assert!(w.out.holds_route(TWO, dest) && !w.out.holds_route(THREE, dest));
    assert!(w.out.advertised_route(&w.table, THREE, dest).is_none());
    assert_eq!(w.out.advertised(THREE).count(), 0);
}

#[test]
fn neighbours_of_one_kind_are_one_group_whatever_their_as_and_subnet() {
    let mut w = World::new();
    let count = 20_000u32;
    for i in 0..count {
        w.set(&format!("80.{}.{}.0/24", i / 256, i % 256), &attributes(&vec![64502; 1 + i as usize % 7]));
    }
    w.set("2001:db8:a00::/48", &attributes(&[64502]));
    // The path goes through the AS of the neighbour with number 3.
    w.set("81.0.0.0/24", &attributes(&[64502, 64523]));
    let n = |i: u8| NeighborConfig { remote_as: Asn(64520 + u32::from(i)), ..neighbor(Relation::Transit) };
    let s = |i: u8| SessionFacts {
        local_address: ip(&format!("198.51.100.{i}")),
        local_ipv6: Some(format!("2001:db8:ffff::{i:x}").parse().unwrap()),
        ..peer(&n(i), i + 100)
    };
    (0..49).for_each(|i| w.up(&n(i), &s(i)));
    let mut buffers = Vec::new();
    for i in 0..49u32 {
        let mut mine = Vec::new();
        while let Some(outgoing) = w.take(PeerId(i + 100), DEFAULT_BUDGET) {
            mine.push(outgoing);
        }
        buffers.push(mine);
    }
    assert_eq!(w.out.group_count(), 1);
    let holds = |w: &World, i: u32| w.receivers[&PeerId(i + 100)].table.len();
    assert_eq!((holds(&w, 0), holds(&w, 3), holds(&w, 48)), (20_002, 20_001, 20_002));
    for i in 0..49 {
        let held = &w.receivers[&PeerId(i + 100)].table;
        assert_eq!(held[&prefix("80.0.0.0/24")].1, hop(&format!("198.51.100.{i}")));
        assert_eq!(held[&prefix("2001:db8:a00::/48")].1, hop(&format!("2001:db8:ffff::{i:x}")));
        assert_eq!(held.contains_key(&prefix("81.0.0.0/24")), i != 3);
    }
    // The first two were said the same, and each buffer was made once.
    let [first, second] = [&buffers[0], &buffers[1]];
    assert!(first.len() > 1 && first.len() == second.len());
    assert!(first.iter().zip(second).all(|(a, b)| a.shared().as_ptr() == b.shared().as_ptr()));
    drop(buffers);
    w.table.clear_away(&mut w.out);

    // One more, on the finished group: a walk, and a bit a destination.
    w.up(&n(49), &s(49));
    w.drain(PeerId(149));
    assert_eq!((holds(&w, 49), w.out.group_count()), (20_002, 1));
    let group = w.out.groups.iter().flatten().next().unwrap();
    assert_eq!(group.sizes(), (0, 20_002));
    assert!(group.members.get(PeerId(149)).unwrap().held.octets() < 16 * 1024);
}

#[test]
fn a_buffer_without_a_next_hop_of_ours_goes_to_all_as_it_is() {
    let (mut w, n) = (World::new(), neighbor(Relation::RrClient));
    w.up(&n, &peer(&n, 2));
    w.up(&n, &SessionFacts { local_address: ip("198.51.100.1"), ..peer(&n, 3) });
    w.set("80.0.0.0/24", &attributes(&[64502]));
    let [two, three] = [w.take(TWO, DEFAULT_BUDGET).unwrap(), w.take(THREE, DEFAULT_BUDGET).unwrap()];
    let shared = two.shared().as_ptr();
    assert_eq!(two.into_bytes().as_ptr(), shared);
    assert_eq!(three.into_bytes().as_ptr(), shared);
    assert_eq!(w.receivers[&TWO].table[&prefix("80.0.0.0/24")].1, hop("192.0.2.9"));
}

#[test]
fn a_new_profile_sends_only_what_differs() {
    let (mut w, n) = (World::new(), neighbor(Relation::RrClient));
    for i in 0..100usize {
        w.set(&format!("80.0.{i}.0/24"), &attributes(&vec![64502; i + 1]));
    }
    w.set("2001:db8:a00::/48", &attributes(&[64502]));
    w.up(&n, &peer(&n, 2));
    w.up(&n, &peer(&n, 3));
    w.drain(TWO);
    w.drain(THREE);
    // To a reflector's client the two differ in who may be sent what, and every one of these may go to both.
    let other = NeighborConfig { relation: Relation::Internal, ..n.clone() };
    w.out.change_peer(&other, &peer(&other, 2));
    assert_eq!(w.out.group_count(), 2);
    assert_eq!(w.drain(TWO), 0);
    // ... and what changes on the way is sent, to the one that moved too.
    w.out.change_peer(&n, &peer(&n, 2));
    w.set("80.0.7.0/24", &attributes(&[64502, 64510]));
    w.remove("80.0.8.0/24");
    w.drain(TWO);
    w.drain(THREE);
    assert_eq!(w.out.group_count(), 1);
    assert_eq!(w.receivers[&TWO].table, w.receivers[&THREE].table);
    assert_eq!(w.out.counters(TWO, Family::IPV4_UNICAST).announced, 101);
    assert_eq!(w.out.counters(TWO, Family::IPV4_UNICAST).withdrawn, 1);
    // Next hops of ours instead of the neighbour's: all differ.
    let own = NeighborConfig { next_hop_self: true, ..n };
    w.out.change_peer(&own, &peer(&own, 2));
    w.drain(TWO);
    assert_eq!(w.out.counters(TWO, Family::IPV4_UNICAST).announced, 200);
    assert_eq!(w.receivers[&TWO].withdrawn, 1);
}

#[test]
fn a_number_is_given_out_again_when_all_were_told() {
    let (mut w, n) = (World::new(), neighbor(Relation::Transit));
    w.set("80.0.0.0/24", &attributes(&[64502]));
    w.up(&n, &peer(&n, 2));
    w.up(&n, &peer(&n, 3));
    w.drain(TWO);
    w.drain(THREE);
    let dest = w.table.dest(&prefix("80.0.0.0/24")).unwrap();
    w.remove("80.0.0.0/24");
    assert!(w.out.holds(dest));
    w.drain(TWO);
    // The third has not heard of it: a new prefix gets another number.
    assert!(w.out.holds(dest));
    w.set("80.0.1.0/24", &attributes(&[64502]));
    assert_ne!(w.table.dest(&prefix("80.0.1.0/24")), Some(dest));
    w.drain(THREE);
    assert!(!w.out.holds(dest));
    w.set("80.0.2.0/24", &attributes(&[64502]));
    assert_eq!(w.table.dest(&prefix("80.0.2.0/24")), Some(dest));
    w.drain(TWO);
    w.drain(THREE);
    for peer in [TWO, THREE] {
        assert_eq!(w.held(peer), ["80.0.1.0/24", "80.0.2.0/24"]);
    }
    w.out.remove_peer(TWO);
    w.out.remove_peer(THREE);
    w.table.clear_away(&mut w.out);
    assert_eq!(w.table.leaks(), (0, 0));
}

#[test]
fn no_call_looks_at_the_whole_table() {
    let (mut w, n) = (World::new(), neighbor(Relation::Transit));
    let shared = attributes(&[64502, 64500]);
    for i in 0..100_000u32 {
        // Nothing that goes anywhere: too long for the Internet.
        w.set(&format!("80.{}.{}.{}/25", i / 512, i / 2 % 256, i % 2 * 128), &shared);
    }
    w.up(&n, &peer(&n, 2));
    let mut calls = 0;
    while w.out.has_pending(TWO) {
        let bytes = w.pull(TWO, DEFAULT_BUDGET);
        calls += 1;
        // End-of-RIB comes with the last, once.
        assert_eq!(bytes.is_some(), !w.out.has_pending(TWO));
    }
    assert!((4..20).contains(&calls), "{calls}");
    assert_eq!(w.receivers[&TWO].end_of_rib.len(), 2);
}
