//! A set of slot numbers: one bit each, grown on demand.

/// Which slots of a group's table a neighbour holds.
#[derive(Clone, Default, Debug)]
pub(super) struct Bitmap {
    words: Vec<u64>,
}

impl Bitmap {
    fn at(slot: u32) -> (usize, u64) {
        (slot as usize / 64, 1 << (slot % 64))
    }

    /// True if the slot is in the set.
    pub(super) fn contains(&self, slot: u32) -> bool {
        let (word, bit) = Bitmap::at(slot);
        self.words.get(word).is_some_and(|w| w & bit != 0)
    }

    /// Puts the slot in; true if it was not there.
    pub(super) fn insert(&mut self, slot: u32) -> bool {
        let (word, bit) = Bitmap::at(slot);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let Some(w) = self.words.get_mut(word) else { return false };
        let new = *w & bit == 0;
        *w |= bit;
        new
    }

    /// Takes the slot out; true if it was there.
    pub(super) fn remove(&mut self, slot: u32) -> bool {
        let (word, bit) = Bitmap::at(slot);
        let Some(w) = self.words.get_mut(word) else { return false };
        let old = *w & bit != 0;
        *w &= !bit;
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_put_in() {
        let mut b = Bitmap::default();
        assert!(!b.contains(1000) && !b.remove(1000));
        assert!(b.insert(1000) && !b.insert(1000) && b.insert(63) && b.insert(64));
        assert!(b.contains(1000) && b.contains(63) && b.contains(64) && !b.contains(65));
        assert!(b.remove(1000) && !b.contains(1000));
    }
}
