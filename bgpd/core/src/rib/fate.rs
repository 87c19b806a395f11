//! What is lost together: interfaces whose fibres lie in one duct.
//!
//! A fate is a duct of the configuration or, for an interface in none, that interface alone; next hops on one interface
//! share its fate whatever else is declared. Interfaces have names in the configuration and numbers in the kernel: an
//! interface that is gone keeps the fate it had until it is seen again.

use std::collections::BTreeMap;

use super::types::Connected;
use crate::config::Ducts;

/// Equal for what is lost together.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Fate(u32);

impl Fate {
    /// Numbers of interfaces are positive and of 31 bits.
    const DUCT: u32 = 1 << 31;

    pub(super) fn alone(ifindex: u32) -> Fate {
        Fate(ifindex & !Fate::DUCT)
    }

    pub(super) fn duct(number: u32) -> Fate {
        Fate(number | Fate::DUCT)
    }
}

/// The fates of the interfaces there are.
#[derive(Default, Debug)]
pub(super) struct Fates {
    /// Every duct there ever was, numbered by its place: a number never means another duct.
    ducts: Vec<String>,
    by_ifindex: BTreeMap<u32, Fate>,
}

impl Fates {
    /// Takes over what the configuration and the kernel say now.
    pub(super) fn take(&mut self, ducts: &Ducts, table: &[Connected]) {
        let fate = |ducts_seen: &mut Vec<String>, c: &Connected| {
            let Some(name) = ducts.of(&c.ifname) else { return Fate::alone(c.ifindex) };
            let at = ducts_seen.iter().position(|d| d == name).unwrap_or_else(|| {
                ducts_seen.push(name.to_owned());
                ducts_seen.len() - 1
            });
            Fate::duct(at as u32)
        };
        self.by_ifindex = table.iter().map(|c| (c.ifindex, fate(&mut self.ducts, c))).collect();
    }

    /// The fate of an interface that the kernel has.
    pub(super) fn get(&self, ifindex: u32) -> Option<Fate> {
        self.by_ifindex.get(&ifindex).copied()
    }

    /// The fate of an interface.
    pub(super) fn of(&self, ifindex: u32) -> Fate {
        self.get(ifindex).unwrap_or(Fate::alone(ifindex))
    }
}
