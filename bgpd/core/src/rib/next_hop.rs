//! Next hops: which can be used, over which link, at what cost (RFC 4271 §5.1.3, §9.1.2.1).
//!
//! There is an entry per distinct next hop. An attribute set names its next hop, so an entry lives while a set uses it. It does not know the prefixes that hang on
//! it: when its resolution changes, [`super::sweep`] finds them, the table once for all next hops that changed meanwhile.
//!
//! Resolution looks for the longest match of the address among connected subnets of interfaces that are up and, where
//! recursion is allowed (iBGP, multihop eBGP), best paths of the Loc-RIB, learned over iBGP or eBGP alike; at equal
//! length the connected subnet wins. It does not go over a default route, and it steps over a route that would resolve
//! through the next hop itself (RFC 4271 §9.1.2.1: "mutually recursive" routes resolve nothing) to the next shorter one.
//! An announced prefix of our own is a discard route in the kernel: what only it covers is unreachable.
//!
//! Interior cost: 0 on a connected subnet, one more per route that was looked through.
//!
//! RFC 4271 §6.3: a next hop that is one of our own addresses is not used; a single-hop eBGP neighbour's must lie on a
//! subnet we share with it. RFC 2545 §3, RFC 8950: a link-local next hop is a neighbour on the session's link, for IPv4
//! routes too.
//!
//! Invariant: an entry lives while an attribute set uses it; `by_address` and `by_key` hold exactly the living entries.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use bgp_wire::NextHop;
use net_types::Prefix;

use super::hash::FoldState;
use super::targets::TargetId;
use super::types::{Connected, ResolvedNextHop};

/// Routes looked through before giving up.
pub(super) const MAX_DEPTH: u32 = 8;

/// Names an entry.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct NextHopId(u32);

impl NextHopId {
    pub(super) fn index(self) -> u32 {
        self.0
    }

    /// For tests of what only stores the number.
    #[cfg(test)]
    pub(super) fn from_index(index: u32) -> NextHopId {
        NextHopId(index)
    }
}

/// How an address may be reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Reachability {
    /// This speaker is the origin.
    Local,
    /// Only on a connected subnet: a single-hop eBGP neighbour's.
    Connected,
    /// Over routes too.
    Recursive,
}

/// What makes two next hops the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct NextHopKey {
    pub(super) next_hop: NextHop,
    pub(super) reachability: Reachability,
    /// The session's link, where a link-local address needs it.
    pub(super) ifindex: Option<u32>,
}

/// Why a next hop is of no use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unresolved {
    /// RFC 4271 §6.3.
    OwnAddress,
    /// RFC 4271 §6.3: eBGP, one hop away.
    NotConnected,
    /// Nothing covers it.
    NoRoute,
    /// Only an own aggregate covers it.
    OwnAggregate,
    /// Link-local, and the session's link is unknown or down.
    NoLink,
    /// More than eight routes deep.
    TooDeep,
    /// It did not settle: routes that resolve through one another.
    Unstable,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unresolved::OwnAddress => "next hop is our own address (RFC 4271 §6.3)",
            Unresolved::NotConnected => {
                "next hop is not on a connected subnet of an interface that is up (RFC 4271 §6.3)"
            }
            Unresolved::NoRoute => {
                "no connected subnet and no route to the next hop, default route aside (RFC 4271 §9.1.2.1)"
            }
            Unresolved::OwnAggregate => "only a prefix we announce ourselves covers the next hop",
            Unresolved::NoLink => "link-local next hop without a link that is up (RFC 2545 §3)",
            Unresolved::TooDeep => "next hop resolves over too many routes",
            Unresolved::Unstable => "next hop resolves through itself (RFC 4271 §9.1.2.1)",
        })
    }
}

/// A next hop that can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Resolved {
    /// What the kernel is told; `None` for routes originated here.
    pub(super) target: Option<TargetId>,
    /// Routes looked through.
    pub(super) cost: u32,
    /// The next hop of the route looked through.
    pub(super) via: Option<NextHopId>,
}

/// One distinct next hop.
#[derive(Debug)]
pub(super) struct NextHopEntry {
    pub(super) key: NextHopKey,
    pub(super) state: Result<Resolved, Unresolved>,
    /// Attribute sets that use it.
    sets: u32,
    /// The prefixes that hang on it are to be decided again.
    pub(super) moved: bool,
}

/// Every next hop in use.
#[derive(Debug)]
pub(super) struct NextHopTable {
    entries: Vec<Option<NextHopEntry>>,
    free: Vec<u32>,
    by_key: HashMap<NextHopKey, NextHopId, FoldState>,
    by_address: BTreeMap<IpAddr, BTreeSet<NextHopId>>,
    /// Entries that may resolve over routes.
    recursive: usize,
    /// In which blocks of addresses they lie: most prefixes are told by that to hold none.
    blocks: [bool; 256],
}

