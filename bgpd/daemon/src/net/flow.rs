//! How much of one neighbour may be under way between its task and the RIB, in either direction.
//!
//! In: [`InFlight`] counts octets that were read and not yet worked off; a task reads while there is room. Out: [`Outlet`]
//! counts answers; the RIB makes UPDATEs for a neighbour while it has credit, and the task gives credit back when its socket
//! took them. Neither side waits for the other; who finds nothing to do leaves a mark and is woken once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::buffers::READ;

/// Octets read and not worked off beyond which a neighbour's socket is left alone: the RIB has one read to work on and one
/// that waits.
pub const IN_FLIGHT: usize = 2 * READ;
/// Answers of the RIB under way to one neighbour: one is written while the next is made.
const ANSWERS: usize = 2;

/// Octets of one neighbour on their way to the RIB.
#[derive(Debug, Default)]
pub struct InFlight {
    octets: AtomicUsize,
    room: Notify,
}

impl InFlight {
    /// More may be read.
    pub fn has_room(&self) -> bool {
        self.octets.load(Ordering::Acquire) < IN_FLIGHT
    }

    /// Waits until more may be read. Only the task that reads may wait.
    pub async fn wait(&self) {
        while !self.has_room() {
            self.room.notified().await;
        }
    }

    /// So much was read. It is worked off when what this returns is dropped.
    pub fn hold(self: &Arc<Self>, octets: usize) -> Held {
        self.octets.fetch_add(octets, Ordering::AcqRel);
        Held { of: Arc::clone(self), octets }
    }
}

/// Octets that are not worked off yet.
#[derive(Debug)]
pub struct Held {
    of: Arc<InFlight>,
    octets: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        let before = self.of.octets.fetch_sub(self.octets, Ordering::AcqRel);
        if before >= IN_FLIGHT && before - self.octets < IN_FLIGHT {
            self.of.room.notify_one();
        }
    }
}

/// The RIB's credit with one session.
#[derive(Debug)]
pub struct Outlet {
    credit: AtomicUsize,
    /// The RIB has more and found no credit.
    waiting: AtomicBool,
}

impl Default for Outlet {
    fn default() -> Self {
        Outlet { credit: AtomicUsize::new(ANSWERS), waiting: AtomicBool::new(false) }
    }
}

impl Outlet {
    /// For the RIB: takes credit for one answer. False: there is none, and [`Outlet::give`] will say so to the task.
    pub fn take(&self) -> bool {
        if self.try_take() {
            return true;
        }
        self.waiting.store(true, Ordering::SeqCst);
        // Given back between the two lines above, it would have been seen by nobody.
        if self.try_take() {
            self.waiting.store(false, Ordering::SeqCst);
            return true;
        }
        false
    }

    fn try_take(&self) -> bool {
        self.credit.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |credit| credit.checked_sub(1)).is_ok()
    }

    /// For the RIB: there was nothing to say after all.
    pub fn put_back(&self) {
        self.credit.fetch_add(1, Ordering::SeqCst);
    }

    /// For the task: an answer has gone. True: the RIB waits for it and is to be told.
    pub fn give(&self) -> bool {
        self.credit.fetch_add(1, Ordering::SeqCst);
        self.waiting.swap(false, Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reading_pauses_when_too_much_is_under_way_and_goes_on_when_it_is_worked_off() {
        let flow = Arc::new(InFlight::default());
        let (first, second) = (flow.hold(READ), flow.hold(READ - 1));
        assert!(flow.has_room());
        let third = flow.hold(1);
        assert!(!flow.has_room());
        let waiter = tokio::spawn({
            let flow = flow.clone();
            async move { flow.wait().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        drop((third, first));
        waiter.await.unwrap();
        drop(second);
        assert_eq!(flow.octets.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_rib_is_told_of_credit_only_if_it_found_none() {
        let outlet = Outlet::default();
        for _ in 0..ANSWERS {
            assert!(outlet.take());
        }
        assert!(!outlet.give(), "it has not asked in vain");
        assert!(outlet.take());
        assert!(!outlet.take());
        assert!(outlet.give() && !outlet.give(), "told once");
    }

    #[test]
    fn credit_given_from_another_thread_is_never_missed() {
        let (outlet, told) = (Arc::new(Outlet::default()), Arc::new(AtomicUsize::new(0)));
        let taken = Arc::new(AtomicUsize::new(0));
        const ALL: usize = 20_000;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // The task: gives back what was taken.
                let mut given = 0;
                while given < ALL {
                    if taken.load(Ordering::SeqCst) > given {
                        given += 1;
                        told.fetch_add(usize::from(outlet.give()), Ordering::SeqCst);
                    } else {
                        std::thread::yield_now();
                    }
                }
            });
            let mut heard = 0;
            for _ in 0..ALL {
                while !outlet.take() {
                    // In vain: then it must be told.
                    while told.load(Ordering::SeqCst) == heard {
                        std::thread::yield_now();
                    }
                    heard = told.load(Ordering::SeqCst);
                }
                taken.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
}
