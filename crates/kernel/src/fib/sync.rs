//! Desired state in, difference out.
//!
//! A want goes: [`FibSync::set`] -> queue -> [`FibSync::flush`]: objects that it needs are put (singles, then groups),
//! then routes are written or removed, then unused objects go: make before break. What stands already is acknowledged
//! without a write. Refusals by cause: a busy kernel is asked again, a bounded number of times; a lost answer makes both
//! tables be read again before anything else; a vanished object is made again; a place held by another program's route is
//! reported and left alone.
//!
//! Invariants: `have` is what the kernel was last known to hold, never what we hope; nothing without our protocol number
//! is touched; at start nothing is removed until [`FibSync::sweep_stale`]. One gap is the kernel's: `NLM_F_REPLACE` does
//! not compare protocols, so if somebody removes our route and puts his own at our very metric, our next change of that
//! prefix before a full pass replaces his.

mod compare;

use super::objects::{Handle, Objects, Standing};
use super::{FibConfig, FibEntry, FibKernel, FibResult, FibState, InstalledRoute, Op, PassReport, RouteTarget};
use crate::KernelError;
use net_types::Prefix;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Tries of a change that the kernel is too busy for, before it is reported as failed.
const MAX_ATTEMPTS: u8 = 5;
/// Route changes per round of a full pass.
const PASS_ROUND: usize = 4096;

#[derive(Debug, Default)]
struct Entry {
    want: Option<Handle>,
    /// The object id of our route in the kernel; an id that is not ours (0 for none) for a route of another shape.
    have: Option<u32>,
    cookie: u64,
    report: bool,
    stale: bool,
    queued: bool,
    attempts: u8,
    error: Option<Box<str>>,
}

/// What happens next to a prefix of the running flush.
enum Step {
    Done,
    Write(Op),
    Wait,
    Fail(String),
}

/// The forwarding table's owner.
#[derive(Debug)]
pub struct FibSync<K> {
    kernel: K,
    config: FibConfig,
    warnings: Vec<String>,
    objects: Objects,
    entries: BTreeMap<Prefix, Entry>,
    queue: VecDeque<Prefix>,
    /// Routes of ours at a metric of an earlier configuration.
    odd: Vec<InstalledRoute>,
    reread: bool,
    results: Vec<FibResult>,
    swept: bool,
}

impl<K: FibKernel> FibSync<K> {
    /// Reads what stands and adopts it: objects and routes of ours stay as they are, stale until claimed by a
    /// [`FibSync::set`] or removed by [`FibSync::sweep_stale`].
    pub fn open(mut kernel: K, config: FibConfig) -> Result<FibSync<K>, KernelError> {
        let warnings = kernel.prepare();
        let mut objects = Objects::new(config);
        objects.adopt(&kernel.dump_nexthops()?);
        let mut sync = FibSync {
            config,
            warnings,
            objects,
            entries: BTreeMap::new(),
            queue: VecDeque::new(),
            odd: Vec::new(),
            reread: false,
            results: Vec::new(),
            swept: false,
            kernel,
        };
        for route in sync.kernel.dump_routes()? {
            if route.metric == config.metric {
                sync.entries.insert(route.prefix, Entry { stale: true, ..Entry::default() });
                sync.set_have(&route.prefix, Some(route.nexthop_id.unwrap_or(0)));
            } else {
                sync.odd.push(route);
            }
        }
        Ok(sync)
    }

    /// What a person should know about the start (for instance a sysctl that could not be set).
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The kernel below, for tests and for its socket.
    pub fn kernel_mut(&mut self) -> &mut K {
        &mut self.kernel
    }

    /// Declares what is wanted for a prefix; `None`: nothing. The last word before a flush counts, and its cookie comes
    /// back in one [`FibResult`] (and again if a failed route later succeeds or a standing one is lost).
    pub fn set(&mut self, prefix: Prefix, target: Option<RouteTarget>, cookie: u64) {
        let want = target.map(|t| {
            let canonical = match t {
                RouteTarget::NextHops(hops) => RouteTarget::next_hops(hops),
                RouteTarget::Discard => RouteTarget::Discard,
            };
            self.objects.claim(&prefix, &canonical)
        });
        let entry = self.entries.entry(prefix).or_default();
        let before = std::mem::replace(&mut entry.want, want);
        entry.cookie = cookie;
        entry.report = true;
        entry.stale = false;
        entry.attempts = 0;
        entry.error = None;
        if let Some(handle) = before {
            self.objects.release(handle);
        }
        self.enqueue(prefix);
    }

