//! Socket options that a routing protocol needs and the standard library lacks: TCP MD5 signatures, GTSM, traffic class,
//! binding to a device. The `unsafe` code here is `setsockopt` and `poll` with buffers that live across the call.
//!
//! Supported standards: RFC 2385 (TCP MD5), RFC 5082 (GTSM), RFC 4271 through RFC 2474's CS6 marking.

use net_types::Prefix;
use socket2::{Domain, SockRef};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

/// `TCP_MD5SIG_MAXKEYLEN`.
pub const MD5_KEY_MAX: usize = 80;
/// Class selector 6, network control, as the TOS or traffic class byte.
pub const CS6: u32 = 0xc0;

const TCP_MD5SIG_FLAG_PREFIX: u8 = 1;
const SOCKADDR_STORAGE: usize = 128;
const MD5SIG_LEN: usize = SOCKADDR_STORAGE + 8 + MD5_KEY_MAX;

/// RFC 2385: every segment exchanged with `peer` (an address as /32 or /128, or a whole range for dynamic neighbours)
/// carries a signature with `key`; `None` takes the key away. On a listener it covers connections to come, so it must be
/// set before the peer connects; on a socket, before `connect`. The key is never part of an error.
pub fn set_tcp_md5(socket: &impl AsFd, peer: Prefix, key: Option<&[u8]>) -> io::Result<()> {
    let key = key.unwrap_or_default();
    if key.len() > MD5_KEY_MAX {
        let text = format!("TCP MD5 key for {peer} is {} bytes long: at most {MD5_KEY_MAX}", key.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let v6_socket = SockRef::from(socket).domain()? == Domain::IPV6;
    let value = md5sig(peer, key, v6_socket);
    let host = peer.len() == peer.max_len();
    let option = if host { libc::TCP_MD5SIG } else { libc::TCP_MD5SIG_EXT };
    match setsockopt(socket.as_fd().as_raw_fd(), libc::IPPROTO_TCP, option, &value) {
        // Taking away a key that is not there.
        Err(e) if key.is_empty() && e.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(e) => Err(annotate(&e, &format!("set the TCP MD5 key for {peer}"))),
        Ok(()) => Ok(()),
    }
}

/// RFC 5082: sends with TTL 255 and drops what arrives with less than `255 - hops + 1`; `hops` = 1 for a direct neighbour.
/// On a listener the minimum is inherited by accepted sockets.
pub fn set_gtsm(socket: &impl AsFd, hops: u8) -> io::Result<()> {
    let minimum = u32::from(255 - hops.max(1) + 1);
    set_hop_limit(socket, 255)?;
    set_minimum_hop_limit(socket, minimum)
}

/// On a listener: the kernel keeps the SYN of each connection for [`saved_syn_hop_limit`].
pub fn save_syn(socket: &impl AsFd) -> io::Result<()> {
    let on = 1u32.to_ne_bytes();
    setsockopt(socket.as_fd().as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_SAVE_SYN, &on)
        .map_err(|e| annotate(&e, "keep the SYN of connections"))
}

/// On an accepted socket, once: the TTL or hop limit that its SYN arrived with. A minimum set after `accept` comes too
/// late for what was sent together with the handshake; this does not (RFC 5082 §3). `None`: the SYN was not kept (it came
/// by a SYN cookie, or was asked for before).
pub fn saved_syn_hop_limit(socket: &impl AsFd) -> io::Result<Option<u8>> {
    let mut headers = [0u8; 128];
    let length = getsockopt(socket.as_fd().as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_SAVED_SYN, &mut headers)
        .map_err(|e| annotate(&e, "read the SYN of a connection"))?;
    // RFC 791 §3.1: version in the first four bits, TTL in octet 8; RFC 8200 §3: hop limit in octet 7.
    let at = match headers.first() {
        Some(first) if length > 8 && first >> 4 == 4 => 8,
        Some(first) if length > 8 && first >> 4 == 6 => 7,
        _ => return Ok(None),
    };
    Ok(headers.get(at).copied())
}

/// TTL or hop limit of what is sent.
pub fn set_hop_limit(socket: &impl AsFd, limit: u8) -> io::Result<()> {
    let socket = SockRef::from(socket);
    match socket.domain()? {
        Domain::IPV6 => socket.set_unicast_hops_v6(u32::from(limit)),
        _ => socket.set_ttl_v4(u32::from(limit)),
    }
    .map_err(|e| annotate(&e, "set the TTL"))
}

fn set_minimum_hop_limit(socket: &impl AsFd, minimum: u32) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let value = minimum.to_ne_bytes();
    match SockRef::from(socket).domain()? {
        Domain::IPV6 => setsockopt(fd, libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT, &value),
        _ => setsockopt(fd, libc::IPPROTO_IP, libc::IP_MINTTL, &value),
    }
    .map_err(|e| annotate(&e, "set the minimum TTL (GTSM)"))
}

/// Marks what is sent as network control (CS6), so a full uplink does not cost the session.
pub fn set_network_control(socket: &impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    match socket.domain()? {
        Domain::IPV6 => socket.set_tclass_v6(CS6),
        _ => socket.set_tos_v4(CS6),
    }
    .map_err(|e| annotate(&e, "set the traffic class"))
}

/// Sends and receives over one device only (`SO_BINDTODEVICE`), also a VRF's.
pub fn bind_to_device(socket: &impl AsFd, device: &str) -> io::Result<()> {
    SockRef::from(socket)
        .bind_device(Some(device.as_bytes()))
        .map_err(|e| annotate(&e, &format!("bind the socket to device {device}")))
}

/// RFC 5482's user timeout: the connection fails when sent data stays unacknowledged this long.
pub fn set_user_timeout(socket: &impl AsFd, timeout: Duration) -> io::Result<()> {
    SockRef::from(socket).set_tcp_user_timeout(Some(timeout)).map_err(|e| annotate(&e, "set the TCP user timeout"))
}

/// `struct tcp_md5sig { sockaddr_storage addr; u8 flags, prefixlen; u16 keylen; int ifindex; u8 key[80]; }`
fn md5sig(peer: Prefix, key: &[u8], v6_socket: bool) -> [u8; MD5SIG_LEN] {
    let host = peer.len() == peer.max_len();
    let (family, address, length) = match (peer.addr(), v6_socket) {
        (IpAddr::V4(a), false) => (libc::AF_INET, IpAddr::V4(a), peer.len()),
        (IpAddr::V4(a), true) => (libc::AF_INET6, IpAddr::V6(a.to_ipv6_mapped()), peer.len() + 96),
        (IpAddr::V6(a), _) => (libc::AF_INET6, IpAddr::V6(a), peer.len()),
    };
    let mut value = [0u8; MD5SIG_LEN];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(room) = value.get_mut(at..at + bytes.len()) {
            room.copy_from_slice(bytes);
        }
    };
    put(0, &u16::try_from(family).unwrap_or_default().to_ne_bytes());
    match address {
        // sockaddr_in: family, port, address; sockaddr_in6: family, port, flow information, address.
        IpAddr::V4(a) => put(4, &Ipv4Addr::octets(&a)),
        IpAddr::V6(a) => put(8, &Ipv6Addr::octets(&a)),
    }
    if !host {
        put(SOCKADDR_STORAGE, &[TCP_MD5SIG_FLAG_PREFIX, length]);
    }
    put(SOCKADDR_STORAGE + 2, &u16::try_from(key.len()).unwrap_or_default().to_ne_bytes());
    put(SOCKADDR_STORAGE + 8, key);
    value
}

