//! A pass: the kernel's routes are read, piece by piece as they come, and each is compared with its cell, which is then
//! marked as met; a walk over the slices finds the cells that nobody met. Nothing is copied, and between two steps wants
//! and events have their turn.
//!
//! A piece may be older than our last writes: a cell that was written since the pass began counts as met, and a route that
//! was removed since is remembered as such. The adoption at the start is the same pass over an empty table.

use super::{FibSync, Handle, Have, OPEN_AT_ONCE, SLICES, State};
use crate::KernelError;
use crate::fib::{FibKernel, InstalledRoute, PassReport};
use net_types::Prefix;
use std::collections::HashSet;

/// Pieces of a dump (of 32 KiB, some 400 routes) in one step.
const PIECES: usize = 4;
/// Slices of the walk in one step.
const WALK: usize = 16;
/// Routes written at a time by a pass that is made in one call.
const ROUND: usize = 4096;

#[derive(Debug)]
pub(super) struct Pass {
    /// The slice where the walk goes on; `None` while routes are read.
    walk: Option<usize>,
    /// Removed from the kernel since the reading began.
    removed: HashSet<Prefix>,
    routes: Vec<InstalledRoute>,
    report: PassReport,
}

impl Pass {
    /// Routes are being read, so a piece may still come that is older than our last word.
    pub(super) fn reads(&self) -> bool {
        self.walk.is_none()
    }

    pub(super) fn removed(&mut self, prefix: Prefix) {
        if self.reads() {
            self.removed.insert(prefix);
        }
    }
}

impl<K: FibKernel> FibSync<K> {
    /// Reads both tables, compares, repairs, all in this call. Results of repairs come with the next [`FibSync::flush`].
    pub fn full_pass(&mut self) -> Result<PassReport, KernelError> {
        self.begin_pass()?;
        let mut report = loop {
            if let Some(report) = self.step_pass()? {
                break report;
            }
        };
        let mut results = Vec::new();
        // At least once: garbage that could not be removed at its time goes now. Each round empties part of the queue or
        // uses up attempts, so this ends; the bound is a belt.
        for _ in 0..(self.pending() / ROUND + 2) * usize::from(super::MAX_ATTEMPTS) {
            results.extend(self.flush(ROUND));
            if self.pending() == 0 {
                break;
            }
        }
        self.results = results;
        (report.failed, report.foreign) = self.failed();
        Ok(report)
    }

    /// Begins a pass, or begins it anew: what failed before is tried again, objects are read and compared. Goes on with
    /// [`FibSync::step_pass`].
    pub fn begin_pass(&mut self) -> Result<(), KernelError> {
        self.retry_failed();
        let (nexthops, missing) = self.compare_objects()?;
        self.begin_reading()?;
        if let Some(pass) = &mut self.pass {
            (pass.report.nexthops, pass.report.missing) = (nexthops, missing);
        }
        Ok(())
    }

    /// A pass is under way.
    pub fn passing(&self) -> bool {
        self.pass.is_some()
    }

    pub(super) fn begin_reading(&mut self) -> Result<(), KernelError> {
        self.pass = None;
        self.kernel.begin_routes()?;
        if self.muddled {
            let mark = self.mark;
            for slice in 0..SLICES {
                self.table.retain(slice, |_, cell| {
                    cell.set_mark(mark);
                    true
                });
            }
        }
        self.mark = !self.mark;
        self.muddled = true;
        self.pass =
            Some(Pass { walk: None, removed: HashSet::new(), routes: Vec::new(), report: PassReport::default() });
        Ok(())
    }

    /// A step of a millisecond or two; the report with the last one. What differs is queued for [`FibSync::flush`]. An
    /// error ends the pass.
    pub fn step_pass(&mut self) -> Result<Option<PassReport>, KernelError> {
        let Some(mut pass) = self.pass.take() else { return Ok(Some(PassReport::default())) };
        match pass.walk {
            None => {
                for _ in 0..PIECES {
                    pass.routes.clear();
                    let more = self.kernel.next_routes(&mut pass.routes)?;
                    for route in &pass.routes {
                        pass.report.routes += 1;
                        if route.metric == self.config.metric {
                            self.meet(route, &pass.removed, &mut pass.report);
                        } else {
                            self.odd.insert((route.prefix, route.metric));
                        }
                    }
                    if !more {
                        pass.walk = Some(0);
                        pass.removed = HashSet::new();
                        break;
                    }
                }
            }
            Some(SLICES) => {
                (self.muddled, self.adopting) = (false, false);
                (pass.report.failed, pass.report.foreign) = self.failed();
                return Ok(Some(pass.report));
            }
            Some(from) => {
                let to = (from + WALK).min(SLICES);
                (from..to).for_each(|slice| self.find_unmet(slice, &mut pass.report));
                pass.walk = Some(to);
            }
        }
        self.pass = Some(pass);
        Ok(None)
    }

