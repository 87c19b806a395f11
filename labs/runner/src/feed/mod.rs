//! `lab-feeder`: a BGP speaker that stands for everything behind an operator. It plays a table and learns nothing.
//!
//! The way of a byte: seeded generator (`test_tables`) or MRT file ([`mrt`]) or prefixes given by hand -> `Table`
//! (routes grouped by what they share) -> `bgp-wire` -> socket ([`session`]), one End-of-RIB per family, then
//! keepalives until the session ends, then again.

pub mod mrt;
pub mod session;
