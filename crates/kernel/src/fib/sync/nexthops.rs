//! Next-hop objects: put before the routes that need them, taken away after them, read again when anything is odd.

use super::{FibSync, Handle, Have, OPEN_AT_ONCE, SLICES, Standing, State};
use crate::KernelError;
use crate::fib::{FibKernel, Op};
use std::collections::{BTreeMap, BTreeSet};

impl<K: FibKernel> FibSync<K> {
    /// How many objects, and how many routes with them, were not as believed.
    pub(super) fn compare_objects(&mut self) -> Result<(usize, usize), KernelError> {
        let dumped = self.kernel.dump_nexthops()?;
        let (surprises, gone) = self.objects.compare(&dumped);
        self.reread = false;
        let routes = if gone.is_empty() { 0 } else { self.lose_routes(&gone) };
        Ok((surprises, routes))
    }

    /// Objects went, and their routes with them, without a word. Marks every one of these and queues the first; the rest
    /// is found by its mark.
    fn lose_routes(&mut self, gone: &BTreeSet<Handle>) -> usize {
        let mut lost = 0;
        let mut released = BTreeMap::<Handle, usize>::new();
        let mark = self.mark;
        for slice in 0..SLICES {
            let (missing, stale, pass) = (&mut self.missing, &mut self.stale, &mut self.pass);
            self.table.retain(slice, |prefix, cell| match cell.state() {
                State::Settled(h) if gone.contains(&h) => {
                    *released.entry(h).or_default() += 1;
                    lost += 1;
                    *missing += 1;
                    cell.set(State::Missing(h), cell.cookie());
                    cell.set_mark(mark);
                    true
                }
                State::Stale(h) if gone.contains(&h) => {
                    *released.entry(h).or_default() += 1;
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
            self.objects.release_many(handle, users);
        }
        let standing = |have| matches!(have, Have::Object(h) if gone.contains(&h));
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
        let in_use = broken.into_iter().filter(|h| self.objects.get(*h).is_some_and(|o| o.users > 0));
        self.put_objects(&in_use.collect());
    }

    /// Puts objects that do not stand: singles, then groups whose members all stand.
    pub(super) fn put_objects(&mut self, wanted: &BTreeSet<Handle>) {
        if wanted.is_empty() {
            return;
        }
        let mut singles = BTreeSet::new();
        let mut groups = BTreeSet::new();
        for handle in wanted {
            if self.objects.is_group(*handle) {
                groups.insert(*handle);
                let members = self.objects.get(*handle).map(|o| o.members.clone()).unwrap_or_default();
                singles.extend(members.into_iter().filter(|m| !self.is_present(*m)));
            } else {
                singles.insert(*handle);
            }
        }
        self.put_round(singles);
        let (whole, maimed): (BTreeSet<Handle>, BTreeSet<Handle>) = groups
            .into_iter()
            .partition(|g| self.objects.get(*g).is_some_and(|o| o.members.iter().all(|m| self.is_present(*m))));
        for group in maimed {
            let cause = self.objects.get(group).and_then(|o| {
                o.members
                    .iter()
                    .find_map(|m| self.objects.get(*m).filter(|o| o.standing != Standing::Present)?.error.clone())
            });
            if let Some(object) = self.objects.get_mut(group) {
                object.error = cause;
            }
        }
        self.put_round(whole);
    }

    fn put_round(&mut self, handles: BTreeSet<Handle>) {
        let (owners, ops): (Vec<Handle>, Vec<Op>) =
            handles.into_iter().filter_map(|h| Some((h, self.objects.put(h)?))).unzip();
        if ops.is_empty() {
            return;
        }
        let mut stolen = false;
        let mut failures = self.kernel.apply(&ops).into_iter().peekable();
        for (i, handle) in owners.into_iter().enumerate() {
            let failure = failures.next_if(|(failed, _)| *failed == i);
            let Some(object) = self.objects.get_mut(handle) else { continue };
            match failure {
                None => {
                    object.standing = Standing::Present;
                    object.error = None;
                }
                Some((_, e)) => {
                    self.reread |= matches!(e, KernelError::Lost { .. });
                    // Our id is taken, or the object that we replace is gone: read, then try with what is found.
                    let surprise = matches!(e.errno(), Some(libc::EEXIST | libc::ENOENT));
                    stolen |= surprise;
                    object.error = Some((e.to_string().into(), surprise || e.is_transient()));
                }
            }
        }
        if stolen {
            self.reread |= self.compare_objects().is_err();
        }
    }

    pub(super) fn remove_garbage(&mut self) {
        // Groups, then the members that only they used.
        for _ in 0..2 {
            let (groups, singles): (Vec<Handle>, Vec<Handle>) =
                self.objects.garbage().into_iter().partition(|h| self.objects.is_group(*h));
            self.remove_objects(groups);
            self.remove_objects(singles);
        }
    }

    fn remove_objects(&mut self, handles: Vec<Handle>) {
        let (absent, standing): (Vec<Handle>, Vec<Handle>) =
            handles.into_iter().partition(|h| self.objects.get(*h).is_some_and(|o| o.standing == Standing::Absent));
        absent.into_iter().for_each(|h| self.objects.forget(h));
        if standing.is_empty() {
            return;
        }
        let ops: Vec<Op> =
            standing.iter().filter_map(|h| self.objects.get(*h)).map(|o| Op::DeleteNexthop(o.id)).collect();
        let mut failures = self.kernel.apply(&ops).into_iter().peekable();
        for (i, handle) in standing.into_iter().enumerate() {
            match failures.next_if(|(failed, _)| *failed == i) {
                Some((_, e)) if e.errno() != Some(libc::ENOENT) => {
                    self.reread |= matches!(e, KernelError::Lost { .. });
                    self.objects.suspects.insert(handle);
                }
                _ => self.objects.forget(handle),
            }
        }
    }
}
