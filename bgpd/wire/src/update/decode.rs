//! UPDATE, octets to value, judged by RFC 7606 while it is read.
//!
//! The way of a byte: the body is cut into Withdrawn Routes, Path Attributes and NLRI by the two length fields alone,
//! before any attribute is looked at, so no attribute however broken can move the NLRI (RFC 7606 §3b, §4). The NLRI
//! fields come next: if they cannot be read the session ends (§3i, §5.3). Then each attribute is found, checked against
//! its row and collected; every error is noted with its verdict. At the end the strongest one is carried out (§3h).
//!
//! Invariants: after treat-as-withdraw no route of the message is announced and each is withdrawn; an attribute error in
//! a message without reachable NLRI, which may be an announcement no longer recognisable as one, resets (§5.2).

use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use net_types::{Afi, Family, Safi};

use super::{NextHop, Nlri, Reach, SessionContext, Unreach, Update};
use crate::attr::decode::{Collector, keep};
use crate::attr::table::{self, Row, Scope, code, flag};
use crate::family::{FamilyCodec, codec};
use crate::notification::{code as error_code, update_error};
use crate::reader::Reader;
use crate::{AttrError, AttrVerdict, Notification, PathAttributes};

/// How many errors of one message are kept.
const MAX_ERRORS: usize = 16;

fn reset(subcode: u8, data: &[u8]) -> Notification {
    Notification::with_data(error_code::UPDATE, subcode, data)
}

/// Decodes the body of an UPDATE. An error is the NOTIFICATION to send before closing.
pub fn decode_update(body: &[u8], ctx: &SessionContext) -> Result<Update, Notification> {
    let mut update = Update::default();
    let sections = Sections::cut(body)?;
    let mut decoder = Decoder::new(ctx, &mut update);
    let withdrawn = decoder.ipv4_field(sections.withdrawn)?;
    if !withdrawn.is_empty() {
        decoder.update.unreach.push(Unreach { family: Family::IPV4_UNICAST, nlri: withdrawn });
    }
    let announced = decoder.ipv4_field(sections.nlri)?;
    decoder.reachable = !sections.nlri.is_empty();
    decoder.has_nlri_field = !announced.is_empty();
    decoder.attributes(sections.attributes)?;
    if body == [0; 4] {
        // RFC 4724 §2: the empty UPDATE.
        decoder.update.end_of_rib = Some(Family::IPV4_UNICAST);
    }
    decoder.finish(announced)?;
    Ok(update)
}

/// The three fields of a body.
struct Sections<'a> {
    withdrawn: &'a [u8],
    attributes: &'a [u8],
    nlri: &'a [u8],
}

impl<'a> Sections<'a> {
    /// RFC 7606 §3b: lengths that contradict the message's make everything after them a guess.
    fn cut(body: &'a [u8]) -> Result<Sections<'a>, Notification> {
        let mut r = Reader::new(body);
        let mut field = || r.u16().and_then(|l| r.take(usize::from(l)));
        match (field(), field()) {
            (Some(withdrawn), Some(attributes)) => Ok(Sections { withdrawn, attributes, nlri: r.rest() }),
            _ => Err(reset(update_error::MALFORMED_ATTRIBUTE_LIST, &[])),
        }
    }
}

/// One attribute as it stands, before anybody knows what it means.
struct Raw<'a> {
    flags: u8,
    code: u8,
    value: &'a [u8],
    /// Header and value, for the log and for NOTIFICATION data.
    whole: &'a [u8],
}

impl<'a> Raw<'a> {
    fn read(r: &mut Reader<'a>) -> Option<Raw<'a>> {
        let from = r.rest();
        let (flags, code) = (r.u8()?, r.u8()?);
        let len = if flags & flag::EXTENDED_LENGTH != 0 { usize::from(r.u16()?) } else { usize::from(r.u8()?) };
        let value = r.take(len)?;
        let whole = from.get(..from.len() - r.len())?;
        Some(Raw { flags, code, value, whole })
    }
}

struct Decoder<'c, 'u> {
    ctx: &'c SessionContext,
    /// Written in place: a decoded message is too big to be handed around.
    update: &'u mut Update,
    collector: Collector,
    /// Type codes seen, one bit each.
    seen: [u64; 4],
    worst: Option<AttrVerdict>,
    /// The message names at least one route to be announced, whether or not we can use it.
    reachable: bool,
    /// The NLRI field holds routes we use, so NEXT_HOP means something.
    has_nlri_field: bool,
    next_hop: Option<NextHop>,
    has_next_hop: bool,
}

impl<'c, 'u> Decoder<'c, 'u> {
    fn new(ctx: &'c SessionContext, update: &'u mut Update) -> Decoder<'c, 'u> {
        Decoder {
            ctx,
            update,
            collector: Collector::default(),
            seen: [0; 4],
            worst: None,
            reachable: false,
            has_nlri_field: false,
            next_hop: None,
            has_next_hop: false,
        }
    }

