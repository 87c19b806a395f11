//! Against the running kernel, over loopback.

use super::*;
use socket2::{Protocol, SockAddr, Socket, Type};
use std::net::SocketAddr;

fn root() -> bool {
    let root = std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    if !root {
        assert!(std::env::var_os("CI").is_none(), "needs root, and CI must have it");
        eprintln!("skipped: needs root");
    }
    root
}

fn tcp(v4: bool) -> Socket {
    Socket::new(if v4 { Domain::IPV4 } else { Domain::IPV6 }, Type::STREAM, Some(Protocol::TCP)).unwrap()
}

fn listener(v4: bool) -> (Socket, SockAddr) {
    let socket = tcp(v4);
    let address: SocketAddr = if v4 { "127.0.0.1:0" } else { "[::1]:0" }.parse().unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(4).unwrap();
    let bound = socket.local_addr().unwrap();
    (socket, bound)
}

fn connects(client: &Socket, to: &SockAddr) -> bool {
    client.connect_timeout(to, Duration::from_millis(400)).is_ok()
}

#[test]
fn rfc2385_only_the_right_key_connects() {
    if !root() {
        return;
    }
    for (v4, peer, range) in [(true, "127.0.0.1/32", "127.0.0.0/8"), (false, "::1/128", "::/64")] {
        for on_listener in [peer, range] {
            let (server, address) = listener(v4);
            set_tcp_md5(&server, on_listener.parse().unwrap(), Some(b"key one")).unwrap();
            let keyed = |key: Option<&[u8]>| {
                let client = tcp(v4);
                if key.is_some() {
                    set_tcp_md5(&client, peer.parse().unwrap(), key).unwrap();
                }
                connects(&client, &address)
            };
            assert!(keyed(Some(b"key one")), "{on_listener}");
            assert!(!keyed(Some(b"key two")), "{on_listener}");
            assert!(!keyed(None), "{on_listener}");
            set_tcp_md5(&server, on_listener.parse().unwrap(), None).unwrap();
            set_tcp_md5(&server, on_listener.parse().unwrap(), None).expect("twice is fine");
            assert!(keyed(None), "{on_listener}");
        }
    }
}

#[test]
fn a_key_that_is_too_long_is_refused_without_being_shown() {
    let e = set_tcp_md5(&tcp(true), "192.0.2.1/32".parse().unwrap(), Some(&[b'k'; 81])).expect_err("81 bytes");
    assert!(e.to_string().contains("192.0.2.1/32") && e.to_string().contains("at most 80"), "{e}");
    assert!(!e.to_string().contains("kkk"), "{e}");
}

#[test]
fn rfc5082_a_packet_from_afar_does_not_connect() {
    for v4 in [true, false] {
        let (server, address) = listener(v4);
        set_gtsm(&server, 1).unwrap();
        let far = tcp(v4);
        set_hop_limit(&far, 64).unwrap();
        assert!(!connects(&far, &address), "TTL 64 is not a neighbour");
        let near = tcp(v4);
        set_gtsm(&near, 1).unwrap();
        assert!(connects(&near, &address), "TTL 255 is");
    }
}

#[test]
fn network_control_and_user_timeout_are_set() {
    for v4 in [true, false] {
        let socket = tcp(v4);
        set_network_control(&socket).unwrap();
        let class = if v4 { socket.tos_v4() } else { socket.tclass_v6() };
        assert_eq!(class.unwrap(), CS6);
        set_user_timeout(&socket, Duration::from_secs(9)).unwrap();
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(9)));
    }
    let e = bind_to_device(&tcp(true), "no-such-device").expect_err("no device").to_string();
    assert!(e.contains("no-such-device"), "{e}");
}

#[test]
fn rfc5082_3_the_syn_says_with_which_ttl_it_came() {
    for (address, ttl) in [("127.0.0.1:0", 7), ("[::1]:0", 9)] {
        let listener = std::net::TcpListener::bind(address).unwrap();
        save_syn(&listener).unwrap();
        let to: SocketAddr = listener.local_addr().unwrap();
        let caller = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
        set_hop_limit(&caller, ttl).unwrap();
        caller.connect(&to.into()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(saved_syn_hop_limit(&accepted).unwrap(), Some(ttl));
        assert_eq!(saved_syn_hop_limit(&accepted).unwrap(), None, "it is given once");
    }
}
