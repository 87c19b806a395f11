//! UPDATE, values to octets: whole messages, as full as the session allows.
//!
//! All-or-nothing: on an error the output buffer is as it was. Nothing is truncated; attributes that leave no room for a
//! route are [`EncodeError::TooLong`], and the caller withdraws the route from that peer (RFC 4271 §9.2).

use bytes::{BufMut, Bytes, BytesMut};
use net_types::Family;

use super::{NextHop, Nlri, SessionContext, Update};
use crate::attr::encode::encode_attributes;
use crate::attr::table::{code, flag};
use crate::family::{FamilyCodec, codec};
use crate::message::{HEADER_LEN, MAX_LEN, begin, finish};
use crate::{EncodeError, MessageType, PathAttributes};

/// Octets of the two length fields.
const LENGTHS: usize = 4;
/// Octets of an attribute header with Extended Length.
const ATTRIBUTE_HEADER: usize = 4;

/// A set of attributes with its next hop as octets for one kind of session: made once, written before any number of
/// routes of one family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AttributeBlock {
    family: Family,
    /// The beginning of MP_REACH_NLRI's value (AFI, SAFI, next hop, reserved octet), if the routes go there, and the
    /// attributes after it.
    octets: Box<[u8]>,
    /// Octets of the first part; zero: the routes go into the NLRI field.
    reach: usize,
    /// Where the next hop's address stands.
    next_hop_at: usize,
}

impl AttributeBlock {
    /// Encodes `attrs`. IPv4 with an IPv4 next hop gets a NEXT_HOP, everything else an MP_REACH_NLRI. Attributes that must
    /// not leave the AS are left out on eBGP sessions; LOCAL_PREF on iBGP ones is the caller's to set (RFC 4271 §5.1.5).
    pub fn new(
        family: Family,
        next_hop: &NextHop,
        attrs: &PathAttributes,
        ctx: &SessionContext,
    ) -> Result<AttributeBlock, EncodeError> {
        AttributeBlock::with_room(family, next_hop, attrs, ctx, &mut Vec::with_capacity(128))
    }

    /// As [`AttributeBlock::new`], with room that serves again for the next one.
    pub fn with_room(
        family: Family,
        next_hop: &NextHop,
        attrs: &PathAttributes,
        ctx: &SessionContext,
        out: &mut Vec<u8>,
    ) -> Result<AttributeBlock, EncodeError> {
        out.clear();
        let codec = codec(family).ok_or(EncodeError::UnsupportedFamily(family))?;
        let classic = match *next_hop {
            NextHop::V4(address) if family == Family::IPV4_UNICAST => Some(address),
            _ => None,
        };
        let mut next_hop_at = 0;
        if classic.is_none() {
            let mut address = BytesMut::new();
            codec.encode_next_hop(next_hop, ctx.extended_next_hop.contains(&family), &mut address)?;
            let length = u8::try_from(address.len()).map_err(|_| EncodeError::FieldTooLong("the next hop"))?;
            out.extend_from_slice(&family.afi.0.to_be_bytes());
            out.extend_from_slice(&[family.safi.0, length]);
            next_hop_at = out.len();
            out.extend_from_slice(&address);
            out.push(0);
        }
        let reach = out.len();
        if let Some(at) = encode_attributes(attrs, classic, ctx, out)? {
            next_hop_at = at;
        }
        Ok(AttributeBlock { family, octets: out.as_slice().into(), reach, next_hop_at })
    }

    /// Octets of a message beside its routes, about.
    pub fn overhead(&self) -> usize {
        HEADER_LEN + LENGTHS + ATTRIBUTE_HEADER + self.octets.len()
    }

    /// True if a message of the session has room for this route beside the attributes.
    pub fn fits(&self, nlri: &Nlri, ctx: &SessionContext) -> bool {
        let header = if self.reach == 0 { 0 } else { ATTRIBUTE_HEADER };
        let len = codec(self.family).and_then(|c| c.nlri_len(nlri, ctx.add_path_send.contains(&self.family)).ok());
        room(ctx, header + self.octets.len()).ok().zip(len).is_some_and(|(room, len)| len <= room)
    }

