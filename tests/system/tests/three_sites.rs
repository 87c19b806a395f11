//! The network of `labs/three-sites` under announcements, cuts, kills and a power cut. Every assertion is on packets or on the
//! foreign daemons' tables (BIRD in op-a and inet, FRR in op-b, OpenBGPD in rs), not on our own word.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a panic is the report")]

use std::thread::sleep;
use std::time::{Duration, Instant};

use system_tests::{Lab, Stream, can_run, within};

const INET4: &str = "203.0.113.1";
const INET6: &str = "2001:db8:f000::1";
const NOC: &[&str] = &["noc"];

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn noc(lab: &Lab, node: &str, args: &[&str]) -> String {
    lab.run(node, &[NOC, args].concat())
}

/// Sessions (BIRD protocol names) that give op-a this prefix.
fn from_in_bird(lab: &Lab, prefix: &str) -> Vec<String> {
    let (_, text) = lab.exec("op-a", &["birdc", "show", "route", "for", prefix]);
    text.lines()
        .filter_map(|l| Some(l.split('[').nth(1)?.split([' ', ']']).next()?.to_owned()))
        .filter(|_| text.contains(prefix))
        .collect()
}

/// Neighbour addresses that give op-b this prefix.
fn from_in_frr(lab: &Lab, prefix: &str) -> Vec<String> {
    let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
    let (_, text) = lab.exec("op-b", &["vtysh", "-c", &format!("show bgp {family} unicast {prefix} json")]);
    let v: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    if v["prefix"] != *prefix {
        return Vec::new(); // FRR answers with the longest match
    }
    let paths = v["paths"].as_array().cloned().unwrap_or_default();
    paths.iter().filter_map(|p| Some(p["peer"]["peerId"].as_str()?.to_owned())).collect()
}

fn expect_from(lab: &Lab, prefix: &str, bird: &[&str], frr: &[&str]) -> Result<(), String> {
    const OURS_A: &[&str] = &["par_a", "mrs_a", "cha_a", "par_a_v6", "mrs_a_v6", "cha_a_v6"];
    let ours = |v: Vec<String>, all: &dyn Fn(&str) -> bool| {
        let mut v: Vec<_> = v.into_iter().filter(|s| all(s)).collect();
        v.sort();
        v.dedup();
        v
    };
    let (mut b, mut f): (Vec<_>, Vec<_>) = (bird.to_vec(), frr.to_vec());
    b.sort_unstable();
    f.sort_unstable();
    let in_bird = ours(from_in_bird(lab, prefix), &|s| OURS_A.contains(&s));
    // The association's ends of the fibres; not inet, feed or op-a.
    let in_frr = ours(from_in_frr(lab, prefix), &|s| {
        ["203.0.113.135", "203.0.113.137", "203.0.113.139"].contains(&s) || s.starts_with("2001:db8:a100:")
    });
    if in_bird == b && in_frr == f {
        return Ok(());
    }
    Err(format!("{prefix}: BIRD has it from {in_bird:?}, not {b:?}; FRR from {in_frr:?}, not {f:?}"))
}

fn pings(lab: &Lab, node: &str, to: &str) -> Result<(), String> {
    let (code, text) = lab.exec(node, &["ping", "-n", "-c", "1", "-W", "1", to]);
    if code == 0 { Ok(()) } else { Err(format!("{node} -> {to}: {text}")) }
}

fn whole(lab: &Lab) -> Result<(), String> {
    for host in ["par-h", "mrs-h", "cha-h"] {
        pings(lab, host, INET4)?;
        pings(lab, host, INET6)?;
    }
    expect_from(lab, "192.0.2.0/24", &["par_a", "mrs_a", "cha_a"], &["203.0.113.135", "203.0.113.137", "203.0.113.139"])
}

#[test]
fn lab_announced_at_one_site_is_seen_there_and_nowhere_else() {
    if !can_run() {
        return;
    }
    let lab = Lab::up("three-sites");
    for (prefix, bird, frr) in
        [("198.51.100.0/24", "par_a", "203.0.113.135"), ("2001:db8:5::/48", "par_a_v6", "2001:db8:a100:1::2")]
    {
        expect_from(&lab, prefix, &[], &[]).expect("not announced yet");
        noc(&lab, "ipam", &["announce", prefix, "--from", "paris"]);
        let t = within(secs(2), "announced from Paris", || expect_from(&lab, prefix, &[bird], &[frr]));
        println!("{prefix}: in BIRD's and FRR's tables after {t:?}");
        // Nowhere else, also later.
        sleep(secs(2));
        expect_from(&lab, prefix, &[bird], &[frr]).expect("still from Paris only");
        noc(&lab, "ipam", &["withdraw", prefix]);
        within(secs(2), "withdrawn", || expect_from(&lab, prefix, &[], &[]));
    }
    // What we do not hold, and what is too long, is refused with the rule; nothing changes in the operators' tables.
    for prefix in ["203.0.113.0/24", "198.51.100.0/25", "2001:db8:5::/64"] {
        let (code, text) = lab.exec("ipam", &["noc", "announce", prefix, "--from", "paris"]);
        assert_eq!(code, 3, "{prefix}: {text}");
        assert!(text.contains("IPAM-"), "the refusal names its rule: {text}");
    }
}

