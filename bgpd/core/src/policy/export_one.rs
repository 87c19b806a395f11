//! Export for one neighbour and one route, with the reasons: what people ask, and what tests compare update groups with.

use bgp_wire::{AsPath, NextHop, PathAttributes};
use net_types::{Prefix, RouterId};

use super::export::{ChangeContext, ExportCheck, ExportContext, PrefixContext, RULES, change};
use super::profile::{ExportProfile, ExportTarget};
use super::types::{ExplainStep, Outcome, Refusal, RouteSource, SessionFacts, explain};
use crate::config::{NeighborConfig, SpeakerConfig};

/// Judges the best path for one neighbour: attributes and next hop as they would stand on the wire.
pub fn export(
    speaker: &SpeakerConfig,
    neighbor: &NeighborConfig,
    session: &SessionFacts,
    source: &RouteSource<'_>,
    prefix: &Prefix,
    next_hop: &NextHop,
    attributes: &PathAttributes,
) -> Result<(PathAttributes, NextHop), Refusal> {
    let (sent, next_hop, steps, _) = walk(speaker, neighbor, session, source, prefix, next_hop, attributes);
    match (steps.into_iter().find(|s| !s.pass), next_hop) {
        (None, Some(next_hop)) => Ok((sent, next_hop)),
        (step, _) => {
            let step = step.map(|s| Refusal { rule: s.rule, detail: s.detail });
            Err(step.unwrap_or(Refusal { rule: "next-hop", detail: String::new() }))
        }
    }
}

/// Every check, those of the one neighbour too, and every change: what would be sent, the checks' steps, the changes'.
fn walk(
    speaker: &SpeakerConfig,
    neighbor: &NeighborConfig,
    session: &SessionFacts,
    source: &RouteSource<'_>,
    prefix: &Prefix,
    next_hop: &NextHop,
    attributes: &PathAttributes,
) -> (PathAttributes, Option<NextHop>, Vec<ExplainStep>, Vec<ExplainStep>) {
    let (profile, target) = (ExportProfile::new(neighbor, session), ExportTarget::new(neighbor, session));
    let family = prefix.family();
    let of_set = ExportContext { speaker, profile: &profile, source, family, next_hop, attributes };
    let of_prefix = PrefixContext { speaker, kind: source.kind, prefix };
    let mut steps = Vec::new();
    let ask = |check| match check {
        ExportCheck::Set(check, why) => check(&of_set).explained(|| why(&of_set)),
        ExportCheck::Prefix(check, why) if profile.filtered() => check(&of_prefix).explained(|| why(&of_prefix)),
        ExportCheck::Prefix(..) => Outcome::Skip,
    };
    explain(RULES, ask, &mut steps);
    let mut changes = Vec::new();
    let mut sent = attributes.clone();
    change(&ChangeContext { speaker, profile: &profile, source }, &mut sent, |row| {
        changes.push(ExplainStep { rule: row.id, clause: row.clause, pass: true, detail: row.sentence.to_owned() });
    });
    let next_hop = of_set.exported_next_hop().and_then(|n| target.next_hop(family, n));
    let as_path = profile.checks_as_loop().then_some(&attributes.as_path);
    target_steps(&target, source, as_path, sent.originator_id, next_hop, &mut steps);
    (sent, next_hop, steps, changes)
}

/// The checks that are about one neighbour alone.
fn target_steps(
    target: &ExportTarget,
    source: &RouteSource<'_>,
    as_path: Option<&AsPath>,
    originator_id: Option<RouterId>,
    next_hop: Option<NextHop>,
    steps: &mut Vec<ExplainStep>,
) {
    let mut row = |rule, clause, bad: bool, good: &str, why: &dyn Fn() -> String| {
        steps.push(ExplainStep { rule, clause, pass: !bad, detail: if bad { why() } else { good.to_owned() } });
    };
    if let Some(as_path) = as_path {
        row(
            "target-as-loop",
            "RFC 4271 §9.1.2",
            target.as_loop(as_path),
            "the neighbour's AS is not in AS_PATH: it would refuse the route",
            &|| format!("AS {} is in {as_path}", target.remote_as),
        );
    }
    if !source.kind.is_local() {
        row(
            "split-horizon",
            "RFC 4271 §9.2",
            target.split_horizon(source.peer),
            "the route did not come from this neighbour",
            &|| "the best path came from this neighbour".to_owned(),
        );
    }
    if originator_id.is_some() {
        row(
            "originator-id",
            "RFC 4456 §8",
            target.originator(originator_id),
            "the neighbour is not the originator",
            &|| format!("ORIGINATOR_ID is {}, the neighbour's own", target.bgp_identifier),
        );
    }
    if let Some(next_hop) = next_hop {
        row(
            "next-hop-is-neighbour",
            "RFC 4271 §5.1.3",
            target.is_next_hop(&next_hop),
            "the next hop is not the neighbour itself",
            &|| format!("the next hop would be {}, the neighbour itself", target.address),
        );
    }
}

/// Every rule and change that concerns the route, walked to the end: the reasons behind [`export`]'s verdict.
pub fn explain_export(
    speaker: &SpeakerConfig,
    neighbor: &NeighborConfig,
    session: &SessionFacts,
    source: &RouteSource<'_>,
    prefix: &Prefix,
    next_hop: &NextHop,
    attributes: &PathAttributes,
) -> Vec<ExplainStep> {
    let (_, _, mut steps, changes) = walk(speaker, neighbor, session, source, prefix, next_hop, attributes);
    if steps.iter().all(|s| s.pass) {
        steps.extend(changes);
    }
    steps
}
