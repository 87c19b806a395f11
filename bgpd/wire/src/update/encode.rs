//! UPDATE, values to octets: whole messages, as full as the session allows.
//!
//! All-or-nothing: on an error the output buffer is as it was. Nothing is truncated; attributes that leave no room for a
//! route are [`EncodeError::TooLong`], and the caller withdraws the route from that peer (RFC 4271 §9.2).

use bytes::{BufMut, Bytes, BytesMut};
use net_types::Family;

use super::{NextHop, Nlri, SessionContext, Update};
use crate::attr::encode::{encode_attributes, put, put_header};
use crate::attr::table::{code, flag};
use crate::family::{FamilyCodec, codec};
use crate::message::{HEADER_LEN, MAX_LEN, begin, finish};
use crate::{EncodeError, MessageType, PathAttributes};

/// Octets of the two length fields.
const LENGTHS: usize = 4;
/// Octets of an attribute header with Extended Length.
const ATTRIBUTE_HEADER: usize = 4;

/// Appends UPDATEs that announce `nlri`, all of one family, with one next hop and one set of attributes.
///
/// IPv4 with an IPv4 next hop goes into the NLRI field, everything else into MP_REACH_NLRI. Attributes that must not
/// leave the AS are left out on eBGP sessions; LOCAL_PREF on iBGP ones is the caller's to set (RFC 4271 §5.1.5).
pub fn encode_announce(
    family: Family,
    next_hop: &NextHop,
    attrs: &PathAttributes,
    nlri: impl IntoIterator<Item = Nlri>,
    ctx: &SessionContext,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let codec = codec(family).ok_or(EncodeError::UnsupportedFamily(family))?;
    let add_path = ctx.add_path_send.contains(&family);
    let classic = match *next_hop {
        NextHop::V4(address) if family == Family::IPV4_UNICAST => Some(address),
        _ => None,
    };
    let mut block = BytesMut::new();
    encode_attributes(attrs, classic, ctx, &mut block)?;
    if classic.is_some() {
        let room = room(ctx, block.len())?;
        return each_message(codec, add_path, nlri, room, out, |field, out| {
            let start = begin(out, MessageType::Update);
            out.put_u16(0);
            out.put_u16(length(block.len())?);
            out.put_slice(&block);
            out.put_slice(field);
            finish(out, start, ctx.max_len())
        });
    }
    let mut head = BytesMut::new();
    put_family(family, &mut head);
    let mut address = BytesMut::new();
    codec.encode_next_hop(next_hop, ctx.extended_next_hop.contains(&family), &mut address)?;
    head.put_u8(u8::try_from(address.len()).map_err(|_| EncodeError::FieldTooLong("the next hop"))?);
    head.put_slice(&address);
    head.put_u8(0);
    let room = room(ctx, block.len() + ATTRIBUTE_HEADER + head.len())?;
    each_message(codec, add_path, nlri, room, out, |field, out| {
        // RFC 7606 §5.1: MP_REACH_NLRI first, so that it is found whatever becomes of the others.
        let mut attributes = BytesMut::with_capacity(ATTRIBUTE_HEADER + head.len() + field.len() + block.len());
        put_header(&mut attributes, flag::OPTIONAL, code::MP_REACH_NLRI, head.len() + field.len())?;
        attributes.put_slice(&head);
        attributes.put_slice(field);
        attributes.put_slice(&block);
        put_attributes_only(&attributes, ctx, out)
    })
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
        return each_message(codec, add_path, nlri, room(ctx, 0)?, out, |field, out| {
            let start = begin(out, MessageType::Update);
            out.put_u16(length(field.len())?);
            out.put_slice(field);
            out.put_u16(0);
            finish(out, start, ctx.max_len())
        });
    }
    let room = room(ctx, ATTRIBUTE_HEADER + 3)?;
    each_message(codec, add_path, nlri, room, out, |field, out| {
        let mut value = BytesMut::with_capacity(3 + field.len());
        put_family(family, &mut value);
        value.put_slice(field);
        let mut attribute = BytesMut::with_capacity(ATTRIBUTE_HEADER + value.len());
        put(&mut attribute, flag::OPTIONAL, code::MP_UNREACH_NLRI, &value)?;
        put_attributes_only(&attribute, ctx, out)
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

fn put_attributes_only(attributes: &[u8], ctx: &SessionContext, out: &mut BytesMut) -> Result<(), EncodeError> {
    let start = begin(out, MessageType::Update);
    out.put_u16(0);
    out.put_u16(length(attributes.len())?);
    out.put_slice(attributes);
    finish(out, start, ctx.max_len())
}

fn length(octets: usize) -> Result<u16, EncodeError> {
    u16::try_from(octets).map_err(|_| EncodeError::TooLong)
}

/// Octets left for NLRI beside `taken`.
fn room(ctx: &SessionContext, taken: usize) -> Result<usize, EncodeError> {
    ctx.max_len().checked_sub(HEADER_LEN + LENGTHS + taken).ok_or(EncodeError::TooLong)
}

/// Encodes the entries into fields of at most `room` octets and hands each to `message`.
fn each_message(
    codec: &dyn FamilyCodec,
    add_path: bool,
    nlri: impl IntoIterator<Item = Nlri>,
    room: usize,
    out: &mut BytesMut,
    mut message: impl FnMut(&[u8], &mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    let mut field = BytesMut::with_capacity(room.min(1024));
    let fill = || {
        for n in nlri {
            let full = field.len();
            codec.encode_nlri(&n, add_path, &mut field)?;
            if field.len() > room {
                let entry = field.split_off(full);
                if entry.len() > room {
                    return Err(EncodeError::TooLong);
                }
                message(&field, out)?;
                field.clear();
                field.put_slice(&entry);
            }
        }
        if field.is_empty() { Ok(()) } else { message(&field, out) }
    };
    fill().inspect_err(|_| out.truncate(start))
}
