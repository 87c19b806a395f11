//! The RIB for people: plain structs, copied out a page at a time so that a long listing holds nobody up.

use std::sync::Arc;

use net_types::{Family, Monotime, Prefix};

use super::decision::{self, PathKey, Step};
use super::fib::SlotState;
use super::next_hop::Unresolved;
use super::peers::{key_source, route_source};
use super::table::{Destination, Path};
use super::types::{
    ExplainedPath, ExplainedRoute, FamilyCounts, FibEntry, FibState, FibTarget, NeighborFamilyCounts, Outcome, PeerId,
    ResolvedNextHop, RibSummary, RouteEntry, RouteFilter, RouteTable,
};
use super::{Rib, origin};
use crate::policy::{self, ExplainStep, SourceKind};

impl Rib {
    /// The whole RIB in a few numbers.
    pub fn summary(&self) -> RibSummary {
        let family_counts = |family: Family| {
            let v4 = family == Family::IPV4_UNICAST;
            let [paths4, paths6] = self.loc.paths;
            let fib = self.loc.fib.counts(v4);
            FamilyCounts {
                family,
                prefixes: self.loc.table.iter(family, None).filter(|(_, d)| !d.paths.is_empty()).count(),
                paths: if v4 { paths4 } else { paths6 },
                fib_installed: fib.installed,
                fib_pending: fib.pending + fib.failed,
            }
        };
        RibSummary {
            families: Family::SUPPORTED.into_iter().map(family_counts).collect(),
            announced: self.announcements.iter().filter(|p| self.loc.may_originate(p)).copied().collect(),
            restarting: self.loc.deferred,
            attribute_sets: self.loc.pool.len(),
            next_hops: self.loc.next_hops.len(),
        }
    }

    /// One neighbour in numbers, by family.
    pub fn neighbor_counts(&self, peer: PeerId) -> Vec<NeighborFamilyCounts> {
        let Some(state) = self.loc.peers.get(&peer) else { return Vec::new() };
        let of = |family| {
            let counts = state.counts(family);
            NeighborFamilyCounts {
                family,
                received: counts.paths,
                accepted: counts.accepted,
                stale: counts.stale,
                sent: usize::try_from(self.out.counters(peer, family).advertised).unwrap_or(usize::MAX),
                end_of_rib_received: state.end_of_rib.contains(&family),
            }
        };
        Family::SUPPORTED.into_iter().map(of).collect()
    }

    /// A page of a table in order of prefix, from the first prefix after `cursor`: at least `limit` entries unless the
    /// table ends, and always whole prefixes. The second value is the next cursor; `None`: that was the last page.
    pub fn routes(
        &self,
        table: RouteTable,
        filter: &RouteFilter,
        cursor: Option<Prefix>,
        limit: usize,
    ) -> (Vec<RouteEntry>, Option<Prefix>) {
        let exact = match filter.prefix {
            Some(prefix) if filter.longest_match => match self.longest_match_in(table, &prefix) {
                Some(found) => Some(found),
                None => return (Vec::new(), None),
            },
            prefix => prefix,
        };
        let mut entries = Vec::new();
        if let (Some(prefix), false) = (exact, filter.longer) {
            if cursor.is_none() {
                self.entries(table, &prefix, &mut entries);
            }
            return (entries, None);
        }
        if let RouteTable::Out(peer) = table {
            return self.out_page(peer, exact, filter.family, cursor, limit);
        }
        for family in Family::SUPPORTED {
            if filter.family.is_some_and(|f| f != family)
                || exact.is_some_and(|p| p.family() != family)
                || cursor.is_some_and(|c| c.family() > family)
            {
                continue;
            }
            // All inside a prefix: the range that begins with it.
            let after = cursor.filter(|c| c.family() == family);
            let start = match (exact, after) {
                (Some(prefix), None) => {
                    self.entries(table, &prefix, &mut entries);
                    Some(prefix)
                }
                _ => after,
            };
            for (prefix, _) in self.loc.table.iter(family, start) {
                if exact.is_some_and(|within| !within.covers(&prefix)) {
                    break;
                }
                self.entries(table, &prefix, &mut entries);
                if entries.len() >= limit {
                    return (entries, Some(prefix));
                }
            }
        }
        (entries, None)
    }

