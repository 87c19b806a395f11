//! A full table into the kernel, beside the kernel's own floor, in one run; then a restart over it, and the loss and return of a
//! next hop under it.
//!
//! `cargo bench -p kernel --bench fib -- [IPv4 routes] [IPv6 routes] [rounds]`, as root: it makes namespaces of its own.
//! The floor is what a program can do that knows nothing: one thread a family, ready-made messages with next-hop ids, 256 a
//! `sendmsg`, an acknowledgement a batch. CPU time beside the clock's, as others may be at work.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a bench")]

use kernel::{FibConfig, FibKernel, FibSync, LossReason, MeddlingMonitor, Netlink, NextHop, RouteTarget, WeightedHop};
use net_types::Prefix;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sched::{CloneFlags, unshare};
use std::collections::HashSet;
use std::process::Command;
use std::time::{Duration, Instant};

const CONFIG: FibConfig = FibConfig { rtproto: 220, table: 254, metric: 512, nexthop_id_base: 64_500_000 };
/// As in bgpd.
const FLUSH: usize = 256;
const IDS: [u32; 2] = [101, 102];
/// Share of each length in a thousand, as in the public tables.
const LENGTHS_V4: [(u8, u32); 8] = [(24, 600), (23, 95), (22, 115), (21, 50), (20, 50), (19, 35), (18, 25), (16, 30)];
const LENGTHS_V6: [(u8, u32); 7] = [(48, 480), (32, 130), (44, 120), (40, 120), (36, 70), (29, 50), (46, 30)];

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn length(&mut self, shares: &[(u8, u32)]) -> u8 {
        let mut k = (self.next() >> 20) as u32 % 1000;
        for (length, share) in shares {
            if k < *share {
                return *length;
            }
            k -= share;
        }
        shares[0].0
    }
}

/// Random, so nothing is in order, and the same in every run.
fn prefixes(count: usize, v4: bool) -> Vec<Prefix> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let blocks: Vec<u128> = (0..20_000).map(|_| u128::from(0x2400_0000 | (random.next() >> 38) as u32)).collect();
    let mut seen = HashSet::with_capacity(count);
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        let prefix = if v4 {
            let (length, bits) = (random.length(&LENGTHS_V4), (random.next() >> 16) as u32);
            if !(11..=126).contains(&(bits >> 24)) && !(128..=190).contains(&(bits >> 24)) {
                continue;
            }
            Prefix::new(bits.to_be_bytes().into(), length)
        } else {
            let length = random.length(&LENGTHS_V6);
            let block = blocks[random.next() as usize % blocks.len()];
            Prefix::new(((block << 96) | (u128::from(random.next()) << 32)).to_be_bytes().into(), length)
        }
        .unwrap();
        if seen.insert(prefix) {
            all.push(prefix);
        }
    }
    all
}

fn ip(args: &str) {
    assert!(Command::new("ip").args(args.split_whitespace()).status().unwrap().success(), "ip {args}");
}

/// Seconds by the clock and on the CPU.
#[derive(Clone, Copy)]
struct Took(f64, f64);

fn timed<T>(work: impl FnOnce() -> T) -> (T, Took) {
    let on_cpu = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
    };
    let (start, cpu) = (Instant::now(), on_cpu());
    let result = work();
    (result, Took(start.elapsed().as_secs_f64(), on_cpu() - cpu))
}

