//! Topology files: what is refused and on which line; that every shipped one is sound here and for containerlab.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is the report")]

use lab_runner::topology::Topology;
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The refusal of a topology, its line and its words.
fn refused(text: &str) -> String {
    let file = Path::new("/nowhere/x.clab.yml");
    match Topology::parse(file, text) {
        Ok(t) => panic!("accepted: {t:?}"),
        Err(e) => {
            let s = e.to_string();
            assert!(!s.contains('\n'), "one line: {s}");
            s
        }
    }
}

const HEAD: &str =
    "name: x\ntopology:\n  nodes:\n    a: {kind: linux, image: host}\n    b: {kind: linux, image: host}\n";

#[test]
fn what_is_not_implemented_is_refused_by_name_and_line() {
    for (text, line, words) in [
        ("name: x\nmgmt: {}\ntopology: {nodes: {a: {kind: linux, image: host}}}\n", 2, "key `mgmt`"),
        (
            "name: x\ntopology:\n  nodes:\n    a:\n      kind: linux\n      image: host\n      ports: [\"80:80\"]\n",
            7,
            "key `ports`",
        ),
        ("name: x\ntopology:\n  groups: {}\n  nodes:\n    a: {kind: linux, image: host}\n", 3, "key `groups`"),
        (
            "name: x\ntopology:\n  defaults:\n    kind: linux\n    memory: 1GB\n  nodes: {a: {image: host}}\n",
            5,
            "key `memory`",
        ),
        (
            "name: x\ntopology:\n  kinds:\n    linux:\n      user: me\n  nodes: {a: {kind: linux, image: host}}\n",
            5,
            "key `user`",
        ),
        (
            "name: x\ntopology:\n  kinds:\n    bridge: {}\n  nodes: {a: {kind: linux, image: host}}\n",
            4,
            "kind `bridge`",
        ),
        ("name: x\ntopology:\n  nodes:\n    a:\n      kind: nokia_srlinux\n", 5, "kind `nokia_srlinux`"),
        ("name: x\ntopology:\n  nodes:\n    a: {kind: linux, image: \"frr/frr\"}\n", 4, "image `frr/frr`"),
        ("name: x\ntopology:\n  nodes:\n    a: {kind: linux}\n", 4, "has no image"),
        ("name: x\ntopology:\n  nodes:\n    a: {image: host}\n", 4, "has no kind"),
        (
            "name: x\ntopology:\n  nodes:\n    a:\n      kind: linux\n      image: host\n      sysctls:\n        vm.swappiness: 1\n",
            8,
            "vm.swappiness",
        ),
        (
            "name: x\ntopology:\n  nodes:\n    a:\n      kind: linux\n      image: host\n      binds:\n        - none.conf:/etc/x\n",
            8,
            "none.conf",
        ),
        (
            "name: x\ntopology:\n  nodes:\n    a:\n      kind: linux\n      image: host\n      binds:\n        - x.clab.yml\n",
            8,
            "write it as source:target",
        ),
        (
            "name: x\ntopology:\n  nodes:\n    a:\n      kind: linux\n      image: host\n      exec:\n        - \"echo 'open\"\n",
            8,
            "open quote",
        ),
        (
            "name: x\ntopology:\n  nodes:\n    a:\n      kind: linux\n      image: host\n      startup-delay: soon\n",
            7,
            "startup-delay",
        ),
        (
            "name: x\ntopology:\n  nodes:\n    a:\n      kind: linux\n      image: host\n      exec: ip link\n",
            7,
            "must be a list",
        ),
        ("name: x y\ntopology: {nodes: {a: {kind: linux, image: host}}}\n", 1, "lab name"),
        ("topology: {nodes: {a: {kind: linux, image: host}}}\n", 1, "has no `name`"),
        ("name: x\ntopology:\n  nodes: {}\n", 3, "at least one node"),
        ("name: x\n---\nname: y\n", 1, "2 YAML documents"),
    ] {
        let said = refused(text);
        assert!(said.starts_with(&format!("/nowhere/x.clab.yml:{line}: ")), "{said}\nfor\n{text}");
        assert!(said.contains(words), "{said}\nshould name {words}");
    }
}

