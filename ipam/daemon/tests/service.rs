//! The daemon as `noc`, `bgpd` and systemd see it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is the report"
)]

mod support;

use api::ipam::*;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use support::*;
use tonic::Code;

#[tokio::test]
async fn refusals_are_failed_precondition_with_rule_reason_and_cure() {
    let (_place, _daemon, mut client) = Place::running().await;
    client.add_assignment(add("198.51.100.0/25", "dept-13")).await.unwrap();
    let no = client.announce(announce("203.0.113.0/24", &["paris"])).await.unwrap_err();
    assert_eq!(no.code(), Code::FailedPrecondition);
    assert!(
        no.message().starts_with("IPAM-ANNOUNCE-1: 203.0.113.0/24 is not inside what we hold (192.0.2.0/24, "),
        "{no}"
    );
    for (request, rule) in [
        (announce("192.0.2.0/25", &["paris"]), "IPAM-ANNOUNCE-2"),
        (announce("2001:db8::/49", &["paris"]), "IPAM-ANNOUNCE-2"),
        (AnnounceRequest { owner: "dept-75".into(), ..announce("198.51.100.0/24", &["paris"]) }, "IPAM-ANNOUNCE-3"),
        (announce("192.0.2.0/24", &["lyon"]), "IPAM-SITE-1"),
    ] {
        let no = client.announce(request).await.unwrap_err();
        assert_eq!(no.code(), Code::FailedPrecondition);
        assert!(no.message().starts_with(&format!("{rule}: ")) && no.message().contains("; "), "{no}");
    }
    client.announce(announce("192.0.2.0/24", &["paris"])).await.unwrap();
    for bad in ["192.0.2.1/24", "x", ""] {
        assert_eq!(client.announce(announce(bad, &["paris"])).await.unwrap_err().code(), Code::InvalidArgument);
    }
    assert_eq!(client.announce(announce("192.0.2.0/24", &[])).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(client.allocate(alloc(300, "ipv4", "a", "")).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(client.allocate(alloc(28, "", "a", "")).await.unwrap_err().code(), Code::InvalidArgument);
    let full = client.allocate(alloc(20, "ipv4", "a", "")).await.unwrap_err();
    assert!(full.code() == Code::FailedPrecondition && full.message().starts_with("IPAM-ALLOC-1: "), "{full}");
}

#[tokio::test]
async fn what_is_so_already_is_no_error_and_no_revision() {
    let (_place, _daemon, mut client) = Place::running().await;
    let first = client.withdraw(withdraw("192.0.2.0/24", &[])).await.unwrap().into_inner();
    assert_eq!((first.revision, first.message.as_str()), (5, "192.0.2.0/24 was not announced there"));
    let there = client.announce(announce("192.0.2.0/24", &["paris"])).await.unwrap().into_inner();
    assert_eq!((there.revision, there.message.as_str()), (6, "192.0.2.0/24 is announced from paris"));
    let again = client.announce(announce("192.0.2.0/24", &["paris"])).await.unwrap().into_inner();
    assert_eq!((again.revision, again.message.as_str()), (6, "192.0.2.0/24 was announced from paris already"));
    let list = client.list_announcements(ListAnnouncementsRequest { site: "marseille".into() }).await.unwrap();
    assert!(list.into_inner().announcements.is_empty());
}

#[tokio::test]
async fn reading_shows_what_is_inside_and_around_and_what_is_free() {
    let (_place, _daemon, mut client) = Place::running().await;
    client.add_assignment(add("192.0.2.0/25", "dept-75")).await.unwrap();
    client.add_assignment(add("192.0.2.128/26", "dept-13")).await.unwrap();
    let list = client.list(ListRequest { within: "192.0.2.7/32".into() }).await.unwrap().into_inner();
    let prefixes: Vec<_> = list.assignments.iter().map(|a| a.prefix.as_str()).collect();
    assert_eq!(prefixes, ["192.0.2.0/25"], "who has this address");
    assert_eq!(list.holdings.iter().map(|h| h.prefix.as_str()).collect::<Vec<_>>(), ["192.0.2.0/24"]);
    let free = client.free(FreeRequest { within: "192.0.2.0/24".into() }).await.unwrap().into_inner();
    assert_eq!(free.prefixes, ["192.0.2.192/26"]);
}

#[tokio::test]
async fn the_socket_and_the_store_are_the_owners_alone_and_one_daemon_has_them() {
    let place = Place::new();
    let _daemon = place.start();
    for path in [place.socket(), place.store()] {
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
    let (code, line) = place.fails();
    assert_eq!((code, line.lines().count()), (1, 1), "{line}");
    assert!(line.contains("in use by ipamd (pid "), "{line}");
    assert!(place.client().await.list(ListRequest::default()).await.is_ok(), "the first goes on");
}

#[tokio::test]
async fn a_refused_configuration_is_one_line_and_exit_2() {
    let place = Place::new();
    place.configure("", "[ipam]\nholdings = [\"192.0.2.1/24\"]\n");
    let (code, line) = place.fails();
    assert_eq!((code, line.lines().count()), (2, 1), "{line}");
    assert!(line.contains("ipamd.toml:6:12: value: ") && line.contains("192.0.2.0/24"), "{line}");
    assert_eq!(place.command().arg("--check").output().unwrap().status.code(), Some(2));
    place.configure("", IPAM);
    assert_eq!(place.command().arg("--check").output().unwrap().status.code(), Some(0));
    assert!(!place.store().exists(), "a check makes nothing");
    // What contradicts the store is refused with its line too.
    drop(place.start());
    place.configure("", "[ipam]\nholdings = [\"192.0.2.0/25\"]\n");
    let (code, line) = place.fails();
    assert!(code == 2 && line.contains(":6:13: IPAM-HOLD-1: "), "{code} {line}");
}

#[tokio::test]
async fn over_tcp_it_shows_and_changes_only_if_it_is_told_to() {
    let place = Place::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("127.0.0.1:{port}");
    place.configure(&format!("listen = [{endpoint:?}]"), IPAM);
    let daemon = place.start();
    let mut remote = client(&endpoint).await;
    let no = remote.announce(announce("192.0.2.0/24", &["paris"])).await.unwrap_err();
    assert_eq!(no.code(), Code::PermissionDenied);
    let mut stream = remote.watch_announcements(watch("paris", 0, "")).await.unwrap().into_inner();
    assert!(next(&mut stream).await.announce.is_empty());
    place.client().await.announce(announce("192.0.2.0/24", &["paris"])).await.unwrap();
    assert_eq!(next(&mut stream).await.announce, ["192.0.2.0/24"]);
    daemon.kill_9();
    place.configure(&format!("listen = [{endpoint:?}]\nlisten_may_change = true"), IPAM);
    let _daemon = place.start();
    client(&endpoint).await.withdraw(withdraw("192.0.2.0/24", &[])).await.unwrap();
}

#[tokio::test]
async fn sigterm_ends_streams_and_exits_0() {
    let (place, mut daemon, mut client) = Place::running().await;
    let mut stream = client.watch_announcements(watch("paris", 0, "")).await.unwrap().into_inner();
    next(&mut stream).await;
    daemon.terminate();
    let end = tokio::time::timeout(Duration::from_secs(3), stream.message()).await.expect("the stream ends");
    assert!(matches!(end, Ok(None)), "without an error: {end:?}");
    assert_eq!(daemon.ends_within(Duration::from_secs(5)).code(), Some(0));
    assert!(!place.socket().exists());
}
