//! The real kernel, in network namespaces of our own. `ip -j` is the witness, not our own dump.
//!
//! Each test runs in a thread that has left for a new namespace (`unshare`), which ends with the thread; child processes
//! and sockets of the thread live in it. Nothing is named, so nothing can be left behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is the report"
)]

mod support;

use kernel::{FibKernel, FibSync, InterfaceMonitor, KernelError, Netlink, NextHop, RouteTarget, links};
use net_types::Prefix;
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Duration;
use support::{CONFIG, flush, ifindex, ip, json, p, try_ip, within};

/// Runs `test` in a new namespace with two links, `one` (192.0.2.1/24, 2001:db8:1::1/64) and `two` (198.51.100.1/24,
/// 2001:db8:2::1/64), each a veth whose other end is up.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let child = std::thread::spawn(|| {
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            assert!(std::env::var_os("CI").is_none(), "needs root, and CI must have it");
            eprintln!("skipped: needs root");
            return;
        }
        ip("link set lo up");
        for (name, v4, v6) in
            [("one", "192.0.2.1/24", "2001:db8:1::1/64"), ("two", "198.51.100.1/24", "2001:db8:2::1/64")]
        {
            ip(&format!("link add {name} type veth peer name {name}-far"));
            ip(&format!("addr add {v4} dev {name}"));
            ip(&format!("addr add {v6} dev {name} nodad"));
            ip(&format!("link set {name} up"));
            ip(&format!("link set {name}-far up"));
        }
        test();
    });
    if let Err(panic) = child.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Routes with our protocol, as iproute2 sees them: prefix to nexthop id.
fn witnessed() -> BTreeMap<Prefix, u64> {
    let mut routes = BTreeMap::new();
    for family in ["-4", "-6"] {
        for route in json(&format!("{family} route show table main proto 220")) {
            assert_eq!(route["metric"], 512, "{route}");
            routes.insert(prefix_of(&route["dst"], family == "-4"), route["nhid"].as_u64().expect("a nexthop id"));
        }
    }
    routes
}

fn prefix_of(dst: &Value, v4: bool) -> Prefix {
    match dst.as_str().unwrap() {
        "default" if v4 => "0.0.0.0/0".parse().unwrap(),
        "default" => "::/0".parse().unwrap(),
        text if text.contains('/') => text.parse().unwrap(),
        host => Prefix::host(host.parse().unwrap()),
    }
}

/// Our next-hop objects, as iproute2 sees them.
fn witnessed_objects() -> BTreeMap<u64, Value> {
    let ours = json("nexthop show").into_iter().filter(|o| o["protocol"] == "220");
    ours.map(|o| (o["id"].as_u64().unwrap(), o)).collect()
}

fn hop(gateway: &str, link: &str) -> NextHop {
    NextHop { gateway: gateway.parse().ok(), ifindex: ifindex(link), through: None }
}

fn via(hops: &[NextHop]) -> Option<RouteTarget> {
    Some(RouteTarget::next_hops(hops.to_vec()))
}

fn open() -> FibSync<Netlink> {
    FibSync::open(Netlink::open(CONFIG).unwrap(), CONFIG).unwrap()
}

#[test]
fn ten_thousand_routes_stand_and_go_again() {
    in_namespace(|| {
        let mut sync = open();
        let hops = [hop("192.0.2.2", "one"), hop("198.51.100.2", "two")];
        let prefixes: Vec<Prefix> = (0..10_000u32)
            .map(|i| Prefix::new(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + (i << 8))), 24).unwrap())
            .collect();
        for (i, prefix) in prefixes.iter().enumerate() {
            sync.set(*prefix, via(&hops[i % 2..]).as_ref(), i as u64);
        }
        assert_eq!(flush(&mut sync), Vec::<String>::new());
        let seen = witnessed();
        assert_eq!(seen.keys().copied().collect::<Vec<_>>(), prefixes);
        assert_eq!(witnessed_objects().len(), 4, "a single, two members, one group");
        assert!(sync.full_pass().unwrap().clean());
        for prefix in &prefixes {
            sync.set(*prefix, None, 0);
        }
        assert_eq!(flush(&mut sync), Vec::<String>::new());
        assert!(witnessed().is_empty() && witnessed_objects().is_empty());
    });
}

