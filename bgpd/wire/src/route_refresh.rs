//! ROUTE-REFRESH (RFC 2918) and its demarcation subtypes (RFC 7313).

use net_types::Family;

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
