//! Targets on objects: claimed, counted, forgotten.

use super::{Carrier, Handle, Objects, Role, Want, form, hop_family};
use crate::fib::{NextHop, RouteTarget, target_family};
use net_types::{Afi, Prefix};
use std::hash::BuildHasher;

impl Objects {
    /// The target of a route of `prefix`, on an object that is, or will be, for it; new if there is none. Counts the caller as a
    /// user. `on`: where its route hangs, which may do.
    pub(in crate::fib) fn claim(&mut self, prefix: &Prefix, target: &RouteTarget, on: Option<Carrier>) -> Handle {
        let [last_v4, last_v6] = self.last;
        let last = if prefix.is_v4() { last_v4 } else { last_v6 };
        let stays = on.and_then(|carrier| self.stay_on(carrier, prefix, target));
        if let Some(handle) = stays {
            self.take(handle);
            return handle;
        }
        if let Some(handle) = last
            && let Some(want) = self.wants.get(handle.key())
            && !want.waits
            && want.moves_to.is_none()
            && want.target.as_ref() == Some(target)
        {
            self.take(handle);
            return handle;
        }
        let handle = self.claim_elsewhere(target_family(prefix, target), target, None);
        self.take(handle);
        let [last_v4, last_v6] = &mut self.last;
        *(if prefix.is_v4() { last_v4 } else { last_v6 }) = Some(handle);
        handle
    }

    /// A target on an object that is for it and is not `not_on`.
    pub(super) fn claim_elsewhere(
        &mut self,
        family: Option<Afi>,
        target: &RouteTarget,
        not_on: Option<Carrier>,
    ) -> Handle {
        let hash = self.hasher.hash_one((family, target));
        let fit = |h: &&Handle| {
            self.wants.get(h.key()).is_some_and(|w| {
                let joinable = !w.waits && w.moves_to.is_none() && Some(w.carrier) != not_on;
                joinable && w.family == family && w.target.as_ref() == Some(target)
            })
        };
        // The lowest, so that what happens does not hang on the hash.
        if let Some(found) = self.by_target.iter_hash(hash).filter(fit).min() {
            return *found;
        }
        let carrier = match *target {
            RouteTarget::Discard => self.ensure(Role::Blackhole(family.unwrap_or(Afi::IPV4))),
            ref t if form::is_single(t) => {
                let hop = t.hops().next().unwrap_or(NextHop { gateway: None, ifindex: 0, through: None });
                self.ensure(Role::Single(hop_family(&hop, family), hop))
            }
            ref t => {
                let carrier = self.make(Role::Group);
                if let Some(object) = self.all.get_mut(carrier.key()) {
                    object.buckets = form::buckets(t);
                    object.purpose = Some((t.clone(), family));
                }
                carrier
            }
        };
        let handle = self.new_want(carrier, family, Some(target.clone()));
        // As a user, or the group would be passed over.
        self.take(handle);
        self.reconsider(carrier);
        self.give(handle);
        handle
    }

    pub(super) fn new_want(&mut self, carrier: Carrier, family: Option<Afi>, target: Option<RouteTarget>) -> Handle {
        let hash = target.as_ref().map(|t| self.hasher.hash_one((family, t)));
        let entry =
            self.wants.insert(Want { target, family, carrier, users: 0, stale: 0, waits: false, moves_to: None });
        // Beyond 2^32 targets memory is gone long since.
        let handle = Handle(entry as u32);
        if let Some(hash) = hash {
            let (wants, hasher) = (&self.wants, &self.hasher);
            let of = |w: &Want| w.target.as_ref().map_or(0, |t| hasher.hash_one((w.family, t)));
            let rehash = |h: &Handle| wants.get(h.key()).map_or(0, of);
            self.by_target.insert_unique(hash, handle, rehash);
        }
        if let Some(object) = self.all.get_mut(carrier.key()) {
            object.tenants.push(handle);
        }
        self.suspects.insert(carrier);
        handle
    }

    pub(super) fn forget_want(&mut self, handle: Handle) {
        let Some(want) = self.wants.try_remove(handle.key()) else { return };
        if let Some(target) = &want.target {
            let hash = self.hasher.hash_one((want.family, target));
            if let Ok(entry) = self.by_target.find_entry(hash, |h| *h == handle) {
                entry.remove();
            }
        }
        if let Some(object) = self.all.get_mut(want.carrier.key()) {
            object.tenants.retain(|t| *t != handle);
        }
        // The handle may name another target from now on.
        self.last = [None; 2];
        self.moving.remove(&handle);
        if let Some(other) = want.moves_to {
            self.give(other);
        }
    }

    /// A user more of a target.
    pub(in crate::fib) fn take(&mut self, handle: Handle) {
        let Some(want) = self.wants.get_mut(handle.key()) else { return };
        want.users += 1;
        if let Some(object) = self.all.get_mut(want.carrier.key()) {
            object.users += 1;
            object.adopted = false;
        }
    }

    /// A stale route: it counts, but claims nothing.
    pub(in crate::fib) fn take_stale(&mut self, handle: Handle) {
        let Some(want) = self.wants.get_mut(handle.key()) else { return };
        want.users += 1;
        want.stale += 1;
        if let Some(object) = self.all.get_mut(want.carrier.key()) {
            object.users += 1;
        }
    }

    /// A stale route less.
    pub(in crate::fib) fn give_stale(&mut self, handle: Handle) {
        if let Some(want) = self.wants.get_mut(handle.key()) {
            want.stale = want.stale.saturating_sub(1);
        }
        self.give(handle);
    }

    /// A user less of a target.
    pub(in crate::fib) fn give(&mut self, handle: Handle) {
        let Some(want) = self.wants.get_mut(handle.key()) else { return };
        want.users = want.users.saturating_sub(1);
        let carrier = want.carrier;
        if want.users == 0 {
            if self.all.get(carrier.key()).is_some_and(|o| o.role == Role::Group && o.tenants.len() > 1) {
                self.unsettled.insert(carrier);
            }
            self.suspects.insert(carrier);
        }
        self.release(carrier);
    }
}
