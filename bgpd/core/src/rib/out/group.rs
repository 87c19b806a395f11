//! An update group: one table and one log for all neighbours of one export profile.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bgp_wire::{NextHop, PathAttributes};
use bytes::Bytes;
use net_types::{Family, Prefix};

use super::Offer;
use super::member::{Member, WalkKind};
use super::plan::{Encoded, Marker, Plan, Step, encode};
use super::pool::Pool;
use crate::config::SpeakerConfig;
use crate::policy::{ExportProfile, SourceKind};
use crate::rib::PeerId;

/// Encoded plans kept for members that ask for the same.
const BATCHES: usize = 4;
/// Octets that an attribute set is taken to cost when a plan is cut to its budget.
const ATTRIBUTES_ESTIMATE: usize = 100;

/// What policy made of the best path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Exported {
    /// As sent.
    pub(super) attributes: Arc<PathAttributes>,
    /// As sent.
    pub(super) next_hop: NextHop,
    /// Who the path came from.
    pub(super) source: PeerId,
}

/// One prefix of the table.
#[derive(Debug)]
pub(super) struct Slot {
    /// Which.
    pub(super) prefix: Prefix,
    /// What members may be told; `None`: nothing (any more).
    pub(super) exported: Option<Exported>,
    /// When that was last set.
    seq: u64,
    /// Taken over from another group, not judged here yet: to be logged even if nothing is to be exported.
    unjudged: bool,
}

/// The group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) profile: ExportProfile,
    pub(super) members: BTreeMap<PeerId, Member>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    index: BTreeMap<Prefix, u32>,
    /// Changed prefixes that were not judged yet, in order of their first mark.
    marked: BTreeMap<u64, Prefix>,
    marked_at: BTreeMap<Prefix, u64>,
    last_mark: u64,
    /// Slots by their `seq`, as long as a member has not been told: each slot at most once.
    log: BTreeMap<u64, u32>,
    last_seq: u64,
    pool: Pool,
    batches: VecDeque<(Plan, Encoded)>,
}

impl Group {
    pub(super) fn new(profile: ExportProfile) -> Group {
        Group {
            profile,
            members: BTreeMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            index: BTreeMap::new(),
            marked: BTreeMap::new(),
            marked_at: BTreeMap::new(),
            last_mark: 0,
            log: BTreeMap::new(),
            last_seq: 0,
            pool: Pool::default(),
            batches: VecDeque::new(),
        }
    }

    pub(super) fn mark(&mut self, prefix: Prefix) {
        if !self.profile.context().families.contains(&prefix.family()) || self.marked_at.contains_key(&prefix) {
            return;
        }
        self.last_mark += 1;
        self.marked.insert(self.last_mark, prefix);
        self.marked_at.insert(prefix, self.last_mark);
    }

    /// Marks all that the table holds.
    pub(super) fn mark_all(&mut self) {
        let all: Vec<Prefix> = self.index.keys().copied().collect();
        all.into_iter().for_each(|p| self.mark(p));
    }

    /// Takes a neighbour in. `held`: routes it holds from another group.
    pub(super) fn join(&mut self, peer: PeerId, mut member: Member, kind: WalkKind, held: BTreeSet<Prefix>) {
        member.position = self.last_seq;
        for prefix in held {
            let slot = self.slot(prefix);
            member.advertised.insert(slot);
            if let Some(s) = self.slots.get_mut(slot as usize).filter(|s| s.exported.is_none()) {
                s.unjudged = true;
                self.mark(prefix);
            }
        }
        member.start(kind, self.last_mark);
        self.members.insert(peer, member);
    }

    /// Lets a neighbour go; the routes it holds.
    pub(super) fn leave(&mut self, peer: PeerId) -> Option<(Member, BTreeSet<Prefix>)> {
        let member = self.members.remove(&peer)?;
        let held = self.index.iter().filter(|&(_, s)| member.advertised.contains(*s)).map(|(p, _)| *p).collect();
        self.trim();
        Some((member, held))
    }

    pub(super) fn refresh(&mut self, peer: PeerId, family: Family) {
        let mark = self.last_mark;
        if !self.profile.context().families.contains(&family) {
            return;
        }
        if let Some(m) = self.members.get_mut(&peer) {
            m.walk(WalkKind::Refresh { enhanced: m.enhanced_refresh }, Some(family), mark);
        }
    }

