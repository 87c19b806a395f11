//! Own prefixes after a start with nothing in the kernel: the last resort until the table is in (ADR 0019).
//!
//! What is announced here stands on a discard route, which the kernel confirms at once. So the first session that comes up
//! would draw traffic for hosts that other routers lead to and that we know no way to yet. Until the table is in, those
//! prefixes therefore carry the highest MED but one ([`crate::policy::export::MAX_MED`]): who has another way in takes that,
//! who has none is served as well as we can. Routes of others need none of this: each is told once the kernel forwards it.
//!
//! The table is in once every neighbour we expect has told us its own (up, and its End-of-RIB came where it offers Graceful
//! Restart), and the kernel has answered what was wanted then; `max_med_on_startup` bounds the wait. The end is told as a new
//! source of the own prefixes ([`super::peers::LAST_RESORT`]): an UPDATE that replaces, for these prefixes and no others.
//!
//! Invariants:
//! - Nothing is delayed and nothing withdrawn for it.
//! - It begins with the RIB or never, and never comes back. A restart over a standing table has none: there the first decision
//!   waits instead ([`super::graceful`]), and what forwards meanwhile is the old table.
//!
//! Standards: RFC 4271 §5.1.4 and §9.1.2.2, RFC 4724 §2.

use net_types::Monotime;

use super::Rib;
use super::peers::{ANNOUNCED, Peer};
use super::types::{LastResort, RibEvent};

/// A start that is not over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Startup {
    since: Monotime,
    /// Everybody has told us; the kernel's answers are waited for.
    told: bool,
}

impl Rib {
    /// A start with nothing in the kernel.
    pub(super) fn begin_startup(&mut self, now: Monotime) {
        self.loc.last_resort = !self.loc.speaker.max_med_on_startup.is_zero();
        self.startup = self.loc.last_resort.then_some(Startup { since: now, told: false });
    }

    /// Looks whether the table is in. Without a neighbour there is nobody to hear from yet.
    pub(super) fn check_startup(&mut self) {
        let Some(startup) = self.startup else { return };
        if !startup.told {
            let peers = &self.loc.peers;
            if peers.is_empty() || peers.values().any(Peer::owes_table) || !self.loc.is_swept() {
                return;
            }
            self.startup = Some(Startup { told: true, ..startup });
            self.loc.fib.begin_first();
        }
        if self.loc.fib.first_left() == 0 {
            self.end_startup(false);
        }
    }

    /// When it is over whatever has come.
    pub(super) fn startup_timeout(&self) -> Option<Monotime> {
        self.startup.map(|s| s.since + self.loc.speaker.max_med_on_startup)
    }

    /// What is due at `now`.
    pub(super) fn startup_due(&mut self, now: Monotime) {
        if self.startup_timeout().is_some_and(|at| at <= now) {
            self.end_startup(true);
        }
    }

    fn end_startup(&mut self, expired: bool) {
        self.startup = None;
        self.loc.last_resort = false;
        let announced = self.loc.originated.iter().filter(|(_, kind)| *kind == ANNOUNCED);
        self.loc.changed.extend(announced.filter_map(|(prefix, _)| self.loc.table.find(prefix)));
        self.events.push_back(RibEvent::LastResortOver { expired });
    }

    /// How far it is.
    pub(super) fn last_resort(&self) -> Option<LastResort> {
        let (startup, until) = (self.startup?, self.startup_timeout()?);
        let expected = || self.loc.peers.values().filter(|p| p.is_expected());
        Some(LastResort {
            neighbors_in: expected().filter(|p| !p.owes_table()).count(),
            neighbors: expected().count(),
            fib_pending: if startup.told { self.loc.fib.first_left() } else { 0 },
            until,
        })
    }
}
