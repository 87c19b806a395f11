//! What happens to a lab: `plays/*.json`, failures and repairs under the ledger's packets.
//!
//! A file names streams (who sends to whom) and plays. A play first waits until the lab is whole, which is what its
//! expectations (`expect/*.json`) say; then packets flow in all streams while its steps are done at their times; the
//! ledger gives one line. A play that `continues` begins where the one before it has ended, so that a loss and the return
//! are two lines. Its `most` is what it may cost; more is a failure.
//!
//! A machine that stands still proves nothing: for as long as BFD takes to call a path gone, everybody rightly does. A
//! chain of plays that failed under that is played again.
//!
//! Invariants: a step is one act of [`crate::ctl`] or a command inside a node, nothing that a person could not type; a
//! play that fails does not stop the next one.

use crate::ctl::{self, Act};
use crate::enter;
use crate::expect::{self, Expectation, Run};
use crate::ledger::{self, Account, Counters, Flow, Ledger};
use crate::report::note;
use crate::state::State;
use crate::up;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a lab may take to be whole again before a play, beyond what its expectations allow.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the machine may stand still under a play that failed, for that to be the play's fault: two of the three
/// intervals of the labs' BFD.
const STILL_MS: f64 = 100.0;
/// How often a chain is played that failed while the machine stood still.
const TIMES: usize = 4;

/// One file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Packets a second to each address.
    pub rate: u32,
    /// Who sends to whom.
    pub streams: Vec<Stream>,
    /// What happens, in order.
    pub plays: Vec<Play>,
}

/// Packets from one node to some addresses.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// In a person's words, such as `Paris to Chartres`.
    pub name: String,
    /// Node that sends.
    pub from: String,
    /// Nodes that have the addresses; several of them: anycast, none: nobody should get them.
    pub to: Vec<String>,
    /// Where to.
    pub addresses: Vec<IpAddr>,
}

/// One thing that happens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Play {
    /// In a person's words.
    pub name: String,
    /// Only where some node runs this image: a play whose steps speak to its program.
    #[serde(default)]
    pub image: Option<String>,
    /// Begins where the play before it ended, without waiting for a whole lab.
    #[serde(default)]
    pub continues: bool,
    /// How long packets flow.
    pub seconds: f64,
    /// What is done meanwhile.
    pub steps: Vec<Step>,
    /// Streams that have no way at all during this play: counted, but not held against it. With the reason.
    #[serde(default)]
    pub without_way: Vec<String>,
    /// What it may cost.
    pub most: Most,
}

/// What a play may cost.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Most {
    /// Milliseconds of the longest gap of any address; 0: not a packet.
    pub gap_ms: f64,
    /// Packets whose time to live ran out.
    pub expired: u64,
    /// Packets that arrived twice or more.
    #[serde(default)]
    pub twice: u64,
}

/// One step: a time and one act.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Seconds after the first packet.
    pub at: f64,
    /// Interfaces (`node:interface`) that lose their carrier, at once.
    #[serde(default)]
    pub cut: Vec<String>,
    /// Interfaces that get it back.
    #[serde(default)]
    pub heal: Vec<String>,
    /// Node whose program is killed (SIGKILL).
    pub kill: Option<String>,
    /// Node whose program is started again.
    pub start: Option<String>,
    /// Node in which `run` is run.
    pub node: Option<String>,
    /// A command, which must succeed.
    pub run: Option<Run>,
}

/// The line of a play.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// Name of the play.
    pub play: String,
    /// Sums over all streams that have a way.
    pub sent: u64,
    /// Received once.
    pub once: u64,
    /// Received twice or more.
    pub more: u64,
    /// Never received.
    pub never: u64,
    /// Of streams without a way, never received: outside the sums above.
    pub without_way: u64,
    /// The lab's own count of packets that went in a circle until their time to live ran out.
    pub expired: u64,
    /// Longest gap of any address.
    pub longest_gap_ms: f64,
    /// Longest time any packet was under way.
    pub longest_delay_ms: f64,
    /// How long the machine stood still at most, on any of its cores.
    pub stood_still_ms: f64,
    /// Addresses that missed a packet, and addresses in all.
    pub hit: (usize, usize),
    /// Why the play failed; empty: it did not.
    pub failed: Vec<String>,
    /// Address by address.
    pub accounts: Vec<Account>,
}

/// Reads and checks one file.
pub fn read(file: &Path) -> Result<Script> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let script: Script = serde_json::from_str(&text).with_context(|| format!("{}", file.display()))?;
    for play in &script.plays {
        let known = |n: &&String| !script.streams.iter().any(|s| s.name == **n);
        if let Some(name) = play.without_way.iter().find(known) {
            bail!("{}: play {:?}: there is no stream {name:?}", file.display(), play.name);
        }
        for step in &play.steps {
            let acts = [
                !step.cut.is_empty(),
                !step.heal.is_empty(),
                step.kill.is_some(),
                step.start.is_some(),
                step.node.is_some() && step.run.is_some(),
            ];
            let one = acts.iter().filter(|a| **a).count() == 1 && step.node.is_some() == step.run.is_some();
            let what = "a step is one of cut, heal, kill, start, or node and run, inside the play's seconds";
            let inside = (0.0..play.seconds).contains(&step.at);
            ensure!(one && inside, "{}: play {:?}, at {}: {what}", file.display(), play.name, step.at);
        }
    }
    Ok(script)
}

