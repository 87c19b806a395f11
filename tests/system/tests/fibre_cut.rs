//! The plays of `labs/fibre-cut`: every failure under counted packets. What each may cost stands beside it, in
//! `labs/fibre-cut/plays/failures.json`; the witness is the ledger, packet by packet, and the kernels' own counters.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a panic is the report")]

use system_tests::{Lab, can_run};

#[test]
fn lab_each_failure_costs_no_more_packets_than_its_play_allows() {
    if !can_run() {
        return;
    }
    let lab = Lab::up("fibre-cut");
    let lines = lab.play("");
    assert!(lines.len() >= 20, "only {} plays: has the file moved?", lines.len());
    let mut failed = Vec::new();
    for l in &lines {
        let n = |key: &str| l[key].as_u64().expect("a number");
        println!(
            "{}: sent {}, once {}, more {}, never {}, expired {}, gap {} ms",
            l["play"],
            n("sent"),
            n("once"),
            n("more"),
            n("never"),
            n("expired"),
            l["longest_gap_ms"]
        );
        assert_eq!(n("sent"), n("once") + n("more") + n("never"), "every packet is accounted for: {}", l["play"]);
        failed.extend(l["failed"].as_array().expect("a list").iter().map(|why| format!("{}: {why}", l["play"])));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
