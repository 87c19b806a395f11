//! Reading the kernel's tables and correcting what we believe of them; what differs from the wants is queued.

use super::{Entry, FibSync};
use crate::KernelError;
use crate::fib::{FibKernel, PassReport};
use net_types::Prefix;
use std::collections::BTreeMap;

impl<K: FibKernel> FibSync<K> {
    pub(super) fn read_again(&mut self) -> Result<(), KernelError> {
        self.compare().map(|_| self.reread = false)
    }

    /// How many objects, and how many routes with them, were not as believed.
    pub(super) fn compare_objects(&mut self) -> Result<(usize, usize), KernelError> {
        let dumped = self.kernel.dump_nexthops()?;
        let (surprises, gone) = self.objects.compare(&dumped);
        let mut routes = 0;
        if !gone.is_empty() {
            // Their routes went with them, without a word.
            let lost: Vec<Prefix> = self
                .entries
                .iter()
                .filter(|(_, e)| e.have.is_some_and(|id| gone.contains(&id)))
                .map(|(p, _)| *p)
                .collect();
            routes = lost.len();
            for prefix in lost {
                self.set_have(&prefix, None);
                self.enqueue(prefix);
            }
        }
        Ok((surprises, routes))
    }

    pub(super) fn compare(&mut self) -> Result<PassReport, KernelError> {
        let (nexthops, missing) = self.compare_objects()?;
        let mut report = PassReport { nexthops, missing, ..PassReport::default() };
        let metric = self.config.metric;
        let mut standing = BTreeMap::new();
        for route in self.kernel.dump_routes()? {
            report.routes += 1;
            if route.metric == metric {
                standing.insert(route.prefix, route.nexthop_id.unwrap_or(0));
            } else if !self.odd.contains(&route) {
                self.odd.push(route);
            }
        }
        let mut due = Vec::new();
        let mut found = Vec::new();
        for (prefix, entry) in &self.entries {
            let actual = standing.remove(prefix);
            let wanted = entry.want.and_then(|h| self.objects.get(h)).map(|o| o.id);
            if actual != entry.have {
                found.push((*prefix, actual));
            }
            if !entry.stale && actual != wanted && !entry.queued {
                match (actual, wanted) {
                    (None, _) => report.missing += 1,
                    (Some(_), Some(_)) => report.wrong += 1,
                    (Some(_), None) => report.extra += 1,
                }
                due.push(*prefix);
            }
        }
        // Ours by protocol, unknown here: not claimed after the sweep means not wanted; before it, stale.
        for (prefix, id) in standing {
            self.entries.insert(prefix, Entry { stale: !self.swept, ..Entry::default() });
            found.push((prefix, Some(id)));
            if self.swept {
                report.extra += 1;
                due.push(prefix);
            }
        }
        for (prefix, actual) in found {
            self.set_have(&prefix, actual);
        }
        due.into_iter().for_each(|p| self.enqueue(p));
        Ok(report)
    }

    pub(super) fn retry_failed(&mut self) {
        let failed: Vec<Prefix> = self.entries.iter().filter(|(_, e)| e.error.is_some()).map(|(p, _)| *p).collect();
        for prefix in failed {
            if let Some(entry) = self.entries.get_mut(&prefix) {
                entry.report = true;
                entry.attempts = 0;
            }
            self.enqueue(prefix);
        }
    }
}
