//! One neighbour in its update group: where it stands, and which routes it holds.

use std::collections::{BTreeMap, VecDeque};

use net_types::Family;

use super::OutCounters;
use super::bitmap::Bitmap;
use crate::policy::ExportTarget;

/// A pass over the whole table of the group, for one neighbour.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    /// Why.
    pub(super) kind: WalkKind,
    /// Only routes of this family; `None`: all.
    pub(super) family: Option<Family>,
    /// False until the pass began.
    pub(super) begun: bool,
    /// The neighbour's position when the pass began: what it was told later need not be told again.
    pub(super) since: u64,
    /// Last mark set before the pass: what was marked by then is part of it.
    pub(super) mark: u64,
    /// Where the log stood when all those marks had been judged: the log goes first up to there.
    pub(super) target: Option<u64>,
    /// Next slot to look at.
    pub(super) cursor: u32,
    /// How many slots there are to look at, once the log is at `target`.
    pub(super) end: Option<usize>,
}

impl Walk {
    fn new(kind: WalkKind, family: Option<Family>, mark: u64) -> Walk {
        Walk { kind, family, begun: false, since: 0, mark, target: None, cursor: 0, end: None }
    }
}

/// Why the table is walked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum WalkKind {
    /// The session came up: everything, then End-of-RIB.
    Initial,
    /// The neighbour's profile changed under an established session: everything once more, no marker.
    Regroup,
    /// RFC 2918; with markers where RFC 7313 is in force.
    Refresh {
        /// BoRR before, EoRR after.
        enhanced: bool,
    },
}

/// The neighbour.
#[derive(Debug)]
pub(super) struct Member {
    /// For the checks that are about it alone.
    pub(super) target: ExportTarget,
    /// RFC 7313 in force.
    pub(super) enhanced_refresh: bool,
    /// It was told everything in the log up to here.
    pub(super) position: u64,
    /// Slots that it holds a route of.
    pub(super) advertised: Bitmap,
    /// Passes under way (the first) and waiting.
    pub(super) walks: VecDeque<Walk>,
    /// Counters.
    pub(super) counters: BTreeMap<Family, OutCounters>,
}

impl Member {
    /// One that holds nothing yet.
    pub(super) fn new(target: ExportTarget, enhanced_refresh: bool) -> Member {
        Member {
            target,
            enhanced_refresh,
            position: 0,
            advertised: Bitmap::default(),
            walks: VecDeque::new(),
            counters: BTreeMap::new(),
        }
    }

    /// Starts in a (new) group: the pass that brings it there comes first. Refreshes from before stay owed: one that had
    /// begun goes over the whole table again, since its EoRR is due after all of it (RFC 7313 §4).
    pub(super) fn start(&mut self, kind: WalkKind, mark: u64) {
        self.walks.retain(|w| matches!(w.kind, WalkKind::Refresh { .. }));
        for w in &mut self.walks {
            (w.since, w.mark, w.target, w.cursor, w.end) = (self.position, mark, None, 0, None);
        }
        self.walks.push_front(Walk::new(kind, None, mark));
    }

    /// Queues a pass. A refresh that waits already serves a second request too; one under way does not, since the
    /// routes sent before the second request are asked for again (RFC 7313 §4 lets each request have its own pass).
    pub(super) fn walk(&mut self, kind: WalkKind, family: Option<Family>, mark: u64) {
        if self.walks.iter().any(|w| !w.begun && w.kind == kind && w.family == family) {
            return;
        }
        self.walks.push_back(Walk::new(kind, family, mark));
    }
}
