//! From our values to the messages of bgpd.proto.

use api::bgpd::{self as pb};
use bgp_core::bfd::{SessionStatus, State};
use bgp_core::config::Ducts;
use bgp_core::policy::export::MAX_MED;
use bgp_core::rib::{
    ConnectedTable, ExplainedPath, FibState, LastResort, Memory, NeighborFamilyCounts, ResolvedNextHop, RibSummary,
    RouteEntry,
};
use bgp_wire::Origin;
use kernel::{LossReason, NextHop, NexthopEntry, ProcessMemory, WeightedHop};
use net_types::Monotime;

use crate::directory::Directory;
use crate::fib_task::Line;
use crate::messages::Snapshot;

/// How far a start is.
pub(super) fn max_med(last_resort: &LastResort, now: Monotime) -> pb::MaxMed {
    let LastResort { neighbors_in, neighbors, fib_pending, until } = *last_resort;
    let count = |n| u32::try_from(n).unwrap_or(u32::MAX);
    pb::MaxMed {
        med: MAX_MED,
        neighbors_in: count(neighbors_in),
        neighbors_total: count(neighbors),
        fib_pending: fib_pending as u64,
        seconds_left: until.since(now).as_secs(),
    }
}

/// The three accounts of memory: the kernel's, the allocator's, the tables'.
pub(super) fn memory(process: &ProcessMemory, tables: &Memory, rib: &RibSummary) -> pb::Memory {
    // Every field, so that a new table cannot be forgotten here.
    let Memory { destinations, index, further_paths, attributes, verdicts, sources, wants } = *tables;
    let parts = [
        ("destinations, each with its first path", destinations),
        ("index by prefix", index),
        ("further paths", further_paths),
        ("attribute sets", attributes),
        ("verdicts of import policy", verdicts),
        ("sources", sources),
        ("wants for the kernel", wants),
    ];
    pb::Memory {
        resident: process.resident,
        peak: process.peak,
        allocated: process.allocator.map(|a| a.in_use),
        allocator_free: process.allocator.map(|a| a.free),
        parts: parts.map(|(part, octets)| pb::MemoryPart { part: part.into(), octets: octets as u64 }).into(),
        prefixes: rib.families.iter().map(|f| f.prefixes as u64).sum(),
        paths: rib.families.iter().map(|f| f.paths as u64).sum(),
    }
}

fn loss(reason: LossReason) -> &'static str {
    match reason {
        LossReason::LinkDown => "link down",
        LossReason::BfdDown => "BFD down",
        LossReason::SessionDown => "session down",
        LossReason::NeighborFailed => "does not answer",
        LossReason::Drained => "drained",
        LossReason::Unresolved => "its route is gone",
        LossReason::Refused => "refused by the kernel",
    }
}

/// What turns numbers into names.
pub(super) struct Names<'a> {
    pub(super) directory: &'a Directory,
    pub(super) interfaces: &'a ConnectedTable,
    /// What is cut together.
    pub(super) ducts: &'a Ducts,
    /// A kernel table is kept; without one nothing is "installed".
    pub(super) fib: bool,
}

