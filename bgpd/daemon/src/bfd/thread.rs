//! The thread: packets, timers and requests, and nothing else that could make it late; and the one that stands in for it.
//!
//! One turn: wait until something can be read or a timer is due; note the time; read all that waits, each packet with
//! the kernel's stamp of its arrival; then run the timers as of the noted time. So what had come by then was heard
//! before a session is judged, however late the turn began. Invariant: no call here waits but the one; what is to be logged is
//! written by a thread of its own, as who reads our log may stop reading.
//!
//! A kernel that is not preempted in its own work (PREEMPT_NONE, PREEMPT_VOLUNTARY) keeps a processor for tens of milliseconds
//! when a node of its routing table grows or somebody lists a large one, and a thread that slept on that processor, whatever
//! its priority, is not moved to another meanwhile. So there are two, each on half of the processors: the second one wakes
//! up a little after each deadline, and does the turn if the first has not.

use std::collections::HashMap;
use std::io::Read;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::time::Duration;

use bgp_core::bfd::{Bfd, Cause, Discriminator, Event, PacketInfo, SessionKey, State};
use daemonbase::Clock;
use daemonbase::privileges::{nice, nice_as_others};
use kernel::datagram;
use kernel::scheduler::{self, Processors};
use net_types::Monotime;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::sockets::Sockets;
use super::{PathChanged, Report, Request};

/// Among SCHED_FIFO's 1 to 99, below the kernel's own threads (50).
const PRIORITY: i32 = 20;
/// How far ahead where that is not permitted, if we may go ahead at all.
const NICE: i32 = -15;
/// Packets read from a socket in one turn.
const BATCH: usize = 4096;
/// Turns begin so far apart at least: of a thousand sessions a packet comes or is due each 0.13 ms, and to wake up costs more
/// than the packet.
const PITCH: Duration = Duration::from_millis(1);
/// How long after a deadline the stand-in looks whether it was met: longer than a wake-up takes, short beside an interval.
const GRACE: Duration = Duration::from_millis(2);
/// The stand-in looks again after this at the latest: a deadline may have come that it does not know of.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Lines that wait to be written.
const LINES: usize = 1024;
/// A socket that could not be opened is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// Puts the calling thread, and what it makes from now on, ahead of all others as far as is permitted. Before the
/// privileges are dropped, as the right to it goes with them.
pub fn ahead() -> Ahead {
    match scheduler::real_time(PRIORITY) {
        Ok(()) => Ahead::RealTime,
        Err(_) if nice(NICE) => Ahead::Nice,
        Err(_) => Ahead::No,
    }
}

/// What [`ahead`] could do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ahead {
    /// SCHED_FIFO.
    RealTime,
    /// A lower nice value.
    Nice,
    /// Nothing.
    No,
}

impl Ahead {
    /// Puts the calling thread back where it was.
    pub fn back(self) {
        match self {
            Ahead::RealTime => {
                if let Err(error) = scheduler::ordinary() {
                    warn!(%error, "the main thread stays ahead of all others");
                }
            }
            Ahead::Nice => {
                nice(-NICE);
            }
            Ahead::No => {}
        }
    }
}

/// What the thread is made of.
pub(crate) struct Setup {
    /// The clock all share.
    clock: Clock,
    /// Seed of jitter and discriminators.
    seed: u64,
    /// Told first of all.
    path: PathChanged,
    /// Where it runs.
    ahead: Ahead,
    requests: mpsc::Receiver<Request>,
    wake: UnixStream,
}

impl Setup {
    /// From the handle's other end.
    pub(crate) fn new(
        clock: Clock,
        seed: u64,
        path: PathChanged,
        ahead: Ahead,
        requests: mpsc::Receiver<Request>,
        wake: UnixStream,
    ) -> Setup {
        Setup { clock, seed, path, ahead, requests, wake }
    }
}

struct Thread {
    setup: Setup,
    bfd: Bfd,
    sockets: Sockets,
    sessions: HashMap<Discriminator, Watched>,
    /// Start of the last turn's reading: what waits now came after.
    drained: Monotime,
    deaf: bool,
    warned: bool,
    log: mpsc::SyncSender<Line>,
}

/// A change for the log.
struct Line {
    peer: IpAddr,
    interface: u32,
    from: State,
    to: State,
    cause: Cause,
    failed: bool,
}

