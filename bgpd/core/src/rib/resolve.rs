//! Where next hops lead, and what follows when that changes.
//!
//! A decision may change how next hops inside its prefix resolve: they are resolved again at the end of the call
//! ([`LocRib::settle`]). One that comes out differently goes to the sweep, which decides again what hangs on it; that may
//! change others, and so on. Routes that resolve through one another could go round for ever: a next hop that the sweep's
//! decisions have changed [`MAX_CHANGES`] times before the sweep came to rest is put out of use until something outside
//! changes.
//!
//! What is looked up through a next hop that changed, or through a route of a neighbour that is gone, is resolved again at
//! once, and the routes it is looked up in are decided before: a router that is lost takes its next hop with it
//! ([`HopEvent`]) whatever the sweep is at.

use net_types::Prefix;

use super::ids::DestId;
use super::loc_rib::LocRib;
use super::next_hop::{MAX_DEPTH, NextHopId, NextHopKey, Reachability, Resolved, Unresolved, address};
use super::peers::ANNOUNCED;
use super::sweep::Job;
use super::targets::TargetId;
use super::types::{HopEvent, PeerId, ResolvedNextHop};

/// Changes of one next hop in one go of the sweep before it counts as going round.
const MAX_CHANGES: u32 = 16;

impl LocRib {
    /// Resolves `id` again when the tables settle.
    pub(super) fn unsettle(&mut self, id: NextHopId) {
        if self.queued.insert(id) {
            self.unsettled.push_back(id);
        }
    }

    /// Resolves again what may lead elsewhere now, and forgets next hops that nobody uses. `sweeping`: what was decided
    /// was decided by the sweep.
    pub(super) fn settle(&mut self, sweeping: bool) {
        // What is pulled in below follows from our own decisions, as in the sweep.
        let mut outside = if sweeping { 0 } else { self.unsettled.len() };
        while let Some(id) = self.unsettled.pop_front() {
            let sweeping = outside == 0;
            outside = outside.saturating_sub(1);
            self.queued.remove(&id);
            let Some((key, old)) = self.next_hops.get(id).map(|e| (e.key, e.state)) else { continue };
            if !sweeping {
                self.rounds.remove(&id);
            }
            let rounds = self.rounds.get(&id).copied().unwrap_or(0);
            if rounds > MAX_CHANGES {
                continue;
            }
            let mut new = self.resolve(&key, id);
            if new == old {
                self.release_target(new);
                continue;
            }
            if sweeping {
                self.rounds.insert(id, rounds + 1);
                if rounds == MAX_CHANGES {
                    self.release_target(new);
                    new = Err(Unresolved::Unstable);
                }
            }
            if let Some(entry) = self.next_hops.get_mut(id) {
                entry.state = new;
            }
            self.forget_last_want();
            self.tell_hop(&key, old, new);
            self.release_target(old);
            if new.is_ok() || old.is_ok() {
                self.owe(Job::NextHop(id));
            }
            self.look_again(self.next_hops.through(id));
        }
        while let Some(id) = self.pool.poll_unused_next_hop() {
            if let Some(gone) = self.next_hops.release(id) {
                self.release_target(gone.state);
                self.forget(Job::NextHop(id));
                self.rounds.remove(&id);
            }
        }
    }

    /// Routes of a neighbour are of no use from now on: what was looked up in one of them is looked up again.
    pub(super) fn unsettle_routed(&mut self) {
        self.look_again(self.next_hops.routed());
    }

    /// Resolves these again, after the routes that they are looked up in.
    fn look_again(&mut self, ids: Vec<NextHopId>) {
        for id in ids {
            let Some(key) = self.next_hops.get(id).map(|e| e.key) else { continue };
            let host = Prefix::host(address(&key.next_hop));
            let mut carriers = Vec::new();
            self.table.longest_match(&host, 1, |destination, _| {
                carriers.push(destination);
                None::<()>
            });
            for destination in carriers {
                let buried = self.bury(destination);
                self.decide(destination, buried.best);
            }
            self.unsettle(id);
        }
    }

