//! `bgp-wire`: BGP-4 bytes to values and back. Floor 1: pure, no I/O, no clock, no tracing.
//!
//! The way of a byte: [`message::frame`] finds one message in a receive buffer (RFC 4271 §4.1, RFC 8654), then
//! [`message::decode`] turns its body into a [`Message`]; an UPDATE is judged by RFC 7606 while it is read
//! ([`update`], [`verdict`]). Out, [`message::encode`] and [`update::encode_announce`] write whole messages or fail,
//! typed; nothing is ever truncated.
//!
//! Invariants: no input panics or allocates more than a small multiple of its own length; what is not understood
//! (capabilities, attributes) is kept byte for byte.
#![forbid(unsafe_code)]

pub mod attr;
pub mod capability;
mod error;
pub mod family;
mod list;
pub mod message;
pub mod notification;
pub mod open;
mod reader;
pub mod route_refresh;
pub mod update;
pub mod verdict;

pub use attr::{
    Aggregator, AsPath, AsPathSegment, AsPathSegmentType, Community, ExtendedCommunity, LargeCommunity, Origin,
    PathAttributes, UnknownAttribute,
};
pub use capability::{AddPathMode, Capability, GracefulRestart, Role};
pub use error::EncodeError;
pub use list::List;
pub use message::{Frame, Message, MessageType};
pub use notification::Notification;
pub use open::Open;
pub use route_refresh::{RouteRefresh, RouteRefreshSubtype};
pub use update::{NextHop, Nlri, Reach, SessionContext, Unreach, Update};
pub use verdict::{AttrError, AttrVerdict};
