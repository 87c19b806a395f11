//! One TCP connection: its half of the state machine, its receive buffer, its queue of bytes to send.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bgp_wire::message::{self, HEADER_LEN, MAX_EXTENDED_LEN, MAX_LEN};
use bgp_wire::notification::{code, header_error};
use bgp_wire::{Message, MessageType, Notification, Open, SessionContext};
use bytes::Bytes;
use net_types::Monotime;

use super::negotiate::Negotiated;
use super::timers::{SendHold, UNREAD_GRACE};
use super::{ConnId, State};

/// Who opened the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    Outgoing,
    Incoming,
}

/// The states a connection has once TCP is up, each with what exists only then.
#[derive(Debug)]
pub(super) enum Phase {
    /// Connect or Active with the DelayOpenTimer running: our OPEN is still to be sent.
    Delayed {
        delay_open: Monotime,
    },
    OpenSent {
        our_open: Box<Open>,
        hold: Monotime,
    },
    OpenConfirm(Agreed),
    Established(Agreed, Monotime),
}

/// From the neighbour's OPEN on.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) negotiated: Box<Negotiated>,
    /// HoldTimer; `None`: hold time 0.
    pub(super) hold: Option<Monotime>,
    /// KeepaliveTimer.
    pub(super) keepalive: Option<Monotime>,
    /// The KEEPALIVE that answers the OPEN waits for BFD.
    pub(super) waits: bool,
    /// The neighbour's is in meanwhile.
    pub(super) confirmed: bool,
}

/// A whole message, header included.
pub(super) type Whole<'a> = (MessageType, Cow<'a, [u8]>);

impl Agreed {
    pub(super) fn hold_time(&self) -> Duration {
        Duration::from_secs(self.negotiated.hold_time.into())
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnId,
    pub(super) direction: Direction,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) phase: Phase,
    pub(super) send_hold: SendHold,
    /// The start of a message whose rest has not come, never longer than one.
    receive: Vec<u8>,
    transmit: VecDeque<Bytes>,
    /// The last thing queued is a KEEPALIVE that nobody has taken: another would say nothing more.
    keepalive_waits: bool,
}

impl Connection {
    pub(super) fn new(
        id: ConnId,
        direction: Direction,
        (local, remote): (SocketAddr, SocketAddr),
        phase: Phase,
    ) -> Connection {
        Connection {
            id,
            direction,
            local,
            remote,
            phase,
            send_hold: SendHold::default(),
            receive: Vec::new(),
            transmit: VecDeque::new(),
            keepalive_waits: false,
        }
    }

    pub(super) fn state(&self) -> State {
        match (&self.phase, self.direction) {
            // RFC 4271 §8.2.2: events 16 and 17 with DelayOpen "stay in" the state they found.
            (Phase::Delayed { .. }, Direction::Outgoing) => State::Connect,
            (Phase::Delayed { .. }, Direction::Incoming) => State::Active,
            (Phase::OpenSent { .. }, _) => State::OpenSent,
            (Phase::OpenConfirm(_), _) => State::OpenConfirm,
            (Phase::Established(..), _) => State::Established,
        }
    }

    /// Our OPEN, once it is sent.
    pub(super) fn our_open(&self) -> Option<&Open> {
        match &self.phase {
            Phase::Delayed { .. } => None,
            Phase::OpenSent { our_open, .. } => Some(our_open),
            Phase::OpenConfirm(agreed) | Phase::Established(agreed, _) => Some(&agreed.negotiated.our_open),
        }
    }

    pub(super) fn agreed(&self) -> Option<&Agreed> {
        match &self.phase {
            Phase::Delayed { .. } | Phase::OpenSent { .. } => None,
            Phase::OpenConfirm(agreed) | Phase::Established(agreed, _) => Some(agreed),
        }
    }

    pub(super) fn agreed_mut(&mut self) -> Option<&mut Agreed> {
        match &mut self.phase {
            Phase::Delayed { .. } | Phase::OpenSent { .. } => None,
            Phase::OpenConfirm(agreed) | Phase::Established(agreed, _) => Some(agreed),
        }
    }

    pub(super) fn is_established(&self) -> bool {
        matches!(self.phase, Phase::Established(..))
    }

    /// The next timer of this connection.
    pub(super) fn deadline(&self) -> Option<Monotime> {
        let own = match &self.phase {
            Phase::Delayed { delay_open } => Some(*delay_open),
            Phase::OpenSent { hold, .. } => Some(*hold),
            Phase::OpenConfirm(agreed) | Phase::Established(agreed, _) => earliest([agreed.hold, agreed.keepalive]),
        };
        earliest([own, self.send_hold.deadline()])
    }

