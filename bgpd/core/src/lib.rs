//! `bgp-core`: the speaker without its sockets. Floor 2: pure; time, randomness and bytes come in as values.
//!
//! Four rooms, each with one owner at run time:
//! - [`peer`]: one neighbour's sessions (RFC 4271 §8): up to two connections, collision, timers, capabilities. Bytes in,
//!   decoded UPDATEs and bytes out.
//! - [`rib`]: Adj-RIB-In before policy, the decision process, next-hop resolution, what the FIB should hold, update
//!   groups and packed UPDATEs, graceful restart on the receiving side.
//! - [`bfd`]: sessions that tell within milliseconds that a path is gone (RFC 5880). Packets in, packets and states out.
//! - [`policy`]: what a relationship lets in and out; pure functions from a route to a verdict with its rule.
//!
//! [`config`] is the data that all of them read; the daemon parses a file into it.
#![forbid(unsafe_code)]

pub mod bfd;
pub mod config;
pub mod peer;
pub mod policy;
pub mod rib;