fn annotate(e: &io::Error, what: &str) -> io::Error {
    let cure = match e.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "; CAP_NET_ADMIN is missing: run as root or give the service that capability"
        }
        Some(libc::ENOPROTOOPT) => "; this kernel is built without it",
        _ => "",
    };
    io::Error::new(e.kind(), format!("cannot {what}: {e}{cure}"))
}

#[expect(unsafe_code, reason = "the standard library and socket2 have no call for these options")]
fn setsockopt(fd: RawFd, level: libc::c_int, option: libc::c_int, value: &[u8]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).unwrap_or_default();
    // SAFETY: `value` is a live slice of `length` bytes, which the kernel only reads during the call; an fd that is no
    // socket gives an error, not undefined behaviour.
    let done = unsafe { libc::setsockopt(fd, level, option, value.as_ptr().cast(), length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[expect(unsafe_code, reason = "the standard library and socket2 have no call for these options")]
fn getsockopt(fd: RawFd, level: libc::c_int, option: libc::c_int, value: &mut [u8]) -> io::Result<usize> {
    let mut length = libc::socklen_t::try_from(value.len()).unwrap_or_default();
    // SAFETY: `value` is a live slice of `length` bytes, of which the kernel writes at most that many and says in `length`
    // how many it did; an fd that is no socket gives an error, not undefined behaviour.
    let done = unsafe { libc::getsockopt(fd, level, option, value.as_mut_ptr().cast(), &raw mut length) };
    if done == 0 { Ok(usize::try_from(length).unwrap_or_default()) } else { Err(io::Error::last_os_error()) }
}

/// A receive buffer beyond `net.core.rmem_max`; needs `CAP_NET_ADMIN`.
pub(crate) fn force_receive_buffer(socket: &impl AsRawFd, octets: usize) -> io::Result<()> {
    let value = libc::c_int::try_from(octets).unwrap_or(libc::c_int::MAX).to_ne_bytes();
    setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &value)
}

/// Waits until `fd` can be read; false at the timeout. An interruption counts as the timeout.
#[expect(unsafe_code, reason = "netlink-sys has no poll, and the monitor must not depend on a runtime")]
pub(crate) fn wait_readable(fd: RawFd, timeout: Duration) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // Rounded up, so that a caller who waits for the rest of a deadline does not spin.
    let ms = timeout.as_micros().div_ceil(1000);
    // SAFETY: `poll` is one live pollfd, and the count says one.
    let ready = unsafe { libc::poll(&raw mut poll, 1, libc::c_int::try_from(ms).unwrap_or(libc::c_int::MAX)) };
    match ready {
        0 => Ok(false),
        n if n > 0 => Ok(true),
        _ => match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::Interrupted => Ok(false),
            e => Err(e),
        },
    }
}

#[cfg(test)]
#[path = "sockopt_tests.rs"]
mod tests;
