//! Bringing a lab up and taking it down.
//!
//! Order up: lock, leavings of a dead runner, plan on disk, nodes (namespaces), links, addresses (`exec`), programs.
//! Down is one blow: process 1 of each node is killed, the kernel takes everything of the node with it, then the names
//! and files go. [`Lab`] does that on drop, so every early return tidies up.

use crate::enter;
use crate::node::Spec;
use crate::report::{Progress, note};
use crate::state::{self, Lock, NodeState, State};
use crate::topology::{Link, Topology};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// True once SIGINT, SIGTERM or SIGHUP has come.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Turns SIGINT, SIGTERM and SIGHUP into [`interrupted`]. To be called before any thread or process is started.
pub fn catch_signals() -> Result<()> {
    let mut set = nix::sys::signal::SigSet::empty();
    for s in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        set.add(s);
    }
    set.thread_block()?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        while set.wait().is_ok() {
            INTERRUPTED.store(true, Ordering::Relaxed);
        }
    })?;
    Ok(())
}

/// A lab that stands for as long as this value lives.
pub struct Lab {
    /// Its state, as on disk.
    pub state: State,
    holders: Vec<Child>,
    _lock: Lock,
}

impl Lab {
    /// Brings `topology` up as `instance`. `env` is added to every node's environment.
    pub fn up(topology: &Topology, instance: &str, env: &[(String, String)]) -> Result<Lab> {
        for n in &topology.nodes {
            if let Some((file, package)) = crate::images::find(&n.image).and_then(|i| i.needs) {
                let missing = format!("node {}: image {} needs {file}: apt-get install {package}", n.name, n.image);
                ensure!(Path::new(file).exists(), missing);
            }
        }
        sweep_dead(&topology.name);
        let lock = Lock::take(instance)?;
        sweep(instance)?;
        nix::sys::prctl::set_child_subreaper(true)?;
        let state = State::plan(topology, instance, env);
        state.write()?;
        // From here on drop tidies up.
        let mut lab = Lab { state, holders: Vec::new(), _lock: lock };
        let steps = topology.nodes.len() as u64;
        let progress = Progress::new(&format!("{instance}: nodes"), steps);
        lab.nodes(topology, &progress)?;
        progress.done();
        lab.links(&topology.links)?;
        let progress = Progress::new(&format!("{instance}: addresses and programs"), steps);
        lab.dress(topology, &progress)?;
        progress.done();
        lab.state.up = true;
        lab.state.write()?;
        Ok(lab)
    }

    fn nodes(&mut self, topology: &Topology, progress: &Progress) -> Result<()> {
        let dir = state::directory(&self.state.instance);
        let mut outputs = Vec::new();
        for (n, s) in topology.nodes.iter().zip(&self.state.nodes) {
            let spec = Spec {
                hostname: n.name.clone(),
                binds: Spec::binds(&n.binds),
                sysctls: n.sysctls.clone().into_iter().filter(|(k, _)| !is_late(k)).collect(),
            };
            let spec_file = dir.join(format!("{}.spec.json", n.name));
            fs::write(&spec_file, serde_json::to_vec(&spec)?)?;
            let log = fs::File::create(&s.log)?;
            // Its own process group: a Ctrl-C on the terminal is for the runner, which then takes the nodes down.
            let mut child = Command::new("/proc/self/exe")
                .arg("__node")
                .arg(&spec_file)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(log)
                .process_group(0)
                .spawn()
                .with_context(|| format!("node {}", n.name))?;
            outputs.push(child.stdout.take());
            self.holders.push(child);
        }
        for (s, out) in self.state.nodes.iter_mut().zip(outputs) {
            // Two processes write here, the number by the outer one and `ready` by process 1: in any order.
            let (mut pid, mut ready) = (None, false);
            for line in BufReader::new(out.context("no pipe")?).lines().take(2) {
                let line = line?;
                ready |= line == "ready";
                pid = line.strip_prefix("pid ").and_then(|n| n.parse().ok()).or(pid);
            }
            let (Some(pid), true) = (pid, ready) else {
                bail!("node {}: cannot be made: {}", s.name, log_tail(&s.log));
            };
            s.pid = pid;
            run(Command::new("ip").args(["netns", "attach", &s.netns, &pid.to_string()]))
                .with_context(|| format!("node {}", s.name))?;
            progress.step(s.name.clone());
            check_interrupt()?;
        }
        self.state.write()
    }

