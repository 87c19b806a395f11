//! The path attributes as a table: one row per type code we know, with the flags it must carry and what an error costs.
//!
//! RFC 7606 §3c decides flag errors, the clause in the row decides value errors; rows differ where the attribute's own
//! RFC says so. What no row describes is [`super::UnknownAttribute`]'s, by its flags alone (RFC 4271 §5, §6.3).

use crate::AttrVerdict;

/// Attribute type codes (IANA).
#[allow(missing_docs, reason = "the names are the registry's own")]
pub mod code {
    pub const ORIGIN: u8 = 1;
    pub const AS_PATH: u8 = 2;
    pub const NEXT_HOP: u8 = 3;
    pub const MULTI_EXIT_DISC: u8 = 4;
    pub const LOCAL_PREF: u8 = 5;
    pub const ATOMIC_AGGREGATE: u8 = 6;
    pub const AGGREGATOR: u8 = 7;
    pub const COMMUNITIES: u8 = 8;
    pub const ORIGINATOR_ID: u8 = 9;
    pub const CLUSTER_LIST: u8 = 10;
    pub const MP_REACH_NLRI: u8 = 14;
    pub const MP_UNREACH_NLRI: u8 = 15;
    pub const EXTENDED_COMMUNITIES: u8 = 16;
    pub const AS4_PATH: u8 = 17;
    pub const AS4_AGGREGATOR: u8 = 18;
    pub const PMSI_TUNNEL: u8 = 22;
    pub const TUNNEL_ENCAPSULATION: u8 = 23;
    pub const AIGP: u8 = 26;
    pub const BGP_LS: u8 = 29;
    pub const LARGE_COMMUNITY: u8 = 32;
    pub const ONLY_TO_CUSTOMER: u8 = 35;
    pub const PREFIX_SID: u8 = 40;
    pub const ATTR_SET: u8 = 128;
}

/// Flags octet, RFC 4271 §4.3.
pub(crate) mod flag {
    pub(crate) const OPTIONAL: u8 = 0x80;
    pub(crate) const TRANSITIVE: u8 = 0x40;
    pub(crate) const PARTIAL: u8 = 0x20;
    pub(crate) const EXTENDED_LENGTH: u8 = 0x10;
}

/// Which sessions an attribute may come over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    /// Any.
    Any,
    /// iBGP only; elsewhere discarded unread, whatever its flags and length (RFC 7606 §7.5, §7.9, §7.10).
    Internal,
    /// Two-octet peers only; elsewhere discarded unread (RFC 6793 §4.1, §6).
    TwoOctet,
}

/// One attribute type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) code: u8,
    pub(crate) name: &'static str,
    /// Required value of the Optional and Transitive bits.
    pub(crate) flags: u8,
    /// Price of wrong Optional or Transitive bits.
    pub(crate) flag_error: AttrVerdict,
    /// Price of a wrong length or value.
    pub(crate) value_error: AttrVerdict,
    pub(crate) scope: Scope,
    /// Who says so.
    pub(crate) clause: &'static str,
}

const WELL_KNOWN: u8 = flag::TRANSITIVE;
const OPTIONAL_TRANSITIVE: u8 = flag::OPTIONAL | flag::TRANSITIVE;
const OPTIONAL: u8 = flag::OPTIONAL;

use AttrVerdict::{Discard, Reset, TreatAsWithdraw as Withdraw};
use Scope::{Any, Internal, TwoOctet};

const fn row(
    code: u8,
    name: &'static str,
    flags: u8,
    (flag_error, value_error): (AttrVerdict, AttrVerdict),
    scope: Scope,
    clause: &'static str,
) -> Row {
    Row { code, name, flags, flag_error, value_error, scope, clause }
}

