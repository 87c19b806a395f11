//! What a relationship lets in and out (RFC 8212, RFC 9234, RFC 4456, RFC 1997): pure functions from a route to a
//! verdict that names its rule.
//!
//! The way of a route: Adj-RIB-In keeps it as it came; [`import()`] judges it and gives the attributes that the decision
//! process sees (LOCAL_PREF by relationship, OTC, our own tag); the best path goes through [`ExportProfile`] once per update
//! group and gets the attributes and next hop that stand on the wire.
//!
//! One list of rules per direction ([`import::RULES`], [`export::RULES`]) and one list of changes
//! ([`import::CHANGES`], [`export::CHANGES`]) serve both the verdict (stops at the first refusal) and the explanation
//! ([`explain_import`], [`explain_export`]: walks them all).
//!
//! Invariants:
//! - A verdict depends on its arguments and nothing else; what export depends on, beyond the route, is all in
//!   [`ExportProfile`] (equal profiles: equal answers) and in [`ExportTarget`] (the four checks that are per neighbour).
//! - `policy = deny` refuses everything in both directions; `accept-all` leaves only what the protocol itself demands.
//! - What a route is worth to others is known at every border of ours from the tag ([`tag`]) that the border which took
//!   it in put on it; strangers' values in our own community space never get past import.
//! - An own prefix leaves the AS only where it is announced: a route of own origin that came over iBGP is not sent to
//!   transit, peers or route servers.

pub mod export;
mod export_one;
pub mod import;
mod import_next_hop;
mod path;
mod profile;
pub mod tag;
mod types;

pub use export_one::{explain_export, export};
pub use import::{explain_import, import};
pub use profile::{ExportNextHop, ExportProfile, ExportTarget, NextHopShape, OwnNextHops};
pub use types::{Change, ExplainStep, Finding, Outcome, Refusal, RouteSource, Rule, SessionFacts, SourceKind};

#[cfg(test)]
mod export_tests;
#[cfg(test)]
mod import_tests;
#[cfg(test)]
pub(crate) mod testutil;