impl Names<'_> {
    fn interface(&self, ifindex: u32) -> String {
        let row = self.interfaces.iter().find(|c| c.ifindex == ifindex);
        row.map_or_else(|| format!("#{ifindex}"), |c| c.ifname.clone())
    }

    fn hop(&self, gateway: Option<std::net::IpAddr>, ifindex: u32) -> String {
        let dev = self.interface(ifindex);
        gateway.map_or_else(|| format!("dev {dev}"), |g| format!("{g} dev {dev}"))
    }

    fn resolved(&self, hop: &ResolvedNextHop) -> String {
        self.hop(hop.gateway, hop.ifindex)
    }

    /// Why a backup may be lost with what is in use, if so.
    fn shared_fate<'b>(&self, backup: &NextHop, mut active: impl Iterator<Item = &'b NextHop>) -> Option<String> {
        let own = self.interface(backup.ifindex);
        active.find_map(|h| self.ducts.shared_fate(&own, &self.interface(h.ifindex)))
    }

    /// An object that routes hang on.
    pub(super) fn next_hops(&self, o: &NexthopEntry) -> pb::NextHopObject {
        let hop = |h: &NextHop| self.hop(h.gateway, h.ifindex);
        let shares = o.active.iter().any(|w| w.weight != 1);
        let weighted = |w: &WeightedHop| match shares {
            true => format!("{} weight {}", hop(&w.hop), w.weight),
            false => hop(&w.hop),
        };
        let lost = |(h, reasons): &(NextHop, Vec<LossReason>)| {
            let why: Vec<&str> = reasons.iter().map(|r| loss(*r)).collect();
            format!("{} ({})", hop(h), why.join(", "))
        };
        pb::NextHopObject {
            id: o.id,
            form: match (o.form, o.active.len(), o.backup) {
                ("group", _, Some(_)) => "protected",
                ("group", 2.., None) => "multipath",
                ("group", ..) => "single",
                (form, ..) => form,
            }
            .into(),
            active: o.active.iter().map(weighted).collect(),
            backup: o.backup.as_ref().map_or_else(String::new, hop),
            shared_fate: o
                .backup
                .as_ref()
                .and_then(|b| self.shared_fate(b, o.active.iter().map(|w| &w.hop)))
                .unwrap_or_default(),
            lost: o.lost.iter().map(lost).collect(),
            routes: o.users as u64,
            installed: o.present,
            error: o.error.clone().unwrap_or_default(),
        }
    }

    pub(super) fn route(&self, e: &RouteEntry, now: Monotime) -> pb::Route {
        let a = &e.attributes;
        let text = |list: &[_]| list.iter().map(ToString::to_string).collect();
        pb::Route {
            prefix: e.prefix.to_string(),
            neighbor: self.directory.name(e.peer),
            next_hop: e.next_hop.to_string(),
            as_path: a.as_path.to_string(),
            origin: match a.origin {
                Origin::Igp => "igp",
                Origin::Egp => "egp",
                Origin::Incomplete => "incomplete",
            }
            .into(),
            med: a.med,
            local_pref: a.local_pref,
            communities: a.communities.iter().map(ToString::to_string).collect(),
            extended_communities: a.extended_communities.iter().map(ToString::to_string).collect(),
            large_communities: a.large_communities.iter().map(ToString::to_string).collect(),
            originator_id: a.originator_id.map_or_else(String::new, |o| o.to_string()),
            cluster_list: text(&a.cluster_list),
            otc: a.otc.map(|o| o.0),
            atomic_aggregate: a.atomic_aggregate,
            aggregator: a.aggregator.map_or_else(String::new, |g| format!("{} {}", g.asn, g.address)),
            unknown_attributes: a
                .unknown
                .iter()
                .map(|u| {
                    let hex: String = u.value.iter().map(|b| format!("{b:02x}")).collect();
                    format!("{} {:#04x} {hex}", u.code, u.flags)
                })
                .collect(),
            best: e.best,
            stale: e.stale,
            accepted: e.accepted,
            reason: e.reason.clone(),
            resolved: e.resolved.iter().map(|h| self.resolved(h)).collect(),
            fib_installed: self.fib && e.fib == FibState::Installed,
            age_seconds: now.since(e.received).as_secs(),
            source: e.source.into(),
            path_id: e.path_id,
            backup: e.backup.as_ref().map_or_else(String::new, |b| self.resolved(&b.hop)),
            shared_fate: e.backup.as_ref().map_or_else(String::new, |b| b.shared_fate.clone()),
        }
    }

    pub(super) fn explained(&self, p: &ExplainedPath, now: Monotime) -> pb::ExplainedPath {
        pb::ExplainedPath {
            route: Some(self.route(&p.route, now)),
            outcome: p.outcome.as_str().into(),
            step: p.step.clone(),
            this_value: p.this_value.clone(),
            best_value: p.best_value.clone(),
        }
    }

    pub(super) fn fib(&self, line: &Line) -> pb::FibRoute {
        let hops: Vec<String> = line.hops.iter().map(|h| self.hop(h.gateway, h.ifindex)).collect();
        let discard = hops.is_empty() && line.state != "stale";
        pb::FibRoute {
            prefix: line.prefix.to_string(),
            nexthop_id: line.nexthop_id.unwrap_or_default(),
            next_hops: if discard { vec!["discard".into()] } else { hops },
            state: line.state.into(),
            error: line.error.clone(),
            backup: line.backup.map_or_else(String::new, |h| self.hop(h.gateway, h.ifindex)),
            shared_fate: line.backup.as_ref().and_then(|b| self.shared_fate(b, line.hops.iter())).unwrap_or_default(),
        }
    }
}

