//! What the RIB knows of each neighbour: its session while there is one or while its routes are kept, and its counts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use net_types::{Family, Monotime, Prefix, RouterId};

use super::decision::KeySource;
use super::sources::GenerationId;
use super::types::{Connected, PeerId, PeerInfo};
use crate::config::{NeighborConfig, Relation, RemoteAddress, SpeakerConfig};
use crate::policy::{RouteSource, SessionFacts, SourceKind};

/// A session, or the last one while its routes are retained.
#[derive(Clone, Debug)]
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
        Relation::Transit
        | Relation::Peer
        | Relation::RouteServer
        | Relation::RsClient
        | Relation::Customer
        | Relation::Collector => SourceKind::External,
    }
}

/// Two of a kind: one for IPv4, one for IPv6.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PerFamily<T> {
    v4: T,
    v6: T,
}

impl<T> PerFamily<T> {
    pub(super) fn new(v4: T, v6: T) -> PerFamily<T> {
        PerFamily { v4, v6 }
    }

    pub(super) fn get(&self, v4: bool) -> &T {
        if v4 { &self.v4 } else { &self.v6 }
    }

    pub(super) fn get_mut(&mut self, v4: bool) -> &mut T {
        if v4 { &mut self.v4 } else { &mut self.v6 }
    }
}

/// One neighbour.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) config: Arc<NeighborConfig>,
    /// The session, or (with `up` false) the ended one while routes from it are kept.
    pub(super) session: Option<Arc<Session>>,
    pub(super) up: bool,
    /// Where new paths go.
    pub(super) current: PerFamily<Option<GenerationId>>,
    /// Distinct prefixes with a path from it, those of dead generations too until they are swept out.
    pub(super) prefixes: PerFamily<usize>,
    /// The neighbour as export sees it.
    pub(super) identity: u32,
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
            current: PerFamily::default(),
            prefixes: PerFamily::default(),
            identity: 0,
            end_of_rib: BTreeSet::new(),
            stale_until: None,
            refreshing: BTreeMap::new(),
        }
    }

    pub(super) fn live(&self) -> Option<&Session> {
        self.session.as_deref().filter(|_| self.up)
    }

    /// We expect it to come up and to tell us its table.
    pub(super) fn is_expected(&self) -> bool {
        self.config.enabled && !matches!(self.config.remote, RemoteAddress::Range(_))
    }

    /// True if its table is still to come: it is not up yet, or it is, offers Graceful Restart, and owes an End-of-RIB.
    /// One that does not offer it need never send one, and is not waited for.
    pub(super) fn owes_table(&self) -> bool {
        if !self.is_expected() {
            return false;
        }
        let Some(session) = self.live() else { return true };
        // The neighbour sends an End-of-RIB for each family in force, whatever its capability lists (RFC 4724 §2).
        session.info.graceful_restart.is_some()
            && session.info.session.families.iter().any(|f| !self.end_of_rib.contains(f))
    }

    /// True if the first decision after a restart still waits for this neighbour (RFC 4724 §4.1): its table is to come, and
    /// it has not itself restarted.
    pub(super) fn owes_end_of_rib(&self) -> bool {
        let restarting = |s: &Session| s.info.graceful_restart.as_ref().is_some_and(|gr| gr.restarting);
        self.owes_table() && !self.live().is_some_and(restarting)
    }
}

/// A path announced here, as export sees its source; see [`Identities`]. Also the Path Identifier of such a path: it wins
/// over [`INTERNAL`] at the last step of the decision.
pub(super) const ANNOUNCED: u32 = 0;
/// A prefix of the inside that begins here.
pub(super) const INTERNAL: u32 = 1;
/// [`ANNOUNCED`] while our table is not in yet, for export only: a source of its own, so that the end of that is a new source
/// of a few routes, and nothing about the table.
pub(super) const LAST_RESORT: u32 = 2;

/// A neighbour as export saw it once.
#[derive(Debug)]
struct Identity {
    peer: PeerId,
    config: Arc<NeighborConfig>,
    kind: SourceKind,
    bgp_identifier: RouterId,
    address: IpAddr,
}

/// Neighbours as export sees them, under numbers that are never given out twice: another session identifier or another
/// configuration is another number, so who kept a number can tell that a route's source is not what it was.
#[derive(Debug)]
pub(super) struct Identities {
    known: BTreeMap<u32, Identity>,
    next: u32,
}

impl Default for Identities {
    fn default() -> Identities {
        Identities { known: BTreeMap::new(), next: LAST_RESORT + 1 }
    }
}

impl Identities {
    /// The number of a neighbour as it is now; `was`: its number so far.
    pub(super) fn number(&mut self, was: u32, session: &Session) -> u32 {
        let Session { info, kind, .. } = session;
        let same = |i: &&Identity| {
            (i.peer, &i.config, i.kind, i.bgp_identifier, i.address)
                == (info.id, &info.config, *kind, info.bgp_identifier, info.address)
        };
        if self.known.get(&was).filter(same).is_some() {
            return was;
        }
        let number = self.next;
        // 2^32 sessions.
        self.next = self.next.wrapping_add(1).max(LAST_RESORT + 1);
        self.known.insert(
            number,
            Identity {
                peer: info.id,
                config: Arc::clone(&info.config),
                kind: *kind,
                bgp_identifier: info.bgp_identifier,
                address: info.address,
            },
        );
        number
    }

    /// Forgets all but these.
    pub(super) fn retain(&mut self, used: &BTreeSet<u32>) {
        self.known.retain(|number, _| used.contains(number));
    }

    /// The source that policy sees.
    pub(super) fn source(&self, number: u32, speaker: &SpeakerConfig) -> Option<RouteSource<'_>> {
        if number <= LAST_RESORT {
            return Some(RouteSource {
                peer: PeerId::LOCAL,
                neighbor: None,
                kind: if number == INTERNAL { SourceKind::LocalInternal } else { SourceKind::Local },
                bgp_identifier: speaker.router_id,
                peer_address: IpAddr::V4(speaker.router_id.0),
                last_resort: number == LAST_RESORT,
            });
        }
        let known = self.known.get(&number)?;
        Some(RouteSource {
            peer: known.peer,
            neighbor: Some(&known.config),
            kind: known.kind,
            bgp_identifier: known.bgp_identifier,
            peer_address: known.address,
            last_resort: false,
        })
    }
}

/// The decision process's view of routes that begin here.
pub(super) fn local_key(router_id: RouterId) -> KeySource {
    let address = IpAddr::V4(router_id.0);
    KeySource { peer: PeerId::LOCAL, local: true, external: false, identifier: router_id, address }
}
