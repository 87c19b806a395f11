//! Running things inside a node that stands: `lab-runner __enter PID … -- argv` joins the namespaces of process 1.
//!
//! A process of its own because only a single-threaded one may change its mount namespace. Detached, it leaves the
//! program behind as a child of the node's process 1, head of its own process group, its number (as the machine counts)
//! in the pid file; otherwise it waits and takes over the exit code.

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::state::NodeState;

/// How to run a command inside a node.
#[derive(Debug, clap::Args)]
pub struct EnterArgs {
    /// Process 1 of the node.
    pid: u32,
    /// Leave it running: output here, process number there.
    #[arg(long, num_args = 2, value_names = ["LOG", "PID_FILE"])]
    detach: Option<Vec<PathBuf>>,
    /// The command.
    #[arg(last = true, required = true)]
    argv: Vec<OsString>,
}

/// `__enter`.
pub fn enter(args: &EnterArgs) -> Result<ExitCode> {
    let files = match args.detach.as_deref() {
        Some([log, pid]) => Some((
            File::options().create(true).append(true).open(log).with_context(|| log.display().to_string())?,
            File::create(pid).with_context(|| pid.display().to_string())?,
        )),
        _ => None,
    };
    join(args.pid).with_context(|| format!("cannot join the node of process {}: is it up?", args.pid))?;
    let (program, rest) = args.argv.split_first().context("no command")?;
    let mut command = Command::new(program);
    command.args(rest).current_dir("/");
    if let Some((log, _)) = &files {
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?).process_group(0);
    }
    let mut child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
    match files {
        Some((_, mut pid_file)) => {
            writeln!(pid_file, "{}", child.id())?;
            Ok(ExitCode::SUCCESS)
        }
        None => {
            let status = child.wait()?;
            let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
        }
    }
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

/// Starts the node's program and leaves it running.
pub fn start_program(node: &NodeState, program: &str) -> Result<()> {
    let mut c = base(node);
    c.arg("--detach").arg(&node.log).arg(&node.pid_file).args(["--", "bash", "-c", program]);
    let out = c.output()?;
    anyhow::ensure!(
        out.status.success(),
        "node {}: cannot start its program: {}",
        node.name,
        String::from_utf8_lossy(&out.stderr).trim()
    );
    Ok(())
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
