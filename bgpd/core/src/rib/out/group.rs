//! An update group: one table and one log for all neighbours of one export profile.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use net_types::Family;

use super::log::{Log, low};
use super::look::{Key, Look, Looks};
use super::marks::Marks;
use super::member::{From, Member, WalkKind};
use super::pass::Pass;
use super::plan::{Encoded, Plan, encode};
use super::states::{State, States};
use super::{Offer, View};
use crate::config::SpeakerConfig;
use crate::policy::ExportProfile;
use crate::rib::{AttrId, DestId, PeerId};

/// Encoded plans kept for members that ask for the same.
const BATCHES: usize = 16;

/// A buffer that others may be given.
#[derive(Debug)]
struct Batch {
    plan: Plan,
    encoded: Encoded,
    /// End of the log when it was made.
    made_at: u64,
}

/// The speaker's configuration before a change, as long as the table was not judged again under the one after it.
#[derive(Debug)]
struct Older {
    speaker: Arc<SpeakerConfig>,
    /// How far that is; `None`: not begun.
    pass: Option<Pass>,
}

impl Older {
    fn is_ahead(&self, dest: DestId) -> bool {
        self.pass.as_ref().is_none_or(|p| p.is_ahead(dest))
    }
}

/// The group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) profile: ExportProfile,
    speaker: Arc<SpeakerConfig>,
    /// Only the last one's pass moves; what an earlier one's has not come to is still in that earlier form.
    older: Vec<Older>,
    pub(super) members: BTreeMap<PeerId, Member>,
    /// The member that is pulling and therefore not in `members`.
    pub(super) pulling: Option<PeerId>,
    /// Members that left for another group and hold what this one told them up to a position, until they are brought there.
    pub(super) ghosts: BTreeMap<PeerId, u64>,
    /// Nobody is left but ghosts: the table stands still, and nobody joins.
    pub(super) retired: bool,
    pub(super) states: States,
    /// The first judgement of the whole table; what is ahead of it needs no mark, and what it finds no entry in the log, since
    /// every member's first walk is behind it. `None`: not begun.
    fill: Option<Pass>,
    pub(super) marks: Marks,
    /// Destinations whose next judgement is news whatever it is, since what was said cannot be known.
    unsure: BTreeSet<DestId>,
    pub(super) log: Log,
    looks: Looks,
    batches: VecDeque<Batch>,
    /// Destinations that are perhaps not held any more.
    pub(super) released: Vec<DestId>,
    /// Members whose ghosts may go.
    pub(super) arrived: Vec<(PeerId, u32)>,
}

/// Answers that serve again while the RIB stands still.
#[derive(Default)]
pub(super) struct Recent {
    judged: Option<(Key, Option<Arc<Look>>)>,
    old: Option<(Key, Option<Arc<Look>>)>,
}

impl Group {
    pub(super) fn new(profile: ExportProfile, speaker: Arc<SpeakerConfig>) -> Group {
        let fill = profile.is_silent().then(|| Pass::new(|_| false, |_| 0));
        Group {
            profile,
            speaker,
            older: Vec::new(),
            members: BTreeMap::new(),
            pulling: None,
            ghosts: BTreeMap::new(),
            retired: false,
            states: States::default(),
            fill,
            marks: Marks::default(),
            unsure: BTreeSet::new(),
            log: Log::default(),
            looks: Looks::default(),
            batches: VecDeque::new(),
            released: Vec::new(),
            arrived: Vec::new(),
        }
    }

    pub(super) fn has_family(&self, family: Family) -> bool {
        self.profile.context().families.contains(&family)
    }

    /// Some pass over the whole table will come to it.
    pub(super) fn is_ahead(&self, dest: DestId) -> bool {
        self.fill.as_ref().is_none_or(|p| p.is_ahead(dest)) || self.older.last().is_some_and(|o| o.is_ahead(dest))
    }

    /// A group that is told nothing judges nothing.
    pub(super) fn mark(&mut self, dest: DestId) {
        if !self.retired && !self.profile.is_silent() && self.has_family(dest.family()) && !self.is_ahead(dest) {
            self.marks.insert(dest);
        }
    }

