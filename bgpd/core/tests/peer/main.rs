//! The state machine of a neighbour under virtual time: alone against hand-made bytes (`solo`), and two of them joined by
//! byte queues (`pair`). Each test is named after the clause it holds us to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "inside tests a panic is the report; clippy sees helpers of an integration test as plain code"
)]

mod bfd;
mod collision;
mod delay_open;
mod events;
mod graceful_restart;
mod open;
mod pair;
mod property;
mod reload;
mod session;
mod solo;
mod timers;
