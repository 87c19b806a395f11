//! What a lab must show: `expect/*.json`, each a list of commands run inside nodes and of what they must answer.
//!
//! Every expectation is asked again until it is met or its time is over, so a lab's convergence time is part of what is
//! checked. JSON is compared as a subset: named members must be there, list items may stand anywhere.

use crate::enter;
use crate::report::Progress;
use crate::state::State;
use crate::up;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// One expectation.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// What is expected, in a person's words.
    pub name: String,
    /// Where the command runs.
    pub node: String,
    /// Only where the node runs this image.
    #[serde(default)]
    pub image: Option<String>,
    /// The command: a list of words, or a line for the shell.
    pub run: Run,
    /// Seconds it may take from the start of the check.
    #[serde(default = "default_within")]
    pub within: u64,
    /// Exit code; 0 unless told.
    #[serde(default)]
    pub exit: i32,
    /// Texts that standard output must contain.
    #[serde(default)]
    pub contains: Vec<String>,
    /// Texts that standard output must not contain.
    #[serde(default)]
    pub lacks: Vec<String>,
    /// Regular expressions that must match standard output (`.` stops at a line's end; `(?m)`, `(?s)` as usual).
    #[serde(default)]
    pub matches: Vec<String>,
    /// What standard output must contain as JSON. `{"$ge": n}` stands for any number from n.
    #[serde(default)]
    pub json: Option<Value>,
}

/// A command as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Run {
    /// Shell line.
    Line(String),
    /// Words.
    Words(Vec<String>),
}

fn default_within() -> u64 {
    30
}

/// Reads one file.
pub fn read(file: &Path) -> Result<Vec<Expectation>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let all: Vec<Expectation> = serde_json::from_str(&text).with_context(|| format!("{}", file.display()))?;
    for e in &all {
        for m in &e.matches {
            regex::Regex::new(m)
                .with_context(|| format!("{}: expectation {:?}: bad pattern", file.display(), e.name))?;
        }
    }
    Ok(all)
}

/// The files `expect/*.json` beside a topology, by name.
pub fn files(topology: &Path) -> Result<Vec<PathBuf>> {
    json_files(&topology.parent().unwrap_or(Path::new(".")).join("expect"))
}

/// The files `*.json` of a folder, by name; none if it is not there.
pub fn json_files(dir: &Path) -> Result<Vec<PathBuf>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    found.retain(|p| p.extension().is_some_and(|e| e == "json"));
    found.sort();
    Ok(found)
}

/// Waits without a word until all expectations are met in one round; the error names the first that was not.
pub fn settle(state: &State, all: &[Expectation], patience: Duration) -> Result<()> {
    let limit = Duration::from_secs(all.iter().map(|e| e.within).max().unwrap_or(0)) + patience;
    let start = Instant::now();
    loop {
        up::check_interrupt()?;
        match all.iter().try_for_each(|e| ask(state, e).with_context(|| e.name.clone())) {
            Ok(()) => return Ok(()),
            Err(e) if start.elapsed() > limit => return Err(e),
            Err(_) => std::thread::sleep(Duration::from_millis(300)),
        }
    }
}

/// Checks every expectation against a lab, printing a line as each is settled. Returns (met, not met).
pub fn check(state: &State, all: &[Expectation]) -> Result<(usize, usize)> {
    for e in all {
        state.node(&e.node).with_context(|| format!("expectation {:?}", e.name))?;
    }
    let start = Instant::now();
    let progress = Progress::new("expectations", all.len() as u64);
    let mut open: Vec<&Expectation> = all.iter().collect();
    let mut failed = 0;
    while !open.is_empty() {
        let mut still = Vec::new();
        for e in open {
            up::check_interrupt()?;
            let result = ask(state, e);
            let elapsed = start.elapsed();
            match result {
                Ok(()) => {
                    progress.line(&format!("ok      {:>5.1} s  {}", elapsed.as_secs_f32(), e.name));
                    progress.step(e.name.clone());
                }
                Err(why) if elapsed >= Duration::from_secs(e.within) => {
                    failed += 1;
                    progress.line(&format!(
                        "FAILED  {:>5.1} s  {} (node {}): {why:#}",
                        elapsed.as_secs_f32(),
                        e.name,
                        e.node
                    ));
                }
                Err(_) => still.push(e),
            }
        }
        open = still;
        if !open.is_empty() {
            std::thread::sleep(Duration::from_millis(300));
        }
    }
    progress.done();
    Ok((all.len() - failed, failed))
}

