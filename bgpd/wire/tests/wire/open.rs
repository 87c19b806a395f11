//! OPEN: the checks of RFC 4271 §6.2, RFC 5492, RFC 9072, and every capability there and back.

use bgp_wire::message::{decode, encode, frame};
use bgp_wire::{
    AddPathMode, Capability, GracefulRestart, Message, MessageType, Notification, Open, Role, SessionContext,
};
use bytes::Bytes;
use net_types::{Afi, Asn, Family, RouterId};

use crate::build::*;

/// Version 4, AS 64501, hold time 90, 192.0.2.1, and what follows.
fn open(parameters: &str) -> Vec<u8> {
    hex(&format!("04 fbf5 005a c0000201 {parameters}"))
}

#[track_caller]
fn refused(body: &[u8]) -> (u8, u8, Vec<u8>) {
    let Notification { code, subcode, data } = Open::decode(body).expect_err("a NOTIFICATION");
    (code, subcode, data.to_vec())
}

/// The only capability of an OPEN with this one.
#[track_caller]
fn capability(code_length_value: &str) -> Capability {
    let len = hex(code_length_value).len();
    let o = Open::decode(&open(&format!("{:02x} 02 {len:02x} {code_length_value}", len + 2))).unwrap();
    assert_eq!(o.capabilities.len(), 1);
    o.capabilities[0].clone()
}

fn unknown(code: u8, value: &str) -> Capability {
    Capability::Unknown { code, value: hex(value).into() }
}

const MALFORMED: (u8, u8, Vec<u8>) = (2, 0, vec![]);

