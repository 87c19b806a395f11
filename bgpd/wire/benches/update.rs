//! UPDATEs decoded and encoded, in bulk.
//!
//! A corpus is [`MESSAGES`] UPDATEs, so that a time printed in µs reads as ns per UPDATE (and `ns` as ps); the counter
//! beside it says routes per second. Corpora: `table`, generated to look like the Internet's table as one neighbour sends it
//! (facts in `attributes`); `packed`, few attribute sets and messages filled to 4096 octets; `churn`, one route a message;
//! and, with `ARTERE_BENCH_MRT=FILE` (a BGP4MP dump, gzip or plain), `mrt`: messages of real neighbours.

use std::hint::black_box;
use std::io::Read as _;

use bgp_wire::message::{HEADER_LEN, MessageType, decode, frame};
use bgp_wire::update::{encode_announce, encode_withdraw};
use bgp_wire::{
    Aggregator, AsPath, Community, LargeCommunity, Message, NextHop, Nlri, Origin, PathAttributes, SessionContext,
    Update,
};
use bytes::BytesMut;
use divan::counter::ItemsCount;
use net_types::{Asn, Family, Prefix};

/// UPDATEs in a corpus.
const MESSAGES: usize = 1000;

fn main() {
    divan::main();
}

/// Numbers without a source of randomness (SplitMix64): every run decodes the same octets.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((z ^ z >> 31) % u64::from(below)).unwrap_or(0)
    }

    /// Geometric, at least `least`, `mean` on average.
    fn around(&mut self, least: u32, mean: u32) -> u32 {
        let mut n = least;
        while n < 60 && self.next(1 + mean - least) != 0 {
            n += 1;
        }
        n
    }
}

/// A path of 4.4 AS numbers on average, 4 communities, at times large ones, MED, AGGREGATOR: what collectors see.
fn attributes(r: &mut Numbers) -> PathAttributes {
    let path: Vec<Asn> = (0..r.around(2, 4)).map(|_| Asn(1000 + r.next(200_000))).collect();
    let mut communities: Vec<Community> = (0..r.around(0, 4)).map(|_| Community(r.next(u32::MAX))).collect();
    communities.sort_unstable();
    let large = if r.next(8) == 0 { 1 + r.next(3) } else { 0 };
    let mut large: Vec<LargeCommunity> = (0..large)
        .map(|_| LargeCommunity { global: 1000 + r.next(200_000), local1: r.next(9), local2: r.next(999) })
        .collect();
    large.sort_unstable();
    PathAttributes {
        origin: if r.next(5) == 0 { Origin::Incomplete } else { Origin::Igp },
        as_path: AsPath::sequence(path),
        med: (r.next(4) == 0).then(|| r.next(500)),
        aggregator: (r.next(10) == 0)
            .then(|| Aggregator { asn: Asn(1000 + r.next(60_000)), address: [192, 0, 2, 9].into() }),
        communities: communities.into_iter().collect(),
        large_communities: large.into_iter().collect(),
        ..PathAttributes::default()
    }
}

/// Prefix lengths of the default-free zone: three fifths /24, the rest /19 to /23.
fn route(r: &mut Numbers, family: Family) -> Nlri {
    let prefix = if family == Family::IPV4_UNICAST {
        let len = if r.next(10) < 6 { 24 } else { 19 + r.next(5) };
        Prefix::V4((0x0100_0000 + r.next(0xde00_0000)) & (u32::MAX << (32 - len)), u8::try_from(len).unwrap_or(24))
    } else {
        let len = if r.next(2) == 0 { 48 } else { 32 };
        Prefix::V6(
            (0x2a00_0000_0000 + u128::from(r.next(u32::MAX))) >> (48 - len) << (128 - len),
            u8::try_from(len).unwrap_or(48),
        )
    };
    Nlri::new(prefix)
}

fn context() -> SessionContext {
    SessionContext {
        four_octet_as: true,
        families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
        ..SessionContext::initial()
    }
}

/// UPDATEs as their bodies, and what is in them.
struct Corpus {
    context: SessionContext,
    bodies: Vec<Vec<u8>>,
    updates: Vec<Update>,
    routes: usize,
}

impl Corpus {
    fn new(bodies: Vec<Vec<u8>>, context: SessionContext) -> Corpus {
        let updates: Vec<Update> = bodies.iter().filter_map(|b| update(b, &context)).collect();
        let routes = updates.iter().map(routes).sum();
        Corpus { context, bodies, updates, routes }
    }

