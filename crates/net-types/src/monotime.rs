//! Time as a value: microseconds on a clock that only the shells read.

use serde::{Deserialize, Serialize};
use std::ops::{Add, Sub};
use std::time::Duration;

/// Microseconds since an arbitrary start, never going back. Cores get it as an argument, so a recording replays.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Monotime(pub u64);

impl Monotime {
    /// The start of the clock.
    pub const ZERO: Monotime = Monotime(0);

    /// A time given in whole seconds.
    pub fn from_secs(s: u64) -> Monotime {
        Monotime(s.saturating_mul(1_000_000))
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Monotime) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Monotime {
    type Output = Monotime;
    fn add(self, d: Duration) -> Monotime {
        Monotime(self.0.saturating_add(u64::try_from(d.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub for Monotime {
    type Output = Duration;
    fn sub(self, earlier: Monotime) -> Duration {
        self.since(earlier)
    }
}
