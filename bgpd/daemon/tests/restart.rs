//! A large table stands in the kernel, bgpd is killed and started anew, packets pass: nothing of it may show but the
//! session. Judges: ping through the router, `ip monitor` on the kernel's tables, BIRD's log of what came over the wire.
//!
//! 50,000 routes by default; `ARTERE_RESTART_ROUTES=1000000 cargo test --release -p bgpd --test restart -- --nocapture`
//! prints what a full table takes (`docs/performance.md`). No time is asserted.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use common::{Net, can_run, holds, sh, within};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Of the dev build, with other tests at work.
const LIMIT: Duration = Duration::from_secs(120);
/// What the host behind us sends to: an address of the operator's, in the last of its prefixes.
const FAR: &str = "203.0.113.1";

fn routes() -> u32 {
    std::env::var("ARTERE_RESTART_ROUTES").map_or(50_000, |n| n.parse().unwrap())
}

/// The operator: `count` /28s of 10.0.0.0/8 and the one that packets go to; it forwards to us what it learns.
fn bird(count: u32) -> String {
    let mut text = "
log stderr all; timeformat log iso long us; debug protocols { states, events, packets };
router id 198.51.100.1;
protocol device {}
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol bgp b4 { local 198.51.100.1 as 64501; neighbor 198.51.100.0 as 64500; graceful restart on;
 connect retry time 1; connect delay time 1; error wait time 1,2; ipv4 { import all; export where source = RTS_STATIC; }; }
protocol static s4 { ipv4; route 203.0.113.0/24 blackhole;
"
    .to_owned();
    for i in 0..count {
        let [_, b, c, d] = (i << 4).to_be_bytes();
        writeln!(text, "route 10.{b}.{c}.{d}/28 blackhole;").unwrap();
    }
    text + "}\n"
}

/// Microseconds since midnight (UTC) of a line that begins with a date and a time.
fn at(line: &str) -> u64 {
    let time: String = line.chars().skip(11).take(15).collect();
    let (clock, micros) = time.split_once('.').unwrap();
    let seconds = clock.split(':').fold(0, |sum, part| sum * 60 + part.parse::<u64>().unwrap());
    seconds * 1_000_000 + micros.trim_end_matches('Z').parse::<u64>().unwrap()
}

fn first<'a>(log: &'a str, what: &str) -> &'a str {
    log.lines().find(|l| l.contains(what)).unwrap_or_default()
}

