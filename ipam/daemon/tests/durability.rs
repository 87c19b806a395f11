//! Nothing that was acknowledged is ever lost, and nothing is given twice: the real binary under kill -9, parallel
//! clients, a full disk and a damaged file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is the report"
)]

mod support;

use api::ipam::*;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::*;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_no_acknowledged_change() {
    let place = Place::new();
    // What stands by the daemon's own word: prefix -> owner.
    let acknowledged: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
    let mut revision = 0;
    for round in 0..12u64 {
        let daemon = place.start();
        let mut client = place.client().await;
        let list = client.list(ListRequest::default()).await.unwrap().into_inner();
        assert!(list.revision >= revision, "the revision never goes back");
        let there: BTreeMap<String, String> = list.assignments.into_iter().map(|a| (a.prefix, a.owner)).collect();
        for (prefix, owner) in acknowledged.lock().unwrap().iter() {
            assert_eq!(there.get(prefix), Some(owner), "round {round}: {prefix} was acknowledged");
        }
        let writers: Vec<_> = (0..8)
            .map(|w| {
                let (mut client, acknowledged) = (client.clone(), acknowledged.clone());
                tokio::spawn(async move {
                    for n in 0.. {
                        let owner = format!("owner-{round}-{w}");
                        let Ok(a) = client.allocate(alloc(64, "ipv6", &owner, &format!("{owner}-{n}"))).await else {
                            return;
                        };
                        let prefix = a.into_inner().prefix;
                        let twice = acknowledged.lock().unwrap().insert(prefix.clone(), owner.clone());
                        assert_eq!(twice, None, "{prefix} was given twice");
                        // Some are given back, so that the log is not only growth.
                        if n % 4 == 3 {
                            // From here on it may or may not stand: only an answer settles it.
                            acknowledged.lock().unwrap().remove(&prefix);
                            let request = ReleaseRequest { prefix: prefix.clone(), owner: owner.clone() };
                            if client.release(request).await.is_err() {
                                return;
                            }
                        }
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(40 + 37 * round)).await;
        revision = client.list(ListRequest::default()).await.unwrap().into_inner().revision;
        daemon.kill_9();
        for writer in writers {
            writer.await.unwrap();
        }
    }
    assert!(acknowledged.lock().unwrap().len() > 100, "the writers did write");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_never_get_the_same_prefix_and_a_key_gets_one() {
    let place = Place::new();
    let _daemon = place.start();
    let mut clients = Vec::new();
    for n in 0..64 {
        let mut client = place.client().await;
        clients.push(tokio::spawn(async move {
            let mut got = Vec::new();
            for k in 0..4 {
                let request = alloc(32, "ipv4", "dept-75", &format!("client-{n}-{k}"));
                let first = client.allocate(request.clone()).await.unwrap().into_inner();
                // A client that lost the answer asks again.
                assert_eq!(client.allocate(request).await.unwrap().into_inner(), first);
                got.push(first.prefix);
            }
            got
        }));
    }
    let mut all = BTreeSet::new();
    for client in clients {
        for prefix in client.await.unwrap() {
            assert!(all.insert(prefix.clone()), "{prefix} was given twice");
        }
    }
    assert_eq!(all.len(), 256);
    let list = place.client().await.list(ListRequest::default()).await.unwrap().into_inner();
    assert_eq!(list.assignments.len(), 256);
    assert_eq!(list.revision, 5 + 256, "two sites, three holdings, and each key once");
}

#[tokio::test]
async fn a_full_disk_refuses_changes_goes_on_reading_and_keeps_its_word() {
    let place = Place::new();
    place.start().kill_9();
    let size = std::fs::metadata(place.store()).unwrap().len();
    // A file size limit stands in for the disk's end; the signal that goes with it is ignored, so writes fail.
    let mut limited = Command::new("bash");
    let kib = size / 1024 + 64;
    let script = format!(
        "trap '' XFSZ; ulimit -f {kib}; exec {} --config {}",
        env!("CARGO_BIN_EXE_ipamd"),
        place.config().display()
    );
    limited.args(["-c", &script]).env("ARTERE_LOG", "warn");
    let daemon = place.start_as(limited);
    let mut client = place.client().await;
    let mut kept = Vec::new();
    let refused = loop {
        let request = AddAssignmentRequest {
            prefix: format!("2001:db8:0:{:x}::/64", kept.len()),
            owner: "dept-75".into(),
            description: "x".repeat(4000),
            ..Default::default()
        };
        match client.add_assignment(request).await {
            Ok(a) => kept.push(a.into_inner().prefix),
            Err(e) => break e,
        }
        assert!(kept.len() < 5000, "the limit holds");
    };
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().contains("ipam.redb") && refused.message().contains("disk"), "{refused}");
    let read = |l: ListResponse| l.assignments.into_iter().map(|a| a.prefix).collect::<Vec<_>>();
    let list = client.list(ListRequest::default()).await.expect("reads go on").into_inner();
    assert_eq!(read(list).len(), kept.len());
    daemon.kill_9();
    let _daemon = place.start();
    let mut client = place.client().await;
    assert_eq!(read(client.list(ListRequest::default()).await.unwrap().into_inner()).len(), kept.len());
    client.add_assignment(add("192.0.2.0/28", "dept-75")).await.expect("with room again");
}

#[tokio::test]
async fn a_damaged_store_is_one_clear_line_and_exit_1() {
    let (place, daemon, mut client) = Place::running().await;
    client.add_assignment(add("192.0.2.0/28", "dept-75")).await.unwrap();
    client.add_assignment(add("192.0.2.16/28", "dept-75")).await.unwrap();
    // Closed by nobody: the last commit must not be taken for a torn one.
    daemon.kill_9();
    let good = std::fs::read(place.store()).unwrap();
    let refused = |what: &str| {
        eprintln!("{what}");
        let (code, line) = place.fails();
        assert_eq!(code, 1, "{what}: {line}");
        assert_eq!(line.lines().count(), 1, "{what}: {line}");
        assert!(line.contains("ipam.redb is damaged: ") && line.contains("restore the last backup"), "{what}: {line}");
    };
    // Still JSON, still a prefix: only the checksum can tell.
    flip(&place.store(), b"192.0.2.16/28", b"192.0.2.32/28");
    refused("an event was changed");
    std::fs::write(place.store(), &good[..10_000]).unwrap();
    refused("cut short");
    std::fs::write(place.store(), b"").unwrap();
    refused("empty");
    std::fs::write(place.store(), vec![0x55; good.len()]).unwrap();
    refused("overwritten");
    std::fs::write(place.store(), &good).unwrap();
    let _daemon = place.start();
    assert_eq!(place.client().await.list(ListRequest::default()).await.unwrap().into_inner().assignments.len(), 2);
}
