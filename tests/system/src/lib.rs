//! What the system tests share: a lab that is up for one test, and packet streams through it.
//!
//! A test that needs root and cannot have it prints `skipped: why`; where `CI` is set it fails instead.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "test support: a panic is the report")]

mod lab;
mod stream;

pub use lab::{Lab, program, root};
pub use stream::{Outage, Stream};

use std::time::{Duration, Instant};

/// False (and a line saying so) where the test cannot run; panics in CI.
///
/// # Panics
/// Where `CI` is set and we are not root.
pub fn can_run() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "needs root (network namespaces), and CI must have it");
    eprintln!("skipped: needs root (network namespaces)");
    false
}

/// Polls `check` until it says `Ok` or `limit` has passed; returns how long it took.
///
/// # Panics
/// When the limit passes, with what `check` said last.
pub fn within(limit: Duration, what: &str, mut check: impl FnMut() -> Result<(), String>) -> Duration {
    let start = Instant::now();
    loop {
        match check() {
            Ok(()) => return start.elapsed(),
            Err(e) if start.elapsed() > limit => panic!("{what}: not within {limit:?}: {e}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
