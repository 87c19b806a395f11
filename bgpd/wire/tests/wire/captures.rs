//! What real speakers have said: captured conversations in `captures.txt`, and the public captures and update dumps in
//! `../shared/data` where that folder is present.

use std::collections::BTreeMap;

use bgp_wire::message::{HEADER_LEN, decode, encode, frame};
use bgp_wire::{Message, Nlri, Open, SessionContext, Update};
use bytes::BytesMut;
use net_types::{Asn, Family};

use crate::build::*;
use crate::mrt::{read, shared};

const BOTH: [Family; 2] = [Family::IPV4_UNICAST, Family::IPV6_UNICAST];

/// Sender, receiver, whole message.
fn captured() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    include_str!("captures.txt")
        .lines()
        .filter(|l| !l.starts_with('#'))
        .map(|l| {
            let [from, to, octets] = l.split(' ').collect::<Vec<_>>()[..] else { panic!("three words: {l:?}") };
            (from, to, [vec![0xff; 16], hex(octets)].concat())
        })
        .collect()
}

/// What the two ends agreed on.
fn session(from: &str, to: &str) -> SessionContext {
    let with_frr = from == "frr" || to == "frr";
    let add_path = if with_frr { vec![Family::IPV4_UNICAST] } else { vec![] };
    SessionContext {
        ebgp: true,
        four_octet_as: with_frr,
        extended_message: false,
        families: BOTH.to_vec(),
        add_path_receive: add_path.clone(),
        add_path_send: add_path,
        extended_next_hop: if with_frr { vec![Family::IPV4_UNICAST] } else { vec![] },
    }
}

fn open(from: &str, to: &str) -> Open {
    let (_, _, m) = captured().into_iter().find(|(f, t, m)| (*f, *t, m[18]) == (from, to, 1)).expect("an OPEN");
    Open::decode(&m[HEADER_LEN..]).unwrap()
}

fn words(open: &Open) -> Vec<String> {
    open.capabilities.iter().map(ToString::to_string).collect()
}

fn prefixes(all: &[Nlri]) -> String {
    let word = |n: &Nlri| if n.path_id == 0 { n.prefix.to_string() } else { format!("{}#{}", n.prefix, n.path_id) };
    all.iter().map(word).collect::<Vec<_>>().join(",")
}

/// An UPDATE in a line.
fn line(u: &Update) -> String {
    let a = &u.attributes;
    let mut words = Vec::new();
    words.extend(u.end_of_rib.map(|f| format!("end-of-rib {f}")));
    words.extend(u.unreach.iter().map(|u| format!("withdraw {}", prefixes(&u.nlri))));
    for r in &u.reach {
        words.push(format!("{} via {} path {} {:?}", prefixes(&r.nlri), r.next_hop, a.as_path, a.origin));
    }
    words.extend(a.med.map(|m| format!("med {m}")));
    words.extend(a.communities.iter().map(ToString::to_string));
    words.extend(a.large_communities.iter().map(ToString::to_string));
    words.extend(a.extended_communities.iter().map(ToString::to_string));
    words.join(" ")
}

fn updates(from: &str, to: &str) -> Vec<String> {
    let ctx = session(from, to);
    let mut lines = Vec::new();
    for (_, _, m) in captured().into_iter().filter(|(f, t, m)| (*f, *t, m[18]) == (from, to, 2)) {
        let u = decoded(&m[HEADER_LEN..], &ctx);
        assert_eq!(u.errors, [], "{m:02x?}");
        lines.push(line(&u));
    }
    lines
}

#[test]
fn bird_opens() {
    let o = open("bird", "frr");
    assert_eq!((o.asn, o.hold_time, o.bgp_identifier.to_string().as_str()), (Asn(64501), 240, "192.0.2.1"));
    let expect = [
        "multiprotocol ipv4-unicast",
        "multiprotocol ipv6-unicast",
        "route-refresh",
        "extended-next-hop ipv4-unicast/ipv6",
        "extended-message",
        "graceful-restart 120 s ipv4-unicast ipv6-unicast",
        "four-octet-asn 64501",
        "add-path ipv4-unicast/both",
        "enhanced-route-refresh",
        "long-lived-graceful-restart",
    ];
    assert_eq!(words(&o), expect);
}

