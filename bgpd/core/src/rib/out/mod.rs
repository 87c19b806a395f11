//! Adj-RIB-Out: update groups, pulled by whoever has room on a socket.
//!
//! The way of a route: the RIB calls [`AdjRibOut::mark_changed`] and nothing else happens. When a neighbour's socket can
//! take bytes, [`AdjRibOut::next_updates`] judges what was marked (once per group: [`ExportProfile`]), puts what really
//! changed at the end of the group's log, and makes messages of all that this neighbour has not been told: withdrawals
//! first, then each attribute set once with all its routes. The session's task puts its own next hop into its copy
//! ([`Outgoing::into_bytes`]).
//!
//! What is kept: per group twelve octets a destination (the set and the source of what is exported, not what it looks like:
//! that is a function of the two) and a log with each change that somebody was not told; per neighbour a position in the log
//! and one bit per destination. A neighbour that reads slowly costs its position; what it missed is told in the newest state
//! only. Neighbours that ask for the same get the same buffer: a plan (which destinations, in which state) is compared, not
//! trusted.
//!
//! Rooms: `states`, `marks`, `log`, `bitmap` (what is kept), `pass` (going over the table), `look` (what a set looks like to
//! a group), `group` (judging), `member`, `pull` (putting a plan together), `plan` (bytes), `outgoing`.
//!
//! Invariants:
//! - A neighbour's bit is set exactly if the messages handed out so far leave it with a route; only then is a withdrawal
//!   sent.
//! - Messages are handed out in order and once: the caller must send what it pulled or end the session.
//! - A route whose attributes fit no message of the session is withdrawn and counted, never truncated.
//! - A destination's number must not become another prefix's while [`AdjRibOut::holds`] says so: every member has been told
//!   that it is gone first.
//! - No call costs more than some thousands of destinations, whatever the table holds: new groups judge the table as their
//!   first member is told of it, a changed configuration is compared in slices, groups that are over go in slices.
//!
//! Standards: RFC 4271 §9.2, RFC 2918, RFC 4724 §2 (End-of-RIB), RFC 7313 §4.

mod bitmap;
mod group;
mod log;
mod look;
mod marks;
mod member;
mod outgoing;
mod pass;
mod plan;
mod pull;
mod states;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bgp_wire::{NextHop, PathAttributes};
use net_types::{Family, Prefix};

use crate::config::{NeighborConfig, SpeakerConfig};
use crate::policy::{ExportProfile, ExportTarget, RouteSource, SessionFacts};
use crate::rib::{AttrId, DestId, PeerId};
use bitmap::Bitmap;
use group::Group;
use member::{From, Member, WalkKind};

pub use outgoing::Outgoing;

/// A sensible budget for [`AdjRibOut::next_updates`]: a socket buffer's worth.
pub const DEFAULT_BUDGET: usize = 64 * 1024;

/// What the RIB lets be said about a destination now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offer {
    /// Nothing: what was announced must be withdrawn.
    Withdrawn,
    /// A new best path waits for the kernel: what was announced stays, nothing new is said. The destination is marked again
    /// when the wait ends.
    Pending,
    /// This route.
    Route {
        /// Its attributes after import policy, and its next hop.
        set: AttrId,
        /// Where it came from.
        source: u32,
    },
}

/// The RIB, as far as this side looks at it.
pub trait View {
    /// The best path of a destination, if it may be announced; of a number that is not in use, [`Offer::Withdrawn`].
    fn offer(&self, dest: DestId) -> Offer;
    /// What a number stands for.
    fn prefix(&self, dest: DestId) -> Prefix;
    /// The source of that number; the same number never stands for anything else. `None`: its paths are gone or going, and
    /// their destinations are marked.
    fn source(&self, source: u32) -> Option<RouteSource<'_>>;
    /// The attributes of a set.
    fn attributes(&self, set: AttrId) -> PathAttributes;
    /// The next hop of a set, as received.
    fn next_hop(&self, set: AttrId) -> NextHop;
    /// Every number of a destination (of IPv6 or IPv4) has an index below this.
    fn end(&self, v6: bool) -> u32;
    /// The set is referred to once more.
    fn retain(&mut self, set: AttrId);
    /// Once less.
    fn release(&mut self, set: AttrId);
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
    groups: BTreeMap<u32, Box<Group>>,
    next_group: u32,
    peers: BTreeMap<PeerId, u32>,
    /// Groups that are over, until all they hold is given back.
    dissolving: Vec<Group>,
    /// What members that left held and no group of theirs knew yet.
    left: Vec<Bitmap>,
    released: VecDeque<DestId>,
}

