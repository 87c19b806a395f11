//! Numbers that stand for things kept elsewhere: four octets where a reference would take eight.

use std::num::NonZeroU32;

use net_types::Family;

/// A destination: its place in the arena of its family. The top bit says IPv6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DestId(pub(super) u32);

impl DestId {
    const V6: u32 = 1 << 31;

    pub(super) fn v4(index: u32) -> DestId {
        DestId(index)
    }

    pub(super) fn v6(index: u32) -> DestId {
        DestId(index | DestId::V6)
    }

    /// The family whose arena it is a place of.
    pub fn family(self) -> Family {
        if self.is_v4() { Family::IPV4_UNICAST } else { Family::IPV6_UNICAST }
    }

    /// True for IPv4.
    pub(super) fn is_v4(self) -> bool {
        self.0 & DestId::V6 == 0
    }

    /// The place in the family's arena: small numbers, given out again.
    pub(super) fn index(self) -> u32 {
        self.0 & !DestId::V6
    }
}

/// An attribute set with its next hop, in the [`super::attributes::AttrPool`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AttrId(NonZeroU32);

impl AttrId {
    /// One more than the index, so that zero means none.
    pub(super) fn new(index: u32) -> AttrId {
        AttrId(NonZeroU32::MIN.saturating_add(index))
    }

    pub(super) fn index(self) -> u32 {
        self.0.get() - 1
    }

    /// As a number that is never zero.
    pub(super) fn get(self) -> u32 {
        self.0.get()
    }

    /// The set of a number that [`AttrId::get`] gave; `None` for zero.
    pub(super) fn from_u32(number: u32) -> Option<AttrId> {
        NonZeroU32::new(number).map(AttrId)
    }
}
