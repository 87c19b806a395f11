//! Giving up what root has and a daemon does not need.
//!
//! A routing daemon needs `CAP_NET_ADMIN` (routes, TCP MD5, minimum TTL of others' sockets) and `CAP_NET_BIND_SERVICE`
//! (port 179). Everything else goes from the permitted, effective, inheritable, ambient and bounding sets, and
//! `no_new_privs` keeps a child from winning it back. The user id stays: files that root owns stay readable and
//! writable, other users' files do not (no `CAP_DAC_OVERRIDE`). Uses rustix's safe calls.
//!
//! Capabilities belong to a thread and are inherited by the threads it makes: hence "before any thread exists", which is
//! checked, not hoped for.

use rustix::thread as os;
pub use rustix::thread::CapabilitySet;

/// What `bgpd` keeps.
pub const ROUTING: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_BIND_SERVICE);
/// What a daemon that only holds a database and sockets keeps.
pub const NONE: CapabilitySet = CapabilitySet::empty();

/// Why capabilities could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// Another thread would keep everything.
    #[error("cannot drop capabilities: {0} threads run already; call drop_privileges before the runtime starts")]
    Threads(usize),
    /// The kernel refused.
    #[error("cannot drop capabilities ({step}): {error}; start as root or with no capabilities at all")]
    Os {
        /// Which call.
        step: &'static str,
        /// What it said.
        error: std::io::Error,
    },
}

/// Keeps those of `keep` that the process has and gives up all others for good. Call from `main`, before any other
/// thread exists; threads made later inherit the result. Returns what is left.
pub fn drop_privileges(keep: CapabilitySet) -> Result<CapabilitySet, PrivilegeError> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(PrivilegeError::Threads(threads));
    }
    drop_here(keep)
}

/// The calling thread's part.
fn drop_here(keep: CapabilitySet) -> Result<CapabilitySet, PrivilegeError> {
    let step = |step: &'static str| move |e: rustix::io::Errno| PrivilegeError::Os { step, error: e.into() };
    let have = os::capabilities(None).map_err(step("capget"))?;
    let left = have.permitted & keep;

    // The bounding set needs CAP_SETPCAP, so it goes first; without the capability it stays, which is harmless then:
    // nothing can be gained from it under no_new_privs.
    if have.effective.contains(CapabilitySet::SETPCAP) {
        for one in CapabilitySet::all().difference(keep).iter() {
            match os::remove_capability_from_bounding_set(one) {
                // A kernel older than the list does not know the newest ones.
                Ok(()) | Err(rustix::io::Errno::INVAL) => {}
                Err(e) => return Err(step("bounding set")(e)),
            }
        }
    }
    match os::clear_ambient_capability_set() {
        Ok(()) | Err(rustix::io::Errno::INVAL) => {}
        Err(e) => return Err(step("ambient set")(e)),
    }
    os::set_no_new_privs(true).map_err(step("no_new_privs"))?;
    let sets = os::CapabilitySets { effective: left, permitted: left, inheritable: CapabilitySet::empty() };
    os::set_capabilities(None, sets).map_err(step("capset"))?;
    Ok(left)
}

/// Puts the calling thread ahead of others (below zero) or behind them; threads that it makes inherit that. False: it needs
/// `CAP_SYS_NICE` to go ahead, and all is as before.
pub fn nice(by: i32) -> bool {
    rustix::process::nice(by).is_ok()
}

/// Puts the calling thread back among the others (nice 0), if it was ahead of them. False: it was behind them, and stays there.
pub fn nice_as_others() -> bool {
    rustix::process::setpriority_process(None, 0).is_ok()
}

/// True if the calling thread may use all of `wanted` now.
pub fn holds(wanted: CapabilitySet) -> bool {
    os::capabilities(None).is_ok_and(|c| c.effective.contains(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn other_threads_would_keep_everything_and_are_refused() {
        // libtest runs each test in a thread of its own, so there are always two.
        assert!(matches!(drop_privileges(ROUTING), Err(PrivilegeError::Threads(_))));
    }

    #[test]
    fn only_what_is_kept_is_left_and_it_does_not_come_back() {
        if !holds(CapabilitySet::SETPCAP | CapabilitySet::NET_ADMIN | CapabilitySet::NET_BIND_SERVICE) {
            assert!(std::env::var_os("CI").is_none(), "needs root, and CI must have it");
            eprintln!("skipped: needs root");
            return;
        }
        std::thread::spawn(|| {
            assert_eq!(drop_here(ROUTING).unwrap(), ROUTING);
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            // CAP_NET_BIND_SERVICE is bit 10, CAP_NET_ADMIN bit 12.
            for set in ["CapPrm:\t", "CapEff:\t", "CapBnd:\t"] {
                assert!(status.contains(&format!("{set}0000000000001400")), "{set} in {status}");
            }
            assert!(status.contains("NoNewPrivs:\t1"), "{status}");
            let sh = Command::new("sh").args(["-c", "grep CapEff /proc/self/status"]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&sh.stdout).trim(), "CapEff:\t0000000000001400");
            assert!(std::thread::spawn(|| !holds(CapabilitySet::SYS_ADMIN) && holds(ROUTING)).join().unwrap());
        })
        .join()
        .unwrap();
    }
}
