//! The header (RFC 4271 §6.1).

use bgp_wire::message::{MAX_EXTENDED_LEN, MAX_LEN, frame};
use bgp_wire::{Frame, MessageType};

use crate::build::*;

/// The header of a message of `len` octets, without its body.
fn header(kind: u8, len: u16) -> Vec<u8> {
    [vec![0xff; 16], len.to_be_bytes().to_vec(), vec![kind]].concat()
}

/// What the frame answers to these octets: code, subcode, data.
#[track_caller]
fn refused(octets: &[u8], max_len: usize) -> (u8, u8, Vec<u8>) {
    let n = frame(octets, max_len).expect_err("a NOTIFICATION");
    (n.code, n.subcode, n.data.to_vec())
}

rows! {
    rfc4271_6_1_marker_is_judged_first => {
        let mut m = header(9, 18);
        m[7] = 0;
        assert_eq!(refused(&m, MAX_LEN), (1, 1, vec![]));
    };
    rfc4271_6_1_length_18_is_refused_with_the_length => assert_eq!(refused(&header(4, 18), MAX_LEN), (1, 2, hex("0012")));
    rfc4271_6_1_length_is_judged_before_type => assert_eq!(refused(&header(0, 18), MAX_LEN), (1, 2, hex("0012")));
    rfc8654_5_length_4097_not_negotiated_is_refused => assert_eq!(refused(&header(2, 4097), MAX_LEN), (1, 2, hex("1001")));
    rfc8654_4_length_65535_negotiated_waits_for_its_body =>
        assert_eq!(frame(&header(2, 65535), MAX_EXTENDED_LEN), Ok(None));
    rfc8654_4_open_stays_at_4096 => assert_eq!(refused(&header(1, 4097), MAX_EXTENDED_LEN), (1, 2, hex("1001")));
    rfc4271_6_1_type_0_is_refused => assert_eq!(refused(&header(0, 19), MAX_LEN), (1, 3, vec![0]));
    rfc4271_6_1_type_6_is_refused => assert_eq!(refused(&header(6, 19), MAX_LEN), (1, 3, vec![6]));
    rfc4271_6_1_keepalive_of_20_octets_is_refused => assert_eq!(refused(&header(4, 20), MAX_LEN), (1, 2, hex("0014")));
    rfc4271_6_1_update_of_22_octets_is_refused => assert_eq!(refused(&header(2, 22), MAX_LEN), (1, 2, hex("0016")));
    rfc4271_6_1_open_of_28_octets_is_refused => assert_eq!(refused(&header(1, 28), MAX_LEN), (1, 2, hex("001c")));
    rfc4271_6_1_notification_of_20_octets_is_refused => assert_eq!(refused(&header(3, 20), MAX_LEN), (1, 2, hex("0014")));
    rfc2918_route_refresh_of_3_octets_is_refused =>
        assert_eq!(refused(&message(5, &hex("0001 00")), MAX_LEN), (1, 2, hex("0016")));
    rfc2918_route_refresh_of_no_octets_is_refused => assert_eq!(refused(&header(5, 19), MAX_LEN), (1, 2, hex("0013")));
    rfc7313_5_borr_of_3_octets_quotes_the_message => {
        let m = message(5, &hex("0001 01"));
        assert_eq!(refused(&m, MAX_LEN), (7, 1, m.clone()));
    };
    rfc7313_5_eorr_of_5_octets_waits_for_the_message_and_quotes_it => {
        let m = message(5, &hex("0001 02 01 00"));
        assert_eq!(frame(&m[..23], MAX_LEN), Ok(None));
        assert_eq!(refused(&m, MAX_LEN), (7, 1, m.clone()));
    };
    rfc5291_orf_that_nobody_negotiated_is_refused_early => {
        let m = message(5, &hex("0001 00 01 01 80 0001 00"));
        assert_eq!(refused(&m[..22], MAX_LEN), (1, 2, hex("001c")));
    };
    a_header_is_judged_without_its_body_and_not_before_its_end => {
        let m = header(4, 20);
        assert_eq!(frame(&m[..18], MAX_LEN), Ok(None));
        assert!(frame(&m, MAX_LEN).is_err());
    };
    a_message_is_found_once_whole_whatever_follows => {
        let mut m = message(2, &hex("0000 0000"));
        assert_eq!(frame(&m[..22], MAX_LEN), Ok(None));
        m.extend([0; 40]);
        assert_eq!(frame(&m, MAX_LEN), Ok(Some(Frame { kind: MessageType::Update, len: 23 })));
    };
}
