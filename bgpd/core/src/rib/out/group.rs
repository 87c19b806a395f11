//! An update group: one table and one log for all neighbours of one export profile.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use net_types::Family;

use super::log::{Log, low};
use super::look::{Key, Look, Looks};
use super::marks::Marks;
use super::member::{From, Member, Members, WalkKind};
use super::pass::Pass;
use super::plan::{Encoded, Plan, encode};
use super::states::States;
use super::{Offer, View};
use crate::config::SpeakerConfig;
use crate::policy::{ExportProfile, SourceKind};
use crate::rib::{AttrId, DestId, PeerId};

/// Encoded plans kept for members that ask for the same.
const BATCHES: usize = 16;

/// Room for the attributes of a message that is kept.
const ROOM: usize = 4096;

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
    pub(super) members: Members,
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
    /// Every member has been told what is in the log up to here; the greatest number: not known.
    pub(super) told: u64,
    /// There may be something for a member that waits.
    pub(super) stirred: bool,
    looks: Looks,
    /// Room for octets on their way.
    room: Vec<u8>,
    batches: VecDeque<Batch>,
    /// Destinations that are perhaps not held any more.
    pub(super) released: Vec<DestId>,
    /// Members whose ghosts may go.
    pub(super) arrived: Vec<(PeerId, u32)>,
}

/// Answers that serve again while the RIB stands still: consecutive destinations mostly share their attributes.
#[derive(Default, Debug)]
pub(super) struct Recent {
    judged: Option<(Key, Option<Arc<Look>>)>,
    /// An old look, a new one, and whether nobody could tell them apart.
    compared: Option<(Key, Key, bool)>,
}

impl Group {
    pub(super) fn new(profile: ExportProfile, speaker: Arc<SpeakerConfig>) -> Group {
        let fill = profile.is_silent().then(|| Pass::new(|_| false, |_| 0));
        Group {
            profile,
            speaker,
            older: Vec::new(),
            members: Members::default(),
            ghosts: BTreeMap::new(),
            retired: false,
            states: States::default(),
            fill,
            marks: Marks::default(),
            unsure: BTreeSet::new(),
            log: Log::default(),
            told: u64::MAX,
            stirred: false,
            looks: Looks::default(),
            room: Vec::new(),
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
            self.stirred = true;
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
        self.stirred = true;
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
            return known.cloned();
        }
        let look = self.make_look(view, key).map(Arc::new);
        self.looks.put(key, look.clone());
        look
    }

    fn make_look<V: View>(&mut self, view: &V, key: Key) -> Option<Look> {
        let mut room = std::mem::take(&mut self.room);
        let look = Look::new(view, &self.profile, self.speaker(key.form), key, &mut room);
        if room.capacity() <= ROOM {
            self.room = room;
        }
        look
    }

    /// The number of a set may be another's from now on.
    pub(super) fn forget(&mut self, set: AttrId) {
        self.looks.forget(set);
    }

    /// What a member that left holds of a destination, if it is known.
    pub(super) fn look_from<V: View>(&mut self, view: &V, dest: DestId, from: &From) -> Option<Arc<Look>> {
        let state = self.states.get(dest);
        let told = state.last == 0 || self.log.position(state.last) <= from.position;
        let key = self.key(dest, state.route().filter(|_| told)?);
        self.look(view, key)
    }

    /// Takes a neighbour in.
    pub(super) fn join(&mut self, peer: PeerId, mut member: Box<Member>, kind: WalkKind) {
        member.position = self.log.end();
        member.start(kind, self.marks.end());
        self.members.put(peer, member);
        self.stirred = true;
    }

    pub(super) fn refresh(&mut self, peer: PeerId, family: Family) {
        let mark = self.marks.end();
        if !self.has_family(family) {
            return;
        }
        self.stirred = true;
        if let Some(m) = self.members.get_mut(peer) {
            m.walk(WalkKind::Refresh { enhanced: m.enhanced_refresh }, Some(family), mark);
        }
    }

    /// Nothing is left to tell this neighbour.
    pub(super) fn is_idle(&self, member: &Member) -> bool {
        self.marks.is_empty() && self.older.is_empty() && member.position == self.log.end() && member.walks.is_empty()
    }

    /// Members that wait and for which there is something.
    pub(super) fn ready(&self) -> impl Iterator<Item = PeerId> {
        self.members.iter().filter(|(_, m)| m.waiting && !self.is_idle(m)).map(|(peer, _)| peer)
    }

    /// The one member, who was told everything so far, may be told what is judged as it is judged: a log is for others, and
    /// for what a walk has not come to.
    pub(super) fn is_alone(&self, member: &Member) -> bool {
        self.members.len() == 1
            && self.ghosts.is_empty()
            && self.older.is_empty()
            && member.walks.is_empty()
            && member.position == self.log.end()
    }

    /// A destination must not become another prefix's.
    pub(super) fn holds(&self, dest: DestId) -> bool {
        self.states.contains(dest) || self.marks.contains(dest) || self.members.carry(dest)
    }

