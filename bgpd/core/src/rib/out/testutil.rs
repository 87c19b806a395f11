//! Both ends: a RIB that offers routes, and the receiving end, which decodes what a neighbour was sent and keeps what it adds
//! up to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp_wire::{Message, NextHop, PathAttributes, RouteRefreshSubtype, SessionContext, message};
use net_types::{Family, Prefix, RouterId};

use super::{AdjRibOut, Offer, View};
use crate::config::NeighborConfig;
use crate::policy::{RouteSource, SourceKind};
use crate::rib::{AttrId, DestId, PeerId};

/// A neighbour's table as the messages made it. Panics on what no correct sender does.
pub(super) struct Receiver {
    context: SessionContext,
    pub(super) table: BTreeMap<Prefix, (PathAttributes, NextHop)>,
    pub(super) end_of_rib: Vec<Family>,
    pub(super) messages: usize,
    pub(super) withdrawn: usize,
    pub(super) refreshed: Vec<Family>,
    stale: Option<(Family, BTreeSet<Prefix>)>,
}

impl Receiver {
    pub(super) fn new(context: &SessionContext) -> Receiver {
        Receiver {
            context: context.clone(),
            table: BTreeMap::new(),
            end_of_rib: Vec::new(),
            messages: 0,
            withdrawn: 0,
            refreshed: Vec::new(),
            stale: None,
        }
    }

    pub(super) fn receive(&mut self, mut bytes: &[u8]) {
        let max_len = if self.context.extended_message { message::MAX_EXTENDED_LEN } else { message::MAX_LEN };
        while !bytes.is_empty() {
            let frame = message::frame(bytes, max_len).unwrap().expect("whole messages only");
            let decoded = message::decode(frame.kind, &bytes[message::HEADER_LEN..frame.len], &self.context).unwrap();
            bytes = &bytes[frame.len..];
            self.messages += 1;
            self.apply(decoded);
        }
    }

