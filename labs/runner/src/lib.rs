//! `lab-runner`: containerlab topologies on plain network namespaces, and `lab-feeder`, the rest of the Internet.
//!
//! The way of a lab: `<name>.clab.yml` -> [`topology`] (checked, line by line) -> [`up`] (nodes of [`node`], links,
//! programs of [`images`]) -> [`expect`] (what must be seen) -> down. [`state`] is what stands on disk meanwhile,
//! [`enter`] and [`ctl`] are hands inside. [`feed`] plays routing tables over BGP. [`play`] lets things happen to a lab that
//! stands, under the packets of [`ledger`].
//!
//! Invariants: a lab touches only what it named in its state file; however the runner ends, its processes end with it;
//! what it cannot do it refuses by file and line.

pub mod ctl;
pub mod enter;
pub mod expect;
pub mod feed;
pub mod images;
pub mod ledger;
pub mod node;
pub mod play;
pub mod report;
pub mod state;
pub mod topology;
pub mod up;
pub mod yaml;

use std::path::PathBuf;

/// The folder of this program, where the build put our other programs too.
pub fn bin_dir() -> PathBuf {
    let exe = std::env::current_exe().unwrap_or_default();
    exe.parent().map(PathBuf::from).unwrap_or_default()
}
