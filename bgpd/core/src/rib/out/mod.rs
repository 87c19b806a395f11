//! Adj-RIB-Out: update groups, pulled by whoever has room on a socket.
//!
//! The way of a route: the RIB calls [`AdjRibOut::mark_changed`] and nothing else happens. When a neighbour's socket can
//! take bytes, [`AdjRibOut::next_updates`] judges what was marked (once per group: [`ExportProfile`]), puts what really
//! changed at the end of the group's log, and makes messages of all that this neighbour has not been told: withdrawals
//! first, then each attribute set once with all its routes. A group of one neighbour that is up to date does without the log. The session's task puts its own next hop into its copy
//! ([`Outgoing::into_bytes`]).
//!
//! What is kept: per group twelve octets a destination (the set and the source of what is exported, not what it looks like:
//! that is a function of the two) and a log with each change that somebody was not told; per neighbour a position in the log
//! and one bit per destination. A neighbour that reads slowly costs its position; what it missed is told in the newest state
//! only. Neighbours that ask for the same get the same buffer: a plan (which destinations, in which state) is compared, not
//! trusted.
//!
//! A neighbour that is told several paths to a destination, or that we are the route server of, has a table of its own
//! (`many`) beside the groups.
//!
//! Rooms: `states`, `marks`, `log`, `bitmap` (what is kept), `pass` (going over the table), `look` (what a set looks like to
//! a group), `group` (judging), `member`, `pull` (putting a plan together), `plan` (bytes), `outgoing`; `many`, `told`.
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
mod many;
mod marks;
mod member;
mod outgoing;
mod pass;
mod plan;
mod pull;
mod states;
mod told;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bgp_wire::{NextHop, PathAttributes};
use net_types::{Family, Prefix};

use crate::config::{NeighborConfig, SpeakerConfig};
use crate::policy::{ExportProfile, ExportTarget, RouteSource, SessionFacts};
use crate::rib::{AttrId, DestId, PeerId};
use bitmap::Bitmap;
use group::Group;
use many::Many;
use member::{From, Member, WalkKind};
use pull::Run;

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

/// One of the paths to a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OfferedPath {
    /// Its attributes after import policy, and its next hop.
    pub set: AttrId,
    /// Where it came from.
    pub source: u32,
    /// From whom; with `path_id`, the path as long as the neighbour keeps it.
    pub peer: PeerId,
    /// Its Path Identifier there.
    pub path_id: u32,
}

/// The RIB, as far as this side looks at it.
pub trait View {
    /// The best path of a destination, if it may be announced; of a number that is not in use, [`Offer::Withdrawn`].
    fn offer(&self, dest: DestId) -> Offer;
    /// Its usable paths, the best first, until `more` has enough. `ranked`: the others in order of preference.
    fn paths(&self, dest: DestId, _ranked: bool, more: &mut dyn FnMut(OfferedPath) -> bool) {
        if let Offer::Route { set, source } = self.offer(dest)
            && let Some(RouteSource { peer, .. }) = self.source(source)
        {
            more(OfferedPath { set, source, peer, path_id: 0 });
        }
    }
    /// What a number stands for.
    fn prefix(&self, dest: DestId) -> Prefix;
    /// The source of that number; the same number never stands for anything else. `None`: its paths are gone or going, and
    /// their destinations are marked.
    fn source(&self, source: u32) -> Option<RouteSource<'_>>;
    /// Puts the attributes of a set into attributes that are all absent.
    fn attributes(&self, set: AttrId, into: &mut PathAttributes);
    /// The next hop of a set, as received.
    fn next_hop(&self, set: AttrId) -> NextHop;
    /// Every number of a destination (of IPv6 or IPv4) has an index below this.
    fn end(&self, v6: bool) -> u32;
    /// The set is referred to once more.
    fn retain(&mut self, set: AttrId);
    /// Once less.
    fn release(&mut self, set: AttrId);
    /// A set that nobody referred to any more: its number may be another's by now.
    fn poll_freed(&mut self) -> Option<AttrId>;
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
    /// As sent, where the session has such (RFC 7911).
    pub path_id: Option<u32>,
    /// Which path it is where that need not be the best: who sent it, and its Path Identifier there.
    pub of: Option<(PeerId, u32)>,
}

