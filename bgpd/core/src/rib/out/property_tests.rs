//! Whatever happens in whatever order, what each neighbour decoded adds up to the export of the current view, judged
//! for it alone (the ungrouped answer).

use std::collections::BTreeMap;
use std::sync::Arc;

use bgp_wire::{NextHop, Nlri, PathAttributes, UnknownAttribute, update};
use bytes::{Bytes, BytesMut};
use net_types::{Asn, Family, Prefix, RouterId};
use proptest::prelude::*;

use super::testutil::{Receiver, Source, Table};
use super::{AdjRibOut, DEFAULT_BUDGET};
use crate::config::{NeighborConfig, PolicyMode, Relation, SpeakerConfig};
use crate::policy::testutil::{attributes, hop, id, ip, neighbor, prefix, session, speaker};
use crate::policy::{SessionFacts, SourceKind, export, tag};
use crate::rib::PeerId;

const PREFIXES: [&str; 10] = [
    "203.0.113.0/24",
    "203.0.113.128/25",
    "80.0.0.0/24",
    "80.0.1.0/24",
    "80.0.2.0/23",
    "80.1.0.0/16",
    "2001:db8:500::/44",
    "2001:db8:a00::/48",
    "2001:db8:a01::/48",
    "2001:db8:a02::/64",
];

/// Neighbours 0 and 1 are alike, 2 to 4 too (clients), 5 and 6 too, in two ASes and with two addresses of ours, 7 is alone
/// and takes long messages.
const PEERS: usize = 8;
const ATTRIBUTES: usize = 7;

#[derive(Clone, Debug)]
enum Op {
    Set { prefix: usize, source: usize, attributes: usize },
    Remove { prefix: usize },
    Pending { prefix: usize, waits: bool },
    Pull { peer: usize, budget: usize },
    Up { peer: usize },
    Down { peer: usize },
    Refresh { peer: usize, v4: bool },
    Change { peer: usize, variant: u8 },
    Speaker { own: bool },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..PREFIXES.len(), 0..=PEERS, 0..ATTRIBUTES)
            .prop_map(|(prefix, source, attributes)| Op::Set { prefix, source, attributes }),
        4 => (0..PREFIXES.len()).prop_map(|prefix| Op::Remove { prefix }),
        2 => (0..PREFIXES.len(), any::<bool>()).prop_map(|(prefix, waits)| Op::Pending { prefix, waits }),
        12 => (0..PEERS, prop_oneof![Just(1usize), Just(60), Just(200), Just(65536)])
            .prop_map(|(peer, budget)| Op::Pull { peer, budget }),
        2 => (0..PEERS).prop_map(|peer| Op::Up { peer }),
        1 => (0..PEERS).prop_map(|peer| Op::Down { peer }),
        2 => (0..PEERS, any::<bool>()).prop_map(|(peer, v4)| Op::Refresh { peer, v4 }),
        2 => (0..PEERS, 0..4u8).prop_map(|(peer, variant)| Op::Change { peer, variant }),
        1 => any::<bool>().prop_map(|own| Op::Speaker { own }),
    ]
}

struct Peer {
    config: NeighborConfig,
    facts: SessionFacts,
    receiver: Option<Receiver>,
}

struct World {
    speaker: SpeakerConfig,
    out: AdjRibOut,
    peers: Vec<Peer>,
    table: Table,
    /// The number of each source; the last is ourselves.
    sources: Vec<u32>,
    next_source: u32,
}

fn identifier(peer: usize) -> RouterId {
    id(&format!("10.255.0.{}", peer + 10))
}

fn make_peer(i: usize) -> Peer {
    let (relation, asn) = match i {
        0 | 1 => (Relation::Transit, 64501),
        2..=4 => (Relation::RrClient, 64500),
        5 => (Relation::Customer, 64505),
        6 => (Relation::Customer, 64506),
        _ => (Relation::Internal, 64500),
    };
    let config = NeighborConfig { remote_as: Asn(asn), ..neighbor(relation) };
    let mut facts = SessionFacts {
        peer: PeerId(u32::try_from(i).unwrap()),
        bgp_identifier: identifier(i),
        address: ip(&format!("192.0.2.{}", i + 10)),
        enhanced_refresh: i.is_multiple_of(2),
        ..session(&config)
    };
    facts.context.extended_message = i == 7;
    if i == 6 {
        facts.local_address = ip("192.0.2.200");
        facts.local_ipv6 = Some("2001:db8:ffff::1".parse().unwrap());
    }
    Peer { config, facts, receiver: None }
}

