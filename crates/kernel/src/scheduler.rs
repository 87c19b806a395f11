//! Who is given a processor, and which: for threads that count milliseconds.
//!
//! Standards: sched(7), sched_setaffinity(2).

use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Puts the calling thread, and threads that it makes, before all that is scheduled by fair shares (SCHED_FIFO); needs
/// `CAP_SYS_NICE`. [`ordinary`] is the way back.
pub fn real_time(priority: i32) -> io::Result<()> {
    schedule(libc::SCHED_FIFO, priority)
}

/// Back to a fair share; needs no right.
pub fn ordinary() -> io::Result<()> {
    schedule(libc::SCHED_OTHER, 0)
}

#[expect(unsafe_code, reason = "neither the standard library nor nix or rustix has a call for it")]
fn schedule(policy: libc::c_int, priority: libc::c_int) -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: `parameter` is a live sched_param that the kernel only reads; 0 is the calling thread.
    let done = unsafe { libc::sched_setscheduler(0, policy, &raw const parameter) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Some of the machine's processors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Processors(CpuSet);

impl Processors {
    /// Every other one of those that the calling thread may use, and the rest; `None`: there is one only, or the kernel does not
    /// say. Two threads, one on each, are not both held up by one processor that does not let go of what it does.
    pub fn halves() -> Option<(Processors, Processors)> {
        let all = sched_getaffinity(Pid::from_raw(0)).ok()?;
        let (mut halves, mut found) = ([CpuSet::new(), CpuSet::new()], 0);
        for cpu in (0..CpuSet::count()).filter(|cpu| all.is_set(*cpu).unwrap_or(false)) {
            if let Some(half) = halves.get_mut(found % 2) {
                half.set(cpu).ok()?;
            }
            found += 1;
        }
        let [first, second] = halves;
        (found > 1).then_some((Processors(first), Processors(second)))
    }

    /// From now on the calling thread runs on these only.
    pub fn keep(&self) -> io::Result<()> {
        Ok(sched_setaffinity(Pid::from_raw(0), &self.0)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_halves_are_all_there_is_and_are_kept_to() {
        std::thread::spawn(|| {
            let mine = || sched_getaffinity(Pid::from_raw(0)).unwrap();
            let of = |set: CpuSet| (0..CpuSet::count()).filter(|c| set.is_set(*c).unwrap()).collect::<Vec<_>>();
            let all = of(mine());
            let Some((first, second)) = Processors::halves() else { return assert_eq!(all.len(), 1) };
            first.keep().unwrap();
            let one = of(mine());
            second.keep().unwrap();
            let other = of(mine());
            assert!(!one.is_empty() && !other.is_empty() && one.iter().all(|c| !other.contains(c)));
            let mut both = [one, other].concat();
            both.sort_unstable();
            assert_eq!(both, all);
        })
        .join()
        .unwrap();
    }
}
