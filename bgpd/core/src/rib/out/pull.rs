//! One pull: judges some of what changed, then puts together what this neighbour has not been told, as a [`Plan`], and makes
//! it bytes.
//!
//! A neighbour goes over the table (a walk) and along the log at the same time. The walk tells of what it comes to in its
//! newest state. In a first walk the log leaves to the walk what is still before it; in a refresh the walk leaves out what the
//! log told since the refresh began. So a change behind the walk waits for nothing, when the walk ends everything was told
//! since it began, whatever changed meanwhile, and it does end.

use std::collections::HashMap;
use std::sync::Arc;

use super::View;
use super::group::{Group, Recent};
use super::look::{Key, Look};
use super::member::{Member, WalkKind};
use super::outgoing::Outgoing;
use super::pass::Pass;
use super::plan::{Encoded, Marker, Plan, Step};
use crate::rib::hash::FoldState;
use crate::rib::{AttrId, DestId, PeerId};

/// Destinations that one pull looks at, at most: some milliseconds, whatever there is to do.
const WORK: usize = 16 * 1024;
/// Of these, judged before the first is told.
const JUDGED: usize = 4096;
/// Log entries looked at in one go.
const ENTRIES: usize = 128;

/// Announcements a plan may have room for between two pulls.
const ROOM: usize = 16 * 1024;

/// A plan under way. Kept between pulls for its room alone.
#[derive(Default, Debug)]
pub(super) struct Run {
    plan: Plan,
    /// Octets, about.
    cost: usize,
    /// Destinations that may still be looked at.
    work: usize,
    looks: HashMap<Key, u32, FoldState>,
    last: Option<(Key, Told)>,
    /// The last two looks compared, the old group's and this one's, and whether they are the same on the wire.
    compared: Option<(Arc<Look>, Arc<Look>, bool)>,
    recent: Recent,
}

/// What the neighbour may be told of routes with one look.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// Index of the look in the plan.
    look: u32,
    /// They must not go to this neighbour.
    withheld: bool,
}

impl Run {
    fn begin(&mut self, work: usize) {
        self.plan.clear();
        self.looks.clear();
        (self.cost, self.work, self.last, self.compared) = (0, work, None, None);
        self.recent = Recent::default();
    }

