//! The receiving end: decodes what a neighbour was sent and keeps what it adds up to.

use std::collections::{BTreeMap, BTreeSet};

use bgp_wire::{Message, NextHop, PathAttributes, RouteRefreshSubtype, SessionContext, message};
use net_types::{Family, Prefix};

/// A neighbour's table as the messages made it. Panics on what no correct sender does.
pub(super) struct Receiver {
    context: SessionContext,
    pub(super) table: BTreeMap<Prefix, (PathAttributes, NextHop)>,
    pub(super) end_of_rib: Vec<Family>,
    pub(super) messages: usize,
    pub(super) withdrawn: usize,
    pub(super) refreshed: Vec<Family>,
    stale: Option<(Family, BTreeSet<Prefix>)>,
}

impl Receiver {
    pub(super) fn new(context: &SessionContext) -> Receiver {
        Receiver {
            context: context.clone(),
            table: BTreeMap::new(),
            end_of_rib: Vec::new(),
            messages: 0,
            withdrawn: 0,
            refreshed: Vec::new(),
            stale: None,
        }
    }

    pub(super) fn receive(&mut self, mut bytes: &[u8]) {
        let max_len = if self.context.extended_message { message::MAX_EXTENDED_LEN } else { message::MAX_LEN };
        while !bytes.is_empty() {
            let frame = message::frame(bytes, max_len).unwrap().expect("whole messages only");
            let decoded = message::decode(frame.kind, &bytes[message::HEADER_LEN..frame.len], &self.context).unwrap();
            bytes = &bytes[frame.len..];
            self.messages += 1;
            self.apply(decoded);
        }
    }

    fn apply(&mut self, message: Message) {
        match message {
            Message::Update(update) => {
                assert!(update.errors.is_empty(), "{:?}", update.errors);
                if let Some(family) = update.end_of_rib {
                    assert!(!self.end_of_rib.contains(&family), "End-of-RIB of {family} twice");
                    self.end_of_rib.push(family);
                }
                for nlri in update.unreach.iter().flat_map(|u| &u.nlri) {
                    assert!(self.table.remove(&nlri.prefix).is_some(), "{} withdrawn, never announced", nlri.prefix);
                    self.withdrawn += 1;
                }
                for reach in &update.reach {
                    for nlri in &reach.nlri {
                        self.table.insert(nlri.prefix, (update.attributes.clone(), reach.next_hop));
                        if let Some((_, stale)) = &mut self.stale {
                            stale.remove(&nlri.prefix);
                        }
                    }
                }
            }
            Message::RouteRefresh(refresh) => match refresh.subtype {
                RouteRefreshSubtype::Begin => {
                    assert!(self.end_of_rib.contains(&refresh.family), "RFC 7313 §4: BoRR before End-of-RIB");
                    let held = self.table.keys().copied().filter(|p| p.family() == refresh.family);
                    assert!(self.stale.replace((refresh.family, held.collect())).is_none());
                }
                RouteRefreshSubtype::End => {
                    // RFC 7313 §4: what was not sent again goes.
                    let (family, stale) = self.stale.take().expect("BoRR before EoRR");
                    assert_eq!(family, refresh.family);
                    stale.iter().for_each(|p| drop(self.table.remove(p)));
                    self.refreshed.push(family);
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
}
