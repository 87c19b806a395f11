//! One neighbour: its sessions, timers, collision (RFC 4271 §6.8, §8). Sans-IO.
//!
//! The contract: call `handle_input` or `handle_timeout`; then drain `poll_output` until `None`; then `poll_transmit` of
//! every connection that lives or was just closed until `None`; then ask `poll_timeout` when to call again.

mod events;
mod status;

pub use events::{ConnId, Down, Input, Output, Reconfigured, Retain, Session, State};
pub use status::PeerStatus;
