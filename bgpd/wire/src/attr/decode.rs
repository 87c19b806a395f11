//! Attribute values: octets to [`PathAttributes`], one attribute at a time, by the rows of [`super::table`].
//!
//! A [`Collector`] takes every attribute of one UPDATE but MP_REACH_NLRI, MP_UNREACH_NLRI and NEXT_HOP, writes it where the
//! caller wants it and answers with a verdict; [`Collector::finish`] merges the two-octet peers' AS4_PATH and
//! AS4_AGGREGATOR.

use std::net::Ipv4Addr;

use bytes::Bytes;
use net_types::{Asn, RouterId};

use super::table::{code, flag};
use super::{
    Aggregator, AsPath, AsPathSegmentType, Community, ExtendedCommunity, LargeCommunity, Origin, PathAttributes,
    UnknownAttribute,
};
use crate::reader::Reader;
use crate::{List, SessionContext};

/// What is wrong with a value; the price stands in the table unless `withdraw` overrides it.
#[derive(Debug)]
pub(crate) struct Bad {
    pub(crate) what: &'static str,
    /// A rule of another RFC than the row's, whose price is treat-as-withdraw, or the row's own when `false`.
    pub(crate) clause: Option<&'static str>,
    pub(crate) withdraw: bool,
}

impl From<&'static str> for Bad {
    fn from(what: &'static str) -> Bad {
        Bad { what, clause: None, withdraw: false }
    }
}

fn by(clause: &'static str, what: &'static str, withdraw: bool) -> Bad {
    Bad { what, clause: Some(clause), withdraw }
}

/// Gathers the attributes of one UPDATE.
#[derive(Default)]
pub(crate) struct Collector {
    pub(crate) has_origin: bool,
    pub(crate) has_as_path: bool,
    as4_path: Option<Box<AsPath>>,
    as4_aggregator: Option<Aggregator>,
}

impl Collector {
    /// Takes a known attribute whose flags and scope are in order. Codes that are not acted on pass as they came.
    pub(crate) fn known(
        &mut self,
        (code, flags, value): (u8, u8, &[u8]),
        ctx: &SessionContext,
        a: &mut PathAttributes,
    ) -> Result<(), Bad> {
        match code {
            code::ORIGIN => {
                // Present, if malformed: "missing" would be a second error for one cause.
                self.has_origin = true;
                a.origin = match value {
                    [0] => Origin::Igp,
                    [1] => Origin::Egp,
                    [2] => Origin::Incomplete,
                    [_] => return Err("value is none of 0, 1, 2".into()),
                    _ => return Err("length is not 1".into()),
                };
            }
            code::AS_PATH => {
                self.has_as_path = true;
                a.as_path.decode(value, ctx.four_octet_as)?;
                check_as_path(&a.as_path, ctx.ebgp)?;
            }
            code::MULTI_EXIT_DISC => a.med = Some(u32_value(value)?),
            code::LOCAL_PREF => a.local_pref = Some(u32_value(value)?),
            code::ATOMIC_AGGREGATE if value.is_empty() => a.atomic_aggregate = true,
            code::ATOMIC_AGGREGATE => return Err("length is not 0".into()),
            code::AGGREGATOR => a.aggregator = Some(aggregator(value, ctx.four_octet_as)?),
            code::COMMUNITIES => {
                list(&mut a.communities, value, |c: [u8; 4]| Community(u32::from_be_bytes(c)))?;
                sort(&mut a.communities);
            }
            code::ORIGINATOR_ID => a.originator_id = Some(RouterId::from(u32_value(value)?)),
            code::CLUSTER_LIST => list(&mut a.cluster_list, value, |c: [u8; 4]| RouterId(Ipv4Addr::from(c)))?,
            code::EXTENDED_COMMUNITIES => {
                list(&mut a.extended_communities, value, ExtendedCommunity)?;
                sort(&mut a.extended_communities);
            }
            code::LARGE_COMMUNITY => {
                list(&mut a.large_communities, value, large_community)?;
                sort(&mut a.large_communities);
            }
            code::ONLY_TO_CUSTOMER => a.otc = Some(Asn(u32_value(value)?)),
            code::AS4_PATH => self.as4_path = Some(Box::new(as4_path(value)?)),
            code::AS4_AGGREGATOR => self.as4_aggregator = Some(aggregator(value, true)?),
            // Optional non-transitive and not ours to use: dropped like any unrecognised one (RFC 4271 §5).
            code::AIGP | code::BGP_LS => {}
            code::PMSI_TUNNEL if value.len() < 5 => return Err("shorter than 5 octets".into()),
            code::PREFIX_SID if !is_prefix_sid(value) => return Err("TLVs do not fill the value".into()),
            _ => keep(a, code, flags, value),
        }
        Ok(())
    }

