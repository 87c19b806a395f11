//! Packing: whole messages, as full as the session allows, nothing lost, nothing cut.

use std::net::Ipv6Addr;

use bgp_wire::message::{HEADER_LEN, decode, encode, frame};
use bgp_wire::update::{AttributeBlock, encode_announce, encode_end_of_rib, encode_withdraw};
use bgp_wire::{
    AsPath, EncodeError, Message, MessageType, NextHop, Nlri, PathAttributes, SessionContext, UnknownAttribute, Update,
};
use bytes::BytesMut;
use net_types::{Asn, Family, Prefix};

use crate::build::*;

const V4: Family = Family::IPV4_UNICAST;
const V6: Family = Family::IPV6_UNICAST;

/// The messages in a buffer: their lengths and what they say. Panics unless the buffer is whole messages and nothing else.
pub(crate) fn read_back(mut octets: &[u8], ctx: &SessionContext) -> Vec<(usize, Update)> {
    let mut all = Vec::new();
    while !octets.is_empty() {
        let f = frame(octets, ctx.max_len()).expect("a good header").expect("a whole message");
        assert_eq!(f.kind, MessageType::Update);
        let Ok(Message::Update(u)) = decode(f.kind, &octets[HEADER_LEN..f.len], ctx) else { panic!("an UPDATE") };
        assert_eq!(u.errors, []);
        all.push((f.len, u));
        octets = &octets[f.len..];
    }
    all
}

fn attributes() -> PathAttributes {
    PathAttributes { as_path: AsPath::sequence([Asn(64500)]), ..PathAttributes::default() }
}

fn next_hop4() -> NextHop {
    NextHop::V4([192, 0, 2, 1].into())
}

fn next_hop6(link_local: bool) -> NextHop {
    NextHop::V6 { global: "2001:db8::1".parse().unwrap(), link_local: link_local.then(|| "fe80::1".parse().unwrap()) }
}

fn many4(n: u32) -> Vec<Nlri> {
    (0..n).map(|i| Nlri::new(Prefix::V4(0xc000_0000 + (i << 8), 24))).collect()
}

fn many6(n: u128) -> Vec<Nlri> {
    (0..n).map(|i| Nlri::new(Prefix::V6(0x2001_0db8 << 96 | i << 80, 48))).collect()
}

fn announced(octets: &[u8], ctx: &SessionContext) -> (Vec<usize>, Vec<Nlri>) {
    let all = read_back(octets, ctx);
    let lens = all.iter().map(|(l, _)| *l).collect();
    (lens, all.iter().flat_map(|(_, u)| u.reach.iter().flat_map(|r| r.nlri.iter().copied())).collect())
}

/// Every message but the last has less room left than its next entry needs.
#[track_caller]
fn full(lens: &[usize], max_len: usize, entry: usize) {
    let (_, all_but_last) = lens.split_last().expect("a message");
    assert!(!all_but_last.is_empty());
    for l in all_but_last {
        assert!(*l <= max_len && l + entry > max_len, "{l} of {max_len}");
    }
}

