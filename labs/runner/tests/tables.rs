//! Real dumps: every RIB among the development data is read whole, everything else is refused by what it is.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a panic is the report")]

use lab_runner::feed::mrt;
use std::path::PathBuf;

/// File, (IPv4 prefixes, IPv6 prefixes), as the data's own README and an independent counter have them.
const RIBS: [(&str, (usize, usize)); 6] = [
    ("libbgpstream/routeviews.route-views.jinx.ribs.1401487200.bz2", (497_323, 84)),
    ("bgpdump/rrc06.bview.20100701.0759.mrt.bz2", (323_487, 0)),
    // Two of its 62 entries have AS 0 in the path; their prefixes come with another.
    ("bgpdump/bview.ipv4_unicast_add_path.gz", (31, 0)),
    // Two dumps of six prefixes, three of them without any attribute.
    ("mrtparse/bird-mrtdump_rib", (3, 0)),
    ("mrtparse/openbgpd_rib_table-v2", (11, 10)),
    ("mrtparse/quagga_rib", (3, 3)),
];

fn data() -> Option<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if !dir.exists() {
        eprintln!("skipped: {} is not there", dir.display());
        return None;
    }
    Some(dir)
}

#[test]
fn every_rib_dump_is_read_whole() {
    let Some(dir) = data() else { return };
    for (name, wanted) in RIBS {
        let (table, skipped) = mrt::read(&dir.join(name), |_| {}).unwrap_or_else(|e| panic!("{name}: {e:#}"));
        assert_eq!(table.count(), wanted, "{name}");
        assert_eq!(skipped.broken, 0, "{name}: {}", skipped.describe());
    }
}

#[test]
fn what_is_no_rib_dump_is_refused_by_what_it_is() {
    let Some(dir) = data() else { return };
    for (name, what) in [
        ("libbgpstream/ris.rrc06.updates.1401488100.gz", "BGP4MP"),
        ("libbgpstream/routeviews.route-views.jinx.updates.1401493500.bz2", "BGP4MP"),
        ("bgpdump/updates.20160811.1600.gz", "BGP4MP"),
        ("bgpdump/updates.long_withdrawal.gz", "BGP4MP"),
        ("bgpdump/updates.nlri_mask_trailing_bits.gz", "BGP4MP"),
        ("bgpdump/bview.ipv4_unicast_add_path.gz.bgp.gz", "a text file"),
        ("bgp-rs/updates.20190101.0000.gz", "BGP4MP"),
        ("bgp-rs/pcap/BGP_AS_set.cap", "packet capture"),
        ("mrtparse/bird_bgp", "BGP4MP"),
        ("mrtparse/bird-mrtdump_bgp", "BGP4MP"),
        ("mrtparse/quagga_bgp_large_communities", "BGP4MP"),
        ("bart/prefixes.txt.gz", "a text file"),
        ("afrinic-roas/roas.csv", "a text file"),
    ] {
        let e = mrt::read(&dir.join(name), |_| {}).expect_err(name).to_string();
        assert!(e.contains(what) && e.contains(name) && !e.contains('\n'), "{name}: {e}");
    }
}

#[test]
fn empty_short_and_random_files_are_refused() {
    let dir = std::env::temp_dir().join(format!("lab-tables-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("temporary folder");
    let noise: Vec<u8> = (0..200_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for (name, bytes) in [("empty", &b""[..]), ("short", &[0, 1, 2, 3, 0, 13, 0, 2][..]), ("noise", &noise)] {
        let file = dir.join(name);
        std::fs::write(&file, bytes).expect("written");
        let e = mrt::read(&file, |_| {}).expect_err(name).to_string();
        assert!(e.contains("not an MRT RIB dump"), "{name}: {e}");
    }
    std::fs::remove_dir_all(&dir).expect("removed");
}
