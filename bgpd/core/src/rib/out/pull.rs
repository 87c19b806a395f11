//! One pull: judges some of what changed, then puts together what this neighbour has not been told, as a [`Plan`], and makes
//! it bytes.
//!
//! A neighbour goes over the table (a walk) and along the log at the same time. The walk tells of what it comes to in its
//! newest state. In a first walk the log leaves to the walk what is still before it; in a refresh the walk leaves out what the
//! log told since the refresh began. So a change behind the walk waits for nothing, when the walk ends everything was told
//! since it began, whatever changed meanwhile, and it does end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::group::{Group, Recent};
use super::look::{Key, Look};
use super::member::{Member, WalkKind};
use super::outgoing::Outgoing;
use super::pass::Pass;
use super::plan::{Encoded, Marker, Plan, Step};
use super::{OutCounters, View};
use crate::rib::hash::FoldState;
use crate::rib::{DestId, PeerId};

/// Destinations that one pull looks at, at most: some milliseconds, whatever there is to do.
const WORK: usize = 16 * 1024;
/// Of these, judged before the first is told.
const JUDGED: usize = 4096;
/// Log entries looked at in one go.
const ENTRIES: usize = 128;

/// A plan under way.
struct Run {
    plan: Plan,
    /// Octets, about.
    cost: usize,
    /// Destinations that may still be looked at.
    work: usize,
    looks: HashMap<Key, u32, FoldState>,
    /// By index of the look: the route must not go to this neighbour.
    withheld: Vec<bool>,
    last: Option<(Key, u32)>,
    /// The last two looks compared, the old group's and this one's, and whether they are the same on the wire.
    compared: Option<(Arc<Look>, Arc<Look>, bool)>,
    recent: Recent,
}

impl Run {
    fn new(work: usize) -> Run {
        Run {
            plan: Plan::default(),
            cost: 0,
            work,
            looks: HashMap::default(),
            withheld: Vec::new(),
            last: None,
            compared: None,
            recent: Recent::default(),
        }
    }
}

/// Octets of a route on the wire, about.
fn nlri_octets(dest: DestId) -> usize {
    if dest.is_v4() { 4 } else { 7 }
}

impl Group {
    /// The next messages for a neighbour, about `budget` octets, or `None` if it has been told everything, or if all that
    /// could be looked at in one go was nothing to tell.
    pub(super) fn pull<V: View>(
        &mut self,
        view: &mut V,
        peer: PeerId,
        budget: usize,
        others: &mut BTreeMap<u32, Box<Group>>,
    ) -> Option<Outgoing> {
        let mut member = self.members.remove(&peer)?;
        self.pulling = Some(peer);
        let encoded = self.tell(view, &mut member, budget.max(1), others);
        let own = member.target.own;
        self.members.insert(peer, member);
        self.pulling = None;
        self.trim();
        encoded.map(|e| Outgoing::new(e.bytes, e.places, own))
    }

    fn tell<V: View>(
        &mut self,
        view: &mut V,
        member: &mut Member,
        budget: usize,
        others: &mut BTreeMap<u32, Box<Group>>,
    ) -> Option<Encoded> {
        let mut work = WORK;
        while work > 0 {
            let judged = self.judge(view, work.min(JUDGED));
            let mut run = Run::new(work.saturating_sub(judged).max(1));
            let moved = self.plan(&mut run, view, member, budget, others);
            work = run.work.min(work - 1);
            let plan = run.plan;
            if plan.is_empty() {
                if judged == 0 && !moved {
                    return None;
                }
                continue;
            }
            let encoded = self.encoded(view, &plan);
            self.account(member, &plan, &encoded);
            if !encoded.bytes.is_empty() {
                return Some(encoded);
            }
        }
        None
    }

    /// Fills the plan and moves the member's position and walk accordingly; true if they moved.
    fn plan<V: View>(
        &mut self,
        run: &mut Run,
        view: &mut V,
        member: &mut Member,
        budget: usize,
        others: &mut BTreeMap<u32, Box<Group>>,
    ) -> bool {
        let mut moved = self.begin(run, view, member);
        // A walk leaves half of the budget to the changes that wait, so that neither holds up the other.
        let share = if member.walks.is_empty() { budget } else { (budget / 2).max(1) };
        moved |= self.follow(run, view, member, share);
        moved |= self.walk(run, view, member, budget, others);
        moved | self.end(run, member)
    }