impl AdjRibOut {
    /// No session yet.
    pub fn new(speaker: Arc<SpeakerConfig>) -> AdjRibOut {
        AdjRibOut {
            speaker,
            groups: BTreeMap::new(),
            next_group: 0,
            peers: BTreeMap::new(),
            dissolving: Vec::new(),
            left: Vec::new(),
            released: VecDeque::new(),
        }
    }

    /// A session came up: the whole table, then End-of-RIB per family. A session of the same neighbour that was still there
    /// is forgotten first.
    pub fn add_peer(&mut self, neighbor: &NeighborConfig, session: &SessionFacts) {
        self.remove_peer(session.peer);
        let member = Member::new(ExportTarget::new(neighbor, session), session.enhanced_refresh);
        self.enter(ExportProfile::new(neighbor, session), member, WalkKind::Initial);
    }

    /// The configuration of an established session changed: sends the difference that matters, never withdrawing in between
    /// what stays advertised. Nothing happens if export and encoding depend on none of what changed.
    pub fn change_peer(&mut self, neighbor: &NeighborConfig, session: &SessionFacts) {
        let peer = session.peer;
        let (profile, target) = (ExportProfile::new(neighbor, session), ExportTarget::new(neighbor, session));
        let Some(group) = self.peers.get(&peer).and_then(|g| self.groups.get(g)) else {
            return self.add_peer(neighbor, session);
        };
        let Some(member) = group.members.get(&peer) else { return };
        if group.profile == profile && member.target == target {
            return;
        }
        // What it holds can be compared if one group told it all and the octets mean the same.
        let comparable = !member.carried && member.target == target && group.profile.context() == profile.context();
        let unfinished = member.walks.iter().any(|w| w.kind == WalkKind::Initial);
        let from = comparable.then_some(member.position);
        if let Some((mut member, group)) = self.leave(peer, from) {
            member.target = target;
            member.enhanced_refresh = session.enhanced_refresh;
            member.carried = true;
            member.from = from.map(|position| From { group, position });
            // End-of-RIB is still owed if it was not sent; refreshes that wait come after it (RFC 7313 §4).
            let kind = if unfinished { WalkKind::Initial } else { WalkKind::Regroup };
            self.enter(profile, member, kind);
        }
    }

    /// The speaker's configuration changed: everything is judged again; only what comes out differently is sent.
    pub fn set_speaker(&mut self, speaker: Arc<SpeakerConfig>) {
        self.groups.values_mut().for_each(|g| g.set_speaker(&speaker));
        self.speaker = speaker;
    }

    /// A session ended.
    pub fn remove_peer(&mut self, peer: PeerId) {
        if let Some((member, _)) = self.leave(peer, None)
            && member.carried
        {
            self.left.push(member.held);
        }
    }

    /// The best path of this destination, or what policy makes of it, may have changed.
    pub fn mark_changed(&mut self, dest: DestId) {
        self.groups.values_mut().for_each(|g| g.mark(dest));
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
    /// everything, or ([`AdjRibOut::has_pending`]) a slice of the work that one call does had nothing for it.
    pub fn next_updates<V: View>(&mut self, view: &mut V, peer: PeerId, budget: usize) -> Option<Outgoing> {
        let id = *self.peers.get(&peer)?;
        let mut group = self.groups.remove(&id)?;
        let outgoing = group.pull(view, peer, budget, &mut self.groups);
        self.released.extend(group.released.drain(..));
        let arrived = std::mem::take(&mut group.arrived);
        self.groups.insert(id, group);
        arrived.into_iter().for_each(|(peer, from)| self.forget_ghost(peer, from));
        outgoing
    }

    /// True as long as the number of a destination must not be given to another prefix. Whoever frees numbers asks when a
    /// destination has become empty, and again when [`AdjRibOut::poll_released`] names it.
    pub fn holds(&self, dest: DestId) -> bool {
        self.groups.values().map(Box::as_ref).chain(&self.dissolving).any(|g| g.holds(dest))
            || self.left.iter().any(|held| held.contains(dest))
    }

    /// A destination that is not held any more, if it was.
    pub fn poll_released(&mut self) -> Option<DestId> {
        while let Some(dest) = self.released.pop_front() {
            if !self.holds(dest) {
                return Some(dest);
            }
        }
        None
    }

    /// A slice of what is to be cleared away; false: nothing is left to do.
    pub fn work<V: View>(&mut self, view: &mut V) -> bool {
        let mut more = false;
        for group in self.groups.values_mut() {
            more |= group.trim();
            self.released.extend(group.released.drain(..));
        }
        if let Some(group) = self.dissolving.last_mut()
            && !group.dissolve(view, &mut self.released)
        {
            self.dissolving.pop();
        }
        if let Some(held) = self.left.last_mut() {
            match held.pop_chunk() {
                Some(dests) => self.released.extend(dests),
                None => drop(self.left.pop()),
            }
        }
        more || !self.dissolving.is_empty() || !self.left.is_empty()
    }

    /// Counters of a neighbour, per family.
    pub fn counters(&self, peer: PeerId, family: Family) -> OutCounters {
        let member = self.peers.get(&peer).and_then(|g| self.groups.get(g)?.members.get(&peer));
        let [v4, v6] = member.map(|m| m.counters).unwrap_or_default();
        match family {
            Family::IPV4_UNICAST => v4,
            Family::IPV6_UNICAST => v6,
            _ => OutCounters::default(),
        }
    }

    /// What a neighbour holds from us, in no order that means anything. A destination that changed and was not pulled yet is
    /// there as it will be; one that is about to be withdrawn is left out.
    pub fn advertised(&self, peer: PeerId) -> impl Iterator<Item = DestId> + '_ {
        let group = self.peers.get(&peer).and_then(|g| self.groups.get(g));
        let member = group.and_then(|g| Some((g, g.members.get(&peer)?)));
        member.into_iter().flat_map(|(g, m)| m.held.iter().filter(|d| g.states.get(*d).route().is_some()))
    }

