//! The request socket: many messages per `sendmsg`, one acknowledgement per batch, errors by sequence number; dumps.
//!
//! The kernel works a batch off inside `sendmsg`, so when it returns, every answer is already queued: reads never block,
//! and an empty queue means a lost answer. Invariants: the socket is bound (an unbound one misses answers); an answer
//! with a sequence number that is not of the running request is a leftover and is dropped.

use crate::KernelError;
use crate::message::{HEADER_LEN, Writer, attributes};
use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR,
    NLMSG_OVERRUN, NetlinkBuffer, NetlinkHeader,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use socket2::{SockFilter, SockRef};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

/// Messages per `sendmsg`; measured: 16 to 256 is as fast as it gets. A batch of nothing but errors fits the buffer below.
const BATCH: usize = 256;
/// Answers that wait; beyond what `net.core.rmem_max` allows, as whoever may change routes may ask for it.
const RECEIVE_BUFFER: usize = 4 << 20;
const CHUNK: usize = 64 << 10;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// Why a request of a batch was not carried out.
pub(crate) enum Failure {
    /// The kernel's errno and sentence.
    Refused(i32, String),
    /// The socket failed, or the answer is lost.
    Socket(io::Error),
}

impl Failure {
    pub(crate) fn into_error(self, what: String) -> KernelError {
        match self {
            Failure::Refused(errno, message) => KernelError::refused(what, errno, message),
            Failure::Socket(error) => KernelError::socket(what, &error),
        }
    }
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
    writer: Writer,
    buffer: Vec<u8>,
    /// Requests that ask for a change, sent so far.
    changes: u64,
}

impl RequestSocket {
    pub(crate) fn open() -> Result<RequestSocket, KernelError> {
        let err = |e: io::Error| KernelError::socket("open a netlink socket", &e);
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(err)?;
        socket.bind_auto().map_err(err)?;
        // Best effort: older kernels lack these, and answers are then only larger or plainer.
        let _ = socket.set_cap_ack(true);
        let _ = socket.set_ext_ack(true);
        socket
            .set_netlink_get_strict_chk(true)
            .map_err(|e| KernelError::socket("ask the kernel for filtered dumps (Linux 4.20 or later)", &e))?;
        let mut requests =
            RequestSocket { socket, writer: Writer::default(), buffer: Vec::with_capacity(CHUNK), changes: 0 };
        requests.set_receive_buffer(RECEIVE_BUFFER);
        Ok(requests)
    }

    pub(crate) fn set_receive_buffer(&mut self, octets: usize) {
        if crate::sockopt::force_receive_buffer(&self.socket, octets).is_err() {
            let _ = self.socket.set_rx_buf_sz(octets as u32);
        }
    }

    /// The address that the kernel gave us.
    pub(crate) fn port(&self) -> u32 {
        let mut address = SocketAddr::new(0, 0);
        self.socket.get_address(&mut address).map_or(0, |()| address.port_number())
    }

