//! A node from the inside: the two hidden processes that make and hold its namespaces.
//!
//! `lab-runner __node SPEC` asks for its own death with the runner (`PR_SET_PDEATHSIG`), leaves for new network, mount,
//! UTS, IPC and PID namespaces and starts `lab-runner __init SPEC`, process 1 of the node. That one dresses the node
//! (mounts, host name, sysctls), writes `ready` and its number on standard output, and reaps orphans until it is killed.
//!
//! Invariants: when process 1 dies the kernel kills every process of the node, and with the last of them the
//! namespaces, interfaces and private mounts go; so no way of ending the runner leaves anything running. A node cannot
//! write to the machine's /etc, /var or /run: it has an overlay or an empty RAM disk there.

use crate::topology::Bind;
use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What process 1 needs to know.
#[derive(Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Host name.
    pub hostname: String,
    /// (source, target, read-only).
    pub binds: Vec<(PathBuf, PathBuf, bool)>,
    /// Key and value, of interfaces that exist from the start (`all`, `default`, `lo`).
    pub sysctls: Vec<(String, String)>,
}

impl Spec {
    /// The spec's rows of a topology's binds.
    pub fn binds(binds: &[Bind]) -> Vec<(PathBuf, PathBuf, bool)> {
        binds.iter().map(|b| (b.source.clone(), b.target.clone(), b.read_only)).collect()
    }
}

/// `__node`: into new namespaces, then wait for process 1.
pub fn outer(spec: &Path) -> Result<()> {
    die_with_parent()?;
    let all = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWPID;
    unshare(all).context("cannot make namespaces")?;
    let mut init = Command::new("/proc/self/exe").arg("__init").arg(spec).spawn().context("cannot start process 1")?;
    let mut out = std::io::stdout();
    writeln!(out, "pid {}", init.id())?;
    out.flush()?;
    init.wait()?;
    Ok(())
}

/// `__init`: process 1 of the node.
pub fn init(spec: &Path) -> Result<()> {
    die_with_parent()?;
    let spec: Spec = serde_json::from_slice(&fs::read(spec)?)?;
    dress(&spec)?;
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    out.flush()?;
    let mut child_ended = SigSet::empty();
    child_ended.add(Signal::SIGCHLD);
    child_ended.thread_block()?;
    loop {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                break;
            }
        }
        child_ended.wait()?;
    }
}

fn die_with_parent() -> Result<()> {
    let parent = nix::unistd::getppid();
    set_pdeathsig(Signal::SIGKILL)?;
    // The parent may have died before the line above; process 1 sees 0, its parent being outside its namespace.
    if parent.as_raw() != 0 && nix::unistd::getppid() != parent {
        bail!("the runner is gone");
    }
    Ok(())
}

fn dress(spec: &Spec) -> Result<()> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("private mounts")?;
    // Copies of named network namespaces would keep other labs' nodes alive after their end.
    while umount2("/run/netns", MntFlags::MNT_DETACH).is_ok() {}
    // Sources are opened before the private folders cover what may lie under them.
    let sources: Vec<fs::File> = spec
        .binds
        .iter()
        .map(|(s, ..)| fs::File::open(s).with_context(|| format!("bind source {}", s.display())))
        .collect::<Result<_>>()?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=755"))
        .context("/run")?;
    fs::create_dir_all("/run/lock")?;
    for dir in ["/etc", "/var"] {
        private_copy(dir).with_context(|| format!("private {dir}"))?;
    }
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC, none)
        .context("/proc")?;
    for dir in ["/etc/artere", "/var/lib/artere", "/run/artere"] {
        fs::create_dir_all(dir).with_context(|| dir.to_owned())?;
    }
    for ((_, target, read_only), source) in spec.binds.iter().zip(&sources) {
        bind(source, target, *read_only).with_context(|| format!("bind to {}", target.display()))?;
    }
    nix::unistd::sethostname(&spec.hostname).context("host name")?;
    for (key, value) in &spec.sysctls {
        let path = sysctl_path(key);
        fs::write(&path, value).with_context(|| format!("sysctl {key} = {value} ({})", path.display()))?;
    }
    let lo = Command::new("ip").args(["link", "set", "lo", "up"]).output().context("ip link set lo up")?;
    if !lo.status.success() {
        bail!("ip link set lo up: {}", String::from_utf8_lossy(&lo.stderr).trim());
    }
    Ok(())
}

/// The file of a sysctl. A dot inside an interface name is written as `/` in the key, as sysctl(8) has it.
pub fn sysctl_path(key: &str) -> PathBuf {
    let swapped: String = key
        .chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            c => c,
        })
        .collect();
    Path::new("/proc/sys").join(swapped)
}

/// Covers `dir` by an overlay whose upper half is a RAM disk of this node.
fn private_copy(dir: &str) -> Result<()> {
    let name = dir.trim_start_matches('/');
    let base = format!("/run/.private/{name}");
    fs::create_dir_all(format!("{base}/upper"))?;
    fs::create_dir_all(format!("{base}/work"))?;
    let options = format!("lowerdir={dir},upperdir={base}/upper,workdir={base}/work");
    mount(Some("overlay"), dir, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
    Ok(())
}

fn bind(source: &fs::File, target: &Path, read_only: bool) -> Result<()> {
    use std::os::fd::AsRawFd;
    if !target.exists() {
        let private = ["/etc", "/var", "/run"].iter().any(|d| target.starts_with(d));
        if !private {
            bail!(
                "the target does not exist on this machine and lies outside /etc, /var and /run: choose one of these"
            );
        }
        if source.metadata()?.is_dir() {
            fs::create_dir_all(target)?;
        } else {
            fs::create_dir_all(target.parent().unwrap_or(Path::new("/")))?;
            fs::File::create(target)?;
        }
    }
    // The new /proc is this PID namespace's own, and so is this process's entry in it.
    let from = PathBuf::from(format!("/proc/self/fd/{}", source.as_raw_fd()));
    let none: Option<&str> = None;
    mount(Some(&from), target, none, MsFlags::MS_BIND, none)?;
    if read_only {
        mount(none, target, none, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none)?;
    }
    Ok(())
}
