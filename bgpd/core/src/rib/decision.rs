//! The decision process (RFC 4271 §9.1.2 with RFC 4456 §9), numbered.
//!
//! RFC 4271 §9.1.2.2 removes routes from the set of candidates step by step until one is left. So do we, in this order;
//! a path's *losing step* is the one that removed it:
//!
//! | step | keeps | source |
//! |---|---|---|
//! | 0 | usable: not refused by policy (AS loop, reflection loop, filters), next hop resolvable and not our own | §9.1.2, §9.1.2.1, §6.3 |
//! | 1 | highest LOCAL_PREF; 100 where it is absent | §9.1.1, §9.1.2 |
//! | 2 | originated by this speaker | every implementation; §9.1.2 leaves it to the degree of preference |
//! | 3 | shortest AS_PATH; a set counts one, confederation segments none | §9.1.2.2 a, RFC 5065 §5.3 |
//! | 4 | lowest ORIGIN | §9.1.2.2 b |
//! | 5 | lowest MED among paths from the same neighbouring AS; absent is 0 | §9.1.2.2 c |
//! | 6 | learned over eBGP | §9.1.2.2 d |
//! | 7 | lowest interior cost of the next hop | §9.1.2.2 e |
//! | 8 | lowest ORIGINATOR_ID, or the sender's BGP Identifier | §9.1.2.2 f, RFC 4456 §9 |
//! | 9 | shortest CLUSTER_LIST | RFC 4456 §9 |
//! | 10 | lowest neighbour address | §9.1.2.2 g |
//! | 11 | lowest Path Identifier, then lowest neighbour number | RFC 7911 §3 asks for a deterministic choice |
//!
//! "Oldest path" is not a step: it would make the winner depend on the order of arrival. MED is compared inside the
//! group of one neighbouring AS after step 4 has removed everything else, so the winner does not depend on the order of
//! the paths either ("deterministic MED"). A path that begins inside our AS has our AS as neighbour; one that begins with
//! a set has no neighbour and is compared with nobody.
//!
//! Invariants: of a non-empty set of usable paths exactly one wins; the result is a function of the set. [`rank`] repeats
//! the process on what is left, which gives the order of preference shown to people.

use std::fmt;
use std::net::IpAddr;

use bgp_wire::{Origin, PathAttributes};
use net_types::{Asn, RouterId};

use super::types::PeerId;

/// LOCAL_PREF of a path that carries none.
pub const DEFAULT_LOCAL_PREF: u32 = 100;

/// The steps, in order. The numbers are those of the module's table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Step {
    /// 0
    Usable = 0,
    /// 1
    LocalPref = 1,
    /// 2
    LocalOrigin = 2,
    /// 3
    AsPathLength = 3,
    /// 4
    Origin = 4,
    /// 5
    Med = 5,
    /// 6
    ExternalOverInternal = 6,
    /// 7
    InteriorCost = 7,
    /// 8
    BgpIdentifier = 8,
    /// 9
    ClusterListLength = 9,
    /// 10
    NeighborAddress = 10,
    /// 11
    PathIdentifier = 11,
    /// Not removed: the best path.
    Best = 12,
}

