//! Families as one trait: how the NLRI and next hops of an (AFI, SAFI) look on the wire.
//!
//! The decoder and encoder of UPDATE know families only through [`FamilyCodec`], found by [`codec`]. A new family is a
//! type that implements it and a line in `CODECS`; neither sessions nor UPDATE code change.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, BytesMut};
use net_types::{Family, Prefix};

use crate::reader::Reader;
use crate::{EncodeError, NextHop, Nlri};

/// Why a field of NLRI cannot be read on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NlriError {
    /// The prefix length exceeds the family's width.
    PrefixLength(u8),
    /// The field ends inside an entry.
    Truncated,
}

/// What a family looks like on the wire.
pub trait FamilyCodec: Sync {
    /// Which (AFI, SAFI).
    fn family(&self) -> Family;

    /// Reads a whole field of NLRI. With `add_path` a Path Identifier stands before each entry (RFC 7911 §3).
    fn decode_nlri(&self, field: &[u8], add_path: bool) -> Result<Vec<Nlri>, NlriError>;

    /// Octets that [`FamilyCodec::encode_nlri`] appends; an entry of another family is refused.
    fn nlri_len(&self, nlri: &Nlri, add_path: bool) -> Result<usize, EncodeError>;

    /// Appends one entry, or refuses one of another family.
    fn encode_nlri(&self, nlri: &Nlri, add_path: bool, out: &mut BytesMut) -> Result<(), EncodeError>;

    /// Reads the Next Hop field of MP_REACH_NLRI; `None` if no next hop has this length. `extended`: RFC 8950 is in force.
    fn decode_next_hop(&self, octets: &[u8], extended: bool) -> Option<NextHop>;

    /// Appends the Next Hop field of MP_REACH_NLRI, its length octet not included.
    fn encode_next_hop(&self, next_hop: &NextHop, extended: bool, out: &mut BytesMut) -> Result<(), EncodeError>;
}

/// IPv4 unicast (RFC 4271 §4.3, RFC 4760, next hops of RFC 8950).
struct Ipv4Unicast;
/// IPv6 unicast (RFC 4760, RFC 2545).
struct Ipv6Unicast;

/// Every family this build carries.
const CODECS: &[&dyn FamilyCodec] = &[&Ipv4Unicast, &Ipv6Unicast];

/// The codec of a family, if this build carries it.
pub fn codec(family: Family) -> Option<&'static dyn FamilyCodec> {
    CODECS.iter().copied().find(|c| c.family() == family)
}

/// The form both families share: length in bits, then as many octets as hold them. Bits behind the length are of no
/// consequence (RFC 4271 §4.3) and are cleared. `usual` is the length of most entries: one allocation is enough then.
#[inline]
fn decode_prefixes<const WIDTH: usize>(
    field: &[u8],
    add_path: bool,
    usual: usize,
    address: fn([u8; WIDTH]) -> IpAddr,
) -> Result<Vec<Nlri>, NlriError> {
    let usual = if add_path { usual + 4 } else { usual };
    let mut all = Vec::with_capacity(field.len().div_ceil(usual));
    let mut r = Reader::new(field);
    while !r.is_empty() {
        let path_id = if add_path { r.u32().ok_or(NlriError::Truncated)? } else { 0 };
        let bits = r.u8().ok_or(NlriError::Truncated)?;
        let too_long = || NlriError::PrefixLength(bits);
        let octets = usize::from(bits).div_ceil(8);
        if octets > WIDTH {
            return Err(too_long());
        }
        // The octets of an address may reach into the next entry: what is behind the length does not count.
        let full = match r.rest().first_chunk::<WIDTH>() {
            Some(full) => {
                let _ = r.take(octets);
                *full
            }
            None => {
                let mut full = [0; WIDTH];
                let there = r.take(octets).ok_or(NlriError::Truncated)?;
                full.iter_mut().zip(there).for_each(|(to, from)| *to = *from);
                full
            }
        };
        let prefix = Prefix::new(address(full), bits).map_err(|_| too_long())?;
        all.push(Nlri { prefix, path_id });
    }
    Ok(all)
}

fn prefix_len(nlri: &Nlri, add_path: bool) -> usize {
    1 + usize::from(nlri.prefix.len()).div_ceil(8) + if add_path { 4 } else { 0 }
}

/// `octets`: the length, then the whole address. All of it is written, since copying a fixed number of octets costs least,
/// and what is beyond the length taken back.
#[inline]
fn encode_prefix<const WIDTH: usize>(nlri: &Nlri, octets: &[u8; WIDTH], add_path: bool, out: &mut BytesMut) {
    if add_path {
        out.put_u32(nlri.path_id);
    }
    let end = out.len() + 1 + usize::from(nlri.prefix.len()).div_ceil(8);
    out.extend_from_slice(octets);
    out.truncate(end);
}

