//! Interfaces and their addresses: a snapshot at start, a new one after each change. Equivalent to `ip monitor link addr`.
//!
//! Two sockets: one joined to the kernel's groups tells *that* something changed, the other reads *what* stands. So a
//! lost announcement (ENOBUFS) costs nothing but the reading that follows anyway, and a burst of announcements costs one
//! reading. A reading is a few messages per interface.
//!
//! Invariants: the group socket is bound and joined before the first reading, so nothing falls between; tentative and
//! duplicate addresses are not ours to use and are left out.

use crate::KernelError;
use crate::socket::{Announcements, RequestSocket};
use netlink_packet_core::Parseable;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, State};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
// linux/rtnetlink.h, enum rtnetlink_groups
const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV6_IFADDR: u32 = 9;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Administratively up, with carrier, and not held down by its driver.
    pub up: bool,
    /// Largest packet.
    pub mtu: u32,
    /// Usable addresses with their prefix lengths, sorted; link-local ones too.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// All interfaces by index.
pub type Snapshot = BTreeMap<u32, Link>;

/// Links that were up in `before` and are not in `after`, and those that came up.
pub fn went_down_and_up(before: &Snapshot, after: &Snapshot) -> (Vec<u32>, Vec<u32>) {
    let up = |s: &Snapshot, i: &u32| s.get(i).is_some_and(|l| l.up);
    let down = before.iter().filter(|(i, l)| l.up && !up(after, i)).map(|(i, _)| *i).collect();
    let risen = after.iter().filter(|(i, l)| l.up && !up(before, i)).map(|(i, _)| *i).collect();
    (down, risen)
}

/// Watches the interfaces of the namespace in which it was opened.
#[derive(Debug)]
pub struct InterfaceMonitor {
    groups: Announcements,
    requests: RequestSocket,
    last: Snapshot,
}

impl InterfaceMonitor {
    /// What stands now, and the monitor for what comes.
    pub fn open() -> Result<(Snapshot, InterfaceMonitor), KernelError> {
        let err = |e: io::Error| KernelError::socket("watch interfaces", &e);
        let groups =
            Announcements::open(&[RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR], &[]).map_err(err)?;
        let mut monitor = InterfaceMonitor { groups, requests: RequestSocket::open()?, last: Snapshot::new() };
        monitor.last = monitor.read()?;
        Ok((monitor.last.clone(), monitor))
    }

    /// Waits up to `timeout` for a change and returns the new snapshot; `None` when nothing changed. Blocks: use a thread
    /// of its own, or wait for [`AsRawFd`] to become readable and call with a zero timeout.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Snapshot>, KernelError> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let err = |e: io::Error| KernelError::socket("watch interfaces", &e);
            if !self.groups.wait(left).map_err(err)? {
                return Ok(None);
            }
            // What was announced, or lost, is read next.
            self.groups.drain(|_, _| {}).map_err(err)?;
            let now = self.read()?;
            if now != self.last {
                self.last.clone_from(&now);
                return Ok(Some(now));
            }
        }
    }

    /// Reads everything anew, whether announced or not.
    pub fn read(&mut self) -> Result<Snapshot, KernelError> {
        let decode = |what: &str, e: netlink_packet_core::DecodeError| KernelError::Socket {
            what: what.to_owned(),
            error: format!("cannot decode the kernel's answer: {e}"),
        };
        let mut snapshot = Snapshot::new();
        let links = self.requests.dump(RTM_GETLINK, &LinkMessage::default(), "read interfaces")?;
        for (_, body) in links.bodies.iter().filter(|(kind, _)| *kind == RTM_NEWLINK) {
            let message = LinkMessage::parse(body).map_err(|e| decode("read interfaces", e))?;
            snapshot.insert(message.header.index, link_of(&message));
        }
        let addresses = self.requests.dump(RTM_GETADDR, &AddressMessage::default(), "read addresses")?;
        for (_, body) in addresses.bodies.iter().filter(|(kind, _)| *kind == RTM_NEWADDR) {
            let message = AddressMessage::parse(body).map_err(|e| decode("read addresses", e))?;
            if let (Some(link), Some(address)) = (snapshot.get_mut(&message.header.index), address_of(&message)) {
                link.addresses.push(address);
            }
        }
        for link in snapshot.values_mut() {
            link.addresses.sort_unstable();
            link.addresses.dedup();
        }
        Ok(snapshot)
    }
}

impl AsRawFd for InterfaceMonitor {
    fn as_raw_fd(&self) -> RawFd {
        self.groups.as_raw_fd()
    }
}

fn link_of(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link { name: String::new(), up: false, mtu: 0, addresses: Vec::new() };
    let mut held_down = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            // Devices without a driver that tells (loopback, dummy, tun) are Unknown: their flags decide.
            LinkAttribute::OperState(state) => held_down = !matches!(state, State::Up | State::Unknown),
            _ => {}
        }
    }
    link.up = flags.contains(LinkFlags::Up | LinkFlags::LowerUp) && !held_down;
    link
}

fn address_of(message: &AddressMessage) -> Option<(IpAddr, u8)> {
    let (mut local, mut address, mut flags) = (None, None, AddressFlags::empty());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(a) => local = Some(*a),
            AddressAttribute::Address(a) => address = Some(*a),
            AddressAttribute::Flags(f) => flags = *f,
            _ => {}
        }
    }
    let unusable = flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed)
        && !flags.contains(AddressFlags::Optimistic);
    // On a point-to-point link IFA_ADDRESS is the other end and IFA_LOCAL ours.
    let own = match message.header.family {
        AddressFamily::Inet | AddressFamily::Inet6 => local.or(address)?,
        _ => return None,
    };
    (!unusable).then_some((own, message.header.prefix_len))
}
