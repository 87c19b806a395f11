//! Several paths to a destination from one neighbour and to one (RFC 7911).

use super::*;
use crate::config::SendPaths;
use std::num::NonZeroU16;

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

/// A neighbour that is told several paths.
fn told_several(n: u32, relation: Relation, send: SendPaths) -> PeerInfo {
    let add_path = AddPath { receive: false, send };
    let mut info = info(n, &NeighborConfig { add_path, ..neighbor(n, relation) });
    info.session.add_path_send = vec![V4];
    info
}

fn most(n: u16) -> SendPaths {
    SendPaths::Most(NonZeroU16::new(n).unwrap())
}

impl Lab {
    /// What neighbour `n` holds of a prefix: AS paths, by Path Identifier.
    fn paths_of(&self, n: u32, prefix: &str) -> BTreeMap<u32, String> {
        let paths = self.told[&PeerId(n)].paths.iter().filter(|(nlri, _)| nlri.prefix == p(prefix));
        paths.map(|(nlri, (a, _))| (nlri.path_id, a.as_path.to_string())).collect()
    }
}

/// Customers 1, 2 and 3, and 9, which is told several paths.
fn three_and_nine(send: SendPaths) -> Lab {
    let mut lab = Lab::new();
    for n in [1, 2, 3] {
        lab.up(n, Relation::Customer);
    }
    lab.up_with(told_several(9, Relation::Customer, send));
    lab
}

fn by_id<const N: usize>(paths: [(u32, &str); N]) -> BTreeMap<u32, String> {
    paths.into_iter().map(|(id, path)| (id, path.to_owned())).collect()
}

#[test]
fn rfc7911_3_every_path_under_an_identifier_of_its_own_that_stays() {
    let mut lab = three_and_nine(SendPaths::All);
    assert_eq!(lab.told[&PeerId(9)].end_of_rib, [V4, V6].into());
    lab.announce(1, NET, &[64501, 64510]);
    lab.announce(2, NET, &[64502]);
    lab.announce(3, NET, &[64503]);
    let all = by_id([(1, "64500 64501 64510"), (2, "64500 64502"), (3, "64500 64503")]);
    assert_eq!(lab.paths_of(9, NET), all);
    // Whoever is told one path is told the best, and nothing of the others.
    assert_eq!(lab.paths_of(1, NET), by_id([(0, "64500 64502")]));
    // Another best path: the identifiers are not moved about.
    lab.announce(1, NET, &[64501]);
    assert_eq!(lab.paths_of(9, NET), by_id([(1, "64500 64501"), (2, "64500 64502"), (3, "64500 64503")]));
    lab.send(2, withdraw(&[NET]));
    assert_eq!(lab.paths_of(9, NET), by_id([(1, "64500 64501"), (3, "64500 64503")]));
    assert_eq!(lab.told[&PeerId(9)].withdrawals, 1);
    lab.announce(2, NET, &[64502, 64511]);
    assert_eq!(lab.paths_of(9, NET), by_id([(1, "64500 64501"), (2, "64500 64502 64511"), (3, "64500 64503")]));
    for n in [1, 2, 3] {
        lab.down(n, None);
    }
    assert_eq!((lab.paths_of(9, NET), lab.rib.summary().families[0].prefixes), (by_id([]), 0));
    assert_eq!(lab.rib.neighbor_counts(PeerId(9))[0].sent, 0);
}

#[test]
fn rfc7911_5_best_n_holds_the_best_and_the_next_steps_into_the_place_of_one_that_goes() {
    let mut lab = three_and_nine(most(2));
    lab.announce(1, NET, &[64501]);
    lab.announce(2, NET, &[64502, 64510]);
    lab.announce(3, NET, &[64503, 64510, 64511]);
    assert_eq!(lab.paths_of(9, NET), by_id([(1, "64500 64501"), (2, "64500 64502 64510")]));
    lab.send(1, withdraw(&[NET]));
    assert_eq!(lab.paths_of(9, NET), by_id([(1, "64500 64503 64510 64511"), (2, "64500 64502 64510")]));
    // In one step: nothing was withdrawn.
    assert_eq!(lab.told[&PeerId(9)].withdrawals, 0);
    // One that is worse than both is not told.
    lab.announce(1, NET, &[64501, 64501, 64501, 64501]);
    assert_eq!(lab.paths_of(9, NET).len(), 2);
    assert!(!lab.paths_of(9, NET).values().any(|path| path.contains("64501")));
    assert_eq!(lab.rib.neighbor_counts(PeerId(9))[0].sent, 2);
}

