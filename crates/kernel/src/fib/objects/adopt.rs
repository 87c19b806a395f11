//! What stands in the kernel: taken over at the start, compared later.

use super::{Carrier, Content, Objects, Part, Role, Standing, form};
use crate::fib::RouteTarget;
use crate::nexthop::{NexthopKind, NexthopObject, ResilientGroup};
use net_types::Afi;
use std::collections::{BTreeSet, HashMap};

impl Objects {
    /// Takes over what stands after a restart. Singles before groups, so that members are known.
    pub(in crate::fib) fn adopt(&mut self, dumped: &[NexthopObject]) {
        let (ours, foreign): (Vec<_>, Vec<_>) = dumped.iter().partition(|o| o.protocol == self.config.rtproto);
        self.foreign = foreign.iter().map(|o| o.id).collect();
        self.next_id = ours.iter().fold(self.next_id, |next, o| next.max(o.id.saturating_add(1)));
        let is_group = |o: &&NexthopObject| matches!(o.kind, NexthopKind::Group(_) | NexthopKind::Resilient(_));
        let (groups, singles): (Vec<_>, Vec<_>) = ours.into_iter().partition(is_group);
        let members: BTreeSet<u32> = groups
            .iter()
            .flat_map(|o| match &o.kind {
                NexthopKind::Resilient(group) => group.members.iter().map(|m| m.id).collect(),
                _ => Vec::new(),
            })
            .collect();
        for object in singles {
            let afi = object.afi.unwrap_or(Afi::IPV4);
            let (role, target) = match object.kind {
                NexthopKind::Single(hop) if members.contains(&object.id) => (Role::Member(afi, hop), None),
                NexthopKind::Single(hop) => (Role::Single(afi, hop), Some(RouteTarget::next_hops(vec![hop]))),
                NexthopKind::Blackhole => (Role::Blackhole(afi), Some(RouteTarget::Discard)),
                _ => (Role::Orphan, None),
            };
            let carrier = self.insert(object.id, role, Standing::Present, true);
            let without = !matches!(object.kind, NexthopKind::Single(hop) if hop.gateway.is_some());
            if !matches!(role, Role::Member(..)) {
                self.new_want(carrier, without.then_some(afi), target);
            }
        }
        for object in groups {
            self.adopt_group(object);
        }
    }

    fn adopt_group(&mut self, object: &NexthopObject) {
        if let NexthopKind::Resilient(group) = &object.kind
            && let Some((parts, family)) = self.parts_of(group)
        {
            let carrier = self.insert(object.id, Role::Group, Standing::Present, true);
            parts.iter().for_each(|p| self.hold(p.object));
            let content = Content { parts, timers: (group.idle_timer, group.unbalanced_timer) };
            let target = form::target_of(&content.shape());
            if let Some(object) = self.object_mut(carrier) {
                object.buckets = group.buckets;
                object.members = content;
                object.purpose = Some((target.clone(), family));
            }
            self.new_want(carrier, family, Some(target));
            return;
        }
        // A group that we would not make holds its members: they carry its routes until those are moved.
        let members = match &object.kind {
            NexthopKind::Group(members) => members.as_slice(),
            NexthopKind::Resilient(group) => group.members.as_slice(),
            _ => &[],
        };
        let parts: Vec<Part> = members
            .iter()
            .filter_map(|m| {
                let carrier = self.by_id(m.id)?;
                let (Role::Single(_, hop) | Role::Member(_, hop)) = self.object(carrier)?.role else { return None };
                Some(Part { object: carrier, hop, weight: m.weight })
            })
            .collect();
        let carrier = self.insert(object.id, Role::Orphan, Standing::Present, true);
        parts.iter().for_each(|p| self.hold(p.object));
        if let Some(object) = self.object_mut(carrier) {
            object.members.parts = parts;
        }
        self.new_want(carrier, None, None);
    }

    /// The members of a group that we could have made, and the family of those without a gateway.
    fn parts_of(&self, group: &ResilientGroup) -> Option<(Vec<Part>, Option<Afi>)> {
        let mut family = None;
        let mut parts = Vec::with_capacity(group.members.len());
        for member in &group.members {
            let carrier = self.by_id(member.id)?;
            let Role::Member(afi, hop) = self.object(carrier)?.role else { return None };
            if hop.gateway.is_none() {
                family = Some(afi);
            }
            parts.push(Part { object: carrier, hop, weight: member.weight });
        }
        (!parts.is_empty()).then_some((parts, family))
    }

    /// Compares with a fresh dump and corrects every standing. Returns how many were not as believed, and the objects
    /// that are gone.
    pub(in crate::fib) fn compare(&mut self, dumped: &[NexthopObject]) -> (usize, BTreeSet<Carrier>) {
        let in_kernel: HashMap<u32, &NexthopObject> = dumped.iter().map(|o| (o.id, o)).collect();
        self.foreign = dumped.iter().filter(|o| o.protocol != self.config.rtproto).map(|o| o.id).collect();
        let mut surprises = 0;
        let mut gone = BTreeSet::new();
        let carriers: Vec<Carrier> = self.iter().map(|(c, _)| c).collect();
        for carrier in carriers {
            let Some(object) = self.object(carrier) else { continue };
            let seen = in_kernel.get(&object.id).filter(|o| o.protocol == self.config.rtproto).map(|o| &o.kind);
            let known = self.as_kernel_says(object, &object.members).map(|o| o.kind);
            let aimed = self.meant(carrier).map(|o| o.kind);
            let done = object.goal.is_some() && seen.is_some() && seen != known.as_ref() && seen == aimed.as_ref();
            let standing = match seen {
                None => Standing::Absent,
                Some(_) if object.role == Role::Orphan || done => Standing::Present,
                Some(kind) if Some(kind) == known.as_ref() => Standing::Present,
                Some(_) => Standing::Differs,
            };
            let carries = !matches!(object.role, Role::Member(..));
            if standing == Standing::Absent && object.standing != Standing::Absent && carries {
                gone.insert(carrier);
            }
            surprises += usize::from(standing != object.standing);
            if done {
                self.stands(carrier);
            }
            let stolen = self.object(carrier).is_some_and(|o| self.foreign.contains(&o.id));
            let fresh = stolen.then(|| self.fresh_id());
            let Some(object) = self.all.get_mut(carrier.key()) else { continue };
            object.standing = standing;
            if let Some(id) = fresh {
                self.by_id.remove(&object.id);
                object.id = id;
                self.by_id.insert(id, carrier);
            }
            if standing != Standing::Present {
                self.broken.insert(carrier);
                self.suspects.insert(carrier);
            }
        }
        // Ours by protocol, unknown here: an earlier life's, or somebody playing with our number. They go with the sweep
        // of garbage.
        let unknown: Vec<&NexthopObject> =
            dumped.iter().filter(|o| o.protocol == self.config.rtproto && !self.by_id.contains_key(&o.id)).collect();
        surprises += unknown.len();
        for object in unknown {
            let carrier = self.insert(object.id, Role::Orphan, Standing::Present, false);
            self.new_want(carrier, None, None);
        }
        (surprises, gone)
    }

    /// Unclaimed objects are garbage from now on.
    pub(in crate::fib) fn end_adoption(&mut self) {
        for (key, object) in &mut self.all {
            object.adopted = false;
            self.suspects.insert(Carrier(key as u32));
        }
    }
}
