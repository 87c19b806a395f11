//! The RIB with several neighbours and a kernel that answers, no I/O: what is asserted is what neighbours would decode
//! from the bytes and what the kernel would hold.

mod add_path;
mod backup;
mod fib;
mod graceful;
mod model;
mod multipath;
mod policy;
mod recursion;
mod resolution;
mod route_server;
mod show;
mod startup;
mod table_wide;

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bgp_wire::message::{self, MAX_LEN};
use bgp_wire::{
    AsPath, GracefulRestart, Message, NextHop, Nlri, PathAttributes, Reach, RouteRefreshSubtype, SessionContext,
    Unreach, Update,
};
use net_types::{Asn, Family, Monotime, Prefix, RouterId};

use super::*;
use crate::config::{AddPath, Ducts, Multipath, PolicyMode, Relation, RemoteAddress};

const V4: Family = Family::IPV4_UNICAST;
const V6: Family = Family::IPV6_UNICAST;

fn p(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn nh(text: &str) -> NextHop {
    match ip(text) {
        IpAddr::V4(a) => NextHop::V4(a),
        IpAddr::V6(a) => NextHop::V6 { global: a, link_local: None },
    }
}

fn speaker() -> SpeakerConfig {
    SpeakerConfig {
        local_as: Asn(64500),
        router_id: "192.0.2.250".parse().unwrap(),
        lab: true,
        own_prefixes: vec![p("203.0.113.0/24"), p("2001:db8:500::/40")],
        internal_prefixes: Vec::new(),
        cluster_id: None,
        selection_deferral: Duration::from_secs(120),
        max_med_on_startup: Duration::ZERO,
        wait_for_fib: false,
        ducts: Ducts::default(),
        multipath: Multipath::default(),
    }
}

/// A neighbour N: eBGP ones have AS 64500 + N and address 198.51.100.N on interface 1, internal ones 192.0.2.N on 2.
fn neighbor(n: u32, relation: Relation) -> NeighborConfig {
    let net = if relation.is_internal() { [192, 0, 2] } else { [198, 51, 100] };
    let address = IpAddr::from([net[0], net[1], net[2], n as u8]);
    let remote_as = if relation.is_internal() { Asn(64500) } else { Asn(64500 + n) };
    NeighborConfig {
        policy: PolicyMode::AcceptAll,
        send_hold_time: Duration::ZERO,
        enforce_first_as: true,
        extended_message: false,
        max_as_path: 50,
        ..NeighborConfig::ordinary(&format!("n{n}"), address, remote_as, relation)
    }
}

fn info(n: u32, config: &NeighborConfig) -> PeerInfo {
    let RemoteAddress::Fixed(address) = config.remote else { panic!("a fixed address") };
    let internal = config.relation.is_internal();
    PeerInfo {
        id: PeerId(n),
        config: Arc::new(config.clone()),
        session: SessionContext {
            ebgp: !internal,
            four_octet_as: true,
            extended_message: false,
            families: vec![V4, V6],
            add_path_receive: Vec::new(),
            add_path_send: Vec::new(),
            extended_next_hop: vec![V4],
        },
        remote_as: config.remote_as,
        bgp_identifier: RouterId::from(u32::from_be_bytes([192, 0, 2, n as u8])),
        address,
        local_address: if internal { ip("192.0.2.250") } else { ip("198.51.100.126") },
        local_ipv4: None,
        local_ipv6: Some("2001:db8:1::250".parse().unwrap()),
        local_ipv6_link_local: Some("fe80::250".parse().unwrap()),
        ifindex: Some(if internal { 2 } else { 1 }),
        peer_role: None,
        graceful_restart: None,
        enhanced_refresh: true,
    }
}

fn with_gr(mut info: PeerInfo, forwarding: bool, restarting: bool) -> PeerInfo {
    let families = vec![(V4, forwarding), (V6, forwarding)];
    info.graceful_restart = Some(GracefulRestart { restarting, notification: false, restart_time: 120, families });
    info
}

fn link(ifindex: u32, subnet: &str, address: &str, up: bool) -> Connected {
    Connected { ifindex, ifname: format!("eth{ifindex}"), prefix: p(subnet), address: ip(address), up }
}

/// Interface 1 towards eBGP neighbours, 2 towards internal ones.
fn links() -> ConnectedTable {
    vec![
        link(1, "198.51.100.0/25", "198.51.100.126", true),
        link(1, "2001:db8:1::/64", "2001:db8:1::250", true),
        link(2, "192.0.2.0/25", "192.0.2.126", true),
        link(2, "2001:db8:2::/64", "2001:db8:2::250", true),
    ]
}

fn attrs(path: &[u32]) -> PathAttributes {
    PathAttributes { as_path: AsPath::sequence(path.iter().map(|a| Asn(*a))), ..PathAttributes::default() }
}

fn nlri(prefix: &str) -> Nlri {
    Nlri { prefix: p(prefix), path_id: 0 }
}

fn announce(prefixes: &[&str], next_hop: &str, attributes: PathAttributes) -> Update {
    let family = p(prefixes[0]).family();
    let reach = [Reach { family, next_hop: nh(next_hop), nlri: prefixes.iter().map(|x| nlri(x)).collect() }].into();
    Update { reach, attributes, ..Update::default() }
}

fn withdraw(prefixes: &[&str]) -> Update {
    let family = p(prefixes[0]).family();
    let unreach = [Unreach { family, nlri: prefixes.iter().map(|x| nlri(x)).collect() }].into();
    Update { unreach, ..Update::default() }
}

fn end_of_rib(family: Family) -> Update {
    Update { end_of_rib: Some(family), ..Update::default() }
}

/// What a neighbour has understood so far.
#[derive(Default, Debug)]
struct Told {
    routes: BTreeMap<Prefix, (PathAttributes, NextHop)>,
    /// The same, with Path Identifiers.
    paths: BTreeMap<Nlri, (PathAttributes, NextHop)>,
    end_of_rib: BTreeSet<Family>,
    refresh: Vec<RouteRefreshSubtype>,
    withdrawals: usize,
}

struct Lab {
    rib: Rib,
    now: Monotime,
    infos: BTreeMap<PeerId, PeerInfo>,
    told: BTreeMap<PeerId, Told>,
    kernel: BTreeMap<Prefix, FibTarget>,
    /// Answers not yet given; given at once while `answering`.
    unanswered: Vec<(Prefix, u64)>,
    answering: bool,
    /// There is time to clear away.
    tidying: bool,
    events: Vec<RibEvent>,
    hop_events: Vec<HopEvent>,
    /// Next hops behind routes that the kernel was told to be lost or moved away from.
    gone: BTreeSet<ResolvedNextHop>,
}

impl Lab {
    fn with(speaker: SpeakerConfig, restarting: bool) -> Lab {
        let now = Monotime::from_secs(1000);
        let mut rib = Rib::new(speaker, now, restarting);
        rib.set_connected(now, links());
        Lab {
            rib,
            now,
            infos: BTreeMap::new(),
            told: BTreeMap::new(),
            kernel: BTreeMap::new(),
            unanswered: Vec::new(),
            answering: true,
            tidying: true,
            events: Vec::new(),
            hop_events: Vec::new(),
            gone: BTreeSet::new(),
        }
    }

    fn new() -> Lab {
        Lab::with(speaker(), false)
    }

    fn up_with(&mut self, info: PeerInfo) {
        self.told.insert(info.id, Told::default());
        self.infos.insert(info.id, info.clone());
        self.rib.peer_up(self.now, info);
        self.pump();
    }

    fn up(&mut self, n: u32, relation: Relation) {
        self.up_with(info(n, &neighbor(n, relation)));
    }

    fn down(&mut self, n: u32, retain: Option<Retain>) {
        self.told.remove(&PeerId(n));
        self.rib.peer_down(self.now, PeerId(n), retain);
        self.pump();
    }

    fn send(&mut self, n: u32, update: impl Borrow<Update>) -> Option<MaxPrefixExceeded> {
        let exceeded = self.rib.update(self.now, PeerId(n), update.borrow());
        self.pump();
        exceeded
    }

    /// Neighbour `n` (eBGP) announces with its own AS in front and itself as next hop.
    fn announce(&mut self, n: u32, prefix: &str, path: &[u32]) {
        assert_eq!(self.send(n, announce(&[prefix], &format!("198.51.100.{n}"), attrs(path))), None);
    }

    fn sleep(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        while let Some(due) = self.rib.poll_timeout().filter(|t| *t <= until) {
            self.now = self.now.max(due);
            self.rib.handle_timeout(self.now);
            self.pump();
        }
        self.now = until;
    }

    fn answer_all(&mut self) {
        for (prefix, cookie) in std::mem::take(&mut self.unanswered) {
            self.rib.fib_result(prefix, cookie, Ok(()));
        }
        self.pump();
    }

    fn pump(&mut self) {
        loop {
            let mut moved = self.rib.work(self.now) || self.tidying && self.rib.tidy();
            self.hear_of_hops();
            loop {
                // Small, so that a batch's end falls everywhere.
                let batch = self.rib.poll_fib(3);
                if batch.wants.is_empty() {
                    break;
                }
                moved = true;
                for want in &batch.wants {
                    match batch.target(want) {
                        Some(target) => drop(self.kernel.insert(want.prefix, target.clone())),
                        None => drop(self.kernel.remove(&want.prefix)),
                    }
                }
                let asked = batch.wants.iter().map(|w| (w.prefix, w.cookie));
                if self.answering {
                    self.rib.fib_results(asked.map(|(prefix, cookie)| (prefix, cookie, Ok(()))));
                } else {
                    self.unanswered.extend(asked);
                }
            }
            while let Some(event) = self.rib.poll_event() {
                self.events.push(event);
            }
            while let Some(peer) = self.rib.poll_ready_peer() {
                moved = true;
                while let Some(bytes) = self.rib.next_updates(self.now, peer, 4096) {
                    self.hear(peer, &bytes.into_bytes());
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn hear_of_hops(&mut self) {
        while let Some(event) = self.rib.poll_hop_event() {
            match event {
                HopEvent::Lost(hop) => drop(self.gone.insert(hop)),
                HopEvent::Moved { from, to } => {
                    self.gone.insert(from);
                    self.gone.remove(&to);
                }
                HopEvent::Returned(hop) => drop(self.gone.remove(&hop)),
            }
            self.hop_events.push(event);
        }
    }

    fn hear(&mut self, peer: PeerId, mut bytes: &[u8]) {
        let told = self.told.get_mut(&peer).expect("bytes for a neighbour that is up");
        // The other end of the session.
        let ours = &self.infos[&peer].session;
        let context = &SessionContext { add_path_receive: ours.add_path_send.clone(), ..ours.clone() };
        while let Some(frame) = message::frame(bytes, MAX_LEN).unwrap() {
            match message::decode(frame.kind, &bytes[19..frame.len], context).unwrap() {
                Message::Update(update) => {
                    assert!(update.errors.is_empty(), "{update:?}");
                    for gone in update.unreach.iter().flat_map(|u| &u.nlri) {
                        assert!(told.paths.remove(gone).is_some(), "withdrawn but never announced: {gone:?}");
                        told.routes.remove(&gone.prefix);
                        told.withdrawals += 1;
                    }
                    for reach in &update.reach {
                        for new in &reach.nlri {
                            told.routes.insert(new.prefix, (update.attributes.clone(), reach.next_hop));
                            told.paths.insert(*new, (update.attributes.clone(), reach.next_hop));
                        }
                    }
                    told.end_of_rib.extend(update.end_of_rib);
                }
                Message::RouteRefresh(refresh) => told.refresh.push(refresh.subtype),
                other => panic!("not a message of the RIB: {other:?}"),
            }
            bytes = &bytes[frame.len..];
        }
        assert!(bytes.is_empty());
    }

    /// As a listing is made: prefixes a slice at a time, sorted, entries a page at a time.
    fn list(&self, table: RouteTable, filter: &RouteFilter, page: usize) -> Vec<RouteEntry> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let (prefixes, next) = self.rib.prefixes(table, filter, cursor, page);
            all.extend(prefixes);
            cursor = next;
            if next.is_none() {
                break;
            }
        }
        all.sort_unstable();
        all.chunks(page).flat_map(|page| self.rib.entries(table, page)).collect()
    }

    fn best(&self, prefix: &str) -> Option<RouteEntry> {
        let filter = RouteFilter { prefix: Some(p(prefix)), ..RouteFilter::default() };
        let entries = self.list(RouteTable::Loc { all_paths: false }, &filter, 10);
        assert!(entries.len() <= 1);
        entries.into_iter().next()
    }

    fn best_peer(&self, prefix: &str) -> Option<u32> {
        self.best(prefix).map(|r| r.peer.0)
    }

    fn told(&self, n: u32, prefix: &str) -> bool {
        self.told[&PeerId(n)].routes.contains_key(&p(prefix))
    }

    /// Next hops in use with their weights, and the backup.
    fn forwarding(&self, prefix: &str) -> (Vec<(String, u16)>, Option<String>) {
        let text = |hop: &ResolvedNextHop| hop.gateway.unwrap().to_string();
        let Some(target) = self.kernel.get(&p(prefix)) else { return (Vec::new(), None) };
        let active = target.active().iter().map(|m| (text(&m.hop), m.weight)).collect();
        (active, target.backup().as_ref().map(text))
    }

    fn via(&self, prefix: &str) -> Option<(String, u32)> {
        match self.kernel.get(&p(prefix))? {
            FibTarget::Forward { active, .. } => {
                let [WeightedNextHop { hop, weight: 1 }] = active.as_slice() else {
                    panic!("one next hop: {active:?}")
                };
                Some((hop.gateway.unwrap().to_string(), hop.ifindex))
            }
            FibTarget::Discard => Some(("discard".to_owned(), 0)),
        }
    }
}