/// Writes lines until the BFD thread is gone.
fn write(lines: &mpsc::Receiver<Line>, ahead: Ahead) {
    // It was made by a thread that goes ahead of all others, in both ways.
    ahead.back();
    nice_as_others();
    for Line { peer, interface, from, to, cause, failed } in lines {
        if failed {
            warn!(%peer, interface, ?cause, "BFD down");
        } else if from != to {
            info!(%peer, interface, %from, %to, ?cause, "BFD");
        }
    }
}

struct Watched {
    key: SessionKey,
    report: Arc<watch::Sender<Report>>,
}

/// Runs until told to leave.
pub(crate) fn run(setup: Setup) {
    let bfd = Bfd::new(setup.seed);
    let clock = setup.clock;
    let drained = clock.now();
    let (sockets, sessions) = (Sockets::default(), HashMap::new());
    let (log, lines) = mpsc::sync_channel(LINES);
    let ahead = setup.ahead;
    if let Err(error) = std::thread::Builder::new().name("bfd-log".into()).spawn(move || write(&lines, ahead)) {
        error!(%error, "no thread for BFD's log");
    }
    let wake = setup.wake.try_clone();
    let thread = Thread { setup, bfd, sockets, sessions, drained, deaf: false, warned: false, log };
    let thread = Arc::new(Mutex::new(thread));
    let wake = match wake {
        Ok(wake) => wake,
        Err(error) => return error!(%error, "BFD has no way to be woken"),
    };
    if ahead != Ahead::No
        && let Some((mine, others)) = Processors::halves()
    {
        let shared = Arc::downgrade(&thread);
        let stand_in = std::thread::Builder::new().name("bfd-stand-in".into()).spawn(move || stand_in(&shared, others));
        match stand_in.and_then(|_| mine.keep()) {
            Ok(()) => {}
            Err(error) => warn!(%error, "BFD's thread has none that stands in for it"),
        }
    }
    let mut began = drained;
    loop {
        let (sockets, timeout) = lock(&thread).until();
        let fds: Vec<_> = sockets.iter().map(|s| s.as_fd()).chain([wake.as_fd()]).collect();
        if let Err(error) = datagram::wait(&fds, timeout) {
            error!(%error, "BFD cannot wait for its sockets");
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(PITCH.saturating_sub(clock.now().since(began)));
        began = clock.now();
        let mut thread = lock(&thread);
        thread.turn();
        if !thread.requests() {
            return;
        }
    }
}

/// Does the turns that the thread itself is late for, until it is gone.
fn stand_in(thread: &Weak<Mutex<Thread>>, processors: Processors) {
    if let Err(error) = processors.keep() {
        warn!(%error, "BFD's stand-in runs on any processor");
    }
    while let Some(thread) = thread.upgrade() {
        let wait = lock(&thread).overdue();
        drop(thread);
        std::thread::sleep(wait);
    }
}

fn lock(thread: &Mutex<Thread>) -> MutexGuard<'_, Thread> {
    thread.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Thread {
    /// What to wait for: one of these can be read, or so much time has passed.
    fn until(&self) -> (Vec<Arc<datagram::DatagramSocket>>, Option<Duration>) {
        let now = self.setup.clock.now();
        let mut timeout = self.bfd.poll_timeout().map(|at| at.since(now));
        if self.deaf {
            timeout = Some(timeout.map_or(AGAIN, |t| t.min(AGAIN)));
        }
        (self.sockets.readable(), timeout)
    }

    fn turn(&mut self) {
        let now = self.setup.clock.now();
        self.read(now);
        self.drained = now;
        self.bfd.handle_timeout(now);
        self.events();
        self.transmit();
    }

    /// A turn, if one is overdue; how long to wait with the next look.
    fn overdue(&mut self) -> Duration {
        let is_overdue = |due: Monotime, now: Monotime| now >= due + GRACE;
        if self.bfd.poll_timeout().is_some_and(|due| is_overdue(due, self.setup.clock.now())) {
            self.turn();
        }
        let now = self.setup.clock.now();
        self.bfd.poll_timeout().map_or(AGAIN, |due| ((due + GRACE).since(now)).clamp(GRACE / 4, LOOK_AGAIN))
    }

    fn read(&mut self, now: Monotime) {
        let mut buffer = [0; 256];
        for (socket, multihop) in self.sockets.receivers() {
            for _ in 0..BATCH {
                let datagram = match socket.receive(&mut buffer) {
                    Ok(Some(datagram)) => datagram,
                    Ok(None) => break,
                    Err(_) => continue,
                };
                // A wall clock that was set meanwhile cannot move a packet out of this turn.
                let age = u64::try_from(datagram.age.as_micros()).unwrap_or(u64::MAX);
                let received = Monotime(now.0.saturating_sub(age)).max(self.drained);
                let info = PacketInfo {
                    source: datagram.source.ip(),
                    destination: datagram.destination,
                    interface: datagram.interface,
                    hop_limit: datagram.hop_limit.unwrap_or(0),
                    multihop,
                    received,
                };
                // A packet that is refused is counted with its session; strangers' are nobody's.
                let _ = self.bfd.handle_packet(now, buffer.get(..datagram.len).unwrap_or_default(), &info);
            }
        }
    }

    fn events(&mut self) {
        while let Some(event) = self.bfd.poll_event() {
            match event {
                Event::StateChanged { session, from, to, cause } => self.changed(session, from, to, cause),
                Event::Closed(session) => {
                    self.sockets.forget(session);
                    self.sessions.remove(&session);
                }
            }
        }
    }

    fn changed(&mut self, session: Discriminator, from: State, to: State, cause: Cause) {
        let Some(watched) = self.sessions.get(&session) else { return };
        let Some(status) = self.bfd.status(session) else { return };
        let peer = watched.key.peer;
        let interface = if watched.key.multihop { 0 } else { status.interface };
        // RFC 5882 §3.2: an AdminDown of the other end says nothing about the path.
        let failed = from == State::Up && to != State::Up && cause != Cause::RemoteAdminDown;
        if failed || to == State::Up {
            (self.setup.path)(peer, interface, !failed);
        }
        watched.report.send_modify(|report| {
            report.state = to;
            report.remote_admin_down = status.remote_state == State::AdminDown;
            report.failures += u64::from(failed);
            report.remote_control_plane_independent = status.remote_control_plane_independent;
        });
        // Full: nobody reads the log. The session is worth more than the line.
        let _ = self.log.try_send(Line { peer, interface, from, to, cause, failed });
    }

    fn transmit(&mut self) {
        while let Some(transmit) = self.bfd.poll_transmit() {
            if let Some(watched) = self.sessions.get(&transmit.session) {
                self.sockets.send(transmit.session, &watched.key, &transmit.payload);
            }
        }
    }

    /// What was asked for; false: to leave.
    fn requests(&mut self) -> bool {
        let mut octets = [0; 64];
        while (&self.setup.wake).read(&mut octets).is_ok_and(|n| n > 0) {}
        let now = self.setup.clock.now();
        while let Ok(request) = self.setup.requests.try_recv() {
            match request {
                Request::Set(key, config, report) => self.set(now, key, config, report),
                Request::Remove(key) => {
                    let of_key: Vec<_> = self.ids(&key).collect();
                    of_key.into_iter().for_each(|id| self.bfd.remove(now, id));
                }
                Request::List(answer) => {
                    let mut all: Vec<_> = self.bfd.sessions().filter_map(|id| self.bfd.status(id)).collect();
                    all.sort_by_key(|s| s.key);
                    let _ = answer.send((now, all));
                }
                Request::Leave(done) => {
                    let all: Vec<_> = self.bfd.sessions().collect();
                    all.into_iter().for_each(|id| self.bfd.remove(now, id));
                    self.bfd.handle_timeout(now);
                    self.transmit();
                    let _ = done.send(());
                    return false;
                }
            }
        }
        if self.deaf {
            let keys: Vec<_> = self.sessions.values().map(|w| w.key).collect();
            self.deaf = !keys.iter().all(|key| self.sockets.listen(key));
        }
        self.events();
        self.transmit();
        true
    }

    fn ids(&self, key: &SessionKey) -> impl Iterator<Item = Discriminator> {
        self.sessions.iter().filter(move |(_, w)| w.key == *key).map(|(id, _)| *id)
    }

    fn set(
        &mut self,
        now: Monotime,
        key: SessionKey,
        config: bgp_core::config::BfdConfig,
        report: Arc<watch::Sender<Report>>,
    ) {
        if self.setup.ahead != Ahead::RealTime && !std::mem::replace(&mut self.warned, true) {
            warn!("BFD runs without real-time priority: give bgpd CAP_SYS_NICE, or choose longer intervals");
        }
        if !self.sockets.listen(&key) {
            self.deaf = true;
        }
        let id = self.bfd.set(now, key, config);
        // Of a session that was there before, in the hands of a task that is new.
        if let Some(status) = self.bfd.status(id) {
            report.send_modify(|r| {
                r.state = status.state;
                r.remote_admin_down = status.remote_state == State::AdminDown;
            });
        }
        self.sessions.insert(id, Watched { key, report });
    }
}
