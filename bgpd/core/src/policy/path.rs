//! AS_PATH without private AS numbers.

use bgp_wire::{AsPath, AsPathSegment};

/// The path with every private AS number (RFC 6996) taken out; `None` if it has none. A segment left empty goes too.
pub(crate) fn without_private(path: &AsPath) -> Option<AsPath> {
    if !path.asns().any(|a| a.is_private()) {
        return None;
    }
    let segments = path
        .segments
        .iter()
        .map(|s| AsPathSegment { kind: s.kind, asns: s.asns.iter().copied().filter(|a| !a.is_private()).collect() })
        .filter(|s| !s.asns.is_empty())
        .collect();
    Some(AsPath { segments })
}

#[cfg(test)]
mod tests {
    use super::*;
    use net_types::Asn;

    #[test]
    fn rfc6996_private_numbers_are_taken_out_and_nothing_else() {
        let path = AsPath::sequence([Asn(64512), Asn(64501), Asn(4_200_000_000), Asn(3215)]);
        assert_eq!(without_private(&path), Some(AsPath::sequence([Asn(64501), Asn(3215)])));
        assert_eq!(without_private(&AsPath::sequence([Asn(64501)])), None);
        assert_eq!(without_private(&AsPath::sequence([Asn(64512)])), Some(AsPath::default()));
    }
}
