//! Who said a path, and in which transfer of its table.
//!
//! A *generation* is what a neighbour has sent of one family since its session began or since it began to send everything
//! again. That routes are stale (RFC 4724 §4.2), not yet repeated (RFC 7313 §4) or gone with their session is said once of
//! the generation, however many they are; a path that comes again moves to the current generation. The paths of a dead
//! generation are of no use from that moment; [`super::sweep`] takes them out.
//!
//! A *source* is a generation with a Path Identifier: what a path names. It lives while a path names it, the one of
//! Path Identifier 0 as long as its generation.
//!
//! Invariant: a generation lives while it is current or has paths.

use std::collections::HashMap;

use super::arena::Arena;
use super::decision::KeySource;
use super::hash::FoldState;
use super::types::PeerId;

/// Names a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct SourceId(u32);

/// Names a generation.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct GenerationId(u32);

/// Work that a [`super::sweep`] owes the paths of a neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Owed {
    /// Judge them again.
    pub(super) judge: bool,
    /// Decide their prefixes again.
    pub(super) decide: bool,
    /// Look again what is announced where they are best.
    pub(super) export: bool,
}

/// What is said at the end of a dead generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Purged {
    pub(super) peer: PeerId,
    pub(super) v4: bool,
    pub(super) count: usize,
    pub(super) why: &'static str,
}

/// Paths of one family from one neighbour that came in one go.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) v4: bool,
    /// The decision process's view of the sender; its number too.
    pub(super) key: KeySource,
    /// The sender as export sees it: a number of [`super::peers::Identities`].
    pub(super) identity: u32,
    /// New paths go here.
    pub(super) current: bool,
    /// Kept from before a restart of its sender (RFC 4724 §4.2).
    pub(super) stale: bool,
    /// Not yet repeated since the sender's BoRR (RFC 7313 §4).
    pub(super) unrefreshed: bool,
    /// Of no use any more.
    pub(super) dead: bool,
    pub(super) owed: Owed,
    pub(super) paths: usize,
    /// Of these let in by policy.
    pub(super) accepted: usize,
    /// Dead: how many it had then, and why they go, if that is to be told.
    purge: Option<(usize, &'static str)>,
    base: SourceId,
    /// Sources beside the base one.
    others: u32,
    /// There is no other generation of its neighbour and family.
    sole: bool,
}

impl Generation {
    pub(super) fn peer(&self) -> PeerId {
        self.key.peer
    }
}

/// A generation with a Path Identifier.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Source {
    pub(super) generation: GenerationId,
    pub(super) path_id: u32,
    /// The sender of the generation; `None`: a free place.
    pub(super) peer: Option<PeerId>,
    refs: u32,
}

/// All of both.
#[derive(Debug)]
pub(super) struct Sources {
    generations: Vec<Option<Generation>>,
    sources: Arena<Source>,
    by_path_id: HashMap<(GenerationId, u32), SourceId, FoldState>,
    /// Dead generations, paths left or not.
    dead: usize,
    /// One died since this was last asked for.
    died: bool,
    purged: Vec<Purged>,
}

impl Sources {
    pub(super) fn new(seed: u64) -> Sources {
        Sources {
            generations: Vec::new(),
            sources: Arena::default(),
            by_path_id: HashMap::with_hasher(FoldState::new(seed)),
            dead: 0,
            died: false,
            purged: Vec::new(),
        }
    }

    /// A new current generation.
    pub(super) fn begin(&mut self, key: KeySource, identity: u32, v4: bool) -> GenerationId {
        let free = self.generations.iter().position(Option::is_none);
        let at = free.unwrap_or_else(|| {
            self.generations.push(None);
            self.generations.len() - 1
        });
        // As many as sessions, and a few.
        let id = GenerationId(u32::try_from(at).unwrap_or(u32::MAX));
        let base = SourceId(self.sources.insert(Source { generation: id, path_id: 0, peer: Some(key.peer), refs: 1 }));
        // What older paths of the neighbour are owed, those that move here are owed too.
        let owed = self.of(key.peer, v4).fold(Owed::default(), |all, (_, g)| Owed {
            judge: all.judge || g.owed.judge,
            decide: all.decide || g.owed.decide,
            export: all.export || g.owed.export,
        });
        if let Some(slot) = self.generations.get_mut(at) {
            *slot = Some(Generation {
                v4,
                key,
                identity,
                current: true,
                stale: false,
                unrefreshed: false,
                dead: false,
                owed,
                paths: 0,
                accepted: 0,
                purge: None,
                base,
                others: 0,
                sole: true,
            });
        }
        self.count_siblings(key.peer, v4);
        id
    }

    fn count_siblings(&mut self, peer: PeerId, v4: bool) {
        let sole = self.of(peer, v4).count() == 1;
        self.all_mut().filter(|g| g.peer() == peer && g.v4 == v4).for_each(|g| g.sole = sole);
    }

    /// The source of Path Identifier 0 of a generation, and whether every path of its neighbour and family is of that source:
    /// whose a path is can then be told by its number.
    pub(super) fn base(&self, id: GenerationId) -> Option<(SourceId, bool)> {
        self.generation(id).map(|g| (g.base, g.sole && g.others == 0))
    }

    pub(super) fn generation(&self, id: GenerationId) -> Option<&Generation> {
        self.generations.get(id.0 as usize)?.as_ref()
    }

    pub(super) fn generation_mut(&mut self, id: GenerationId) -> Option<&mut Generation> {
        self.generations.get_mut(id.0 as usize)?.as_mut()
    }