    /// The HoldTimer, if it is about to expire, waits a little longer.
    pub(super) fn put_off_hold(&mut self, now: Monotime) {
        let hold = match &mut self.phase {
            Phase::Delayed { .. } => None,
            Phase::OpenSent { hold, .. } => Some(hold),
            Phase::OpenConfirm(agreed) | Phase::Established(agreed, _) => agreed.hold.as_mut(),
        };
        if let Some(hold) = hold {
            *hold = (*hold).max(now + UNREAD_GRACE);
        }
    }

    /// Takes one whole message off the front of `bytes`, together with what came before them. `None`: all of `bytes` is
    /// taken and there is no further message yet. A message is only copied if it came in pieces.
    pub(super) fn next_frame<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Whole<'a>>, Notification> {
        let longest = self.longest();
        if self.receive.is_empty() {
            return match message::frame(bytes, longest)? {
                Some(frame) => {
                    let (whole, rest) = bytes.split_at_checked(frame.len).unwrap_or((bytes, &[]));
                    *bytes = rest;
                    Ok(Some((frame.kind, Cow::Borrowed(whole))))
                }
                None => {
                    self.receive.extend_from_slice(bytes);
                    *bytes = &[];
                    Ok(None)
                }
            };
        }
        loop {
            if let Some(frame) = message::frame(&self.receive, longest)? {
                return Ok(Some((frame.kind, Cow::Owned(std::mem::take(&mut self.receive)))));
            }
            if bytes.is_empty() {
                return Ok(None);
            }
            // First the header, then as much as it announces.
            let whole = match self.receive.get(HEADER_LEN - 3..HEADER_LEN - 1) {
                Some(&[high, low]) if self.receive.len() >= HEADER_LEN => usize::from(u16::from_be_bytes([high, low])),
                _ => HEADER_LEN,
            };
            let missing = whole.saturating_sub(self.receive.len());
            if missing == 0 {
                // All that was announced is there and is no message; were that ever to happen, this ends it.
                return Err(Notification::new(code::MESSAGE_HEADER, header_error::BAD_MESSAGE_LENGTH));
            }
            let (now, later) = bytes.split_at(missing.min(bytes.len()));
            self.receive.extend_from_slice(now);
            *bytes = later;
        }
    }

    /// A body as this connection's session reads it.
    pub(super) fn decode(&self, kind: MessageType, body: &[u8]) -> Result<Message, Notification> {
        match self.agreed() {
            Some(agreed) => message::decode(kind, body, &agreed.negotiated.context),
            None => message::decode(kind, body, &SessionContext::initial()),
        }
    }

    /// RFC 8654 §4: longer messages only once both OPENs offered them.
    fn longest(&self) -> usize {
        let extended = self.agreed().is_some_and(|a| a.negotiated.context.extended_message);
        if extended { MAX_EXTENDED_LEN } else { MAX_LEN }
    }

    /// Queues whole messages.
    pub(super) fn queue(&mut self, now: Monotime, bytes: Bytes) {
        self.keepalive_waits = false;
        self.transmit.push_back(bytes);
        if self.is_established() {
            self.send_hold.queued(now);
        }
    }

    /// Queues a KEEPALIVE unless one already waits at the end; false: nothing was queued.
    pub(super) fn queue_keepalive(&mut self, now: Monotime, bytes: Bytes) -> bool {
        if self.keepalive_waits && !self.transmit.is_empty() {
            return false;
        }
        self.queue(now, bytes);
        self.keepalive_waits = true;
        true
    }

    pub(super) fn take_transmit(&mut self) -> Option<Bytes> {
        let bytes = self.transmit.pop_front()?;
        self.send_hold.taken(bytes.len());
        Some(bytes)
    }

    pub(super) fn progress(&mut self, now: Monotime, unsent: usize) {
        let queued = !self.transmit.is_empty();
        self.send_hold.progress(now, unsent, queued);
    }

    /// What is still to be flushed after the connection's end.
    pub(super) fn into_transmit(self) -> VecDeque<Bytes> {
        self.transmit
    }

    /// Forgets what waits: nobody reads it any more.
    pub(super) fn drop_transmit(&mut self) {
        self.transmit.clear();
    }
}

/// The earliest of some deadlines.
pub(super) fn earliest(deadlines: impl IntoIterator<Item = Option<Monotime>>) -> Option<Monotime> {
    deadlines.into_iter().flatten().min()
}
