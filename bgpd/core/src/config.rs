//! Configuration as data, already checked: the daemon's file parser is the only one who makes these from text.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use bgp_wire::Role;
use net_types::{Asn, Family, Prefix, RouterId};

/// What holds for the whole speaker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpeakerConfig {
    /// Our AS.
    pub local_as: Asn,
    /// BGP Identifier.
    pub router_id: RouterId,
    /// Documentation prefixes and AS numbers are no bogons here; nothing else changes.
    pub lab: bool,
    /// Space the association holds: refused from outside, and the only space it originates.
    pub own_prefixes: Vec<Prefix>,
    /// Originated inside the AS only (a site's LANs, loopbacks): never sent to eBGP.
    pub internal_prefixes: Vec<Prefix>,
    /// CLUSTER_ID for reflection (RFC 4456 §7); the router id where not set.
    pub cluster_id: Option<RouterId>,
    /// How long the routes of a restarting speaker wait for End-of-RIB of all neighbours before the first decision
    /// (Selection_Deferral_Timer, RFC 4724 §4.1).
    pub selection_deferral: Duration,
    /// How long, at most, own prefixes are announced as the last resort after a start with nothing in the kernel, while the
    /// table is not in yet; zero: not at all.
    pub max_med_on_startup: Duration,
    /// A route may be announced only after the kernel holds it.
    pub wait_for_fib: bool,
    /// What is cut together.
    pub ducts: Ducts,
    /// Paths used beside the best one.
    pub multipath: Multipath,
}

impl SpeakerConfig {
    /// True if the other differs at most in what is wanted in the kernel: no session and no policy looks at that.
    pub fn differs_in_wants_only(&self, other: &SpeakerConfig) -> bool {
        SpeakerConfig { ducts: other.ducts.clone(), multipath: other.multipath, ..self.clone() } == *other
    }
}

/// Interfaces whose fibres lie in one duct. An interface in none has a fate of its own.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Ducts(BTreeMap<String, String>);

impl Ducts {
    /// The named interface lies in the named duct from now on; the duct it lay in before.
    pub fn insert(&mut self, interface: String, duct: String) -> Option<String> {
        self.0.insert(interface, duct)
    }

    /// The duct of an interface.
    pub fn of(&self, interface: &str) -> Option<&str> {
        self.0.get(interface).map(String::as_str)
    }

    /// Why two interfaces are lost together, if they are.
    pub fn shared_fate(&self, backup: &str, active: &str) -> Option<String> {
        match (self.of(backup), self.of(active)) {
            _ if backup == active => Some(format!("same interface as the active one: {active}")),
            (Some(duct), Some(of)) if duct == of => Some(format!("same duct as the active one: {duct}")),
            _ => None,
        }
    }
}

/// How many equal paths are used at a time; what is announced is the best one alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Multipath {
    /// Learned over eBGP; 1: the best one.
    pub ebgp: NonZeroU16,
    /// Learned over iBGP; the two are not mixed.
    pub ibgp: NonZeroU16,
    /// AS paths need to be of one length only, not the same.
    pub relax_as_path: bool,
    /// Shares by the link bandwidth community, where all paths have one.
    pub link_bandwidth: bool,
}

impl Default for Multipath {
    fn default() -> Multipath {
        Multipath { ebgp: NonZeroU16::MIN, ibgp: NonZeroU16::MIN, relax_as_path: false, link_bandwidth: false }
    }
}

/// What a neighbour is to us. The relationship alone gives roles and filters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Relation {
    /// We buy transit from it: it may send us everything but our own space and bogons; it gets own and customers' routes.
    Transit,
    /// Settlement-free peer: as transit, and it may not send what came from its own providers (RFC 9234).
    Peer,
    /// An exchange's route server: as peer, but its AS is not in the path and next hops are third parties' on the LAN.
    RouteServer,
    /// We are the exchange's route server and it is a client (RFC 7947): clients' routes go from one to the other as they
    /// are, without our AS and with their own next hop.
    RsClient,
    /// It buys from us: it may send its declared prefixes only; it gets everything.
    Customer,
    /// iBGP.
    Internal,
    /// iBGP, and we reflect for it (RFC 4456).
    RrClient,
    /// A route collector: gets everything a customer would, nothing is taken from it.
    Collector,
}

