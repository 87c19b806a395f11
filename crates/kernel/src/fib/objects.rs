//! Our next-hop objects: one per distinct target, counted by who uses it.
//!
//! A [`Handle`] names an object here and never changes; the kernel's id may, when another program has taken it.
//! Invariant: `users` = routes that want the object + routes in the kernel that point at it + groups of which it is a
//! member; at zero it is garbage.

use super::{Afi, FibConfig, Member, NextHop, NexthopKind, NexthopObject, Op, RouteTarget, object_family};
use net_types::Prefix;
use std::collections::{BTreeMap, BTreeSet, HashMap};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Handle(u32);

/// What an object is for. Singles and blackholes have a family; a group leads to the set of its members.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// `None` for a group.
    afi: Option<Afi>,
    /// The family of its device-only members differs by the routes that use a group.
    device_afi: Option<Afi>,
    target: RouteTarget,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not in the kernel.
    Absent,
    /// In the kernel, as meant.
    Present,
    /// In the kernel with another content: a group that lost a member.
    Differs,
}

#[derive(Debug)]
pub(super) struct Object {
    pub(super) id: u32,
    /// `None` for an adopted object of a content that we would not make: it only waits for its routes to go.
    key: Option<Key>,
    pub(super) members: Vec<Handle>,
    pub(super) users: usize,
    pub(super) standing: Standing,
    /// Why it could not be put, and whether another try may help at once.
    pub(super) error: Option<(String, bool)>,
    /// Found at start and not claimed: kept until the sweep.
    adopted: bool,
}

#[derive(Debug)]
pub(super) struct Objects {
    config: FibConfig,
    all: BTreeMap<Handle, Object>,
    by_key: HashMap<Key, Handle>,
    by_id: HashMap<u32, Handle>,
    foreign: BTreeSet<u32>,
    next_handle: u32,
    next_id: u32,
    /// Objects whose users may have gone to zero.
    pub(super) suspects: BTreeSet<Handle>,
    /// Objects in use that do not stand as meant.
    pub(super) broken: BTreeSet<Handle>,
}

impl Objects {
    pub(super) fn new(config: FibConfig) -> Objects {
        Objects {
            config,
            all: BTreeMap::new(),
            by_key: HashMap::new(),
            by_id: HashMap::new(),
            foreign: BTreeSet::new(),
            next_handle: 0,
            next_id: config.nexthop_id_base,
            suspects: BTreeSet::new(),
            broken: BTreeSet::new(),
        }
    }

    pub(super) fn get(&self, handle: Handle) -> Option<&Object> {
        self.all.get(&handle)
    }

    pub(super) fn get_mut(&mut self, handle: Handle) -> Option<&mut Object> {
        self.all.get_mut(&handle)
    }

    pub(super) fn by_id(&self, id: u32) -> Option<Handle> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn target(&self, handle: Handle) -> Option<&RouteTarget> {
        self.get(handle)?.key.as_ref().map(|k| &k.target)
    }

    /// Handles of all objects that send to one of these links.
    pub(super) fn uses_any(&self, links: &[u32]) -> bool {
        self.all.values().filter_map(|o| o.key.as_ref()).any(|k| match &k.target {
            RouteTarget::NextHops(hops) => hops.iter().any(|h| links.contains(&h.ifindex)),
            RouteTarget::Discard => false,
        })
    }

    /// True if an object in use does not stand as meant.
    pub(super) fn any_unwell(&self) -> bool {
        self.all.values().any(|o| o.users > 0 && o.standing != Standing::Present)
    }

    pub(super) fn is_group(&self, handle: Handle) -> bool {
        self.get(handle).is_some_and(|o| !o.members.is_empty())
    }

    /// The object for a target of a route of `prefix`, new if there is none; counts the caller as a user.
    pub(super) fn claim(&mut self, prefix: &Prefix, target: &RouteTarget) -> Handle {
        let handle = match target {
            RouteTarget::NextHops(hops) if hops.len() > 1 => self.claim_group(prefix, hops),
            RouteTarget::NextHops(hops) => {
                let afi = Some(object_family(prefix, hops.first()));
                self.find_or_make(Key { afi, device_afi: None, target: target.clone() }, Vec::new())
            }
            RouteTarget::Discard => {
                let afi = Some(object_family(prefix, None));
                self.find_or_make(Key { afi, device_afi: None, target: RouteTarget::Discard }, Vec::new())
            }
        };
        self.hold(handle);
        if let Some(object) = self.all.get_mut(&handle) {
            object.adopted = false;
        }
        handle
    }

