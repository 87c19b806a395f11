//! Next hops that are lost and return, in namespaces of our own, under traffic. `ip -j` and the packets that arrive are the
//! witnesses.
//!
//! A router with links `one`, `two` and `three`; their other ends stand in a second namespace that takes every packet for
//! 10.0.0.0/8 and 2001:db8:f::/48, by a socket per link, so that each packet is counted where it came in.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "in a test a panic is the report"
)]

mod support;

use kernel::{
    FibCounters, FibSync, InterfaceMonitor, LossReason, MeddlingMonitor, Netlink, NextHop, RouteTarget, WeightedHop,
    links,
};
use net_types::Prefix;
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};
use support::{CONFIG, flush, ifindex, ip, json, p, try_ip, within};

const LINKS: [&str; 3] = ["one", "two", "three"];
const NETS: [&str; 3] = ["192.0.2", "198.51.100", "203.0.113"];

/// What arrived: link, source port, number.
type Arrived = Arc<Mutex<Vec<(usize, u16, u32)>>>;

/// The namespace of the far ends; it ends with its thread, when this is dropped.
struct Far {
    arrived: Arrived,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
    commands: mpsc::Sender<String>,
}

impl Far {
    /// Runs `ip` there.
    fn ip(&self, args: &str) {
        self.commands.send(args.to_owned()).unwrap();
        std::thread::sleep(Duration::from_millis(30));
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

fn in_namespace(test: impl FnOnce(&Far) + Send + 'static) {
    let child = std::thread::spawn(|| {
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            assert!(std::env::var_os("CI").is_none(), "needs root, and CI must have it");
            eprintln!("skipped: needs root");
            return;
        }
        ip("link set lo up");
        std::fs::write("/proc/sys/net/ipv6/conf/all/keep_addr_on_down", "1").unwrap();
        let far = far_side();
        for (i, name) in LINKS.iter().enumerate() {
            ip(&format!("addr add {}.1/24 dev {name}", NETS[i]));
            ip(&format!("addr add 2001:db8:{}::1/64 dev {name} nodad", i + 1));
            ip(&format!("link set {name} up"));
        }
        within(Duration::from_secs(10), "all links are up", || LINKS.iter().all(|l| is_up(l)));
        test(&far);
    });
    if let Err(panic) = child.join() {
        std::panic::resume_unwind(panic);
    }
}

fn far_side() -> Far {
    let (arrived, stop) = (Arrived::default(), Arc::new(AtomicBool::new(false)));
    let (commands, inbox) = mpsc::channel::<String>();
    let (ready, wait) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let (sink, end) = (arrived.clone(), stop.clone());
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ready.send(rustix::thread::gettid().as_raw_nonzero()).unwrap();
        gone.recv().unwrap();
        ip("link set lo up");
        for file in ["all", "default"] {
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{file}/rp_filter"), "0").unwrap();
        }
        std::fs::write("/proc/sys/net/ipv6/conf/all/keep_addr_on_down", "1").unwrap();
        ip("route add local 10.0.0.0/8 dev lo");
        ip("-6 route add local 2001:db8:f::/48 dev lo");
        let mut sockets = Vec::new();
        for (i, name) in LINKS.iter().enumerate() {
            ip(&format!("addr add {}.2/24 dev {name}-far", NETS[i]));
            ip(&format!("addr add 2001:db8:{}::2/64 dev {name}-far nodad", i + 1));
            ip(&format!("link set {name}-far up"));
            let socket = listen(&format!("{name}-far")).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            sockets.push((i, socket));
        }
        ready.send(rustix::thread::gettid().as_raw_nonzero()).unwrap();
        std::thread::scope(|scope| {
            for (i, socket) in &sockets {
                let (sink, end) = (sink.clone(), end.clone());
                scope.spawn(move || {
                    let mut buffer = [0; 64];
                    while !end.load(Ordering::Relaxed) {
                        if let Ok((4, from)) = socket.recv_from(&mut buffer) {
                            let number = u32::from_be_bytes(buffer[..4].try_into().unwrap());
                            sink.lock().unwrap().push((*i, from.port(), number));
                        }
                    }
                });
            }
            while !end.load(Ordering::Relaxed) {
                if let Ok(args) = inbox.recv_timeout(Duration::from_millis(20)) {
                    ip(&args);
                }
            }
        });
    });
    let tid = wait.recv().unwrap();
    for name in LINKS {
        ip(&format!("link add {name} type veth peer name {name}-far"));
        ip(&format!("link set {name}-far netns {tid}"));
    }
    go.send(()).unwrap();
    wait.recv().unwrap();
    Far { arrived, stop, thread: Some(thread), commands }
}

