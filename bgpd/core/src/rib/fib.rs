//! What the kernel should hold: one want a prefix, with the number that its confirmation must carry.
//!
//! A change of the next hops that are used makes a new want with a new number (the cookie) and puts the destination
//! in the queue once; [`super::Rib::poll_fib`] takes the want as it is then, so a prefix that flaps ten times between two
//! polls costs one write. A confirmation of an older want is told by its cookie and ignored. Cookies are one counter for
//! the whole table, so that a prefix that went and came again is not confirmed by an answer to its former life; the counter
//! comes round after 2^32 wants, which is no trouble as an answer is never that old.
//!
//! A change of nothing but the backup is a new want too, but under the number of the old one: what the kernel forwards over
//! is the same, so the answer to the old want is as good, and what is announced neither waits nor changes.
//!
//! Where no kernel table is kept ([`FibWants::grant_all`]) a want is granted as it is made and never queued, and nobody
//! looks for backups.

use std::collections::{BTreeMap, VecDeque};

use super::ids::DestId;
use super::table::Slot;
use super::targets::{TargetId, Targets};
use super::types::FibState;

/// A want's cookie as the FIB sees it: where its destination stands, and its number.
pub(super) fn cookie(id: DestId, number: u32) -> u64 {
    u64::from(id.0) << 32 | u64::from(number)
}

/// The two parts of [`cookie`].
pub(super) fn of_cookie(cookie: u64) -> (DestId, u32) {
    (DestId((cookie >> 32) as u32), cookie as u32)
}

/// Room of the queue that is kept once it is empty: a table's worth of wants is not held in reserve.
const KEPT: usize = 1024;

/// The queue of wants and what is counted about them.
#[derive(Debug)]
pub(super) struct FibWants {
    pub(super) targets: Targets,
    queue: VecDeque<DestId>,
    last_cookie: u32,
    errors: BTreeMap<DestId, String>,
    /// Slots by family (IPv6, IPv4) and state.
    counts: [[usize; 4]; 2],
    /// No kernel table is kept: every want is true as soon as it is made.
    granted: bool,
    /// Wants of the first decision without an answer, and the last cookie among them.
    first: Option<(usize, u32)>,
}

/// Slots of one family with a want, by state.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FibCounts {
    pub(super) installed: usize,
    pub(super) pending: usize,
    pub(super) failed: usize,
}

impl FibWants {
    pub(super) fn new(seed: u64) -> FibWants {
        FibWants {
            targets: Targets::new(seed),
            queue: VecDeque::new(),
            last_cookie: 0,
            errors: BTreeMap::new(),
            counts: [[0; 4]; 2],
            granted: false,
            first: None,
        }
    }

    /// No kernel table is kept.
    pub(super) fn grant_all(&mut self) {
        self.granted = true;
    }

    /// A kernel table is kept.
    #[inline]
    pub(super) fn has_kernel(&self) -> bool {
        !self.granted
    }

    /// Wants `target` for a destination from now on.
    pub(super) fn want(&mut self, id: DestId, slot: &mut Slot, target: Option<TargetId>) {
        if slot.target == target {
            return;
        }
        let backup_only = match (slot.target, target) {
            (Some(old), Some(new)) => self.targets.active(old) == self.targets.active(new),
            _ => false,
        };
        if let Some(new) = target {
            self.targets.retain(new);
        }
        if let Some(old) = slot.target {
            self.targets.release(old);
        }
        slot.target = target;
        if backup_only {
            // Whatever the state is, it is that of the next hops in use.
            return self.enqueue(id, slot);
        }
        let state = match target {
            None => FibState::NotWanted,
            Some(_) if self.granted => FibState::Installed,
            Some(_) => FibState::Pending,
        };
        // The old want is over, whatever its answer will be.
        self.set_state(id, slot, state);
        self.last_cookie = self.last_cookie.wrapping_add(1);
        slot.cookie = self.last_cookie;
        if self.granted {
            slot.set_handed_out(target.is_some());
        } else {
            self.enqueue(id, slot);
        }
    }

    fn enqueue(&mut self, id: DestId, slot: &mut Slot) {
        if !slot.is_queued() {
            slot.set_queued(true);
            self.queue.push_back(id);
        }
    }

    fn count(&mut self, v4: bool, state: FibState) -> Option<&mut usize> {
        self.counts.get_mut(usize::from(v4))?.get_mut(state as usize)
    }

    /// Moves a slot to another state and keeps the counts and texts true.
    pub(super) fn set_state(&mut self, id: DestId, slot: &mut Slot, state: FibState) {
        let old = slot.fib_state();
        if let Some(count) = self.count(id.is_v4(), old) {
            // New slots are in no count of their own.
            *count = count.wrapping_sub(1);
        }
        if let Some(count) = self.count(id.is_v4(), state) {
            *count = count.wrapping_add(1);
        }
        if let Some((left, last)) = &mut self.first
            && old == FibState::Pending
            && last.wrapping_sub(slot.cookie) < 1 << 31
        {
            *left = left.saturating_sub(1);
        }
        if old == FibState::Failed && state != FibState::Failed {
            self.errors.remove(&id);
        }
        slot.set_fib_state(state);
    }

    /// The next destination whose want may have changed.
    pub(super) fn pop(&mut self) -> Option<DestId> {
        let next = self.queue.pop_front();
        if self.queue.is_empty() && self.queue.capacity() > KEPT {
            self.queue = VecDeque::new();
        }
        next
    }

    /// Destinations in the queue.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Every want is handed out.
    pub(super) fn is_drained(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn set_error(&mut self, id: DestId, error: String) {
        self.errors.insert(id, error);
    }

    pub(super) fn error(&self, id: DestId) -> &str {
        self.errors.get(&id).map_or("", String::as_str)
    }

    pub(super) fn counts(&self, v4: bool) -> FibCounts {
        let [six, four] = self.counts;
        let [_, pending, installed, failed] = if v4 { four } else { six };
        FibCounts { installed, pending, failed }
    }

    /// The wants of the first decision are all made.
    pub(super) fn begin_first(&mut self) {
        self.first = Some(([true, false].map(|v4| self.counts(v4).pending).iter().sum(), self.last_cookie));
    }

    /// Wants of the first decision that have no answer yet; later ones do not count.
    pub(super) fn first_left(&self) -> usize {
        self.first.map_or(0, |(left, _)| left)
    }

    /// Octets taken from the allocator by the queue.
    pub(super) fn octets(&self) -> usize {
        self.queue.capacity() * size_of::<DestId>()
    }
}
