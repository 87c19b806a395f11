//! A list that holds the usual few entries in place, so that decoding an UPDATE does not ask the allocator for each.

use std::fmt;
use std::ops::{Deref, DerefMut};

use smallvec::SmallVec;

/// A vector whose first `N` entries need no allocation. What it is not is public: it reads, compares and changes as a
/// [`Vec`] does.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct List<T, const N: usize>(SmallVec<[T; N]>);

impl<T, const N: usize> List<T, N> {
    /// Without entries.
    pub const fn new() -> List<T, N> {
        List(SmallVec::new_const())
    }
}

impl<T: Copy + Default, const N: usize> List<T, N> {
    /// The `count` entries that `entries` gives; the usual few are not asked for room one by one.
    #[inline]
    pub(crate) fn of(count: usize, entries: impl Iterator<Item = T>) -> List<T, N> {
        if count > N {
            return entries.collect();
        }
        let mut few = [T::default(); N];
        few.iter_mut().zip(entries).for_each(|(to, from)| *to = from);
        List(SmallVec::from_buf_and_len(few, count))
    }
}

impl<T, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        List::new()
    }
}

impl<T, const N: usize> Deref for List<T, N> {
    type Target = SmallVec<[T; N]>;
    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T, const N: usize> DerefMut for List<T, N> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<T: fmt::Debug, const N: usize> fmt::Debug for List<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter()).finish()
    }
}

impl<T, const N: usize> FromIterator<T> for List<T, N> {
    #[inline]
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        List(entries.into_iter().collect())
    }
}

impl<T, const N: usize> From<Vec<T>> for List<T, N> {
    fn from(entries: Vec<T>) -> Self {
        List(SmallVec::from_vec(entries))
    }
}

impl<T, const N: usize, const M: usize> From<[T; M]> for List<T, N> {
    fn from(entries: [T; M]) -> Self {
        entries.into_iter().collect()
    }
}

impl<T, const N: usize> Extend<T> for List<T, N> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, entries: I) {
        self.0.extend(entries);
    }
}

impl<T, const N: usize> IntoIterator for List<T, N> {
    type Item = T;
    type IntoIter = smallvec::IntoIter<[T; N]>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T, const N: usize> IntoIterator for &'a List<T, N> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'a, T, const N: usize> IntoIterator for &'a mut List<T, N> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter_mut()
    }
}

impl<T: PartialEq, const N: usize, const M: usize> PartialEq<[T; M]> for List<T, N> {
    fn eq(&self, other: &[T; M]) -> bool {
        self.0.as_slice() == other
    }
}

impl<T: PartialEq, const N: usize> PartialEq<Vec<T>> for List<T, N> {
    fn eq(&self, other: &Vec<T>) -> bool {
        self.0.as_slice() == other.as_slice()
    }
}

impl<T: PartialEq, const N: usize> PartialEq<List<T, N>> for Vec<T> {
    fn eq(&self, other: &List<T, N>) -> bool {
        self.as_slice() == other.0.as_slice()
    }
}
