//! Export: from the best path to what a neighbour is told.
//!
//! [`ExportProfile`] holds all that the answer depends on besides the route and the speaker's configuration, so
//! neighbours with equal profiles share one answer (an update group). Four checks are about one neighbour alone and
//! stay out of the profile: those of [`super::ExportTarget`].
//!
//! Most checks do not look at the prefix: [`ExportProfile::judge`] is asked once for all routes that share their
//! attributes, [`ExportProfile::judge_prefix`] for each.

use bgp_wire::{Community, NextHop, PathAttributes, Role};
use net_types::{Asn, Family, Prefix};

use super::import::longest;
use super::path::without_private;
use super::profile::{ExportNextHop, ExportProfile};
use super::tag;
use super::types::{Change, Finding, RouteSource, Rule, SourceKind};
use crate::config::{PolicyMode, Relation, SpeakerConfig};
use ExportCheck::{Prefix as OfPrefix, Set as OfSet};

impl ExportProfile {
    /// The verdict of the checks that do not look at the prefix: it holds for every route of `family` that shares source,
    /// next hop and attributes, towards every neighbour of the profile. Gives the next hop to send, or the rule that keeps
    /// these routes in.
    pub fn judge(
        &self,
        speaker: &SpeakerConfig,
        source: &RouteSource<'_>,
        family: Family,
        next_hop: &NextHop,
        attributes: &PathAttributes,
    ) -> Result<ExportNextHop, &'static str> {
        let context = ExportContext { speaker, profile: self, source, family, next_hop, attributes };
        for rule in RULES {
            if let ExportCheck::Set(check, _) = rule.check
                && check(&context) == Finding::Refuse
            {
                return Err(rule.id);
            }
        }
        context.exported_next_hop().ok_or("next-hop")
    }

    /// The verdict of the checks that look at the prefix and nothing else of the route but the kind of its source.
    pub fn judge_prefix(
        &self,
        speaker: &SpeakerConfig,
        kind: SourceKind,
        prefix: impl FnOnce() -> Prefix,
    ) -> Result<(), &'static str> {
        if !self.filtered() {
            // Every one of them is a filter of the relationship.
            return Ok(());
        }
        let prefix = &prefix();
        let context = PrefixContext { speaker, kind, prefix };
        for rule in RULES {
            if let ExportCheck::Prefix(check, _) = rule.check
                && check(&context) == Finding::Refuse
            {
                return Err(rule.id);
            }
        }
        Ok(())
    }

    /// Makes of them the attributes to send with a route that [`ExportProfile::judge`] let through. They depend on source and
    /// attributes, not on the prefix, so routes that share these share the answer.
    pub fn attributes(&self, speaker: &SpeakerConfig, source: &RouteSource<'_>, attributes: &mut PathAttributes) {
        change(&ChangeContext { speaker, profile: self, source }, attributes, |_| {});
    }
}

/// What a change may look at, besides the attributes.
pub struct ChangeContext<'a> {
    pub(super) speaker: &'a SpeakerConfig,
    pub(super) profile: &'a ExportProfile,
    pub(super) source: &'a RouteSource<'a>,
}

/// What a check of the attributes may look at.
pub struct ExportContext<'a> {
    pub(super) speaker: &'a SpeakerConfig,
    pub(super) profile: &'a ExportProfile,
    pub(super) source: &'a RouteSource<'a>,
    pub(super) family: Family,
    pub(super) next_hop: &'a NextHop,
    pub(super) attributes: &'a PathAttributes,
}

/// What a check of the prefix may look at.
pub struct PrefixContext<'a> {
    pub(super) speaker: &'a SpeakerConfig,
    pub(super) kind: SourceKind,
    pub(super) prefix: &'a Prefix,
}

/// What a route is to the outside world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Worth {
    /// Ours, announced here.
    Own,
    /// Ours, announced at another border.
    OwnElsewhere,
    /// A customer's.
    Customer,
    /// Anybody else's, or nobody knows whose.
    Other,
}