#[test]
fn rfc7911_5_paths_of_one_neighbour_go_on_as_several_and_none_goes_back() {
    let mut lab = Lab::new();
    let mut both = told_several(1, Relation::Customer, SendPaths::All);
    both.session.add_path_receive = vec![V4];
    lab.up_with(both);
    lab.up_with(told_several(9, Relation::Customer, SendPaths::All));
    lab.up(2, Relation::Customer);
    lab.send(1, path(70, &[64501, 64510]));
    lab.send(1, path(80, &[64501, 64511]));
    lab.announce(2, NET, &[64502]);
    // RFC 7911 §3: identifiers are ours, not those received.
    let all = by_id([(1, "64500 64501 64510"), (2, "64500 64501 64511"), (3, "64500 64502")]);
    assert_eq!(lab.paths_of(9, NET), all);
    assert_eq!(lab.paths_of(1, NET), by_id([(1, "64500 64502")]));
    lab.send(1, gone(70));
    assert_eq!(lab.paths_of(9, NET), by_id([(2, "64500 64501 64511"), (3, "64500 64502")]));
}

#[test]
fn rfc4456_8_the_paths_that_are_not_best_are_reflected_too() {
    let mut lab = Lab::new();
    for n in [1, 2] {
        lab.up(n, Relation::RrClient);
    }
    lab.up_with(told_several(9, Relation::Internal, SendPaths::All));
    lab.up_with(told_several(10, Relation::RrClient, SendPaths::All));
    for (n, local_pref) in [(1, 200), (2, 100)] {
        let attributes = PathAttributes { local_pref: Some(local_pref), ..attrs(&[64510]) };
        lab.send(n, announce(&[NET], &format!("192.0.2.{n}"), attributes));
    }
    for receiver in [9, 10] {
        let paths: Vec<_> = lab.told[&PeerId(receiver)].paths.values().collect();
        let originators: Vec<_> = paths.iter().map(|(a, _)| a.originator_id.unwrap().to_string()).collect();
        assert_eq!(originators, ["192.0.2.1", "192.0.2.2"]);
        assert!(paths.iter().all(|(a, _)| a.cluster_list.len() == 1));
        assert_eq!(paths.iter().map(|(_, next_hop)| *next_hop).collect::<Vec<_>>(), [nh("192.0.2.1"), nh("192.0.2.2")]);
    }
}

#[test]
fn rfc7911_4_only_the_family_that_was_agreed_on() {
    let mut lab = three_and_nine(SendPaths::All);
    let v6 = "2001:db8:7700::/40";
    for n in [1, 2] {
        lab.send(n, announce(&[v6], &format!("2001:db8:1::{n}"), attrs(&[64500 + n])));
    }
    assert_eq!(lab.paths_of(9, v6), by_id([(0, "64500 64501")]));
    lab.send(1, withdraw(&[v6]));
    assert_eq!(lab.paths_of(9, v6), by_id([(0, "64500 64502")]));
}

#[test]
fn rfc7313_4_a_refresh_repeats_every_path_between_its_markers() {
    use RouteRefreshSubtype::{Begin, End, Request};
    let mut lab = three_and_nine(SendPaths::All);
    lab.announce(1, NET, &[64501]);
    lab.announce(2, NET, &[64502]);
    let held = std::mem::take(&mut lab.told.get_mut(&PeerId(9)).unwrap().paths);
    lab.rib.route_refresh(lab.now, PeerId(9), RouteRefresh { family: V4, subtype: Request });
    lab.pump();
    assert_eq!((&lab.told[&PeerId(9)].paths, &lab.told[&PeerId(9)].refresh), (&held, &vec![Begin, End]));
}

#[test]
fn a_changed_policy_tells_what_comes_out_differently_and_withdraws_nothing_in_between() {
    let mut lab = three_and_nine(SendPaths::All);
    lab.announce(1, NET, &[64501]);
    lab.announce(2, NET, &[64502]);
    let of = |lab: &Lab| (*lab.infos[&PeerId(9)].config).clone();
    let heard = |lab: &mut Lab| std::mem::take(&mut lab.told.get_mut(&PeerId(9)).unwrap().paths).len();
    heard(&mut lab);
    lab.rib.peer_reconfigured(lab.now, PeerId(9), Arc::new(NeighborConfig { description: "x".into(), ..of(&lab) }));
    lab.pump();
    assert_eq!(heard(&mut lab), 0);
    lab.rib.peer_reconfigured(lab.now, PeerId(9), Arc::new(NeighborConfig { prepend: 1, ..of(&lab) }));
    lab.pump();
    assert_eq!(lab.paths_of(9, NET), by_id([(1, "64500 64500 64501"), (2, "64500 64500 64502")]));
    heard(&mut lab);
    // Ours changes, and nothing comes out differently.
    lab.rib.set_speaker(lab.now, SpeakerConfig { cluster_id: Some("192.0.2.99".parse().unwrap()), ..speaker() });
    lab.pump();
    assert_eq!((heard(&mut lab), lab.told[&PeerId(9)].withdrawals), (0, 0));
}