rows! {
    rfc4271_4_2_least_open => {
        let o = Open::decode(&open("00")).unwrap();
        let identifier = RouterId([192, 0, 2, 1].into());
        let expect = Open {
            version: 4, asn: Asn(64501), my_as: 64501, hold_time: 90, bgp_identifier: identifier, capabilities: vec![],
        };
        assert_eq!(o, expect);
    };
    rfc4271_6_2_version_3_is_refused_with_ours => assert_eq!(refused(&hex("03 fbf5 005a c0000201 00")), (2, 1, hex("0004")));
    rfc4271_6_2_version_5_is_refused_with_ours => assert_eq!(refused(&hex("05 fbf5 005a c0000201 00")), (2, 1, hex("0004")));
    rfc7607_2_as_0_is_refused => assert_eq!(refused(&hex("04 0000 005a c0000201 00")), (2, 2, vec![]));
    rfc7607_2_as_0_in_the_capability_is_refused => assert_eq!(refused(&open("08 02 06 41 04 00000000")), (2, 2, vec![]));
    rfc6286_2_2_identifier_0_is_refused => assert_eq!(refused(&hex("04 fbf5 005a 00000000 00")), (2, 3, vec![]));
    rfc4271_6_2_hold_time_1_is_refused => assert_eq!(refused(&hex("04 fbf5 0001 c0000201 00")), (2, 6, vec![]));
    rfc4271_6_2_hold_time_2_is_refused => assert_eq!(refused(&hex("04 fbf5 0002 c0000201 00")), (2, 6, vec![]));
    rfc4271_6_2_hold_time_0_and_3_are_fine => {
        for hold_time in ["0000", "0003"] {
            assert!(Open::decode(&hex(&format!("04 fbf5 {hold_time} c0000201 00"))).is_ok());
        }
    };
    rfc4271_6_2_parameters_beyond_message => assert_eq!(refused(&open("08 02 06 41 04 0000")), MALFORMED);
    rfc4271_6_2_parameters_short_of_message => assert_eq!(refused(&open("02 02 00 02 00")), MALFORMED);
    cve_2022_43681_message_ends_at_the_length_octet => {
        // Before it the header is too short; at it, parameters are announced that are not there.
        let m = message(1, &hex("04 fbf5 005a c0000201"));
        let n = frame(&m, 4096).expect_err("too short");
        assert_eq!((n.code, n.subcode, &n.data[..]), (1, 2, &hex("001c")[..]));
        assert_eq!(refused(&hex("04 fbf5 005a c0000201")), (1, 2, hex("001c")));
        assert_eq!(refused(&open("04")), MALFORMED);
        assert_eq!(refused(&open("ff")), MALFORMED);
    };
    cve_2022_40302_extended_header_cut_short => {
        assert_eq!(refused(&open("ff ff")), MALFORMED);
        assert_eq!(refused(&open("ff ff 00")), MALFORMED);
    };
    cve_2022_40318_extended_length_beyond_message => {
        assert_eq!(refused(&open("ff ff 00ff 02 0006 41 04 0000fbf5")), MALFORMED);
        assert_eq!(refused(&open("ff ff 0009 02 00ff 41 04 0000fbf5")), MALFORMED);
    };
    rfc9072_2_one_small_parameter => {
        let o = Open::decode(&open("ff ff 0009 02 0006 41 04 00010000")).unwrap();
        assert_eq!(o.asn, Asn(65536));
    };
    rfc9072_2_the_old_length_octet_may_say_anything_but_0 => {
        assert!(Open::decode(&open("01 ff 0009 02 0006 41 04 00010000")).is_ok());
    };
    rfc9072_2_type_255_inside_is_no_parameter => assert_eq!(refused(&open("ff ff 0003 ff 0000")), (2, 4, vec![]));
    rfc5492_capability_beyond_parameter => assert_eq!(refused(&open("06 02 04 41 06 0000")), MALFORMED);
    rfc5492_capability_of_one_octet => assert_eq!(refused(&open("03 02 01 41")), MALFORMED);
    rfc6793_3_as4_capability_of_two_octets => assert_eq!(refused(&open("06 02 04 41 02 fbf5")), MALFORMED);
    rfc4760_8_multiprotocol_of_three_octets => assert_eq!(refused(&open("07 02 05 01 03 000100")), MALFORMED);
    rfc4271_6_2_parameter_type_9_is_refused => assert_eq!(refused(&open("03 09 01 00")), (2, 4, vec![]));
    rfc4271_6_2_authentication_is_refused => assert_eq!(refused(&open("03 01 01 00")), (2, 4, vec![]));
    rfc9234_4_1_role_of_two_octets => assert_eq!(refused(&open("06 02 04 09 02 0000")), MALFORMED);
    rfc9234_4_1_role_without_a_name_is_kept => assert_eq!(capability("09 01 07"), unknown(9, "07"));
    rfc5492_3_graceful_restart_of_three_octets_is_ignored => assert_eq!(capability("40 03 007800"), unknown(64, "007800"));
    rfc7911_4_add_path_mode_4_is_ignored => assert_eq!(capability("45 04 00010104"), unknown(69, "00010104"));
    rfc5492_3_fqdn_that_lies_is_kept_unread => assert_eq!(capability("49 03 ff6161"), unknown(73, "ff6161"));
    cve_2023_41361_software_version_that_lies_is_kept_unread => assert_eq!(capability("4b 02 ff61"), unknown(75, "ff61"));
    rfc5492_4_capabilities_of_several_parameters_are_one_list => {
        let o = Open::decode(&open("10 02 06 0104 00010001 02 06 0200 0600 4600")).unwrap();
        let expect = [
            Capability::Multiprotocol(Family::IPV4_UNICAST),
            Capability::RouteRefresh,
            Capability::ExtendedMessage,
            Capability::EnhancedRouteRefresh,
        ];
        assert_eq!(o.capabilities, expect);
    };
    rfc6793_4_1_the_capability_is_the_as_number => {
        let o = Open::decode(&hex("04 5ba0 005a c0000201 08 02 06 41 04 00010000")).unwrap();
        assert_eq!((o.asn, o.my_as), (Asn(65536), 23456));
    };
    rfc8538_2_restart_and_notification_bits => {
        let families = vec![(Family::IPV4_UNICAST, true), (Family::IPV6_UNICAST, false)];
        let expect = GracefulRestart { restarting: true, notification: true, restart_time: 120, families };
        assert_eq!(capability("40 0a c078 00010180 00020100"), Capability::GracefulRestart(expect));
    };
    rfc8950_4_two_octet_safi => {
        let expect = vec![(Family::IPV4_UNICAST, Afi::IPV6)];
        assert_eq!(capability("05 06 0001 0001 0002"), Capability::ExtendedNextHop(expect));
    };
}