    /// True if [`AdjRibOut::advertised`] names it.
    pub fn holds_route(&self, peer: PeerId, dest: DestId) -> bool {
        let group = self.peers.get(&peer).and_then(|g| self.groups.get(g));
        let holds = |g: &Group| Some(g.members.get(&peer)?.held.contains(dest) && g.states.get(dest).route().is_some());
        group.and_then(|g| holds(g)).unwrap_or(false)
    }

    /// What a neighbour holds from us for one destination, with the attributes as sent.
    pub fn advertised_route<V: View>(&self, view: &V, peer: PeerId, dest: DestId) -> Option<AdvertisedRoute> {
        let group = self.groups.get(self.peers.get(&peer)?)?;
        let member = group.members.get(&peer).filter(|m| m.held.contains(dest))?;
        let (set, source) = group.states.get(dest).route()?;
        let (source, speaker) = (view.source(source)?, group.speaker_of(dest));
        let attributes = view.attributes(set);
        let received = view.next_hop(set);
        let next_hop = group.profile.judge(speaker, &source, dest.family(), &received, &attributes).ok()?;
        Some(AdvertisedRoute {
            prefix: view.prefix(dest),
            next_hop: member.target.next_hop(dest.family(), next_hop)?,
            attributes: Arc::new(group.profile.attributes(speaker, &source, attributes)),
        })
    }

    /// How many update groups there are. As many as neighbours: a knob has shattered them.
    pub fn group_count(&self) -> usize {
        self.groups.values().filter(|g| !g.retired).count()
    }

    /// Takes a neighbour out of its group. `ghost`: the group keeps for it what it told up to there.
    fn leave(&mut self, peer: PeerId, ghost: Option<u64>) -> Option<(Member, u32)> {
        let id = self.peers.remove(&peer)?;
        let group = self.groups.get_mut(&id)?;
        let mut member = group.members.remove(&peer)?;
        if let Some(position) = ghost {
            group.ghosts.insert(peer, position);
        }
        group.retired = group.members.is_empty();
        group.trim();
        if let Some(from) = member.from.take() {
            self.forget_ghost(peer, from.group);
        }
        self.bury(id);
        Some((member, id))
    }

    fn forget_ghost(&mut self, peer: PeerId, group: u32) {
        if let Some(g) = self.groups.get_mut(&group) {
            g.ghosts.remove(&peer);
        }
        self.bury(group);
    }

    fn bury(&mut self, id: u32) {
        if self.groups.get(&id).is_some_and(|g| g.is_over()) {
            self.dissolving.extend(self.groups.remove(&id).map(|g| *g));
        }
    }

    fn enter(&mut self, profile: ExportProfile, member: Member, kind: WalkKind) {
        let peer = member.target.peer;
        let known = self.groups.iter().find(|(_, g)| !g.retired && g.profile == profile).map(|(id, _)| *id);
        let id = known.unwrap_or_else(|| {
            let id = self.next_group;
            self.next_group += 1;
            self.groups.insert(id, Box::new(Group::new(profile, Arc::clone(&self.speaker))));
            id
        });
        if let Some(group) = self.groups.get_mut(&id) {
            group.join(peer, member, kind);
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
