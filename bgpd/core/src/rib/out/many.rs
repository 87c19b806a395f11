//! Adj-RIB-Out of a neighbour that is told more, or other, than the best path alone: several paths to a destination
//! (RFC 7911), or, as a client of our route server, the best of those that may go to it (RFC 7947 §2.3.2: no path is
//! hidden by a better one that is withheld).
//!
//! Such a neighbour shares nothing with others: which paths it is told depends on whose they are. Per destination it keeps
//! the paths told, twenty octets each ([`super::told`]); what changes is compared with that when the neighbour pulls, and
//! only the difference is said. So there is no log: a mark says that a destination is to be looked at.
//!
//! A path keeps its Path Identifier as long as the neighbour holds it; the identifier of one that goes is given to one that
//! comes at the same moment, which replaces it in one step.
//!
//! Invariants: those of [`super`]; what stands in `told` is what the messages handed out so far add up to, and each set
//! there is referred to once.
//!
//! Standards: RFC 7911 §3 and §5, RFC 7947 §2.3, RFC 2918, RFC 4724 §2, RFC 7313 §4.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bgp_wire::{Nlri, PathAttributes, update};
use bytes::BytesMut;
use net_types::Family;

use super::look::{Key, Look};
use super::marks::Marks;
use super::outgoing::{Outgoing, Place};
use super::pass::Pass;
use super::plan::{Marker, mark};
use super::told::{Told, ToldTable};
use super::{AdvertisedRoute, Offer, OfferedPath, OutCounters, View};
use crate::config::{NeighborConfig, Relation, SendPaths, SpeakerConfig};
use crate::policy::{ExportProfile, ExportTarget, SessionFacts};
use crate::rib::DestId;
use crate::rib::hash::FoldState;

/// Destinations that one pull looks at, at most.
const WORK: usize = 8 * 1024;

/// Which of the paths that may go to the neighbour it is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Choice {
    /// The best path if it may go there, else none (RFC 4271 §9.1.3).
    Best,
    /// The best so many of those that may.
    First(usize),
    /// All of those.
    All,
}

/// A pass over the table.
#[derive(Debug)]
struct Walk {
    /// Only routes of this family; `None`: all.
    family: Option<Family>,
    kind: WalkKind,
    /// The neighbour was told that it begins.
    begun: bool,
    /// `None`: not begun, or to begin again.
    pass: Option<Pass>,
}