    fn note(&mut self, code: u8, verdict: AttrVerdict, clause: &'static str, what: &str, raw: &[u8]) {
        self.worst = self.worst.max(Some(verdict));
        if self.update.errors.len() < MAX_ERRORS {
            let what = match table::name(code) {
                Some(name) => format!("{name}: {what}"),
                None if code != 0 => format!("attribute {code}: {what}"),
                None => what.to_owned(),
            };
            self.update.errors.push(AttrError { code, verdict, clause, what, raw: Bytes::copy_from_slice(raw) });
        }
    }

    /// Withdrawn Routes or NLRI. What cannot be read resets (RFC 7606 §3i, §5.3).
    fn ipv4_field(&mut self, field: &[u8]) -> Result<Vec<Nlri>, Notification> {
        let family = Family::IPV4_UNICAST;
        if field.is_empty() {
            return Ok(Vec::new());
        }
        let bad = || reset(update_error::INVALID_NETWORK_FIELD, &[]);
        let codec = codec(family).ok_or_else(bad)?;
        let add_path = self.ctx.add_path_receive.contains(&family);
        let nlri = codec.decode_nlri(field, add_path).map_err(|_| bad())?;
        if !self.ctx.families.contains(&family) {
            self.note(0, AttrVerdict::Discard, "RFC 4760 §8", "routes of ipv4-unicast, which is not negotiated", &[]);
            return Ok(Vec::new());
        }
        Ok(nlri)
    }

    fn attributes(&mut self, section: &[u8]) -> Result<(), Notification> {
        let mut r = Reader::new(section);
        while !r.is_empty() {
            let from = r.rest();
            let Some(raw) = Raw::read(&mut r) else {
                // RFC 7606 §4: Total Attribute Length is to be trusted, what is behind this point is not.
                let what = "attribute runs over Total Path Attribute Length";
                let code = from.get(1).copied().unwrap_or(0);
                self.note(code, AttrVerdict::TreatAsWithdraw, "RFC 7606 §4", what, from);
                return Ok(());
            };
            self.attribute(&raw)?;
        }
        Ok(())
    }

    /// True if this is not the first of its code.
    fn is_repeated(&mut self, code: u8) -> bool {
        let (word, bit) = (usize::from(code >> 6), 1u64 << (code & 63));
        let Some(word) = self.seen.get_mut(word) else { return false };
        let repeated = *word & bit != 0;
        *word |= bit;
        repeated
    }

    fn attribute(&mut self, raw: &Raw<'_>) -> Result<(), Notification> {
        if self.is_repeated(raw.code) {
            // RFC 7606 §3g
            if matches!(raw.code, code::MP_REACH_NLRI | code::MP_UNREACH_NLRI) {
                return Err(reset(update_error::MALFORMED_ATTRIBUTE_LIST, &[]));
            }
            self.note(raw.code, AttrVerdict::Discard, "RFC 7606 §3(g)", "appears again; the first counts", raw.whole);
            return Ok(());
        }
        match table::lookup(raw.code) {
            Some(row) => self.known(row, raw),
            None => self.unknown(raw),
        }
    }

    /// RFC 4271 §5, §6.3: an attribute without a row, by its flags.
    fn unknown(&mut self, raw: &Raw<'_>) -> Result<(), Notification> {
        if raw.flags & flag::OPTIONAL == 0 {
            return Err(reset(update_error::UNRECOGNIZED_WELL_KNOWN_ATTRIBUTE, raw.whole));
        }
        if raw.flags & flag::TRANSITIVE != 0 {
            keep(&mut self.update.attributes, raw.code, raw.flags | flag::PARTIAL, raw.value);
        }
        Ok(())
    }

