//! Next-hop objects: put before the routes that need them, taken away after them, read again when anything is odd.

use super::{Carrier, FibSync, Have, OPEN_AT_ONCE, SLICES, Standing, State};
use crate::KernelError;
use crate::fib::losses::LossReason;
use crate::fib::objects::Role;
use crate::fib::{FibKernel, Op};
use std::collections::{BTreeMap, BTreeSet};

/// Rounds in which members that the kernel refuses are done without; each takes at least one out.
const ROUNDS: usize = 8;

impl<K: FibKernel> FibSync<K> {
    /// How many objects, and how many routes with them, were not as believed.
    pub(super) fn compare_objects(&mut self) -> Result<(usize, usize), KernelError> {
        let dumped = self.kernel.dump_nexthops()?;
        let (surprises, gone) = self.objects.compare(&dumped);
        self.reread = false;
        self.objects.reconsider_all();
        let routes = if gone.is_empty() { 0 } else { self.lose_routes(&gone) };
        Ok((surprises, routes))
    }

    /// Objects went, and their routes with them, without a word. Marks every one of these and queues the first; the rest
    /// is found by its mark.
    pub(super) fn lose_routes(&mut self, gone: &BTreeSet<Carrier>) -> usize {
        let mut lost = 0;
        let (mut released, mut unclaimed) = (BTreeMap::<_, usize>::new(), Vec::new());
        let mark = self.mark;
        let targets = self.objects.targets_on(gone);
        for slice in 0..SLICES {
            let (missing, stale, pass) = (&mut self.missing, &mut self.stale, &mut self.pass);
            self.table.retain(slice, |prefix, cell| match cell.state() {
                State::Settled(h) if targets.contains(&h) => {
                    *released.entry(h).or_default() += 1;
                    lost += 1;
                    *missing += 1;
                    cell.set(State::Missing(h), cell.cookie());
                    cell.set_mark(mark);
                    true
                }
                State::Stale(h) if targets.contains(&h) => {
                    *released.entry(h).or_default() += 1;
                    unclaimed.push(h);
                    lost += 1;
                    *stale -= 1;
                    if let Some(pass) = pass {
                        pass.removed(prefix);
                    }
                    false
                }
                _ => true,
            });
        }
        for (handle, users) in released {
            if let Some(carrier) = self.objects.carrier(handle) {
                (0..users).for_each(|_| self.objects.release(carrier));
            }
        }
        unclaimed.into_iter().for_each(|h| self.objects.give_stale(h));
        let standing = |have| matches!(have, Have::Object(c) if gone.contains(&c));
        let open: Vec<u32> = self.open.iter().filter(|(_, o)| standing(o.have)).map(|(key, _)| key as u32).collect();
        for key in open {
            lost += 1;
            self.set_have(key, Have::Nothing);
            if let Some(cell) = self.open.get(key as usize).and_then(|o| self.table.get_mut(&o.prefix)) {
                cell.set_mark(mark);
            }
            self.enqueue(key);
        }
        if self.missing > 0 {
            self.open_waiting(OPEN_AT_ONCE.saturating_sub(self.queue.len()));
        }
        lost
    }

    pub(super) fn repair_objects(&mut self) {
        let broken = std::mem::take(&mut self.objects.broken);
        let in_use = broken.into_iter().filter(|h| self.objects.object(*h).is_some_and(|o| o.users > 0));
        self.put_objects(&in_use.collect());
    }