    /// Says what became of a next hop that is looked up over routes.
    pub(super) fn tell_hop(
        &mut self,
        key: &NextHopKey,
        old: Result<Resolved, Unresolved>,
        new: Result<Resolved, Unresolved>,
    ) {
        let target = |state: Result<Resolved, Unresolved>| state.ok().and_then(|r| r.target);
        let (old, new) = (target(old), target(new));
        if old == new || !self.fib.has_kernel() {
            return;
        }
        let hop = |target: TargetId| self.fib.targets.hop_of(target);
        let event = match (old, old.and_then(hop), new.and_then(hop)) {
            (None, None, Some(to)) if to.through.is_some() => HopEvent::Returned(to),
            (Some(target), Some(from), to) if from.through.is_some() => {
                // Another session's next hop of the same address still leads there.
                if self.next_hops.leads_to(address(&key.next_hop), target) {
                    return;
                }
                to.map_or(HopEvent::Lost(from), |to| HopEvent::Moved { from, to })
            }
            // What was on a link is the link's to tell.
            _ => return,
        };
        self.hop_events.push_back(event);
    }

    fn release_target(&mut self, state: Result<Resolved, Unresolved>) {
        if let Ok(Resolved { target: Some(target), .. }) = state {
            self.fib.targets.release(target);
        }
    }

    /// Where a next hop leads (RFC 4271 §9.1.2.1); see [`super::next_hop`] for the rules. The answer holds a reference to
    /// its target.
    pub(super) fn resolve(&mut self, key: &NextHopKey, id: NextHopId) -> Result<Resolved, Unresolved> {
        if key.reachability == Reachability::Local {
            return Ok(Resolved { target: None, cost: 0, via: None });
        }
        let direct = self.connected.direct(key)?;
        if key.reachability == Reachability::Connected {
            let (_, hop) = direct.ok_or(Unresolved::NotConnected)?;
            return Ok(self.on_link(hop));
        }
        // A default route resolves nothing (least 1); a subnet wins over a route of its length.
        let least = direct.map_or(1, |(len, _)| len.saturating_add(1));
        let host = Prefix::host(address(&key.next_hop));
        let routed = self.table.longest_match(&host, least, |destination, _| self.through(destination, id));
        match (routed, direct) {
            (Some(Ok(resolved)), _) => {
                let hop = resolved.target.and_then(|t| self.fib.targets.hop_of(t));
                let through = Some(address(&key.next_hop));
                let target = hop.map(|hop| self.hop_target(ResolvedNextHop { through, ..hop }));
                Ok(Resolved { target, ..resolved })
            }
            (Some(Err(why)), _) => Err(why),
            (None, Some((_, hop))) => Ok(self.on_link(hop)),
            (None, None) => Err(Unresolved::NoRoute),
        }
    }

    fn on_link(&mut self, hop: ResolvedNextHop) -> Resolved {
        Resolved { target: Some(self.hop_target(hop)), cost: 0, via: None }
    }

    fn hop_target(&mut self, hop: ResolvedNextHop) -> TargetId {
        self.fib.targets.hop(hop, || self.fates.of(hop.ifindex))
    }

    /// Next hop `id` looked up through one destination; `None`: step over it.
    fn through(&self, destination: DestId, id: NextHopId) -> Option<Result<Resolved, Unresolved>> {
        let path = self.table.get(destination)?.best()?;
        let (generation, path_id) = self.sources.resolve(path.source)?;
        if generation.peer() == PeerId::LOCAL {
            return (path_id == ANNOUNCED).then_some(Err(Unresolved::OwnAggregate));
        }
        let via = self.pool.head(self.verdicts.post(path.verdict).ok()?)?.next_hop();
        if generation.dead || self.next_hops.depends_on(via, id) {
            return None;
        }
        let resolved = self.next_hops.get(via)?.state.ok()?;
        if resolved.cost >= MAX_DEPTH {
            return Some(Err(Unresolved::TooDeep));
        }
        Some(Ok(Resolved { target: resolved.target, cost: resolved.cost + 1, via: Some(via) }))
    }

    /// The longest match with a path, for a question about an address.
    pub(super) fn longest_match(&self, host: &Prefix) -> Option<DestId> {
        self.table.longest_match(host, 0, |id, slot| slot.has_path().then_some(id))
    }
}