#[test]
fn every_shape_of_target_stands_as_iproute2_reads_it() {
    in_namespace(|| {
        let mut sync = open();
        assert!(sync.warnings().is_empty(), "{:?}", sync.warnings());
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/nexthop_compat_mode").unwrap().trim(), "0");
        let link_local = hop("fe80::2", "one");
        sync.set(p("203.0.113.0/24"), via(&[link_local]).as_ref(), 1);
        sync.set(p("2001:db8:9::/48"), via(&[link_local]).as_ref(), 2);
        sync.set(p("203.0.113.0/25"), via(&[link_local, hop("198.51.100.2", "two")]).as_ref(), 3);
        sync.set(p("10.0.0.0/8"), Some(&RouteTarget::Discard), 4);
        sync.set(p("2001:db8:a::/48"), Some(&RouteTarget::Discard), 5);
        sync.set(p("10.1.0.0/16"), via(&[hop("", "two")]).as_ref(), 6);
        sync.set(p("2001:db8:b::/48"), via(&[hop("", "two")]).as_ref(), 7);
        sync.set(p("0.0.0.0/0"), via(&[hop("192.0.2.2", "one")]).as_ref(), 8);
        sync.set(p("::/0"), via(&[hop("2001:db8:1::2", "one")]).as_ref(), 9);
        assert_eq!(flush(&mut sync), Vec::<String>::new());

        let (routes, objects) = (witnessed(), witnessed_objects());
        assert_eq!(routes.len(), 9, "{routes:?}");
        let object = |prefix: &str| &objects[&routes[&p(prefix)]];
        // RFC 8950: an IPv4 route over an IPv6 next hop, and the IPv6 route shares its object.
        assert_eq!(object("203.0.113.0/24")["gateway"], "fe80::2");
        assert_eq!(routes[&p("203.0.113.0/24")], routes[&p("2001:db8:9::/48")]);
        assert_eq!(object("203.0.113.0/25")["group"].as_array().unwrap().len(), 2);
        assert!(object("10.0.0.0/8").get("blackhole").is_some(), "{}", object("10.0.0.0/8"));
        assert!(object("2001:db8:a::/48").get("blackhole").is_some());
        assert!(object("10.1.0.0/16")["dev"] == "two" && object("10.1.0.0/16").get("gateway").is_none());
        // The kernel's own lookup agrees.
        assert!(ip("route get 203.0.113.200").contains("via inet6 fe80::2 dev one"));
        assert!(try_ip("route get 10.200.0.1").is_err(), "discarded");
        assert!(ip("route get 10.1.2.3").contains("10.1.2.3 dev two"));
        assert!(sync.full_pass().unwrap().clean());
    });
}

