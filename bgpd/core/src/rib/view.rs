//! What [`super::out`] sees of the Loc-RIB: a question per prefix, and the list of prefixes.

use std::sync::Arc;

use bgp_wire::{NextHop, PathAttributes};
use net_types::{Family, Prefix};

use crate::policy::RouteSource;

/// The best path of a prefix, on offer to the export policies.
#[derive(Clone, Copy)]
pub struct ExportRoute<'a> {
    /// Who it is from.
    pub source: RouteSource<'a>,
    /// Its next hop as received; the unspecified address of the prefix's family for routes originated here.
    pub next_hop: NextHop,
    /// Attributes after import policy.
    pub attributes: &'a Arc<PathAttributes>,
}

/// What may be said about a prefix now.
#[derive(Clone, Copy)]
pub enum Exportable<'a> {
    /// Nothing: what was announced must be withdrawn.
    Withdrawn,
    /// A new best path waits for the kernel: what was announced stays, nothing new is said. The prefix is marked
    /// changed again when the wait ends.
    Pending,
    /// This route.
    Route(ExportRoute<'a>),
}

/// The Loc-RIB as the outbound side may see it.
pub trait LocRibView {
    /// What may be said about `prefix`.
    fn exportable(&self, prefix: &Prefix) -> Exportable<'_>;
    /// Every prefix of `family` with a best path, in order.
    fn prefixes(&self, family: Family) -> Box<dyn Iterator<Item = Prefix> + '_>;
    /// False while the first decision after a restart is deferred: nothing is sent, End-of-RIB least of all
    /// (RFC 4724 §4.1).
    fn may_export(&self) -> bool;
    /// True once the wants of the first decision are confirmed: End-of-RIB may follow the initial dump.
    fn may_end_of_rib(&self) -> bool;
}
