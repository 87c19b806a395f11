//! DelayOpen (RFC 4271 §8.1.1) on the wire, on the loopback: a speaker of nothing but a socket, and our bgpd.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bgp_wire::message::{self, HEADER_LEN, MAX_LEN};
use bgp_wire::{Message, Open, SessionContext};
use common::within;
use net_types::Asn;

/// Longer than a test waits for anything, far shorter than [`LONG_DELAY`].
const LIMIT: Duration = Duration::from_secs(30);
/// A DelayOpenTime that no test outlives.
const LONG_DELAY: u16 = 120;

/// bgpd with one neighbour on the loopback; needs no root. Ends with the test.
struct Daemon {
    child: Child,
    dir: std::path::PathBuf,
}

impl Daemon {
    fn start(name: &str, bgp: &str, neighbor: &str) -> Daemon {
        let dir = std::env::temp_dir().join(format!("bgpd-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let config = format!(
            "[bgp]\nlocal_as = 64500\nrouter_id = \"192.0.2.1\"\nlab = true\n{bgp}\
             [fib]\nenabled = false\n[daemon]\nrun_dir = \"{0}/run\"\nstate_dir = \"{0}/state\"\n\
             [[neighbor]]\nname = \"raw\"\naddress = \"127.0.0.1\"\nremote_as = 64501\nrelation = \"transit\"\n{neighbor}",
            dir.display()
        );
        let file = dir.join("bgpd.toml");
        std::fs::write(&file, config).unwrap();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_bgpd"))
            .arg("--config")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Daemon { child, dir }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.dir.join("log")).unwrap_or_default());
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A port that nobody has.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn send(stream: &mut TcpStream, message: &Message) {
    stream.write_all(&message::encode(message, &SessionContext::initial()).unwrap()).unwrap();
}

fn read(stream: &mut TcpStream) -> Message {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut bytes = vec![0; HEADER_LEN];
    stream.read_exact(&mut bytes).unwrap();
    bytes.resize(u16::from_be_bytes([bytes[16], bytes[17]]).into(), 0);
    stream.read_exact(&mut bytes[HEADER_LEN..]).unwrap();
    let frame = message::frame(&bytes, MAX_LEN).unwrap().unwrap();
    message::decode(frame.kind, &bytes[HEADER_LEN..], &SessionContext::initial()).unwrap()
}

fn open() -> Message {
    Message::Open(Open {
        version: 4,
        asn: Asn(64501),
        my_as: 64501,
        hold_time: 90,
        bgp_identifier: "198.51.100.1".parse().unwrap(),
        capabilities: Vec::new(),
    })
}

/// A session comes up on a stream whose neighbour has sent its OPEN.
fn goes_on(stream: &mut TcpStream) {
    assert_eq!(read(stream), Message::Keepalive, "right behind the OPEN");
    send(stream, &Message::Keepalive);
    // End-of-RIB or a route: only in Established.
    assert!(matches!(read(stream), Message::Update(_)));
}

#[test]
fn rfc4271_8_2_2_event_20_an_accepted_connection_that_speaks_first_is_answered_at_once() {
    let port = free_port();
    let _bgpd = Daemon::start(
        "delay-accept",
        &format!("listen = [\"127.0.0.1\"]\nport = {port}\n"),
        &format!("passive = true\ndelay_open = {LONG_DELAY}\n"),
    );
    let mut stream = None;
    within(LIMIT, "bgpd listens", || {
        stream = Some(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|e| e.to_string())?);
        Ok(())
    });
    let mut stream = stream.unwrap();
    send(&mut stream, &open());
    assert!(matches!(read(&mut stream), Message::Open(_)), "within {LIMIT:?}, long before {LONG_DELAY} s");
    goes_on(&mut stream);
}

#[test]
fn rfc4271_8_2_2_events_16_and_12_a_silent_neighbour_hears_our_open_after_the_delay() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let started = Instant::now();
    let _bgpd = Daemon::start("delay-connect", "", &format!("port = {port}\ndelay_open = 3\n"));
    let (mut stream, _) = listener.accept().unwrap();
    assert!(matches!(read(&mut stream), Message::Open(_)));
    // From before bgpd was there: it cannot seem shorter than it was.
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(3), "{waited:?}");
    send(&mut stream, &open());
    goes_on(&mut stream);
}