#[test]
fn a_restart_adopts_what_stands_and_the_sweep_leaves_foreign_routes() {
    in_namespace(|| {
        let mut first = open();
        let hops = [hop("192.0.2.2", "one"), hop("198.51.100.2", "two")];
        first.set(p("203.0.113.0/24"), via(&hops).as_ref(), 1);
        first.set(p("10.1.0.0/16"), via(&hops[..1]).as_ref(), 2);
        first.set(p("10.2.0.0/16"), via(&hops[..1]).as_ref(), 3);
        first.set(p("2001:db8:9::/48"), via(&[hop("fe80::2", "one")]).as_ref(), 4);
        flush(&mut first);
        drop(first);
        ip("route add 10.3.0.0/16 via 192.0.2.2 proto static metric 512");
        ip("nexthop add id 77 via 192.0.2.2 dev one proto static");
        ip("route add 10.4.0.0/16 nhid 77 proto bird");
        ip("route add 10.5.0.0/16 via 192.0.2.2 proto 220 metric 7");
        ip("route add 10.6.0.0/16 via 192.0.2.2 proto 220 table 100");
        let before = (witnessed_ids(), ip("nexthop show"));

        let mut second = open();
        second.set(p("203.0.113.0/24"), via(&hops).as_ref(), 11);
        second.set(p("10.1.0.0/16"), via(&hops[..1]).as_ref(), 12);
        second.set(p("2001:db8:9::/48"), via(&[hop("fe80::2", "one")]).as_ref(), 13);
        assert_eq!(flush(&mut second), Vec::<String>::new());
        assert_eq!((witnessed_ids(), ip("nexthop show")), before, "adopted without a change");
        // 10.2.0.0/16, and the route at a metric of an earlier configuration.
        assert_eq!(second.sweep_stale(), 2);
        flush(&mut second);
        let now = witnessed_ids();
        assert_eq!(now.len(), 3, "{now:?}");
        for foreign in ["10.3.0.0/16", "10.4.0.0/16"] {
            assert!(ip("route show table main").contains(foreign), "{foreign} is not ours");
        }
        assert!(ip("route show table 100").contains("10.6.0.0/16"), "another table is not ours");
        assert!(ip("nexthop show").contains("id 77 "));
        assert!(second.full_pass().unwrap().clean());
    });
}

/// As [`witnessed`], for any metric and shape.
fn witnessed_ids() -> BTreeMap<String, Value> {
    let all = ["-4", "-6"].into_iter().flat_map(|f| json(&format!("{f} route show table main proto 220")));
    all.map(|r| (r["dst"].as_str().unwrap().to_owned(), r["nhid"].clone())).collect()
}

