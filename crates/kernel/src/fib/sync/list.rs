//! What a person may ask: which prefixes there are, a slice at a time, and how each stands.

use super::{FibSync, Have, State};
use crate::fib::table::SLICES;
use crate::fib::{FibEntry, FibKernel, FibState};
use net_types::Prefix;

impl<K: FibKernel> FibSync<K> {
    /// Slices of [`FibSync::prefixes`].
    pub const SLICES: usize = SLICES;

    /// Adds the prefixes of one slice of the table to `out`, in no order.
    pub fn prefixes(&self, slice: usize, out: &mut Vec<Prefix>) {
        self.table.visit(slice, |prefix, _| out.push(prefix));
    }

    /// Every prefix, in order: for tests, as it copies.
    pub fn iter(&self) -> impl Iterator<Item = FibEntry<'_>> {
        let mut all = Vec::with_capacity(self.len());
        (0..SLICES).for_each(|slice| self.prefixes(slice, &mut all));
        all.sort_unstable();
        all.into_iter().filter_map(|prefix| self.get(&prefix))
    }

    /// One prefix, for `show fib`.
    pub fn get(&self, prefix: &Prefix) -> Option<FibEntry<'_>> {
        let cell = self.table.get(prefix)?;
        let (want, have, stale, error) = match cell.state() {
            State::Settled(h) => (Some(h), self.written_for(Some(h)), false, None),
            State::Stale(h) => (None, self.written_for(Some(h)), !self.swept, None),
            State::Missing(h) => (Some(h), Have::Nothing, false, None),
            State::Open(key) => {
                let open = self.open.get(key as usize)?;
                (open.want, open.have, open.stale, open.error.as_deref())
            }
        };
        let state = match want {
            _ if error.is_some() => FibState::Failed,
            None if stale => FibState::Stale,
            None => FibState::Removing,
            Some(h) if self.hangs_on(have, h) => FibState::Installed,
            Some(_) => FibState::Pending,
        };
        let nexthop_id = match have {
            Have::Nothing => None,
            Have::Object(c) => self.objects.object(c).map(|o| o.id),
            Have::Alien(id) => Some(id),
        };
        Some(FibEntry { prefix: *prefix, nexthop_id, target: want.and_then(|h| self.objects.target(h)), state, error })
    }

    /// Prefixes whose last change was refused, and how many of these because another program holds their place.
    pub fn failed(&self) -> (usize, usize) {
        let errors = self.open.iter().filter_map(|(_, o)| o.error.as_deref());
        errors.fold((0, 0), |(all, foreign), e| (all + 1, foreign + usize::from(e.starts_with(super::write::FOREIGN))))
    }
}