/// [::]:5000 on a link.
fn listen(link: &str) -> std::io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::DGRAM, None)?;
    socket.bind_device(Some(link.as_bytes()))?;
    socket.set_only_v6(false)?;
    socket.set_recv_buffer_size(4 << 20)?;
    socket.bind(&"[::]:5000".parse::<SocketAddr>().unwrap().into())?;
    Ok(socket.into())
}

/// A stream of numbered packets from a source port, until stopped; how many were sent.
struct Stream {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<u32>,
    port: u16,
}

impl Stream {
    /// About 5,000 packets a second. The thread is of this namespace.
    fn start(to: &str) -> Stream {
        let socket = UdpSocket::bind(if to.contains('[') { "[::]:0" } else { "0.0.0.0:0" }).unwrap();
        let (port, to) = (socket.local_addr().unwrap().port(), to.parse::<SocketAddr>().unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let end = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut number = 0u32;
            while !end.load(Ordering::Relaxed) {
                // A route that is missing is a packet that is lost.
                let _ = socket.send_to(&number.to_be_bytes(), to);
                number += 1;
                std::thread::sleep(Duration::from_micros(150));
            }
            number
        });
        Stream { stop, thread, port }
    }

    /// Sent, lost, and the links by which they came, in order.
    fn stop(self, far: &Far) -> (u32, u32, Vec<usize>) {
        self.stop.store(true, Ordering::Relaxed);
        let sent = self.thread.join().unwrap();
        let port = self.port;
        let numbers = || {
            let arrived = far.arrived.lock().unwrap();
            arrived.iter().filter(|(_, p, _)| *p == port).map(|(_, _, n)| *n).collect::<BTreeSet<u32>>()
        };
        // What is on its way arrives.
        let start = Instant::now();
        while numbers().len() < sent as usize && start.elapsed() < Duration::from_millis(500) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut by_number: Vec<(u32, usize)> = Vec::new();
        by_number.extend(far.arrived.lock().unwrap().iter().filter(|(_, p, _)| *p == port).map(|(l, _, n)| (*n, *l)));
        by_number.sort_unstable();
        let mut way: Vec<usize> = by_number.into_iter().map(|(_, link)| link).collect();
        way.dedup();
        (sent, sent - numbers().len() as u32, way)
    }
}

/// Until the neighbour on the way is found.
fn warm_up(far: &Far, address: &str) {
    let stream = Stream::start(address);
    std::thread::sleep(Duration::from_millis(200));
    stream.stop(far);
}

fn is_up(name: &str) -> bool {
    json(&format!("link show dev {name}")).first().is_some_and(|l| l["operstate"] == "UP")
}

/// The neighbour on a link, IPv4 or IPv6.
fn hop(link: usize, v4: bool) -> NextHop {
    let gateway = if v4 { format!("{}.2", NETS[link]) } else { format!("2001:db8:{}::2", link + 1) };
    NextHop { gateway: gateway.parse().ok(), ifindex: ifindex(LINKS[link]), through: None }
}

fn to(active: &[(NextHop, u16)], backup: Option<NextHop>) -> RouteTarget {
    RouteTarget::forward(active.iter().map(|&(hop, weight)| WeightedHop { hop, weight }).collect(), backup)
}

/// Many in 10.0.0.0/8 or 2001:db8:f::/48.
fn prefixes(count: u32, v4: bool) -> Vec<Prefix> {
    let prefix = |i: u32| match v4 {
        true => Prefix::V4(0x0a00_0000 + (i << 5), 27),
        false => Prefix::V6(0x2001_0db8_000f_0000_0000_0000_0000_0000 + (u128::from(i) << 48), 80),
    };
    (0..count).map(prefix).collect()
}

