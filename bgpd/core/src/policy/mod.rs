//! Relationship filters.