    /// `nlri` routes an attribute set on average.
    fn generated(family: Family, nlri: u32) -> Corpus {
        let (mut r, context) = (Numbers(7), context());
        let next_hop = match family {
            Family::IPV4_UNICAST => NextHop::V4([192, 0, 2, 1].into()),
            _ => NextHop::V6 { global: [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(), link_local: None },
        };
        let mut bodies = Vec::new();
        while bodies.len() < MESSAGES {
            let mut out = BytesMut::new();
            let n = if nlri > 60 { nlri } else { r.around(1, nlri) };
            let all: Vec<Nlri> = (0..n).map(|_| route(&mut r, family)).collect();
            let _ = encode_announce(family, &next_hop, &attributes(&mut r), all, &context, &mut out);
            bodies.extend(cut(&out));
        }
        bodies.truncate(MESSAGES);
        Corpus::new(bodies, context)
    }

    /// Every n-th UPDATE of the file that `ARTERE_BENCH_MRT` names.
    fn mrt() -> Option<Corpus> {
        let file = std::env::var_os("ARTERE_BENCH_MRT")?;
        let mut octets = Vec::new();
        let open = std::fs::OpenOptions::new().read(true).open(file).ok()?;
        let mut plain = flate2::read::MultiGzDecoder::new(&open);
        if plain.header().is_some() {
            plain.read_to_end(&mut octets).ok()?;
        } else {
            drop(plain);
            std::io::Seek::seek(&mut &open, std::io::SeekFrom::Start(0)).ok()?;
            (&open).read_to_end(&mut octets).ok()?;
        }
        let context = SessionContext { extended_message: true, ..context() };
        let all: Vec<Vec<u8>> = bgp4mp(&octets).filter(|b| update(b, &context).is_some()).collect();
        let step = (all.len() / MESSAGES).max(1);
        Some(Corpus::new(all.into_iter().step_by(step).take(MESSAGES).collect(), context))
    }
}

/// The bodies of the UPDATEs in BGP4MP_MESSAGE_AS4 records (RFC 6396 §4.4.3).
fn bgp4mp(mut dump: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    std::iter::from_fn(move || {
        loop {
            let (head, rest) = dump.split_first_chunk::<12>()?;
            let [_, _, _, _, t0, t1, s0, s1, len @ ..] = *head;
            let (record, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(len)).ok()?)?;
            dump = rest;
            let address = if record.get(10..12) == Some(&[0, 2]) { 16 } else { 4 };
            let message = record.get(12 + 2 * address..).unwrap_or_default();
            if [t0, t1, s0, s1] == [0, 16, 0, 4]
                && let Some(body) = cut(message).next()
            {
                return Some(body);
            }
        }
    })
}

/// Bodies of UPDATEs out of a run of messages.
fn cut(mut messages: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    std::iter::from_fn(move || {
        let found = frame(messages, usize::from(u16::MAX)).ok()??;
        let (whole, rest) = messages.split_at_checked(found.len)?;
        messages = rest;
        (found.kind == MessageType::Update).then(|| whole.get(HEADER_LEN..).unwrap_or_default().to_vec())
    })
}

fn update(body: &[u8], context: &SessionContext) -> Option<Update> {
    match decode(MessageType::Update, body, context) {
        Ok(Message::Update(update)) => Some(update),
        _ => None,
    }
}

fn routes(u: &Update) -> usize {
    u.reach.iter().map(|r| r.nlri.len()).chain(u.unreach.iter().map(|u| u.nlri.len())).sum()
}

const CORPORA: [&str; 5] = ["table", "table-v6", "packed", "churn", "mrt"];

fn corpus(name: &str) -> Option<Corpus> {
    match name {
        "table" => Some(Corpus::generated(Family::IPV4_UNICAST, 6)),
        "table-v6" => Some(Corpus::generated(Family::IPV6_UNICAST, 3)),
        "packed" => Some(Corpus::generated(Family::IPV4_UNICAST, 900)),
        "churn" => Some(Corpus::generated(Family::IPV4_UNICAST, 1)),
        _ => Corpus::mrt(),
    }
}

/// Octets to values: every UPDATE of the corpus.
#[divan::bench(args = CORPORA)]
fn decoding(bencher: divan::Bencher<'_, '_>, name: &str) {
    let Some(c) = corpus(name) else { return };
    bencher.counter(ItemsCount::new(c.routes)).bench_local(|| {
        for body in &c.bodies {
            black_box(decode(MessageType::Update, black_box(body), &c.context).is_ok());
        }
    });
}

/// Values to octets: every UPDATE of the corpus into one buffer.
#[divan::bench(args = CORPORA)]
fn encoding(bencher: divan::Bencher<'_, '_>, name: &str) {
    let Some(c) = corpus(name) else { return };
    let mut out = BytesMut::with_capacity(8 << 20);
    bencher.counter(ItemsCount::new(c.routes)).bench_local(|| {
        out.clear();
        for u in &c.updates {
            for un in &u.unreach {
                let _ = encode_withdraw(un.family, un.nlri.iter().copied(), &c.context, &mut out);
            }
            for re in &u.reach {
                let nlri = re.nlri.iter().copied();
                let _ = encode_announce(re.family, &re.next_hop, &u.attributes, nlri, &c.context, &mut out);
            }
        }
        black_box(out.len());
    });
}