#[test]
fn links_join_two_free_interfaces_of_nodes_that_exist() {
    for (links, line, words) in [
        ("    - endpoints: [\"a:eth1\", \"c:eth1\"]\n", 7, "there is no node `c`"),
        (
            "    - endpoints: [\"a:eth1\", \"b:eth1\"]\n    - endpoints: [\"a:eth1\", \"b:eth2\"]\n",
            8,
            "used already on line 7",
        ),
        ("    - endpoints: [\"a:eth1\", \"b:a-name-of-16-chr\"]\n", 7, "1 to 15 characters"),
        ("    - endpoints: [\"a:eth1\"]\n", 7, "2 ends, not 1"),
        ("    - endpoints: [\"a:lo\", \"b:eth1\"]\n", 7, "taken by the kernel"),
        ("    - endpoints: [\"a\", \"b:eth1\"]\n", 7, "has no colon"),
        ("    - endpoints: [\"a:eth1\", \"b:eth1\"]\n      vars: {}\n", 8, "key `vars`"),
        ("    - endpoints: [\"a:eth1\", \"b:eth1\"]\n      mtu: 10\n", 8, "mtu 10"),
        ("    - type: vxlan\n      endpoints: [\"a:eth1\", \"b:eth1\"]\n", 7, "key `type`"),
    ] {
        let said = refused(&format!("{HEAD}  links:\n{links}"));
        assert!(said.starts_with(&format!("/nowhere/x.clab.yml:{line}: ")), "{said}");
        assert!(said.contains(words), "{said}\nshould name {words}");
    }
}

#[test]
fn a_key_written_twice_is_refused_on_its_line() {
    let said =
        refused("name: x\ntopology:\n  nodes:\n    a: {kind: linux, image: host}\n    a: {kind: linux, image: host}\n");
    assert!(said.starts_with("/nowhere/x.clab.yml:5: "), "{said}");
}

#[test]
fn a_node_wins_over_its_kind_and_a_kind_over_the_defaults() {
    let text = "name: x\ntopology:\n  defaults:\n    kind: linux\n    image: host\n    exec: [one]\n    env: {A: 1, B: 1}\n    \
                sysctls: {net.ipv4.ip_forward: 0}\n  kinds:\n    linux:\n      exec: [two]\n      env: {B: 2}\n      \
                startup-delay: 2\n  nodes:\n    a:\n      image: bird:2.0\n      exec: [\"three 'four five'\"]\n      env: {B: 3}\n      \
                sysctls: {net.ipv4.ip_forward: 1}\n    b:\n";
    let t = Topology::parse(Path::new("/nowhere/x.clab.yml"), text).expect("sound");
    let a = t.node("a").expect("a");
    assert_eq!(a.image, "bird:2.0");
    assert_eq!(a.exec, [vec!["one"], vec!["two"], vec!["three", "four five"]]);
    assert_eq!(a.env.get("A").map(String::as_str), Some("1"));
    assert_eq!(a.env.get("B").map(String::as_str), Some("3"));
    assert_eq!(a.sysctls.get("net.ipv4.ip_forward").map(String::as_str), Some("1"));
    assert_eq!(a.startup_delay, 2);
    let b = t.node("b").expect("b");
    assert_eq!((b.image.as_str(), b.env.get("B").map(String::as_str)), ("host", Some("2")));
}

/// Every `labs/<name>/<name>.clab.yml`.
fn shipped() -> Vec<PathBuf> {
    let mut all = Vec::new();
    for dir in std::fs::read_dir(root().join("labs")).expect("labs").flatten() {
        let files = std::fs::read_dir(dir.path()).into_iter().flatten().flatten().map(|e| e.path());
        all.extend(files.filter(|p| p.to_string_lossy().ends_with(".clab.yml")));
    }
    assert!(!all.is_empty(), "no lab found");
    all
}