fn make_attributes(variant: usize, source: &NeighborConfig) -> PathAttributes {
    let base = attributes(&[64505, 64510]);
    let customer = PathAttributes {
        large_communities: tag::of(Asn(64500), Relation::Customer).into_iter().collect(),
        ..base.clone()
    };
    match variant {
        0 => base,
        1 => customer,
        // Begins at neighbour 3 (a client), came over another reflector.
        2 => PathAttributes { originator_id: Some(identifier(3)), cluster_list: [id("10.9.9.9")].into(), ..customer },
        3 => PathAttributes { communities: [bgp_wire::Community::NO_EXPORT].into(), ..base },
        4 => PathAttributes { med: Some(source.remote_as.0), ..customer },
        // Too long for all but neighbour 7.
        5 => {
            let value = Bytes::from(vec![7u8; 5000]);
            PathAttributes { unknown: vec![UnknownAttribute { flags: 0xe0, code: 99, value }], ..customer }
        }
        _ => PathAttributes { local_pref: Some(300), ..attributes(&[64501]) },
    }
}

impl World {
    fn new() -> World {
        let speaker = speaker();
        let mut world = World {
            out: AdjRibOut::new(Arc::new(speaker.clone())),
            speaker,
            peers: (0..PEERS).map(make_peer).collect(),
            table: Table::default(),
            sources: vec![0; PEERS + 1],
            next_source: 0,
        };
        (0..=PEERS).for_each(|source| world.new_source(source));
        world
    }

