//! What a reload costs: per field, one table. A field that is not in the table does not compile.
//!
//! Both sides are checked [`Config`]s, so comments, white space, order, groups and defaults spelt out are already gone:
//! files that mean the same differ in nothing here.

use std::collections::BTreeSet;

use bgp_core::config::{NeighborConfig, SpeakerConfig};

use super::Config;

/// What a changed field costs, cheapest first; a neighbour pays the dearest of its changed fields.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cost {
    /// In force at once (or at the field's next use); the session and its routes do not notice.
    Live,
    /// Routes are judged anew against the kept Adj-RIB-In, and exports recomputed; the session stays.
    Refresh,
    /// The session ends (Cease, Other Configuration Change, RFC 4486) and comes back.
    Reset,
    /// In force at the next start of the daemon.
    Restart,
}

impl Cost {
    /// The word in a reload's answer.
    pub fn as_str(self) -> &'static str {
        match self {
            Cost::Live => "live",
            Cost::Refresh => "refresh",
            Cost::Reset => "session reset",
            Cost::Restart => "next start",
        }
    }
}

/// One changed field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FieldChange {
    /// Its key.
    pub field: &'static str,
    /// Its cost.
    pub cost: Cost,
}

/// Declares a comparison of all fields: destructured, so that a new field must be given its cost.
macro_rules! costs {
    ($(#[$doc:meta])* $table:ident, $compare:ident, $type:ident { $($field:ident: $cost:ident),+ $(,)? }) => {
        $(#[$doc])*
        pub const $table: &[(&str, Cost)] = &[$((stringify!($field), Cost::$cost)),+];

        /// The fields in which the two differ.
        pub fn $compare(old: &$type, new: &$type) -> Vec<FieldChange> {
            let $type { $($field),+ } = old;
            let mut changes = Vec::new();
            $(if *$field != new.$field {
                changes.push(FieldChange { field: stringify!($field), cost: Cost::$cost });
            })+
            changes
        }
    };
}

costs! {
    /// What a change of each neighbour field costs. Reset: what the OPEN or the TCP connection is made of.
    NEIGHBOR_COSTS, compare_neighbor, NeighborConfig {
        name: Reset,
        description: Live,
        remote: Reset,
        port: Reset,
        local_address: Reset,
        interface: Reset,
        remote_as: Reset,
        relation: Reset,
        families: Reset,
        policy: Refresh,
        passive: Live,
        enabled: Live,
        hold_time: Reset,
        send_hold_time: Live,
        connect_retry_time: Live,
        delay_open: Live,
        md5: Reset,
        ttl_security: Reset,
        multihop: Reset,
        role: Reset,
        role_strict: Reset,
        enforce_first_as: Refresh,
        extended_message: Reset,
        extended_next_hop: Reset,
        enhanced_refresh: Reset,
        add_path: Reset,
        gr_helper: Live,
        gr_restart_time: Reset,
        max_prefix: Live,
        next_hop_self: Refresh,
        allow_own_as: Refresh,
        allowed_prefixes: Refresh,
        allowed_origins: Refresh,
        local_pref: Refresh,
        max_as_path: Refresh,
        export: Refresh,
        prepend: Refresh,
        graceful_shutdown: Refresh,
        drain: Refresh,
        bfd: Live,
    }
}

costs! {
    /// What a change of each `[bgp]` field costs every neighbour.
    SPEAKER_COSTS, compare_speaker, SpeakerConfig {
        local_as: Reset,
        router_id: Reset,
        lab: Refresh,
        own_prefixes: Refresh,
        internal_prefixes: Refresh,
        cluster_id: Refresh,
        selection_deferral: Live,
        max_med_on_startup: Live,
        wait_for_fib: Live,
        ducts: Live,
        multipath: Live,
    }
}

/// What a reload has to do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Difference {
    /// Names only in the new file.
    pub added: Vec<String>,
    /// Names only in the old file.
    pub removed: Vec<String>,
    /// Names in both, and what changed; only those with a change.
    pub changed: Vec<(String, Vec<FieldChange>)>,
    /// Names in both without a change.
    pub unchanged: Vec<String>,
    /// Changes of the speaker and the daemon ("daemon.log").
    pub settings: Vec<FieldChange>,
}

impl Difference {
    /// True if the two files mean the same.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty() && self.settings.is_empty()
    }

    /// True if this setting changed.
    pub fn has_setting(&self, field: &str) -> bool {
        self.settings.iter().any(|c| c.field == field)
    }

    /// For people: a line a neighbour or setting.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.settings.iter().map(|c| format!("{}: {}", c.field, c.cost.as_str())).collect();
        lines.extend(self.removed.iter().map(|n| format!("{n}: removed")));
        lines.extend(self.added.iter().map(|n| format!("{n}: added")));
        for (name, changes) in &self.changed {
            let dearest = dearest(changes).map_or("live", Cost::as_str);
            let fields: Vec<&str> = changes.iter().map(|c| c.field).collect();
            lines.push(format!("{name}: {dearest} ({})", fields.join(", ")));
        }
        lines.extend(self.unchanged.iter().map(|n| format!("{n}: unchanged")));
        lines
    }
}

/// The dearest of some changes.
pub fn dearest(changes: &[FieldChange]) -> Option<Cost> {
    changes.iter().map(|c| c.cost).max()
}

/// Compares two configurations.
pub fn compare(old: &Config, new: &Config) -> Difference {
    let mut d = Difference { settings: compare_speaker(&old.speaker, &new.speaker), ..Difference::default() };
    let mut setting = |differs: bool, field: &'static str, cost: Cost| {
        if differs {
            d.settings.push(FieldChange { field, cost });
        }
    };
    setting(old.listen != new.listen, "listen", Cost::Live);
    setting(old.daemon.run_dir != new.daemon.run_dir, "daemon.run_dir", Cost::Restart);
    setting(old.daemon.state_dir != new.daemon.state_dir, "daemon.state_dir", Cost::Restart);
    setting(old.daemon.log != new.daemon.log, "daemon.log", Cost::Restart);
    setting(old.daemon.hostname != new.daemon.hostname, "daemon.hostname", Cost::Live);
    setting(old.fib != new.fib, "fib", Cost::Restart);
    setting(old.ipam != new.ipam, "ipam", Cost::Live);
    setting(old.announce != new.announce, "announce", Cost::Live);
    let names: BTreeSet<&String> = old.neighbors.keys().chain(new.neighbors.keys()).collect();
    for name in names {
        match (old.neighbors.get(name), new.neighbors.get(name)) {
            (Some(o), Some(n)) => match compare_neighbor(o, n) {
                c if c.is_empty() => d.unchanged.push(name.clone()),
                c => d.changed.push((name.clone(), c)),
            },
            (None, Some(_)) => d.added.push(name.clone()),
            _ => d.removed.push(name.clone()),
        }
    }
    d
}
