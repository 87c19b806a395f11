//! Routes that begin here: announcements from IPAM, and the site's internal prefixes.
//!
//! An announced prefix is originated wherever its site is told to, whether or not a host is up, and drops in the kernel
//! what nothing more specific takes. An internal prefix (a LAN, a loopback) is originated while an interface that is up
//! has a subnet in it or around it, goes to iBGP only (policy sees to that) and needs no kernel route.
//!
//! Only space that the configuration calls our own is ever announced, whatever IPAM says: a second lock on the door.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use bgp_wire::{NextHop, Nlri, PathAttributes};
use net_types::{Monotime, Prefix};

use super::loc_rib::LocRib;
use super::next_hop::{NextHopKey, Reachability};
use super::peers::{ANNOUNCED, INTERNAL};

impl LocRib {
    /// True if the configuration lets us originate `prefix`.
    pub(super) fn may_originate(&self, prefix: &Prefix) -> bool {
        self.speaker.own_prefixes.iter().any(|own| own.covers(prefix))
    }

    /// Makes the routes of our own those of `announcements` and of the configuration. Their Path Identifier says which
    /// kind they are: [`ANNOUNCED`] wins over [`INTERNAL`] at the last step.
    pub(super) fn originate(&mut self, now: Monotime, announcements: &BTreeSet<Prefix>) {
        let announced: BTreeSet<(Prefix, u32)> =
            announcements.iter().filter(|p| self.may_originate(p)).map(|p| (*p, ANNOUNCED)).collect();
        let internal = self
            .speaker
            .internal_prefixes
            .iter()
            .filter(|p| self.connected.subnets().any(|subnet| subnet.overlaps(p)))
            .map(|p| (*p, INTERNAL));
        let wanted: BTreeSet<(Prefix, u32)> = announced.into_iter().chain(internal).collect();
        let held = std::mem::replace(&mut self.originated, wanted.clone());
        for (prefix, path_id) in held.difference(&wanted) {
            if let Some(sender) = self.sender(*self.local.get(prefix.is_v4())) {
                self.withdraw(&sender, &[Nlri { prefix: *prefix, path_id: *path_id }]);
            }
        }
        for (prefix, path_id) in wanted.difference(&held) {
            let key = NextHopKey { next_hop: unspecified(prefix), reachability: Reachability::Local, ifindex: None };
            let pre = self.intern(&PathAttributes::default(), key);
            let verdict = self.verdicts.intern(&mut self.pool, pre, Ok(pre));
            let generation = *self.local.get(prefix.is_v4());
            if let Some(mut batch) = self.begin_batch(now, generation, verdict) {
                self.insert(&mut batch, prefix, *path_id, verdict);
                self.end_batch(&batch);
            }
            self.verdicts.release(&mut self.pool, verdict);
            self.pool.release(pre);
        }
        self.settle(false);
    }
}

/// Next hop of a route that begins here, until export puts an address in.
pub(super) fn unspecified(prefix: &Prefix) -> NextHop {
    if prefix.is_v4() {
        NextHop::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        NextHop::V6 { global: Ipv6Addr::UNSPECIFIED, link_local: None }
    }
}
