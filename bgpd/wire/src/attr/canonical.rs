//! [`PathAttributes`] as octets for whoever keeps many of them: one form per value, so equal sets are equal octets.
//!
//! Not the form of the wire: nothing depends on a session, an AS number has four octets, and a list may be longer than an
//! attribute can be (an AS_PATH of two-octet numbers doubles). ORIGIN, MULTI_EXIT_DISC and LOCAL_PREF are left out: the
//! decision process looks at them for each route, so who keeps attributes keeps these three beside them.
//!
//! An attribute that is absent takes no room; one that is there is its type code and its value; a list's value begins with
//! its number of entries. What we do not know comes last, as code 0.

use std::net::Ipv4Addr;

use bytes::Bytes;
use net_types::{Asn, RouterId};

use super::table::code;
use super::{Aggregator, AsPathSegment, AsPathSegmentType, Community, ExtendedCommunity, LargeCommunity};
use super::{PathAttributes, UnknownAttribute};
use crate::List;
use crate::reader::Reader;

/// Stands before an attribute of [`PathAttributes::unknown`].
const UNKNOWN: u8 = 0;

/// Appends the octets of `a`, [`PathAttributes::origin`], [`PathAttributes::med`] and [`PathAttributes::local_pref`] left
/// out.
pub fn encode_canonical(a: &PathAttributes, out: &mut Vec<u8>) {
    if !a.as_path.segments.is_empty() {
        out.push(code::AS_PATH);
        put_count(out, a.as_path.segments.len());
        for segment in &a.as_path.segments {
            out.push(segment.kind.to_u8());
            put_count(out, segment.asns.len());
            segment.asns.iter().for_each(|asn| out.extend_from_slice(&asn.0.to_be_bytes()));
        }
    }
    if a.atomic_aggregate {
        out.push(code::ATOMIC_AGGREGATE);
    }
    if let Some(Aggregator { asn, address }) = a.aggregator {
        out.push(code::AGGREGATOR);
        out.extend_from_slice(&asn.0.to_be_bytes());
        out.extend_from_slice(&address.octets());
    }
    put_list(out, code::COMMUNITIES, &a.communities, |c| c.0.to_be_bytes());
    if let Some(id) = a.originator_id {
        out.push(code::ORIGINATOR_ID);
        out.extend_from_slice(&id.0.octets());
    }
    put_list(out, code::CLUSTER_LIST, &a.cluster_list, |c| c.0.octets());
    put_list(out, code::EXTENDED_COMMUNITIES, &a.extended_communities, |c| c.0);
    if !a.large_communities.is_empty() {
        out.push(code::LARGE_COMMUNITY);
        put_count(out, a.large_communities.len());
        for c in &a.large_communities {
            [c.global, c.local1, c.local2].iter().for_each(|part| out.extend_from_slice(&part.to_be_bytes()));
        }
    }
    if let Some(otc) = a.otc {
        out.push(code::ONLY_TO_CUSTOMER);
        out.extend_from_slice(&otc.0.to_be_bytes());
    }
    for unknown in &a.unknown {
        out.extend_from_slice(&[UNKNOWN, unknown.flags, unknown.code]);
        put_count(out, unknown.value.len());
        out.extend_from_slice(&unknown.value);
    }
}

/// The attributes whose octets these are; the three that are left out have their defaults. `None`: not written by
/// [`encode_canonical`].
pub fn decode_canonical(octets: &[u8]) -> Option<PathAttributes> {
    let mut a = PathAttributes::default();
    decode_canonical_into(octets, &mut a)?;
    Some(a)
}

/// As [`decode_canonical`], into attributes that are all absent: they are large, and for whoever decodes each set of a table
/// it counts how often they are moved.
pub fn decode_canonical_into(octets: &[u8], a: &mut PathAttributes) -> Option<()> {
    let mut r = Reader::new(octets);
    while let Some(attribute) = r.u8() {
        match attribute {
            code::AS_PATH => {
                for _ in 0..count(&mut r)? {
                    let kind = AsPathSegmentType::from_u8(r.u8()?)?;
                    let asns = list(&mut r, |o| Asn(u32::from_be_bytes(o)))?;
                    a.as_path.segments.push(AsPathSegment { kind, asns });
                }
            }
            code::ATOMIC_AGGREGATE => a.atomic_aggregate = true,
            code::AGGREGATOR => {
                let asn = Asn(r.u32()?);
                a.aggregator = Some(Aggregator { asn, address: Ipv4Addr::from(r.array::<4>()?) });
            }
            code::COMMUNITIES => a.communities = list(&mut r, |o| Community(u32::from_be_bytes(o)))?,
            code::ORIGINATOR_ID => a.originator_id = Some(RouterId::from(r.u32()?)),
            code::CLUSTER_LIST => {
                let octets = count(&mut r)?.checked_mul(4)?;
                let (ids, _) = r.take(octets)?.as_chunks::<4>();
                a.cluster_list = ids.iter().map(|o| RouterId(Ipv4Addr::from(*o))).collect();
            }
            code::EXTENDED_COMMUNITIES => a.extended_communities = list(&mut r, ExtendedCommunity)?,
            code::LARGE_COMMUNITY => {
                for _ in 0..count(&mut r)? {
                    let (global, local1, local2) = (r.u32()?, r.u32()?, r.u32()?);
                    a.large_communities.push(LargeCommunity { global, local1, local2 });
                }
            }
            code::ONLY_TO_CUSTOMER => a.otc = Some(Asn(r.u32()?)),
            UNKNOWN => {
                let (flags, code) = (r.u8()?, r.u8()?);
                let len = count(&mut r)?;
                let value = Bytes::copy_from_slice(r.take(len)?);
                a.unknown.push(UnknownAttribute { flags, code, value });
            }
            _ => return None,
        }
    }
    Some(())
}

/// Seven bits an octet, the lowest first; the top bit says that more follow.
fn put_count(out: &mut Vec<u8>, count: usize) {
    let mut left = count;
    while left > 0x7f {
        out.push(0x80 | (left & 0x7f) as u8);
        left >>= 7;
    }
    out.push(left as u8);
}

fn count(r: &mut Reader<'_>) -> Option<usize> {
    let mut value = 0;
    for shift in [0, 7, 14, 21, 28] {
        let octet = r.u8()?;
        value |= usize::from(octet & 0x7f) << shift;
        if octet & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put_list<T, const N: usize>(out: &mut Vec<u8>, code: u8, list: &[T], one: impl Fn(&T) -> [u8; N]) {
    if list.is_empty() {
        return;
    }
    out.push(code);
    put_count(out, list.len());
    list.iter().for_each(|entry| out.extend_from_slice(&one(entry)));
}

fn list<T: Copy + Default, const N: usize, const FEW: usize>(
    r: &mut Reader<'_>,
    one: impl Fn([u8; N]) -> T,
) -> Option<List<T, FEW>> {
    let count = count(r)?;
    let (entries, _) = r.take(count.checked_mul(N)?)?.as_chunks::<N>();
    Some(List::of(count, entries.iter().map(|entry| one(*entry))))
}
