//! Import policy on the way in: the verdict on an UPDATE's attribute set once, on each of its prefixes what is left.

use std::sync::Arc;

use bgp_wire::{NextHop, PathAttributes, Reach};
use net_types::{Family, Monotime};

use super::ids::{AttrId, DestId};
use super::loc_rib::LocRib;
use super::next_hop::NextHopKey;
use super::types::{MaxPrefixExceeded, PeerId};
use super::verdicts::{RuleId, Verdict};
use crate::policy::import::{Arrival, SetVerdict};

/// One attribute set of one neighbour under its policy.
struct Judging<'a> {
    arrival: Arrival<'a>,
    set: SetVerdict,
    pre: AttrId,
    /// The verdict where no rule about the prefix refuses.
    usual: Verdict,
    /// The last refusal by a rule about the prefix.
    other: Option<(RuleId, Verdict)>,
}

impl LocRib {
    /// Judges a set; [`LocRib::end_judging`] gives back what is held meanwhile.
    fn begin_judging<'a>(&mut self, arrival: Arrival<'a>, pre: AttrId, key: NextHopKey) -> Judging<'a> {
        let set = arrival.judge();
        let post = match (set.refused, &set.changed) {
            (Some(rule), _) => Err(rule),
            (None, Some(changed)) => Ok(self.intern(changed, key)),
            (None, None) => Ok(pre),
        };
        let usual = self.verdicts.intern(&mut self.pool, pre, post);
        if let Ok(changed) = post
            && changed != pre
        {
            self.pool.release(changed);
        }
        Judging { arrival, set, pre, usual, other: None }
    }

    #[inline]
    fn verdict(&mut self, judging: &mut Judging<'_>, prefix: &net_types::Prefix) -> Verdict {
        if !judging.set.asks_prefixes() {
            return judging.usual;
        }
        let refused = judging.set.refuses(&judging.arrival, prefix);
        match (refused, judging.other) {
            (rule, _) if rule == judging.set.refused => judging.usual,
            (Some(rule), Some((same, verdict))) if rule == same => verdict,
            (Some(rule), other) => {
                let verdict = self.verdicts.intern(&mut self.pool, judging.pre, Err(rule));
                if let Some((_, old)) = other {
                    self.verdicts.release(&mut self.pool, old);
                }
                judging.other = Some((rule, verdict));
                verdict
            }
            (None, _) => judging.usual,
        }
    }

    fn end_judging(&mut self, judging: &Judging<'_>) {
        self.verdicts.release(&mut self.pool, judging.usual);
        if let Some((_, verdict)) = judging.other {
            self.verdicts.release(&mut self.pool, verdict);
        }
        self.pool.release(judging.pre);
    }

    /// Routes of one UPDATE. `Some`: one too many; what came before it is kept.
    pub(super) fn announce(
        &mut self,
        now: Monotime,
        id: PeerId,
        reach: &Reach,
        attributes: &PathAttributes,
    ) -> Option<MaxPrefixExceeded> {
        let peer = self.peers.get(&id)?;
        let (session, config) = (Arc::clone(peer.session.as_ref()?), Arc::clone(&peer.config));
        let speaker = Arc::clone(&self.speaker);
        let generation = (*peer.current.get(reach.family == Family::IPV4_UNICAST))?;
        let limit = config.max_prefix.get(&reach.family).map(|m| m.limit);
        let key = LocRib::next_hop_key(&session, reach.next_hop);
        let pre = self.intern(attributes, key);
        let arrival = Arrival {
            speaker: &speaker,
            neighbor: &config,
            session: &session.facts,
            next_hop: &reach.next_hop,
            attributes,
        };
        let mut judging = self.begin_judging(arrival, pre, key);
        let mut exceeded = None;
        if let Some(mut batch) = self.begin_batch(now, generation, judging.usual) {
            for nlri in &reach.nlri {
                if let Some(limit) = limit
                    && self.over_limit(&batch, nlri, limit)
                {
                    exceeded = Some(MaxPrefixExceeded { family: reach.family, limit });
                    break;
                }
                let verdict = self.verdict(&mut judging, &nlri.prefix);
                self.insert(&mut batch, &nlri.prefix, nlri.path_id, verdict);
            }
            self.end_batch(&batch);
        }
        self.end_judging(&judging);
        exceeded
    }

    /// Judges a kept path by the present policy; true if it comes out differently.
    pub(super) fn judge_again(&mut self, id: DestId, at: usize) -> bool {
        self.judge_kept(id, at).unwrap_or(false)
    }

    fn judge_kept(&mut self, id: DestId, at: usize) -> Option<bool> {
        self.forget_last_want();
        let path = self.path(id, at)?;
        let prefix = self.table.prefix(id)?;
        let old = self.verdicts.pre(path.verdict)?;
        let peer = self.peers.get(&self.sources.resolve(path.source)?.0.peer())?;
        let (session, config) = (Arc::clone(peer.session.as_ref()?), Arc::clone(&peer.config));
        let speaker = Arc::clone(&self.speaker);
        let next_hop: NextHop = self.next_hops.get(self.pool.head(old)?.next_hop())?.key.next_hop;
        let attributes = self.pool.decode(old);
        let key = LocRib::next_hop_key(&session, next_hop);
        let pre = self.intern(&attributes, key);
        let arrival = Arrival {
            speaker: &speaker,
            neighbor: &config,
            session: &session.facts,
            next_hop: &next_hop,
            attributes: &attributes,
        };
        let mut judging = self.begin_judging(arrival, pre, key);
        let verdict = self.verdict(&mut judging, &prefix);
        if verdict != path.verdict {
            let (was, is) = (self.accepted(path.verdict), self.accepted(verdict));
            if was != is {
                self.sources.set_accepted(path.source, is);
            }
            self.verdicts.retain(&mut self.pool, verdict);
            // Judging again is not hearing it again: when it came and in which transfer stay.
            if let Some(kept) = self.path_mut(id, at) {
                kept.verdict = verdict;
            }
            self.verdicts.release(&mut self.pool, path.verdict);
        }
        self.end_judging(&judging);
        Some(verdict != path.verdict)
    }
}
