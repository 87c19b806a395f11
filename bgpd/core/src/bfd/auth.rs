//! Keyed SHA1 and Meticulous Keyed SHA1 (RFC 5880 §4.4, §6.7.4).

use sha1::{Digest, Sha1};

use crate::config::{BfdAuthentication, BfdAuthenticationKind};

/// Octets of the section.
pub(super) const SECTION_LEN: u8 = 28;
/// Octets of a key and of a hash.
const HASH_LEN: usize = 20;
/// Where the hash stands in the whole packet.
const HASH_AT: usize = super::packet::MANDATORY_LEN + 8;

/// `bfd.RcvAuthSeq`, `bfd.XmitAuthSeq` and `bfd.AuthSeqKnown` (RFC 5880 §6.8.1).
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) received: Option<u32>,
    pub(super) transmit: u32,
}

/// RFC 5880 §6.7.4: "the secret key (20 bytes)"; a shorter one is padded with zeros.
fn padded(key: &str) -> [u8; HASH_LEN] {
    let mut octets = [0; HASH_LEN];
    for (to, from) in octets.iter_mut().zip(key.bytes()) {
        *to = from;
    }
    octets
}

fn type_octet(kind: BfdAuthenticationKind) -> u8 {
    match kind {
        BfdAuthenticationKind::KeyedSha1 => 4,
        BfdAuthenticationKind::MeticulousKeyedSha1 => 5,
    }
}

/// Appends the section to an encoded packet whose Length already counts it.
pub(super) fn sign(packet: &mut Vec<u8>, authentication: &BfdAuthentication, sequence: u32) {
    packet.extend([type_octet(authentication.kind), SECTION_LEN, authentication.key_id, 0]);
    packet.extend(sequence.to_be_bytes());
    let mut hash = Sha1::new();
    hash.update(&packet);
    hash.update(padded(&authentication.key.0));
    packet.extend_from_slice(&hash.finalize());
}

/// True if the section of a whole packet holds; then the sequence is noted. `detect_mult`: the packet's.
pub(super) fn holds(
    whole: &[u8],
    authentication: &BfdAuthentication,
    detect_mult: u8,
    sequence: &mut Sequence,
) -> bool {
    let Some(section) = whole.get(super::packet::MANDATORY_LEN..) else { return false };
    // RFC 5880 §6.7.4: type, key and length as configured, and nothing behind the section.
    let Some((&[kind, length, key_id, _, a, b, c, d], hash)) = section.split_first_chunk::<8>() else { return false };
    if kind != type_octet(authentication.kind)
        || key_id != authentication.key_id
        || length != SECTION_LEN
        || hash.len() != HASH_LEN
    {
        return false;
    }
    let number = u32::from_be_bytes([a, b, c, d]);
    if let Some(last) = sequence.received {
        let least = u32::from(authentication.kind == BfdAuthenticationKind::MeticulousKeyedSha1);
        // In a circular number space of 32 bits.
        let ahead = number.wrapping_sub(last);
        if ahead < least || ahead > 3 * u32::from(detect_mult) {
            return false;
        }
    }
    let mut ours = Sha1::new();
    ours.update(whole.get(..HASH_AT).unwrap_or_default());
    ours.update(padded(&authentication.key.0));
    // The time it takes says nothing about how far a forged hash was right.
    let differs = ours.finalize().iter().zip(hash).fold(0, |sum, (a, b)| sum | (a ^ b));
    if differs != 0 {
        return false;
    }
    sequence.received = Some(number);
    true
}