/// Ready-made `RTM_NEWROUTE` messages, an acknowledgement with the last of each 256.
fn floor_messages(prefixes: &[Prefix]) -> Vec<Vec<u8>> {
    let batches = prefixes.chunks(256).map(|batch| {
        let mut bytes = Vec::with_capacity(batch.len() * 64);
        for (i, prefix) in batch.iter().enumerate() {
            let (dst, family, id) = match prefix {
                Prefix::V4(bits, _) => (bits.to_be_bytes().to_vec(), libc::AF_INET as u8, IDS[0]),
                Prefix::V6(bits, _) => (bits.to_be_bytes().to_vec(), libc::AF_INET6 as u8, IDS[1]),
            };
            let length = 16 + 12 + 4 + dst.len() as u32 + 8 + 8;
            let ack: u16 = if i + 1 == batch.len() { 4 } else { 0 };
            bytes.extend(length.to_ne_bytes());
            bytes.extend(24u16.to_ne_bytes());
            bytes.extend((0x601u16 | ack).to_ne_bytes());
            bytes.extend([0; 8]);
            bytes.extend([family, prefix.len(), 0, 0, 254, 220, 0, 1, 0, 0, 0, 0]);
            bytes.extend((4 + dst.len() as u16).to_ne_bytes());
            bytes.extend(1u16.to_ne_bytes());
            bytes.extend(dst);
            for (kind, value) in [(6u16, 512u32), (30, id)] {
                bytes.extend(8u16.to_ne_bytes());
                bytes.extend(kind.to_ne_bytes());
                bytes.extend(value.to_ne_bytes());
            }
        }
        bytes
    });
    batches.collect()
}

fn floor(batches: &[Vec<u8>]) {
    let mut socket = Socket::new(NETLINK_ROUTE).unwrap();
    socket.bind_auto().unwrap();
    let mut answer = Vec::with_capacity(64 << 10);
    for batch in batches {
        socket.send_to(batch, &SocketAddr::new(0, 0), 0).unwrap();
        answer.clear();
        socket.recv(&mut answer, 0).unwrap();
        assert_eq!(answer[16..20], [0; 4], "refused: {answer:?}");
    }
}

/// The same as the FIB's thread does it.
fn ours(sync: &mut FibSync<Netlink>, prefixes: &[Prefix]) {
    let targets = ["192.0.2.2", "2001:db8:1::2"].map(|gateway| {
        RouteTarget::next_hops(vec![NextHop { gateway: gateway.parse().ok(), ifindex: ifindex("one"), through: None }])
    });
    let mut done = 0;
    for (i, batch) in prefixes.chunks(FLUSH).enumerate() {
        sync.announce(batch.iter().copied());
        for prefix in batch {
            sync.set(*prefix, Some(&targets[usize::from(!prefix.is_v4())]), i as u64);
        }
        done += sync.flush(FLUSH).into_iter().filter(|r| r.result.is_ok()).count();
    }
    while sync.pending() > 0 {
        done += sync.flush(FLUSH).into_iter().filter(|r| r.result.is_ok()).count();
    }
    assert_eq!(done, prefixes.len());
}

fn ifindex(name: &str) -> u32 {
    let text = std::fs::read_to_string(format!("/proc/thread-self/net/dev_snmp6/{name}")).unwrap();
    text.lines().find_map(|l| l.strip_prefix("ifIndex")).unwrap().trim().parse().unwrap()
}

fn in_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let body = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("needs root");
        ip("link set lo up");
        ip("link add one type veth peer name one-far");
        ip("addr add 192.0.2.1/24 dev one");
        ip("addr add 2001:db8:1::1/64 dev one nodad");
        ip("link set one up");
        ip("link set one-far up");
        ip(&format!("nexthop add id {} via 192.0.2.2 dev one", IDS[0]));
        ip(&format!("nexthop add id {} via 2001:db8:1::2 dev one", IDS[1]));
        std::fs::write("/proc/sys/net/ipv4/nexthop_compat_mode", "0").unwrap();
        work()
    };
    let result = std::thread::scope(|scope| scope.spawn(body).join().expect("a round"));
    // The namespace is taken apart by a worker of the kernel, which would be in the way of the next round.
    std::thread::sleep(Duration::from_secs(2));
    result
}