fn open() -> FibSync<Netlink> {
    let mut sync = FibSync::open(Netlink::open(CONFIG).unwrap(), CONFIG).unwrap();
    sync.sweep_stale();
    sync
}

fn set_all(sync: &mut FibSync<Netlink>, prefixes: &[Prefix], target: &RouteTarget) {
    prefixes.iter().for_each(|p| sync.set(*p, Some(target), 1));
}

fn sent(before: FibCounters, sync: &FibSync<Netlink>) -> [u64; 4] {
    let now = sync.counters();
    [
        now.nexthops_put - before.nexthops_put,
        now.nexthops_deleted - before.nexthops_deleted,
        now.routes_put - before.routes_put,
        now.routes_deleted - before.routes_deleted,
    ]
}

/// The gateway that the kernel's own lookup says.
fn goes_by(address: &str) -> String {
    let route = &json(&format!("route get {address}"))[0];
    route["gateway"].as_str().or_else(|| route["via"]["host"].as_str()).unwrap_or("none").to_owned()
}

/// Owners of the buckets of a group, as iproute2 sees them: id to number.
fn buckets(group: u64) -> BTreeMap<u64, usize> {
    let mut owners = BTreeMap::new();
    for entry in json(&format!("nexthop bucket show id {group}")) {
        *owners.entry(entry["bucket"]["nhid"].as_u64().unwrap()).or_default() += 1;
    }
    owners
}

fn object_of(prefix: &str, family: &str) -> u64 {
    json(&format!("{family} route show {prefix} proto 220"))[0]["nhid"].as_u64().unwrap()
}

#[test]
fn losing_a_hop_costs_the_same_few_messages_at_any_size_of_the_table() {
    in_namespace(|_| {
        for (v4, sizes) in [(true, [10_000, 200_000]), (false, [10_000, 200_000])] {
            let (a, b) = (hop(0, v4), hop(1, v4));
            let address = if v4 { "10.0.3.9" } else { "2001:db8:f:0:9::9" };
            let mut costs = Vec::new();
            for size in sizes {
                let mut sync = open();
                let prefixes = prefixes(size, v4);
                set_all(&mut sync, &prefixes, &to(&[(a, 1)], Some(b)));
                assert_eq!(flush(&mut sync), Vec::<String>::new());
                assert_eq!(goes_by(address), a.gateway.unwrap().to_string());
                let before = sync.counters();
                let start = Instant::now();
                sync.hops_lost(&[a], LossReason::BfdDown);
                let took = start.elapsed();
                assert_eq!(goes_by(address), b.gateway.unwrap().to_string());
                let lost = sent(before, &sync);
                // The RIB's next word, for every prefix.
                set_all(&mut sync, &prefixes, &to(&[(b, 1)], None));
                flush(&mut sync);
                assert_eq!(sent(before, &sync), lost, "not one route is written");
                sync.hops_returned(&[a], LossReason::BfdDown);
                set_all(&mut sync, &prefixes, &to(&[(a, 1)], Some(b)));
                flush(&mut sync);
                assert_eq!(goes_by(address), a.gateway.unwrap().to_string());
                costs.push((lost, sent(before, &sync)));
                println!("{size} routes: {lost:?}, {took:?}");
                assert!(sync.full_pass().unwrap().clean());
                prefixes.iter().for_each(|p| sync.set(*p, None, 1));
                flush(&mut sync);
            }
            assert_eq!(costs[0], costs[1]);
            assert_eq!(costs[0], ([0, 1, 0, 0], [2, 1, 0, 0]));
        }
    });
}

