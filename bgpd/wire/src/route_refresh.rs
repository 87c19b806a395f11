//! ROUTE-REFRESH (RFC 2918) and its demarcation subtypes (RFC 7313).
//!
//! The length is the frame's business ([`crate::message::frame`]); any four octets decode.

use bytes::{BufMut, BytesMut};
use net_types::{Afi, Family, Safi};

use crate::Notification;
use crate::notification::{code, header_error};
use crate::reader::Reader;

/// A ROUTE-REFRESH message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteRefresh {
    /// Which family.
    pub family: Family,
    /// Request, or begin/end of a refresh.
    pub subtype: RouteRefreshSubtype,
}

/// Message subtype (RFC 7313 §3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouteRefreshSubtype {
    /// 0: please send the family again.
    Request,
    /// 1: BoRR.
    Begin,
    /// 2: EoRR.
    End,
    /// Reserved or unknown: ignored by the receiver.
    Unknown(u8),
}

impl From<u8> for RouteRefreshSubtype {
    fn from(v: u8) -> Self {
        match v {
            0 => RouteRefreshSubtype::Request,
            1 => RouteRefreshSubtype::Begin,
            2 => RouteRefreshSubtype::End,
            n => RouteRefreshSubtype::Unknown(n),
        }
    }
}

impl From<RouteRefreshSubtype> for u8 {
    fn from(v: RouteRefreshSubtype) -> u8 {
        match v {
            RouteRefreshSubtype::Request => 0,
            RouteRefreshSubtype::Begin => 1,
            RouteRefreshSubtype::End => 2,
            RouteRefreshSubtype::Unknown(n) => n,
        }
    }
}

impl RouteRefresh {
    /// A request for the whole family.
    pub const fn request(family: Family) -> RouteRefresh {
        RouteRefresh { family, subtype: RouteRefreshSubtype::Request }
    }

    /// Reads a body of four octets: AFI, subtype (the reserved octet of RFC 2918), SAFI.
    pub fn decode(body: &[u8]) -> Result<RouteRefresh, Notification> {
        let bad = || Notification::new(code::MESSAGE_HEADER, header_error::BAD_MESSAGE_LENGTH);
        let mut r = Reader::new(body);
        let (Some(afi), Some(subtype), Some(safi), true) = (r.u16(), r.u8(), r.u8(), r.is_empty()) else {
            return Err(bad());
        };
        Ok(RouteRefresh { family: Family { afi: Afi(afi), safi: Safi(safi) }, subtype: subtype.into() })
    }

    /// Appends the body.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u16(self.family.afi.0);
        out.put_u8(self.subtype.into());
        out.put_u8(self.family.safi.0);
    }
}
