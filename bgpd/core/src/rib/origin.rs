//! Routes that begin here: announcements from IPAM, and the site's internal prefixes.
//!
//! An announced prefix is originated wherever its site is told to, whether or not a host is up, and drops in the kernel
//! what nothing more specific takes. An internal prefix (a LAN, a loopback) is originated while an interface that is up
//! has a subnet in it or around it, goes to iBGP only (policy sees to that) and needs no kernel route.
//!
//! Only space that the configuration calls our own is ever announced, whatever IPAM says: a second lock on the door.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use bgp_wire::{NextHop, PathAttributes};
use net_types::{Family, Monotime, Prefix};

use super::loc_rib::{LocRib, NewPath};
use super::next_hop::{NextHopKey, Reachability};
use super::types::PeerId;

/// Path Identifier of an announcement: wins over [`INTERNAL`] at the last step.
pub(super) const ANNOUNCED: u32 = 0;
/// Path Identifier of an internal prefix.
pub(super) const INTERNAL: u32 = 1;

impl LocRib {
    /// True if the configuration lets us originate `prefix`.
    pub(super) fn may_originate(&self, prefix: &Prefix) -> bool {
        self.speaker.own_prefixes.iter().any(|own| own.covers(prefix))
    }

    /// Makes the routes of our own those of `announcements` and of the configuration.
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
        let mut held = BTreeSet::new();
        for family in Family::SUPPORTED {
            for (prefix, destination) in self.table.iter(family, None) {
                let local = destination.paths.iter().filter(|p| p.peer == PeerId::LOCAL);
                held.extend(local.map(|p| (prefix, p.path_id)));
            }
        }
        for (prefix, path_id) in held.difference(&wanted) {
            self.remove(prefix, PeerId::LOCAL, *path_id);
        }
        for (prefix, path_id) in wanted.difference(&held) {
            let pre = self.pool.intern(Arc::new(PathAttributes::default()));

            let key = NextHopKey { next_hop: unspecified(prefix), reachability: Reachability::Local, ifindex: None };
            let post = Ok(Arc::clone(&pre));
            self.insert(now, prefix, NewPath { peer: PeerId::LOCAL, path_id: *path_id, key, pre, post });
        }
        self.settle();
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
