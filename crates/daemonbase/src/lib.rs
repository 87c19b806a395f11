//! What every daemon of Artère does the same way: read its file, log, hear signals, tell systemd, serve and dial gRPC,
//! keep state files, hold one lock, give up capabilities.
//!
//! Floor 3. A daemon's `main` walks the modules in this order: [`config`] (exit 2 on a refusal), [`logging`],
//! [`state`] (lock, last accepted state), [`privileges`] (before any thread exists), [`signals`], [`grpc`],
//! [`notify`]. Invariants: no function here exits the process; every error is one line that says what, where, and
//! what to do next; nothing here knows a protocol.
#![forbid(unsafe_code)]

mod clock;
pub mod config;
pub mod grpc;
pub mod logging;
pub mod notify;
pub mod privileges;
pub mod signals;
pub mod state;

pub use clock::Clock;
pub use config::{ConfigError, load_toml};

/// Exit codes shared by daemons and `noc`.
pub mod exit {
    /// Done.
    pub const OK: u8 = 0;
    /// Done, and something was found that a person should look at.
    pub const FINDING: u8 = 1;
    /// Wrong usage or a refused configuration file.
    pub const USAGE: u8 = 2;
    /// Refused by a safety check.
    pub const REFUSED: u8 = 3;
    /// The daemon could not be reached.
    pub const UNREACHABLE: u8 = 4;
}
