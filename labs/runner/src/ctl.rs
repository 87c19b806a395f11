//! Hands on a lab that stands: cut a fibre, kill a daemon, run a command. What the system tests and a curious person use.

use crate::enter;
use crate::state::{NodeState, State};
use crate::topology::End;
use crate::up::run;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::process::{Command, ExitCode};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// One act.
#[derive(Debug, clap::Subcommand)]
pub enum Act {
    /// Signal a node's program (all its processes); SIGKILL unless told. Waits for its end after KILL and TERM.
    Kill {
        /// Node, or `all` for every node with a program.
        node: String,
        /// Such as KILL, TERM, STOP, CONT, HUP.
        signal: Option<String>,
    },
    /// Start a node's program again, as at bring-up.
    Start {
        /// Node, or `all` for every node whose program is not running.
        node: String,
    },
    /// Cut a fibre: NODE:IF loses its carrier (the far end is set down, as a digger would).
    Cut {
        /// node:interface
        end: String,
    },
    /// Splice it again.
    Heal {
        /// node:interface
        end: String,
    },
    /// Run a command inside a node; its exit code is ours.
    Exec {
        /// Node.
        node: String,
        /// Command and arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        argv: Vec<String>,
    },
    /// Print the lab's state file.
    State,
    /// Print what a node's program has said.
    Log {
        /// Node.
        node: String,
    },
}

/// Does it.
pub fn act(instance: &str, act: &Act) -> Result<ExitCode> {
    let state = State::read(instance)?;
    match act {
        Act::Kill { node, signal } => {
            let signal = parse_signal(signal.as_deref().unwrap_or("KILL"))?;
            let nodes = select(&state, node)?;
            let mut hit = Vec::new();
            // All signals first: `all` is a power cut, not a procession.
            for n in nodes {
                if let Some(pid) = enter::program_pid(n) {
                    killpg(Pid::from_raw(pid), signal).with_context(|| format!("node {}", n.name))?;
                    hit.push((n, pid));
                } else {
                    ensure!(node == "all", "node {}: its program is not running", n.name);
                }
            }
            if matches!(signal, Signal::SIGKILL | Signal::SIGTERM) {
                for (n, _) in hit {
                    wait_gone(n)?;
                }
            }
        }
        Act::Start { node } => {
            for n in select(&state, node)? {
                if enter::program_pid(n).is_some() {
                    ensure!(node == "all", "node {}: its program is running already", n.name);
                    continue;
                }
                match &n.program {
                    Some(p) => enter::start_program(n, p)?,
                    None => bail!("node {} has no program", n.name),
                }
            }
        }
        Act::Cut { end } => set_far_end(&state, end, "down")?,
        Act::Heal { end } => set_far_end(&state, end, "up")?,
        Act::Exec { node, argv } => {
            let status = enter::command(state.node(node)?, argv).status()?;
            return Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)));
        }
        Act::State => crate::report::say(serde_json::to_string_pretty(&state)?),
        Act::Log { node } => {
            let log = std::fs::read(&state.node(node)?.log)?;
            crate::report::say(String::from_utf8_lossy(&log).trim_end());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn select<'a>(state: &'a State, node: &str) -> Result<Vec<&'a NodeState>> {
    if node == "all" {
        return Ok(state.nodes.iter().filter(|n| n.program.is_some()).collect());
    }
    Ok(vec![state.node(node)?])
}

fn parse_signal(name: &str) -> Result<Signal> {
    let full = if name.starts_with("SIG") { name.to_owned() } else { format!("SIG{name}") };
    Signal::from_str(&full)
        .ok()
        .with_context(|| format!("there is no signal {name}: write KILL, TERM, STOP, CONT, HUP"))
}

fn wait_gone(node: &NodeState) -> Result<()> {
    let start = Instant::now();
    while enter::program_pid(node).is_some() {
        ensure!(start.elapsed() < Duration::from_secs(10), "node {}: its program does not end", node.name);
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn set_far_end(state: &State, end: &str, to: &str) -> Result<()> {
    let end: End = end.parse().map_err(anyhow::Error::msg)?;
    state.node(&end.node)?;
    let far = state.links.iter().find_map(|[an, ai, bn, bi]| match () {
        () if *an == end.node && *ai == end.interface => Some((bn, bi)),
        () if *bn == end.node && *bi == end.interface => Some((an, ai)),
        () => None,
    });
    let (node, interface) = far.with_context(|| format!("lab {} has no link that ends in {end}", state.instance))?;
    let netns = &state.node(node)?.netns;
    run(Command::new("ip").args(["-n", netns, "link", "set", interface, to])).map(|_| ())
}
