//! The attribute pool: each distinct attribute set with its next hop once, however many routes share it.
//!
//! A set is a head of 36 octets, which holds what the decision process looks at, and the rest of the attributes in their
//! canonical octets ([`bgp_wire::attr::encode_canonical`]) in [`Octets`]. Equal sets are found by a keyed hash and
//! compared octet for octet. Whoever keeps a number holds a reference ([`AttrPool::retain`]) and gives it back
//! ([`AttrPool::release`]); the last one frees the set at once.
//!
//! The next hop belongs to the set since it comes with the same message, and so a route names both by one number. The
//! pool counts as one user of it: next hops that no set names any more come out of [`AttrPool::poll_unused_next_hop`].

use std::hash::{BuildHasher, Hasher};

use bgp_wire::attr::{decode_canonical_into, encode_canonical};
use bgp_wire::{Origin, PathAttributes};
use net_types::Asn;

use super::arena::Arena;
use super::decision::{DEFAULT_LOCAL_PREF, MedGroup};
use super::hash::FoldState;
use super::ids::AttrId;
use super::index::Index;
use super::next_hop::NextHopId;
use super::octets::{Octets, Span};

const HAS_MED: u8 = 1;
const HAS_LOCAL_PREF: u8 = 1 << 1;
/// A neighbouring AS is known.
const HAS_NEIGHBOR_AS: u8 = 1 << 2;
/// No AS number at all: begins inside our AS.
const EMPTY_PATH: u8 = 1 << 3;
/// ORIGINATOR_ID or CLUSTER_LIST (RFC 4456): steps 8 and 9 must look into the octets.
const REFLECTED: u8 = 1 << 4;

/// What the decision process looks at, and where the rest is.
#[derive(Clone, Default, Debug)]
pub(super) struct AttrHead {
    /// Zero: a free place.
    refs: u32,
    hash: u32,
    next_hop: NextHopId,
    local_pref: u32,
    med: u32,
    neighbor_as: u32,
    octets: Span,
    as_path_len: u16,
    origin: Origin,
    flags: u8,
}

impl AttrHead {
    fn new(a: &PathAttributes, next_hop: NextHopId) -> AttrHead {
        let neighbor_as = a.as_path.neighbor_as();
        let mut flags = 0;
        let mut set = |on: bool, flag: u8| flags |= if on { flag } else { 0 };
        set(a.med.is_some(), HAS_MED);
        set(a.local_pref.is_some(), HAS_LOCAL_PREF);
        set(neighbor_as.is_some(), HAS_NEIGHBOR_AS);
        set(a.as_path.asns().next().is_none(), EMPTY_PATH);
        set(a.originator_id.is_some() || !a.cluster_list.is_empty(), REFLECTED);
        AttrHead {
            refs: 1,
            hash: 0,
            next_hop,
            local_pref: a.local_pref.unwrap_or(DEFAULT_LOCAL_PREF),
            med: a.med.unwrap_or(0),
            neighbor_as: neighbor_as.map_or(0, |asn| asn.0),
            octets: Span::default(),
            // A message of 65,535 octets holds fewer than 2^15 numbers.
            as_path_len: u16::try_from(a.as_path.decision_len()).unwrap_or(u16::MAX),
            origin: a.origin,
            flags,
        }
    }

    /// The next hop the routes of the set came with.
    pub(super) fn next_hop(&self) -> NextHopId {
        self.next_hop
    }

    /// Step 1 of the decision: 100 where LOCAL_PREF is absent.
    pub(super) fn local_pref(&self) -> u32 {
        self.local_pref
    }

    /// Steps 1 to 4 as one number, of which less is better. `local`: step 2.
    pub(super) fn rank(&self, local: bool) -> u64 {
        let rest = u32::from(!local) << 31 | u32::from(self.as_path_len) << 2 | u32::from(self.origin as u8);
        u64::from(!self.local_pref) << 32 | u64::from(rest)
    }

    /// Step 3.
    pub(super) fn as_path_len(&self) -> usize {
        usize::from(self.as_path_len)
    }

    /// Step 4.
    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    /// Step 5; 0 where MULTI_EXIT_DISC is absent.
    pub(super) fn med(&self) -> u32 {
        self.med
    }

    /// Step 5: whose MEDs it is compared with.
    pub(super) fn med_group(&self, local_as: Asn) -> MedGroup {
        if self.flags & HAS_NEIGHBOR_AS != 0 {
            MedGroup::As(Asn(self.neighbor_as))
        } else if self.flags & EMPTY_PATH != 0 {
            MedGroup::As(local_as)
        } else {
            MedGroup::None
        }
    }

