//! Header, framing, and the union of the messages (RFC 4271 §4.1, RFC 2918, RFC 8654).

use crate::{Notification, Open, RouteRefresh, Update};

/// Octets of the fixed header: marker 16, length 2, type 1.
pub const HEADER_LEN: usize = 19;
/// Longest message without RFC 8654.
pub const MAX_LEN: usize = 4096;
/// Longest message with RFC 8654.
pub const MAX_EXTENDED_LEN: usize = 65535;

/// Message type codes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageType {
    /// 1
    Open,
    /// 2
    Update,
    /// 3
    Notification,
    /// 4
    Keepalive,
    /// 5, RFC 2918
    RouteRefresh,
}

/// One decoded message.
#[allow(clippy::large_enum_variant, reason = "a message lives on the stack for the length of one call")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// RFC 4271 §4.2
    Open(Open),
    /// RFC 4271 §4.3
    Update(Update),
    /// RFC 4271 §4.5
    Notification(Notification),
    /// RFC 4271 §4.4
    Keepalive,
    /// RFC 2918 §3, RFC 7313 §3.2
    RouteRefresh(RouteRefresh),
}
