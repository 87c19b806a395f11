//! Adj-RIB-Out: update groups, pulled by whoever has room on a socket.
//!
//! The way of a route: the RIB calls [`AdjRibOut::mark_changed`] and nothing else happens. When a neighbour's socket can
//! take bytes, [`AdjRibOut::next_updates`] judges what was marked (once per group: [`ExportProfile`]), puts what really
//! changed at the end of the group's log, and makes messages of all that this neighbour has not been told: withdrawals
//! first, then each attribute set once with all its routes.
//!
//! What is kept: per group the exported table (attribute sets held once) and a log with each changed prefix at most once;
//! per neighbour a position in the log and one bit per prefix. A neighbour that reads slowly costs its position; what it missed
//! is told in the newest state only. Neighbours that ask for the same get the same buffer: a plan (which slots, in which
//! state) is compared, not trusted.
//!
//! Invariants:
//! - A neighbour's bit is set exactly if the messages handed out so far leave it with a route; only then is a withdrawal
//!   sent.
//! - Messages are handed out in order and once: the caller must send what it pulled or end the session.
//! - A route whose attributes fit no message of the session is withdrawn and counted, never truncated.
//! - A slot is reused only after every member has been told that its prefix is gone.
//!
//! Standards: RFC 4271 §9.2, RFC 2918, RFC 4724 §2 (End-of-RIB), RFC 7313 §4.

mod bitmap;
mod group;
mod member;
mod plan;
mod pool;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bgp_wire::{NextHop, PathAttributes};
use bytes::Bytes;
use net_types::{Family, Prefix};

use crate::config::{NeighborConfig, SpeakerConfig};
use crate::policy::{ExportProfile, ExportTarget, RouteSource, SessionFacts};
use crate::rib::PeerId;
use group::Group;
use member::{Member, WalkKind};

/// A sensible budget for [`AdjRibOut::next_updates`]: a socket buffer's worth.
pub const DEFAULT_BUDGET: usize = 64 * 1024;

/// The best path of a prefix, as the RIB lends it.
#[derive(Clone, Debug)]
pub struct BestView<'a> {
    /// Where it came from.
    pub source: RouteSource<'a>,
    /// Its next hop as received.
    pub next_hop: NextHop,
    /// Names its attributes while the RIB does not change.
    pub set: u32,
    /// Its attributes after import policy.
    pub attributes: Arc<PathAttributes>,
}

/// What the RIB lets be said about a prefix now.
#[derive(Clone, Debug)]
pub enum Offer<'a> {
    /// Nothing: what was announced must be withdrawn.
    Withdrawn,
    /// A new best path waits for the kernel: what was announced stays, nothing new is said. The prefix is marked again
    /// when the wait ends.
    Pending,
    /// This route.
    Route(BestView<'a>),
}

impl<'a> From<Option<BestView<'a>>> for Offer<'a> {
    fn from(best: Option<BestView<'a>>) -> Offer<'a> {
        best.map_or(Offer::Withdrawn, Offer::Route)
    }
}

/// Counters of one neighbour and family.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct OutCounters {
    /// Routes the neighbour holds.
    pub advertised: u64,
    /// Announcements since the session came up.
    pub announced: u64,
    /// Withdrawals since then.
    pub withdrawn: u64,
    /// Announcements that fitted no message and became withdrawals (or nothing).
    pub unsendable: u64,
}

/// One route that a neighbour was sent.
#[derive(Clone, Debug)]
pub struct AdvertisedRoute {
    /// Destination.
    pub prefix: Prefix,
    /// As sent.
    pub next_hop: NextHop,
    /// As sent.
    pub attributes: Arc<PathAttributes>,
}

/// The Adj-RIBs-Out of all established sessions.
#[derive(Debug)]
pub struct AdjRibOut {
    speaker: Arc<SpeakerConfig>,
    groups: BTreeMap<u32, Group>,
    next_group: u32,
    peers: BTreeMap<PeerId, u32>,
}

impl AdjRibOut {
    /// No session yet.
    pub fn new(speaker: Arc<SpeakerConfig>) -> AdjRibOut {
        AdjRibOut { speaker, groups: BTreeMap::new(), next_group: 0, peers: BTreeMap::new() }
    }

    /// A session came up: the whole table, then End-of-RIB per family. `prefixes`: every prefix that may have a best path;
    /// only looked at when the neighbour is the first of its group. A session of the same neighbour that was still
    /// there is forgotten first.
    pub fn add_peer(
        &mut self,
        neighbor: &NeighborConfig,
        session: &SessionFacts,
        prefixes: impl IntoIterator<Item = Prefix>,
    ) {
        self.remove_peer(session.peer);
        let member = Member::new(ExportTarget::new(session), session.enhanced_refresh);
        let profile = ExportProfile::new(neighbor, session);
        self.enter(session.peer, profile, member, WalkKind::Initial, BTreeSet::new(), prefixes);
    }