#[test]
fn what_others_delete_or_occupy_is_found_by_the_full_pass() {
    in_namespace(|| {
        let mut sync = open();
        let a = hop("192.0.2.2", "one");
        for (i, prefix) in ["203.0.113.0/24", "10.1.0.0/16", "10.2.0.0/16", "2001:db8:9::/48"].iter().enumerate() {
            let gateway = if prefix.contains(':') { hop("fe80::2", "two") } else { a };
            sync.set(p(prefix), via(&[gateway]).as_ref(), i as u64);
        }
        sync.sweep_stale();
        flush(&mut sync);
        let wanted = witnessed();
        ip("route del 203.0.113.0/24 proto 220");
        ip(&format!("nexthop del id {}", wanted[&p("2001:db8:9::/48")]));
        ip("route add 10.9.0.0/16 via 192.0.2.2 proto 220 metric 512");
        let report = sync.full_pass().unwrap();
        assert_eq!((report.missing, report.extra, report.nexthops), (2, 1, 1), "{report:?}");
        assert_eq!(witnessed().keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
        // Every object gone at once.
        ip("nexthop flush proto 220");
        assert!(witnessed().is_empty());
        assert!(!sync.full_pass().unwrap().clean());
        assert_eq!(witnessed().keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
        assert!(sync.full_pass().unwrap().clean());

        // Another program takes our place: reported, not overwritten.
        ip("route del 10.1.0.0/16 proto 220");
        ip("route add 10.1.0.0/16 via 192.0.2.3 proto bird metric 512");
        let report = sync.full_pass().unwrap();
        assert_eq!(report.foreign, 1, "{report:?}");
        assert!(ip("route show 10.1.0.0/16").contains("192.0.2.3"), "left alone");
        ip("route del 10.1.0.0/16 proto bird");
        sync.full_pass().unwrap();
        assert!(ip("route show 10.1.0.0/16").contains("proto 220"));
    });
}

#[test]
fn a_link_that_dies_and_returns_by_admin_and_by_carrier() {
    in_namespace(|| {
        let (_, mut monitor) = InterfaceMonitor::open().unwrap();
        let mut sync = open();
        let (a, b) = (hop("192.0.2.2", "one"), hop("198.51.100.2", "two"));
        let before = next_with(&mut monitor, |s| s[&a.ifindex].up && s[&b.ifindex].up);
        sync.set(p("10.1.0.0/16"), via(&[b]).as_ref(), 1);
        sync.set(p("10.2.0.0/16"), via(&[a, b]).as_ref(), 2);
        sync.set(p("2001:db8:9::/48"), via(&[hop("fe80::2", "two")]).as_ref(), 3);
        flush(&mut sync);
        for (cut, mend) in [("link set two down", "link set two up"), ("link set two-far down", "link set two-far up")]
        {
            ip(cut);
            let down = next_with(&mut monitor, |s| !s[&b.ifindex].up);
            // An admin down takes the other end's carrier too.
            assert!(links::went_down_and_up(&before, &down).0.contains(&b.ifindex), "{cut}: {down:?}");
            sync.links_lost(&[b.ifindex]);
            let refusals = flush(&mut sync);
            assert!(refusals.len() == 2 && refusals.iter().all(|e| e.contains("down")), "{cut}: {refusals:?}");
            let routes = witnessed();
            assert_eq!(routes.keys().copied().collect::<Vec<_>>(), [p("10.2.0.0/16")], "{cut}");
            assert_eq!(witnessed_objects()[&routes[&p("10.2.0.0/16")]]["group"].as_array().unwrap().len(), 1, "{cut}");
            ip(mend);
            // An admin down takes the IPv6 addresses along, not the IPv4 ones.
            next_with(&mut monitor, |s| s[&b.ifindex].up);
            sync.links_up(&[b.ifindex]);
            assert_eq!(flush(&mut sync), Vec::<String>::new(), "{mend}");
            assert_eq!(witnessed().len(), 3, "{mend}: what has no other way does not wait");
            sync.links_returned(&[b.ifindex]);
            assert_eq!(flush(&mut sync), Vec::<String>::new(), "{mend}");
            let routes = witnessed();
            assert_eq!(routes.len(), 3, "{mend}");
            assert_eq!(witnessed_objects()[&routes[&p("10.2.0.0/16")]]["group"].as_array().unwrap().len(), 2, "{mend}");
            assert!(sync.full_pass().unwrap().clean());
        }
    });
}

fn next_with(monitor: &mut InterfaceMonitor, mut check: impl FnMut(&links::Snapshot) -> bool) -> links::Snapshot {
    let mut found = monitor.read().unwrap();
    within(Duration::from_secs(5), "the interface's change", || {
        if let Some(snapshot) = monitor.next(Duration::from_millis(100)).unwrap() {
            found = snapshot;
        }
        check(&found)
    });
    found
}

#[test]
fn interfaces_and_addresses_are_told_as_they_change() {
    in_namespace(|| {
        let (snapshot, mut monitor) = InterfaceMonitor::open().unwrap();
        let one = &snapshot[&ifindex("one")];
        assert!(one.name == "one" && one.mtu == 1500);
        assert!(one.addresses.contains(&("192.0.2.1".parse().unwrap(), 24)), "{one:?}");
        assert!(one.addresses.contains(&("2001:db8:1::1".parse().unwrap(), 64)), "{one:?}");
        let index = ifindex("one");
        next_with(&mut monitor, |s| s[&index].up);
        // The link-local address appears when duplicate detection is through, not before.
        let settled =
            next_with(&mut monitor, |s| s[&index].addresses.iter().any(|(a, _)| a.to_string().starts_with("fe80")));
        assert!(settled[&index].up);
        ip("addr add 203.0.113.1/32 dev one");
        next_with(&mut monitor, |s| s[&index].addresses.contains(&("203.0.113.1".parse().unwrap(), 32)));
        ip("addr del 203.0.113.1/32 dev one");
        next_with(&mut monitor, |s| !s[&index].addresses.contains(&("203.0.113.1".parse().unwrap(), 32)));
        ip("link set one mtu 1400");
        next_with(&mut monitor, |s| s[&index].mtu == 1400);
        ip("link del one");
        next_with(&mut monitor, |s| !s.contains_key(&index));
        // More announcements than a socket buffer holds: the last state is what counts.
        burst();
        let index = ifindex("two");
        next_with(&mut monitor, |s| s[&index].mtu == 1300);
    });
}

/// Three thousand changes through one `ip` process.
fn burst() {
    let path = std::env::temp_dir().join(format!("kernel-links-{}", std::process::id()));
    let lines: String = (0..3000).map(|n| format!("link set two mtu {}\n", 1301 + n % 2)).collect();
    std::fs::write(&path, lines + "link set two mtu 1300\n").unwrap();
    ip(&format!("-batch {}", path.display()));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn the_kernels_refusals_are_its_own_words() {
    in_namespace(|| {
        let mut sync = open();
        sync.set(
            p("10.1.0.0/16"),
            via(&[NextHop { gateway: "192.0.2.2".parse().ok(), ifindex: 9999, through: None }]).as_ref(),
            1,
        );
        sync.set(p("10.2.0.0/16"), via(&[hop("203.0.113.7", "one")]).as_ref(), 2);
        sync.set(p("10.3.0.0/16"), via(&[hop("192.0.2.2", "one")]).as_ref(), 3);
        let refusals = flush(&mut sync);
        assert_eq!(refusals.len(), 2, "{refusals:?}");
        assert!(refusals.iter().any(|e| e.contains("the kernel says")), "{refusals:?}");
        assert_eq!(witnessed().len(), 1, "one bad route does not hold up the batch");
    });
}

#[test]
fn the_fake_kernel_has_the_real_ones_manners() {
    use kernel::fib::{InstalledRoute, Member, NexthopKind, NexthopObject, Op, ResilientGroup, fake::FakeKernel};
    use net_types::Afi;
    in_namespace(|| {
        let object = |id, afi, kind| NexthopObject { id, protocol: 220, afi, kind };
        let put = |object: &NexthopObject, replace| Op::PutNexthop { object: object.clone(), replace };
        let single = object(1, Some(Afi::IPV4), NexthopKind::Single(hop("192.0.2.2", "one")));
        let group = object(3, None, NexthopKind::Group(vec![Member { id: 1, weight: 1 }]));
        let second = object(2, Some(Afi::IPV4), NexthopKind::Single(hop("198.51.100.2", "two")));
        let resilient = |id, members: &[(u32, u16)], buckets| {
            let members = members.iter().map(|&(id, weight)| Member { id, weight }).collect();
            let group = ResilientGroup { members, buckets, idle_timer: 100, unbalanced_timer: 6000 };
            object(id, None, NexthopKind::Resilient(group))
        };
        let route = |prefix: &str, nexthop_id, replace| Op::PutRoute { prefix: p(prefix), nexthop_id, replace };
        fn dump(kernel: &mut impl FibKernel) -> Vec<InstalledRoute> {
            let mut routes = Vec::new();
            kernel.begin_routes().unwrap();
            while kernel.next_routes(&mut routes).unwrap() {}
            routes.sort_by_key(|r| r.prefix);
            routes
        }
        let gone = |prefix: &str| Op::DeleteRoute { prefix: p(prefix), metric: 512 };
        let script = [
            put(&single, false),
            put(&single, false),
            put(&single, true),
            put(&object(4, None, NexthopKind::Group(vec![Member { id: 99, weight: 1 }])), false),
            put(&group, false),
            put(&second, false),
            put(&resilient(5, &[(1, 256), (2, 1)], 1), false),
            put(&resilient(5, &[(2, 256), (1, 1)], 1), true),
            put(&resilient(5, &[(2, 256), (1, 1)], 2), true),
            put(&object(5, None, NexthopKind::Group(vec![Member { id: 1, weight: 1 }])), true),
            put(&resilient(3, &[(1, 1)], 1), true),
            put(&resilient(6, &[(1, 1), (2, 3)], 128), false),
            put(&resilient(7, &[(99, 1)], 1), false),
            route("10.5.0.0/16", 5, false),
            route("10.1.0.0/16", 1, false),
            route("10.1.0.0/16", 3, false),
            route("10.1.0.0/16", 3, true),
            route("10.2.0.0/16", 99, false),
            route("2001:db8:9::/48", 1, false),
            route("2001:db8:9::/48", 3, false),
            gone("10.7.0.0/16"),
            gone("2001:db8:7::/48"),
            Op::DeleteNexthop(99),
            Op::DeleteNexthop(1),
        ];
        let errnos =
            |failures: Vec<(usize, KernelError)>| failures.into_iter().map(|(i, e)| (i, e.errno())).collect::<Vec<_>>();
        let mut real = Netlink::open(CONFIG).unwrap();
        let mut fake = FakeKernel::new(CONFIG);
        assert_eq!(errnos(fake.apply(&script)), errnos(real.apply(&script)));
        assert_eq!(fake.dump_nexthops().unwrap(), real.dump_nexthops().unwrap());
        assert_eq!(dump(&mut fake), dump(&mut real));
        assert_eq!(witnessed().into_keys().collect::<Vec<_>>(), [p("10.5.0.0/16")], "the last member took the group");
        for (group, owners) in &fake.buckets {
            let shown = json(&format!("nexthop bucket show id {group}"));
            let real: Vec<u64> = shown.iter().map(|b| b["bucket"]["nhid"].as_u64().unwrap()).collect();
            let count = |id: u64| real.iter().filter(|o| **o == id).count();
            assert!(owners.iter().all(|o| count((*o).into()) == owners.iter().filter(|x| *x == o).count()), "{group}");
        }
    });
}

#[test]
fn without_the_capability_the_start_is_refused_with_the_cure() {
    use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
    in_namespace(|| {
        let none = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }).unwrap();
        let refusal = Netlink::open(CONFIG).expect_err("no capability");
        assert!(matches!(refusal, KernelError::Permission { .. }));
        assert!(refusal.to_string().contains("CAP_NET_ADMIN is missing; run as root"), "{refusal}");
        // Watching needs none.
        assert!(InterfaceMonitor::open().unwrap().0.contains_key(&1));
    });
}

/// `ip monitor`, an independent witness of every change: lines with our protocol since the start.
struct Witness {
    child: std::process::Child,
    path: std::path::PathBuf,
}

impl Witness {
    fn start() -> Witness {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kernel-monitor-{}-{number}", std::process::id()));
        let file = std::fs::File::create(&path).unwrap();
        let child = Command::new("ip").args(["-o", "monitor", "route", "nexthop"]).stdout(file).spawn().unwrap();
        let witness = Witness { child, path };
        witness.reach("10.255.1.0/24");
        witness
    }

    /// Until a route that we make now and again is told of: everything before it is.
    fn reach(&self, marker: &str) {
        within(Duration::from_secs(10), "the monitor", || {
            ip(&format!("route replace {marker} dev lo proto static"));
            ip(&format!("route del {marker} dev lo proto static"));
            std::thread::sleep(Duration::from_millis(20));
            std::fs::read_to_string(&self.path).unwrap().contains(marker)
        });
    }

    fn stop(mut self) -> Vec<String> {
        self.reach("10.255.2.0/24");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let text = std::fs::read_to_string(&self.path).unwrap();
        std::fs::remove_file(&self.path).unwrap();
        text.lines().filter(|l| l.contains("proto 220")).map(str::to_owned).collect()
    }
}

#[test]
fn a_restart_over_twenty_thousand_routes_sends_only_what_differs() {
    in_namespace(|| {
        let (a, b) = (hop("192.0.2.2", "one"), hop("198.51.100.2", "two"));
        let targets = [via(&[a]), via(&[b]), via(&[a, b])];
        let target6 = via(&[hop("fe80::2", "one")]);
        let v4 = |i: u32| Prefix::new(IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + (i << 8))), 24).unwrap();
        let v6 = |i: u128| Prefix::new(IpAddr::from(((0x2001_0db8_u128 << 96) | (i << 64)).to_be_bytes()), 64).unwrap();
        let wants = || {
            let v4 = (0..20_000).map(|i| (v4(i), targets[i as usize % 3].clone()));
            v4.chain((0..2_000).map(|i| (v6(i), target6.clone())))
        };
        let mut first = open();
        wants().for_each(|(prefix, target)| first.set(prefix, target.as_ref(), 1));
        assert_eq!(flush(&mut first), Vec::<String>::new());
        drop(first);
        let before = witnessed();
        assert_eq!(before.len(), 22_000);

        let witness = Witness::start();
        let mut second = FibSync::begin(Netlink::open(CONFIG).unwrap(), CONFIG).unwrap();
        assert!(second.adopting() && !second.is_empty(), "it is known at once that routes stand");
        while second.adopting() {
            second.step_pass().unwrap();
        }
        assert_eq!(second.len(), 22_000);
        let changed: Vec<Prefix> = (0..10).map(|i| v4(i * 3)).collect();
        let unclaimed: Vec<Prefix> = (0..5).map(|i| v4(19_000 + i)).collect();
        for (prefix, target) in wants().filter(|(p, _)| !unclaimed.contains(p) && !changed.contains(p)) {
            second.set(prefix, target.as_ref(), 2);
        }
        let mut confirmed = 0;
        while second.pending() > 0 {
            confirmed += second.flush(4096).iter().filter(|r| r.cookie == 2 && r.result.is_ok()).count();
        }
        assert_eq!((confirmed, second.kernel_mut().changes()), (22_000 - 15, 0), "claimed, and not a message sent");
        for prefix in &changed {
            second.set(*prefix, targets[1].as_ref(), 3);
        }
        flush(&mut second);
        assert_eq!(second.sweep_stale(), 5);
        flush(&mut second);
        assert_eq!(second.kernel_mut().changes(), 10 + 5);

        let lines = witness.stop();
        let told = |prefix: &Prefix| lines.iter().filter(|l| l.contains(&prefix.to_string())).count();
        assert_eq!(lines.len(), 15, "{lines:#?}");
        assert!(changed.iter().chain(&unclaimed).all(|p| told(p) == 1), "{lines:#?}");
        let after = witnessed();
        assert!(unclaimed.iter().all(|p| !after.contains_key(p)));
        assert!(after.iter().all(|(p, id)| before[p] == *id || changed.contains(p)));
        assert!(second.full_pass().unwrap().clean());
    });
}