    /// Lets go of what it holds; room for more than the usual goes back.
    fn end(&mut self) {
        self.begin(0);
        if self.plan.announce.capacity() > ROOM {
            *self = Run::default();
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
        run: &mut Run,
        peer: PeerId,
        budget: usize,
        others: &mut [Option<Box<Group>>],
    ) -> Option<Outgoing> {
        let mut member = self.members.take(peer)?;
        let before = member.position;
        let encoded = self.tell(view, run, &mut member, budget.max(1), others);
        run.end();
        let own = member.target.own;
        self.members.put(peer, member);
        if self.is_to_trim(before) {
            self.trim();
        }
        encoded.map(|e| Outgoing::new(e.bytes, e.places, own))
    }

    fn tell<V: View>(
        &mut self,
        view: &mut V,
        run: &mut Run,
        member: &mut Member,
        budget: usize,
        others: &mut [Option<Box<Group>>],
    ) -> Option<Encoded> {
        let mut work = WORK;
        while work > 0 {
            let judged = if self.is_alone(member) { 0 } else { self.judge(view, work.min(JUDGED)) };
            run.begin(work.saturating_sub(judged).max(1));
            let moved = self.plan(run, view, member, budget, others);
            work = run.work.min(work - 1);
            if run.plan.is_empty() {
                if judged == 0 && !moved {
                    return None;
                }
                continue;
            }
            let encoded = self.encoded(view, &run.plan);
            self.account(member, &run.plan, &encoded);
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
        others: &mut [Option<Box<Group>>],
    ) -> bool {
        let mut moved = self.begin(run, view, member);
        // A walk leaves half of the budget to the changes that wait, so that neither holds up the other.
        let share = if member.walks.is_empty() { budget } else { (budget / 2).max(1) };
        moved |= if self.is_alone(member) {
            self.tell_as_judged(run, view, member, share)
        } else {
            self.follow(run, view, member, share)
        };
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

    /// Judges what is marked and tells it at once: a group of one needs no log.
    fn tell_as_judged<V: View>(&mut self, run: &mut Run, view: &mut V, member: &Member, budget: usize) -> bool {
        let before = run.work;
        while run.cost < budget
            && run.work > 0
            && let Some(dest) = self.next_alone()
        {
            run.work -= 1;
            let news = !self.is_ahead(dest) && self.judge_one(view, dest, &mut run.recent);
            if !(news && self.step(run, view, member, dest, None)) {
                self.maybe_released(dest);
            }
        }
        run.work < before
    }

    /// Goes on with the walk. Where the table was not judged for the first time yet, it is now.
    fn walk<V: View>(
        &mut self,
        run: &mut Run,
        view: &mut V,
        member: &mut Member,
        budget: usize,
        others: &mut [Option<Box<Group>>],
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
            if self.is_next_to_fill(dest) {
                self.fill(view, dest, &mut run.recent);
            } else if self.is_ahead(dest) {
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

    /// What the neighbour is to be told of this destination; false: nothing. `compare`: not what it holds already.
    fn step<V: View>(
        &mut self,
        run: &mut Run,
        view: &V,
        member: &Member,
        dest: DestId,
        compare: Option<&mut [Option<Box<Group>>]>,
    ) -> bool {
        let (state, held) = (self.states.get(dest), member.held.contains(dest));
        let route = match state.route() {
            None => None,
            Some(route) => match self.look_in(run, view, member, dest, route) {
                Some(told) => (!told.withheld).then_some(told.look),
                // Whose it was is not known any more: the RIB is about to say what comes in its place.
                None => {
                    self.mark_unsure(dest);
                    if !member.repeats() {
                        return false;
                    }
                    // RFC 7313 §4: the neighbour drops at EoRR what was not sent again, and we cannot.
                    None
                }
            },
        };
        match route {
            Some(look) => {
                if held && compare.is_some_and(|others| self.holds_same(run, view, member, dest, look, others)) {
                    return false;
                }
                run.plan.announce(dest, look, held);
            }
            None if held => {
                run.plan.withdraw.push(dest);
                run.plan.private |= state.last == 0 && state.route().is_none();
            }
            // Never withdraw what was not advertised.
            None => return false,
        }
        run.cost += nlri_octets(dest);
        if state.last != 0 {
            run.plan.newest = run.plan.newest.max(self.log.position(state.last));
        }
        true
    }

    /// The look in the plan; `None`: not to be had.
    fn look_in<V: View>(
        &mut self,
        run: &mut Run,
        view: &V,
        member: &Member,
        dest: DestId,
        route: (AttrId, u32),
    ) -> Option<Told> {
        let key = self.key(dest, route);
        if let Some((k, told)) = run.last
            && k == key
        {
            return Some(told);
        }
        let look = match run.looks.get(&key) {
            Some(look) => *look,
            None => {
                let look = self.look(view, key)?;
                let withheld = look.withheld(&member.target, dest.family());
                if !withheld {
                    run.cost += look.block.as_ref().map_or(0, |b| b.overhead());
                }
                let index = run.plan.look(key, look, withheld)?;
                run.looks.insert(key, index);
                index
            }
        };
        let told = Told { look, withheld: run.plan.looks.get(look as usize)?.withheld };
        run.last = Some((key, told));
        Some(told)
    }

    /// True if the group that the member came from told it the same.
    fn holds_same<V: View>(
        &mut self,
        run: &mut Run,
        view: &V,
        member: &Member,
        dest: DestId,
        look: u32,
        others: &mut [Option<Box<Group>>],
    ) -> bool {
        let Some(from) = &member.from else { return false };
        let group = others.get_mut(from.group as usize).and_then(Option::as_mut);
        let old = group.and_then(|g| g.look_from(view, dest, from));
        let (Some(old), Some(new)) = (old, run.plan.looks.get(look as usize).map(|l| &l.look)) else { return false };
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
        for (index, &Step { dest, held, .. }) in (0u32..).zip(&plan.announce) {
            let sent = encoded.unsendable.is_empty() || encoded.unsendable.binary_search(&index).is_err();
            let counters = member.counters_mut(dest.is_v4());
            if sent {
                counters.announced += 1;
                if !held {
                    counters.advertised += 1;
                    member.held.insert(dest);
                }
                continue;
            }
            counters.unsendable += 1;
            if held {
                counters.advertised -= 1;
                counters.withdrawn += 1;
                member.held.remove(dest);
            }
        }
    }
}