/// Sorted by code.
#[rustfmt::skip]
pub(crate) const TABLE: &[Row] = &[
    row(code::ORIGIN, "ORIGIN", WELL_KNOWN, (Withdraw, Withdraw), Any, "RFC 7606 §7.1"),
    row(code::AS_PATH, "AS_PATH", WELL_KNOWN, (Withdraw, Withdraw), Any, "RFC 7606 §7.2"),
    row(code::NEXT_HOP, "NEXT_HOP", WELL_KNOWN, (Withdraw, Withdraw), Any, "RFC 7606 §7.3"),
    row(code::MULTI_EXIT_DISC, "MULTI_EXIT_DISC", OPTIONAL, (Withdraw, Withdraw), Any, "RFC 7606 §7.4"),
    row(code::LOCAL_PREF, "LOCAL_PREF", WELL_KNOWN, (Withdraw, Withdraw), Internal, "RFC 7606 §7.5"),
    row(code::ATOMIC_AGGREGATE, "ATOMIC_AGGREGATE", WELL_KNOWN, (Withdraw, Discard), Any, "RFC 7606 §7.6"),
    row(code::AGGREGATOR, "AGGREGATOR", OPTIONAL_TRANSITIVE, (Withdraw, Discard), Any, "RFC 7606 §7.7"),
    row(code::COMMUNITIES, "COMMUNITIES", OPTIONAL_TRANSITIVE, (Withdraw, Withdraw), Any, "RFC 7606 §7.8"),
    row(code::ORIGINATOR_ID, "ORIGINATOR_ID", OPTIONAL, (Withdraw, Withdraw), Internal, "RFC 7606 §7.9"),
    row(code::CLUSTER_LIST, "CLUSTER_LIST", OPTIONAL, (Withdraw, Withdraw), Internal, "RFC 7606 §7.10"),
    row(code::MP_REACH_NLRI, "MP_REACH_NLRI", OPTIONAL, (Reset, Reset), Any, "RFC 7606 §7.11"),
    row(code::MP_UNREACH_NLRI, "MP_UNREACH_NLRI", OPTIONAL, (Reset, Reset), Any, "RFC 7606 §7.12"),
    row(code::EXTENDED_COMMUNITIES, "EXTENDED_COMMUNITIES", OPTIONAL_TRANSITIVE, (Withdraw, Withdraw), Any, "RFC 7606 §7.14"),
    row(code::AS4_PATH, "AS4_PATH", OPTIONAL_TRANSITIVE, (Withdraw, Discard), TwoOctet, "RFC 6793 §6"),
    row(code::AS4_AGGREGATOR, "AS4_AGGREGATOR", OPTIONAL_TRANSITIVE, (Withdraw, Discard), TwoOctet, "RFC 6793 §6"),
    row(code::PMSI_TUNNEL, "PMSI_TUNNEL", OPTIONAL_TRANSITIVE, (Withdraw, Discard), Any, "RFC 6514 §5"),
    row(code::TUNNEL_ENCAPSULATION, "TUNNEL_ENCAPSULATION", OPTIONAL_TRANSITIVE, (Withdraw, Withdraw), Any, "RFC 9012 §13"),
    row(code::AIGP, "AIGP", OPTIONAL, (Discard, Discard), Any, "RFC 7311 §3"),
    row(code::BGP_LS, "BGP-LS", OPTIONAL, (Discard, Discard), Any, "RFC 9552 §8.2.2"),
    row(code::LARGE_COMMUNITY, "LARGE_COMMUNITY", OPTIONAL_TRANSITIVE, (Withdraw, Withdraw), Any, "RFC 8092 §6"),
    row(code::ONLY_TO_CUSTOMER, "ONLY_TO_CUSTOMER", OPTIONAL_TRANSITIVE, (Withdraw, Withdraw), Any, "RFC 9234 §5"),
    row(code::PREFIX_SID, "PREFIX_SID", OPTIONAL_TRANSITIVE, (Discard, Discard), Any, "RFC 8669 §6"),
    row(code::ATTR_SET, "ATTR_SET", OPTIONAL_TRANSITIVE, (Withdraw, Withdraw), Any, "RFC 7606 §7.16"),
];

/// The rows by type code.
static BY_CODE: [Option<Row>; 256] = by_code();

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler, which refuses what is out of bounds")]
const fn by_code() -> [Option<Row>; 256] {
    let mut rows = [None; 256];
    let mut i = 0;
    while i < TABLE.len() {
        rows[TABLE[i].code as usize] = Some(TABLE[i]);
        i += 1;
    }
    rows
}

/// The row of a type code, if we know it.
#[inline]
pub(crate) fn lookup(code: u8) -> Option<&'static Row> {
    BY_CODE.get(usize::from(code)).and_then(Option::as_ref)
}

/// Name of an attribute type for people; `None` for codes without a row.
pub fn name(code: u8) -> Option<&'static str> {
    lookup(code).map(|r| r.name)
}