    fn apply(&mut self, message: Message) {
        match message {
            Message::Update(update) => {
                assert!(update.errors.is_empty(), "{:?}", update.errors);
                if let Some(family) = update.end_of_rib {
                    assert!(!self.end_of_rib.contains(&family), "End-of-RIB of {family} twice");
                    self.end_of_rib.push(family);
                }
                for nlri in update.unreach.iter().flat_map(|u| &u.nlri) {
                    assert!(self.table.remove(&nlri.prefix).is_some(), "{} withdrawn, never announced", nlri.prefix);
                    self.withdrawn += 1;
                }
                for reach in &update.reach {
                    for nlri in &reach.nlri {
                        self.table.insert(nlri.prefix, (update.attributes.clone(), reach.next_hop));
                        if let Some((_, stale)) = &mut self.stale {
                            stale.remove(&nlri.prefix);
                        }
                    }
                }
            }
            Message::RouteRefresh(refresh) => match refresh.subtype {
                RouteRefreshSubtype::Begin => {
                    assert!(self.end_of_rib.contains(&refresh.family), "RFC 7313 §4: BoRR before End-of-RIB");
                    let held = self.table.keys().copied().filter(|p| p.family() == refresh.family);
                    assert!(self.stale.replace((refresh.family, held.collect())).is_none());
                }
                RouteRefreshSubtype::End => {
                    // RFC 7313 §4: what was not sent again goes.
                    let (family, stale) = self.stale.take().expect("BoRR before EoRR");
                    assert_eq!(family, refresh.family);
                    stale.iter().for_each(|p| drop(self.table.remove(p)));
                    self.refreshed.push(family);
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
}

/// The RIB that a test plays: best paths, and numbers that are given out again as soon as they may be.
#[derive(Default)]
pub(super) struct Table {
    index: BTreeMap<Prefix, DestId>,
    /// By family; `None`: free.
    places: [Vec<Option<Prefix>>; 2],
    free: [Vec<u32>; 2],
    best: BTreeMap<DestId, (AttrId, u32)>,
    /// These wait for the kernel.
    pub(super) pending: BTreeSet<Prefix>,
    sets: Vec<Set>,
    freed: Vec<AttrId>,
    pub(super) sources: BTreeMap<u32, Source>,
}

struct Set {
    refs: usize,
    attributes: PathAttributes,
    next_hop: NextHop,
}

/// Who a path came from.
pub(super) struct Source {
    pub(super) peer: PeerId,
    pub(super) neighbor: Option<NeighborConfig>,
    pub(super) kind: SourceKind,
    pub(super) bgp_identifier: RouterId,
    pub(super) address: IpAddr,
}

impl Source {
    pub(super) fn route_source(&self) -> RouteSource<'_> {
        RouteSource {
            peer: self.peer,
            neighbor: self.neighbor.as_ref(),
            kind: self.kind,
            bgp_identifier: self.bgp_identifier,
            peer_address: self.address,
            last_resort: false,
        }
    }
}

impl Table {
    /// A new best path.
    pub(super) fn set(&mut self, out: &mut AdjRibOut, prefix: Prefix, new: (&PathAttributes, NextHop), source: u32) {
        let dest = *self.index.entry(prefix).or_insert_with(|| {
            let family = usize::from(!prefix.is_v4());
            let places = &mut self.places[family];
            let free = self.free[family].pop().unwrap_or_else(|| {
                places.push(None);
                u32::try_from(places.len() - 1).unwrap()
            });
            places[free as usize] = Some(prefix);
            if prefix.is_v4() { DestId::v4(free) } else { DestId::v6(free) }
        });
        let set = self.intern(new.0, new.1);
        if let Some((old, _)) = self.best.insert(dest, (set, source)) {
            self.release(old);
        }
        out.mark_changed(dest);
    }

    /// No best path any more.
    pub(super) fn remove(&mut self, out: &mut AdjRibOut, prefix: &Prefix) {
        let Some(&dest) = self.index.get(prefix) else { return };
        if let Some((old, _)) = self.best.remove(&dest) {
            self.release(old);
        }
        out.mark_changed(dest);
        self.free(out, dest);
    }

    /// Frees what may be freed.
    pub(super) fn clear_away(&mut self, out: &mut AdjRibOut) {
        while out.work(self) {}
        while let Some(dest) = out.poll_released() {
            self.free(out, dest);
        }
    }

    fn free(&mut self, out: &AdjRibOut, dest: DestId) {
        if self.best.contains_key(&dest) || out.holds(dest) {
            return;
        }
        let place = &mut self.places[usize::from(!dest.is_v4())][dest.index() as usize];
        if let Some(prefix) = place.take() {
            self.index.remove(&prefix);
            self.free[usize::from(!dest.is_v4())].push(dest.index());
        }
    }

    /// The prefixes with a best path.
    pub(super) fn prefixes(&self) -> Vec<Prefix> {
        self.best.keys().map(|d| self.prefix(*d)).collect()
    }

    /// The number of a prefix, if it has one.
    pub(super) fn dest(&self, prefix: &Prefix) -> Option<DestId> {
        self.index.get(prefix).copied()
    }

    /// What came from one number comes from another.
    pub(super) fn replace_source(&mut self, out: &mut AdjRibOut, old: u32, new: u32) {
        for (dest, (_, source)) in &mut self.best {
            if *source == old {
                *source = new;
                out.mark_changed(*dest);
            }
        }
    }

    pub(super) fn best(&self, prefix: &Prefix) -> Option<(PathAttributes, NextHop, &Source)> {
        let (set, source) = *self.best.get(self.index.get(prefix)?)?;
        Some((self.held(set).attributes.clone(), View::next_hop(self, set), &self.sources[&source]))
    }

    fn intern(&mut self, attributes: &PathAttributes, next_hop: NextHop) -> AttrId {
        let known = self.sets.iter().position(|s| s.refs > 0 && s.attributes == *attributes && s.next_hop == next_hop);
        let at = known.or_else(|| self.sets.iter().position(|s| s.refs == 0)).unwrap_or(self.sets.len());
        if at == self.sets.len() {
            self.sets.push(Set { refs: 0, attributes: PathAttributes::default(), next_hop });
        }
        let set = &mut self.sets[at];
        if set.refs == 0 {
            *set = Set { refs: 0, attributes: attributes.clone(), next_hop };
        }
        set.refs += 1;
        AttrId::new(u32::try_from(at).unwrap())
    }

    /// References to sets beyond those of the best paths, and destinations that have no path.
    pub(super) fn leaks(&self) -> (usize, usize) {
        let refs: usize = self.sets.iter().map(|s| s.refs).sum();
        (refs - self.best.len(), self.index.len() - self.best.len())
    }

    fn held(&self, set: AttrId) -> &Set {
        let set = &self.sets[set.get() as usize - 1];
        assert!(set.refs > 0, "a set that nobody refers to");
        set
    }
}

impl View for Table {
    fn offer(&self, dest: DestId) -> Offer {
        match self.best.get(&dest) {
            Some(_) if self.pending.contains(&self.prefix(dest)) => Offer::Pending,
            Some(&(set, source)) => Offer::Route { set, source },
            None => Offer::Withdrawn,
        }
    }

    fn prefix(&self, dest: DestId) -> Prefix {
        self.places[usize::from(!dest.is_v4())][dest.index() as usize].expect("a destination in use")
    }

    fn source(&self, source: u32) -> Option<RouteSource<'_>> {
        self.sources.get(&source).map(Source::route_source)
    }

    fn attributes(&self, set: AttrId, into: &mut PathAttributes) {
        assert_eq!(*into, PathAttributes::default());
        *into = self.held(set).attributes.clone();
    }

    fn next_hop(&self, set: AttrId) -> NextHop {
        self.held(set).next_hop
    }

    fn end(&self, v6: bool) -> u32 {
        u32::try_from(self.places[usize::from(v6)].len()).unwrap()
    }

    fn retain(&mut self, set: AttrId) {
        self.held(set);
        self.sets[set.get() as usize - 1].refs += 1;
    }

    fn release(&mut self, set: AttrId) {
        self.held(set);
        let refs = &mut self.sets[set.get() as usize - 1].refs;
        *refs -= 1;
        if *refs == 0 {
            self.freed.push(set);
        }
    }

    fn poll_freed(&mut self) -> Option<AttrId> {
        self.freed.pop()
    }
}
