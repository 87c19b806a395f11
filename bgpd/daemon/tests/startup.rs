//! A start with nothing in the kernel: own prefixes have the highest MED but one until the table is in (ADR 0019). Judged by
//! BIRD, the operator, and by what a reflector of nothing but a socket hears; when that sends its End-of-RIB is ours to say.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::bgpd::bgpd_client::BgpdClient;
use api::bgpd::{GetSummaryRequest, Summary};
use bgp_wire::message::{self, HEADER_LEN, MAX_LEN};
use bgp_wire::{Capability, GracefulRestart, Message, Open, SessionContext, Update, update};
use common::{Net, Process, can_run, holds, sh, within};
use daemonbase::grpc;
use net_types::{Asn, Family};
use nix::sched::{CloneFlags, setns};

const LIMIT: Duration = Duration::from_secs(30);
const HIGH: u32 = 4_294_967_294;
const OWN: &str = "192.0.2.0/24";
const FAMILIES: [Family; 2] = [Family::IPV4_UNICAST, Family::IPV6_UNICAST];

const BIRD: &str = "
log stderr all;
router id 198.51.100.1;
protocol device {}
protocol static s4 { ipv4; route 203.0.113.128/25 blackhole; }
protocol bgp b4 { local as 64501; neighbor 198.51.100.0 as 64500; graceful restart on; connect retry time 1;
 connect delay time 1; error wait time 1,2; ipv4 { import all; export where source = RTS_STATIC; }; }
";

/// The first of the neighbours is not waited for, whoever comes after it.
const OURS: &str = "[announce]\nprefixes = [\"192.0.2.0/24\"]\n\
    [[neighbor]]\nname = \"a-former-operator\"\naddress = \"198.51.100.9\"\nremote_as = 64502\nrelation = \"transit\"\n\
    enabled = false\n\
    [[neighbor]]\nname = \"operator\"\naddress = \"198.51.100.1\"\nremote_as = 64501\nrelation = \"transit\"\n\
    families = [\"ipv4-unicast\"]\nconnect_retry_time = 1\n\
    [[neighbor]]\nname = \"reflector\"\naddress = \"203.0.113.3\"\nport = 1790\nremote_as = 64500\nrelation = \"internal\"\n\
    connect_retry_time = 1\n";

/// The link, with BIRD and an address for the reflector at the other end.
fn net() -> Option<(Net, Process)> {
    can_run(&["/usr/sbin/bird"]).then(|| {
        let net = Net::new();
        net.ip("addr add 203.0.113.5/28 dev eth1");
        sh(&format!("ip -n {} addr add 203.0.113.3/28 dev eth1", net.theirs));
        let bird = net.bird(BIRD);
        (net, bird)
    })
}

/// The reflector's door in the other namespace.
fn listener(net: &Net) -> TcpListener {
    let namespace = File::open(format!("/run/netns/{}", net.theirs)).unwrap();
    let inside = std::thread::spawn(move || {
        setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
        TcpListener::bind("203.0.113.3:1790").unwrap()
    });
    inside.join().unwrap()
}

fn context() -> SessionContext {
    SessionContext { ebgp: false, four_octet_as: true, families: FAMILIES.to_vec(), ..SessionContext::initial() }
}

/// A session of the reflector's, and the UPDATEs that came.
struct Reflector {
    stream: TcpStream,
    heard: Arc<Mutex<Vec<Update>>>,
}

impl Reflector {
    /// Waits for our bgpd and comes up with it.
    fn accept(listener: &TcpListener) -> Reflector {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(matches!(read(&mut stream), Some(Message::Open(_))));
        let families = FAMILIES.map(|f| (f, true)).to_vec();
        let restart = GracefulRestart { restarting: false, notification: false, restart_time: 120, families };
        let multiprotocol = FAMILIES.map(Capability::Multiprotocol).into_iter();
        let further = [Capability::FourOctetAsn(Asn(64500)), Capability::GracefulRestart(restart)];
        let open = Open {
            version: 4,
            asn: Asn(64500),
            my_as: 64500,
            hold_time: 0,
            bgp_identifier: "203.0.113.3".parse().unwrap(),
            capabilities: multiprotocol.chain(further).collect(),
        };
        for message in [Message::Open(open), Message::Keepalive] {
            stream.write_all(&message::encode(&message, &SessionContext::initial()).unwrap()).unwrap();
        }
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, into) = (stream.try_clone().unwrap(), heard.clone());
        std::thread::spawn(move || {
            while let Some(message) = read(&mut reader) {
                if let Message::Update(update) = message {
                    into.lock().unwrap().push(update);
                }
            }
        });
        Reflector { stream, heard }
    }

    fn end_of_rib(&mut self, family: Family) {
        self.stream.write_all(&update::encode_end_of_rib(family)).unwrap();
    }

    /// MEDs of the own prefix, in their order; nothing was ever withdrawn.
    fn meds(&self) -> Vec<Option<u32>> {
        let heard = self.heard.lock().unwrap();
        assert!(heard.iter().all(|u| u.unreach.iter().all(|gone| gone.nlri.is_empty())), "{heard:?}");
        let own = |u: &&Update| u.reach.iter().flat_map(|r| &r.nlri).any(|n| n.prefix == OWN.parse().unwrap());
        heard.iter().filter(own).map(|u| u.attributes.med).collect()
    }

    fn hears(&self, meds: &[Option<u32>]) {
        within(LIMIT, "the own prefix at the reflector", || match self.meds() {
            heard if heard == meds => Ok(()),
            heard => Err(format!("{heard:?}")),
        });
    }
}

