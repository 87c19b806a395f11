//! Our next-hop objects, and who uses them.
//!
//! A [`Handle`] names a want: a target on an object. Most objects carry one target; a group carries several while that costs
//! nothing: when it has lost a member it *is* what the RIB asks for next, and it becomes what all its users ask for by one
//! replacement in place (`tenants.rs`). A [`Carrier`] names the object; its id in the kernel stays with it as long as anybody
//! uses it, unless another program has taken it while the object did not stand. The members of groups are objects of
//! their own, which carry no route, so one that goes takes none along.
//!
//! Invariants: an object's `users` = the users of its targets + routes in the kernel that point at it + groups of which it
//! is or is to be a member; at zero it is garbage. A group's `members` are what the kernel was last known to hold, its `goal`
//! what it is to hold if that is something else; both are held until the kernel has said yes.

mod adopt;
mod tenants;
mod wants;

use super::form::{self, Shape};
use super::losses::Losses;
use super::{Afi, FibConfig, Member, NextHop, NexthopKind, NexthopObject, Op, RouteTarget};
use crate::nexthop::ResilientGroup;
use hashbrown::DefaultHashBuilder;
use hashbrown::hash_table::HashTable;
use slab::Slab;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Names a target on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Handle(u32);

impl Handle {
    pub(super) fn from_index(index: u32) -> Handle {
        Handle(index)
    }

    pub(super) fn index(self) -> u32 {
        self.0
    }

    fn key(self) -> usize {
        self.0 as usize
    }
}

/// Names an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Carrier(u32);

impl Carrier {
    fn key(self) -> usize {
        self.0 as usize
    }
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// Routes hang on it directly.
    Single(Afi, NextHop),
    /// Routes hang on it and are dropped.
    Blackhole(Afi),
    /// In groups only.
    Member(Afi, NextHop),
    /// Routes hang on it; resilient.
    Group,
    /// Found at start, of a content that we would not make: it only waits for its routes to go.
    Orphan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not in the kernel.
    Absent,
    /// In the kernel, as known here.
    Present,
    /// In the kernel with another content.
    Differs,
}

/// A target that prefixes want on an object.
#[derive(Debug)]
pub(super) struct Want {
    /// `None` for what hangs on an orphan.
    pub(super) target: Option<RouteTarget>,
    /// Of the prefixes, if that makes a difference.
    family: Option<Afi>,
    pub(super) carrier: Carrier,
    /// Prefixes that want it, and stale routes.
    pub(super) users: usize,
    /// Of these, stale routes.
    stale: usize,
    /// The group is not yet what this target asks for.
    pub(super) waits: bool,
    /// Its prefixes are to go over to that one.
    pub(super) moves_to: Option<Handle>,
}

/// A member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) object: Carrier,
    pub(super) hop: NextHop,
    pub(super) weight: u16,
}

/// What a group holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) parts: Vec<Part>,
    /// `idle_timer` and `unbalanced_timer`.
    timers: (u32, u32),
}

impl Content {
    pub(super) fn shape(&self) -> Shape {
        self.parts.iter().map(|p| (p.hop, p.weight)).collect()
    }
}

#[derive(Debug)]
pub(super) struct Object {
    pub(super) id: u32,
    pub(super) role: Role,
    /// What a group is for, whatever of it is lost at the moment, and the family of its members without a gateway.
    pub(super) purpose: Option<(RouteTarget, Option<Afi>)>,
    pub(super) buckets: u16,
    /// What the kernel was last known to hold.
    pub(super) members: Content,
    /// What it is to hold, if that is something else.
    pub(super) goal: Option<Content>,
    pub(super) tenants: Vec<Handle>,
    pub(super) users: usize,
    pub(super) standing: Standing,
    /// Why it could not be put, and whether another try may help at once.
    pub(super) error: Option<(Arc<str>, bool)>,
    /// Found at start and not claimed: kept until the sweep.
    adopted: bool,
}

impl Object {
    /// A route can hang on it.
    pub(super) fn usable(&self) -> bool {
        match self.standing {
            Standing::Present => true,
            Standing::Differs => self.role == Role::Group,
            Standing::Absent => false,
        }
    }

    /// It stands as it should.
    pub(super) fn well(&self) -> bool {
        self.standing == Standing::Present && self.goal.is_none()
    }

    /// What it will hold when all is done.
    pub(super) fn content(&self) -> &Content {
        self.goal.as_ref().unwrap_or(&self.members)
    }
}