    /// Puts objects that do not stand: singles and members, then groups whose members all stand. A group does without a
    /// member that the kernel refuses, if it has another.
    pub(super) fn put_objects(&mut self, wanted: &BTreeSet<Carrier>) {
        if wanted.is_empty() {
            return;
        }
        let (groups, mut singles): (BTreeSet<Carrier>, BTreeSet<Carrier>) =
            wanted.iter().copied().partition(|c| self.objects.is_group(*c));
        for _ in 0..ROUNDS {
            singles.extend(groups.iter().flat_map(|g| self.objects.missing_members(*g)));
            if singles.is_empty() || !self.put_round(std::mem::take(&mut singles)) {
                break;
            }
            self.objects.reconsider_all();
        }
        let (whole, maimed): (BTreeSet<Carrier>, BTreeSet<Carrier>) =
            groups.into_iter().partition(|g| self.objects.missing_members(*g).is_empty());
        for group in maimed {
            let missing = self.objects.missing_members(group);
            let cause = missing.iter().find_map(|m| self.objects.object(*m)?.error.clone());
            if cause.as_ref().is_none_or(|(_, again)| *again) {
                self.objects.broken.insert(group);
            }
            if let Some(object) = self.objects.object_mut(group) {
                object.error = cause;
            }
        }
        self.put_round(whole);
    }

    /// True if the kernel refused a member for good.
    fn put_round(&mut self, carriers: BTreeSet<Carrier>) -> bool {
        let (owners, ops): (Vec<Carrier>, Vec<Op>) =
            carriers.into_iter().filter_map(|h| Some((h, self.objects.put(h)?))).unzip();
        if ops.is_empty() {
            return false;
        }
        let (mut stolen, mut refused) = (false, false);
        self.counters.count(&ops);
        let mut failures = self.kernel.apply(&ops).into_iter().peekable();
        for (i, carrier) in owners.into_iter().enumerate() {
            let Some((_, e)) = failures.next_if(|(failed, _)| *failed == i) else {
                self.objects.stands(carrier);
                continue;
            };
            self.reread |= matches!(e, KernelError::Lost { .. });
            // Our id is taken, or the object that we replace is gone: read, then try with what is found. A group: a member is gone.
            let surprise = matches!(e.errno(), Some(libc::EEXIST | libc::ENOENT))
                || (e.errno() == Some(libc::EINVAL) && self.objects.is_group(carrier));
            stolen |= surprise;
            let again = surprise || e.is_transient();
            if e.is_transient() {
                self.objects.broken.insert(carrier);
            }
            let Some(object) = self.objects.object_mut(carrier) else { continue };
            object.error = Some((e.to_string().into(), again));
            if let (Role::Member(_, hop), false) = (object.role, again) {
                refused |= self.objects.losses.lose(hop, LossReason::Refused);
            }
        }
        if stolen {
            self.reread |= self.compare_objects().is_err();
        }
        refused
    }

    pub(super) fn remove_garbage(&mut self) {
        // Groups, then the members that only they used, then what was kept for targets that moved, with its members.
        for _ in 0..4 {
            let (groups, singles): (Vec<Carrier>, Vec<Carrier>) =
                self.objects.garbage().into_iter().partition(|h| self.objects.is_group(*h));
            self.remove_objects(groups);
            self.remove_objects(singles);
        }
    }

    fn remove_objects(&mut self, carriers: Vec<Carrier>) {
        let (absent, standing): (Vec<Carrier>, Vec<Carrier>) =
            carriers.into_iter().partition(|h| self.objects.object(*h).is_some_and(|o| o.standing == Standing::Absent));
        absent.into_iter().for_each(|h| self.objects.forget(h));
        if standing.is_empty() {
            return;
        }
        let ops: Vec<Op> =
            standing.iter().filter_map(|h| self.objects.object(*h)).map(|o| Op::DeleteNexthop(o.id)).collect();
        self.counters.count(&ops);
        let mut failures = self.kernel.apply(&ops).into_iter().peekable();
        for (i, carrier) in standing.into_iter().enumerate() {
            match failures.next_if(|(failed, _)| *failed == i) {
                Some((_, e)) if e.errno() != Some(libc::ENOENT) => {
                    self.reread |= matches!(e, KernelError::Lost { .. });
                    self.objects.suspects.insert(carrier);
                }
                _ => self.objects.forget(carrier),
            }
        }
    }
}
