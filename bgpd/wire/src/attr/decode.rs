//! Attribute values: octets to [`PathAttributes`], one attribute at a time, by the rows of [`super::table`].
//!
//! A [`Collector`] takes every attribute of one UPDATE but MP_REACH_NLRI, MP_UNREACH_NLRI and NEXT_HOP and answers each
//! with a verdict; [`Collector::finish`] merges the two-octet peers' AS4_PATH and AS4_AGGREGATOR.

use std::net::Ipv4Addr;

use bytes::Bytes;
use net_types::{Asn, RouterId};

use super::table::{code, flag};
use super::{
    Aggregator, AsPath, AsPathSegmentType, Community, ExtendedCommunity, LargeCommunity, Origin, PathAttributes,
    UnknownAttribute,
};
use crate::SessionContext;
use crate::reader::Reader;

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
    attributes: PathAttributes,
    pub(crate) has_origin: bool,
    pub(crate) has_as_path: bool,
    as4_path: Option<AsPath>,
    as4_aggregator: Option<Aggregator>,
}

impl Collector {
    /// Takes a known attribute whose flags and scope are in order. Codes that are not acted on pass as they came.
    pub(crate) fn known(&mut self, code: u8, flags: u8, value: &[u8], ctx: &SessionContext) -> Result<(), Bad> {
        let a = &mut self.attributes;
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
                let path = AsPath::decode(value, ctx.four_octet_as)?;
                check_as_path(&path, ctx.ebgp)?;
                a.as_path = path;
            }
            code::MULTI_EXIT_DISC => a.med = Some(u32_value(value)?),
            code::LOCAL_PREF => a.local_pref = Some(u32_value(value)?),
            code::ATOMIC_AGGREGATE if value.is_empty() => a.atomic_aggregate = true,
            code::ATOMIC_AGGREGATE => return Err("length is not 0".into()),
            code::AGGREGATOR => a.aggregator = Some(aggregator(value, ctx.four_octet_as)?),
            code::COMMUNITIES => a.communities = sorted(list(value, |c: [u8; 4]| Community(u32::from_be_bytes(c)))?),
            code::ORIGINATOR_ID => a.originator_id = Some(RouterId::from(u32_value(value)?)),
            code::CLUSTER_LIST => a.cluster_list = list(value, |c: [u8; 4]| RouterId(Ipv4Addr::from(c)))?,
            code::EXTENDED_COMMUNITIES => a.extended_communities = sorted(list(value, ExtendedCommunity)?),
            code::LARGE_COMMUNITY => a.large_communities = sorted(list(value, large_community)?),
            code::ONLY_TO_CUSTOMER => a.otc = Some(Asn(u32_value(value)?)),
            code::AS4_PATH => self.as4_path = Some(as4_path(value)?),
            code::AS4_AGGREGATOR => self.as4_aggregator = Some(aggregator(value, true)?),
            // Optional non-transitive and not ours to use: dropped like any unrecognised one (RFC 4271 §5).
            code::AIGP | code::BGP_LS => {}
            code::PMSI_TUNNEL if value.len() < 5 => return Err("shorter than 5 octets".into()),
            code::PREFIX_SID if !is_prefix_sid(value) => return Err("TLVs do not fill the value".into()),
            _ => self.keep(code, flags, value),
        }
        Ok(())
    }

    /// Keeps an attribute for other speakers as it came, flags included.
    pub(crate) fn keep(&mut self, code: u8, flags: u8, value: &[u8]) {
        let flags = flags & (flag::OPTIONAL | flag::TRANSITIVE | flag::PARTIAL);
        self.attributes.unknown.push(UnknownAttribute { flags, code, value: Bytes::copy_from_slice(value) });
    }

    /// The attributes of the routes.
    pub(crate) fn finish(mut self) -> PathAttributes {
        self.merge_two_octet();
        self.attributes.unknown.sort_by_key(|u| u.code);
        self.attributes
    }

    /// RFC 6793 §4.2.3. The table has kept AS4_* of four-octet peers out.
    fn merge_two_octet(&mut self) {
        let a = &mut self.attributes;
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
    let path = AsPath::decode(value, true)?;
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
fn list<T, const N: usize>(value: &[u8], one: impl Fn([u8; N]) -> T) -> Result<Vec<T>, Bad> {
    let (entries, rest) = value.as_chunks::<N>();
    if entries.is_empty() || !rest.is_empty() {
        return Err("length is not a non-zero multiple of the entry's".into());
    }
    Ok(entries.iter().map(|e| one(*e)).collect())
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort_unstable();
    list.dedup();
    list
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
