//! Whatever comes in and whatever goes out.

use std::net::IpAddr;

use bgp_wire::attr::{decode_canonical, encode_canonical};
use bgp_wire::message::{HEADER_LEN, decode, encode, frame};
use bgp_wire::update::{decode_update, encode_announce, encode_withdraw};
use bgp_wire::{
    Aggregator, AsPath, AsPathSegment, AsPathSegmentType, Community, EncodeError, ExtendedCommunity, LargeCommunity,
    Message, MessageType, NextHop, Nlri, Open, Origin, PathAttributes, SessionContext, UnknownAttribute,
};
use bytes::BytesMut;
use net_types::{Asn, Family, Prefix};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use crate::build::*;
use crate::pack::read_back;

const BOTH: [Family; 2] = [Family::IPV4_UNICAST, Family::IPV6_UNICAST];

fn context() -> impl Strategy<Value = SessionContext> {
    (any::<[bool; 5]>(), any::<bool>()).prop_map(|([ebgp, four_octet_as, extended_message, a4, a6], nh)| {
        let add_path: Vec<Family> = BOTH.into_iter().zip([a4, a6]).filter(|(_, on)| *on).map(|(f, _)| f).collect();
        SessionContext {
            ebgp,
            four_octet_as,
            extended_message,
            families: BOTH.to_vec(),
            add_path_receive: add_path.clone(),
            add_path_send: add_path,
            extended_next_hop: if nh { vec![Family::IPV4_UNICAST] } else { vec![] },
        }
    })
}

fn asn() -> impl Strategy<Value = Asn> {
    prop_oneof![1..=65535u32, 1..=u32::MAX].prop_map(Asn)
}

fn unknown() -> impl Strategy<Value = Vec<UnknownAttribute>> {
    let code = prop_oneof![11u8..=13, 19u8..=21, Just(23), Just(28), 41u8..=255];
    btree_map(code, (any::<bool>(), vec(any::<u8>(), 0..300)), 0..4).prop_map(|m| {
        m.into_iter()
            .map(|(code, (partial, value))| {
                // The decoder sets Partial on what it does not know; what it knows and passes keeps its own.
                let partial = partial || !matches!(code, 23 | 128);
                UnknownAttribute { flags: 0xc0 | u8::from(partial) << 5, code, value: value.into() }
            })
            .collect()
    })
}

/// Attributes as the decoder may produce them on any session.
fn attributes() -> impl Strategy<Value = PathAttributes> {
    let first = (
        prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)],
        prop_oneof![vec(asn(), 0..20), vec(asn(), 250..600)],
        option::of(any::<u32>()),
        option::of(any::<u32>()),
        any::<bool>(),
        option::of((asn(), any::<[u8; 4]>())),
    );
    let second = (
        btree_set(any::<u32>(), 0..80),
        option::of(any::<u32>()),
        vec(any::<u32>(), 0..5),
        btree_set(any::<[u8; 8]>(), 0..10),
        btree_set(any::<[u32; 3]>(), 0..30),
        option::of(asn()),
        unknown(),
    );
    (first, second).prop_map(|((origin, path, med, local_pref, atomic_aggregate, aggregator), second)| {
        let (communities, originator_id, cluster_list, extended, large, otc, unknown) = second;
        PathAttributes {
            origin,
            as_path: AsPath::sequence(path),
            med,
            local_pref,
            atomic_aggregate,
            aggregator: aggregator.map(|(asn, address)| Aggregator { asn, address: address.into() }),
            communities: communities.into_iter().map(Community).collect(),
            originator_id: originator_id.map(Into::into),
            cluster_list: cluster_list.into_iter().map(Into::into).collect(),
            extended_communities: extended.into_iter().map(ExtendedCommunity).collect(),
            large_communities: large
                .into_iter()
                .map(|[global, local1, local2]| LargeCommunity { global, local1, local2 })
                .collect(),
            otc,
            unknown,
        }
    })
}

