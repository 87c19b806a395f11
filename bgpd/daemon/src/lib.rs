//! `bgpd`: the tokio shell around the pure BGP speaker of `bgp-core`. Floor 4.
#![forbid(unsafe_code)]

pub mod config;
