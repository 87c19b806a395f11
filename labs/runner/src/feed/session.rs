//! One session that sends a table: OPEN, the routes, End-of-RIB, keepalives, and all over again when it ends.
//!
//! Blocking, two threads a session: this one writes, a reader watches what comes (a NOTIFICATION, the end). Nothing
//! received is kept. The hold time proposed is 90 s, so that a peer busy with a large table is not given up.

use anyhow::{Context, Result, bail, ensure};
use bgp_wire::message;
use bgp_wire::{Message, SessionContext};
use bytes::BytesMut;
use net_types::{Asn, Family, RouterId};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use test_tables::session::{Session, receive};
use test_tables::{Player, Table};

use crate::report::say;

const HOLD_TIME: u16 = 90;
const RETRY: Duration = Duration::from_millis(700);

/// Where a session goes and what next hops it gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSpec {
    /// The peer.
    pub peer: IpAddr,
    /// Our address towards it.
    pub local: IpAddr,
    /// Next hop of IPv4 routes; without one they are not sent.
    pub next_hop4: Option<Ipv4Addr>,
    /// Next hop of IPv6 routes; without one they are not sent.
    pub next_hop6: Option<Ipv6Addr>,
    /// Wait for the peer to connect instead of connecting.
    pub passive: bool,
    /// TCP port of the listening side.
    pub port: u16,
}

impl FromStr for SessionSpec {
    type Err = String;
    /// `peer=ADDRESS,local=ADDRESS[,nh4=ADDRESS][,nh6=ADDRESS][,passive][,port=N]`; the local address is the next hop
    /// of its own family unless told otherwise.
    fn from_str(s: &str) -> Result<SessionSpec, String> {
        let (mut peer, mut local, mut next_hop4, mut next_hop6, mut passive, mut port) =
            (None, None, None, None, false, 179);
        for part in s.split(',') {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let bad = |e: &dyn std::fmt::Display| format!("session {s:?}: {key}: {e}");
            match key {
                "peer" => peer = Some(value.parse::<IpAddr>().map_err(|e| bad(&e))?),
                "local" => local = Some(value.parse::<IpAddr>().map_err(|e| bad(&e))?),
                "nh4" => next_hop4 = Some(value.parse::<Ipv4Addr>().map_err(|e| bad(&e))?),
                "nh6" => next_hop6 = Some(value.parse::<Ipv6Addr>().map_err(|e| bad(&e))?),
                "port" => port = value.parse().map_err(|e| bad(&e))?,
                "passive" if value.is_empty() => passive = true,
                _ => return Err(bad(&"unknown: write peer=, local=, nh4=, nh6=, port= or passive")),
            }
        }
        let (Some(peer), Some(local)) = (peer, local) else {
            return Err(format!("session {s:?}: needs peer= and local="));
        };
        match local {
            IpAddr::V4(a) => next_hop4 = next_hop4.or(Some(a)),
            IpAddr::V6(a) => next_hop6 = next_hop6.or(Some(a)),
        }
        Ok(SessionSpec { peer, local, next_hop4, next_hop6, passive, port })
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy)]
pub struct Speaker {
    /// Our AS.
    pub asn: Asn,
    /// Put in front of every path instead of `asn`: a speaker that lies about itself.
    pub first_as: Asn,
    /// Our BGP Identifier.
    pub bgp_identifier: RouterId,
}

/// Runs a session for ever; what happens is said line by line.
pub fn run(speaker: Speaker, spec: &SessionSpec, table: &Table) -> ! {
    let mut last = String::new();
    loop {
        let why = match connect(spec).and_then(|stream| speak(speaker, spec, table, stream)) {
            Ok(()) => "ended".to_owned(),
            Err(e) => format!("{e:#}"),
        };
        // The same complaint again and again would bury the rest.
        if why != last {
            say(format!("{}: {why}", spec.peer));
            last = why;
        }
        std::thread::sleep(RETRY);
    }
}

