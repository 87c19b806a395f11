//! AS_PATH (RFC 4271 §5.1.2, RFC 5065, RFC 6793).

use net_types::Asn;

use crate::List;

/// Segment types.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AsPathSegmentType {
    /// 1
    Set,
    /// 2
    Sequence,
    /// 3, RFC 5065
    ConfedSequence,
    /// 4, RFC 5065
    ConfedSet,
}

/// One segment: at least one AS number.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct AsPathSegment {
    /// What the numbers are to each other.
    pub kind: AsPathSegmentType,
    /// The numbers, nearest first; encoding splits runs over 255.
    pub asns: List<Asn, 8>,
}

/// The whole path, nearest AS first. Empty for routes that begin inside the AS.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct AsPath {
    /// Segments in order; neighbouring sequences are merged by the decoder.
    pub segments: List<AsPathSegment, 1>,
}

impl AsPath {
    /// A path of one sequence.
    pub fn sequence(asns: impl IntoIterator<Item = Asn>) -> AsPath {
        let asns: List<Asn, 8> = asns.into_iter().collect();
        if asns.is_empty() {
            return AsPath::default();
        }
        AsPath { segments: [AsPathSegment { kind: AsPathSegmentType::Sequence, asns }].into() }
    }

    /// Every AS number in the path, nearest first, sets included.
    pub fn asns(&self) -> impl Iterator<Item = Asn> + '_ {
        self.segments.iter().flat_map(|s| s.asns.iter().copied())
    }

    /// Length as the decision process counts it: a set is one, confederation segments none (RFC 4271 §9.1.2.2 a,
    /// RFC 5065 §5.3).
    pub fn decision_len(&self) -> usize {
        self.segments
            .iter()
            .map(|s| match s.kind {
                AsPathSegmentType::Sequence => s.asns.len(),
                AsPathSegmentType::Set => 1,
                AsPathSegmentType::ConfedSequence | AsPathSegmentType::ConfedSet => 0,
            })
            .sum()
    }

    /// The AS the route came from: the first number of a leading sequence (confederation segments skipped).
    pub fn neighbor_as(&self) -> Option<Asn> {
        let s = self
            .segments
            .iter()
            .find(|s| !matches!(s.kind, AsPathSegmentType::ConfedSequence | AsPathSegmentType::ConfedSet))?;
        (s.kind == AsPathSegmentType::Sequence).then(|| s.asns.first().copied())?
    }

    /// The AS that originated the route: the last number of a trailing sequence.
    pub fn origin_as(&self) -> Option<Asn> {
        let s = self.segments.last()?;
        (s.kind == AsPathSegmentType::Sequence).then(|| s.asns.last().copied())?
    }

    /// The path with `asn` put `times` in front, as an eBGP speaker sends it (RFC 4271 §5.1.2 b).
    #[must_use]
    pub fn prepend(&self, asn: Asn, times: usize) -> AsPath {
        let mut path = self.clone();
        path.put_in_front(asn, times);
        path
    }

    /// As [`AsPath::prepend`], in place.
    pub fn put_in_front(&mut self, asn: Asn, times: usize) {
        match self.segments.first_mut() {
            Some(s) if s.kind == AsPathSegmentType::Sequence && times == 1 => s.asns.insert(0, asn),
            Some(s) if s.kind == AsPathSegmentType::Sequence => {
                s.asns.insert_many(0, std::iter::repeat_n(asn, times));
            }
            _ if times > 0 => {
                let asns = std::iter::repeat_n(asn, times).collect();
                self.segments.insert(0, AsPathSegment { kind: AsPathSegmentType::Sequence, asns });
            }
            _ => {}
        }
    }
}

impl std::fmt::Display for AsPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, s) in self.segments.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            let (open, close, sep) = match s.kind {
                AsPathSegmentType::Sequence => ("", "", " "),
                AsPathSegmentType::Set => ("{", "}", ","),
                AsPathSegmentType::ConfedSequence => ("(", ")", " "),
                AsPathSegmentType::ConfedSet => ("[", "]", ","),
            };
            f.write_str(open)?;
            for (j, a) in s.asns.iter().enumerate() {
                if j > 0 {
                    f.write_str(sep)?;
                }
                write!(f, "{a}")?;
            }
            f.write_str(close)?;
        }
        Ok(())
    }
}
