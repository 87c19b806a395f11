//! `bgpd-bench`: a whole bgpd between simulated neighbours, in a network of their own. `bgpd bench` starts it,
//! `tests/bench/run` builds both first.
//!
//! The way of a route: generated table -> one stream of octets a feed, made before the clock starts -> bgpd (accept-all)
//! -> every sink, which holds for each prefix whether it last heard the right path. The clock stops when the last sink
//! has the last prefix; then the feeds withdraw it all. Feeds send the same table and differ in their router ids, so each
//! prefix has as many paths as there are feeds.
#![allow(clippy::print_stdout, reason = "its results")]

mod daemon;
mod network;
mod sink;

use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use net_types::{Asn, Family, RouterId};
use serde::Serialize;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use test_tables::session::Session;
use test_tables::{Player, generate_of};

use daemon::Daemon;
use sink::{Right, Sinks};

const FEED_AS: Asn = Asn(64501);
const SINK_AS: Asn = Asn(64502);
const DUT_AS: Asn = Asn(64500);
const HOLD_TIME: u16 = 240;

/// Runs bgpd between simulated neighbours and says how long a table takes and what it costs.
#[derive(Parser)]
struct Args {
    /// The daemon.
    #[arg(long, default_value = "target/release/bgpd")]
    bgpd: PathBuf,
    /// IPv4 routes in the table.
    #[arg(long, value_delimiter = ',', default_value = "1000000")]
    routes: Vec<usize>,
    /// Neighbours that send it, up to 200.
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u8).range(1..=200))]
    feeds: Vec<u8>,
    /// Neighbours that take it, up to 500.
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u16).range(1..=500))]
    sinks: Vec<u16>,
    /// CPUs that bgpd may use (as taskset names them).
    #[arg(long)]
    cpus: Option<String>,
    /// Give up after so many seconds.
    #[arg(long, default_value_t = 300)]
    timeout: u64,
    /// How results are printed.
    #[arg(short, long, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// One run. Several lists of sizes make a run for each combination.
#[derive(Serialize)]
struct Row {
    routes: usize,
    feeds: u8,
    sinks: u16,
    /// Start of the process to its OPEN.
    start_ms: f64,
    /// First octet sent to the last sink's last prefix.
    load_s: f64,
    /// The same by routes taken in and given out.
    ns_per_route: f64,
    load_cpu_s: f64,
    withdraw_s: f64,
    withdraw_cpu_s: f64,
    rss_empty_mb: f64,
    rss_mb: f64,
    rss_peak_mb: f64,
    /// Grown memory by paths held.
    octets_per_path: f64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    network::enter()?;
    if args.output == Output::Table {
        println!(
            "  routes feeds sinks  start ms  load s  ns/route  cpu s  withdraw s  cpu s  empty MB  RSS MB  peak MB  B/path"
        );
    }
    for &routes in &args.routes {
        for &feeds in &args.feeds {
            for &sinks in &args.sinks {
                let r = run(&args, routes, feeds, sinks)?;
                match args.output {
                    Output::Json => println!("{}", serde_json::to_string(&r)?),
                    Output::Table => println!(
                        "{:>8} {:>5} {:>5}  {:>8.0}  {:>6.2}  {:>8.0}  {:>5.2}  {:>10.2}  {:>5.2}  {:>8.1}  {:>6.1}  {:>7.1}  {:>6.0}",
                        r.routes,
                        r.feeds,
                        r.sinks,
                        r.start_ms,
                        r.load_s,
                        r.ns_per_route,
                        r.load_cpu_s,
                        r.withdraw_s,
                        r.withdraw_cpu_s,
                        r.rss_empty_mb,
                        r.rss_mb,
                        r.rss_peak_mb,
                        r.octets_per_path
                    ),
                }
            }
        }
    }
    Ok(())
}

/// Addresses of the 192.0.2.0/24 for feeds; of the two other documentation networks for sinks.
fn feed_address(i: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, 2 + i)
}

fn sink_address(i: u16) -> Ipv4Addr {
    let host = (2 + i % 250) as u8;
    if i < 250 { Ipv4Addr::new(198, 51, 100, host) } else { Ipv4Addr::new(203, 0, 113, host) }
}