impl Step {
    /// The eliminating steps in order; [`Step::Usable`] is settled before, [`Step::Best`] after them.
    pub const ELIMINATING: [Step; 11] = [
        Step::LocalPref,
        Step::LocalOrigin,
        Step::AsPathLength,
        Step::Origin,
        Step::Med,
        Step::ExternalOverInternal,
        Step::InteriorCost,
        Step::BgpIdentifier,
        Step::ClusterListLength,
        Step::NeighborAddress,
        Step::PathIdentifier,
    ];
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Usable => "0 usable (RFC 4271 §9.1.2)",
            Step::LocalPref => "1 highest LOCAL_PREF (RFC 4271 §9.1.2)",
            Step::LocalOrigin => "2 originated here",
            Step::AsPathLength => "3 shortest AS_PATH (RFC 4271 §9.1.2.2 a)",
            Step::Origin => "4 lowest ORIGIN (RFC 4271 §9.1.2.2 b)",
            Step::Med => "5 lowest MED of the same neighbour AS (RFC 4271 §9.1.2.2 c)",
            Step::ExternalOverInternal => "6 eBGP over iBGP (RFC 4271 §9.1.2.2 d)",
            Step::InteriorCost => "7 lowest interior cost (RFC 4271 §9.1.2.2 e)",
            Step::BgpIdentifier => "8 lowest BGP Identifier or ORIGINATOR_ID (RFC 4271 §9.1.2.2 f, RFC 4456 §9)",
            Step::ClusterListLength => "9 shortest CLUSTER_LIST (RFC 4456 §9)",
            Step::NeighborAddress => "10 lowest neighbour address (RFC 4271 §9.1.2.2 g)",
            Step::PathIdentifier => "11 lowest Path Identifier",
            Step::Best => "best",
        })
    }
}

/// Which AS's MEDs a path's MED is compared with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MedGroup {
    /// The neighbouring AS.
    As(Asn),
    /// Begins with a set: alone.
    None,
}

/// Everything the steps look at, copied out of one usable path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathKey {
    /// Step 1.
    pub local_pref: u32,
    /// Step 2.
    pub local: bool,
    /// Step 3.
    pub as_path_length: usize,
    /// Step 4.
    pub origin: Origin,
    /// Step 5.
    pub med: u32,
    /// Step 5: the group.
    pub med_group: MedGroup,
    /// Step 6.
    pub external: bool,
    /// Step 7.
    pub interior_cost: u32,
    /// Step 8.
    pub identifier: RouterId,
    /// Step 9.
    pub cluster_list_length: usize,
    /// Step 10.
    pub neighbor_address: IpAddr,
    /// Step 11.
    pub path_id: u32,
    /// Step 11.
    pub peer: PeerId,
}

/// Who a path is from, as the steps see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeySource {
    /// Its number.
    pub peer: PeerId,
    /// Originated by this speaker.
    pub local: bool,
    /// Learned over eBGP.
    pub external: bool,
    /// BGP Identifier of the sender.
    pub identifier: RouterId,
    /// Address of the sender.
    pub address: IpAddr,
}

impl PathKey {
    /// The key of a path with these attributes (after import policy).
    pub fn new(
        attributes: &PathAttributes,
        source: KeySource,
        path_id: u32,
        interior_cost: u32,
        local_as: Asn,
    ) -> PathKey {
        let med_group = match attributes.as_path.neighbor_as() {
            Some(asn) => MedGroup::As(asn),
            None if attributes.as_path.asns().next().is_none() => MedGroup::As(local_as),
            None => MedGroup::None,
        };
        PathKey {
            local_pref: attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF),
            local: source.local,
            as_path_length: attributes.as_path.decision_len(),
            origin: attributes.origin,
            med: attributes.med.unwrap_or(0),
            med_group,
            external: source.external,
            interior_cost,
            identifier: attributes.originator_id.unwrap_or(source.identifier),
            cluster_list_length: attributes.cluster_list.len(),
            neighbor_address: source.address,
            path_id,
            peer: source.peer,
        }
    }

    /// Steps 6 to 11, less is better.
    fn after_med(&self) -> (bool, u32, u32, usize, IpAddr, u32, PeerId) {
        let (identifier, clusters) = (self.identifier.to_u32(), self.cluster_list_length);
        (!self.external, self.interior_cost, identifier, clusters, self.neighbor_address, self.path_id, self.peer)
    }

    /// The path's value at `step`, for people.
    pub fn value(&self, step: Step) -> String {
        match step {
            Step::Usable | Step::Best => String::new(),
            Step::LocalPref => self.local_pref.to_string(),
            Step::LocalOrigin => if self.local { "originated here" } else { "learned" }.to_owned(),
            Step::AsPathLength => self.as_path_length.to_string(),
            Step::Origin => match self.origin {
                Origin::Igp => "igp",
                Origin::Egp => "egp",
                Origin::Incomplete => "incomplete",
            }
            .to_owned(),
            Step::Med => match self.med_group {
                MedGroup::As(asn) => format!("{} (AS {asn})", self.med),
                MedGroup::None => self.med.to_string(),
            },
            Step::ExternalOverInternal => if self.external { "eBGP" } else { "iBGP" }.to_owned(),
            Step::InteriorCost => self.interior_cost.to_string(),
            Step::BgpIdentifier => self.identifier.to_string(),
            Step::ClusterListLength => self.cluster_list_length.to_string(),
            Step::NeighborAddress => self.neighbor_address.to_string(),
            Step::PathIdentifier => self.path_id.to_string(),
        }
    }
}