/// The Adj-RIBs-Out of all established sessions.
#[derive(Debug)]
pub struct AdjRibOut {
    speaker: Arc<SpeakerConfig>,
    /// By number; `None`: free.
    groups: Vec<Option<Box<Group>>>,
    peers: BTreeMap<PeerId, u32>,
    /// Neighbours with a table of their own.
    many: BTreeMap<PeerId, Box<Many>>,
    /// Those that are over, until all they hold is given back.
    many_over: Vec<Many>,
    /// Groups that are over, until all they hold is given back.
    dissolving: Vec<Group>,
    /// What members that left held and no group of theirs knew yet.
    left: Vec<Bitmap>,
    released: VecDeque<DestId>,
    /// Neighbours that waited and for which there may be more.
    ready: VecDeque<PeerId>,
    /// Room for a plan.
    run: Run,
}

impl AdjRibOut {
    /// No session yet.
    pub fn new(speaker: Arc<SpeakerConfig>) -> AdjRibOut {
        AdjRibOut {
            speaker,
            groups: Vec::new(),
            peers: BTreeMap::new(),
            many: BTreeMap::new(),
            many_over: Vec::new(),
            dissolving: Vec::new(),
            left: Vec::new(),
            released: VecDeque::new(),
            ready: VecDeque::new(),
            run: Run::default(),
        }
    }

    /// A session came up: the whole table, then End-of-RIB per family. A session of the same neighbour that was still there
    /// is forgotten first.
    pub fn add_peer(&mut self, neighbor: &NeighborConfig, session: &SessionFacts) {
        self.remove_peer(session.peer);
        if Many::is_for(neighbor, session) {
            let many = Many::new(neighbor, session, Arc::clone(&self.speaker));
            self.many.insert(session.peer, Box::new(many));
            return;
        }
        let member = Box::new(Member::new(ExportTarget::new(neighbor, session), session.enhanced_refresh));
        self.enter(ExportProfile::new(neighbor, session), member, WalkKind::Initial);
    }

    /// The configuration of an established session changed: sends the difference that matters, never withdrawing in between
    /// what stays advertised. Nothing happens if export and encoding depend on none of what changed.
    pub fn change_peer(&mut self, neighbor: &NeighborConfig, session: &SessionFacts) {
        let peer = session.peer;
        if let Some(many) = self.many.get_mut(&peer) {
            return many.change(neighbor, session);
        }
        let (profile, target) = (ExportProfile::new(neighbor, session), ExportTarget::new(neighbor, session));
        let Some(group) = self.group(peer) else { return self.add_peer(neighbor, session) };
        let Some(member) = group.members.get(peer) else { return };
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
        self.groups.iter_mut().flatten().for_each(|g| g.set_speaker(&speaker));
        self.many.values_mut().for_each(|m| m.set_speaker(&speaker));
        self.speaker = speaker;
    }

    /// A session ended.
    pub fn remove_peer(&mut self, peer: PeerId) {
        self.many_over.extend(self.many.remove(&peer).map(|m| *m));
        if let Some((member, _)) = self.leave(peer, None)
            && member.carried
        {
            self.left.push(member.held);
        }
    }

    /// The best path of this destination, or what policy makes of it, may have changed.
    pub fn mark_changed(&mut self, dest: DestId) {
        self.groups.iter_mut().flatten().for_each(|g| g.mark(dest));
        self.mark_paths(dest);
    }

    /// A path of this destination may have changed, the best or another.
    pub fn mark_paths(&mut self, dest: DestId) {
        self.many.values_mut().for_each(|m| m.mark(dest));
    }

    /// True if [`AdjRibOut::mark_paths`] concerns anybody.
    pub fn tells_more_than_the_best(&self) -> bool {
        !self.many.is_empty()
    }

    /// The neighbour sent a ROUTE-REFRESH request (RFC 2918 §4).
    pub fn refresh(&mut self, peer: PeerId, family: Family) {
        if let Some(many) = self.many.get_mut(&peer) {
            return many.refresh(family);
        }
        if let Some(group) = self.group_mut(peer) {
            group.refresh(peer, family);
        }
    }

    /// False if [`AdjRibOut::next_updates`] has nothing for this neighbour; true means that it is worth asking.
    pub fn has_pending(&self, peer: PeerId) -> bool {
        if let Some(many) = self.many.get(&peer) {
            return !many.is_idle();
        }
        self.member(peer).is_some_and(|(g, m)| !g.is_idle(m))
    }

    /// The neighbour was told everything: [`AdjRibOut::poll_ready`] names it when there is more, as it does one whose session
    /// is new.
    pub fn wait(&mut self, peer: PeerId) {
        if let Some(many) = self.many.get_mut(&peer) {
            many.waiting = true;
        }
        if let Some(group) = self.group_mut(peer)
            && let Some(member) = group.members.get_mut(peer)
        {
            member.waiting = true;
            group.stirred = true;
        }
    }