#[test]
fn every_shipped_lab_is_sound_with_expectations_for_its_own_nodes() {
    for file in shipped() {
        let t = Topology::read(&file).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(
            file.file_name().unwrap().to_string_lossy(),
            format!("{}.clab.yml", t.name),
            "file named after the lab"
        );
        let dir = file.parent().expect("folder");
        assert!(dir.join("README.md").exists(), "{}: README.md", t.name);
        let expect = lab_runner::expect::files(&file).expect("readable");
        assert!(!expect.is_empty(), "{}: expect/*.json", t.name);
        for f in expect {
            for e in lab_runner::expect::read(&f).unwrap_or_else(|e| panic!("{e:#}")) {
                assert!(t.node(&e.node).is_some(), "{}: {:?} names node {}", f.display(), e.name, e.node);
            }
        }
    }
}

fn to_json(y: &Yaml<'_>) -> Value {
    match y {
        Yaml::Mapping(m) => m.iter().map(|(k, v)| (text(k), to_json(v))).collect::<serde_json::Map<_, _>>().into(),
        Yaml::Sequence(s) => s.iter().map(to_json).collect(),
        Yaml::Value(Scalar::Integer(i)) => (*i).into(),
        Yaml::Value(Scalar::Boolean(b)) => (*b).into(),
        Yaml::Value(Scalar::FloatingPoint(f)) => f.into_inner().into(),
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::String(s)) => s.to_string().into(),
        other => panic!("no JSON for {other:?}"),
    }
}

fn text(y: &Yaml<'_>) -> String {
    match to_json(y) {
        Value::String(s) => s,
        other => other.to_string(),
    }
}

#[test]
fn every_shipped_lab_is_valid_for_containerlab() {
    let schema = root().join("../shared/data/clab.schema.json");
    if !schema.exists() {
        println!("skipped: {} is not there", schema.display());
        return;
    }
    for file in shipped() {
        let source = std::fs::read_to_string(&file).expect("readable");
        let doc = to_json(&Yaml::load_from_str(&source).expect("YAML")[0]);
        let (valid, why) = valid(&schema, &doc);
        assert!(valid, "{}: {why}", file.display());
        // The schema is what refuses: a key it does not know must be found.
        let mut bad = doc.clone();
        bad["topology"]["nonsense"] = Value::Bool(true);
        let (valid, why) = self::valid(&schema, &bad);
        assert!(!valid && why.contains("nonsense"), "{why}");
    }
}

/// Judged by Debian's python3-jsonschema: a validator as a crate would double the build of everything below it.
fn valid(schema: &Path, doc: &Value) -> (bool, String) {
    const JUDGE: &str =
        "import json, sys, jsonschema; jsonschema.validate(json.load(sys.stdin), json.load(open(sys.argv[1])))";
    let mut judge = Command::new("/usr/bin/python3")
        .args(["-c", JUDGE])
        .arg(schema)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 with python3-jsonschema (tests/install)");
    judge.stdin.take().expect("piped").write_all(doc.to_string().as_bytes()).expect("the judge reads");
    let out = judge.wait_with_output().expect("the judge ends");
    let why = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!why.contains("ModuleNotFoundError"), "python3-jsonschema is not installed: run tests/install");
    (out.status.success(), why)
}

#[test]
fn another_daemon_stands_where_ours_does_and_nowhere_else() {
    let file = root().join("labs/fibre-cut/fibre-cut.clab.yml");
    let ours = Topology::read(&file).unwrap();
    for (image, config) in [("bird", "/etc/bird/bird.conf"), ("frr", "/etc/frr/frr.conf")] {
        let theirs = ours.clone().with_daemon(image).unwrap();
        for (a, b) in ours.nodes.iter().zip(&theirs.nodes) {
            if a.image != "artere/bgpd" {
                assert_eq!(a, b);
                continue;
            }
            let source = root().join(format!("labs/fibre-cut/{image}/{}.conf", a.name));
            let bound: Vec<_> = b.binds.iter().map(|b| (b.source.canonicalize().unwrap(), b.target.clone())).collect();
            assert_eq!((b.image.as_str(), bound), (image, vec![(source.canonicalize().unwrap(), config.into())]));
            assert_eq!((&a.exec, &a.sysctls), (&b.exec, &b.sysctls), "the same addresses");
        }
    }
    for image in ["openbgpd", "host", "nobody"] {
        ours.clone().with_daemon(image).expect_err(image);
    }
}