impl Walk {
    fn new(kind: WalkKind, family: Option<Family>) -> Walk {
        Walk { family, kind, begun: false, pass: None }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum WalkKind {
    /// Everything, then End-of-RIB.
    Initial,
    /// Policy changed: what comes out differently.
    Compare,
    /// RFC 2918; with markers where RFC 7313 is in force.
    Refresh,
}

/// What the neighbour's routes were judged by before a change.
#[derive(Debug)]
struct Before {
    profile: ExportProfile,
    speaker: Arc<SpeakerConfig>,
}

/// The neighbour.
#[derive(Debug)]
pub(super) struct Many {
    profile: ExportProfile,
    speaker: Arc<SpeakerConfig>,
    target: ExportTarget,
    enhanced_refresh: bool,
    /// By family: IPv4, IPv6.
    choices: [Choice; 2],
    pub(super) told: ToldTable,
    marks: Marks,
    /// Passes under way (the first) and waiting.
    walks: VecDeque<Walk>,
    /// As long as the comparing walk is under way, where only one change is to be compared.
    before: Option<Before>,
    pub(super) counters: [OutCounters; 2],
    /// It was told everything when it last asked, or its session is new.
    pub(super) waiting: bool,
    /// Destinations that are perhaps not held any more.
    pub(super) released: Vec<DestId>,
}

type Looks = HashMap<Key, Option<Arc<Look>>, FoldState>;

/// What one pull says.
#[derive(Default)]
struct Saying {
    before: Vec<Marker>,
    withdraw: [Vec<Nlri>; 2],
    /// Routes by what they look like, in order of first appearance.
    announce: Vec<(bool, Arc<Look>, Vec<Nlri>)>,
    by_look: HashMap<Key, usize, FoldState>,
    after: Vec<Marker>,
    /// Octets, about.
    cost: usize,
    /// Looks made in this pull; the RIB stands still meanwhile.
    looks: Looks,
    older: Looks,
}

impl Many {
    /// True if the session's neighbour needs one.
    pub(super) fn is_for(neighbor: &NeighborConfig, session: &SessionFacts) -> bool {
        !session.context.add_path_send.is_empty() || neighbor.relation == Relation::RsClient
    }

    pub(super) fn new(neighbor: &NeighborConfig, session: &SessionFacts, speaker: Arc<SpeakerConfig>) -> Many {
        let choice = |family| match neighbor.add_path.send {
            SendPaths::All if session.context.add_path_send.contains(&family) => Choice::All,
            SendPaths::Most(n) if session.context.add_path_send.contains(&family) => Choice::First(n.get().into()),
            SendPaths::Best if session.context.add_path_send.contains(&family) => Choice::First(1),
            _ if neighbor.relation == Relation::RsClient => Choice::First(1),
            _ => Choice::Best,
        };
        Many {
            profile: ExportProfile::new(neighbor, session),
            speaker,
            target: ExportTarget::new(neighbor, session),
            enhanced_refresh: session.enhanced_refresh,
            choices: [choice(Family::IPV4_UNICAST), choice(Family::IPV6_UNICAST)],
            told: ToldTable::default(),
            marks: Marks::default(),
            walks: [Walk::new(WalkKind::Initial, None)].into(),
            before: None,
            counters: Default::default(),
            waiting: true,
            released: Vec::new(),
        }
    }

    /// The configuration of the established session changed.
    pub(super) fn change(&mut self, neighbor: &NeighborConfig, session: &SessionFacts) {
        let (profile, target) = (ExportProfile::new(neighbor, session), ExportTarget::new(neighbor, session));
        if profile == self.profile && target == self.target {
            return;
        }
        let comparable = target == self.target && profile.context() == self.profile.context();
        (self.target, self.enhanced_refresh) = (target, session.enhanced_refresh);
        let before =
            Before { profile: std::mem::replace(&mut self.profile, profile), speaker: Arc::clone(&self.speaker) };
        self.compare(Some(before).filter(|_| comparable));
    }

    /// The speaker's configuration changed.
    pub(super) fn set_speaker(&mut self, speaker: &Arc<SpeakerConfig>) {
        let before = std::mem::replace(&mut self.speaker, Arc::clone(speaker));
        self.compare(Some(Before { profile: self.profile.clone(), speaker: before }));
    }

    /// Everything is judged again. Where it is not known any more how what was told was judged, it is told again.
    fn compare(&mut self, before: Option<Before>) {
        let under_way = self.walks.iter().any(|w| w.kind != WalkKind::Refresh);
        self.before = before.filter(|_| !under_way);
        match self.walks.front_mut().filter(|w| w.kind != WalkKind::Refresh) {
            // From the beginning; End-of-RIB stays owed.
            Some(walk) => walk.pass = None,
            None => {
                // A refresh that has begun goes over the whole table again after this: its EoRR is due after all of it.
                self.walks.iter_mut().for_each(|w| w.pass = None);
                self.walks.push_front(Walk::new(WalkKind::Compare, None));
            }
        }
    }

    pub(super) fn mark(&mut self, dest: DestId) {
        // The neighbour knows nothing of what its first walk will come to.
        let ahead = |w: &Walk| w.kind == WalkKind::Initial && w.pass.as_ref().is_none_or(|p| p.is_ahead(dest));
        if self.has_family(dest.family()) && (!self.walks.front().is_some_and(ahead) || !self.told.get(dest).is_empty())
        {
            self.marks.insert(dest);
        }
    }

    fn has_family(&self, family: Family) -> bool {
        self.profile.context().families.contains(&family)
    }

    pub(super) fn refresh(&mut self, family: Family) {
        let waits = |w: &Walk| w.kind == WalkKind::Refresh && w.family == Some(family) && !w.begun;
        if self.has_family(family) && !self.walks.iter().any(waits) {
            self.walks.push_back(Walk::new(WalkKind::Refresh, Some(family)));
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.marks.is_empty() && self.walks.is_empty()
    }

    /// It waits, and there is more.
    pub(super) fn is_ready(&self) -> bool {
        self.waiting && !self.is_idle()
    }

    pub(super) fn holds(&self, dest: DestId) -> bool {
        !self.told.get(dest).is_empty() || self.marks.contains(dest)
    }

    /// What the neighbour holds for a destination, as sent.
    pub(super) fn advertised_routes<V: View>(&self, view: &V, dest: DestId) -> Vec<AdvertisedRoute> {
        let one = |told: &Told| {
            let source = view.source(told.source)?;
            let mut attributes = PathAttributes::default();
            view.attributes(told.set, &mut attributes);
            let (family, received) = (dest.family(), view.next_hop(told.set));
            let next_hop = self.profile.judge(&self.speaker, &source, family, &received, &attributes).ok()?;
            self.profile.attributes(&self.speaker, &source, &mut attributes);
            Some(AdvertisedRoute {
                prefix: view.prefix(dest),
                next_hop: self.target.next_hop(family, next_hop)?,
                path_id: self.has_ids(family).then_some(told.id),
                of: Some((told.peer, told.received)),
                attributes: Arc::new(attributes),
            })
        };
        self.told.get(dest).iter().filter_map(one).collect()
    }

    fn has_ids(&self, family: Family) -> bool {
        self.profile.context().add_path_send.contains(&family)
    }

    /// As [`super::AdjRibOut::next_updates`].
    pub(super) fn pull<V: View>(&mut self, view: &mut V, budget: usize) -> Option<Outgoing> {
        let mut saying = Saying::default();
        let mut work = WORK;
        while work > 0 && saying.cost < budget.max(1) {
            let before = work;
            // A walk leaves half of the budget to the changes that wait.
            let share = if self.walks.is_empty() { budget.max(1) } else { (budget / 2).max(1) };
            while work > 0
                && saying.cost < share
                && let Some(dest) = self.marks.pop()
            {
                work -= 1;
                self.tell(view, &mut saying, dest, false);
            }
            self.walk(view, &mut saying, &mut work, budget.max(1));
            // A marker ends what is said: the next walk's beginning comes after it.
            if work == before || !saying.after.is_empty() {
                break;
            }
        }
        let bytes = self.encode(&saying)?;
        self.count(&saying);
        Some(bytes)
    }

    /// Goes on with the first walk, and ends it if it is through.
    fn walk<V: View>(&mut self, view: &mut V, saying: &mut Saying, work: &mut usize, budget: usize) {
        let Some(walk) = self.walks.front_mut() else { return };
        let (kind, family) = (walk.kind, walk.family);
        let families = &self.profile.context().families;
        let begun = std::mem::replace(&mut walk.begun, true);
        if let (WalkKind::Refresh, true, Some(family), false) = (kind, self.enhanced_refresh, family, begun) {
            // RFC 7313 §3.2: BoRR before the first route; never before End-of-RIB, since walks queue.
            saying.before.push(Marker::BeginOfRefresh(family));
        }
        let wanted = |f| families.contains(&f) && family.is_none_or(|only| only == f);
        let mut pass = *walk.pass.get_or_insert_with(|| Pass::new(wanted, |v6| view.end(v6)));
        let again = kind == WalkKind::Refresh;
        while *work > 0
            && saying.cost < budget
            && let Some(dest) = pass.next()
        {
            *work -= 1;
            self.tell(view, saying, dest, again);
            pass.step();
            if let Some(walk) = self.walks.front_mut() {
                walk.pass = Some(pass);
            }
        }
        if pass.next().is_some() {
            return;
        }
        let families = &self.profile.context().families;
        match (kind, family) {
            // RFC 4724 §2: once per family after the initial exchange, also with nothing sent.
            (WalkKind::Initial, _) => saying.after.extend(families.iter().map(|f| Marker::EndOfRib(*f))),
            (WalkKind::Refresh, Some(f)) if self.enhanced_refresh => saying.after.push(Marker::EndOfRefresh(f)),
            _ => {}
        }
        self.walks.pop_front();
        if kind != WalkKind::Refresh {
            self.before = None;
        }
        *work = work.saturating_sub(1);
    }

    /// Compares what the neighbour should hold of a destination with what it holds, and says the difference. `again`: what
    /// has not changed, too.
    fn tell<V: View>(&mut self, view: &mut V, saying: &mut Saying, dest: DestId, again: bool) {
        let Some(wanted) = self.wanted(view, saying, dest) else { return };
        let old = self.told.get(dest).to_vec();
        let kept = |o: &Told| wanted.iter().any(|(w, _)| o.is(w.peer, w.path_id));
        // Identifiers of what goes are given to what comes, lowest first, before new ones are.
        let mut free: Vec<u32> = old.iter().filter(|o| !kept(o)).map(|o| o.id).collect();
        free.sort_unstable_by(|a, b| b.cmp(a));
        let mut new = Vec::with_capacity(wanted.len());
        let ids = self.has_ids(dest.family());
        for (path, look) in wanted {
            let before = old.iter().find(|o| o.is(path.peer, path.path_id)).copied();
            let same = before.is_some_and(|b| !again && self.is_same(view, saying, dest, &b, path, &look));
            let id = match before {
                Some(b) => b.id,
                None if !ids => 0,
                None => free.pop().unwrap_or_else(|| unused(&old, &new)),
            };
            new.push(Told { id, peer: path.peer, received: path.path_id, set: path.set, source: path.source });
            if !same {
                saying.announce(view, dest, id, path.key(dest), look);
            }
        }
        for gone in old.iter().filter(|o| !new.iter().any(|n| n.id == o.id)) {
            saying.withdraw(view, dest, gone.id);
        }
        self.put(view, dest, new);
    }

    /// Takes over what is told now, with its references.
    fn put<V: View>(&mut self, view: &mut V, dest: DestId, new: Vec<Told>) {
        let old = self.told.get(dest);
        let counters = if dest.is_v4() { 0 } else { 1 };
        let (had, has) = (old.len() as u64, new.len() as u64);
        if old != new.as_slice() {
            new.iter().for_each(|t| view.retain(t.set));
            old.iter().for_each(|t| view.release(t.set));
            self.told.set(dest, new);
        }
        if let Some(c) = self.counters.get_mut(counters) {
            c.advertised = c.advertised + has - had;
        }
        if has == 0 && !self.marks.contains(dest) {
            self.released.push(dest);
        }
    }

    /// The paths that the neighbour should hold, with their looks; `None`: what was said stays until the kernel has answered.
    fn wanted<V: View>(
        &mut self,
        view: &V,
        saying: &mut Saying,
        dest: DestId,
    ) -> Option<Vec<(OfferedPath, Arc<Look>)>> {
        let mut wanted = Vec::new();
        match view.offer(dest) {
            Offer::Pending => return None,
            Offer::Withdrawn => return Some(wanted),
            Offer::Route { .. } => {}
        }
        let [v4, v6] = self.choices;
        let choice = if dest.is_v4() { v4 } else { v6 };
        let most = match choice {
            Choice::Best => 1,
            Choice::First(n) => n,
            Choice::All => usize::MAX,
        };
        let mut unsendable = 0;
        view.paths(dest, choice != Choice::All, &mut |path| {
            if let Some(look) = self.look(view, &mut saying.looks, path.key(dest)) {
                let passes = self.profile.judge_prefix(&self.speaker, look.kind, || view.prefix(dest)).is_ok()
                    && !look.withheld(&self.target, dest.family());
                let nlri = Nlri::new(view.prefix(dest));
                let fits = look.block.as_ref().is_some_and(|b| b.fits(&nlri, self.profile.context()));
                if passes && fits {
                    wanted.push((path, look));
                } else if passes {
                    unsendable += 1;
                }
            }
            choice != Choice::Best && wanted.len() < most
        });
        let counters = if dest.is_v4() { 0 } else { 1 };
        if let Some(c) = self.counters.get_mut(counters) {
            c.unsendable += unsendable;
        }
        Some(wanted)
    }

    fn look<V: View>(&self, view: &V, looks: &mut Looks, key: Key) -> Option<Arc<Look>> {
        let made = || Look::new(view, &self.profile, &self.speaker, key, &mut Vec::new()).map(Arc::new);
        looks.entry(key).or_insert_with(made).clone()
    }

    /// The neighbour could not tell the path as it is from what it was told of it.
    fn is_same<V: View>(
        &self,
        view: &V,
        saying: &mut Saying,
        dest: DestId,
        told: &Told,
        path: OfferedPath,
        new: &Look,
    ) -> bool {
        let comparing = self.walks.iter().find(|w| w.kind != WalkKind::Refresh);
        let ahead = comparing.is_some_and(|w| w.pass.as_ref().is_none_or(|p| p.is_ahead(dest)));
        let key = Key { set: told.set, source: told.source, v4: dest.is_v4(), form: 0 };
        let old = match &self.before {
            _ if !ahead && key == path.key(dest) => return true,
            _ if !ahead => self.look(view, &mut saying.looks, key),
            Some(Before { profile, speaker }) => {
                let made = || Look::new(view, profile, speaker, key, &mut Vec::new()).map(Arc::new);
                saying.older.entry(key).or_insert_with(made).clone()
            }
            None => None,
        };
        old.is_some_and(|old| old.same_wire(new))
    }

    fn encode(&self, saying: &Saying) -> Option<Outgoing> {
        let context = self.profile.context();
        let mut out = BytesMut::with_capacity(saying.cost + 128);
        saying.before.iter().for_each(|m| mark(*m, context, &mut out));
        for (family, all) in [Family::IPV4_UNICAST, Family::IPV6_UNICAST].into_iter().zip(&saying.withdraw) {
            // Cannot fail: a withdrawal always fits, and both families have a codec.
            let _ = update::encode_withdraw(family, all.iter().copied(), context, &mut out);
        }
        let mut places = Vec::new();
        for (v4, look, nlri) in &saying.announce {
            let Some(block) = &look.block else { continue };
            let place = |at| {
                if look.is_own() {
                    places.push(Place::new(at, *v4));
                }
            };
            // Cannot fail: what does not fit was left out.
            let _ = block.announce(nlri.iter().copied(), context, &mut out, place);
        }
        saying.after.iter().for_each(|m| mark(*m, context, &mut out));
        (!out.is_empty()).then(|| Outgoing::new(out.freeze(), places.into(), self.target.own))
    }

    fn count(&mut self, saying: &Saying) {
        for (counters, gone) in self.counters.iter_mut().zip(&saying.withdraw) {
            counters.withdrawn += gone.len() as u64;
        }
        for (v4, _, nlri) in &saying.announce {
            if let Some(c) = self.counters.get_mut(usize::from(!v4)) {
                c.announced += nlri.len() as u64;
            }
        }
    }

    /// Gives back a part of what is held, when the session is over; false: that was all.
    pub(super) fn dissolve<V: View>(&mut self, view: &mut V, released: &mut VecDeque<DestId>) -> bool {
        const MARKS: usize = 4096;
        released.extend(self.released.drain(..));
        if let Some(chunk) = self.told.pop_chunk() {
            for (dest, told) in chunk {
                told.iter().for_each(|t| view.release(t.set));
                released.push_back(dest);
            }
            return true;
        }
        let before = released.len();
        released.extend(std::iter::from_fn(|| self.marks.pop()).take(MARKS));
        released.len() > before
    }
}

/// The lowest Path Identifier that stands for nothing; never zero, which some take for none.
fn unused(old: &[Told], new: &[Told]) -> u32 {
    let taken = |id: u32| old.iter().chain(new).any(|t| t.id == id);
    (1..).find(|id| !taken(*id)).unwrap_or(u32::MAX)
}

impl OfferedPath {
    fn key(&self, dest: DestId) -> Key {
        Key { set: self.set, source: self.source, v4: dest.is_v4(), form: 0 }
    }
}

impl Saying {
    fn announce<V: View>(&mut self, view: &V, dest: DestId, path_id: u32, key: Key, look: Arc<Look>) {
        let nlri = Nlri { prefix: view.prefix(dest), path_id };
        self.cost += if dest.is_v4() { 8 } else { 11 };
        let at = *self.by_look.entry(key).or_insert_with(|| {
            self.cost += look.block.as_ref().map_or(0, |b| b.overhead());
            self.announce.push((dest.is_v4(), look, Vec::new()));
            self.announce.len() - 1
        });
        if let Some((_, _, all)) = self.announce.get_mut(at) {
            all.push(nlri);
        }
    }

    fn withdraw<V: View>(&mut self, view: &V, dest: DestId, path_id: u32) {
        let [v4, v6] = &mut self.withdraw;
        self.cost += if dest.is_v4() { 8 } else { 11 };
        if dest.is_v4() { v4 } else { v6 }.push(Nlri { prefix: view.prefix(dest), path_id });
    }
}