    /// Nothing is left to tell this neighbour.
    pub(super) fn is_idle(&self, peer: PeerId) -> bool {
        self.marked.is_empty()
            && self.members.get(&peer).is_none_or(|m| m.position == self.last_seq && m.walks.is_empty())
    }

    /// Routes that the neighbour holds, as the table has them now.
    pub(super) fn advertised(&self, peer: PeerId) -> impl Iterator<Item = (Prefix, &Exported)> {
        let member = self.members.get(&peer);
        self.index.iter().filter_map(move |(prefix, &slot)| {
            member.filter(|m| m.advertised.contains(slot))?;
            Some((*prefix, self.slots.get(slot as usize)?.exported.as_ref()?))
        })
    }

    /// The route of one prefix that the neighbour holds.
    pub(super) fn advertised_route(&self, peer: PeerId, prefix: &Prefix) -> Option<&Exported> {
        let slot = *self.index.get(prefix)?;
        self.members.get(&peer).filter(|m| m.advertised.contains(slot))?;
        self.slots.get(slot as usize)?.exported.as_ref()
    }

    fn slot(&mut self, prefix: Prefix) -> u32 {
        if let Some(&slot) = self.index.get(&prefix) {
            return slot;
        }
        let new = Slot { prefix, exported: None, seq: 0, unjudged: false };
        let slot = match self.free.pop() {
            Some(slot) => {
                if let Some(s) = self.slots.get_mut(slot as usize) {
                    *s = new;
                }
                slot
            }
            None => {
                self.slots.push(new);
                // 2^32 prefixes do not fit into memory.
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.index.insert(prefix, slot);
        slot
    }

    /// Judges up to `limit` marked prefixes; those whose export changed go to the end of the log.
    fn judge<'v>(&mut self, speaker: &SpeakerConfig, view: &impl Fn(&Prefix) -> Offer<'v>, limit: usize) {
        // Consecutive prefixes mostly share their attributes: the last answer serves again.
        let mut last: Option<(u32, PeerId, SourceKind, Arc<PathAttributes>)> = None;
        for _ in 0..limit {
            let Some((_, prefix)) = self.marked.pop_first() else { break };
            self.marked_at.remove(&prefix);
            let best = match view(&prefix) {
                Offer::Route(best) => Some(best),
                Offer::Withdrawn => None,
                // What was said stays; the RIB marks the prefix again when the wait is over.
                Offer::Pending => continue,
            };
            let exported = best.and_then(|best| {
                let source = &best.source;
                let next_hop = self.profile.verdict(speaker, source, &prefix, &best.next_hop, &best.attributes).ok()?;
                let key = (best.set, source.peer, source.kind);
                let attributes = match &last {
                    Some((a, p, k, out)) if (*a, *p, *k) == key => Arc::clone(out),
                    _ => {
                        let new = self.profile.attributes(speaker, source, &best.attributes);
                        let new = self.pool.intern(new);
                        last = Some((key.0, key.1, key.2, Arc::clone(&new)));
                        new
                    }
                };
                Some(Exported { attributes, next_hop, source: source.peer })
            });
            self.set(prefix, exported);
        }
    }

    fn set(&mut self, prefix: Prefix, exported: Option<Exported>) {
        if exported.is_none() && !self.index.contains_key(&prefix) {
            return;
        }
        let slot = self.slot(prefix);
        let Some(s) = self.slots.get_mut(slot as usize) else { return };
        if s.exported == exported && !s.unjudged {
            // A slot made a moment ago for nothing cannot be: nothing without a slot returned above.
            return;
        }
        self.log.remove(&s.seq);
        self.last_seq += 1;
        (s.exported, s.seq, s.unjudged) = (exported, self.last_seq, false);
        self.log.insert(self.last_seq, slot);
    }

    /// The next messages for a neighbour, about `budget` octets, or `None` if it has been told everything.
    pub(super) fn pull<'v>(
        &mut self,
        speaker: &SpeakerConfig,
        peer: PeerId,
        view: &impl Fn(&Prefix) -> Offer<'v>,
        budget: usize,
    ) -> Option<Bytes> {
        // A route on the wire takes two octets at least; four on average is little.
        let limit = (budget / 4).max(1);
        loop {
            let more = !self.marked.is_empty();
            self.judge(speaker, view, limit);
            let member = self.members.get_mut(&peer)?;
            let mut planner = Planner {
                slots: &self.slots,
                log: &self.log,
                last_seq: self.last_seq,
                first_mark: self.marked.first_key_value().map(|(m, _)| *m),
                families: &self.profile.context().families,
                plan: Plan::default(),
                cost: 0,
                walked: BTreeSet::new(),
                counted: BTreeSet::new(),
            };
            let moved = planner.run(member, budget);
            let plan = planner.plan;
            if plan.is_empty() {
                self.trim();
                if more || moved {
                    continue;
                }
                return None;
            }
            let encoded = self.encoded(&plan);
            if let Some(member) = self.members.get_mut(&peer) {
                account(member, &plan, &encoded, &self.slots);
            }
            self.trim();
            if !encoded.bytes.is_empty() {
                return Some(encoded.bytes);
            }
        }
    }

