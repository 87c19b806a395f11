//! What this process takes of the machine's memory: the kernel's word and the allocator's.
//!
//! Standards: proc(5) `/proc/PID/status`, mallinfo(3).

use std::io;

/// Octets, each by whoever keeps the account.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ProcessMemory {
    /// Resident now (`VmRSS`).
    pub resident: u64,
    /// The most that was ever resident (`VmHWM`).
    pub peak: u64,
    /// The allocator's report; `None` where the C library has none (musl).
    pub allocator: Option<Allocator>,
}

/// What the C library's allocator says, mallinfo(3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Allocator {
    /// Handed out to us: `uordblks` and `hblkhd`.
    pub in_use: u64,
    /// Of these, large blocks with a mapping of their own (`hblkhd`).
    pub mapped: u64,
    /// Free, kept for the next request (`fordblks`).
    pub free: u64,
}

impl ProcessMemory {
    /// Of this process, now. An error: `/proc` is not there or not as proc(5) has it.
    pub fn now() -> io::Result<ProcessMemory> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let kib = |key: &str| {
            let value = status.lines().find_map(|l| l.strip_prefix(key)).and_then(|l| l.split_whitespace().next());
            let missing = || io::Error::new(io::ErrorKind::InvalidData, format!("/proc/self/status has no {key}"));
            value.and_then(|v| v.parse::<u64>().ok()).map(|kib| kib * 1024).ok_or_else(missing)
        };
        Ok(ProcessMemory { resident: kib("VmRSS:")?, peak: kib("VmHWM:")?, allocator: allocator() })
    }
}

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "only the C library knows, and no crate asks it")]
fn allocator() -> Option<Allocator> {
    // SAFETY: takes nothing, returns a structure of numbers by value, and locks the arenas it reads.
    let info = unsafe { libc::mallinfo2() };
    let number = |n: libc::size_t| n as u64;
    let mapped = number(info.hblkhd);
    Some(Allocator { in_use: number(info.uordblks) + mapped, mapped, free: number(info.fordblks) })
}

#[cfg(not(target_env = "gnu"))]
fn allocator() -> Option<Allocator> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_take_shows_in_both_accounts_and_what_we_give_back_leaves_them() {
        const OCTETS: u64 = 64 << 20;
        let before = ProcessMemory::now().unwrap();
        let taken = vec![1u8; OCTETS as usize];
        let with = ProcessMemory::now().unwrap();
        assert!(with.resident - before.resident > OCTETS * 9 / 10, "{before:?} {with:?}");
        assert!(with.peak >= with.resident);
        let in_use = |m: &ProcessMemory| m.allocator.map_or(0, |a| a.in_use);
        assert!(in_use(&with) - in_use(&before) > OCTETS * 9 / 10, "{before:?} {with:?}");
        drop(taken);
        let after = ProcessMemory::now().unwrap();
        assert!(in_use(&with) - in_use(&after) > OCTETS * 9 / 10, "{with:?} {after:?}");
    }
}
