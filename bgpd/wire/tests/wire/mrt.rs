//! Collectors' update dumps (MRT, RFC 6396) against what another decoder made of them: RIPE NCC's `bgpdump -m` text that
//! lies beside two of them, and the counts published with the third. Runs where `../shared/data` is present.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use bgp_wire::message::{HEADER_LEN, MAX_EXTENDED_LEN, decode, frame};
use bgp_wire::{AttrVerdict, Message, Origin, PathAttributes, SessionContext, Update};
use net_types::Asn;

use crate::build::*;

/// A file of the folder beside the project that holds public data, if it is there.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let found = here.ancestors().map(|a| a.join("shared/data").join(name)).find(|p| p.exists());
    if found.is_none() {
        eprintln!("skipped: no ../shared/data/{name}");
    }
    found
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    let mut octets = Vec::new();
    std::fs::OpenOptions::new().read(true).open(path).unwrap().read_to_end(&mut octets).unwrap();
    octets
}

fn gunzip(path: &Path) -> Vec<u8> {
    let mut octets = Vec::new();
    flate2::read::MultiGzDecoder::new(&read(path)[..]).read_to_end(&mut octets).unwrap();
    octets
}

struct Record {
    time: u32,
    peer: IpAddr,
    peer_as: Asn,
    four_octet_as: bool,
    message: Vec<u8>,
}

/// The BGP messages of a dump (BGP4MP_MESSAGE and BGP4MP_MESSAGE_AS4).
fn records(mut dump: &[u8]) -> Vec<Record> {
    fn number(octets: &[u8]) -> u32 {
        octets.iter().fold(0, |n, b| n << 8 | u32::from(*b))
    }
    let mut all = Vec::new();
    while !dump.is_empty() {
        let (head, rest) = dump.split_at(12);
        let (body, rest) = rest.split_at(number(&head[8..]) as usize);
        dump = rest;
        let four_octet_as = match (number(&head[4..6]), number(&head[6..8])) {
            (16, 1) => false,
            (16, 4) => true,
            _ => continue,
        };
        let (wide, body) = body.split_at(if four_octet_as { 8 } else { 4 });
        let v6 = number(&body[2..4]) == 2;
        let address = if v6 { 16 } else { 4 };
        let peer = &body[4..4 + address];
        let peer = if v6 {
            IpAddr::from(<[u8; 16]>::try_from(peer).unwrap())
        } else {
            IpAddr::from(<[u8; 4]>::try_from(peer).unwrap())
        };
        all.push(Record {
            time: number(&head[..4]),
            peer,
            peer_as: Asn(number(&wide[..wide.len() / 2])),
            four_octet_as,
            message: body[4 + 2 * address..].to_vec(),
        });
    }
    all
}

/// The UPDATE of a record; `None` for other messages. A collector's peers are external and may send anything.
fn update(r: &Record) -> Option<Update> {
    let ctx = SessionContext { four_octet_as: r.four_octet_as, extended_message: true, ..ebgp() };
    let f = frame(&r.message, MAX_EXTENDED_LEN).unwrap_or_else(|n| panic!("{n}")).expect("whole");
    match decode(f.kind, &r.message[HEADER_LEN..f.len], &ctx) {
        Ok(Message::Update(u)) => Some(u),
        Ok(_) => None,
        Err(n) => panic!("{} at {}: {n}", r.peer, r.time),
    }
}

/// `path|origin|next hop|0|med|communities|AG or NAG|aggregator|` as bgpdump prints it, communities sorted.
fn attributes(a: &PathAttributes, next_hop: IpAddr) -> String {
    let origin = match a.origin {
        Origin::Igp => "IGP",
        Origin::Egp => "EGP",
        Origin::Incomplete => "INCOMPLETE",
    };
    let communities: Vec<String> = a.communities.iter().map(ToString::to_string).collect();
    let mut s = format!("{}|{origin}|{next_hop}|0|{}|", a.as_path, a.med.unwrap_or(0));
    let atomic = if a.atomic_aggregate { "AG" } else { "NAG" };
    write!(s, "{}|{atomic}|", normal(&communities.join(" "))).unwrap();
    if let Some(aggregator) = a.aggregator {
        write!(s, "{} {}", aggregator.asn, aggregator.address).unwrap();
    }
    s + "|"
}

fn normal(communities: &str) -> String {
    let mut words: Vec<&str> = communities.split(' ').filter(|w| !w.is_empty()).collect();
    words.sort_unstable();
    words.dedup();
    words.join(" ")
}