fn connect(spec: &SessionSpec) -> Result<TcpStream> {
    if spec.passive {
        let listener =
            TcpListener::bind((spec.local, spec.port)).with_context(|| format!("listen on {}", spec.local))?;
        loop {
            let (stream, from) = listener.accept()?;
            if from.ip() == spec.peer {
                return Ok(stream);
            }
        }
    }
    let domain = if spec.peer.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SockAddr::from(SocketAddr::new(spec.local, 0))).with_context(|| format!("bind {}", spec.local))?;
    socket
        .connect_timeout(&SockAddr::from(SocketAddr::new(spec.peer, spec.port)), Duration::from_secs(3))
        .context("cannot connect")?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

fn speak(speaker: Speaker, spec: &SessionSpec, table: &Table, mut stream: TcpStream) -> Result<()> {
    let session = Session::open(&mut stream, speaker.asn, speaker.bgp_identifier, HOLD_TIME, &Family::SUPPORTED)?;
    let Session { context, theirs, buffer } = session;
    let keepalive = message::encode(&Message::Keepalive, &context)?;
    say(format!("{}: established with AS {}, hold time {} s", spec.peer, theirs.asn, HOLD_TIME.min(theirs.hold_time)));

    stream.set_read_timeout(None)?;
    let watched = watch(stream.try_clone()?, buffer, context.clone())?;
    let sent = play(speaker, spec, table, &context, &mut stream, &watched);
    let interval = Duration::from_secs(u64::from(HOLD_TIME.min(theirs.hold_time.max(3))) / 3);
    let end = sent.and_then(|()| {
        let mut next = Instant::now() + interval;
        while !watched.over() {
            if Instant::now() >= next {
                stream.write_all(&keepalive)?;
                next = Instant::now() + interval;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    });
    // Wakes the reader if it is still there.
    let _ = stream.shutdown(Shutdown::Both);
    match watched.reason() {
        Some(why) => bail!("{why}"),
        None => end,
    }
}

fn play(
    speaker: Speaker,
    spec: &SessionSpec,
    table: &Table,
    context: &SessionContext,
    stream: &mut TcpStream,
    watched: &Watched,
) -> Result<()> {
    let start = Instant::now();
    let player = Player { first_as: speaker.first_as, next_hop4: spec.next_hop4, next_hop6: spec.next_hop6 };
    let mut told = Instant::now();
    let sent = table.play(&player, context, |piece, sent| {
        ensure!(!watched.over(), "the session ended while routes were being sent");
        stream.write_all(piece)?;
        if told.elapsed() > Duration::from_secs(2) {
            told = Instant::now();
            say(format!("{}: {sent} routes so far", spec.peer));
        }
        Ok(())
    })?;
    say(format!("{}: {sent} routes sent in {:.1} s", spec.peer, start.elapsed().as_secs_f32()));
    Ok(())
}

/// What the reader found.
struct Watched {
    reason: Arc<Mutex<Option<String>>>,
    received: Arc<AtomicU64>,
}

impl Watched {
    fn over(&self) -> bool {
        self.reason.lock().map_or(true, |r| r.is_some())
    }

    fn reason(&self) -> Option<String> {
        let why = self.reason.lock().ok()?.clone()?;
        Some(format!("{why}, after {} messages", self.received.load(Ordering::Relaxed)))
    }
}

fn watch(mut stream: TcpStream, mut buffer: BytesMut, context: SessionContext) -> Result<Watched> {
    let reason = Arc::new(Mutex::new(None));
    let received = Arc::new(AtomicU64::new(0));
    let watched = Watched { reason: reason.clone(), received: received.clone() };
    std::thread::Builder::new().name("reader".into()).spawn(move || {
        let why = loop {
            match receive(&mut stream, &mut buffer, &context) {
                Ok(_) => received.fetch_add(1, Ordering::Relaxed),
                Err(e) => break format!("{e:#}"),
            };
        };
        if let Ok(mut r) = reason.lock() {
            *r = Some(why);
        }
        let _ = stream.shutdown(Shutdown::Both);
    })?;
    Ok(watched)
}
