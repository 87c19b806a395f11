//! Sockets and who owns them: listeners, a task a neighbour, the options of a BGP connection.

mod bfd_watch;
pub mod buffers;
pub mod connections;
pub mod dial;
pub mod flow;
mod gateways;
pub mod listener;
pub mod malformed;
pub mod neighbor;
pub mod sparing;
