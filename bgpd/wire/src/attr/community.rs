//! Communities: standard (RFC 1997), extended (RFC 4360), large (RFC 8092).

use std::fmt;

/// A standard community.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Community(pub u32);

impl Community {
    /// GRACEFUL_SHUTDOWN, RFC 8326.
    pub const GRACEFUL_SHUTDOWN: Community = Community(0xffff_0000);
    /// LLGR_STALE, RFC 9494.
    pub const LLGR_STALE: Community = Community(0xffff_0006);
    /// NO_LLGR, RFC 9494.
    pub const NO_LLGR: Community = Community(0xffff_0007);
    /// BLACKHOLE, RFC 7999.
    pub const BLACKHOLE: Community = Community(0xffff_029a);
    /// NO_EXPORT, RFC 1997.
    pub const NO_EXPORT: Community = Community(0xffff_ff01);
    /// NO_ADVERTISE, RFC 1997.
    pub const NO_ADVERTISE: Community = Community(0xffff_ff02);
    /// NO_EXPORT_SUBCONFED, RFC 1997.
    pub const NO_EXPORT_SUBCONFED: Community = Community(0xffff_ff03);
    /// NOPEER, RFC 3765.
    pub const NOPEER: Community = Community(0xffff_ff04);
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff)
    }
}

impl fmt::Debug for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An extended community: eight octets, type first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ExtendedCommunity(pub [u8; 8]);

impl ExtendedCommunity {
    /// True if it may cross an AS border (RFC 4360 §2: T bit clear).
    pub fn is_transitive(&self) -> bool {
        self.0[0] & 0x40 == 0
    }
}

impl fmt::Display for ExtendedCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:016x}", u64::from_be_bytes(self.0))
    }
}

/// A large community.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LargeCommunity {
    /// Global Administrator.
    pub global: u32,
    /// Local Data Part 1.
    pub local1: u32,
    /// Local Data Part 2.
    pub local2: u32,
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.global, self.local1, self.local2)
    }
}
