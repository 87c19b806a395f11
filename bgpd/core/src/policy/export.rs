//! Export: from the best path to what a neighbour is told.
//!
//! [`ExportProfile`] holds all that the answer depends on besides the route and the speaker's configuration, so
//! neighbours with equal profiles share one answer (an update group). Three checks are about one neighbour alone and
//! stay out of the profile: [`ExportTarget::withholds`].

use std::sync::Arc;

use bgp_wire::{Community, NextHop, PathAttributes, Role};
use net_types::Prefix;

use super::import::longest;
use super::path::without_private;
use super::profile::{ExportProfile, ExportTarget};
use super::tag;
use super::types::{
    Change, ExplainStep, Outcome, Refusal, RouteSource, Rule, SessionFacts, SourceKind, explain, judge,
};
use crate::config::{NeighborConfig, PolicyMode, Relation, SpeakerConfig};

impl ExportProfile {
    /// The verdict for every neighbour of this profile that [`ExportTarget::withholds`] does not name: the next hop to send.
    pub fn verdict(
        &self,
        speaker: &SpeakerConfig,
        source: &RouteSource<'_>,
        prefix: &Prefix,
        next_hop: &NextHop,
        attributes: &PathAttributes,
    ) -> Result<NextHop, Refusal> {
        let context = ExportContext { speaker, profile: self, source, prefix, next_hop, attributes };
        judge(RULES, |check| check(&context))?;
        Ok(context.exported_next_hop().unwrap_or(*next_hop))
    }

    /// The attributes to send with a route that [`ExportProfile::verdict`] let through. They depend on source and
    /// attributes, not on the prefix, so routes that share these share the answer.
    pub fn attributes(
        &self,
        speaker: &SpeakerConfig,
        source: &RouteSource<'_>,
        attributes: &PathAttributes,
    ) -> PathAttributes {
        change(&ChangeContext { speaker, profile: self, source }, attributes, |_| {})
    }
}

/// What a change may look at, besides the attributes.
pub struct ChangeContext<'a> {
    speaker: &'a SpeakerConfig,
    profile: &'a ExportProfile,
    source: &'a RouteSource<'a>,
}

impl ChangeContext<'_> {
    /// eBGP under the relationship's own filters (not `accept-all`).
    fn filtered(&self) -> bool {
        self.profile.ebgp() && self.profile.policy == PolicyMode::Relationship
    }
}

/// What a rule may look at.
pub struct ExportContext<'a> {
    speaker: &'a SpeakerConfig,
    profile: &'a ExportProfile,
    source: &'a RouteSource<'a>,
    prefix: &'a Prefix,
    next_hop: &'a NextHop,
    attributes: &'a PathAttributes,
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
    /// eBGP under the relationship's own filters (not `accept-all`).
    fn filtered(&self) -> bool {
        self.profile.ebgp() && self.profile.policy == PolicyMode::Relationship
    }

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

    fn exported_next_hop(&self) -> Option<NextHop> {
        let keep = match (self.profile.ebgp(), self.source.kind) {
            // RFC 4271 §5.1.3 allows a third party's on the shared subnet; ours is always right, so always ours.
            (true, _) => false,
            (false, SourceKind::Local | SourceKind::LocalInternal) => false,
            (false, SourceKind::External) => !self.profile.next_hop_self,
            // RFC 4456 §10: reflection keeps it.
            (false, SourceKind::Internal | SourceKind::InternalClient) => true,
        };
        if !keep {
            return self.profile.self_next_hop(self.prefix.family());
        }
        match *self.next_hop {
            // A link-local address means nothing beyond its link (RFC 2545 §3).
            NextHop::V6 { global, .. } if global.is_unicast_link_local() => {
                self.profile.self_next_hop(self.prefix.family())
            }
            // The neighbour cannot take an IPv4 route with an IPv6 next hop (RFC 8950 §4).
            NextHop::V6 { .. }
                if self.prefix.is_v4() && !self.profile.context.extended_next_hop.contains(&self.prefix.family()) =>
            {
                self.profile.self_next_hop(self.prefix.family())
            }
            NextHop::V6 { global, .. } => Some(NextHop::V6 { global, link_local: None }),
            v4 => Some(v4),
        }
    }
}

