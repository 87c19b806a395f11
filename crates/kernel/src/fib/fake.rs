//! A kernel in memory, with the manners of the real one that matter: a dead link takes its objects, their groups'
//! memberships and their routes without a word; a route needs its object; ids and places are exclusive; answers get
//! lost. Each manner here is also asserted of the real kernel in `tests/namespace.rs`.

use super::{FibConfig, FibKernel, InstalledRoute, NexthopKind, NexthopObject, Op, ResilientGroup};
use crate::KernelError;
use net_types::{Afi, Prefix};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A route of anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FakeRoute {
    /// Who made it.
    pub protocol: u8,
    /// Its object, if it has one.
    pub nexthop_id: Option<u32>,
}

/// What goes wrong with the next change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Refused with this errno, nothing done.
    Errno(i32),
    /// Done, but the answer is lost.
    LostAnswer,
}

/// The tables of one namespace.
#[derive(Clone, Debug, Default)]
pub struct FakeKernel {
    protocol: u8,
    metric: u32,
    /// Next-hop objects.
    pub nexthops: BTreeMap<u32, NexthopObject>,
    /// Owners of the buckets of resilient groups.
    pub buckets: BTreeMap<u32, Vec<u32>>,
    /// Routes by place.
    pub routes: BTreeMap<(Prefix, u32), FakeRoute>,
    /// Links that are down; all others are up.
    pub down: BTreeSet<u32>,
    /// For the next changes, in order; `None` lets one through.
    pub faults: VecDeque<Option<Fault>>,
    /// Changes carried out.
    pub writes: usize,
    /// [`FibKernel::lookup`] finds nothing, as if more specific routes were in its way.
    pub blind: bool,
    /// What a reading under way has yet to tell: the routes as they were when it began, in pieces of three.
    reading: VecDeque<InstalledRoute>,
}

impl FakeKernel {
    /// An empty kernel.
    pub fn new(config: FibConfig) -> FakeKernel {
        FakeKernel { protocol: config.rtproto, metric: config.metric, ..FakeKernel::default() }
    }

    /// A link goes down: objects on it vanish, groups shrink or vanish, routes without an object vanish. Silently.
    pub fn link_down(&mut self, ifindex: u32) {
        self.down.insert(ifindex);
        let dead = self.nexthops.values().filter(|o| matches!(&o.kind, NexthopKind::Single(h) if h.ifindex == ifindex));
        for id in dead.map(|o| o.id).collect::<Vec<_>>() {
            self.remove_nexthop(id);
        }
    }

    /// A link comes back; nothing else does.
    pub fn link_up(&mut self, ifindex: u32) {
        self.down.remove(&ifindex);
    }

    /// Removes an object as the kernel does it.
    pub fn remove_nexthop(&mut self, id: u32) -> bool {
        if self.nexthops.remove(&id).is_none() {
            return false;
        }
        let (mut emptied, mut changed) = (Vec::new(), Vec::new());
        for object in self.nexthops.values_mut() {
            let (NexthopKind::Group(members) | NexthopKind::Resilient(ResilientGroup { members, .. })) =
                &mut object.kind
            else {
                continue;
            };
            let before = members.len();
            members.retain(|m| m.id != id);
            if members.is_empty() {
                emptied.push(object.id);
            } else if members.len() < before {
                changed.push(object.id);
            }
        }
        self.routes.retain(|_, r| r.nexthop_id != Some(id));
        self.buckets.remove(&id);
        changed.into_iter().for_each(|group| self.balance(group));
        for group in emptied {
            self.remove_nexthop(group);
        }
        true
    }

    /// Which member of a resilient group owns which bucket: what belongs to nobody, and what belongs to one with too many (all are
    /// idle here), goes to those with too few.
    fn balance(&mut self, id: u32) {
        let Some(NexthopKind::Resilient(group)) = self.nexthops.get(&id).map(|o| &o.kind) else { return };
        let owners = self.buckets.entry(id).or_insert_with(|| vec![0; usize::from(group.buckets)]);
        let total = group.members.iter().map(|m| u32::from(m.weight)).sum::<u32>().max(1);
        let (mut sum, mut before) = (0, 0);
        let mut due = BTreeMap::new();
        for member in &group.members {
            sum += u32::from(member.weight);
            let bound = (u32::from(group.buckets) * sum + total / 2) / total;
            due.insert(member.id, bound - before);
            before = bound;
        }
        let mut free = Vec::new();
        for owner in owners.iter_mut() {
            match due.get_mut(owner) {
                Some(left) if *left > 0 => *left -= 1,
                _ => free.push(owner),
            }
        }
        let mut wanting = due.into_iter().flat_map(|(member, left)| (0..left).map(move |_| member));
        free.into_iter().zip(&mut wanting).for_each(|(owner, member)| *owner = member);
    }