impl Relation {
    /// Our own RFC 9234 role on a session of this relationship, if the RFC defines one.
    pub fn role(self) -> Option<Role> {
        match self {
            Relation::Transit => Some(Role::Customer),
            Relation::Peer => Some(Role::Peer),
            Relation::RouteServer => Some(Role::RouteServerClient),
            Relation::RsClient => Some(Role::RouteServer),
            Relation::Customer | Relation::Collector => Some(Role::Provider),
            Relation::Internal | Relation::RrClient => None,
        }
    }

    /// True for the two iBGP relationships.
    pub fn is_internal(self) -> bool {
        matches!(self, Relation::Internal | Relation::RrClient)
    }

    /// The word in the configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            Relation::Transit => "transit",
            Relation::Peer => "peer",
            Relation::RouteServer => "route-server",
            Relation::RsClient => "rs-client",
            Relation::Customer => "customer",
            Relation::Internal => "internal",
            Relation::RrClient => "rr-client",
            Relation::Collector => "collector",
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which filters apply on an eBGP session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PolicyMode {
    /// The relationship's own.
    Relationship,
    /// Everything the protocol allows, both ways; for tests and measurement. The relationship's role is one of its
    /// filters (a role is what the operator states, RFC 9234 §4.1): here only a role that is written down counts.
    AcceptAll,
    /// Nothing, both ways (RFC 8212).
    Deny,
}

/// Where sessions of this neighbour come from or go to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RemoteAddress {
    /// One neighbour.
    Fixed(IpAddr),
    /// Any address of the range may connect; we never do (dynamic neighbours).
    Range(Prefix),
}

/// A limit on accepted routes of one family (before policy, RFC 4486 subcode 1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MaxPrefix {
    /// Session ends beyond this many prefixes.
    pub limit: u32,
    /// Try again after this long; `None`: stay down until told.
    pub restart: Option<Duration>,
}

/// Which paths to a destination a neighbour is told that takes more than one.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum SendPaths {
    /// The best one, without a Path Identifier: ADD-PATH is not offered in this direction.
    #[default]
    Best,
    /// The best so many.
    Most(NonZeroU16),
    /// Every usable one.
    All,
}

/// ADD-PATH (RFC 7911), offered for every family of the session.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AddPath {
    /// We take several paths to a destination.
    pub receive: bool,
    /// We tell several.
    pub send: SendPaths,
}

/// A secret that debug output and logs never show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Which of RFC 5880's authentications; the MD5 and plain ones are not spoken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BfdAuthenticationKind {
    /// Keyed SHA1, type 4.
    KeyedSha1,
    /// Meticulous Keyed SHA1, type 5: each packet has a number of its own.
    MeticulousKeyedSha1,
}

/// Authentication of a BFD session (RFC 5880 §6.7).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BfdAuthentication {
    /// Its kind.
    pub kind: BfdAuthenticationKind,
    /// The key's number.
    pub key_id: u8,
    /// At most 20 octets.
    pub key: Secret,
}

/// BFD with a neighbour.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BfdConfig {
    /// Both Desired Min TX Interval and Required Min RX Interval once Up.
    pub interval: Duration,
    /// Detect Mult.
    pub multiplier: u8,
    /// No session becomes Established before BFD is Up.
    pub strict: bool,
    /// Nothing is sent before the other end is heard (RFC 5880 §6.1).
    pub passive: bool,
    /// RFC 5883 (port 4784) instead of RFC 5881 (port 3784).
    pub multihop: bool,
    /// Keyed SHA1.
    pub authentication: Option<BfdAuthentication>,
}

