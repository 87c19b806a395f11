//! Import: from a neighbour's route to what the decision process may see.

use std::net::IpAddr;
use std::sync::Arc;

use bgp_wire::{AsPathSegmentType, Community, NextHop, PathAttributes, Role};
use net_types::{Asn, Prefix, RouterId, bogon_asn, bogon_prefix};

use super::tag;
use super::types::{Change, ExplainStep, Outcome, Refusal, Rule, SessionFacts, explain, judge};
use crate::config::{NeighborConfig, PolicyMode, Relation, SpeakerConfig};

/// What a rule may look at.
pub struct ImportContext<'a> {
    speaker: &'a SpeakerConfig,
    neighbor: &'a NeighborConfig,
    session: &'a SessionFacts,
    prefix: &'a Prefix,
    next_hop: &'a NextHop,
    attributes: &'a PathAttributes,
}

impl ImportContext<'_> {
    fn ebgp(&self) -> bool {
        !self.neighbor.relation.is_internal()
    }

    /// eBGP under the relationship's own filters (not `accept-all`).
    fn filtered(&self) -> bool {
        self.ebgp() && self.neighbor.policy == PolicyMode::Relationship
    }

    /// Our role on this session (RFC 9234 §4.1); the neighbour's is its counterpart.
    fn role(&self) -> Option<Role> {
        self.neighbor.our_role()
    }

    fn cluster_id(&self) -> RouterId {
        self.speaker.cluster_id.unwrap_or(self.speaker.router_id)
    }

    fn customer(&self) -> bool {
        self.neighbor.relation == Relation::Customer
    }

    /// An AS number that the configuration names for this customer.
    fn named_for_customer(&self, asn: Asn) -> bool {
        self.customer() && (asn == self.session.remote_as || self.neighbor.allowed_origins.contains(&asn))
    }
}

