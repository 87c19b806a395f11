//! Reload: a changed file applied by difference.
//!
//! Order: read and check, bind new sockets (the last thing that can be refused), then the speaker, neighbours that left,
//! changed, came, and what is announced. Only what differs is touched.

use std::sync::Arc;

use bgp_core::config::NeighborConfig;
use tracing::{error, info, warn};

use super::{Supervisor, from_range};
use crate::config::diff::{self, Cost};
use crate::config::{Config, ConfigError};
use crate::messages::{Command, RibInput};
use crate::net::listener;

impl Supervisor {
    /// Reads the file again; the new generation with a line a change, or the one line that refuses it.
    pub(super) async fn reload(&mut self) -> Result<(u64, Vec<String>), String> {
        daemonbase::notify::reloading();
        let result = self.try_reload().await;
        let generation = self.publish.overview.borrow().generation;
        match &result {
            Ok(lines) => {
                self.publish_overview(generation + 1, String::new());
                info!(generation = generation + 1, "configuration reloaded: {}", summary(lines));
            }
            Err(e) => {
                self.publish_overview(generation, e.to_string());
                error!("configuration kept, the new one is refused: {e}");
            }
        }
        daemonbase::notify::ready("running");
        result.map(|lines| (generation + 1, lines)).map_err(|e| e.to_string())
    }

    async fn try_reload(&mut self) -> Result<Vec<String>, ConfigError> {
        let new = Config::load(&self.path)?;
        // Sockets first: the one thing that can still be refused.
        let bound = listener::bind_all(&new.listen, &new.places, &self.listeners.addresses())?;
        let difference = diff::compare(&self.config, &new);
        let old = std::mem::replace(&mut self.config, new);
        self.listeners.retain(&self.config.listen);
        let door = self.door();
        if let Err(error) = self.listeners.open(bound, &door) {
            error!(%error, "a bound socket could not be used, which is a defect");
        }
        let speaker_changed = old.speaker != self.config.speaker;
        if speaker_changed {
            self.speaker = Arc::new(self.config.speaker.clone());
            let _ = self.shared.rib.send(RibInput::Speaker(Box::new(self.config.speaker.clone()))).await;
        }
        for name in &difference.removed {
            // RFC 4486 §4: 3, Peer De-configured.
            self.remove_family(name, 3).await;
        }
        for (name, changes) in &difference.changed {
            let Some(config) = self.config.neighbors.get(name).cloned() else { continue };
            if changes.iter().any(|c| matches!(c.field, "remote" | "interface")) {
                // Another neighbour under an old name; 6, Other Configuration Change.
                self.remove_family(name, 6).await;
                self.add(config, false).await;
            } else {
                self.reconfigure(name, &config).await;
            }
        }
        if !old.speaker.differs_in_wants_only(&self.config.speaker) {
            for name in &difference.unchanged {
                if let Some(config) = self.config.neighbors.get(name).cloned() {
                    self.reconfigure(name, &config).await;
                }
            }
        }
        for name in &difference.added {
            if let Some(config) = self.config.neighbors.get(name).cloned() {
                self.add(config, false).await;
            }
        }
        self.publish_directory();
        if difference.has_setting("ipam") {
            self.start_ipam();
        }
        self.announce().await;
        for c in difference.settings.iter().filter(|c| c.cost == Cost::Restart) {
            warn!("{} is in force at the next start of bgpd only", c.field);
        }
        Ok(difference.lines())
    }

    /// A neighbour, or a range with all it made.
    async fn remove_family(&mut self, name: &str, subcode: u8) {
        for name in self.family(name) {
            self.remove(&name, subcode).await;
        }
    }

    async fn reconfigure(&mut self, name: &str, config: &Arc<NeighborConfig>) {
        for member in self.family(name) {
            let Some(entry) = self.entries.get_mut(&member) else { continue };
            let config = if entry.dynamic { Arc::new(from_range(config, entry.address)) } else { config.clone() };
            entry.config = config.clone();
            let _ = entry.commands.send(Command::Reconfigure(self.speaker.clone(), config)).await;
        }
    }

    fn family(&self, name: &str) -> Vec<String> {
        let made = format!("{name}@");
        self.entries.keys().filter(|n| *n == name || n.starts_with(&made)).cloned().collect()
    }
}

fn summary(lines: &[String]) -> String {
    let changed: Vec<&str> = lines.iter().filter(|l| !l.ends_with(": unchanged")).map(String::as_str).collect();
    if changed.is_empty() { "nothing changed".into() } else { changed.join("; ") }
}
