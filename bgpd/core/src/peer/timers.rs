//! Durations, jitter, back-off and the SendHoldTimer. A timer is a deadline (`Monotime`) kept where it means something;
//! here is only how deadlines are made.

use std::time::Duration;

use net_types::Monotime;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// HoldTimer before the neighbour's OPEN: "a large value", 4 minutes suggested (RFC 4271 §8.2.2, Connect state).
pub(super) const OPEN_HOLD_TIME: Duration = Duration::from_secs(240);
/// A session that lived this long forgives the failures before it.
pub(super) const STABLE_SESSION: Duration = Duration::from_secs(30);
/// Highest IdleHoldTime (DampPeerOscillations, RFC 4271 §8.1.1).
pub(super) const IDLE_HOLD_CEILING: Duration = Duration::from_secs(60);
/// First wait after a failure.
pub(super) const FIRST_WAIT: Duration = Duration::from_secs(1);

/// How long the HoldTimer puts off its judgement at a time while octets of the neighbour wait unread.
pub(super) const UNREAD_GRACE: Duration = Duration::from_secs(1);

/// A random share, 0.75 to 1.0, of a timer's value (RFC 4271 §10).
pub(super) fn jitter(rng: &mut ChaCha8Rng, value: Duration) -> Duration {
    let thousandths = 750 + rng.next_u32() % 251;
    value.saturating_mul(thousandths) / 1000
}

/// Failures in a row (ConnectRetryCounter) and the wait that follows from them: 1 s, 2 s, 4 s, ... up to a ceiling.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    pub(super) failures: u32,
}

impl BackOff {
    /// Counts one more failure and says how long to wait.
    pub(super) fn next(&mut self, rng: &mut ChaCha8Rng, ceiling: Duration) -> Duration {
        let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(16)).min(ceiling.max(FIRST_WAIT));
        self.failures = self.failures.saturating_add(1);
        jitter(rng, wait)
    }

    /// The neighbour behaves again.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// SendHoldTimer (RFC 9687): runs while bytes wait for the kernel, starts anew whenever it took some.
#[derive(Debug, Default)]
pub(super) struct SendHold {
    /// Zero: off.
    time: Duration,
    /// Octets in the shell's hands at its last report.
    unsent: usize,
    /// Octets it took since then.
    taken: usize,
    deadline: Option<Monotime>,
}

impl SendHold {
    pub(super) fn set_time(&mut self, time: Duration) {
        self.time = time;
        if time.is_zero() {
            self.deadline = None;
        }
    }

    /// Bytes were queued.
    pub(super) fn queued(&mut self, now: Monotime) {
        if self.deadline.is_none() && !self.time.is_zero() {
            self.deadline = Some(now + self.time);
        }
    }

    /// The shell took bytes out of the queue.
    pub(super) fn taken(&mut self, octets: usize) {
        self.taken = self.taken.saturating_add(octets);
    }

    /// The shell reports `unsent` octets it could not hand on; `queued` says whether more wait in our queue.
    pub(super) fn progress(&mut self, now: Monotime, unsent: usize, queued: bool) {
        let before = self.unsent.saturating_add(self.taken);
        (self.unsent, self.taken) = (unsent, 0);
        if unsent == 0 && !queued {
            self.deadline = None;
        } else if self.deadline.is_some() && unsent < before {
            self.deadline = Some(now + self.time);
        }
    }

    pub(super) fn deadline(&self) -> Option<Monotime> {
        self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn rfc4271_10_jitter_is_between_three_quarters_and_all() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let drawn: Vec<_> = (0..2000).map(|_| jitter(&mut rng, Duration::from_secs(120))).collect();
        assert!(drawn.iter().all(|d| (Duration::from_secs(90)..=Duration::from_secs(120)).contains(d)));
        assert!(drawn.iter().any(|d| *d < Duration::from_secs(95)));
        assert!(drawn.iter().any(|d| *d > Duration::from_secs(115)));
    }

    #[test]
    fn back_off_doubles_from_one_second_to_the_ceiling() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut back_off = BackOff::default();
        for expected in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let wait = back_off.next(&mut rng, IDLE_HOLD_CEILING);
            let whole = Duration::from_secs(expected);
            assert!(wait <= whole && wait >= whole * 3 / 4, "{wait:?} for {expected}");
        }
        back_off.reset();
        assert!(back_off.next(&mut rng, IDLE_HOLD_CEILING) <= FIRST_WAIT);
    }

    #[test]
    fn rfc9687_the_send_hold_timer_restarts_on_progress_only() {
        let mut timer = SendHold::default();
        timer.set_time(Duration::from_secs(480));
        timer.queued(Monotime::from_secs(0));
        timer.taken(100);
        timer.progress(Monotime::from_secs(10), 100, false);
        assert_eq!(timer.deadline(), Some(Monotime::from_secs(480)), "nothing went out");
        timer.progress(Monotime::from_secs(20), 99, false);
        assert_eq!(timer.deadline(), Some(Monotime::from_secs(500)));
        timer.progress(Monotime::from_secs(30), 0, false);
        assert_eq!(timer.deadline(), None);
    }
}