/// One neighbour, all defaults resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NeighborConfig {
    /// Unique name.
    pub name: String,
    /// For people.
    pub description: String,
    /// Address or range.
    pub remote: RemoteAddress,
    /// TCP port we connect to.
    pub port: u16,
    /// Address we connect from and accept on; `None`: the kernel's choice.
    pub local_address: Option<IpAddr>,
    /// Interface of a link-local neighbour.
    pub interface: Option<String>,
    /// Its AS.
    pub remote_as: Asn,
    /// What it is to us.
    pub relation: Relation,
    /// Families offered.
    pub families: Vec<Family>,
    /// Filters.
    pub policy: PolicyMode,
    /// Never connect, only accept.
    pub passive: bool,
    /// Administratively up.
    pub enabled: bool,
    /// Offered hold time in seconds: 0 or at least 3.
    pub hold_time: u16,
    /// SendHoldTimer (RFC 9687); zero: off.
    pub send_hold_time: Duration,
    /// ConnectRetryTime before jitter.
    pub connect_retry_time: Duration,
    /// DelayOpenTime (RFC 4271 §8.1.1): how long the neighbour's OPEN is waited for before ours goes out; zero: DelayOpen
    /// is off.
    pub delay_open: Duration,
    /// TCP MD5 key (RFC 2385).
    pub md5: Option<Secret>,
    /// GTSM (RFC 5082): send TTL 255, take only 255 (or 255 minus hops).
    pub ttl_security: bool,
    /// Most hops to an eBGP neighbour; `None`: directly connected, TTL 1.
    pub multihop: Option<u8>,
    /// RFC 9234: our role where it differs from the relationship's.
    pub role: Option<Role>,
    /// Refuse a neighbour that sends no role.
    pub role_strict: bool,
    /// Leftmost AS must be the neighbour's (never for a route server).
    pub enforce_first_as: bool,
    /// Offer RFC 8654.
    pub extended_message: bool,
    /// Offer RFC 8950 for IPv4 unicast.
    pub extended_next_hop: bool,
    /// Offer RFC 7313.
    pub enhanced_refresh: bool,
    /// Several paths to a destination (RFC 7911).
    pub add_path: AddPath,
    /// Keep its routes while it restarts (RFC 4724 §4.2).
    pub gr_helper: bool,
    /// Restart time we offer, seconds (12 bits); 0: do not offer to preserve our own forwarding state.
    pub gr_restart_time: u16,
    /// Limits.
    pub max_prefix: BTreeMap<Family, MaxPrefix>,
    /// Rewrite the next hop to ourselves (always so towards eBGP).
    pub next_hop_self: bool,
    /// How often our own AS may stand in a received path.
    pub allow_own_as: u8,
    /// What a customer may announce; for others empty.
    pub allowed_prefixes: Vec<Prefix>,
    /// AS numbers that may originate a customer's prefixes besides its own.
    pub allowed_origins: Vec<Asn>,
    /// LOCAL_PREF given on import instead of the relationship's.
    pub local_pref: Option<u32>,
    /// AS_PATH length (in AS numbers) beyond which a route is refused.
    pub max_as_path: usize,
    /// False: nothing is told to it, whatever the policy (we only listen). The policy still judges what it sends.
    pub export: bool,
    /// Prepend our AS this many times more on export.
    pub prepend: u8,
    /// Honour GRACEFUL_SHUTDOWN (RFC 8326) from this neighbour.
    pub graceful_shutdown: bool,
    /// Traffic is led away from the session before somebody works on it: we are the initiator of RFC 8326 §4.
    pub drain: bool,
    /// BFD, if it is to watch the path.
    pub bfd: Option<BfdConfig>,
}

impl NeighborConfig {
    /// A neighbour with every option at its ordinary value, as a file that gives only these keys has it; limits aside.
    pub fn ordinary(name: &str, address: IpAddr, remote_as: Asn, relation: Relation) -> NeighborConfig {
        NeighborConfig {
            name: name.to_owned(),
            description: String::new(),
            remote: RemoteAddress::Fixed(address),
            port: 179,
            local_address: None,
            interface: None,
            remote_as,
            relation,
            families: Family::SUPPORTED.to_vec(),
            policy: PolicyMode::Relationship,
            passive: false,
            enabled: true,
            hold_time: 90,
            send_hold_time: Duration::from_secs(480),
            connect_retry_time: Duration::from_secs(30),
            delay_open: Duration::ZERO,
            md5: None,
            ttl_security: false,
            multihop: None,
            role: None,
            role_strict: false,
            enforce_first_as: !relation.is_internal() && relation != Relation::RouteServer,
            extended_message: true,
            extended_next_hop: false,
            enhanced_refresh: true,
            add_path: AddPath::default(),
            gr_helper: true,
            gr_restart_time: 120,
            max_prefix: BTreeMap::new(),
            next_hop_self: false,
            allow_own_as: 0,
            allowed_prefixes: Vec::new(),
            allowed_origins: Vec::new(),
            local_pref: None,
            max_as_path: 64,
            export: true,
            prepend: 0,
            graceful_shutdown: true,
            drain: false,
            bfd: None,
        }
    }

    /// Our own role on the session, as our OPEN states it and OTC is judged by (RFC 9234 §4 and §5): only ever on eBGP.
    pub fn our_role(&self) -> Option<Role> {
        let by_relation = || self.relation.role().filter(|_| self.policy != PolicyMode::AcceptAll);
        if self.relation.is_internal() { None } else { self.role.or_else(by_relation) }
    }
}
