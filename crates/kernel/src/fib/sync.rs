//! Desired state in, difference out.
//!
//! A want goes: [`FibSync::set`] -> queue -> [`FibSync::flush`]: objects that it needs are put (singles and members, then groups),
//! then routes are written or removed, then unused objects go: make before break. What stands already is acknowledged
//! without a write, and so is what the route's group has become or will become for all its users (`losses.rs`). Refusals by cause: a busy kernel is asked again, a bounded number of times, as is one whose answer
//! is lost; a vanished object is made again; a place held by another program's route is reported and left alone.
//!
//! A prefix that stands as wanted is a [`Cell`] of a few octets and nothing else; an [`Open`] record with everything
//! exists only while something is due, refused or in doubt. Nothing here walks the table in one call, but for one: when an
//! object vanishes, its routes are marked at once, which reads a million cells in some ten milliseconds.
//!
//! Invariants: what is held as standing is what the kernel was last known to hold, never what we hope; nothing without
//! our protocol number is touched; at start nothing is written before everything is read, and nothing removed until
//! [`FibSync::sweep_stale`]. One gap is the kernel's: `NLM_F_REPLACE` does not compare protocols, so if somebody removes
//! our route and puts his own at our very metric, our next change of that prefix before a full pass replaces his.

mod counters;
mod list;
mod losses;
mod nexthops;
mod pass;
mod write;

use super::objects::{Carrier, Handle, Objects, Standing};
use super::table::{Cell, SLICES, State, Table};
use super::{FibConfig, FibKernel, FibResult, Op, RouteTarget};
use crate::KernelError;
pub use counters::FibCounters;
pub use losses::NexthopEntry;
use net_types::Prefix;
use pass::Pass;
use slab::Slab;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Tries of a change that the kernel is too busy for, before it is reported as failed.
const MAX_ATTEMPTS: u8 = 5;
/// Open records that a walk through the table makes at once; what it finds beyond is marked and opened later.
const OPEN_AT_ONCE: usize = 4096;

/// What our route for a prefix points at in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Have {
    Nothing,
    Object(Carrier),
    /// An object that is not ours, or (0) none at all.
    Alien(u32),
}

/// A prefix with which something is to be done, or could not be.
#[derive(Debug)]
struct Open {
    prefix: Prefix,
    cookie: u64,
    want: Option<Handle>,
    have: Have,
    /// The caller of [`FibSync::set`] has no answer yet.
    report: bool,
    stale: bool,
    queued: bool,
    /// The kernel's last answer is lost: it holds `have`, or what we asked for.
    doubt: bool,
    attempts: u8,
    error: Option<Arc<str>>,
}

/// The forwarding table's owner.
#[derive(Debug)]
pub struct FibSync<K> {
    kernel: K,
    config: FibConfig,
    warnings: Vec<String>,
    objects: Objects,
    table: Table,
    open: Slab<Open>,
    queue: VecDeque<u32>,
    /// Cells that are [`State::Missing`].
    missing: usize,
    /// Cells that are [`State::Stale`].
    stale: usize,
    /// Open records in doubt; while there are any, an object that seems unused may have a route.
    doubts: usize,
    /// Where the search for missing and swept cells goes on.
    next_slice: usize,
    /// Routes of ours at a metric of an earlier configuration.
    odd: BTreeSet<(Prefix, u32)>,
    reread: bool,
    results: Vec<FibResult>,
    swept: bool,
    pass: Option<Pass>,
    /// The mark of what the pass under way (or the last one) has met.
    mark: bool,
    /// A pass was given up: marks are mixed.
    muddled: bool,
    /// The table has not been read yet.
    adopting: bool,
    ops: Vec<Op>,
    counters: FibCounters,
}

impl<K: FibKernel> FibSync<K> {
    /// Reads what stands and adopts it: objects and routes of ours stay as they are, stale until claimed by a
    /// [`FibSync::set`] or removed by [`FibSync::sweep_stale`].
    pub fn open(kernel: K, config: FibConfig) -> Result<FibSync<K>, KernelError> {
        let mut sync = FibSync::begin(kernel, config)?;
        while sync.adopting {
            sync.step_pass()?;
        }
        Ok(sync)
    }

