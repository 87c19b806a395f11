//! Several equal paths in use at a time.

use super::*;
use bgp_wire::ExtendedCommunity;
use std::num::NonZeroU16;

const PREFIX: &str = "203.0.113.0/28";

fn multipath(most: u16) -> Multipath {
    let most = NonZeroU16::new(most).unwrap();
    Multipath { ebgp: most, ibgp: most, relax_as_path: true, link_bandwidth: false }
}

/// Transits 1 to 4, internal neighbours 7 and 8, a customer 5 that listens.
fn lab(multipath: Multipath) -> Lab {
    let mut lab = Lab::with(SpeakerConfig { multipath, ..speaker() }, false);
    (1..5).for_each(|n| lab.up(n, Relation::Transit));
    [7, 8].into_iter().for_each(|n| lab.up(n, Relation::Internal));
    lab.up(5, Relation::Customer);
    lab
}

/// Transits 1 to 4 with AS paths of one length.
fn four_paths(multipath: Multipath) -> Lab {
    let mut lab = lab(multipath);
    (1..5).for_each(|n| lab.announce(n, PREFIX, &[64500 + n, 64511]));
    lab
}

fn even(hops: &[u32]) -> Vec<(String, u16)> {
    hops.iter().map(|n| (format!("198.51.100.{n}"), 1)).collect()
}

fn bandwidth(n: u32, octets: f32) -> Update {
    let [a, b, c, d] = octets.to_be_bytes();
    let community = ExtendedCommunity([0x40, 0x04, 0xfb, 0xf4, a, b, c, d]);
    let attributes = PathAttributes { extended_communities: [community].into(), ..attrs(&[64500 + n, 64511]) };
    announce(&[PREFIX], &format!("198.51.100.{n}"), attributes)
}

#[test]
fn off_by_default_and_so_many_at_most() {
    let backup = |n: u32| Some(format!("198.51.100.{n}"));
    assert_eq!(four_paths(Multipath::default()).forwarding(PREFIX), (even(&[1]), backup(2)));
    assert_eq!(four_paths(multipath(3)).forwarding(PREFIX), (even(&[1, 2, 3]), backup(4)));
    assert_eq!(four_paths(multipath(64)).forwarding(PREFIX), (even(&[1, 2, 3, 4]), None));
    let explained = four_paths(multipath(2)).rib.explain_route(&p(PREFIX)).unwrap();
    let outcomes: Vec<_> = explained.paths.iter().map(|x| x.outcome).collect();
    assert_eq!(outcomes, [Outcome::Best, Outcome::Multipath, Outcome::Backup, Outcome::Lost]);
}

#[test]
fn what_is_announced_stays_the_best_path() {
    let mut lab = four_paths(multipath(4));
    let told = |lab: &Lab| lab.told[&PeerId(5)].routes[&p(PREFIX)].0.as_path.to_string();
    assert_eq!(told(&lab), "64500 64501 64511");
    lab.rib.update(lab.now, PeerId(4), &withdraw(&[PREFIX]));
    lab.rib.update(lab.now, PeerId(3), &withdraw(&[PREFIX]));
    assert!(!lab.rib.has_ready_peer());
    lab.pump();
    assert_eq!((lab.forwarding(PREFIX).0, told(&lab)), (even(&[1, 2]), "64500 64501 64511".to_owned()));
    lab.send(1, withdraw(&[PREFIX]));
    assert_eq!((lab.forwarding(PREFIX), told(&lab)), ((even(&[2]), None), "64500 64502 64511".to_owned()));
}

#[test]
fn as_paths_are_the_same_unless_relaxed_and_of_one_length_then() {
    let strict = Multipath { relax_as_path: false, ..multipath(4) };
    assert_eq!(four_paths(strict).forwarding(PREFIX).0, even(&[1]));
    let mut lab = four_paths(multipath(4));
    lab.announce(2, PREFIX, &[64502, 64510, 64511]);
    assert_eq!(lab.forwarding(PREFIX).0, even(&[1, 3, 4]));
    let mut lab = self::lab(strict);
    for n in [7, 8] {
        lab.send(n, announce(&[PREFIX], &format!("192.0.2.{n}"), attrs(&[64511])));
    }
    assert_eq!(lab.forwarding(PREFIX).0, [("192.0.2.7".to_owned(), 1), ("192.0.2.8".to_owned(), 1)]);
}