    /// Changes that wait for a [`FibSync::flush`]. Stays above zero while the kernel cannot be read.
    pub fn pending(&self) -> usize {
        self.queue.len() + self.odd_due() + usize::from(self.reread) + self.results.len() + self.objects.broken.len()
    }

    /// Brings up to `max_ops` prefixes to where they are wanted, and says what became of them.
    pub fn flush(&mut self, max_ops: usize) -> Vec<FibResult> {
        if self.reread && self.read_again().is_err() {
            return std::mem::take(&mut self.results);
        }
        self.repair_objects();
        let count = self.queue.len().min(max_ops);
        let batch: Vec<Prefix> = self.queue.drain(..count).collect();
        for prefix in &batch {
            if let Some(entry) = self.entries.get_mut(prefix) {
                entry.queued = false;
            }
        }
        let needed: BTreeSet<Handle> =
            batch.iter().filter_map(|p| self.entries.get(p)?.want).filter(|h| !self.is_present(*h)).collect();
        self.put_objects(&needed);
        self.write_routes(&batch);
        self.remove_odd();
        if !self.reread {
            self.remove_garbage();
        }
        std::mem::take(&mut self.results)
    }

    /// After a restart is complete: what is ours and nobody claimed is queued for removal. Returns how many routes.
    pub fn sweep_stale(&mut self) -> usize {
        let stale: Vec<Prefix> = self.entries.iter().filter(|(_, e)| e.stale).map(|(p, _)| *p).collect();
        for prefix in &stale {
            if let Some(entry) = self.entries.get_mut(prefix) {
                entry.stale = false;
            }
            self.enqueue(*prefix);
        }
        self.swept = true;
        self.objects.end_adoption();
        stale.len() + self.odd.len()
    }

    /// Reads both tables, compares, repairs. Results of repairs come with the next [`FibSync::flush`].
    pub fn full_pass(&mut self) -> Result<PassReport, KernelError> {
        self.retry_failed();
        let mut report = self.compare()?;
        let mut collected = Vec::new();
        let writes_due = self.queue.len();
        // Each round either empties part of the queue or uses up attempts, so this ends; the bound is a belt.
        let rounds = (writes_due / PASS_ROUND + 2) * usize::from(MAX_ATTEMPTS);
        for _ in 0..rounds {
            // At least once: garbage that could not be removed at its time goes now.
            collected.extend(self.flush(PASS_ROUND));
            if self.pending() == 0 {
                break;
            }
        }
        report.failed = collected.iter().filter(|r| r.result.is_err()).cloned().collect();
        report.foreign = report.failed.iter().filter(|r| is_foreign_refusal(r)).count();
        let found = report.missing + report.wrong + report.extra + report.nexthops;
        report.repaired = found.saturating_sub(report.failed.len());
        self.results = collected;
        Ok(report)
    }

    /// Links changed; `down` names those that went down, empty means some came up. The kernel drops a dead link's objects
    /// and IPv4 routes silently, so objects are read again, what is gone is queued, and what failed before is tried anew.
    pub fn links_changed(&mut self, down: &[u32]) {
        let only_down = !down.is_empty();
        if only_down && !self.objects.uses_any(down) && !self.objects.any_unwell() {
            return;
        }
        if self.compare_objects().is_err() {
            self.reread = true;
        }
        self.retry_failed();
    }