#[test]
fn buckets_follow_weights_and_the_backup_owns_none_while_an_active_hop_lives() {
    in_namespace(|_| {
        let hops: Vec<NextHop> = (0..3).map(|i| hop(i, true)).collect();
        let mut sync = open();
        sync.set(p("10.1.0.0/16"), Some(&to(&[(hops[0], 1)], Some(hops[1]))), 1);
        sync.set(p("10.2.0.0/16"), Some(&to(&[(hops[0], 1), (hops[1], 1)], Some(hops[2]))), 1);
        sync.set(p("10.3.0.0/16"), Some(&to(&[(hops[0], 1), (hops[1], 3)], None)), 1);
        sync.set(p("10.4.0.0/16"), Some(&RouteTarget::next_hops(hops.clone())), 1);
        assert_eq!(flush(&mut sync), Vec::<String>::new());
        let counts = |prefix: &str| {
            let mut counts: Vec<usize> = buckets(object_of(prefix, "-4")).into_values().collect();
            counts.sort_unstable();
            counts
        };
        assert_eq!(counts("10.1.0.0/16"), [1]);
        assert_eq!(counts("10.2.0.0/16"), [64, 64]);
        assert_eq!(counts("10.3.0.0/16"), [32, 96]);
        assert_eq!(counts("10.4.0.0/16"), [42, 43, 43]);
        sync.hops_lost(&[hops[0]], LossReason::Drained);
        assert_eq!(counts("10.1.0.0/16"), [1]);
        assert_eq!(counts("10.2.0.0/16"), [128], "the other active one, not the backup");
        assert_eq!(counts("10.3.0.0/16"), [128]);
        sync.hops_lost(&[hops[1]], LossReason::Drained);
        assert_eq!(goes_by("10.2.0.1"), "203.0.113.2");
        assert!(sync.full_pass().unwrap().clean());
    });
}

#[test]
fn a_lost_hop_and_its_return_lose_no_packet_and_a_dead_link_few() {
    in_namespace(|far| {
        let (mut last, mut monitor) = InterfaceMonitor::open().unwrap();
        let mut sync = open();
        for v4 in [true, false] {
            let (a, b) = (hop(0, v4), hop(1, v4));
            let prefixes = prefixes(if v4 { 10_000 } else { 2_000 }, v4);
            set_all(&mut sync, &prefixes, &to(&[(a, 1)], Some(b)));
            flush(&mut sync);
            let address = if v4 { "10.0.3.9:5000" } else { "[2001:db8:f:0:9::9]:5000" };
            // Neighbours are found before anything is counted.
            sync.hops_lost(&[a], LossReason::Drained);
            warm_up(far, address);
            sync.hops_returned(&[a], LossReason::Drained);
            flush(&mut sync);
            warm_up(far, address);
            let stream = Stream::start(address);
            for _ in 0..5 {
                std::thread::sleep(Duration::from_millis(40));
                sync.hops_lost(&[a], LossReason::BfdDown);
                std::thread::sleep(Duration::from_millis(40));
                sync.hops_returned(&[a], LossReason::BfdDown);
                flush(&mut sync);
            }
            std::thread::sleep(Duration::from_millis(40));
            let (sent, lost, way) = stream.stop(far);
            println!("v4={v4} told: {sent} sent, {lost} lost, by {way:?}");
            assert_eq!(lost, 0, "v4={v4}: the way that is lost still works, and so does what follows");
            assert_eq!(way, [0, 1].repeat(6)[..11], "there and back under load");
        }
        let address = "10.0.3.9:5000";
        let a = hop(0, true);
        for (what, cut, mend) in [
            ("admin", "link set one down", "link set one up"),
            ("carrier", "far link set one-far down", "far link set one-far up"),
        ] {
            let mut run = |command: &str, sync: &mut FibSync<Netlink>, up: bool| {
                match command.strip_prefix("far ") {
                    Some(args) => far.ip(args),
                    None => drop(ip(command)),
                }
                within(Duration::from_secs(10), "the link's change", || {
                    let Some(next) = monitor.next(Duration::from_millis(20)).unwrap() else { return false };
                    let (down, risen) = links::went_down_and_up(&last, &next);
                    last = next;
                    if down.contains(&a.ifindex) {
                        sync.links_lost(&down);
                    }
                    if !risen.is_empty() {
                        sync.links_up(&risen);
                    }
                    flush(sync);
                    if up { risen.contains(&a.ifindex) } else { down.contains(&a.ifindex) }
                });
            };
            let stream = Stream::start(address);
            std::thread::sleep(Duration::from_millis(100));
            run(cut, &mut sync, false);
            std::thread::sleep(Duration::from_millis(100));
            let (sent, lost, way) = stream.stop(far);
            println!("{what} down: {sent} sent, {lost} lost, by {way:?}");
            assert_eq!(way, [0, 1], "{what}");
            // A carrier loss may be a second old before the kernel says so.
            assert!(lost < if what == "admin" { 1000 } else { 8000 }, "{what}: {lost}");
            assert_eq!(goes_by("10.0.3.9"), "198.51.100.2");

            let stream = Stream::start(address);
            run(mend, &mut sync, true);
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!(goes_by("10.0.3.9"), "198.51.100.2", "not before it has been up for a while");
            sync.links_returned(&[a.ifindex]);
            flush(&mut sync);
            std::thread::sleep(Duration::from_millis(100));
            let (sent, lost, way) = stream.stop(far);
            println!("{what} back: {sent} sent, {lost} lost, by {way:?}");
            assert_eq!((lost, way), (0, vec![1, 0]), "{what}: the return");
            assert!(sync.full_pass().unwrap().clean());
        }
    });
}