fn every_capability() -> Vec<Capability> {
    vec![
        Capability::Multiprotocol(Family::IPV4_UNICAST),
        Capability::Multiprotocol(Family::IPV6_UNICAST),
        Capability::RouteRefresh,
        Capability::ExtendedNextHop(vec![(Family::IPV4_UNICAST, Afi::IPV6)]),
        Capability::ExtendedMessage,
        Capability::Role(Role::RouteServerClient),
        Capability::GracefulRestart(GracefulRestart {
            restarting: true,
            notification: true,
            restart_time: 4095,
            families: vec![(Family::IPV4_UNICAST, true), (Family::IPV6_UNICAST, false)],
        }),
        Capability::FourOctetAsn(Asn(65536)),
        Capability::AddPath(vec![
            (Family::IPV4_UNICAST, AddPathMode::Receive),
            (Family::IPV6_UNICAST, AddPathMode::Both),
            (Family::IPV6_UNICAST, AddPathMode::Send),
        ]),
        Capability::EnhancedRouteRefresh,
        Capability::LongLivedGracefulRestart(vec![(Family::IPV4_UNICAST, true, 0x00ff_ffff)]),
        Capability::Unknown { code: 73, value: Bytes::from_static(b"\x02r1\x00") },
    ]
}

#[track_caller]
fn there_and_back(capabilities: Vec<Capability>) -> Bytes {
    let open = Open::new(Asn(65536), 90, RouterId([192, 0, 2, 1].into()), capabilities);
    let ctx = SessionContext::initial();
    let octets = encode(&Message::Open(open.clone()), &ctx).unwrap();
    let f = frame(&octets, 4096).unwrap().expect("whole");
    assert_eq!((f.kind, f.len), (MessageType::Open, octets.len()));
    assert_eq!(decode(f.kind, &octets[19..], &ctx), Ok(Message::Open(open)));
    octets
}

#[test]
fn every_capability_there_and_back_in_one_parameter() {
    let octets = there_and_back(every_capability());
    assert_eq!(octets[29], 2, "one classic parameter");
    assert_eq!(usize::from(octets[30]), octets.len() - 31);
}

#[test]
fn rfc9072_2_more_than_255_octets_go_extended_and_the_border_is_exact() {
    let pad = |len: usize| Capability::Unknown { code: 200, value: vec![7; len].into() };
    // Capability 65 is put in front (6 octets), the parameter header is 2, the pad's own header 2: 254 in all, then 255.
    let classic = there_and_back(vec![pad(244)]);
    assert_eq!((classic[28], classic[29]), (254, 2));
    let extended = there_and_back(vec![pad(245)]);
    assert_eq!((extended[28], extended[29]), (255, 255));
    there_and_back(vec![pad(255); 15]);
}

#[test]
fn an_open_that_cannot_be_written_is_an_error() {
    let pad = |len: usize, n| vec![Capability::Unknown { code: 200, value: vec![7; len].into() }; n];
    let write = |c| {
        let o = Open::new(Asn(64500), 90, RouterId([192, 0, 2, 1].into()), c);
        encode(&Message::Open(o), &SessionContext::initial())
    };
    assert!(write(pad(256, 1)).is_err(), "a capability of 256 octets");
    assert!(write(pad(255, 16)).is_err(), "an OPEN over 4096 octets");
}

#[test]
fn capabilities_read_as_words() {
    let words: Vec<String> = every_capability().iter().map(ToString::to_string).collect();
    assert_eq!(words[0], "multiprotocol ipv4-unicast");
    assert_eq!(words[3], "extended-next-hop ipv4-unicast/ipv6");
    assert_eq!(words[5], "role route-server-client");
    assert_eq!(words[6], "graceful-restart 4095 s restarting notification ipv4-unicast/forwarding ipv6-unicast");
    assert_eq!(words[8], "add-path ipv4-unicast/receive ipv6-unicast/both ipv6-unicast/send");
    assert_eq!(words[11], "capability 73 (4 octets)");
}

#[test]
fn rfc9234_4_2_pairs_of_roles() {
    use Role::{Customer, Peer, Provider, RouteServer, RouteServerClient};
    let all = [Provider, RouteServer, RouteServerClient, Customer, Peer];
    let pairs: Vec<(Role, Role)> =
        all.into_iter().flat_map(|a| all.map(|b| (a, b))).filter(|(a, b)| a.matches(*b)).collect();
    let allowed = [
        (Provider, Customer),
        (RouteServer, RouteServerClient),
        (RouteServerClient, RouteServer),
        (Customer, Provider),
        (Peer, Peer),
    ];
    assert_eq!(pairs, allowed);
}