    /// Appends UPDATEs that announce `nlri`, each as full as the session allows. `next_hop_at` is told where in `out` the
    /// next hop's address stands in each of them; what it was told before an error is void.
    pub fn announce(
        &self,
        nlri: impl IntoIterator<Item = Nlri>,
        ctx: &SessionContext,
        out: &mut BytesMut,
        mut next_hop_at: impl FnMut(usize),
    ) -> Result<(), EncodeError> {
        let add_path = ctx.add_path_send.contains(&self.family);
        let codec = codec(self.family).ok_or(EncodeError::UnsupportedFamily(self.family))?;
        let (reach, attributes) = self.octets.split_at_checked(self.reach).ok_or(EncodeError::TooLong)?;
        if reach.is_empty() {
            let length = length(attributes.len())?;
            let room = room(ctx, attributes.len())?;
            let open = |out: &mut BytesMut| {
                let start = begin(out, MessageType::Update);
                out.put_u16(0);
                out.put_u16(length);
                next_hop_at(out.len() + self.next_hop_at);
                out.put_slice(attributes);
                start
            };
            return each_message(codec, add_path, nlri, room, out, open, |out, start| {
                finish(out, start, ctx.max_len())
            });
        }
        let room = room(ctx, ATTRIBUTE_HEADER + self.octets.len())?;
        // RFC 7606 §5.1: MP_REACH_NLRI first, so that it is found whatever becomes of the others.
        let open = |out: &mut BytesMut| {
            let started = begin_reach(out, code::MP_REACH_NLRI);
            out.put_slice(reach);
            started
        };
        each_message(codec, add_path, nlri, room, out, open, |out, started| {
            let value = finish_reach(out, &started)?;
            next_hop_at(value + self.next_hop_at);
            out.put_slice(attributes);
            finish_attributes(out, &started, ctx)
        })
    }
}

/// Appends UPDATEs that announce `nlri`, all of one family, with one next hop and one set of attributes, as
/// [`AttributeBlock`] does.
pub fn encode_announce(
    family: Family,
    next_hop: &NextHop,
    attrs: &PathAttributes,
    nlri: impl IntoIterator<Item = Nlri>,
    ctx: &SessionContext,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    AttributeBlock::new(family, next_hop, attrs, ctx)?.announce(nlri, ctx, out, |_| {})
}

/// Appends UPDATEs that withdraw `nlri`, all of one family: IPv4 in the Withdrawn Routes field, others in
/// MP_UNREACH_NLRI.
pub fn encode_withdraw(
    family: Family,
    nlri: impl IntoIterator<Item = Nlri>,
    ctx: &SessionContext,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let codec = codec(family).ok_or(EncodeError::UnsupportedFamily(family))?;
    let add_path = ctx.add_path_send.contains(&family);
    if family == Family::IPV4_UNICAST {
        let open = |out: &mut BytesMut| {
            let start = begin(out, MessageType::Update);
            out.put_u16(0);
            start
        };
        return each_message(codec, add_path, nlri, room(ctx, 0)?, out, open, |out, start| {
            let field = start + HEADER_LEN;
            set_u16(out, field, out.len() - field - 2)?;
            out.put_u16(0);
            finish(out, start, ctx.max_len())
        });
    }
    let open = |out: &mut BytesMut| {
        let started = begin_reach(out, code::MP_UNREACH_NLRI);
        put_family(family, out);
        started
    };
    each_message(codec, add_path, nlri, room(ctx, ATTRIBUTE_HEADER + 3)?, out, open, |out, started| {
        finish_reach(out, &started)?;
        finish_attributes(out, &started, ctx)
    })
}

/// The End-of-RIB marker of a family (RFC 4724 §2), header included.
pub fn encode_end_of_rib(family: Family) -> Bytes {
    let mut out = BytesMut::new();
    let start = begin(&mut out, MessageType::Update);
    out.put_u16(0);
    if family == Family::IPV4_UNICAST {
        out.put_u16(0);
    } else {
        out.put_u16(6);
        out.put_slice(&[flag::OPTIONAL, code::MP_UNREACH_NLRI, 3]);
        put_family(family, &mut out);
    }
    debug_assert!(out.len() <= HEADER_LEN + 10, "an End-of-RIB is 23 or 29 octets");
    let _ = finish(&mut out, start, MAX_LEN);
    out.freeze()
}

