//! NOTIFICATION: codes, subcodes, data (RFC 4271 §4.5, RFC 4486, RFC 6608, RFC 7313, RFC 8203/9003, RFC 8538, RFC 9234,
//! RFC 9687).
//!
//! Decoding never fails beyond the two octets the frame guarantees: a NOTIFICATION is never answered (RFC 4271 §6.4), so
//! whatever stands in it is kept for the log. Invariant: a notification made here fits a message of 4096 octets.

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::EncodeError;
use crate::message::{HEADER_LEN, MAX_LEN};
use crate::reader::Reader;

/// Error codes.
#[allow(missing_docs, reason = "the names are the RFCs' own")]
pub mod code {
    pub const MESSAGE_HEADER: u8 = 1;
    pub const OPEN: u8 = 2;
    pub const UPDATE: u8 = 3;
    pub const HOLD_TIMER_EXPIRED: u8 = 4;
    pub const FSM: u8 = 5;
    pub const CEASE: u8 = 6;
    /// RFC 7313
    pub const ROUTE_REFRESH: u8 = 7;
    /// RFC 9687
    pub const SEND_HOLD_TIMER_EXPIRED: u8 = 8;
}

/// Subcodes of Message Header Error (RFC 4271 §6.1).
#[allow(missing_docs, reason = "the names are the RFCs' own")]
pub mod header_error {
    pub const CONNECTION_NOT_SYNCHRONIZED: u8 = 1;
    pub const BAD_MESSAGE_LENGTH: u8 = 2;
    pub const BAD_MESSAGE_TYPE: u8 = 3;
}

/// Subcodes of OPEN Message Error (RFC 4271 §6.2).
#[allow(missing_docs, reason = "the names are the RFCs' own")]
pub mod open_error {
    pub const UNSPECIFIC: u8 = 0;
    pub const UNSUPPORTED_VERSION: u8 = 1;
    pub const BAD_PEER_AS: u8 = 2;
    pub const BAD_BGP_IDENTIFIER: u8 = 3;
    pub const UNSUPPORTED_OPTIONAL_PARAMETER: u8 = 4;
    pub const UNACCEPTABLE_HOLD_TIME: u8 = 6;
    /// RFC 5492 §5
    pub const UNSUPPORTED_CAPABILITY: u8 = 7;
    /// RFC 9234 §4.2
    pub const ROLE_MISMATCH: u8 = 11;
}

/// Subcodes of UPDATE Message Error (RFC 4271 §6.3).
#[allow(missing_docs, reason = "the names are the RFCs' own")]
pub mod update_error {
    pub const MALFORMED_ATTRIBUTE_LIST: u8 = 1;
    pub const UNRECOGNIZED_WELL_KNOWN_ATTRIBUTE: u8 = 2;
    pub const MISSING_WELL_KNOWN_ATTRIBUTE: u8 = 3;
    pub const ATTRIBUTE_FLAGS: u8 = 4;
    pub const ATTRIBUTE_LENGTH: u8 = 5;
    pub const INVALID_ORIGIN: u8 = 6;
    pub const INVALID_NEXT_HOP: u8 = 8;
    pub const OPTIONAL_ATTRIBUTE: u8 = 9;
    pub const INVALID_NETWORK_FIELD: u8 = 10;
    pub const MALFORMED_AS_PATH: u8 = 11;
}

/// Subcodes of Finite State Machine Error (RFC 6608 §3).
#[allow(missing_docs, reason = "the names are the RFCs' own")]
pub mod fsm_error {
    pub const UNSPECIFIED: u8 = 0;
    pub const UNEXPECTED_IN_OPEN_SENT: u8 = 1;
    pub const UNEXPECTED_IN_OPEN_CONFIRM: u8 = 2;
    pub const UNEXPECTED_IN_ESTABLISHED: u8 = 3;
}

