//! Where the memory goes: what each part has taken from the allocator, by its own account.

use super::Rib;

/// Octets by part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// Destinations with their first path.
    pub destinations: usize,
    /// What finds a destination by its prefix.
    pub index: usize,
    /// Paths beside the first.
    pub further_paths: usize,
    /// Attribute sets, with what finds them.
    pub attributes: usize,
    /// Sets that import policy changed or refused.
    pub verdicts: usize,
    /// Generations and Path Identifiers.
    pub sources: usize,
    /// Wants that the FIB has not taken yet.
    pub wants: usize,
}

impl Memory {
    /// All parts together.
    pub fn total(&self) -> usize {
        let Memory { destinations, index, further_paths, attributes, verdicts, sources, wants } = *self;
        destinations + index + further_paths + attributes + verdicts + sources + wants
    }
}

impl Rib {
    /// What the tables take; the Adj-RIBs-Out and what is small (neighbours, next hops) are not counted.
    pub fn memory(&self) -> Memory {
        let (destinations, index) = self.loc.table.octets();
        Memory {
            destinations,
            index,
            further_paths: self.loc.blocks.octets(),
            attributes: self.loc.pool.memory(),
            verdicts: self.loc.verdicts.octets(),
            sources: self.loc.sources.octets(),
            wants: self.loc.fib.octets(),
        }
    }
}
