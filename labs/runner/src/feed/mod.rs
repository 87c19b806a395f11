//! `lab-feeder`: a BGP speaker that stands for everything behind an operator. It plays a table and learns nothing.
//!
//! The way of a byte: seeded generator ([`generate`]) or MRT file ([`mrt`]) or prefixes given by hand -> [`Table`]
//! (routes grouped by what they share) -> `bgp-wire` -> socket ([`session`]), one End-of-RIB per family, then
//! keepalives until the session ends, then again.

pub mod generate;
pub mod mrt;
pub mod session;

use bgp_wire::PathAttributes;
use net_types::Prefix;
use std::collections::HashMap;

/// Routes by shared attributes. Their AS_PATH lacks the speaker's own number, which the session puts in front.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// (attributes, prefixes), in order of first appearance.
    pub groups: Vec<(PathAttributes, Vec<Prefix>)>,
    index: HashMap<PathAttributes, usize>,
}

impl Table {
    /// Adds a route; the caller sees to it that a prefix comes once.
    pub fn add(&mut self, attributes: PathAttributes, prefix: Prefix) {
        let next = self.groups.len();
        let i = *self.index.entry(attributes.clone()).or_insert(next);
        match self.groups.get_mut(i) {
            Some((_, prefixes)) => prefixes.push(prefix),
            None => self.groups.push((attributes, vec![prefix])),
        }
    }

    /// (IPv4 routes, IPv6 routes).
    pub fn count(&self) -> (usize, usize) {
        let all = || self.groups.iter().flat_map(|(_, p)| p);
        let v4 = all().filter(|p| p.is_v4()).count();
        (v4, all().count() - v4)
    }
}
