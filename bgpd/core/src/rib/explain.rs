//! Why a route is what it is, for people. Nothing is kept for this: the decision of one prefix is made again, the rules
//! are asked again for their reasons.

use net_types::Prefix;

use super::Rib;
use super::choose::Unusable;
use super::decision::{self, PathKey, Step};
use super::ids::DestId;
use super::loc_rib::LocRib;
use super::out::Offer;
use super::paths::Path;
use super::types::{
    Backup, ExplainedPath, ExplainedRoute, FibState, FibTarget, Outcome, PeerId, ResolvedNextHop, RouteEntry,
    WeightedNextHop,
};
use super::verdicts::RuleId;
use crate::policy::{self, ExplainStep, Refusal};

impl Rib {
    /// Why the best path of a prefix is the best. A host prefix asks for its longest match.
    pub fn explain_route(&self, prefix: &Prefix) -> Option<ExplainedRoute> {
        let exact = self.loc.table.find(prefix).filter(|id| self.loc.paths(*id).next().is_some());
        let host = prefix.len() == prefix.max_len();
        let id = exact.or_else(|| if host { self.loc.longest_match(prefix) } else { None })?;
        let mut usable: Vec<(&Path, PathKey)> = Vec::new();
        let mut rest = Vec::new();
        for path in self.loc.paths(id) {
            match self.loc.key(path) {
                Ok(key) => usable.push((path, key)),
                Err(why) => rest.push((path, why)),
            }
        }
        let keys: Vec<PathKey> = usable.iter().map(|(_, k)| *k).collect();
        let mut lost = Vec::new();
        let best = decision::decide(&keys, &mut lost);
        let target = self.loc.table.get(id)?.target.and_then(|t| self.loc.fib.targets.get(t));
        let (mut paths, mut taken) = (Vec::new(), Vec::new());
        for at in decision::rank(&keys) {
            let (Some((path, key)), Some(best)) = (usable.get(at), best) else { continue };
            let step = lost.get(at).copied().flatten().unwrap_or(Step::Best);
            let against = keys.get(decision::lost_against(&keys, &lost, at, best));
            let is_best = step == Step::Best;
            let route = self.entry(id, path, false)?;
            let outcome = if is_best { Outcome::Best } else { self.outcome(target, &route, &taken) };
            taken.extend(route.resolved.iter().copied());
            paths.push(ExplainedPath {
                route,
                outcome,
                step: if is_best { String::new() } else { step.to_string() },
                this_value: key.value(step),
                best_value: if is_best { String::new() } else { against.map_or(String::new(), |k| k.value(step)) },
            });
        }
        let by_sender = |path: &Path| self.loc.sources.resolve(path.source).map(|(g, path_id)| (g.peer(), path_id));
        rest.sort_by_key(|(path, why)| (matches!(why, Unusable::Refused(_)), by_sender(path)));
        for (path, why) in rest {
            let outcome = if matches!(why, Unusable::Refused(_)) { Outcome::Refused } else { Outcome::Unusable };
            let this_value = self.loc.why(id, path, why);
            let step = Step::Usable.to_string();
            paths.push(ExplainedPath {
                route: self.entry(id, path, false)?,
                outcome,
                step,
                this_value,
                best_value: String::new(),
            });
        }
        Some(ExplainedRoute { prefix: self.loc.table.prefix(id)?, paths, forwarding: self.forwarding(id) })
    }

    fn forwarding(&self, id: DestId) -> String {
        if self.loc.deferred {
            return "the first decision after a restart still waits for End-of-RIB (RFC 4724 §4.1); \
                    the kernel keeps what it had"
                .to_owned();
        }
        let Some(slot) = self.loc.table.get(id) else { return String::new() };
        let Some(target) = slot.target.and_then(|t| self.loc.fib.targets.get(t)) else {
            let best = slot.best().and_then(|p| self.loc.sources.resolve(p.source));
            return match best {
                None => "no usable path: nothing of ours is in the kernel".to_owned(),
                Some((g, _)) if g.peer() == PeerId::LOCAL => "the kernel's own connected route forwards it".to_owned(),
                Some(_) => "nothing of ours is in the kernel".to_owned(),
            };
        };
        let what = match target {
            FibTarget::Discard => "discard (an announced prefix of our own)".to_owned(),
            FibTarget::Forward { active, .. } => self.forward_text(active, self.loc.backup(target)),
        };
        match slot.fib_state() {
            FibState::Installed => format!("the kernel has it: {what}"),
            FibState::Pending => format!("waits for the kernel: {what}"),
            FibState::Failed => format!("the kernel refused it ({}): {what}", self.loc.fib.error(id)),
            FibState::NotWanted => what,
        }
    }