/// Runs the process over `keys`. `lost` gets one entry a key: the step that removed it, [`Step::Best`] for the winner,
/// whose index is returned. Keys whose entry in `out` is set on entry do not take part.
fn eliminate(keys: &[PathKey], lost: &mut [Option<Step>]) -> Option<usize> {
    fn keep(keys: &[PathKey], lost: &mut [Option<Step>], step: Step, better: impl Fn(&PathKey) -> bool) {
        for (key, lost) in keys.iter().zip(lost.iter_mut()) {
            if lost.is_none() && !better(key) {
                *lost = Some(step);
            }
        }
    }
    fn keep_lowest<V: Ord>(keys: &[PathKey], lost: &mut [Option<Step>], step: Step, value: impl Fn(&PathKey) -> V) {
        if let Some(lowest) = keys.iter().zip(lost.iter()).filter(|(_, l)| l.is_none()).map(|(k, _)| value(k)).min() {
            keep(keys, lost, step, |k| value(k) == lowest);
        }
    }
    for step in Step::ELIMINATING {
        match step {
            Step::LocalPref => keep_lowest(keys, lost, step, |k| std::cmp::Reverse(k.local_pref)),
            Step::LocalOrigin => keep_lowest(keys, lost, step, |k| !k.local),
            Step::AsPathLength => keep_lowest(keys, lost, step, |k| k.as_path_length),
            Step::Origin => keep_lowest(keys, lost, step, |k| k.origin),
            // RFC 4271 §9.1.2.2 c: only among routes of one neighbouring AS that are still in the set.
            Step::Med => {
                for i in 0..keys.len() {
                    let beaten = match (keys.get(i), lost.get(i)) {
                        (Some(key), Some(None)) => keys.iter().zip(lost.iter()).any(|(other, other_lost)| {
                            // One that this very step removed still counts: the least of the group stays in anyway.
                            matches!(other_lost, None | Some(Step::Med))
                                && other.med_group == key.med_group
                                && key.med_group != MedGroup::None
                                && other.med < key.med
                        }),
                        _ => false,
                    };
                    if let (true, Some(slot)) = (beaten, lost.get_mut(i)) {
                        *slot = Some(Step::Med);
                    }
                }
            }
            Step::ExternalOverInternal => keep_lowest(keys, lost, step, |k| !k.external),
            Step::InteriorCost => keep_lowest(keys, lost, step, |k| k.interior_cost),
            Step::BgpIdentifier => keep_lowest(keys, lost, step, |k| k.identifier.to_u32()),
            Step::ClusterListLength => keep_lowest(keys, lost, step, |k| k.cluster_list_length),
            Step::NeighborAddress => keep_lowest(keys, lost, step, |k| k.neighbor_address),
            Step::PathIdentifier => keep_lowest(keys, lost, step, |k| (k.path_id, k.peer)),
            Step::Usable | Step::Best => {}
        }
    }
    lost.iter().position(Option::is_none)
}

/// Runs the process over usable paths. `lost` is overwritten with one step a path, [`Step::Best`] for the winner, whose
/// index is returned; `None` only for no paths.
pub fn decide(keys: &[PathKey], lost: &mut Vec<Option<Step>>) -> Option<usize> {
    lost.clear();
    lost.resize(keys.len(), None);
    let best = if keys.len() == 1 { Some(0) } else { eliminate(keys, lost) };
    if let Some(slot) = best.and_then(|b| lost.get_mut(b)) {
        *slot = Some(Step::Best);
    }
    best
}

