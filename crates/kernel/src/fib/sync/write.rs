//! Routes: what to do with each prefix of a batch, and what its answer means.

use super::{FibSync, Have, MAX_ATTEMPTS};
use crate::KernelError;
use crate::fib::{FibKernel, FibResult, Op};
use std::sync::Arc;

/// What happens next to a prefix of the running flush.
enum Step {
    Done,
    Write(Op),
    Wait,
    Fail(Arc<str>),
}

/// The start of the refusal of a place that another program holds.
pub(super) const FOREIGN: &str = "another program's route for this prefix stands at our metric";

impl<K: FibKernel> FibSync<K> {
    pub(super) fn write_routes(&mut self, batch: &[u32]) {
        let mut ops = std::mem::take(&mut self.ops);
        ops.clear();
        let mut owners = Vec::with_capacity(batch.len());
        for key in batch {
            match self.step(*key) {
                Step::Done => self.finish(*key, Ok(()), false),
                Step::Write(op) => {
                    ops.push(op);
                    owners.push(*key);
                }
                Step::Wait => self.try_later(*key, "the kernel is busy"),
                Step::Fail(why) => self.finish(*key, Err(why), false),
            }
        }
        self.counters.count(&ops);
        let mut failures = self.kernel.apply(&ops).into_iter().peekable();
        self.table.warm(owners.iter().filter_map(|key| self.open.get(*key as usize)).map(|o| o.prefix));
        let mut taken = Vec::new();
        let mut orphaned = Vec::new();
        for (i, (key, op)) in owners.iter().zip(&ops).enumerate() {
            let put = matches!(op, Op::PutRoute { .. });
            match failures.next_if(|(failed, _)| *failed == i).map(|(_, error)| error) {
                None => self.done(*key, put),
                Some(e) => self.refused(*key, put, e, &mut taken, &mut orphaned),
            }
        }
        self.ops = ops;
        self.settle_taken(taken);
        self.settle_orphaned(orphaned);
    }

    fn step(&self, key: u32) -> Step {
        let Some(open) = self.open.get(key as usize) else { return Step::Wait };
        let prefix = open.prefix;
        let Some(want) = open.want else {
            return match open.have {
                Have::Nothing if !open.doubt => Step::Done,
                _ => Step::Write(Op::DeleteRoute { prefix, metric: self.config.metric }),
            };
        };
        let Some(object) = self.objects.get(want) else { return Step::Fail("its next-hop object is lost".into()) };
        match (&object.error, object.usable()) {
            (_, true) if self.hangs_on(open.have, want) && !open.doubt => Step::Done,
            (_, true) => {
                let replace = open.have != Have::Nothing;
                Step::Write(Op::PutRoute { prefix, nexthop_id: object.id, replace })
            }
            (Some((why, false)), _) => Step::Fail(why.clone()),
            _ => Step::Wait,
        }
    }

    /// The kernel did as asked.
    fn done(&mut self, key: u32, put: bool) {
        let want = self.open.get(key as usize).and_then(|o| o.want).filter(|_| put);
        self.set_have(key, self.written_for(want));
        self.finish(key, Ok(()), true);
    }

    fn refused(
        &mut self,
        key: u32,
        put: bool,
        error: KernelError,
        taken: &mut Vec<u32>,
        orphaned: &mut Vec<(u32, KernelError)>,
    ) {
        let missing = matches!(error.errno(), Some(libc::ESRCH | libc::ENOENT));
        match error.errno() {
            _ if !put && missing => self.done(key, false),
            _ if matches!(error, KernelError::Lost { .. }) => {
                self.doubt(key);
                self.try_later(key, &error.to_string());
            }
            _ if error.is_transient() => self.try_later(key, &error.to_string()),
            Some(libc::EEXIST) if put => taken.push(key),
            Some(libc::EINVAL) if put => orphaned.push((key, error)),
            _ if put && missing => orphaned.push((key, error)),
            _ => self.finish(key, Err(error.to_string().into()), false),
        }
    }

    /// The change was made or not. A reading that is under way may have seen either.
    fn doubt(&mut self, key: u32) {
        let Some(open) = self.open.get_mut(key as usize) else { return };
        self.doubts += usize::from(!std::mem::replace(&mut open.doubt, true));
        if let Some(cell) = self.table.get_mut(&open.prefix) {
            cell.set_mark(self.mark);
        }
    }