/// The files `plays/*.json` beside a topology, by name.
pub fn files(topology: &Path) -> Result<Vec<PathBuf>> {
    expect::json_files(&topology.parent().unwrap_or(Path::new(".")).join("plays"))
}

/// Plays all of a script whose name contains `only`, what these continue and what continues them: a lab is left as it
/// was found. `tell` is given each line as it is there.
pub fn all(
    state: &State,
    script: &Script,
    whole: &[Expectation],
    only: Option<&str>,
    mut tell: impl FnMut(&Line),
) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    let chosen = |chain: &&[Play]| only.is_none_or(|o| chain.iter().any(|p| p.name.contains(o)));
    let runs = |image: &String| state.nodes.iter().any(|n| n.image == *image);
    for chain in script.plays.chunk_by(|_, next| next.continues).filter(chosen) {
        for time in 1..=TIMES {
            let mut played = Vec::new();
            for play in chain.iter().filter(|p| p.image.as_ref().is_none_or(runs)) {
                played.push(one(state, script, play, whole).with_context(|| format!("play {:?}", play.name))?);
            }
            let failed = played.iter().any(|l| !l.failed.is_empty());
            let stood_still = played.iter().map(|l| l.stood_still_ms).fold(0.0, f64::max);
            if failed && stood_still > STILL_MS && time < TIMES {
                note(&format!("once more: the machine stood still for {stood_still} ms"));
                continue;
            }
            played.iter().for_each(&mut tell);
            lines.extend(played);
            break;
        }
    }
    Ok(lines)
}

fn one(state: &State, script: &Script, play: &Play, whole: &[Expectation]) -> Result<Line> {
    let mut failed = Vec::new();
    if !play.continues
        && let Err(e) = expect::settle(state, whole, PATIENCE)
    {
        failed.push(format!("the lab was not whole before: {e:#}"));
    }
    note(&format!("play: {}", play.name));
    let netns = |node: &String| Ok(Path::new("/run/netns").join(&state.node(node)?.netns));
    let mut flows = Vec::new();
    for s in &script.streams {
        let (from, to) = (netns(&s.from)?, s.to.iter().map(netns).collect::<Result<Vec<_>>>()?);
        flows.extend(s.addresses.iter().map(|a| Flow {
            stream: s.name.clone(),
            from: from.clone(),
            address: *a,
            to: to.clone(),
        }));
    }
    for n in &state.nodes {
        ledger::watch(&Path::new("/run/netns").join(&n.netns)).with_context(|| n.name.clone())?;
    }
    let before = count(state)?;
    let ledger = Ledger::start(flows, script.rate, Duration::from_secs_f64(play.seconds))?;
    let mut steps: Vec<&Step> = play.steps.iter().collect();
    steps.sort_by(|a, b| a.at.total_cmp(&b.at));
    for step in steps {
        std::thread::sleep(Duration::from_secs_f64(step.at).saturating_sub(ledger.elapsed()));
        up::check_interrupt()?;
        act(state, step).with_context(|| format!("at {} s", step.at))?;
    }
    let (accounts, stood_still) = ledger.finish()?;
    let after = count(state)?;
    let counted = Counters { expired: after.expired - before.expired, overruns: after.overruns - before.overruns };
    Ok(line(play, accounts, counted, stood_still, failed))
}

fn line(
    play: &Play,
    accounts: Vec<Account>,
    counted: Counters,
    stood_still: Duration,
    mut failed: Vec<String>,
) -> Line {
    let (without, with): (Vec<&Account>, Vec<&Account>) =
        accounts.iter().partition(|a| play.without_way.contains(&a.stream));
    let sum = |of: fn(&Account) -> u64| with.iter().map(|a| of(a)).sum();
    let (sent, once, more, never) = (sum(|a| a.sent), sum(|a| a.once), sum(|a| a.more), sum(|a| a.never));
    let worst = with.iter().max_by(|a, b| a.longest_gap_ms.total_cmp(&b.longest_gap_ms));
    let longest_gap_ms = worst.map_or(0.0, |a| a.longest_gap_ms);
    let longest_delay_ms = with.iter().map(|a| a.longest_delay_ms).fold(0.0, f64::max);
    let hit = (with.iter().filter(|a| a.never > 0).count(), with.len());
    if let Some(w) = worst.filter(|_| longest_gap_ms > play.most.gap_ms) {
        let most = play.most.gap_ms;
        failed.push(format!("{} to {}: a gap of {longest_gap_ms} ms, at most {most}", w.stream, w.address));
    }
    if counted.expired > play.most.expired {
        failed.push(format!("{} packets went in a circle, at most {}", counted.expired, play.most.expired));
    }
    if more > play.most.twice {
        failed.push(format!("{more} packets arrived twice, at most {}", play.most.twice));
    }
    if counted.overruns > 0 {
        failed.push(format!("{} packets found no room at their receiver: the machine is too slow", counted.overruns));
    }
    let without_way = without.iter().map(|a| a.never).sum();
    let (play, expired) = (play.name.clone(), counted.expired);
    let stood_still_ms = (stood_still.as_secs_f64() * 10_000.0).round() / 10.0;
    Line {
        play,
        sent,
        once,
        more,
        never,
        without_way,
        expired,
        longest_gap_ms,
        longest_delay_ms,
        stood_still_ms,
        hit,
        failed,
        accounts,
    }
}