pub(super) fn neighbor(s: &Snapshot, address: std::net::IpAddr, counts: &[NeighborFamilyCounts]) -> pb::Neighbor {
    let (c, st) = (&s.config, &s.status);
    let counted = |n: &NeighborFamilyCounts| pb::NeighborFamily {
        family: n.family.to_string(),
        received: n.received as u64,
        accepted: n.accepted as u64,
        sent: n.sent as u64,
        stale: n.stale as u64,
        end_of_rib_received: n.end_of_rib_received,
    };
    pb::Neighbor {
        name: c.name.clone(),
        address: address.to_string(),
        remote_as: c.remote_as.0,
        relation: c.relation.to_string(),
        state: st.state.to_string(),
        state_seconds: s.now.since(st.state_since).as_secs(),
        bgp_identifier: st.bgp_identifier.map_or_else(String::new, |i| i.to_string()),
        hold_time: st.hold_time.unwrap_or(c.hold_time).into(),
        families: counts.iter().filter(|n| c.families.contains(&n.family)).map(counted).collect(),
        capabilities_sent: st.capabilities_sent.iter().map(ToString::to_string).collect(),
        capabilities_received: st.capabilities_received.iter().map(ToString::to_string).collect(),
        last_error: st.last_error.clone(),
        messages_received: st.messages_received,
        messages_sent: st.messages_sent,
        updates_received: st.updates_received,
        updates_sent: st.updates_sent,
        established_transitions: st.established_transitions,
        description: c.description.clone(),
        dynamic: s.dynamic,
        enabled: s.enabled,
        update_errors: st.update_errors,
        local_address: st.local.map_or_else(String::new, |a| a.ip().to_string()),
        local_port: st.local.map_or(0, |a| a.port().into()),
        remote_port: st.remote.map_or(0, |a| a.port().into()),
        drained: s.config.drain,
    }
}

/// A BFD session with its neighbour's name.
pub(super) fn bfd(
    s: &SessionStatus,
    now: Monotime,
    directory: &Directory,
    interfaces: &ConnectedTable,
) -> pb::BfdSession {
    let name = |index: u32| interfaces.iter().find(|c| c.ifindex == index).map(|c| c.ifname.clone());
    let interface = name(s.interface).unwrap_or_default();
    // A link-local address is a neighbour's together with the interface only.
    let by_interface = s.key.interface.and_then(name);
    let neighbor = directory.caller(s.key.peer, by_interface.as_deref()).filter(|_| s.state != State::AdminDown);
    let micros = |d: std::time::Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    pb::BfdSession {
        neighbor: neighbor.map_or_else(String::new, |e| e.config.name.clone()),
        peer: s.key.peer.to_string(),
        local: s.local_address.map_or_else(String::new, |a| a.to_string()),
        interface,
        multihop: s.key.multihop,
        state: s.state.to_string(),
        remote_state: s.remote_state.to_string(),
        state_seconds: now.since(s.since).as_secs(),
        diagnostic: s.diagnostic.to_string(),
        remote_diagnostic: s.remote_diagnostic.to_string(),
        transmit_interval: s.transmit_interval.map(micros),
        detection_time: micros(s.detection_time),
        local_discriminator: s.local_discriminator,
        remote_discriminator: s.remote_discriminator,
        ups: s.ups,
        failures: s.failures,
        packets_received: s.packets_received,
        packets_sent: s.packets_sent,
        packets_discarded: s.packets_discarded,
    }
}