/// By which link each of 400 flows goes: packets from as many source ports.
fn flows(far: &Far, sockets: &[UdpSocket]) -> BTreeMap<u16, usize> {
    far.arrived.lock().unwrap().clear();
    for socket in sockets {
        socket.send_to(&[0; 4], "10.0.3.9:5000").unwrap();
    }
    within(Duration::from_secs(10), "all arrive", || far.arrived.lock().unwrap().len() >= sockets.len());
    far.arrived.lock().unwrap().iter().map(|(link, port, _)| (*port, *link)).collect()
}

#[test]
fn a_lost_member_of_several_moves_its_own_flows_and_no_others() {
    in_namespace(|far| {
        std::fs::write("/proc/sys/net/ipv4/fib_multipath_hash_policy", "1").unwrap();
        let hops: Vec<NextHop> = (0..3).map(|i| hop(i, true)).collect();
        let mut sync = open();
        let all = RouteTarget::next_hops(hops.clone());
        set_all(&mut sync, &prefixes(1000, true), &all);
        flush(&mut sync);
        let sockets: Vec<UdpSocket> = (0..400).map(|_| UdpSocket::bind("0.0.0.0:0").unwrap()).collect();
        (0..3).for_each(|_| drop(flows(far, &sockets)));
        let before = flows(far, &sockets);
        let share = |link| before.values().filter(|l| **l == link).count();
        assert!((0..3).all(|l| share(l) > 60), "{} {} {}", share(0), share(1), share(2));
        sync.hops_lost(&[hops[2]], LossReason::SessionDown);
        let after = flows(far, &sockets);
        assert!(after.values().all(|l| *l != 2));
        let moved = |a: &BTreeMap<u16, usize>, b: &BTreeMap<u16, usize>| a.iter().filter(|(p, l)| b[p] != **l).count();
        let elsewhere = before.iter().filter(|(port, link)| **link != 2 && after[port] != **link).count();
        println!("{} of 400 flows moved, {elsewhere} that need not have", moved(&before, &after));
        assert_eq!((moved(&before, &after), elsewhere), (share(2), 0));
        set_all(&mut sync, &prefixes(1000, true), &RouteTarget::next_hops(hops[..2].to_vec()));
        flush(&mut sync);
        assert_eq!(moved(&after, &flows(far, &sockets)), 0, "the RIB's word moves nothing");
        // It returns: flows go back to it, none between the others, within the timers' bound.
        let routes = sync.counters().routes_put;
        sync.hops_returned(&[hops[2]], LossReason::SessionDown);
        set_all(&mut sync, &prefixes(1000, true), &all);
        flush(&mut sync);
        assert_eq!(sync.counters().routes_put, routes);
        let group = object_of("10.0.3.0/27", "-4");
        within(Duration::from_secs(90), "the shares are right again", || {
            buckets(group).into_values().all(|n| n == 42 || n == 43) && buckets(group).len() == 3
        });
        let back = flows(far, &sockets);
        assert!(after.iter().all(|(port, link)| back[port] == *link || back[port] == 2));
    });
}