/// Blocks are made of the first bits of an address.
const BLOCK_BITS: u8 = 16;

fn block(address: IpAddr) -> usize {
    let [a, b] = match address {
        IpAddr::V4(v4) => [v4.octets()[0], v4.octets()[1]],
        IpAddr::V6(v6) => [v6.octets()[0], v6.octets()[1]],
    };
    usize::from(a ^ b.rotate_left(3))
}

impl NextHopTable {
    pub(super) fn new(seed: u64) -> NextHopTable {
        NextHopTable {
            entries: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::with_hasher(FoldState::new(seed)),
            by_address: BTreeMap::new(),
            recursive: 0,
            blocks: [false; 256],
        }
    }

    /// The entry of `key`, and whether it is new and not yet resolved.
    pub(super) fn intern(&mut self, key: NextHopKey) -> (NextHopId, bool) {
        if let Some(&id) = self.by_key.get(&key) {
            return (id, false);
        }
        let entry = NextHopEntry { key, state: Err(Unresolved::NoRoute), sets: 0, moved: false };
        let id = match self.free.pop() {
            Some(free) => free,
            None => {
                self.entries.push(None);
                u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(slot) = self.entries.get_mut(id as usize) {
            *slot = Some(entry);
        }
        let id = NextHopId(id);
        self.by_key.insert(key, id);
        if key.reachability == Reachability::Recursive {
            self.recursive += 1;
            self.mark(address(&key.next_hop));
        }
        self.by_address.entry(address(&key.next_hop)).or_default().insert(id);
        (id, true)
    }

    pub(super) fn get(&self, id: NextHopId) -> Option<&NextHopEntry> {
        self.entries.get(id.0 as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: NextHopId) -> Option<&mut NextHopEntry> {
        self.entries.get_mut(id.0 as usize)?.as_mut()
    }

    /// One more attribute set uses it.
    pub(super) fn retain(&mut self, id: NextHopId) {
        if let Some(entry) = self.get_mut(id) {
            entry.sets += 1;
        }
    }

    /// A set that used it is gone; the entry goes with its last one and is handed back.
    pub(super) fn release(&mut self, id: NextHopId) -> Option<NextHopEntry> {
        let entry = self.get_mut(id)?;
        entry.sets = entry.sets.saturating_sub(1);
        if entry.sets > 0 {
            return None;
        }
        let key = entry.key;
        self.by_key.remove(&key);
        let of = address(&key.next_hop);
        if let Some(ids) = self.by_address.get_mut(&of) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_address.remove(&of);
            }
        }
        self.free.push(id.0);
        let gone = self.entries.get_mut(id.0 as usize)?.take();
        if key.reachability == Reachability::Recursive {
            self.recursive -= 1;
            self.blocks = [false; 256];
            let left = self.entries.iter().flatten().filter(|e| e.key.reachability == Reachability::Recursive);
            let left: Vec<IpAddr> = left.map(|e| address(&e.key.next_hop)).collect();
            left.into_iter().for_each(|a| self.mark(a));
        }
        gone
    }

    fn mark(&mut self, address: IpAddr) {
        if let Some(block) = self.blocks.get_mut(block(address)) {
            *block = true;
        }
    }

    /// Every entry.
    pub(super) fn ids(&self) -> Vec<NextHopId> {
        self.by_address.values().flatten().copied().collect()
    }

    /// Some next hop may be looked up in a route.
    pub(super) fn has_recursive(&self) -> bool {
        self.recursive > 0
    }

    /// Entries that may be looked up in a route of `prefix`.
    pub(super) fn inside(&self, prefix: &Prefix, into: &mut Vec<NextHopId>) {
        if prefix.len() >= BLOCK_BITS && self.blocks.get(block(prefix.addr())) == Some(&false) {
            return;
        }
        let within = self.by_address.range(prefix.addr()..).take_while(|(a, _)| prefix.contains(**a));
        let recursive = |id: &NextHopId| self.get(*id).is_some_and(|e| e.key.reachability == Reachability::Recursive);
        into.extend(within.flat_map(|(_, ids)| ids.iter().copied()).filter(recursive));
    }

    /// Entries that are looked up through a route of `via`.
    pub(super) fn through(&self, via: NextHopId) -> Vec<NextHopId> {
        self.looked_through(|of| of == via)
    }

    /// Entries that are looked up through a route.
    pub(super) fn routed(&self) -> Vec<NextHopId> {
        self.looked_through(|_| true)
    }

    fn looked_through(&self, which: impl Fn(NextHopId) -> bool) -> Vec<NextHopId> {
        if !self.has_recursive() {
            return Vec::new();
        }
        let is = |e: &NextHopEntry| e.state.ok().and_then(|r| r.via).is_some_and(&which);
        let all = (0..).map(NextHopId).zip(&self.entries);
        all.filter(|(_, e)| e.as_ref().is_some_and(is)).map(|(id, _)| id).collect()
    }

    /// True if an entry of this address leads to `target`.
    pub(super) fn leads_to(&self, address: IpAddr, target: TargetId) -> bool {
        let mut of = self.by_address.get(&address).into_iter().flatten().filter_map(|id| self.get(*id));
        of.any(|e| e.state.is_ok_and(|r| r.target == Some(target)))
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// True if `id` is looked up through `through`, at any depth, or is it.
    pub(super) fn depends_on(&self, id: NextHopId, through: NextHopId) -> bool {
        let mut at = id;
        for _ in 0..=MAX_DEPTH {
            if at == through {
                return true;
            }
            match self.get(at).map(|e| &e.state) {
                Some(Ok(Resolved { via: Some(via), .. })) => at = *via,
                _ => return false,
            }
        }
        true
    }
}

/// The address that is looked up.
pub(super) fn address(next_hop: &NextHop) -> IpAddr {
    match *next_hop {
        NextHop::V4(a) => IpAddr::V4(a),
        NextHop::V6 { global, .. } => IpAddr::V6(global),
    }
}

fn is_link_local(a: Ipv6Addr) -> bool {
    a.is_unicast_link_local()
}

/// True if using `next_hop` takes knowing the link it was learned on.
pub(super) fn needs_link(next_hop: &NextHop) -> bool {
    match next_hop {
        NextHop::V4(_) => false,
        NextHop::V6 { global, link_local } => is_link_local(*global) || link_local.is_some(),
    }
}

/// The kernel's addresses, as far as next hops need them.
#[derive(Debug, Default)]
pub(super) struct ConnectedIndex {
    /// Up interfaces' subnets; the lowest interface first where two share a subnet.
    subnets: BTreeMap<Prefix, u32>,
    own: BTreeSet<IpAddr>,
    up: BTreeSet<u32>,
}

impl ConnectedIndex {
    pub(super) fn new(table: &[Connected]) -> ConnectedIndex {
        let mut index = ConnectedIndex::default();
        for c in table {
            // An address is ours whether or not its interface is up.
            index.own.insert(c.address);
            if c.up {
                index.up.insert(c.ifindex);
                let link = index.subnets.entry(c.prefix).or_insert(c.ifindex);
                *link = c.ifindex.min(*link);
            }
        }
        index
    }

    pub(super) fn is_own(&self, address: IpAddr) -> bool {
        self.own.contains(&address)
    }

    pub(super) fn is_up(&self, ifindex: u32) -> bool {
        self.up.contains(&ifindex)
    }

    /// The subnet itself is connected, on an interface that is up.
    pub(super) fn has(&self, prefix: &Prefix) -> bool {
        self.subnets.contains_key(prefix)
    }

    /// Subnets of up interfaces.
    pub(super) fn subnets(&self) -> impl Iterator<Item = &Prefix> {
        self.subnets.keys()
    }

    /// Longest subnet that holds `address`, and its link. Link-local subnets exist once a link and say nothing.
    pub(super) fn longest_match(&self, address: IpAddr) -> Option<(Prefix, u32)> {
        let host = Prefix::host(address);
        (0..=host.len()).rev().map(|len| host.truncate(len)).find_map(|p| Some((p, *self.subnets.get(&p)?)))
    }

    /// A next hop on one of our links, without looking at routes. `Ok(None)`: not on a link.
    pub(super) fn direct(&self, key: &NextHopKey) -> Result<Option<(u8, ResolvedNextHop)>, Unresolved> {
        let address = address(&key.next_hop);
        let link = key.ifindex.filter(|i| self.is_up(*i));
        if let IpAddr::V6(global) = address
            && is_link_local(global)
        {
            if self.is_own(address) {
                return Err(Unresolved::OwnAddress);
            }
            let ifindex = link.ok_or(Unresolved::NoLink)?;
            return Ok(Some((128, ResolvedNextHop { gateway: Some(address), ifindex, through: None })));
        }
        if self.is_own(address) {
            return Err(Unresolved::OwnAddress);
        }
        if let Some((subnet, ifindex)) = self.longest_match(address) {
            return Ok(Some((subnet.len(), ResolvedNextHop { gateway: Some(address), ifindex, through: None })));
        }
        // RFC 2545 §3: the link-local address is there because we share the link with the next hop.
        if let (NextHop::V6 { link_local: Some(link_local), .. }, Some(ifindex)) = (key.next_hop, link)
            && !self.is_own(IpAddr::V6(link_local))
        {
            return Ok(Some((128, ResolvedNextHop { gateway: Some(IpAddr::V6(link_local)), ifindex, through: None })));
        }
        Ok(None)
    }
}
