//! What a route looks like to the members of a group: the verdict of policy and the attributes' octets, made when needed from
//! the set and its source, and kept for a while.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bgp_wire::update::AttributeBlock;
use bgp_wire::{AsPath, NextHop, PathAttributes};
use net_types::{Family, RouterId};

use super::View;
use crate::config::SpeakerConfig;
use crate::policy::{ExportNextHop, ExportProfile, ExportTarget, SourceKind};
use crate::rib::{AttrId, PeerId};

/// What a look is made from, the profile aside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Key {
    /// The set.
    pub(super) set: AttrId,
    /// Who it came from.
    pub(super) source: u32,
    /// The routes are IPv4's.
    pub(super) v4: bool,
    /// Which of the speaker's configurations: zero is the one in force.
    pub(super) form: u8,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.set.get()) << 32 | u64::from(self.source));
        state.write_u8(self.form << 1 | u8::from(self.v4));
    }
}

/// The look.
#[derive(Debug)]
pub(super) struct Look {
    /// Kind of the source, for the checks of the prefix.
    pub(super) kind: SourceKind,
    /// Who sent it: not told.
    source: PeerId,
    next_hop: ExportNextHop,
    /// As received, where the profile keeps paths through a neighbour's AS from it.
    as_path: Option<AsPath>,
    /// As sent.
    originator_id: Option<RouterId>,
    /// `None`: no message can say it.
    pub(super) block: Option<AttributeBlock>,
}

impl Look {
    /// `None`: policy keeps such routes in, or nobody knows the source any more.
    /// `room` is for octets on their way.
    pub(super) fn new<V: View>(
        view: &V,
        profile: &ExportProfile,
        speaker: &SpeakerConfig,
        key: Key,
        room: &mut Vec<u8>,
    ) -> Option<Look> {
        let source = view.source(key.source)?;
        let family = if key.v4 { Family::IPV4_UNICAST } else { Family::IPV6_UNICAST };
        let mut attributes = PathAttributes::default();
        view.attributes(key.set, &mut attributes);
        let next_hop = profile.judge(speaker, &source, family, &view.next_hop(key.set), &attributes).ok()?;
        let as_path = profile.checks_as_loop().then(|| attributes.as_path.clone());
        profile.attributes(speaker, &source, &mut attributes);
        let said = match next_hop {
            ExportNextHop::Own => profile.own_next_hop(family)?.placeholder(),
            ExportNextHop::Keep(next_hop) => next_hop,
        };
        Some(Look {
            kind: source.kind,
            source: source.peer,
            next_hop,
            as_path,
            originator_id: attributes.originator_id,
            block: AttributeBlock::with_room(family, &said, &attributes, profile.context(), room).ok(),
        })
    }

    /// The next hop is the neighbour's own: where it stands must be remembered.
    pub(super) fn is_own(&self) -> bool {
        self.next_hop == ExportNextHop::Own
    }

    /// True if the route must not go to this neighbour, whatever the others get.
    pub(super) fn withheld(&self, target: &ExportTarget, family: Family) -> bool {
        let loops = self.as_path.as_ref().is_some_and(|path| target.as_loop(path));
        let said: Option<NextHop> = target.next_hop(family, self.next_hop);
        loops
            || target.split_horizon(self.source)
            || target.originator(self.originator_id)
            || said.is_some_and(|n| target.is_next_hop(&n))
    }

    /// Nobody could tell the two apart, the sources of the two aside.
    pub(super) fn same_wire(&self, other: &Look) -> bool {
        self.next_hop == other.next_hop
            && self.block == other.block
            && self.originator_id == other.originator_id
            && self.as_path == other.as_path
    }

    /// Who sent the one and who sent the other.
    pub(super) fn sources(&self, other: &Look) -> Option<[PeerId; 2]> {
        (self.source != other.source).then_some([self.source, other.source])
    }
}

/// Looks kept.
const SLOTS: u32 = 1024;
/// Looks that stay when a group has nothing to do.
const FEW: usize = 256;

/// Looks by their set, refusals too. A set whose number may be given to another one must be forgotten.
#[derive(Default, Debug)]
pub(super) struct Looks {
    slots: Vec<Option<(Key, Option<Arc<Look>>)>>,
    used: usize,
}

impl Looks {
    /// One that is kept, which may be that there is none.
    pub(super) fn get(&self, key: &Key) -> Option<Option<&Arc<Look>>> {
        let (known, look) = self.slots.get((key.set.get() % SLOTS) as usize)?.as_ref()?;
        (known == key).then_some(look.as_ref())
    }

    /// Keeps one, in the place of another.
    pub(super) fn put(&mut self, key: Key, look: Option<Arc<Look>>) {
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS as usize, || None);
        }
        if let Some(slot) = self.slots.get_mut((key.set.get() % SLOTS) as usize) {
            self.used += usize::from(slot.is_none());
            *slot = Some((key, look));
        }
    }

    /// Forgets what belongs to a set.
    pub(super) fn forget(&mut self, set: AttrId) {
        if let Some(slot) = self.slots.get_mut((set.get() % SLOTS) as usize)
            && slot.take_if(|(key, _)| key.set == set).is_some()
        {
            self.used -= 1;
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        *self = Looks::default();
    }

    /// Too many to keep while there is nothing to do.
    pub(super) fn are_many(&self) -> bool {
        self.used > FEW
    }

    /// Forgets all if they are many.
    pub(super) fn rest(&mut self) {
        if self.are_many() {
            self.slots.fill_with(|| None);
            self.used = 0;
        }
    }
}