fn routes_of(family: Family, add_path: bool, n: usize) -> impl Strategy<Value = Vec<Nlri>> {
    let one = (any::<u128>(), 0..=128u8, any::<u32>()).prop_map(move |(bits, len, path_id)| {
        let path_id = if add_path { path_id } else { 0 };
        let prefix = if family == Family::IPV4_UNICAST {
            Prefix::new(IpAddr::V4((bits as u32).into()), len % 33)
        } else {
            Prefix::new(IpAddr::V6(bits.into()), len)
        };
        Nlri { prefix: prefix.unwrap(), path_id }
    });
    vec(one, 1..n)
}

#[derive(Debug)]
struct Announcement {
    ctx: SessionContext,
    family: Family,
    next_hop: NextHop,
    attributes: PathAttributes,
    nlri: Vec<Nlri>,
}

fn announcement() -> impl Strategy<Value = Announcement> {
    (context(), any::<bool>(), any::<(bool, bool)>()).prop_flat_map(|(ctx, v6, (v6_next_hop, link_local))| {
        let family = BOTH[usize::from(v6)];
        let next_hop = if v6 || v6_next_hop && ctx.extended_next_hop.contains(&family) {
            let link_local = link_local.then(|| "fe80::1".parse().unwrap());
            NextHop::V6 { global: "2001:db8::1".parse().unwrap(), link_local }
        } else {
            NextHop::V4([192, 0, 2, 1].into())
        };
        let nlri = routes_of(family, ctx.add_path_send.contains(&family), 1500);
        (Just((ctx, family, next_hop)), attributes(), nlri).prop_map(|((ctx, family, next_hop), attributes, nlri)| {
            Announcement { ctx, family, next_hop, attributes, nlri }
        })
    })
}

/// What of `a` a neighbour on this session gets to see.
fn seen(mut a: PathAttributes, ctx: &SessionContext) -> PathAttributes {
    if ctx.ebgp {
        (a.local_pref, a.originator_id, a.cluster_list) = (None, None, [].into());
    }
    a
}

/// An UPDATE body with a good outer shape around attributes of every degree of damage: random octets alone would rarely
/// get past the first length.
fn shaped_body() -> impl Strategy<Value = Vec<u8>> {
    let any_attribute =
        (any::<u8>(), prop_oneof![0..=40u8, any::<u8>()], vec(any::<u8>(), 0..40)).prop_map(|(flags, code, value)| {
            let flags = flags & 0xef;
            [vec![flags, code, value.len() as u8], value].concat()
        });
    // The right flags for its code and, more often than not, a right length.
    let right = prop::sample::select(vec![
        (0x80, 4, 4),
        (0x40, 5, 4),
        (0x40, 6, 0),
        (0xc0, 7, 8),
        (0xc0, 8, 12),
        (0x80, 9, 4),
        (0x80, 10, 8),
        (0xc0, 16, 16),
        (0xc0, 17, 6),
        (0xc0, 18, 8),
        (0xc0, 22, 9),
        (0xc0, 23, 8),
        (0x80, 26, 11),
        (0xc0, 32, 24),
        (0xc0, 35, 4),
        (0xc0, 40, 10),
        (0xc0, 99, 3),
        (0xc0, 128, 4),
    ]);
    let plausible = (right, option::weighted(0.1, 0..30usize)).prop_flat_map(|((flags, code, len), wrong)| {
        vec(any::<u8>(), wrong.unwrap_or(len)).prop_map(move |v| [vec![flags, code, v.len() as u8], v].concat())
    });
    let mandatory = prop::sample::select(vec![
        origin(),
        as_path(),
        next_hop(),
        attr(0x40, 2, "02 02 fbf5 5ba0"),
        attr(0x40, 2, ""),
        attr(0x80, 14, MP6),
        attr(0x80, 15, "000201 30 20010db80005"),
        attr(0x80, 15, "000201"),
    ]);
    let attribute = prop_oneof![1 => any_attribute, 20 => plausible, 5 => mandatory];
    let field = || {
        prop_oneof![
            9 => prop::sample::select(vec![hex(NLRI), hex("00"), hex("0a c640 20 cb007101")]),
            1 => vec(any::<u8>(), 0..12),
        ]
    };
    (option::weighted(0.3, field()), prop::bool::weighted(0.8), vec(attribute, 0..5), option::weighted(0.8, field()))
        .prop_map(|(withdrawn, whole, attributes, nlri)| {
            let whole = if whole { [origin(), as_path(), next_hop()].concat() } else { vec![] };
            let (withdrawn, attributes) = (withdrawn.unwrap_or_default(), [whole, attributes.concat()].concat());
            let len = |v: &[u8]| (v.len() as u16).to_be_bytes();
            [&len(&withdrawn)[..], &withdrawn, &len(&attributes), &attributes, &nlri.unwrap_or_default()].concat()
        })
}