#[derive(Debug)]
pub(super) struct Objects {
    config: FibConfig,
    all: Slab<Object>,
    wants: Slab<Want>,
    by_target: HashTable<Handle>,
    hasher: DefaultHashBuilder,
    by_id: HashMap<u32, Carrier>,
    by_role: HashMap<Role, Carrier>,
    /// The last target claimed for an IPv4 and for an IPv6 route: most claims are for the same again.
    last: [Option<Handle>; 2],
    foreign: BTreeSet<u32>,
    next_id: u32,
    pub(super) losses: Losses,
    /// Objects whose users may have gone to zero.
    pub(super) suspects: BTreeSet<Carrier>,
    /// Objects in use that do not stand as meant.
    pub(super) broken: BTreeSet<Carrier>,
    /// Groups whose targets are not all met by what they are.
    unsettled: BTreeSet<Carrier>,
    /// Targets whose prefixes are to go over to others.
    moving: BTreeSet<Handle>,
    /// Prefixes that stayed on a group that is not yet what they want, ever.
    pub(super) held: u64,
}

impl Objects {
    pub(super) fn new(config: FibConfig) -> Objects {
        Objects {
            config,
            all: Slab::new(),
            wants: Slab::new(),
            by_target: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            by_id: HashMap::new(),
            by_role: HashMap::new(),
            last: [None; 2],
            foreign: BTreeSet::new(),
            next_id: config.nexthop_id_base,
            losses: Losses::default(),
            suspects: BTreeSet::new(),
            broken: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            moving: BTreeSet::new(),
            held: 0,
        }
    }

    pub(super) fn object(&self, carrier: Carrier) -> Option<&Object> {
        self.all.get(carrier.key())
    }

    pub(super) fn object_mut(&mut self, carrier: Carrier) -> Option<&mut Object> {
        self.all.get_mut(carrier.key())
    }

    pub(super) fn want(&self, handle: Handle) -> Option<&Want> {
        self.wants.get(handle.key())
    }

    pub(super) fn carrier(&self, handle: Handle) -> Option<Carrier> {
        self.want(handle).map(|w| w.carrier)
    }

    /// The object that carries a target.
    pub(super) fn get(&self, handle: Handle) -> Option<&Object> {
        self.object(self.carrier(handle)?)
    }

    pub(super) fn by_id(&self, id: u32) -> Option<Carrier> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn target(&self, handle: Handle) -> Option<&RouteTarget> {
        self.want(handle)?.target.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Carrier, &Object)> {
        self.all.iter().map(|(key, object)| (Carrier(key as u32), object))
    }

    pub(super) fn is_group(&self, carrier: Carrier) -> bool {
        self.object(carrier).is_some_and(|o| o.role == Role::Group)
    }

    /// The singles and members that send to one of these links and stand as far as we know.
    pub(super) fn on_links(&self, links: &[u32]) -> Vec<Carrier> {
        let sends = |o: &Object| match o.role {
            Role::Single(_, hop) | Role::Member(_, hop) => links.contains(&hop.ifindex),
            _ => false,
        };
        self.iter().filter(|(_, o)| o.standing != Standing::Absent && sends(o)).map(|(c, _)| c).collect()
    }

    /// Member objects of these hops that stand as far as we know.
    pub(super) fn members_of(&self, hops: &[NextHop]) -> Vec<Carrier> {
        let of = |o: &Object| matches!(o.role, Role::Member(_, hop) if hops.contains(&hop));
        self.iter().filter(|(_, o)| o.standing != Standing::Absent && of(o)).map(|(c, _)| c).collect()
    }

    /// No group needs the member: each has something better, or does without it anyway.
    pub(super) fn dispensable(&self, member: Carrier) -> bool {
        let Some(Role::Member(_, hop)) = self.object(member).map(|o| o.role) else { return false };
        let holds = |o: &&Object| o.members.parts.iter().any(|p| p.object == member);
        let better = |o: &Object| {
            let left = o.members.parts.iter().map(|p| p.hop);
            let wanted = o.purpose.iter().flat_map(|(target, _)| target.hops());
            let level = self.losses.level(&hop);
            left.clone().any(|h| h != hop) && left.chain(wanted).any(|h| self.losses.level(&h) < level)
        };
        self.iter().map(|(_, o)| o).filter(holds).all(better)
    }

    /// What a group is to hold and does not stand.
    pub(super) fn missing_members(&self, group: Carrier) -> Vec<Carrier> {
        let parts = self.object(group).map(|o| o.content().parts.as_slice()).unwrap_or_default();
        let absent = |c: &Carrier| self.object(*c).is_some_and(|o| o.standing != Standing::Present);
        parts.iter().map(|p| p.object).filter(absent).collect()
    }

