//! The RIB for people: plain structs, copied out a piece at a time so that a long listing holds nobody up.
//!
//! A listing is taken in two steps: [`Rib::prefixes`] copies the prefixes of a table out, a slice of the table a call, in
//! no order; the asker sorts them on its own time and asks [`Rib::entries`] for what stands under each, a page a call.

use std::sync::Arc;

use net_types::{Family, Monotime, Prefix};

use super::choose::Unusable;
use super::ids::DestId;
use super::paths::Path;
use super::types::{
    FamilyCounts, FibEntry, FibState, ListingCursor, NeighborFamilyCounts, PeerId, RibSummary, RouteEntry, RouteFilter,
    RouteTable,
};
use super::{Rib, decision, origin};
use crate::policy::SourceKind;

impl Rib {
    /// The whole RIB in a few numbers.
    pub fn summary(&self) -> RibSummary {
        let family_counts = |family: Family| {
            let v4 = family == Family::IPV4_UNICAST;
            let fib = self.loc.fib.counts(v4);
            FamilyCounts {
                family,
                prefixes: *self.loc.prefixes.get(v4),
                paths: self.loc.sources.all().filter(|(_, g)| g.v4 == v4 && !g.dead).map(|(_, g)| g.paths).sum(),
                fib_installed: fib.installed,
                fib_pending: fib.pending + fib.failed,
            }
        };
        RibSummary {
            families: Family::SUPPORTED.into_iter().map(family_counts).collect(),
            announced: self.announcements.iter().filter(|p| self.loc.may_originate(p)).copied().collect(),
            restarting: self.loc.deferred,
            last_resort: self.last_resort(),
            attribute_sets: self.loc.pool.len(),
            next_hops: self.loc.next_hops.len(),
        }
    }

    /// One neighbour in numbers, by family.
    pub fn neighbor_counts(&self, peer: PeerId) -> Vec<NeighborFamilyCounts> {
        let Some(state) = self.loc.peers.get(&peer) else { return Vec::new() };
        let of = |family: Family| {
            let mut counts = NeighborFamilyCounts {
                family,
                received: 0,
                accepted: 0,
                stale: 0,
                sent: usize::try_from(self.out.counters(peer, family).advertised).unwrap_or(usize::MAX),
                end_of_rib_received: state.end_of_rib.contains(&family),
            };
            let generations = self.loc.sources.of(peer, family == Family::IPV4_UNICAST);
            for (_, g) in generations.filter(|(_, g)| !g.dead) {
                counts.received += g.paths;
                counts.accepted += g.accepted;
                counts.stale += if g.stale { g.paths } else { 0 };
            }
            counts
        };
        Family::SUPPORTED.into_iter().map(of).collect()
    }

    /// Prefixes of a table that the filter lets through, in no order: those of about `limit` places from the cursor on.
    /// The second value: where to go on; `None`: that was all.
    pub fn prefixes(
        &self,
        table: RouteTable,
        filter: &RouteFilter,
        cursor: Option<ListingCursor>,
        limit: usize,
    ) -> (Vec<Prefix>, Option<ListingCursor>) {
        if let (Some(prefix), false) = (filter.prefix, filter.longer) {
            let found = if filter.longest_match {
                let holds = |id, _: &_| self.lists(table, id).then_some(id);
                self.loc.table.longest_match(&prefix, 0, holds)
            } else {
                self.loc.table.find(&prefix).filter(|id| self.lists(table, *id))
            };
            return (found.and_then(|id| self.loc.table.prefix(id)).into_iter().collect(), None);
        }
        let asked = |p: &Prefix| {
            filter.family.is_none_or(|f| f == p.family()) && filter.prefix.is_none_or(|within| within.covers(p))
        };
        let mut found = Vec::new();
        let mut last = cursor.map(|ListingCursor(id)| id);
        for _ in 0..limit.max(1) {
            let Some(id) = self.loc.table.after(last) else { return (found, None) };
            found.extend(self.loc.table.prefix(id).filter(|p| asked(p) && self.lists(table, id)));
            last = Some(id);
        }
        (found, last.map(ListingCursor))
    }

    /// True if the table has something at this destination.
    fn lists(&self, table: RouteTable, id: DestId) -> bool {
        match table {
            RouteTable::Loc { all_paths: false } => self.loc.table.get(id).is_some_and(|s| s.has_best()),
            RouteTable::Loc { all_paths: true } => self.loc.paths(id).any(|p| self.loc.accepted(p.verdict)),
            RouteTable::In(peer) => self.loc.has_from(id, peer),
            RouteTable::Out(peer) => self.out.holds_route(peer, id),
            RouteTable::Fib => self.loc.table.get(id).is_some_and(|s| s.target.is_some()),
        }
    }

    /// What stands under these prefixes in a table; nothing for one that has gone meanwhile.
    pub fn entries(&self, table: RouteTable, prefixes: &[Prefix]) -> Vec<RouteEntry> {
        let mut entries = Vec::new();
        for prefix in prefixes {
            if let Some(id) = self.loc.table.find(prefix) {
                self.entries_of(table, id, &mut entries);
            }
        }
        entries
    }

    fn entries_of(&self, table: RouteTable, id: DestId, into: &mut Vec<RouteEntry>) {
        match table {
            RouteTable::Loc { all_paths: false } | RouteTable::Fib => {
                let best = self.loc.table.get(id).and_then(|s| s.best());
                into.extend(best.and_then(|p| self.entry(id, p, false)));
            }
            RouteTable::Loc { all_paths: true } => into.extend(self.ranked(id)),
            RouteTable::In(peer) => {
                let of_peer = |p: &&Path| self.loc.sources.resolve(p.source).is_some_and(|(g, _)| g.peer() == peer);
                into.extend(self.loc.paths(id).filter(of_peer).filter_map(|p| self.entry(id, p, true)));
            }
            RouteTable::Out(peer) => {
                into.extend(
                    self.out.advertised_routes(&self.loc, peer, id).into_iter().map(|r| self.out_entry(peer, r)),
                );
            }
        }
    }

