use super::*;
use bgp_wire::AsPath;
use proptest::prelude::*;

fn key() -> PathKey {
    PathKey {
        local_pref: 100,
        local: false,
        as_path_length: 3,
        origin: Origin::Egp,
        med: 50,
        med_group: MedGroup::As(Asn(64501)),
        external: false,
        interior_cost: 5,
        identifier: RouterId::from(1000),
        cluster_list_length: 2,
        neighbor_address: "192.0.2.100".parse().unwrap(),
        path_id: 10,
        peer: PeerId(10),
    }
}

fn lost_of(keys: &[PathKey]) -> (usize, Vec<Step>) {
    let mut lost = Vec::new();
    let best = decide(keys, &mut lost).unwrap();
    (best, lost.into_iter().map(Option::unwrap).collect())
}

/// `better` must win over the common key at `step`, in either position, though it is worse at every later step.
fn row(step: Step, better: impl Fn(&mut PathKey)) {
    let mut winner = key();
    for later in Step::ELIMINATING.into_iter().filter(|s| *s > step) {
        match later {
            Step::LocalOrigin | Step::LocalPref => {}
            Step::AsPathLength => winner.as_path_length = 9,
            Step::Origin => winner.origin = Origin::Incomplete,
            Step::Med => winner.med = 99,
            // The common key is internal already: an external loser is made below.
            Step::ExternalOverInternal => winner.external = false,
            Step::InteriorCost => winner.interior_cost = 9,
            Step::BgpIdentifier => winner.identifier = RouterId::from(9999),
            Step::ClusterListLength => winner.cluster_list_length = 9,
            Step::NeighborAddress => winner.neighbor_address = "192.0.2.200".parse().unwrap(),
            Step::PathIdentifier => winner.path_id = 99,
            Step::Usable | Step::Best => {}
        }
    }
    better(&mut winner);
    let mut loser = key();
    loser.external = step < Step::ExternalOverInternal;
    assert_eq!(lost_of(&[winner, loser]), (0, vec![Step::Best, step]));
    assert_eq!(lost_of(&[loser, winner]), (1, vec![step, Step::Best]));
}

#[test]
fn rfc4271_9_1_2_highest_local_pref() {
    row(Step::LocalPref, |k| k.local_pref = 101);
}

#[test]
fn step_2_originated_here() {
    row(Step::LocalOrigin, |k| k.local = true);
}

#[test]
fn rfc4271_9_1_2_2_a_shortest_as_path() {
    row(Step::AsPathLength, |k| k.as_path_length = 2);
}

#[test]
fn rfc4271_9_1_2_2_b_lowest_origin() {
    row(Step::Origin, |k| k.origin = Origin::Igp);
}

#[test]
fn rfc4271_9_1_2_2_c_lowest_med() {
    row(Step::Med, |k| k.med = 49);
}

#[test]
fn rfc4271_9_1_2_2_c_med_only_within_neighbor_as() {
    let mut other = key();
    (other.med_group, other.med, other.identifier) = (MedGroup::As(Asn(64502)), 500, RouterId::from(1));
    // Its MED is ten times as high, but it is another AS's: the identifier decides.
    assert_eq!(lost_of(&[key(), other]), (1, vec![Step::BgpIdentifier, Step::Best]));
}

#[test]
fn rfc4271_9_1_2_2_c_med_groups_do_not_depend_on_order() {
    // The textbook case: a beats b by MED, b beats c by identifier, c beats a by identifier.
    let a = PathKey { med: 0, identifier: RouterId::from(3), peer: PeerId(1), ..key() };
    let b = PathKey { med: 10, identifier: RouterId::from(1), peer: PeerId(2), ..key() };
    let c = PathKey { med_group: MedGroup::As(Asn(64502)), identifier: RouterId::from(2), peer: PeerId(3), ..key() };
    for order in [[a, b, c], [a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]] {
        let (best, lost) = lost_of(&order);
        assert_eq!(order[best].peer, PeerId(3));
        let of = |peer| lost[order.iter().position(|k| k.peer == peer).unwrap()];
        assert_eq!((of(PeerId(1)), of(PeerId(2))), (Step::BgpIdentifier, Step::Med));
        // b lost against a, its own AS's, not against the winner.
        let lost: Vec<Option<Step>> = lost.into_iter().map(Some).collect();
        let b_at = order.iter().position(|k| k.peer == PeerId(2)).unwrap();
        assert_eq!(order[lost_against(&order, &lost, b_at, best)].peer, PeerId(1));
    }
}