    /// The plan's bytes, from the buffer of a member that said the same if there is one.
    fn encoded(&mut self, plan: &Plan) -> Encoded {
        if let Some((_, known)) = self.batches.iter().find(|(p, _)| p == plan) {
            return known.clone();
        }
        let new = encode(plan, &self.slots, self.profile.context());
        if self.members.len() > 1 {
            if self.batches.len() == BATCHES {
                self.batches.pop_front();
            }
            self.batches.push_back((plan.clone(), new.clone()));
        }
        new
    }

    /// Forgets what every member has been told: log entries, then slots that nothing is exported in, then shared buffers.
    fn trim(&mut self) {
        let told = self.members.values().map(|m| m.position).min().unwrap_or(self.last_seq);
        while let Some(entry) = self.log.first_entry().filter(|e| *e.key() <= told) {
            let slot = entry.remove();
            let Some(s) = self.slots.get(slot as usize) else { continue };
            if s.exported.is_none() && !s.unjudged {
                self.index.remove(&s.prefix);
                self.free.push(slot);
            }
        }
        if told == self.last_seq && self.members.values().all(|m| m.walks.is_empty()) {
            self.batches.clear();
        }
    }

    /// Sizes, for tests of what is kept: (log, slots in use).
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.log.len(), self.index.len())
    }
}

/// Puts one plan together.
struct Planner<'a> {
    slots: &'a [Slot],
    log: &'a BTreeMap<u64, u32>,
    last_seq: u64,
    first_mark: Option<u64>,
    families: &'a [Family],
    plan: Plan,
    cost: usize,
    /// Slots that the walk names: the log need not name them again.
    walked: BTreeSet<u32>,
    /// Attribute sets that the cost holds already.
    counted: BTreeSet<*const PathAttributes>,
}

