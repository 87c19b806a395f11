//! Messages and timers of a connection that TCP has up: Connect and Active while the DelayOpenTimer runs, OpenSent,
//! OpenConfirm, Established (RFC 4271 §8.2.2).
//!
//! Event numbers are those of RFC 4271 §8.1; event 29 is RFC 9687's SendHoldTimer_Expires.

use bgp_wire::message::HEADER_LEN;
use bgp_wire::notification::{code, fsm_error};
use bgp_wire::update::decode_update;
use bgp_wire::{Message, MessageType, Notification, Open, RouteRefresh, RouteRefreshSubtype, Update};
use net_types::Monotime;

use super::connection::{Agreed, Connection, Phase};
use super::ending::Cause;
use super::negotiate::negotiate;
use super::seeking::Seeking;
use super::timers::jitter;
use super::{ConnId, Output, Peer, Session, State};

/// Octets of an UPDATE in a full table, about.
const USUAL_UPDATE: usize = 110;
/// Most UPDATEs that leave together: a decoded one is some 400 octets, and an allocator hands out 50 KiB again and again
/// where it would fetch more from the kernel anew each time.
const TOGETHER: usize = 128;

impl Peer {
    /// Bytes of a stream: cut into messages, each an event. What follows a fatal error is dropped.
    pub(super) fn received(&mut self, now: Monotime, conn: ConnId, mut bytes: &[u8]) {
        while let Some(connection) = self.connection_mut(conn) {
            let (kind, whole) = match connection.next_frame(&mut bytes) {
                Ok(Some(found)) => found,
                Ok(None) => return,
                Err(notification) => return self.malformed(now, conn, notification),
            };
            let body = whole.get(HEADER_LEN..).unwrap_or_default();
            let refused = match &connection.phase {
                // Event 27, UpdateMsg, which is nearly all there is: by the short way, as a decoded one is big.
                Phase::Established(agreed, _) if kind == MessageType::Update => {
                    decode_update(body, &agreed.negotiated.context)
                        .map(|update| self.update(now, conn, update, bytes.len()))
                }
                _ => connection.decode(kind, body).map(|message| {
                    self.counters.messages_received += 1;
                    self.message(now, conn, message);
                }),
            };
            if let Err(notification) = refused {
                return self.malformed(now, conn, notification);
            }
        }
    }

    /// Events 19, 20 and 24 to 27.
    fn message(&mut self, now: Monotime, conn: ConnId, message: Message) {
        let Some(state) = self.connection(conn).map(Connection::state) else { return };
        match (state, message) {
            // Event 25 NotifMsg, event 24 NotifMsgVerErr. Never answered, in whatever state.
            (_, Message::Notification(notification)) => self.end(now, conn, &Cause::Received(notification)),
            // Event 19, BGPOpen; event 20, BGPOpen with DelayOpenTimer running.
            (State::Connect | State::Active | State::OpenSent, Message::Open(open)) => {
                self.open_received(now, conn, open);
            }
            // Event 26, KeepAliveMsg.
            (State::OpenConfirm, Message::Keepalive) if self.waits_for_bfd() => self.confirm_later(now, conn),
            (State::OpenConfirm, Message::Keepalive) => self.establish(now, conn),
            (State::Established, Message::Keepalive) => self.restart_hold(now, conn),
            (State::Established, Message::RouteRefresh(refresh)) => self.route_refresh(conn, refresh),
            (state, message) => self.unexpected(now, conn, state, message.kind()),
        }
    }

    /// Events 21 BGPHeaderErr, 22 BGPOpenMsgErr, 28 UpdateMsgErr. RFC 4271 §8.2.2: where the message had no place at all,
    /// that is the error, however well or badly it was formed. A header is judged by §6.1 in every state.
    fn malformed(&mut self, now: Monotime, conn: ConnId, notification: Notification) {
        let Some(state) = self.connection(conn).map(Connection::state) else { return };
        match (state, notification.code) {
            (State::Established, code::OPEN) => self.unexpected(now, conn, state, MessageType::Open),
            (State::Established, _) | (_, code::MESSAGE_HEADER | code::OPEN) => {
                self.end(now, conn, &Cause::Fault(notification, String::new()));
            }
            (_, code::ROUTE_REFRESH) => self.unexpected(now, conn, state, MessageType::RouteRefresh),
            _ => self.unexpected(now, conn, state, MessageType::Update),
        }
    }