/// The strategy above must reach all three ends, or the properties built on it say nothing.
#[test]
fn shaped_bodies_are_announced_withdrawn_and_reset() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut ends = [0; 3];
    for _ in 0..1000 {
        let body = shaped_body().new_tree(&mut runner).unwrap().current();
        match decode_update(&body, &ebgp()) {
            Ok(u) if u.reach.is_empty() => ends[1] += 1,
            Ok(_) => ends[0] += 1,
            Err(_) => ends[2] += 1,
        }
    }
    assert!(ends.iter().all(|n| *n > 50), "{ends:?}");
}

/// An upper bound of the heap behind a decoded UPDATE.
fn heap(u: &bgp_wire::Update) -> usize {
    let nlri = u.reach.iter().map(|r| r.nlri.capacity()).chain(u.unreach.iter().map(|u| u.nlri.capacity()));
    let errors = u.errors.iter().map(|e| e.raw.len() + e.what.capacity());
    let a = &u.attributes;
    nlri.sum::<usize>() * size_of::<Nlri>()
        + errors.sum::<usize>()
        + a.as_path.asns().count() * 4
        + a.as_path.segments.capacity() * size_of::<AsPathSegment>()
        + a.communities.capacity() * 4
        + a.cluster_list.capacity() * 4
        + a.extended_communities.capacity() * 8
        + a.large_communities.capacity() * 12
        + a.unknown.iter().map(|u| u.value.len() + size_of::<UnknownAttribute>()).sum::<usize>()
}