/// The next message; `None`: the session is over.
fn read(stream: &mut TcpStream) -> Option<Message> {
    let mut bytes = vec![0; HEADER_LEN];
    stream.read_exact(&mut bytes).ok()?;
    bytes.resize(u16::from_be_bytes([bytes[16], bytes[17]]).into(), 0);
    stream.read_exact(&mut bytes[HEADER_LEN..]).ok()?;
    let frame = message::frame(&bytes, MAX_LEN).unwrap().unwrap();
    Some(message::decode(frame.kind, &bytes[HEADER_LEN..], &context()).unwrap())
}

/// The MED of our prefix in BIRD's table; no prefix is an error.
fn med(net: &Net) -> Result<Option<u32>, String> {
    let text = net.birdc(&format!("show route {OWN} all"));
    holds(&text, &[OWN, "as_path: 64500"])?;
    // Whatever its MED, it is used where it is the only one.
    holds(&text, &["* (100)"])?;
    let med = text.lines().find_map(|l| l.split_once("med:"));
    Ok(med.map(|(_, value)| value.trim().parse().unwrap()))
}

fn bird_has(net: &Net, wanted: Option<u32>) {
    within(LIMIT, "our prefix at BIRD", || match med(net)? {
        med if med == wanted => Ok(()),
        med => Err(format!("MED {med:?}")),
    });
}

/// What BIRD counted on the session: routes received, routes withdrawn.
fn counted(net: &Net) -> (u32, u32) {
    let text = net.birdc("show protocols all b4");
    let received = |row: &str| {
        let line = text.lines().find(|l| l.trim_start().starts_with(row)).unwrap();
        line.rsplit(':').next().unwrap().split_whitespace().next().unwrap().parse().unwrap()
    };
    (received("Import updates"), received("Import withdraws"))
}

fn summary(net: &Net) -> Summary {
    let socket = format!("unix:{}", net.path("run/bgpd-read.sock").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let channel = grpc::connect("bgpd", &socket.parse().unwrap()).await.unwrap();
        BgpdClient::new(channel).get_summary(GetSummaryRequest {}).await.unwrap().into_inner()
    })
}

#[test]
fn rfc4724_2_own_prefixes_are_the_last_resort_until_the_last_end_of_rib_and_never_after_a_restart() {
    let Some((net, _bird)) = net() else { return };
    let listener = listener(&net);
    let mut bgpd = net.bgpd_with("max_med_on_startup = 600\n", OURS);
    let mut reflector = Reflector::accept(&listener);
    bird_has(&net, Some(HIGH));
    reflector.hears(&[Some(HIGH)]);
    within(LIMIT, "the operator's End-of-RIB", || match summary(&net).max_med {
        Some(m) if (m.med, m.neighbors_in, m.neighbors_total) == (HIGH, 1, 2) && m.seconds_left > 60 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    reflector.end_of_rib(Family::IPV4_UNICAST);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(med(&net), Ok(Some(HIGH)), "the reflector's IPv6 routes are still to come");
    reflector.end_of_rib(Family::IPV6_UNICAST);
    bird_has(&net, None);
    reflector.hears(&[Some(HIGH), None]);
    assert_eq!(counted(&net), (2, 0), "one UPDATE replaced the other");
    assert_eq!(summary(&net).max_med, None);

    // The kernel's table stands: nothing is announced before the first decision, and then as usual.
    bgpd.kill();
    let bgpd = net.start_bgpd(&net.path("bgpd.toml"));
    let mut reflector = Reflector::accept(&listener);
    within(LIMIT, "the session", || holds(&bgpd.log(), &["adopted"]));
    let state = summary(&net);
    assert!(state.restarting && state.max_med.is_none(), "{state:?}");
    assert_eq!(med(&net), Ok(None), "BIRD keeps what it had");
    FAMILIES.into_iter().for_each(|f| reflector.end_of_rib(f));
    within(LIMIT, "restart complete", || holds(&bgpd.log(), &["restart complete"]));
    reflector.hears(&[None]);
    assert_eq!(med(&net), Ok(None));
}

#[test]
fn a_neighbour_that_never_comes_holds_it_up_until_the_timer() {
    let Some((net, _bird)) = net() else { return };
    let bgpd = net.bgpd_with("max_med_on_startup = 12\n", OURS);
    bird_has(&net, Some(HIGH));
    bird_has(&net, None);
    assert_eq!(counted(&net), (2, 0), "one UPDATE replaced the other");
    holds(&bgpd.log(), &["max_med_on_startup is over before the table is in"]).unwrap();
}

#[test]
fn zero_is_off() {
    let Some((net, _bird)) = net() else { return };
    let _bgpd = net.bgpd_with("max_med_on_startup = 0\n", OURS);
    bird_has(&net, None);
    assert_eq!((counted(&net), summary(&net).max_med), ((1, 0), None));
}
