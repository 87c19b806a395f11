//! What a running lab leaves on disk, all of it under `/run/artere-labs`: `<instance>.lock` (held by the runner for as
//! long as the lab stands) and `<instance>/` (`state.json`, a node's log, the process of its program, its spec).
//!
//! Invariants: the names of everything to be made are written before the first of them is made, so that whoever gets
//! the lock after a `kill -9` can remove exactly that and nothing else; `state.json` is replaced, never edited.

use crate::topology::{Link, Topology};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where every lab keeps its state.
pub const ROOT: &str = "/run/artere-labs";

/// A lab as it stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// Name in `/run/artere-labs`, in network namespaces and for `ctl`: the lab's own, or with `.suffix`.
    pub instance: String,
    /// Lab name.
    pub lab: String,
    /// Topology file.
    pub topology: PathBuf,
    /// The process that holds the lab.
    pub runner: u32,
    /// True once every program was started.
    pub up: bool,
    /// Nodes in file order.
    pub nodes: Vec<NodeState>,
    /// Links: node, interface, node, interface.
    pub links: Vec<[String; 4]>,
}

/// A node as it stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeState {
    /// Node name.
    pub name: String,
    /// Its network namespace in `/run/netns`.
    pub netns: String,
    /// Process 1 of the node, as the machine numbers it; 0 while it does not exist yet.
    pub pid: u32,
    /// Image.
    pub image: String,
    /// Shell line of the program; none for a bare node.
    pub program: Option<String>,
    /// Environment of programs and commands.
    pub env: Vec<(String, String)>,
    /// Where its output goes.
    pub log: PathBuf,
    /// File that holds the process (and group) number of the program while it was started.
    pub pid_file: PathBuf,
}

impl State {
    /// The state of `topology` as `instance`, nothing made yet.
    pub fn plan(topology: &Topology, instance: &str, env: &[(String, String)]) -> State {
        let dir = directory(instance);
        let bin = crate::bin_dir().display().to_string();
        let nodes = topology
            .nodes
            .iter()
            .map(|n| {
                let image = crate::images::find(&n.image);
                let program = match &n.cmd {
                    Some(cmd) => Some(format!("exec {cmd}")),
                    None => image.and_then(|i| i.program).map(|p| p.replace("{bin}", &bin)),
                };
                let mut all: Vec<(String, String)> = n.env.clone().into_iter().collect();
                all.extend(env.iter().cloned());
                NodeState {
                    name: n.name.clone(),
                    netns: format!("clab-{instance}-{}", n.name),
                    pid: 0,
                    image: n.image.clone(),
                    program,
                    env: all,
                    log: dir.join(format!("{}.log", n.name)),
                    pid_file: dir.join(format!("{}.pid", n.name)),
                }
            })
            .collect();
        let links = topology
            .links
            .iter()
            .map(|Link { a, b, .. }| [a.node.clone(), a.interface.clone(), b.node.clone(), b.interface.clone()])
            .collect();
        State {
            instance: instance.to_owned(),
            lab: topology.name.clone(),
            topology: topology.file.clone(),
            runner: std::process::id(),
            up: false,
            nodes,
            links,
        }
    }

    /// Reads the state of a lab that is (or was) up.
    pub fn read(instance: &str) -> Result<State> {
        let path = directory(instance).join("state.json");
        let text = fs::read(&path).with_context(|| {
            format!("lab {instance} is not up ({} is not there): labs/run {instance}", path.display())
        })?;
        serde_json::from_slice(&text).with_context(|| format!("{} is not this runner's", path.display()))
    }

    /// Replaces the state on disk.
    pub fn write(&self) -> Result<()> {
        let dir = directory(&self.instance);
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let (new, path) = (dir.join("state.json.new"), dir.join("state.json"));
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Result<&NodeState> {
        self.nodes.iter().find(|n| n.name == name).with_context(|| {
            let names: Vec<&str> = self.nodes.iter().map(|n| n.name.as_str()).collect();
            format!("lab {} has no node {name}; it has: {}", self.instance, names.join(" "))
        })
    }
}

/// Every instance that has a folder, whoever made it and whether that one lives.
pub fn instances() -> Vec<String> {
    let all = fs::read_dir(ROOT).into_iter().flatten().flatten();
    all.filter(|e| e.path().is_dir()).filter_map(|e| e.file_name().into_string().ok()).collect()
}

/// The folder of an instance.
pub fn directory(instance: &str) -> PathBuf {
    Path::new(ROOT).join(instance)
}

fn lock_path(instance: &str) -> PathBuf {
    Path::new(ROOT).join(format!("{instance}.lock"))
}

/// The right to make or unmake one instance. The kernel drops it with its holder, however that one dies.
#[derive(Debug)]
pub struct Lock {
    instance: String,
    _file: File,
}

impl Lock {
    /// Takes the lock, or says who holds it.
    pub fn take(instance: &str) -> Result<Lock> {
        match Lock::try_take(instance)? {
            Ok(lock) => Ok(lock),
            Err(holder) => bail!(
                "lab {instance} is up already, held by process {holder}: use it (labs/run {instance} --check, --exec), end it \
                 (labs/run {instance} --down), or start another copy (labs/run {instance} --instance NAME)"
            ),
        }
    }

    /// Takes the lock, or returns the process that holds it.
    pub fn try_take(instance: &str) -> Result<Result<Lock, String>> {
        let path = lock_path(instance);
        fs::create_dir_all(ROOT).with_context(|| format!("cannot create {ROOT}"))?;
        loop {
            let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    file.read_to_string(&mut holder)?;
                    return Ok(Err(holder.trim().to_owned()));
                }
                Err(fs::TryLockError::Error(e)) => {
                    return Err(e).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
            // Whoever held it before may have removed the file between our open and our lock.
            if fs::metadata(&path).is_ok_and(|m| file.metadata().is_ok_and(|f| f.ino() == m.ino())) {
                file.set_len(0)?;
                file.rewind()?;
                writeln!(file, "{}", std::process::id())?;
                return Ok(Ok(Lock { instance: instance.to_owned(), _file: file }));
            }
        }
    }

    /// The process that holds `instance` now, if any.
    pub fn holder(instance: &str) -> Option<u32> {
        let mut file = File::open(lock_path(instance)).ok()?;
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).ok()?;
                holder.trim().parse().ok()
            }
            _ => None,
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Errors leave a file of a few bytes on a RAM disk; the next taker reuses it.
        let _ = fs::remove_file(lock_path(&self.instance));
        let _ = fs::remove_dir(ROOT);
    }
}
