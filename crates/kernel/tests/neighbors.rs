//! The neighbour table of the real kernel: an address that stops answering, and answers again once it is asked for.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]

mod support;

use kernel::{NeighborChange, NeighborMonitor};
use nix::sched::{CloneFlags, unshare};
use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};
use support::ip;

/// A namespace with a name, for the far end of a link; gone with the value.
struct Far(String);

impl Drop for Far {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// The last word on an address, waited for; meanwhile it is asked for again and again if `probe` says so.
fn hears(monitor: &mut NeighborMonitor, wanted: NeighborChange, probe: bool) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(20) {
        if probe {
            monitor.probe(&[(wanted.ifindex, wanted.address)]);
        }
        let changes = monitor.next(Duration::from_millis(200)).unwrap();
        if changes.iter().rfind(|c| c.address == wanted.address) == Some(&wanted) {
            return;
        }
    }
    panic!("not announced: {wanted:?}");
}

#[test]
fn an_address_that_does_not_answer_is_told_and_so_is_its_return() {
    let test = || {
        let far = Far(format!("at-neigh-{}", std::process::id()));
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            assert!(std::env::var_os("CI").is_none(), "needs root, and CI must have it");
            eprintln!("skipped: needs root");
            return;
        }
        ip(&format!("netns add {}", far.0));
        ip(&format!("link add one index 11 type veth peer name far netns {}", far.0));
        ip("addr add 192.0.2.1/24 dev one");
        ip("addr add 2001:db8:1::1/64 dev one nodad");
        ip("link set one up");
        ip(&format!("-n {} link set far up", far.0));
        let mut monitor = NeighborMonitor::open().unwrap();
        for (address, long) in [("192.0.2.9", "192.0.2.9/24"), ("2001:db8:1::9", "2001:db8:1::9/64 nodad")] {
            let address: IpAddr = address.parse().unwrap();
            let change = |answers| NeighborChange { ifindex: 11, address, answers };
            hears(&mut monitor, change(false), true);
            ip(&format!("-n {} addr add dev far {long}", far.0));
            hears(&mut monitor, change(true), true);
            // A link that is not there is no error.
            monitor.probe(&[(4711, address)]);
        }
    };
    std::thread::spawn(test).join().unwrap();
}
