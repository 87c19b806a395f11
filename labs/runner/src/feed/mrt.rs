//! A table out of an MRT RIB dump (RFC 6396 TABLE_DUMP and TABLE_DUMP_V2, RFC 8050 ADD-PATH), plain, gzip or bzip2.
//!
//! One route per prefix: the first entry of the dump that a BGP session can carry. What is skipped is counted and told.
//! A file without a RIB is refused in one line that says what it is instead.

use anyhow::{Context, Result, bail};
use bgp_wire::{Aggregator, AsPathSegment, AsPathSegmentType, Community, LargeCommunity, Origin, PathAttributes};
use bgpkit_parser::models::{
    AsPathSegment as MrtSegment, AttributeValue, Attributes, Community as MrtCommunity, MrtMessage, NetworkPrefix,
    Origin as MrtOrigin, TableDumpV2Message, TableDumpV2Type,
};
use bgpkit_parser::parser::chunk_mrt_record;
use net_types::{Asn, Prefix};
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use test_tables::Table;

/// Why entries of the dump are not played.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Further paths to a prefix that has one already.
    pub other_paths: usize,
    /// Entries without an AS_PATH, or with AS 0 in it (RFC 7607).
    pub no_as_path: usize,
    /// Entries whose attributes alone would not fit a message of 4096 octets.
    pub too_large: usize,
    /// Multicast, labelled and other families.
    pub other_families: usize,
    /// Records that cannot be read.
    pub broken: usize,
}

impl Skipped {
    /// For people; empty when nothing was skipped.
    pub fn describe(&self) -> String {
        let rows = [
            (self.other_paths, "further paths to a prefix"),
            (self.no_as_path, "entries without a sound AS_PATH"),
            (self.too_large, "entries too large for a message"),
            (self.other_families, "records of other families"),
            (self.broken, "unreadable records"),
        ];
        rows.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect::<Vec<_>>().join(", ")
    }
}

/// MRT types (RFC 6396 §4).
const TABLE_DUMP: u16 = 12;
const TABLE_DUMP_V2: u16 = 13;
/// Subtypes RIB_GENERIC and RIB_GENERIC_ADDPATH: families without a subtype of their own.
const GENERIC: [u16; 2] = [6, 12];

/// Says quickly whether `file` begins like an MRT RIB dump; the error says what it is instead.
pub fn probe(file: &Path) -> Result<()> {
    let mut reader = open(file)?;
    let mut head = [0u8; 12];
    let n = fill(&mut reader, &mut head).with_context(|| file.display().to_string())?;
    let head = head.get(..n).unwrap_or_default();
    let what = what_is(head);
    match what {
        Kind::Rib => Ok(()),
        Kind::Other(what) => bail!(
            "{} is {what}, not an MRT RIB dump: give a TABLE_DUMP or TABLE_DUMP_V2 file (\"rib\", \"bview\")",
            file.display()
        ),
    }
}

enum Kind {
    Rib,
    Other(&'static str),
}

fn what_is(head: &[u8]) -> Kind {
    let magic = head.first_chunk::<4>().map(|m| u32::from_be_bytes(*m));
    match magic {
        None => return Kind::Other("empty or shorter than one record"),
        Some(0xa1b2_c3d4 | 0xd4c3_b2a1 | 0xa1b2_3c4d | 0x4d3c_b2a1) => return Kind::Other("a packet capture (pcap)"),
        Some(0x0a0d_0d0a) => return Kind::Other("a packet capture (pcapng)"),
        _ => {}
    }
    if head.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace()) {
        return Kind::Other("a text file");
    }
    let at = |i: usize| head.get(i).copied().unwrap_or_default();
    let kind = u16::from_be_bytes([at(4), at(5)]);
    let length = u32::from_be_bytes([at(8), at(9), at(10), at(11)]);
    match kind {
        _ if head.len() < 12 || length > 1 << 24 => Kind::Other("no MRT file"),
        TABLE_DUMP | TABLE_DUMP_V2 => Kind::Rib,
        16 | 17 => Kind::Other("an MRT file of BGP messages or updates (BGP4MP)"),
        5 | 9 => Kind::Other("an MRT file of BGP messages of an old kind"),
        11 | 32 | 33 | 48 | 49 => Kind::Other("an MRT file of OSPF or IS-IS messages"),
        _ => Kind::Other("no MRT file"),
    }
}

fn open(file: &Path) -> Result<Box<dyn BufRead>> {
    let name = || file.display().to_string();
    let mut plain = BufReader::with_capacity(1 << 16, File::open(file).with_context(name)?);
    let start = plain.fill_buf().with_context(name)?;
    Ok(match start {
        [0x1f, 0x8b, ..] => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(plain))),
        [b'B', b'Z', b'h', ..] => Box::new(BufReader::new(bzip2::bufread::MultiBzDecoder::new(plain))),
        _ => Box::new(plain),
    })
}

fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut n = 0;
    while let Some(rest) = buffer.get_mut(n..).filter(|r| !r.is_empty()) {
        match reader.read(rest)? {
            0 => break,
            k => n += k,
        }
    }
    Ok(n)
}