#[test]
fn rfc4724_kill_9_with_a_large_table_loses_no_packet_and_rewrites_no_route() {
    if !can_run(&["/usr/sbin/bird"]) {
        return;
    }
    let (net, count) = (Net::new(), routes());
    let (ours, theirs) = (&net.ours, &net.theirs);
    let guard = Namespace(format!("{ours}-h"));
    let host = &guard.0;
    // The host's subnet is part of our announced prefix; its namespace goes with the test.
    sh(&format!(
        "ip netns add {host}; ip link add eth2 netns {ours} type veth peer name eth0 netns {host}
         ip -n {ours} addr add 192.0.2.1/25 dev eth2; ip -n {ours} link set eth2 up
         ip -n {host} addr add 192.0.2.2/25 dev eth0; ip -n {host} link set eth0 up; ip -n {host} route add default via 192.0.2.1
         ip netns exec {ours} sysctl -qw net.ipv4.ip_forward=1; ip -n {theirs} addr add {FAR}/32 dev lo"
    ));
    let bird = net.bird(&bird(count));
    let mut bgpd = net.bgpd(
        "[announce]\nprefixes = [\"192.0.2.0/24\"]\n\
         [[neighbor]]\nname = \"v4\"\naddress = \"198.51.100.1\"\nremote_as = 64501\nrelation = \"transit\"\n\
         policy = \"accept-all\"\nconnect_retry_time = 1\nfamilies = [\"ipv4-unicast\"]\n\
         max_prefix = { \"ipv4-unicast\" = { limit = 4294967295 } }\n",
    );
    let trie = || sh(&format!("ip netns exec {ours} cat /proc/net/fib_triestat"));
    // BIRD's prefixes, the one that packets go to, and our own.
    let all = count as usize + 2;
    let standing = || match net.ip("route show proto 220").lines().count() {
        n if n == all => Ok(()),
        n => Err(format!("{n} routes of {all}; {}", trie())),
    };
    within(LIMIT, "the table in the kernel", standing);
    within(LIMIT, "our prefix at the operator", || holds(&sh(&format!("ip -n {theirs} route")), &["192.0.2.0/24 via"]));

    // The thread that writes BFD's log steps back a moment after it was made; with one processor nobody stands in.
    let mut foremost = vec!["bfd", "bfd-stand-in", "fib"];
    foremost.retain(|name| *name != "bfd-stand-in" || std::thread::available_parallelism().is_ok_and(|n| n.get() > 1));
    within(LIMIT, "what watches the path and the kernel's table come foremost", || match ahead(bgpd.id()) {
        threads if threads == foremost => Ok(()),
        threads => Err(format!("{threads:?}")),
    });

    let monitor = net.spawn(ours, "monitor.log", &["ip", "monitor", "route", "nexthop"]);
    let ping = net.spawn(host, "ping.log", &["ping", "-n", "-i", "0.002", FAR]);
    std::thread::sleep(Duration::from_secs(1));
    bgpd.kill();
    std::thread::sleep(Duration::from_secs(2));
    let before = bird.log().len();
    let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64 % 86_400_000_000;
    let bgpd = net.start_bgpd(&net.path("bgpd.toml"));
    within(LIMIT, "restart complete", || {
        holds(&bgpd.log(), &["restart complete", "stale kernel routes", "are adopted"])
    });
    // Whatever was held back until now would be written now.
    std::thread::sleep(Duration::from_secs(1));
    standing().unwrap();
    ping.signal("INT");
    within(LIMIT, "the host's count", || holds(&ping.log(), &["packets transmitted"]));

    let (sent, lost) = lost(&ping.log());
    assert_eq!(lost, Vec::<u32>::new(), "of {sent} packets these were lost");
    // The kernel's own: a link-local address that is through with its test for duplicates.
    let log = monitor.log();
    let changes: Vec<&str> = log.lines().filter(|l| !l.contains("proto kernel")).collect();
    assert_eq!(changes, Vec::<&str>::new(), "the restart touched what stood");
    // It would have been seen.
    net.ip("route add blackhole 203.0.113.192/26");
    within(LIMIT, "the monitor", || holds(&monitor.log(), &["203.0.113.192/26"]));
    let adopted = bgpd.log();
    let adopted = first(&adopted, "are adopted");
    holds(adopted, &[&format!("routes={all}")]).unwrap();

    let bird = bird.log();
    let open = first(&bird[before..], "Got OPEN");
    assert_ne!(open, "", "no OPEN came after the restart");
    let log = bgpd.log();
    for (what, line) in [
        ("first OPEN at the operator", open),
        ("all adopted", adopted),
        ("restart complete", first(&log, "restart complete")),
    ] {
        println!("{count} routes: {what} after {} ms", at(line).saturating_sub(start) as f64 / 1e3);
    }
    println!("{count} routes: {} packets lost of {sent}", lost.len());
}

/// Packets that ping sent, and those that did not come back. What was under way when it was told to end is not lost: the last
/// 20 ms.
fn lost(log: &str) -> (u32, Vec<u32>) {
    let sent: u32 = first(log, "packets transmitted").split(' ').next().unwrap().parse().unwrap();
    let seq = |line: &str| line.split("icmp_seq=").nth(1)?.split(' ').next()?.parse().ok();
    let back: BTreeSet<u32> = log.lines().filter(|l| l.contains("bytes from")).filter_map(seq).collect();
    (sent, (1..=sent.saturating_sub(10)).filter(|n| !back.contains(n)).collect())
}

/// The threads that go before the process's first.
fn ahead(pid: u32) -> Vec<String> {
    let read = |task: std::path::PathBuf| {
        let stat = std::fs::read_to_string(task.join("stat")).unwrap();
        let (name, rest) = stat.split_once('(').unwrap().1.rsplit_once(')').unwrap();
        (name.to_owned(), rest.split_whitespace().nth(16).unwrap().parse::<i32>().unwrap())
    };
    let main = read(format!("/proc/{pid}/task/{pid}").into()).1;
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.map(|task| read(task.unwrap().path())).filter(|(_, nice)| *nice < main).map(|(name, _)| name).collect()
}

/// Goes with the test.
struct Namespace(String);

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = std::process::Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}
