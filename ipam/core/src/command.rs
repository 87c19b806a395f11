//! What may be asked, and what can have happened.

use net_types::Prefix;
use serde::{Deserialize, Serialize};

/// A wish to change something. Empty text stands for "not given", as on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A registry gave us this space.
    AddHolding {
        /// The space.
        prefix: Prefix,
        /// Which registry object says so.
        source: String,
    },
    /// A place that announces.
    AddSite {
        /// Its name, as in `bgpd`'s configuration.
        name: String,
        /// For people.
        description: String,
    },
    /// Books exactly this prefix.
    Assign {
        /// The prefix.
        prefix: Prefix,
        /// For whom.
        owner: String,
        /// Where it is used; empty: anywhere.
        site: String,
        /// For people.
        description: String,
        /// The same key gives the same answer, once; empty: none.
        request_id: String,
    },
    /// Books the best-fitting free prefix of a length.
    Allocate {
        /// How long a prefix.
        length: u8,
        /// IPv4 or IPv6.
        is_v4: bool,
        /// From which holding or own assignment; `None`: any holding of the family.
        within: Option<Prefix>,
        /// For whom.
        owner: String,
        /// Where it is used; empty: anywhere.
        site: String,
        /// For people.
        description: String,
        /// The same key gives the same answer, once; empty: none.
        request_id: String,
    },
    /// Gives an assignment back.
    Release {
        /// Exactly as booked.
        prefix: Prefix,
        /// Whose it is thought to be; empty: do not check.
        owner: String,
    },
    /// Announces a prefix from sites, in addition to where it is announced already.
    Announce {
        /// The prefix.
        prefix: Prefix,
        /// From where.
        sites: Vec<String>,
        /// Whose it is; empty: whoever's it is.
        owner: String,
    },
    /// Ends an announcement.
    Withdraw {
        /// The prefix.
        prefix: Prefix,
        /// From where; empty: everywhere.
        sites: Vec<String>,
    },
}

/// The answer to a [`Command`] that is not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What has to happen; nothing if it is true already.
    pub events: Vec<Event>,
    /// The prefix that the answer is about (for an allocation: the one chosen).
    pub subject: Option<Prefix>,
}

/// Something that happened. Written to the log for ever: fields may be added with a default, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Space came to us.
    HoldingAdded {
        /// The space.
        prefix: Prefix,
        /// Which registry object says so.
        source: String,
    },
    /// A site came to be.
    SiteAdded {
        /// Its name.
        name: String,
        /// For people.
        description: String,
    },
    /// A prefix was booked.
    Assigned {
        /// The prefix.
        prefix: Prefix,
        /// For whom.
        owner: String,
        /// Where it is used.
        site: String,
        /// For people.
        description: String,
        /// The key it was asked for with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<RequestKey>,
    },
    /// A prefix was given back.
    Released {
        /// The prefix.
        prefix: Prefix,
    },
    /// A prefix is announced from more sites.
    Announced {
        /// The prefix.
        prefix: Prefix,
        /// Whose it is.
        owner: String,
        /// The sites that were added.
        sites: Vec<String>,
    },
    /// A prefix is announced from fewer sites.
    Withdrawn {
        /// The prefix.
        prefix: Prefix,
        /// The sites that were taken away.
        sites: Vec<String>,
    },
}

/// An idempotency key and what was asked with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestKey {
    /// The client's key.
    pub id: String,
    /// The request in one line, so that the same key with another request is noticed.
    pub asked: String,
}
