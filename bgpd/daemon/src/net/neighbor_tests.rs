//! A neighbour's task against a RIB that takes nothing: what it reads, what it keeps sending, whom it believes dead.

use std::path::Path;
use std::time::Instant;

use bgp_core::peer::State;
use bgp_wire::message::{self, HEADER_LEN, MAX_EXTENDED_LEN};
use bgp_wire::{Message, Notification, Open, SessionContext};
use bytes::Bytes;
use net_types::Asn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::*;
use crate::config::Config;
use crate::net::flow::IN_FLIGHT;

/// Room in the RIB's queue.
const ROOM: usize = 4;
/// UPDATEs that are taken from the socket before reading pauses.
const TAKEN: usize = IN_FLIGHT / UPDATE_LEN + 1;
/// Octets of the smallest UPDATE.
const UPDATE_LEN: usize = 23;

const FILE: &str = r#"
[bgp]
local_as = 64500
router_id = "192.0.2.1"
lab = true
[[neighbor]]
name = "a"
address = "127.0.0.1"
remote_as = 64501
relation = "transit"
passive = true
hold_time = 3
"#;

/// The other end of a session, the task's command queue and the RIB's.
struct Bench {
    theirs: TcpStream,
    commands: mpsc::Sender<Command>,
    rib: mpsc::Receiver<RibInput>,
    buffer: Vec<u8>,
}

fn encoded(message: &Message) -> Vec<u8> {
    message::encode(message, &SessionContext::initial()).unwrap().to_vec()
}

/// The smallest UPDATE: End-of-RIB for IPv4 unicast.
fn updates(count: usize) -> Vec<u8> {
    let mut one = vec![0xff; 16];
    one.extend_from_slice(&[0, 23, 2, 0, 0, 0, 0]);
    one.repeat(count)
}

impl Bench {
    /// A session is up, and nobody takes from the RIB's queue.
    async fn new() -> Bench {
        let config = Config::parse(Path::new("t.toml"), FILE).unwrap();
        let (rib_tx, rib) = mpsc::channel(ROOM);
        let (commands, receiver) = mpsc::channel(32);
        let (_, interfaces) = watch::channel(Arc::new(ConnectedTable::new()));
        let setup = Setup {
            id: PeerId(1),
            speaker: Arc::new(config.speaker.clone()),
            config: config.neighbors.values().next().unwrap().clone(),
            dynamic: false,
            restarting: false,
            forwarding_lost: false,
            seed: 1,
            clock: Clock::start(),
            rib: rib_tx,
            commands: commands.clone(),
            interfaces,
            hops: Hops::default(),
            bfd: crate::bfd::Handle::new().unwrap().0,
        };
        tokio::spawn(run(setup, receiver));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (theirs, ours) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (ours, remote) = ours.unwrap();
        let local = ours.local_addr().unwrap();
        commands.send(Command::Incoming(ours, remote, local)).await.unwrap();
        let mut bench = Bench { theirs: theirs.unwrap(), commands, rib, buffer: Vec::new() };
        let open = Open {
            version: 4,
            asn: Asn(64501),
            my_as: Asn(64501).as_two_octet(),
            hold_time: 3,
            bgp_identifier: "192.0.2.2".parse().unwrap(),
            capabilities: Vec::new(),
        };
        bench.write(&encoded(&Message::Open(open))).await;
        bench.write(&encoded(&Message::Keepalive)).await;
        while bench.state().await != State::Established {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bench.hear(Duration::from_millis(50)).await;
        bench
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.theirs.write_all(bytes).await.unwrap();
    }

    /// What comes within `time`, or until the stream's end.
    async fn hear(&mut self, time: Duration) -> Vec<Message> {
        let end = tokio::time::Instant::now() + time;
        while let Ok(Ok(1..)) = tokio::time::timeout_at(end, self.theirs.read_buf(&mut self.buffer)).await {}
        let mut heard = Vec::new();
        while let Some(frame) = message::frame(&self.buffer, MAX_EXTENDED_LEN).unwrap() {
            let whole: Vec<u8> = self.buffer.drain(..frame.len).collect();
            let body = Bytes::copy_from_slice(&whole[HEADER_LEN..]);
            heard.push(message::decode(frame.kind, &body, &SessionContext::initial()).unwrap());
        }
        heard
    }

    /// Sends TAKEN UPDATEs. All of them are read, and the last one's read is the one that goes over [`IN_FLIGHT`]: what is
    /// sent from now on stays in the socket.
    async fn fill(&mut self) {
        self.write(&updates(TAKEN - 1)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        self.write(&updates(1)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    async fn state(&self) -> State {
        let (answer, reply) = oneshot::channel();
        self.commands.send(Command::Status(answer)).await.unwrap();
        reply.await.unwrap().status.state
    }
}

fn hold_expired(message: &Message) -> bool {
    matches!(message, Message::Notification(Notification { code: 4, .. }))
}

#[tokio::test]
async fn rfc4271_6_5_a_busy_rib_does_not_end_the_session_and_keepalives_go_out() {
    let mut bench = Bench::new().await;
    bench.fill().await;
    let mut heard = Vec::new();
    for _ in 0..16 {
        bench.write(&encoded(&Message::Keepalive)).await;
        heard.extend(bench.hear(Duration::from_millis(500)).await);
    }
    assert_eq!(bench.state().await, State::Established, "{heard:?}");
    // 8 s at one in 0.75 to 1 s.
    assert!(heard.len() >= 7 && heard.iter().all(|m| *m == Message::Keepalive), "{heard:?}");
    // The RIB takes again: all that was sent arrives, and silence counts from here.
    bench.write(&updates(10)).await;
    let mut arrived = 0;
    while arrived < TAKEN + 10 {
        match tokio::time::timeout(Duration::from_secs(1), bench.rib.recv()).await {
            Ok(Some(RibInput::Updates(_, updates, _held))) => arrived += updates.len(),
            Ok(Some(RibInput::Up { .. } | RibInput::Pull(_))) => {}
            other => panic!("after {arrived} UPDATEs: {}", other.is_ok_and(|o| o.is_some())),
        }
    }
    assert_eq!(bench.state().await, State::Established);
    let heard = bench.hear(Duration::from_secs(4)).await;
    assert!(heard.iter().any(hold_expired), "{heard:?}");
}

#[tokio::test]
async fn rfc4271_6_5_a_silent_neighbour_is_noticed_while_reading_is_paused() {
    let mut bench = Bench::new().await;
    let start = Instant::now();
    bench.fill().await;
    let heard = bench.hear(Duration::from_secs(4)).await;
    assert!(heard.iter().any(hold_expired), "{heard:?}");
    assert!(start.elapsed() >= Duration::from_secs(3), "the stream ends with the NOTIFICATION");
}