/// bgpd's own address in the neighbour's network.
fn daemon_address(peer: Ipv4Addr) -> Ipv4Addr {
    let [a, b, c, _] = peer.octets();
    Ipv4Addr::new(a, b, c, 1)
}

fn join(address: Ipv4Addr, asn: Asn) -> Result<(TcpStream, Session)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SockAddr::from(SocketAddrV4::new(address, 0))).with_context(|| format!("bind {address}"))?;
    socket.connect(&SockAddr::from(SocketAddrV4::new(daemon_address(address), 179)))?;
    socket.set_tcp_nodelay(true)?;
    let mut stream = TcpStream::from(socket);
    let id = RouterId::from(u32::from(address));
    let session = Session::open(&mut stream, asn, id, HOLD_TIME, &[Family::IPV4_UNICAST])?;
    ensure!(session.theirs.asn == DUT_AS, "somebody else answers");
    Ok((stream, session))
}

fn run(args: &Args, routes: usize, feeds: u8, sinks: u16) -> Result<Row> {
    let table = generate_of(routes, 0, 1);
    let feed_addresses: Vec<Ipv4Addr> = (0..feeds).map(feed_address).collect();
    let sink_addresses: Vec<Ipv4Addr> = (0..sinks).map(sink_address).collect();
    let (daemon, start) = Daemon::start(args, &feed_addresses, &sink_addresses)?;

    let right = Arc::new(Right::new(&table, DUT_AS, FEED_AS));
    let taking = Sinks::start(&right, sink_addresses.iter().map(|a| join(*a, SINK_AS)).collect::<Result<_>>()?)?;
    let mut sessions = Vec::new();
    for address in &feed_addresses {
        let (stream, session) = join(*address, FEED_AS)?;
        let player = Player { first_as: FEED_AS, next_hop4: Some(*address), next_hop6: None };
        let octets = table.announcements(&player, &session.context)?.freeze();
        sessions.push((stream, octets, table.withdrawals(&session.context)?.freeze()));
    }
    drop(table);
    std::thread::sleep(Duration::from_millis(500));
    let (empty, limit) = (daemon.use_of()?, Duration::from_secs(args.timeout));

    let phase = |pick: &dyn Fn(usize) -> bytes::Bytes, wanted: usize| -> Result<Duration> {
        let began = Instant::now();
        std::thread::scope(|scope| {
            for (i, (stream, ..)) in sessions.iter().enumerate() {
                let octets = pick(i);
                scope.spawn(move || std::io::Write::write_all(&mut &*stream, &octets));
            }
            taking.wait(wanted, limit)
        })?;
        Ok(taking.last().saturating_duration_since(began))
    };
    let octets: Vec<_> = sessions.iter().map(|s| (s.1.clone(), s.2.clone())).collect();
    let load = phase(&|i| octets.get(i).map(|o| o.0.clone()).unwrap_or_default(), routes)?;
    let loaded = daemon.use_of()?;
    std::thread::sleep(Duration::from_secs(2));
    taking.check(routes)?;
    let settled = daemon.use_of()?;
    let withdraw = phase(&|i| octets.get(i).map(|o| o.1.clone()).unwrap_or_default(), 0)?;
    let end = daemon.use_of()?;

    let passed = (routes * (usize::from(feeds) + usize::from(sinks))) as f64;
    let paths = (routes * usize::from(feeds)) as f64;
    Ok(Row {
        routes,
        feeds,
        sinks,
        start_ms: start.as_secs_f64() * 1e3,
        load_s: load.as_secs_f64(),
        ns_per_route: load.as_secs_f64() * 1e9 / passed,
        load_cpu_s: loaded.cpu_s - empty.cpu_s,
        withdraw_s: withdraw.as_secs_f64(),
        withdraw_cpu_s: end.cpu_s - settled.cpu_s,
        rss_empty_mb: empty.rss as f64 / 1e6,
        rss_mb: settled.rss as f64 / 1e6,
        rss_peak_mb: end.peak as f64 / 1e6,
        octets_per_path: (settled.rss as f64 - empty.rss as f64) / paths,
    })
}