#[test]
fn rfc4271_9_1_2_2_ebgp_and_ibgp_are_not_mixed_and_interior_cost_counts() {
    let mut lab = four_paths(multipath(4));
    lab.send(7, announce(&[PREFIX], "192.0.2.7", attrs(&[64501, 64511])));
    let (active, backup) = lab.forwarding(PREFIX);
    assert_eq!((active, backup), (even(&[1, 2, 3, 4]), Some("192.0.2.7".to_owned())));
    (1..5).for_each(|n| assert_eq!(lab.send(n, withdraw(&[PREFIX])), None));
    // One route further than 7.
    lab.send(8, announce(&["192.0.2.200/32"], "192.0.2.8", attrs(&[])));
    lab.send(8, announce(&[PREFIX], "192.0.2.200", attrs(&[64501, 64511])));
    assert_eq!(lab.forwarding(PREFIX), (vec![("192.0.2.7".to_owned(), 1)], Some("192.0.2.8".to_owned())));
}

#[test]
fn rfc4271_9_1_2_2_c_med_takes_out_within_one_neighbouring_as() {
    let mut lab = lab(multipath(4));
    for n in 1..5 {
        lab.up_with(info(n, &NeighborConfig { enforce_first_as: false, ..neighbor(n, Relation::Transit) }));
    }
    for (n, first, med) in [(1, 64501, 5), (2, 64501, 5), (3, 64501, 9), (4, 64504, 9)] {
        let attributes = PathAttributes { med: Some(med), ..attrs(&[first, 64511]) };
        lab.send(n, announce(&[PREFIX], &format!("198.51.100.{n}"), attributes));
    }
    assert_eq!(lab.forwarding(PREFIX), (even(&[1, 2, 4]), Some("198.51.100.3".to_owned())));
}

#[test]
fn the_same_next_hop_twice_is_one_member() {
    let mut lab = lab(multipath(4));
    for n in [1, 2, 3] {
        let hop = if n == 3 { 3 } else { 1 };
        lab.send(n, announce(&[PREFIX], &format!("198.51.100.{hop}"), attrs(&[64500 + n, 64511])));
    }
    assert_eq!(lab.forwarding(PREFIX), (even(&[1, 3]), None));
}

#[test]
fn draft_ietf_idr_link_bandwidth_weighs_where_all_have_one() {
    let mut lab = lab(Multipath { link_bandwidth: true, ..multipath(2) });
    lab.send(1, bandwidth(1, 1.25e9));
    lab.send(2, bandwidth(2, 5e9));
    let weights = |lab: &Lab| lab.forwarding(PREFIX).0.iter().map(|(_, weight)| *weight).collect::<Vec<_>>();
    assert_eq!(weights(&lab), [1, 4]);
    let explained = lab.rib.explain_route(&p(PREFIX)).unwrap().forwarding;
    assert!(explained.contains("198.51.100.2 dev eth1 weight 4"), "{explained}");
    lab.send(2, bandwidth(2, 1.25e9));
    assert_eq!(weights(&lab), [1, 1]);
    lab.send(2, bandwidth(2, 2.5e9));
    lab.announce(1, PREFIX, &[64501, 64511]);
    assert_eq!(weights(&lab), [1, 1]);
    let wanted = SpeakerConfig { multipath: Multipath { link_bandwidth: true, ..multipath(4) }, ..speaker() };
    lab.send(1, bandwidth(1, 1.25e9));
    lab.rib.set_speaker(lab.now, wanted);
    lab.announce(3, PREFIX, &[64503, 64511]);
    assert_eq!(weights(&lab), [1, 1, 1]);
}

#[test]
fn another_number_of_paths_is_taken_over_live() {
    let mut lab = four_paths(Multipath::default());
    for most in [4, 1, 2] {
        lab.rib.set_speaker(lab.now, SpeakerConfig { multipath: multipath(most), ..speaker() });
        while lab.rib.work(lab.now) {}
        assert!(!lab.rib.has_ready_peer());
        lab.pump();
        assert_eq!(lab.forwarding(PREFIX).0, even(&(1..=u32::from(most)).collect::<Vec<_>>()));
    }
}