    fn known(&mut self, row: &'static Row, raw: &Raw<'_>) -> Result<(), Notification> {
        // Out of place: discarded unread, so neither flags nor length can do harm.
        let out_of_place = match row.scope {
            Scope::Any => None,
            Scope::Internal => self.ctx.ebgp.then_some("comes from an external neighbour"),
            Scope::TwoOctet => self.ctx.four_octet_as.then_some("comes from a four-octet AS speaker"),
        };
        if let Some(what) = out_of_place {
            self.note(row.code, AttrVerdict::Discard, row.clause, what, raw.whole);
            return Ok(());
        }
        if raw.flags & (flag::OPTIONAL | flag::TRANSITIVE) != row.flags {
            if row.flag_error == AttrVerdict::Reset {
                return Err(reset(update_error::ATTRIBUTE_FLAGS, raw.whole));
            }
            self.mark_present(row.code);
            let what = "Optional or Transitive flag is wrong";
            self.note(row.code, row.flag_error, "RFC 7606 §3(c)", what, raw.whole);
            return Ok(());
        }
        match row.code {
            code::NEXT_HOP => self.next_hop(row, raw),
            code::MP_REACH_NLRI => return self.mp_reach(raw),
            code::MP_UNREACH_NLRI => return self.mp_unreach(raw),
            _ => {
                let attribute = (row.code, raw.flags, raw.value);
                if let Err(bad) = self.collector.known(attribute, self.ctx, &mut self.update.attributes) {
                    let verdict = if bad.withdraw { AttrVerdict::TreatAsWithdraw } else { row.value_error };
                    self.note(row.code, verdict, bad.clause.unwrap_or(row.clause), bad.what, raw.whole);
                }
            }
        }
        Ok(())
    }

    /// An attribute that is there but broken is not missing as well.
    fn mark_present(&mut self, code: u8) {
        match code {
            code::ORIGIN => self.collector.has_origin = true,
            code::AS_PATH => self.collector.has_as_path = true,
            code::NEXT_HOP => self.has_next_hop = true,
            _ => {}
        }
    }

    fn next_hop(&mut self, row: &Row, raw: &Raw<'_>) {
        self.has_next_hop = true;
        match <[u8; 4]>::try_from(raw.value).map(Ipv4Addr::from) {
            Err(_) => self.note(row.code, row.value_error, row.clause, "length is not 4", raw.whole),
            // RFC 4760 §3: beside MP_REACH_NLRI alone it says nothing.
            Ok(_) if !self.has_nlri_field => {}
            Ok(address) => {
                let next_hop = NextHop::V4(address);
                match bad_next_hop(&next_hop) {
                    // RFC 4271 §6.3: such a route is ignored, the session stays.
                    Some(what) => self.note(row.code, row.value_error, "RFC 4271 §6.3", what, raw.whole),
                    None => self.next_hop = Some(next_hop),
                }
            }
        }
    }

    /// MP_REACH_NLRI (RFC 4760 §3). What cannot be read resets (RFC 7606 §5.3, §7.11).
    fn mp_reach(&mut self, raw: &Raw<'_>) -> Result<(), Notification> {
        let bad = || reset(update_error::OPTIONAL_ATTRIBUTE, raw.whole);
        let mut r = Reader::new(raw.value);
        let mut read = || {
            let family = Family { afi: Afi(r.u16()?), safi: Safi(r.u8()?) };
            let len = r.u8()?;
            let next_hop = r.take(usize::from(len))?;
            let _reserved = r.u8()?;
            Some((family, next_hop))
        };
        let (family, next_hop) = read().ok_or_else(bad)?;
        self.reachable |= !r.is_empty();
        let Some(codec) = self.negotiated(family) else {
            let what = format!("routes of {family}, which is not negotiated");
            self.note(raw.code, AttrVerdict::Discard, "RFC 4760 §8", &what, raw.whole);
            return Ok(());
        };
        let extended = self.ctx.extended_next_hop.contains(&family);
        let next_hop = codec.decode_next_hop(next_hop, extended).ok_or_else(bad)?;
        let add_path = self.ctx.add_path_receive.contains(&family);
        let nlri = codec.decode_nlri(r.rest(), add_path).map_err(|_| bad())?;
        if !nlri.is_empty() {
            if let Some(what) = bad_next_hop(&next_hop) {
                self.note(raw.code, AttrVerdict::TreatAsWithdraw, "RFC 4271 §6.3", what, raw.whole);
            }
            self.update.reach.push(Reach { family, next_hop, nlri });
        }
        Ok(())
    }