    /// RFC 6608 §4: the subcode names the state, the data the type of the message.
    fn unexpected(&mut self, now: Monotime, conn: ConnId, state: State, kind: MessageType) {
        let subcode = match state {
            State::OpenSent => fsm_error::UNEXPECTED_IN_OPEN_SENT,
            State::OpenConfirm => fsm_error::UNEXPECTED_IN_OPEN_CONFIRM,
            State::Established => fsm_error::UNEXPECTED_IN_ESTABLISHED,
            State::Idle | State::Connect | State::Active => fsm_error::UNSPECIFIED,
        };
        let what = format!("{kind:?} came in {state}");
        let data = [kind.to_u8()];
        let data = if subcode == fsm_error::UNSPECIFIED { &[][..] } else { &data[..] };
        self.end(now, conn, &Cause::Fault(Notification::with_data(code::FSM, subcode, data), what));
    }

    /// OpenSent, event 19; Connect and Active, event 20.
    fn open_received(&mut self, now: Monotime, conn: ConnId, open: Open) {
        let sent = match self.connection(conn).map(|c| &c.phase) {
            Some(Phase::OpenSent { our_open, .. }) => Some(our_open.as_ref().clone()),
            Some(Phase::Delayed { .. }) => None,
            _ => return,
        };
        let delayed = sent.is_none();
        let ours = sent.unwrap_or_else(|| self.our_open());
        self.peer_identifier = Some(open.bgp_identifier);
        self.capabilities_received.clone_from(&open.capabilities);
        // Event 22, BGPOpenMsgErr.
        let negotiated = match negotiate(self.us, &self.config, ours, open) {
            Ok(negotiated) => negotiated,
            Err(refusal) => return self.end(now, conn, &Cause::Fault(refusal.notification, refusal.what)),
        };
        if !self.resolve_collision(now, conn, &negotiated.our_open, &negotiated.peer_open) {
            return;
        }
        // RFC 4271 §8.2.2, event 20: our OPEN goes out now, and the KEEPALIVE right behind it.
        if delayed && !self.send_open(now, conn, negotiated.our_open.clone()) {
            return;
        }
        let waits = self.waits_for_bfd();
        let negotiated = Box::new(negotiated);
        let mut agreed = Agreed { negotiated, hold: None, keepalive: None, waits, confirmed: false };
        // RFC 4271 §4.4: with hold time 0 neither timer runs.
        if agreed.negotiated.hold_time > 0 {
            agreed.hold = Some(now + agreed.hold_time());
        }
        let Some(connection) = self.connection_mut(conn) else { return };
        connection.phase = Phase::OpenConfirm(agreed);
        if !waits {
            self.send_keepalive(now, conn);
        }
        self.note_state(now);
    }

    /// OpenConfirm, event 26.
    pub(super) fn establish(&mut self, now: Monotime, conn: ConnId) {
        // Of a collision still undecided the one that gets here first stays (RFC 4271 §6.8).
        let rivals: Vec<_> = self.connections.iter().filter(|c| c.id != conn).map(|c| c.id).collect();
        for rival in rivals {
            self.end(now, rival, &Cause::Collision);
        }
        self.abandon_connect();
        self.seeking = Seeking::Settled;
        let Some(connection) = self.connection_mut(conn) else { return };
        let (local, remote) = (connection.local, connection.remote);
        let before = std::mem::replace(&mut connection.phase, Phase::Delayed { delay_open: now });
        let Phase::OpenConfirm(agreed) = before else { return };
        let negotiated = agreed.negotiated.as_ref().clone();
        connection.phase = Phase::Established(agreed, now);
        self.forwarding_preserved = true;
        self.restart_hold(now, conn);
        self.counters.established_transitions = self.counters.established_transitions.saturating_add(1);
        self.outputs.push_back(Output::Established(Box::new(Session {
            conn,
            context: negotiated.context,
            peer_open: negotiated.peer_open,
            our_open: negotiated.our_open,
            hold_time: negotiated.hold_time,
            local,
            remote,
            graceful_restart: negotiated.graceful_restart,
            enhanced_refresh: negotiated.enhanced_refresh,
            route_refresh: negotiated.route_refresh,
        })));
        self.note_state(now);
    }

