//! A changed configuration resets a session only where an OPEN or the connection was made from what changed.

use std::sync::Arc;
use std::time::Duration;

use bgp_core::config::{MaxPrefix, NeighborConfig, Relation, Secret};
use bgp_core::peer::{ConnId, Input, Reconfigured, State};
use net_types::{Asn, Family};

use crate::solo::{Solo, codes, connect_of, families, neighbor, open_of, speaker};

type Edit = fn(&mut NeighborConfig);

fn up() -> (Solo, ConnId) {
    let mut solo = Solo::transit();
    let conn = solo.start();
    solo.establish(conn, &open_of(64501, "192.0.2.2", families()));
    solo.sent(conn);
    (solo, conn)
}

fn change(solo: &mut Solo, edit: impl FnOnce(&mut NeighborConfig)) -> Reconfigured {
    let mut config = neighbor(64501, Relation::Transit);
    edit(&mut config);
    solo.peer.reconfigure(solo.now, &speaker(64500, "192.0.2.1"), Arc::new(config))
}

#[test]
fn an_equal_configuration_changes_nothing() {
    let (mut solo, _) = up();
    assert_eq!(change(&mut solo, |_| {}), Reconfigured::Unchanged);
    assert_eq!(solo.outputs(), []);
}

#[test]
fn words_filters_and_limits_are_taken_live() {
    let edits: [Edit; 7] = [
        |c| c.description = "second fibre".to_owned(),
        |c| c.local_pref = Some(50),
        |c| c.prepend = 2,
        |c| c.max_prefix.extend([(Family::IPV4_UNICAST, MaxPrefix { limit: 5, restart: None })]),
        |c| c.passive = true,
        |c| c.connect_retry_time = Duration::from_secs(5),
        |c| c.relation = Relation::Transit,
    ];
    for (i, edit) in edits.into_iter().enumerate() {
        let (mut solo, conn) = up();
        let expected = if i == 6 { Reconfigured::Unchanged } else { Reconfigured::Live };
        assert_eq!(change(&mut solo, edit), expected, "edit {i}");
        assert_eq!((solo.outputs(), solo.sent(conn)), (vec![], vec![]), "edit {i}");
    }
}

#[test]
fn what_the_open_or_the_connection_was_made_from_resets_with_6_6_and_comes_back() {
    let edits: [(&str, Edit); 7] = [
        ("remote_as", |c| c.remote_as = Asn(64502)),
        ("hold_time", |c| c.hold_time = 30),
        ("families", |c| c.families = vec![Family::IPV6_UNICAST]),
        ("md5", |c| c.md5 = Some(Secret("lab".to_owned()))),
        ("role", |c| c.relation = Relation::Peer),
        ("gr_restart_time", |c| c.gr_restart_time = 0),
        ("ttl_security", |c| c.ttl_security = true),
    ];
    for (field, edit) in edits {
        let (mut solo, conn) = up();
        assert_eq!(change(&mut solo, edit), Reconfigured::Reset(field));
        let outputs = solo.outputs();
        assert_eq!(codes(&solo.sent_notification(conn)), (6, 6));
        assert!(connect_of(&outputs).is_some(), "and it comes back at once");
    }
    let (mut solo, _) = up();
    let config = Arc::new(neighbor(64501, Relation::Transit));
    let answer = solo.peer.reconfigure(solo.now, &speaker(64500, "192.0.2.77"), config);
    assert_eq!(answer, Reconfigured::Reset("router_id"));
}

#[test]
fn disabling_stops_and_enabling_starts() {
    let (mut solo, conn) = up();
    assert_eq!(change(&mut solo, |c| c.enabled = false), Reconfigured::Live);
    assert_eq!(codes(&solo.sent_notification(conn)), (6, 2));
    assert_eq!((solo.peer.state(), solo.peer.poll_timeout()), (State::Idle, None));
    solo.outputs();
    assert_eq!(change(&mut solo, |_| {}), Reconfigured::Live);
    assert!(connect_of(&solo.outputs()).is_some());
}

#[test]
fn a_neighbour_stopped_by_hand_stays_down_over_a_reload() {
    let (mut solo, _) = up();
    solo.input(Input::ManualStop { subcode: 2, message: String::new() });
    assert_eq!(change(&mut solo, |c| c.hold_time = 30), Reconfigured::Reset("hold_time"));
    assert_eq!((solo.outputs(), solo.peer.state()), (vec![], State::Idle));
}
