//! The RIB as [`super::out`] sees it.

use std::net::Ipv4Addr;

use bgp_wire::{NextHop, PathAttributes};
use net_types::Prefix;

use super::ids::{AttrId, DestId};
use super::loc_rib::LocRib;
use super::out::{Offer, OfferedPath, View};
use crate::policy::RouteSource;

impl View for LocRib {
    fn offer(&self, dest: DestId) -> Offer {
        self.exportable(dest)
    }

    fn paths(&self, dest: DestId, ranked: bool, more: &mut dyn FnMut(OfferedPath) -> bool) {
        self.offer_paths(dest, ranked, more);
    }

    fn prefix(&self, dest: DestId) -> Prefix {
        // Not asked for numbers that are not in use.
        self.table.prefix(dest).unwrap_or(if dest.is_v4() { Prefix::V4(0, 0) } else { Prefix::V6(0, 0) })
    }

    fn source(&self, source: u32) -> Option<RouteSource<'_>> {
        self.identities.source(source, &self.speaker)
    }

    fn attributes(&self, set: AttrId, into: &mut PathAttributes) {
        self.pool.decode_into(set, into);
    }

    fn next_hop(&self, set: AttrId) -> NextHop {
        let entry = self.pool.head(set).and_then(|h| self.next_hops.get(h.next_hop()));
        // A set that is held holds its next hop.
        entry.map_or(NextHop::V4(Ipv4Addr::UNSPECIFIED), |e| e.key.next_hop)
    }

    fn end(&self, v6: bool) -> u32 {
        self.table.places(!v6)
    }

    fn retain(&mut self, set: AttrId) {
        self.pool.retain(set);
    }

    fn release(&mut self, set: AttrId) {
        self.pool.release(set);
    }

    fn poll_freed(&mut self) -> Option<AttrId> {
        self.pool.poll_freed()
    }
}