/// Reads the whole dump. `progress` is told the number of routes now and then.
pub fn read(file: &Path, mut progress: impl FnMut(usize)) -> Result<(Table, Skipped)> {
    probe(file)?;
    let mut reader = open(file)?;
    let mut table = Table::default();
    let mut skipped = Skipped::default();
    let mut seen: HashSet<Prefix> = HashSet::new();
    while !reader.fill_buf().with_context(|| file.display().to_string())?.is_empty() {
        let Ok(raw) = chunk_mrt_record(&mut reader) else {
            // Without a sound header the next record cannot be found.
            skipped.broken += 1;
            break;
        };
        let generic =
            raw.common_header.entry_type as u16 == TABLE_DUMP_V2 && GENERIC.contains(&raw.common_header.entry_subtype);
        let Ok(record) = raw.parse() else {
            // The library reads no VPN or labelled NLRI; we would not play them either.
            *(if generic { &mut skipped.other_families } else { &mut skipped.broken }) += 1;
            continue;
        };
        match record.message {
            MrtMessage::TableDumpMessage(m) => {
                take(&m.prefix, std::iter::once(&m.attributes), &mut table, &mut skipped, &mut seen);
            }
            MrtMessage::TableDumpV2Message(TableDumpV2Message::RibAfi(rib)) => match rib.rib_type {
                TableDumpV2Type::RibIpv4Unicast
                | TableDumpV2Type::RibIpv6Unicast
                | TableDumpV2Type::RibIpv4UnicastAddPath
                | TableDumpV2Type::RibIpv6UnicastAddPath => {
                    let entries = rib.rib_entries.iter().map(|e| &e.attributes);
                    take(&rib.prefix, entries, &mut table, &mut skipped, &mut seen);
                }
                _ => skipped.other_families += 1,
            },
            MrtMessage::TableDumpV2Message(TableDumpV2Message::RibGeneric(_)) => skipped.other_families += 1,
            _ => {}
        }
        if seen.len().is_multiple_of(10_000) {
            progress(seen.len());
        }
    }
    if table.groups.is_empty() {
        let why = skipped.describe();
        bail!("{} holds no route that a BGP session can carry ({why})", file.display());
    }
    Ok((table, skipped))
}

fn take<'a>(
    prefix: &NetworkPrefix,
    entries: impl Iterator<Item = &'a Attributes>,
    table: &mut Table,
    skipped: &mut Skipped,
    seen: &mut HashSet<Prefix>,
) {
    let Ok(key) = Prefix::new(prefix.prefix.addr(), prefix.prefix.prefix_len()) else {
        skipped.broken += 1;
        return;
    };
    for attributes in entries {
        if seen.contains(&key) {
            skipped.other_paths += 1;
            continue;
        }
        let Some(converted) = convert(attributes) else {
            skipped.no_as_path += 1;
            continue;
        };
        if weight(&converted) > ROOM {
            skipped.too_large += 1;
            continue;
        }
        seen.insert(key);
        table.add(converted, key);
    }
}

/// Octets left for attributes in a message of 4096, once header, next hop, one prefix and one's own AS are in.
const ROOM: usize = 3900;

fn weight(a: &PathAttributes) -> usize {
    64 + 4 * a.as_path.asns().count()
        + 2 * a.as_path.segments.len()
        + 4 * a.communities.len()
        + 12 * a.large_communities.len()
}

/// What of a dump's attributes an eBGP neighbour would be sent: the mandatory ones, MED, communities, aggregation.
/// LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST stay behind (RFC 4271 §5.1.5, RFC 4456 §8).
fn convert(from: &Attributes) -> Option<PathAttributes> {
    let mut to = PathAttributes {
        origin: match from.origin() {
            MrtOrigin::IGP => Origin::Igp,
            MrtOrigin::EGP => Origin::Egp,
            MrtOrigin::INCOMPLETE => Origin::Incomplete,
        },
        med: from.multi_exit_discriminator(),
        atomic_aggregate: from.atomic_aggregate(),
        aggregator: from.aggregator().map(|(asn, address)| Aggregator { asn: Asn(asn.into()), address }),
        ..PathAttributes::default()
    };
    // An empty path is a route of the dump's own network: carried all the same, our AS becomes its origin.
    let path = from.effective_as_path()?;
    for s in &path.segments {
        let (kind, asns) = match s {
            MrtSegment::AsSequence(a) => (AsPathSegmentType::Sequence, a),
            MrtSegment::AsSet(a) => (AsPathSegmentType::Set, a),
            // Confederation segments end at the confederation's border (RFC 5065 §4).
            MrtSegment::ConfedSequence(_) | MrtSegment::ConfedSet(_) => continue,
        };
        if !asns.is_empty() {
            to.as_path.segments.push(AsPathSegment { kind, asns: asns.iter().map(|a| Asn((*a).into())).collect() });
        }
    }
    for a in from.iter() {
        match a {
            AttributeValue::Communities(c) => to.communities.extend(c.iter().map(|c| match c {
                MrtCommunity::NoExport => Community::NO_EXPORT,
                MrtCommunity::NoAdvertise => Community::NO_ADVERTISE,
                MrtCommunity::NoExportSubConfed => Community::NO_EXPORT_SUBCONFED,
                MrtCommunity::Custom(asn, value) => Community(u32::from(*asn) << 16 | u32::from(*value)),
            })),
            AttributeValue::LargeCommunities(l) => to.large_communities.extend(l.iter().map(|l| {
                let [local1, local2] = l.local_data;
                LargeCommunity { global: l.global_admin, local1, local2 }
            })),
            _ => {}
        }
    }
    to.communities.sort_unstable();
    to.communities.dedup();
    to.large_communities.sort_unstable();
    to.large_communities.dedup();
    Some(to)
}