    fn forward_text(&self, active: &[WeightedNextHop], backup: Option<Backup>) -> String {
        let even = active.iter().all(|m| m.weight == 1);
        let member = |m: &WeightedNextHop| match even {
            true => self.hop_text(&m.hop),
            false => format!("{} weight {}", self.hop_text(&m.hop), m.weight),
        };
        let active: Vec<String> = active.iter().map(member).collect();
        let backup = backup.map_or_else(String::new, |b| {
            let why = match b.shared_fate.as_str() {
                "" => "the best of the paths with another next hop and another fate".to_owned(),
                shared => format!("{shared}; there is no path with another fate"),
            };
            format!("; backup: {} ({why})", self.hop_text(&b.hop))
        });
        format!("forward via {}{backup}", active.join(", "))
    }

    /// How a path that is not the best fares in the kernel. `taken`: the next hops of better paths.
    fn outcome(&self, target: Option<&FibTarget>, route: &RouteEntry, taken: &[ResolvedNextHop]) -> Outcome {
        let (Some(target), Some(hop)) = (target, route.resolved.first()) else { return Outcome::Lost };
        if taken.contains(hop) {
            Outcome::Lost
        } else if target.active().iter().any(|m| m.hop == *hop) {
            Outcome::Multipath
        } else if target.backup() == Some(*hop) {
            Outcome::Backup
        } else {
            Outcome::Lost
        }
    }

    /// Each export rule and what it says about the best path of `prefix` towards a neighbour; `None`: no such session.
    pub fn explain_export(&self, prefix: &Prefix, peer: PeerId) -> Option<Vec<ExplainStep>> {
        let state = self.loc.peers.get(&peer)?;
        let session = state.live()?;
        let row = |rule, clause, pass, detail: String| ExplainStep { rule, clause, pass, detail };
        let id = self.loc.table.find(prefix);
        let Some((id, path)) = id.and_then(|id| Some((id, self.loc.table.get(id)?.best()?))) else {
            let why = if self.loc.deferred {
                "the first decision after a restart is still deferred"
            } else {
                "there is no usable path for this prefix"
            };
            return Some(vec![row("best-path", "RFC 4271 §9.1.2", false, why.to_owned())]);
        };
        let set = self.loc.verdicts.post(path.verdict).ok()?;
        let next_hop = self.loc.next_hops.get(self.loc.pool.head(set)?.next_hop())?.key.next_hop;
        let source = self.loc.identities.source(self.loc.export_source(path)?, &self.loc.speaker)?;
        let mut steps = vec![row("best-path", "RFC 4271 §9.1.2", true, format!("from {}", source.peer_address))];
        let in_fib = matches!(self.loc.exportable(id), Offer::Route { .. });
        steps.push(row("in-fib", "wait_for_fib", in_fib, self.forwarding(id)));
        steps.extend(policy::explain_export(
            &self.loc.speaker,
            &state.config,
            &session.facts,
            &source,
            prefix,
            &next_hop,
            &self.loc.pool.decode(set),
        ));
        Some(steps)
    }

    /// A next hop with its interface's name, or its number where the interface is gone.
    fn hop_text(&self, hop: &ResolvedNextHop) -> String {
        let dev = self.loc.interface(hop.ifindex);
        match hop.gateway {
            Some(gateway) => format!("{gateway} dev {dev}"),
            None => format!("dev {dev}"),
        }
    }
}

impl LocRib {
    /// Why a path takes no part in the decision.
    pub(super) fn why(&self, id: DestId, path: &Path, why: Unusable) -> String {
        match why {
            Unusable::Refused(rule) => self.refusal(id, path, rule).to_string(),
            Unusable::NextHop(unresolved) => unresolved.to_string(),
            Unusable::Gone => "its sender is gone".to_owned(),
        }
    }

    /// A refusal with its text, by the configuration of now.
    fn refusal(&self, id: DestId, path: &Path, rule: RuleId) -> Refusal {
        let explained = || {
            let (generation, _) = self.sources.resolve(path.source)?;
            let peer = self.peers.get(&generation.peer())?;
            let pre = self.verdicts.pre(path.verdict)?;
            let arrival = policy::import::Arrival {
                speaker: &self.speaker,
                neighbor: &peer.config,
                session: &peer.session.as_ref()?.facts,
                next_hop: &self.next_hops.get(self.pool.head(pre)?.next_hop())?.key.next_hop,
                attributes: &self.pool.decode(pre),
            };
            Some(policy::import::refusal(rule, &arrival, &self.table.prefix(id)?))
        };
        explained().unwrap_or_else(|| Refusal { rule: policy::import::rule_id(rule), detail: String::new() })
    }
}
