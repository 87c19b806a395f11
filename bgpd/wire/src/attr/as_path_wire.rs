//! AS_PATH and AS4_PATH as octets, two or four octets a number, and their merger (RFC 4271 §4.3 b, RFC 6793).

use net_types::Asn;

use super::{AsPath, AsPathSegment, AsPathSegmentType};
use crate::List;
use crate::reader::Reader;

impl AsPathSegmentType {
    pub(super) fn from_u8(v: u8) -> Option<AsPathSegmentType> {
        Some(match v {
            1 => AsPathSegmentType::Set,
            2 => AsPathSegmentType::Sequence,
            3 => AsPathSegmentType::ConfedSequence,
            4 => AsPathSegmentType::ConfedSet,
            _ => return None,
        })
    }

    pub(super) fn to_u8(self) -> u8 {
        match self {
            AsPathSegmentType::Set => 1,
            AsPathSegmentType::Sequence => 2,
            AsPathSegmentType::ConfedSequence => 3,
            AsPathSegmentType::ConfedSet => 4,
        }
    }

    fn is_confed(self) -> bool {
        matches!(self, AsPathSegmentType::ConfedSequence | AsPathSegmentType::ConfedSet)
    }

    fn is_sequence(self) -> bool {
        matches!(self, AsPathSegmentType::Sequence | AsPathSegmentType::ConfedSequence)
    }
}

/// Most numbers a segment's count octet can say.
const MAX_SEGMENT: usize = 255;

impl AsPath {
    /// Reads a value behind what the path holds; the error says which of the rules of RFC 7606 §7.2 it breaks, and the path
    /// is then of no use. An empty value is a path.
    pub(crate) fn decode(&mut self, value: &[u8], four_octet: bool) -> Result<(), &'static str> {
        let mut r = Reader::new(value);
        while let Some(kind) = r.u8() {
            let kind = AsPathSegmentType::from_u8(kind).ok_or("unknown segment type")?;
            let count = r.u8().ok_or("an octet is left over")?;
            if count == 0 {
                return Err("segment of zero AS numbers");
            }
            let width = if four_octet { 4 } else { 2 };
            let octets = r.take(usize::from(count) * width).ok_or("segment runs over the end")?;
            if four_octet {
                self.push(kind, octets.as_chunks().0.iter().map(|o| Asn(u32::from_be_bytes(*o))));
            } else {
                self.push(kind, octets.as_chunks().0.iter().map(|o| Asn(u16::from_be_bytes(*o).into())));
            }
        }
        Ok(())
    }

    /// Appends a segment; a sequence joins the one of its kind before it.
    fn push(&mut self, kind: AsPathSegmentType, asns: impl Iterator<Item = Asn>) {
        match self.segments.last_mut() {
            Some(last) if last.kind == kind && kind.is_sequence() => last.asns.extend(asns),
            _ => self.segments.push(AsPathSegment { kind, asns: asns.collect() }),
        }
    }

    /// Octets of what [`AsPath::encode`] appends.
    pub(crate) fn encoded_len(&self, four_octet: bool) -> usize {
        let width = if four_octet { 4 } else { 2 };
        self.segments.iter().map(|s| 2 * s.asns.len().div_ceil(MAX_SEGMENT) + width * s.asns.len()).sum()
    }

    /// Appends the value. Runs over 255 are split; with two octets a number, wide ones become AS_TRANS.
    pub(crate) fn encode(&self, four_octet: bool, out: &mut Vec<u8>) {
        for segment in &self.segments {
            for asns in segment.asns.chunks(MAX_SEGMENT) {
                out.extend_from_slice(&[segment.kind.to_u8(), u8::try_from(asns.len()).unwrap_or(u8::MAX)]);
                if four_octet {
                    out.reserve(4 * asns.len());
                    asns.iter().for_each(|asn| out.extend_from_slice(&asn.0.to_be_bytes()));
                } else {
                    asns.iter().for_each(|asn| out.extend_from_slice(&asn.as_two_octet().to_be_bytes()));
                }
            }
        }
    }

    /// What AS4_PATH tells a two-octet peer: the path without confederation segments, if it holds a number that two
    /// octets cannot (RFC 6793 §4.2.2).
    pub(crate) fn as4_path(&self) -> Option<AsPath> {
        let path = self.without_confed();
        let wide = path.asns().any(|a| a.0 > 0xffff);
        wide.then_some(path)
    }

    /// The path without its confederation segments (RFC 6793 §6).
    pub(crate) fn without_confed(&self) -> AsPath {
        let mut path = AsPath::default();
        for s in self.segments.iter().filter(|s| !s.kind.is_confed()) {
            path.push(s.kind, s.asns.iter().copied());
        }
        path
    }

    /// RFC 6793 §4.2.3: the whole path out of the two-octet AS_PATH (`self`) and AS4_PATH. AS4_PATH is the tail; what
    /// AS_PATH has more of it, counted as the decision process counts, stands in front, along with confederation
    /// segments that lead or touch it. An AS4_PATH longer than AS_PATH is not believed.
    pub(crate) fn merge_as4(&self, as4: &AsPath) -> AsPath {
        let Some(mut missing) = self.decision_len().checked_sub(as4.decision_len()) else {
            return self.clone();
        };
        let mut path = AsPath::default();
        for s in &self.segments {
            match s.kind {
                kind if kind.is_confed() => path.push(kind, s.asns.iter().copied()),
                _ if missing == 0 => break,
                AsPathSegmentType::Sequence => {
                    let head: List<Asn, 8> = s.asns.iter().copied().take(missing).collect();
                    missing -= head.len();
                    path.push(s.kind, head.into_iter());
                }
                kind => {
                    missing -= 1;
                    path.push(kind, s.asns.iter().copied());
                }
            }
        }
        for s in &as4.segments {
            path.push(s.kind, s.asns.iter().copied());
        }
        path
    }
}
