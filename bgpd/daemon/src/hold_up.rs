//! When a link that came back may carry traffic again: flap damping of the link, not of the prefix.
//!
//! The way of a link: down -> up -> a hold-up time -> returned. Each time that it goes down again soon after, the time doubles, up to
//! [`MOST`]; a link that stays for ten times as long as it last had to wait, and a minute at least, starts anew. Pure: time is a value.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The longest hold-up.
const MOST: Duration = Duration::from_secs(60);
/// The least time up after which a flap is forgotten.
const CALM: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Link {
    /// The hold-up of its next return.
    hold: Duration,
    /// Up since then.
    up: Option<Instant>,
    /// Up, and not yet returned.
    waits: bool,
}

/// All links that went down lately.
#[derive(Debug)]
pub struct HoldUp {
    base: Duration,
    links: BTreeMap<u32, Link>,
}

impl HoldUp {
    /// With the hold-up of a link that goes down for the first time.
    pub fn new(base: Duration) -> HoldUp {
        HoldUp { base, links: BTreeMap::new() }
    }

    /// A link went down.
    pub fn down(&mut self, ifindex: u32, now: Instant) {
        let base = self.base;
        let link = self.links.entry(ifindex).or_insert(Link { hold: Duration::ZERO, up: None, waits: false });
        let calm = link.up.is_some_and(|up| now.saturating_duration_since(up) >= (link.hold * 10).max(CALM));
        link.hold = if calm || link.hold.is_zero() { base } else { (link.hold * 2).min(MOST.max(base)) };
        link.up = None;
        link.waits = false;
    }

    /// A link is up again.
    pub fn up(&mut self, ifindex: u32, now: Instant) {
        // One that was down at our start waits as well.
        let base = self.base;
        let link = self.links.entry(ifindex).or_insert(Link { hold: base, up: None, waits: false });
        if link.up.is_none() {
            (link.up, link.waits) = (Some(now), true);
        }
    }

    /// When the next one has waited for long enough.
    pub fn next(&self) -> Option<Instant> {
        self.links.values().filter(|l| l.waits).filter_map(|l| Some(l.up? + l.hold)).min()
    }

    /// Those that have.
    pub fn due(&mut self, now: Instant) -> Vec<u32> {
        let mut due = Vec::new();
        for (ifindex, link) in &mut self.links {
            if link.waits && link.up.is_some_and(|up| now >= up + link.hold) {
                link.waits = false;
                due.push(*ifindex);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_flaps_waits_longer_each_time_and_one_that_stays_is_forgiven() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut hold = HoldUp::new(second * 2);
        let mut now = start;
        let mut wait = |hold: &mut HoldUp, up_for: Duration| {
            hold.down(7, now);
            assert_eq!((hold.next(), hold.due(now + second * 1000)), (None, vec![]), "down");
            now += second;
            hold.up(7, now);
            hold.up(7, now + second);
            let due = hold.next().unwrap();
            assert!(hold.due(due - Duration::from_millis(1)).is_empty());
            assert_eq!((hold.due(due), hold.due(due), hold.next()), (vec![7], vec![], None));
            let waited = due - now;
            now += up_for;
            waited.as_secs()
        };
        let waits: Vec<u64> = (0..7).map(|_| wait(&mut hold, second * 30)).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(wait(&mut hold, second * 601), 60);
        assert_eq!(wait(&mut hold, second), 2);
    }

    #[test]
    fn a_hold_up_of_nothing_returns_at_once() {
        let now = Instant::now();
        let mut hold = HoldUp::new(Duration::ZERO);
        hold.down(1, now);
        hold.up(1, now);
        assert_eq!(hold.due(now), [1]);
    }
}
