//! RFC 7606 as a type: what a malformed attribute costs.

use bytes::Bytes;

/// Consequence of an error in an UPDATE, weakest first (the strongest wins, RFC 7606 §3h).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum AttrVerdict {
    /// The attribute is dropped, the routes stay.
    Discard,
    /// The routes are handled as if withdrawn.
    TreatAsWithdraw,
    /// The session ends with a NOTIFICATION.
    Reset,
}

/// One error found in an UPDATE that did not end the session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttrError {
    /// Attribute type code; 0 when the error is of the UPDATE itself.
    pub code: u8,
    /// What was done about it.
    pub verdict: AttrVerdict,
    /// The clause that says so, such as `RFC 7606 §7.1`.
    pub clause: &'static str,
    /// What was wrong, for a person.
    pub what: String,
    /// The attribute's octets (header and value), as far as they were there.
    pub raw: Bytes,
}