/// Appends a decoded or hand-made UPDATE: its withdrawals, its announcements, its marker.
pub(crate) fn encode_update(update: &Update, ctx: &SessionContext, out: &mut BytesMut) -> Result<(), EncodeError> {
    let start = out.len();
    let mut all = || {
        for u in &update.unreach {
            encode_withdraw(u.family, u.nlri.iter().copied(), ctx, out)?;
        }
        for r in &update.reach {
            encode_announce(r.family, &r.next_hop, &update.attributes, r.nlri.iter().copied(), ctx, out)?;
        }
        Ok(())
    };
    if let Err(e) = all() {
        out.truncate(start);
        return Err(e);
    }
    if let Some(family) = update.end_of_rib {
        out.put_slice(&encode_end_of_rib(family));
    }
    Ok(())
}

fn put_family(family: Family, out: &mut BytesMut) {
    out.put_u16(family.afi.0);
    out.put_u8(family.safi.0);
}

/// A message whose first attribute is being written.
struct Started {
    message: usize,
    /// Where the attribute's value begins, with a length field of two octets before it.
    value: usize,
}

/// Begins a message of attributes only, with one whose length is not known yet.
fn begin_reach(out: &mut BytesMut, code: u8) -> Started {
    let message = begin(out, MessageType::Update);
    out.put_u32(0);
    out.put_slice(&[flag::OPTIONAL | flag::EXTENDED_LENGTH, code, 0, 0]);
    Started { message, value: out.len() }
}

/// Ends that attribute: Extended Length only where one octet does not hold the length (RFC 4271 §4.3). Gives where the
/// value stands now.
fn finish_reach(out: &mut BytesMut, started: &Started) -> Result<usize, EncodeError> {
    let (value, end) = (started.value, out.len());
    let Ok(short) = u8::try_from(end - value) else {
        set_u16(out, value - 2, end - value)?;
        return Ok(value);
    };
    out.copy_within(value..end, value - 1);
    out.truncate(end - 1);
    if let Some([flags, _, len]) = out.get_mut(value - 4..value - 1) {
        (*flags, *len) = (flag::OPTIONAL, short);
    }
    Ok(value - 1)
}

/// Ends the message.
fn finish_attributes(out: &mut BytesMut, started: &Started, ctx: &SessionContext) -> Result<(), EncodeError> {
    let attributes = started.message + HEADER_LEN + LENGTHS;
    set_u16(out, attributes - 2, out.len() - attributes)?;
    finish(out, started.message, ctx.max_len())
}

fn set_u16(out: &mut BytesMut, at: usize, value: usize) -> Result<(), EncodeError> {
    let value = length(value)?;
    if let Some(field) = out.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
    Ok(())
}

fn length(octets: usize) -> Result<u16, EncodeError> {
    u16::try_from(octets).map_err(|_| EncodeError::TooLong)
}

/// Octets left for NLRI beside `taken`.
fn room(ctx: &SessionContext, taken: usize) -> Result<usize, EncodeError> {
    ctx.max_len().checked_sub(HEADER_LEN + LENGTHS + taken).ok_or(EncodeError::TooLong)
}

/// Writes the entries into messages, at most `room` octets of them in each. `open` begins a message and leaves `out` where
/// the entries go, `close` ends it.
fn each_message<S>(
    codec: &dyn FamilyCodec,
    add_path: bool,
    nlri: impl IntoIterator<Item = Nlri>,
    room: usize,
    out: &mut BytesMut,
    mut open: impl FnMut(&mut BytesMut) -> S,
    mut close: impl FnMut(&mut BytesMut, S) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    let fill = || {
        // The message under way and where its entries begin.
        let mut message: Option<(S, usize)> = None;
        for n in nlri {
            // Written before it is known to fit: one that does not is the first of the next message.
            let before = out.len();
            if message.is_some() {
                codec.encode_nlri(&n, add_path, out)?;
            }
            if let Some((state, _)) = message.take_if(|(_, from)| out.len() - *from > room) {
                out.truncate(before);
                close(out, state)?;
            }
            if message.is_none() {
                let state = open(out);
                let from = out.len();
                codec.encode_nlri(&n, add_path, out)?;
                if out.len() - from > room {
                    return Err(EncodeError::TooLong);
                }
                message = Some((state, from));
            }
        }
        message.map_or(Ok(()), |(state, _)| close(out, state))
    };
    let done = fill();
    if done.is_err() {
        out.truncate(start);
    }
    done
}
