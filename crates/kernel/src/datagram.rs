//! UDP sockets that say when, over which interface and with which hop limit a packet came: what a protocol that counts
//! milliseconds needs (RFC 5880 to 5883).
//!
//! The way of a packet: [`DatagramSocket::receive`] -> octets and a [`Datagram`] with the kernel's time stamp, so that
//! who reads late still knows when it came. Invariant: no call here waits but [`wait`].

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::sockopt::{
    Ipv4PacketInfo, Ipv4RecvTtl, Ipv6RecvHopLimit, Ipv6RecvPacketInfo, ReceiveTimestampns,
};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, Socket, Type};

use crate::sockopt;

/// What came with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// Octets.
    pub len: usize,
    /// Who sent it.
    pub source: SocketAddr,
    /// To which address of ours.
    pub destination: Option<IpAddr>,
    /// Over which interface.
    pub interface: u32,
    /// TTL or Hop Limit; `None`: the kernel did not say.
    pub hop_limit: Option<u8>,
    /// How long ago it came, by the kernel's stamp.
    pub age: Duration,
}

/// A UDP socket that does not wait.
#[derive(Debug)]
pub struct DatagramSocket {
    socket: Socket,
}

impl DatagramSocket {
    /// Takes what comes to this port at any address of the family.
    pub fn receiver(v6: bool, port: u16) -> io::Result<DatagramSocket> {
        let any = if v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
        let new = DatagramSocket::bound(SocketAddr::new(any, port))?;
        setsockopt(&new.socket, ReceiveTimestampns, &true)?;
        if v6 {
            setsockopt(&new.socket, Ipv6RecvPacketInfo, &true)?;
            setsockopt(&new.socket, Ipv6RecvHopLimit, &true)?;
        } else {
            setsockopt(&new.socket, Ipv4PacketInfo, &true)?;
            setsockopt(&new.socket, Ipv4RecvTtl, &true)?;
        }
        Ok(new)
    }

    /// Sends from this address and port, with TTL 255 and as network control. What is sent to it is not read.
    pub fn sender(local: SocketAddr) -> io::Result<DatagramSocket> {
        let new = DatagramSocket::bound(local)?;
        sockopt::set_hop_limit(&new.socket, 255)?;
        sockopt::set_network_control(&new.socket)?;
        Ok(new)
    }

    fn bound(local: SocketAddr) -> io::Result<DatagramSocket> {
        let v6 = local.is_ipv6();
        let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if v6 {
            socket.set_only_v6(true)?;
        }
        socket.bind(&local.into())?;
        Ok(DatagramSocket { socket })
    }

    /// The next packet that waits; `None`: none does.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Datagram>> {
        let mut control = [0u8; 256];
        let mut slices = [IoSliceMut::new(buffer)];
        let fd = self.socket.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = match recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut control), flags) {
            Ok(message) => message,
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let source = message.address.as_ref().and_then(source);
        let source = source.ok_or_else(|| io::Error::other("a packet without a source"))?;
        let mut datagram = Datagram {
            len: message.bytes,
            source,
            destination: None,
            interface: 0,
            hop_limit: None,
            age: Duration::ZERO,
        };
        for control in message.cmsgs()? {
            match control {
                ControlMessageOwned::ScmTimestampns(stamp) => datagram.age = age(stamp),
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    datagram.interface = u32::try_from(info.ipi_ifindex).unwrap_or(0);
                    let address = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                    datagram.destination = Some(address.into());
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    datagram.interface = info.ipi6_ifindex;
                    datagram.destination = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                }
                ControlMessageOwned::Ipv4Ttl(n) | ControlMessageOwned::Ipv6HopLimit(n) => {
                    datagram.hop_limit = u8::try_from(n).ok();
                }
                _ => {}
            }
        }
        Ok(Some(datagram))
    }

    /// Sends one packet.
    pub fn send(&self, payload: &[u8], to: SocketAddr) -> io::Result<()> {
        self.socket.send_to(payload, &to.into()).map(|_| ())
    }
}

impl AsFd for DatagramSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn source(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|a| SocketAddr::new(a.ip().into(), a.port()));
    let v6 = || {
        let a = storage.as_sockaddr_in6()?;
        Some(SocketAddrV6::new(a.ip(), a.port(), a.flowinfo(), a.scope_id()).into())
    };
    v4.or_else(v6)
}

/// How long ago a stamp of the wall clock was.
fn age(stamp: TimeSpec) -> Duration {
    let seconds = u64::try_from(stamp.tv_sec()).unwrap_or(0);
    let at = Duration::new(seconds, u32::try_from(stamp.tv_nsec()).unwrap_or(0));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(at)
}

/// Waits until one of these can be read, or so long; microseconds count.
pub fn wait(sockets: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<()> {
    let mut polled: Vec<PollFd<'_>> = sockets.iter().map(|s| PollFd::new(*s, PollFlags::POLLIN)).collect();
    match ppoll(&mut polled, timeout.map(TimeSpec::from_duration), None) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn a_packet_comes_with_its_hop_limit_interface_destination_and_age() {
        for (v6, address) in [(false, "127.0.0.1"), (true, "::1")] {
            let address: IpAddr = address.parse().unwrap();
            let receiver = DatagramSocket::receiver(v6, 0).unwrap();
            let port = receiver.socket.local_addr().unwrap().as_socket().unwrap().port();
            let sender = DatagramSocket::sender(SocketAddr::new(address, 0)).unwrap();
            let mut buffer = [0; 64];
            let mut packet = || {
                sender.send(b"octets", SocketAddr::new(address, port)).unwrap();
                std::thread::sleep(Duration::from_millis(50));
                wait(&[receiver.as_fd()], Some(Duration::from_secs(5))).unwrap();
                receiver.receive(&mut buffer).unwrap().unwrap()
            };
            // The kernel begins to stamp a moment after the first socket has asked for it; until then it stamps as it hands out.
            let begun = std::time::Instant::now();
            let mut d = packet();
            while d.age < Duration::from_millis(50) && begun.elapsed() < Duration::from_secs(10) {
                d = packet();
            }
            assert_eq!((&buffer[..d.len], d.hop_limit), (&b"octets"[..], Some(255)));
            assert_eq!((d.source.ip(), d.destination), (address, Some(address)));
            // Loopback.
            assert_eq!(d.interface, 1);
            assert!(d.age >= Duration::from_millis(50), "{:?}", d.age);
            assert!(receiver.receive(&mut buffer).unwrap().is_none());
        }
    }
}