    fn claim_group(&mut self, prefix: &Prefix, hops: &[NextHop]) -> Handle {
        let device_afi = hops.iter().any(|h| h.gateway.is_none()).then(|| object_family(prefix, None));
        let key = Key { afi: None, device_afi, target: RouteTarget::NextHops(hops.to_vec()) };
        if let Some(handle) = self.by_key.get(&key) {
            return *handle;
        }
        // The group itself is the user of its members.
        let members = hops.iter().map(|h| self.claim(prefix, &RouteTarget::NextHops(vec![*h]))).collect::<Vec<_>>();
        self.find_or_make(key, members)
    }

    fn find_or_make(&mut self, key: Key, members: Vec<Handle>) -> Handle {
        if let Some(handle) = self.by_key.get(&key) {
            return *handle;
        }
        let id = self.fresh_id();
        self.insert(id, Some(key), members, Standing::Absent, false)
    }

    fn insert(&mut self, id: u32, key: Option<Key>, members: Vec<Handle>, standing: Standing, adopted: bool) -> Handle {
        let handle = Handle(self.next_handle);
        self.next_handle = self.next_handle.wrapping_add(1);
        if let Some(key) = &key {
            self.by_key.insert(key.clone(), handle);
        }
        self.by_id.insert(id, handle);
        self.all.insert(handle, Object { id, key, members, users: 0, standing, error: None, adopted });
        self.suspects.insert(handle);
        handle
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

    pub(super) fn hold(&mut self, handle: Handle) {
        if let Some(object) = self.all.get_mut(&handle) {
            object.users += 1;
        }
    }

    pub(super) fn release(&mut self, handle: Handle) {
        if let Some(object) = self.all.get_mut(&handle) {
            object.users = object.users.saturating_sub(1);
            if object.users == 0 {
                self.suspects.insert(handle);
            }
        }
    }

    /// Takes over what stands after a restart. Singles before groups, so that members are known.
    pub(super) fn adopt(&mut self, dumped: &[NexthopObject]) {
        let (ours, foreign): (Vec<_>, Vec<_>) = dumped.iter().partition(|o| o.protocol == self.config.rtproto);
        self.foreign = foreign.iter().map(|o| o.id).collect();
        let (groups, singles): (Vec<_>, Vec<_>) =
            ours.into_iter().partition(|o| matches!(o.kind, NexthopKind::Group(_)));
        for object in singles.into_iter().chain(groups) {
            let (key, members) = self.key_of(object);
            let key = key.filter(|k| !self.by_key.contains_key(k));
            for member in &members {
                self.hold(*member);
            }
            self.insert(object.id, key, members, Standing::Present, true);
            self.next_id = self.next_id.max(object.id.saturating_add(1));
        }
    }

    fn key_of(&self, object: &NexthopObject) -> (Option<Key>, Vec<Handle>) {
        match &object.kind {
            NexthopKind::Single(hop) => {
                let key = Key { afi: object.afi, device_afi: None, target: RouteTarget::NextHops(vec![*hop]) };
                (Some(key), Vec::new())
            }
            NexthopKind::Blackhole => {
                (Some(Key { afi: object.afi, device_afi: None, target: RouteTarget::Discard }), Vec::new())
            }
            NexthopKind::Group(members) => {
                // Even a group that we would not make holds its members: they carry its routes until those are moved.
                let handles: Vec<Handle> = members.iter().filter_map(|m| self.by_id(m.id)).collect();
                match self.group_key(members) {
                    Some((key, sorted)) => (Some(key), sorted),
                    None => (None, handles),
                }
            }
            NexthopKind::Other => (None, Vec::new()),
        }
    }

    fn group_key(&self, members: &[Member]) -> Option<(Key, Vec<Handle>)> {
        if members.len() < 2 || members.iter().any(|m| m.weight != 1) {
            return None;
        }
        let mut device_afi = None;
        let mut pairs = Vec::with_capacity(members.len());
        for member in members {
            let handle = self.by_id(member.id)?;
            let Key { afi, target: RouteTarget::NextHops(hops), .. } = self.get(handle)?.key.as_ref()? else {
                return None;
            };
            let hop = *hops.first()?;
            if hop.gateway.is_none() {
                device_afi = *afi;
            }
            pairs.push((hop, handle));
        }
        pairs.sort_unstable();
        let (hops, handles) = pairs.into_iter().unzip();
        Some((Key { afi: None, device_afi, target: RouteTarget::NextHops(hops) }, handles))
    }

    /// Compares with a fresh dump and corrects every standing. Returns how many were not as believed, and the ids of
    /// objects that are gone.
    pub(super) fn compare(&mut self, dumped: &[NexthopObject]) -> (usize, BTreeSet<u32>) {
        let in_kernel: HashMap<u32, &NexthopObject> = dumped.iter().map(|o| (o.id, o)).collect();
        self.foreign = dumped.iter().filter(|o| o.protocol != self.config.rtproto).map(|o| o.id).collect();
        let mut surprises = 0;
        let mut gone = BTreeSet::new();
        let handles: Vec<Handle> = self.all.keys().copied().collect();
        for handle in handles {
            let Some(meant) = self.meant(handle) else { continue };
            let seen = in_kernel.get(&meant.id).filter(|o| o.protocol == self.config.rtproto);
            let orphan = self.get(handle).is_some_and(|o| o.key.is_none());
            let standing = match seen {
                None => Standing::Absent,
                Some(_) if orphan => Standing::Present,
                Some(o) if o.kind == meant.kind => Standing::Present,
                Some(_) => Standing::Differs,
            };
            let stolen = self.foreign.contains(&meant.id);
            let fresh = stolen.then(|| self.fresh_id());
            let Some(object) = self.all.get_mut(&handle) else { continue };
            if standing == Standing::Absent && object.standing != Standing::Absent {
                gone.insert(object.id);
            }
            surprises += usize::from(standing != object.standing);
            object.standing = standing;
            if let Some(id) = fresh {
                self.by_id.remove(&object.id);
                object.id = id;
                self.by_id.insert(id, handle);
            }
            if standing != Standing::Present {
                self.broken.insert(handle);
                self.suspects.insert(handle);
            }
        }
        // Ours by protocol, unknown here: an earlier life's, or somebody playing with our number. They go with the sweep
        // of garbage.
        let unknown: Vec<&NexthopObject> =
            dumped.iter().filter(|o| o.protocol == self.config.rtproto && !self.by_id.contains_key(&o.id)).collect();
        surprises += unknown.len();
        for object in unknown {
            self.insert(object.id, None, Vec::new(), Standing::Present, false);
        }
        (surprises, gone)
    }

    /// The object as it should stand in the kernel.
    pub(super) fn meant(&self, handle: Handle) -> Option<NexthopObject> {
        let object = self.get(handle)?;
        let (afi, kind) = match &object.key {
            None => (None, NexthopKind::Other),
            Some(Key { target: RouteTarget::Discard, afi, .. }) => (*afi, NexthopKind::Blackhole),
            Some(Key { target: RouteTarget::NextHops(hops), afi, .. }) => match (hops.first(), &object.members) {
                (Some(hop), members) if members.is_empty() => (*afi, NexthopKind::Single(*hop)),
                (_, members) => {
                    let ids = members.iter().filter_map(|m| self.get(*m)).map(|m| Member { id: m.id, weight: 1 });
                    (None, NexthopKind::Group(ids.collect()))
                }
            },
        };
        Some(NexthopObject { id: object.id, protocol: self.config.rtproto, afi, kind })
    }

    /// The change that makes it stand, if it does not.
    pub(super) fn put(&self, handle: Handle) -> Option<Op> {
        let object = self.get(handle)?;
        object.key.as_ref()?;
        let replace = match object.standing {
            Standing::Present => return None,
            Standing::Differs => true,
            Standing::Absent => false,
        };
        Some(Op::PutNexthop { object: self.meant(handle)?, replace })
    }

    /// Garbage: nobody uses it. Groups come first, so their members become garbage in the next round.
    pub(super) fn garbage(&mut self) -> Vec<Handle> {
        let suspects = std::mem::take(&mut self.suspects);
        let mut garbage = Vec::new();
        for handle in suspects {
            match self.get(handle) {
                Some(o) if o.users == 0 && !o.adopted => garbage.push(handle),
                Some(o) if o.adopted => {
                    self.suspects.insert(handle);
                }
                _ => {}
            }
        }
        garbage
    }

    /// Forgets an object that is out of the kernel.
    pub(super) fn forget(&mut self, handle: Handle) {
        let Some(object) = self.all.remove(&handle) else { return };
        self.by_id.remove(&object.id);
        if let Some(key) = &object.key {
            self.by_key.remove(key);
        }
        self.broken.remove(&handle);
        for member in object.members {
            self.release(member);
        }
    }

    /// Unclaimed objects are garbage from now on.
    pub(super) fn end_adoption(&mut self) {
        for (handle, object) in &mut self.all {
            object.adopted = false;
            if object.users == 0 {
                self.suspects.insert(*handle);
            }
        }
    }
}
