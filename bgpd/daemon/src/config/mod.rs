//! The configuration file: TOML in, checked [`Config`] out, or one line that says where, which rule, and the cure.
//!
//! The way of a file: `schema` reads the TOML into values with their places (unknown keys end it there), `check` and
//! `neighbor` judge them and resolve every default and group, [`diff`] compares two results for a reload. Only
//! [`Config::parse`] makes a [`Config`], so whoever holds one need not check again. Comments, white space, order and
//! defaults spelt out do not survive parsing: two files that mean the same are equal here.

mod bfd;
mod check;
pub mod diff;
mod error;
mod neighbor;
pub mod rules;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bgp_core::config::{NeighborConfig, SpeakerConfig};
use net_types::Prefix;

pub use error::ConfigError;
pub use rules::Rule;

/// A whole, checked configuration.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// What the cores need.
    pub speaker: SpeakerConfig,
    /// Neighbours by name, groups resolved.
    pub neighbors: BTreeMap<String, Arc<NeighborConfig>>,
    /// Where we accept connections.
    pub listen: Vec<SocketAddr>,
    /// Directories, logging, name.
    pub daemon: DaemonConfig,
    /// The kernel's table.
    pub fib: FibConfig,
    /// Where announcements come from; `None`: from `announce` only.
    pub ipam: Option<IpamConfig>,
    /// Prefixes originated without ipamd.
    pub announce: Vec<Prefix>,
    /// Lines of things that a caller may have to point at later.
    pub places: Places,
}

/// Lines that matter after parsing (a port in use is found at bind time). Never part of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The file.
    pub file: PathBuf,
    /// Line of each listen address, in order.
    pub listen: Vec<usize>,
}

impl PartialEq for Places {
    fn eq(&self, _: &Places) -> bool {
        true
    }
}

/// `[daemon]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DaemonConfig {
    /// Sockets and the lock.
    pub run_dir: PathBuf,
    /// What must survive a restart.
    pub state_dir: PathBuf,
    /// A tracing filter, such as `info` or `info,bgpd::net=debug`.
    pub log: String,
    /// Our name in outputs; the machine's where not set.
    pub hostname: Option<String>,
}

/// `[fib]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FibConfig {
    /// Program the kernel.
    pub enabled: bool,
    /// The protocol number that marks routes and next-hop objects as ours.
    pub rtproto: u8,
    /// Routing table.
    pub table: u32,
    /// Route priority.
    pub metric: u32,
    /// How long a link that came back is watched before it carries traffic that has another way.
    pub hold_up: Duration,
}

/// `[ipam]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IpamConfig {
    /// Whose announcement set we follow.
    pub site: String,
    /// Where ipamd may be, tried in order.
    pub endpoints: Vec<String>,
}

impl Config {
    /// Reads and checks `file`.
    pub fn load(file: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|e| ConfigError {
            file: file.to_path_buf(),
            line: 0,
            rule: Rule::Unreadable,
            what: e.to_string(),
            cure: match e.kind() {
                std::io::ErrorKind::NotFound => "give the path of an existing file with --config".into(),
                std::io::ErrorKind::PermissionDenied => "let bgpd's user read it (chown, chmod 0640)".into(),
                _ => "make it a readable UTF-8 text file".into(),
            },
        })?;
        Config::parse(file, &text)
    }

    /// Checks `text`; `file` is its name in errors, and relative paths inside are taken from its folder.
    pub fn parse(file: &Path, text: &str) -> Result<Config, ConfigError> {
        let source = error::Source { file, text };
        let raw: schema::File = toml::from_str(text).map_err(|e| source.toml_error(&e))?;
        check::check(source, raw)
    }
}
