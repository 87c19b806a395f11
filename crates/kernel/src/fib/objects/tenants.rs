//! Groups with several targets: what a group is, what its users ask for, and when it becomes that.
//!
//! A route stays on its group for a new target if the group is that already (it lost a member, and the RIB asks for what is left:
//! not a message is sent), or if it could become that and where it sends meanwhile is one of the new target's hops. Then
//! the target waits: when nobody wants anything else of the group, that is one replacement in place, whatever the number
//! of routes. If others go on wanting what it is, [`Objects::part`] sends the fewer to an object of their own, route by
//! route.
//!
//! Invariant: a group is replaced by what a target asks for only when no route on it is wanted otherwise.

use super::{Carrier, Handle, Objects, Role, Standing, form};
use crate::fib::{NextHop, RouteTarget, target_family};
use net_types::Prefix;

impl Objects {
    /// For a route that hangs on this object, the target there, if the route can stay.
    pub(in crate::fib) fn stay_on(
        &mut self,
        carrier: Carrier,
        prefix: &Prefix,
        target: &RouteTarget,
    ) -> Option<Handle> {
        let object = self.object(carrier).filter(|o| o.role == Role::Group && o.standing != Standing::Absent)?;
        let family = target_family(prefix, target);
        let same = |h: &&Handle| {
            self.want(**h)
                .is_some_and(|w| w.moves_to.is_none() && w.family == family && w.target.as_ref() == Some(target))
        };
        if let Some(handle) = object.tenants.iter().find(same).copied() {
            self.held += u64::from(self.want(handle).is_some_and(|w| w.waits));
            return Some(handle);
        }
        if !form::fits(target, object.buckets) {
            return None;
        }
        let met = self.meets(carrier, target);
        if !met && !self.leads_into(carrier, target) {
            return None;
        }
        let handle = self.new_want(carrier, family, Some(target.clone()));
        if !met {
            if let Some(want) = self.wants.get_mut(handle.key()) {
                want.waits = true;
            }
            self.held += 1;
        }
        self.unsettled.insert(carrier);
        Some(handle)
    }

    /// As [`Objects::stay_on`], for a route that stands as `old` wants it.
    pub(in crate::fib) fn stay(&mut self, old: Handle, prefix: &Prefix, target: &RouteTarget) -> Option<Handle> {
        let want = self.want(old)?;
        if want.moves_to.is_none() && want.target.as_ref() == Some(target) {
            let usable = self.object(want.carrier).is_some_and(super::Object::usable);
            self.held += u64::from(usable && self.want(old).is_some_and(|w| w.waits));
            return usable.then_some(old);
        }
        self.stay_on(self.carrier(old)?, prefix, target)
    }

    /// The group is, or is about to be, what is left of the target.
    fn meets(&self, carrier: Carrier, target: &RouteTarget) -> bool {
        let Some(object) = self.object(carrier) else { return false };
        let left = form::shape(&self.losses.left_of(target));
        form::shares(&object.content().shape(), object.buckets) == form::shares(&left, object.buckets)
    }

    /// Where the group sends now, and will send, is among the target's hops.
    fn leads_into(&self, carrier: Carrier, target: &RouteTarget) -> bool {
        let Some(object) = self.object(carrier) else { return false };
        let contents = std::iter::once(&object.members).chain(&object.goal);
        contents.into_iter().all(|content| leads_into(&form::shares(&content.shape(), object.buckets), target))
    }

    /// Which of a group's targets it is for from now on, after a change of users or of losses. `alone`: if only one is left, the
    /// group may become what that one asks for.
    pub(super) fn judge(&mut self, carrier: Carrier, alone: bool) {
        let Some(object) = self.object(carrier).filter(|o| o.role == Role::Group) else { return };
        let purpose = object.purpose.as_ref().map(|(t, _)| t.clone());
        let absent = object.standing == Standing::Absent;
        let mut live: Vec<Handle> =
            object.tenants.iter().copied().filter(|h| self.want(*h).is_some_and(|w| w.users > 0)).collect();
        // Whose purpose it is comes first, then the one with the most users.
        live.sort_by_key(|h| {
            let want = self.want(*h);
            let own = want.is_some_and(|w| w.target == purpose && w.moves_to.is_none());
            (!own, std::cmp::Reverse(want.map_or(0, |w| w.users)), *h)
        });
        let stays = |h: &Handle| self.want(*h).is_some_and(|w| w.moves_to.is_none());
        let owns = |h: &Handle| self.want(*h).is_some_and(|w| w.target == purpose);
        let asked = |h: &Handle, check: &dyn Fn(&RouteTarget) -> bool| self.target(*h).is_some_and(check);
        let Some(first) = live.first().copied() else { return self.judged(carrier, false) };
        let met = live.iter().copied().find(|h| asked(h, &|t| self.meets(carrier, t)));
        let chosen = if absent {
            live.iter().copied().find(stays)
        } else if let Some(met) = met {
            Some(met)
        } else if live.len() == 1 && stays(&first) && (alone || owns(&first)) {
            Some(first)
        } else {
            // A loss does not wait: rather where one of several wants to go than nowhere.
            Some(first).filter(|h| asked(h, &|t| self.hurts(carrier, t)))
        };
        let aim = chosen.and_then(|h| Some((self.target(h)?.clone(), self.want(h)?.family)));
        let becomes = match &aim {
            Some((target, _)) => form::shape(&self.losses.left_of(target)),
            None => self.object(carrier).map(|o| o.content().shape()).unwrap_or_default(),
        };
        let buckets = self.object(carrier).map_or(1, |o| o.buckets);
        let will_own = form::shares(&becomes, buckets);
        let (mut waiting, mut astray) = (false, Vec::new());
        for handle in live {
            let Some(target) = self.target(handle) else { continue };
            let left = form::shape(&self.losses.left_of(target));
            let waits = form::shares(&left, buckets) != will_own;
            let leads = self.leads_into(carrier, target) && leads_into(&will_own, target);
            let stays = self.want(handle).is_some_and(|w| w.moves_to.is_none());
            if stays && waits && (absent || !leads) {
                astray.push(handle);
            }
            waiting |= waits;
            if let Some(want) = self.wants.get_mut(handle.key()) {
                want.waits = waits;
            }
        }
        if let Some(object) = self.object_mut(carrier) {
            object.purpose = aim;
        }
        astray.into_iter().for_each(|h| self.send_away(h));
        self.judged(carrier, waiting);
    }

