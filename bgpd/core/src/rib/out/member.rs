//! One neighbour in its update group: where it stands, and which routes it holds.

use std::collections::{BTreeMap, VecDeque};

use net_types::Family;

use super::OutCounters;
use super::bitmap::Bitmap;
use super::pass::Pass;
use crate::policy::ExportTarget;
use crate::rib::{DestId, PeerId};

/// A pass over the whole table, for one neighbour.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    /// Why.
    pub(super) kind: WalkKind,
    /// Only routes of this family; `None`: all.
    pub(super) family: Option<Family>,
    /// False until the neighbour was told that it begins.
    pub(super) begun: bool,
    /// The neighbour's position when it was told that: what it was told later need not be told again.
    pub(super) since: u64,
    /// Where it stands, once it began (again).
    pub(super) pass: Option<Pass>,
    /// What was marked before the walk was asked for is part of it: [`super::marks::Marks::end`] then.
    pub(super) mark: u64,
    /// Where the log stood when all that was walked and judged: it goes up to there before the walk ends.
    pub(super) target: Option<u64>,
}

impl Walk {
    fn new(kind: WalkKind, family: Option<Family>, mark: u64) -> Walk {
        Walk { kind, family, begun: false, since: 0, pass: None, mark, target: None }
    }

    /// The walk itself tells of what lies before it; the log need not.
    pub(super) fn tells(&self) -> Option<&Pass> {
        match self.kind {
            WalkKind::Initial | WalkKind::Regroup => self.pass.as_ref(),
            // The neighbour holds these routes: news go at once, and count as told again.
            WalkKind::Refresh { .. } => None,
        }
    }
}

/// Why the table is walked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum WalkKind {
    /// The session came up: everything, then End-of-RIB.
    Initial,
    /// The neighbour's profile changed under an established session: what differs from what it holds, no marker.
    Regroup,
    /// RFC 2918; with markers where RFC 7313 is in force.
    Refresh {
        /// BoRR before, EoRR after.
        enhanced: bool,
    },
}

/// The group that told a neighbour what it holds, as long as the walk that compares is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct From {
    /// Which group.
    pub(super) group: u32,
    /// It was told everything in that group's log up to here.
    pub(super) position: u64,
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
    /// What it holds a route to.
    pub(super) held: Bitmap,
    /// Passes under way (the first) and waiting.
    pub(super) walks: VecDeque<Walk>,
    /// By family: IPv4, IPv6.
    pub(super) counters: [OutCounters; 2],
    /// Some of what it holds, another group told it, or this one under another profile: the first walk is not through.
    pub(super) carried: bool,
    /// That group, where what it said can be compared.
    pub(super) from: Option<From>,
    /// It was told everything, or nothing yet: whoever serves it waits to hear that there is more.
    pub(super) waiting: bool,
}

impl Member {
    /// One that holds nothing yet.
    pub(super) fn new(target: ExportTarget, enhanced_refresh: bool) -> Member {
        Member {
            target,
            enhanced_refresh,
            position: 0,
            held: Bitmap::default(),
            walks: VecDeque::new(),
            counters: Default::default(),
            carried: false,
            from: None,
            waiting: true,
        }
    }

    /// It is between BoRR and EoRR (RFC 7313 §4).
    pub(super) fn repeats(&self) -> bool {
        self.walks.front().is_some_and(|w| w.kind == WalkKind::Refresh { enhanced: true } && w.begun)
    }

    /// Counters of a family.
    pub(super) fn counters_mut(&mut self, v4: bool) -> &mut OutCounters {
        let [four, six] = &mut self.counters;
        if v4 { four } else { six }
    }

    /// Starts in a (new) group: the pass that brings it there comes first. Refreshes from before stay owed: one that had
    /// begun goes over the whole table again, since its EoRR is due after all of it (RFC 7313 §4).
    pub(super) fn start(&mut self, kind: WalkKind, mark: u64) {
        self.walks.retain(|w| matches!(w.kind, WalkKind::Refresh { .. }));
        for w in &mut self.walks {
            (w.pass, w.mark, w.target) = (None, mark, None);
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

/// The neighbours of a group.
#[derive(Default, Debug)]
pub(super) struct Members {
    /// The one that is pulling is taken out of its box's place; it is a member all the same.
    by_peer: BTreeMap<PeerId, Option<Box<Member>>>,
    /// How many of those in their places are [`Member::carried`].
    carriers: usize,
}

impl Members {
    pub(super) fn get(&self, peer: PeerId) -> Option<&Member> {
        self.by_peer.get(&peer)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, peer: PeerId) -> Option<&mut Member> {
        self.by_peer.get_mut(&peer)?.as_deref_mut()
    }

    /// Takes a neighbour in, or back to its place.
    pub(super) fn put(&mut self, peer: PeerId, member: Box<Member>) {
        self.carriers += usize::from(member.carried);
        self.by_peer.insert(peer, Some(member));
    }

    /// Takes a member out of its place, which stays.
    pub(super) fn take(&mut self, peer: PeerId) -> Option<Box<Member>> {
        let member = self.by_peer.get_mut(&peer)?.take()?;
        self.carriers -= usize::from(member.carried);
        Some(member)
    }

    pub(super) fn remove(&mut self, peer: PeerId) -> Option<Box<Member>> {
        let member = self.take(peer);
        self.by_peer.remove(&peer);
        member
    }

    pub(super) fn contains(&self, peer: PeerId) -> bool {
        self.by_peer.contains_key(&peer)
    }

    /// How many, whether in their places or not.
    pub(super) fn len(&self) -> usize {
        self.by_peer.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_peer.is_empty()
    }

    /// Those in their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerId, &Member)> {
        self.by_peer.iter().filter_map(|(peer, m)| Some((*peer, m.as_deref()?)))
    }

    /// Those in their places.
    pub(super) fn values(&self) -> impl Iterator<Item = &Member> {
        self.by_peer.values().filter_map(Option::as_deref)
    }

    /// True if one holds this, told by another group.
    pub(super) fn carry(&self, dest: DestId) -> bool {
        self.carriers > 0 && self.values().any(|m| m.carried && m.held.contains(dest))
    }
}