    fn links(&self, links: &[Link]) -> Result<()> {
        let mut add = String::new();
        for (i, l) in links.iter().enumerate() {
            let mtu = l.mtu.map(|m| format!("mtu {m} ")).unwrap_or_default();
            let (na, nb) = (&self.state.node(&l.a.node)?.netns, &self.state.node(&l.b.node)?.netns);
            // The kernel tells of a lost carrier at once only where the index of an interface differs from its peer's
            // (linkwatch_urgent_event); else up to a second late. So no two ends of a lab share one.
            let (xa, xb) = (100 + 2 * i, 101 + 2 * i);
            add.push_str(&format!(
                "link add name {} index {xa} {mtu}netns {na} type veth peer name {} index {xb} {mtu}netns {nb}\n",
                l.a.interface, l.b.interface
            ));
        }
        batch(&["-batch", "-"], &add).context("links")?;
        for n in &self.state.nodes {
            let ups: String = links
                .iter()
                .flat_map(|l| [&l.a, &l.b])
                .filter(|e| e.node == n.name)
                .map(|e| format!("link set {} up\n", e.interface))
                .collect();
            if !ups.is_empty() {
                batch(&["-n", &n.netns, "-batch", "-"], &ups).with_context(|| format!("links of node {}", n.name))?;
            }
        }
        check_interrupt()
    }