#[test]
fn lab_a_cut_fibre_costs_less_than_a_second_and_both_leave_by_another_site() {
    if !can_run() {
        return;
    }
    let lab = Lab::up("three-sites");
    let streams = [Stream::start(&lab, "cha-h", INET4, 8), Stream::start(&lab, "cha-h", INET6, 8)];
    sleep(secs(2));
    lab.cut("cha-a:op-a");
    for s in streams {
        let o = s.finish();
        assert!(o.lost <= 100, "one fibre cut: {o:?}");
    }
    let streams = [Stream::start(&lab, "cha-h", INET4, 8), Stream::start(&lab, "cha-h", INET6, 8)];
    sleep(secs(2));
    lab.cut("cha-b:op-b");
    for s in streams {
        let o = s.finish();
        assert!(o.lost <= 100, "second fibre cut: {o:?}");
    }
    // It leaves over the backbone: the operators have no route from Chartres any more, and packets go on.
    expect_from(&lab, "192.0.2.0/24", &["par_a", "mrs_a"], &["203.0.113.135", "203.0.113.137"])
        .expect("Chartres is off both fibres");
    pings(&lab, "cha-h", INET4).expect("over the backbone");
    pings(&lab, "cha-h", INET6).expect("over the backbone");
    let streams = [Stream::start(&lab, "cha-h", INET4, 10), Stream::start(&lab, "cha-h", INET6, 10)];
    sleep(secs(1));
    lab.heal("cha-a:op-a");
    lab.heal("cha-b:op-b");
    for s in streams {
        let o = s.finish();
        assert!(o.lost <= 100, "both fibres spliced: {o:?}");
    }
    within(secs(15), "whole again", || whole(&lab));
}

#[test]
fn lab_killed_bgpd_forwards_on_and_takes_over_without_loss() {
    if !can_run() {
        return;
    }
    let lab = Lab::up("three-sites");
    let routes = |node: &str| -> usize {
        let (_, text) =
            lab.exec(node, &["sh", "-c", "ip route show proto 220 | wc -l; ip -6 route show proto 220 | wc -l"]);
        text.split_whitespace().filter_map(|n| n.parse::<usize>().ok()).sum()
    };
    // Not before the table stands still.
    let mut before = routes("cha-a");
    within(secs(20), "the table of cha-a stands still", || {
        sleep(secs(1));
        let was = std::mem::replace(&mut before, routes("cha-a"));
        if was == before { Ok(()) } else { Err(format!("{was} routes, then {before}")) }
    });
    assert!(before > 10_000, "the kernel of cha-a holds the table: {before}");
    let streams: Vec<_> = [("cha-h", INET4), ("cha-h", INET6), ("inet", "192.0.2.74"), ("inet", "2001:db8:3:1::a")]
        .map(|(from, to)| Stream::start(&lab, from, to, 22))
        .into();
    sleep(secs(1));
    lab.kill("cha-a");
    sleep(secs(5));
    assert_eq!(routes("cha-a"), before, "a killed bgpd leaves its routes in the kernel");
    // The operator keeps the routes as stale ones (RFC 4724 §4.2), so its traffic keeps coming.
    expect_from(
        &lab,
        "192.0.2.0/24",
        &["par_a", "mrs_a", "cha_a"],
        &["203.0.113.135", "203.0.113.137", "203.0.113.139"],
    )
    .expect("op-a keeps Chartres' routes while it restarts");
    lab.start("cha-a");
    for s in streams {
        let o = s.finish();
        assert_eq!(o.lost, 0, "{o:?}");
    }
    within(secs(30), "the restarted router holds the table", || {
        let now = routes("cha-a");
        if now.abs_diff(before) < before / 100 { Ok(()) } else { Err(format!("{now} routes, {before} before")) }
    });
    whole(&lab).expect("whole");
}

#[test]
fn lab_without_ipamd_nothing_is_withdrawn() {
    if !can_run() {
        return;
    }
    let lab = Lab::up("three-sites");
    noc(&lab, "ipam", &["announce", "198.51.100.0/24", "--from", "paris,marseille"]);
    let there = || expect_from(&lab, "198.51.100.0/24", &["par_a", "mrs_a"], &["203.0.113.135", "203.0.113.137"]);
    within(secs(2), "announced", there);
    lab.kill("ipam");
    let until = Instant::now() + secs(8);
    while Instant::now() < until {
        there().expect("ipamd away: nothing is withdrawn");
        whole(&lab).expect("ipamd away: nothing is lost");
        sleep(Duration::from_millis(500));
    }
    // A router that starts while ipamd is away announces its last accepted set from disk.
    lab.kill("par-a");
    lab.start("par-a");
    sleep(secs(3));
    within(secs(25), "announced from disk", there);
    // ipamd comes back with all it had acknowledged, and is followed again.
    lab.start("ipam");
    let list = |lab: &Lab| lab.exec("ipam", &["noc", "announcements", "-o", "json"]);
    within(secs(5), "ipamd is back", || {
        let (code, text) = list(&lab);
        if code == 0 && text.contains("198.51.100.0/24") { Ok(()) } else { Err(text) }
    });
    noc(&lab, "ipam", &["withdraw", "198.51.100.0/24"]);
    within(secs(10), "withdrawn after ipamd's return", || expect_from(&lab, "198.51.100.0/24", &[], &[]));
}