    fn begin<V: View>(&mut self, run: &mut Run, view: &V, member: &mut Member) -> bool {
        let Some(walk) = member.walks.front_mut().filter(|w| w.pass.is_none()) else { return false };
        let families = &self.profile.context().families;
        // Who is told nothing can only hold what another group told it.
        let any = !self.profile.is_silent() || member.carried;
        let wanted = |f| any && families.contains(&f) && walk.family.is_none_or(|only| only == f);
        walk.pass = Some(Pass::new(wanted, |v6| view.end(v6)));
        walk.since = member.position;
        let begun = std::mem::replace(&mut walk.begun, true);
        if let (WalkKind::Refresh { enhanced: true }, Some(family), false) = (walk.kind, walk.family, begun) {
            // RFC 7313 §3.2: BoRR before the first route; never before End-of-RIB, since walks queue.
            run.plan.before.push(Marker::BeginOfRefresh(family));
        }
        true
    }

    /// Goes on with the walk. Where the table was not judged for the first time yet, it is now.
    fn walk<V: View>(
        &mut self,
        run: &mut Run,
        view: &mut V,
        member: &mut Member,
        budget: usize,
        others: &mut BTreeMap<u32, Box<Group>>,
    ) -> bool {
        let Some(walk) = member.walks.front() else { return false };
        let (kind, since, Some(mut pass)) = (walk.kind, walk.since, walk.pass) else { return false };
        let refresh = matches!(kind, WalkKind::Refresh { .. });
        let mut moved = false;
        while run.cost < budget
            && run.work > 0
            && let Some(dest) = pass.next()
        {
            run.work -= 1;
            if self.is_ahead(dest) && !self.fill(view, dest, &mut run.recent) {
                break;
            }
            let last = self.states.get(dest).last;
            let told = |position| position > since && position <= member.position;
            if !(refresh && last != 0 && told(self.log.position(last))) {
                let compare = kind == WalkKind::Regroup;
                self.step(run, view, member, dest, compare.then_some(&mut *others));
            }
            pass.step();
            moved = true;
        }
        if let Some(walk) = member.walks.front_mut() {
            walk.pass = Some(pass);
        }
        moved
    }

    /// Goes on along the log.
    fn follow<V: View>(&mut self, run: &mut Run, view: &V, member: &mut Member, budget: usize) -> bool {
        let before = member.position;
        let walk = member.walks.front().and_then(|w| w.tells()).copied();
        while run.cost < budget && run.work > 0 && member.position < self.log.end() {
            let entries: Vec<(u64, DestId)> = self.log.after(member.position).take(ENTRIES).collect();
            if entries.is_empty() {
                member.position = self.log.end();
            }
            for (position, dest) in entries {
                if run.cost >= budget || run.work == 0 {
                    break;
                }
                run.work -= 1;
                member.position = position;
                let last = self.states.get(dest).last;
                if last != 0 && self.log.position(last) == position && !walk.is_some_and(|w| w.is_ahead(dest)) {
                    self.step(run, view, member, dest, None);
                }
            }
        }
        member.position != before
    }

    /// Ends the walk if it is through, all that was marked before it was judged, and the log has told that too.
    fn end(&mut self, run: &mut Run, member: &mut Member) -> bool {
        let (taken, end) = (self.marks.taken(), self.log.end());
        let Some(walk) = member.walks.front_mut() else { return false };
        if walk.pass.as_ref().is_none_or(|p| p.next().is_some()) || taken < walk.mark {
            return false;
        }
        if member.position < *walk.target.get_or_insert(end) {
            return false;
        }
        let families = &self.profile.context().families;
        match (walk.kind, walk.family) {
            // RFC 4724 §2: once per family after the initial exchange, also with nothing sent.
            (WalkKind::Initial, _) => run.plan.after.extend(families.iter().map(|f| Marker::EndOfRib(*f))),
            (WalkKind::Refresh { enhanced: true }, Some(f)) => run.plan.after.push(Marker::EndOfRefresh(f)),
            (WalkKind::Refresh { .. } | WalkKind::Regroup, _) => {}
        }
        member.walks.pop_front();
        member.carried = false;
        if let Some(from) = member.from.take() {
            self.arrived.push((member.target.peer, from.group));
        }
        true
    }

