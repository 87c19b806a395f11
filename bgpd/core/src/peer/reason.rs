//! NOTIFICATIONs as sentences, and the text of a Cease we write (RFC 9003).

use bgp_wire::Notification;
use bgp_wire::notification::{cease, code};

/// Longest Shutdown Communication (RFC 9003 §2).
const LONGEST_TEXT: usize = 255;

/// A Cease with a Shutdown Communication where the subcode may carry one.
pub(super) fn cease_with_text(subcode: u8, text: &str) -> Notification {
    let carries = matches!(subcode, cease::ADMINISTRATIVE_SHUTDOWN | cease::ADMINISTRATIVE_RESET);
    if text.is_empty() || !carries {
        return Notification::cease(subcode);
    }
    // RFC 9003 §2: UTF-8, never cut inside a character.
    let text = text.get(..text.floor_char_boundary(LONGEST_TEXT)).unwrap_or_default();
    Notification::administrative(subcode, text).unwrap_or(Notification::cease(subcode))
}

/// True for Cease, Hard Reset.
pub(super) fn is_hard_reset(notification: &Notification) -> bool {
    (notification.code, notification.subcode) == (code::CEASE, cease::HARD_RESET)
}

/// `6/2 Cease / Administrative Shutdown: "router moves to Lyon"`.
pub(super) fn describe(notification: &Notification) -> String {
    format!("{}/{} {notification}", notification.code, notification.subcode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn rfc9003_2_a_text_travels_and_is_read_back() {
        let sent = cease_with_text(2, "déménagement à Lyon");
        assert_eq!(sent.shutdown_text().as_deref(), Some("déménagement à Lyon"));
        assert_eq!(describe(&sent), r#"6/2 Cease / Administrative Shutdown: "déménagement à Lyon""#);
    }

    #[test]
    fn rfc9003_2_a_long_text_is_cut_between_characters() {
        let sent = cease_with_text(2, &"é".repeat(200));
        assert_eq!(sent.data.len(), 255, "a length octet and 127 whole characters");
        assert_eq!(sent.data.first(), Some(&254));
    }

    #[test]
    fn rfc9003_2_only_shutdown_and_reset_carry_a_text() {
        assert_eq!(cease_with_text(3, "gone").data.len(), 0);
        assert_eq!(cease_with_text(4, "").data.len(), 0);
        assert_eq!(cease_with_text(4, "x").data.as_ref(), b"\x01x");
    }

    #[test]
    fn a_received_text_cannot_steer_a_terminal() {
        let data = Bytes::from_static(b"\x06\x1b[2J\n!");
        let text = describe(&Notification { code: 6, subcode: 2, data });
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }

    #[test]
    fn a_hard_reset_in_a_hard_reset_is_described_without_recursion_to_the_bottom() {
        let data = [6, 9].repeat(2000);
        let text = describe(&Notification { code: 6, subcode: 9, data: Bytes::from(data) });
        assert!(text.starts_with("6/9 Cease / Hard Reset"), "{text}");
    }
}
