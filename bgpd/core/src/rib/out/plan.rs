//! What one pull will say, before it is bytes: two neighbours with equal plans get the same buffer.

use std::sync::Arc;

use bgp_wire::{Message, Nlri, RouteRefresh, RouteRefreshSubtype, SessionContext, message, update};
use bytes::{Bytes, BytesMut};
use net_types::Family;

use super::View;
use super::look::{Key, Look};
use super::outgoing::Place;
use crate::rib::DestId;

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

/// One route to announce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Step {
    /// Destination.
    pub(super) dest: DestId,
    /// Index into [`Plan::looks`].
    pub(super) look: u32,
    /// The neighbour holds an earlier route to it.
    pub(super) held: bool,
}

/// What one pull says, in this order. A destination stands in it once.
#[derive(Clone, Default, Debug)]
pub(super) struct Plan {
    /// Before everything.
    pub(super) before: Vec<Marker>,
    /// Withdrawals.
    pub(super) withdraw: Vec<DestId>,
    /// Announcements.
    pub(super) announce: Vec<Step>,
    /// What they look like, in order of first appearance.
    pub(super) looks: Vec<(Key, Arc<Look>)>,
    /// After everything.
    pub(super) after: Vec<Marker>,
    /// Position in the log of the newest change that is told.
    pub(super) newest: u64,
    /// It withdraws what the group's own table does not know: nobody else may be given its buffer.
    pub(super) private: bool,
}

impl Plan {
    /// Nothing to say.
    pub(super) fn is_empty(&self) -> bool {
        self.before.is_empty() && self.withdraw.is_empty() && self.announce.is_empty() && self.after.is_empty()
    }

    /// The same words. Numbers of destinations and sets stand for the same things in both as long as nothing that one of
    /// them tells changed in between.
    pub(super) fn says(&self, other: &Plan) -> bool {
        self.before == other.before
            && self.after == other.after
            && self.withdraw == other.withdraw
            && self.announce == other.announce
            && self.looks.iter().map(|(k, _)| k).eq(other.looks.iter().map(|(k, _)| k))
    }
}

/// Indices of a plan's announcements, those of one look together.
struct ByLook {
    order: Vec<u32>,
    /// Where each look's begin in `order`; one more at the end.
    starts: Vec<usize>,
}

impl ByLook {
    fn new(plan: &Plan) -> ByLook {
        let mut starts = vec![0; plan.looks.len() + 1];
        for step in &plan.announce {
            starts.iter_mut().skip(step.look as usize + 1).take(1).for_each(|n| *n += 1);
        }
        let mut sum = 0;
        for n in &mut starts {
            sum += *n;
            *n = sum;
        }
        let mut order = vec![0; plan.announce.len()];
        let mut next = starts.clone();
        for (index, step) in (0..).zip(&plan.announce) {
            let Some(at) = next.get_mut(step.look as usize) else { continue };
            if let Some(place) = order.get_mut(*at) {
                *place = index;
            }
            *at += 1;
        }
        ByLook { order, starts }
    }

    fn iter(&self) -> impl Iterator<Item = &[u32]> {
        let ends = self.starts.iter().skip(1);
        self.starts.iter().zip(ends).map(|(&from, &to)| self.order.get(from..to).unwrap_or_default())
    }
}

/// A plan as bytes.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    /// Whole messages.
    pub(super) bytes: Bytes,
    /// Where each member's own next hops go.
    pub(super) places: Arc<[Place]>,
    /// Announcements (by index in the plan) that no message of this session can say: withdrawn instead, if held.
    pub(super) unsendable: Arc<[u32]>,
}

/// Longer than any route.
const LONGEST_NLRI: usize = 32;

/// Writes the plan's messages: withdrawals, then each attribute set once, followed by as many of its routes as fit, message
/// after message.
pub(super) fn encode<V: View>(plan: &Plan, view: &V, context: &SessionContext) -> Encoded {
    let nlri = |dest: DestId| Nlri::new(view.prefix(dest));
    let of_look = ByLook::new(plan);
    let unsendable = unsendable(plan, &of_look, nlri, context);
    let replaced = unsendable.iter().filter_map(|&i| plan.announce.get(i as usize)).filter(|s| s.held).map(|s| s.dest);
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for dest in plan.withdraw.iter().copied().chain(replaced) {
        if dest.is_v4() { &mut v4 } else { &mut v6 }.push(dest);
    }

    let looks: usize = plan.looks.iter().filter_map(|(_, l)| Some(l.block.as_ref()?.overhead())).sum();
    let mut out = BytesMut::with_capacity(looks + 8 * (plan.announce.len() + plan.withdraw.len()) + 128);
    plan.before.iter().for_each(|m| mark(*m, context, &mut out));
    for (family, all) in [(Family::IPV4_UNICAST, v4), (Family::IPV6_UNICAST, v6)] {
        // Cannot fail: a withdrawal always fits, and both families have a codec.
        let _ = update::encode_withdraw(family, all.into_iter().map(nlri), context, &mut out);
    }
    let mut places = Vec::new();
    for ((key, look), steps) in plan.looks.iter().zip(of_look.iter()) {
        let Some(block) = &look.block else { continue };
        let said = |i: &&u32| unsendable.is_empty() || unsendable.binary_search(i).is_err();
        let dests = steps.iter().filter(said).filter_map(|&i| Some(plan.announce.get(i as usize)?.dest));
        let place = |at| {
            if look.is_own() {
                places.push(Place::new(at, key.v4));
            }
        };
        // Cannot fail: what does not fit was left out.
        let _ = block.announce(dests.map(nlri), context, &mut out, place);
    }
    plan.after.iter().for_each(|m| mark(*m, context, &mut out));
    Encoded { bytes: out.freeze(), places: places.into(), unsendable: unsendable.into() }
}

/// Announcements that no message has room for beside their attributes (RFC 4271 §9.2: not advertised then), in order. A
/// shorter prefix may fit where a longer one does not.
fn unsendable(plan: &Plan, of_look: &ByLook, nlri: impl Fn(DestId) -> Nlri, context: &SessionContext) -> Vec<u32> {
    let mut all = Vec::new();
    for ((_, look), steps) in plan.looks.iter().zip(of_look.iter()) {
        match &look.block {
            Some(block) if block.overhead() + LONGEST_NLRI <= context.max_len() => {}
            Some(block) => {
                let fits = |i: &u32| plan.announce.get(*i as usize).is_some_and(|s| block.fits(&nlri(s.dest), context));
                all.extend(steps.iter().copied().filter(|i| !fits(i)));
            }
            None => all.extend(steps),
        }
    }
    all.sort_unstable();
    all
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
