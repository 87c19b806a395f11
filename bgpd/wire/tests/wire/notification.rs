//! NOTIFICATION and ROUTE-REFRESH.

use bgp_wire::message::{decode, encode, frame};
use bgp_wire::notification::{cease, code, fsm_error};
use bgp_wire::{Message, MessageType, Notification, RouteRefresh, RouteRefreshSubtype, SessionContext};
use net_types::Family;

use crate::build::*;

#[track_caller]
fn there_and_back(message: &Message) {
    let ctx = SessionContext::initial();
    let octets = encode(message, &ctx).unwrap();
    let f = frame(&octets, 4096).unwrap().expect("whole");
    assert_eq!((f.kind, f.len), (message.kind(), octets.len()));
    assert_eq!(decode(f.kind, &octets[19..], &ctx).as_ref(), Ok(message));
}

rows! {
    rfc4271_4_4_keepalive => {
        there_and_back(&Message::Keepalive);
        assert!(decode(MessageType::Keepalive, &[0], &ebgp()).is_err());
    };
    rfc2918_3_route_refresh => there_and_back(&Message::RouteRefresh(RouteRefresh::request(Family::IPV6_UNICAST)));
    rfc7313_3_2_subtypes => {
        for (octet, subtype) in [
            (0, RouteRefreshSubtype::Request),
            (1, RouteRefreshSubtype::Begin),
            (2, RouteRefreshSubtype::End),
            (255, RouteRefreshSubtype::Unknown(255)),
        ] {
            let rr = RouteRefresh { family: Family::IPV4_UNICAST, subtype };
            assert_eq!(RouteRefresh::decode(&[0, 1, octet, 1]), Ok(rr));
            there_and_back(&Message::RouteRefresh(rr));
        }
    };
    rfc4271_4_5_notification => there_and_back(&Message::Notification(Notification::with_data(2, 1, &[0, 4])));
    rfc9003_2_text_of_255_octets_and_no_more => {
        let n = Notification::administrative(cease::ADMINISTRATIVE_SHUTDOWN, &"é".repeat(127)).unwrap();
        assert_eq!(n.shutdown_text().as_deref(), Some(&*"é".repeat(127)));
        there_and_back(&Message::Notification(n));
        assert!(Notification::administrative(cease::ADMINISTRATIVE_RESET, &"é".repeat(128)).is_err());
    };
    rfc9003_2_length_that_lies_is_no_text => {
        let n = Notification::with_data(code::CEASE, cease::ADMINISTRATIVE_SHUTDOWN, b"\xffhi");
        assert_eq!(n.shutdown_text(), None);
        assert_eq!(n.to_string(), "Cease / Administrative Shutdown, data ff6869");
    };
    rfc8538_3_hard_reset_carries_the_reason => {
        let inner = Notification::administrative(cease::ADMINISTRATIVE_RESET, "new power supply").unwrap();
        let outer = inner.hard_reset();
        assert_eq!(outer.encapsulated(), Some(inner));
        assert_eq!(outer.to_string(), "Cease / Hard Reset (Cease / Administrative Reset: \"new power supply\")");
        assert_eq!(outer.hard_reset().to_string(), format!("Cease / Hard Reset, data 0609{}", hex_of(&outer.data)));
    };
    a_notification_is_a_sentence => {
        for (n, sentence) in [
            (Notification::new(code::HOLD_TIMER_EXPIRED, 0), "Hold Timer Expired"),
            (Notification::new(code::SEND_HOLD_TIMER_EXPIRED, 0), "Send Hold Timer Expired"),
            (Notification::new(2, 11), "OPEN Message Error / Role Mismatch"),
            (
                Notification::new(code::FSM, fsm_error::UNEXPECTED_IN_OPEN_CONFIRM),
                "Finite State Machine Error / Unexpected Message in OpenConfirm",
            ),
            (Notification::cease(cease::MAXIMUM_PREFIXES), "Cease / Maximum Number of Prefixes Reached"),
            (Notification::with_data(2, 1, &[0, 4]), "OPEN Message Error / Unsupported Version Number, data 0004"),
            (Notification::new(99, 7), "error code 99 / subcode 7"),
        ] {
            assert_eq!(n.to_string(), sentence);
        }
    };
    a_strangers_text_cannot_steer_the_terminal => {
        let n = Notification::administrative(cease::ADMINISTRATIVE_SHUTDOWN, "\u{1b}[2J").unwrap();
        assert!(!n.to_string().contains('\u{1b}'));
    };
    data_is_cut_to_what_every_peer_can_take => {
        let n = Notification::with_data(3, 9, &[7; 60_000]);
        let octets = encode(&Message::Notification(n), &SessionContext::initial()).unwrap();
        assert_eq!(octets.len(), 4096);
    };
}

fn hex_of(octets: &[u8]) -> String {
    octets.iter().map(|b| format!("{b:02x}")).collect()
}
