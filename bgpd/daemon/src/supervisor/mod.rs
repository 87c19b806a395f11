//! The supervisor: which neighbours, listeners and clients exist, and how a reload changes that.
//!
//! It owns the configuration in force. A reload goes: file -> [`Config`] -> [`crate::config::diff::compare`] -> only what differs is
//! touched: tasks told, made or ended, sockets opened or closed, the RIB told. A file that is refused changes nothing.
//! Invariants: a neighbour's number is never given to another; every neighbour with a task stands in the published
//! [`Directory`]; the RIB hears of a neighbour before its task can send.

mod reload;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use bgp_core::config::{NeighborConfig, RemoteAddress, SpeakerConfig};
use bgp_core::rib::{ConnectedTable, PeerId};
use daemonbase::Clock;
use daemonbase::state::StateDir;
use net_types::Prefix;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinHandle, JoinSet};
use tracing::{error, info, warn};

use crate::announcements::{Announcements, within};
use crate::config::Config;
use crate::directory::{Directory, Entry};
use crate::fib_task::FibInput;
use crate::hops::Hops;
use crate::ipam_client;
use crate::messages::{Command, NEIGHBOR_QUEUE, RibInput};
use crate::net::listener::{Door, Listeners};
use crate::net::neighbor::{self, Setup};

/// Neighbours that one range may make.
const RANGE_MAX: usize = 256;

/// To the supervisor.
#[derive(Debug)]
pub enum SupervisorInput {
    /// Somebody within a range connected.
    Caller {
        /// The range's name.
        range: String,
        /// The connection.
        stream: TcpStream,
        /// Its other end.
        remote: SocketAddr,
        /// Our end.
        local: SocketAddr,
    },
    /// Read the file again; the answer is the new generation with a line a change, or the refusal.
    Reload(oneshot::Sender<Result<(u64, Vec<String>), String>>),
    /// These interfaces went down.
    InterfacesDown(Arc<[u32]>),
    /// Leave for good: Cease to everybody, nothing originated, no kernel route of ours; answered when done.
    Shutdown(oneshot::Sender<()>),
}

/// What others may see of the supervisor.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// The configuration's number, from 1.
    pub generation: u64,
    /// Refusal of the last reload; empty: it was taken.
    pub last_reload_error: String,
    /// Speaker settings in force.
    pub speaker: Option<Arc<SpeakerConfig>>,
    /// Configured name of this machine.
    pub hostname: Option<String>,
    /// Our site.
    pub site: String,
}

/// Channels and values that all of the daemon shares.
#[derive(Clone)]
pub struct Shared {
    /// The clock.
    pub clock: Clock,
    /// To the RIB.
    pub rib: mpsc::Sender<RibInput>,
    /// To the supervisor.
    pub supervisor: mpsc::Sender<SupervisorInput>,
    /// Who is who.
    pub directory: watch::Receiver<Arc<Directory>>,
    /// Interfaces and addresses.
    pub interfaces: watch::Receiver<Arc<ConnectedTable>>,
    /// What ipamd said.
    pub ipam: watch::Receiver<ipam_client::State>,
    /// Configuration in a few words.
    pub overview: watch::Receiver<Overview>,
    /// The first decision after a restart is still to come.
    pub restarting: watch::Receiver<bool>,
    /// A kernel table is kept and held no route of ours at the start (RFC 4724 §3, F).
    pub forwarding_lost: bool,
    /// To the BFD thread.
    pub bfd: crate::bfd::Handle,
    /// To the FIB thread; `None`: no kernel table is kept.
    pub fib: Option<SyncSender<FibInput>>,
}

/// What the supervisor publishes.
pub struct Publish {
    /// Who is who.
    pub directory: watch::Sender<Arc<Directory>>,
    /// What ipamd said.
    pub ipam: watch::Sender<ipam_client::State>,
    /// Configuration in a few words.
    pub overview: watch::Sender<Overview>,
}

/// See the module.
pub struct Supervisor {
    shared: Shared,
    publish: Publish,
    path: PathBuf,
    config: Config,
    speaker: Arc<SpeakerConfig>,
    state_dir: Arc<StateDir>,
    entries: BTreeMap<String, Entry>,
    tasks: JoinSet<()>,
    by_task: std::collections::HashMap<Id, String>,
    listeners: Listeners,
    ipam_task: Option<JoinHandle<()>>,
    next_id: u32,
    restarting: bool,
    seed: u64,
    inputs: mpsc::Receiver<SupervisorInput>,
}

