//! The words of the policy's border.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bgp_wire::{Role, SessionContext};
use net_types::{Asn, Prefix, RouterId};

use crate::config::NeighborConfig;
use crate::rib::PeerId;

/// Where a path came from, as far as export cares.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SourceKind {
    /// Announced here, from the address plan.
    Local,
    /// Originated here for the inside of the AS only.
    LocalInternal,
    /// eBGP.
    External,
    /// iBGP, from a non-client (RFC 4456 §6).
    Internal,
    /// iBGP, from a client of ours.
    InternalClient,
}

impl SourceKind {
    /// True for the two kinds that begin at this speaker.
    pub fn is_local(self) -> bool {
        matches!(self, SourceKind::Local | SourceKind::LocalInternal)
    }
}

/// The source of one path.
#[derive(Clone, Copy, Debug)]
pub struct RouteSource<'a> {
    /// Who sent it; [`PeerId::LOCAL`] for routes of our own.
    pub peer: PeerId,
    /// Its configuration; `None` for routes of our own.
    pub neighbor: Option<&'a NeighborConfig>,
    /// What kind of source that is.
    pub kind: SourceKind,
    /// BGP Identifier of the sender (ORIGINATOR_ID when reflected, RFC 4456 §8); our own for routes of our own.
    pub bgp_identifier: RouterId,
    /// Address of the sender; ours for routes of our own.
    pub peer_address: IpAddr,
    /// A route of our own that others should take only if they have no better: our table is not in yet (ADR 0019).
    pub last_resort: bool,
}

/// An established session, as far as policy and encoding care.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionFacts {
    /// The neighbour.
    pub peer: PeerId,
    /// The neighbour's AS, from its OPEN.
    pub remote_as: Asn,
    /// The neighbour's BGP Identifier.
    pub bgp_identifier: RouterId,
    /// The neighbour's address.
    pub address: IpAddr,
    /// Our end of the connection.
    pub local_address: IpAddr,
    /// Our IPv4 address for next-hop-self on a session over IPv6.
    pub local_ipv4: Option<Ipv4Addr>,
    /// Our global IPv6 address for next-hop-self on a session over IPv4 or link-local addresses.
    pub local_ipv6: Option<Ipv6Addr>,
    /// Our link-local address on the session's link (RFC 2545 §3).
    pub link_local: Option<Ipv6Addr>,
    /// The role its OPEN named.
    pub peer_role: Option<Role>,
    /// What was negotiated.
    pub context: SessionContext,
    /// RFC 7313 in force both ways.
    pub enhanced_refresh: bool,
    /// Subnets of the session's link, as far as known.
    pub connected: Vec<Prefix>,
}

/// Why a route is not let through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Id of the rule, stable for filters and counters.
    pub rule: &'static str,
    /// The offending value, for a person.
    pub detail: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.detail)
    }
}

/// One row of an explanation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExplainStep {
    /// Id of the rule or change.
    pub rule: &'static str,
    /// The clause it obeys.
    pub clause: &'static str,
    /// False: this row alone keeps the route out.
    pub pass: bool,
    /// What was seen, or what was changed.
    pub detail: String,
}

/// What one rule says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It does not concern this route.
    Skip,
    /// Let through.
    Pass,
    /// Kept out, and why.
    Refuse(String),
}

/// One row of a table of rules; `F` is the check, a function of the direction's context.
#[derive(Debug)]
pub struct Rule<F> {
    /// Stable id.
    pub id: &'static str,
    /// The clause.
    pub clause: &'static str,
    /// What it demands, in one sentence.
    pub sentence: &'static str,
    /// The check.
    pub check: F,
}

/// An [`Outcome`] without its text: what a check that is asked for every route says. The text is another function's, asked
/// when a person wants to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finding {
    /// It does not concern this route.
    Skip,
    /// Let through.
    Pass,
    /// Kept out.
    Refuse,
}

impl Finding {
    /// Kept out if so.
    pub fn refuse_if(bad: bool) -> Finding {
        if bad { Finding::Refuse } else { Finding::Pass }
    }

    /// With the text of a refusal.
    pub fn explained(self, why: impl FnOnce() -> String) -> Outcome {
        match self {
            Finding::Skip => Outcome::Skip,
            Finding::Pass => Outcome::Pass,
            Finding::Refuse => Outcome::Refuse(why()),
        }
    }
}

/// One row of a table of changes; `F` changes the attributes and says whether it did.
#[derive(Debug)]
pub struct Change<F> {
    /// Stable id.
    pub id: &'static str,
    /// The clause.
    pub clause: &'static str,
    /// What it does, in one sentence.
    pub sentence: &'static str,
    /// The change.
    pub apply: F,
}

/// Every row of a table that concerns the route.
pub(crate) fn explain<F: Copy>(rules: &[Rule<F>], ask: impl Fn(F) -> Outcome, into: &mut Vec<ExplainStep>) {
    for rule in rules {
        let (pass, detail) = match ask(rule.check) {
            Outcome::Skip => continue,
            Outcome::Pass => (true, rule.sentence.to_owned()),
            Outcome::Refuse(detail) => (false, detail),
        };
        into.push(ExplainStep { rule: rule.id, clause: rule.clause, pass, detail });
    }
}