impl ExportContext<'_> {
    fn worth(&self) -> Worth {
        let relation = match self.source.kind {
            SourceKind::Local | SourceKind::LocalInternal => return Worth::Own,
            SourceKind::External => self.source.neighbor.map(|n| n.relation),
            SourceKind::Internal | SourceKind::InternalClient => {
                let tag = tag::read(self.speaker.local_as, self.attributes);
                if tag.is_none() && self.attributes.as_path.segments.is_empty() {
                    return Worth::OwnElsewhere;
                }
                tag
            }
        };
        if relation == Some(Relation::Customer) { Worth::Customer } else { Worth::Other }
    }

    fn has(&self, community: Community) -> Finding {
        Finding::refuse_if(self.attributes.communities.contains(&community))
    }

    fn private_asn(&self) -> Option<Asn> {
        self.attributes.as_path.asns().find(|a| a.is_private())
    }

    fn brokered(&self) -> bool {
        self.profile.brokers(self.source)
    }

    pub(super) fn exported_next_hop(&self) -> Option<ExportNextHop> {
        if self.brokered() {
            // RFC 7947 §2.2.1: passed unmodified, so to nobody who could not take it as it is (RFC 8950 §4).
            let as_it_is = self.next_hop.address().is_ipv4() == (self.family == Family::IPV4_UNICAST)
                || self.profile.context.extended_next_hop.contains(&self.family);
            return as_it_is.then_some(ExportNextHop::Keep(*self.next_hop));
        }
        let own = || self.profile.own_next_hop(self.family).map(|_| ExportNextHop::Own);
        let keep = match (self.profile.ebgp(), self.source.kind) {
            // RFC 4271 §5.1.3 allows a third party's on the shared subnet; ours is always right, so always ours.
            (true, _) => false,
            (false, SourceKind::Local | SourceKind::LocalInternal) => false,
            (false, SourceKind::External) => !self.profile.next_hop_self,
            // RFC 4456 §10: reflection keeps it.
            (false, SourceKind::Internal | SourceKind::InternalClient) => true,
        };
        if !keep {
            return own();
        }
        match *self.next_hop {
            // A link-local address means nothing beyond its link (RFC 2545 §3).
            NextHop::V6 { global, .. } if global.is_unicast_link_local() => own(),
            // The neighbour cannot take an IPv4 route with an IPv6 next hop (RFC 8950 §4).
            NextHop::V6 { .. }
                if self.family == Family::IPV4_UNICAST
                    && !self.profile.context.extended_next_hop.contains(&self.family) =>
            {
                own()
            }
            NextHop::V6 { global, .. } => Some(ExportNextHop::Keep(NextHop::V6 { global, link_local: None })),
            v4 => Some(ExportNextHop::Keep(v4)),
        }
    }
}

/// A check on a route to be sent: what it looks at, its verdict, and the offending value for a person.
#[derive(Clone, Copy)]
pub enum ExportCheck {
    /// Source, family, next hop and attributes.
    Set(fn(&ExportContext<'_>) -> Finding, fn(&ExportContext<'_>) -> String),
    /// The prefix and the kind of the source.
    Prefix(fn(&PrefixContext<'_>) -> Finding, fn(&PrefixContext<'_>) -> String),
}

