//! MP_REACH_NLRI, MP_UNREACH_NLRI, next hops of other families, End-of-RIB, ADD-PATH.

use bgp_wire::{AttrVerdict, NextHop, Nlri, Reach, SessionContext, Unreach, Update};
use net_types::{Afi, Family, Safi};

use crate::build::*;

const V6: Family = Family::IPV6_UNICAST;
const V4: Family = Family::IPV4_UNICAST;

fn extended() -> SessionContext {
    SessionContext { extended_next_hop: vec![V4], ..ebgp() }
}

fn mp(value: &str) -> Vec<u8> {
    body("", &[attr(0x80, 14, value), origin(), as_path()], "")
}

fn v6(global: &str, link_local: Option<&str>) -> NextHop {
    NextHop::V6 { global: global.parse().unwrap(), link_local: link_local.map(|l| l.parse().unwrap()) }
}

fn reach6() -> Reach {
    Reach { family: V6, next_hop: v6("2001:db8::1", None), nlri: routes("2001:db8:5::/48") }
}

/// A next hop of `octets` for 2001:db8:5::/48, as the decoder reads it.
fn read_next_hop(octets: &str) -> NextHop {
    let len = hex(octets).len();
    let u = decoded(&mp(&format!("0002 01 {len:02x} {octets} 00 30 20010db80005")), &ebgp());
    assert_eq!(u.errors, []);
    u.reach[0].next_hop
}

const GLOBAL: &str = "20010db8000000000000000000000001";
const LINK: &str = "fe800000000000000000000000000001";
const ZERO: &str = "00000000000000000000000000000000";

