//! The end of a connection: what the neighbour is told, what the RIB may keep, and what is tried next.

use std::collections::VecDeque;
use std::time::Duration;

use bgp_wire::notification::{cease, code, open_error};
use bgp_wire::{Message, Notification};
use bytes::Bytes;
use net_types::Monotime;

use super::connection::{Connection, Phase};
use super::negotiate::Negotiated;
use super::reason;
use super::seeking::Seeking;
use super::timers::{IDLE_HOLD_CEILING, STABLE_SESSION};
use super::{ConnId, Down, Output, Peer, Retain};

/// Closed connections whose last bytes the shell has not taken yet; beyond this the oldest is forgotten.
const MOST_CLOSING: usize = 8;

/// Why a connection ends.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Cause {
    /// Event 18, TcpConnectionFails.
    TcpFailed,
    /// Events 24 and 25, NotifMsgVerErr and NotifMsg.
    Received(Notification),
    /// The neighbour (or silence) broke the protocol: events 10, 21, 22, 28, 29 and unexpected messages. The text
    /// says more than the code.
    Fault(Notification, String),
    /// Event 2, ManualStop, or the shell's or the configuration's wish.
    Deliberate(Notification),
    /// Event 23, OpenCollisionDump.
    Collision,
    /// RFC 4724 §4.2: a new connection took its place.
    Superseded,
}

impl Peer {
    /// Ends one connection. If it was the last, decides what follows, except after [`Cause::Deliberate`], where the
    /// caller knows.
    pub(super) fn end(&mut self, now: Monotime, conn: ConnId, cause: &Cause) {
        let Some(position) = self.connections.iter().position(|c| c.id == conn) else { return };
        let mut connection = self.connections.remove(position);
        let sent = notification_for(&connection, cause);
        if let Some(notification) = &sent {
            if let Cause::Fault(Notification { code: code::SEND_HOLD_TIMER_EXPIRED, .. }, _) = cause {
                // RFC 9687 §4: what waits will never be read.
                connection.drop_transmit();
            }
            if let Some(bytes) = self.encode(&Message::Notification(notification.clone()), &connection) {
                connection.queue(now, bytes);
                self.counters.messages_sent += 1;
            }
        }
        self.report(now, &connection, cause, sent);
        self.close(connection);
        if !matches!(cause, Cause::Deliberate(_)) && self.connections.is_empty() && self.seeking == Seeking::Settled {
            self.seek_after(now, cause);
        }
        self.note_state(now);
    }

    /// Tells the shell and remembers the reason.
    fn report(&mut self, now: Monotime, connection: &Connection, cause: &Cause, sent: Option<Notification>) {
        let received = match cause {
            Cause::Received(notification) => Some(notification.clone()),
            _ => None,
        };
        let (conn, reason) = (connection.id, reason_for(cause, sent.as_ref()));
        if let Phase::Established(agreed, since) = &connection.phase {
            if now.since(*since) >= STABLE_SESSION {
                self.back_off.reset();
            }
            self.last_error.clone_from(&reason);
            let retain = self.retain(&agreed.negotiated, cause);
            self.outputs.push_back(Output::Down(Box::new(Down { conn, reason, sent, received, retain })));
        } else if self.connections.is_empty() && *cause != Cause::Collision || matches!(cause, Cause::Fault(..)) {
            // Otherwise it was the weaker of two connections, and the other goes on.
            self.last_error.clone_from(&reason);
            self.outputs.push_back(Output::OpenFailed(Box::new(Down { conn, reason, sent, received, retain: None })));
        }
    }

    /// Asks the shell to flush and close.
    fn close(&mut self, connection: Connection) {
        self.outputs.push_back(Output::Close { conn: connection.id });
        let conn = connection.id;
        let rest = connection.into_transmit();
        self.remember_closing(conn, rest);
    }

    /// Keeps the last bytes of a closed connection for `poll_transmit`.
    pub(super) fn remember_closing(&mut self, conn: ConnId, rest: VecDeque<Bytes>) {
        if rest.is_empty() {
            return;
        }
        if self.closing.len() >= MOST_CLOSING {
            self.closing.pop_front();
        }
        self.closing.push_back((conn, rest));
    }

