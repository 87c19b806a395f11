//! [`PathAttributes`] to octets, ascending by type code (RFC 4271 Appendix F.3); MP_REACH_NLRI goes before them
//! (RFC 7606 §5.1) and is [`crate::update`]'s.

use std::net::Ipv4Addr;

use super::table::{code, flag};
use super::{Aggregator, AsPath, Origin, PathAttributes, UnknownAttribute};
use crate::{EncodeError, SessionContext};

const WELL_KNOWN: u8 = flag::TRANSITIVE;
const OPTIONAL_TRANSITIVE: u8 = flag::OPTIONAL | flag::TRANSITIVE;
const OPTIONAL: u8 = flag::OPTIONAL;

/// Appends one attribute. Extended Length only where one octet does not hold the length (RFC 4271 §4.3).
pub(crate) fn put(out: &mut Vec<u8>, flags: u8, code: u8, value: &[u8]) -> Result<(), EncodeError> {
    put_header(out, flags, code, value.len())?;
    out.extend_from_slice(value);
    Ok(())
}

/// Appends flags, code and length of an attribute whose value follows.
pub(crate) fn put_header(out: &mut Vec<u8>, flags: u8, code: u8, len: usize) -> Result<(), EncodeError> {
    let flags = flags & !flag::EXTENDED_LENGTH;
    if let Ok(len) = u8::try_from(len) {
        out.extend_from_slice(&[flags, code, len]);
    } else {
        let len = u16::try_from(len).map_err(|_| EncodeError::TooLong)?;
        let [high, low] = len.to_be_bytes();
        out.extend_from_slice(&[flags | flag::EXTENDED_LENGTH, code, high, low]);
    }
    Ok(())
}

/// Appends all attributes but MP_REACH_NLRI; NEXT_HOP where given, and then where its address stands in `out`. LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST stay inside
/// the AS (RFC 4271 §5.1.5, RFC 4456 §8) whatever the caller left in them.
pub(crate) fn encode_attributes(
    a: &PathAttributes,
    next_hop: Option<Ipv4Addr>,
    ctx: &SessionContext,
    out: &mut Vec<u8>,
) -> Result<Option<usize>, EncodeError> {
    let mut w = Writer { out, unknown: &a.unknown };
    let mut next_hop_at = None;

    let origin = match a.origin {
        Origin::Igp => 0,
        Origin::Egp => 1,
        Origin::Incomplete => 2,
    };
    w.put(WELL_KNOWN, code::ORIGIN, &[origin])?;

    w.as_path(WELL_KNOWN, code::AS_PATH, &a.as_path, ctx.four_octet_as)?;
    if let Some(next_hop) = next_hop {
        let octets = next_hop.octets();
        w.put(WELL_KNOWN, code::NEXT_HOP, &octets)?;
        next_hop_at = Some(w.out.len() - octets.len());
    }
    if let Some(med) = a.med {
        w.put(OPTIONAL, code::MULTI_EXIT_DISC, &med.to_be_bytes())?;
    }
    if let Some(local_pref) = a.local_pref.filter(|_| !ctx.ebgp) {
        w.put(WELL_KNOWN, code::LOCAL_PREF, &local_pref.to_be_bytes())?;
    }
    if a.atomic_aggregate {
        w.put(WELL_KNOWN, code::ATOMIC_AGGREGATE, &[])?;
    }
    if let Some(aggregator) = &a.aggregator {
        w.aggregator(code::AGGREGATOR, aggregator, ctx.four_octet_as)?;
    }
    w.list(OPTIONAL_TRANSITIVE, code::COMMUNITIES, &a.communities, |c| c.0.to_be_bytes())?;
    if !ctx.ebgp {
        if let Some(id) = a.originator_id {
            w.put(OPTIONAL, code::ORIGINATOR_ID, &id.0.octets())?;
        }
        w.list(OPTIONAL, code::CLUSTER_LIST, &a.cluster_list, |c| c.0.octets())?;
    }
    w.list(OPTIONAL_TRANSITIVE, code::EXTENDED_COMMUNITIES, &a.extended_communities, |c| c.0)?;
    if !ctx.four_octet_as {
        // RFC 6793 §4.2.2: only when something would be lost.
        if let Some(path) = a.as_path.as4_path() {
            w.as_path(OPTIONAL_TRANSITIVE, code::AS4_PATH, &path, true)?;
        }
        if let Some(aggregator) = a.aggregator.as_ref().filter(|g| g.asn.0 > 0xffff) {
            w.aggregator(code::AS4_AGGREGATOR, aggregator, true)?;
        }
    }
    w.list(OPTIONAL_TRANSITIVE, code::LARGE_COMMUNITY, &a.large_communities, |c| {
        let mut octets = [0; 12];
        let fields = [c.global, c.local1, c.local2].into_iter().flat_map(u32::to_be_bytes);
        octets.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        octets
    })?;
    if let Some(otc) = a.otc {
        w.put(OPTIONAL_TRANSITIVE, code::ONLY_TO_CUSTOMER, &otc.0.to_be_bytes())?;
    }
    w.unknown_below(None)?;
    Ok(next_hop_at)
}

/// Writes known attributes and lets the unknown ones in where their code belongs.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// Those not written yet.
    unknown: &'a [UnknownAttribute],
}

impl Writer<'_> {
    fn put(&mut self, flags: u8, code: u8, value: &[u8]) -> Result<(), EncodeError> {
        self.unknown_below(Some(code))?;
        put(self.out, flags, code, value)
    }

    fn as_path(&mut self, flags: u8, code: u8, path: &AsPath, four_octet: bool) -> Result<(), EncodeError> {
        self.unknown_below(Some(code))?;
        put_header(self.out, flags, code, path.encoded_len(four_octet))?;
        path.encode(four_octet, self.out);
        Ok(())
    }

    fn aggregator(&mut self, code: u8, a: &Aggregator, four_octet: bool) -> Result<(), EncodeError> {
        self.unknown_below(Some(code))?;
        put_header(self.out, OPTIONAL_TRANSITIVE, code, if four_octet { 8 } else { 6 })?;
        if four_octet {
            self.out.extend_from_slice(&a.asn.0.to_be_bytes());
        } else {
            self.out.extend_from_slice(&a.asn.as_two_octet().to_be_bytes());
        }
        self.out.extend_from_slice(&a.address.octets());
        Ok(())
    }

    /// Writes a list attribute, or nothing for an empty one: of length zero it would be malformed (RFC 7606 §7.8).
    fn list<T, const N: usize>(
        &mut self,
        flags: u8,
        code: u8,
        list: &[T],
        one: impl Fn(&T) -> [u8; N],
    ) -> Result<(), EncodeError> {
        if list.is_empty() {
            return Ok(());
        }
        self.unknown_below(Some(code))?;
        put_header(self.out, flags, code, list.len() * N)?;
        self.out.reserve(list.len() * N);
        list.iter().for_each(|e| self.out.extend_from_slice(&one(e)));
        Ok(())
    }

    fn unknown_below(&mut self, code: Option<u8>) -> Result<(), EncodeError> {
        while let Some((u, rest)) = self.unknown.split_first()
            && code.is_none_or(|c| u.code < c)
        {
            put(self.out, u.flags, u.code, &u.value)?;
            self.unknown = rest;
        }
        Ok(())
    }
}
