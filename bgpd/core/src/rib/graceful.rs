//! Routes that outlive what announced them, and the first decision after a restart (RFC 4724, RFC 7313).
//!
//! Receiving side (RFC 4724 §4.2): a session that ends with [`Retain`] leaves its routes *stale*: used as before, gone
//! when the neighbour does not come back in its restart time, comes back without having kept its forwarding state, or
//! has sent its End-of-RIB without repeating them. Enhanced route refresh (RFC 7313 §4) marks them *unrefreshed* between
//! BoRR and EoRR in the same way.
//!
//! Restarting side (§4.1): `LocRib::deferred` until every neighbour we wait for has sent End-of-RIB, or the
//! Selection_Deferral_Timer runs out; then everything is decided in one go.

use std::time::Duration;

use bgp_wire::RouteRefreshSubtype;
use net_types::{Family, Monotime, Prefix};

use super::Rib;
use super::peers::{Peer, Session};
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
            if families.contains(&family) {
                // RFC 4724 §4.2: what an earlier restart left stale does not outlive a second one.
                self.purge(id, family, "restarted again before its End-of-RIB (RFC 4724 §4.2)", |stale, _| stale);
                self.loc.mark(id, family, |path| (path.stale, path.unrefreshed) = (true, false));
                if let Some(peer) = self.loc.peers.get_mut(&id) {
                    let counts = peer.counts_mut(family);
                    counts.stale = counts.paths;
                }
            } else {
                self.loc.remove_where(id, family, |_| true);
            }
        }
        if let Some(peer) = self.loc.peers.get_mut(&id) {
            peer.up = false;
            peer.end_of_rib.clear();
            peer.refreshing.clear();
            if has_stale(peer) {
                peer.stale_until = restart_time.map(|t| now + t);
            } else {
                peer.stale_until = None;
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
                self.purge(id, family, "came back without its forwarding state (RFC 4724 §4.2)", |stale, _| stale);
            }
        }
        let Some(peer) = self.loc.peers.get_mut(&id) else { return };
        peer.session = Some(session);
        peer.up = true;
        peer.stale_until = has_stale(peer).then(|| now + STALE_WAIT);
        if has_stale(peer) {
            // Its identifier, address or capabilities may be others now.
            self.loc.rejudge(id);
            self.loc.redecide(Some(id));
        }
    }

    /// RFC 4724 §4.2: End-of-RIB ends the wait for one family.
    pub(super) fn end_of_rib(&mut self, id: PeerId, family: Family) {
        let Some(peer) = self.loc.peers.get_mut(&id) else { return };
        peer.end_of_rib.insert(family);
        self.events.push_back(RibEvent::EndOfRibReceived { peer: id, family });
        self.purge(id, family, "not repeated before End-of-RIB (RFC 4724 §4.2)", |stale, _| stale);
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
                self.loc.mark(id, family, |path| path.unrefreshed = true);
            }
            // RFC 7313 §4: an EoRR without its BoRR is ignored.
            RouteRefreshSubtype::End if peer.refreshing.remove(&family).is_some() => {
                self.purge(id, family, "not repeated between BoRR and EoRR (RFC 7313 §4)", |_, unrefreshed| {
                    unrefreshed
                });
            }
            RouteRefreshSubtype::End | RouteRefreshSubtype::Request | RouteRefreshSubtype::Unknown(_) => {}
        }
    }

    /// Removes marked paths and says so.
    fn purge(&mut self, peer: PeerId, family: Family, why: &'static str, which: impl Fn(bool, bool) -> bool) {
        let count = self.loc.remove_where(peer, family, |path| which(path.stale, path.unrefreshed));
        if count > 0 {
            self.events.push_back(RibEvent::StalePurged { peer, family, count, why });
        }
        if let Some(peer) = self.loc.peers.get_mut(&peer)
            && !has_stale(peer)
        {
            peer.stale_until = None;
            if !peer.up {
                peer.session = None;
            }
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
                self.purge(id, family, why, |stale, _| stale);
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
            self.purge(id, family, "no EoRR in time (RFC 7313 §4)", |_, unrefreshed| unrefreshed);
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

    /// The first decision: everything at once.
    fn first_decision(&mut self, now: Monotime, deferral_expired: bool) {
        self.deferral = None;
        self.loc.deferred = false;
        for id in self.loc.next_hops.ids() {
            self.loc.unsettle(id);
        }
        self.loc.redecide(None);
        self.loc.settle();
        self.restart_complete = Some(deferral_expired);
        self.first_wants_until = Some(now + FIRST_WANTS_WAIT);
        self.loc.fib.begin_first();
        self.check_first_wants();
    }

    /// End-of-RIB may go out once the kernel has confirmed the first wants: a neighbour that keeps our stale routes drops
    /// what we have not repeated by then.
    pub(super) fn check_first_wants(&mut self) {
        if self.first_wants_until.is_some() && self.loc.fib.first_left() == 0 {
            self.first_wants_answered();
        }
    }

    fn first_wants_answered(&mut self) {
        self.first_wants_until = None;
        self.loc.first_wants_done = true;
    }
}

fn has_stale(peer: &Peer) -> bool {
    peer.counts.values().any(|c| c.stale > 0)
}

impl super::loc_rib::LocRib {
    /// Changes the marks of every path of a neighbour and family.
    fn mark(&mut self, peer: PeerId, family: Family, mut mark: impl FnMut(&mut super::table::Path)) {
        if self.peers.get(&peer).is_none_or(|p| p.counts(family).paths == 0) {
            return;
        }
        for (_, destination) in self.table.iter_mut(family) {
            destination.paths.iter_mut().filter(|p| p.peer == peer).for_each(&mut mark);
        }
    }

    /// Every prefix with a best path, both families.
    pub(super) fn all_prefixes(&self) -> Vec<Prefix> {
        let of = |family| self.table.iter(family, None).filter(|(_, d)| d.best.is_some()).map(|(p, _)| p);
        Family::SUPPORTED.into_iter().flat_map(of).collect()
    }
}