    /// RFC 4724 §4.2 and RFC 8538 §4: may the routes stay?
    fn retain(&self, negotiated: &Negotiated, cause: &Cause) -> Option<Retain> {
        let theirs = negotiated.graceful_restart.as_ref().filter(|g| self.config.gr_helper && g.restart_time > 0)?;
        let allowed = match cause {
            Cause::TcpFailed | Cause::Superseded => true,
            Cause::Received(n) => negotiated.notification_restart && !reason::is_hard_reset(n),
            Cause::Fault(..) => negotiated.notification_restart,
            Cause::Deliberate(_) | Cause::Collision => false,
        };
        let families: Vec<_> = theirs
            .families
            .iter()
            .map(|(family, _)| *family)
            .filter(|family| negotiated.context.families.contains(family))
            .collect();
        let restart_time = Duration::from_secs(theirs.restart_time.into());
        (allowed && !families.is_empty()).then_some(Retain { families, restart_time })
    }

    /// RFC 4271 §8.2.2 leads every failure through Idle and out again by AutomaticStart. Where the transport failed or
    /// the neighbour merely said goodbye, we pass through at once and take its connections while our own next connect
    /// waits; where one of the two broke the protocol again and again, IdleHoldTimer keeps us away
    /// (DampPeerOscillations, RFC 4271 §8.1.1).
    fn seek_after(&mut self, now: Monotime, cause: &Cause) {
        let first = self.back_off.failures == 0;
        let without_capabilities = std::mem::take(&mut self.omit_capabilities);
        let broken = match cause {
            // RFC 5492 §3: a neighbour that knows no optional parameters is asked once more without.
            Cause::Received(Notification {
                code: code::OPEN,
                subcode: open_error::UNSUPPORTED_OPTIONAL_PARAMETER,
                ..
            }) if !without_capabilities => {
                self.omit_capabilities = true;
                false
            }
            // Event 24, NotifMsgVerErr, does not count as an oscillation (RFC 4271 §8.2.2).
            Cause::Received(Notification { code: code::OPEN, subcode: open_error::UNSUPPORTED_VERSION, .. }) => false,
            Cause::Received(Notification { code, .. }) | Cause::Fault(Notification { code, .. }, _) => {
                !matches!(*code, code::HOLD_TIMER_EXPIRED | code::CEASE | code::SEND_HOLD_TIMER_EXPIRED)
            }
            Cause::TcpFailed | Cause::Deliberate(_) | Cause::Collision | Cause::Superseded => false,
        };
        if broken && !first {
            let wait = self.back_off.next(&mut self.rng, IDLE_HOLD_CEILING);
            self.seeking = Seeking::Idle { until: Some(now + wait) };
        } else {
            self.seek_later(now);
        }
    }
}

/// What the neighbour is told at the end.
fn notification_for(connection: &Connection, cause: &Cause) -> Option<Notification> {
    match cause {
        Cause::TcpFailed | Cause::Received(_) | Cause::Superseded => None,
        Cause::Fault(notification, _) => Some(notification.clone()),
        Cause::Collision => Some(Notification::cease(cease::CONNECTION_COLLISION_RESOLUTION)),
        Cause::Deliberate(notification) => {
            // RFC 8538 §3.1: where NOTIFICATION keeps routes, a wanted end must say that it is one.
            let keeps = connection.is_established()
                && connection.agreed().is_some_and(|a| a.negotiated.notification_restart)
                && !reason::is_hard_reset(notification);
            Some(if keeps { notification.hard_reset() } else { notification.clone() })
        }
    }
}

fn reason_for(cause: &Cause, sent: Option<&Notification>) -> String {
    match cause {
        Cause::TcpFailed => "the TCP connection failed".to_owned(),
        Cause::Received(n) => format!("received NOTIFICATION {}", reason::describe(n)),
        Cause::Fault(n, what) if what.is_empty() => format!("sent NOTIFICATION {}", reason::describe(n)),
        Cause::Fault(n, what) => format!("sent NOTIFICATION {}: {what}", reason::describe(n)),
        Cause::Deliberate(_) | Cause::Collision => {
            format!("sent NOTIFICATION {}", sent.map(reason::describe).unwrap_or_default())
        }
        Cause::Superseded => "replaced by a new connection of the restarted neighbour (RFC 4724 §4.2)".to_owned(),
    }
}
