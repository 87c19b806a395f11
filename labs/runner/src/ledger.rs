//! The ledger of packets: numbered UDP packets between nodes, and what became of each.
//!
//! The way of a packet: a thread in the sender's network namespace writes the run, the flow and the number into it and
//! sends it -> the lab -> a thread in the receiver's namespace finds the same three and counts its arrival -> [`Account`]
//! once everything is over. A packet to an anycast address is looked for in every namespace that has it.
//!
//! Invariants: a packet is accounted for by its number alone, so late, doubled and reordered ones are told apart; what
//! the kernel of a receiver dropped for want of room is not called lost on the way ([`Counters::overruns`]). A namespace
//! is joined by one thread for itself, never by the process.

use crate::up::run;
use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, setns};
use nix::unistd::Pid;
use serde::Serialize;
use serde_json::Value;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// UDP port of the first flow; each further one has the next.
const PORT: u16 = 40_000;
/// How long a packet may be under way once the last one is sent.
const LATE: Duration = Duration::from_millis(700);
/// How often the metronome of a core beats.
const BEAT: Duration = Duration::from_millis(5);

/// Packets from one node to one address.
#[derive(Debug, Clone)]
pub struct Flow {
    /// For people: which stream of a play it belongs to.
    pub stream: String,
    /// Network namespace that sends.
    pub from: PathBuf,
    /// Where to.
    pub address: IpAddr,
    /// Network namespaces that have the address.
    pub to: Vec<PathBuf>,
}

/// What became of the packets of one flow.
#[derive(Debug, Clone, Serialize)]
pub struct Account {
    /// The stream it belongs to.
    pub stream: String,
    /// Where to.
    pub address: IpAddr,
    /// Packets sent.
    pub sent: u64,
    /// Of them, received once.
    pub once: u64,
    /// Received twice or more.
    pub more: u64,
    /// Never received.
    pub never: u64,
    /// The longest run of packets never received: from the sending of its first one to that of the next good one.
    pub longest_gap_ms: f64,
    /// The longest time a packet was under way, such as in the queue of a kernel that looks for its neighbour.
    pub longest_delay_ms: f64,
}

/// What the kernels of the lab have counted.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Counters {
    /// The ledger's packets whose time to live (hop limit) ran out: they went in a circle ([`watch`]).
    pub expired: u64,
    /// Packets that had arrived and found no room in their receiver's buffer: the machine was too slow.
    pub overruns: u64,
}

/// A packet: when it was sent and when it first arrived (nanoseconds from the start; 0: not yet), and how often it did.
#[derive(Debug, Default)]
struct Cell {
    sent: AtomicU64,
    arrived: AtomicU64,
    seen: AtomicU8,
}

#[derive(Debug)]
struct Book {
    run: u64,
    flows: Vec<Flow>,
    /// By flow, then by number.
    cells: Vec<Vec<Cell>>,
    start: Instant,
    over: AtomicBool,
}

/// Streams under way.
#[derive(Debug)]
pub struct Ledger {
    book: Arc<Book>,
    senders: Vec<JoinHandle<Result<()>>>,
    receivers: Vec<JoinHandle<Result<()>>>,
    metronomes: Vec<JoinHandle<Result<Duration>>>,
}

impl Ledger {
    /// Begins to send `rate` packets a second in each flow, for `length`. Receivers listen before the first is sent.
    pub fn start(flows: Vec<Flow>, rate: u32, length: Duration) -> Result<Ledger> {
        let each = (length.as_secs_f64() * f64::from(rate)) as usize;
        let cells = flows.iter().map(|_| (0..each).map(|_| Cell::default()).collect()).collect();
        let start = Instant::now();
        // Tells the packets of this run from late ones of the last: no two runs of a process begin at the same time.
        let run = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        let book = Arc::new(Book { run, flows, cells, start, over: AtomicBool::new(false) });
        let mut ledger =
            Ledger { book: book.clone(), senders: Vec::new(), receivers: Vec::new(), metronomes: Vec::new() };
        let cores = sched_getaffinity(Pid::from_raw(0))?;
        for core in (0..CpuSet::count()).filter(|c| cores.is_set(*c).unwrap_or(false)) {
            let book = book.clone();
            ledger.metronomes.push(std::thread::spawn(move || beat(&book, core)));
        }
        for (index, flow) in book.flows.iter().enumerate() {
            for netns in &flow.to {
                let (address, book) = (SocketAddr::new(flow.address, port(index)?), book.clone());
                let socket = within(netns, move || Ok(UdpSocket::bind(address)?))
                    .with_context(|| format!("{} in {}", flow.address, netns.display()))?;
                ledger.receivers.push(std::thread::spawn(move || receive(&book, &socket, index)));
            }
        }
        let mut places: Vec<&PathBuf> = book.flows.iter().map(|f| &f.from).collect();
        places.sort();
        places.dedup();
        for netns in places {
            let sockets = within(netns, || {
                Ok((UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?, UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?))
            })
            .with_context(|| netns.display().to_string())?;
            let (netns, book) = (netns.clone(), book.clone());
            ledger.senders.push(std::thread::spawn(move || send(&book, &netns, &sockets, rate)));
        }
        Ok(ledger)
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.book.start.elapsed()
    }