    /// Every prefix, for `show fib`.
    pub fn iter(&self) -> impl Iterator<Item = FibEntry<'_>> {
        self.entries.iter().map(|(prefix, entry)| self.show(*prefix, entry))
    }

    /// One prefix, for `show fib PREFIX`.
    pub fn get(&self, prefix: &Prefix) -> Option<FibEntry<'_>> {
        self.entries.get(prefix).map(|entry| self.show(*prefix, entry))
    }

    fn show<'a>(&'a self, prefix: Prefix, entry: &'a Entry) -> FibEntry<'a> {
        let state = match (entry.want, entry.error.is_some()) {
            (_, true) => FibState::Failed,
            (None, _) if entry.stale => FibState::Stale,
            (None, _) => FibState::Removing,
            (Some(h), _) if self.objects.get(h).is_some_and(|o| entry.have == Some(o.id)) => FibState::Installed,
            (Some(_), _) => FibState::Pending,
        };
        FibEntry {
            prefix,
            nexthop_id: entry.have,
            target: entry.want.and_then(|h| self.objects.target(h)),
            state,
            error: entry.error.as_deref(),
        }
    }

    // --- routes ---

    fn enqueue(&mut self, prefix: Prefix) {
        if let Some(entry) = self.entries.get_mut(&prefix)
            && !entry.queued
        {
            entry.queued = true;
            self.queue.push_back(prefix);
        }
    }

    fn set_have(&mut self, prefix: &Prefix, have: Option<u32>) {
        let Some(entry) = self.entries.get_mut(prefix) else { return };
        if entry.have == have {
            return;
        }
        let before = std::mem::replace(&mut entry.have, have);
        if let Some(handle) = have.and_then(|id| self.objects.by_id(id)) {
            self.objects.hold(handle);
        }
        if let Some(handle) = before.and_then(|id| self.objects.by_id(id)) {
            self.objects.release(handle);
        }
    }

    fn write_routes(&mut self, batch: &[Prefix]) {
        let mut ops = Vec::with_capacity(batch.len());
        let mut owners = Vec::with_capacity(batch.len());
        for prefix in batch {
            match self.step(prefix) {
                Step::Done => self.finish(prefix, Ok(())),
                Step::Write(op) => {
                    ops.push(op);
                    owners.push(*prefix);
                }
                Step::Wait => self.try_later(prefix, "the kernel is busy"),
                Step::Fail(why) => self.finish(prefix, Err(why)),
            }
        }
        let outcomes = self.kernel.apply(&ops);
        let mut taken = Vec::new();
        let mut orphaned = Vec::new();
        for ((prefix, op), outcome) in owners.iter().zip(&ops).zip(outcomes) {
            let missing = |e: &KernelError| matches!(e.errno(), Some(libc::ESRCH | libc::ENOENT));
            match (op, outcome) {
                (Op::PutRoute { nexthop_id, .. }, Ok(())) => {
                    self.set_have(prefix, Some(*nexthop_id));
                    self.finish(prefix, Ok(()));
                }
                (_, Ok(())) => {
                    self.set_have(prefix, None);
                    self.finish(prefix, Ok(()));
                }
                (Op::DeleteRoute { .. }, Err(e)) if missing(&e) => {
                    self.set_have(prefix, None);
                    self.finish(prefix, Ok(()));
                }
                (_, Err(e)) if e.is_transient() => {
                    self.reread |= matches!(e, KernelError::Lost { .. });
                    self.try_later(prefix, &e.to_string());
                }
                (Op::PutRoute { .. }, Err(e)) if e.errno() == Some(libc::EEXIST) => taken.push(*prefix),
                (Op::PutRoute { .. }, Err(e)) if missing(&e) || e.errno() == Some(libc::EINVAL) => {
                    orphaned.push((*prefix, e.to_string()));
                }
                (_, Err(e)) => self.finish(prefix, Err(e.to_string())),
            }
        }
        self.settle_taken(&taken);
        self.settle_orphaned(orphaned);
    }

    fn step(&self, prefix: &Prefix) -> Step {
        let Some(entry) = self.entries.get(prefix) else { return Step::Wait };
        let Some(want) = entry.want else {
            return match entry.have {
                None => Step::Done,
                Some(_) => Step::Write(Op::DeleteRoute { prefix: *prefix, metric: self.config.metric }),
            };
        };
        let Some(object) = self.objects.get(want) else { return Step::Fail("its next-hop object is lost".to_owned()) };
        match (&object.error, object.standing) {
            (_, Standing::Present) if entry.have == Some(object.id) => Step::Done,
            (_, Standing::Present) => {
                Step::Write(Op::PutRoute { prefix: *prefix, nexthop_id: object.id, replace: entry.have.is_some() })
            }
            (Some((why, false)), _) => Step::Fail(why.clone()),
            _ => Step::Wait,
        }
    }

    fn finish(&mut self, prefix: &Prefix, result: Result<(), String>) {
        let Some(entry) = self.entries.get_mut(prefix) else { return };
        let failed_before = entry.error.is_some();
        entry.error = result.as_ref().err().map(|e| e.as_str().into());
        entry.attempts = 0;
        if std::mem::take(&mut entry.report) || failed_before || result.is_err() {
            self.results.push(FibResult { prefix: *prefix, cookie: entry.cookie, result });
        }
        if entry.want.is_none() && entry.have.is_none() && entry.error.is_none() && !entry.queued {
            self.entries.remove(prefix);
        }
    }

    fn try_later(&mut self, prefix: &Prefix, why: &str) {
        let Some(entry) = self.entries.get_mut(prefix) else { return };
        entry.attempts += 1;
        if entry.attempts >= MAX_ATTEMPTS {
            self.finish(
                prefix,
                Err(format!("{why} (given up after {MAX_ATTEMPTS} tries, the next full pass tries again)")),
            );
        } else {
            self.enqueue(*prefix);
        }
    }

    /// EEXIST: either ours that we did not know of, or another program's, which is not ours to replace.
    fn settle_taken(&mut self, taken: &[Prefix]) {
        if taken.is_empty() {
            return;
        }
        let metric = self.config.metric;
        let standing: BTreeMap<Prefix, u32> = match self.kernel.dump_routes() {
            Ok(routes) => routes
                .into_iter()
                .filter(|r| r.metric == metric)
                .map(|r| (r.prefix, r.nexthop_id.unwrap_or(0)))
                .collect(),
            Err(_) => {
                self.reread = true;
                taken.iter().for_each(|p| self.try_later(p, "the table cannot be read"));
                return;
            }
        };
        for prefix in taken {
            match standing.get(prefix) {
                Some(id) => {
                    self.set_have(prefix, Some(*id));
                    self.try_later(prefix, "it was there already");
                }
                None => self.finish(prefix, Err(format!("{FOREIGN} {metric}; remove that route or change our metric"))),
            }
        }
    }

    /// The kernel does not know the object: somebody removed it, or its link died. Otherwise the refusal is final.
    fn settle_orphaned(&mut self, orphaned: Vec<(Prefix, String)>) {
        if orphaned.is_empty() {
            return;
        }
        self.reread |= self.compare_objects().is_err();
        for (prefix, why) in orphaned {
            let present = self.entries.get(&prefix).and_then(|e| e.want).is_some_and(|h| self.is_present(h));
            if present && !self.reread {
                self.finish(&prefix, Err(why));
            } else {
                self.try_later(&prefix, &why);
            }
        }
    }

    fn odd_due(&self) -> usize {
        if self.swept { self.odd.len() } else { 0 }
    }

    fn remove_odd(&mut self) {
        if self.odd_due() == 0 {
            return;
        }
        let odd = std::mem::take(&mut self.odd);
        let ops: Vec<Op> = odd.iter().map(|r| Op::DeleteRoute { prefix: r.prefix, metric: r.metric }).collect();
        // One try: the next full pass sees what is left.
        let _ = self.kernel.apply(&ops);
    }

    // --- objects ---

    fn is_present(&self, handle: Handle) -> bool {
        self.objects.get(handle).is_some_and(|o| o.standing == Standing::Present)
    }

    fn repair_objects(&mut self) {
        let broken = std::mem::take(&mut self.objects.broken);
        let in_use = broken.into_iter().filter(|h| self.objects.get(*h).is_some_and(|o| o.users > 0));
        self.put_objects(&in_use.collect());
    }

    /// Puts objects that do not stand: singles, then groups whose members all stand.
    fn put_objects(&mut self, wanted: &BTreeSet<Handle>) {
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
        for (handle, outcome) in owners.into_iter().zip(self.kernel.apply(&ops)) {
            let Some(object) = self.objects.get_mut(handle) else { continue };
            match outcome {
                Ok(()) => {
                    object.standing = Standing::Present;
                    object.error = None;
                }
                Err(e) => {
                    self.reread |= matches!(e, KernelError::Lost { .. });
                    // Our id is taken, or the object that we replace is gone: read, then try with what is found.
                    let surprise = matches!(e.errno(), Some(libc::EEXIST | libc::ENOENT));
                    stolen |= surprise;
                    object.error = Some((e.to_string(), surprise || e.is_transient()));
                }
            }
        }
        if stolen {
            self.reread |= self.compare_objects().is_err();
        }
    }

    fn remove_garbage(&mut self) {
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
        let ops: Vec<Op> =
            standing.iter().filter_map(|h| self.objects.get(*h)).map(|o| Op::DeleteNexthop(o.id)).collect();
        for (handle, outcome) in standing.into_iter().zip(self.kernel.apply(&ops)) {
            match outcome {
                Err(e) if e.errno() != Some(libc::ENOENT) => {
                    self.reread |= matches!(e, KernelError::Lost { .. });
                    self.objects.suspects.insert(handle);
                }
                _ => self.objects.forget(handle),
            }
        }
    }
}

/// The start of the refusal of a place that another program holds.
const FOREIGN: &str = "another program's route for this prefix stands at our metric";

fn is_foreign_refusal(result: &FibResult) -> bool {
    result.result.as_ref().is_err_and(|e| e.starts_with(FOREIGN))
}
