//! A changed configuration: what can stay, what ends the session (Cease, Other Configuration Change, RFC 4486).

use std::sync::Arc;

use bgp_wire::Notification;
use bgp_wire::notification::cease;
use net_types::Monotime;

use super::negotiate::Ourselves;
use super::reason::cease_with_text;
use super::seeking::Seeking;
use super::{Peer, Reconfigured};
use crate::config::{NeighborConfig, SpeakerConfig};

impl Peer {
    /// Takes a new configuration. A field that an OPEN or the TCP connection was made from ends the session and starts
    /// anew at once; `enabled` stops or starts; everything else is in force without the neighbour noticing.
    pub fn reconfigure(&mut self, now: Monotime, speaker: &SpeakerConfig, config: Arc<NeighborConfig>) -> Reconfigured {
        let us = Ourselves { local_as: speaker.local_as, router_id: speaker.router_id };
        if us == self.us && *config == *self.config {
            return Reconfigured::Unchanged;
        }
        let field = difference((self.us, &self.config), (us, &config));
        let (was_enabled, enabled) = (self.config.enabled, config.enabled);
        let was_passive = self.is_passive();
        (self.us, self.config) = (us, config);
        for connection in &mut self.connections {
            connection.send_hold.set_time(self.config.send_hold_time);
        }
        let started = self.seeking != Seeking::Idle { until: None };
        if was_enabled && !enabled {
            self.stop(now, &cease_with_text(cease::ADMINISTRATIVE_SHUTDOWN, "disabled in the configuration"), None);
        } else if enabled && !was_enabled && !started {
            self.back_off.reset();
            self.start(now);
        } else if field.is_some() && started {
            self.stop(now, &Notification::cease(cease::OTHER_CONFIGURATION_CHANGE), None);
            self.back_off.reset();
            self.start(now);
        } else if was_passive != self.is_passive() && self.connections.is_empty() && started {
            self.abandon_connect();
            self.start(now);
        }
        // BFD may be strict no longer.
        self.no_longer_waits(now);
        self.note_state(now);
        field.map_or(Reconfigured::Live, Reconfigured::Reset)
    }
}

/// The first field that differs and cannot change under a session.
fn difference(old: (Ourselves, &NeighborConfig), new: (Ourselves, &NeighborConfig)) -> Option<&'static str> {
    let ((our_old, old), (our_new, new)) = (old, new);
    let fields = [
        ("local_as", our_old.local_as != our_new.local_as),
        ("router_id", our_old.router_id != our_new.router_id),
        ("address", old.remote != new.remote),
        ("local_address", old.local_address != new.local_address),
        ("interface", old.interface != new.interface),
        ("remote_as", old.remote_as != new.remote_as),
        ("relation", old.relation.is_internal() != new.relation.is_internal()),
        ("role", old.our_role() != new.our_role()),
        ("role_strict", old.role_strict != new.role_strict),
        ("families", old.families != new.families),
        ("hold_time", old.hold_time != new.hold_time),
        ("md5", old.md5 != new.md5),
        ("ttl_security", old.ttl_security != new.ttl_security),
        ("multihop", old.multihop != new.multihop),
        ("extended_message", old.extended_message != new.extended_message),
        ("extended_next_hop", old.extended_next_hop != new.extended_next_hop),
        ("enhanced_refresh", old.enhanced_refresh != new.enhanced_refresh),
        ("gr_helper", old.gr_helper != new.gr_helper),
        ("gr_restart_time", old.gr_restart_time != new.gr_restart_time),
    ];
    fields.into_iter().find_map(|(name, differs)| differs.then_some(name))
}
