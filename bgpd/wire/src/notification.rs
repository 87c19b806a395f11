//! NOTIFICATION: codes, subcodes, data (RFC 4271 §4.5, RFC 4486, RFC 7313, RFC 8203/9003, RFC 8538, RFC 9234, RFC 9687).

use bytes::Bytes;

/// A NOTIFICATION message: sent as it stands, and the reason a session ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode; 0 is "unspecific".
    pub subcode: u8,
    /// Data field.
    pub data: Bytes,
}

impl Notification {
    /// A notification without data.
    pub const fn new(code: u8, subcode: u8) -> Notification {
        Notification { code, subcode, data: Bytes::new() }
    }
}