#[test]
fn frr_opens() {
    let o = open("frr", "bird");
    assert_eq!((o.asn, o.my_as), (Asn(65536), 23456));
    let expect = [
        "multiprotocol ipv4-unicast",
        "multiprotocol ipv6-unicast",
        "capability 128 (0 octets)",
        "route-refresh",
        "enhanced-route-refresh",
        "four-octet-asn 65536",
        "extended-message",
        "role customer",
        "add-path ipv4-unicast/both ipv6-unicast/both",
        "capability 73 (4 octets)",
        "graceful-restart 120 s restarting notification",
        "long-lived-graceful-restart ipv4-unicast/0s ipv6-unicast/0s",
    ];
    assert_eq!(words(&o), expect);
}

#[test]
fn gobgp_opens() {
    let o = open("gobgp", "bird");
    let expect = [
        "route-refresh",
        "capability 73 (4 octets)",
        "multiprotocol ipv4-unicast",
        "multiprotocol ipv6-unicast",
        "four-octet-asn 64503",
        "extended-next-hop ipv4-unicast/ipv6",
    ];
    assert_eq!((o.asn, words(&o)), (Asn(64503), expect.map(str::to_owned).to_vec()));
}

#[test]
fn bird_announces_to_a_four_octet_add_path_neighbour() {
    let expect = [
        "0.0.0.0/0#2,198.51.100.0/25#2,198.51.100.128/25#2 via 192.0.2.1 path 64501 Igp",
        "203.0.113.0/24#2 via 192.0.2.1 path 64501 65536 Igp 64501:1 65535:65281 65536:1:2 0x0002fbf500000007",
        "end-of-rib ipv4-unicast",
        "::/0,2001:db8:5::1/128 via 2001:db8::1 path 64501 Igp",
        "2001:db8:5::/48 via 2001:db8::1 path 64501 65537 Igp",
        "end-of-rib ipv6-unicast",
    ];
    assert_eq!(updates("bird", "frr"), expect);
}

#[test]
fn rfc6793_bird_announces_to_a_two_octet_neighbour() {
    let expect = [
        "0.0.0.0/0,198.51.100.0/25,198.51.100.128/25 via 192.0.2.1 path 64501 Igp",
        "203.0.113.0/24 via 192.0.2.1 path 64501 65536 Igp 64501:1 65535:65281 65536:1:2 0x0002fbf500000007",
        "end-of-rib ipv4-unicast",
        "::/0,2001:db8:5::1/128 via 2001:db8::1 path 64501 Igp",
        "2001:db8:5::/48 via 2001:db8::1 path 64501 65537 Igp",
        "end-of-rib ipv6-unicast",
    ];
    assert_eq!(updates("bird", "gobgp"), expect);
}

#[test]
fn frr_and_gobgp_announce_and_withdraw() {
    let frr = [
        "end-of-rib ipv4-unicast",
        "end-of-rib ipv6-unicast",
        "198.51.100.0/24#2 via 192.0.2.2 path 65536 Igp med 0",
        "2001:db8:2::/48 via 2001:db8::2 path 65536 64510 65537 Incomplete med 0",
    ];
    assert_eq!(updates("frr", "bird"), frr);
    let gobgp = [
        "203.0.113.64/26 via 192.0.2.3 path 64503 Incomplete med 5 64503:9",
        "2001:db8:3::/48 via 2001:db8::3 path 64503 Incomplete",
        "withdraw 203.0.113.64/26",
    ];
    assert_eq!(updates("gobgp", "bird"), gobgp);
}

#[test]
fn bird_says_why_it_leaves() {
    let (_, _, m) = captured().into_iter().find(|(f, t, m)| (*f, *t, m[18]) == ("bird", "frr", 3)).unwrap();
    let Ok(Message::Notification(n)) = decode(bgp_wire::MessageType::Notification, &m[HEADER_LEN..], &ebgp()) else {
        panic!("a NOTIFICATION")
    };
    assert_eq!(n.to_string(), "Cease / Administrative Shutdown: \"moving the rack\"");
}