    /// The source gets another number, for what it is now.
    fn new_source(&mut self, source: usize) {
        self.next_source += 1;
        self.sources[source] = self.next_source;
        let new = match self.peers.get(source) {
            Some(peer) => Source {
                peer: peer.facts.peer,
                neighbor: Some(peer.config.clone()),
                kind: match peer.config.relation {
                    Relation::Internal => SourceKind::Internal,
                    Relation::RrClient => SourceKind::InternalClient,
                    _ => SourceKind::External,
                },
                bgp_identifier: peer.facts.bgp_identifier,
                address: peer.facts.address,
            },
            None => Source {
                peer: PeerId::LOCAL,
                neighbor: None,
                kind: SourceKind::Local,
                bgp_identifier: id("10.255.0.1"),
                address: ip("192.0.2.1"),
            },
        };
        self.table.sources.insert(self.next_source, new);
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Set { prefix: p, source, attributes } => {
                let p = prefix(PREFIXES[p]);
                let config = self.peers.get(source).map_or(&self.peers[0].config, |n| &n.config);
                let local = source >= PEERS;
                let made = if local { PathAttributes::default() } else { make_attributes(attributes, config) };
                let via = if p.is_v4() { "192.0.2" } else { "2001:db8:" };
                // Sometimes a client's own address: that client must not get it (RFC 4271 §5.1.3).
                let next_hop =
                    hop(&if p.is_v4() { format!("{via}.{}", source + 10) } else { format!("{via}:{source}") });
                self.table.set(&mut self.out, p, (&made, next_hop), self.sources[source]);
            }
            Op::Remove { prefix: p } => self.table.remove(&mut self.out, &prefix(PREFIXES[p])),
            Op::Pending { prefix: p, waits } => self.wait(prefix(PREFIXES[p]), waits),
            Op::Pull { peer, budget } => {
                self.pull(peer, budget);
            }
            Op::Up { peer } => {
                let p = &mut self.peers[peer];
                self.out.add_peer(&p.config, &p.facts);
                p.receiver = Some(Receiver::new(&p.facts.context));
            }
            Op::Down { peer } => {
                self.peers[peer].receiver = None;
                self.out.remove_peer(PeerId(u32::try_from(peer).unwrap()));
            }
            Op::Refresh { peer, v4 } => {
                let family = if v4 { Family::IPV4_UNICAST } else { Family::IPV6_UNICAST };
                self.out.refresh(PeerId(u32::try_from(peer).unwrap()), family);
            }
            Op::Change { peer, variant } => {
                let p = &mut self.peers[peer];
                let base = make_peer(peer).config;
                p.config = match variant {
                    0 => base,
                    1 => NeighborConfig { policy: PolicyMode::AcceptAll, ..base },
                    2 => NeighborConfig { export: false, ..base },
                    _ => NeighborConfig { prepend: 2, next_hop_self: true, ..base },
                };
                if p.receiver.is_some() {
                    self.out.change_peer(&p.config, &p.facts);
                }
                // The neighbour is also a source. Sometimes nobody knows any more what it was.
                let old = self.sources[peer];
                self.new_source(peer);
                self.table.replace_source(&mut self.out, old, self.sources[peer]);
                if variant == 0 {
                    self.table.sources.remove(&old);
                }
            }
            Op::Speaker { own } => {
                self.speaker.own_prefixes = if own { speaker().own_prefixes } else { vec![] };
                self.out.set_speaker(Arc::new(self.speaker.clone()));
            }
        }
    }

    /// A new best path waits for the kernel, or does no more.
    fn wait(&mut self, prefix: Prefix, waits: bool) {
        if waits {
            self.table.pending.insert(prefix);
        } else if self.table.pending.remove(&prefix)
            && let Some(dest) = self.table.dest(&prefix)
        {
            self.out.mark_changed(dest);
        }
    }

    fn pull(&mut self, peer: usize, budget: usize) -> bool {
        let outgoing = self.out.next_updates(&mut self.table, PeerId(u32::try_from(peer).unwrap()), budget);
        let bytes = outgoing.map(super::Outgoing::into_bytes);
        self.table.clear_away(&mut self.out);
        let Some(receiver) = &mut self.peers[peer].receiver else {
            assert!(bytes.is_none(), "messages for a session that is down");
            return false;
        };
        if let Some(bytes) = &bytes {
            assert!(!bytes.is_empty());
            receiver.receive(bytes);
        }
        bytes.is_some()
    }

    /// What this neighbour should hold, route by route, without any group.
    fn expected(&self, peer: &Peer) -> BTreeMap<Prefix, (PathAttributes, NextHop)> {
        let mut out = BTreeMap::new();
        for p in &self.table.prefixes() {
            let Some((a, hop, source)) = self.table.best(p) else { continue };
            let source = source.route_source();
            let verdict = export(&self.speaker, &peer.config, &peer.facts, &source, p, &hop, &a);
            let Ok((a, hop)) = verdict else { continue };
            let nlri = [Nlri { prefix: *p, path_id: 0 }];
            let fits = update::encode_announce(p.family(), &hop, &a, nlri, &peer.facts.context, &mut BytesMut::new());
            if fits.is_ok() {
                out.insert(*p, (a, hop));
            }
        }
        out
    }

    fn check(&mut self) {
        PREFIXES.iter().for_each(|p| self.wait(prefix(p), false));
        for peer in 0..PEERS {
            while self.pull(peer, 500) {}
            assert!(!self.pull(peer, DEFAULT_BUDGET));
        }
        for (i, peer) in self.peers.iter().enumerate() {
            let number = PeerId(u32::try_from(i).unwrap());
            assert!(!self.out.has_pending(number));
            let Some(receiver) = &peer.receiver else { continue };
            let want = self.expected(peer);
            assert_eq!(receiver.table, want, "neighbour {i} ({})", peer.config.relation);
            assert_eq!(receiver.end_of_rib.len(), 2);
            let routes = self.out.advertised(number).filter_map(|d| self.out.advertised_route(&self.table, number, d));
            let listed: BTreeMap<_, _> = routes.map(|r| (r.prefix, ((*r.attributes).clone(), r.next_hop))).collect();
            assert_eq!(listed, want);
            for family in Family::SUPPORTED {
                let held = want.keys().filter(|p| p.family() == family).count();
                assert_eq!(self.out.counters(number, family).advertised, held as u64);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_neighbour_ends_with_the_export_of_the_current_view(
        ops in prop::collection::vec(op(), 1..120),
        up in prop::collection::vec(any::<bool>(), PEERS),
    ) {
        let mut world = World::new();
        for (peer, up) in up.iter().enumerate() {
            if *up {
                world.apply(&Op::Up { peer });
            }
        }
        for (i, op) in ops.iter().enumerate() {
            world.apply(op);
            if i % 40 == 39 {
                world.check();
            }
        }
        world.check();
        // Nothing stays of sessions that ended.
        (0..PEERS).for_each(|peer| world.apply(&Op::Down { peer }));
        world.table.clear_away(&mut world.out);
        prop_assert_eq!(world.table.leaks(), (0, 0));
    }
}

#[test]
fn rfc7313_4_a_route_that_changes_during_a_refresh_is_not_purged() {
    // Found by the property above: the change moved the route behind EoRR.
    let mut w = World::new();
    w.apply(&Op::Up { peer: 2 });
    w.apply(&Op::Up { peer: 3 });
    w.apply(&Op::Set { prefix: 8, source: 0, attributes: 0 });
    w.check();
    for op in [
        Op::Set { prefix: 0, source: 0, attributes: 0 },
        Op::Set { prefix: 8, source: 0, attributes: 1 },
        Op::Refresh { peer: 2, v4: false },
        Op::Pull { peer: 3, budget: 1 },
        Op::Set { prefix: 2, source: 0, attributes: 0 },
        Op::Pull { peer: 2, budget: 1 },
        Op::Set { prefix: 8, source: 0, attributes: 4 },
        Op::Pull { peer: 2, budget: 60 },
        Op::Pull { peer: 2, budget: 60 },
        Op::Pull { peer: 2, budget: 60 },
    ] {
        w.apply(&op);
        let table = &w.peers[2].receiver.as_ref().unwrap().table;
        assert!(table.contains_key(&prefix(PREFIXES[8])), "gone after {op:?}");
    }
    w.check();
}

#[test]
fn rfc7313_4_what_cannot_be_sent_again_is_withdrawn() {
    // Found by the property above: the route waits for the kernel, and nobody knows any more whose the last one was.
    let mut w = World::new();
    w.apply(&Op::Up { peer: 6 });
    w.apply(&Op::Set { prefix: 3, source: 3, attributes: 0 });
    w.check();
    for op in [
        Op::Speaker { own: false },
        Op::Pending { prefix: 3, waits: true },
        Op::Refresh { peer: 6, v4: true },
        Op::Change { peer: 3, variant: 0 },
        Op::Pull { peer: 6, budget: 200 },
        Op::Remove { prefix: 3 },
    ] {
        w.apply(&op);
    }
    w.check();
}
