//! What import policy made of an attribute set.
//!
//! Where it changed nothing (iBGP, `accept-all`) a path names the set itself. Where it did, or where a rule refused, the
//! path names an entry here: the set as it came and what became of it, once for all paths that share both. A refusal is
//! the number of its rule; the text for people is made when they ask ([`crate::policy::explain_import`]).

use super::arena::Arena;
use super::attributes::AttrPool;
use super::hash::FoldState;
use super::ids::AttrId;
use super::index::Index;

const JUDGED: u32 = 1 << 31;

/// A set, or (with the top bit) an entry of [`Verdicts`]. Zero: none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Verdict(u32);

/// Number of a rule of [`crate::policy::import::RULES`].
pub(super) type RuleId = u8;

/// A set that policy changed or refused.
#[derive(Clone, Copy, Debug)]
struct Judged {
    pre: AttrId,
    post: Result<AttrId, RuleId>,
    refs: u32,
}

impl Default for Judged {
    fn default() -> Judged {
        Judged { pre: AttrId::new(0), post: Err(0), refs: 0 }
    }
}

/// The entries.
#[derive(Debug)]
pub(super) struct Verdicts {
    judged: Arena<Judged>,
    index: Index,
    hasher: FoldState,
}

impl Verdicts {
    pub(super) fn new(seed: u64) -> Verdicts {
        Verdicts { judged: Arena::default(), index: Index::default(), hasher: FoldState::new(seed) }
    }

    /// The verdict of a pair; the caller holds one reference to it, it holds its sets.
    pub(super) fn intern(&mut self, pool: &mut AttrPool, pre: AttrId, post: Result<AttrId, RuleId>) -> Verdict {
        if post == Ok(pre) {
            pool.retain(pre);
            return Verdict(pre.get());
        }
        let hash = pair(self.hasher, pre, post);
        let judged = &self.judged;
        let is = |at| judged.get(at).is_some_and(|j| (j.pre, j.post) == (pre, post));
        let vacant = match self.index.entry(hash, is) {
            Some(Ok(at)) => {
                self.retain(pool, Verdict(JUDGED | at));
                return Verdict(JUDGED | at);
            }
            Some(Err(vacant)) => vacant,
            None => return Verdict::default(),
        };
        pool.retain(pre);
        if let Ok(post) = post {
            pool.retain(post);
        }
        let at = self.judged.insert(Judged { pre, post, refs: 1 });
        vacant.insert(at);
        Verdict(JUDGED | at)
    }

    fn entry(&self, verdict: Verdict) -> Option<&Judged> {
        if verdict.0 & JUDGED == 0 { None } else { self.judged.get(verdict.0 & !JUDGED) }
    }

    /// The set as it came.
    pub(super) fn pre(&self, verdict: Verdict) -> Option<AttrId> {
        if verdict.0 & JUDGED == 0 { AttrId::from_u32(verdict.0) } else { self.entry(verdict).map(|j| j.pre) }
    }

    /// The set as the decision sees it, or the rule that refused it.
    pub(super) fn post(&self, verdict: Verdict) -> Result<AttrId, Option<RuleId>> {
        if verdict.0 & JUDGED == 0 {
            return AttrId::from_u32(verdict.0).ok_or(None);
        }
        self.entry(verdict).map_or(Err(None), |j| j.post.map_err(Some))
    }

    pub(super) fn retain(&mut self, pool: &mut AttrPool, verdict: Verdict) {
        self.retain_many(pool, verdict, 1);
    }

    /// So many more users.
    pub(super) fn retain_many(&mut self, pool: &mut AttrPool, verdict: Verdict, users: u32) {
        if verdict.0 & JUDGED == 0 {
            if let Some(id) = AttrId::from_u32(verdict.0) {
                pool.retain_many(id, users);
            }
        } else if let Some(entry) = self.judged.get_mut(verdict.0 & !JUDGED) {
            entry.refs += users;
        }
    }

    pub(super) fn release(&mut self, pool: &mut AttrPool, verdict: Verdict) {
        self.release_many(pool, verdict, 1);
    }

    /// So many users less.
    pub(super) fn release_many(&mut self, pool: &mut AttrPool, verdict: Verdict, users: u32) {
        if verdict.0 & JUDGED == 0 {
            if let Some(id) = AttrId::from_u32(verdict.0) {
                pool.release_many(id, users);
            }
            return;
        }
        let at = verdict.0 & !JUDGED;
        let Some(entry) = self.judged.get_mut(at).filter(|j| j.refs >= users) else { return };
        entry.refs -= users;
        if entry.refs > 0 {
            return;
        }
        let Judged { pre, post, .. } = *entry;
        self.index.remove(pair(self.hasher, pre, post), at);
        self.judged.free(at);
        pool.release(pre);
        if let Ok(post) = post {
            pool.release(post);
        }
    }

    /// Octets taken from the allocator.
    pub(super) fn octets(&self) -> usize {
        self.judged.octets() + self.index.octets()
    }
}

fn pair(hasher: FoldState, pre: AttrId, post: Result<AttrId, RuleId>) -> u64 {
    let post = post.map_or_else(|rule| u64::from(rule) << 32, |id| u64::from(id.get()));
    hasher.number(hasher.number(u64::from(pre.get())) ^ post)
}
