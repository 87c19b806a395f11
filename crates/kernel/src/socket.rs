//! The request socket: many messages per `sendmsg`, one acknowledgement per batch, errors by sequence number; dumps.
//!
//! The kernel works a batch off inside `sendmsg`, so when it returns, every answer is already queued: reads never block,
//! and an empty queue means a lost answer. Invariants: the socket is bound (an unbound one misses answers); an answer
//! with a sequence number that is not of the running request is a leftover and is dropped.

use crate::KernelError;
use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE,
    NLMSG_ERROR, NLMSG_OVERRUN, NetlinkBuffer, NetlinkHeader, NlasIterator,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;

/// Messages per `sendmsg`; measured: 16 to 64 is as fast as it gets, and a batch of nothing but errors still fits the
/// default socket buffer.
const BATCH: usize = 64;
const RECEIVE_BUFFER: usize = 1 << 20;
const CHUNK: usize = 64 << 10;
const HEADER_LEN: usize = 16;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// A request of a batch.
pub(crate) struct Request<'a> {
    pub(crate) message_type: u16,
    pub(crate) flags: u16,
    pub(crate) body: Box<dyn Emitable + 'a>,
    pub(crate) what: String,
}

/// What one dump brought.
pub(crate) struct Dumped {
    /// Message bodies.
    pub(crate) bodies: Vec<(u16, Vec<u8>)>,
    /// The table changed while it was read: entries may be missing or double.
    pub(crate) interrupted: bool,
}

#[derive(Debug)]
pub(crate) struct RequestSocket {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl RequestSocket {
    pub(crate) fn open() -> Result<RequestSocket, KernelError> {
        let err = |e: io::Error| KernelError::socket("open a netlink socket", &e);
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(err)?;
        socket.bind_auto().map_err(err)?;
        // Best effort: older kernels lack these, and answers are then only larger or plainer.
        let _ = socket.set_cap_ack(true);
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_rx_buf_sz(RECEIVE_BUFFER as u32);
        socket
            .set_netlink_get_strict_chk(true)
            .map_err(|e| KernelError::socket("ask the kernel for filtered dumps (Linux 4.20 or later)", &e))?;
        Ok(RequestSocket { socket, sequence: 0, buffer: Vec::with_capacity(CHUNK) })
    }

    /// Sends all requests in order; one result each.
    pub(crate) fn run(&mut self, requests: &[Request<'_>]) -> Vec<Result<(), KernelError>> {
        let mut results = Vec::with_capacity(requests.len());
        for batch in requests.chunks(BATCH) {
            self.run_batch(batch, &mut results);
        }
        results
    }

    fn run_batch(&mut self, batch: &[Request<'_>], results: &mut Vec<Result<(), KernelError>>) {
        let first = self.sequence.wrapping_add(1);
        let start = results.len();
        let mut bytes = Vec::with_capacity(batch.len() * 96);
        for (i, request) in batch.iter().enumerate() {
            let ack = if i + 1 == batch.len() { NLM_F_ACK } else { 0 };
            self.sequence = self.sequence.wrapping_add(1);
            pack(&mut bytes, request, NLM_F_REQUEST | ack, self.sequence);
            results.push(Ok(()));
        }
        if let Err(e) = self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0) {
            return fail_unanswered(batch, results, start, &e);
        }
        let last = self.sequence;
        let mut done = false;
        while !done {
            if let Err(e) = receive(&self.socket, &mut self.buffer) {
                return fail_unanswered(batch, results, start, &e);
            }
            for (header, body) in messages(&self.buffer) {
                let offset = header.sequence_number.wrapping_sub(first) as usize;
                if header.message_type != NLMSG_ERROR || offset >= batch.len() {
                    continue;
                }
                done |= header.sequence_number == last;
                let (errno, message) = error_of(&header, body);
                if let (true, Some(slot), Some(request)) =
                    (errno != 0, results.get_mut(start + offset), batch.get(offset))
                {
                    *slot = Err(KernelError::refused(request.what.clone(), errno, message));
                }
            }
        }
    }

    /// Reads a table. An interrupted dump is repeated a few times and returned marked if it never came out whole.
    pub(crate) fn dump(&mut self, message_type: u16, body: &dyn Emitable, what: &str) -> Result<Dumped, KernelError> {
        let mut tries = 0;
        loop {
            let dumped = self.dump_once(message_type, body, what)?;
            tries += 1;
            if !dumped.interrupted || tries == 4 {
                return Ok(dumped);
            }
        }
    }

    fn dump_once(&mut self, message_type: u16, body: &dyn Emitable, what: &str) -> Result<Dumped, KernelError> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        pack_raw(&mut bytes, message_type, NLM_F_REQUEST | NLM_F_DUMP, self.sequence, body);
        let err = |e: io::Error| KernelError::socket(what, &e);
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).map_err(err)?;
        let mut dumped = Dumped { bodies: Vec::new(), interrupted: false };
        loop {
            receive(&self.socket, &mut self.buffer).map_err(err)?;
            for (header, body) in messages(&self.buffer) {
                if header.sequence_number != self.sequence {
                    continue;
                }
                dumped.interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
                match header.message_type {
                    NLMSG_DONE => return done_result(body, what).map(|()| dumped),
                    NLMSG_ERROR => {
                        let (errno, message) = error_of(&header, body);
                        return Err(KernelError::refused(what, errno, message));
                    }
                    NLMSG_OVERRUN => return Err(KernelError::Lost { what: what.to_owned() }),
                    kind => dumped.bodies.push((kind, body.to_vec())),
                }
            }
        }
    }
}