    fn out_page(
        &self,
        peer: PeerId,
        within: Option<Prefix>,
        family: Option<Family>,
        cursor: Option<Prefix>,
        limit: usize,
    ) -> (Vec<RouteEntry>, Option<Prefix>) {
        let mut entries = Vec::new();
        for route in self.out.advertised(peer) {
            if cursor.is_some_and(|c| route.prefix <= c)
                || within.is_some_and(|w| !w.covers(&route.prefix))
                || family.is_some_and(|f| route.prefix.family() != f)
            {
                continue;
            }
            let prefix = route.prefix;
            entries.push(self.out_entry(peer, route));
            if entries.len() >= limit {
                return (entries, Some(prefix));
            }
        }
        (entries, None)
    }

    fn longest_match_in(&self, table: RouteTable, host: &Prefix) -> Option<Prefix> {
        (0..=host.len()).rev().map(|len| host.truncate(len)).find(|prefix| {
            let mut found = Vec::new();
            self.entries(table, prefix, &mut found);
            !found.is_empty()
        })
    }

    /// The entries of one prefix in one table.
    fn entries(&self, table: RouteTable, prefix: &Prefix, into: &mut Vec<RouteEntry>) {
        let destination = self.loc.table.get(prefix);
        match (table, destination) {
            (RouteTable::Loc { all_paths: false }, Some(d)) => {
                into.extend(d.best_path().map(|p| self.entry(prefix, d, p, false)));
            }
            (RouteTable::Loc { all_paths: true }, Some(d)) => {
                let mut accepted: Vec<&Path> = d.paths.iter().filter(|p| p.post.is_ok()).collect();
                accepted.sort_by_key(|p| (std::cmp::Reverse(p.lost_at), p.peer, p.path_id));
                into.extend(accepted.into_iter().map(|p| self.entry(prefix, d, p, false)));
            }
            (RouteTable::In(peer), Some(d)) => {
                into.extend(d.paths.iter().filter(|p| p.peer == peer).map(|p| self.entry(prefix, d, p, true)));
            }
            (RouteTable::Out(peer), _) => {
                into.extend(self.out.advertised_route(peer, prefix).map(|r| self.out_entry(peer, r)));
            }
            (RouteTable::Loc { .. } | RouteTable::In(_), None) => {}
        }
    }

    fn entry(&self, prefix: &Prefix, destination: &Destination, path: &Path, before_policy: bool) -> RouteEntry {
        let next_hop = self.loc.next_hops.get(path.next_hop);
        let state = next_hop.map(|e| &e.state);
        let resolved = match state {
            Some(Ok(r)) => r.target.as_ref().map_or(Vec::new(), |t| hops(t)),
            _ => Vec::new(),
        };
        let reason = match (&path.post, state) {
            (Err(refusal), _) => refusal.to_string(),
            (Ok(_), Some(Err(unresolved))) => unresolved.to_string(),
            (Ok(_), _) => String::new(),
        };
        let attributes = match &path.post {
            Ok(post) if !before_policy => Arc::clone(post),
            _ => Arc::clone(&path.pre),
        };
        let best = destination.best.is_some_and(|b| b.peer == path.peer && b.path_id == path.path_id);
        RouteEntry {
            prefix: *prefix,
            path_id: path.path_id,
            peer: path.peer,
            source: self.source_word(path.peer, path.path_id),
            next_hop: next_hop.map_or_else(|| origin::unspecified(prefix), |e| e.key.next_hop),
            attributes,
            best,
            stale: path.stale,
            accepted: path.post.is_ok(),
            reason,
            resolved,
            fib: if best { destination.fib.state() } else { FibState::NotWanted },
            received: path.received,
        }
    }

    fn out_entry(&self, peer: PeerId, route: super::out::AdvertisedRoute) -> RouteEntry {
        let destination = self.loc.table.get(&route.prefix);
        let best = destination.and_then(Destination::best_path);
        RouteEntry {
            prefix: route.prefix,
            path_id: 0,
            peer,
            source: best.map_or("", |p| self.source_word(p.peer, p.path_id)),
            next_hop: route.next_hop,
            attributes: route.attributes,
            best: true,
            stale: best.is_some_and(|p| p.stale),
            accepted: true,
            reason: String::new(),
            resolved: Vec::new(),
            fib: destination.map_or(FibState::NotWanted, |d| d.fib.state()),
            received: best.map_or(Monotime::ZERO, |p| p.received),
        }
    }

