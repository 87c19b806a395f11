//! `ipamd.toml`: read, refused with file, line, rule and cure, or run with.
//!
//! Sites and holdings pass through the same rules as a command would, so `--check` refuses what a start would refuse.

use daemonbase::ConfigError;
use daemonbase::config::{Spanned, parse_toml, read_config};
use daemonbase::grpc::Address;
use ipam_core::{Command, State};
use net_types::Prefix;
use serde::Deserialize;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    daemon: Daemon,
    #[serde(default)]
    ipam: Ipam,
}

/// How the process runs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Daemon {
    run_dir: PathBuf,
    state_dir: PathBuf,
    log: String,
    listen: Vec<Spanned<String>>,
    listen_may_change: bool,
}

impl Default for Daemon {
    fn default() -> Daemon {
        Daemon {
            run_dir: "/run/artere/ipamd".into(),
            state_dir: "/var/lib/artere/ipamd".into(),
            log: "info".to_owned(),
            listen: vec![],
            listen_may_change: false,
        }
    }
}

/// What is there from the first start.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Ipam {
    sites: Vec<Spanned<String>>,
    holdings: Vec<Spanned<Prefix>>,
}

/// A checked configuration.
#[derive(Debug)]
pub(crate) struct Config {
    /// Holds `ipamd.sock`.
    pub(crate) run_dir: PathBuf,
    /// Holds `ipam.redb`.
    pub(crate) state_dir: PathBuf,
    /// Log filter.
    pub(crate) log: String,
    /// TCP listeners.
    pub(crate) listen: Vec<Address>,
    /// Whether changes are taken over TCP.
    pub(crate) listen_may_change: bool,
    /// Sites and holdings, each with its place in the file.
    ensured: Vec<(Command, Range<usize>)>,
    path: PathBuf,
    text: String,
}

impl Config {
    /// Reads and checks a file.
    pub(crate) fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = read_config(path)?;
        let File { daemon, ipam } = parse_toml(path, &text)?;
        let mut listen = Vec::new();
        for written in &daemon.listen {
            let refused = |what: String| {
                ConfigError::at(path, &text, written.span(), "listen", what, "write \"[2001:db8::53]:50071\"")
            };
            match written.get_ref().parse() {
                Ok(Address::Unix(_)) => return Err(refused("a Unix socket stands in run_dir already".to_owned())),
                Ok(address) => listen.push(address),
                Err(what) => return Err(refused(what)),
            }
        }
        let sites = ipam.sites.into_iter().map(|s| {
            let span = s.span();
            (Command::AddSite { name: s.into_inner(), description: String::new() }, span)
        });
        let holdings = ipam.holdings.into_iter().map(|p| {
            let span = p.span();
            (Command::AddHolding { prefix: p.into_inner(), source: "ipamd.toml".to_owned() }, span)
        });
        let config = Config {
            run_dir: daemon.run_dir,
            state_dir: daemon.state_dir,
            log: daemon.log,
            listen,
            listen_may_change: daemon.listen_may_change,
            ensured: sites.chain(holdings).collect(),
            path: path.to_owned(),
            text,
        };
        config.missing(&State::default())?;
        Ok(config)
    }

    /// The events that make what the file names be there, on top of `state`; or the line that cannot be.
    pub(crate) fn missing(&self, state: &State) -> Result<Vec<ipam_core::Event>, ConfigError> {
        let mut state = state.clone();
        let mut events = Vec::new();
        for (command, span) in &self.ensured {
            let at = |rule: &str, what: String, cure: String| {
                ConfigError::at(&self.path, &self.text, span.clone(), rule, what, cure)
            };
            let decision = state.decide(command).map_err(|r| at(r.rule.id(), r.reason, r.cure))?;
            for event in decision.events {
                let applied = state.apply(&event);
                applied.map_err(|e| at("consistency", e.to_string(), "report this as a fault".to_owned()))?;
                events.push(event);
            }
        }
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        let path =
            std::env::temp_dir().join(format!("ipamd-{}-{:?}.toml", std::process::id(), std::thread::current().id()));
        std::fs::write(&path, text).unwrap();
        let loaded = Config::load(&path).map_err(|e| e.to_string().replace(&path.display().to_string(), "ipamd.toml"));
        std::fs::remove_file(&path).unwrap();
        loaded
    }

    #[test]
    fn the_shipped_example_is_accepted() {
        let config = Config::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/ipamd.toml"))).unwrap();
        assert_eq!(config.missing(&State::default()).unwrap().len(), 6);
    }

    #[test]
    fn an_empty_file_is_a_socket_and_an_empty_store() {
        let config = load("").unwrap();
        assert_eq!(config.run_dir, Path::new("/run/artere/ipamd"));
        assert!(config.listen.is_empty() && config.missing(&State::default()).unwrap().is_empty());
    }

    #[test]
    fn refusals_name_line_rule_and_cure() {
        for (text, starts) in [
            ("[ipam]\nsite = []\n", "ipamd.toml:2:1: unknown key: "),
            ("[ipam]\nholdings = [\"192.0.2.1/24\"]\n", "ipamd.toml:2:12: value: "),
            ("[ipam]\nholdings = [\n \"192.0.2.0/24\",\n \"192.0.2.0/25\"]\n", "ipamd.toml:4:2: IPAM-HOLD-1: "),
            ("[ipam]\nsites = [\"a b\"]\n", "ipamd.toml:2:10: IPAM-NAME-1: "),
            ("[daemon]\nlisten = [\"50071\"]\n", "ipamd.toml:2:11: listen: "),
        ] {
            let refused = load(text).expect_err(text);
            assert!(refused.starts_with(starts) && refused.contains("; "), "{refused}");
        }
    }
}