    /// The end of a change for now. `met`: the kernel has just been asked about this prefix.
    pub(super) fn finish(&mut self, key: u32, result: Result<(), Arc<str>>, met: bool) {
        let Some(open) = self.open.get_mut(key as usize) else { return };
        let error = result.err();
        let news = open.error != error;
        open.error.clone_from(&error);
        open.attempts = 0;
        if std::mem::take(&mut open.report) || news {
            let result = error.map_or(Ok(()), |e| Err(e.to_string()));
            self.results.push(FibResult { prefix: open.prefix, cookie: open.cookie, result });
        }
        self.close_record(key, met);
    }

    pub(super) fn try_later(&mut self, key: u32, why: &str) {
        let Some(open) = self.open.get_mut(key as usize) else { return };
        open.attempts += 1;
        if open.attempts >= MAX_ATTEMPTS {
            let why = format!("{why} (given up after {MAX_ATTEMPTS} tries, the next full pass tries again)");
            self.finish(key, Err(why.into()), false);
        } else {
            self.enqueue(key);
        }
    }

    /// EEXIST: either ours that we did not know of, or another program's, which is not ours to replace. The kernel's own
    /// lookup tells, if nothing more specific is in its way. If it does not, our route, if it is ours, is removed and made
    /// anew in one batch: microseconds without it, for a route that we did not know to stand.
    fn settle_taken(&mut self, taken: Vec<u32>) {
        if taken.is_empty() {
            return;
        }
        let mut hidden = Vec::new();
        let mut ops = Vec::new();
        for key in taken {
            let Some((prefix, want)) = self.open.get(key as usize).map(|o| (o.prefix, o.want)) else { continue };
            let found = self.kernel.lookup(prefix).ok().flatten().filter(|r| r.metric == self.config.metric);
            if let Some(route) = found {
                self.set_have(key, self.have_of(route.nexthop_id));
                self.try_later(key, "it was there already");
            } else if let Some(object) = want.and_then(|h| self.objects.get(h)) {
                ops.push(Op::DeleteRoute { prefix, metric: self.config.metric });
                ops.push(Op::PutRoute { prefix, nexthop_id: object.id, replace: false });
                hidden.push(key);
            }
        }
        // Of each pair the second counts: a removal fails where the place is another program's.
        self.counters.count(&ops);
        let mut failures = self.kernel.apply(&ops).into_iter().filter(|(i, _)| i % 2 == 1).peekable();
        for (i, key) in hidden.into_iter().enumerate() {
            match failures.next_if(|(failed, _)| *failed == 2 * i + 1).map(|(_, error)| error) {
                None => self.done(key, true),
                Some(e) if e.errno() == Some(libc::EEXIST) => {
                    self.set_have(key, Have::Nothing);
                    let metric = self.config.metric;
                    let why = format!("{FOREIGN} {metric}; remove that route or change our metric");
                    self.finish(key, Err(why.into()), true);
                }
                Some(e) => {
                    self.doubt(key);
                    self.try_later(key, &e.to_string());
                }
            }
        }
    }

    /// The kernel does not know the object: somebody removed it, or its link died. Otherwise the refusal is final.
    fn settle_orphaned(&mut self, orphaned: Vec<(u32, KernelError)>) {
        if orphaned.is_empty() {
            return;
        }
        self.reread |= self.compare_objects().is_err();
        for (key, error) in orphaned {
            let present = self.open.get(key as usize).and_then(|o| o.want).is_some_and(|h| self.is_present(h));
            if present && !self.reread {
                self.finish(key, Err(error.to_string().into()), false);
            } else {
                self.try_later(key, &error.to_string());
            }
        }
    }

    pub(super) fn have_of(&self, nexthop_id: Option<u32>) -> Have {
        let id = nexthop_id.unwrap_or(0);
        self.objects.by_id(id).map_or(Have::Alien(id), Have::Object)
    }

    pub(super) fn remove_odd(&mut self, max_ops: usize) {
        if !self.swept || self.odd.is_empty() {
            return;
        }
        let ops: Vec<Op> = std::iter::from_fn(|| self.odd.pop_first())
            .take(max_ops)
            .map(|(prefix, metric)| Op::DeleteRoute { prefix, metric })
            .collect();
        // One try: the next full pass sees what is left.
        self.counters.count(&ops);
        let _ = self.kernel.apply(&ops);
    }

    pub(super) fn retry_failed(&mut self) {
        if self.objects.losses.forget_refusals() {
            self.objects.reconsider_all();
        }
        let failed: Vec<usize> = self.open.iter().filter(|(_, o)| o.error.is_some()).map(|(key, _)| key).collect();
        for key in failed {
            if let Some(open) = self.open.get_mut(key) {
                open.attempts = 0;
            }
            self.enqueue(key as u32);
        }
    }
}
