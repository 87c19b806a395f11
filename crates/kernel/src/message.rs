//! The bytes of netlink messages: written one behind the other into a buffer that is used again, read where they lie.
//!
//! For what there is a million of; rare messages go through netlink-packet-route's types or their own [`Emitable`].

use netlink_packet_core::{Emitable, NLM_F_REQUEST};

pub(crate) const HEADER_LEN: usize = 16;
const ATTRIBUTE_LEN: usize = 4;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Requests on their way into one `sendmsg`.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    /// Where the message under way begins.
    start: usize,
    /// Of the last message begun.
    pub(crate) sequence: u32,
    /// Added to the flags of every message begun.
    pub(crate) extra_flags: u16,
}

impl Writer {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.extra_flags = 0;
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// `struct nlmsghdr` with the next sequence number; the length comes with [`Writer::end`].
    pub(crate) fn begin(&mut self, kind: u16, flags: u16) {
        self.start = self.bytes.len();
        self.sequence = self.sequence.wrapping_add(1);
        let ([k0, k1], [f0, f1]) = (kind.to_ne_bytes(), (flags | self.extra_flags | NLM_F_REQUEST).to_ne_bytes());
        let [s0, s1, s2, s3] = self.sequence.to_ne_bytes();
        self.bytes.extend_from_slice(&[0, 0, 0, 0, k0, k1, f0, f1, s0, s1, s2, s3, 0, 0, 0, 0]);
    }

    /// A fixed part, of a multiple of four octets.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// An attribute of four or sixteen octets, so that nothing is to be padded.
    pub(crate) fn attribute<const N: usize>(&mut self, kind: u16, value: [u8; N]) {
        let ([l0, l1], [k0, k1]) = (((ATTRIBUTE_LEN + N) as u16).to_ne_bytes(), kind.to_ne_bytes());
        self.bytes.extend_from_slice(&[l0, l1, k0, k1]);
        self.bytes.extend_from_slice(&value);
    }

    /// A body that knows how to write itself.
    pub(crate) fn emit(&mut self, body: &dyn Emitable) {
        let (start, length) = (self.bytes.len(), body.buffer_len());
        self.bytes.resize(start + length.next_multiple_of(4), 0);
        if let Some(room) = self.bytes.get_mut(start..start + length) {
            body.emit(room);
        }
    }

    pub(crate) fn end(&mut self) {
        let length = u32::try_from(self.bytes.len() - self.start).unwrap_or(u32::MAX);
        if let Some(field) = self.bytes.get_mut(self.start..self.start + 4) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
    }
}

/// Type and value of each attribute; a malformed one ends it.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let ([l0, l1, k0, k1], _) = bytes.split_first_chunk::<ATTRIBUTE_LEN>()?;
        let length = usize::from(u16::from_ne_bytes([*l0, *l1]));
        let value = bytes.get(ATTRIBUTE_LEN..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([*k0, *k1]) & NLA_TYPE_MASK, value))
    })
}