#[test]
fn refusals_in_the_middle_of_a_batch_are_told_of_the_right_routes() {
    in_namespace(|| {
        let prefixes: Vec<Prefix> = (0..1000u32)
            .map(|i| Prefix::new(IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + (i << 8))), 24).unwrap())
            .collect();
        let taken: Vec<Prefix> = [0, 127, 128, 500, 999].map(|i: usize| prefixes[i]).to_vec();
        for prefix in &taken {
            ip(&format!("route add {prefix} via 192.0.2.3 proto static metric 512"));
        }
        let mut sync = open();
        for (i, prefix) in prefixes.iter().enumerate() {
            sync.set(*prefix, via(&[hop("192.0.2.2", "one")]).as_ref(), i as u64);
        }
        let mut refused: Vec<Prefix> = Vec::new();
        while sync.pending() > 0 {
            for result in sync.flush(4096) {
                assert_eq!(prefixes[result.cookie as usize], result.prefix);
                if let Err(why) = result.result {
                    assert!(why.contains("another program's route"), "{why}");
                    refused.push(result.prefix);
                }
            }
        }
        refused.sort();
        assert_eq!(refused, taken);
        assert_eq!(witnessed().len(), 995);
        assert_eq!(json("-4 route show table main proto static").len(), 5, "left alone");
        for prefix in &taken {
            ip(&format!("route del {prefix} proto static"));
        }
        sync.full_pass().unwrap();
        assert_eq!(flush(&mut sync), Vec::<String>::new());
        assert_eq!(witnessed().len(), 1000);
    });
}

