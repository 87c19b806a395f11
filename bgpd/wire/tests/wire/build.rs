//! Messages by hand, out of the RFCs' own pictures.

use bgp_wire::SessionContext;
use bgp_wire::update::decode_update;
use bgp_wire::{AttrVerdict, NextHop, Nlri, Reach, Unreach, Update};
use net_types::Family;

/// A test per line, named by its clause.
macro_rules! rows {
    ($($name:ident => $check:expr;)*) => { $(#[test] fn $name() { $check; })* };
}
pub(crate) use rows;

/// `"ff 00"` as octets.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "half an octet in {text:?}");
    digits.chunks(2).map(|c| u8::from_str_radix(std::str::from_utf8(c).unwrap(), 16).unwrap()).collect()
}

/// A four-octet eBGP session, both families, nothing else negotiated.
pub(crate) fn ebgp() -> SessionContext {
    SessionContext {
        ebgp: true,
        four_octet_as: true,
        families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
        ..SessionContext::initial()
    }
}

pub(crate) fn ibgp() -> SessionContext {
    SessionContext { ebgp: false, ..ebgp() }
}

/// eBGP with a two-octet speaker.
pub(crate) fn old() -> SessionContext {
    SessionContext { four_octet_as: false, ..ebgp() }
}

/// A header around a body.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut m = vec![0xff; 16];
    m.extend(u16::try_from(19 + body.len()).unwrap().to_be_bytes());
    m.push(kind);
    m.extend(body);
    m
}

/// An attribute; Extended Length as the flags say.
pub(crate) fn attr(flags: u8, code: u8, value: &str) -> Vec<u8> {
    let value = hex(value);
    let mut a = vec![flags, code];
    if flags & 0x10 != 0 {
        a.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    } else {
        a.push(u8::try_from(value.len()).unwrap());
    }
    a.extend(value);
    a
}

/// An UPDATE body.
pub(crate) fn body(withdrawn: &str, attributes: &[Vec<u8>], nlri: &str) -> Vec<u8> {
    let (withdrawn, attributes) = (hex(withdrawn), attributes.concat());
    let mut b = u16::try_from(withdrawn.len()).unwrap().to_be_bytes().to_vec();
    b.extend(withdrawn);
    b.extend(u16::try_from(attributes.len()).unwrap().to_be_bytes());
    b.extend(attributes);
    b.extend(hex(nlri));
    b
}

/// 203.0.113.0/24
pub(crate) const NLRI: &str = "18 cb0071";
/// MP_REACH_NLRI value: IPv6 unicast, next hop 2001:db8::1, 2001:db8:5::/48.
pub(crate) const MP6: &str = "0002 01 10 20010db8000000000000000000000001 00 30 20010db80005";

pub(crate) fn origin() -> Vec<u8> {
    attr(0x40, 1, "00")
}

/// One sequence: 64501.
pub(crate) fn as_path() -> Vec<u8> {
    attr(0x40, 2, "02 01 0000fbf5")
}

/// 192.0.2.1
pub(crate) fn next_hop() -> Vec<u8> {
    attr(0x40, 3, "c0000201")
}

/// The three mandatory attributes and `more`.
pub(crate) fn with(more: &[Vec<u8>]) -> Vec<Vec<u8>> {
    [&[origin(), as_path(), next_hop()], more].concat()
}

/// The mandatory attributes, the one of `replacement`'s code replaced.
pub(crate) fn instead(replacement: Vec<u8>) -> Vec<Vec<u8>> {
    let mut all = with(&[]);
    let place = all.iter().position(|a| a[1] == replacement[1]).expect("one of the three");
    all[place] = replacement;
    all
}

pub(crate) fn nlri(prefix: &str) -> Nlri {
    Nlri::new(prefix.parse().unwrap())
}

pub(crate) fn routes(prefix: &str) -> Vec<Nlri> {
    vec![nlri(prefix)]
}

pub(crate) fn decoded(body: &[u8], ctx: &SessionContext) -> Update {
    decode_update(body, ctx).unwrap_or_else(|n| panic!("reset: {n}"))
}

/// Treat-as-withdraw because of attribute `code`: the route is withdrawn, nothing announced, the session stays.
#[track_caller]
pub(crate) fn withdrawn(ctx: &SessionContext, attributes: &[Vec<u8>], code: u8) -> Update {
    let u = decoded(&body("", attributes, NLRI), ctx);
    assert_eq!(u.reach, []);
    assert_eq!(u.unreach, [Unreach { family: Family::IPV4_UNICAST, nlri: routes("203.0.113.0/24") }]);
    assert_eq!(u.attributes, Default::default());
    let e = u.errors.iter().find(|e| e.verdict == AttrVerdict::TreatAsWithdraw).expect("an error of that class");
    assert_eq!(e.code, code, "{e:?}");
    u
}

/// The route is announced, the session stays.
#[track_caller]
pub(crate) fn accepted(ctx: &SessionContext, attributes: &[Vec<u8>]) -> Update {
    let u = decoded(&body("", attributes, NLRI), ctx);
    let next_hop = NextHop::V4([192, 0, 2, 1].into());
    let reach = Reach { family: Family::IPV4_UNICAST, next_hop, nlri: routes("203.0.113.0/24") };
    assert_eq!(u.reach, [reach], "{:?}", u.errors);
    assert_eq!(u.unreach, []);
    u
}

/// Announced without attribute `code`, which is on record as discarded.
#[track_caller]
pub(crate) fn discarded(ctx: &SessionContext, attributes: &[Vec<u8>], code: u8) -> Update {
    let u = accepted(ctx, attributes);
    let [e] = &u.errors[..] else { panic!("one error, not {:?}", u.errors) };
    assert_eq!((e.code, e.verdict), (code, AttrVerdict::Discard), "{e:?}");
    let raw = attributes.iter().rfind(|a| a[1] == code).unwrap();
    assert_eq!(&e.raw[..], &raw[..]);
    assert!(u.attributes.unknown.iter().all(|a| a.code != code));
    u
}

/// Announced without a word.
#[track_caller]
pub(crate) fn clean(ctx: &SessionContext, attributes: &[Vec<u8>]) -> Update {
    let u = accepted(ctx, attributes);
    assert_eq!(u.errors, []);
    u
}

/// The session ends with UPDATE Message Error and this subcode.
#[track_caller]
pub(crate) fn reset(ctx: &SessionContext, body: &[u8], subcode: u8) -> Vec<u8> {
    let n = decode_update(body, ctx).expect_err("a reset");
    assert_eq!((n.code, n.subcode), (3, subcode), "{n}");
    n.data.to_vec()
}
