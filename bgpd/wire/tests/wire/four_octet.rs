//! Two-octet neighbours (RFC 6793).

use std::net::Ipv4Addr;

use bgp_wire::update::encode_announce;
use bgp_wire::{Aggregator, AsPath, NextHop, PathAttributes, Update};
use bytes::BytesMut;
use net_types::{Asn, Family};

use crate::build::*;

/// An UPDATE of a two-octet speaker.
fn from_old(as_path: &str, more: &[Vec<u8>]) -> Vec<Vec<u8>> {
    [&[origin(), attr(0x40, 2, as_path), next_hop()], more].concat()
}

#[track_caller]
fn path(u: &Update, text: &str) {
    assert_eq!(u.attributes.as_path.to_string(), text);
}

const AGGREGATED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

rows! {
    rfc6793_4_2_3_as4_path_replaces_the_tail => {
        // 64501 23456 23456 with AS4_PATH 65536 65537
        let u = clean(&old(), &from_old("02 03 fbf5 5ba0 5ba0", &[attr(0xc0, 17, "02 02 00010000 00010001")]));
        path(&u, "64501 65536 65537");
    };
    rfc6793_4_2_3_as4_path_of_equal_length_replaces_all => {
        let u = clean(&old(), &from_old("02 01 5ba0", &[attr(0xc0, 17, "02 01 00010000")]));
        path(&u, "65536");
    };
    rfc6793_4_2_3_longer_as4_path_is_not_believed => {
        let u = clean(&old(), &from_old("02 01 fbf5", &[attr(0xc0, 17, "02 02 00010000 00010001")]));
        path(&u, "64501");
    };
    rfc6793_4_2_3_without_as4_path_as_trans_stays => path(&clean(&old(), &from_old("02 02 fbf5 5ba0", &[])), "64501 23456");
    rfc6793_4_2_3_aggregator_not_as_trans_voids_both => {
        let more = [
            attr(0xc0, 7, "fbf5 c0000209"),
            attr(0xc0, 17, "02 01 00010000"),
            attr(0xc0, 18, "00010000 c0000209"),
        ];
        let u = clean(&old(), &from_old("02 02 fbf5 5ba0", &more));
        path(&u, "64501 23456");
        assert_eq!(u.attributes.aggregator, Some(Aggregator { asn: Asn(64501), address: AGGREGATED }));
    };
    rfc6793_4_2_3_aggregator_as_trans_takes_as4_aggregator => {
        let more = [attr(0xc0, 7, "5ba0 c0000209"), attr(0xc0, 18, "00010000 c0000209")];
        let u = clean(&old(), &from_old("02 01 fbf5", &more));
        assert_eq!(u.attributes.aggregator, Some(Aggregator { asn: Asn(65536), address: AGGREGATED }));
    };
    rfc6793_4_2_3_as4_aggregator_alone_is_ignored => {
        let u = clean(&old(), &from_old("02 01 fbf5", &[attr(0xc0, 18, "00010000 c0000209")]));
        assert_eq!(u.attributes.aggregator, None);
    };
    rfc6793_4_1_as4_path_from_a_four_octet_peer_is_discarded =>
        path(&discarded(&ebgp(), &with(&[attr(0xc0, 17, "02 01 00010000")]), 17), "64501");
    rfc6793_6_malformed_as4_path_from_a_four_octet_peer_is_discarded =>
        discarded(&ebgp(), &with(&[attr(0xc0, 17, "05 01 00010000")]), 17);
    rfc6793_4_1_as4_aggregator_from_a_four_octet_peer_is_discarded =>
        discarded(&ebgp(), &with(&[attr(0xc0, 18, "00010000 c0000209")]), 18);
    rfc6793_6_malformed_as4_path_is_discarded =>
        path(&discarded(&old(), &from_old("02 01 fbf5", &[attr(0xc0, 17, "02 02 00010000")]), 17), "64501");
    rfc6793_6_malformed_as4_aggregator_is_discarded =>
        discarded(&old(), &from_old("02 01 fbf5", &[attr(0xc0, 18, "00010000 c00002")]), 18);
    rfc6793_6_confed_segments_of_as4_path_are_dropped => {
        let as4 = attr(0xc0, 17, "03 01 0000fbf6 02 01 00010000");
        path(&clean(&old(), &from_old("02 02 fbf5 5ba0", &[as4])), "64501 65536");
    };
    rfc7607_2_as_0_in_as4_path_is_discarded =>
        discarded(&old(), &from_old("02 01 fbf5", &[attr(0xc0, 17, "02 01 00000000")]), 17);
    rfc9774_3_as_set_in_as4_path_is_withdrawn =>
        withdrawn(&old(), &from_old("02 02 fbf5 5ba0", &[attr(0xc0, 17, "01 01 00010000")]), 17);
    rfc6793_4_2_3_two_octet_aggregator_of_eight_octets_is_discarded =>
        discarded(&old(), &from_old("02 01 fbf5", &[attr(0xc0, 7, "00010000 c0000209")]), 7);
}

/// The attributes of the only message for `attributes`, as octets.
fn written(attributes: &PathAttributes) -> Vec<u8> {
    let mut out = BytesMut::new();
    let next_hop = NextHop::V4([192, 0, 2, 1].into());
    encode_announce(Family::IPV4_UNICAST, &next_hop, attributes, routes("203.0.113.0/24"), &old(), &mut out).unwrap();
    out[23..out.len() - 4].to_vec()
}

#[test]
fn rfc6793_4_2_2_wide_numbers_go_out_as_as_trans_with_as4() {
    let attributes = PathAttributes {
        as_path: AsPath::sequence([Asn(64500), Asn(65536)]),
        aggregator: Some(Aggregator { asn: Asn(65537), address: AGGREGATED }),
        ..PathAttributes::default()
    };
    let expect = [
        origin(),
        attr(0x40, 2, "02 02 fbf4 5ba0"),
        next_hop(),
        attr(0xc0, 7, "5ba0 c0000209"),
        attr(0xc0, 17, "02 02 0000fbf4 00010000"),
        attr(0xc0, 18, "00010001 c0000209"),
    ];
    assert_eq!(written(&attributes), expect.concat());
}

#[test]
fn rfc6793_4_2_2_narrow_numbers_need_no_as4() {
    let attributes =
        PathAttributes { as_path: AsPath::sequence([Asn(64500), Asn(64501)]), ..PathAttributes::default() };
    assert_eq!(written(&attributes), [origin(), attr(0x40, 2, "02 02 fbf4 fbf5"), next_hop()].concat());
}