    /// Every generation of a neighbour and family, dead ones too.
    pub(super) fn of(&self, peer: PeerId, v4: bool) -> impl Iterator<Item = (GenerationId, &Generation)> {
        self.all().filter(move |(_, g)| g.peer() == peer && g.v4 == v4)
    }

    /// Every generation.
    pub(super) fn all(&self) -> impl Iterator<Item = (GenerationId, &Generation)> {
        (0..).map(GenerationId).zip(&self.generations).filter_map(|(id, g)| Some((id, g.as_ref()?)))
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Generation> {
        self.generations.iter_mut().flatten()
    }

    /// The generation takes no new paths from now on.
    pub(super) fn end(&mut self, id: GenerationId) {
        if let Some(generation) = self.generation_mut(id) {
            generation.current = false;
        }
        self.tidy(id);
    }

    /// The paths of a generation are of no use from now on. `why`: to be told once they are out.
    pub(super) fn kill(&mut self, id: GenerationId, why: Option<&'static str>) {
        let Some(generation) = self.generation_mut(id).filter(|g| !g.dead) else { return };
        (generation.current, generation.dead) = (false, true);
        generation.purge = why.map(|why| (generation.paths, why));
        self.dead += 1;
        self.died = true;
        self.tidy(id);
    }

    /// A generation died since this was last called.
    pub(super) fn take_died(&mut self) -> bool {
        std::mem::take(&mut self.died)
    }

    /// Generations that wait to be swept out.
    pub(super) fn dead(&self) -> usize {
        self.dead
    }

    /// A dead generation whose paths are all out.
    pub(super) fn poll_purged(&mut self) -> Option<Purged> {
        self.purged.pop()
    }

    /// Frees a generation that is neither current nor has paths.
    fn tidy(&mut self, id: GenerationId) {
        let Some(g) = self.generation(id).filter(|g| !g.current && g.paths == 0) else { return };
        if let Some((count, why)) = g.purge.filter(|(count, _)| *count > 0) {
            self.purged.push(Purged { peer: g.peer(), v4: g.v4, count, why });
        }
        let Some(generation) = self.generations.get_mut(id.0 as usize).and_then(Option::take) else { return };
        self.dead -= usize::from(generation.dead);
        self.sources.free(generation.base.0);
        self.count_siblings(generation.peer(), generation.v4);
    }

    /// The source of a Path Identifier of a generation; the caller holds no reference to it yet.
    pub(super) fn source(&mut self, generation: GenerationId, path_id: u32) -> Option<SourceId> {
        if path_id == 0 {
            return self.generation(generation).map(|g| g.base);
        }
        if let Some(&id) = self.by_path_id.get(&(generation, path_id)) {
            return Some(id);
        }
        let of = self.generation_mut(generation)?;
        of.others += 1;
        let peer = Some(of.peer());
        let id = SourceId(self.sources.insert(Source { generation, path_id, peer, refs: 0 }));
        self.by_path_id.insert((generation, path_id), id);
        Some(id)
    }

    pub(super) fn get(&self, id: SourceId) -> Option<&Source> {
        self.sources.get(id.0)
    }

    /// The generation of a source, with its Path Identifier.
    pub(super) fn resolve(&self, id: SourceId) -> Option<(&Generation, u32)> {
        let source = self.get(id)?;
        Some((self.generation(source.generation)?, source.path_id))
    }

    /// Nothing came of a new source: no path names it.
    pub(super) fn forget_unused(&mut self, id: SourceId) {
        if self.get(id).is_some_and(|s| s.refs == 0) {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: SourceId) {
        let Some(&Source { generation, path_id, .. }) = self.get(id) else { return };
        self.by_path_id.remove(&(generation, path_id));
        self.sources.free(id.0);
        if let Some(g) = self.generation_mut(generation) {
            g.others -= 1;
        }
    }

    /// So many more paths name the source from now on.
    pub(super) fn add_paths(&mut self, id: SourceId, accepted: bool, paths: u32) {
        let Some(source) = self.sources.get_mut(id.0) else { return };
        source.refs += paths;
        let generation = source.generation;
        if let Some(g) = self.generation_mut(generation) {
            g.paths += paths as usize;
            g.accepted += if accepted { paths as usize } else { 0 };
        }
    }

    /// So many paths name it no more.
    pub(super) fn remove_paths(&mut self, id: SourceId, accepted: bool, paths: u32) {
        let Some(source) = self.sources.get_mut(id.0) else { return };
        source.refs -= paths;
        let Source { generation, refs, .. } = *source;
        if refs == 0 {
            self.forget(id);
        }
        if let Some(g) = self.generation_mut(generation) {
            g.paths -= paths as usize;
            g.accepted -= if accepted { paths as usize } else { 0 };
        }
        self.tidy(generation);
    }

    /// A path of it is let in by policy now, or is not any more.
    pub(super) fn set_accepted(&mut self, id: SourceId, accepted: bool) {
        let Some(source) = self.get(id).copied() else { return };
        if let Some(g) = self.generation_mut(source.generation) {
            g.accepted = if accepted { g.accepted + 1 } else { g.accepted - 1 };
        }
    }

    /// Octets taken from the allocator.
    pub(super) fn octets(&self) -> usize {
        let generations = self.generations.capacity() * size_of::<Option<Generation>>();
        // A bucket is the entry and a tag.
        let map = self.by_path_id.capacity() * (size_of::<((GenerationId, u32), SourceId)>() + 1) * 8 / 7;
        self.sources.octets() + generations + map
    }
}
