//! What stands: holdings, sites, assignments, announcements, and the questions that reading them answers.
//!
//! `Prefix` orders by address, then length, so a range of an ordered map is a subtree in pre-order, and a covering
//! entry is found by one look per shorter length.

use crate::free::FreeSpace;
use net_types::Prefix;
use std::collections::{BTreeMap, BTreeSet};

/// Space that a registry gave to the association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Which registry object says so.
    pub source: String,
    /// What is not booked in it.
    pub free: FreeSpace,
}

/// A place that announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// For people.
    pub description: String,
}

/// A booked prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// For whom.
    pub owner: String,
    /// Where it is used; empty: anywhere.
    pub site: String,
    /// For people.
    pub description: String,
    /// The revision that booked it.
    pub revision: u64,
    /// What its owner has not booked again inside it; `None`: nothing is booked inside.
    pub(crate) free: Option<FreeSpace>,
}

/// A prefix on the Internet by our word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Whose it is.
    pub owner: String,
    /// From where; never empty.
    pub sites: BTreeSet<String>,
}

/// A request key that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) asked: String,
    pub(crate) prefix: Prefix,
    pub(crate) revision: u64,
}

/// Everything `ipamd` knows. Made by [`State::apply`] alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub(crate) revision: u64,
    pub(crate) holdings: BTreeMap<Prefix, Holding>,
    pub(crate) sites: BTreeMap<String, Site>,
    pub(crate) assignments: BTreeMap<Prefix, Assignment>,
    pub(crate) announcements: BTreeMap<Prefix, Announcement>,
    pub(crate) answered: BTreeMap<String, Answered>,
}

impl State {
    /// The number of events applied.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Holdings in address order.
    pub fn holdings(&self) -> &BTreeMap<Prefix, Holding> {
        &self.holdings
    }

    /// Sites by name.
    pub fn sites(&self) -> &BTreeMap<String, Site> {
        &self.sites
    }

    /// Assignments in address order, the outer before the inner.
    pub fn assignments(&self) -> &BTreeMap<Prefix, Assignment> {
        &self.assignments
    }

    /// Announcements in address order.
    pub fn announcements(&self) -> &BTreeMap<Prefix, Announcement> {
        &self.announcements
    }

    /// What a site announces, in address order.
    pub fn announced_at<'a>(&'a self, site: &'a str) -> impl Iterator<Item = Prefix> + 'a {
        self.announcements.iter().filter(|(_, a)| a.sites.contains(site)).map(|(p, _)| *p)
    }

    /// The maximal free blocks, in address order: of all holdings, or of what lies inside `within` (an assignment's
    /// free space is what its owner has not booked again).
    pub fn free(&self, within: Option<Prefix>) -> Vec<Prefix> {
        let mut blocks: Vec<Prefix> = match within {
            None => self.holdings.values().flat_map(|h| h.free.blocks()).collect(),
            Some(part) => self.free_inside(part),
        };
        blocks.sort_unstable();
        blocks
    }

    fn free_inside(&self, part: Prefix) -> Vec<Prefix> {
        let inside = |free: &FreeSpace| match free.block_around(part) {
            Some(_) => vec![part],
            None => free.blocks_inside(part).collect(),
        };
        if let Some((container, assignment)) = self.assignment_around(part) {
            return match &assignment.free {
                Some(free) => inside(free),
                None if container.covers(&part) => vec![part],
                None => vec![],
            };
        }
        match self.holding_around(part) {
            Some((_, holding)) => inside(&holding.free),
            None => subtree(&self.holdings, part).flat_map(|(_, h)| h.free.blocks()).collect(),
        }
    }

    /// The holding that `p` is or lies in.
    pub fn holding_around(&self, p: Prefix) -> Option<(Prefix, &Holding)> {
        covering(&self.holdings, p)
    }

    /// The innermost assignment that `p` is or lies in.
    pub fn assignment_around(&self, p: Prefix) -> Option<(Prefix, &Assignment)> {
        covering(&self.assignments, p)
    }

    /// The innermost assignment strictly around `p`.
    pub(crate) fn assignment_above(&self, p: Prefix) -> Option<(Prefix, &Assignment)> {
        covering(&self.assignments, p.parent()?)
    }

    /// The assignment that is not `owner`'s and shares an address with `p`, if any. All assignments around `p` have one
    /// owner, so the innermost speaks for them.
    pub(crate) fn foreign_overlap(&self, p: Prefix, owner: &str) -> Option<(Prefix, &Assignment)> {
        let around = self.assignment_around(p).filter(|(_, a)| a.owner != owner);
        around.or_else(|| subtree(&self.assignments, p).find(|(_, a)| a.owner != owner).map(|(p, a)| (*p, a)))
    }
}

/// The entry with the longest prefix that covers `p`.
pub(crate) fn covering<V>(map: &BTreeMap<Prefix, V>, p: Prefix) -> Option<(Prefix, &V)> {
    (0..=p.len()).rev().map(|length| p.truncate(length)).find_map(|key| map.get(&key).map(|v| (key, v)))
}

/// The entries at and below `p`, in address order.
pub(crate) fn subtree<V>(map: &BTreeMap<Prefix, V>, p: Prefix) -> impl Iterator<Item = (&Prefix, &V)> {
    map.range(p..).take_while(move |(key, _)| p.covers(key))
}
