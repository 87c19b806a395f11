//! The association's addresses as a pure machine: a [`Command`] is decided into [`Event`]s, events make the [`State`].
//!
//! The way of a request: `ipamd` parses it into a [`Command`]; [`State::decide`] answers with the events that would
//! make it true (none if it is true already) or with a [`Refusal`]; the daemon makes the events durable, then hands
//! each to [`State::apply`]. Replaying the same events gives the same state, so the event log is the truth and the
//! revision is the number of events.
//!
//! Invariants, each checked by `tests/properties.rs`:
//! - holdings do not overlap; every assignment lies inside one holding;
//! - two assignments overlap only if one owner has both (an owner may book a /28 inside its own /24; a tenant of
//!   somebody else's space is that somebody's affair until it gets a prefix of its own);
//! - the free space of a holding and its outermost assignments partition it; the same inside each assignment;
//! - an announcement lies inside a holding, is at most /24 or /48 long, and, unless it is the association's own, lies
//!   inside an assignment of its owner;
//! - `decide` changes nothing, and neither function reads a clock, a file or a random number.
//!
//! Space of a holding that nobody has booked belongs to [`ASSOCIATION`], which may announce the aggregate over its
//! tenants' assignments, but never the very prefix or a part of what is booked for somebody else.
//!
//! # Rules
//!
//! | rule | refuses |
//! |---|---|
//! | `IPAM-NAME-1` | an owner, site or key that is no name |
//! | `IPAM-HOLD-1` | a holding that overlaps another |
//! | `IPAM-HOLD-2` | a holding larger than registries give (shorter than /8, /16) |
//! | `IPAM-SITE-1` | a site that is not there |
//! | `IPAM-ASSIGN-1` | an assignment outside our holdings |
//! | `IPAM-ASSIGN-2` | an assignment that overlaps another owner's |
//! | `IPAM-ASSIGN-3` | an assignment that stands already with other particulars |
//! | `IPAM-ALLOC-1` | an allocation where no prefix of that length is free |
//! | `IPAM-ALLOC-2` | an allocation from a place that is not ours |
//! | `IPAM-ALLOC-3` | an allocation of a length that the family or the place cannot have |
//! | `IPAM-RELEASE-1` | the release of something that is not booked as such |
//! | `IPAM-RELEASE-2` | the release of another owner's assignment |
//! | `IPAM-RELEASE-3` | the release of something still announced |
//! | `IPAM-ANNOUNCE-1` | an announcement of space that we do not hold |
//! | `IPAM-ANNOUNCE-2` | an announcement longer than /24 or /48 (RFC 7454 §6.1.3) |
//! | `IPAM-ANNOUNCE-3` | an announcement that overlaps another owner's assignment |
//! | `IPAM-ANNOUNCE-4` | an announcement that names no site |
//! | `IPAM-ANNOUNCE-5` | an announcement for one owner of what is announced for another |
//! | `IPAM-KEY-1` | a request key that was used for another request |
//! | `IPAM-KEY-2` | a request key whose assignment has been released since |
#![forbid(unsafe_code)]

mod apply;
mod command;
mod decide;
mod free;
mod refusal;
mod state;
#[cfg(test)]
mod tests;

pub use apply::Inconsistent;
pub use command::{Command, Decision, Event, RequestKey};
pub use free::FreeSpace;
pub use refusal::{Refusal, Rule};
pub use state::{Announcement, Assignment, Holding, Site, State};

/// The owner of everything that is held and not booked.
pub const ASSOCIATION: &str = "association";
