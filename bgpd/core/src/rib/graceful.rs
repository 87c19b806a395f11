//! Routes that outlive what announced them, and the first decision after a restart (RFC 4724, RFC 7313).
//!
//! Receiving side (RFC 4724 §4.2): a session that ends with [`Retain`] leaves its routes *stale*: used as before, gone
//! when the neighbour does not come back in its restart time, comes back without having kept its forwarding state, or
//! has sent its End-of-RIB without repeating them. Enhanced route refresh (RFC 7313 §4) marks them *unrefreshed* between
//! BoRR and EoRR in the same way. Both are said of a generation ([`super::sources`]), whatever the number of its routes.
//!
//! Restarting side (§4.1): `LocRib::deferred` until every neighbour we wait for has sent End-of-RIB, or the
//! Selection_Deferral_Timer runs out; then the sweep decides everything, and the first decision is made once it is idle.

use std::sync::Arc;
use std::time::Duration;

use bgp_wire::RouteRefreshSubtype;
use net_types::{Family, Monotime};

use super::Rib;
use super::loc_rib::LocRib;
use super::peers::{Peer, PerFamily, Session};
use super::sources::{Generation, GenerationId, Purged};
use super::sweep::Job;
use super::types::{PeerId, Retain, RibEvent};

/// After the session is back: the wait for End-of-RIB (RFC 4724 §4.2, "an upper bound on the amount of time a router
/// retains the stale routes").
pub(super) const STALE_WAIT: Duration = Duration::from_secs(360);
/// The wait for EoRR (RFC 7313 §4).
pub(super) const REFRESH_WAIT: Duration = Duration::from_secs(360);
/// The wait for the kernel's answers to the first wants before End-of-RIB goes out all the same.
pub(super) const FIRST_WANTS_WAIT: Duration = Duration::from_secs(60);

impl Rib {
    /// Keeps or drops the routes of a session that ended.
    pub(super) fn retain_or_drop(&mut self, now: Monotime, id: PeerId, retain: Option<Retain>) {
        let (families, restart_time) = match retain {
            Some(Retain { families, restart_time }) => (families, Some(restart_time)),
            None => (Vec::new(), None),
        };
        for family in Family::SUPPORTED {
            let retained = families.contains(&family);
            if retained {
                // RFC 4724 §4.2: what an earlier restart left stale does not outlive a second one.
                self.purge(id, family, "restarted again before its End-of-RIB (RFC 4724 §4.2)", |g| g.stale);
            }
            for generation in self.loc.live(id, family) {
                if !retained {
                    self.loc.sources.kill(generation, None);
                    continue;
                }
                if let Some(g) = self.loc.sources.generation_mut(generation) {
                    (g.stale, g.unrefreshed) = (true, false);
                }
                self.loc.sources.end(generation);
            }
        }
        let has_stale = self.loc.has_stale(id);
        if let Some(peer) = self.loc.peers.get_mut(&id) {
            peer.up = false;
            peer.current = PerFamily::default();
            peer.end_of_rib.clear();
            peer.refreshing.clear();
            peer.stale_until = restart_time.map(|t| now + t).filter(|_| has_stale);
            if !has_stale {
                peer.session = None;
            }
        }
    }

    /// RFC 4724 §4.2, session re-established: stale routes stay only in families whose forwarding state the neighbour
    /// says it kept.
    pub(super) fn resume(&mut self, now: Monotime, id: PeerId, session: Session) {
        let forwarding: Vec<Family> = match &session.info.graceful_restart {
            Some(gr) => gr.families.iter().filter(|(_, preserved)| *preserved).map(|(f, _)| *f).collect(),
            None => Vec::new(),
        };
        for family in Family::SUPPORTED {
            if !(forwarding.contains(&family) && session.has_family(family)) {
                self.purge(id, family, "came back without its forwarding state (RFC 4724 §4.2)", |g| g.stale);
            }
        }
        let has_stale = self.loc.has_stale(id);
        self.loc.take_session(id, session);
        let Some(peer) = self.loc.peers.get_mut(&id) else { return };
        peer.up = true;
        peer.stale_until = has_stale.then(|| now + STALE_WAIT);
        for family in Family::SUPPORTED {
            self.loc.begin_generation(id, family);
        }
        if has_stale {
            // Its identifier, address or capabilities may be others now.
            self.loc.owe(Job::Judge(id));
            self.loc.owe(Job::Decide(id));
            self.loc.owe(Job::Export(id));
        }
    }

