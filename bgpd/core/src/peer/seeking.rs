//! Looking for a connection: the states Idle, Connect and Active (RFC 4271 §8.2.2), and their timers.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bgp_wire::notification::cease;
use bgp_wire::{Message, Notification, Open, SessionContext, message};
use net_types::Monotime;

use super::connection::{Connection, Direction, Phase};
use super::ending::Cause;
use super::negotiate::{self, Restart};
use super::timers::{FIRST_WAIT, OPEN_HOLD_TIME, jitter};
use super::{ConnId, Output, Peer};
use crate::config::RemoteAddress;

/// What is done to get a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seeking {
    /// Idle: nothing, until IdleHoldTimer or, without one, ManualStart.
    Idle { until: Option<Monotime> },
    /// Connect: the shell tries; ConnectRetryTimer bounds it.
    Connect { conn: ConnId, connect_retry: Monotime },
    /// Active: waiting for the neighbour and, unless we are passive, for ConnectRetryTimer.
    Active { connect_retry: Option<Monotime> },
    /// A connection is there; its own phase says how far.
    Settled,
}

impl Seeking {
    pub(super) fn deadline(self) -> Option<Monotime> {
        match self {
            Seeking::Idle { until } => until,
            Seeking::Connect { connect_retry, .. } => Some(connect_retry),
            Seeking::Active { connect_retry } => connect_retry,
            Seeking::Settled => None,
        }
    }
}

impl Peer {
    /// Events 1 and 3 to 7: leaves Idle for Connect, or for Active where we are passive.
    pub(super) fn start(&mut self, now: Monotime) {
        if self.is_passive() {
            self.seeking = Seeking::Active { connect_retry: None };
        } else {
            self.connect(now);
        }
    }

    fn connect(&mut self, now: Monotime) {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        let wait = jitter(&mut self.rng, self.config.connect_retry_time.max(FIRST_WAIT));
        self.seeking = Seeking::Connect { conn, connect_retry: now + wait };
        self.outputs.push_back(Output::Connect { conn });
    }

    /// To Active, where the neighbour may connect at once and we do after a growing wait. Its ceiling is the
    /// configured ConnectRetryTime.
    pub(super) fn seek_later(&mut self, now: Monotime) {
        let wait = self.back_off.next(&mut self.rng, self.config.connect_retry_time);
        let connect_retry = (!self.is_passive()).then_some(now + wait);
        self.seeking = Seeking::Active { connect_retry };
    }

    /// PassiveTcpEstablishment (RFC 4271 §8.1.1); a range has no address to connect to.
    pub(super) fn is_passive(&self) -> bool {
        self.config.passive || matches!(self.config.remote, RemoteAddress::Range(_))
    }

    /// IdleHoldTimer (event 13) and ConnectRetryTimer (event 9).
    pub(super) fn seeking_timeout(&mut self, now: Monotime) {
        if self.seeking.deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        match self.seeking {
            Seeking::Idle { .. } => self.start(now),
            Seeking::Connect { conn, .. } => {
                self.outputs.push_back(Output::Close { conn });
                if self.connections.is_empty() {
                    self.connect(now);
                } else {
                    self.seeking = Seeking::Settled;
                }
            }
            Seeking::Active { .. } => self.connect(now),
            Seeking::Settled => {}
        }
        self.note_state(now);
    }

    /// Gives up a connect under way.
    pub(super) fn abandon_connect(&mut self) {
        if let Seeking::Connect { conn, .. } = self.seeking {
            self.outputs.push_back(Output::Close { conn });
            self.seeking = Seeking::Settled;
        }
    }

    /// Event 16, Tcp_CR_Acked.
    pub(super) fn connected(&mut self, now: Monotime, conn: ConnId, ends: (SocketAddr, SocketAddr)) {
        match self.seeking {
            Seeking::Connect { conn: ours, .. } if ours == conn => {
                self.seeking = Seeking::Settled;
                self.open(now, conn, Direction::Outgoing, ends);
            }
            // Given up meanwhile.
            _ => self.outputs.push_back(Output::Close { conn }),
        }
    }