/// A check on a route to be sent.
pub type ExportCheck = fn(&ExportContext<'_>) -> Outcome;
/// A change to a route to be sent; true if it changed something.
pub type ExportChange = fn(&ChangeContext<'_>, &mut PathAttributes) -> bool;

fn refuse_community(c: &ExportContext<'_>, community: Community, name: &str) -> Outcome {
    if c.attributes.communities.binary_search(&community).is_ok() || c.attributes.communities.contains(&community) {
        return Outcome::Refuse(format!("the route carries {name} ({community})"));
    }
    Outcome::Pass
}

/// Every check on a route to be sent, in order.
pub const RULES: &[Rule<ExportCheck>] = &[
    Rule {
        id: "policy-deny",
        clause: "RFC 8212 §2.2",
        sentence: "the neighbour has an export policy",
        check: |c| match c.profile.policy {
            PolicyMode::Deny => Outcome::Refuse("the neighbour's policy is deny, or it has export = false".to_owned()),
            PolicyMode::Relationship | PolicyMode::AcceptAll => Outcome::Pass,
        },
    },
    Rule {
        id: "family",
        clause: "RFC 4760 §8",
        sentence: "the family was negotiated",
        check: |c| {
            let family = c.prefix.family();
            match c.profile.context.families.contains(&family) {
                true => Outcome::Pass,
                false => Outcome::Refuse(format!("{family} is not in force on the session")),
            }
        },
    },
    Rule {
        id: "reflection",
        clause: "RFC 4456 §6",
        sentence: "iBGP routes go on over iBGP only from or to a client",
        check: |c| match (c.profile.relation, c.source.kind) {
            (Relation::Internal, SourceKind::Internal) => {
                Outcome::Refuse("learnt from a non-client, and the neighbour is a non-client".to_owned())
            }
            (Relation::Internal | Relation::RrClient, SourceKind::Internal | SourceKind::InternalClient) => {
                Outcome::Pass
            }
            _ => Outcome::Skip,
        },
    },
    Rule {
        id: "no-advertise",
        clause: "RFC 1997",
        sentence: "the route does not carry NO_ADVERTISE",
        check: |c| refuse_community(c, Community::NO_ADVERTISE, "NO_ADVERTISE"),
    },
    Rule {
        id: "no-export",
        clause: "RFC 1997",
        sentence: "the route does not carry NO_EXPORT",
        check: |c| match c.profile.ebgp() {
            true => refuse_community(c, Community::NO_EXPORT, "NO_EXPORT"),
            false => Outcome::Skip,
        },
    },
    Rule {
        id: "no-export-subconfed",
        clause: "RFC 1997",
        sentence: "the route does not carry NO_EXPORT_SUBCONFED",
        check: |c| match c.profile.ebgp() {
            true => refuse_community(c, Community::NO_EXPORT_SUBCONFED, "NO_EXPORT_SUBCONFED"),
            false => Outcome::Skip,
        },
    },
    Rule {
        id: "internal-only",
        clause: "local",
        sentence: "routes originated for the inside stay inside",
        check: |c| match (c.profile.ebgp(), c.source.kind) {
            (true, SourceKind::LocalInternal) => Outcome::Refuse(format!("{} is internal to the AS", c.prefix)),
            (true, _) => Outcome::Pass,
            (false, _) => Outcome::Skip,
        },
    },
    Rule {
        id: "otc",
        clause: "RFC 9234 §5",
        sentence: "a route with OTC goes to customers only",
        check: |c| match (c.profile.role, c.attributes.otc) {
            _ if !c.profile.ebgp() => Outcome::Skip,
            (Some(Role::Customer | Role::Peer | Role::RouteServerClient), Some(otc)) => {
                Outcome::Refuse(format!("OTC {otc} is set and the neighbour is a {}", c.profile.relation))
            }
            (Some(_), _) => Outcome::Pass,
            (None, _) => Outcome::Skip,
        },
    },
    Rule {
        id: "relationship",
        clause: "RFC 7908 §3",
        sentence: "transit, peers and route servers get own and customers' routes only",
        check: |c| {
            if !c.filtered() || !c.profile.upstream() {
                return Outcome::Skip;
            }
            match c.worth() {
                Worth::Own | Worth::Customer => Outcome::Pass,
                Worth::OwnElsewhere => Outcome::Refuse("an own prefix leaves only where it is announced".to_owned()),
                Worth::Other => {
                    Outcome::Refuse(format!("neither own nor a customer's: not for a {}", c.profile.relation))
                }
            }
        },
    },
    Rule {
        id: "own-space",
        clause: "RFC 7454 §6.1.4",
        sentence: "what is announced as our own is space we hold",
        check: |c| {
            if !c.filtered() || c.source.kind != SourceKind::Local {
                return Outcome::Skip;
            }
            match c.speaker.own_prefixes.iter().any(|p| p.covers(c.prefix)) {
                true => Outcome::Pass,
                false => Outcome::Refuse(format!("{} is not inside any own prefix", c.prefix)),
            }
        },
    },
    Rule {
        id: "nopeer",
        clause: "RFC 3765 §2",
        sentence: "a route with NOPEER does not go to peers",
        check: |c| match c.profile.relation {
            Relation::Peer | Relation::RouteServer if c.filtered() => refuse_community(c, Community::NOPEER, "NOPEER"),
            _ => Outcome::Skip,
        },
    },
    Rule {
        id: "blackhole",
        clause: "RFC 7999 §3.2",
        sentence: "a BLACKHOLE route stays where it is",
        // The RFC has it kept inside the AS whatever the policy, as NO_EXPORT is.
        check: |c| match c.profile.ebgp() {
            true => refuse_community(c, Community::BLACKHOLE, "BLACKHOLE"),
            false => Outcome::Skip,
        },
    },
    Rule {
        id: "default-route",
        clause: "RFC 7454 §6.1.6",
        sentence: "no default route is sent",
        check: |c| match c.prefix.is_default() {
            _ if !c.filtered() => Outcome::Skip,
            true => Outcome::Refuse(format!("{} is the default route", c.prefix)),
            false => Outcome::Pass,
        },
    },
    Rule {
        id: "prefix-length",
        clause: "RFC 7454 §6.1.3",
        sentence: "the prefix is not too long for the Internet",
        check: |c| {
            let limit = longest(c.prefix);
            match c.prefix.len() > limit {
                _ if !c.filtered() => Outcome::Skip,
                true => Outcome::Refuse(format!("{} is longer than /{limit}", c.prefix)),
                false => Outcome::Pass,
            }
        },
    },
    Rule {
        id: "private-asn",
        clause: "RFC 6996 §4",
        sentence: "no private AS number leaves, a customer's aside, which is stripped",
        check: |c| {
            if !c.filtered() {
                return Outcome::Skip;
            }
            match c.attributes.as_path.asns().find(|a| a.is_private()) {
                Some(a) if c.worth() != Worth::Customer => Outcome::Refuse(format!("AS {a} in AS_PATH is private")),
                _ => Outcome::Pass,
            }
        },
    },
    Rule {
        id: "target-as-loop",
        clause: "RFC 4271 §9.1.2",
        sentence: "the neighbour's AS is not in AS_PATH: it would refuse the route",
        check: |c| {
            if !c.filtered() {
                return Outcome::Skip;
            }
            match c.attributes.as_path.asns().any(|a| a == c.profile.remote_as) {
                true => Outcome::Refuse(format!("AS {} is in {}", c.profile.remote_as, c.attributes.as_path)),
                false => Outcome::Pass,
            }
        },
    },
    Rule {
        id: "next-hop",
        clause: "RFC 4271 §5.1.3",
        sentence: "there is a next hop of the family to give",
        check: |c| match c.exported_next_hop() {
            Some(_) => Outcome::Pass,
            None => Outcome::Refuse(format!("no own address of {} on the session", c.prefix.family())),
        },
    },
];

/// Every change to a route to be sent, in order.
pub const CHANGES: &[Change<ExportChange>] = &[
    Change {
        id: "private-strip",
        clause: "RFC 6996 §4",
        sentence: "a customer's private AS numbers stripped",
        apply: |c, a| match without_private(&a.as_path) {
            Some(path) if c.filtered() => {
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
            if c.profile.ebgp() {
                a.as_path = a.as_path.prepend(c.speaker.local_as, 1 + usize::from(c.profile.prepend));
            }
            c.profile.ebgp()
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
            let remove = c.profile.ebgp() && !c.source.kind.is_local() && a.med.is_some();
            if remove {
                a.med = None;
            }
            remove
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
        id: "extended-communities",
        clause: "RFC 4360 §6",
        sentence: "non-transitive extended communities stay inside the AS",
        apply: |c, a| {
            let before = a.extended_communities.len();
            a.extended_communities.retain(|e| !c.profile.ebgp() || e.is_transitive());
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

fn change(
    context: &ChangeContext<'_>,
    attributes: &PathAttributes,
    mut seen: impl FnMut(&Change<ExportChange>),
) -> PathAttributes {
    let mut attributes = attributes.clone();
    for row in CHANGES {
        if (row.apply)(context, &mut attributes) {
            seen(row);
        }
    }
    attributes
}

/// Judges the best path for one neighbour: attributes and next hop as they would stand on the wire.
pub fn export(
    speaker: &SpeakerConfig,
    neighbor: &NeighborConfig,
    session: &SessionFacts,
    source: &RouteSource<'_>,
    prefix: &Prefix,
    next_hop: &NextHop,
    attributes: &Arc<PathAttributes>,
) -> Result<(PathAttributes, NextHop), Refusal> {
    let target = ExportTarget::new(session);
    let profile = ExportProfile::new(neighbor, session);
    let next_hop = profile.verdict(speaker, source, prefix, next_hop, attributes)?;
    let attributes = profile.attributes(speaker, source, attributes);
    match target_steps(&target, source, &attributes, &next_hop).into_iter().find(|s| !s.pass) {
        Some(step) => Err(Refusal { rule: step.rule, detail: step.detail }),
        None => Ok((attributes, next_hop)),
    }
}

fn target_steps(
    target: &ExportTarget,
    source: &RouteSource<'_>,
    attributes: &PathAttributes,
    next_hop: &NextHop,
) -> Vec<ExplainStep> {
    let mut steps = Vec::new();
    let mut row = |rule, clause, bad: bool, good: &str, why: String| {
        steps.push(ExplainStep { rule, clause, pass: !bad, detail: if bad { why } else { good.to_owned() } });
    };
    if !source.kind.is_local() {
        row(
            "split-horizon",
            "RFC 4271 §9.2",
            target.split_horizon(source.peer),
            "the route did not come from this neighbour",
            "the best path came from this neighbour".to_owned(),
        );
    }
    if attributes.originator_id.is_some() {
        row(
            "originator-id",
            "RFC 4456 §8",
            target.originator(attributes),
            "the neighbour is not the originator",
            format!("ORIGINATOR_ID is {}, the neighbour's own", target.bgp_identifier),
        );
    }
    row(
        "next-hop-is-neighbour",
        "RFC 4271 §5.1.3",
        target.own_next_hop(next_hop),
        "the next hop is not the neighbour itself",
        format!("the next hop would be {}, the neighbour itself", target.address),
    );
    steps
}

/// Every rule and change that concerns the route, walked to the end: the reasons behind [`export`]'s verdict.
pub fn explain_export(
    speaker: &SpeakerConfig,
    neighbor: &NeighborConfig,
    session: &SessionFacts,
    source: &RouteSource<'_>,
    prefix: &Prefix,
    next_hop: &NextHop,
    attributes: &Arc<PathAttributes>,
) -> Vec<ExplainStep> {
    let profile = ExportProfile::new(neighbor, session);
    let context = ExportContext { speaker, profile: &profile, source, prefix, next_hop, attributes };
    let mut steps = Vec::new();
    explain(RULES, |check| check(&context), &mut steps);
    let mut changes = Vec::new();
    let changed = change(&ChangeContext { speaker, profile: &profile, source }, attributes, |row| {
        changes.push(ExplainStep { rule: row.id, clause: row.clause, pass: true, detail: row.sentence.to_owned() });
    });
    let next_hop = context.exported_next_hop().unwrap_or(*context.next_hop);
    steps.extend(target_steps(&ExportTarget::new(session), source, &changed, &next_hop));
    if steps.iter().all(|s| s.pass) {
        steps.extend(changes);
    }
    steps
}