    /// MP_UNREACH_NLRI (RFC 4760 §4). What cannot be read resets (RFC 7606 §5.3, §7.12).
    fn mp_unreach(&mut self, raw: &Raw<'_>) -> Result<(), Notification> {
        let bad = || reset(update_error::OPTIONAL_ATTRIBUTE, raw.whole);
        let mut r = Reader::new(raw.value);
        let (Some(afi), Some(safi)) = (r.u16(), r.u8()) else {
            return Err(bad());
        };
        let family = Family { afi: Afi(afi), safi: Safi(safi) };
        if r.is_empty() {
            // RFC 4724 §2, if it turns out to be alone. Of a family nobody negotiated it is as harmless.
            self.update.end_of_rib = Some(family);
            return Ok(());
        }
        let Some(codec) = self.negotiated(family) else {
            let what = format!("routes of {family}, which is not negotiated");
            self.note(raw.code, AttrVerdict::Discard, "RFC 4760 §8", &what, raw.whole);
            return Ok(());
        };
        let add_path = self.ctx.add_path_receive.contains(&family);
        let nlri = codec.decode_nlri(r.rest(), add_path).map_err(|_| bad())?;
        self.update.unreach.push(Unreach { family, nlri });
        Ok(())
    }

    fn negotiated(&self, family: Family) -> Option<&'static dyn FamilyCodec> {
        codec(family).filter(|_| self.ctx.families.contains(&family))
    }

    /// RFC 7606 §3d: what an announcement cannot do without.
    fn check_mandatory(&mut self) {
        let missing = [
            (!self.collector.has_origin, code::ORIGIN),
            (!self.collector.has_as_path, code::AS_PATH),
            (self.has_nlri_field && !self.has_next_hop, code::NEXT_HOP),
        ];
        for (_, code) in missing.into_iter().filter(|(missing, _)| *missing) {
            self.note(code, AttrVerdict::TreatAsWithdraw, "RFC 7606 §3(d)", "mandatory, and missing", &[]);
        }
    }

    /// `announced`: the NLRI field's routes.
    fn finish(mut self, announced: Vec<Nlri>) -> Result<(), Notification> {
        // RFC 7606 §5.2
        if self.worst >= Some(AttrVerdict::TreatAsWithdraw) && !self.reachable {
            return Err(reset(update_error::MALFORMED_ATTRIBUTE_LIST, &[]));
        }
        let announces = self.has_nlri_field || !self.update.reach.is_empty();
        if announces {
            self.check_mandatory();
        }
        let update = self.update;
        if self.worst >= Some(AttrVerdict::TreatAsWithdraw) {
            if !announced.is_empty() {
                update.unreach.push(Unreach { family: Family::IPV4_UNICAST, nlri: announced });
            }
            update.unreach.extend(update.reach.drain(..).map(|r| Unreach { family: r.family, nlri: r.nlri }));
            update.attributes = PathAttributes::default();
        } else if announces {
            if let Some(next_hop) = self.next_hop.filter(|_| !announced.is_empty()) {
                update.reach.insert(0, Reach { family: Family::IPV4_UNICAST, next_hop, nlri: announced });
            }
            self.collector.finish(&mut update.attributes);
        } else {
            update.attributes = PathAttributes::default();
        }
        if self.reachable || !update.unreach.is_empty() {
            update.end_of_rib = None;
        }
        Ok(())
    }
}

/// What makes an address no next hop on any network. Whether it is ours, or on a link of ours, is not known here.
fn bad_next_hop(next_hop: &NextHop) -> Option<&'static str> {
    let bad = match next_hop {
        NextHop::V4(a) => {
            let [first, ..] = a.octets();
            a.is_unspecified() || first == 0 || first == 127 || first >= 224
        }
        NextHop::V6 { global, .. } => {
            *global == Ipv6Addr::LOCALHOST || global.is_unspecified() || global.is_multicast()
        }
    };
    bad.then_some("next hop is no unicast host address")
}