impl Supervisor {
    /// Starts neighbours, listeners and the ipamd client.
    pub async fn start(
        path: PathBuf,
        config: Config,
        shared: Shared,
        publish: Publish,
        bound: Vec<(SocketAddr, StdListener)>,
        state_dir: Arc<StateDir>,
        inputs: mpsc::Receiver<SupervisorInput>,
    ) -> std::io::Result<Supervisor> {
        let speaker = Arc::new(config.speaker.clone());
        let seed = seed(&speaker);
        let restarting = *shared.restarting.borrow();
        let mut s = Supervisor {
            speaker,
            path,
            shared,
            publish,
            state_dir,
            entries: BTreeMap::new(),
            tasks: JoinSet::new(),
            by_task: std::collections::HashMap::new(),
            listeners: Listeners::default(),
            ipam_task: None,
            next_id: 1,
            restarting,
            seed,
            config,
            inputs,
        };
        s.start_ipam();
        // Before the first session: what we originate is known from the disk.
        s.announce().await;
        let mut neighbors: Vec<Arc<NeighborConfig>> = s.config.neighbors.values().cloned().collect();
        // The RIB hears of them one after the other, and must not find that it waits for nobody in between.
        neighbors.sort_by_key(|n| !n.enabled);
        for neighbor in neighbors {
            s.add(neighbor, false).await;
        }
        s.publish_directory();
        let door = s.door();
        s.listeners.open(bound, &door)?;
        s.publish_overview(1, String::new());
        Ok(s)
    }

    /// Serves until all senders are gone.
    pub async fn run(mut self) {
        let mut ipam = self.shared.ipam.clone();
        let mut restarting = self.shared.restarting.clone();
        loop {
            tokio::select! {
                input = self.inputs.recv() => match input {
                    Some(input) => self.input(input).await,
                    None => return,
                },
                Ok(()) = restarting.changed() => {
                    self.restarting = *restarting.borrow_and_update();
                    if !self.restarting {
                        self.tell_all(|| Command::RestartComplete).await;
                    }
                }
                Ok(()) = ipam.changed() => self.announce().await,
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
            }
        }
    }

    async fn input(&mut self, input: SupervisorInput) {
        match input {
            SupervisorInput::Caller { range, stream, remote, local } => {
                self.caller(&range, stream, remote, local).await;
            }
            SupervisorInput::Reload(answer) => {
                let result = self.reload().await;
                let _ = answer.send(result);
            }
            SupervisorInput::InterfacesDown(down) => {
                self.tell_all(|| Command::InterfacesDown(down.clone())).await;
            }
            SupervisorInput::Shutdown(done) => self.shutdown(done).await,
        }
    }