    /// The targets on these objects.
    pub(super) fn targets_on(&self, carriers: &BTreeSet<Carrier>) -> HashSet<Handle> {
        carriers.iter().filter_map(|c| self.object(*c)).flat_map(|o| o.tenants.iter().copied()).collect()
    }

    /// Any target on an object, for a route that stands and whose target nobody has said yet.
    pub(super) fn first_target(&self, carrier: Carrier) -> Option<Handle> {
        self.object(carrier)?.tenants.first().copied()
    }

    /// The one object of a role that there is one of.
    fn ensure(&mut self, role: Role) -> Carrier {
        self.by_role.get(&role).copied().unwrap_or_else(|| self.make(role))
    }

    fn make(&mut self, role: Role) -> Carrier {
        let id = self.fresh_id();
        self.insert(id, role, Standing::Absent, false)
    }

    fn insert(&mut self, id: u32, role: Role, standing: Standing, adopted: bool) -> Carrier {
        let entry = self.all.insert(Object {
            id,
            role,
            purpose: None,
            buckets: 0,
            members: Content::default(),
            goal: None,
            tenants: Vec::new(),
            users: 0,
            standing,
            error: None,
            adopted,
        });
        // Beyond 2^32 objects memory is gone long since.
        let carrier = Carrier(entry as u32);
        if !matches!(role, Role::Group | Role::Orphan) {
            self.by_role.entry(role).or_insert(carrier);
        }
        self.by_id.insert(id, carrier);
        self.suspects.insert(carrier);
        carrier
    }

    fn fresh_id(&mut self) -> u32 {
        loop {
            let id = self.next_id;
            self.next_id = self.next_id.checked_add(1).unwrap_or(self.config.nexthop_id_base.max(1));
            if id != 0 && !self.by_id.contains_key(&id) && !self.foreign.contains(&id) {
                return id;
            }
        }
    }

    /// A route in the kernel, or a group, more.
    pub(super) fn hold(&mut self, carrier: Carrier) {
        if let Some(object) = self.all.get_mut(carrier.key()) {
            object.users += 1;
        }
    }

    /// A route in the kernel, or a group, less.
    pub(super) fn release(&mut self, carrier: Carrier) {
        if let Some(object) = self.all.get_mut(carrier.key()) {
            object.users = object.users.saturating_sub(1);
            if object.users == 0 {
                self.suspects.insert(carrier);
            }
        }
    }

    /// Sees to it that a group becomes what it is for, as far as that is not lost.
    pub(super) fn reconsider(&mut self, carrier: Carrier) {
        let Some(object) = self.all.get(carrier.key()).filter(|o| o.role == Role::Group && o.users > 0) else { return };
        let Some((purpose, family)) = object.purpose.clone() else { return };
        let (shape, timers) = (form::shape(&self.losses.left_of(&purpose)), form::timers(&purpose));
        let shares = form::shares(&shape, object.buckets);
        let is =
            |content: &Content| content.timers == timers && form::shares(&content.shape(), object.buckets) == shares;
        let old = if object.standing != Standing::Absent && is(&object.members) {
            None
        } else if object.goal.as_ref().is_some_and(is) {
            self.broken.insert(carrier);
            return;
        } else {
            let mut parts = Vec::with_capacity(shape.len());
            for (hop, weight) in shape {
                let member = self.ensure(Role::Member(hop_family(&hop, family), hop));
                self.hold(member);
                parts.push(Part { object: member, hop, weight });
            }
            self.broken.insert(carrier);
            Some(Content { parts, timers })
        };
        let before = self.all.get_mut(carrier.key()).and_then(|o| std::mem::replace(&mut o.goal, old));
        self.release_parts(before);
    }

    /// As [`Objects::reconsider`], after losses and returns.
    pub(super) fn reconsider_all(&mut self) {
        let groups: Vec<Carrier> = self.iter().filter(|(_, o)| o.role == Role::Group).map(|(c, _)| c).collect();
        for group in groups {
            self.judge(group, false);
            self.reconsider(group);
        }
    }

    fn release_parts(&mut self, content: Option<Content>) {
        for part in content.into_iter().flat_map(|c| c.parts) {
            self.release(part.object);
        }
    }

    /// The kernel took the object as meant.
    pub(super) fn stands(&mut self, carrier: Carrier) {
        let Some(object) = self.all.get_mut(carrier.key()) else { return };
        object.standing = Standing::Present;
        object.error = None;
        let before = object.goal.take().map(|goal| std::mem::replace(&mut object.members, goal));
        self.release_parts(before);
    }

