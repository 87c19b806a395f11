//! Why a value cannot be written. Receiving errors are [`crate::Notification`] and [`crate::AttrError`].

use net_types::Family;

/// A message that cannot be encoded; nothing was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncodeError {
    /// The attributes leave no room for a single route in a message of the negotiated size, or a message is longer than
    /// its type allows (RFC 4271 §4, RFC 8654 §4). A route in this state is to be withdrawn from that peer
    /// (RFC 4271 §9.2): it must be neither truncated nor sent as it was before.
    #[error("does not fit into one message of the size negotiated with this peer (RFC 4271 §4, RFC 8654 §4)")]
    TooLong,
    /// No codec for the family.
    #[error("this build carries no routes of family {0}")]
    UnsupportedFamily(Family),
    /// A prefix of another family than the message's.
    #[error("a prefix of another family among those of {0}")]
    WrongFamily(Family),
    /// The next hop's kind is not one this family travels with, or not without RFC 8950 in force.
    #[error("this kind of next hop needs RFC 8950 in force for {0}")]
    NextHop(Family),
    /// A field whose length octet cannot hold it, such as a capability over 255 octets.
    #[error("{0} is longer than its length field can say")]
    FieldTooLong(&'static str),
}
