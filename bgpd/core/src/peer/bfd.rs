//! What BFD has to say in a session: its end when the path fails, and where BFD is strict, the wait for it.
//!
//! Standards: RFC 5882 §4; RFC 9384.

use std::time::Duration;

use bgp_wire::Notification;
use bgp_wire::notification::cease;
use net_types::Monotime;

use super::connection::{Connection, Phase};
use super::{ConnId, Peer, State};

/// After a failure nothing is sought for this long: a path that comes and goes is not chased.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

impl Peer {
    /// BFD changed its mind.
    pub(super) fn bfd(&mut self, now: Monotime, permits: bool, failed: bool) {
        self.bfd_permits = permits;
        // RFC 9384 §3. The TCP connection stands, so no restart is under way and nothing is kept (RFC 5882 §4.3.1).
        if failed && self.state() == State::Established {
            self.stop(now, &Notification::cease(cease::BFD_DOWN), Some(AFTER_FAILURE));
        }
        self.no_longer_waits(now);
    }

    /// Strict: OpenConfirm is where a session waits, its KEEPALIVE unsent, so that neither end is Established.
    pub(super) fn waits_for_bfd(&self) -> bool {
        self.config.bfd.as_ref().is_some_and(|b| b.strict) && !self.bfd_permits
    }

    /// The neighbour's KEEPALIVE while ours waits.
    pub(super) fn confirm_later(&mut self, now: Monotime, conn: ConnId) {
        if let Some(agreed) = self.connection_mut(conn).and_then(Connection::agreed_mut) {
            agreed.confirmed = true;
        }
        self.restart_hold(now, conn);
    }

    /// Sends what waited; establishes what was confirmed meanwhile.
    pub(super) fn no_longer_waits(&mut self, now: Monotime) {
        if self.waits_for_bfd() {
            return;
        }
        let waits = |c: &Connection| match &c.phase {
            Phase::OpenConfirm(agreed) => (agreed.waits || agreed.confirmed).then_some((c.id, agreed.confirmed)),
            _ => None,
        };
        let waiting: Vec<_> = self.connections.iter().filter_map(waits).collect();
        for (conn, confirmed) in waiting {
            if let Some(agreed) = self.connection_mut(conn).and_then(Connection::agreed_mut)
                && std::mem::take(&mut agreed.waits)
            {
                self.send_keepalive(now, conn);
            }
            if confirmed && self.connection(conn).is_some() {
                self.establish(now, conn);
            }
        }
    }
}