    /// As [`Group::mark`]; what was said is not known, so what comes next is told.
    pub(super) fn mark_unsure(&mut self, dest: DestId) {
        self.unsure.insert(dest);
        self.mark(dest);
    }

    /// Everything is judged again; only what comes out differently is logged.
    pub(super) fn set_speaker(&mut self, speaker: &Arc<SpeakerConfig>) {
        if self.retired || self.profile.is_silent() {
            return;
        }
        let speaker = std::mem::replace(&mut self.speaker, Arc::clone(speaker));
        if self.fill.is_some() {
            self.older.push(Older { speaker, pass: None });
        }
        self.forms_changed();
    }

    fn forms_changed(&mut self) {
        self.looks.clear();
        self.batches.clear();
    }

    /// Which of the speaker's configurations a destination's state is of; zero: the one in force.
    fn form(&self, dest: DestId) -> u8 {
        let older = self.older.iter().position(|o| o.is_ahead(dest));
        older.map_or(0, |n| u8::try_from(n + 1).unwrap_or(u8::MAX))
    }

    fn speaker(&self, form: u8) -> &Arc<SpeakerConfig> {
        let older = form.checked_sub(1).and_then(|n| self.older.get(usize::from(n)));
        older.map_or(&self.speaker, |o| &o.speaker)
    }

    /// The configuration under which a destination's state was judged.
    pub(super) fn speaker_of(&self, dest: DestId) -> &SpeakerConfig {
        self.speaker(self.form(dest))
    }

    /// What a destination's state looks like.
    pub(super) fn key(&self, dest: DestId, (set, source): (AttrId, u32)) -> Key {
        Key { set, source, v4: dest.is_v4(), form: if self.older.is_empty() { 0 } else { self.form(dest) } }
    }

    /// The look of a route; `None`: not to be had any more, or policy keeps it in.
    pub(super) fn look<V: View>(&mut self, view: &V, key: Key) -> Option<Arc<Look>> {
        if let Some(known) = self.looks.get(&key) {
            return Some(Arc::clone(known));
        }
        let look = Arc::new(Look::new(view, &self.profile, self.speaker(key.form), key)?);
        self.looks.put(key, Arc::clone(&look));
        Some(look)
    }

    /// What a member that left holds of a destination, if it is known.
    pub(super) fn look_from<V: View>(&mut self, view: &V, dest: DestId, from: &From) -> Option<Arc<Look>> {
        let state = self.states.get(dest);
        let told = state.last == 0 || self.log.position(state.last) <= from.position;
        let key = self.key(dest, state.route().filter(|_| told)?);
        self.look(view, key)
    }

    /// Takes a neighbour in.
    pub(super) fn join(&mut self, peer: PeerId, mut member: Member, kind: WalkKind) {
        member.position = self.log.end();
        member.start(kind, self.marks.end());
        self.members.insert(peer, member);
    }

    pub(super) fn refresh(&mut self, peer: PeerId, family: Family) {
        let mark = self.marks.end();
        if !self.has_family(family) {
            return;
        }
        if let Some(m) = self.members.get_mut(&peer) {
            m.walk(WalkKind::Refresh { enhanced: m.enhanced_refresh }, Some(family), mark);
        }
    }

    /// Nothing is left to tell this neighbour.
    pub(super) fn is_idle(&self, peer: PeerId) -> bool {
        self.marks.is_empty()
            && self.older.is_empty()
            && self.members.get(&peer).is_none_or(|m| m.position == self.log.end() && m.walks.is_empty())
    }

    /// A destination must not become another prefix's.
    pub(super) fn holds(&self, dest: DestId) -> bool {
        self.states.contains(dest)
            || self.marks.contains(dest)
            || self.members.values().any(|m| m.carried && m.held.contains(dest))
    }

    fn maybe_released(&mut self, dest: DestId) {
        if !self.holds(dest) {
            self.released.push(dest);
        }
    }