    /// True if it has an ORIGINATOR_ID or a CLUSTER_LIST.
    pub(super) fn is_reflected(&self) -> bool {
        self.flags & REFLECTED != 0
    }

    fn same(&self, other: &AttrHead) -> bool {
        let of = |h: &AttrHead| (h.hash, h.next_hop, h.local_pref, h.med, h.origin, h.flags);
        of(self) == of(other)
    }
}

/// Each distinct set once.
#[derive(Debug)]
pub(super) struct AttrPool {
    heads: Arena<AttrHead>,
    octets: Octets,
    index: Index,
    hasher: FoldState,
    scratch: Vec<u8>,
    unused_next_hops: Vec<NextHopId>,
    freed: Vec<AttrId>,
}

/// The bits the index needs out of the 32 that the head keeps.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl AttrPool {
    pub(super) fn new(seed: u64) -> AttrPool {
        AttrPool {
            heads: Arena::default(),
            octets: Octets::default(),
            index: Index::default(),
            hasher: FoldState::new(seed),
            scratch: Vec::new(),
            unused_next_hops: Vec::new(),
            freed: Vec::new(),
        }
    }

    /// The number of a set; the caller holds one reference to it. The second value: the set is new to the pool.
    pub(super) fn intern(&mut self, attributes: &PathAttributes, next_hop: NextHopId) -> (AttrId, bool) {
        self.scratch.clear();
        encode_canonical(attributes, &mut self.scratch);
        let mut head = AttrHead::new(attributes, next_hop);
        head.hash = self.hash(&head);
        let (heads, octets, scratch) = (&self.heads, &self.octets, &self.scratch);
        let same = |at| heads.get(at).is_some_and(|h| h.same(&head) && octets.get(h.octets) == scratch.as_slice());
        let vacant = match self.index.entry(spread(head.hash), same) {
            Some(Ok(at)) => {
                self.retain(AttrId::new(at));
                return (AttrId::new(at), false);
            }
            Some(Err(vacant)) => vacant,
            // Never comes.
            None => return (AttrId::new(0), false),
        };
        head.octets = self.octets.insert(&self.scratch);
        let at = self.heads.insert(head);
        vacant.insert(at);
        (AttrId::new(at), true)
    }

    fn hash(&self, head: &AttrHead) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(&self.scratch);
        hasher.write_u64(u64::from(head.local_pref) << 32 | u64::from(head.med));
        hasher.write_u64(
            u64::from(head.next_hop.index()) << 32 | u64::from(head.origin as u8) << 8 | u64::from(head.flags),
        );
        (hasher.finish() >> 32) as u32
    }

    /// One more user of a set that the caller knows to be held.
    pub(super) fn retain(&mut self, id: AttrId) {
        self.retain_many(id, 1);
    }

    /// So many more users.
    pub(super) fn retain_many(&mut self, id: AttrId, users: u32) {
        if let Some(head) = self.heads.get_mut(id.index()) {
            head.refs += users;
        }
    }

    /// One user less; the last one frees the set.
    pub(super) fn release(&mut self, id: AttrId) {
        self.release_many(id, 1);
    }

    /// So many users less.
    pub(super) fn release_many(&mut self, id: AttrId, users: u32) {
        let Some(head) = self.heads.get_mut(id.index()).filter(|h| h.refs >= users) else { return };
        head.refs -= users;
        if head.refs > 0 {
            return;
        }
        let (hash, octets, next_hop) = (head.hash, head.octets, head.next_hop);
        self.octets.remove(octets);
        self.index.remove(spread(hash), id.index());
        self.heads.free(id.index());
        self.unused_next_hops.push(next_hop);
        self.freed.push(id);
    }

    /// A next hop, named once for each set of it that went.
    pub(super) fn poll_unused_next_hop(&mut self) -> Option<NextHopId> {
        self.unused_next_hops.pop()
    }

    /// A set whose number may be another's from now on.
    pub(super) fn poll_freed(&mut self) -> Option<AttrId> {
        self.freed.pop()
    }

    /// What the decision process looks at.
    pub(super) fn head(&self, id: AttrId) -> Option<&AttrHead> {
        self.heads.get(id.index()).filter(|h| h.refs > 0)
    }

    /// The attributes as a value.
    pub(super) fn decode(&self, id: AttrId) -> PathAttributes {
        let mut attributes = PathAttributes::default();
        self.decode_into(id, &mut attributes);
        attributes
    }

    /// As [`AttrPool::decode`], into attributes that are all absent.
    pub(super) fn decode_into(&self, id: AttrId, into: &mut PathAttributes) {
        let Some(head) = self.head(id) else { return };
        if decode_canonical_into(self.octets.get(head.octets), into).is_none() {
            *into = PathAttributes::default();
        }
        into.origin = head.origin;
        into.med = (head.flags & HAS_MED != 0).then_some(head.med);
        into.local_pref = (head.flags & HAS_LOCAL_PREF != 0).then_some(head.local_pref);
    }

    /// Distinct sets held.
    pub(super) fn len(&self) -> usize {
        self.heads.len()
    }

    /// Octets taken from the allocator.
    pub(super) fn memory(&self) -> usize {
        self.heads.octets() + self.octets.octets() + self.index.octets() + self.scratch.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bgp_wire::{AsPath, Community};

    fn set(path: &[u32], med: Option<u32>) -> PathAttributes {
        let as_path = AsPath::sequence(path.iter().map(|a| Asn(*a)));
        PathAttributes { as_path, med, ..PathAttributes::default() }
    }

    fn hop(n: u32) -> NextHopId {
        NextHopId::from_index(n)
    }

    #[test]
    fn equal_sets_share_one_number_and_the_last_user_frees_it() {
        let mut pool = AttrPool::new(1);
        let (a, new) = pool.intern(&set(&[64500], Some(1)), hop(0));
        assert!(new);
        assert_eq!(pool.intern(&set(&[64500], Some(1)), hop(0)), (a, false));
        let different = [
            pool.intern(&set(&[64500], Some(0)), hop(0)),
            pool.intern(&set(&[64500], None), hop(0)),
            pool.intern(&set(&[64501], Some(1)), hop(0)),
            pool.intern(&set(&[64500], Some(1)), hop(1)),
            pool.intern(&PathAttributes { origin: Origin::Egp, ..set(&[64500], Some(1)) }, hop(0)),
            pool.intern(&PathAttributes { local_pref: Some(0), ..set(&[64500], Some(1)) }, hop(0)),
        ];
        assert!(different.iter().all(|(id, new)| *new && *id != a));
        assert_eq!(pool.len(), 7);
        pool.release(a);
        assert_eq!((pool.len(), pool.poll_unused_next_hop()), (7, None));
        pool.release(a);
        assert_eq!((pool.len(), pool.poll_unused_next_hop()), (6, Some(hop(0))));
        assert!(pool.head(a).is_none());
        different.iter().for_each(|(id, _)| pool.release(*id));
        assert_eq!(pool.len(), 0);
        assert!(pool.memory() < 32 * 1024, "{}", pool.memory());
    }

    #[test]
    fn what_went_in_comes_out_at_every_size() {
        let mut pool = AttrPool::new(1);
        let of = |n: u32| PathAttributes {
            communities: (0..n).map(Community).collect(),
            local_pref: n.is_multiple_of(2).then_some(n),
            ..set(&[64500, 64501, n + 1], Some(n))
        };
        let sizes: Vec<u32> = (0..300).chain([5_000, 16_000, 70_000]).collect();
        let ids: Vec<AttrId> = sizes.iter().map(|n| pool.intern(&of(*n), hop(0)).0).collect();
        for (n, id) in sizes.iter().zip(&ids) {
            assert_eq!(pool.decode(*id), of(*n));
        }
        let head = pool.head(ids[3]).unwrap();
        assert_eq!((head.local_pref(), head.med(), head.as_path_len()), (100, 3, 3));
        assert_eq!(head.med_group(Asn(1)), MedGroup::As(Asn(64500)));
        assert!(!head.is_reflected());
        ids.iter().for_each(|id| pool.release(*id));
        assert_eq!(pool.len(), 0);
    }

    #[test]
    fn a_set_of_a_full_table_takes_about_a_hundred_octets() {
        assert_eq!(size_of::<AttrHead>(), 36);
        let mut pool = AttrPool::new(1);
        let sets = 200_000;
        for n in 0..sets {
            let communities = (0..3).map(|c| Community(n ^ c << 16)).collect();
            pool.intern(&PathAttributes { communities, ..set(&[64500, 64501, 64502, n, n + 1], Some(n)) }, hop(0));
        }
        let each = pool.memory() / sets as usize;
        assert!((80..=105).contains(&each), "{each} octets a set");
    }
}