    fn judged(&mut self, carrier: Carrier, waiting: bool) {
        if waiting {
            self.unsettled.insert(carrier);
        } else {
            self.unsettled.remove(&carrier);
        }
    }

    /// The group sends where it should not, and the target has something better.
    fn hurts(&self, carrier: Carrier, target: &RouteTarget) -> bool {
        let Some(object) = self.object(carrier) else { return false };
        let shares = form::shares(&object.content().shape(), object.buckets);
        let now = shares.iter().filter(|(_, owned)| *owned > 0).map(|(hop, _)| self.losses.level(hop)).max();
        now > target.hops().map(|h| self.losses.level(&h)).min()
    }

    /// Groups that may become what their users want, unless some other route hangs on them.
    pub(in crate::fib) fn settle(&mut self, strangers: impl Fn(&Objects, Carrier) -> bool) {
        for carrier in self.unsettled.clone() {
            if self.is_alone(carrier) && strangers(self, carrier) {
                continue;
            }
            self.judge(carrier, true);
            self.reconsider(carrier);
        }
    }

    /// One target is left, and the group is not yet for it.
    fn is_alone(&self, carrier: Carrier) -> bool {
        let Some(object) = self.object(carrier) else { return false };
        let live = object.tenants.iter().filter_map(|h| self.want(*h)).filter(|w| w.users > 0);
        let mut waiting = live.map(|w| w.waits && w.moves_to.is_none());
        waiting.next() == Some(true) && waiting.next().is_none()
    }

    /// Groups that can become what all their users want.
    pub(in crate::fib) fn ready(&self) -> usize {
        self.unsettled.iter().filter(|c| self.is_alone(**c)).count()
    }

    /// Targets wait for others to go.
    pub(in crate::fib) fn waiting(&self) -> bool {
        let waits = |h: &Handle| self.want(*h).is_some_and(|w| w.waits && w.users > 0 && w.moves_to.is_none());
        self.unsettled.iter().filter_map(|c| self.object(*c)).any(|o| o.tenants.iter().any(waits))
    }

    /// Groups whose users want different things: the most stay, the others go elsewhere.
    pub(in crate::fib) fn part(&mut self) {
        for carrier in self.unsettled.clone() {
            let Some(object) = self.object(carrier) else { continue };
            let used = |h: &Handle| self.want(*h).is_some_and(|w| w.users > 0 && w.moves_to.is_none());
            let live: Vec<Handle> = object.tenants.iter().copied().filter(used).collect();
            if !live.iter().any(|h| self.want(*h).is_some_and(|w| w.waits)) {
                continue;
            }
            let count = |h: &Handle| self.want(*h).map_or(0, |w| w.users);
            let met: usize = live.iter().filter(|h| self.want(**h).is_some_and(|w| !w.waits)).map(count).sum();
            let most = live.iter().copied().filter(|h| self.want(*h).is_some_and(|w| w.waits)).max_by_key(count);
            let stays = most.filter(|h| count(h) > met);
            for handle in live {
                let goes = match stays {
                    Some(most) => handle != most,
                    None => self.want(handle).is_some_and(|w| w.waits),
                };
                if goes {
                    self.send_away(handle);
                }
            }
        }
    }

    /// The prefixes of a target are to go over to the same target on another object.
    fn send_away(&mut self, handle: Handle) {
        let Some(want) = self.want(handle).filter(|w| w.moves_to.is_none()) else { return };
        let (family, carrier, Some(target)) = (want.family, want.carrier, want.target.clone()) else { return };
        let other = self.claim_elsewhere(family, &target, Some(carrier));
        self.take(other);
        if let Some(want) = self.wants.get_mut(handle.key()) {
            want.moves_to = Some(other);
        }
        self.last = [None; 2];
        self.moving.insert(handle);
    }

    /// Where a target's prefixes are to go.
    pub(in crate::fib) fn moves_to(&self, handle: Handle) -> Option<Handle> {
        if self.moving.is_empty() { None } else { self.want(handle)?.moves_to }
    }

    /// Prefixes on their way to another object.
    pub(in crate::fib) fn moving(&self) -> usize {
        self.moving.iter().filter_map(|h| self.want(*h)).map(|w| w.users - w.stale.min(w.users)).sum()
    }
}

/// All that own buckets are among the target's hops.
fn leads_into(shares: &[(NextHop, u32)], target: &RouteTarget) -> bool {
    shares.iter().filter(|(_, owned)| *owned > 0).all(|(hop, _)| target.hops().any(|h| h == *hop))
}
