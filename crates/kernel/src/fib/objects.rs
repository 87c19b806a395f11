//! Our next-hop objects: one per distinct target, counted by who uses it.
//!
//! A [`Handle`] names an object here as long as anybody uses it; the kernel's id stays with it too, unless another program
//! has taken it while the object did not stand.
//! Invariant: `users` = routes that want the object + routes in the kernel that point at it + groups of which it is a
//! member; at zero it is garbage.

use super::{Afi, FibConfig, Member, NextHop, NexthopKind, NexthopObject, Op, RouteTarget, object_family};
use hashbrown::DefaultHashBuilder;
use hashbrown::hash_table::HashTable;
use net_types::Prefix;
use slab::Slab;
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::sync::Arc;

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
    pub(super) error: Option<(Arc<str>, bool)>,
    /// Found at start and not claimed: kept until the sweep.
    adopted: bool,
}

#[derive(Debug)]
pub(super) struct Objects {
    config: FibConfig,
    all: Slab<Object>,
    by_key: HashTable<Handle>,
    hasher: DefaultHashBuilder,
    by_id: HashMap<u32, Handle>,
    /// The last object claimed for an IPv4 and for an IPv6 route: most claims are for the same again.
    last: [Option<Handle>; 2],
    foreign: BTreeSet<u32>,
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
            all: Slab::new(),
            by_key: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            by_id: HashMap::new(),
            last: [None; 2],
            foreign: BTreeSet::new(),
            next_id: config.nexthop_id_base,
            suspects: BTreeSet::new(),
            broken: BTreeSet::new(),
        }
    }

    pub(super) fn get(&self, handle: Handle) -> Option<&Object> {
        self.all.get(handle.key())
    }

    pub(super) fn get_mut(&mut self, handle: Handle) -> Option<&mut Object> {
        self.all.get_mut(handle.key())
    }

    pub(super) fn by_id(&self, id: u32) -> Option<Handle> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn target(&self, handle: Handle) -> Option<&RouteTarget> {
        self.get(handle)?.key.as_ref().map(|k| &k.target)
    }

    /// Ids of the singles that send to one of these links and stand as far as we know.
    pub(super) fn on_links(&self, links: &[u32]) -> Vec<u32> {
        let on_them = |o: &&Object| match o.key.as_ref().map(|k| &k.target) {
            Some(RouteTarget::NextHops(hops)) => hops.iter().any(|h| links.contains(&h.ifindex)),
            _ => false,
        };
        let standing =
            self.all.iter().map(|(_, o)| o).filter(|o| o.members.is_empty() && o.standing != Standing::Absent);
        standing.filter(on_them).map(|o| o.id).collect()
    }

    /// True if an object in use does not stand as meant.
    pub(super) fn any_unwell(&self) -> bool {
        self.all.iter().any(|(_, o)| o.users > 0 && o.standing != Standing::Present)
    }

    pub(super) fn is_group(&self, handle: Handle) -> bool {
        self.get(handle).is_some_and(|o| !o.members.is_empty())
    }

    /// The object for a target of a route of `prefix`, new if there is none; counts the caller as a user.
    pub(super) fn claim(&mut self, prefix: &Prefix, target: &RouteTarget) -> Handle {
        let [last_v4, last_v6] = self.last;
        let last = if prefix.is_v4() { last_v4 } else { last_v6 };
        if let Some(handle) = last
            && let Some(object) = self.all.get_mut(handle.key())
            && object.key.as_ref().is_some_and(|k| k.target == *target)
        {
            object.users += 1;
            return handle;
        }
        let handle = match target {
            RouteTarget::NextHops(hops) if hops.len() > 1 => self.claim_group(prefix, target, hops),
            RouteTarget::NextHops(hops) => self.claim_single(object_family(prefix, hops.first()), target),
            RouteTarget::Discard => self.claim_single(object_family(prefix, None), target),
        };
        if let Some(object) = self.all.get_mut(handle.key()) {
            object.users += 1;
            object.adopted = false;
        }
        let [last_v4, last_v6] = &mut self.last;
        *(if prefix.is_v4() { last_v4 } else { last_v6 }) = Some(handle);
        handle
    }

    fn claim_single(&mut self, afi: Afi, target: &RouteTarget) -> Handle {
        self.find(Some(afi), None, target).unwrap_or_else(|| {
            let key = Key { afi: Some(afi), device_afi: None, target: target.clone() };
            self.make(key, Vec::new())
        })
    }

    fn claim_group(&mut self, prefix: &Prefix, target: &RouteTarget, hops: &[NextHop]) -> Handle {
        let device_afi = hops.iter().any(|h| h.gateway.is_none()).then(|| object_family(prefix, None));
        if let Some(handle) = self.find(None, device_afi, target) {
            return handle;
        }
        // The group itself is the user of its members.
        let members = hops.iter().map(|h| self.claim(prefix, &RouteTarget::NextHops(vec![*h]))).collect::<Vec<_>>();
        self.make(Key { afi: None, device_afi, target: target.clone() }, members)
    }

    fn find(&self, afi: Option<Afi>, device_afi: Option<Afi>, target: &RouteTarget) -> Option<Handle> {
        let hash = self.hasher.hash_one((afi, device_afi, target));
        let same = |key: &Key| key.afi == afi && key.device_afi == device_afi && key.target == *target;
        let found = self.by_key.find(hash, |h| self.get(*h).and_then(|o| o.key.as_ref()).is_some_and(same));
        found.copied()
    }

    fn make(&mut self, key: Key, members: Vec<Handle>) -> Handle {
        let id = self.fresh_id();
        self.insert(id, Some(key), members, Standing::Absent, false)
    }

    fn insert(&mut self, id: u32, key: Option<Key>, members: Vec<Handle>, standing: Standing, adopted: bool) -> Handle {
        let hash = key.as_ref().map(|k| self.hash(k));
        let entry = self.all.insert(Object { id, key, members, users: 0, standing, error: None, adopted });
        // Beyond 2^32 objects memory is gone long since.
        let handle = Handle(entry as u32);
        if let Some(hash) = hash {
            let (all, hasher) = (&self.all, &self.hasher);
            let rehash = |h: &Handle| all.get(h.key()).and_then(|o| o.key.as_ref()).map_or(0, |k| hash_of(hasher, k));
            self.by_key.insert_unique(hash, handle, rehash);
        }
        self.by_id.insert(id, handle);
        self.suspects.insert(handle);
        handle
    }

    fn hash(&self, key: &Key) -> u64 {
        hash_of(&self.hasher, key)
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
        if let Some(object) = self.all.get_mut(handle.key()) {
            object.users += 1;
        }
    }

    pub(super) fn release(&mut self, handle: Handle) {
        self.release_many(handle, 1);
    }

    pub(super) fn release_many(&mut self, handle: Handle, users: usize) {
        if let Some(object) = self.all.get_mut(handle.key()) {
            object.users = object.users.saturating_sub(users);
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
            let key = key.filter(|k| self.find(k.afi, k.device_afi, &k.target).is_none());
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

    /// Compares with a fresh dump and corrects every standing. Returns how many were not as believed, and the objects
    /// that are gone.
    pub(super) fn compare(&mut self, dumped: &[NexthopObject]) -> (usize, BTreeSet<Handle>) {
        let in_kernel: HashMap<u32, &NexthopObject> = dumped.iter().map(|o| (o.id, o)).collect();
        self.foreign = dumped.iter().filter(|o| o.protocol != self.config.rtproto).map(|o| o.id).collect();
        let mut surprises = 0;
        let mut gone = BTreeSet::new();
        let handles: Vec<Handle> = self.all.iter().map(|(key, _)| Handle(key as u32)).collect();
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
            let Some(object) = self.all.get_mut(handle.key()) else { continue };
            if standing == Standing::Absent && object.standing != Standing::Absent {
                gone.insert(handle);
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
        let Some(object) = self.get(handle) else { return };
        let found = object.key.as_ref().map(|key| self.hash(key));
        if let Some(Ok(entry)) = found.map(|hash| self.by_key.find_entry(hash, |h| *h == handle)) {
            entry.remove();
        }
        let object = self.all.remove(handle.key());
        self.by_id.remove(&object.id);
        // The handle may name another object from now on.
        self.last = [None; 2];
        self.broken.remove(&handle);
        self.suspects.remove(&handle);
        for member in object.members {
            self.release(member);
        }
    }

    /// Unclaimed objects are garbage from now on.
    pub(super) fn end_adoption(&mut self) {
        for (key, object) in &mut self.all {
            object.adopted = false;
            if object.users == 0 {
                self.suspects.insert(Handle(key as u32));
            }
        }
    }
}

fn hash_of(hasher: &DefaultHashBuilder, key: &Key) -> u64 {
    hasher.hash_one((key.afi, key.device_afi, &key.target))
}