#[test]
fn rfc4271_9_1_2_2_c_absent_med_is_zero_and_sets_are_alone() {
    let source = KeySource {
        peer: PeerId(1),
        local: false,
        external: true,
        identifier: RouterId::from(1),
        address: "192.0.2.1".parse().unwrap(),
    };
    let of = |as_path: AsPath| {
        PathKey::new(&PathAttributes { as_path, ..PathAttributes::default() }, source, 0, 0, Asn(64500))
    };
    let plain = of(AsPath::sequence([Asn(64501), Asn(64502)]));
    assert_eq!((plain.med, plain.med_group, plain.local_pref), (0, MedGroup::As(Asn(64501)), DEFAULT_LOCAL_PREF));
    assert_eq!(of(AsPath::default()).med_group, MedGroup::As(Asn(64500)));
    let set = bgp_wire::AsPathSegment { kind: bgp_wire::AsPathSegmentType::Set, asns: [Asn(64501)].into() };
    assert_eq!(of(AsPath { segments: [set].into() }).med_group, MedGroup::None);
}

#[test]
fn rfc4271_9_1_2_2_d_external_over_internal() {
    row(Step::ExternalOverInternal, |k| k.external = true);
}

#[test]
fn rfc4271_9_1_2_2_e_lowest_interior_cost() {
    row(Step::InteriorCost, |k| k.interior_cost = 4);
}

#[test]
fn rfc4271_9_1_2_2_f_lowest_bgp_identifier() {
    row(Step::BgpIdentifier, |k| k.identifier = RouterId::from(999));
}

#[test]
fn rfc4456_9_originator_id_stands_for_the_identifier() {
    let source = KeySource {
        peer: PeerId(1),
        local: false,
        external: false,
        identifier: RouterId::from(1),
        address: "192.0.2.1".parse().unwrap(),
    };
    let attributes = PathAttributes { originator_id: Some(RouterId::from(77)), ..PathAttributes::default() };
    assert_eq!(PathKey::new(&attributes, source, 0, 0, Asn(64500)).identifier, RouterId::from(77));
}

#[test]
fn rfc4456_9_shortest_cluster_list() {
    row(Step::ClusterListLength, |k| k.cluster_list_length = 1);
}

#[test]
fn rfc4271_9_1_2_2_g_lowest_neighbor_address() {
    row(Step::NeighborAddress, |k| k.neighbor_address = "192.0.2.99".parse().unwrap());
}

#[test]
fn rfc7911_3_lowest_path_identifier() {
    row(Step::PathIdentifier, |k| k.path_id = 9);
}

#[test]
fn values_are_those_of_the_step() {
    let k = key();
    assert_eq!(k.value(Step::Med), "50 (AS 64501)");
    assert_eq!(k.value(Step::Origin), "egp");
    assert_eq!(k.value(Step::BgpIdentifier), "0.0.3.232");
    assert!(Step::Med.to_string().starts_with("5 ") && Step::PathIdentifier.to_string().starts_with("11 "));
}

/// Small ranges, so that ties reach every step.
fn any_key() -> impl Strategy<Value = PathKey> {
    let early = (0u32..2, prop::bool::weighted(0.1), 0usize..2, 0u8..2, 0u32..3, 0u32..3);
    let late = (any::<bool>(), 0u32..2, 0u32..3, 0usize..2, 0u8..3);
    (early, late).prop_map(|((local_pref, local, length, origin, med, group), (external, cost, id, cluster, addr))| {
        PathKey {
            local_pref,
            local,
            as_path_length: length,
            origin: if origin == 0 { Origin::Igp } else { Origin::Incomplete },
            med,
            med_group: if group == 0 { MedGroup::None } else { MedGroup::As(Asn(group)) },
            external,
            interior_cost: cost,
            identifier: RouterId::from(id),
            cluster_list_length: cluster,
            neighbor_address: std::net::Ipv4Addr::new(192, 0, 2, addr).into(),
            path_id: 0,
            peer: PeerId(0),
        }
    })
}