    /// A single or a member is out of the kernel, and so out of every group. Adds what carried routes and is gone.
    pub(super) fn vanished(&mut self, carrier: Carrier, gone: &mut BTreeSet<Carrier>) {
        let Some(object) = self.all.get_mut(carrier.key()) else { return };
        if std::mem::replace(&mut object.standing, Standing::Absent) == Standing::Absent {
            return;
        }
        if !matches!(object.role, Role::Member(..)) {
            gone.insert(carrier);
        }
        let mut left = 0;
        for (key, group) in self.all.iter_mut().filter(|(_, o)| o.role == Role::Group) {
            let before = group.members.parts.len();
            group.members.parts.retain(|p| p.object != carrier);
            left += before - group.members.parts.len();
            let emptied = before > 0 && group.members.parts.is_empty();
            if emptied && group.standing != Standing::Absent {
                group.standing = Standing::Absent;
                gone.insert(Carrier(key as u32));
            }
        }
        (0..left).for_each(|_| self.release(carrier));
        if self.all.get(carrier.key()).is_some_and(|o| o.users > 0) {
            self.broken.insert(carrier);
        }
    }

    /// The object as it should stand in the kernel.
    pub(super) fn meant(&self, carrier: Carrier) -> Option<NexthopObject> {
        let object = self.object(carrier)?;
        self.as_kernel_says(object, object.content())
    }

    fn as_kernel_says(&self, object: &Object, content: &Content) -> Option<NexthopObject> {
        let (afi, kind) = match object.role {
            Role::Orphan => (None, NexthopKind::Other),
            Role::Blackhole(afi) => (Some(afi), NexthopKind::Blackhole),
            Role::Single(afi, hop) | Role::Member(afi, hop) => (Some(afi), NexthopKind::Single(hop)),
            Role::Group => {
                let member = |p: &Part| Some(Member { id: self.object(p.object)?.id, weight: p.weight });
                let (idle_timer, unbalanced_timer) = content.timers;
                let members = content.parts.iter().filter_map(member).collect();
                let group = ResilientGroup { members, buckets: object.buckets, idle_timer, unbalanced_timer };
                (None, NexthopKind::Resilient(group))
            }
        };
        Some(NexthopObject { id: object.id, protocol: self.config.rtproto, afi, kind })
    }

    /// The change that makes it stand, if it does not.
    pub(super) fn put(&self, carrier: Carrier) -> Option<Op> {
        let object = self.object(carrier)?;
        if object.role == Role::Orphan || object.well() {
            return None;
        }
        Some(Op::PutNexthop { object: self.meant(carrier)?, replace: object.standing != Standing::Absent })
    }

    /// Garbage: nobody uses it. Groups come first, so their members become garbage in the next round.
    pub(super) fn garbage(&mut self) -> Vec<Carrier> {
        let suspects = std::mem::take(&mut self.suspects);
        let mut garbage = Vec::new();
        for carrier in suspects {
            let Some(object) = self.all.get(carrier.key()) else { continue };
            if object.adopted {
                self.suspects.insert(carrier);
                continue;
            }
            let unused = |h: &Handle| self.wants.get(h.key()).is_none_or(|w| w.users == 0);
            let idle: Vec<Handle> = object.tenants.iter().copied().filter(unused).collect();
            if object.users == 0 {
                garbage.push(carrier);
            } else if idle.len() < object.tenants.len() {
                idle.into_iter().for_each(|h| self.forget_want(h));
            } else if !idle.is_empty() {
                // Routes are on their way off it; one of its targets may be asked for again.
                self.suspects.insert(carrier);
            }
        }
        garbage
    }

    /// Forgets an object that is out of the kernel.
    pub(super) fn forget(&mut self, carrier: Carrier) {
        let Some(object) = self.all.get_mut(carrier.key()) else { return };
        for tenant in std::mem::take(&mut object.tenants) {
            self.forget_want(tenant);
        }
        let Some(object) = self.all.try_remove(carrier.key()) else { return };
        self.by_id.remove(&object.id);
        if self.by_role.get(&object.role) == Some(&carrier) {
            self.by_role.remove(&object.role);
        }
        self.broken.remove(&carrier);
        self.suspects.remove(&carrier);
        self.unsettled.remove(&carrier);
        self.release_parts(Some(object.members));
        self.release_parts(object.goal);
    }
}

/// The family of the object for a hop: its gateway's, or that of the prefixes.
fn hop_family(hop: &NextHop, prefixes: Option<Afi>) -> Afi {
    match hop.gateway {
        Some(gateway) if gateway.is_ipv4() => Afi::IPV4,
        Some(_) => Afi::IPV6,
        None => prefixes.unwrap_or(Afi::IPV4),
    }
}