    /// Waits until everything is sent and what is under way has arrived. Beside the accounts: for how long the machine
    /// stood still at most, on any of its cores.
    pub fn finish(mut self) -> Result<(Vec<Account>, Duration)> {
        for sender in self.senders.drain(..) {
            sender.join().unwrap_or_else(|_| bail!("a sender died"))?;
        }
        std::thread::sleep(LATE);
        self.book.over.store(true, Ordering::Relaxed);
        for receiver in self.receivers.drain(..) {
            receiver.join().unwrap_or_else(|_| bail!("a receiver died"))?;
        }
        let mut stood_still = Duration::ZERO;
        for metronome in self.metronomes.drain(..) {
            stood_still = stood_still.max(metronome.join().unwrap_or_else(|_| bail!("a metronome died"))?);
        }
        let book = &self.book;
        Ok((book.flows.iter().zip(&book.cells).map(|(f, cells)| account(f, cells)).collect(), stood_still))
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // Whoever gives up early leaves threads behind that end by themselves.
        self.book.over.store(true, Ordering::Relaxed);
    }
}

fn port(index: usize) -> Result<u16> {
    u16::try_from(index).ok().and_then(|i| PORT.checked_add(i)).context("too many flows")
}

/// The longest that a thread on `core` had to wait beyond its time.
fn beat(book: &Book, core: usize) -> Result<Duration> {
    let mut here = CpuSet::new();
    here.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &here)?;
    let mut longest = Duration::ZERO;
    while !book.over.load(Ordering::Relaxed) {
        let before = Instant::now();
        std::thread::sleep(BEAT);
        longest = longest.max(before.elapsed().saturating_sub(BEAT));
    }
    Ok(longest)
}

fn send(book: &Book, netns: &Path, sockets: &(UdpSocket, UdpSocket), rate: u32) -> Result<()> {
    let mine: Vec<(usize, &Flow)> = book.flows.iter().enumerate().filter(|(_, f)| f.from == netns).collect();
    let step = Duration::from_secs(1) / (rate * u32::try_from(mine.len())?).max(1);
    let each = book.cells.first().map_or(0, Vec::len);
    let mut due = book.start.elapsed();
    for number in 0..each {
        for (index, flow) in &mine {
            due += step;
            std::thread::sleep(due.saturating_sub(book.start.elapsed()));
            if book.over.load(Ordering::Relaxed) {
                return Ok(());
            }
            let numbers = [u32::try_from(*index)?.to_be_bytes(), u32::try_from(number)?.to_be_bytes()];
            let packet = [book.run.to_be_bytes().as_slice(), numbers.as_flattened()].concat();
            if let Some(cell) = book.cells.get(*index).and_then(|c| c.get(number)) {
                cell.sent.store((book.start.elapsed().as_nanos() as u64).max(1), Ordering::Relaxed);
            }
            let socket = if flow.address.is_ipv4() { &sockets.0 } else { &sockets.1 };
            // A sender whose own kernel has no way has sent in vain, as its users would.
            let _ = socket.send_to(&packet, (flow.address, port(*index)?));
        }
    }
    Ok(())
}