    /// Established, event 27. UPDATEs that came together leave together; `behind`: octets that came after this one.
    fn update(&mut self, now: Monotime, conn: ConnId, update: Update, behind: usize) {
        self.restart_hold(now, conn);
        self.counters.messages_received += 1;
        self.counters.updates_received += 1;
        self.counters.update_errors += u64::try_from(update.errors.len()).unwrap_or(u64::MAX);
        if let Some(Output::Updates(updates)) = self.outputs.back_mut()
            && updates.len() < TOGETHER
        {
            return updates.push(update);
        }
        let mut updates = Vec::with_capacity((1 + behind / USUAL_UPDATE).min(TOGETHER));
        updates.push(update);
        self.outputs.push_back(Output::Updates(updates));
    }

    fn route_refresh(&mut self, conn: ConnId, mut refresh: RouteRefresh) {
        let Some(agreed) = self.connection(conn).and_then(Connection::agreed) else { return };
        // RFC 2918 §4: a family that was not agreed on is ignored.
        if !agreed.negotiated.context.families.contains(&refresh.family) {
            return;
        }
        if !agreed.negotiated.enhanced_refresh {
            // RFC 2918 §3: without RFC 7313 the octet is reserved and not looked at.
            refresh.subtype = RouteRefreshSubtype::Request;
        }
        // RFC 7313 §5: an unknown subtype is ignored.
        if !matches!(refresh.subtype, RouteRefreshSubtype::Unknown(_)) {
            self.outputs.push_back(Output::RouteRefresh(refresh));
        }
    }

    /// RFC 4271 §4.4: KEEPALIVE and UPDATE restart the HoldTimer.
    pub(super) fn restart_hold(&mut self, now: Monotime, conn: ConnId) {
        let Some(agreed) = self.connection_mut(conn).and_then(Connection::agreed_mut) else { return };
        if agreed.hold.is_some() {
            agreed.hold = Some(now + agreed.hold_time());
        }
    }

    /// RFC 4271 §4.4, §10: a third of the hold time, with jitter; anew after each KEEPALIVE or UPDATE sent.
    pub(super) fn restart_keepalive(&mut self, now: Monotime, conn: ConnId) {
        let Some(connection) = self.connections.iter_mut().find(|c| c.id == conn) else { return };
        let Some(agreed) = connection.agreed_mut() else { return };
        let third = agreed.hold_time() / 3;
        agreed.keepalive = (!third.is_zero()).then(|| now + jitter(&mut self.rng, third));
    }

    pub(super) fn send_keepalive(&mut self, now: Monotime, conn: ConnId) {
        let Some(connection) = self.connection(conn) else { return };
        let Some(bytes) = self.encode(&Message::Keepalive, connection) else { return };
        let Some(connection) = self.connection_mut(conn) else { return };
        if connection.queue_keepalive(now, bytes) {
            self.counters.messages_sent += 1;
        }
        self.restart_keepalive(now, conn);
    }

    /// Events 10 HoldTimer_Expires, 11 KeepaliveTimer_Expires, 12 DelayOpenTimer_Expires, 29 SendHoldTimer_Expires.
    pub(super) fn connection_timeout(&mut self, now: Monotime, conn: ConnId) {
        let Some(connection) = self.connection(conn) else { return };
        let due = |deadline: Option<Monotime>| deadline.is_some_and(|d| d <= now);
        let (hold, keepalive) = match &connection.phase {
            Phase::Delayed { delay_open } => {
                if due(Some(*delay_open)) {
                    let our_open = self.our_open();
                    self.send_open(now, conn, our_open);
                    self.note_state(now);
                }
                return;
            }
            Phase::OpenSent { hold, .. } => (Some(*hold), None),
            Phase::OpenConfirm(agreed) | Phase::Established(agreed, _) => (agreed.hold, agreed.keepalive),
        };
        if due(hold) {
            let what = format!("nothing came in time in {}", connection.state());
            self.end(now, conn, &Cause::Fault(Notification::new(code::HOLD_TIMER_EXPIRED, 0), what));
        } else if due(connection.send_hold.deadline()) {
            // RFC 9687 §4: it may never arrive, but it is tried.
            let what = "the neighbour took none of what we sent (RFC 9687)".to_owned();
            self.end(now, conn, &Cause::Fault(Notification::new(code::SEND_HOLD_TIMER_EXPIRED, 0), what));
        } else if due(keepalive) {
            self.send_keepalive(now, conn);
        }
    }
}