    async fn shutdown(&mut self, done: oneshot::Sender<()>) {
        // RFC 4486 §4: 2, Administrative Shutdown.
        self.tell_all(|| Command::Remove(2)).await;
        let _ = self.shared.rib.send(RibInput::Announcements(Vec::new())).await;
        while self.tasks.join_next().await.is_some() {}
        let Some(fib) = self.shared.fib.clone() else { return };
        let wait = tokio::task::spawn_blocking(move || {
            // Each answer comes after a flush; none left means that the last one is done.
            for _ in 0..50 {
                let (answer, reply) = oneshot::channel();
                if fib.send(FibInput::Count(answer)).is_err() || reply.blocking_recv().is_ok_and(|n| n == 0) {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        });
        let _ = wait.await;
        let _ = done.send(());
    }

    async fn tell_all(&self, command: impl Fn() -> Command) {
        for entry in self.entries.values() {
            // An error means that the task has just ended.
            let _ = entry.commands.send(command()).await;
        }
    }

    /// Makes the neighbour's task; a range has none until somebody calls.
    async fn add(&mut self, config: Arc<NeighborConfig>, dynamic: bool) -> Option<Entry> {
        let RemoteAddress::Fixed(address) = config.remote else { return None };
        let id = PeerId(self.next_id);
        self.next_id += 1;
        // An error means that the RIB's thread is gone, and with it the daemon.
        let _ = self.shared.rib.send(RibInput::Configured(id, config.clone())).await;
        let (commands, receiver) = mpsc::channel(NEIGHBOR_QUEUE);
        let setup = Setup {
            id,
            speaker: self.speaker.clone(),
            config: config.clone(),
            dynamic,
            restarting: self.restarting,
            forwarding_lost: self.shared.forwarding_lost,
            seed: self.seed ^ u64::from(id.0).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            clock: self.shared.clock,
            rib: self.shared.rib.clone(),
            commands: commands.clone(),
            interfaces: self.shared.interfaces.clone(),
            hops: Hops::new(self.shared.fib.clone()),
            bfd: self.shared.bfd.clone(),
        };
        let task = self.tasks.spawn(neighbor::run(setup, receiver));
        self.by_task.insert(task.id(), config.name.clone());
        let entry = Entry { id, address, config: config.clone(), dynamic, commands };
        self.entries.insert(config.name.clone(), entry.clone());
        Some(entry)
    }

    /// Ends a neighbour: Cease with this subcode (RFC 4486), its routes gone.
    async fn remove(&mut self, name: &str, subcode: u8) {
        if let Some(entry) = self.entries.remove(name) {
            let _ = entry.commands.send(Command::Remove(subcode)).await;
        }
    }

    /// A task ended: told to, or made from a range and long idle.
    fn ended(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(e) => {
                error!("a neighbour's task broke, which is a defect: {e}");
                e.id()
            }
        };
        let Some(name) = self.by_task.remove(&id) else { return };
        // The name may belong to a successor by now; a sender whose task ended is closed.
        if self.entries.get(&name).is_some_and(|e| e.commands.is_closed()) {
            if let Some(entry) = self.entries.remove(&name) {
                let rib = self.shared.rib.clone();
                tokio::spawn(async move { rib.send(RibInput::Removed(entry.id)).await });
            }
            self.publish_directory();
        }
    }

    async fn caller(&mut self, range: &str, stream: TcpStream, remote: SocketAddr, local: SocketAddr) {
        let Some(template) = self.config.neighbors.get(range).cloned() else { return };
        let name = format!("{range}@{}", remote.ip());
        if !self.entries.contains_key(&name) {
            let made = self.entries.values().filter(|e| e.dynamic && e.config.name.starts_with(&format!("{range}@")));
            if made.count() >= RANGE_MAX {
                warn!(%remote, range, "connection refused: the range has made {RANGE_MAX} neighbours already");
                return;
            }
            let config = Arc::new(from_range(&template, remote.ip()));
            info!(neighbor = %config.name, "made from a range");
            if self.add(config, true).await.is_none() {
                return;
            }
            self.publish_directory();
        }
        if let Some(entry) = self.entries.get(&name) {
            let _ = entry.commands.try_send(Command::Incoming(stream, remote, local));
        }
    }

    fn door(&self) -> Door {
        Door {
            directory: self.shared.directory.clone(),
            interfaces: self.shared.interfaces.clone(),
            supervisor: self.shared.supervisor.clone(),
        }
    }

    fn publish_directory(&mut self) {
        let is_range = |c: &&Arc<NeighborConfig>| matches!(c.remote, RemoteAddress::Range(_));
        let ranges = self.config.neighbors.values().filter(is_range).cloned().collect();
        let directory = Directory::new(self.entries.values().cloned(), ranges);
        self.listeners.set_keys(directory.keys());
        self.publish.directory.send_replace(Arc::new(directory));
    }

    fn publish_overview(&self, generation: u64, last_reload_error: String) {
        self.publish.overview.send_replace(Overview {
            generation,
            last_reload_error,
            speaker: Some(self.speaker.clone()),
            hostname: self.config.daemon.hostname.clone(),
            site: self.config.ipam.as_ref().map_or_else(String::new, |i| i.site.clone()),
        });
    }

    /// (Re)starts the client for the configured site, from the set on disk.
    fn start_ipam(&mut self) {
        if let Some(task) = self.ipam_task.take() {
            task.abort();
        }
        let Some(ipam) = self.config.ipam.clone() else {
            self.publish.ipam.send_replace(ipam_client::State::default());
            return;
        };
        let set = Announcements::load(&self.state_dir, &ipam.site).unwrap_or_else(|e| {
            error!("{e}");
            None
        });
        let set = set.unwrap_or_else(|| Announcements { site: ipam.site.clone(), ..Announcements::default() });
        let since = Some(tokio::time::Instant::now());
        self.publish.ipam.send_replace(ipam_client::State { set, connected: None, since });
        self.ipam_task = Some(tokio::spawn(ipam_client::run(ipam, self.state_dir.clone(), self.publish.ipam.clone())));
    }

    /// Tells the RIB what we originate: the file's and ipamd's, within our own space.
    async fn announce(&mut self) {
        let set = self.shared.ipam.borrow_and_update().set.clone();
        let (mut prefixes, foreign): (Vec<Prefix>, Vec<Prefix>) = within(&set.prefixes, &self.speaker.own_prefixes);
        for prefix in foreign {
            warn!(%prefix, "ipamd asks to announce what is not within bgp.own_prefixes; not announced");
        }
        prefixes.extend(&self.config.announce);
        prefixes.sort();
        prefixes.dedup();
        let _ = self.shared.rib.send(RibInput::Announcements(prefixes)).await;
    }
}

/// A neighbour made from a range: the template with the caller's address.
fn from_range(template: &NeighborConfig, address: IpAddr) -> NeighborConfig {
    NeighborConfig {
        name: format!("{}@{address}", template.name),
        remote: RemoteAddress::Fixed(address),
        passive: true,
        ..template.clone()
    }
}

/// Jitter's seed: different on each router and at each start.
fn seed(speaker: &SpeakerConfig) -> u64 {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    u64::from(speaker.router_id.to_u32()) << 32 | u64::from(nanos ^ std::process::id())
}