    /// Every accepted path: the best first, then by how far each came in the decision, the unusable last.
    fn ranked(&self, id: DestId) -> Vec<RouteEntry> {
        let (mut keys, mut usable, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for path in self.loc.paths(id).filter(|p| self.loc.accepted(p.verdict)) {
            match self.loc.key(path) {
                Ok(key) => {
                    keys.push(key);
                    usable.push(path);
                }
                Err(_) => rest.push(path),
            }
        }
        let mut lost = Vec::new();
        decision::decide(&keys, &mut lost);
        let mut ranked: Vec<_> = lost.iter().zip(&keys).zip(usable).collect();
        ranked.sort_by_key(|((lost, key), _)| (std::cmp::Reverse(**lost), key.peer, key.path_id));
        let paths = ranked.into_iter().map(|(_, path)| path).chain(rest);
        paths.filter_map(|p| self.entry(id, p, false)).collect()
    }

    /// One path of a destination.
    pub(super) fn entry(&self, id: DestId, path: &Path, before_policy: bool) -> Option<RouteEntry> {
        let slot = self.loc.table.get(id)?;
        let prefix = self.loc.table.prefix(id)?;
        let (generation, path_id) = self.loc.sources.resolve(path.source)?;
        let (pre, post) = (self.loc.verdicts.pre(path.verdict)?, self.loc.verdicts.post(path.verdict));
        let next_hop = self.loc.next_hops.get(self.loc.pool.head(pre)?.next_hop());
        let resolved = match next_hop.map(|e| e.state) {
            Some(Ok(r)) => r.target.and_then(|t| self.loc.fib.targets.hop_of(t)).into_iter().collect(),
            _ => Vec::new(),
        };
        let reason = match self.loc.key(path) {
            Ok(_) | Err(Unusable::Gone) => String::new(),
            Err(why) => self.loc.why(id, path, why),
        };
        let set = if before_policy { pre } else { post.unwrap_or(pre) };
        let best = slot.best() == Some(path);
        let target = slot.target.filter(|_| best).and_then(|t| self.loc.fib.targets.get(t));
        Some(RouteEntry {
            prefix,
            path_id: self.loc.has_path_ids(generation.peer(), prefix.family()).then_some(path_id),
            peer: generation.peer(),
            source: self.source_word(path),
            next_hop: next_hop.map_or_else(|| origin::unspecified(&prefix), |e| e.key.next_hop),
            attributes: Arc::new(self.loc.pool.decode(set)),
            best,
            stale: generation.stale,
            accepted: post.is_ok(),
            reason,
            resolved,
            backup: target.and_then(|t| self.loc.backup(t)),
            fib: if best { slot.fib_state() } else { FibState::NotWanted },
            received: Monotime::from_secs(u64::from(path.received)),
        })
    }

    fn out_entry(&self, peer: PeerId, route: super::out::AdvertisedRoute) -> RouteEntry {
        let id = self.loc.table.find(&route.prefix);
        let slot = id.and_then(|id| self.loc.table.get(id));
        let best = slot.and_then(|s| s.best());
        let path = match route.of {
            Some(from) => {
                let of = |p: &&Path| self.loc.sources.resolve(p.source).is_some_and(|(g, i)| (g.peer(), i) == from);
                id.and_then(|id| self.loc.paths(id).find(of))
            }
            None => best,
        };
        let stale = path.and_then(|p| self.loc.sources.resolve(p.source)).is_some_and(|(g, _)| g.stale);
        RouteEntry {
            prefix: route.prefix,
            path_id: route.path_id,
            peer,
            source: path.map_or("", |p| self.source_word(p)),
            next_hop: route.next_hop,
            attributes: route.attributes,
            best: path == best,
            stale,
            accepted: true,
            reason: String::new(),
            resolved: Vec::new(),
            backup: None,
            fib: slot.map_or(FibState::NotWanted, |s| s.fib_state()),
            received: path.map_or(Monotime::ZERO, |p| Monotime::from_secs(u64::from(p.received))),
        }
    }

    fn source_word(&self, path: &Path) -> &'static str {
        let source = self.loc.export_source(path).and_then(|s| self.loc.identities.source(s, &self.loc.speaker));
        match source {
            Some(source) => match (source.kind, source.neighbor) {
                (SourceKind::Local, _) => "local",
                (SourceKind::LocalInternal, _) => "local-internal",
                (_, Some(neighbor)) => neighbor.relation.as_str(),
                (_, None) => "",
            },
            None => "",
        }
    }

    /// What a neighbour holds from us for one prefix, the best of it.
    pub fn exported_route(&self, prefix: &Prefix, peer: PeerId) -> Option<RouteEntry> {
        let id = self.loc.table.find(prefix)?;
        let routes = self.out.advertised_routes(&self.loc, peer, id);
        routes.into_iter().next().map(|route| self.out_entry(peer, route))
    }

    /// The want of one prefix, if something is wanted.
    pub fn fib_entry(&self, prefix: &Prefix) -> Option<FibEntry> {
        let id = self.loc.table.find(prefix)?;
        let slot = self.loc.table.get(id)?;
        let target = self.loc.fib.targets.get(slot.target?)?;
        Some(FibEntry {
            prefix: *prefix,
            target: target.clone(),
            backup: self.loc.backup(target),
            state: slot.fib_state(),
            error: self.loc.fib.error(id).to_owned(),
            cookie: u64::from(slot.cookie),
        })
    }
}