/// Runs one expectation once.
pub fn ask(state: &State, e: &Expectation) -> Result<()> {
    let node = state.node(&e.node)?;
    let out = enter::run(node, &e.run).output().context("cannot run the command")?;
    let stdout = String::from_utf8_lossy(&out.stdout);
    let code = out.status.code().unwrap_or(-1);
    if code != e.exit {
        let err = String::from_utf8_lossy(&out.stderr);
        bail!("exit code {code}, expected {}: {}", e.exit, short(if err.trim().is_empty() { &stdout } else { &err }));
    }
    for text in &e.contains {
        if !stdout.contains(text.as_str()) {
            bail!("output lacks {text:?}: {}", short(&stdout));
        }
    }
    for text in &e.lacks {
        if stdout.contains(text.as_str()) {
            bail!("output has {text:?}: {}", short(&stdout));
        }
    }
    for pattern in &e.matches {
        if !regex::Regex::new(pattern)?.is_match(&stdout) {
            bail!("output does not match {pattern:?}: {}", short(&stdout));
        }
    }
    if let Some(wanted) = &e.json {
        let got: Value =
            serde_json::from_str(&stdout).with_context(|| format!("output is not JSON: {}", short(&stdout)))?;
        subset(wanted, &got, "")?;
    }
    Ok(())
}

/// Checks that `got` holds all of `wanted`; the error names the first place where it does not.
pub fn subset(wanted: &Value, got: &Value, at: &str) -> Result<()> {
    match (wanted, got) {
        (Value::Object(w), _) if w.len() == 1 && w.contains_key("$ge") => {
            let least = w.get("$ge").and_then(Value::as_f64).context("`$ge` takes a number")?;
            match got.as_f64() {
                Some(n) if n >= least => Ok(()),
                _ => bail!("{at}: expected at least {least}, got {got}"),
            }
        }
        (Value::Object(w), Value::Object(g)) => w.iter().try_for_each(|(k, v)| match g.get(k) {
            Some(x) => subset(v, x, &format!("{at}/{k}")),
            None => bail!("{at}/{k}: not there"),
        }),
        (Value::Array(w), Value::Array(g)) => w.iter().enumerate().try_for_each(|(i, v)| {
            if g.iter().any(|x| subset(v, x, at).is_ok()) {
                return Ok(());
            }
            bail!("{at}/{i}: no item of {} is like {}", g.len(), short(&v.to_string()))
        }),
        (w, g) if w == g => Ok(()),
        (w, g) => bail!("{at}: expected {w}, got {}", short(&g.to_string())),
    }
}

fn short(text: &str) -> String {
    let one: String = text.trim().replace('\n', " | ");
    if one.is_empty() {
        return "it said nothing".to_owned();
    }
    match one.char_indices().nth(300) {
        Some((i, _)) => format!("{}…", one.get(..i).unwrap_or_default()),
        None => one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn subset_finds_what_is_there_and_names_what_is_not() {
        let got = json!({"a": 1, "list": [{"x": 1, "y": 2}, {"x": 3}], "n": 20000});
        subset(&json!({"list": [{"x": 3}, {"y": 2}], "n": {"$ge": 19000}}), &got, "").unwrap();
        let e = subset(&json!({"list": [{"x": 4}]}), &got, "").unwrap_err().to_string();
        assert!(e.starts_with("/list/0: no item of 2"), "{e}");
        let e = subset(&json!({"n": {"$ge": 20001}}), &got, "").unwrap_err().to_string();
        assert!(e.contains("/n: expected at least 20001, got 20000"), "{e}");
        assert!(subset(&json!({"b": null}), &got, "").is_err());
    }
}
