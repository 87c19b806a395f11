//! Header, framing, and the union of the messages (RFC 4271 §4.1, RFC 2918, RFC 8654).
//!
//! [`frame`] judges the header as soon as its 19 octets are there, so a peer that announces nonsense is answered at
//! once and never makes the receiver wait for, or buffer, more than the longest message agreed.

use bytes::{BufMut, Bytes, BytesMut};

use crate::notification::{code, header_error, route_refresh_error};
use crate::update::{decode_update, encode_update};
use crate::{EncodeError, Notification, Open, RouteRefresh, SessionContext, Update};

/// Octets of the fixed header: marker 16, length 2, type 1.
pub const HEADER_LEN: usize = 19;
/// Longest message without RFC 8654.
pub const MAX_LEN: usize = 4096;
/// Longest message with RFC 8654.
pub const MAX_EXTENDED_LEN: usize = 65535;

/// Octets of a ROUTE-REFRESH.
const ROUTE_REFRESH_LEN: usize = 23;

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

impl MessageType {
    fn from_u8(v: u8) -> Option<MessageType> {
        Some(match v {
            1 => MessageType::Open,
            2 => MessageType::Update,
            3 => MessageType::Notification,
            4 => MessageType::Keepalive,
            5 => MessageType::RouteRefresh,
            _ => return None,
        })
    }

    /// The code on the wire.
    pub fn to_u8(self) -> u8 {
        match self {
            MessageType::Open => 1,
            MessageType::Update => 2,
            MessageType::Notification => 3,
            MessageType::Keepalive => 4,
            MessageType::RouteRefresh => 5,
        }
    }
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

impl Message {
    /// Its type.
    pub fn kind(&self) -> MessageType {
        match self {
            Message::Open(_) => MessageType::Open,
            Message::Update(_) => MessageType::Update,
            Message::Notification(_) => MessageType::Notification,
            Message::Keepalive => MessageType::Keepalive,
            Message::RouteRefresh(_) => MessageType::RouteRefresh,
        }
    }
}

/// A whole message at the start of a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Its type.
    pub kind: MessageType,
    /// Its octets, header included; the body is `buf[19..len]`.
    pub len: usize,
}

/// Finds one message at the start of `buf`; `None` means read more. `max_len` is 4096, or 65535 once RFC 8654 is in
/// force. An error is the NOTIFICATION to send before closing.
pub fn frame(buf: &[u8], max_len: usize) -> Result<Option<Frame>, Notification> {
    let Some((header, body)) = buf.split_first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let [marker @ .., l0, l1, kind] = header;
    // RFC 4271 §6.1: marker, then length, then type.
    if marker.iter().any(|b| *b != 0xff) {
        return Err(Notification::new(code::MESSAGE_HEADER, header_error::CONNECTION_NOT_SYNCHRONIZED));
    }
    let bad_length = || Notification::with_data(code::MESSAGE_HEADER, header_error::BAD_MESSAGE_LENGTH, &[*l0, *l1]);
    let len = usize::from(u16::from_be_bytes([*l0, *l1]));
    if len < HEADER_LEN || len > max_len {
        return Err(bad_length());
    }
    let Some(kind) = MessageType::from_u8(*kind) else {
        return Err(Notification::with_data(code::MESSAGE_HEADER, header_error::BAD_MESSAGE_TYPE, &[*kind]));
    };
    let fits = match kind {
        // RFC 8654 §4: these two stay as they were.
        MessageType::Open => (29..=MAX_LEN).contains(&len),
        MessageType::Keepalive => len == HEADER_LEN,
        MessageType::Update => len >= 23,
        MessageType::Notification => len >= 21,
        MessageType::RouteRefresh if len != ROUTE_REFRESH_LEN => {
            return odd_route_refresh(buf, body, len, bad_length());
        }
        MessageType::RouteRefresh => true,
    };
    if !fits {
        return Err(bad_length());
    }
    Ok((buf.len() >= len).then_some(Frame { kind, len }))
}

/// RFC 7313 §5: a BoRR or EoRR of a wrong length is an error of its own and quotes the whole message; any other
/// ROUTE-REFRESH of a wrong length is a bad header. The subtype is the body's third octet.
fn odd_route_refresh(
    buf: &[u8],
    body: &[u8],
    len: usize,
    bad_length: Notification,
) -> Result<Option<Frame>, Notification> {
    const SUBTYPE: usize = 2;
    if len <= HEADER_LEN + SUBTYPE {
        return Err(bad_length);
    }
    match (body.get(SUBTYPE), buf.get(..len)) {
        (None, _) | (Some(1 | 2), None) => Ok(None),
        (Some(1 | 2), Some(message)) => {
            Err(Notification::with_data(code::ROUTE_REFRESH, route_refresh_error::INVALID_MESSAGE_LENGTH, message))
        }
        _ => Err(bad_length),
    }
}

/// Turns the body of a frame into a value. An error is the NOTIFICATION to send before closing.
pub fn decode(kind: MessageType, body: &[u8], ctx: &SessionContext) -> Result<Message, Notification> {
    match kind {
        MessageType::Open => Open::decode(body).map(Message::Open),
        MessageType::Update => decode_update(body, ctx).map(Message::Update),
        MessageType::Notification => Notification::decode(body).map(Message::Notification),
        MessageType::Keepalive if body.is_empty() => Ok(Message::Keepalive),
        MessageType::Keepalive => Err(Notification::new(code::MESSAGE_HEADER, header_error::BAD_MESSAGE_LENGTH)),
        MessageType::RouteRefresh => RouteRefresh::decode(body).map(Message::RouteRefresh),
    }
}

/// The octets of a message. An UPDATE with more routes than one message holds comes out as several; routes in bulk go
/// through [`crate::update::encode_announce`] and its sisters.
pub fn encode(message: &Message, ctx: &SessionContext) -> Result<Bytes, EncodeError> {
    let mut out = BytesMut::new();
    if let Message::Update(update) = message {
        encode_update(update, ctx, &mut out)?;
        return Ok(out.freeze());
    }
    let start = begin(&mut out, message.kind());
    let max_len = match message {
        Message::Open(open) => {
            open.encode(&mut out)?;
            MAX_LEN
        }
        Message::Notification(n) => {
            n.encode(&mut out);
            ctx.max_len()
        }
        Message::RouteRefresh(rr) => {
            rr.encode(&mut out);
            MAX_LEN
        }
        Message::Keepalive | Message::Update(_) => MAX_LEN,
    };
    finish(&mut out, start, max_len)?;
    Ok(out.freeze())
}

/// Writes a header whose length [`finish`] fills in; returns where it stands.
pub(crate) fn begin(out: &mut BytesMut, kind: MessageType) -> usize {
    let start = out.len();
    out.put_bytes(0xff, 16);
    out.put_u16(0);
    out.put_u8(kind.to_u8());
    start
}

/// Closes the message begun at `start`; if it is too long nothing of it stays.
pub(crate) fn finish(out: &mut BytesMut, start: usize, max_len: usize) -> Result<(), EncodeError> {
    let len = out.len() - start;
    match (u16::try_from(len), out.get_mut(start + 16..start + 18)) {
        (Ok(l), Some(field)) if len <= max_len => {
            field.copy_from_slice(&l.to_be_bytes());
            Ok(())
        }
        _ => {
            out.truncate(start);
            Err(EncodeError::TooLong)
        }
    }
}
