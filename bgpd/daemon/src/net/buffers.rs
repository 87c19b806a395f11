//! Read buffers, lent for the length of one read: an idle neighbour holds none.
//!
//! Invariant: as many exist as reads are under way at once (one a worker thread), and a few more wait to be lent again.

use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

/// Largest single read.
pub const READ: usize = 64 * 1024;
/// Buffers kept while nobody reads.
const KEPT: usize = 8;

static IDLE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// A buffer on loan; it goes back when dropped.
#[derive(Debug)]
pub struct Buffer {
    octets: Box<[u8]>,
    filled: usize,
}

impl Buffer {
    /// One with nothing in it.
    pub fn lend() -> Buffer {
        let idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Buffer { octets: idle.unwrap_or_else(|| vec![0; READ].into_boxed_slice()), filled: 0 }
    }

    /// All of it, to be written; [`Buffer::filled`] says how much was.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.octets
    }

    /// The first `octets` are what was read.
    pub fn filled(mut self, octets: usize) -> Buffer {
        self.filled = octets;
        self
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.octets.get(..self.filled).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(std::mem::take(&mut self.octets));
        }
    }
}