fn act(state: &State, step: &Step) -> Result<()> {
    let does = |a: Act| ctl::act(&state.instance, &a).map(|_| ());
    step.cut.iter().try_for_each(|end| does(Act::Cut { end: end.clone() }))?;
    step.heal.iter().try_for_each(|end| does(Act::Heal { end: end.clone() }))?;
    if let Some(node) = &step.kill {
        does(Act::Kill { node: node.clone(), signal: None })?;
    }
    if let Some(node) = &step.start {
        does(Act::Start { node: node.clone() })?;
    }
    if let (Some(node), Some(command)) = (&step.node, &step.run) {
        up::run(&mut enter::run(state.node(node)?, command)).with_context(|| format!("in {node}"))?;
    }
    Ok(())
}

/// The sum over all nodes.
fn count(state: &State) -> Result<Counters> {
    let mut sum = Counters::default();
    for n in &state.nodes {
        let c = ledger::counters(&Path::new("/run/netns").join(&n.netns)).with_context(|| n.name.clone())?;
        sum.expired += c.expired;
        sum.overruns += c.overruns;
    }
    Ok(sum)
}

/// Head of the table.
pub const HEAD: &str = "| play | sent | once | twice or more | never | TTL exceeded | longest gap | longest delay | addresses hit | no way |\n\
                        |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|";

/// A row of the table, and below it why it failed.
pub fn row(l: &Line) -> String {
    let head = format!("| {} | {} | {} | {} | {} |", l.play, l.sent, l.once, l.more, l.never);
    let hit = format!("{} of {}", l.hit.0, l.hit.1);
    let times = format!("{} ms | {} ms", l.longest_gap_ms, l.longest_delay_ms);
    let mut text = format!("{head} {} | {times} | {hit} | {} |", l.expired, l.without_way);
    for why in &l.failed {
        text.push_str(&format!("\nFAILED: {}: {why} (the machine stood still for {} ms)", l.play, l.stood_still_ms));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is the report")]
    use super::*;

    fn script(step: &str) -> Result<Script> {
        let dir = std::env::temp_dir().join(format!("lab-play-{}-{}", std::process::id(), step.len()));
        let text = format!(
            r#"{{"rate": 100, "streams": [{{"name": "s", "from": "a", "to": ["b"], "addresses": ["192.0.2.1"]}}],
            "plays": [{{"name": "p", "seconds": 2, "steps": [{step}], "without_way": ["s"], "most": {{"gap_ms": 5, "expired": 0}}}}]}}"#
        );
        std::fs::write(&dir, text).unwrap();
        let read = read(&dir);
        std::fs::remove_file(&dir).unwrap();
        read
    }

    #[test]
    fn a_step_is_one_act_inside_its_play() {
        for good in [r#"{"at": 1, "cut": ["a:x", "b:y"]}"#, r#"{"at": 0.5, "node": "a", "run": "true"}"#] {
            script(good).unwrap();
        }
        for bad in [
            r#"{"at": 1}"#,
            r#"{"at": 2, "kill": "a"}"#,
            r#"{"at": 1, "kill": "a", "start": "a"}"#,
            r#"{"at": 1, "node": "a"}"#,
            r#"{"at": 1, "kill": "a", "node": "a"}"#,
            r#"{"at": 1, "burn": "a"}"#,
        ] {
            script(bad).expect_err(bad);
        }
    }

    #[test]
    fn what_has_no_way_is_not_held_against_a_play() {
        let mut play = script("").unwrap().plays.remove(0);
        let account = |stream: &str, never, longest_gap_ms| Account {
            stream: stream.into(),
            address: [192, 0, 2, 1].into(),
            sent: 100,
            once: 100 - never,
            more: 0,
            never,
            longest_gap_ms,
            longest_delay_ms: 1.0,
        };
        let accounts = vec![account("s", 90, 900.0), account("t", 1, 4.0), account("t", 0, 0.0)];
        let l = line(&play, accounts.clone(), Counters::default(), Duration::ZERO, Vec::new());
        assert_eq!((l.sent, l.never, l.without_way, l.longest_gap_ms, l.hit), (200, 1, 90, 4.0, (1, 2)));
        assert_eq!(l.failed, Vec::<String>::new());
        play.without_way.clear();
        let counted = Counters { expired: 1, overruns: 0 };
        let l = line(&play, accounts, counted, Duration::ZERO, Vec::new());
        assert_eq!(l.failed, ["s to 192.0.2.1: a gap of 900 ms, at most 5", "1 packets went in a circle, at most 0"]);
    }
}