#[test]
fn what_others_do_to_our_objects_is_announced_and_put_right() {
    in_namespace(|_| {
        let mut sync = open();
        let (a, b) = (hop(0, true), hop(1, true));
        let target = to(&[(a, 1)], Some(b));
        set_all(&mut sync, &prefixes(1000, true), &target);
        flush(&mut sync);
        let group = object_of("10.0.3.0/27", "-4");
        let members: Vec<u64> = json(&format!("nexthop show id {group}"))[0]["group"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["id"].as_u64().unwrap())
            .collect();
        let mut monitor = MeddlingMonitor::open(&CONFIG, sync.kernel_mut().port()).unwrap();
        let mut announced = |what: &str, sync: &mut FibSync<Netlink>| {
            let meddled = monitor.next(Duration::from_secs(1)).unwrap().expect(what);
            assert!(sync.objects_changed() + sync.routes_removed(&meddled.routes) > 0, "{what}");
            flush(sync);
            while let Some(own) = monitor.next(Duration::from_millis(50)).unwrap() {
                assert_eq!((sync.objects_changed(), own.routes), (0, vec![]), "our own change is none");
            }
            assert_eq!(goes_by("10.0.3.9"), "192.0.2.2", "{what}");
            assert_eq!(json("-4 route show proto 220").len(), 1000, "{what}");
        };
        ip(&format!("nexthop del id {}", members[0]));
        announced("a member", &mut sync);
        ip(&format!("nexthop del id {group}"));
        announced("the group, and its routes", &mut sync);
        let group = object_of("10.0.3.0/27", "-4");
        let member = json(&format!("nexthop show id {group}"))[0]["group"][1]["id"].as_u64().unwrap();
        ip(&format!("nexthop replace id {group} group {member} type resilient buckets 1 idle_timer 0 proto 220"));
        announced("the group's content", &mut sync);
        ip("nexthop flush proto 220");
        announced("everything", &mut sync);
        ip("route del 10.0.3.0/27 proto 220");
        announced("a route", &mut sync);
        assert!(sync.full_pass().unwrap().clean());
    });
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % n
    }
}