    /// RFC 4724 §4.2: End-of-RIB ends the wait for one family.
    pub(super) fn end_of_rib(&mut self, id: PeerId, family: Family) {
        let Some(peer) = self.loc.peers.get_mut(&id) else { return };
        peer.end_of_rib.insert(family);
        self.events.push_back(RibEvent::EndOfRibReceived { peer: id, family });
        self.purge(id, family, "not repeated before End-of-RIB (RFC 4724 §4.2)", |g| g.stale);
    }

    /// BoRR and EoRR (RFC 7313 §4).
    pub(super) fn refresh_mark(&mut self, now: Monotime, id: PeerId, family: Family, subtype: RouteRefreshSubtype) {
        let Some(peer) = self.loc.peers.get_mut(&id) else { return };
        let Some(session) = peer.live() else { return };
        if !session.info.enhanced_refresh || !session.has_family(family) {
            return;
        }
        match subtype {
            RouteRefreshSubtype::Begin => {
                // RFC 7313 §4: with Graceful Restart, a BoRR before the End-of-RIB is ignored.
                if session.info.graceful_restart.is_some() && !peer.end_of_rib.contains(&family) {
                    return;
                }
                peer.refreshing.insert(family, now + REFRESH_WAIT);
                for generation in self.loc.live(id, family) {
                    if let Some(g) = self.loc.sources.generation_mut(generation) {
                        g.unrefreshed = true;
                    }
                    self.loc.sources.end(generation);
                }
                self.loc.begin_generation(id, family);
            }
            // RFC 7313 §4: an EoRR without its BoRR is ignored.
            RouteRefreshSubtype::End if peer.refreshing.remove(&family).is_some() => {
                self.purge(id, family, "not repeated between BoRR and EoRR (RFC 7313 §4)", |g| g.unrefreshed);
            }
            RouteRefreshSubtype::End | RouteRefreshSubtype::Request | RouteRefreshSubtype::Unknown(_) => {}
        }
    }

    /// The marked routes of a neighbour go; [`RibEvent::StalePurged`] says so once the sweep has taken them out.
    fn purge(&mut self, peer: PeerId, family: Family, why: &'static str, which: impl Fn(&Generation) -> bool) {
        for id in self.loc.live(peer, family) {
            if self.loc.sources.generation(id).is_some_and(&which) {
                self.loc.sources.kill(id, Some(why));
            }
        }
        let has_stale = self.loc.has_stale(peer);
        if let Some(peer) = self.loc.peers.get_mut(&peer)
            && !has_stale
        {
            peer.stale_until = None;
            if !peer.up {
                peer.session = None;
            }
        }
    }

    /// Tells of what the sweep has finished.
    pub(super) fn poll_swept(&mut self) {
        while let Some(Purged { peer, v4, count, why }) = self.loc.sources.poll_purged() {
            let family = if v4 { Family::IPV4_UNICAST } else { Family::IPV6_UNICAST };
            self.events.push_back(RibEvent::StalePurged { peer, family, count, why });
        }
        if self.loc.is_swept()
            && let Some(deferral_expired) = self.deciding.take()
        {
            self.restart_complete = Some(deferral_expired);
            self.loc.fib.begin_first();
            self.check_first_wants();
        }
    }

    /// The next deadline of this file.
    pub(super) fn graceful_timeout(&self) -> Option<Monotime> {
        let peers = self.loc.peers.values();
        let kept = peers.flat_map(|p| p.stale_until.into_iter().chain(p.refreshing.values().copied()));
        kept.chain(self.deferral).chain(self.first_wants_until).min()
    }