/// How often each line occurs.
fn bag(lines: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut bag = BTreeMap::new();
    lines.for_each(|l| *bag.entry(l).or_default() += 1);
    bag
}

fn ours(dump: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for r in records(dump) {
        let Some(u) = update(&r) else { continue };
        assert!(u.errors.iter().all(|e| e.verdict == AttrVerdict::Discard), "{:?}", u.errors);
        let (time, peer, peer_as) = (r.time, r.peer, r.peer_as);
        for n in u.unreach.iter().flat_map(|u| &u.nlri) {
            lines.push(format!("BGP4MP|{time}|W|{peer}|{peer_as}|{}", n.prefix));
        }
        for reach in &u.reach {
            let attributes = attributes(&u.attributes, reach.next_hop.address());
            for n in &reach.nlri {
                lines.push(format!("BGP4MP|{time}|A|{peer}|{peer_as}|{}|{attributes}", n.prefix));
            }
        }
    }
    lines
}

/// bgpdump's lines with the communities sorted as ours are.
fn theirs(text: &[u8]) -> impl Iterator<Item = String> {
    std::str::from_utf8(text).unwrap().lines().filter(|l| !l.contains("|STATE|")).map(|l| {
        let mut fields: Vec<&str> = l.split('|').collect();
        let sorted = fields.get(11).map(|c| normal(c));
        if let Some(sorted) = &sorted {
            fields[11] = sorted;
        }
        fields.join("|")
    })
}

#[track_caller]
fn same_as_bgpdump(name: &str, routes: usize) {
    let (Some(dump), Some(text)) = (shared(name), shared(&format!("{name}.bgp.gz"))) else { return };
    let ours = ours(&gunzip(&dump));
    assert_eq!(ours.len(), routes);
    let (ours, theirs) = (bag(ours.into_iter()), bag(theirs(&gunzip(&text))));
    for (line, n) in &ours {
        assert_eq!(theirs.get(line), Some(n), "ours alone: {line}");
    }
    for (line, n) in &theirs {
        assert_eq!(ours.get(line), Some(n), "theirs alone: {line}");
    }
}

#[test]
fn forty_real_peers_read_as_bgpdump_reads_them() {
    same_as_bgpdump("bgpdump/updates.20160811.1600.gz", 32_710 + 6_546 + 1_956);
}

#[test]
fn rfc8654_extended_withdrawal_reads_as_bgpdump_reads_it() {
    same_as_bgpdump("bgpdump/updates.long_withdrawal.gz", 4_096);
}

/// The field ends inside a second prefix (11.8.0.0/13, then a /11 of no octets). bgpdump prints the first; a speaker
/// cannot tell which length is the wrong one.
#[test]
fn rfc7606_5_3_truncated_last_prefix_resets_where_bgpdump_goes_on() {
    let Some(dump) = shared("bgpdump/updates.nlri_mask_trailing_bits.gz") else { return };
    let all = records(&gunzip(&dump));
    let [r] = &all[..] else { panic!("one record") };
    let n = bgp_wire::update::decode_update(&r.message[HEADER_LEN..], &old()).expect_err("a reset");
    assert_eq!((n.code, n.subcode), (3, 10));
}

/// No route is lost to an error: what is treated as withdrawn is counted with the withdrawals, and only AS_SET does that.
#[test]
fn sixty_nine_real_peers_give_every_route_and_no_reset() {
    let Some(dump) = shared("bgp-rs/updates.20190101.0000.gz") else { return };
    let (mut updates, mut announced, mut withdrawn, mut large) = (0, 0, 0, 0);
    let mut causes = BTreeMap::new();
    for u in records(&gunzip(&dump)).iter().filter_map(update) {
        updates += 1;
        announced += u.reach.iter().map(|r| r.nlri.len()).sum::<usize>();
        withdrawn += u.unreach.iter().map(|u| u.nlri.len()).sum::<usize>();
        large += usize::from(!u.attributes.large_communities.is_empty());
        for e in u.errors.iter().filter(|e| e.verdict != AttrVerdict::Discard) {
            *causes.entry(e.clause).or_insert(0) += 1;
        }
    }
    eprintln!("announced {announced}, withdrawn {withdrawn}, large {large}, treat-as-withdraw {causes:?}");
    assert_eq!((updates, announced + withdrawn), (54_107, 150_389 + 9_559 + 2_626));
    assert!(large > 5_000);
    assert!(causes.keys().all(|c| *c == "RFC 9774 §3" || *c == "RFC 7607 §2"), "{causes:?}");
}
