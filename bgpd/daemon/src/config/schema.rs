//! The shape of the file, as serde reads it: nothing is judged here beyond the kind of a value, and every value keeps
//! its place so that a later refusal can name the line.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer};
use toml::Spanned;

/// A key that may be absent, with its place.
pub(super) type Key<T> = Option<Spanned<T>>;

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) bgp: Spanned<Bgp>,
    #[serde(default)]
    pub(super) daemon: Daemon,
    #[serde(default)]
    pub(super) fib: Fib,
    pub(super) ipam: Option<Spanned<Ipam>>,
    #[serde(default)]
    pub(super) announce: Announce,
    #[serde(default)]
    pub(super) ducts: BTreeMap<Spanned<String>, Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    pub(super) group: Vec<Spanned<Neighbor>>,
    #[serde(default)]
    pub(super) neighbor: Vec<Spanned<Neighbor>>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Bgp {
    pub(super) local_as: Spanned<Asn>,
    pub(super) router_id: Spanned<String>,
    #[serde(default)]
    pub(super) lab: bool,
    #[serde(default)]
    pub(super) own_prefixes: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) internal_prefixes: Vec<Spanned<String>>,
    pub(super) cluster_id: Key<String>,
    #[serde(default)]
    pub(super) listen: Vec<Spanned<String>>,
    pub(super) port: Key<u16>,
    pub(super) selection_deferral: Key<u32>,
    pub(super) max_med_on_startup: Key<u32>,
    pub(super) wait_for_fib: Option<bool>,
    pub(super) multipath: Option<Multipath>,
}

/// Equal paths used at a time.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Multipath {
    pub(super) ebgp: Key<u16>,
    pub(super) ibgp: Key<u16>,
    #[serde(default)]
    pub(super) relax_as_path: bool,
    #[serde(default)]
    pub(super) link_bandwidth: bool,
}

/// An AS number as the file gives it: a number, or text ("AS64500", "1.5").
#[derive(Deserialize, Debug, Clone)]
#[serde(untagged, expecting = "invalid AS number: write 64500 or \"AS64500\"")]
pub(super) enum Asn {
    Number(u32),
    Text(String),
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Daemon {
    pub(super) run_dir: Option<String>,
    pub(super) state_dir: Option<String>,
    pub(super) log: Option<String>,
    pub(super) hostname: Option<String>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Fib {
    pub(super) enabled: Option<bool>,
    pub(super) rtproto: Key<u8>,
    pub(super) table: Key<u32>,
    pub(super) metric: Key<u32>,
    pub(super) hold_up: Key<u16>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Ipam {
    pub(super) site: Spanned<String>,
    pub(super) endpoints: Spanned<Vec<Spanned<String>>>,
}

#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Announce {
    #[serde(default)]
    pub(super) prefixes: Vec<Spanned<String>>,
}

/// A limit of one family.
#[derive(Deserialize, Debug, Clone)]
#[serde(deny_unknown_fields)]
pub(super) struct MaxPrefix {
    pub(super) limit: Spanned<u32>,
    pub(super) restart: Option<u32>,
}

/// Limits by family.
#[derive(Deserialize, Debug, Clone)]
#[serde(deny_unknown_fields)]
pub(super) struct MaxPrefixes {
    #[serde(rename = "ipv4-unicast")]
    pub(super) ipv4: Option<MaxPrefix>,
    #[serde(rename = "ipv6-unicast")]
    pub(super) ipv6: Option<MaxPrefix>,
}

/// ADD-PATH both ways.
#[derive(Deserialize, Debug, Clone)]
#[serde(deny_unknown_fields)]
pub(super) struct AddPath {
    #[serde(default)]
    pub(super) receive: bool,
    pub(super) send: Key<Paths>,
}

/// How many paths: a number, or "all".
#[derive(Deserialize, Debug, Clone)]
#[serde(untagged, expecting = "invalid number of paths: write \"all\" or a number")]
pub(super) enum Paths {
    Number(u16),
    Text(String),
}

/// BFD with a neighbour.
#[derive(Deserialize, Debug, Clone)]
#[serde(deny_unknown_fields)]
pub(super) struct Bfd {
    pub(super) interval: Key<u32>,
    pub(super) multiplier: Key<u8>,
    #[serde(default)]
    pub(super) strict: bool,
    #[serde(default)]
    pub(super) passive: bool,
    pub(super) multihop: Option<bool>,
    pub(super) auth: Key<String>,
    pub(super) auth_key_id: Key<u8>,
    pub(super) auth_key_file: Key<String>,
}

/// A text that no message repeats, not even the reader's "invalid type: integer `…`".
#[derive(Clone)]
pub(super) struct SecretText(pub(super) String);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(d)? {
            toml::Value::String(s) => Ok(SecretText(s)),
            _ => Err(serde::de::Error::custom("invalid key: expected text in quotes")),
        }
    }
}

/// Declares the neighbour's keys once: the struct, and how a group's keys stand in for absent ones.
macro_rules! neighbor_keys {
    ($($key:ident : $kind:ty),+ $(,)?) => {
        /// A neighbour or a group: the same keys, all optional here.
        #[derive(Deserialize, Debug, Clone, Default)]
        #[serde(deny_unknown_fields)]
        pub(super) struct Neighbor {
            pub(super) name: Key<String>,
            pub(super) group: Key<String>,
            $(pub(super) $key: Key<$kind>,)+
        }

        impl Neighbor {
            /// This neighbour with the group's value for every key it does not give itself.
            pub(super) fn or(self, group: &Neighbor) -> Neighbor {
                Neighbor {
                    name: self.name,
                    group: self.group,
                    $($key: self.$key.or_else(|| group.$key.clone()),)+
                }
            }
        }
    };
}

neighbor_keys! {
    description: String,
    address: String,
    range: String,
    port: u16,
    local_address: String,
    interface: String,
    remote_as: Asn,
    relation: String,
    families: Vec<Spanned<String>>,
    policy: String,
    passive: bool,
    enabled: bool,
    hold_time: u16,
    send_hold_time: u32,
    connect_retry_time: u32,
    delay_open: u16,
    md5: SecretText,
    md5_file: String,
    ttl_security: bool,
    multihop: u8,
    role: String,
    role_strict: bool,
    enforce_first_as: bool,
    extended_message: bool,
    extended_next_hop: bool,
    enhanced_refresh: bool,
    add_path: AddPath,
    gr_helper: bool,
    gr_restart_time: u16,
    max_prefix: MaxPrefixes,
    next_hop_self: bool,
    allow_own_as: u8,
    allowed_prefixes: Vec<Spanned<String>>,
    allowed_origins: Vec<Spanned<Asn>>,
    local_pref: u32,
    max_as_path: u16,
    export: bool,
    prepend: u8,
    graceful_shutdown: bool,
    drain: bool,
    bfd: Bfd,
}
