//! What the kernel should hold: one want a prefix, with the number that its confirmation must carry.
//!
//! A change of the best path's resolved next hops makes a new want with a new cookie and puts the prefix in the queue
//! once; [`super::Rib::poll_fib`] takes the want as it is then, so a prefix that flaps ten times between two polls costs
//! one write. A confirmation of an older want is told by its cookie and ignored.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use net_types::Prefix;

use super::types::{FibState, FibTarget};

/// A destination's want.
#[derive(Debug, Default)]
pub(super) struct FibSlot {
    pub(super) target: Option<Arc<FibTarget>>,
    /// Names the want; 0 before the first.
    pub(super) cookie: u64,
    pub(super) state: SlotState,
    /// In the queue.
    pub(super) queued: bool,
    /// A want was handed out since the last removal: the kernel may hold a route.
    pub(super) handed_out: bool,
}

/// [`FibState`] of a slot; failure texts are kept aside, they are rare.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum SlotState {
    #[default]
    NotWanted,
    Pending,
    Installed,
    Failed,
}

impl FibSlot {
    pub(super) fn is_idle(&self) -> bool {
        self.target.is_none() && !self.queued && !self.handed_out
    }

    pub(super) fn state(&self) -> FibState {
        match self.state {
            SlotState::NotWanted => FibState::NotWanted,
            SlotState::Pending => FibState::Pending,
            SlotState::Installed => FibState::Installed,
            SlotState::Failed => FibState::Failed,
        }
    }
}

/// The queue of wants and what is counted about them.
#[derive(Debug, Default)]
pub(super) struct FibWants {
    queue: VecDeque<Prefix>,
    last_cookie: u64,
    errors: BTreeMap<Prefix, String>,
    /// By family: IPv4, IPv6.
    counts: [FibCounts; 2],
    /// Wants of the first decision without an answer, and the last cookie among them.
    first: Option<(usize, u64)>,
}

/// Slots of one family by state.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FibCounts {
    pub(super) installed: usize,
    pub(super) pending: usize,
    pub(super) failed: usize,
}

impl FibWants {
    /// Wants `target` for `prefix` from now on. False if that is what it already wants.
    pub(super) fn want(&mut self, prefix: &Prefix, slot: &mut FibSlot, target: Option<Arc<FibTarget>>) -> bool {
        let same = match (&slot.target, &target) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
            _ => false,
        };
        if same {
            return false;
        }
        // The old want is over, whatever its answer will be.
        self.set_state(prefix, slot, SlotState::NotWanted);
        self.last_cookie += 1;
        slot.cookie = self.last_cookie;
        let state = if target.is_some() { SlotState::Pending } else { SlotState::NotWanted };
        self.set_state(prefix, slot, state);
        slot.target = target;
        if !slot.queued {
            slot.queued = true;
            self.queue.push_back(*prefix);
        }
        true
    }

    /// Moves a slot to another state and keeps the counts and texts true.
    pub(super) fn set_state(&mut self, prefix: &Prefix, slot: &mut FibSlot, state: SlotState) {
        let [v4, v6] = &mut self.counts;
        let counts = if prefix.is_v4() { v4 } else { v6 };
        let mut of = |state: SlotState, by: isize| {
            let count = match state {
                SlotState::NotWanted => return,
                SlotState::Pending => &mut counts.pending,
                SlotState::Installed => &mut counts.installed,
                SlotState::Failed => &mut counts.failed,
            };
            *count = count.saturating_add_signed(by);
        };
        of(slot.state, -1);
        of(state, 1);
        if let Some((left, last)) = &mut self.first
            && slot.state == SlotState::Pending
            && slot.cookie <= *last
        {
            *left = left.saturating_sub(1);
        }
        if slot.state == SlotState::Failed && state != SlotState::Failed {
            self.errors.remove(prefix);
        }
        slot.state = state;
    }

    /// The next prefix whose want may have changed.
    pub(super) fn pop(&mut self) -> Option<Prefix> {
        self.queue.pop_front()
    }

    /// Every want is handed out.
    pub(super) fn is_drained(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn set_error(&mut self, prefix: &Prefix, error: String) {
        self.errors.insert(*prefix, error);
    }

    pub(super) fn error(&self, prefix: &Prefix) -> &str {
        self.errors.get(prefix).map_or("", String::as_str)
    }

    pub(super) fn counts(&self, v4: bool) -> FibCounts {
        let [four, six] = self.counts;
        if v4 { four } else { six }
    }

    /// The wants of the first decision are all made.
    pub(super) fn begin_first(&mut self) {
        self.first = Some((self.counts.iter().map(|c| c.pending).sum(), self.last_cookie));
    }

    /// Wants of the first decision that have no answer yet; later ones do not count.
    pub(super) fn first_left(&self) -> usize {
        self.first.map_or(0, |(left, _)| left)
    }
}