rows! {
    rfc4271_4_1_ipv4_fills_4096 => {
        let (ctx, all, mut out) = (ebgp(), many4(5000), BytesMut::new());
        encode_announce(V4, &next_hop4(), &attributes(), all.iter().copied(), &ctx, &mut out).unwrap();
        let (lens, back) = announced(&out, &ctx);
        full(&lens, 4096, 4);
        assert_eq!(back, all);
    };
    rfc8654_ipv4_fills_65535 => {
        let ctx = SessionContext { extended_message: true, ..ebgp() };
        let (all, mut out) = (many4(40_000), BytesMut::new());
        encode_announce(V4, &next_hop4(), &attributes(), all.iter().copied(), &ctx, &mut out).unwrap();
        let (lens, back) = announced(&out, &ctx);
        full(&lens, 65535, 4);
        assert_eq!(back, all);
    };
    rfc4760_ipv6_fills_4096 => {
        let (ctx, all, mut out) = (ebgp(), many6(2000), BytesMut::new());
        encode_announce(V6, &next_hop6(true), &attributes(), all.iter().copied(), &ctx, &mut out).unwrap();
        let (lens, back) = announced(&out, &ctx);
        full(&lens, 4096, 7);
        assert_eq!(back, all);
        assert!(read_back(&out, &ctx).iter().all(|(_, u)| u.reach[0].next_hop == next_hop6(true)));
    };
    rfc4271_4_3_ipv4_withdrawals_fill_4096 => {
        let (ctx, all, mut out) = (ebgp(), many4(3000), BytesMut::new());
        encode_withdraw(V4, all.iter().copied(), &ctx, &mut out).unwrap();
        let back = read_back(&out, &ctx);
        full(&back.iter().map(|(l, _)| *l).collect::<Vec<_>>(), 4096, 4);
        assert_eq!(back.iter().flat_map(|(_, u)| u.unreach[0].nlri.clone()).collect::<Vec<_>>(), all);
    };
    rfc4760_4_ipv6_withdrawals_fill_4096 => {
        let (ctx, all, mut out) = (ebgp(), many6(2000), BytesMut::new());
        encode_withdraw(V6, all.iter().copied(), &ctx, &mut out).unwrap();
        let back = read_back(&out, &ctx);
        full(&back.iter().map(|(l, _)| *l).collect::<Vec<_>>(), 4096, 7);
        assert_eq!(back.iter().flat_map(|(_, u)| u.unreach[0].nlri.clone()).collect::<Vec<_>>(), all);
    };
    rfc8950_ipv4_with_ipv6_next_hop_goes_into_mp_reach => {
        let ctx = SessionContext { extended_next_hop: vec![V4], ..ebgp() };
        let mut out = BytesMut::new();
        encode_announce(V4, &next_hop6(false), &attributes(), routes("203.0.113.0/24"), &ctx, &mut out).unwrap();
        let all = read_back(&out, &ctx);
        assert_eq!(all[0].1.reach[0].next_hop, next_hop6(false));
        assert_eq!(out[23..25], [0x80, 14], "RFC 7606 §5.1: first");
    };
    rfc8950_4_ipv6_next_hop_without_the_capability_is_refused => {
        let mut out = BytesMut::from(&b"before"[..]);
        let e = encode_announce(V4, &next_hop6(false), &attributes(), routes("203.0.113.0/24"), &ebgp(), &mut out);
        assert_eq!((e, &out[..]), (Err(EncodeError::NextHop(V4)), &b"before"[..]));
    };
    rfc4760_ipv6_with_ipv4_next_hop_is_refused => {
        let e = encode_announce(V6, &next_hop4(), &attributes(), routes("2001:db8::/48"), &ebgp(), &mut BytesMut::new());
        assert_eq!(e, Err(EncodeError::NextHop(V6)));
    };
    a_prefix_of_another_family_is_refused_and_nothing_written => {
        let mut out = BytesMut::new();
        let all = [many4(3000), many6(1)].concat();
        assert_eq!(encode_withdraw(V4, all, &ebgp(), &mut out), Err(EncodeError::WrongFamily(V4)));
        assert!(out.is_empty());
    };
    rfc4724_2_end_of_rib => {
        for family in [V4, V6] {
            let expect = Update { end_of_rib: Some(family), ..Update::default() };
            assert_eq!(read_back(&encode_end_of_rib(family), &ebgp()), [(if family == V4 { 23 } else { 29 }, expect)]);
        }
    };
    nothing_to_say_writes_nothing => {
        let mut out = BytesMut::new();
        encode_announce(V4, &next_hop4(), &attributes(), [], &ebgp(), &mut out).unwrap();
        encode_withdraw(V6, [], &ebgp(), &mut out).unwrap();
        assert!(out.is_empty());
    };
    rfc4271_5_1_5_what_is_internal_stays_inside => {
        let inside = PathAttributes {
            local_pref: Some(100),
            originator_id: Some(1.into()),
            cluster_list: [2.into()].into(),
            ..attributes()
        };
        let mut out = BytesMut::new();
        encode_announce(V4, &next_hop4(), &inside, routes("203.0.113.0/24"), &ebgp(), &mut out).unwrap();
        assert_eq!(read_back(&out, &ebgp())[0].1.attributes, attributes());
        out.clear();
        encode_announce(V4, &next_hop4(), &inside, routes("203.0.113.0/24"), &ibgp(), &mut out).unwrap();
        assert_eq!(read_back(&out, &ibgp())[0].1.attributes, inside);
    };
    a_whole_update_there_and_back => {
        let u = decoded(&body("18 c63364", &with(&[attr(0x80, 14, MP6)]), NLRI), &ebgp());
        let octets = encode(&Message::Update(u.clone()), &ebgp()).unwrap();
        let all = read_back(&octets, &ebgp());
        assert_eq!(all.iter().flat_map(|(_, b)| b.unreach.clone()).collect::<Vec<_>>(), u.unreach);
        assert_eq!(all.iter().flat_map(|(_, b)| b.reach.clone()).collect::<Vec<_>>(), u.reach);
    };
}