/// A check on a received route.
pub type ImportCheck = fn(&ImportContext<'_>) -> Outcome;
/// A change to an accepted route; true if it changed something.
pub type ImportChange = fn(&ImportContext<'_>, &mut PathAttributes) -> bool;

/// LOCAL_PREF by relationship: who pays us first, who we pay last.
pub fn default_local_pref(relation: Relation) -> Option<u32> {
    match relation {
        Relation::Customer => Some(200),
        Relation::Peer => Some(150),
        Relation::RouteServer => Some(140),
        Relation::Transit => Some(100),
        Relation::Collector | Relation::Internal | Relation::RrClient => None,
    }
}

/// Longest prefix that crosses a border of the AS, either way.
pub(crate) fn longest(prefix: &Prefix) -> u8 {
    if prefix.is_v4() { 24 } else { 48 }
}

fn shortest(prefix: &Prefix) -> u8 {
    if prefix.is_v4() { 8 } else { 16 }
}

/// Every check on a received route, in order.
pub const RULES: &[Rule<ImportCheck>] = &[
    Rule {
        id: "policy-deny",
        clause: "RFC 8212 §2.1",
        sentence: "the neighbour has an import policy",
        check: |c| match c.neighbor.policy {
            PolicyMode::Deny => Outcome::Refuse(format!("policy of {} is deny", c.neighbor.name)),
            PolicyMode::Relationship | PolicyMode::AcceptAll => Outcome::Pass,
        },
    },
    Rule {
        id: "collector",
        clause: "local",
        sentence: "nothing is taken from a route collector",
        check: |c| match c.neighbor.relation {
            Relation::Collector if c.neighbor.policy != PolicyMode::AcceptAll => {
                Outcome::Refuse(format!("{} is a collector", c.neighbor.name))
            }
            _ => Outcome::Skip,
        },
    },
    Rule {
        id: "as-loop",
        clause: "RFC 4271 §9.1.2",
        sentence: "our AS is not in AS_PATH more often than allowed",
        check: |c| {
            let own = c.speaker.local_as;
            let seen = c.attributes.as_path.asns().filter(|&a| a == own).count();
            if seen > usize::from(c.neighbor.allow_own_as) {
                return Outcome::Refuse(format!("AS {own} stands {seen} times in {}", c.attributes.as_path));
            }
            Outcome::Pass
        },
    },
    Rule {
        id: "originator-id",
        clause: "RFC 4456 §8",
        sentence: "ORIGINATOR_ID is not our own identifier",
        check: |c| match c.attributes.originator_id {
            _ if c.ebgp() => Outcome::Skip,
            Some(o) if o == c.speaker.router_id => Outcome::Refuse(format!("ORIGINATOR_ID is {o}, our own")),
            Some(_) => Outcome::Pass,
            None => Outcome::Skip,
        },
    },
    Rule {
        id: "cluster-loop",
        clause: "RFC 4456 §8",
        sentence: "CLUSTER_LIST does not hold our own cluster",
        check: |c| {
            let own = c.cluster_id();
            match c.attributes.cluster_list.as_slice() {
                _ if c.ebgp() => Outcome::Skip,
                [] => Outcome::Skip,
                list if list.contains(&own) => Outcome::Refuse(format!("CLUSTER_LIST holds {own}, our own cluster")),
                _ => Outcome::Pass,
            }
        },
    },
    Rule {
        id: "next-hop-address",
        clause: "RFC 4271 §6.3",
        sentence: "the next hop is a host address and not one of ours",
        check: next_hop_address,
    },
    Rule {
        id: "first-as",
        clause: "RFC 4271 §6.3",
        sentence: "the leftmost AS is the neighbour's",
        check: |c| {
            if !c.ebgp() || !c.neighbor.enforce_first_as || c.neighbor.relation == Relation::RouteServer {
                return Outcome::Skip;
            }
            match c.attributes.as_path.neighbor_as() {
                Some(a) if a == c.session.remote_as => Outcome::Pass,
                Some(a) => Outcome::Refuse(format!("leftmost AS is {a}, the neighbour's is {}", c.session.remote_as)),
                None => Outcome::Refuse(format!("AS_PATH {:?} names no neighbour", c.attributes.as_path.to_string())),
            }
        },
    },
    Rule {
        id: "otc-leak",
        clause: "RFC 9234 §5",
        sentence: "OTC does not prove a route leak",
        check: |c| match (c.role(), c.attributes.otc) {
            _ if !c.ebgp() => Outcome::Skip,
            (None, _) | (_, None) => Outcome::Skip,
            // From a customer or a route server's client: whatever the value.
            (Some(Role::Provider | Role::RouteServer), Some(otc)) => {
                Outcome::Refuse(format!("OTC {otc} on a route from a {}: a leak", c.neighbor.relation))
            }
            (Some(Role::Peer), Some(otc)) if otc != c.session.remote_as => {
                Outcome::Refuse(format!("OTC {otc} from peer AS {}: a leak", c.session.remote_as))
            }
            _ => Outcome::Pass,
        },
    },
    Rule {
        id: "default-route",
        clause: "RFC 7454 §6.1.6",
        sentence: "no default route from outside",
        check: |c| match c.prefix.is_default() {
            _ if !c.filtered() => Outcome::Skip,
            true => Outcome::Refuse(format!("{} is the default route", c.prefix)),
            false => Outcome::Pass,
        },
    },
    Rule {
        id: "bogon-prefix",
        clause: "RFC 7454 §6.1.1",
        sentence: "the prefix is not special-purpose space",
        check: |c| {
            if !c.filtered() {
                return Outcome::Skip;
            }
            match bogon_prefix(c.prefix, c.speaker.lab) {
                Some(b) => Outcome::Refuse(format!("{} overlaps {} space ({})", c.prefix, b.what, b.source)),
                None => Outcome::Pass,
            }
        },
    },
    Rule {
        id: "own-prefix",
        clause: "RFC 7454 §6.1.4",
        sentence: "own space does not come from outside",
        check: |c| {
            if !c.filtered() {
                return Outcome::Skip;
            }
            let space = c.speaker.own_prefixes.iter().chain(&c.speaker.internal_prefixes);
            match space.into_iter().find(|own| own.covers(c.prefix)) {
                Some(own) => Outcome::Refuse(format!("{} lies in {own}, our own space", c.prefix)),
                None => Outcome::Pass,
            }
        },
    },
    Rule {
        id: "prefix-length",
        clause: "RFC 7454 §6.1.3",
        sentence: "the prefix is not too long, nor (customers aside) too short",
        check: |c| {
            if !c.filtered() || c.prefix.is_default() {
                return Outcome::Skip;
            }
            let (low, high) = (shortest(c.prefix), longest(c.prefix));
            if c.prefix.len() > high {
                return Outcome::Refuse(format!("{} is longer than /{high}", c.prefix));
            }
            if c.prefix.len() < low && !c.customer() {
                return Outcome::Refuse(format!("{} is shorter than /{low}", c.prefix));
            }
            Outcome::Pass
        },
    },
    Rule {
        id: "as-set",
        clause: "RFC 9774 §3",
        sentence: "AS_PATH holds no AS_SET",
        check: |c| {
            if !c.filtered() {
                return Outcome::Skip;
            }
            let set = |k| matches!(k, AsPathSegmentType::Set | AsPathSegmentType::ConfedSet);
            if c.attributes.as_path.segments.iter().any(|s| set(s.kind)) {
                return Outcome::Refuse(format!("AS_SET in {}", c.attributes.as_path));
            }
            Outcome::Pass
        },
    },
    Rule {
        id: "as-path-length",
        clause: "local (RFC 7454 §9)",
        sentence: "AS_PATH is not longer than the limit",
        check: |c| {
            if !c.filtered() {
                return Outcome::Skip;
            }
            let (n, limit) = (c.attributes.as_path.asns().count(), c.neighbor.max_as_path);
            if n > limit {
                return Outcome::Refuse(format!("AS_PATH of {n} AS numbers, limit {limit}"));
            }
            Outcome::Pass
        },
    },
    Rule {
        id: "bogon-asn",
        clause: "RFC 7454 §9",
        sentence: "AS_PATH holds no private, reserved or documentation AS number",
        check: |c| {
            if !c.filtered() {
                return Outcome::Skip;
            }
            for asn in c.attributes.as_path.asns() {
                // A customer's private number is let in where the configuration names it, and stripped on the way out.
                if asn.is_private() && c.named_for_customer(asn) {
                    continue;
                }
                if let Some(b) = bogon_asn(asn, c.speaker.lab) {
                    return Outcome::Refuse(format!("AS {asn} in AS_PATH is {} ({})", b.what, b.source));
                }
            }
            Outcome::Pass
        },
    },
    Rule {
        id: "next-hop-third-party",
        clause: "RFC 4271 §6.3",
        sentence: "the next hop is the neighbour or on the shared subnet",
        check: third_party_next_hop,
    },
    Rule {
        id: "customer-prefix",
        clause: "RFC 7454 §6.3",
        sentence: "a customer announces only what is declared for it",
        check: |c| {
            if !c.filtered() || !c.customer() {
                return Outcome::Skip;
            }
            match c.neighbor.allowed_prefixes.iter().find(|p| p.covers(c.prefix)) {
                Some(_) => Outcome::Pass,
                None => {
                    Outcome::Refuse(format!("{} is not among the allowed prefixes of {}", c.prefix, c.neighbor.name))
                }
            }
        },
    },
    Rule {
        id: "customer-origin",
        clause: "RFC 7454 §9",
        sentence: "a customer's routes begin at its own or a declared AS",
        check: |c| {
            if !c.filtered() || !c.customer() {
                return Outcome::Skip;
            }
            match c.attributes.as_path.origin_as() {
                Some(a) if c.named_for_customer(a) => Outcome::Pass,
                Some(a) => Outcome::Refuse(format!("origin AS {a} is not declared for {}", c.neighbor.name)),
                None => Outcome::Refuse("AS_PATH names no origin".to_owned()),
            }
        },
    },
];

fn next_hop_address(c: &ImportContext<'_>) -> Outcome {
    let address = address_of(c.next_hop);
    let ours = |a: IpAddr| {
        a == c.session.local_address
            || c.session.local_ipv4.is_some_and(|o| a == IpAddr::V4(o))
            || c.session.local_ipv6.is_some_and(|o| a == IpAddr::V6(o))
            || c.session.link_local.is_some_and(|o| a == IpAddr::V6(o))
    };
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
        return Outcome::Refuse(format!("next hop {address} is no host address"));
    }
    if matches!(address, IpAddr::V4(a) if a.octets()[0] == 0 || a.octets()[0] >= 240) {
        return Outcome::Refuse(format!("next hop {address} is no host address"));
    }
    if ours(address) {
        return Outcome::Refuse(format!("next hop {address} is our own address"));
    }
    if let NextHop::V6 { link_local: Some(l), .. } = *c.next_hop
        && ours(IpAddr::V6(l))
    {
        return Outcome::Refuse(format!("next hop {l} is our own address"));
    }
    Outcome::Pass
}

/// RFC 4271 §6.3 for a neighbour one hop away; a multihop session shares no subnet with us and is not asked.
fn third_party_next_hop(c: &ImportContext<'_>) -> Outcome {
    if !c.filtered() || c.neighbor.multihop.is_some() {
        return Outcome::Skip;
    }
    let address = address_of(c.next_hop);
    let link_local = |a: IpAddr| matches!(a, IpAddr::V6(a) if a.is_unicast_link_local());
    if address == c.session.address || link_local(address) || c.session.connected.iter().any(|p| p.contains(address)) {
        return Outcome::Pass;
    }
    let subnet_known = c.session.connected.iter().any(|p| p.is_v4() == address.is_ipv4() && !link_local(p.addr()));
    let comparable = address.is_ipv4() == c.session.address.is_ipv4() && !link_local(c.session.address);
    // Without the subnet, the neighbour's own address says enough, except at a route server, whose next hops are always
    // others', and where the session runs over another family.
    if subnet_known || (comparable && c.neighbor.relation != Relation::RouteServer) {
        return Outcome::Refuse(format!("next hop {address} is neither {} nor on its subnet", c.session.address));
    }
    Outcome::Pass
}

fn address_of(next_hop: &NextHop) -> IpAddr {
    match *next_hop {
        NextHop::V4(a) => IpAddr::V4(a),
        NextHop::V6 { global, .. } => IpAddr::V6(global),
    }
}

/// Every change to an accepted route, in order; iBGP routes are not changed.
pub const CHANGES: &[Change<ImportChange>] = &[
    Change {
        id: "otc-add",
        clause: "RFC 9234 §5",
        sentence: "OTC with the neighbour's AS added: from here it goes only to customers",
        apply: |c, a| {
            let from_above = matches!(c.role(), Some(Role::Customer | Role::Peer | Role::RouteServerClient));
            let add = from_above && a.otc.is_none();
            if add {
                a.otc = Some(c.session.remote_as);
            }
            add
        },
    },
    Change {
        id: "scrub",
        clause: "RFC 7454 §11",
        sentence: "communities in our own number space removed: only we set them",
        apply: |c, a| {
            let own = c.speaker.local_as;
            let all = c.filtered();
            let before = a.large_communities.len() + a.communities.len();
            a.large_communities.retain(|l| !(tag::is_tag(own, l) || all && l.global == own.0));
            a.communities.retain(|s| !(all && own.0 <= 0xffff && s.0 >> 16 == own.0));
            before != a.large_communities.len() + a.communities.len()
        },
    },
    Change {
        id: "tag",
        clause: "RFC 8195 §3",
        sentence: "tagged with the relationship it came over, for our other borders",
        apply: |c, a| {
            let Some(tag) = tag::of(c.speaker.local_as, c.neighbor.relation).filter(|_| c.filtered()) else {
                return false;
            };
            let at = a.large_communities.partition_point(|l| *l < tag);
            a.large_communities.insert(at, tag);
            true
        },
    },
    Change {
        id: "local-pref",
        clause: "RFC 4271 §5.1.5",
        sentence: "LOCAL_PREF of the relationship set",
        apply: |c, a| {
            let default = default_local_pref(c.neighbor.relation).filter(|_| c.filtered());
            let value = c.neighbor.local_pref.or(default);
            let set = value.is_some() && a.local_pref != value;
            if set {
                a.local_pref = value;
            }
            set
        },
    },
    Change {
        id: "graceful-shutdown",
        clause: "RFC 8326 §4.2",
        sentence: "LOCAL_PREF 0: the neighbour is about to go down",
        apply: |c, a| {
            let lower = c.neighbor.graceful_shutdown && a.communities.contains(&Community::GRACEFUL_SHUTDOWN);
            if lower {
                a.local_pref = Some(0);
            }
            lower
        },
    },
];

/// Judges a received route. On success: the attributes for the decision process, the same `Arc` when nothing changed.
/// iBGP routes are judged by the protocol's own rules only (AS loop, RFC 4456 §8, next hop); `accept-all` likewise.
pub fn import(
    speaker: &SpeakerConfig,
    neighbor: &NeighborConfig,
    session: &SessionFacts,
    prefix: &Prefix,
    next_hop: &NextHop,
    attributes: &Arc<PathAttributes>,
) -> Result<Arc<PathAttributes>, Refusal> {
    let context = ImportContext { speaker, neighbor, session, prefix, next_hop, attributes };
    judge(RULES, |check| check(&context))?;
    Ok(change(&context, |_, _| {}).map_or_else(|| Arc::clone(attributes), Arc::new))
}

/// Every rule and change that concerns the route, walked to the end: the reasons behind [`import`]'s verdict.
pub fn explain_import(
    speaker: &SpeakerConfig,
    neighbor: &NeighborConfig,
    session: &SessionFacts,
    prefix: &Prefix,
    next_hop: &NextHop,
    attributes: &Arc<PathAttributes>,
) -> Vec<ExplainStep> {
    let context = ImportContext { speaker, neighbor, session, prefix, next_hop, attributes };
    let mut steps = Vec::new();
    explain(RULES, |check| check(&context), &mut steps);
    if steps.iter().all(|s| s.pass) {
        change(&context, |row, after| {
            let detail = match (row.id, after.local_pref) {
                ("local-pref", Some(value)) => format!("{}: {value}", row.sentence),
                _ => row.sentence.to_owned(),
            };
            steps.push(ExplainStep { rule: row.id, clause: row.clause, pass: true, detail });
        });
    }
    steps
}

fn change(
    context: &ImportContext<'_>,
    mut seen: impl FnMut(&Change<ImportChange>, &PathAttributes),
) -> Option<PathAttributes> {
    if !context.ebgp() {
        return None;
    }
    let mut attributes = context.attributes.clone();
    let mut changed = false;
    for row in CHANGES {
        if (row.apply)(context, &mut attributes) {
            changed = true;
            seen(row, &attributes);
        }
    }
    changed.then_some(attributes)
}
