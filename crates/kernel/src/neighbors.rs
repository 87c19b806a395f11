//! The kernel's neighbour table (ARP, ND): which addresses on a link stopped answering, and which answer again. Equivalent to
//! `ip monitor neigh`, and to `ip neigh add ADDRESS dev LINK use`.
//!
//! The kernel tries an address that packets are sent to: three probes of a second, then the entry is `NUD_FAILED` and packets
//! to it are dropped. Once traffic goes elsewhere nobody asks again: who wants to know when it is back has to
//! ([`NeighborMonitor::probe`]).
//!
//! Invariants: the socket is joined before anything is asked for; a lost announcement costs a reading of the table.
//!
//! Source: linux/neighbour.h, `struct ndmsg`; RFC 826, RFC 4861 §7.3.

use crate::KernelError;
use crate::socket::{Announcements, RequestSocket};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
// linux/rtnetlink.h, enum rtnetlink_groups
const RTNLGRP_NEIGH: u32 = 3;
const WATCH: &str = "watch neighbours";

/// What became of an address on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborChange {
    /// The link.
    pub ifindex: u32,
    /// The address.
    pub address: IpAddr,
    /// It answers; false: it does not (`NUD_FAILED`).
    pub answers: bool,
}

/// Watches the neighbour table of the namespace in which it was opened.
#[derive(Debug)]
pub struct NeighborMonitor {
    announcements: Announcements,
    requests: RequestSocket,
}

impl NeighborMonitor {
    /// From now on.
    pub fn open() -> Result<NeighborMonitor, KernelError> {
        let announcements = Announcements::open(&[RTNLGRP_NEIGH], &[]).map_err(|e| KernelError::socket(WATCH, &e))?;
        Ok(NeighborMonitor { announcements, requests: RequestSocket::open()? })
    }

    /// What changed; waits up to `timeout` for it. Entries that are still being asked for are no change.
    pub fn next(&mut self, timeout: Duration) -> Result<Vec<NeighborChange>, KernelError> {
        let err = |e: io::Error| KernelError::socket(WATCH, &e);
        let mut changes = Vec::new();
        if !self.announcements.wait(timeout).map_err(err)? {
            return Ok(changes);
        }
        let mut note = |kind: u16, body: &[u8]| changes.extend((kind == RTM_NEWNEIGH).then(|| change(body)).flatten());
        if !self.announcements.drain(&mut note).map_err(err)? {
            let table = self.requests.dump(RTM_GETNEIGH, &NeighbourMessage::default(), WATCH)?;
            table.bodies.iter().for_each(|(kind, body)| note(*kind, body));
        }
        Ok(changes)
    }

    /// Has the kernel ask for addresses, as a packet to them would; what comes of it is announced. What cannot be asked
    /// for (its link is gone) is passed over.
    pub fn probe(&mut self, neighbors: &[(u32, IpAddr)]) {
        let _ = self.requests.run(neighbors, |out, (ifindex, address)| {
            let mut message = NeighbourMessage::default();
            message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
            message.header.ifindex = *ifindex;
            message.header.flags = NeighbourFlags::Use;
            message.attributes = vec![NeighbourAttribute::Destination((*address).into())];
            out.begin(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
            out.emit(&message);
            out.end();
        });
    }
}

fn change(body: &[u8]) -> Option<NeighborChange> {
    let message = NeighbourMessage::parse(body).ok()?;
    let answers = match message.header.state {
        NeighbourState::Failed => false,
        NeighbourState::Reachable | NeighbourState::Permanent => true,
        // Stale, Delay, Probe: it answered once and will be asked. Incomplete: being asked.
        _ => return None,
    };
    let address = message.attributes.iter().find_map(|a| match a {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => Some(IpAddr::V4(*a)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => Some(IpAddr::V6(*a)),
        _ => None,
    })?;
    Some(NeighborChange { ifindex: message.header.ifindex, address, answers })
}
