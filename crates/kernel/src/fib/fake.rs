//! A kernel in memory, with the manners of the real one that matter: a dead link takes its objects, their groups'
//! memberships and their routes without a word; a route needs its object; ids and places are exclusive; answers get
//! lost. Each manner here is also asserted of the real kernel in `tests/namespace.rs`.

use super::{FibConfig, FibKernel, InstalledRoute, NexthopKind, NexthopObject, Op};
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
        let mut emptied = Vec::new();
        for object in self.nexthops.values_mut() {
            if let NexthopKind::Group(members) = &mut object.kind {
                members.retain(|m| m.id != id);
                if members.is_empty() {
                    emptied.push(object.id);
                }
            }
        }
        self.routes.retain(|_, r| r.nexthop_id != Some(id));
        for group in emptied {
            self.remove_nexthop(group);
        }
        true
    }

    fn one(&mut self, op: &Op) -> Result<(), (i32, &'static str)> {
        match op {
            Op::PutNexthop { object, replace } => self.put_nexthop(object, *replace),
            Op::DeleteNexthop(id) => self.remove_nexthop(*id).then_some(()).ok_or((libc::ENOENT, "")),
            Op::PutRoute { prefix, nexthop_id, replace } => {
                let object = self.nexthops.get(nexthop_id).ok_or((libc::EINVAL, "Nexthop id does not exist"))?;
                let v4_object = match &object.kind {
                    NexthopKind::Group(members) => {
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
            NexthopKind::Group(members) => {
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
        self.nexthops.insert(object.id, object.clone());
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