    /// Makes of what was collected the attributes of the routes.
    pub(crate) fn finish(&self, a: &mut PathAttributes) {
        self.merge_two_octet(a);
        a.unknown.sort_by_key(|u| u.code);
    }

    /// RFC 6793 §4.2.3. The table has kept AS4_* of four-octet peers out.
    fn merge_two_octet(&self, a: &mut PathAttributes) {
        match a.aggregator {
            // Somebody between rewrote AGGREGATOR without knowing AS4_*: neither of the two is true any more.
            Some(ag) if self.as4_aggregator.is_some() && ag.asn != Asn::TRANS => return,
            Some(_) if self.as4_aggregator.is_some() => a.aggregator = self.as4_aggregator,
            _ => {}
        }
        if let Some(as4) = &self.as4_path {
            a.as_path = a.as_path.merge_as4(as4);
        }
    }
}

/// Keeps an attribute for other speakers as it came, flags included.
pub(crate) fn keep(a: &mut PathAttributes, code: u8, flags: u8, value: &[u8]) {
    let flags = flags & (flag::OPTIONAL | flag::TRANSITIVE | flag::PARTIAL);
    a.unknown.push(UnknownAttribute { flags, code, value: Bytes::copy_from_slice(value) });
}

fn check_as_path(path: &AsPath, ebgp: bool) -> Result<(), Bad> {
    if path.asns().any(|a| a.0 == 0) {
        return Err(by("RFC 7607 §2", "AS 0", true));
    }
    for s in &path.segments {
        match s.kind {
            AsPathSegmentType::Sequence => {}
            AsPathSegmentType::Set | AsPathSegmentType::ConfedSet => {
                return Err(by("RFC 9774 §3", "AS_SET or AS_CONFED_SET", true));
            }
            AsPathSegmentType::ConfedSequence if ebgp => {
                return Err(by("RFC 5065 §5", "confederation segment from outside the confederation", true));
            }
            AsPathSegmentType::ConfedSequence => {}
        }
    }
    Ok(())
}

fn as4_path(value: &[u8]) -> Result<AsPath, Bad> {
    let mut path = AsPath::default();
    path.decode(value, true)?;
    if path.segments.iter().any(|s| s.kind == AsPathSegmentType::Set) {
        return Err(by("RFC 9774 §3", "AS_SET", true));
    }
    if path.asns().any(|a| a.0 == 0) {
        return Err(by("RFC 7607 §2", "AS 0", false));
    }
    Ok(path.without_confed())
}

fn aggregator(value: &[u8], four_octet: bool) -> Result<Aggregator, Bad> {
    let mut r = Reader::new(value);
    let asn = if four_octet { r.u32() } else { r.u16().map(u32::from) };
    let (Some(asn), Some(address), true) = (asn, r.array::<4>(), r.is_empty()) else {
        return Err(if four_octet { "length is not 8" } else { "length is not 6" }.into());
    };
    if asn == 0 {
        return Err(by("RFC 7607 §2", "AS 0", false));
    }
    Ok(Aggregator { asn: Asn(asn), address: Ipv4Addr::from(address) })
}

fn u32_value(value: &[u8]) -> Result<u32, Bad> {
    <[u8; 4]>::try_from(value).map(u32::from_be_bytes).map_err(|_| "length is not 4".into())
}

/// A value of one or more entries of `N` octets; none at all is malformed (RFC 7606 §7.8, §7.10, §7.14, RFC 8092 §6).
fn list<T, const M: usize, const N: usize>(
    list: &mut List<T, M>,
    value: &[u8],
    one: impl Fn([u8; N]) -> T,
) -> Result<(), Bad> {
    let (entries, rest) = value.as_chunks::<N>();
    if entries.is_empty() || !rest.is_empty() {
        return Err("length is not a non-zero multiple of the entry's".into());
    }
    list.extend(entries.iter().map(|e| one(*e)));
    Ok(())
}

/// In order and each once, as nearly every speaker sends them already.
fn sort<T: Ord, const M: usize>(list: &mut List<T, M>) {
    if !list.is_sorted_by(|a, b| a < b) {
        list.sort_unstable();
        list.dedup();
    }
}

fn large_community(octets: [u8; 12]) -> LargeCommunity {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = octets;
    LargeCommunity {
        global: u32::from_be_bytes([a, b, c, d]),
        local1: u32::from_be_bytes([e, f, g, h]),
        local2: u32::from_be_bytes([i, j, k, l]),
    }
}

/// RFC 8669 §3: TLVs of type (1), length (2), value that fill the attribute; type 0 is reserved.
fn is_prefix_sid(value: &[u8]) -> bool {
    let mut r = Reader::new(value);
    while let Some(kind) = r.u8() {
        let body = r.u16().and_then(|l| r.take(usize::from(l)));
        if kind == 0 || body.is_none() {
            return false;
        }
    }
    !value.is_empty()
}