proptest! {
    /// What is kept comes back, and only equal sets are equal octets.
    #[test]
    fn canonical_octets_are_the_attributes(a in attributes(), b in attributes()) {
        let octets = |a: &PathAttributes| {
            let mut out = Vec::new();
            encode_canonical(a, &mut out);
            out
        };
        let without = |a: &PathAttributes| PathAttributes { origin: Origin::Igp, med: None, local_pref: None, ..a.clone() };
        prop_assert_eq!(decode_canonical(&octets(&a)), Some(without(&a)));
        prop_assert_eq!(octets(&a) == octets(&b), without(&a) == without(&b));
        // Cut short anywhere it is not read past its end.
        for end in 0..octets(&a).len().min(64) {
            let _ = decode_canonical(&octets(&a)[..end]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn announcements_come_back_whole_and_no_message_is_too_long(a in announcement()) {
        let mut out = BytesMut::new();
        match encode_announce(a.family, &a.next_hop, &a.attributes, a.nlri.iter().copied(), &a.ctx, &mut out) {
            Ok(()) => {}
            Err(e) => {
                // Only attributes that fill the message can be in the way.
                prop_assert_eq!(e, EncodeError::TooLong);
                prop_assert!(out.is_empty() && !a.ctx.extended_message);
                let mut wide = a.ctx.clone();
                wide.extended_message = true;
                encode_announce(a.family, &a.next_hop, &a.attributes, [a.nlri[0]], &wide, &mut out).unwrap();
                prop_assert!(out.len() > 4096 - 21);
                return Ok(());
            }
        }
        let expect = seen(a.attributes, &a.ctx);
        let mut back = Vec::new();
        for (len, update) in read_back(&out, &a.ctx) {
            prop_assert!(len <= a.ctx.max_len());
            prop_assert_eq!(&update.attributes, &expect);
            prop_assert!(update.unreach.is_empty() && update.reach.len() == 1);
            prop_assert_eq!((update.reach[0].family, update.reach[0].next_hop), (a.family, a.next_hop));
            back.extend(update.reach[0].nlri.iter().copied());
        }
        prop_assert_eq!(back, a.nlri);
    }

    #[test]
    fn withdrawals_come_back_whole(a in announcement()) {
        let mut out = BytesMut::new();
        encode_withdraw(a.family, a.nlri.iter().copied(), &a.ctx, &mut out).unwrap();
        let back: Vec<Nlri> = read_back(&out, &a.ctx).into_iter().flat_map(|(_, u)| u.unreach).flat_map(|u| u.nlri).collect();
        prop_assert_eq!(back, a.nlri);
    }

    #[test]
    fn confederation_segments_survive_a_four_octet_internal_session(path in vec((any::<bool>(), vec(asn(), 1..300)), 1..6)) {
        let mut segments: Vec<AsPathSegment> = Vec::new();
        for (confed, asns) in path {
            let kind = if confed { AsPathSegmentType::ConfedSequence } else { AsPathSegmentType::Sequence };
            match segments.last_mut() {
                Some(s) if s.kind == kind => s.asns.extend(asns),
                _ => segments.push(AsPathSegment { kind, asns: asns.into() }),
            }
        }
        let ctx = SessionContext { extended_message: true, ..ibgp() };
        let attributes = PathAttributes { as_path: AsPath { segments: segments.into() }, ..PathAttributes::default() };
        let mut out = BytesMut::new();
        let next_hop = NextHop::V4([192, 0, 2, 1].into());
        encode_announce(Family::IPV4_UNICAST, &next_hop, &attributes, routes("203.0.113.0/24"), &ctx, &mut out).unwrap();
        prop_assert_eq!(&read_back(&out, &ctx)[0].1.attributes, &attributes);
    }

    #[test]
    fn any_octets_frame_without_panic(octets in vec(any::<u8>(), 0..200), good_marker: bool, extended: bool) {
        let octets = if good_marker { [vec![0xff; 16], octets].concat() } else { octets };
        let max_len = if extended { 65535 } else { 4096 };
        if let Ok(Some(f)) = frame(&octets, max_len) {
            prop_assert!((HEADER_LEN..=octets.len()).contains(&f.len));
        }
    }

    #[test]
    fn any_octets_decode_without_panic(octets in vec(any::<u8>(), 0..400), ctx in context()) {
        for kind in [MessageType::Open, MessageType::Update, MessageType::Notification, MessageType::Keepalive, MessageType::RouteRefresh] {
            match decode(kind, &octets, &ctx) {
                Ok(Message::Notification(n)) => drop(n.to_string()),
                Err(n) => drop(n.to_string()),
                Ok(_) => {}
            }
        }
        // A good fixed part, so that the parameters are reached.
        let _ = Open::decode(&[hex("04 fbf5 005a c0000201"), vec![octets.len().min(255) as u8], octets].concat());
    }

    #[test]
    fn a_decoded_update_costs_a_small_multiple_of_its_length(body in shaped_body(), ctx in context()) {
        if let Ok(u) = decode_update(&body, &ctx) {
            prop_assert!(heap(&u) <= 128 * body.len() + 2048, "{} octets for {}", heap(&u), body.len());
        }
    }

    #[test]
    fn what_was_decoded_encodes_and_decodes_to_the_same(body in shaped_body(), ctx in context()) {
        let Ok(mut u) = decode_update(&body, &ctx) else { return Ok(()) };
        u.errors.clear();
        let octets = encode(&Message::Update(u.clone()), &ctx).unwrap();
        let back: Vec<_> = read_back(&octets, &ctx).into_iter().map(|(_, u)| u).collect();
        prop_assert_eq!(back.iter().flat_map(|b| b.unreach.clone()).collect::<Vec<_>>(), u.unreach);
        prop_assert_eq!(back.iter().flat_map(|b| b.reach.clone()).collect::<Vec<_>>(), u.reach.clone());
        for b in back.iter().filter(|b| !b.reach.is_empty()) {
            prop_assert_eq!(&b.attributes, &u.attributes);
        }
    }
}
