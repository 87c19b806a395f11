//! What others do to our next-hop objects and routes: a socket in `RTNLGRP_NEXTHOP` and the route groups, behind a filter.
//!
//! The kernel announces what a program puts or deletes, and what becomes of groups by that. It does not announce what goes
//! with a link that dies: that comes as the link's own event. Of objects our own changes come as well; who is told compares,
//! which is one reading of a few objects, and finds nothing. Of routes there are a million: a filter in the kernel lets only
//! removals of our routes through that another program asked for, so nothing is copied for our own writes. An
//! announcement that is lost (ENOBUFS) is as good as one about objects; a lost one about a route is left to the full
//! pass.

use crate::FibConfig;
use crate::KernelError;
use crate::nexthop::{NexthopObject, RTM_DELNEXTHOP, RTM_NEWNEXTHOP};
use crate::route::{RTM_DELROUTE, RouteSpace};
use crate::socket::Announcements;
use net_types::Prefix;
use socket2::SockFilter;
use std::io;
use std::time::{Duration, Instant};

// linux/rtnetlink.h
const RTNLGRP_IPV4_ROUTE: u32 = 7;
const RTNLGRP_IPV6_ROUTE: u32 = 11;
const RTNLGRP_NEXTHOP: u32 = 32;

/// What somebody did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meddled {
    /// Next-hop objects of ours changed, whoever did it.
    pub objects: bool,
    /// Routes of ours that another program removed.
    pub routes: Vec<Prefix>,
}

/// Watches our objects and routes in the namespace in which it was opened.
#[derive(Debug)]
pub struct MeddlingMonitor {
    announcements: Announcements,
    space: RouteSpace,
}

impl MeddlingMonitor {
    /// Sees what happens from now on. `port`: [`crate::Netlink::port`] of who writes our routes.
    pub fn open(config: &FibConfig, port: u32) -> Result<MeddlingMonitor, KernelError> {
        let err = |e: io::Error| KernelError::socket("watch next-hop objects", &e);
        let groups = [RTNLGRP_NEXTHOP, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE];
        let announcements = Announcements::open(&groups, &filter(config.rtproto, port)).map_err(err)?;
        Ok(MeddlingMonitor { announcements, space: config.space() })
    }

    /// Waits up to `timeout` for something of ours that changed. What came until then counts as one.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Meddled>, KernelError> {
        let err = |e: io::Error| KernelError::socket("watch next-hop objects", &e);
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.announcements.wait(left).map_err(err)? {
                return Ok(None);
            }
            let meddled = self.drain().map_err(err)?;
            if meddled != Meddled::default() {
                return Ok(Some(meddled));
            }
        }
    }

    fn drain(&mut self) -> io::Result<Meddled> {
        let (mut meddled, space) = (Meddled::default(), self.space);
        let whole = self.announcements.drain(|kind, body| match kind {
            RTM_NEWNEXTHOP | RTM_DELNEXTHOP => {
                let ours = |o: NexthopObject| o.protocol == space.protocol;
                meddled.objects |= NexthopObject::parse(body).map_or(true, ours);
            }
            RTM_DELROUTE => {
                let ours = space.parse(body).ok().flatten();
                meddled.routes.extend(ours.filter(|r| r.metric == space.metric).map(|r| r.prefix));
            }
            _ => {}
        })?;
        meddled.objects |= !whole;
        Ok(meddled)
    }
}

/// Next-hop messages, and removals of routes of a protocol that a program other than `port` asked for. The kernel's own
/// (port 0) are what goes with an object, a million perhaps, and known without them.
fn filter(protocol: u8, port: u32) -> [SockFilter; 11] {
    // linux/bpf_common.h; loads are big-endian, the message is not.
    const LOAD_U16: u16 = 0x28;
    const LOAD_U32: u16 = 0x20;
    const LOAD_U8: u16 = 0x30;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let kind = |kind: u16| u32::from(u16::from_be_bytes(kind.to_ne_bytes()));
    // struct nlmsghdr: type at 4, port at 12; struct rtmsg behind it: protocol at 5.
    [
        SockFilter::new(LOAD_U16, 0, 0, 4),
        SockFilter::new(JUMP_IF_EQUAL, 8, 0, kind(RTM_NEWNEXTHOP)),
        SockFilter::new(JUMP_IF_EQUAL, 7, 0, kind(RTM_DELNEXTHOP)),
        SockFilter::new(JUMP_IF_EQUAL, 0, 5, kind(RTM_DELROUTE)),
        SockFilter::new(LOAD_U32, 0, 0, 12),
        SockFilter::new(JUMP_IF_EQUAL, 3, 0, u32::from_be_bytes(port.to_ne_bytes())),
        SockFilter::new(JUMP_IF_EQUAL, 2, 0, 0),
        SockFilter::new(LOAD_U8, 0, 0, 21),
        SockFilter::new(JUMP_IF_EQUAL, 1, 0, u32::from(protocol)),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}
