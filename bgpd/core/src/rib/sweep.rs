//! Everything that is about the whole table, a slice at a time.
//!
//! A cursor goes round the places of the table. At each destination it does all that is owed there: takes out the paths
//! of dead generations, judges paths again, decides again, marks for export. What becomes owed while it goes round joins
//! where the cursor is and is done when it has come round to there. So no event costs more than one look at each
//! destination, however many come at once, and no call more than its slice.
//!
//! What a sweep has not reached stays as it was: forwarded, announced, chosen.
//!
//! Invariant: a destination that was made or decided anew while a job runs needs nothing from it, since judging and
//! deciding always go by the present configuration, generations and next hops.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::DestId;
use super::loc_rib::LocRib;
use super::next_hop::NextHopId;
use super::sources::Owed;
use super::types::PeerId;

/// What a path judged again costs, in looks at a destination.
const JUDGING: usize = 4;

/// Work for each destination that it concerns. The paths of dead generations are work too; these are counted by
/// [`super::sources::Sources`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Job {
    /// A neighbour's paths are judged again (its policy, the speaker's or its session changed).
    Judge(PeerId),
    /// Their prefixes are decided again (its identifier or address changed).
    Decide(PeerId),
    /// Where they are best, what is announced is looked at again (export depends on the source's configuration).
    Export(PeerId),
    /// Everything is decided again.
    DecideAll,
    /// What hangs on a next hop is decided again.
    NextHop(NextHopId),
}

/// How far a job is.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// Where the cursor was.
    from: Option<DestId>,
    /// It has been at the table's end since.
    round: bool,
}

/// The cursor and the jobs.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// The last place looked at.
    cursor: Option<DestId>,
    jobs: BTreeMap<Job, Progress>,
}

impl LocRib {
    /// Nothing is left to do: every destination is decided as things are.
    pub(super) fn is_swept(&self) -> bool {
        self.sweep.jobs.is_empty() && self.sources.dead() == 0
    }

    /// From here once round the table. Nothing for a neighbour without paths.
    pub(super) fn owe(&mut self, job: Job) {
        if let Job::Judge(peer) | Job::Decide(peer) | Job::Export(peer) = job {
            let paths: usize = self.sources.all().filter(|(_, g)| g.peer() == peer).map(|(_, g)| g.paths).sum();
            if paths == 0 {
                return;
            }
        }
        self.flag(job, true);
        self.sweep.jobs.insert(job, Progress { from: self.sweep.cursor, round: false });
    }

    /// The job has lost its object.
    pub(super) fn forget(&mut self, job: Job) {
        if self.sweep.jobs.remove(&job).is_some() {
            self.flag(job, false);
        }
    }

    fn flag(&mut self, job: Job, on: bool) {
        let mut owed = |peer: PeerId, of: fn(&mut Owed) -> &mut bool| {
            self.sources.all_mut().filter(|g| g.peer() == peer).for_each(|g| *of(&mut g.owed) = on);
        };
        match job {
            Job::Judge(peer) => owed(peer, |o| &mut o.judge),
            Job::Decide(peer) => owed(peer, |o| &mut o.decide),
            Job::Export(peer) => owed(peer, |o| &mut o.export),
            // Asked of the list of jobs.
            Job::DecideAll => {}
            Job::NextHop(id) => {
                if let Some(entry) = self.next_hops.get_mut(id) {
                    entry.moved = on;
                }
            }
        }
    }

    /// Looks at so many places of the table, fewer where there is much to do.
    pub(super) fn sweep(&mut self, places: usize) {
        let mut left = places;
        while left > 0 && !self.is_swept() {
            match self.table.after(self.sweep.cursor) {
                Some(id) => {
                    self.sweep.cursor = Some(id);
                    left = left.saturating_sub(self.visit(id));
                }
                None => {
                    self.bring_home();
                    self.sweep.cursor = None;
                    for progress in self.sweep.jobs.values_mut() {
                        // The second end: the place it began at is no more.
                        progress.from = progress.from.filter(|_| !progress.round);
                        progress.round = true;
                    }
                    left -= 1;
                }
            }
            let cursor = self.sweep.cursor;
            let done = |p: &Progress| p.round && p.from <= cursor;
            if self.sweep.jobs.values().any(done) {
                let over: Vec<Job> = self.sweep.jobs.iter().filter(|(_, p)| done(p)).map(|(j, _)| *j).collect();
                over.into_iter().for_each(|job| self.forget(job));
            }
        }
        self.bring_home();
        if self.is_swept() && self.unsettled.is_empty() {
            self.rounds.clear();
        }
    }

    /// Does what is owed at one place; what that cost.
    fn visit(&mut self, id: DestId) -> usize {
        if self.table.get(id).is_none() {
            return 1;
        }
        #[cfg(test)]
        {
            self.looked += 1;
        }
        let mut cost = 1;
        let mut buried = self.bury(id);
        let mut decide = buried.any;
        let mut export = false;
        // Without a job nothing is owed but the paths of dead generations.
        if !self.sweep.jobs.is_empty() {
            decide |= self.sweep.jobs.contains_key(&Job::DecideAll);
            let mut at = 0;
            while let Some(path) = self.path(id, at) {
                let owed = self.sources.resolve(path.source).map_or(Owed::default(), |(g, _)| g.owed);
                decide |= owed.decide || self.hangs_on_moved(&path);
                if owed.export {
                    self.note_paths(id);
                    export |= at == 0;
                }
                if owed.judge {
                    cost += JUDGING;
                    if self.judge_again(id, at) {
                        decide = true;
                        buried.best |= at == 0 && self.table.get(id).is_some_and(|s| s.has_best());
                    }
                }
                at += 1;
            }
        }
        if decide {
            self.decide(id, buried.best);
        }
        if export && self.table.get(id).is_some_and(|s| s.has_best()) {
            self.changed.push(id);
        }
        cost
    }

    fn hangs_on_moved(&self, path: &super::paths::Path) -> bool {
        let head = self.verdicts.post(path.verdict).ok().and_then(|set| self.pool.head(set));
        head.and_then(|h| self.next_hops.get(h.next_hop())).is_some_and(|entry| entry.moved)
    }

    /// Forgets neighbours as export saw them before the sweep.
    pub(super) fn tidy_identities(&mut self) {
        let used: BTreeSet<u32> = self.peers.values().map(|p| p.identity).collect();
        self.identities.retain(&used);
    }
}
