//! `bgp-wire` from outside: octets in, values out, and back.

#[cfg(test)]
mod build;
#[cfg(test)]
mod captures;
#[cfg(test)]
mod four_octet;
#[cfg(test)]
mod frame;
#[cfg(test)]
mod mrt;
#[cfg(test)]
mod multiprotocol;
#[cfg(test)]
mod notification;
#[cfg(test)]
mod open;
#[cfg(test)]
mod pack;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod rfc7606;