#[test]
fn adj_rib_out_shows_each_path_with_our_identifier() {
    let mut lab = three_and_nine(SendPaths::All);
    lab.announce(1, NET, &[64501, 64510]);
    lab.announce(2, NET, &[64502]);
    let rows = lab.list(RouteTable::Out(PeerId(9)), &RouteFilter::default(), 10);
    let shown: Vec<_> = rows.iter().map(|r| (r.path_id, r.attributes.as_path.to_string(), r.best)).collect();
    let wanted = [(Some(2), "64500 64502", true), (Some(1), "64500 64501 64510", false)];
    assert_eq!(shown, wanted.map(|(id, path, best)| (id, path.to_owned(), best)));
}

#[test]
fn with_wait_for_fib_nothing_is_told_before_the_kernel_has_the_best_path() {
    let mut lab = Lab::with(SpeakerConfig { wait_for_fib: true, ..speaker() }, false);
    lab.up(1, Relation::Customer);
    lab.up_with(told_several(9, Relation::Customer, SendPaths::All));
    lab.answering = false;
    lab.announce(1, NET, &[64501]);
    assert_eq!(lab.paths_of(9, NET), by_id([]));
    lab.answer_all();
    assert_eq!(lab.paths_of(9, NET), by_id([(1, "64500 64501")]));
}

#[test]
fn whatever_comes_and_goes_the_neighbour_holds_the_paths_there_are() {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |n: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % n
    };
    let nets = ["198.51.0.0/16", "198.51.99.0/24", "192.0.2.0/24"];
    let mut lab = Lab::new();
    let source = |n: u32| several(n, Relation::Customer);
    (1..=4).for_each(|n| lab.up_with(source(n)));
    lab.up_with(told_several(8, Relation::Customer, SendPaths::All));
    lab.up_with(told_several(9, Relation::Customer, most(2)));
    for step in 0..3000 {
        let (n, net, id) = (1 + below(4) as u32, p(nets[below(3) as usize]), below(3) as u32);
        let nlri = [Nlri { prefix: net, path_id: id }];
        match below(20) {
            0 => {
                lab.down(n, None);
                lab.up_with(source(n));
            }
            1 => {
                // A next hop that nobody has leads nowhere: kept, and told to nobody.
                let reach = [Reach { family: V4, next_hop: nh("203.0.113.9"), nlri: nlri.into() }].into();
                lab.send(n, Update { reach, attributes: attrs(&[64500 + n]), ..Update::default() });
            }
            2..=7 => {
                let unreach = [Unreach { family: V4, nlri: nlri.into() }].into();
                lab.send(n, Update { unreach, ..Update::default() });
            }
            _ => {
                let path: Vec<u32> =
                    std::iter::once(64500 + n).chain((0..below(3)).map(|k| 64510 + k as u32)).collect();
                let next_hop = nh(&format!("198.51.100.{n}"));
                let reach = [Reach { family: V4, next_hop, nlri: nlri.into() }].into();
                lab.send(n, Update { reach, attributes: attrs(&path), ..Update::default() });
            }
        }
        for net in nets {
            let filter = RouteFilter { prefix: Some(p(net)), ..RouteFilter::default() };
            let rows = lab.list(RouteTable::Loc { all_paths: true }, &filter, 10);
            let usable = rows.iter().filter(|r| r.reason.is_empty());
            let mut there: Vec<String> = usable.map(|r| format!("64500 {}", r.attributes.as_path)).collect();
            let (all, two) = (lab.paths_of(8, net), lab.paths_of(9, net));
            assert!(!all.contains_key(&0) && !two.contains_key(&0));
            let best = there.first().cloned();
            assert_eq!(two.len(), there.len().min(2), "step {step}, {net}: {there:?}");
            assert!(best.is_none_or(|best| two.values().any(|path| *path == best)), "step {step}, {net}");
            let mut told: Vec<String> = all.into_values().collect();
            told.sort();
            there.sort();
            assert_eq!(told, there, "step {step}, {net}");
        }
    }
}
