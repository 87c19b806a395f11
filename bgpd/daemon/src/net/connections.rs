//! The TCP connections of one neighbour: connecting, reading, writing, closing, as events.
//!
//! The way of a byte: the kernel's receive buffer -> one read into a lent [`Buffer`] -> [`Event::Data`]; out, a message is
//! queued by [`Connections::send`] and written, together with what else waits, when the socket takes it, reported by
//! [`Event::Progress`].
//! Invariants: nothing here waits for another task; while reading is paused, writing goes on; a closed connection is
//! flushed, half-closed and drained for at most [`LINGER`], so that a NOTIFICATION arrives and no reset destroys it.
//! Full: the queue of one connection holds what the core made. UPDATEs enter it only when it is below [`LOW_WATER`]
//! (the task asks the RIB for more then), so it stays near that; a peer that takes nothing meets its SendHoldTimer.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bgp_core::peer::ConnId;
use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::buffers::Buffer;

/// Octets queued for one connection below which more UPDATEs are fetched.
pub const LOW_WATER: usize = 64 * 1024;
/// How long a closed connection may take to flush and hear the other side's end.
const LINGER: Duration = Duration::from_secs(1);
/// Messages in one write.
const PIECES: usize = 32;

/// A connect under way.
pub type Dialling = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// What happened on a connection.
#[derive(Debug)]
pub enum Event {
    /// The connect succeeded.
    Connected(ConnId, SocketAddr, SocketAddr),
    /// Connect failed, or the stream ended or broke.
    Failed(ConnId, io::Error),
    /// Octets from the neighbour.
    Data(ConnId, Buffer),
    /// The kernel took something; so much is still queued.
    Progress(ConnId, usize),
    /// A connection that was being closed is gone.
    Closed,
}

struct Connection {
    id: ConnId,
    state: State,
}

enum State {
    Dialling(Dialling),
    Up { stream: TcpStream, queue: VecDeque<Bytes>, queued: usize },
    Closing { stream: TcpStream, queue: VecDeque<Bytes>, half_closed: bool, until: Pin<Box<Sleep>> },
}

/// All connections of a neighbour: two in a collision, one mostly, and those being closed.
#[derive(Default)]
pub struct Connections {
    list: Vec<Connection>,
    /// Whom to ask first, so that a busy connection does not starve the other.
    turn: usize,
}

impl Connections {
    /// Starts a connect.
    pub fn dial(&mut self, id: ConnId, dialling: Dialling) {
        self.list.push(Connection { id, state: State::Dialling(dialling) });
    }

    /// Takes an accepted connection.
    pub fn adopt(&mut self, id: ConnId, stream: TcpStream) {
        self.list.push(Connection { id, state: State::Up { stream, queue: VecDeque::new(), queued: 0 } });
    }

    /// Queues a message; dropped if the connection is gone (the core hears of that by `Failed`).
    pub fn send(&mut self, id: ConnId, message: Bytes) {
        if let Some(State::Up { queue, queued, .. }) = self.state(id) {
            *queued += message.len();
            queue.push_back(message);
        }
    }

    /// Octets that the kernel has not taken yet; `None`: no such connection.
    pub fn queued(&mut self, id: ConnId) -> Option<usize> {
        match self.state(id) {
            Some(State::Up { queued, .. }) => Some(*queued),
            _ => None,
        }
    }

    /// Flushes and closes; a connect under way is given up.
    pub fn close(&mut self, id: ConnId) {
        let Some(at) = self.list.iter().position(|c| c.id == id) else { return };
        let Connection { id, state } = self.list.swap_remove(at);
        if let State::Up { stream, queue, .. } = state {
            let until = Box::pin(tokio::time::sleep(LINGER));
            self.list.push(Connection { id, state: State::Closing { stream, queue, half_closed: false, until } });
        }
    }

    /// Drops a connection at once.
    pub fn abort(&mut self, id: ConnId) {
        self.list.retain(|c| c.id != id);
    }

