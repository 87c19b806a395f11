//! The Linux kernel, and the only netlink user of the project: routes that point at next-hop objects, interfaces and
//! addresses, socket options, time-stamped packets, who gets a processor, what it says of our own memory.
//!
//! The way of a route: `bgpd` declares a want ([`FibSync::set`]) -> [`FibSync::flush`] compares it with what stands ->
//! [`FibKernel::apply`] -> [`nexthop`] and [`route`] messages -> `socket` packs many into one `sendmsg`, one
//! acknowledgement per batch -> errors come back by sequence number and become [`FibResult`]s. Interfaces come the other
//! way: [`InterfaceMonitor`] -> snapshots; as does what others do to our objects: [`MeddlingMonitor`]. A next hop that is lost
//! overtakes all wants: [`FibSync::hops_lost`] is one message, whatever the number of routes.
//!
//! Invariants: only objects and routes that carry our protocol number are changed or removed; next-hop objects are made
//! before the routes that need them and go after them; what the kernel drops silently (a dead link's objects and IPv4
//! routes) is re-read, never assumed. Needs `CAP_NET_ADMIN`, nothing else.

pub mod datagram;
mod error;
pub mod fib;
pub mod links;
mod memory;
mod message;
pub mod neighbors;
pub mod nexthop;
pub mod route;
pub mod scheduler;
mod socket;
pub mod sockopt;
mod watch;

pub use error::KernelError;
pub use fib::{
    FibConfig, FibCounters, FibEntry, FibKernel, FibResult, FibState, FibSync, LossReason, Netlink, NextHop,
    NexthopEntry, PassReport, RouteTarget, WeightedHop,
};
pub use links::{InterfaceMonitor, Link, Snapshot};
pub use memory::{Allocator, ProcessMemory};
pub use neighbors::{NeighborChange, NeighborMonitor};
pub use watch::{Meddled, MeddlingMonitor};