    /// Event 17, TcpConnectionConfirmed.
    pub(super) fn incoming(&mut self, now: Monotime, conn: ConnId, ends: (SocketAddr, SocketAddr)) {
        if !self.accepts() {
            // RFC 4271 §8.2.2, Idle: all connections are refused.
            self.reject(conn);
            return;
        }
        // A neighbour has one connection under way at a time: an older unfinished one is dead at its end.
        let older = self.connections.iter().find(|c| c.direction == Direction::Incoming && !c.is_established());
        if let Some(older) = older.map(|c| c.id) {
            // The newcomer must not find the neighbour leaving for Active on the way.
            self.open(now, conn, Direction::Incoming, ends);
            self.end(now, older, &Cause::Collision);
            return;
        }
        // Of Connect the attempt stays, and if it succeeds the two collide (RFC 4271 §8.2.1.2); of Active the timer ends.
        if let Seeking::Active { .. } = self.seeking {
            self.seeking = Seeking::Settled;
        }
        self.open(now, conn, Direction::Incoming, ends);
    }

    /// Event 18, TcpConnectionFails.
    pub(super) fn failed(&mut self, now: Monotime, conn: ConnId) {
        match self.seeking {
            Seeking::Connect { conn: ours, .. } if ours == conn => {
                if self.connections.is_empty() {
                    self.seek_later(now);
                    if self.last_error.is_empty() {
                        "the TCP connect failed".clone_into(&mut self.last_error);
                    }
                } else {
                    self.seeking = Seeking::Settled;
                }
                self.note_state(now);
            }
            _ => self.end(now, conn, &Cause::TcpFailed),
        }
    }

    /// TCP is up: sends OPEN, or with DelayOpen waits for the neighbour's first (RFC 4271 §8.2.2, events 16 and 17).
    fn open(&mut self, now: Monotime, id: ConnId, direction: Direction, ends: (SocketAddr, SocketAddr)) {
        let delay_open = self.config.delay_open;
        let mut connection = Connection::new(id, direction, ends, Phase::Delayed { delay_open: now + delay_open });
        connection.send_hold.set_time(self.config.send_hold_time);
        self.connections.push(connection);
        if delay_open.is_zero() {
            let our_open = self.our_open();
            self.send_open(now, id, our_open);
        }
        self.note_state(now);
    }

    /// The OPEN we would send now.
    pub(super) fn our_open(&self) -> Open {
        let restart = Restart { restarting: self.restarting, forwarding_preserved: self.forwarding_preserved };
        negotiate::our_open(self.us, &self.config, restart, !self.omit_capabilities)
    }

    /// Sends OPEN, starts the large HoldTimer, OpenSent. False: it could not be, and the connection is closed.
    pub(super) fn send_open(&mut self, now: Monotime, id: ConnId, our_open: Open) -> bool {
        let encoded = message::encode(&Message::Open(our_open.clone()), &SessionContext::initial());
        let Some(connection) = self.connection_mut(id) else { return false };
        let Ok(bytes) = encoded else {
            // No configuration makes an OPEN of 64 KiB; if one did, there is no session to be had.
            let what = "our own OPEN does not fit into a message: offer fewer capabilities".to_owned();
            self.end(now, id, &Cause::Fault(Notification::cease(cease::CONNECTION_REJECTED), what));
            return false;
        };
        connection.queue(now, bytes);
        connection.phase = Phase::OpenSent { our_open: Box::new(our_open), hold: now + OPEN_HOLD_TIME };
        self.counters.messages_sent += 1;
        true
    }

    /// RFC 4486 §4 wants the neighbour told. Not while we only hold off for a moment: some daemons punish themselves for a
    /// NOTIFICATION longer than our timer runs.
    fn reject(&mut self, conn: ConnId) {
        self.outputs.push_back(Output::Close { conn });
        let notification = Message::Notification(Notification::cease(cease::CONNECTION_REJECTED));
        if self.seeking == (Seeking::Idle { until: None })
            && let Ok(bytes) = message::encode(&notification, &SessionContext::initial())
        {
            self.remember_closing(conn, VecDeque::from([bytes]));
        }
    }
}