    /// A route that the kernel holds.
    fn meet(&mut self, route: &InstalledRoute, removed: &HashSet<Prefix>, report: &mut PassReport) {
        let (prefix, mark) = (route.prefix, self.mark);
        let have = self.have_of(route.nexthop_id);
        let Some(cell) = self.table.get_mut(&prefix) else {
            return self.meet_unknown(prefix, have, removed, report);
        };
        if cell.mark() == mark {
            return;
        }
        cell.set_mark(mark);
        let state = cell.state();
        if let State::Settled(h) | State::Stale(h) = state
            && self.hangs_on(have, h)
        {
            return;
        }
        let key = self.open_record(prefix);
        self.set_have(key, have);
        let Some(open) = self.open.get(key as usize) else { return };
        let (queued, stale) = (open.queued, open.stale);
        let as_wanted = open.want.is_some_and(|w| self.hangs_on(have, w));
        if stale {
            self.close_record(key, false);
        } else if matches!(state, State::Missing(_)) {
            self.enqueue(key);
        } else if !queued && !as_wanted {
            match self.open.get(key as usize).and_then(|o| o.want) {
                Some(_) => report.wrong += 1,
                None => report.extra += 1,
            }
            self.enqueue(key);
        } else if !queued {
            self.close_record(key, false);
        }
    }

    /// Ours by protocol, unknown here: not claimed after the sweep means not wanted; before it, stale.
    fn meet_unknown(&mut self, prefix: Prefix, have: Have, removed: &HashSet<Prefix>, report: &mut PassReport) {
        if removed.contains(&prefix) {
            return;
        }
        let stale = self.adopting || !self.swept;
        let mark = self.mark;
        if let (true, Have::Object(carrier)) = (stale, have)
            && let Some(handle) = self.objects.first_target(carrier)
            && handle.index() <= super::Cell::MAX_HANDLE
        {
            self.table.put(&prefix, |cell, _| {
                cell.set(State::Stale(handle), 0);
                cell.set_mark(mark);
            });
            self.stale += 1;
            self.objects.take_stale(handle);
            self.objects.hold(carrier);
            return;
        }
        let key = self.open_record(prefix);
        self.set_have(key, have);
        if let Some(cell) = self.table.get_mut(&prefix) {
            cell.set_mark(mark);
        }
        if let Some(open) = self.open.get_mut(key as usize) {
            open.stale = !self.swept;
        }
        if self.swept {
            report.extra += 1;
            self.enqueue(key);
        }
    }

    /// The cells of a slice that no route met: the kernel does not hold them.
    fn find_unmet(&mut self, slice: usize, report: &mut PassReport) {
        let mark = self.mark;
        let (mut open, mut released, mut unclaimed) = (Vec::new(), Vec::<Handle>::new(), Vec::<Handle>::new());
        let mut lost = Vec::new();
        let (missing, stale) = (&mut self.missing, &mut self.stale);
        self.table.retain(slice, |prefix, cell| {
            if cell.mark() == mark {
                return true;
            }
            cell.set_mark(mark);
            match cell.state() {
                State::Settled(h) => {
                    report.missing += 1;
                    released.push(h);
                    *missing += 1;
                    cell.set(State::Missing(h), cell.cookie());
                    if lost.len() < OPEN_AT_ONCE {
                        lost.push(prefix);
                    }
                }
                State::Stale(h) => {
                    released.push(h);
                    unclaimed.push(h);
                    *stale -= 1;
                    return false;
                }
                State::Missing(_) => {}
                State::Open(key) => open.push(key),
            }
            true
        });
        released
            .into_iter()
            .filter_map(|h| self.objects.carrier(h))
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|c| self.objects.release(c));
        unclaimed.into_iter().for_each(|h| self.objects.give_stale(h));
        for prefix in lost {
            let key = self.open_record(prefix);
            self.enqueue(key);
        }
        for key in open {
            self.set_have(key, Have::Nothing);
            let Some(record) = self.open.get_mut(key as usize) else { continue };
            if std::mem::take(&mut record.stale) || record.want.is_none() {
                self.enqueue(key);
            } else if !record.queued {
                report.missing += 1;
                self.enqueue(key);
            }
        }
    }
}
