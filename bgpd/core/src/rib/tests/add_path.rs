//! Several paths to a destination from one neighbour (RFC 7911).

use super::*;

const NET: &str = "198.51.0.0/16";

/// A neighbour that sends several paths.
fn several(n: u32, relation: Relation) -> PeerInfo {
    let mut info = info(n, &neighbor(n, relation));
    info.session.add_path_receive = vec![V4];
    info
}

fn path(id: u32, path: &[u32]) -> Update {
    let nlri = [Nlri { prefix: p(NET), path_id: id }].into();
    let next_hop = nh(&format!("198.51.100.{}", path[0] - 64500));
    let reach = [Reach { family: V4, next_hop, nlri }].into();
    Update { reach, attributes: attrs(path), ..Update::default() }
}

fn gone(id: u32) -> Update {
    let unreach = [Unreach { family: V4, nlri: [Nlri { prefix: p(NET), path_id: id }].into() }].into();
    Update { unreach, ..Update::default() }
}

/// Paths of neighbour 1, which may send several, and neighbour 2, a customer.
fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.up_with(several(1, Relation::Transit));
    lab.up(2, Relation::Customer);
    lab
}

impl Lab {
    /// The AS path that neighbour 2 was told.
    fn told_path(&self) -> Option<String> {
        self.told[&PeerId(2)].routes.get(&p(NET)).map(|(a, _)| a.as_path.to_string())
    }

    /// Path Identifiers in neighbour 1's Adj-RIB-In.
    fn ids(&self) -> Vec<Option<u32>> {
        let rows = self.list(RouteTable::In(PeerId(1)), &RouteFilter::default(), 10);
        let mut ids: Vec<_> = rows.iter().map(|r| r.path_id).collect();
        ids.sort();
        ids
    }
}

#[test]
fn rfc7911_5_paths_stand_side_by_side_and_a_withdrawal_takes_its_own() {
    let mut lab = lab();
    lab.send(1, path(0, &[64501, 64510]));
    lab.send(1, path(u32::MAX, &[64501, 64510, 64511]));
    assert_eq!((lab.ids(), lab.told_path().unwrap()), (vec![Some(0), Some(u32::MAX)], "64500 64501 64510".to_owned()));
    // RFC 7911 §5: one that was never announced is ignored.
    lab.send(1, gone(7));
    assert_eq!(lab.ids().len(), 2);
    lab.send(1, gone(0));
    assert_eq!((lab.ids(), lab.told_path().unwrap()), (vec![Some(u32::MAX)], "64500 64501 64510 64511".to_owned()));
    // The same identifier again: in the place of the path before it.
    lab.send(1, path(u32::MAX, &[64501]));
    assert_eq!((lab.ids(), lab.told_path().unwrap()), (vec![Some(u32::MAX)], "64500 64501".to_owned()));
    lab.send(1, gone(u32::MAX));
    assert_eq!((lab.ids(), lab.told_path()), (vec![], None));
}

#[test]
fn rfc7911_3_without_add_path_no_identifier_is_shown() {
    let mut lab = lab();
    lab.announce(2, "198.51.99.0/24", &[64502]);
    let filter = RouteFilter::default();
    for table in [RouteTable::In(PeerId(2)), RouteTable::Loc { all_paths: true }] {
        assert_eq!(lab.list(table, &filter, 10).iter().map(|r| r.path_id).collect::<Vec<_>>(), [None]);
    }
}

#[test]
fn rfc7911_5_the_end_of_the_session_takes_every_path() {
    let mut lab = lab();
    for id in 0..5 {
        lab.send(1, path(id, &[64501, 64510 + id]));
    }
    lab.down(1, None);
    assert_eq!((lab.told_path(), lab.rib.summary().families[0].paths), (None, 0));
}

#[test]
fn rfc4724_4_2_retained_paths_go_one_by_one_when_they_are_not_repeated() {
    let mut lab = Lab::new();
    let peer = || with_gr(several(1, Relation::Transit), true, true);
    lab.up_with(peer());
    lab.up(2, Relation::Customer);
    for id in 1..=3 {
        lab.send(1, path(id, &[64501, 64510 + id]));
    }
    lab.send(1, end_of_rib(V4));
    lab.down(1, Some(Retain { families: vec![V4], restart_time: Duration::from_secs(120) }));
    lab.up_with(peer());
    assert_eq!(lab.ids().len(), 3);
    // Identifiers may be others after a restart: 2 is repeated, 9 is new, 1 and 3 are not heard of again.
    lab.send(1, path(2, &[64501, 64512]));
    lab.send(1, path(9, &[64501, 64511]));
    lab.send(1, end_of_rib(V4));
    assert_eq!(lab.ids(), [Some(2), Some(9)]);
    assert_eq!(lab.told[&PeerId(2)].withdrawals, 0);
}

#[test]
fn rfc7313_4_an_enhanced_refresh_purges_the_paths_left_out() {
    let mut lab = lab();
    for id in 1..=3 {
        lab.send(1, path(id, &[64501, 64510 + id]));
    }
    for (subtype, repeated) in [(RouteRefreshSubtype::Begin, &[1, 3][..]), (RouteRefreshSubtype::End, &[])] {
        lab.rib.route_refresh(lab.now, PeerId(1), RouteRefresh { family: V4, subtype });
        for id in repeated {
            lab.send(1, path(*id, &[64501, 64510 + id]));
        }
    }
    lab.pump();
    assert_eq!(lab.ids(), [Some(1), Some(3)]);
}

#[test]
fn rfc4486_4_max_prefix_counts_prefixes_and_bounds_the_paths_to_them() {
    let mut lab = Lab::new();
    let mut peer = several(1, Relation::Transit);
    let mut config = (*peer.config).clone();
    config.max_prefix.insert(V4, crate::config::MaxPrefix { limit: 1, restart: None });
    peer.config = Arc::new(config);
    lab.up_with(peer);
    for id in 1..=16 {
        assert_eq!(lab.send(1, path(id, &[64501, 64510])), None);
    }
    // Once more the same: still sixteen.
    assert_eq!(lab.send(1, path(2, &[64501, 64511])), None);
    let exceeded = Some(MaxPrefixExceeded { family: V4, limit: 1 });
    assert_eq!(lab.send(1, path(17, &[64501])), exceeded);
    // A second prefix is one too many with a single path.
    let mut second = announce(&["198.51.99.0/24"], "198.51.100.1", attrs(&[64501]));
    second.reach[0].nlri[0].path_id = 1;
    assert_eq!(lab.send(1, second), exceeded);
}