/// RFC 2545 §3: one address of 16 octets, or a global and a link-local one. Where a sender has no global address and
/// fills its place with "::", the link-local one is the next hop; what stands second and is not link-local is ignored.
fn decode_ipv6_next_hop(octets: &[u8]) -> Option<NextHop> {
    let mut r = Reader::new(octets);
    let global = Ipv6Addr::from(r.array::<16>()?);
    if r.is_empty() {
        return Some(NextHop::V6 { global, link_local: None });
    }
    let second = Ipv6Addr::from(r.array::<16>()?);
    if !r.is_empty() {
        return None;
    }
    let link_local = second.is_unicast_link_local().then_some(second);
    Some(match link_local {
        Some(only) if global.is_unspecified() || global == only => NextHop::V6 { global: only, link_local: None },
        link_local => NextHop::V6 { global, link_local },
    })
}

fn encode_ipv6_next_hop(global: Ipv6Addr, link_local: Option<Ipv6Addr>, out: &mut BytesMut) {
    out.put_slice(&global.octets());
    if let Some(link_local) = link_local {
        out.put_slice(&link_local.octets());
    }
}

impl FamilyCodec for Ipv4Unicast {
    fn family(&self) -> Family {
        Family::IPV4_UNICAST
    }

    fn decode_nlri(&self, field: &[u8], add_path: bool) -> Result<Vec<Nlri>, NlriError> {
        // A length and three octets: /17 to /24.
        decode_prefixes::<4>(field, add_path, 4, |o| IpAddr::V4(Ipv4Addr::from(o)))
    }

    fn nlri_len(&self, nlri: &Nlri, add_path: bool) -> Result<usize, EncodeError> {
        match nlri.prefix {
            Prefix::V4(..) => Ok(prefix_len(nlri, add_path)),
            Prefix::V6(..) => Err(EncodeError::WrongFamily(self.family())),
        }
    }

    fn encode_nlri(&self, nlri: &Nlri, add_path: bool, out: &mut BytesMut) -> Result<(), EncodeError> {
        let Prefix::V4(bits, len) = nlri.prefix else {
            return Err(EncodeError::WrongFamily(self.family()));
        };
        let [a, b, c, d] = bits.to_be_bytes();
        encode_prefix(nlri, &[len, a, b, c, d], add_path, out);
        Ok(())
    }

    fn decode_next_hop(&self, octets: &[u8], extended: bool) -> Option<NextHop> {
        match <[u8; 4]>::try_from(octets) {
            Ok(v4) => Some(NextHop::V4(Ipv4Addr::from(v4))),
            // RFC 8950 §3: 16 or 32 octets say that the next hop is IPv6.
            Err(_) if extended => decode_ipv6_next_hop(octets),
            Err(_) => None,
        }
    }

    fn encode_next_hop(&self, next_hop: &NextHop, extended: bool, out: &mut BytesMut) -> Result<(), EncodeError> {
        match *next_hop {
            NextHop::V4(address) => out.put_slice(&address.octets()),
            NextHop::V6 { global, link_local } if extended => encode_ipv6_next_hop(global, link_local, out),
            NextHop::V6 { .. } => return Err(EncodeError::NextHop(self.family())),
        }
        Ok(())
    }
}

impl FamilyCodec for Ipv6Unicast {
    fn family(&self) -> Family {
        Family::IPV6_UNICAST
    }

    fn decode_nlri(&self, field: &[u8], add_path: bool) -> Result<Vec<Nlri>, NlriError> {
        // A length and five to six octets: /33 to /48.
        decode_prefixes::<16>(field, add_path, 6, |o| IpAddr::V6(Ipv6Addr::from(o)))
    }

    fn nlri_len(&self, nlri: &Nlri, add_path: bool) -> Result<usize, EncodeError> {
        match nlri.prefix {
            Prefix::V6(..) => Ok(prefix_len(nlri, add_path)),
            Prefix::V4(..) => Err(EncodeError::WrongFamily(self.family())),
        }
    }

    fn encode_nlri(&self, nlri: &Nlri, add_path: bool, out: &mut BytesMut) -> Result<(), EncodeError> {
        let Prefix::V6(bits, len) = nlri.prefix else {
            return Err(EncodeError::WrongFamily(self.family()));
        };
        let mut octets = [len; 17];
        octets.iter_mut().skip(1).zip(bits.to_be_bytes()).for_each(|(to, from)| *to = from);
        encode_prefix(nlri, &octets, add_path, out);
        Ok(())
    }

    fn decode_next_hop(&self, octets: &[u8], _extended: bool) -> Option<NextHop> {
        decode_ipv6_next_hop(octets)
    }

    fn encode_next_hop(&self, next_hop: &NextHop, _extended: bool, out: &mut BytesMut) -> Result<(), EncodeError> {
        match *next_hop {
            NextHop::V6 { global, link_local } => {
                encode_ipv6_next_hop(global, link_local, out);
                Ok(())
            }
            NextHop::V4(_) => Err(EncodeError::NextHop(self.family())),
        }
    }
}
