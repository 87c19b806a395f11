//! Holds back log lines that a neighbour can cause as fast as it can send: a few in each stretch of time are written, the
//! rest are counted, and the first line of a later stretch names their number. Nothing is lost without a word.

use std::time::Duration;

use net_types::Monotime;

/// Lines written in one stretch.
const LINES: u32 = 5;
/// How long a stretch lasts.
const STRETCH: Duration = Duration::from_secs(10);

/// One kind of line of one neighbour.
#[derive(Debug, Default)]
pub struct Sparing {
    since: Option<Monotime>,
    written: u32,
    withheld: u64,
}

impl Sparing {
    /// Whether a line may be written now; if so, how many were withheld since the last one.
    pub fn admit(&mut self, now: Monotime) -> Option<u64> {
        if self.since.is_none_or(|since| now >= since + STRETCH) {
            self.since = Some(now);
            self.written = 0;
        }
        if self.written == LINES {
            self.withheld += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.withheld))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_malformed_updates_writes_few_lines_and_counts_the_rest() {
        let mut sparing = Sparing::default();
        let start = Monotime(1_000_000);
        let lines: Vec<_> = (0..2000).filter_map(|_| sparing.admit(start)).collect();
        assert_eq!(lines, [0; LINES as usize]);
        // Just before the stretch is over: still silent. After it: the number of lines that are missing.
        assert_eq!(sparing.admit(start + (STRETCH - Duration::from_micros(1))), None);
        assert_eq!(sparing.admit(start + STRETCH), Some(2001 - u64::from(LINES)));
        assert_eq!(sparing.admit(start + STRETCH), Some(0));
    }

    #[test]
    fn rare_lines_are_all_written() {
        let mut sparing = Sparing::default();
        let mut now = Monotime(0);
        for _ in 0..100 {
            assert_eq!(sparing.admit(now), Some(0));
            now = now + STRETCH;
        }
    }
}
