//! The routing information base.

pub mod out;
mod types;
mod view;

pub use types::{
    Connected, ConnectedTable, ExplainedPath, ExplainedRoute, FamilyCounts, FibChange, FibEntry, FibState, FibTarget,
    MaxPrefixExceeded, NeighborFamilyCounts, Outcome, PeerId, PeerInfo, ResolvedNextHop, Retain, RibEvent, RibSummary,
    RouteEntry, RouteFilter, RouteTable,
};
pub use view::{ExportRoute, Exportable, LocRibView};