fn receive(book: &Book, socket: &UdpSocket, index: usize) -> Result<()> {
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut buffer = [0; 64];
    while !book.over.load(Ordering::Relaxed) {
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let Some((run, flow, number)) = buffer.get(..length).and_then(read) else { continue };
        if run == book.run
            && usize::try_from(flow) == Ok(index)
            && let Some(cell) = book.cells.get(index).and_then(|c| c.get(number as usize))
        {
            // Nobody doubles a packet 255 times.
            if cell.seen.fetch_add(1, Ordering::Relaxed) == 0 {
                cell.arrived.store(book.start.elapsed().as_nanos() as u64, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}

fn read(packet: &[u8]) -> Option<(u64, u32, u32)> {
    let (run, rest) = packet.split_first_chunk::<8>()?;
    let (flow, rest) = rest.split_first_chunk::<4>()?;
    let number: &[u8; 4] = rest.try_into().ok()?;
    Some((u64::from_be_bytes(*run), u32::from_be_bytes(*flow), u32::from_be_bytes(*number)))
}

fn account(flow: &Flow, cells: &[Cell]) -> Account {
    let (mut once, mut more, mut never, mut sent, mut longest) = (0, 0, 0, 0, 0);
    let (mut gap_from, mut last, mut delay) = (None, 0, 0);
    for cell in cells {
        let at = cell.sent.load(Ordering::Relaxed);
        if at == 0 {
            continue;
        }
        (sent, last) = (sent + 1, at);
        match cell.seen.load(Ordering::Relaxed) {
            0 => {
                never += 1;
                gap_from = gap_from.or(Some(at));
                continue;
            }
            1 => once += 1,
            _ => more += 1,
        }
        delay = delay.max(cell.arrived.load(Ordering::Relaxed).saturating_sub(at));
        longest = longest.max(gap_from.take().map_or(0, |from: u64| at - from));
    }
    // A gap that lasts to the end is as long as we have looked.
    longest = longest.max(gap_from.map_or(0, |from| last - from));
    let milliseconds = |nanoseconds: u64| (nanoseconds / 100_000) as f64 / 10.0;
    let (longest_gap_ms, longest_delay_ms) = (milliseconds(longest), milliseconds(delay));
    let stream = flow.stream.clone();
    Account { stream, address: flow.address, sent, once, more, never, longest_gap_ms, longest_delay_ms }
}

/// Runs `what` on a thread inside a network namespace.
fn within<T: Send + 'static>(netns: &Path, what: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let file = File::open(netns).with_context(|| netns.display().to_string())?;
    let inside = std::thread::spawn(move || {
        setns(file, CloneFlags::CLONE_NEWNET)?;
        what()
    });
    inside.join().unwrap_or_else(|_| bail!("a thread died"))
}

/// Ports of flows, for the kernel.
const PORTS: &str = "40000-49999";

/// Has the kernel of a namespace count the ledger's packets that come in with their last hop: no way through a lab is that
/// long, so they have gone in a circle. The kernel's own count of such packets would do but for BGP, whose packets to a
/// neighbour live for one hop.
pub fn watch(netns: &Path) -> Result<()> {
    let rules = format!(
        "table inet ledger\ndelete table inet ledger\ntable inet ledger {{\n counter circles {{ }}\n\
         chain in {{ type filter hook prerouting priority -400;\n\
         ip ttl 1 udp dport {PORTS} counter name circles\n\
         ip6 hoplimit 1 udp dport {PORTS} counter name circles\n }}\n}}\n"
    );
    within(netns, move || run(Command::new("nft").arg(&rules))).map(|_| ())
}

/// What the kernel of a namespace has counted so far.
pub fn counters(netns: &Path) -> Result<Counters> {
    // `/proc/self/net` would be that of the process's first thread.
    let read = |name: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{name}"));
    let (v4, v6, circles) = within(netns, move || {
        let circles = run(Command::new("nft").args(["-j", "list", "counters", "table", "inet", "ledger"]))?;
        Ok((read("snmp")?, read("snmp6").unwrap_or_default(), serde_json::from_str::<Value>(&circles)?))
    })?;
    let items = circles.get("nftables").and_then(Value::as_array);
    let packets = items.and_then(|a| a.iter().find_map(|i| i.get("counter")?.get("packets")?.as_u64()));
    let one =
        |name: &str| -> u64 { v6.lines().find_map(|l| l.strip_prefix(name)?.trim().parse().ok()).unwrap_or_default() };
    Ok(Counters {
        expired: packets.context("nft: no counter `circles`")?,
        overruns: column(&v4, "Udp", "RcvbufErrors") + one("Udp6RcvbufErrors "),
    })
}

/// A value of `/proc/net/snmp`: a line of names, then a line of numbers.
fn column(text: &str, table: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter_map(|l| l.strip_prefix(table)?.strip_prefix(": "));
    let (Some(names), Some(numbers)) = (lines.next(), lines.next()) else { return 0 };
    let at = names.split_whitespace().position(|n| n == name);
    at.and_then(|i| numbers.split_whitespace().nth(i)?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_packet_is_accounted_for_and_the_longest_gap_is_measured_at_the_sender() {
        let flow = Flow { stream: "s".into(), from: "a".into(), address: Ipv4Addr::LOCALHOST.into(), to: Vec::new() };
        // One every 5 ms; the last was not sent.
        let seen = [1, 0, 1, 2, 0, 0, 0, 1, 0, 0];
        let cells: Vec<Cell> = seen
            .iter()
            .enumerate()
            .map(|(i, n)| Cell {
                sent: AtomicU64::new(if i == 9 { 0 } else { (i as u64 + 1) * 5_000_000 }),
                arrived: AtomicU64::new((i as u64 + 1) * 5_000_000 + if i == 3 { 2_000_000 } else { 0 }),
                seen: AtomicU8::new(*n),
            })
            .collect();
        let a = account(&flow, &cells);
        assert_eq!((a.sent, a.once, a.more, a.never), (9, 3, 1, 5));
        assert_eq!((a.longest_gap_ms, a.longest_delay_ms), (15.0, 2.0));
    }

    #[test]
    fn counters_are_found_by_name() {
        let text = "Ip: Forwarding InHdrErrors\nIp: 1 7\nUdp: InDatagrams RcvbufErrors\nUdp: 5 3\nUdpLite: RcvbufErrors\nUdpLite: 9\n";
        assert_eq!((column(text, "Ip", "InHdrErrors"), column(text, "Udp", "RcvbufErrors")), (7, 3));
        assert_eq!(column(text, "Ip", "NotThere"), 0);
    }
}
