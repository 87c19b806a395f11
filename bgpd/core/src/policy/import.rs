//! Import: from a neighbour's route to what the decision process may see.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use bgp_wire::{AsPathSegmentType, Community, LargeCommunity, NextHop, PathAttributes, Role};
use net_types::{Asn, Bogon, Prefix, RouterId, bogon_asn, bogon_prefix};

use super::import_next_hop::{no_host, our_next_hop, third_party_next_hop};
use super::tag;
use super::types::{Change, ExplainStep, Finding, Refusal, SessionFacts};
use crate::config::{NeighborConfig, PolicyMode, Relation, SpeakerConfig};
use crate::rib::decision::DEFAULT_LOCAL_PREF;

/// What the routes of one UPDATE share, and what they are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Ourselves.
    pub speaker: &'a SpeakerConfig,
    /// Who sent it.
    pub neighbor: &'a NeighborConfig,
    /// Over which session.
    pub session: &'a SessionFacts,
    /// As received.
    pub next_hop: &'a NextHop,
    /// As received.
    pub attributes: &'a PathAttributes,
}

impl Arrival<'_> {
    fn ebgp(&self) -> bool {
        !self.neighbor.relation.is_internal()
    }

    /// eBGP under the relationship's own filters (not `accept-all`).
    pub(super) fn filtered(&self) -> bool {
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

/// What a rule looks at.
pub enum ImportCheck {
    /// What the routes of an UPDATE share: asked once. Then the text of a refusal.
    Set(fn(&Arrival<'_>) -> Finding, fn(&Arrival<'_>) -> String),
    /// The prefix: asked for each route under the relationship's own filters, and there only.
    Prefix(PrefixCheck, fn(&Arrival<'_>, &Prefix) -> String),
}

/// One check on a received route.
pub struct ImportRule {
    /// Stable id.
    pub id: &'static str,
    /// The clause.
    pub clause: &'static str,
    /// What it demands, in one sentence.
    pub sentence: &'static str,
    /// The check.
    pub check: ImportCheck,
}

/// A change to an accepted route; true if it changed something.
pub type ImportChange = fn(&Arrival<'_>, &mut Cow<'_, PathAttributes>) -> bool;

/// LOCAL_PREF by relationship: who pays us first, who we pay last.
pub fn default_local_pref(relation: Relation) -> Option<u32> {
    match relation {
        Relation::Customer => Some(200),
        // Among an exchange's members, members' routes.
        Relation::Peer | Relation::RsClient => Some(150),
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
pub const RULES: &[ImportRule] = &[
    ImportRule {
        id: "policy-deny",
        clause: "RFC 8212 §2.1",
        sentence: "the neighbour has an import policy",
        check: ImportCheck::Set(
            |c| Finding::refuse_if(c.neighbor.policy == PolicyMode::Deny),
            |c| format!("policy of {} is deny", c.neighbor.name),
        ),
    },
    ImportRule {
        id: "collector",
        clause: "local",
        sentence: "nothing is taken from a route collector",
        check: ImportCheck::Set(
            |c| {
                let refused = c.neighbor.relation == Relation::Collector && c.neighbor.policy != PolicyMode::AcceptAll;
                if refused { Finding::Refuse } else { Finding::Skip }
            },
            |c| format!("{} is a collector", c.neighbor.name),
        ),
    },
    ImportRule {
        id: "as-loop",
        clause: "RFC 4271 §9.1.2",
        sentence: "our AS is not in AS_PATH more often than allowed",
        check: ImportCheck::Set(
            |c| Finding::refuse_if(own_as_seen(c) > usize::from(c.neighbor.allow_own_as)),
            |c| format!("AS {} stands {} times in {}", c.speaker.local_as, own_as_seen(c), c.attributes.as_path),
        ),
    },
    ImportRule {
        id: "originator-id",
        clause: "RFC 4456 §8",
        sentence: "ORIGINATOR_ID is not our own identifier",
        check: ImportCheck::Set(
            |c| match c.attributes.originator_id {
                _ if c.ebgp() => Finding::Skip,
                Some(o) => Finding::refuse_if(o == c.speaker.router_id),
                None => Finding::Skip,
            },
            |c| format!("ORIGINATOR_ID is {}, our own", c.speaker.router_id),
        ),
    },
    ImportRule {
        id: "cluster-loop",
        clause: "RFC 4456 §8",
        sentence: "CLUSTER_LIST does not hold our own cluster",
        check: ImportCheck::Set(
            |c| {
                if c.ebgp() || c.attributes.cluster_list.is_empty() {
                    return Finding::Skip;
                }
                Finding::refuse_if(c.attributes.cluster_list.contains(&c.cluster_id()))
            },
            |c| format!("CLUSTER_LIST holds {}, our own cluster", c.cluster_id()),
        ),
    },
    ImportRule {
        id: "next-hop-address",
        clause: "RFC 4271 §6.3",
        sentence: "the next hop is a host address and not one of ours",
        check: ImportCheck::Set(
            |c| Finding::refuse_if(no_host(c.next_hop) || our_next_hop(c).is_some()),
            |c| match our_next_hop(c) {
                Some(ours) if !no_host(c.next_hop) => format!("next hop {ours} is our own address"),
                _ => format!("next hop {} is no host address", c.next_hop.address()),
            },
        ),
    },
    ImportRule {
        id: "first-as",
        clause: "RFC 4271 §6.3",
        sentence: "the leftmost AS is the neighbour's",
        check: ImportCheck::Set(
            |c| {
                if !c.ebgp() || !c.neighbor.enforce_first_as || c.neighbor.relation == Relation::RouteServer {
                    return Finding::Skip;
                }
                Finding::refuse_if(c.attributes.as_path.neighbor_as() != Some(c.session.remote_as))
            },
            |c| match c.attributes.as_path.neighbor_as() {
                Some(a) => format!("leftmost AS is {a}, the neighbour's is {}", c.session.remote_as),
                None => format!("AS_PATH {:?} names no neighbour", c.attributes.as_path.to_string()),
            },
        ),
    },
    ImportRule {
        id: "otc-leak",
        clause: "RFC 9234 §5",
        sentence: "OTC does not prove a route leak",
        check: ImportCheck::Set(
            |c| match (c.role(), c.attributes.otc) {
                _ if !c.ebgp() => Finding::Skip,
                (None, _) | (_, None) => Finding::Skip,
                // From a customer or a route server's client: whatever the value.
                (Some(Role::Provider | Role::RouteServer), Some(_)) => Finding::Refuse,
                (Some(Role::Peer), Some(otc)) => Finding::refuse_if(otc != c.session.remote_as),
                _ => Finding::Pass,
            },
            |c| {
                let otc = c.attributes.otc.unwrap_or(Asn(0));
                match c.role() {
                    Some(Role::Peer) => format!("OTC {otc} from peer AS {}: a leak", c.session.remote_as),
                    _ => format!("OTC {otc} on a route from a {}: a leak", c.neighbor.relation),
                }
            },
        ),
    },
    ImportRule {
        id: "default-route",
        clause: "RFC 7454 §6.1.6",
        sentence: "no default route from outside",
        check: ImportCheck::Prefix(
            |_, p| Finding::refuse_if(p.is_default()),
            |_, p| format!("{p} is the default route"),
        ),
    },
    ImportRule {
        id: "bogon-prefix",
        clause: "RFC 7454 §6.1.1",
        sentence: "the prefix is not special-purpose space",
        check: ImportCheck::Prefix(
            |c, p| Finding::refuse_if(bogon_prefix(p, c.speaker.lab).is_some()),
            |c, p| match bogon_prefix(p, c.speaker.lab) {
                Some(b) => format!("{p} overlaps {} space ({})", b.what, b.source),
                None => String::new(),
            },
        ),
    },
    ImportRule {
        id: "own-prefix",
        clause: "RFC 7454 §6.1.4",
        sentence: "own space does not come from outside",
        check: ImportCheck::Prefix(
            |c, p| Finding::refuse_if(own_space(c, p).is_some()),
            |c, p| own_space(c, p).map_or_else(String::new, |own| format!("{p} lies in {own}, our own space")),
        ),
    },
    ImportRule {
        id: "prefix-length",
        clause: "RFC 7454 §6.1.3",
        sentence: "the prefix is not too long, nor (customers aside) too short",
        check: ImportCheck::Prefix(
            |c, p| {
                if p.is_default() {
                    return Finding::Skip;
                }
                Finding::refuse_if(p.len() > longest(p) || p.len() < shortest(p) && !c.customer())
            },
            |_, p| {
                if p.len() > longest(p) {
                    return format!("{p} is longer than /{}", longest(p));
                }
                format!("{p} is shorter than /{}", shortest(p))
            },
        ),
    },
    ImportRule {
        id: "as-set",
        clause: "RFC 9774 §3",
        sentence: "AS_PATH holds no AS_SET",
        check: ImportCheck::Set(
            |c| {
                if !c.filtered() {
                    return Finding::Skip;
                }
                let set = |k| matches!(k, AsPathSegmentType::Set | AsPathSegmentType::ConfedSet);
                Finding::refuse_if(c.attributes.as_path.segments.iter().any(|s| set(s.kind)))
            },
            |c| format!("AS_SET in {}", c.attributes.as_path),
        ),
    },
    ImportRule {
        id: "as-path-length",
        clause: "local (RFC 7454 §9)",
        sentence: "AS_PATH is not longer than the limit",
        check: ImportCheck::Set(
            |c| {
                if !c.filtered() {
                    return Finding::Skip;
                }
                Finding::refuse_if(c.attributes.as_path.asns().count() > c.neighbor.max_as_path)
            },
            |c| {
                let (n, limit) = (c.attributes.as_path.asns().count(), c.neighbor.max_as_path);
                format!("AS_PATH of {n} AS numbers, limit {limit}")
            },
        ),
    },
    ImportRule {
        id: "bogon-asn",
        clause: "RFC 7454 §9",
        sentence: "AS_PATH holds no private, reserved or documentation AS number",
        check: ImportCheck::Set(
            |c| if c.filtered() { Finding::refuse_if(bogon_in_path(c).is_some()) } else { Finding::Skip },
            |c| match bogon_in_path(c) {
                Some((asn, b)) => format!("AS {asn} in AS_PATH is {} ({})", b.what, b.source),
                None => String::new(),
            },
        ),
    },
    ImportRule {
        id: "next-hop-third-party",
        clause: "RFC 4271 §6.3",
        sentence: "the next hop is the neighbour or on the shared subnet",
        check: ImportCheck::Set(third_party_next_hop, |c| {
            format!("next hop {} is neither {} nor on its subnet", c.next_hop.address(), c.session.address)
        }),
    },
    ImportRule {
        id: "customer-prefix",
        clause: "RFC 7454 §6.3",
        sentence: "a customer announces only what is declared for it",
        check: ImportCheck::Prefix(
            |c, p| {
                if !c.customer() {
                    return Finding::Skip;
                }
                Finding::refuse_if(!c.neighbor.allowed_prefixes.iter().any(|allowed| allowed.covers(p)))
            },
            |c, p| format!("{p} is not among the allowed prefixes of {}", c.neighbor.name),
        ),
    },
    ImportRule {
        id: "customer-origin",
        clause: "RFC 7454 §9",
        sentence: "a customer's routes begin at its own or a declared AS",
        check: ImportCheck::Set(
            |c| {
                if !c.filtered() || !c.customer() {
                    return Finding::Skip;
                }
                let origin = c.attributes.as_path.origin_as();
                Finding::refuse_if(!origin.is_some_and(|a| c.named_for_customer(a)))
            },
            |c| match c.attributes.as_path.origin_as() {
                Some(a) => format!("origin AS {a} is not declared for {}", c.neighbor.name),
                None => "AS_PATH names no origin".to_owned(),
            },
        ),
    },
];

fn own_as_seen(c: &Arrival<'_>) -> usize {
    c.attributes.as_path.asns().filter(|&a| a == c.speaker.local_as).count()
}
fn own_space<'a>(c: &Arrival<'a>, prefix: &Prefix) -> Option<&'a Prefix> {
    c.speaker.own_prefixes.iter().chain(&c.speaker.internal_prefixes).find(|own| own.covers(prefix))
}

/// A customer's private number is let in where the configuration names it, and stripped on the way out.
fn bogon_in_path(c: &Arrival<'_>) -> Option<(Asn, Bogon)> {
    let unnamed = |a: &Asn| !(a.is_private() && c.named_for_customer(*a));
    c.attributes.as_path.asns().filter(unnamed).find_map(|a| Some((a, bogon_asn(a, c.speaker.lab)?)))
}

/// The only change that iBGP routes know, and only where a neighbour's configuration asks for it.
const LOCAL_PREF: &str = "local-pref";

/// Every change to an accepted route, in order.
pub const CHANGES: &[Change<ImportChange>] = &[
    Change {
        id: "otc-add",
        clause: "RFC 9234 §5",
        sentence: "OTC with the neighbour's AS added: from here it goes only to customers",
        apply: |c, a| {
            let from_above = matches!(c.role(), Some(Role::Customer | Role::Peer | Role::RouteServerClient));
            let add = from_above && a.otc.is_none();
            if add {
                a.to_mut().otc = Some(c.session.remote_as);
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
            let large = |l: &LargeCommunity| tag::is_tag(own, l) || all && l.global == own.0;
            let plain = |s: &Community| all && own.0 <= 0xffff && s.0 >> 16 == own.0;
            let found = a.large_communities.iter().any(large) || a.communities.iter().any(plain);
            if found {
                a.to_mut().large_communities.retain(|l| !large(l));
                a.to_mut().communities.retain(|s| !plain(s));
            }
            found
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
            let all = &mut a.to_mut().large_communities;
            let at = all.partition_point(|l| *l < tag);
            all.insert(at, tag);
            true
        },
    },
    Change {
        id: LOCAL_PREF,
        clause: "RFC 4271 §5.1.5",
        sentence: "LOCAL_PREF of the relationship set",
        apply: |c, a| {
            let default = default_local_pref(c.neighbor.relation).filter(|_| c.filtered());
            let mut value = c.neighbor.local_pref.or(default);
            if !c.ebgp() {
                // What the border has lowered, as for a neighbour that is drained, is not raised again.
                value = value.map(|v| v.min(a.local_pref.unwrap_or(DEFAULT_LOCAL_PREF)));
            }
            let set = value.is_some() && a.local_pref != value;
            if set {
                a.to_mut().local_pref = value;
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
                a.to_mut().local_pref = Some(0);
            }
            lower
        },
    },
    Change {
        id: "drain",
        clause: "RFC 8326 §4.1",
        sentence: "LOCAL_PREF 0: we lead traffic away from the session",
        apply: |c, a| {
            if c.neighbor.drain {
                a.to_mut().local_pref = Some(0);
            }
            c.neighbor.drain
        },
    },
];

/// A rule's place in [`RULES`].
pub type RuleId = u8;
/// What became of an attribute set, whatever the prefix.
#[derive(Debug)]
pub struct SetVerdict {
    /// The first rule that refuses it.
    pub refused: Option<RuleId>,
    /// The attributes for the decision process where they are not those received.
    pub changed: Option<PathAttributes>,
    /// Rules about prefixes are asked.
    prefixes: bool,
}

type PrefixCheck = fn(&Arrival<'_>, &Prefix) -> Finding;

/// The rules that are asked for each route, with their places in [`RULES`].
static ABOUT_PREFIXES: LazyLock<Vec<(RuleId, PrefixCheck)>> = LazyLock::new(|| {
    let about = |rule: &ImportRule| match rule.check {
        ImportCheck::Prefix(check, _) => Some(check),
        ImportCheck::Set(..) => None,
    };
    numbered().filter_map(|(at, rule)| Some((at, about(rule)?))).collect()
});

fn numbered() -> impl Iterator<Item = (RuleId, &'static ImportRule)> {
    (0..).zip(RULES)
}

/// The id of a rule; empty for no rule's place.
pub fn rule_id(rule: RuleId) -> &'static str {
    RULES.get(usize::from(rule)).map_or("", |r| r.id)
}

impl Arrival<'_> {
    /// Asks the rules that do not look at the prefix and makes the changes. iBGP routes are judged by the protocol's own
    /// rules only (AS loop, RFC 4456 §8, next hop), and not changed; `accept-all` likewise.
    pub fn judge(&self) -> SetVerdict {
        let refuses =
            |rule: &ImportRule| matches!(rule.check, ImportCheck::Set(check, _) if check(self) == Finding::Refuse);
        let refused = numbered().find(|(_, rule)| refuses(rule)).map(|(at, _)| at);
        let changed = if refused.is_none() { change(self, |_, _| {}) } else { None };
        SetVerdict { refused, changed, prefixes: self.filtered() }
    }
}

impl SetVerdict {
    /// False: every route of the set fares as the set.
    pub fn asks_prefixes(&self) -> bool {
        self.prefixes
    }

    /// The first rule that refuses a route of the set to this prefix; the set's own where none before it does.
    pub fn refuses(&self, arrival: &Arrival<'_>, prefix: &Prefix) -> Option<RuleId> {
        if !self.prefixes {
            return self.refused;
        }
        let before = ABOUT_PREFIXES.iter().take_while(|(at, _)| self.refused.is_none_or(|refused| *at < refused));
        let refuses = |check: PrefixCheck| check(arrival, prefix) == Finding::Refuse;
        before.into_iter().find(|(_, check)| refuses(*check)).map(|(at, _)| *at).or(self.refused)
    }
}

/// Judges one received route. On success: the attributes for the decision process, the same `Arc` when nothing changed.
pub fn import(
    speaker: &SpeakerConfig,
    neighbor: &NeighborConfig,
    session: &SessionFacts,
    prefix: &Prefix,
    next_hop: &NextHop,
    attributes: &Arc<PathAttributes>,
) -> Result<Arc<PathAttributes>, Refusal> {
    let arrival = Arrival { speaker, neighbor, session, next_hop, attributes };
    let verdict = arrival.judge();
    match verdict.refuses(&arrival, prefix) {
        Some(rule) => Err(refusal(rule, &arrival, prefix)),
        None => Ok(verdict.changed.map_or_else(|| Arc::clone(attributes), Arc::new)),
    }
}

/// A refusal with its text.
pub fn refusal(rule: RuleId, arrival: &Arrival<'_>, prefix: &Prefix) -> Refusal {
    let detail = match RULES.get(usize::from(rule)).map(|r| &r.check) {
        Some(ImportCheck::Set(_, why)) => why(arrival),
        Some(ImportCheck::Prefix(_, why)) => why(arrival, prefix),
        None => String::new(),
    };
    Refusal { rule: rule_id(rule), detail }
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
    let arrival = Arrival { speaker, neighbor, session, next_hop, attributes };
    let mut steps = Vec::new();
    for (at, rule) in numbered() {
        let finding = match rule.check {
            ImportCheck::Set(check, _) => check(&arrival),
            ImportCheck::Prefix(check, _) if arrival.filtered() => check(&arrival, prefix),
            ImportCheck::Prefix(..) => Finding::Skip,
        };
        let detail = match finding {
            Finding::Skip => continue,
            Finding::Pass => rule.sentence.to_owned(),
            Finding::Refuse => refusal(at, &arrival, prefix).detail,
        };
        steps.push(ExplainStep { rule: rule.id, clause: rule.clause, pass: finding == Finding::Pass, detail });
    }
    if steps.iter().all(|s| s.pass) {
        change(&arrival, |row, after| {
            let detail = match (row.id, after.local_pref) {
                (LOCAL_PREF, Some(value)) => format!("{}: {value}", row.sentence),
                _ => row.sentence.to_owned(),
            };
            steps.push(ExplainStep { rule: row.id, clause: row.clause, pass: true, detail });
        });
    }
    steps
}

fn change(
    arrival: &Arrival<'_>,
    mut seen: impl FnMut(&Change<ImportChange>, &PathAttributes),
) -> Option<PathAttributes> {
    // Inside, where what an eBGP neighbour may say was seen to at the border, one preference is left to say.
    let inside = !arrival.ebgp();
    if inside && arrival.neighbor.local_pref.is_none() {
        return None;
    }
    // Copied by the first change.
    let mut attributes = Cow::Borrowed(arrival.attributes);
    for row in CHANGES.iter().filter(|row| !inside || row.id == LOCAL_PREF) {
        if (row.apply)(arrival, &mut attributes) {
            seen(row, &attributes);
        }
    }
    match attributes {
        Cow::Owned(changed) => Some(changed),
        Cow::Borrowed(_) => None,
    }
}