    pub(super) fn maybe_released(&mut self, dest: DestId) {
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
            if !fill.is_ahead(dest) && self.judge_one(view, dest, &mut recent) {
                self.note(dest);
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
            } else if self.judge_one(view, dest, &mut recent) {
                self.note(dest);
            }
            judged += 1;
        }
        judged
    }

    /// A walk that has come there may make the first judgement of it.
    pub(super) fn is_next_to_fill(&self, dest: DestId) -> bool {
        self.older.is_empty() && self.fill.as_ref().and_then(Pass::next) == Some(dest)
    }

    /// The first judgement of the destination that a walk has come to.
    pub(super) fn fill<V: View>(&mut self, view: &mut V, dest: DestId, recent: &mut Recent) {
        self.judge_one(view, dest, recent);
        if let Some(fill) = &mut self.fill {
            fill.step();
        }
    }

    /// Judges a destination and keeps what comes of it; true if that is news to somebody.
    pub(super) fn judge_one<V: View>(&mut self, view: &mut V, dest: DestId, recent: &mut Recent) -> bool {
        let old = self.states.get(dest).route();
        let offer = view.offer(dest);
        let new = match offer {
            Offer::Route { set, source } => {
                let kind = self.judged(view, Key { set, source, v4: dest.is_v4(), form: 0 }, recent);
                let passes =
                    |k: &SourceKind| self.profile.judge_prefix(&self.speaker, *k, || view.prefix(dest)).is_ok();
                kind.filter(passes).map(|_| (set, source))
            }
            Offer::Withdrawn => None,
            // What was said stays; the RIB marks the destination again when the wait is over.
            Offer::Pending => {
                if old.is_some() && self.form(dest) != 0 {
                    self.unsure.insert(dest);
                }
                return false;
            }
        };
        let unsure = !self.unsure.is_empty() && self.unsure.remove(&dest);
        let unchanged = match (old, new) {
            (None, None) => true,
            (Some(old), Some(new)) if !unsure => {
                let same_form = self.older.is_empty() || self.form(dest) == 0;
                old == new && same_form || self.same(view, self.key(dest, old), recent)
            }
            _ => false,
        };
        if old != new {
            self.put(view, dest, old.map(|(set, _)| set), new);
        }
        if unchanged && new.is_none() && offer == Offer::Withdrawn {
            self.maybe_released(dest);
        }
        !unchanged
    }

    /// The next destination to judge, for a group of one ([`Group::is_alone`]): what comes of it is in no log, so no buffer of
    /// before may serve again.
    pub(super) fn next_alone(&mut self) -> Option<DestId> {
        let dest = self.marks.pop()?;
        self.batches.clear();
        Some(dest)
    }

    /// Puts what was judged into the log.
    fn note(&mut self, dest: DestId) {
        self.stirred = true;
        let position = self.log.push(dest);
        let Some(entry) = self.states.entry(dest) else { return };
        let before = std::mem::replace(&mut entry.last, low(position));
        if before != 0 {
            let (superseded, states) = (self.log.position(before), &self.states);
            self.log.supersede(superseded, |d| states.get(d).last);
        }
    }

    /// Keeps the route, with a reference to its set.
    fn put<V: View>(&mut self, view: &mut V, dest: DestId, old: Option<AttrId>, route: Option<(AttrId, u32)>) {
        if let Some(entry) = self.states.entry(dest) {
            entry.put(route);
        }
        let new = route.map(|(set, _)| set);
        if old != new {
            new.into_iter().for_each(|set| view.retain(set));
            old.into_iter().for_each(|set| view.release(set));
        }
    }

    /// The kind of the source of a route that is offered, if the verdict on it is good.
    fn judged<V: View>(&mut self, view: &V, key: Key, recent: &mut Recent) -> Option<SourceKind> {
        if recent.judged.as_ref().is_none_or(|(k, _)| *k != key) {
            recent.judged = Some((key, self.look(view, key)));
        }
        recent.judged.as_ref().and_then(|(_, look)| Some(look.as_ref()?.kind))
    }

    /// True if no member could tell the route judged last from the old one.
    fn same<V: View>(&mut self, view: &V, old: Key, recent: &mut Recent) -> bool {
        let Some((key, Some(new))) = &recent.judged else { return false };
        if let Some((o, n, same)) = recent.compared
            && (o, n) == (old, *key)
        {
            return same;
        }
        // Split horizon (RFC 4271 §9.2): a member that sent the one got nothing and gets the other.
        let old_look = self.look(view, old);
        let same = old_look.is_some_and(|old| {
            old.same_wire(new) && !old.sources(new).is_some_and(|s| s.iter().any(|p| self.members.contains(*p)))
        });
        recent.compared = Some((old, *key, same));
        same
    }

    /// The plan's bytes, from the buffer of a member that said the same if there is one.
    pub(super) fn encoded<V: View>(&mut self, view: &V, plan: &Plan) -> Encoded {
        let shared = self.members.len() > 1 && !plan.private;
        let known = self.batches.iter().find(|b| shared && plan.newest <= b.made_at && b.plan.says(plan));
        if let Some(known) = known {
            return known.encoded.clone();
        }
        let encoded = encode(plan, view, self.profile.context());
        if shared {
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
        self.told = told;
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

    /// What [`Group::trim`] would forget is worth looking at after a member moved on from a position.
    pub(super) fn is_to_trim(&self, from: u64) -> bool {
        from <= self.told && (self.looks.are_many() || !self.log.is_empty() || !self.batches.is_empty())
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