rows! {
    rfc4760_3_ipv6_is_announced_without_next_hop => {
        let u = decoded(&mp(MP6), &ebgp());
        assert_eq!((u.reach, u.errors), ([reach6()].into(), vec![]));
    };
    rfc4760_3_reserved_octet_is_ignored => {
        let u = decoded(&mp(&MP6.replace(" 00 30", " ff 30")), &ebgp());
        assert_eq!(u.reach, [reach6()]);
    };
    rfc7606_5_3_mp_reach_flags_reset => {
        let a = attr(0xc0, 14, MP6);
        assert_eq!(reset(&ebgp(), &body("", &[a.clone(), origin(), as_path()], ""), 4), a);
    };
    rfc7606_7_11_next_hop_length_9_resets => reset(&ebgp(), &mp("0002 01 09 20010db80000000000 00 30 20010db80005"), 9);
    rfc7606_7_11_next_hop_beyond_attribute_resets => reset(&ebgp(), &mp("0002 01 ff 20010db8"), 9);
    rfc7606_7_11_four_octets_reset => reset(&ebgp(), &mp("0002 01 00"), 9);
    rfc7606_5_3_mp_reach_prefix_length_129_resets => reset(&ebgp(), &mp(&MP6.replace("30 20010db80005", "81 20010db80005")), 9);
    rfc7606_5_3_mp_reach_truncated_prefix_resets => reset(&ebgp(), &mp(&MP6.replace("30 20010db80005", "30 20010db8")), 9);
    rfc7606_3g_mp_reach_twice_resets =>
        reset(&ebgp(), &body("", &[attr(0x80, 14, MP6), attr(0x80, 14, MP6), origin(), as_path()], ""), 1);
    rfc7606_3g_mp_unreach_twice_resets =>
        reset(&ebgp(), &body("", &[attr(0x80, 15, "000201"), attr(0x80, 15, "000201")], ""), 1);
    rfc4760_8_mp_reach_of_a_family_not_negotiated_is_ignored => {
        // IPv4 multicast, and the IPv4 route beside it stays.
        let u = accepted(&ebgp(), &with(&[attr(0x80, 14, "0001 02 04 c0000201 00 18 cb0071")]));
        assert_eq!((u.errors[0].code, u.errors[0].verdict), (14, AttrVerdict::Discard));
    };
    rfc4760_8_mp_reach_not_negotiated_alone_is_no_reset => {
        let u = decoded(&mp("0019 46 04 c0000201 00 ffffff"), &ebgp());
        assert_eq!((u.reach.len(), u.unreach.len(), u.errors.len()), (0, 0, 1));
        assert_eq!(u.attributes, Default::default());
    };
    rfc7606_5_3_mp_unreach_length_2_resets => reset(&ebgp(), &body("", &[attr(0x80, 15, "0002")], ""), 9);
    rfc7606_5_3_mp_unreach_truncated_prefix_resets =>
        reset(&ebgp(), &body("", &[attr(0x80, 15, "0002 01 30 20010db8")], ""), 9);
    rfc4760_4_mp_unreach_withdraws => {
        let u = decoded(&body("", &[attr(0x80, 15, "0002 01 30 20010db80005")], ""), &ebgp());
        assert_eq!(u.unreach, [Unreach { family: V6, nlri: routes("2001:db8:5::/48") }]);
        assert_eq!((u.end_of_rib, u.errors), (None, vec![]));
    };
    rfc4760_8_mp_unreach_not_negotiated_is_ignored => {
        let u = decoded(&body("", &[attr(0x80, 15, "0001 02 18 cb0071")], ""), &ebgp());
        assert_eq!((u.unreach.len(), u.errors.len()), (0, 1));
    };

    // Next hops.
    rfc2545_3_global_alone => assert_eq!(read_next_hop(GLOBAL), v6("2001:db8::1", None));
    rfc2545_3_global_and_link_local =>
        assert_eq!(read_next_hop(&format!("{GLOBAL}{LINK}")), v6("2001:db8::1", Some("fe80::1")));
    rfc2545_3_link_local_alone => assert_eq!(read_next_hop(LINK), v6("fe80::1", None));
    rfc2545_3_link_local_behind_zero_is_alone => assert_eq!(read_next_hop(&format!("{ZERO}{LINK}")), v6("fe80::1", None));
    rfc2545_3_link_local_twice_is_alone => assert_eq!(read_next_hop(&format!("{LINK}{LINK}")), v6("fe80::1", None));
    rfc2545_3_second_address_not_link_local_is_ignored =>
        assert_eq!(read_next_hop(&format!("{GLOBAL}{ZERO}")), v6("2001:db8::1", None));
    rfc4271_6_3_ipv6_next_hop_zero_is_withdrawn => withdrawn6(ZERO);
    rfc4271_6_3_ipv6_next_hop_loopback_is_withdrawn => withdrawn6("00000000000000000000000000000001");
    rfc4271_6_3_ipv6_next_hop_multicast_is_withdrawn => withdrawn6("ff020000000000000000000000000001");
    rfc4760_3_ipv4_unicast_inside_mp_reach => {
        let u = decoded(&mp("0001 01 04 c0000201 00 18 cb0071"), &ebgp());
        let next_hop = NextHop::V4([192, 0, 2, 1].into());
        assert_eq!(u.reach, [Reach { family: V4, next_hop, nlri: routes("203.0.113.0/24") }]);
    };
    rfc8950_3_ipv4_with_ipv6_next_hop => {
        let u = decoded(&mp(&format!("0001 01 10 {GLOBAL} 00 18 cb0071")), &extended());
        assert_eq!(u.reach, [Reach { family: V4, next_hop: v6("2001:db8::1", None), nlri: routes("203.0.113.0/24") }]);
        let u = decoded(&mp(&format!("0001 01 20 {GLOBAL}{LINK} 00 18 cb0071")), &extended());
        assert_eq!(u.reach[0].next_hop, v6("2001:db8::1", Some("fe80::1")));
    };
    rfc8950_4_ipv6_next_hop_without_the_capability_resets =>
        reset(&ebgp(), &mp(&format!("0001 01 10 {GLOBAL} 00 18 cb0071")), 9);
    rfc4760_3_next_hop_beside_mp_reach_alone_says_nothing => {
        let u = decoded(&body("", &[attr(0x80, 14, MP6), origin(), as_path(), attr(0x40, 3, "00000000")], ""), &ebgp());
        assert_eq!((u.reach, u.errors), ([reach6()].into(), vec![]));
    };

    // More than one section.
    rfc7606_5_1_all_sections_with_mp_reach_last_are_processed => {
        let u = decoded(&body("18 c63364", &with(&[attr(0x80, 14, MP6)]), NLRI), &ebgp());
        assert_eq!(u.unreach, [Unreach { family: V4, nlri: routes("198.51.100.0/24") }]);
        assert_eq!(u.reach.len(), 2);
        assert_eq!(u.reach[1], reach6());
    };
    rfc4271_4_3_prefix_withdrawn_and_announced_stands_in_both => {
        let u = decoded(&body(NLRI, &with(&[]), NLRI), &ebgp());
        assert_eq!(u.unreach[0].nlri, u.reach[0].nlri);
    };
    rfc7606_2_treat_as_withdraw_covers_every_section => {
        let attributes = [vec![attr(0x80, 14, MP6)], instead(attr(0x40, 1, "07"))].concat();
        let u = decoded(&body("18 c63364", &attributes, NLRI), &ebgp());
        assert_eq!(u.reach, []);
        let all: Vec<String> = u.unreach.iter().flat_map(|u| &u.nlri).map(|n| n.prefix.to_string()).collect();
        assert_eq!(all, ["198.51.100.0/24", "203.0.113.0/24", "2001:db8:5::/48"]);
    };
    rfc7606_3d_origin_missing_beside_mp_reach_is_withdrawn => {
        let u = decoded(&body("", &[attr(0x80, 14, MP6), as_path()], ""), &ebgp());
        assert_eq!(u.unreach, [Unreach { family: V6, nlri: routes("2001:db8:5::/48") }]);
    };

    // End-of-RIB.
    rfc4724_2_empty_update_is_end_of_rib_of_ipv4 => end_of_rib(&hex("0000 0000"), V4);
    rfc4724_2_mp_unreach_alone_is_end_of_rib => end_of_rib(&body("", &[attr(0x80, 15, "000201")], ""), V6);
    rfc4724_2_end_of_rib_with_extended_length => end_of_rib(&body("", &[attr(0x90, 15, "000201")], ""), V6);
    rfc4724_2_end_of_rib_of_a_family_not_negotiated_is_no_error =>
        end_of_rib(&body("", &[attr(0x80, 15, "000446")], ""), Family { afi: Afi(4), safi: Safi(70) });
    rfc7606_5_2_end_of_rib_with_a_discarded_attribute_stays => {
        let u = decoded(&body("", &[attr(0x80, 15, "000201"), attr(0x40, 6, "00")], ""), &ebgp());
        assert_eq!((u.end_of_rib, u.errors.len()), (Some(V6), 1));
    };
    rfc4724_2_routes_beside_it_make_it_no_end_of_rib => {
        assert_eq!(decoded(&body("", &with(&[attr(0x80, 15, "000201")]), NLRI), &ebgp()).end_of_rib, None);
        assert_eq!(decoded(&body(NLRI, &[attr(0x80, 15, "000201")], ""), &ebgp()).end_of_rib, None);
    };

    // ADD-PATH.
    rfc7911_3_path_identifier_is_read_where_negotiated => {
        let ctx = SessionContext { add_path_receive: vec![V4], ..ebgp() };
        let u = decoded(&body("00000007 18 c63364", &with(&[]), "00000009 18 cb0071"), &ctx);
        assert_eq!(u.unreach[0].nlri, [Nlri { prefix: "198.51.100.0/24".parse().unwrap(), path_id: 7 }]);
        assert_eq!(u.reach[0].nlri, [Nlri { prefix: "203.0.113.0/24".parse().unwrap(), path_id: 9 }]);
    };
    rfc7911_3_prefix_without_identifier_on_an_add_path_session_resets => {
        let ctx = SessionContext { add_path_receive: vec![V4], ..ebgp() };
        reset(&ctx, &body("", &with(&[]), NLRI), 10)
    };
    rfc7911_3_identifier_without_add_path_resets =>
        // The identifier reads as 0.0.0.0/0 three times over, then as a length of 255 that gives it away.
        reset(&ebgp(), &body("", &with(&[]), "000000ff 18 cb0071"), 10);
    rfc7911_3_add_path_is_per_family => {
        let ctx = SessionContext { add_path_receive: vec![V4], ..ebgp() };
        assert_eq!(decoded(&mp(MP6), &ctx).reach, [reach6()]);
    };
}

fn withdrawn6(next_hop: &str) {
    let u: Update = decoded(&mp(&format!("0002 01 10 {next_hop} 00 30 20010db80005")), &ebgp());
    assert_eq!(u.reach, []);
    assert_eq!(u.unreach, [Unreach { family: V6, nlri: routes("2001:db8:5::/48") }]);
    assert_eq!(u.errors[0].verdict, AttrVerdict::TreatAsWithdraw);
}

fn end_of_rib(body: &[u8], family: Family) {
    assert_eq!(decoded(body, &ebgp()), Update { end_of_rib: Some(family), ..Update::default() });
}
