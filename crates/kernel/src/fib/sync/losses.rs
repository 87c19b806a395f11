//! Next hops that are lost, and that return.
//!
//! The way of a cut fibre: [`FibSync::hops_lost`] or [`FibSync::links_lost`] -> `RTM_DELNEXTHOP` of the hop's member objects, and
//! the kernel moves the buckets of every group that held them, before this call returns. What the groups are then is known
//! here without a look at the kernel; the RIB's next wants for just that cost nothing (`objects/tenants.rs`). What
//! returns is put again with the next [`FibSync::flush`]: first the member, then the group in place, so nothing is lost.
//!
//! Invariants: a member is not deleted while it is the last of a group, unless its link is dead, when the kernel does it
//! anyway; no route is touched here, and none walked over, unless it went with its object.

use super::{Carrier, Cell, FibSync, Handle, Have, Standing, State};
use crate::fib::losses::{Level, LossReason};
use crate::fib::objects::Role;
use crate::fib::target::WeightedHop;
use crate::fib::{FibKernel, NextHop, Op, form};
use net_types::Prefix;
use std::collections::BTreeSet;

/// A line of `show next-hops`: an object in the kernel, or one that should be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NexthopEntry {
    /// The kernel's id.
    pub id: u32,
    /// single, group, member, discard, unknown.
    pub form: &'static str,
    /// Where it sends now, with the weights as they are asked for.
    pub active: Vec<WeightedHop>,
    /// Which takes over when the active ones are lost.
    pub backup: Option<NextHop>,
    /// Next hops of what it is for that are lost, and why.
    pub lost: Vec<(NextHop, Vec<LossReason>)>,
    /// Routes that use it; of a member, groups.
    pub users: usize,
    /// It stands in the kernel as it should.
    pub present: bool,
    /// The last refusal.
    pub error: Option<String>,
}

impl<K: FibKernel> FibSync<K> {
    /// These next hops are not to be used. Each may be lost for several reasons; it is back when the last one is gone.
    pub fn hops_lost(&mut self, hops: &[NextHop], reason: LossReason) {
        let losses = &mut self.objects.losses;
        let fresh: Vec<NextHop> = hops.iter().copied().filter(|h| losses.lose(*h, reason)).collect();
        if fresh.is_empty() {
            return;
        }
        let members = self.objects.members_of(&fresh);
        let doomed = members.into_iter().filter(|m| self.objects.dispensable(*m)).collect();
        self.delete_members(doomed);
    }

    /// This reason is gone. Groups take the hop up again with the next [`FibSync::flush`].
    pub fn hops_returned(&mut self, hops: &[NextHop], reason: LossReason) {
        let losses = &mut self.objects.losses;
        if hops.iter().filter(|h| losses.regain(**h, reason)).count() > 0 {
            self.objects.reconsider_all();
        }
    }

    /// Links went down. The kernel drops their objects and IPv4 routes silently, and after a carrier loss up to a second
    /// late: we do not wait for that but remove the objects, one message each, which also takes them out of every group. Then
    /// objects are read again, and what is gone is queued.
    pub fn links_lost(&mut self, links: &[u32]) {
        links.iter().for_each(|l| self.objects.losses.lose_link(*l));
        self.delete_members(self.objects.on_links(links));
        self.look_again();
    }

    /// Links are up again. What has no other way is tried at once; groups with another one wait for
    /// [`FibSync::links_returned`].
    pub fn links_up(&mut self, links: &[u32]) {
        links.iter().for_each(|l| self.objects.losses.link_up(*l));
        self.objects.reconsider_all();
        self.look_again();
    }

    /// Links are up to stay.
    pub fn links_returned(&mut self, links: &[u32]) {
        links.iter().for_each(|l| self.objects.losses.regain_link(*l));
        self.objects.reconsider_all();
        self.look_again();
    }

    /// Somebody changed objects of ours: they are read again and put right with the next [`FibSync::flush`]. How many were
    /// not as believed.
    pub fn objects_changed(&mut self) -> usize {
        self.compare_objects().map_or(0, |(surprises, _)| surprises)
    }

    /// Somebody removed routes of ours: those that are wanted are written again with the next [`FibSync::flush`]. How many.
    pub fn routes_removed(&mut self, prefixes: &[Prefix]) -> usize {
        let mut missing = 0;
        for prefix in prefixes {
            // Anything but settled is being seen to.
            if !matches!(self.table.get(prefix).map(Cell::state), Some(State::Settled(_))) {
                continue;
            }
            missing += 1;
            let key = self.open_record(*prefix);
            self.set_have(key, Have::Nothing);
            self.enqueue(key);
        }
        missing
    }

    fn look_again(&mut self) {
        if self.compare_objects().is_err() {
            self.reread = true;
        }
        self.retry_failed();
    }