fn line(what: &str, routes: usize, took: Took, base: Option<Took>) {
    let ratio = base.map_or_else(String::new, |b| format!("{:>8.2}{:>8.2}", took.0 / b.0, took.1 / b.1));
    println!("{what:<34}{:>9.3}{:>9.3}{:>12.0}{ratio}", took.0, took.1, routes as f64 / took.0);
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|a| a.parse().ok()).collect();
    let count = |i: usize, default: usize| numbers.get(i).copied().unwrap_or(default);
    let (v4, v6) = (prefixes(count(0, 1_000_000), true), prefixes(count(1, 200_000), false));
    let batches = [floor_messages(&v4), floor_messages(&v6)];
    println!("{:<34}{:>9}{:>9}{:>12}{:>8}{:>8}", "", "seconds", "CPU", "routes/s", "ratio", "CPU");
    for round in 0..count(2, 3) {
        println!("round {round}");
        let mut floors = Vec::new();
        for (name, routes, batches) in [("floor IPv4", &v4, &batches[0]), ("floor IPv6", &v6, &batches[1])] {
            let ((), took) = in_namespace(|| timed(|| floor(batches)));
            line(name, routes.len(), took, None);
            floors.push(took);
        }
        for (i, (name, routes)) in [("ours IPv4", &v4), ("ours IPv6", &v6)].into_iter().enumerate() {
            in_namespace(|| {
                let mut sync = FibSync::open(Netlink::open(CONFIG).unwrap(), CONFIG).unwrap();
                let ((), took) = timed(|| ours(&mut sync, routes));
                line(name, routes.len(), took, Some(floors[i]));
                println!("{:<34}{:>9.1}", "  octets a route", sync.allocated() as f64 / routes.len() as f64);
            });
        }
        for (i, (name, routes)) in [("ours IPv4, watched", &v4), ("ours IPv6, watched", &v6)].into_iter().enumerate() {
            in_namespace(|| {
                let mut sync = FibSync::open(Netlink::open(CONFIG).unwrap(), CONFIG).unwrap();
                let mut monitor = MeddlingMonitor::open(&CONFIG, sync.kernel_mut().port()).unwrap();
                let ((), took) = timed(|| ours(&mut sync, routes));
                line(name, routes.len(), took, Some(floors[i]));
                let seen = monitor.next(Duration::ZERO).unwrap();
                assert!(seen.is_none_or(|m| m.routes.is_empty()), "our own writes are none of its business");
            });
        }
        for (name, routes) in [("IPv4", &v4), ("IPv6", &v6)] {
            interleaved(name, routes);
        }
        restart(&v4, &v6);
        for (name, routes) in [("IPv4", &v4), ("IPv6", &v6)] {
            failover(name, routes);
        }
    }
}

/// All routes on one protected pair: its hop is lost, the RIB says so for every route, the hop returns, the RIB says so again.
fn failover(name: &str, routes: &[Prefix]) {
    in_namespace(|| {
        ip("link add two type veth peer name two-far");
        ip("addr add 198.51.100.1/24 dev two");
        ip("addr add 2001:db8:2::1/64 dev two nodad");
        ip("link set two up");
        ip("link set two-far up");
        let gateways =
            if routes[0].is_v4() { ["192.0.2.2", "198.51.100.2"] } else { ["2001:db8:1::2", "2001:db8:2::2"] };
        let hop = |i: usize| NextHop {
            gateway: gateways[i].parse().ok(),
            ifindex: ifindex(["one", "two"][i]),
            through: None,
        };
        let pair = RouteTarget::forward(vec![WeightedHop { hop: hop(0), weight: 1 }], Some(hop(1)));
        let other = RouteTarget::next_hops(vec![hop(1)]);
        let mut sync = FibSync::open(Netlink::open(CONFIG).unwrap(), CONFIG).unwrap();
        sync.sweep_stale();
        let say = |sync: &mut FibSync<Netlink>, target: &RouteTarget| {
            for batch in routes.chunks(FLUSH) {
                sync.announce(batch.iter().copied());
                batch.iter().for_each(|p| sync.set(*p, Some(target), 0));
                sync.flush(FLUSH);
            }
            while sync.pending() > 0 {
                sync.flush(FLUSH);
            }
        };
        let ((), took) = timed(|| say(&mut sync, &pair));
        line(&format!("protected {name}: load"), routes.len(), took, None);
        for _ in 0..3 {
            let before = sync.counters();
            let ((), took) = timed(|| sync.hops_lost(&[hop(0)], LossReason::BfdDown));
            println!("{:<34}{:>9.3} ms{:>8.3} ms CPU", "  hop lost", took.0 * 1e3, took.1 * 1e3);
            let ((), took) = timed(|| say(&mut sync, &other));
            line("  the RIB's word", routes.len(), took, None);
            assert_eq!(sync.counters().total() - before.total(), 1, "one message");
            let ((), took) = timed(|| {
                sync.hops_returned(&[hop(0)], LossReason::BfdDown);
                while sync.pending() > 0 {
                    sync.flush(FLUSH);
                }
            });
            println!("{:<34}{:>9.3} ms{:>8.3} ms CPU", "  hop back", took.0 * 1e3, took.1 * 1e3);
            let ((), took) = timed(|| say(&mut sync, &pair));
            line("  the RIB's word, group replaced", routes.len(), took, None);
            assert_eq!(sync.counters().total() - before.total(), 3, "the member, the group");
        }
    });
}