    /// Change requests sent since the start.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Sends one message an item, in order, and tells which failed, by index, ascending. `write` writes exactly one.
    pub(crate) fn run<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Writer, &T)) -> Vec<(usize, Failure)> {
        let mut failures = Vec::new();
        let mut done = 0;
        self.changes += items.len() as u64;
        for batch in items.chunks(BATCH) {
            self.writer.clear();
            let first = self.writer.sequence.wrapping_add(1);
            for (i, item) in batch.iter().enumerate() {
                // Answered in order: the last one's acknowledgement says that all are through.
                self.writer.extra_flags = if i + 1 == batch.len() { NLM_F_ACK } else { 0 };
                write(&mut self.writer, item);
            }
            self.run_batch(batch.len(), first, done, &mut failures);
            done += batch.len();
        }
        failures
    }

    fn run_batch(&mut self, count: usize, first: u32, index: usize, failures: &mut Vec<(usize, Failure)>) {
        let before = failures.len();
        if let Err(e) = self.socket.send_to(self.writer.bytes(), &SocketAddr::new(0, 0), 0) {
            return fail_unanswered(count, index, before, failures, &e);
        }
        let last = self.writer.sequence;
        let mut done = false;
        while !done {
            if let Err(e) = receive(&self.socket, &mut self.buffer) {
                return fail_unanswered(count, index, before, failures, &e);
            }
            for (header, body) in messages(&self.buffer) {
                let offset = header.sequence_number.wrapping_sub(first) as usize;
                if header.message_type != NLMSG_ERROR || offset >= count {
                    continue;
                }
                done |= header.sequence_number == last;
                let (errno, message) = error_of(&header, body);
                if errno != 0 {
                    failures.push((index + offset, Failure::Refused(errno, message)));
                }
            }
        }
    }

    /// Reads a table. An interrupted dump is repeated a few times and returned marked if it never came out whole.
    pub(crate) fn dump(&mut self, message_type: u16, body: &dyn Emitable, what: &str) -> Result<Dumped, KernelError> {
        let mut tries = 0;
        loop {
            let mut dumped = Dumped { bodies: Vec::new(), interrupted: false };
            self.ask(what, |out| {
                out.begin(message_type, NLM_F_DUMP);
                out.emit(body);
                out.end();
            })?;
            while self.answer(what, |header, body| {
                dumped.interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
                dumped.bodies.push((header.message_type, body.to_vec()));
                Ok(())
            })? {}
            tries += 1;
            if !dumped.interrupted || tries == 4 {
                return Ok(dumped);
            }
        }
    }

    /// Sends one question whose answer is read with [`RequestSocket::answer`].
    pub(crate) fn ask(&mut self, what: &str, write: impl FnOnce(&mut Writer)) -> Result<(), KernelError> {
        self.writer.clear();
        write(&mut self.writer);
        let sent = self.socket.send_to(self.writer.bytes(), &SocketAddr::new(0, 0), 0);
        sent.map(|_| ()).map_err(|e| KernelError::socket(what, &e))
    }

    /// The next datagram of the answer; false if it was the last one (of a dump).
    pub(crate) fn answer(
        &mut self,
        what: &str,
        mut take: impl FnMut(&NetlinkHeader, &[u8]) -> Result<(), KernelError>,
    ) -> Result<bool, KernelError> {
        receive(&self.socket, &mut self.buffer).map_err(|e| KernelError::socket(what, &e))?;
        for (header, body) in messages(&self.buffer) {
            if header.sequence_number != self.writer.sequence {
                continue;
            }
            match header.message_type {
                NLMSG_DONE => return done_result(body, what).map(|()| false),
                NLMSG_ERROR => {
                    let (errno, message) = error_of(&header, body);
                    return Err(KernelError::refused(what, errno, message));
                }
                NLMSG_OVERRUN => return Err(KernelError::Lost { what: what.to_owned() }),
                _ => take(&header, body)?,
            }
        }
        Ok(true)
    }
}

/// A socket that hears what the kernel announces to some of its groups.
#[derive(Debug)]
pub(crate) struct Announcements {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Announcements {
    /// Joins groups (`enum rtnetlink_groups` of linux/rtnetlink.h). What the filter does not let through is not even copied;
    /// an empty one lets all through.
    pub(crate) fn open(groups: &[u32], filter: &[SockFilter]) -> io::Result<Announcements> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        // An unbound socket misses every broadcast.
        socket.bind(&SocketAddr::new(0, 0))?;
        if !filter.is_empty() {
            SockRef::from(&socket.as_fd()).attach_filter(filter)?;
        }
        for group in groups {
            socket.add_membership(*group)?;
        }
        Ok(Announcements { socket, buffer: Vec::new() })
    }

    /// False: nothing came for so long.
    pub(crate) fn wait(&self, timeout: Duration) -> io::Result<bool> {
        crate::sockopt::wait_readable(self.socket.as_raw_fd(), timeout)
    }

    /// Everything that has come, to `each` by type and body. False: some of it was lost (ENOBUFS).
    pub(crate) fn drain(&mut self, mut each: impl FnMut(u16, &[u8])) -> io::Result<bool> {
        let mut whole = true;
        loop {
            match receive(&self.socket, &mut self.buffer) {
                Ok(()) => messages(&self.buffer).for_each(|(header, body)| each(header.message_type, body)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(whole),
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => whole = false,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl AsRawFd for Announcements {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The batch's answers stop here: what has no refusal of its own shares this one.
fn fail_unanswered(count: usize, index: usize, before: usize, failures: &mut Vec<(usize, Failure)>, e: &io::Error) {
    let refused: Vec<usize> = failures.iter().skip(before).map(|(i, _)| *i).collect();
    let errno = e.raw_os_error().unwrap_or(libc::EIO);
    for i in (index..index + count).filter(|i| !refused.contains(i)) {
        failures.push((i, Failure::Socket(io::Error::from_raw_os_error(errno))));
    }
    failures.sort_by_key(|(i, _)| *i);
}

/// NLMSG_DONE carries the dump's outcome.
fn done_result(body: &[u8], what: &str) -> Result<(), KernelError> {
    match body.first_chunk::<4>().map(|b| i32::from_ne_bytes(*b)) {
        Some(code) if code < 0 => Err(KernelError::refused(what, -code, "")),
        _ => Ok(()),
    }
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
        let text = attributes(rest.get(skip..).unwrap_or_default())
            .find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)
            .map(|(_, text)| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
        message = text.unwrap_or_default();
    }
    (errno, message)
}