    /// A neighbour that waits and has something pending; it does not wait any more.
    pub fn poll_ready(&mut self) -> Option<PeerId> {
        if let Some((peer, many)) = self.many.iter_mut().find(|(_, m)| m.is_ready()) {
            many.waiting = false;
            return Some(*peer);
        }
        loop {
            while let Some(peer) = self.ready.pop_front() {
                if self.is_ready(peer)
                    && let Some(member) = self.group_mut(peer).and_then(|g| g.members.get_mut(peer))
                {
                    member.waiting = false;
                    return Some(peer);
                }
            }
            // Members are looked at only where something has happened since.
            for group in self.groups.iter_mut().flatten().filter(|g| g.stirred) {
                group.stirred = false;
                self.ready.extend(group.ready());
            }
            if self.ready.is_empty() {
                return None;
            }
        }
    }

    /// True if [`AdjRibOut::poll_ready`] would name one.
    pub fn has_ready(&self) -> bool {
        if self.many.values().any(|m| m.is_ready()) {
            return true;
        }
        let groups = self.groups.iter().flatten();
        groups.filter(|g| g.stirred).any(|g| g.ready().next().is_some()) || self.ready.iter().any(|p| self.is_ready(*p))
    }

    fn is_ready(&self, peer: PeerId) -> bool {
        self.member(peer).is_some_and(|(g, m)| m.waiting && !g.is_idle(m))
    }

    /// The next whole messages for a neighbour, about `budget` octets (at least one route); `None`: it has been told
    /// everything, or ([`AdjRibOut::has_pending`]) a slice of the work that one call does had nothing for it.
    pub fn next_updates<V: View>(&mut self, view: &mut V, peer: PeerId, budget: usize) -> Option<Outgoing> {
        self.forget_freed(view);
        if let Some(many) = self.many.get_mut(&peer) {
            let outgoing = many.pull(view, budget);
            self.released.extend(many.released.drain(..));
            return outgoing;
        }
        let id = *self.peers.get(&peer)?;
        let mut group = self.groups.get_mut(id as usize)?.take()?;
        let outgoing = group.pull(view, &mut self.run, peer, budget, &mut self.groups);
        self.released.extend(group.released.drain(..));
        let arrived = std::mem::take(&mut group.arrived);
        if let Some(place) = self.groups.get_mut(id as usize) {
            *place = Some(group);
        }
        arrived.into_iter().for_each(|(peer, from)| self.forget_ghost(peer, from));
        outgoing
    }

    /// Forgets what is known of sets that are no more. To be called before a long list of them has come together.
    pub fn forget_freed<V: View>(&mut self, view: &mut V) {
        while let Some(set) = view.poll_freed() {
            self.groups.iter_mut().flatten().for_each(|g| g.forget(set));
        }
    }

    /// True as long as the number of a destination must not be given to another prefix. Whoever frees numbers asks when a
    /// destination has become empty, and again when [`AdjRibOut::poll_released`] names it.
    pub fn holds(&self, dest: DestId) -> bool {
        self.groups.iter().flatten().any(|g| g.holds(dest))
            || self.dissolving.iter().any(|g| g.holds(dest))
            || self.left.iter().any(|held| held.contains(dest))
            || self.many.values().any(|m| m.holds(dest))
            || self.many_over.iter().any(|m| m.holds(dest))
    }

    /// A destination that was held and perhaps is not any more ([`AdjRibOut::holds`]).
    pub fn poll_released(&mut self) -> Option<DestId> {
        self.released.pop_front()
    }

    /// A slice of what is to be cleared away; false: nothing is left to do.
    pub fn work<V: View>(&mut self, view: &mut V) -> bool {
        let mut more = false;
        for group in self.groups.iter_mut().flatten() {
            more |= group.trim();
            self.released.extend(group.released.drain(..));
        }
        if let Some(group) = self.dissolving.last_mut()
            && !group.dissolve(view, &mut self.released)
        {
            self.dissolving.pop();
        }
        if let Some(many) = self.many_over.last_mut()
            && !many.dissolve(view, &mut self.released)
        {
            self.many_over.pop();
        }
        if let Some(held) = self.left.last_mut() {
            match held.pop_chunk() {
                Some(dests) => self.released.extend(dests),
                None => drop(self.left.pop()),
            }
        }
        more || !self.dissolving.is_empty() || !self.left.is_empty() || !self.many_over.is_empty()
    }

    /// Counters of a neighbour, per family.
    pub fn counters(&self, peer: PeerId, family: Family) -> OutCounters {
        let many = || self.many.get(&peer).map(|m| m.counters);
        let [v4, v6] = self.member(peer).map(|(_, m)| m.counters).or_else(many).unwrap_or_default();
        match family {
            Family::IPV4_UNICAST => v4,
            Family::IPV6_UNICAST => v6,
            _ => OutCounters::default(),
        }
    }