/// Attributes that take `len` octets with ORIGIN (4), AS_PATH (9) and NEXT_HOP (7).
fn padded(len: usize) -> PathAttributes {
    let value = vec![7; len - 20 - 4].into();
    PathAttributes { unknown: vec![UnknownAttribute { flags: 0xc0, code: 99, value }], ..attributes() }
}

#[test]
fn rfc4271_9_2_attributes_that_leave_no_room_are_an_error_at_the_exact_octet() {
    // 4096 - 19 - 4 leaves 4073; a /24 takes 4.
    for (len, fits) in [(4069, true), (4070, false), (5000, false)] {
        let mut out = BytesMut::new();
        let r = encode_announce(V4, &next_hop4(), &padded(len), routes("203.0.113.0/24"), &ebgp(), &mut out);
        assert_eq!(r, if fits { Ok(()) } else { Err(EncodeError::TooLong) }, "{len}");
        assert_eq!(out.len(), if fits { 4096 } else { 0 });
    }
}

#[test]
fn rfc4271_9_2_one_route_too_many_bits_takes_the_whole_call_back() {
    let mut out = BytesMut::new();
    let all = [nlri("203.0.0.0/8"), nlri("203.0.113.0/24")];
    let r = encode_announce(V4, &next_hop4(), &padded(4070), all, &ebgp(), &mut out);
    assert_eq!((r, out.len()), (Err(EncodeError::TooLong), 0));
}

#[test]
fn rfc4271_4_3_an_attribute_over_65535_octets_is_an_error() {
    let ctx = SessionContext { extended_message: true, ..ebgp() };
    let long = PathAttributes { as_path: AsPath::sequence(vec![Asn(64500); 17_000]), ..attributes() };
    let r = encode_announce(V4, &next_hop4(), &long, routes("203.0.113.0/24"), &ctx, &mut BytesMut::new());
    assert_eq!(r, Err(EncodeError::TooLong));
}

/// Whoever changes those octets afterwards changes the next hop of every message and nothing else.
#[test]
fn a_block_says_where_its_next_hops_stand() {
    let (v4, v6) = (NextHop::V4([198, 51, 100, 7].into()), "2001:db8::7".parse::<Ipv6Addr>().unwrap());
    for (next_hop, n) in
        [(next_hop4(), 2), (next_hop4(), 3000), (next_hop6(false), 2), (next_hop6(true), 2), (next_hop6(true), 3000)]
    {
        let (family, all, octets, other) = match next_hop {
            NextHop::V4(_) => (V4, many4(n), vec![198, 51, 100, 7], v4),
            NextHop::V6 { link_local, .. } => {
                (V6, many6(n.into()), v6.octets().to_vec(), NextHop::V6 { global: v6, link_local })
            }
        };
        let block = AttributeBlock::new(family, &next_hop, &attributes(), &ebgp()).unwrap();
        let (mut out, mut places) = (BytesMut::from(&b"before"[..]), Vec::new());
        block.announce(all.iter().copied(), &ebgp(), &mut out, |at| places.push(at)).unwrap();
        let mut want = BytesMut::new();
        encode_announce(family, &next_hop, &attributes(), all.iter().copied(), &ebgp(), &mut want).unwrap();
        assert_eq!(out[6..], want[..]);
        places.iter().for_each(|&at| out[at..at + octets.len()].copy_from_slice(&octets));
        want.clear();
        encode_announce(family, &other, &attributes(), all.iter().copied(), &ebgp(), &mut want).unwrap();
        assert_eq!(out[6..], want[..]);
        assert_eq!((places.len() > 1, places.len()), (n == 3000, read_back(&want, &ebgp()).len()));
    }
}
