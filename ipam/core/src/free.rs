//! Free space inside one container (a holding or an assignment), kept rather than computed.
//!
//! The set holds the *maximal* free blocks, keyed by length, then address: of two free halves only their parent is
//! kept. Finding, splitting and merging cost one look at an ordered set per length between the container's and the
//! one asked for, however many prefixes there are: a /64 out of a /29 costs what a /30 out of a /24 costs.

use net_types::Prefix;
use std::collections::BTreeSet;

/// The free blocks of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeSpace {
    container: Prefix,
    blocks: BTreeSet<(u8, Prefix)>,
}

impl FreeSpace {
    /// Everything in `container` is free.
    pub fn whole(container: Prefix) -> FreeSpace {
        FreeSpace { container, blocks: BTreeSet::from([(container.len(), container)]) }
    }

    /// Just these blocks of `container` are free; they must lie inside it and not overlap.
    pub fn of(container: Prefix, blocks: impl IntoIterator<Item = Prefix>) -> FreeSpace {
        let mut free = FreeSpace { container, blocks: BTreeSet::new() };
        for block in blocks {
            free.give(block);
        }
        free
    }

    /// The maximal free blocks, largest first, then by address.
    pub fn blocks(&self) -> impl Iterator<Item = Prefix> + '_ {
        self.blocks.iter().map(|&(_, p)| p)
    }

    /// The prefix of `length` inside `within` that breaks up the least: cut from the start of the smallest free block
    /// that can hold it, the lowest address among equals. With it comes that block's length.
    pub fn best_fit(&self, within: Prefix, length: u8) -> Option<(u8, Prefix)> {
        if length < within.len() || length > within.max_len() {
            return None;
        }
        for size in (within.len()..=length).rev() {
            let first = (size, start_of(within, size));
            if let Some(&(found, block)) = self.blocks.range(first..).next()
                && found == size
                && within.covers(&block)
            {
                return Some((size, start_of(block, length)));
            }
        }
        let around = self.block_around(within)?;
        Some((around.len(), start_of(within, length)))
    }

    /// Takes what is free inside `part` out of the set and returns it: `[part]` itself if all of it was.
    pub fn take(&mut self, part: Prefix) -> Vec<Prefix> {
        if let Some(around) = self.block_around(part) {
            self.blocks.remove(&(around.len(), around));
            for length in around.len() + 1..=part.len() {
                if let Some(sibling) = sibling(part.truncate(length)) {
                    self.blocks.insert((length, sibling));
                }
            }
            return vec![part];
        }
        let inside: Vec<Prefix> = self.blocks_inside(part).collect();
        for block in &inside {
            self.blocks.remove(&(block.len(), *block));
        }
        inside
    }

    /// Gives a block back, joining it with its free other half as far up as that goes.
    pub fn give(&mut self, block: Prefix) {
        let mut block = block;
        while block.len() > self.container.len() {
            let (Some(other), Some(parent)) = (sibling(block), block.parent()) else { break };
            if !self.blocks.remove(&(other.len(), other)) {
                break;
            }
            block = parent;
        }
        self.blocks.insert((block.len(), block));
    }

    /// The free blocks inside `part`, largest first.
    pub fn blocks_inside(&self, part: Prefix) -> impl Iterator<Item = Prefix> + '_ {
        (part.len()..=part.max_len()).flat_map(move |length| {
            self.blocks
                .range((length, start_of(part, length))..)
                .map(|&(_, p)| p)
                .take_while(move |p| p.len() == length && part.covers(p))
        })
    }

    /// The free block that `part` is or lies in.
    pub fn block_around(&self, part: Prefix) -> Option<Prefix> {
        (self.container.len()..=part.len())
            .map(|length| part.truncate(length))
            .find(|p| self.blocks.contains(&(p.len(), *p)))
    }
}

/// The first prefix of `length` in `p`; `length` is not shorter than `p`'s and fits the family.
fn start_of(p: Prefix, length: u8) -> Prefix {
    match p {
        Prefix::V4(bits, _) => Prefix::V4(bits, length),
        Prefix::V6(bits, _) => Prefix::V6(bits, length),
    }
}

/// The other half of the parent.
fn sibling(p: Prefix) -> Option<Prefix> {
    let (low, high) = p.parent()?.halves()?;
    Some(if p == low { high } else { low })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(s: &str) -> Prefix {
        s.parse().unwrap()
    }

    #[test]
    fn best_fit_breaks_the_smallest_block_that_can_hold_it() {
        let mut free = FreeSpace::whole(p("192.0.2.0/24"));
        assert_eq!(free.take(p("192.0.2.64/28")), [p("192.0.2.64/28")]);
        // Free now: .0/26, .80/28, .96/27, .128/25.
        assert_eq!(free.best_fit(p("192.0.2.0/24"), 28), Some((28, p("192.0.2.80/28"))));
        assert_eq!(free.best_fit(p("192.0.2.0/24"), 27), Some((27, p("192.0.2.96/27"))));
        assert_eq!(free.best_fit(p("192.0.2.0/24"), 26), Some((26, p("192.0.2.0/26"))));
        assert_eq!(free.best_fit(p("192.0.2.0/24"), 24), None);
        assert_eq!(free.best_fit(p("192.0.2.128/26"), 30), Some((25, p("192.0.2.128/30"))));
        free.give(p("192.0.2.64/28"));
        assert_eq!(free, FreeSpace::whole(p("192.0.2.0/24")));
    }

    #[test]
    fn a_64_out_of_a_29_is_found_at_once() {
        let mut free = FreeSpace::whole(p("2001:db8::/29"));
        for n in 0..1000u128 {
            let (_, found) = free.best_fit(p("2001:db8::/29"), 64).unwrap();
            assert_eq!(found, Prefix::V6(0x2001_0db8 << 96 | n << 64, 64));
            assert_eq!(free.take(found), [found]);
        }
        assert!(free.blocks().count() <= 64);
    }

    #[test]
    fn taking_a_part_with_holes_returns_what_was_free_in_it() {
        let mut free = FreeSpace::whole(p("192.0.2.0/24"));
        free.take(p("192.0.2.0/27"));
        let inside = free.take(p("192.0.2.0/25"));
        assert_eq!(inside, [p("192.0.2.64/26"), p("192.0.2.32/27")]);
        assert_eq!(free.blocks().collect::<Vec<_>>(), [p("192.0.2.128/25")]);
        assert_eq!(
            FreeSpace::of(p("192.0.2.0/25"), inside).best_fit(p("192.0.2.0/25"), 27).unwrap().1,
            p("192.0.2.32/27")
        );
    }
}