proptest! {
    #[test]
    fn winner_steps_and_rank_do_not_depend_on_order(
        keys in prop::collection::vec(any_key(), 1..8),
        shuffle in prop::collection::vec(any::<u32>(), 8),
    ) {
        let mut keys = keys;
        for (i, k) in keys.iter_mut().enumerate() {
            k.peer = PeerId(i as u32);
        }
        let mut other: Vec<(u32, PathKey)> = shuffle.into_iter().zip(keys.iter().copied()).collect();
        other.sort_by_key(|(s, k)| (*s, k.peer));
        let other: Vec<PathKey> = other.into_iter().map(|(_, k)| k).collect();
        let by_peer = |keys: &[PathKey]| {
            let (best, lost) = lost_of(keys);
            let mut steps: Vec<(PeerId, Step)> = keys.iter().map(|k| k.peer).zip(lost).collect();
            steps.sort();
            let order: Vec<PeerId> = rank(keys).into_iter().map(|i| keys[i].peer).collect();
            (keys[best].peer, steps, order)
        };
        let (winner, steps, order) = by_peer(&keys);
        prop_assert_eq!(&(winner, steps.clone(), order.clone()), &by_peer(&other));
        // A total order: each path once, the winner first, exactly one winner.
        prop_assert_eq!(order.first(), Some(&winner));
        let mut all = order.clone();
        all.sort();
        prop_assert_eq!(all, (0..keys.len()).map(|i| PeerId(i as u32)).collect::<Vec<_>>());
        prop_assert_eq!(steps.iter().filter(|(_, s)| *s == Step::Best).count(), 1);
    }

    #[test]
    fn winner_is_the_rfc_s_own_loop(keys in prop::collection::vec(any_key(), 1..8)) {
        // RFC 4271 §9.1.2.2 c as pseudo code, steps as plain filters: the oracle.
        let mut keys = keys;
        for (i, k) in keys.iter_mut().enumerate() {
            k.peer = PeerId(i as u32);
        }
        let mut left = keys.clone();
        let least = |left: &mut Vec<PathKey>, f: fn(&PathKey) -> i64| {
            let min = left.iter().map(f).min().unwrap();
            left.retain(|k| f(k) == min);
        };
        least(&mut left, |k| -i64::from(k.local_pref));
        least(&mut left, |k| i64::from(!k.local));
        least(&mut left, |k| k.as_path_length as i64);
        least(&mut left, |k| k.origin as i64);
        let snapshot = left.clone();
        left.retain(|m| !snapshot.iter().any(|n| n.med_group == m.med_group && m.med_group != MedGroup::None && n.med < m.med));
        least(&mut left, |k| i64::from(!k.external));
        least(&mut left, |k| i64::from(k.interior_cost));
        least(&mut left, |k| i64::from(k.identifier.to_u32()));
        least(&mut left, |k| k.cluster_list_length as i64);
        left.sort_by_key(|k| (k.neighbor_address, k.path_id, k.peer));
        let (best, _) = lost_of(&keys);
        prop_assert_eq!(keys[best], left[0]);
    }

    #[test]
    fn who_joins_a_set_is_settled_against_its_winner_as_against_all(keys in prop::collection::vec(any_key(), 2..8)) {
        let mut keys = keys;
        let first = keys[0];
        for (i, k) in keys.iter_mut().enumerate() {
            k.peer = PeerId(i as u32);
            (k.local_pref, k.local) = (first.local_pref, first.local);
            (k.as_path_length, k.origin) = (first.as_path_length, first.origin);
        }
        let (best, _) = lost_of(&keys);
        prop_assert_eq!(best_of_tied(&keys), Some(best));
        let (new, others) = keys.split_last().unwrap();
        let (before, _) = lost_of(others);
        match join(new, &others[before]) {
            Joined::Wins => prop_assert_eq!(keys[best], *new),
            Joined::Loses => prop_assert_eq!(keys[best], others[before]),
            Joined::Open => {}
        }
    }
}