#[test]
fn after_five_hundred_random_flaps_under_traffic_the_kernel_holds_what_is_wanted() {
    in_namespace(|far| {
        let (mut last, mut monitor) = InterfaceMonitor::open().unwrap();
        let mut sync = open();
        let mut meddling = MeddlingMonitor::open(&CONFIG, sync.kernel_mut().port()).unwrap();
        let hops: Vec<NextHop> = (0..3).map(|i| hop(i, true)).collect();
        let targets = [
            to(&[(hops[0], 1)], Some(hops[1])),
            to(&[(hops[1], 1)], Some(hops[0])),
            to(&[(hops[0], 1), (hops[1], 1)], Some(hops[2])),
            to(&[(hops[0], 2), (hops[2], 1)], None),
            to(&[(hops[2], 1)], Some(hops[0])),
            to(&[(hops[2], 1)], None),
        ];
        let prefixes = prefixes(3000, true);
        let mut wants: BTreeMap<Prefix, usize> = BTreeMap::new();
        for (i, prefix) in prefixes.iter().enumerate() {
            sync.set(*prefix, Some(&targets[i % 6]), 1);
            wants.insert(*prefix, i % 6);
        }
        flush(&mut sync);
        let streams: Vec<Stream> =
            ["10.0.3.9:5000", "10.0.3.40:5000", "10.0.3.70:5000"].into_iter().map(Stream::start).collect();
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        let mut told = |sync: &mut FibSync<Netlink>, random: &mut Random| {
            if let Some(next) = monitor.next(Duration::from_millis(2)).unwrap() {
                let (down, up) = links::went_down_and_up(&last, &next);
                last = next;
                if !down.is_empty() {
                    sync.links_lost(&down);
                }
                sync.links_up(&up);
                if random.below(2) == 0 {
                    let up: Vec<u32> = last.iter().filter(|(_, l)| l.up).map(|(i, _)| *i).collect();
                    sync.links_returned(&up);
                }
            }
            if let Some(meddled) = meddling.next(Duration::ZERO).unwrap() {
                sync.objects_changed();
                sync.routes_removed(&meddled.routes);
            }
        };
        for _ in 0..500 {
            let n = random.below(3) as usize;
            let reason = [LossReason::BfdDown, LossReason::SessionDown][random.below(2) as usize];
            match random.below(12) {
                0 => drop(ip(&format!("link set {} down", LINKS[n]))),
                1 | 2 => drop(ip(&format!("link set {} up", LINKS[n]))),
                3 => far.commands.send(format!("link set {}-far down", LINKS[n])).unwrap(),
                4 | 5 => far.commands.send(format!("link set {}-far up", LINKS[n])).unwrap(),
                6 => sync.hops_lost(&[hops[n]], reason),
                7 => sync.hops_returned(&[hops[n]], reason),
                8 => {
                    let all = json("nexthop show");
                    let ours: Vec<u64> =
                        all.iter().filter(|o| o["protocol"] == "220").map(|o| o["id"].as_u64().unwrap()).collect();
                    if !ours.is_empty() {
                        let _ = try_ip(&format!("nexthop del id {}", ours[random.below(ours.len() as u64) as usize]));
                    }
                }
                9 => drop(try_ip(&format!("route del {} proto 220", prefixes[random.below(3000) as usize]))),
                _ => {
                    let (from, target) = (random.below(2000) as usize, random.below(6) as usize);
                    for prefix in &prefixes[from..from + 1000] {
                        sync.set(*prefix, Some(&targets[target]), 1);
                        wants.insert(*prefix, target);
                    }
                }
            }
            told(&mut sync, &mut random);
            (0..random.below(4)).for_each(|_| drop(sync.flush(500)));
            if random.below(20) == 0 {
                sync.part();
            }
        }
        // Calm.
        for name in LINKS {
            ip(&format!("link set {name} up"));
            far.ip(&format!("link set {name}-far up"));
        }
        within(Duration::from_secs(15), "all links are up", || LINKS.iter().all(|l| is_up(l)));
        std::thread::sleep(Duration::from_millis(1200));
        told(&mut sync, &mut random);
        for reason in [LossReason::BfdDown, LossReason::SessionDown] {
            sync.hops_returned(&hops, reason);
        }
        sync.links_returned(&hops.iter().map(|h| h.ifindex).collect::<Vec<_>>());
        for _ in 0..5 {
            flush(&mut sync);
            sync.full_pass().unwrap();
            sync.part();
        }
        assert_eq!(flush(&mut sync), Vec::<String>::new());
        for stream in streams {
            let (sent, lost, _) = stream.stop(far);
            println!("{sent} sent, {lost} lost");
        }
        // The dump: every prefix, through its object, to members and their buckets.
        let objects: BTreeMap<u64, Value> =
            json("nexthop show").into_iter().map(|o| (o["id"].as_u64().unwrap(), o)).collect();
        let sends = |id: u64| -> BTreeMap<String, usize> {
            let gateway = |id: u64| objects[&id]["gateway"].as_str().unwrap().to_owned();
            match objects[&id].get("group") {
                None => BTreeMap::from([(gateway(id), 1)]),
                Some(_) => buckets(id).into_iter().map(|(member, n)| (gateway(member), n)).collect(),
            }
        };
        let routes = json("-4 route show proto 220");
        assert_eq!(routes.len(), prefixes.len());
        let mut seen: BTreeMap<(usize, u64), usize> = BTreeMap::new();
        for route in &routes {
            *seen.entry((wants[&p(route["dst"].as_str().unwrap())], route["nhid"].as_u64().unwrap())).or_default() += 1;
        }
        for (target, id) in seen.keys() {
            let target = &targets[*target];
            let owners = sends(*id);
            let active: Vec<String> = target.active().iter().map(|h| h.hop.gateway.unwrap().to_string()).collect();
            assert!(owners.keys().all(|g| active.contains(g)), "{target:?} by {owners:?}");
            let members = objects[id]["group"].as_array().map_or(1, Vec::len);
            assert_eq!(members, target.hops().count(), "{target:?} {}", objects[id]);
        }
        assert!(sync.full_pass().unwrap().clean());
    });
}
