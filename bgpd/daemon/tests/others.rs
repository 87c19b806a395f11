//! Our bgpd against FRR and OpenBGPD, judged by their tables and our kernel's.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Net, can_run, holds, within};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

const OURS: &str = "[announce]\nprefixes = [\"192.0.2.0/24\", \"2001:db8:1000::/48\"]\n\
    [[neighbor]]\nname = \"v4\"\naddress = \"198.51.100.1\"\nremote_as = 64502\nrelation = \"transit\"\nfamilies = [\"ipv4-unicast\"]\nconnect_retry_time = 1\nhold_time = 9\n\
    [[neighbor]]\nname = \"v6\"\naddress = \"2001:db8:a::1\"\nremote_as = 64502\nrelation = \"transit\"\nfamilies = [\"ipv6-unicast\"]\nconnect_retry_time = 1\nhold_time = 9\n";

fn kernel_has(net: &Net, v4: &str, v6: &str) {
    within(LIMIT, "our kernel's table", || {
        holds(&net.ip("route show proto 220"), &[v4])?;
        holds(&net.ip("-6 route show proto 220"), &[v6])
    });
}

#[test]
fn frr_and_we_exchange_routes_and_agree_on_roles() {
    if !can_run(&["/usr/lib/frr/bgpd", "/usr/bin/vtysh"]) {
        return;
    }
    let net = Net::new();
    let _frr = net.frr(
        "router bgp 64502
 bgp router-id 198.51.100.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor 198.51.100.0 remote-as 64500
 neighbor 198.51.100.0 timers connect 1
 neighbor 198.51.100.0 local-role provider
 neighbor 2001:db8:a:: remote-as 64500
 neighbor 2001:db8:a:: timers connect 1
 neighbor 2001:db8:a:: local-role provider
 address-family ipv4 unicast
  network 203.0.113.0/24
  no neighbor 2001:db8:a:: activate
 exit-address-family
 address-family ipv6 unicast
  network 2001:db8:b::/48
  neighbor 2001:db8:a:: activate
 exit-address-family
",
    );
    let _bgpd = net.bgpd(OURS);
    kernel_has(&net, "203.0.113.0/24", "2001:db8:b::/48");
    within(LIMIT, "FRR's tables", || {
        holds(&net.vtysh("show bgp ipv4 unicast"), &["192.0.2.0/24"])?;
        holds(&net.vtysh("show bgp ipv6 unicast"), &["2001:db8:1000::/48"])
    });
    // RFC 9234: FRR names both roles of the session.
    holds(&net.vtysh("show bgp neighbors 198.51.100.0"), &["Local Role: provider", "Remote Role: customer"]).unwrap();
    // RFC 2918: what FRR asks for again comes again, and the session stands.
    net.vtysh("clear bgp ipv4 unicast 198.51.100.0 soft in");
    std::thread::sleep(Duration::from_secs(1));
    holds(&net.vtysh("show bgp ipv4 unicast"), &["192.0.2.0/24"]).unwrap();
    holds(&net.vtysh("show bgp neighbors 198.51.100.0"), &["Connections established 1;"]).unwrap();
}

#[test]
fn rfc4271_8_1_1_frr_and_we_both_delay_our_open() {
    if !can_run(&["/usr/lib/frr/bgpd", "/usr/bin/vtysh"]) {
        return;
    }
    // The longer delay is FRR's for one neighbour and ours for the other: each hears the other's OPEN while it waits.
    let (frr, ours) = ([1, 60], [60, 1]);
    let net = Net::new();
    let _frr = net.frr(&format!(
        "router bgp 64502
 bgp router-id 198.51.100.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor 198.51.100.0 remote-as 64500
 neighbor 198.51.100.0 timers connect 1
 neighbor 198.51.100.0 timers delayopen {}
 neighbor 2001:db8:a:: remote-as 64500
 neighbor 2001:db8:a:: timers connect 1
 neighbor 2001:db8:a:: timers delayopen {}
 address-family ipv4 unicast
  network 203.0.113.0/24
  no neighbor 2001:db8:a:: activate
 exit-address-family
 address-family ipv6 unicast
  network 2001:db8:b::/48
  neighbor 2001:db8:a:: activate
 exit-address-family
",
        frr[0], frr[1]
    ));
    let v4 = format!("relation = \"transit\"\ndelay_open = {}\nfamilies = [\"ipv4-unicast\"]", ours[0]);
    let v6 = format!("relation = \"transit\"\ndelay_open = {}\nfamilies = [\"ipv6-unicast\"]", ours[1]);
    let config = OURS
        .replace("relation = \"transit\"\nfamilies = [\"ipv4-unicast\"]", &v4)
        .replace("relation = \"transit\"\nfamilies = [\"ipv6-unicast\"]", &v6);
    assert_eq!(config.matches("delay_open").count(), 2);
    let _bgpd = net.bgpd(&config);
    kernel_has(&net, "203.0.113.0/24", "2001:db8:b::/48");
    within(LIMIT, "FRR's table", || holds(&net.vtysh("show bgp ipv4 unicast"), &["192.0.2.0/24"]));
    holds(&net.vtysh("show bgp neighbors 2001:db8:a::"), &["BGP state = Established"]).unwrap();
}

#[test]
fn openbgpd_and_we_exchange_routes() {
    if !can_run(&["/usr/sbin/bgpd", "/usr/sbin/bgpctl"]) {
        return;
    }
    let net = Net::new();
    let _openbgpd = net.openbgpd(
        "AS 64502
router-id 198.51.100.1
fib-update no
network 203.0.113.0/24
network 2001:db8:b::/48
holdtime 9
holdtime min 3
neighbor 198.51.100.0 {
	remote-as 64500
}
neighbor 2001:db8:a:: {
	remote-as 64500
	announce IPv6 unicast
	announce IPv4 none
}
allow from any
allow to any
",
    );
    let _bgpd = net.bgpd(OURS);
    kernel_has(&net, "203.0.113.0/24", "2001:db8:b::/48");
    within(LIMIT, "OpenBGPD's table", || {
        holds(&net.bgpctl("show rib"), &["192.0.2.0/24", "2001:db8:1000::/48", "64500 i"])
    });
}