    /// The configuration of an established session changed: sends the difference that matters, never withdrawing in between
    /// what stays advertised. Nothing happens if export and encoding depend on none of what changed.
    pub fn change_peer(
        &mut self,
        neighbor: &NeighborConfig,
        session: &SessionFacts,
        prefixes: impl IntoIterator<Item = Prefix>,
    ) {
        let peer = session.peer;
        let profile = ExportProfile::new(neighbor, session);
        let Some(group) = self.peers.get(&peer).and_then(|g| self.groups.get(g)) else {
            return self.add_peer(neighbor, session, prefixes);
        };
        if group.profile == profile {
            return;
        }
        let unfinished = group.members.get(&peer).is_some_and(|m| m.walks.iter().any(|w| w.kind == WalkKind::Initial));
        if let Some((mut member, held)) = self.leave(peer) {
            member.target = ExportTarget::new(session);
            member.enhanced_refresh = session.enhanced_refresh;
            member.advertised = bitmap::Bitmap::default();
            // End-of-RIB is still owed if it was not sent; refreshes that wait come after it (RFC 7313 §4).
            let kind = if unfinished { WalkKind::Initial } else { WalkKind::Regroup };
            self.enter(peer, profile, member, kind, held, prefixes);
        }
    }

    /// The speaker's configuration changed: everything is judged again; only what comes out differently is sent.
    pub fn set_speaker(&mut self, speaker: Arc<SpeakerConfig>, prefixes: impl IntoIterator<Item = Prefix>) {
        self.speaker = speaker;
        let prefixes: Vec<Prefix> = prefixes.into_iter().collect();
        for group in self.groups.values_mut() {
            group.mark_all();
            prefixes.iter().for_each(|p| group.mark(*p));
        }
    }

    /// A session ended.
    pub fn remove_peer(&mut self, peer: PeerId) {
        self.leave(peer);
    }

    /// The best path of this prefix, or what policy makes of it, may have changed.
    pub fn mark_changed(&mut self, prefix: Prefix) {
        self.groups.values_mut().for_each(|g| g.mark(prefix));
    }

    /// The neighbour sent a ROUTE-REFRESH request (RFC 2918 §4).
    pub fn refresh(&mut self, peer: PeerId, family: Family) {
        if let Some(group) = self.peers.get(&peer).and_then(|g| self.groups.get_mut(g)) {
            group.refresh(peer, family);
        }
    }

    /// False if [`AdjRibOut::next_updates`] has nothing for this neighbour; true means that it is worth asking.
    pub fn has_pending(&self, peer: PeerId) -> bool {
        self.peers.get(&peer).and_then(|g| self.groups.get(g)).is_some_and(|g| !g.is_idle(peer))
    }

    /// The next whole messages for a neighbour, about `budget` octets (at least one route); `None`: it has been told
    /// everything. `view` gives the best path of a prefix as it is now, if it may be announced.
    pub fn next_updates<'v, V: Into<Offer<'v>>>(
        &mut self,
        peer: PeerId,
        view: impl Fn(&Prefix) -> V,
        budget: usize,
    ) -> Option<Bytes> {
        let group = self.groups.get_mut(self.peers.get(&peer)?)?;
        group.pull(&self.speaker, peer, &|prefix: &Prefix| view(prefix).into(), budget)
    }

    /// Counters of a neighbour, per family.
    pub fn counters(&self, peer: PeerId, family: Family) -> OutCounters {
        let member = self.peers.get(&peer).and_then(|g| self.groups.get(g)?.members.get(&peer));
        member.and_then(|m| m.counters.get(&family)).copied().unwrap_or_default()
    }

    /// What a neighbour holds from us, in order of prefix. A route that changed and was not pulled yet shows its new
    /// attributes; one that is about to be withdrawn is left out.
    pub fn advertised(&self, peer: PeerId) -> impl Iterator<Item = AdvertisedRoute> {
        let group = self.peers.get(&peer).and_then(|g| self.groups.get(g));
        group.into_iter().flat_map(move |g| g.advertised(peer)).map(|(prefix, e)| AdvertisedRoute {
            prefix,
            next_hop: e.next_hop,
            attributes: Arc::clone(&e.attributes),
        })
    }

    /// What a neighbour holds from us for one prefix.
    pub fn advertised_route(&self, peer: PeerId, prefix: &Prefix) -> Option<AdvertisedRoute> {
        let e = self.groups.get(self.peers.get(&peer)?)?.advertised_route(peer, prefix)?;
        Some(AdvertisedRoute { prefix: *prefix, next_hop: e.next_hop, attributes: Arc::clone(&e.attributes) })
    }

    /// How many update groups there are. As many as neighbours: a knob has shattered them.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    fn leave(&mut self, peer: PeerId) -> Option<(Member, BTreeSet<Prefix>)> {
        let id = self.peers.remove(&peer)?;
        let group = self.groups.get_mut(&id)?;
        let left = group.leave(peer);
        if group.members.is_empty() {
            self.groups.remove(&id);
        }
        left
    }

    fn enter(
        &mut self,
        peer: PeerId,
        profile: ExportProfile,
        member: Member,
        kind: WalkKind,
        held: BTreeSet<Prefix>,
        prefixes: impl IntoIterator<Item = Prefix>,
    ) {
        let known = self.groups.iter().find(|(_, g)| g.profile == profile).map(|(id, _)| *id);
        let id = known.unwrap_or_else(|| {
            let id = self.next_group;
            self.next_group += 1;
            let mut group = Group::new(profile);
            prefixes.into_iter().for_each(|p| group.mark(p));
            self.groups.insert(id, group);
            id
        });
        if let Some(group) = self.groups.get_mut(&id) {
            group.join(peer, member, kind, held);
            self.peers.insert(peer, id);
        }
    }
}

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod testutil;