    /// What a neighbour holds from us, in no order that means anything. A destination that changed and was not pulled yet is
    /// there as it will be; one that is about to be withdrawn is left out.
    pub fn advertised(&self, peer: PeerId) -> impl Iterator<Item = DestId> + '_ {
        let many = self.many.get(&peer).into_iter().flat_map(|m| m.told.iter());
        let member = self.member(peer).into_iter();
        member.flat_map(|(g, m)| m.held.iter().filter(|d| g.states.get(*d).route().is_some())).chain(many)
    }

    /// True if [`AdjRibOut::advertised`] names it.
    pub fn holds_route(&self, peer: PeerId, dest: DestId) -> bool {
        self.many.get(&peer).is_some_and(|m| !m.told.get(dest).is_empty())
            || self.member(peer).is_some_and(|(g, m)| m.held.contains(dest) && g.states.get(dest).route().is_some())
    }

    /// What a neighbour holds from us for one destination, with the attributes as sent.
    pub fn advertised_routes<V: View>(&self, view: &V, peer: PeerId, dest: DestId) -> Vec<AdvertisedRoute> {
        match self.many.get(&peer) {
            Some(many) => many.advertised_routes(view, dest),
            None => self.advertised_route(view, peer, dest).into_iter().collect(),
        }
    }

    /// The same where it is told one path at most.
    pub fn advertised_route<V: View>(&self, view: &V, peer: PeerId, dest: DestId) -> Option<AdvertisedRoute> {
        let (group, member) = self.member(peer).filter(|(_, m)| m.held.contains(dest))?;
        let (set, source) = group.states.get(dest).route()?;
        let (source, speaker) = (view.source(source)?, group.speaker_of(dest));
        let mut attributes = PathAttributes::default();
        view.attributes(set, &mut attributes);
        let received = view.next_hop(set);
        let next_hop = group.profile.judge(speaker, &source, dest.family(), &received, &attributes).ok()?;
        group.profile.attributes(speaker, &source, &mut attributes);
        Some(AdvertisedRoute {
            prefix: view.prefix(dest),
            next_hop: member.target.next_hop(dest.family(), next_hop)?,
            attributes: Arc::new(attributes),
            path_id: None,
            of: None,
        })
    }

    /// How many update groups there are. As many as neighbours: a knob has shattered them.
    pub fn group_count(&self) -> usize {
        self.groups.iter().flatten().filter(|g| !g.retired).count()
    }

    fn group(&self, peer: PeerId) -> Option<&Group> {
        self.groups.get(*self.peers.get(&peer)? as usize)?.as_deref()
    }

    fn group_mut(&mut self, peer: PeerId) -> Option<&mut Group> {
        self.groups.get_mut(*self.peers.get(&peer)? as usize)?.as_deref_mut()
    }

    fn member(&self, peer: PeerId) -> Option<(&Group, &Member)> {
        let group = self.group(peer)?;
        Some((group, group.members.get(peer)?))
    }

    /// Takes a neighbour out of its group. `ghost`: the group keeps for it what it told up to there.
    fn leave(&mut self, peer: PeerId, ghost: Option<u64>) -> Option<(Box<Member>, u32)> {
        let id = self.peers.remove(&peer)?;
        let group = self.groups.get_mut(id as usize)?.as_mut()?;
        let mut member = group.members.remove(peer)?;
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
        if let Some(Some(g)) = self.groups.get_mut(group as usize) {
            g.ghosts.remove(&peer);
            g.told = u64::MAX;
        }
        self.bury(group);
    }

    fn bury(&mut self, id: u32) {
        if let Some(group) = self.groups.get_mut(id as usize).and_then(|g| g.take_if(|g| g.is_over())) {
            self.dissolving.push(*group);
        }
    }

    fn enter(&mut self, profile: ExportProfile, member: Box<Member>, kind: WalkKind) {
        let peer = member.target.peer;
        let joins = |g: &Option<Box<Group>>| g.as_ref().is_some_and(|g| !g.retired && g.profile == profile);
        let known = self.groups.iter().position(joins);
        let id = known.or_else(|| self.groups.iter().position(Option::is_none)).unwrap_or_else(|| {
            self.groups.push(None);
            self.groups.len() - 1
        });
        if let Some(place) = self.groups.get_mut(id) {
            place
                .get_or_insert_with(|| Box::new(Group::new(profile, Arc::clone(&self.speaker))))
                .join(peer, member, kind);
            // As many as neighbours.
            self.peers.insert(peer, u32::try_from(id).unwrap_or(u32::MAX));
        }
    }
}

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod testutil;
