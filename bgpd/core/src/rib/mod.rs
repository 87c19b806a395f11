//! The routing information base.
