//! What every malformed UPDATE costs, one test a row.

use bgp_wire::{AttrVerdict, Community, Origin, UnknownAttribute};
use net_types::{Asn, Family};

use crate::build::*;

rows! {
    // Lengths of the sections.
    rfc7606_3b_withdrawn_length_beyond_message_resets => reset(&ebgp(), &hex("0005 0000"), 1);
    rfc7606_3b_attribute_length_beyond_message_resets => reset(&ebgp(), &hex("0000 0005 4001"), 1);
    rfc7606_3b_body_without_attribute_length_resets => reset(&ebgp(), &hex("0000 00"), 1);
    rfc7606_4_attribute_longer_than_total_is_withdrawn => withdrawn(&ebgp(), &with(&[hex("c0 08 20 0000")]), 8);
    rfc7606_4_two_octet_stub_is_withdrawn => withdrawn(&ebgp(), &with(&[hex("c0 08")]), 8);
    rfc7606_4_one_octet_stub_is_withdrawn => withdrawn(&ebgp(), &with(&[hex("c0")]), 0);
    rfc7606_4_extended_length_cut_short_is_withdrawn => withdrawn(&ebgp(), &with(&[hex("d0 08 00")]), 8);
    rfc7606_5_2_error_without_reachable_nlri_resets =>
        reset(&ebgp(), &body("", &[attr(0x40, 1, "03")], ""), 1);
    rfc7606_5_2_error_beside_mp_unreach_alone_resets =>
        reset(&ebgp(), &body("", &[attr(0x80, 15, "0002 01 30 20010db80005"), attr(0x40, 1, "03")], ""), 1);
    rfc7606_5_2_error_beside_withdrawn_alone_resets => reset(&ebgp(), &body(NLRI, &[attr(0x40, 1, "03")], ""), 1);
    rfc7606_5_2_stub_without_reachable_nlri_resets => reset(&ebgp(), &body(NLRI, &[hex("c0 08")], ""), 1);

    // Mandatory attributes.
    rfc7606_3d_origin_missing_is_withdrawn => withdrawn(&ebgp(), &[as_path(), next_hop()], 1);
    rfc7606_3d_as_path_missing_is_withdrawn => withdrawn(&ebgp(), &[origin(), next_hop()], 2);
    rfc7606_3d_next_hop_missing_is_withdrawn => withdrawn(&ebgp(), &[origin(), as_path()], 3);

    // ORIGIN.
    rfc7606_3c_origin_flags_are_withdrawn => withdrawn(&ebgp(), &instead(attr(0xc0, 1, "00")), 1);
    rfc7606_7_1_origin_of_two_octets_is_withdrawn => withdrawn(&ebgp(), &instead(attr(0x40, 1, "0000")), 1);
    rfc7606_7_1_origin_of_no_octets_is_withdrawn => withdrawn(&ebgp(), &instead(attr(0x40, 1, "")), 1);
    rfc7606_7_1_bad_origin_is_withdrawn => withdrawn(&ebgp(), &instead(attr(0x40, 1, "03")), 1);
    rfc7606_7_1_bad_origin_from_ibgp_is_withdrawn => withdrawn(&ibgp(), &instead(attr(0x40, 1, "0000")), 1);
    rfc7606_3g_second_origin_is_dropped_and_the_first_counts => {
        let u = discarded(&ebgp(), &with(&[attr(0x40, 1, "02")]), 1);
        assert_eq!(u.attributes.origin, Origin::Igp);
    };

    // AS_PATH.
    rfc7606_7_2_segment_type_5_is_withdrawn => withdrawn(&ebgp(), &instead(attr(0x40, 2, "05 01 0000fbf5")), 2);
    rfc7606_7_2_segment_count_0_is_withdrawn => withdrawn(&ebgp(), &instead(attr(0x40, 2, "02 00")), 2);
    rfc7606_7_2_segment_beyond_attribute_is_withdrawn =>
        withdrawn(&ebgp(), &instead(attr(0x40, 2, "02 02 0000fbf5")), 2);
    rfc7606_7_2_trailing_octet_is_withdrawn => withdrawn(&ebgp(), &instead(attr(0x40, 2, "02 01 0000fbf5 02")), 2);
    rfc4271_5_1_2_empty_as_path_is_a_path => {
        // Whether an eBGP neighbour may send it is the first-AS check's, which is policy.
        let u = clean(&ebgp(), &instead(attr(0x40, 2, "")));
        assert_eq!(u.attributes.as_path.neighbor_as(), None);
    };
    rfc7607_2_as_0_in_as_path_is_withdrawn => withdrawn(&ebgp(), &instead(attr(0x40, 2, "02 01 00000000")), 2);
    rfc7607_2_as_0_from_ibgp_is_withdrawn => withdrawn(&ibgp(), &instead(attr(0x40, 2, "02 01 00000000")), 2);
    rfc9774_3_as_set_is_withdrawn =>
        withdrawn(&ebgp(), &instead(attr(0x40, 2, "02 01 0000fbf5 01 01 0000fbf6")), 2);
    rfc9774_3_as_confed_set_is_withdrawn_even_inside => withdrawn(&ibgp(), &instead(attr(0x40, 2, "04 01 0000fbf5")), 2);
    rfc5065_5_confed_sequence_from_ebgp_is_withdrawn => withdrawn(&ebgp(), &instead(attr(0x40, 2, "03 01 0000fbf5")), 2);
    rfc5065_5_confed_sequence_inside_is_kept => {
        let u = clean(&ibgp(), &instead(attr(0x40, 2, "03 01 0000fbf5 02 01 0000fbf6")));
        assert_eq!(u.attributes.as_path.to_string(), "(64501) 64502");
    };
    rfc4271_9_900_numbers_in_four_segments_are_valid => {
        let segment = |n: usize| format!("02 {n:02x} {}", "0000fbf5".repeat(n));
        let path = [255, 255, 255, 135].map(segment).concat();
        let u = clean(&ebgp(), &instead(attr(0x50, 2, &path)));
        assert_eq!(u.attributes.as_path.decision_len(), 900);
        assert_eq!(u.attributes.as_path.segments.len(), 1, "neighbouring sequences are one");
    };

    // NEXT_HOP.
    rfc7606_7_3_next_hop_of_five_octets_is_withdrawn => withdrawn(&ebgp(), &instead(attr(0x40, 3, "c000020100")), 3);
    rfc4271_6_3_next_hop_zero_is_withdrawn => withdrawn(&ebgp(), &instead(attr(0x40, 3, "00000000")), 3);
    rfc4271_6_3_next_hop_loopback_is_withdrawn => withdrawn(&ebgp(), &instead(attr(0x40, 3, "7f000001")), 3);
    rfc4271_6_3_next_hop_multicast_is_withdrawn => withdrawn(&ebgp(), &instead(attr(0x40, 3, "e0000001")), 3);
    rfc4271_6_3_next_hop_broadcast_is_withdrawn => withdrawn(&ebgp(), &instead(attr(0x40, 3, "ffffffff")), 3);

    // The optional ones.
    rfc7606_7_4_med_of_three_octets_is_withdrawn => withdrawn(&ebgp(), &with(&[attr(0x80, 4, "000001")]), 4);
    rfc7606_7_5_local_pref_from_ebgp_is_discarded => {
        let u = discarded(&ebgp(), &with(&[attr(0x40, 5, "00000064")]), 5);
        assert_eq!(u.attributes.local_pref, None);
    };
    rfc7606_7_5_malformed_local_pref_from_ebgp_is_discarded => discarded(&ebgp(), &with(&[attr(0x40, 5, "000064")]), 5);
    rfc7606_7_5_local_pref_flags_from_ebgp_are_discarded => discarded(&ebgp(), &with(&[attr(0xc0, 5, "00000064")]), 5);
    rfc7606_7_5_local_pref_may_be_absent_from_ibgp => {
        assert_eq!(clean(&ibgp(), &with(&[])).attributes.local_pref, None);
    };
    rfc7606_7_5_malformed_local_pref_from_ibgp_is_withdrawn =>
        withdrawn(&ibgp(), &with(&[attr(0x40, 5, "000064")]), 5);
    rfc7606_7_6_atomic_aggregate_of_one_octet_is_discarded => {
        assert!(!discarded(&ebgp(), &with(&[attr(0x40, 6, "00")]), 6).attributes.atomic_aggregate);
    };
    rfc7606_7_7_aggregator_of_seven_octets_is_discarded =>
        discarded(&ebgp(), &with(&[attr(0xc0, 7, "0000fb f5 c00002")]), 7);
    rfc7606_7_7_aggregator_of_six_octets_is_for_two_octet_peers =>
        discarded(&ebgp(), &with(&[attr(0xc0, 7, "fbf5 c0000201")]), 7);
    rfc7607_2_aggregator_as_0_is_discarded => discarded(&ebgp(), &with(&[attr(0xc0, 7, "00000000 c0000201")]), 7);
    rfc7606_7_8_community_of_five_octets_is_withdrawn => withdrawn(&ebgp(), &with(&[attr(0xc0, 8, "fbf4000100")]), 8);
    rfc7606_7_8_community_of_no_octets_is_withdrawn => withdrawn(&ebgp(), &with(&[attr(0xc0, 8, "")]), 8);
    rfc1997_communities_come_out_sorted_and_once => {
        let u = clean(&ebgp(), &with(&[attr(0xc0, 8, "fbf40002 fbf40001 fbf40002")]));
        assert_eq!(u.attributes.communities, [Community(0xfbf4_0001), Community(0xfbf4_0002)]);
    };
    rfc7606_7_9_originator_id_from_ebgp_is_discarded => {
        assert_eq!(discarded(&ebgp(), &with(&[attr(0x80, 9, "c0000201")]), 9).attributes.originator_id, None);
    };
    rfc7606_7_9_malformed_originator_id_from_ebgp_is_discarded =>
        discarded(&ebgp(), &with(&[attr(0x80, 9, "c00002")]), 9);
    rfc7606_7_9_malformed_originator_id_from_ibgp_is_withdrawn =>
        withdrawn(&ibgp(), &with(&[attr(0x80, 9, "c00002")]), 9);
    rfc7606_7_10_malformed_cluster_list_from_ebgp_is_discarded =>
        discarded(&ebgp(), &with(&[attr(0x80, 10, "c000020100")]), 10);
    rfc7606_7_10_empty_cluster_list_from_ibgp_is_withdrawn => withdrawn(&ibgp(), &with(&[attr(0x80, 10, "")]), 10);
    rfc7606_7_14_extended_communities_of_nine_octets_are_withdrawn =>
        withdrawn(&ebgp(), &with(&[attr(0xc0, 16, "0002fbf40000000100")]), 16);
    rfc7606_7_14_extended_communities_of_no_octets_are_withdrawn => withdrawn(&ebgp(), &with(&[attr(0xc0, 16, "")]), 16);
    rfc8092_6_large_community_of_thirteen_octets_is_withdrawn =>
        withdrawn(&ebgp(), &with(&[attr(0xc0, 32, "0000fbf4 00000001 00000002 00")]), 32);
    rfc8092_6_large_community_of_no_octets_is_withdrawn => withdrawn(&ebgp(), &with(&[attr(0xc0, 32, "")]), 32);
    rfc9234_5_otc_of_three_octets_is_withdrawn => withdrawn(&ebgp(), &with(&[attr(0xc0, 35, "00fbf5")]), 35);
    rfc9234_5_otc_is_read => {
        assert_eq!(clean(&ebgp(), &with(&[attr(0xc0, 35, "0000fbf5")])).attributes.otc, Some(Asn(64501)));
    };

    // Known, not acted on.
    rfc6514_5_pmsi_tunnel_of_four_octets_is_discarded => discarded(&ebgp(), &with(&[attr(0xc0, 22, "00000000")]), 22);
    rfc9012_13_tunnel_encapsulation_with_overrun_passes => passes(&attr(0xc0, 23, "0008 0004 04ff0102"), 0xc0);
    rfc7311_3_aigp_of_no_octets_is_dropped => {
        assert_eq!(clean(&ebgp(), &with(&[attr(0x80, 26, "")])).attributes.unknown, []);
    };
    rfc7311_3_transitive_aigp_is_discarded => discarded(&ebgp(), &with(&[attr(0xc0, 26, "01000b0000000000000001")]), 26);
    incident_2023_06_attribute_28_partial_junk_passes => passes(&attr(0xe0, 28, "deadbeef"), 0xe0);
    rfc9552_8_2_2_bgp_ls_attribute_with_overrun_is_dropped => {
        assert_eq!(clean(&ebgp(), &with(&[attr(0x80, 29, "0401 00ff 00")])).attributes.unknown, []);
    };
    rfc8669_6_prefix_sid_of_zeros_is_discarded => discarded(&ebgp(), &with(&[attr(0xc0, 40, "000000 000000")]), 40);
    rfc8669_6_prefix_sid_with_overrun_is_discarded => discarded(&ebgp(), &with(&[attr(0xc0, 40, "01 0007 00")]), 40);
    rfc8669_3_prefix_sid_in_order_passes => passes(&attr(0xc0, 40, "01 0007 00 0000 00000064"), 0xc0);
    rfc7606_7_16_attr_set_of_three_octets_passes => passes(&attr(0xc0, 128, "00fbf5"), 0xc0);

    // Unknown.
    incident_2019_attribute_255_of_no_octets_passes => passes(&attr(0xc0, 255, ""), 0xe0);
    rfc4271_5_unknown_transitive_of_1000_octets_passes_with_partial => passes(&attr(0xd0, 99, &"ab".repeat(1000)), 0xe0);
    rfc4271_5_unknown_non_transitive_is_dropped => {
        assert_eq!(clean(&ebgp(), &with(&[attr(0x80, 99, "00")])).attributes.unknown, []);
    };
    rfc4271_6_3_unknown_well_known_resets_with_the_attribute => {
        let data = reset(&ebgp(), &body("", &with(&[attr(0x40, 99, "0102")]), NLRI), 2);
        assert_eq!(data, attr(0x40, 99, "0102"));
    };

    // The NLRI fields.
    rfc7606_5_3_prefix_length_33_resets => reset(&ebgp(), &body("", &with(&[]), "21 cb00710000"), 10);
    rfc7606_5_3_truncated_prefix_resets => reset(&ebgp(), &body("", &with(&[]), "18 cb00"), 10);
    rfc7606_3i_withdrawn_prefix_length_33_resets => reset(&ebgp(), &body("21 cb00710000", &[], ""), 10);
    rfc7606_3i_truncated_withdrawn_prefix_resets => reset(&ebgp(), &body("18 cb00", &[], ""), 10);
    rfc4271_4_3_bits_behind_the_length_are_of_no_consequence => {
        let u = decoded(&body("", &with(&[]), "14 cb0077"), &ebgp());
        assert_eq!(u.reach[0].nlri, routes("203.0.112.0/20"));
    };

    // The strongest verdict.
    rfc7606_3h_discard_and_withdraw_is_withdraw => {
        let u = withdrawn(&ebgp(), &with(&[attr(0x40, 6, "00"), attr(0x80, 4, "00")]), 4);
        assert_eq!(u.errors.len(), 2);
    };
    rfc7606_3h_withdraw_and_reset_is_reset =>
        reset(&ebgp(), &body("", &with(&[attr(0x80, 4, "00"), attr(0x80, 15, "0002")]), NLRI), 9);

    // The family not negotiated.
    rfc4760_8_classic_routes_without_ipv4_negotiated_are_ignored => {
        let ctx = bgp_wire::SessionContext { families: vec![Family::IPV6_UNICAST], ..ebgp() };
        let u = decoded(&body("18 c63364", &with(&[]), NLRI), &ctx);
        assert_eq!((u.reach, u.unreach), ([].into(), [].into()));
        assert!(u.errors.iter().all(|e| e.verdict == AttrVerdict::Discard) && u.errors.len() == 2);
    };
}

/// The route is announced and the attribute goes with it, value untouched.
#[track_caller]
fn passes(attribute: &[u8], flags: u8) {
    let u = clean(&ebgp(), &with(&[attribute.to_vec()]));
    let header = if attribute[0] & 0x10 != 0 { 4 } else { 3 };
    let value = bytes::Bytes::copy_from_slice(&attribute[header..]);
    assert_eq!(u.attributes.unknown, [UnknownAttribute { flags, code: attribute[1], value }]);
}

#[test]
fn errors_are_sentences_with_their_clause() {
    let u = withdrawn(&ebgp(), &instead(attr(0x40, 1, "03")), 1);
    assert_eq!(u.errors[0].clause, "RFC 7606 §7.1");
    assert_eq!(u.errors[0].what, "ORIGIN: value is none of 0, 1, 2");
    assert_eq!(&u.errors[0].raw[..], attr(0x40, 1, "03"));
}

#[test]
fn a_message_of_nothing_but_errors_keeps_a_bounded_record() {
    let ctx = bgp_wire::SessionContext { extended_message: true, ..ebgp() };
    let u = accepted(&ctx, &with(&vec![attr(0x40, 1, "00"); 10_000]));
    assert!(u.errors.len() <= 16, "{}", u.errors.len());
}