    /// Judges some of what changed, at most `limit` destinations; those whose export changed go to the end of the log. How
    /// many were judged.
    pub(super) fn judge<V: View>(&mut self, view: &mut V, limit: usize) -> usize {
        let mut recent = Recent::default();
        let families = &self.profile.context().families;
        let all = Pass::new(|f| families.contains(&f), |v6| view.end(v6));
        let fill = *self.fill.get_or_insert(all);
        let mut judged = 0;
        while judged < limit {
            let Some(older) = self.older.last_mut() else { break };
            let Some(dest) = older.pass.get_or_insert(all).next() else {
                self.older.clear();
                self.forms_changed();
                break;
            };
            if !fill.is_ahead(dest) {
                self.judge_one(view, dest, &mut recent, true);
            }
            if let Some(pass) = self.older.last_mut().and_then(|o| o.pass.as_mut()) {
                pass.step();
            }
            judged += 1;
        }
        while judged < limit
            && let Some(dest) = self.marks.pop()
        {
            if self.is_ahead(dest) {
                self.maybe_released(dest);
            } else {
                self.judge_one(view, dest, &mut recent, true);
            }
            judged += 1;
        }
        judged
    }

    /// The first judgement of the destination that a walk has come to; false if it must wait.
    pub(super) fn fill<V: View>(&mut self, view: &mut V, dest: DestId, recent: &mut Recent) -> bool {
        if !self.older.is_empty() || self.fill.as_ref().and_then(Pass::next) != Some(dest) {
            return false;
        }
        self.judge_one(view, dest, recent, false);
        if let Some(fill) = &mut self.fill {
            fill.step();
        }
        true
    }

    fn judge_one<V: View>(&mut self, view: &mut V, dest: DestId, recent: &mut Recent, news: bool) {
        let state = self.states.get(dest);
        let offer = view.offer(dest);
        let new = match offer {
            Offer::Route { set, source } => {
                let key = Key { set, source, v4: dest.is_v4(), form: 0 };
                let look = self.judged(view, key, recent);
                let speaker = &self.speaker;
                let passes = |l: &Arc<Look>| self.profile.judge_prefix(speaker, l.kind, || view.prefix(dest)).is_ok();
                look.filter(passes).map(|l| (key, l))
            }
            Offer::Withdrawn => None,
            // What was said stays; the RIB marks the destination again when the wait is over.
            Offer::Pending => {
                if state.set().is_some() && self.form(dest) != 0 {
                    self.unsure.insert(dest);
                }
                return;
            }
        };
        let route = new.as_ref().map(|(key, _)| (key.set, key.source));
        let unsure = !self.unsure.is_empty() && self.unsure.remove(&dest);
        let (old, same_form) = (state.route(), self.older.is_empty() || self.form(dest) == 0);
        if old == route && same_form && !unsure {
            if offer == Offer::Withdrawn {
                self.maybe_released(dest);
            }
            return;
        }
        let same = match (old, &new) {
            (None, None) => true,
            (Some(old), Some((_, new))) => !unsure && self.same(view, self.key(dest, old), new, recent),
            _ => false,
        };
        self.put(view, dest, state, route);
        if let Some((key, look)) = new {
            self.looks.put(key, look);
        }
        if same || !news {
            if offer == Offer::Withdrawn {
                self.maybe_released(dest);
            }
            return;
        }
        let position = self.log.push(dest);
        if let Some(entry) = self.states.entry(dest) {
            entry.last = low(position);
        }
        if state.last != 0 {
            let (superseded, states) = (self.log.position(state.last), &self.states);
            self.log.supersede(superseded, |d| states.get(d).last);
        }
    }

    /// Keeps the route, with a reference to its set.
    fn put<V: View>(&mut self, view: &mut V, dest: DestId, old: State, route: Option<(AttrId, u32)>) {
        let (before, after) = (old.set(), route.map(|(set, _)| set));
        if old.route() == route {
            return;
        }
        if let Some(entry) = self.states.entry(dest) {
            entry.put(route);
        }
        if before != after {
            after.into_iter().for_each(|set| view.retain(set));
            if let Some(set) = before {
                self.looks.forget(set);
                view.release(set);
            }
        }
    }