#[test]
fn lost_answers_leave_nothing_undone() {
    in_namespace(|| {
        let prefix = |i: u32| Prefix::new(IpAddr::V4(Ipv4Addr::from(0x0b00_0000 + (i << 8))), 24).unwrap();
        // Every other place is another program's: more refusals than a small buffer holds.
        let path = std::env::temp_dir().join(format!("kernel-lost-{}", std::process::id()));
        let lines: String =
            (0..150).map(|i| format!("route add {} via 192.0.2.3 proto static metric 512\n", prefix(2 * i))).collect();
        std::fs::write(&path, lines).unwrap();
        ip(&format!("-batch {}", path.display()));
        std::fs::remove_file(&path).unwrap();
        let mut sync = open();
        sync.set(p("10.1.0.0/16"), via(&[hop("192.0.2.2", "one")]).as_ref(), 0);
        flush(&mut sync);
        for i in 0..300 {
            sync.set(prefix(i), via(&[hop("192.0.2.2", "one")]).as_ref(), u64::from(i));
        }
        sync.kernel_mut().set_receive_buffer(1);
        let told = sync.flush(4096);
        let well = told.iter().filter(|r| r.result.is_ok()).count();
        assert!(well < 150, "answers were lost: {well}");
        sync.kernel_mut().set_receive_buffer(1 << 20);
        let refusals = flush(&mut sync);
        assert_eq!(refusals.len() + told.len() - well, 150, "{refusals:?}");
        assert_eq!(witnessed().len(), 151);
        assert_eq!(json("-4 route show table main proto static").len(), 150, "left alone");
    });
}