    /// Those that are open.
    pub fn ids(&self) -> Vec<ConnId> {
        self.list.iter().filter(|c| matches!(c.state, State::Up { .. })).map(|c| c.id).collect()
    }

    /// Those with octets in the kernel's receive buffer. The kernel is asked, not the runtime, which knows only what its
    /// last poll said.
    pub fn unread(&self) -> Vec<ConnId> {
        let waits = |stream: &TcpStream| SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]).is_ok_and(|n| n > 0);
        let open = |c: &Connection| matches!(&c.state, State::Up { stream, .. } if waits(stream));
        self.list.iter().filter(|c| open(c)).map(|c| c.id).collect()
    }

    /// Nothing is open or being closed.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn state(&mut self, id: ConnId) -> Option<&mut State> {
        self.list.iter_mut().find(|c| c.id == id).map(|c| &mut c.state)
    }

    /// The next event. With `read` false only connecting and writing go on.
    pub fn poll_event(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<Event> {
        let Connections { list, turn } = self;
        let before = list.len();
        list.retain_mut(|c| match &mut c.state {
            State::Closing { stream, queue, half_closed, until } => {
                until.as_mut().poll(cx).is_pending() && !closed(cx, stream, queue, half_closed)
            }
            _ => true,
        });
        if list.len() < before {
            return Poll::Ready(Event::Closed);
        }
        *turn = turn.wrapping_add(1);
        let (first, n) = (*turn, list.len());
        for i in 0..n {
            let at = first.wrapping_add(i) % n;
            let Some(Connection { id, state }) = list.get_mut(at) else { continue };
            let id = *id;
            match state {
                State::Closing { .. } => {}
                State::Dialling(dialling) => {
                    if let Poll::Ready(outcome) = dialling.as_mut().poll(cx) {
                        return Poll::Ready(self.dialled(at, id, outcome));
                    }
                }
                State::Up { stream, queue, queued } => match poll_up(cx, stream, queue, queued, read) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(Some(bytes))) => return Poll::Ready(Event::Data(id, bytes)),
                    Poll::Ready(Ok(None)) => return Poll::Ready(Event::Progress(id, *queued)),
                    Poll::Ready(Err(e)) => {
                        list.swap_remove(at);
                        return Poll::Ready(Event::Failed(id, e));
                    }
                },
            }
        }
        Poll::Pending
    }

    fn dialled(&mut self, at: usize, id: ConnId, outcome: io::Result<TcpStream>) -> Event {
        self.list.swap_remove(at);
        let ends = |s: &TcpStream| Ok::<_, io::Error>((s.peer_addr()?, s.local_addr()?));
        match outcome.and_then(|s| ends(&s).map(|e| (s, e))) {
            Ok((stream, (remote, local))) => {
                self.adopt(id, stream);
                Event::Connected(id, remote, local)
            }
            Err(e) => Event::Failed(id, e),
        }
    }
}

/// Writes what goes, then reads. `Ok(None)`: something was written.
fn poll_up(
    cx: &mut Context<'_>,
    stream: &mut TcpStream,
    queue: &mut VecDeque<Bytes>,
    queued: &mut usize,
    read: bool,
) -> Poll<io::Result<Option<Buffer>>> {
    let before = *queued;
    match flush(cx, stream, queue) {
        Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
        Poll::Ready(Ok(n)) => *queued = queued.saturating_sub(n),
        Poll::Pending => {}
    }
    if *queued < before {
        return Poll::Ready(Ok(None));
    }
    if !read {
        return Poll::Pending;
    }
    match poll_read(cx, stream)? {
        Poll::Pending => Poll::Pending,
        Poll::Ready(buffer) if buffer.is_empty() => {
            Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the neighbour")))
        }
        Poll::Ready(buffer) => Poll::Ready(Ok(Some(buffer))),
    }
}

/// One read; empty at the stream's end. Takes a buffer only when the socket is said to be readable.
fn poll_read(cx: &mut Context<'_>, stream: &mut TcpStream) -> Poll<io::Result<Buffer>> {
    ready!(stream.poll_read_ready(cx))?;
    let mut buffer = Buffer::lend();
    let mut into = ReadBuf::new(buffer.room());
    ready!(Pin::new(stream).poll_read(cx, &mut into))?;
    let filled = into.filled().len();
    Poll::Ready(Ok(buffer.filled(filled)))
}