/// The batch's answers stop here: what has no refusal of its own shares this one.
fn fail_unanswered(batch: &[Request<'_>], results: &mut [Result<(), KernelError>], start: usize, e: &io::Error) {
    for (slot, request) in results.iter_mut().skip(start).zip(batch) {
        if slot.is_ok() {
            *slot = Err(KernelError::socket(request.what.clone(), e));
        }
    }
}

/// NLMSG_DONE carries the dump's outcome.
fn done_result(body: &[u8], what: &str) -> Result<(), KernelError> {
    match body.first_chunk::<4>().map(|b| i32::from_ne_bytes(*b)) {
        Some(code) if code < 0 => Err(KernelError::refused(what, -code, "")),
        _ => Ok(()),
    }
}

fn pack(bytes: &mut Vec<u8>, request: &Request<'_>, flags: u16, sequence: u32) {
    pack_raw(bytes, request.message_type, request.flags | flags, sequence, request.body.as_ref());
}

fn pack_raw(bytes: &mut Vec<u8>, message_type: u16, flags: u16, sequence: u32, body: &dyn Emitable) {
    let length = HEADER_LEN + body.buffer_len();
    let mut header = NetlinkHeader::default();
    header.length = u32::try_from(length).unwrap_or(u32::MAX);
    header.message_type = message_type;
    header.flags = flags;
    header.sequence_number = sequence;
    let start = bytes.len();
    bytes.resize(start + length.next_multiple_of(4), 0);
    let Some((head, rest)) = bytes.get_mut(start..start + length).and_then(|b| b.split_at_mut_checked(HEADER_LEN))
    else {
        return;
    };
    header.emit(head);
    body.emit(rest);
}

/// Reads one datagram without waiting.
pub(crate) fn receive(socket: &Socket, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    buffer.reserve(CHUNK);
    let read = socket.recv(&mut *buffer, libc::MSG_DONTWAIT | libc::MSG_TRUNC)?;
    if read > buffer.len() {
        // Never seen: the kernel cuts dumps to 32 KiB. Treated like a lost answer.
        return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
    }
    Ok(())
}

/// The messages of one datagram; a malformed tail ends it.
pub(crate) fn messages(mut buffer: &[u8]) -> impl Iterator<Item = (NetlinkHeader, &[u8])> {
    std::iter::from_fn(move || {
        let checked = NetlinkBuffer::new_checked(buffer).ok()?;
        let mut header = NetlinkHeader::default();
        header.length = checked.length();
        header.message_type = checked.message_type();
        header.flags = checked.flags();
        header.sequence_number = checked.sequence_number();
        let length = header.length as usize;
        let body = buffer.get(HEADER_LEN..length)?;
        buffer = buffer.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((header, body))
    })
}

/// Errno (positive, 0 for an acknowledgement) and the kernel's sentence of an NLMSG_ERROR.
fn error_of(header: &NetlinkHeader, body: &[u8]) -> (i32, String) {
    let Some((code, rest)) = body.split_first_chunk::<4>() else { return (libc::EPROTO, String::new()) };
    let errno = i32::from_ne_bytes(*code).saturating_neg();
    let mut message = String::new();
    if header.flags & NLM_F_ACK_TLVS != 0 {
        // Behind the errno: the request's header, and its body too unless capped; then the attributes.
        let quoted = rest.first_chunk::<4>().map_or(HEADER_LEN, |l| u32::from_ne_bytes(*l) as usize);
        let skip = if header.flags & NLM_F_CAPPED != 0 { HEADER_LEN } else { quoted.next_multiple_of(4) };
        let text = NlasIterator::new(rest.get(skip..).unwrap_or_default())
            .filter_map(Result::ok)
            .find(|n| n.kind() == NLMSGERR_ATTR_MSG)
            .map(|n| String::from_utf8_lossy(n.value()).trim_end_matches('\0').to_owned());
        message = text.unwrap_or_default();
    }
    (errno, message)
}
