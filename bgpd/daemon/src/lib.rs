//! `bgpd`: the tokio shell around the pure BGP speaker of `bgp-core`. Floor 4.
//!
//! Who owns what: a task a neighbour owns its `Peer` and its sockets ([`net::neighbor`]); one thread owns the `Rib`
//! ([`rib_task`]); one thread owns the kernel's routes ([`fib_task`]); one thread watches interfaces ([`ifmon`]);
//! one speaks BFD ([`bfd`]); the
//! [`supervisor`] owns the configuration and who exists. They speak by bounded channels ([`messages`]); no route is
//! behind a lock. [`run`] starts them in order and [`rpc`] answers questions.
#![forbid(unsafe_code)]

pub mod announcements;
pub mod bfd;
pub mod config;
pub mod directory;
pub mod fib_task;
pub mod hold_up;
pub mod hops;
pub mod ifmon;
pub mod ipam_client;
pub mod messages;
pub mod net;
pub mod restart;
pub mod rib_task;
pub mod rpc;
pub mod run;
pub mod supervisor;
