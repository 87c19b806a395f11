//! The floors of ARCHITECTURE.md, read from `cargo metadata`: who may import whom, and what each may never import.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a panic is the report")]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// One floor's row: our packages it may use, crates it may never reach (directly or through others).
struct Floor {
    may_use: &'static [&'static str],
    never: &'static [&'static str],
}

const IO: &[&str] = &["tokio", "tonic", "netlink-packet-core", "netlink-sys", "socket2", "redb", "tracing", "nix"];

fn floors() -> BTreeMap<&'static str, Floor> {
    let core_never = IO;
    BTreeMap::from([
        ("net-types", Floor { may_use: &[], never: IO }),
        ("bgp-wire", Floor { may_use: &["net-types"], never: IO }),
        ("bgp-core", Floor { may_use: &["net-types", "bgp-wire"], never: core_never }),
        ("ipam-core", Floor { may_use: &["net-types"], never: core_never }),
        ("api", Floor { may_use: &["net-types"], never: &["netlink-packet-core", "redb"] }),
        ("kernel", Floor { may_use: &["net-types"], never: &["tonic", "redb"] }),
        ("daemonbase", Floor { may_use: &["net-types"], never: &["netlink-packet-core", "redb"] }),
        (
            "bgpd",
            Floor { may_use: &["net-types", "bgp-wire", "bgp-core", "api", "kernel", "daemonbase"], never: &["redb"] },
        ),
        ("ipamd", Floor { may_use: &["net-types", "ipam-core", "api", "daemonbase"], never: &["netlink-packet-core"] }),
        ("noc", Floor { may_use: &["net-types", "api", "daemonbase"], never: &["netlink-packet-core", "redb"] }),
        // Test floor: may use any library, no daemon.
        ("test-tables", Floor { may_use: &["net-types", "bgp-wire"], never: IO }),
        (
            "bgpd-bench",
            Floor { may_use: &["net-types", "bgp-wire", "test-tables"], never: &["tokio", "tonic", "redb"] },
        ),
        (
            "lab-runner",
            Floor { may_use: &["net-types", "bgp-wire", "bgp-core", "test-tables"], never: &["tonic", "redb"] },
        ),
        ("system-tests", Floor { may_use: &["net-types", "bgp-wire", "bgp-core"], never: &["tonic", "redb"] }),
    ])
}

#[test]
fn no_package_imports_what_its_floor_forbids() {
    let metadata = MetadataCommand::new().manifest_path("../../Cargo.toml").exec().expect("cargo metadata");
    let floors = floors();
    let members: BTreeSet<_> = metadata.workspace_packages().iter().map(|p| p.name.to_string()).collect();
    let rows: BTreeSet<_> = floors.keys().map(|n| (*n).to_owned()).collect();
    assert_eq!(members, rows, "each workspace package has one row in floors(), and each row a package");

    let nodes: BTreeMap<_, _> =
        metadata.resolve.as_ref().expect("resolve").nodes.iter().map(|n| (n.id.clone(), n)).collect();
    let name = |id: &cargo_metadata::PackageId| metadata[id].name.to_string();
    let mut breaches = Vec::new();
    for package in metadata.workspace_packages() {
        let floor = &floors[package.name.as_str()];
        // Everything reachable through normal dependencies; build and test dependencies may be what they like.
        let (mut seen, mut todo) = (BTreeSet::new(), vec![package.id.clone()]);
        while let Some(id) = todo.pop() {
            for dep in &nodes[&id].deps {
                let normal = dep.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal);
                if normal && seen.insert(dep.pkg.clone()) {
                    todo.push(dep.pkg.clone());
                }
            }
        }
        for id in &seen {
            let dep = name(id);
            if members.contains(&dep) && !floor.may_use.contains(&dep.as_str()) {
                breaches.push(format!("{} may not use {dep} (ARCHITECTURE.md, floors)", package.name));
            }
            if floor.never.contains(&dep.as_str()) {
                breaches.push(format!("{} may never reach {dep} (ARCHITECTURE.md, floors)", package.name));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}
