//! Running things inside a node that stands: `lab-runner __enter PID … -- argv` joins the namespaces of process 1.
//!
//! A process of its own because only a single-threaded one may change its mount namespace. It waits and takes over the
//! exit code; or, detached, it starts `__launch` inside, which leaves the program behind as head of its own process
//! group. That middle process matters: the kernel gives orphans to the reaper of their *parent's* PID namespace, so only
//! a program whose parent was inside falls to the node's process 1 and never lingers as a zombie of the machine.

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::expect::Run;
use crate::state::NodeState;

/// How to run a command inside a node.
#[derive(Debug, clap::Args)]
pub struct EnterArgs {
    /// Process 1 of the node.
    pid: u32,
    /// Leave it running with its output there, and print its number as the node counts.
    #[arg(long, value_name = "LOG")]
    detach: Option<PathBuf>,
    /// The command.
    #[arg(last = true, required = true)]
    argv: Vec<OsString>,
}

/// `__enter`.
pub fn enter(args: &EnterArgs) -> Result<ExitCode> {
    let open =
        |log: &PathBuf| File::options().create(true).append(true).open(log).with_context(|| log.display().to_string());
    let log = args.detach.as_ref().map(open).transpose()?;
    join(args.pid).with_context(|| format!("cannot join the node of process {}: is it up?", args.pid))?;
    let (program, rest) = args.argv.split_first().context("no command")?;
    let mut command = match log {
        Some(log) => {
            let mut c = Command::new("/proc/self/exe");
            c.arg("__launch").arg("--").args(&args.argv).stdin(Stdio::null()).stderr(log);
            c
        }
        None => {
            let mut c = Command::new(program);
            c.args(rest);
            c
        }
    };
    let status = command.current_dir("/").status().with_context(|| format!("cannot run {}", program.display()))?;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// `__launch`: starts the program and prints its number.
pub fn launch(argv: &[OsString]) -> Result<ExitCode> {
    let (program, rest) = argv.split_first().context("no command")?;
    let log = std::io::stderr().as_fd().try_clone_to_owned()?;
    let child = Command::new(program)
        .args(rest)
        .stdin(Stdio::null())
        .stdout(log)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot run {}", program.display()))?;
    writeln!(std::io::stdout(), "{}", child.id())?;
    Ok(ExitCode::SUCCESS)
}

fn join(pid: u32) -> Result<()> {
    let dir = PathBuf::from(format!("/proc/{pid}/ns"));
    let open = |n: &str| File::open(dir.join(n)).with_context(|| n.to_owned());
    // Opened first: /proc is another one after the mount namespace has changed.
    let all = [
        (open("net")?, CloneFlags::CLONE_NEWNET),
        (open("uts")?, CloneFlags::CLONE_NEWUTS),
        (open("ipc")?, CloneFlags::CLONE_NEWIPC),
        (open("pid")?, CloneFlags::CLONE_NEWPID),
        (open("mnt")?, CloneFlags::CLONE_NEWNS),
    ];
    for (file, kind) in &all {
        setns(file, *kind)?;
    }
    Ok(())
}

/// A command that will run `argv` inside `node`, waiting.
pub fn command<S: AsRef<std::ffi::OsStr>>(node: &NodeState, argv: &[S]) -> Command {
    let mut c = base(node);
    c.arg("--").args(argv);
    c
}

/// The same for a command as a lab's files write it.
pub fn run(node: &NodeState, written: &Run) -> Command {
    match written {
        Run::Line(line) => command(node, &["sh", "-c", line]),
        Run::Words(words) => command(node, words),
    }
}

/// Starts the node's program and leaves it running, its number (as the machine counts) in the pid file.
pub fn start_program(node: &NodeState, program: &str) -> Result<()> {
    let mut c = base(node);
    c.arg("--detach").arg(&node.log).args(["--", "bash", "-c", program]);
    let out = c.output()?;
    let inner: Option<i32> = String::from_utf8_lossy(&out.stdout).trim().parse().ok();
    let (true, Some(inner)) = (out.status.success(), inner) else {
        let why = String::from_utf8_lossy(&out.stderr).trim().to_owned();
        bail!("node {}: cannot start its program: {why} {}", node.name, crate::up::log_tail(&node.log));
    };
    match outer_pid(node, inner) {
        Some(pid) => std::fs::write(&node.pid_file, format!("{pid}\n"))?,
        // It has ended already: nothing to hold; whoever checks the programs will say so.
        None => std::fs::write(&node.pid_file, "")?,
    }
    Ok(())
}

/// The machine's number of the process that the node counts as `inner` (`NSpid` of proc_pid_status(5)).
fn outer_pid(node: &NodeState, inner: i32) -> Option<i32> {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let wanted = namespace(&node.pid.to_string())?;
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|e| {
        let name = e.file_name();
        let pid = name.to_str()?;
        let outer: i32 = pid.parse().ok()?;
        if namespace(pid)? != wanted {
            return None;
        }
        let status = std::fs::read_to_string(e.path().join("status")).ok()?;
        let numbers = status.lines().find_map(|l| l.strip_prefix("NSpid:"))?;
        (numbers.split_whitespace().last()? == inner.to_string()).then_some(outer)
    })
}

fn base(node: &NodeState) -> Command {
    let mut c = Command::new("/proc/self/exe");
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    c.arg("__enter").arg(node.pid.to_string()).env("PATH", format!("{}:{path}", crate::bin_dir().display()));
    c.envs(node.env.iter().map(|(k, v)| (k, v)));
    c
}

/// The process number in a pid file, if that process is alive and inside the node.
pub fn program_pid(node: &NodeState) -> Option<i32> {
    let pid: i32 = std::fs::read_to_string(&node.pid_file).ok()?.trim().parse().ok()?;
    let same = |n: &str| {
        let a = std::fs::read_link(format!("/proc/{pid}/ns/{n}")).ok();
        a.is_some() && a == std::fs::read_link(format!("/proc/{}/ns/{n}", node.pid)).ok()
    };
    (same("net") && !is_zombie(pid)).then_some(pid)
}

fn is_zombie(pid: i32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z') || rest.starts_with('X'))
}