    fn dress(&self, topology: &Topology, progress: &Progress) -> Result<()> {
        let one = |n: &crate::topology::Node, s: &NodeState| -> Result<()> {
            for (key, value) in n.sysctls.iter().filter(|(k, _)| is_late(k)) {
                let path = crate::node::sysctl_path(key);
                let script = format!("printf %s \"$1\" > {}", path.display());
                run(&mut enter::command(s, &["sh", "-c", &script, "sh", value]))
                    .with_context(|| format!("node {}: sysctl {key} = {value}", n.name))?;
            }
            for argv in &n.exec {
                run(&mut enter::command(s, argv))
                    .with_context(|| format!("node {}: exec `{}`", n.name, argv.join(" ")))?;
                check_interrupt()?;
            }
            Ok(())
        };
        // All addresses first, then all programs: nobody's first packet finds a half-made neighbour.
        std::thread::scope(|scope| {
            let tasks: Vec<_> =
                topology.nodes.iter().zip(&self.state.nodes).map(|(n, s)| scope.spawn(move || one(n, s))).collect();
            tasks.into_iter().try_for_each(|t| t.join().unwrap_or_else(|_| bail!("a thread died")))
        })?;
        let started = Instant::now();
        let mut order: Vec<_> = topology.nodes.iter().zip(&self.state.nodes).collect();
        order.sort_by_key(|(n, _)| n.startup_delay);
        for (n, s) in order {
            if let Some(program) = &s.program {
                while started.elapsed() < Duration::from_secs(n.startup_delay) {
                    check_interrupt()?;
                    std::thread::sleep(Duration::from_millis(50));
                }
                enter::start_program(s, program)?;
            }
            progress.step(n.name.clone());
            check_interrupt()?;
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in &mut self.holders {
            let _ = child.kill();
        }
        for child in &mut self.holders {
            let _ = child.wait();
        }
        for n in &self.state.nodes {
            // Orphaned by the death of its parent, process 1 is ours to reap (see `Lab::up`). Once it is a zombie the
            // kernel has ended every other process of the node.
            let Some(pid) = i32::try_from(n.pid).ok().filter(|p| *p > 0).map(Pid::from_raw) else { continue };
            let gone = Instant::now();
            while let Ok(WaitStatus::StillAlive) = waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
                if gone.elapsed() > Duration::from_secs(10) {
                    note(&format!("node {}: process {} does not end", n.name, n.pid));
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        if let Err(e) = sweep(&self.state.instance) {
            note(&format!("taking lab {} down: {e:#}", self.state.instance));
        }
    }
}

/// Removes what a runner of this instance left behind: named network namespaces, processes in them, files. The caller
/// holds the lock.
pub fn sweep(instance: &str) -> Result<()> {
    let dir = state::directory(instance);
    if !dir.exists() {
        return Ok(());
    }
    if let Ok(state) = State::read(instance) {
        for n in &state.nodes {
            let path = Path::new("/run/netns").join(&n.netns);
            let Ok(meta) = fs::metadata(&path) else { continue };
            kill_members(meta.ino());
            run(Command::new("ip").args(["netns", "del", &n.netns])).with_context(|| n.netns.clone())?;
        }
    }
    fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))
}

/// Sweeps up after every runner of a copy of this lab that has died without a word (`kill -9`): copies under names of
/// their own, as tests make them, have nobody else who will.
fn sweep_dead(lab: &str) {
    let copy = |i: &String| i.strip_prefix(lab).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    for instance in state::instances().into_iter().filter(copy) {
        // A lock that can be taken belongs to nobody who lives.
        let Ok(Ok(_lock)) = Lock::try_take(&instance) else { continue };
        if let Err(e) = sweep(&instance) {
            note(&format!("sweeping up after lab {instance}: {e:#}"));
        }
    }
}

/// Kills every process whose network namespace has this inode: only a node's own can.
fn kill_members(inode: u64) {
    let Ok(all) = fs::read_dir("/proc") else { return };
    for entry in all.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        if fs::metadata(entry.path().join("ns/net")).is_ok_and(|m| m.ino() == inode) {
            // Gone in between is as good.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// Ends a lab that another process holds, or sweeps up after one that died.
pub fn down(instance: &str) -> Result<bool> {
    if let Some(holder) = Lock::holder(instance) {
        let pid = Pid::from_raw(i32::try_from(holder)?);
        kill(pid, Signal::SIGTERM).with_context(|| format!("cannot end process {holder}"))?;
        let start = Instant::now();
        while Lock::holder(instance) == Some(holder) {
            ensure!(
                start.elapsed() < Duration::from_secs(30),
                "process {holder} still holds lab {instance} after 30 s"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        return Ok(true);
    }
    let was = state::directory(instance).exists();
    let _lock = Lock::take(instance)?;
    sweep(instance)?;
    Ok(was)
}

/// Fails when a signal has come.
pub fn check_interrupt() -> Result<()> {
    ensure!(!interrupted(), "interrupted");
    Ok(())
}

/// The last lines of a log, on one line.
pub fn log_tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let tail = lines.len().saturating_sub(3);
    match lines.get(tail..) {
        Some(t) if !t.is_empty() => t.join(" | "),
        _ => "it said nothing".to_owned(),
    }
}

/// True for sysctls of one interface, which exist only once the links do.
fn is_late(key: &str) -> bool {
    let mut parts = key.split('.').skip(2);
    matches!(parts.next(), Some("conf" | "neigh")) && !matches!(parts.next(), Some("all" | "default" | "lo") | None)
}

/// Runs a short command; its complaint becomes the error.
pub fn run(command: &mut Command) -> Result<String> {
    let out = command.stdin(Stdio::null()).output().context("cannot run it")?;
    if !out.status.success() {
        let mut why = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        if why.is_empty() {
            why = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        }
        bail!("{}: {}", out.status, why.lines().collect::<Vec<_>>().join(" | "));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

fn batch(args: &[&str], lines: &str) -> Result<()> {
    let mut child =
        Command::new("ip").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("no pipe")?.write_all(lines.as_bytes())?;
    let out = child.wait_with_output()?;
    ensure!(out.status.success(), "ip: {}", String::from_utf8_lossy(&out.stderr).trim());
    Ok(())
}
