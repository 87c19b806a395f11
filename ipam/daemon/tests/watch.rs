//! A site's announcement set as `bgpd` follows it: resumable, live, and bounded for the slow.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is the report"
)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;
use support::*;
use tonic::Code;

#[tokio::test]
async fn a_watcher_gets_a_snapshot_then_each_change_of_its_site() {
    let (_place, _daemon, mut client) = Place::running().await;
    client.announce(announce("192.0.2.0/24", &["paris"])).await.unwrap();
    let mut paris = client.watch_announcements(watch("paris", 0, "")).await.unwrap().into_inner();
    let first = next(&mut paris).await;
    assert!(first.snapshot && first.announce == ["192.0.2.0/24"] && first.withdraw.is_empty(), "{first:?}");
    assert_eq!((first.revision, first.store_id.len()), (6, 32));
    // Another site's affair is no message here.
    client.announce(announce("198.51.100.0/24", &["marseille"])).await.unwrap();
    client.announce(announce("2001:db8::/48", &["paris", "marseille"])).await.unwrap();
    let second = next(&mut paris).await;
    assert!(!second.snapshot && second.announce == ["2001:db8::/48"] && second.withdraw.is_empty(), "{second:?}");
    client.withdraw(withdraw("192.0.2.0/24", &[])).await.unwrap();
    let third = next(&mut paris).await;
    assert!(!third.snapshot && third.announce.is_empty() && third.withdraw == ["192.0.2.0/24"], "{third:?}");
    let no = client.watch_announcements(watch("lyon", 0, "")).await.unwrap_err();
    assert!(no.code() == Code::FailedPrecondition && no.message().starts_with("IPAM-SITE-1: "), "{no}");
}

#[tokio::test]
async fn a_watcher_resumes_with_the_difference_also_after_kill_9() {
    let (place, daemon, mut client) = Place::running().await;
    client.announce(announce("192.0.2.0/24", &["paris"])).await.unwrap();
    let mut stream = client.watch_announcements(watch("paris", 0, "")).await.unwrap().into_inner();
    let first = next(&mut stream).await;
    drop(stream);
    client.announce(announce("198.51.100.0/24", &["paris"])).await.unwrap();
    client.withdraw(withdraw("192.0.2.0/24", &["paris"])).await.unwrap();
    client.announce(announce("2001:db8::/48", &["paris"])).await.unwrap();
    client.withdraw(withdraw("2001:db8::/48", &["paris"])).await.unwrap();
    daemon.kill_9();
    let _daemon = place.start();
    let mut client = place.client().await;
    let resume = watch("paris", first.revision, &first.store_id);
    let mut stream = client.watch_announcements(resume).await.unwrap().into_inner();
    let missing = next(&mut stream).await;
    assert!(!missing.snapshot, "{missing:?}");
    assert_eq!(missing.announce, ["198.51.100.0/24"]);
    assert_eq!(missing.withdraw, ["192.0.2.0/24", "2001:db8::/48"]);
    // Nothing missing: one empty difference says so.
    let resume = watch("paris", missing.revision, &missing.store_id);
    let mut stream = client.watch_announcements(resume).await.unwrap().into_inner();
    let nothing = next(&mut stream).await;
    assert!(!nothing.snapshot && nothing.announce.is_empty() && nothing.withdraw.is_empty(), "{nothing:?}");
    assert_eq!(nothing.revision, missing.revision);
}

#[tokio::test]
async fn another_store_or_a_revision_ahead_of_ours_is_answered_with_a_snapshot() {
    let (place, daemon, mut client) = Place::running().await;
    client.announce(announce("192.0.2.0/24", &["paris"])).await.unwrap();
    let mut stream = client.watch_announcements(watch("paris", 0, "")).await.unwrap().into_inner();
    let first = next(&mut stream).await;
    // Ahead: the store was restored from an older backup.
    let ahead = watch("paris", first.revision + 1, &first.store_id);
    let mut stream = client.watch_announcements(ahead).await.unwrap().into_inner();
    assert!(next(&mut stream).await.snapshot);
    // Another: the store was made anew.
    daemon.kill_9();
    std::fs::remove_file(place.store()).unwrap();
    let _daemon = place.start();
    let mut client = place.client().await;
    let mut stream =
        client.watch_announcements(watch("paris", first.revision, &first.store_id)).await.unwrap().into_inner();
    let anew = next(&mut stream).await;
    assert!(anew.snapshot && anew.announce.is_empty() && anew.store_id != first.store_id, "{anew:?}");
}

#[tokio::test]
async fn a_slow_watcher_gets_many_changes_as_few_messages_and_ends_up_right() {
    let (place, _daemon, mut client) = Place::running().await;
    let mut slow = place.client().await.watch_announcements(watch("paris", 0, "")).await.unwrap().into_inner();
    let sites = ["paris"];
    for n in 0..5000u32 {
        let prefix = format!("2001:db8:{:x}::/48", n % 16);
        if n / 16 % 2 == 0 {
            client.announce(announce(&prefix, &sites)).await.unwrap();
        } else {
            client.withdraw(withdraw(&prefix, &sites)).await.unwrap();
        }
    }
    client.announce(announce("192.0.2.0/24", &sites)).await.unwrap();
    let list = client.list_announcements(api::ipam::ListAnnouncementsRequest::default()).await.unwrap().into_inner();
    let (mut set, mut messages) = (BTreeSet::new(), 0);
    loop {
        let message = next(&mut slow).await;
        messages += 1;
        if message.snapshot {
            set.clear();
        }
        for prefix in &message.withdraw {
            set.remove(prefix);
        }
        set.extend(message.announce);
        if message.revision >= list.revision {
            break;
        }
    }
    assert!(messages < 5000, "{messages} messages");
    assert_eq!(set, list.announcements.into_iter().map(|a| a.prefix).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_watchers_hear_of_a_change_within_a_second() {
    let (_place, _daemon, mut client) = Place::running().await;
    let mut streams = Vec::new();
    for _ in 0..200 {
        let mut stream = client.watch_announcements(watch("paris", 0, "")).await.unwrap().into_inner();
        next(&mut stream).await;
        streams.push(stream);
    }
    let started = std::time::Instant::now();
    client.announce(announce("192.0.2.0/24", &["paris"])).await.unwrap();
    for stream in &mut streams {
        assert_eq!(next(stream).await.announce, ["192.0.2.0/24"]);
    }
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}