    /// What is due at `now`.
    pub(super) fn graceful_due(&mut self, now: Monotime) {
        let due: Vec<PeerId> =
            self.loc.peers.iter().filter(|(_, p)| p.stale_until.is_some_and(|t| t <= now)).map(|(id, _)| *id).collect();
        for id in due {
            if let Some(peer) = self.loc.peers.get_mut(&id) {
                peer.stale_until = None;
            }
            let up = self.loc.peers.get(&id).is_some_and(|p| p.up);
            let why = if up {
                "no End-of-RIB in time (RFC 4724 §4.2)"
            } else {
                "did not come back in its restart time (RFC 4724 §4.2)"
            };
            for family in Family::SUPPORTED {
                self.purge(id, family, why, |g| g.stale);
            }
        }
        let mut late = Vec::new();
        for (id, peer) in &mut self.loc.peers {
            peer.refreshing.retain(|family, until| {
                let over = *until <= now;
                if over {
                    late.push((*id, *family));
                }
                !over
            });
        }
        for (id, family) in late {
            self.purge(id, family, "no EoRR in time (RFC 7313 §4)", |g| g.unrefreshed);
        }
        if self.deferral.is_some_and(|t| t <= now) {
            self.first_decision(now, true);
        }
        if self.first_wants_until.is_some_and(|t| t <= now) {
            self.first_wants_answered();
        }
    }

    /// Ends the deferral if nobody is waited for (RFC 4724 §4.1). Without a neighbour there is nobody to hear from yet.
    pub(super) fn check_deferral(&mut self, now: Monotime) {
        let peers = &self.loc.peers;
        if self.deferral.is_some() && !peers.is_empty() && !peers.values().any(Peer::owes_end_of_rib) {
            self.first_decision(now, false);
        }
    }

    /// The first decision begins: everything, by the sweep.
    fn first_decision(&mut self, now: Monotime, deferral_expired: bool) {
        self.deferral = None;
        self.loc.deferred = false;
        for id in self.loc.next_hops.ids() {
            self.loc.unsettle(id);
        }
        self.loc.owe(Job::DecideAll);
        self.loc.settle(false);
        self.deciding = Some(deferral_expired);
        self.first_wants_until = Some(now + FIRST_WANTS_WAIT);
    }

    /// End-of-RIB may go out once the kernel has confirmed the first wants: a neighbour that keeps our stale routes drops
    /// what we have not repeated by then.
    pub(super) fn check_first_wants(&mut self) {
        if self.first_wants_until.is_some() && self.deciding.is_none() && self.loc.fib.first_left() == 0 {
            self.first_wants_answered();
        }
    }

    fn first_wants_answered(&mut self) {
        self.first_wants_until = None;
        self.loc.first_wants_done = true;
    }
}

impl LocRib {
    /// Generations of a neighbour and family that are in use.
    fn live(&self, peer: PeerId, family: Family) -> Vec<GenerationId> {
        let v4 = family == Family::IPV4_UNICAST;
        self.sources.of(peer, v4).filter(|(_, g)| !g.dead).map(|(id, _)| id).collect()
    }

    fn has_stale(&self, peer: PeerId) -> bool {
        self.sources.all().any(|(_, g)| g.peer() == peer && g.stale && !g.dead && g.paths > 0)
    }

    /// From now on new paths of the neighbour are of a new generation.
    fn begin_generation(&mut self, id: PeerId, family: Family) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(key) = peer.session.as_ref().map(|s| s.key) else { return };
        let v4 = family == Family::IPV4_UNICAST;
        *peer.current.get_mut(v4) = Some(self.sources.begin(key, peer.identity, v4));
    }

    /// The neighbour's session, new or under another configuration: how the decision and export see it.
    pub(super) fn take_session(&mut self, id: PeerId, session: Session) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.identity = self.identities.number(peer.identity, &session);
        for generation in self.sources.all_mut().filter(|g| g.peer() == id && !g.dead) {
            (generation.key, generation.identity) = (session.key, peer.identity);
        }
        peer.session = Some(Arc::new(session));
    }
}