impl Planner<'_> {
    /// Fills the plan and moves the member's position and walk accordingly; true if they moved.
    fn run(&mut self, member: &mut Member, budget: usize) -> bool {
        let position = member.position;
        let mut moved = self.begin(member);
        // With changes waiting the walk gets half of the budget, so that neither holds up the other.
        let share = if position == self.last_seq { budget } else { budget / 2 };
        moved |= self.walk(member, share.max(1));
        let from = (Bound::Excluded(position), Bound::Unbounded);
        member.position = self.last_seq;
        let mut told = position;
        for (&seq, &slot) in self.log.range(from) {
            if self.cost >= budget.max(1) {
                member.position = told;
                break;
            }
            if !self.walked.contains(&slot) {
                self.step(member, slot);
            }
            told = seq;
        }
        moved |= member.position != position;
        moved | self.end(member)
    }

    fn begin(&mut self, member: &mut Member) -> bool {
        let position = member.position;
        let Some(walk) = member.walks.front_mut().filter(|w| !w.begun) else { return false };
        (walk.begun, walk.since) = (true, position);
        if let (WalkKind::Refresh { enhanced: true }, Some(family)) = (walk.kind, walk.family) {
            // RFC 7313 §4: BoRR before the first route; never before End-of-RIB, since walks queue.
            self.plan.before.push(Marker::BeginOfRefresh(family));
        }
        true
    }

    /// First the log catches up with all that was marked before the walk (in a new group that is the whole table); then
    /// every slot is looked at, and those that the log did not tell since the walk began are told now, in their newest
    /// state. So when the walk ends, everything was told once since it began, whatever changed meanwhile, and it does end.
    fn walk(&mut self, member: &mut Member, budget: usize) -> bool {
        let Some(mut walk) = member.walks.pop_front() else { return false };
        let mut moved = false;
        if walk.target.is_none() && self.first_mark.is_none_or(|m| m > walk.mark) {
            (walk.target, moved) = (Some(self.last_seq), true);
        }
        if walk.end.is_none() && walk.target.is_some_and(|t| member.position >= t) {
            // Slots made or reused from here on are news, not part of what is walked.
            (walk.end, moved) = (Some(self.slots.len()), true);
        }
        while let Some(slot) = self.slots.get(walk.cursor as usize) {
            if self.cost >= budget || walk.end.is_none_or(|end| walk.cursor as usize >= end) {
                break;
            }
            let told = slot.seq > walk.since && slot.seq <= member.position;
            if !told && walk.family.is_none_or(|f| f == slot.prefix.family()) {
                self.step(member, walk.cursor);
                self.walked.insert(walk.cursor);
            }
            walk.cursor += 1;
            moved = true;
        }
        member.walks.push_front(walk);
        moved
    }

    /// Ends the walk if it is through.
    fn end(&mut self, member: &mut Member) -> bool {
        let Some(walk) = member.walks.front() else { return false };
        if walk.end.is_none_or(|end| (walk.cursor as usize) < end) {
            return false;
        }
        match (walk.kind, walk.family) {
            // RFC 4724 §2: once per family after the initial exchange, also with nothing sent.
            (WalkKind::Initial, _) => self.plan.after.extend(self.families.iter().map(|f| Marker::EndOfRib(*f))),
            (WalkKind::Refresh { enhanced: true }, Some(f)) => self.plan.after.push(Marker::EndOfRefresh(f)),
            (WalkKind::Refresh { .. } | WalkKind::Regroup, _) => {}
        }
        member.walks.pop_front();
        true
    }

    /// What the neighbour is to be told of this slot, if anything.
    fn step(&mut self, member: &Member, slot: u32) {
        let Some(s) = self.slots.get(slot as usize) else { return };
        let held = member.advertised.contains(slot);
        let step = Step { slot, seq: s.seq, held };
        let route = |e: &&Exported| !member.target.withholds(e.source, &e.attributes, &e.next_hop);
        match s.exported.as_ref().filter(route) {
            Some(exported) => {
                self.plan.announce.push(step);
                self.cost += 1 + usize::from(s.prefix.len()).div_ceil(8);
                if self.counted.insert(Arc::as_ptr(&exported.attributes)) {
                    self.cost += ATTRIBUTES_ESTIMATE;
                }
            }
            None if held => {
                self.plan.withdraw.push(step);
                self.cost += 1 + usize::from(s.prefix.len()).div_ceil(8);
            }
            // Never withdraw what was not advertised.
            None => {}
        }
    }
}

/// Books a plan that was said.
fn account(member: &mut Member, plan: &Plan, encoded: &Encoded, slots: &[Slot]) {
    let family = |s: &Step| slots.get(s.slot as usize).map(|s| s.prefix.family());
    for step in &plan.withdraw {
        let Some(family) = family(step) else { continue };
        let counters = member.counters.entry(family).or_default();
        if member.advertised.remove(step.slot) {
            counters.advertised -= 1;
            counters.withdrawn += 1;
        }
    }
    for (index, step) in plan.announce.iter().enumerate() {
        let Some(family) = family(step) else { continue };
        let counters = member.counters.entry(family).or_default();
        if encoded.unsendable.binary_search(&index).is_ok() {
            counters.unsendable += 1;
            if member.advertised.remove(step.slot) {
                counters.advertised -= 1;
                counters.withdrawn += 1;
            }
        } else {
            counters.announced += 1;
            if member.advertised.insert(step.slot) {
                counters.advertised += 1;
            }
        }
    }
}