/// A change to a route to be sent; true if it changed something.
pub type ExportChange = fn(&ChangeContext<'_>, &mut PathAttributes) -> bool;

/// Every check on a route to be sent, in order.
pub const RULES: &[Rule<ExportCheck>] = &[
    Rule {
        id: "policy-deny",
        clause: "RFC 8212 §2.2",
        sentence: "the neighbour has an export policy",
        check: OfSet(
            |c| Finding::refuse_if(c.profile.policy == PolicyMode::Deny),
            |_| "the neighbour's policy is deny, or it has export = false".to_owned(),
        ),
    },
    Rule {
        id: "family",
        clause: "RFC 4760 §8",
        sentence: "the family was negotiated",
        check: OfSet(
            |c| Finding::refuse_if(!c.profile.context.families.contains(&c.family)),
            |c| format!("{} is not in force on the session", c.family),
        ),
    },
    Rule {
        id: "reflection",
        clause: "RFC 4456 §6",
        sentence: "iBGP routes go on over iBGP only from or to a client",
        check: OfSet(
            |c| match (c.profile.relation, c.source.kind) {
                (Relation::Internal, SourceKind::Internal) => Finding::Refuse,
                (Relation::Internal | Relation::RrClient, SourceKind::Internal | SourceKind::InternalClient) => {
                    Finding::Pass
                }
                _ => Finding::Skip,
            },
            |_| "learnt from a non-client, and the neighbour is a non-client".to_owned(),
        ),
    },
    Rule {
        id: "no-advertise",
        clause: "RFC 1997",
        sentence: "the route does not carry NO_ADVERTISE",
        check: OfSet(|c| c.has(Community::NO_ADVERTISE), |_| carries(Community::NO_ADVERTISE, "NO_ADVERTISE")),
    },
    Rule {
        id: "no-export",
        clause: "RFC 1997",
        sentence: "the route does not carry NO_EXPORT",
        check: OfSet(
            |c| if c.profile.ebgp() { c.has(Community::NO_EXPORT) } else { Finding::Skip },
            |_| carries(Community::NO_EXPORT, "NO_EXPORT"),
        ),
    },
    Rule {
        id: "no-export-subconfed",
        clause: "RFC 1997",
        sentence: "the route does not carry NO_EXPORT_SUBCONFED",
        check: OfSet(
            |c| if c.profile.ebgp() { c.has(Community::NO_EXPORT_SUBCONFED) } else { Finding::Skip },
            |_| carries(Community::NO_EXPORT_SUBCONFED, "NO_EXPORT_SUBCONFED"),
        ),
    },
    Rule {
        id: "internal-only",
        clause: "local",
        sentence: "routes originated for the inside stay inside",
        check: OfSet(
            |c| match (c.profile.ebgp(), c.source.kind) {
                (true, kind) => Finding::refuse_if(kind == SourceKind::LocalInternal),
                (false, _) => Finding::Skip,
            },
            |_| "the route is internal to the AS".to_owned(),
        ),
    },
    Rule {
        id: "otc",
        clause: "RFC 9234 §5",
        sentence: "a route with OTC goes to customers only",
        check: OfSet(
            |c| match (c.profile.role, c.attributes.otc) {
                _ if !c.profile.ebgp() => Finding::Skip,
                (Some(Role::Customer | Role::Peer | Role::RouteServerClient), Some(_)) => Finding::Refuse,
                (Some(_), _) => Finding::Pass,
                (None, _) => Finding::Skip,
            },
            |c| {
                let otc = c.attributes.otc.unwrap_or_default();
                format!("OTC {otc} is set and the neighbour is a {}", c.profile.relation)
            },
        ),
    },
    Rule {
        id: "relationship",
        clause: "RFC 7908 §3",
        sentence: "transit, peers and route servers get own and customers' routes only; route-server clients each other's",
        check: OfSet(
            |c| match c.profile.filtered() && c.profile.upstream() && !c.brokered() {
                true => Finding::refuse_if(matches!(c.worth(), Worth::OwnElsewhere | Worth::Other)),
                false => Finding::Skip,
            },
            |c| match c.worth() {
                Worth::OwnElsewhere => "an own prefix leaves only where it is announced".to_owned(),
                _ => format!("neither own nor a customer's: not for a {}", c.profile.relation),
            },
        ),
    },
    Rule {
        id: "own-space",
        clause: "RFC 7454 §6.1.4",
        sentence: "what is announced as our own is space we hold",
        check: OfPrefix(
            |c| match c.kind == SourceKind::Local {
                true => Finding::refuse_if(!c.speaker.own_prefixes.iter().any(|p| p.covers(c.prefix))),
                false => Finding::Skip,
            },
            |c| format!("{} is not inside any own prefix", c.prefix),
        ),
    },
    Rule {
        id: "nopeer",
        clause: "RFC 3765 §2",
        sentence: "a route with NOPEER does not go to peers",
        check: OfSet(
            |c| match c.profile.relation {
                Relation::Peer | Relation::RouteServer if c.profile.filtered() => c.has(Community::NOPEER),
                _ => Finding::Skip,
            },
            |_| carries(Community::NOPEER, "NOPEER"),
        ),
    },
    Rule {
        id: "blackhole",
        clause: "RFC 7999 §3.2",
        sentence: "a BLACKHOLE route stays where it is",
        // The RFC has it kept inside the AS whatever the policy, as NO_EXPORT is.
        check: OfSet(
            |c| if c.profile.ebgp() { c.has(Community::BLACKHOLE) } else { Finding::Skip },
            |_| carries(Community::BLACKHOLE, "BLACKHOLE"),
        ),
    },
    Rule {
        id: "default-route",
        clause: "RFC 7454 §6.1.6",
        sentence: "no default route is sent",
        check: OfPrefix(
            |c| Finding::refuse_if(c.prefix.is_default()),
            |c| format!("{} is the default route", c.prefix),
        ),
    },
    Rule {
        id: "prefix-length",
        clause: "RFC 7454 §6.1.3",
        sentence: "the prefix is not too long for the Internet",
        check: OfPrefix(
            |c| Finding::refuse_if(c.prefix.len() > longest(c.prefix)),
            |c| format!("{} is longer than /{}", c.prefix, longest(c.prefix)),
        ),
    },
    Rule {
        id: "private-asn",
        clause: "RFC 6996 §4",
        sentence: "no private AS number leaves, a customer's aside, which is stripped",
        check: OfSet(
            |c| match c.profile.filtered() {
                true => Finding::refuse_if(c.private_asn().is_some() && c.worth() != Worth::Customer),
                false => Finding::Skip,
            },
            |c| format!("AS {} in AS_PATH is private", c.private_asn().unwrap_or_default()),
        ),
    },
    Rule {
        id: "next-hop",
        clause: "RFC 4271 §5.1.3",
        sentence: "there is a next hop of the family to give",
        check: OfSet(
            |c| Finding::refuse_if(c.exported_next_hop().is_none()),
            |c| format!("no own address of {} on the session", c.family),
        ),
    },
];

fn carries(community: Community, name: &str) -> String {
    format!("the route carries {name} ({community})")
}

/// MED of a route that is the last resort ([`RouteSource::last_resort`]): the highest but one, as some take the highest for
/// "unreachable".
pub const MAX_MED: u32 = u32::MAX - 1;

/// Every change to a route to be sent, in order.
pub const CHANGES: &[Change<ExportChange>] = &[
    Change {
        id: "private-strip",
        clause: "RFC 6996 §4",
        sentence: "a customer's private AS numbers stripped",
        apply: |c, a| match without_private(&a.as_path) {
            Some(path) if c.profile.filtered() => {
                a.as_path = path;
                true
            }
            _ => false,
        },
    },
    Change {
        id: "prepend",
        clause: "RFC 4271 §5.1.2",
        sentence: "our AS prepended",
        apply: |c, a| {
            // RFC 7947 §2.2.2: a route server does not.
            let prepend = c.profile.ebgp() && !c.profile.brokers(c.source);
            if prepend {
                a.as_path.put_in_front(c.speaker.local_as, 1 + usize::from(c.profile.prepend));
            }
            prepend
        },
    },
    Change {
        id: "local-pref",
        clause: "RFC 4271 §5.1.5",
        sentence: "LOCAL_PREF present inside the AS, absent outside",
        apply: |c, a| {
            let before = a.local_pref;
            a.local_pref = if c.profile.ebgp() { None } else { Some(before.unwrap_or(100)) };
            before != a.local_pref
        },
    },
    Change {
        id: "med",
        clause: "RFC 4271 §5.1.4",
        sentence: "a neighbour's MED does not go on to another AS",
        apply: |c, a| {
            // RFC 7947 §2.2.3: between a route server's clients it does.
            let other_as = c.profile.ebgp() && !c.source.kind.is_local() && !c.profile.brokers(c.source);
            let remove = other_as && a.med.is_some();
            if remove {
                a.med = None;
            }
            remove
        },
    },
    Change {
        id: "max-med",
        clause: "RFC 4271 §5.1.4",
        sentence: "highest MED but one: our table is not in yet, another way in is to be preferred",
        apply: |c, a| {
            let set = c.source.last_resort;
            if set {
                a.med = Some(MAX_MED);
            }
            set
        },
    },
    Change {
        id: "originator-id",
        clause: "RFC 4456 §8",
        sentence: "a reflected route names its originator",
        apply: |c, a| {
            let before = a.originator_id;
            a.originator_id = match (c.profile.ebgp(), c.source.kind) {
                (false, SourceKind::Internal | SourceKind::InternalClient) => before.or(Some(c.source.bgp_identifier)),
                _ => None,
            };
            before != a.originator_id
        },
    },
    Change {
        id: "cluster-list",
        clause: "RFC 4456 §8",
        sentence: "a reflected route carries the clusters it passed",
        apply: |c, a| match (c.profile.ebgp(), c.source.kind) {
            (false, SourceKind::Internal | SourceKind::InternalClient) => {
                a.cluster_list.insert(0, c.speaker.cluster_id.unwrap_or(c.speaker.router_id));
                true
            }
            _ => !std::mem::take(&mut a.cluster_list).is_empty(),
        },
    },
    Change {
        id: "no-export",
        clause: "RFC 1997",
        sentence: "NO_EXPORT set: internal to the AS",
        apply: |c, a| {
            if c.source.kind != SourceKind::LocalInternal || a.communities.contains(&Community::NO_EXPORT) {
                return false;
            }
            let at = a.communities.partition_point(|x| *x < Community::NO_EXPORT);
            a.communities.insert(at, Community::NO_EXPORT);
            true
        },
    },
    Change {
        id: "drain",
        clause: "RFC 8326 §4.1",
        sentence: "GRACEFUL_SHUTDOWN set: the session is about to end, others are to be preferred",
        apply: |c, a| {
            let set = c.profile.drain && c.profile.ebgp() && !a.communities.contains(&Community::GRACEFUL_SHUTDOWN);
            if set {
                let at = a.communities.partition_point(|x| *x < Community::GRACEFUL_SHUTDOWN);
                a.communities.insert(at, Community::GRACEFUL_SHUTDOWN);
            }
            set
        },
    },
    Change {
        id: "extended-communities",
        clause: "RFC 4360 §6",
        sentence: "non-transitive extended communities stay inside the AS",
        apply: |c, a| {
            let before = a.extended_communities.len();
            // RFC 7947 §2.2.4: a route server passes on those too.
            let keep = !c.profile.ebgp() || c.profile.brokers(c.source);
            a.extended_communities.retain(|e| keep || e.is_transitive());
            before != a.extended_communities.len()
        },
    },
    Change {
        id: "tag",
        clause: "RFC 8195 §3",
        sentence: "our own tag removed",
        apply: |c, a| {
            let before = a.large_communities.len();
            a.large_communities.retain(|l| !(c.profile.ebgp() && tag::is_tag(c.speaker.local_as, l)));
            before != a.large_communities.len()
        },
    },
    Change {
        id: "otc-add",
        clause: "RFC 9234 §5",
        sentence: "OTC with our AS added: from there it goes only to customers",
        apply: |c, a| {
            // To a customer, a peer, or (as a route server) a client.
            let down = matches!(c.profile.role, Some(Role::Provider | Role::Peer | Role::RouteServer));
            let add = c.profile.ebgp() && down && a.otc.is_none();
            if add {
                a.otc = Some(c.speaker.local_as);
            }
            add
        },
    },
];

pub(super) fn change(
    context: &ChangeContext<'_>,
    attributes: &mut PathAttributes,
    mut seen: impl FnMut(&Change<ExportChange>),
) {
    for row in CHANGES {
        if (row.apply)(context, attributes) {
            seen(row);
        }
    }
}