/// What becomes of a path that joins others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Joined {
    /// It is the best path now.
    Wins,
    /// The best path stays what it was.
    Loses,
    /// That takes a look at all of them.
    Open,
}

/// A path joins a set whose winner it ties with at steps 1 to 4: what [`decide`] would find, from the two alone.
pub fn join(new: &PathKey, winner: &PathKey) -> Joined {
    let grouped = new.med_group != MedGroup::None;
    if grouped && new.med_group == winner.med_group && new.med != winner.med {
        // Less takes the winner out at step 5, and who had lost to the winner only may win now.
        return if new.med > winner.med { Joined::Loses } else { Joined::Open };
    }
    if winner.after_med() <= new.after_med() {
        // Whether or not step 5 removes it, and whom it removes there: of these none was the winner.
        return Joined::Loses;
    }
    // The winner was the best of those that step 5 leaves; the new path is better, if that step leaves it.
    let stays = !grouped || new.med_group == winner.med_group || new.med == 0;
    if stays { Joined::Wins } else { Joined::Open }
}

/// The winner among paths that tie at steps 1 to 4: as [`decide`], without the reasons.
pub fn best_of_tied(keys: &[PathKey]) -> Option<usize> {
    let first = keys.first()?;
    // The rule is that nobody sends a MED.
    let differ = keys.iter().any(|k| k.med != first.med);
    let beaten = |key: &PathKey| {
        let beats = |other: &PathKey| other.med_group == key.med_group && other.med < key.med;
        differ && key.med_group != MedGroup::None && keys.iter().any(beats)
    };
    let left = keys.iter().enumerate().filter(|(_, key)| !beaten(key));
    left.min_by_key(|(_, key)| key.after_med()).map(|(at, _)| at)
}

/// Among paths that tie at steps 1 to 4 those that steps 5 to 7 leave, in the order of the others: the winner first, then who
/// is as good up to the interior cost.
pub fn equals_of_tied(keys: &[PathKey]) -> Vec<usize> {
    let mut lost = Vec::new();
    decide(keys, &mut lost);
    let left = lost.iter().enumerate().filter(|(_, lost)| lost.is_some_and(|step| step > Step::InteriorCost));
    let mut equals: Vec<usize> = left.map(|(at, _)| at).collect();
    equals.sort_by_key(|at| keys.get(*at).map(PathKey::after_med));
    equals
}

/// The order of preference: the winner, then the winner among the rest, and so on. For people; quadratic.
pub fn rank(keys: &[PathKey]) -> Vec<usize> {
    let mut left: Vec<usize> = (0..keys.len()).collect();
    let mut order = Vec::with_capacity(keys.len());
    let mut lost = Vec::new();
    while !left.is_empty() {
        let subset: Vec<PathKey> = left.iter().filter_map(|&i| keys.get(i).copied()).collect();
        let Some(best) = decide(&subset, &mut lost) else { break };
        order.push(left.remove(best));
    }
    order
}

/// Against whom path `i` lost at `step`: the winner where it was compared with it, else (MED of another AS's group) the
/// path of its own group with the least MED.
pub fn lost_against(keys: &[PathKey], lost: &[Option<Step>], i: usize, best: usize) -> usize {
    let (Some(key), Some(Some(Step::Med)), Some(winner)) = (keys.get(i), lost.get(i), keys.get(best)) else {
        return best;
    };
    if winner.med_group == key.med_group {
        return best;
    }
    keys.iter()
        .zip(lost)
        .enumerate()
        .filter(|(_, (other, lost))| other.med_group == key.med_group && lost.is_some_and(|l| l >= Step::Med))
        .min_by_key(|(_, (other, _))| other.med)
        .map_or(best, |(j, _)| j)
}

#[cfg(test)]
#[path = "decision_tests.rs"]
mod tests;
