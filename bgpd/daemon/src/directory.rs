//! Who is who: names, addresses and numbers of the neighbours, and how to reach their tasks.
//!
//! The supervisor publishes a whole new directory at each change; readers (listeners, RPC) borrow the last one and
//! never wait for anybody.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use bgp_core::config::{NeighborConfig, RemoteAddress};
use bgp_core::rib::PeerId;
use net_types::Prefix;
use tokio::sync::mpsc;

use crate::messages::Command;

/// One neighbour with a task.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number.
    pub id: PeerId,
    /// Its address.
    pub address: IpAddr,
    /// Its configuration.
    pub config: Arc<NeighborConfig>,
    /// Made from a range.
    pub dynamic: bool,
    /// To its task.
    pub commands: mpsc::Sender<Command>,
}

/// All neighbours at one moment.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    by_name: std::collections::BTreeMap<String, Entry>,
    names: HashMap<PeerId, String>,
    ranges: Vec<Arc<NeighborConfig>>,
}

impl Directory {
    /// From its parts.
    pub fn new(entries: impl IntoIterator<Item = Entry>, ranges: Vec<Arc<NeighborConfig>>) -> Directory {
        let mut directory = Directory { ranges, ..Directory::default() };
        for entry in entries {
            directory.names.insert(entry.id, entry.config.name.clone());
            directory.by_name.insert(entry.config.name.clone(), entry);
        }
        directory
    }

    /// By name, or by address where only one neighbour has it.
    pub fn find(&self, who: &str) -> Option<&Entry> {
        if let Some(entry) = self.by_name.get(who) {
            return Some(entry);
        }
        let (address, interface): (IpAddr, _) = match who.split_once('%') {
            Some((a, i)) => (a.parse().ok()?, Some(i)),
            None => (who.parse().ok()?, None),
        };
        let mut found = self
            .by_name
            .values()
            .filter(|e| e.address == address && interface.is_none_or(|i| e.config.interface.as_deref() == Some(i)));
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// The neighbour that may connect from this address; `interface` is where a link-local one came in.
    pub fn caller(&self, remote: IpAddr, interface: Option<&str>) -> Option<&Entry> {
        self.by_name
            .values()
            .find(|e| e.address == remote && (interface.is_none() || e.config.interface.as_deref() == interface))
    }

    /// The most specific range that takes callers from this address.
    pub fn range(&self, remote: IpAddr) -> Option<&Arc<NeighborConfig>> {
        let holds = |c: &&Arc<NeighborConfig>| matches!(c.remote, RemoteAddress::Range(p) if p.contains(remote));
        let length = |c: &&Arc<NeighborConfig>| match c.remote {
            RemoteAddress::Range(p) => p.len(),
            RemoteAddress::Fixed(_) => 0,
        };
        self.ranges.iter().filter(|c| c.enabled).filter(holds).max_by_key(length)
    }

    /// The name behind a number; a number in angle brackets if it is gone.
    pub fn name(&self, id: PeerId) -> String {
        match self.names.get(&id) {
            Some(name) => name.clone(),
            None if id == PeerId::LOCAL => String::new(),
            None => format!("<{}>", id.0),
        }
    }

    /// Everyone, by name.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.by_name.values()
    }

    /// Address ranges and keys that listeners must know (RFC 2385).
    pub fn keys(&self) -> Vec<(Prefix, String)> {
        let of = |c: &Arc<NeighborConfig>| {
            let prefix = match c.remote {
                RemoteAddress::Fixed(a) => Prefix::host(a),
                RemoteAddress::Range(p) => p,
            };
            c.md5.as_ref().map(|k| (prefix, k.0.clone()))
        };
        let fixed = self.by_name.values().filter(|e| !e.dynamic).filter_map(|e| of(&e.config));
        fixed.chain(self.ranges.iter().filter_map(of)).collect()
    }
}