/// Floor and ours by turns into one table, a fortieth at a time: what else goes on in the machine hits both alike.
fn interleaved(name: &str, routes: &[Prefix]) {
    in_namespace(|| {
        let mut sync = FibSync::open(Netlink::open(CONFIG).unwrap(), CONFIG).unwrap();
        let mut sums = [Took(0.0, 0.0); 2];
        for (i, part) in routes.chunks(routes.len().div_ceil(40)).enumerate() {
            let batches = floor_messages(part);
            // Floor, ours, ours, floor: the kernel's table grows in steps, which must not always fall to the same.
            let turn = i.div_ceil(2) % 2;
            let ((), took) = timed(|| if turn == 0 { floor(&batches) } else { ours(&mut sync, part) });
            sums[turn] = Took(sums[turn].0 + took.0, sums[turn].1 + took.1);
        }
        line(&format!("by turns {name}: floor"), routes.len() / 2, sums[0], None);
        line(&format!("by turns {name}: ours"), routes.len() / 2, sums[1], Some(sums[0]));
    });
}

/// Both families stand; a new life adopts them, claims all, and changes nothing.
fn restart(v4: &[Prefix], v6: &[Prefix]) {
    in_namespace(|| {
        let mut sync = FibSync::open(Netlink::open(CONFIG).unwrap(), CONFIG).unwrap();
        ours(&mut sync, v4);
        ours(&mut sync, v6);
        drop(sync);
        let all = v4.len() + v6.len();
        let (sync, took) = timed(|| FibSync::begin(Netlink::open(CONFIG).unwrap(), CONFIG).unwrap());
        let mut sync = sync;
        line("restart: until it is known", all, took, None);
        let ((), took) = timed(|| {
            while sync.adopting() {
                sync.step_pass().unwrap();
            }
        });
        line("restart: adopted", all, took, None);
        println!("{:<34}{:>9.1}", "  octets a route", sync.allocated() as f64 / all as f64);
        let ((), took) = timed(|| {
            ours(&mut sync, v4);
            ours(&mut sync, v6);
        });
        line("restart: claimed", all, took, None);
        assert_eq!(sync.sweep_stale(), 0);
        let mut slowest = Duration::ZERO;
        sync.begin_pass().unwrap();
        let (report, took) = timed(|| {
            loop {
                let start = Instant::now();
                let step = sync.step_pass().unwrap();
                slowest = slowest.max(start.elapsed());
                if let Some(report) = step {
                    break report;
                }
            }
        });
        assert!(report.clean() && report.routes == all, "{report:?}");
        line("full pass", all, took, None);
        println!("{:<34}{:>9.1} ms", "  longest step", slowest.as_secs_f64() * 1e3);
        sync.flush(1024);
        println!("{:<34}{:>9}", "  changes sent to the kernel", sync.kernel_mut().changes());
        assert_eq!(sync.kernel_mut().changes(), 0, "all of it stood");
        assert!(sync.kernel_mut().lookup(v4[0]).is_ok());
    });
}
