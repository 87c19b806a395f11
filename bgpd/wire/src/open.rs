//! OPEN (RFC 4271 §4.2, extended optional parameters RFC 9072).
//!
//! The checks made here need no configuration: version, AS 0, hold time, identifier 0, optional parameters. Whether the
//! AS is the one configured is for the session's owner. Capabilities come from all parameters of type 2, in order.

use bytes::{BufMut, BytesMut};
use net_types::{Asn, RouterId};

use crate::message::HEADER_LEN;
use crate::notification::{code, header_error, open_error};
use crate::reader::Reader;
use crate::{Capability, EncodeError, Notification};

/// The only version there is.
pub const VERSION: u8 = 4;
/// Optional Parameter type "Capabilities" (RFC 5492 §4).
const PARAMETER_CAPABILITIES: u8 = 2;
/// RFC 9072 §2: as first parameter type, and as length before it, "the extended format follows".
const PARAMETER_EXTENDED: u8 = 255;

/// An OPEN message as the peer meant it: `asn` is the four-octet number when the capability says so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Open {
    /// BGP version; 4.
    pub version: u8,
    /// My Autonomous System: from capability 65 when present, else the two-octet field.
    pub asn: Asn,
    /// The two-octet field as it stood on the wire.
    pub my_as: u16,
    /// Proposed hold time in seconds: 0 or at least 3.
    pub hold_time: u16,
    /// BGP Identifier; never 0.0.0.0 (RFC 6286).
    pub bgp_identifier: RouterId,
    /// Every capability in order of appearance.
    pub capabilities: Vec<Capability>,
}

fn refuse(subcode: u8) -> Notification {
    Notification::new(code::OPEN, subcode)
}

fn malformed() -> Notification {
    refuse(open_error::UNSPECIFIC)
}

impl Open {
    /// An OPEN of ours. `capabilities` stand as given, except that capability 65 is put in front of them where it is missing
    /// and the number does not fit the two-octet field (RFC 6793 §4.1).
    pub fn new(asn: Asn, hold_time: u16, bgp_identifier: RouterId, mut capabilities: Vec<Capability>) -> Open {
        if !capabilities.iter().any(|c| matches!(c, Capability::FourOctetAsn(_))) && asn.0 > 0xffff {
            capabilities.insert(0, Capability::FourOctetAsn(asn));
        }
        Open { version: VERSION, asn, my_as: asn.as_two_octet(), hold_time, bgp_identifier, capabilities }
    }

    /// The first thing `pick` finds among the capabilities:
    /// `open.find(|c| match c { Capability::GracefulRestart(gr) => Some(gr), _ => None })`.
    pub fn find<'a, T>(&'a self, pick: impl Fn(&'a Capability) -> Option<T>) -> Option<T> {
        self.capabilities.iter().find_map(pick)
    }

    /// True if this very capability was sent.
    pub fn has(&self, capability: &Capability) -> bool {
        self.capabilities.contains(capability)
    }

    /// Reads and checks a body (RFC 4271 §6.2).
    pub fn decode(body: &[u8]) -> Result<Open, Notification> {
        let mut r = Reader::new(body);
        let fixed = (r.u8(), r.u16(), r.u16(), r.u32(), r.u8());
        let (Some(version), Some(my_as), Some(hold_time), Some(identifier), Some(parameters_len)) = fixed else {
            // RFC 4271 §6.1: shorter than the least OPEN.
            let length = u16::try_from(HEADER_LEN + body.len()).unwrap_or(u16::MAX).to_be_bytes();
            return Err(Notification::with_data(code::MESSAGE_HEADER, header_error::BAD_MESSAGE_LENGTH, &length));
        };
        if version != VERSION {
            let largest = u16::from(VERSION).to_be_bytes();
            return Err(Notification::with_data(code::OPEN, open_error::UNSUPPORTED_VERSION, &largest));
        }
        // RFC 7607 §2
        if my_as == 0 {
            return Err(refuse(open_error::BAD_PEER_AS));
        }
        if matches!(hold_time, 1 | 2) {
            return Err(refuse(open_error::UNACCEPTABLE_HOLD_TIME));
        }
        // RFC 6286 §2.2: any identifier but zero is one.
        if identifier == 0 {
            return Err(refuse(open_error::BAD_BGP_IDENTIFIER));
        }
        let capabilities = decode_parameters(parameters_len, r)?;
        let wide = capabilities.iter().find_map(|c| match c {
            Capability::FourOctetAsn(asn) => Some(*asn),
            _ => None,
        });
        let asn = wide.unwrap_or(Asn(u32::from(my_as)));
        // RFC 6793 §4.1 with RFC 7607 §2
        if asn.0 == 0 {
            return Err(refuse(open_error::BAD_PEER_AS));
        }
        Ok(Open { version, asn, my_as, hold_time, bgp_identifier: RouterId::from(identifier), capabilities })
    }

    /// Appends the body. All capabilities go into one parameter (RFC 5492 §4); beyond 255 octets in the extended
    /// format of RFC 9072.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let mut capabilities = BytesMut::new();
        for c in &self.capabilities {
            c.encode(&mut capabilities)?;
        }
        let start = out.len();
        out.put_u8(self.version);
        out.put_u16(self.my_as);
        out.put_u16(self.hold_time);
        out.put_u32(self.bgp_identifier.to_u32());
        let len = capabilities.len();
        match (u8::try_from(len + 2), u16::try_from(len), u16::try_from(len + 3)) {
            _ if len == 0 => out.put_u8(0),
            // 255 in the length octet is left to RFC 9072.
            (Ok(total), ..) if total < PARAMETER_EXTENDED => {
                out.put_u8(total);
                out.put_u8(PARAMETER_CAPABILITIES);
                out.put_u8(total - 2);
            }
            (_, Ok(parameter), Ok(total)) => {
                out.put_u8(PARAMETER_EXTENDED);
                out.put_u8(PARAMETER_EXTENDED);
                out.put_u16(total);
                out.put_u8(PARAMETER_CAPABILITIES);
                out.put_u16(parameter);
            }
            _ => {
                out.truncate(start);
                return Err(EncodeError::TooLong);
            }
        }
        out.put_slice(&capabilities);
        Ok(())
    }
}

/// The parameters must fill the rest of the message exactly; what is left over or missing is malformed (2/0).
fn decode_parameters(len: u8, mut r: Reader<'_>) -> Result<Vec<Capability>, Notification> {
    // RFC 9072 §2: the type octet decides, whatever (non-zero) stands in the old length octet.
    let extended = len != 0 && r.rest().first() == Some(&PARAMETER_EXTENDED);
    let declared = if extended {
        r.u8();
        usize::from(r.u16().ok_or_else(malformed)?)
    } else {
        usize::from(len)
    };
    if declared != r.len() {
        return Err(malformed());
    }
    let mut capabilities = Vec::new();
    while let Some(kind) = r.u8() {
        let len = if extended { r.u16().map(usize::from) } else { r.u8().map(usize::from) };
        let value = len.and_then(|l| r.take(l)).ok_or_else(malformed)?;
        if kind != PARAMETER_CAPABILITIES {
            return Err(refuse(open_error::UNSUPPORTED_OPTIONAL_PARAMETER));
        }
        let mut c = Reader::new(value);
        while let Some(code) = c.u8() {
            let value = c.u8().and_then(|l| c.take(usize::from(l))).ok_or_else(malformed)?;
            capabilities.push(Capability::decode(code, value).map_err(|_| malformed())?);
        }
    }
    Ok(capabilities)
}
