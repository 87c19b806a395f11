//! The table of destinations: every prefix with its paths, before policy and after it.
//!
//! One ordered map a family, not a hash map: a page of a listing starts at its cursor without sorting a million keys,
//! "all inside this prefix" is a range, and every walk has one order, so a replay repeats byte for byte. Keys are packed
//! (eight octets for IPv4) since a B-tree keeps them side by side; a lookup costs about as much as the cache misses of a
//! hash table twice its size.
//!
//! Invariant: a destination exists while it has a path or the FIB may still hold a route for it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bgp_wire::PathAttributes;
use net_types::{Family, Monotime, Prefix};

use super::decision::Step;
use super::fib::FibSlot;
use super::next_hop::NextHopId;
use super::types::PeerId;
use crate::policy::Refusal;

/// One path of one destination. Kept small: a full table from three neighbours is three million of these.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) peer: PeerId,
    /// As the sender gave it; of local paths: 0 announced, 1 internal.
    pub(super) path_id: u32,
    pub(super) next_hop: NextHopId,
    /// The step that removed it from the last decision.
    pub(super) lost_at: Step,
    /// Kept from before a restart of its sender (RFC 4724 §4.2).
    pub(super) stale: bool,
    /// Not yet repeated since the sender's BoRR (RFC 7313 §4).
    pub(super) unrefreshed: bool,
    pub(super) received: Monotime,
    /// As received: the Adj-RIB-In.
    pub(super) pre: Arc<PathAttributes>,
    /// After import policy (the same copy where it changed nothing), or why not.
    pub(super) post: Result<Arc<PathAttributes>, Box<Refusal>>,
}

/// Names the best path of a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Best {
    pub(super) peer: PeerId,
    pub(super) path_id: u32,
}

/// One prefix.
#[derive(Debug, Default)]
pub(super) struct Destination {
    pub(super) paths: Vec<Path>,
    pub(super) best: Option<Best>,
    pub(super) fib: FibSlot,
}

impl Destination {
    pub(super) fn best_path(&self) -> Option<&Path> {
        let best = self.best?;
        self.path(best.peer, best.path_id)
    }

    pub(super) fn path(&self, peer: PeerId, path_id: u32) -> Option<&Path> {
        self.paths.iter().find(|p| p.peer == peer && p.path_id == path_id)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.paths.is_empty() && self.fib.is_idle()
    }
}

/// Every destination of the two families.
#[derive(Debug, Default)]
pub(super) struct Table {
    v4: BTreeMap<(u32, u8), Destination>,
    v6: BTreeMap<(u128, u8), Destination>,
}

impl Table {
    pub(super) fn get(&self, prefix: &Prefix) -> Option<&Destination> {
        match *prefix {
            Prefix::V4(bits, len) => self.v4.get(&(bits, len)),
            Prefix::V6(bits, len) => self.v6.get(&(bits, len)),
        }
    }

    pub(super) fn get_mut(&mut self, prefix: &Prefix) -> Option<&mut Destination> {
        match *prefix {
            Prefix::V4(bits, len) => self.v4.get_mut(&(bits, len)),
            Prefix::V6(bits, len) => self.v6.get_mut(&(bits, len)),
        }
    }

    pub(super) fn entry(&mut self, prefix: &Prefix) -> &mut Destination {
        match *prefix {
            Prefix::V4(bits, len) => self.v4.entry((bits, len)).or_default(),
            Prefix::V6(bits, len) => self.v6.entry((bits, len)).or_default(),
        }
    }

    pub(super) fn remove(&mut self, prefix: &Prefix) {
        match *prefix {
            Prefix::V4(bits, len) => drop(self.v4.remove(&(bits, len))),
            Prefix::V6(bits, len) => drop(self.v6.remove(&(bits, len))),
        }
    }

    /// Destinations of one family in order, from the first after `after`.
    pub(super) fn iter(
        &self,
        family: Family,
        after: Option<Prefix>,
    ) -> Box<dyn Iterator<Item = (Prefix, &Destination)> + '_> {
        match family {
            Family::IPV4_UNICAST => {
                let from = match after {
                    Some(Prefix::V4(bits, len)) => Bound::Excluded((bits, len)),
                    Some(Prefix::V6(..)) | None => Bound::Unbounded,
                };
                Box::new(self.v4.range((from, Bound::Unbounded)).map(|(&(b, l), d)| (Prefix::V4(b, l), d)))
            }
            Family::IPV6_UNICAST => {
                let from = match after {
                    Some(Prefix::V6(bits, len)) => Bound::Excluded((bits, len)),
                    Some(Prefix::V4(..)) | None => Bound::Unbounded,
                };
                Box::new(self.v6.range((from, Bound::Unbounded)).map(|(&(b, l), d)| (Prefix::V6(b, l), d)))
            }
            _ => Box::new(std::iter::empty()),
        }
    }

    /// As [`Table::iter`] from the start, to change.
    pub(super) fn iter_mut(&mut self, family: Family) -> Box<dyn Iterator<Item = (Prefix, &mut Destination)> + '_> {
        match family {
            Family::IPV4_UNICAST => Box::new(self.v4.iter_mut().map(|(&(b, l), d)| (Prefix::V4(b, l), d))),
            Family::IPV6_UNICAST => Box::new(self.v6.iter_mut().map(|(&(b, l), d)| (Prefix::V6(b, l), d))),
            _ => Box::new(std::iter::empty()),
        }
    }

    /// The longest prefix that covers `of`, is accepted by `take` and is at least `least` bits long.
    pub(super) fn longest_match<T>(
        &self,
        of: &Prefix,
        least: u8,
        mut take: impl FnMut(Prefix, &Destination) -> Option<T>,
    ) -> Option<T> {
        (least..=of.len()).rev().find_map(|len| {
            let prefix = of.truncate(len);
            take(prefix, self.get(&prefix)?)
        })
    }
}

/// A set of prefixes, packed like the table.
#[derive(Debug, Default)]
pub(super) struct PrefixSet {
    v4: std::collections::HashSet<(u32, u8), super::hash::FoldState>,
    v6: std::collections::HashSet<(u128, u8), super::hash::FoldState>,
}

impl PrefixSet {
    pub(super) fn insert(&mut self, prefix: &Prefix) {
        match *prefix {
            Prefix::V4(bits, len) => self.v4.insert((bits, len)),
            Prefix::V6(bits, len) => self.v6.insert((bits, len)),
        };
    }

    pub(super) fn remove(&mut self, prefix: &Prefix) {
        match *prefix {
            Prefix::V4(bits, len) => self.v4.remove(&(bits, len)),
            Prefix::V6(bits, len) => self.v6.remove(&(bits, len)),
        };
    }

    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Every member in order (the order of a hash set would leak its seed into what is sent).
    pub(super) fn sorted(&self) -> Vec<Prefix> {
        let v4 = self.v4.iter().map(|&(b, l)| Prefix::V4(b, l));
        let v6 = self.v6.iter().map(|&(b, l)| Prefix::V6(b, l));
        let mut all: Vec<Prefix> = v4.chain(v6).collect();
        all.sort_unstable();
        all
    }
}
