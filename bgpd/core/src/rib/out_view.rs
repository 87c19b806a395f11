//! The RIB as [`super::out`] sees it.

use std::cell::RefCell;
use std::sync::Arc;

use bgp_wire::PathAttributes;
use net_types::Prefix;

use super::choose::Offer;
use super::ids::{AttrId, DestId};
use super::loc_rib::LocRib;
use super::out;

impl LocRib {
    /// What may be said about a prefix. `last`: the last attributes decoded, as consecutive prefixes mostly share theirs.
    pub(super) fn view(
        &self,
        prefix: &Prefix,
        last: &RefCell<Option<(AttrId, Arc<PathAttributes>)>>,
    ) -> out::Offer<'_> {
        let offer = self.table.find(prefix).map_or(Offer::Withdrawn, |id| self.exportable(id));
        let (set, source) = match offer {
            Offer::Withdrawn => return out::Offer::Withdrawn,
            Offer::Pending => return out::Offer::Pending,
            Offer::Route { set, source } => (set, source),
        };
        let entry = self.pool.head(set).and_then(|h| self.next_hops.get(h.next_hop()));
        let (Some(entry), Some(source)) = (entry, self.identities.source(source, &self.speaker)) else {
            return out::Offer::Withdrawn;
        };
        let mut last = last.borrow_mut();
        let attributes = match &*last {
            Some((same, attributes)) if *same == set => Arc::clone(attributes),
            _ => Arc::new(self.pool.decode(set)),
        };
        *last = Some((set, Arc::clone(&attributes)));
        out::Offer::Route(out::BestView { source, next_hop: entry.key.next_hop, set: set.get(), attributes })
    }

    /// Every prefix with a best path, both families.
    pub(super) fn all_prefixes(&self) -> Vec<Prefix> {
        let ids = std::iter::successors(self.table.after(None), |id: &DestId| self.table.after(Some(*id)));
        let best = ids.filter(|id| self.table.get(*id).is_some_and(|s| s.has_best()));
        best.filter_map(|id| self.table.prefix(id)).collect()
    }
}
