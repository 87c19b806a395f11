//! What the RIB knows of each neighbour: its session while there is one or while its routes are kept, and its counts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use net_types::{Family, Monotime, Prefix, RouterId};

use super::decision::KeySource;
use super::types::{Connected, PeerId, PeerInfo};
use crate::config::{NeighborConfig, Relation, RemoteAddress, SpeakerConfig};
use crate::policy::{RouteSource, SessionFacts, SourceKind};

/// A session, or the last one while its routes are retained.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) info: PeerInfo,
    pub(super) facts: SessionFacts,
    pub(super) key: KeySource,
    pub(super) kind: SourceKind,
}

impl Session {
    pub(super) fn new(info: PeerInfo, connected: &[Connected]) -> Session {
        let facts = SessionFacts {
            peer: info.id,
            remote_as: info.remote_as,
            bgp_identifier: info.bgp_identifier,
            address: info.address,
            local_address: info.local_address,
            local_ipv4: info.local_ipv4,
            local_ipv6: info.local_ipv6,
            link_local: info.local_ipv6_link_local,
            peer_role: info.peer_role,
            context: info.session.clone(),
            enhanced_refresh: info.enhanced_refresh,
            connected: link_subnets(&info, connected),
        };
        let key = KeySource {
            peer: info.id,
            local: false,
            external: info.session.ebgp,
            identifier: info.bgp_identifier,
            address: info.address,
        };
        let kind = kind(info.config.relation);
        Session { info, facts, key, kind }
    }

    /// Takes over the kernel's new view; true if policy sees something else now.
    pub(super) fn set_connected(&mut self, connected: &[Connected]) -> bool {
        let subnets = link_subnets(&self.info, connected);
        let changed = subnets != self.facts.connected;
        self.facts.connected = subnets;
        changed
    }

    pub(super) fn has_family(&self, family: Family) -> bool {
        self.info.session.families.contains(&family)
    }
}

/// Subnets of the session's link, up or not: a flap is the session's and the next hops' business, not policy's.
fn link_subnets(info: &PeerInfo, connected: &[Connected]) -> Vec<Prefix> {
    let on_link = connected.iter().filter(|c| Some(c.ifindex) == info.ifindex);
    let set: BTreeSet<Prefix> = on_link.map(|c| c.prefix).collect();
    set.into_iter().collect()
}

fn kind(relation: Relation) -> SourceKind {
    match relation {
        Relation::RrClient => SourceKind::InternalClient,
        Relation::Internal => SourceKind::Internal,
        Relation::Transit | Relation::Peer | Relation::RouteServer | Relation::Customer | Relation::Collector => {
            SourceKind::External
        }
    }
}

/// Paths of one family from one neighbour.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) paths: usize,
    pub(super) prefixes: usize,
    pub(super) accepted: usize,
    pub(super) stale: usize,
}

/// One neighbour.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) config: Arc<NeighborConfig>,
    /// The session, or (with `up` false) the ended one while routes from it are kept.
    pub(super) session: Option<Session>,
    pub(super) up: bool,
    pub(super) counts: BTreeMap<Family, Counts>,
    /// Families whose End-of-RIB came on this session.
    pub(super) end_of_rib: BTreeSet<Family>,
    /// When retained routes go, whatever happens.
    pub(super) stale_until: Option<Monotime>,
    /// Families between BoRR and EoRR, and when the wait for EoRR ends.
    pub(super) refreshing: BTreeMap<Family, Monotime>,
}

impl Peer {
    pub(super) fn new(config: Arc<NeighborConfig>) -> Peer {
        Peer {
            config,
            session: None,
            up: false,
            counts: BTreeMap::new(),
            end_of_rib: BTreeSet::new(),
            stale_until: None,
            refreshing: BTreeMap::new(),
        }
    }

    pub(super) fn counts_mut(&mut self, family: Family) -> &mut Counts {
        self.counts.entry(family).or_default()
    }

    pub(super) fn counts(&self, family: Family) -> Counts {
        self.counts.get(&family).copied().unwrap_or_default()
    }

    pub(super) fn live(&self) -> Option<&Session> {
        self.session.as_ref().filter(|_| self.up)
    }

    /// True if the first decision after a restart still waits for this neighbour (RFC 4724 §4.1): it is not up yet, or
    /// it is, offers Graceful Restart, has not itself restarted, and owes an End-of-RIB.
    pub(super) fn owes_end_of_rib(&self) -> bool {
        if !self.config.enabled || matches!(self.config.remote, RemoteAddress::Range(_)) {
            return false;
        }
        let Some(session) = self.live() else { return true };
        match &session.info.graceful_restart {
            None => false,
            Some(gr) if gr.restarting => false,
            // The neighbour sends an End-of-RIB for each family in force, whatever its capability lists (RFC 4724 §2).
            Some(_) => session.info.session.families.iter().any(|f| !self.end_of_rib.contains(f)),
        }
    }
}

/// The source that policy sees of a path from `peer`.
pub(super) fn route_source<'a>(
    peers: &'a BTreeMap<PeerId, Peer>,
    speaker: &SpeakerConfig,
    peer: PeerId,
    path_id: u32,
) -> Option<RouteSource<'a>> {
    if peer == PeerId::LOCAL {
        return Some(RouteSource {
            peer,
            neighbor: None,
            kind: if path_id == super::origin::ANNOUNCED { SourceKind::Local } else { SourceKind::LocalInternal },
            bgp_identifier: speaker.router_id,
            peer_address: IpAddr::V4(speaker.router_id.0),
        });
    }
    let peer = peers.get(&peer)?;
    let session = peer.session.as_ref()?;
    Some(RouteSource {
        peer: session.info.id,
        neighbor: Some(&peer.config),
        kind: session.kind,
        bgp_identifier: session.info.bgp_identifier,
        peer_address: session.info.address,
    })
}

/// The decision process's view of who sent a path.
pub(super) fn key_source(peers: &BTreeMap<PeerId, Peer>, router_id: RouterId, peer: PeerId) -> Option<KeySource> {
    if peer == PeerId::LOCAL {
        let address = IpAddr::V4(router_id.0);
        return Some(KeySource { peer, local: true, external: false, identifier: router_id, address });
    }
    Some(peers.get(&peer)?.session.as_ref()?.key)
}