/// Writes as much as the socket takes; `Ready(n)` with n octets written, `Pending` if none could be.
fn flush(cx: &mut Context<'_>, stream: &mut TcpStream, queue: &mut VecDeque<Bytes>) -> Poll<io::Result<usize>> {
    let mut written = 0;
    while !queue.is_empty() {
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let taken = pieces.iter_mut().zip(queue.iter()).map(|(piece, bytes)| *piece = IoSlice::new(bytes)).count();
        let pieces = pieces.get(..taken).unwrap_or_default();
        match Pin::new(&mut *stream).poll_write_vectored(cx, pieces) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(n)) => {
                written += n;
                advance(queue, n);
            }
            Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
            Poll::Pending if written == 0 => return Poll::Pending,
            Poll::Pending => break,
        }
    }
    Poll::Ready(Ok(written))
}

/// Takes `n` octets off the front.
fn advance(queue: &mut VecDeque<Bytes>, mut n: usize) {
    while let Some(front) = queue.front_mut() {
        if n < front.len() {
            return front.advance(n);
        }
        n -= front.len();
        queue.pop_front();
    }
}

/// True when a closing connection is over: flushed, half-closed, and the other side's end or an error seen.
fn closed(cx: &mut Context<'_>, stream: &mut TcpStream, queue: &mut VecDeque<Bytes>, half_closed: &mut bool) -> bool {
    match flush(cx, stream, queue) {
        Poll::Ready(Err(_)) => return true,
        Poll::Ready(Ok(_)) if queue.is_empty() && !*half_closed => {
            if matches!(Pin::new(&mut *stream).poll_shutdown(cx), Poll::Ready(Err(_))) {
                return true;
            }
            *half_closed = true;
        }
        _ => {}
    }
    // What the neighbour still sends is read and dropped: unread octets would turn our close into a reset.
    loop {
        match poll_read(cx, stream) {
            Poll::Pending => return false,
            Poll::Ready(Ok(octets)) if !octets.is_empty() => {}
            Poll::Ready(_) => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (a, b) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (a.unwrap(), b.unwrap().0)
    }

    #[tokio::test]
    async fn a_notification_arrives_although_the_neighbour_still_sends() {
        let (ours, mut theirs) = pair().await;
        let mut c = Connections::default();
        let id = ConnId(1);
        c.adopt(id, ours);
        theirs.write_all(&[7; 100_000]).await.unwrap();
        c.send(id, Bytes::from_static(b"last words"));
        c.close(id);
        let mut heard = Vec::new();
        let listen = async {
            theirs.read_to_end(&mut heard).await.unwrap();
            drop(theirs);
        };
        let pump = async {
            assert!(matches!(poll_fn(|cx| c.poll_event(cx, true)).await, Event::Closed));
            assert!(c.is_empty());
        };
        tokio::join!(listen, pump);
        assert_eq!(heard, b"last words");
    }

    #[tokio::test]
    async fn paused_reading_does_not_pause_writing() {
        let (ours, mut theirs) = pair().await;
        let mut c = Connections::default();
        let id = ConnId(1);
        c.adopt(id, ours);
        theirs.write_all(b"unread").await.unwrap();
        c.send(id, Bytes::from_static(b"out"));
        assert!(matches!(poll_fn(|cx| c.poll_event(cx, false)).await, Event::Progress(_, 0)));
        let mut buf = [0; 3];
        theirs.read_exact(&mut buf).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), poll_fn(|cx| c.poll_event(cx, false))).await.is_err());
        assert!(matches!(poll_fn(|cx| c.poll_event(cx, true)).await, Event::Data(_, b) if *b == *b"unread"));
        drop(theirs);
        assert!(matches!(poll_fn(|cx| c.poll_event(cx, true)).await, Event::Failed(..)));
        assert!(c.is_empty());
    }
}