/// Subcodes of Cease (RFC 4486 §3, RFC 8538 §3).
#[allow(missing_docs, reason = "the names are the RFCs' own")]
pub mod cease {
    pub const MAXIMUM_PREFIXES: u8 = 1;
    pub const ADMINISTRATIVE_SHUTDOWN: u8 = 2;
    pub const PEER_DECONFIGURED: u8 = 3;
    pub const ADMINISTRATIVE_RESET: u8 = 4;
    pub const CONNECTION_REJECTED: u8 = 5;
    pub const OTHER_CONFIGURATION_CHANGE: u8 = 6;
    pub const CONNECTION_COLLISION_RESOLUTION: u8 = 7;
    pub const OUT_OF_RESOURCES: u8 = 8;
    /// RFC 8538 §3
    pub const HARD_RESET: u8 = 9;
    /// RFC 9384
    pub const BFD_DOWN: u8 = 10;
}

/// Subcodes of ROUTE-REFRESH Message Error (RFC 7313 §5).
#[allow(missing_docs, reason = "the names are the RFCs' own")]
pub mod route_refresh_error {
    pub const INVALID_MESSAGE_LENGTH: u8 = 1;
}

/// Longest data field of a notification every peer can take.
const MAX_DATA: usize = MAX_LEN - HEADER_LEN - 2;

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

    /// A notification with the octets that caused it, as many of them as fit a message of 4096 octets (the data is a
    /// diagnosis, and it may quote an extended message to a peer that never agreed to receive one).
    pub fn with_data(code: u8, subcode: u8, data: &[u8]) -> Notification {
        let data = data.get(..MAX_DATA).unwrap_or(data);
        Notification { code, subcode, data: Bytes::copy_from_slice(data) }
    }

    /// A Cease without data.
    pub const fn cease(subcode: u8) -> Notification {
        Notification::new(code::CEASE, subcode)
    }

    /// Administrative Shutdown or Reset with a word for the other side's operator (RFC 9003 §2): at most 255 octets of
    /// UTF-8, else [`EncodeError::FieldTooLong`].
    pub fn administrative(subcode: u8, text: &str) -> Result<Notification, EncodeError> {
        if text.is_empty() {
            return Ok(Notification::cease(subcode));
        }
        let len = u8::try_from(text.len()).map_err(|_| EncodeError::FieldTooLong("shutdown communication"))?;
        let mut data = BytesMut::with_capacity(1 + text.len());
        data.put_u8(len);
        data.put_slice(text.as_bytes());
        Ok(Notification { code: code::CEASE, subcode, data: data.freeze() })
    }

    /// The shutdown communication of a Cease 2 or 4, if a well-formed one is there (RFC 9003 §2); octets that are not
    /// UTF-8 come out as U+FFFD.
    pub fn shutdown_text(&self) -> Option<Cow<'_, str>> {
        if self.code != code::CEASE
            || !matches!(self.subcode, cease::ADMINISTRATIVE_SHUTDOWN | cease::ADMINISTRATIVE_RESET)
        {
            return None;
        }
        let mut r = Reader::new(&self.data);
        let len = r.u8()?;
        let text = r.take(usize::from(len))?;
        (!text.is_empty()).then(|| String::from_utf8_lossy(text))
    }

    /// Cease / Hard Reset around another notification: graceful restart does not apply (RFC 8538 §3.1).
    #[must_use]
    pub fn hard_reset(&self) -> Notification {
        let mut data = BytesMut::with_capacity(2 + self.data.len());
        data.put_slice(&[self.code, self.subcode]);
        data.put_slice(&self.data);
        Notification::with_data(code::CEASE, cease::HARD_RESET, &data)
    }

    /// What a Hard Reset carries inside (RFC 8538 §3.1).
    pub fn encapsulated(&self) -> Option<Notification> {
        if self.code != code::CEASE || self.subcode != cease::HARD_RESET {
            return None;
        }
        let mut r = Reader::new(&self.data);
        let (code, subcode) = (r.u8()?, r.u8()?);
        Some(Notification { code, subcode, data: self.data.slice(2..) })
    }

    /// Reads a body. Only one that is too short to hold code and subcode is refused, and that the frame has seen to.
    pub fn decode(body: &[u8]) -> Result<Notification, Notification> {
        let mut r = Reader::new(body);
        match (r.u8(), r.u8()) {
            (Some(code), Some(subcode)) => Ok(Notification { code, subcode, data: Bytes::copy_from_slice(r.rest()) }),
            _ => Err(Notification::new(code::MESSAGE_HEADER, header_error::BAD_MESSAGE_LENGTH)),
        }
    }

    /// Appends the body: code, subcode, data.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&[self.code, self.subcode]);
        out.put_slice(&self.data);
    }

    /// Name of the error code, if it has one.
    pub fn code_name(&self) -> Option<&'static str> {
        Some(match self.code {
            code::MESSAGE_HEADER => "Message Header Error",
            code::OPEN => "OPEN Message Error",
            code::UPDATE => "UPDATE Message Error",
            code::HOLD_TIMER_EXPIRED => "Hold Timer Expired",
            code::FSM => "Finite State Machine Error",
            code::CEASE => "Cease",
            code::ROUTE_REFRESH => "ROUTE-REFRESH Message Error",
            code::SEND_HOLD_TIMER_EXPIRED => "Send Hold Timer Expired",
            _ => return None,
        })
    }

    /// Name of the subcode, if it has one.
    pub fn subcode_name(&self) -> Option<&'static str> {
        Some(match (self.code, self.subcode) {
            (1, 1) => "Connection Not Synchronized",
            (1, 2) => "Bad Message Length",
            (1, 3) => "Bad Message Type",
            (2, 1) => "Unsupported Version Number",
            (2, 2) => "Bad Peer AS",
            (2, 3) => "Bad BGP Identifier",
            (2, 4) => "Unsupported Optional Parameter",
            (2, 6) => "Unacceptable Hold Time",
            (2, 7) => "Unsupported Capability",
            (2, 11) => "Role Mismatch",
            (3, 1) => "Malformed Attribute List",
            (3, 2) => "Unrecognized Well-known Attribute",
            (3, 3) => "Missing Well-known Attribute",
            (3, 4) => "Attribute Flags Error",
            (3, 5) => "Attribute Length Error",
            (3, 6) => "Invalid ORIGIN Attribute",
            (3, 8) => "Invalid NEXT_HOP Attribute",
            (3, 9) => "Optional Attribute Error",
            (3, 10) => "Invalid Network Field",
            (3, 11) => "Malformed AS_PATH",
            (5, 1) => "Unexpected Message in OpenSent",
            (5, 2) => "Unexpected Message in OpenConfirm",
            (5, 3) => "Unexpected Message in Established",
            (6, 1) => "Maximum Number of Prefixes Reached",
            (6, 2) => "Administrative Shutdown",
            (6, 3) => "Peer De-configured",
            (6, 4) => "Administrative Reset",
            (6, 5) => "Connection Rejected",
            (6, 6) => "Other Configuration Change",
            (6, 7) => "Connection Collision Resolution",
            (6, 8) => "Out of Resources",
            (6, 9) => "Hard Reset",
            (6, 10) => "BFD Down",
            (7, 1) => "Invalid Message Length",
            _ => return None,
        })
    }
}

/// `Cease / Administrative Shutdown: "moving the rack"`; numbers where there is no name, octets where no text.
impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code_name() {
            Some(name) => f.write_str(name)?,
            None => write!(f, "error code {}", self.code)?,
        }
        match self.subcode_name() {
            Some(name) => write!(f, " / {name}")?,
            None if self.subcode != 0 => write!(f, " / subcode {}", self.subcode)?,
            None => {}
        }
        if let Some(text) = self.shutdown_text() {
            // Debug quoting keeps control characters of a stranger out of the operator's terminal.
            return write!(f, ": {text:?}");
        }
        // One level only: a Hard Reset inside a Hard Reset is a stranger's joke, not a reason to recurse.
        if let Some(inner) = self.encapsulated().filter(|n| n.encapsulated().is_none()) {
            return write!(f, " ({inner})");
        }
        if !self.data.is_empty() {
            f.write_str(", data ")?;
            for b in self.data.iter().take(32) {
                write!(f, "{b:02x}")?;
            }
            if self.data.len() > 32 {
                write!(f, "... ({} octets)", self.data.len())?;
            }
        }
        Ok(())
    }
}