    /// The verdict on a route that is offered.
    fn judged<V: View>(&mut self, view: &V, key: Key, recent: &mut Recent) -> Option<Arc<Look>> {
        // Consecutive destinations mostly share their attributes: the last answer serves again.
        if let Some((k, look)) = &recent.judged
            && *k == key
        {
            return look.clone();
        }
        let look = match self.looks.get(&key) {
            Some(look) => Some(Arc::clone(look)),
            // Not kept yet: only a set that the table refers to keeps its number.
            None => Look::new(view, &self.profile, &self.speaker, key).map(Arc::new),
        };
        recent.judged = Some((key, look.clone()));
        look
    }

    /// True if no member could tell the new route from the old one.
    fn same<V: View>(&mut self, view: &V, old: Key, new: &Look, recent: &mut Recent) -> bool {
        let old = match &recent.old {
            Some((k, look)) if *k == old => look.clone(),
            _ => {
                let look = self.look(view, old);
                recent.old = Some((old, look.clone()));
                look
            }
        };
        // Split horizon (RFC 4271 §9.2): a member that sent the one got nothing and gets the other.
        let member = |peer: &PeerId| self.members.contains_key(peer) || self.pulling == Some(*peer);
        old.is_some_and(|old| old.same_wire(new) && !old.sources(new).is_some_and(|s| s.iter().any(member)))
    }

    /// The plan's bytes, from the buffer of a member that said the same if there is one.
    pub(super) fn encoded<V: View>(&mut self, view: &V, plan: &Plan) -> Encoded {
        let known = self.batches.iter().find(|b| plan.newest <= b.made_at && !plan.private && b.plan.says(plan));
        if let Some(known) = known {
            return known.encoded.clone();
        }
        let encoded = encode(plan, view, self.profile.context());
        if !self.members.is_empty() && !plan.private {
            if self.batches.len() == BATCHES {
                self.batches.pop_front();
            }
            self.batches.push_back(Batch { plan: plan.clone(), encoded: encoded.clone(), made_at: self.log.end() });
        }
        encoded
    }

    /// Forgets what every member has been told: log entries, destinations that nothing is exported of, shared buffers. True
    /// if more is to be forgotten.
    pub(super) fn trim(&mut self) -> bool {
        let positions = self.members.values().map(|m| m.position).chain(self.ghosts.values().copied());
        let told = positions.min().unwrap_or(self.log.end());
        let (states, mut newest, mut nothing) = (&mut self.states, 0, Vec::new());
        let more = self.log.trim(told, |position, dest| {
            let state = states.get(dest);
            let live = state.last == low(position);
            if live && let Some(entry) = states.entry(dest) {
                entry.last = 0;
                newest = position;
                if entry.set().is_none() {
                    nothing.push(dest);
                }
            }
            live
        });
        nothing.into_iter().for_each(|dest| self.maybe_released(dest));
        // A destination or a set whose change is forgotten may have become another since these were made.
        self.batches.retain(|b| b.made_at >= newest);
        if told == self.log.end() && self.members.values().all(|m| m.walks.is_empty()) {
            self.batches.clear();
            self.looks.rest();
        }
        more
    }

    /// Nobody needs it any more.
    pub(super) fn is_over(&self) -> bool {
        self.members.is_empty() && self.ghosts.is_empty()
    }

    /// Gives back a part of what a group that is over holds; false: that was all.
    pub(super) fn dissolve<V: View>(&mut self, view: &mut V, released: &mut VecDeque<DestId>) -> bool {
        const MARKS: usize = 4096;
        released.extend(self.released.drain(..));
        if let Some(states) = self.states.pop_chunk() {
            for (dest, state) in states {
                state.set().into_iter().for_each(|set| view.release(set));
                released.push_back(dest);
            }
            return true;
        }
        let before = released.len();
        released.extend(std::iter::from_fn(|| self.marks.pop()).take(MARKS));
        released.len() > before
    }

    /// Sizes, for tests of what is kept: (log, destinations).
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.log.len(), self.states.len())
    }
}