    fn delete_members(&mut self, doomed: Vec<Carrier>) {
        let ops: Vec<Op> =
            doomed.iter().filter_map(|c| self.objects.object(*c)).map(|o| Op::DeleteNexthop(o.id)).collect();
        self.counters.count(&ops);
        let mut failures = if ops.is_empty() { Vec::new() } else { self.kernel.apply(&ops) }.into_iter().peekable();
        let mut gone = BTreeSet::new();
        for (i, carrier) in doomed.into_iter().enumerate() {
            match failures.next_if(|(failed, _)| *failed == i) {
                // Busy, or the answer is lost: the reading tells, and the group is replaced.
                Some((_, e)) if e.errno() != Some(libc::ENOENT) => self.reread = true,
                _ => self.objects.vanished(carrier, &mut gone),
            }
        }
        self.objects.reconsider_all();
        if !gone.is_empty() {
            self.lose_routes(&gone);
        }
        if !self.adopting && !self.reread {
            // Groups that could not simply lose it.
            self.repair_objects();
        }
    }

    /// Before a flush: groups that may become what all their users want by now, and those whose users part.
    pub(super) fn settle_targets(&mut self) {
        let open = &self.open;
        self.objects.settle(|objects, carrier| {
            let hangs = |have| matches!(have, Have::Object(c) if c == carrier);
            let elsewhere = |want: Option<Handle>| want.and_then(|h| objects.carrier(h)) != Some(carrier);
            open.iter().any(|(_, o)| o.queued && hangs(o.have) && elsewhere(o.want))
        });
        if self.objects.moving() > 0 {
            let moves = |want: Option<Handle>| want.is_some_and(|h| self.objects.moves_to(h).is_some());
            let open: Vec<u32> = self.open.iter().filter(|(_, o)| moves(o.want)).map(|(key, _)| key as u32).collect();
            for key in open {
                self.redirect(key);
                self.enqueue(key);
            }
        }
    }

    /// Prefixes wait on their groups for others to ask for the same, so that one message does for all.
    pub fn waiting(&self) -> bool {
        self.objects.waiting() && self.is_claimed()
    }

    /// Counts up while prefixes join those that wait.
    pub fn held(&self) -> u64 {
        self.objects.held
    }

    /// Ends the waiting: where users of one group want different things, the fewer get routes to another one.
    pub fn part(&mut self) {
        if self.is_claimed() {
            self.objects.part();
        }
    }

    /// No route of an earlier life waits to be claimed, so what a group's users want is all that hangs on it. At a cold start
    /// there never was one, and nobody sweeps.
    fn is_claimed(&self) -> bool {
        !self.adopting && (self.swept || self.stale == 0 && !self.open.iter().any(|(_, o)| o.stale))
    }

    /// A record whose target moves wants where that moves to.
    pub(super) fn redirect(&mut self, key: u32) {
        let Some(open) = self.open.get_mut(key as usize) else { return };
        if let Some(old) = open.want
            && let Some(new) = self.objects.moves_to(old)
        {
            open.want = Some(new);
            self.objects.take(new);
            self.objects.give(old);
        }
    }

    /// Every object.
    pub fn nexthops(&self) -> Vec<NexthopEntry> {
        let losses = &self.objects.losses;
        let mut entries: Vec<NexthopEntry> = Vec::new();
        for (_, object) in self.objects.iter() {
            let purpose = object.purpose.as_ref().map(|(target, _)| target.clone());
            let now = form::target_of(&object.members.shape());
            let (form, active, backup, hops) = match object.role {
                Role::Single(_, hop) => ("single", vec![WeightedHop { hop, weight: 1 }], None, vec![hop]),
                Role::Member(_, hop) => ("member", vec![WeightedHop { hop, weight: 1 }], None, vec![hop]),
                Role::Blackhole(_) => ("discard", Vec::new(), None, Vec::new()),
                Role::Orphan => ("unknown", Vec::new(), None, Vec::new()),
                Role::Group => {
                    let hops = purpose.as_ref().unwrap_or(&now).hops().collect();
                    ("group", now.active().to_vec(), now.backup(), hops)
                }
            };
            let lost = hops.into_iter().filter(|h| losses.level(h) != Level::Well).map(|h| (h, losses.reasons(&h)));
            let routes = object.tenants.iter().filter_map(|h| self.objects.want(*h)).map(|w| w.users).sum();
            let users = if matches!(object.role, Role::Member(..)) { object.users } else { routes };
            entries.push(NexthopEntry {
                id: object.id,
                form,
                active: if object.members.parts.is_empty() && object.role == Role::Group { Vec::new() } else { active },
                backup,
                lost: lost.collect(),
                users,
                present: object.well() && object.standing != Standing::Absent,
                error: object.error.as_ref().map(|(why, _)| why.to_string()),
            });
        }
        entries.sort_by_key(|e| e.id);
        entries
    }
}
