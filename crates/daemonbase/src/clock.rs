//! The one place where a shell reads the clock and makes it a value.

use net_types::Monotime;
use std::time::Instant;

/// A monotonic clock that starts when it is made. Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose zero is now.
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// The time, in microseconds since the clock's start.
    pub fn now(&self) -> Monotime {
        Monotime(u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The operating system's instant of a deadline that a core gave, for `tokio::time::sleep_until`. A deadline too
    /// far to represent becomes one a year away.
    pub fn instant(&self, at: Monotime) -> Instant {
        let far = std::time::Duration::from_secs(365 * 86_400);
        self.start.checked_add(at.since(Monotime::ZERO)).unwrap_or(self.start + far)
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::start()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_comes_back_as_the_same_instant() {
        let c = Clock::start();
        let t = c.now();
        assert!(c.instant(t) <= Instant::now());
        assert!(c.instant(t + std::time::Duration::from_secs(5)) > Instant::now());
        assert!(c.instant(Monotime(u64::MAX)) > Instant::now());
    }
}