    /// As [`FibSync::open`], but routes are read only until it is known whether there are any; the rest is adopted by
    /// [`FibSync::step_pass`]; until [`FibSync::adopting`] is over, nothing is written.
    pub fn begin(mut kernel: K, config: FibConfig) -> Result<FibSync<K>, KernelError> {
        let warnings = kernel.prepare();
        let mut objects = Objects::new(config);
        objects.adopt(&kernel.dump_nexthops()?);
        let mut sync = FibSync {
            config,
            warnings,
            objects,
            table: Table::new(),
            open: Slab::new(),
            queue: VecDeque::new(),
            missing: 0,
            stale: 0,
            doubts: 0,
            next_slice: 0,
            odd: BTreeSet::new(),
            reread: false,
            results: Vec::new(),
            swept: false,
            pass: None,
            mark: false,
            muddled: false,
            adopting: true,
            ops: Vec::new(),
            counters: FibCounters::default(),
            kernel,
        };
        sync.begin_reading()?;
        while sync.adopting && sync.table.len() == 0 {
            sync.step_pass()?;
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

    /// Routes that stood at the start are still being read.
    pub fn adopting(&self) -> bool {
        self.adopting
    }

    /// Prefixes with a want, or with a route of ours in the kernel.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Nothing is wanted, and no route of ours stands.
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// Octets of memory that the table and the open records take.
    pub fn allocated(&self) -> usize {
        self.table.allocated() + self.open.capacity() * size_of::<Open>() + self.queue.capacity() * size_of::<u32>()
    }

    /// Declares what is wanted for a prefix; `None`: nothing. The target is canonical ([`RouteTarget::next_hops`]). The last
    /// word before a flush counts, and its cookie comes back in one [`FibResult`]. If a failed route later succeeds or a
    /// standing one is lost, that is reported with the low half of the cookie.
    pub fn set(&mut self, prefix: Prefix, target: Option<&RouteTarget>, cookie: u64) {
        let state = self.table.get(&prefix).map(Cell::state);
        if let Some(target) = target
            && let Some(State::Settled(old) | State::Stale(old)) = state
            && let Some(handle) = self.objects.stay(old, &prefix, target)
            && handle.index() <= Cell::MAX_HANDLE
        {
            // It stands, or its group will be what is wanted.
            self.objects.take(handle);
            if matches!(state, Some(State::Stale(_))) {
                self.stale -= 1;
                self.objects.give_stale(old);
            } else {
                self.objects.give(old);
            }
            if let Some(cell) = self.table.get_mut(&prefix) {
                cell.set(State::Settled(handle), cookie as u32);
            }
            self.results.push(FibResult { prefix, cookie, result: Ok(()) });
            return;
        }
        let hangs_on = match state {
            Some(State::Open(key)) => self.open.get(key as usize).map(|o| o.have),
            _ => None,
        };
        let on = if let Some(Have::Object(carrier)) = hangs_on { Some(carrier) } else { None };
        let want = target.map(|t| self.objects.claim(&prefix, t, on));
        let key = self.open_record(prefix);
        let Some(open) = self.open.get_mut(key as usize) else { return };
        let before = std::mem::replace(&mut open.want, want);
        open.cookie = cookie;
        open.report = true;
        open.stale = false;
        open.attempts = 0;
        open.error = None;
        if let Some(handle) = before {
            self.objects.give(handle);
        }
        self.enqueue(key);
    }

    /// These are set next: some hundred at a time, it makes setting them cheaper.
    pub fn announce(&self, prefixes: impl Iterator<Item = Prefix>) {
        self.table.warm(prefixes);
    }

    /// Changes that wait for a [`FibSync::flush`]. Stays above zero while the kernel cannot be read.
    pub fn pending(&self) -> usize {
        let due = if self.swept { self.odd.len() + self.stale } else { 0 };
        self.queue.len()
            + self.missing
            + due
            + usize::from(self.reread)
            + self.results.len()
            + self.objects.broken.len()
            + self.objects.moving()
            + self.objects.ready()
    }

    /// Brings up to `max_ops` prefixes to where they are wanted, and says what became of them. Writes nothing while the
    /// routes that stood at the start are still being read.
    pub fn flush(&mut self, max_ops: usize) -> Vec<FibResult> {
        if self.adopting || (self.reread && self.compare_objects().is_err()) {
            return std::mem::take(&mut self.results);
        }
        self.settle_targets();
        self.repair_objects();
        let batch = self.take_batch(max_ops);
        let wanted = batch.iter().filter_map(|key| self.open.get(*key as usize)?.want);
        let needed = wanted.filter(|h| !self.is_present(*h)).filter_map(|h| self.objects.carrier(h)).collect();
        self.put_objects(&needed);
        self.write_routes(&batch);
        self.remove_odd(max_ops);
        if !self.reread && self.doubts == 0 {
            self.remove_garbage();
        }
        if self.open.is_empty() && self.open.capacity() > OPEN_AT_ONCE {
            self.open.shrink_to_fit();
            self.queue.shrink_to_fit();
        }
        std::mem::take(&mut self.results)
    }

    /// After a restart is complete: what is ours and nobody claimed is queued for removal. Returns how many routes
    /// that are, as far as they are read.
    pub fn sweep_stale(&mut self) -> usize {
        let stale: Vec<usize> = self.open.iter().filter(|(_, o)| o.stale).map(|(key, _)| key).collect();
        for key in &stale {
            if let Some(open) = self.open.get_mut(*key) {
                open.stale = false;
            }
            self.enqueue(*key as u32);
        }
        self.swept = true;
        self.objects.end_adoption();
        stale.len() + self.stale + self.odd.len()
    }

    // --- cells and open records ---

    /// The record of a prefix, made of its cell if there is none.
    fn open_record(&mut self, prefix: Prefix) -> u32 {
        let mut open = Open {
            prefix,
            cookie: 0,
            want: None,
            have: Have::Nothing,
            report: false,
            stale: false,
            queued: false,
            doubt: false,
            attempts: 0,
            error: None,
        };
        let (slab, objects) = (&mut self.open, &mut self.objects);
        let on = |objects: &Objects, h| objects.carrier(h).map_or(Have::Nothing, Have::Object);
        let (missing, stale) = (&mut self.missing, &mut self.stale);
        // A reading under way has yet to meet a prefix that we do not know; without one, all are as good as met.
        let unmet = if self.pass.as_ref().is_some_and(Pass::reads) { !self.mark } else { self.mark };
        let mut key = 0;
        self.table.put(&prefix, |cell, fresh| {
            if fresh {
                cell.set_mark(unmet);
            } else {
                match cell.state() {
                    State::Open(there) => return key = there,
                    State::Settled(h) => {
                        (open.want, open.have, open.cookie) = (Some(h), on(objects, h), cell.cookie().into());
                    }
                    State::Stale(h) => {
                        (open.have, open.stale) = (on(objects, h), true);
                        *stale -= 1;
                        objects.give_stale(h);
                    }
                    State::Missing(h) => {
                        (open.want, open.cookie) = (Some(h), cell.cookie().into());
                        *missing -= 1;
                    }
                }
            }
            // Beyond 2^32 records memory is gone long since.
            key = slab.insert(open) as u32;
            cell.set(State::Open(key), 0);
        });
        key
    }

    /// Puts a record back into its cell if that can hold what there is to say. `met`: the kernel has just been asked, so a
    /// reading that is under way knows less.
    fn close_record(&mut self, key: u32, met: bool) {
        let Some(open) = self.open.get(key as usize) else { return };
        let prefix = open.prefix;
        let state = match (open.want, open.have) {
            _ if open.queued || open.error.is_some() || open.doubt => None,
            (Some(want), have) if self.hangs_on(have, want) => Some(State::Settled(want)),
            (None, Have::Object(have)) if open.stale => self.objects.first_target(have).map(State::Stale),
            (None, Have::Nothing) => {
                self.table.remove(&prefix);
                self.open.remove(key as usize);
                if met && let Some(pass) = &mut self.pass {
                    pass.removed(prefix);
                }
                return;
            }
            _ => None,
        };
        let state = state.filter(|s| match s {
            State::Settled(h) | State::Stale(h) => h.index() <= Cell::MAX_HANDLE,
            _ => false,
        });
        if state.is_none() && !met {
            return;
        }
        let (mark, cookie) = (self.mark, open.cookie as u32);
        if let Some(cell) = self.table.get_mut(&prefix) {
            if met {
                cell.set_mark(mark);
            }
            if let Some(state) = state {
                cell.set(state, cookie);
                if let State::Stale(handle) = state {
                    self.stale += 1;
                    self.objects.take_stale(handle);
                }
                self.open.remove(key as usize);
            }
        }
    }

    fn enqueue(&mut self, key: u32) {
        if let Some(open) = self.open.get_mut(key as usize)
            && !open.queued
        {
            open.queued = true;
            self.queue.push_back(key);
        }
    }

    /// What stands in the kernel for a record.
    fn set_have(&mut self, key: u32, have: Have) {
        let Some(open) = self.open.get_mut(key as usize) else { return };
        if std::mem::take(&mut open.doubt) {
            self.doubts -= 1;
        }
        let before = std::mem::replace(&mut open.have, have);
        if let Have::Object(handle) = have {
            self.objects.hold(handle);
        }
        if let Have::Object(handle) = before {
            self.objects.release(handle);
        }
    }

    /// What is due: from the queue, then from the cells that wait.
    fn take_batch(&mut self, max_ops: usize) -> Vec<u32> {
        let waiting = self.missing + self.objects.moving() + if self.swept { self.stale } else { 0 };
        if self.queue.len() < max_ops && waiting > 0 {
            self.open_waiting(max_ops - self.queue.len());
        }
        let count = self.queue.len().min(max_ops);
        let batch: Vec<u32> = self.queue.drain(..count).collect();
        for key in &batch {
            if let Some(open) = self.open.get_mut(*key as usize) {
                open.queued = false;
            }
            self.redirect(*key);
        }
        batch
    }

    /// Queues up to `room` of the cells that are missing, or stale after the sweep, or whose targets move.
    fn open_waiting(&mut self, room: usize) {
        let mut found = Vec::new();
        for _ in 0..SLICES {
            let (swept, objects) = (self.swept, &self.objects);
            self.table.visit(self.next_slice, |prefix, cell| match cell.state() {
                State::Settled(h) if found.len() < room && objects.moves_to(h).is_some() => found.push(prefix),
                State::Missing(_) if found.len() < room => found.push(prefix),
                State::Stale(_) if swept && found.len() < room => found.push(prefix),
                _ => {}
            });
            if found.len() >= room {
                break;
            }
            self.next_slice = (self.next_slice + 1) % SLICES;
        }
        for prefix in found {
            let key = self.open_record(prefix);
            if let Some(open) = self.open.get_mut(key as usize) {
                open.stale = false;
            }
            self.enqueue(key);
        }
    }

    /// A route can hang on the target's object.
    fn is_present(&self, handle: Handle) -> bool {
        self.objects.get(handle).is_some_and(super::objects::Object::usable)
    }

    /// The route points at the object of this target.
    fn hangs_on(&self, have: Have, want: Handle) -> bool {
        matches!(have, Have::Object(carrier) if self.objects.carrier(want) == Some(carrier))
    }

    /// What a route that was written for this target points at.
    fn written_for(&self, want: Option<Handle>) -> Have {
        want.and_then(|h| self.objects.carrier(h)).map_or(Have::Nothing, Have::Object)
    }
}
