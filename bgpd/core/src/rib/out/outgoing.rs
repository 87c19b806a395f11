//! UPDATEs on their way to one neighbour: octets that it shares with others, and where its own go.

use std::sync::Arc;

use bgp_wire::NextHop;
use bytes::{Bytes, BytesMut};

use crate::policy::OwnNextHops;

/// Where in a buffer a next hop stands that is each neighbour's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place(u32);

impl Place {
    const V6: u32 = 1 << 31;

    /// `v4`: the routes are IPv4's.
    pub(super) fn new(at: usize, v4: bool) -> Place {
        let at = u32::try_from(at).unwrap_or(u32::MAX) & !Place::V6;
        Place(if v4 { at } else { at | Place::V6 })
    }
}

/// Whole messages for one neighbour. Many hold the same octets; [`Outgoing::into_bytes`] makes them this neighbour's.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The shared octets.
    bytes: Bytes,
    places: Arc<[Place]>,
    own: OwnNextHops,
}

impl Outgoing {
    pub(super) fn new(bytes: Bytes, places: Arc<[Place]>, own: OwnNextHops) -> Outgoing {
        Outgoing { bytes, places, own }
    }

    /// How many octets these are.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Nothing to send.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What goes to the socket. The shared buffer itself where no next hop is the neighbour's own (a reflector's clients);
    /// else a copy, unless nobody else holds it. Best called where the neighbour is served, not where the RIB is.
    pub fn into_bytes(self) -> Bytes {
        if self.places.is_empty() {
            return self.bytes;
        }
        let mut bytes = BytesMut::from(self.bytes);
        for Place(place) in self.places.iter() {
            let own = if place & Place::V6 == 0 { self.own.ipv4 } else { self.own.ipv6 };
            let at = (place & !Place::V6) as usize;
            let mut put = |at: usize, octets: &[u8]| {
                if let Some(field) = bytes.get_mut(at..at + octets.len()) {
                    field.copy_from_slice(octets);
                }
            };
            match own {
                Some(NextHop::V4(address)) => put(at, &address.octets()),
                Some(NextHop::V6 { global, link_local }) => {
                    put(at, &global.octets());
                    if let Some(link_local) = link_local {
                        put(at + 16, &link_local.octets());
                    }
                }
                // A group whose members have no such address is given no such route.
                None => {}
            }
        }
        bytes.freeze()
    }

    /// The shared octets, for tests of what is shared.
    #[cfg(test)]
    pub(super) fn shared(&self) -> &Bytes {
        &self.bytes
    }
}
