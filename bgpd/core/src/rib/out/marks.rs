//! Destinations that changed and were not judged yet, each once, in order of their first mark.

use std::collections::VecDeque;

use super::bitmap::Bitmap;
use crate::rib::DestId;

/// The queue.
#[derive(Default, Debug)]
pub(super) struct Marks {
    queue: VecDeque<DestId>,
    set: Bitmap,
    taken: u64,
}

impl Marks {
    /// Marks a destination.
    pub(super) fn insert(&mut self, dest: DestId) {
        if self.set.insert(dest) {
            self.queue.push_back(dest);
        }
    }

    /// Takes the oldest mark.
    pub(super) fn pop(&mut self) -> Option<DestId> {
        let dest = self.queue.pop_front()?;
        self.set.remove(dest);
        self.taken += 1;
        if self.queue.is_empty() && self.queue.capacity() > 4096 {
            *self = Marks { taken: self.taken, ..Marks::default() };
        }
        Some(dest)
    }

    /// True if it is marked.
    pub(super) fn contains(&self, dest: DestId) -> bool {
        self.set.contains(dest)
    }

    /// Nothing is marked.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Marks taken so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// What [`Marks::taken`] will be when all that is marked now was taken.
    pub(super) fn end(&self) -> u64 {
        self.taken + self.queue.len() as u64
    }
}