/// Written by us, BIRD's messages are the same octets: OPEN, refresh, NOTIFICATION, and every UPDATE whose attributes need
/// no MP_REACH_NLRI (BIRD gives that one Extended Length whatever its size), four-octet with ADD-PATH and two-octet.
#[test]
fn bird_would_have_written_the_same_octets() {
    let mut compared = BTreeMap::new();
    for (from, to, m) in captured().into_iter().filter(|(from, ..)| *from == "bird") {
        let ctx = session(from, to);
        let f = frame(&m, 4096).unwrap().expect("whole");
        assert_eq!(f.len, m.len());
        let value = decode(f.kind, &m[HEADER_LEN..], &ctx).unwrap();
        let extended_length = m.get(23) == Some(&0x90);
        let empty_mp_unreach = m.get(23..25) == Some(&[0x80, 15]);
        if !extended_length {
            assert_eq!(encode(&value, &ctx).unwrap(), m, "{value:?}");
            assert!(!empty_mp_unreach || m.len() == 29);
            *compared.entry(m[18]).or_insert(0) += 1;
        }
    }
    let expect: BTreeMap<u8, i32> = [(1, 2), (2, 8), (3, 2), (4, 2), (5, 6)].into();
    assert_eq!(compared, expect);
}

// ---- public data ----

type Flow = ([u8; 12], BTreeMap<u32, Vec<u8>>);

/// TCP payloads of a little pcap file (Ethernet, IPv4 or IPv6), one buffer per direction.
fn streams(pcap: &[u8]) -> Vec<Vec<u8>> {
    let little = matches!(pcap[..4], [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1]);
    let u32_at = |at: usize| {
        let octets: [u8; 4] = pcap[at..at + 4].try_into().unwrap();
        if little { u32::from_le_bytes(octets) as usize } else { u32::from_be_bytes(octets) as usize }
    };
    let mut flows: Vec<Flow> = Vec::new();
    let mut at = 24;
    while at + 16 <= pcap.len() {
        let len = u32_at(at + 8);
        let packet = &pcap[at + 16..at + 16 + len];
        at += 16 + len;
        let (tcp, key) = match packet.get(12..14) {
            Some([0x08, 0x00]) => {
                let total = usize::from(u16::from_be_bytes([packet[16], packet[17]]));
                let head = usize::from(packet[14] & 15) * 4;
                (&packet[14 + head..14 + total], &packet[26..34])
            }
            Some([0x86, 0xdd]) => (&packet[54..], &packet[26..34]),
            _ => continue,
        };
        let key: [u8; 12] = [key, &tcp[..4]].concat().try_into().unwrap();
        let sequence = u32::from_be_bytes(tcp[4..8].try_into().unwrap());
        let payload = tcp[usize::from(tcp[12] >> 4) * 4..].to_vec();
        if payload.is_empty() {
            continue;
        }
        match flows.iter_mut().find(|(k, _)| *k == key) {
            Some((_, segments)) => drop(segments.entry(sequence).or_insert(payload)),
            None => flows.push((key, [(sequence, payload)].into())),
        }
    }
    flows.into_iter().map(|(_, segments)| segments.into_values().flatten().collect()).collect()
}

/// Every message in the public captures is framed and read; what reads without complaint survives being written and read.
#[test]
fn public_captures_are_read_to_the_end() {
    let Some(folder) = shared("bgp-rs/pcap") else { return };
    let mut counted = BTreeMap::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        for stream in streams(&read(&path)) {
            let mut rest = &stream[..];
            while let Some(f) = frame(rest, 4096).unwrap_or_else(|n| panic!("{}: {n}", path.display())) {
                let body = &rest[HEADER_LEN..f.len];
                rest = &rest[f.len..];
                // The captures say on their own whether AS numbers are wide: one of the two readings is without error.
                let clean = [true, false].into_iter().any(|four_octet_as| {
                    let ctx = SessionContext { ebgp: false, four_octet_as, ..ebgp() };
                    let Ok(mut m) = decode(f.kind, body, &ctx) else { return false };
                    if let Message::Update(u) = &mut m
                        && !std::mem::take(&mut u.errors).is_empty()
                    {
                        return false;
                    }
                    let octets = encode(&m, &ctx).unwrap();
                    let mut back = BytesMut::from(&octets[..]);
                    while let Some(f) = frame(&back, 4096).unwrap() {
                        decode(f.kind, &back[HEADER_LEN..f.len], &ctx).unwrap();
                        let _ = back.split_to(f.len);
                    }
                    back.is_empty()
                });
                *counted.entry((f.kind.to_u8(), clean)).or_insert(0) += 1;
            }
        }
    }
    eprintln!("(type, read without complaint) -> messages: {counted:?}");
    assert!(counted.iter().filter(|((_, clean), _)| *clean).map(|(_, n)| n).sum::<i32>() > 50, "{counted:?}");
    assert!(counted.keys().all(|(kind, clean)| *clean || *kind == 2), "{counted:?}");
}
