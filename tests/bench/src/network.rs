//! A network namespace of our own, where every address on `lo` is ours: bgpd at .1 of each documentation network, its
//! neighbours beside it.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context, Result};

/// Set for the process inside.
const INSIDE: &str = "BGPD_BENCH_INSIDE";

const SET_UP: &str = "ip link set lo up
for n in 192.0.2 198.51.100 203.0.113; do ip addr add $n.1/24 dev lo; done
exec \"$@\"";

/// Starts this program again inside a new network and does not come back; returns at once there. Without root the network
/// belongs to a user namespace.
pub(crate) fn enter() -> Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    let root = std::fs::metadata("/proc/self").map(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)?;
    let mut command = Command::new("unshare");
    if !root {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "sh", "-euc", SET_UP, "sh"]).arg(std::env::current_exe()?).args(std::env::args_os().skip(1));
    Err(command.env(INSIDE, "1").exec()).context("unshare (util-linux) gives the bench a network of its own")
}