    fn source_word(&self, peer: PeerId, path_id: u32) -> &'static str {
        match route_source(&self.loc.peers, &self.loc.speaker, peer, path_id) {
            Some(source) => match (source.kind, source.neighbor) {
                (SourceKind::Local, _) => "local",
                (SourceKind::LocalInternal, _) => "local-internal",
                (_, Some(neighbor)) => neighbor.relation.as_str(),
                (_, None) => "",
            },
            None => "",
        }
    }

    /// Why the best path of a prefix is the best. A host prefix asks for its longest match.
    pub fn explain_route(&self, prefix: &Prefix) -> Option<ExplainedRoute> {
        let exact = self.loc.table.get(prefix).filter(|d| !d.paths.is_empty()).map(|_| *prefix);
        let host = prefix.len() == prefix.max_len();
        let prefix = exact.or_else(|| if host { self.loc.longest_match(prefix) } else { None })?;
        let destination = self.loc.table.get(&prefix)?;
        let mut usable: Vec<(&Path, PathKey)> = Vec::new();
        let mut rest = Vec::new();
        for path in &destination.paths {
            match self.key(path) {
                Ok(key) => usable.push((path, key)),
                Err(unresolved) => rest.push((path, unresolved)),
            }
        }
        let keys: Vec<PathKey> = usable.iter().map(|(_, k)| *k).collect();
        let mut lost = Vec::new();
        let best = decision::decide(&keys, &mut lost);
        let mut paths = Vec::new();
        for at in decision::rank(&keys) {
            let (Some((path, key)), Some(best)) = (usable.get(at), best) else { continue };
            let step = lost.get(at).copied().flatten().unwrap_or(Step::Best);
            let against = keys.get(decision::lost_against(&keys, &lost, at, best));
            let is_best = step == Step::Best;
            paths.push(ExplainedPath {
                route: self.entry(&prefix, destination, path, false),
                outcome: if is_best { Outcome::Best } else { Outcome::Lost },
                step: if is_best { String::new() } else { step.to_string() },
                this_value: key.value(step),
                best_value: if is_best { String::new() } else { against.map_or(String::new(), |k| k.value(step)) },
            });
        }
        rest.sort_by_key(|(path, _)| (path.post.is_err(), path.peer, path.path_id));
        for (path, unresolved) in rest {
            let (outcome, this_value) = match (&path.post, unresolved) {
                (Err(refusal), _) => (Outcome::Refused, refusal.to_string()),
                (Ok(_), Some(why)) => (Outcome::Unusable, why.to_string()),
                (Ok(_), None) => (Outcome::Unusable, "its sender is gone".to_owned()),
            };
            let route = self.entry(&prefix, destination, path, false);
            let step = Step::Usable.to_string();
            paths.push(ExplainedPath { route, outcome, step, this_value, best_value: String::new() });
        }
        let forwarding = self.forwarding(&prefix, destination);
        Some(ExplainedRoute { prefix, paths, forwarding })
    }

    fn key(&self, path: &Path) -> Result<PathKey, Option<Unresolved>> {
        let Ok(post) = &path.post else { return Err(None) };
        let state = self.loc.next_hops.get(path.next_hop).map(|e| &e.state);
        match (state, key_source(&self.loc.peers, self.loc.speaker.router_id, path.peer)) {
            (Some(Ok(resolved)), Some(source)) => {
                Ok(PathKey::new(post, source, path.path_id, resolved.cost, self.loc.speaker.local_as))
            }
            (Some(Err(why)), _) => Err(Some(*why)),
            _ => Err(None),
        }
    }

    fn forwarding(&self, prefix: &Prefix, destination: &Destination) -> String {
        if self.loc.deferred {
            return "the first decision after a restart still waits for End-of-RIB (RFC 4724 §4.1); \
                    the kernel keeps what it had"
                .to_owned();
        }
        let best = destination.best_path();
        let Some(target) = &destination.fib.target else {
            return match best {
                None => "no usable path: nothing of ours is in the kernel".to_owned(),
                Some(p) if p.peer == PeerId::LOCAL => "the kernel's own connected route forwards it".to_owned(),
                Some(_) => "nothing of ours is in the kernel".to_owned(),
            };
        };
        let what = match target.as_ref() {
            FibTarget::Discard => "discard (an announced prefix of our own)".to_owned(),
            FibTarget::NextHops(hops) => {
                let hops: Vec<String> = hops.iter().map(|h| self.hop_text(h)).collect();
                format!("forward via {}", hops.join(", "))
            }
        };
        match destination.fib.state {
            SlotState::Installed => format!("the kernel has it: {what}"),
            SlotState::Pending => format!("waits for the kernel: {what}"),
            SlotState::Failed => format!("the kernel refused it ({}): {what}", self.loc.fib.error(prefix)),
            SlotState::NotWanted => what,
        }
    }

    /// Each export rule and what it says about the best path of `prefix` towards a neighbour; `None`: no such session.
    pub fn explain_export(&self, prefix: &Prefix, peer: PeerId) -> Option<Vec<ExplainStep>> {
        let state = self.loc.peers.get(&peer)?;
        let session = state.live()?;
        let row = |rule, clause, pass, detail: String| ExplainStep { rule, clause, pass, detail };
        let destination = self.loc.table.get(prefix);
        let Some((destination, path)) = destination.and_then(|d| Some((d, d.best_path()?))) else {
            let why = if self.loc.deferred {
                "the first decision after a restart is still deferred"
            } else {
                "there is no usable path for this prefix"
            };
            return Some(vec![row("best-path", "RFC 4271 §9.1.2", false, why.to_owned())]);
        };
        let (Ok(attributes), Some(entry)) = (&path.post, self.loc.next_hops.get(path.next_hop)) else { return None };
        let source = route_source(&self.loc.peers, &self.loc.speaker, path.peer, path.path_id)?;
        let mut steps = vec![row("best-path", "RFC 4271 §9.1.2", true, format!("from {}", source.peer_address))];
        let in_fib = !self.loc.speaker.wait_for_fib
            || matches!(destination.fib.state, SlotState::Installed | SlotState::NotWanted);
        steps.push(row("in-fib", "wait_for_fib", in_fib, self.forwarding(prefix, destination)));
        let next_hop = entry.key.next_hop;
        let speaker = &self.loc.speaker;
        steps.extend(policy::explain_export(
            speaker,
            &state.config,
            &session.facts,
            &source,
            prefix,
            &next_hop,
            attributes,
        ));
        Some(steps)
    }

    /// A next hop with its interface's name, or its number where the interface is gone.
    fn hop_text(&self, hop: &ResolvedNextHop) -> String {
        let row = self.loc.connected_table.iter().find(|c| c.ifindex == hop.ifindex);
        let dev = row.map_or_else(|| format!("#{}", hop.ifindex), |c| c.ifname.clone());
        match hop.gateway {
            Some(gateway) => format!("{gateway} dev {dev}"),
            None => format!("dev {dev}"),
        }
    }

    /// What a neighbour holds from us for one prefix.
    pub fn exported_route(&self, prefix: &Prefix, peer: PeerId) -> Option<RouteEntry> {
        self.out.advertised_route(peer, prefix).map(|route| self.out_entry(peer, route))
    }

    /// A page of the wants, in order of prefix; as [`Rib::routes`].
    pub fn fib_entries(
        &self,
        family: Option<Family>,
        cursor: Option<Prefix>,
        limit: usize,
    ) -> (Vec<FibEntry>, Option<Prefix>) {
        let mut entries = Vec::new();
        for of in Family::SUPPORTED {
            if family.is_some_and(|f| f != of) || cursor.is_some_and(|c| c.family() > of) {
                continue;
            }
            for (prefix, destination) in self.loc.table.iter(of, cursor.filter(|c| c.family() == of)) {
                let Some(target) = &destination.fib.target else { continue };
                entries.push(FibEntry {
                    prefix,
                    target: FibTarget::clone(target),
                    state: destination.fib.state(),
                    error: self.loc.fib.error(&prefix).to_owned(),
                    cookie: destination.fib.cookie,
                });
                if entries.len() >= limit {
                    return (entries, Some(prefix));
                }
            }
        }
        (entries, None)
    }
}

fn hops(target: &FibTarget) -> Vec<ResolvedNextHop> {
    match target {
        FibTarget::NextHops(hops) => hops.clone(),
        FibTarget::Discard => Vec::new(),
    }
}
