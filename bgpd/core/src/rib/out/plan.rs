//! What one pull will say, before it is bytes: two neighbours with equal plans get the same buffer.

use std::collections::BTreeMap;
use std::sync::Arc;

use bgp_wire::{
    Message, NextHop, Nlri, PathAttributes, RouteRefresh, RouteRefreshSubtype, SessionContext, message, update,
};
use bytes::{Bytes, BytesMut};
use net_types::{Family, Prefix};

use super::group::Slot;

/// A message that carries no route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Marker {
    /// RFC 7313 §3.2: BoRR.
    BeginOfRefresh(Family),
    /// RFC 7313 §3.2: EoRR.
    EndOfRefresh(Family),
    /// RFC 4724 §2.
    EndOfRib(Family),
}

/// One route to announce or withdraw, in the state that the group's table had at `seq`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Step {
    /// Which.
    pub(super) slot: u32,
    /// Number of the slot's state: `(slot, seq)` stands for one set of attributes and one next hop.
    pub(super) seq: u64,
    /// The neighbour holds an earlier state of it.
    pub(super) held: bool,
}

/// What one pull says, in this order.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Plan {
    /// Before everything.
    pub(super) before: Vec<Marker>,
    /// Withdrawals.
    pub(super) withdraw: Vec<Step>,
    /// Announcements.
    pub(super) announce: Vec<Step>,
    /// After everything.
    pub(super) after: Vec<Marker>,
}

impl Plan {
    /// Nothing to say.
    pub(super) fn is_empty(&self) -> bool {
        self.before.is_empty() && self.withdraw.is_empty() && self.announce.is_empty() && self.after.is_empty()
    }
}

/// A plan as bytes.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    /// Whole messages.
    pub(super) bytes: Bytes,
    /// Announcements (by index in the plan) whose attributes fit no message of this session: withdrawn instead, if held.
    pub(super) unsendable: Vec<usize>,
}

/// All routes of a plan that share attributes and next hop.
struct Shared<'a> {
    family: Family,
    next_hop: NextHop,
    attributes: &'a Arc<PathAttributes>,
    /// Index in the plan, prefix.
    routes: Vec<(usize, Prefix)>,
}

/// Writes the plan's messages: each attribute set once, followed by as many of its routes as fit, message after message.
pub(super) fn encode(plan: &Plan, slots: &[Slot], context: &SessionContext) -> Encoded {
    let mut announced = BytesMut::new();
    let mut unsendable = Vec::new();
    for shared in by_attributes(plan, slots) {
        let all: Vec<Prefix> = shared.routes.iter().map(|&(_, p)| p).collect();
        if announce(&shared, &all, context, &mut announced) {
            continue;
        }
        // No room for attributes and a route in one message (RFC 4271 §9.2: then it is not advertised). A shorter prefix
        // may fit where a longer one does not, so each is tried alone.
        for &(index, prefix) in &shared.routes {
            if all.len() == 1 || !announce(&shared, &[prefix], context, &mut announced) {
                unsendable.push(index);
            }
        }
    }
    unsendable.sort_unstable();

    let replaced = unsendable.iter().filter_map(|&i| plan.announce.get(i)).filter(|s| s.held);
    let mut withdrawn: BTreeMap<Family, Vec<Prefix>> = BTreeMap::new();
    for slot in plan.withdraw.iter().chain(replaced).filter_map(|s| slots.get(s.slot as usize)) {
        withdrawn.entry(slot.prefix.family()).or_default().push(slot.prefix);
    }

    let mut out = BytesMut::new();
    plan.before.iter().for_each(|m| mark(*m, context, &mut out));
    for (family, prefixes) in withdrawn {
        // Cannot fail: a withdrawal always fits, and a family in force has a codec.
        let _ = update::encode_withdraw(family, prefixes.iter().map(nlri), context, &mut out);
    }
    out.extend_from_slice(&announced);
    plan.after.iter().for_each(|m| mark(*m, context, &mut out));
    Encoded { bytes: out.freeze(), unsendable }
}

fn by_attributes<'a>(plan: &Plan, slots: &'a [Slot]) -> Vec<Shared<'a>> {
    let mut all: Vec<Shared<'a>> = Vec::new();
    // The address is only a key (equal sets are one object, see the pool); the order is that of first appearance.
    let mut at: BTreeMap<(*const PathAttributes, Family, NextHop), usize> = BTreeMap::new();
    for (index, step) in plan.announce.iter().enumerate() {
        let Some(slot) = slots.get(step.slot as usize) else { continue };
        let Some(exported) = &slot.exported else { continue };
        let family = slot.prefix.family();
        let i = *at.entry((Arc::as_ptr(&exported.attributes), family, exported.next_hop)).or_insert_with(|| {
            all.push(Shared {
                family,
                next_hop: exported.next_hop,
                attributes: &exported.attributes,
                routes: Vec::new(),
            });
            all.len() - 1
        });
        if let Some(shared) = all.get_mut(i) {
            shared.routes.push((index, slot.prefix));
        }
    }
    all
}

/// True if all were written; else nothing was.
fn announce(shared: &Shared<'_>, prefixes: &[Prefix], context: &SessionContext, out: &mut BytesMut) -> bool {
    let before = out.len();
    let nlri = prefixes.iter().map(nlri);
    let done = update::encode_announce(shared.family, &shared.next_hop, shared.attributes, nlri, context, out).is_ok();
    if !done {
        out.truncate(before);
    }
    done
}

fn nlri(prefix: &Prefix) -> Nlri {
    Nlri { prefix: *prefix, path_id: 0 }
}

fn mark(marker: Marker, context: &SessionContext, out: &mut BytesMut) {
    let refresh = |family, subtype| Message::RouteRefresh(RouteRefresh { family, subtype });
    let bytes = match marker {
        Marker::BeginOfRefresh(f) => message::encode(&refresh(f, RouteRefreshSubtype::Begin), context),
        Marker::EndOfRefresh(f) => message::encode(&refresh(f, RouteRefreshSubtype::End), context),
        Marker::EndOfRib(f) => Ok(update::encode_end_of_rib(f)),
    };
    // A message of 23 octets always fits.
    if let Ok(bytes) = bytes {
        out.extend_from_slice(&bytes);
    }
}
