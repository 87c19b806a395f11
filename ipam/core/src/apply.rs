//! Events make the state. Total: an event that cannot have happened is an error, never a panic, so that a damaged log
//! is found when it is replayed.

use crate::command::Event;
use crate::free::FreeSpace;
use crate::state::{Announcement, Answered, Assignment, Holding, Site, State};
use net_types::Prefix;
use std::collections::btree_map::Entry;

/// An event that does not fit the state it is applied to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {revision} does not follow from those before it: {what}")]
pub struct Inconsistent {
    /// The event's number.
    pub revision: u64,
    /// What does not fit.
    pub what: String,
}

impl State {
    /// Makes `event` have happened: the revision is one more. On an error the state is not to be used any more.
    pub fn apply(&mut self, event: &Event) -> Result<(), Inconsistent> {
        self.revision += 1;
        let done = match event {
            Event::HoldingAdded { prefix, source } => self.holding_added(*prefix, source),
            Event::SiteAdded { name, description } => {
                self.sites.insert(name.clone(), Site { description: description.clone() });
                Ok(())
            }
            Event::Assigned { prefix, owner, site, description, request } => {
                if let Some(key) = request {
                    let answer = Answered { asked: key.asked.clone(), prefix: *prefix, revision: self.revision };
                    self.answered.insert(key.id.clone(), answer);
                }
                let assignment = Assignment {
                    owner: owner.clone(),
                    site: site.clone(),
                    description: description.clone(),
                    revision: self.revision,
                    free: None,
                };
                self.assigned(*prefix, assignment)
            }
            Event::Released { prefix } => self.released(*prefix),
            Event::Announced { prefix, owner, sites } => {
                let new = || Announcement { owner: owner.clone(), sites: Default::default() };
                let announcement = self.announcements.entry(*prefix).or_insert_with(new);
                announcement.sites.extend(sites.iter().cloned());
                Ok(())
            }
            Event::Withdrawn { prefix, sites } => self.withdrawn(*prefix, sites),
        };
        done.map_err(|what| Inconsistent { revision: self.revision, what })
    }

    fn holding_added(&mut self, prefix: Prefix, source: &str) -> Result<(), String> {
        let holding = Holding { source: source.to_owned(), free: FreeSpace::whole(prefix) };
        match self.holdings.insert(prefix, holding) {
            None => Ok(()),
            Some(_) => Err(format!("holding {prefix} is there already")),
        }
    }

    /// The free blocks inside the new assignment move from what contains it into the assignment.
    fn assigned(&mut self, prefix: Prefix, mut assignment: Assignment) -> Result<(), String> {
        if self.assignments.contains_key(&prefix) {
            return Err(format!("{prefix} is booked already"));
        }
        let inside = self.container(prefix)?.take(prefix);
        if inside != [prefix] {
            assignment.free = Some(FreeSpace::of(prefix, inside));
        }
        self.assignments.insert(prefix, assignment);
        Ok(())
    }

    fn released(&mut self, prefix: Prefix) -> Result<(), String> {
        let assignment = self.assignments.remove(&prefix).ok_or_else(|| format!("{prefix} is not booked"))?;
        let blocks = match &assignment.free {
            None => vec![prefix],
            Some(free) => free.blocks().collect(),
        };
        let container = self.container(prefix)?;
        for block in blocks {
            container.give(block);
        }
        Ok(())
    }

    /// The free space that directly contains `prefix`: of the innermost assignment above it, else of its holding.
    fn container(&mut self, prefix: Prefix) -> Result<&mut FreeSpace, String> {
        let holding = self.holding_around(prefix).map(|(p, _)| p);
        match self.assignment_above(prefix).map(|(p, _)| p) {
            Some(above) => {
                let assignment = self.assignments.get_mut(&above);
                assignment.map(|a| a.free.get_or_insert_with(|| FreeSpace::whole(above)))
            }
            None => holding.and_then(|p| self.holdings.get_mut(&p)).map(|h| &mut h.free),
        }
        .ok_or_else(|| format!("no holding around {prefix}"))
    }

    fn withdrawn(&mut self, prefix: Prefix, sites: &[String]) -> Result<(), String> {
        let Entry::Occupied(mut entry) = self.announcements.entry(prefix) else {
            return Err(format!("{prefix} is not announced"));
        };
        for site in sites {
            entry.get_mut().sites.remove(site);
        }
        if entry.get().sites.is_empty() {
            entry.remove();
        }
        Ok(())
    }
}
