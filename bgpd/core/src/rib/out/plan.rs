//! What one pull will say, before it is bytes: two neighbours with equal plans get the same buffer.

use std::num::NonZeroU32;
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
    look: u32,
    /// Index of the next announcement with that look.
    next: Option<NonZeroU32>,
    /// The neighbour holds an earlier route to it.
    pub(super) held: bool,
}

/// What routes of a plan look like.
#[derive(Clone, Debug)]
pub(super) struct Looking {
    key: Key,
    pub(super) look: Arc<Look>,
    /// Routes that look so must not go to the neighbour of the plan: none of them is in it.
    pub(super) withheld: bool,
    /// The first and the last announcement of it, by index.
    steps: Option<(u32, u32)>,
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
    pub(super) looks: Vec<Looking>,
    /// After everything.
    pub(super) after: Vec<Marker>,
    /// Position in the log of the newest change that is told.
    pub(super) newest: u64,
    /// It withdraws what the group's own table does not know: nobody else may be given its buffer.
    pub(super) private: bool,
}

impl Plan {
    /// A look; its index.
    pub(super) fn look(&mut self, key: Key, look: Arc<Look>, withheld: bool) -> Option<u32> {
        let index = u32::try_from(self.looks.len()).ok()?;
        self.looks.push(Looking { key, look, withheld, steps: None });
        Some(index)
    }

    /// Announces a route with that look. Routes of one look are chained, so that their messages can be written at a time.
    pub(super) fn announce(&mut self, dest: DestId, look: u32, held: bool) {
        // Some thousands: a pull looks at no more.
        let index = self.announce.len() as u32;
        if let Some(looking) = self.looks.get_mut(look as usize) {
            let first = match looking.steps {
                None => index,
                Some((first, last)) => {
                    if let Some(step) = self.announce.get_mut(last as usize) {
                        step.next = NonZeroU32::new(index);
                    }
                    first
                }
            };
            looking.steps = Some((first, index));
        }
        self.announce.push(Step { dest, look, next: None, held });
    }

    /// The announcements that look so, with their indices.
    fn steps(&self, of: &Looking) -> impl Iterator<Item = (u32, &Step)> {
        let step = |index: u32| Some((index, self.announce.get(index as usize)?));
        std::iter::successors(of.steps.and_then(|(first, _)| step(first)), move |(_, s)| step(s.next?.get()))
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        let Plan { before, withdraw, announce, looks, after, newest, private } = self;
        before.clear();
        withdraw.clear();
        announce.clear();
        looks.clear();
        after.clear();
        (*newest, *private) = (0, false);
    }

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
            && self.looks.iter().map(|l| &l.key).eq(other.looks.iter().map(|l| &l.key))
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
    pub(super) unsendable: Vec<u32>,
}

/// Longer than any route.
const LONGEST_NLRI: usize = 32;

/// Writes the plan's messages: withdrawals, then each attribute set once, followed by as many of its routes as fit, message
/// after message.
pub(super) fn encode<V: View>(plan: &Plan, view: &V, context: &SessionContext) -> Encoded {
    let nlri = |dest: DestId| Nlri::new(view.prefix(dest));
    let unsendable = unsendable(plan, nlri, context);
    let replaced = unsendable.iter().filter_map(|&i| plan.announce.get(i as usize)).filter(|s| s.held).map(|s| s.dest);

    let looks: usize = plan.looks.iter().filter_map(|l| Some(l.look.block.as_ref()?.overhead())).sum();
    let mut out = BytesMut::with_capacity(looks + 8 * (plan.announce.len() + plan.withdraw.len()) + 128);
    plan.before.iter().for_each(|m| mark(*m, context, &mut out));
    if !(plan.withdraw.is_empty() && unsendable.is_empty()) {
        for family in [Family::IPV4_UNICAST, Family::IPV6_UNICAST] {
            let all = plan.withdraw.iter().copied().chain(replaced.clone()).filter(|dest| dest.family() == family);
            // Cannot fail: a withdrawal always fits, and both families have a codec.
            let _ = update::encode_withdraw(family, all.map(nlri), context, &mut out);
        }
    }
    let mut places = Vec::new();
    for looking in &plan.looks {
        let Some(block) = &looking.look.block else { continue };
        let said = |i: &u32| unsendable.is_empty() || unsendable.binary_search(i).is_err();
        let dests = plan.steps(looking).filter(|(i, _)| said(i)).map(|(_, step)| step.dest);
        let place = |at| {
            if looking.look.is_own() {
                places.push(Place::new(at, looking.key.v4));
            }
        };
        // Cannot fail: what does not fit was left out.
        let _ = block.announce(dests.map(nlri), context, &mut out, place);
    }
    plan.after.iter().for_each(|m| mark(*m, context, &mut out));
    Encoded { bytes: out.freeze(), places: places.into(), unsendable }
}

/// Announcements that no message has room for beside their attributes (RFC 4271 §9.2: not advertised then), in order. A
/// shorter prefix may fit where a longer one does not.
fn unsendable(plan: &Plan, nlri: impl Fn(DestId) -> Nlri, context: &SessionContext) -> Vec<u32> {
    let mut all = Vec::new();
    for looking in &plan.looks {
        match &looking.look.block {
            Some(block) if block.overhead() + LONGEST_NLRI <= context.max_len() => {}
            Some(block) => {
                let tight = plan.steps(looking).filter(|(_, s)| !block.fits(&nlri(s.dest), context));
                all.extend(tight.map(|(i, _)| i));
            }
            None => all.extend(plan.steps(looking).map(|(i, _)| i)),
        }
    }
    all.sort_unstable();
    all
}

/// Appends a marker.
pub(super) fn mark(marker: Marker, context: &SessionContext, out: &mut BytesMut) {
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
