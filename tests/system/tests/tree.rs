//! The tree as text: file sizes, and what may not stand in it.
#![allow(clippy::expect_used, reason = "a panic is the report")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Non-test lines beyond which a file must be split along a seam with a meaning.
const CAP: usize = 600;
/// Files allowed beyond the cap, each with its reason.
const EXCEPTIONS: &[(&str, &str)] = &[];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn tracked() -> Vec<String> {
    let out = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git ls-files");
    assert!(out.status.success(), "git ls-files: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("utf-8").lines().map(str::to_owned).collect()
}

/// Lines outside a trailing `#[cfg(test)] mod …` block.
fn code_lines(text: &str) -> usize {
    let lines: Vec<_> = text.lines().collect();
    lines.iter().position(|l| l.starts_with("#[cfg(test)]")).unwrap_or(lines.len())
}

#[test]
fn files_stay_readable_in_one_sitting() {
    let mut sizes: Vec<(usize, String)> = tracked()
        .into_iter()
        .filter(|f| f.ends_with(".rs") && !f.contains("/tests/") && !f.ends_with("tests.rs"))
        .filter_map(|f| Some((code_lines(&std::fs::read_to_string(root().join(&f)).ok()?), f)))
        .collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let median = sizes.get(sizes.len() / 2).map_or(0, |s| s.0);
    println!("{} Rust files outside tests, median {median} lines; the largest:", sizes.len());
    for (n, f) in sizes.iter().take(10) {
        println!("{n:6}  {f}");
    }
    let over: Vec<_> = sizes.iter().filter(|(n, f)| *n > CAP && !EXCEPTIONS.iter().any(|(e, _)| e == f)).collect();
    assert!(over.is_empty(), "over {CAP} lines of non-test code, split along a seam with a meaning: {over:?}");
}

#[test]
fn no_unfinished_marks() {
    let marks = [["todo", "!("], ["unimplemented", "!("], ["FIX", "ME"], ["#[ign", "ore"]].map(|p| p.concat());
    let mut found = Vec::new();
    for f in tracked().iter().filter(|f| f.ends_with(".rs")) {
        let text = std::fs::read_to_string(root().join(f)).unwrap_or_default();
        for (i, line) in text.lines().enumerate() {
            if marks.iter().any(|m| line.contains(m.as_str())) {
                found.push(format!("{f}:{}: {}", i + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn only_documentation_values_in_shipped_configurations() {
    // Private space in an example ends up in somebody's network; documentation space cannot.
    let mut found = Vec::new();
    for f in tracked().iter().filter(|f| f.starts_with("configs/") || f.starts_with("labs/") && !f.ends_with(".rs")) {
        let text = std::fs::read_to_string(root().join(f)).unwrap_or_default();
        for (i, line) in text.lines().enumerate() {
            let private = ["10.0.", "192.168.", "172.16.", "fd00:", "AS65001", "64512", "65000"];
            if let Some(p) = private.iter().find(|p| line.contains(**p)) {
                found.push(format!("{f}:{}: {p}", i + 1));
            }
        }
    }
    assert!(found.is_empty(), "use 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24, 2001:db8::/32: {found:?}");
}
