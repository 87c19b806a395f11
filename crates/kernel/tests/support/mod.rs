//! What the tests in namespaces share: `ip` as the witness, names for links and prefixes, patience.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test support: not every file uses all of it, and a panic is the report"
)]

use kernel::{FibConfig, FibSync, Netlink};
use net_types::Prefix;
use serde_json::Value;
use std::process::Command;
use std::time::{Duration, Instant};

pub const CONFIG: FibConfig = FibConfig { rtproto: 220, table: 254, metric: 512, nexthop_id_base: 64_500_000 };

pub fn try_ip(args: &str) -> Result<String, String> {
    let out = Command::new("ip").args(args.split_whitespace()).output().expect("iproute2 is installed");
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    if out.status.success() { Ok(text(&out.stdout)) } else { Err(text(&out.stderr)) }
}

pub fn ip(args: &str) -> String {
    try_ip(args).unwrap_or_else(|e| panic!("ip {args}: {e}"))
}

pub fn json(args: &str) -> Vec<Value> {
    let text = ip(&format!("-j -d {args}"));
    if text.trim().is_empty() { Vec::new() } else { serde_json::from_str(&text).expect("json of ip") }
}

pub fn ifindex(name: &str) -> u32 {
    let path = format!("/proc/thread-self/net/dev_snmp6/{name}");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().find_map(|l| l.strip_prefix("ifIndex")).unwrap().trim().parse().unwrap()
}

pub fn p(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// Flushes to the end; the refusals.
pub fn flush(sync: &mut FibSync<Netlink>) -> Vec<String> {
    let mut refusals = Vec::new();
    for _ in 0..3000 {
        if sync.pending() == 0 {
            return refusals;
        }
        refusals.extend(sync.flush(4096).into_iter().filter_map(|r| r.result.err()));
    }
    panic!("does not settle");
}

pub fn within(limit: Duration, what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