#[test]
fn a_route_of_ours_that_we_did_not_know_of_is_taken_over() {
    in_namespace(|| {
        let mut sync = open();
        let (a, b) = (hop("192.0.2.2", "one"), hop("198.51.100.2", "two"));
        sync.set(p("10.9.0.0/16"), via(&[a]).as_ref(), 1);
        sync.set(p("10.8.0.0/16"), via(&[b]).as_ref(), 1);
        flush(&mut sync);
        let id = witnessed()[&p("10.9.0.0/16")];
        // One that the kernel's lookup shows, one hidden behind a more specific route, IPv4 and IPv6.
        ip(&format!("route add 10.1.0.0/16 nhid {id} proto 220 metric 512"));
        ip(&format!("route add 10.2.0.0/16 nhid {id} proto 220 metric 512"));
        ip("route add 10.2.0.0/24 via 192.0.2.3 proto static");
        ip("-6 route add 2001:db8:77::/48 via fe80::9 dev one proto 220 metric 512");
        let before = sync.kernel_mut().changes();
        sync.set(p("10.1.0.0/16"), via(&[b]).as_ref(), 2);
        assert_eq!(flush(&mut sync), Vec::<String>::new());
        assert_eq!(sync.kernel_mut().changes(), before + 2, "refused once, then replaced");
        sync.set(p("10.2.0.0/16"), via(&[b]).as_ref(), 2);
        sync.set(p("2001:db8:77::/48"), via(&[hop("fe80::2", "one")]).as_ref(), 2);
        assert_eq!(flush(&mut sync), Vec::<String>::new());
        let routes = witnessed();
        assert!(routes[&p("10.1.0.0/16")] == routes[&p("10.8.0.0/16")] && routes.len() == 5, "{routes:?}");
        assert_eq!(routes[&p("10.2.0.0/16")], routes[&p("10.8.0.0/16")]);
        assert!(sync.full_pass().unwrap().clean());
    });
}