    /// What the neighbour is to be told of this destination, if anything. `compare`: not what it holds already.
    fn step<V: View>(
        &mut self,
        run: &mut Run,
        view: &V,
        member: &Member,
        dest: DestId,
        compare: Option<&mut BTreeMap<u32, Box<Group>>>,
    ) {
        let (state, held) = (self.states.get(dest), member.held.contains(dest));
        let route = match state.route().map(|route| self.key(dest, route)) {
            None => None,
            Some(key) => match self.look_in(run, view, member, dest, key) {
                Some(look) => Some(look).filter(|&l| run.withheld.get(l as usize) == Some(&false)),
                // Whose it was is not known any more: the RIB is about to say what comes in its place.
                None => {
                    self.mark_unsure(dest);
                    if !member.repeats() {
                        return;
                    }
                    // RFC 7313 §4: the neighbour drops at EoRR what was not sent again, and we cannot.
                    None
                }
            },
        };
        let newest = if state.last == 0 { 0 } else { self.log.position(state.last) };
        match route {
            Some(look) => {
                if held && compare.is_some_and(|others| self.holds_same(run, view, member, dest, look, others)) {
                    return;
                }
                run.plan.announce.push(Step { dest, look, held });
            }
            None if held => {
                run.plan.withdraw.push(dest);
                run.plan.private |= state.last == 0 && state.route().is_none();
            }
            // Never withdraw what was not advertised.
            None => return,
        }
        run.cost += nlri_octets(dest);
        run.plan.newest = run.plan.newest.max(newest);
    }

    /// Index of the look in the plan.
    fn look_in<V: View>(&mut self, run: &mut Run, view: &V, member: &Member, dest: DestId, key: Key) -> Option<u32> {
        if let Some((k, index)) = run.last
            && k == key
        {
            return Some(index);
        }
        let index = match run.looks.get(&key) {
            Some(index) => *index,
            None => {
                let look = self.look(view, key)?;
                let index = u32::try_from(run.plan.looks.len()).ok()?;
                let withheld = look.withheld(&member.target, dest.family());
                if !withheld {
                    run.cost += look.block.as_ref().map_or(0, |b| b.overhead());
                }
                run.withheld.push(withheld);
                run.plan.looks.push((key, look));
                run.looks.insert(key, index);
                index
            }
        };
        run.last = Some((key, index));
        Some(index)
    }

    /// True if the group that the member came from told it the same.
    fn holds_same<V: View>(
        &mut self,
        run: &mut Run,
        view: &V,
        member: &Member,
        dest: DestId,
        look: u32,
        others: &mut BTreeMap<u32, Box<Group>>,
    ) -> bool {
        let Some(from) = &member.from else { return false };
        let old = others.get_mut(&from.group).and_then(|g| g.look_from(view, dest, from));
        let (Some(old), Some((_, new))) = (old, run.plan.looks.get(look as usize)) else { return false };
        match &run.compared {
            Some((o, n, same)) if Arc::ptr_eq(o, &old) && Arc::ptr_eq(n, new) => *same,
            _ => {
                let same = old.same_wire(new);
                run.compared = Some((old, Arc::clone(new), same));
                same
            }
        }
    }

    /// Books a plan that was said.
    fn account(&mut self, member: &mut Member, plan: &Plan, encoded: &Encoded) {
        for &dest in &plan.withdraw {
            if member.held.remove(dest) {
                let counters = member.counters_mut(dest.is_v4());
                counters.advertised -= 1;
                counters.withdrawn += 1;
            }
            if plan.private && !self.holds(dest) {
                self.released.push(dest);
            }
        }
        for (index, &Step { dest, .. }) in (0u32..).zip(&plan.announce) {
            let sent = encoded.unsendable.is_empty() || encoded.unsendable.binary_search(&index).is_err();
            let counted = if sent { member.held.insert(dest) } else { member.held.remove(dest) };
            let counters = member.counters_mut(dest.is_v4());
            count(counters, sent, counted);
        }
    }
}

/// `changed`: whether the neighbour holds a route to the destination is another answer than before.
fn count(counters: &mut OutCounters, sent: bool, changed: bool) {
    if sent {
        counters.announced += 1;
        counters.advertised += u64::from(changed);
    } else {
        counters.unsendable += 1;
        counters.advertised -= u64::from(changed);
        counters.withdrawn += u64::from(changed);
    }
}
