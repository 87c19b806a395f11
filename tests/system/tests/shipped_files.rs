//! Every configuration in `configs/` and `labs/` is read by the program it is for: ours, and the foreign daemons' own checkers.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a panic is the report")]

use std::path::{Path, PathBuf};
use std::process::Command;

use system_tests::{can_run, program, root};

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("readable").map(|e| e.expect("entry").path()) {
        match entry.is_dir() {
            true if entry.ends_with("src") || entry.ends_with("runner") => {}
            true => files(&entry, found),
            false => found.push(entry),
        }
    }
}

/// The checker of a file, by its name; `None` for what is no configuration (pictures, text, scripts).
fn checker(file: &Path) -> Option<Vec<String>> {
    let name = file.file_name()?.to_str()?;
    let path = file.to_str()?.to_owned();
    let ours = |p: &str| program(p).to_str().expect("utf-8").to_owned();
    let words = |w: &[&str]| w.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    Some(match name {
        n if n.starts_with("bgpd") && n.ends_with(".toml") => {
            vec![ours("bgpd"), "--config".into(), path, "--check".into()]
        }
        n if n.starts_with("ipamd") && n.ends_with(".toml") => {
            vec![ours("ipamd"), "--config".into(), path, "--check".into()]
        }
        "bird.conf" => [words(&["bird", "-p", "-c"]), vec![path]].concat(),
        "bgpd.conf" => [words(&["/usr/sbin/bgpd", "-n", "-f"]), vec![path]].concat(),
        "frr.conf" => [words(&["vtysh", "--dryrun", "--inputfile"]), vec![path]].concat(),
        n if n.ends_with(".clab.yml") => {
            [vec![ours("lab-runner"), "any".into(), "--check".into()], vec![path]].concat()
        }
        n if n.ends_with(".json") => [words(&["python3", "-m", "json.tool"]), vec![path, "/dev/null".into()]].concat(),
        n if n.ends_with(".sh") => [words(&["bash", "-n"]), vec![path]].concat(),
        _ => return None,
    })
}

#[test]
fn every_shipped_configuration_is_read_by_its_program() {
    if !can_run() {
        return;
    }
    let mut all = Vec::new();
    files(&root().join("configs"), &mut all);
    files(&root().join("labs"), &mut all);
    let mut bad = Vec::new();
    let mut checked = 0;
    for file in &all {
        let Some(mut argv) = checker(file) else { continue };
        if argv.get(1).is_some_and(|a| a == "any") {
            // The runner wants a lab's name first: the file's own.
            argv[1] = file.file_name().and_then(|n| n.to_str()).expect("name").replace(".clab.yml", "");
        }
        let out = Command::new(&argv[0]).args(&argv[1..]).output().expect("the checker runs");
        checked += 1;
        if !out.status.success() {
            let said = [out.stdout, out.stderr].concat();
            bad.push(format!("{}: {}", file.display(), String::from_utf8_lossy(&said).trim()));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    assert!(checked >= 20, "only {checked} files were found: has the tree moved?");
}
