//! Two connections with one neighbour (RFC 4271 §6.8, RFC 4724 §4.2, RFC 6286 §2.3).
//!
//! Decided when a valid OPEN arrives (events 19 and 20), against every other connection of the neighbour. RFC 4271 makes us look at
//! OpenConfirm and lets us look at OpenSent when the identifier is known by other means; the OPEN just read is such a
//! means, both connections being with the same configured neighbour. Both ends prefer the same connection, so as long
//! as each looks at both, exactly one dies.

use bgp_wire::Open;
use net_types::Monotime;

use super::connection::{Direction, Phase};
use super::ending::Cause;
use super::{ConnId, Peer};

/// Whose connection stays: the one opened by the higher BGP Identifier, and between equal ones by the larger AS number.
fn preferred(ours: &Open, theirs: &Open) -> Direction {
    let we = (ours.bgp_identifier.to_u32(), ours.asn);
    let they = (theirs.bgp_identifier.to_u32(), theirs.asn);
    if we > they { Direction::Outgoing } else { Direction::Incoming }
}

impl Peer {
    /// `conn` got a valid OPEN. True: it may go on, and any rival is gone; false: it was closed itself.
    pub(super) fn resolve_collision(&mut self, now: Monotime, conn: ConnId, ours: &Open, theirs: &Open) -> bool {
        let Some(direction) = self.connection(conn).map(|c| c.direction) else { return false };
        let Some(rival) = self.connections.iter().find(|c| c.id != conn) else { return true };
        let rival_id = rival.id;
        match &rival.phase {
            // RFC 4724 §4.2: a neighbour that restarts gracefully may be back before its old connection is seen dead;
            // its OPEN on a new one is the end of the old one.
            Phase::Established(agreed, _) if agreed.negotiated.graceful_restart.is_some() => {
                self.end(now, rival_id, &Cause::Superseded);
                true
            }
            // RFC 4271 §6.8: otherwise the established one stays.
            Phase::Established(..) => {
                self.end(now, conn, &Cause::Collision);
                false
            }
            // Never two of one direction before Established: `Peer::incoming` sees to it. One that waits for its
            // DelayOpenTimer counts as well: were it left to itself, each end could end up with another connection.
            Phase::Delayed { .. } | Phase::OpenSent { .. } | Phase::OpenConfirm(_) => {
                let stays = direction == preferred(ours, theirs);
                self.end(now, if stays { rival_id } else { conn }, &Cause::Collision);
                stays
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use net_types::{Asn, RouterId};

    fn open(identifier: u32, asn: u32) -> Open {
        let bgp_identifier = RouterId::from(identifier);
        Open { version: 4, asn: Asn(asn), my_as: 0, hold_time: 90, bgp_identifier, capabilities: Vec::new() }
    }

    #[test]
    fn rfc4271_6_8_the_higher_identifier_as_a_number_wins() {
        // 9.0.0.0 against 10.0.0.0: as text the order would be the other way round.
        assert_eq!(preferred(&open(0x0900_0000, 64510), &open(0x0a00_0000, 64501)), Direction::Incoming);
        assert_eq!(preferred(&open(0x0a00_0000, 64501), &open(0x0900_0000, 64510)), Direction::Outgoing);
    }

    #[test]
    fn rfc6286_2_3_between_equal_identifiers_the_larger_as_wins() {
        assert_eq!(preferred(&open(7, 64501), &open(7, 65536)), Direction::Incoming);
        assert_eq!(preferred(&open(7, 65536), &open(7, 64501)), Direction::Outgoing);
    }
}
