//! The words every package of Artère shares: AS numbers, prefixes, families, identifiers, time as a value.
//!
//! Floor 0: nothing of ours below it, no I/O. Invariants: a [`Prefix`] is canonical on construction (no host bits), so
//! equality, hashing and ordering speak of the network; a [`Monotime`] is a value handed in, never read here.
#![forbid(unsafe_code)]

mod asn;
mod bogon;
mod family;
mod monotime;
mod prefix;

pub use asn::{Asn, AsnParseError, RouterId};
pub use bogon::{Bogon, bogon_asn, bogon_prefix, is_documentation_asn, is_documentation_prefix};
pub use family::{Afi, Family, Safi};
pub use monotime::Monotime;
pub use prefix::{Prefix, PrefixError};
