//! What bgpd says of its memory, beside what the kernel says of it and what BIRD says it sent.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fmt::Write as _;
use std::time::Duration;

use api::bgpd::bgpd_client::BgpdClient;
use api::bgpd::{GetMemoryRequest, Memory};
use common::{Net, can_run, holds, within};
use daemonbase::grpc;

const ROUTES: u32 = 4096;

fn memory(net: &Net) -> Memory {
    let socket = format!("unix:{}", net.path("run/bgpd-read.sock").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let channel = grpc::connect("bgpd", &socket.parse().unwrap()).await.unwrap();
        BgpdClient::new(channel).get_memory(GetMemoryRequest {}).await.unwrap().into_inner()
    })
}

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn its_accounts_agree_with_the_kernel_and_with_what_was_sent() {
    if !can_run(&["/usr/sbin/bird"]) {
        return;
    }
    let net = Net::new();
    let mut routes = String::new();
    for n in 0..ROUTES {
        writeln!(routes, " route 203.{}.{}.0/24 unreachable;", n >> 8, n & 255).unwrap();
    }
    let _bird = net.bird(&format!(
        "router id 198.51.100.1;\nprotocol device {{ }}\nprotocol static {{ ipv4;\n{routes} }}\n\
         protocol bgp artere {{ local 198.51.100.1 as 64501; neighbor 198.51.100.0 as 64500; connect retry time 1;\n\
          ipv4 {{ import none; export all; }}; }}\n"
    ));
    let bgpd = net.bgpd(
        "[[neighbor]]\nname = \"bird\"\naddress = \"198.51.100.1\"\nremote_as = 64501\nrelation = \"transit\"\n\
         policy = \"accept-all\"\nfamilies = [\"ipv4-unicast\"]\nconnect_retry_time = 1\n",
    );
    within(Duration::from_secs(30), "BIRD's export", || {
        holds(&net.birdc("show protocols all artere"), &[&format!("{ROUTES} exported")])?;
        let paths = memory(&net).paths;
        if paths == u64::from(ROUTES) { Ok(()) } else { Err(format!("{paths} paths")) }
    });
    let says = memory(&net);
    let kernel = resident(bgpd.id());
    assert!(says.resident.abs_diff(kernel) < kernel / 10, "{says:?}, the kernel: {kernel}");
    assert!(says.peak >= says.resident.min(kernel), "{says:?}");
    let tables: u64 = says.parts.iter().map(|p| p.octets).sum();
    // A path of twelve octets and its address are the least there can be; the allocator has handed all of it out.
    assert!(tables > u64::from(ROUTES) * 16, "{says:?}");
    assert!(says.allocated.unwrap() > tables, "{says:?}");
    assert!(says.resident > tables, "{says:?}");
}