    fn one(&mut self, op: &Op) -> Result<(), (i32, &'static str)> {
        match op {
            Op::PutNexthop { object, replace } => self.put_nexthop(object, *replace),
            Op::DeleteNexthop(id) => self.remove_nexthop(*id).then_some(()).ok_or((libc::ENOENT, "")),
            Op::PutRoute { prefix, nexthop_id, replace } => {
                let object = self.nexthops.get(nexthop_id).ok_or((libc::EINVAL, "Nexthop id does not exist"))?;
                let v4_object = match &object.kind {
                    NexthopKind::Group(members) | NexthopKind::Resilient(ResilientGroup { members, .. }) => {
                        members.iter().filter_map(|m| self.nexthops.get(&m.id)).any(|o| o.afi == Some(Afi::IPV4))
                    }
                    _ => object.afi == Some(Afi::IPV4),
                };
                if !prefix.is_v4() && v4_object {
                    return Err((libc::EINVAL, "IPv6 routes can not use an IPv4 nexthop"));
                }
                let place = (*prefix, self.metric);
                if self.routes.contains_key(&place) && !replace {
                    return Err((libc::EEXIST, ""));
                }
                self.routes.insert(place, FakeRoute { protocol: self.protocol, nexthop_id: Some(*nexthop_id) });
                Ok(())
            }
            Op::DeleteRoute { prefix, metric } => match self.routes.get(&(*prefix, *metric)) {
                Some(r) if r.protocol == self.protocol => {
                    self.routes.remove(&(*prefix, *metric));
                    Ok(())
                }
                _ => Err((libc::ESRCH, "")),
            },
        }
    }

    fn put_nexthop(&mut self, object: &NexthopObject, replace: bool) -> Result<(), (i32, &'static str)> {
        match &object.kind {
            NexthopKind::Single(hop) if self.down.contains(&hop.ifindex) => {
                return Err((libc::ENETDOWN, "Nexthop device is not up"));
            }
            NexthopKind::Group(members) | NexthopKind::Resilient(ResilientGroup { members, .. }) => {
                let alive = members.iter().all(|m| self.nexthops.contains_key(&m.id));
                if members.is_empty() || !alive {
                    return Err((libc::EINVAL, "Invalid nexthop id"));
                }
            }
            NexthopKind::Single(_) | NexthopKind::Blackhole | NexthopKind::Other => {}
        }
        if self.nexthops.contains_key(&object.id) && !replace {
            return Err((libc::EEXIST, ""));
        }
        match (&self.nexthops.get(&object.id).map(|o| &o.kind), &object.kind) {
            (Some(NexthopKind::Resilient(old)), NexthopKind::Resilient(new)) if old.buckets != new.buckets => {
                return Err((libc::EINVAL, "Can not change number of buckets of a resilient nexthop group."));
            }
            (Some(NexthopKind::Resilient(_)), NexthopKind::Resilient(_)) | (None, _) => {}
            (Some(NexthopKind::Resilient(_)), _) | (_, NexthopKind::Resilient(_)) => {
                return Err((libc::EINVAL, "Can not replace a nexthop group with one of a different type."));
            }
            _ => {}
        }
        self.nexthops.insert(object.id, object.clone());
        self.balance(object.id);
        Ok(())
    }
}

impl FibKernel for FakeKernel {
    fn dump_nexthops(&mut self) -> Result<Vec<NexthopObject>, KernelError> {
        Ok(self.nexthops.values().cloned().collect())
    }

    fn begin_routes(&mut self) -> Result<(), KernelError> {
        let ours = self.routes.iter().filter(|(_, r)| r.protocol == self.protocol);
        let route = |((prefix, metric), r): (&(Prefix, u32), &FakeRoute)| InstalledRoute {
            prefix: *prefix,
            metric: *metric,
            nexthop_id: r.nexthop_id,
        };
        self.reading = ours.map(route).collect();
        Ok(())
    }

    fn next_routes(&mut self, routes: &mut Vec<InstalledRoute>) -> Result<bool, KernelError> {
        let piece = self.reading.len().min(3);
        routes.extend(self.reading.drain(..piece));
        Ok(!self.reading.is_empty())
    }

    fn lookup(&mut self, prefix: Prefix) -> Result<Option<InstalledRoute>, KernelError> {
        let ours = self.routes.get(&(prefix, self.metric)).filter(|r| r.protocol == self.protocol && !self.blind);
        Ok(ours.map(|r| InstalledRoute { prefix, metric: self.metric, nexthop_id: r.nexthop_id }))
    }

    fn apply(&mut self, ops: &[Op]) -> Vec<(usize, KernelError)> {
        let mut failures = Vec::new();
        for (i, op) in ops.iter().enumerate() {
            let what = format!("{op:?}");
            let failure = match self.faults.pop_front().flatten() {
                Some(Fault::Errno(errno)) => Some(KernelError::refused(what, errno, "injected")),
                Some(Fault::LostAnswer) => {
                    let _ = self.one(op);
                    Some(KernelError::Lost { what })
                }
                None => {
                    self.writes += 1;
                    self.one(op).err().map(|(errno, text)| KernelError::refused(what, errno, text))
                }
            };
            failures.extend(failure.map(|e| (i, e)));
        }
        failures
    }
}