#[test]
fn lab_power_cut_everywhere_heals_by_itself_within_30_seconds() {
    if !can_run() {
        return;
    }
    let lab = Lab::up("three-sites");
    lab.kill("all");
    // A power cut also empties the kernels.
    let ours = ["rr1", "rr2", "par-a", "par-b", "mrs-a", "mrs-b", "cha-a", "cha-b"];
    for node in ours {
        lab.exec(
            node,
            &["sh", "-c", "ip route flush proto 220; ip -6 route flush proto 220; ip nexthop flush proto 220"],
        );
    }
    for node in ["op-a", "op-b", "inet"] {
        lab.exec(node, &["sh", "-c", "ip route flush proto bird; ip route flush proto bgp; ip -6 route flush proto bird; ip -6 route flush proto bgp"]);
    }
    pings(&lab, "cha-h", INET4).expect_err("dark");
    // Power returns, machine by machine, in no order: here the worst one, the controllers last.
    let mut order =
        vec!["op-b", "cha-b", "par-a", "rs", "mrs-b", "feed", "cha-a", "inet", "par-b", "cust", "op-a", "mrs-a"];
    order.extend(["rr2", "rr1", "ipam"]);
    let start = Instant::now();
    for node in order {
        lab.start(node);
    }
    within(secs(30).saturating_sub(start.elapsed()), "whole after a power cut", || whole(&lab));
    println!("whole {:?} after the first machine had power", start.elapsed());
}

#[test]
fn lab_a_leaking_customer_is_held_to_what_it_may_announce() {
    if !can_run() {
        return;
    }
    let lab = Lab::up("three-sites");
    let held = || -> Result<(), String> {
        let (_, text) = lab.exec("op-a", &["birdc", "show", "route", "where", "bgp_path ~ [= * 64504 * =]"]);
        let nets: Vec<_> =
            text.lines().filter(|l| l.contains('/')).filter_map(|l| l.split_whitespace().next()).collect();
        if nets == ["2001:db8:c000::/48"] { Ok(()) } else { Err(format!("from the customer: {nets:?}")) }
    };
    within(secs(10), "the customer's own prefix goes out", held);
    // The customer leaks everything it has: a table of 5,000 IPv6 routes, and our own space.
    lab.kill("cust");
    let _leak = LeakGuard::start(&lab);
    within(secs(20), "the leak reaches mrs-b", || {
        let v: serde_json::Value =
            serde_json::from_str(&noc(&lab, "mrs-b", &["show", "neighbors", "cust-v6", "-o", "json"]))
                .unwrap_or_default();
        let n = received(&v);
        if n >= 5_000 { Ok(()) } else { Err(format!("{n} routes received: {v}")) }
    });
    sleep(secs(2));
    held().expect("held to its prefix");
    let (_, text) = lab.exec("op-b", &["vtysh", "-c", "show bgp ipv6 unicast regexp _64504_ json"]);
    assert!(text.contains("2001:db8:c000::/48"), "{text}");
    let (_, text) = lab.exec("op-b", &["vtysh", "-c", "show bgp ipv4 unicast regexp _64504_ json"]);
    assert!(!text.contains("\"pathFrom\""), "a leaked route in FRR's table: {text}");
    whole(&lab).expect("nobody else noticed");
}

fn received(v: &serde_json::Value) -> u64 {
    match v {
        serde_json::Value::Array(a) => a.iter().map(received).sum(),
        serde_json::Value::Object(o) => {
            o.iter().map(|(k, v)| if k == "received" { v.as_u64().unwrap_or(0) } else { received(v) }).sum()
        }
        _ => 0,
    }
}

/// The customer's program replaced by one that leaks a full table.
struct LeakGuard(std::process::Child);

impl LeakGuard {
    fn start(lab: &Lab) -> LeakGuard {
        let child = lab.spawn(
            "cust",
            &[
                "lab-feeder",
                "--as",
                "64504",
                "--id",
                "203.0.113.141",
                "--prefix",
                "2001:db8:c000::/48",
                "--prefix",
                "2001:db8:1::/48",
                "--generate",
                "20000",
                "--session",
                "peer=2001:db8:a200:1::1,local=2001:db8:a200:1::2",
            ],
        );
        LeakGuard(child)
    }
}

impl Drop for LeakGuard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
