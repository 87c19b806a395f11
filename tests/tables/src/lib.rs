//! `test-tables`: routing tables for labs, tests and benches, as one neighbour would send them.
//!
//! The way of a byte: seeded generator ([`generate()`]), or whoever calls [`Table::add`] -> [`Table`] (routes grouped by what
//! they share) -> [`Table::play`] -> whole UPDATEs, End-of-RIB last, for a [`session`].

mod generate;
pub mod session;

pub use generate::{generate, generate_of};

use bgp_wire::update::{encode_announce, encode_end_of_rib, encode_withdraw};
use bgp_wire::{EncodeError, NextHop, Nlri, PathAttributes, SessionContext};
use bytes::BytesMut;
use net_types::{Asn, Family, Prefix};
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Octets that are played at once, about.
const PIECE: usize = 64 << 10;

/// Routes by shared attributes. Their AS_PATH lacks the speaker's own number, which [`Table::play`] puts in front.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// (attributes, prefixes), in order of first appearance.
    pub groups: Vec<(PathAttributes, Vec<Prefix>)>,
    index: HashMap<PathAttributes, usize>,
}

/// Who plays a table.
#[derive(Debug, Clone, Copy)]
pub struct Player {
    /// Put in front of every path.
    pub first_as: Asn,
    /// Next hop of IPv4 routes; without one they are not sent.
    pub next_hop4: Option<Ipv4Addr>,
    /// Next hop of IPv6 routes; without one they are not sent.
    pub next_hop6: Option<Ipv6Addr>,
}

impl Player {
    fn next_hop(&self, family: Family) -> Option<NextHop> {
        match family {
            Family::IPV4_UNICAST => self.next_hop4.map(NextHop::V4),
            _ => self.next_hop6.map(|global| NextHop::V6 { global, link_local: None }),
        }
    }
}

impl Table {
    /// Adds a route; the caller sees to it that a prefix comes once.
    pub fn add(&mut self, attributes: PathAttributes, prefix: Prefix) {
        let next = self.groups.len();
        let i = *self.index.entry(attributes.clone()).or_insert(next);
        match self.groups.get_mut(i) {
            Some((_, prefixes)) => prefixes.push(prefix),
            None => self.groups.push((attributes, vec![prefix])),
        }
    }

    /// (IPv4 routes, IPv6 routes).
    pub fn count(&self) -> (usize, usize) {
        let all = || self.groups.iter().flat_map(|(_, p)| p);
        let v4 = all().filter(|p| p.is_v4()).count();
        (v4, all().count() - v4)
    }

    /// Every UPDATE of the table for a session, then an End-of-RIB for each of its families, a piece of some 64 KiB at a
    /// time; beside it the number of routes so far. All routes' number in the end.
    pub fn play<E: From<EncodeError>>(
        &self,
        player: &Player,
        context: &SessionContext,
        mut each: impl FnMut(&[u8], usize) -> Result<(), E>,
    ) -> Result<usize, E> {
        let (mut out, mut sent) = (BytesMut::new(), 0);
        for (attributes, prefixes) in &self.groups {
            let mut attributes = attributes.clone();
            attributes.as_path = attributes.as_path.prepend(player.first_as, 1);
            for family in &context.families {
                let Some(next_hop) = player.next_hop(*family) else { continue };
                let nlri: Vec<Nlri> =
                    prefixes.iter().filter(|p| p.family() == *family).map(|p| Nlri::new(*p)).collect();
                if !nlri.is_empty() {
                    sent += nlri.len();
                    encode_announce(*family, &next_hop, &attributes, nlri, context, &mut out)?;
                }
            }
            if out.len() >= PIECE {
                each(&out, sent)?;
                out.clear();
            }
        }
        for family in &context.families {
            out.extend_from_slice(&encode_end_of_rib(*family));
        }
        each(&out, sent)?;
        Ok(sent)
    }

    /// The whole of [`Table::play`] in one buffer.
    pub fn announcements(&self, player: &Player, context: &SessionContext) -> Result<BytesMut, EncodeError> {
        let mut all = BytesMut::new();
        self.play(player, context, |piece, _| {
            all.extend_from_slice(piece);
            Ok::<(), EncodeError>(())
        })?;
        Ok(all)
    }

    /// The withdrawal of every route, in full messages.
    pub fn withdrawals(&self, context: &SessionContext) -> Result<BytesMut, EncodeError> {
        let mut out = BytesMut::new();
        for family in &context.families {
            let all = self.groups.iter().flat_map(|(_, prefixes)| prefixes);
            let nlri: Vec<Nlri> = all.filter(|p| p.family() == *family).map(|p| Nlri::new(*p)).collect();
            encode_withdraw(*family, nlri, context, &mut out)?;
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is the report")]

    use super::*;
    use bgp_wire::{Message, message};
    use std::collections::HashMap;

    #[test]
    fn what_is_played_is_the_table_with_our_number_in_front_and_ends_in_end_of_rib() {
        let table = generate(2_000, 1);
        let player = Player {
            first_as: Asn(64501),
            next_hop4: Some([192, 0, 2, 1].into()),
            next_hop6: Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()),
        };
        let context = SessionContext {
            four_octet_as: true,
            families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
            ..SessionContext::initial()
        };
        let (mut routes, mut ends) = (HashMap::new(), Vec::new());
        for mut bytes in [table.announcements(&player, &context).unwrap(), table.withdrawals(&context).unwrap()] {
            let announced = routes.len();
            while let Some(frame) = message::frame(&bytes, message::MAX_LEN).unwrap() {
                let whole = bytes.split_to(frame.len);
                let Ok(Message::Update(u)) = message::decode(frame.kind, &whole[message::HEADER_LEN..], &context)
                else {
                    panic!("no UPDATE: {whole:?}")
                };
                for n in u.reach.iter().flat_map(|r| &r.nlri) {
                    assert_eq!(routes.insert(n.prefix, u.attributes.as_path.clone()), None);
                }
                for n in u.unreach.iter().flat_map(|r| &r.nlri) {
                    assert!(routes.remove(&n.prefix).is_some());
                }
                ends.extend(u.end_of_rib);
            }
            if announced == 0 {
                for (attributes, prefixes) in &table.groups {
                    let path = attributes.as_path.prepend(Asn(64501), 1);
                    assert!(prefixes.iter().all(|p| routes.get(p) == Some(&path)));
                }
                assert_eq!((routes.len(), ends.len()), (2_000, 2));
            }
        }
        assert!(routes.is_empty(), "withdrawn to the last");
    }
}
