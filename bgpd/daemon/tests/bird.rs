//! Our bgpd against BIRD 2, judged by BIRD's tables and the kernel's.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Net, Process, can_run, holds, sh, within};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

const ROUTES: &str = "
log stderr all;
router id 198.51.100.1;
protocol device {}
protocol direct { ipv4; ipv6; }
protocol static s4 { ipv4; route 203.0.113.0/24 blackhole; }
protocol static s6 { ipv6; route 2001:db8:b::/48 blackhole; }
";

fn bird(options: &str) -> String {
    format!(
        "{ROUTES}
template bgp t {{ local as 64501; graceful restart on; connect retry time 1; connect delay time 1; error wait time 1,2; {options} }}
protocol bgp b4 from t {{ neighbor 198.51.100.0 as 64500; ipv4 {{ import all; export where source = RTS_STATIC; }}; }}
protocol bgp b6 from t {{ neighbor 2001:db8:a:: as 64500; ipv6 {{ import all; export where source = RTS_STATIC; }}; }}
"
    )
}

fn ours(options: &str) -> String {
    format!(
        "[announce]\nprefixes = [\"192.0.2.0/24\", \"2001:db8:1000::/48\"]\n\
         [[group]]\nname = \"bird\"\nremote_as = 64501\nrelation = \"transit\"\nconnect_retry_time = 1\n{options}\
         [[neighbor]]\nname = \"v4\"\ngroup = \"bird\"\naddress = \"198.51.100.1\"\nfamilies = [\"ipv4-unicast\"]\n\
         [[neighbor]]\nname = \"v6\"\ngroup = \"bird\"\naddress = \"2001:db8:a::1\"\nfamilies = [\"ipv6-unicast\"]\n"
    )
}

/// A link to run BIRD at the other end of; `None`: it cannot run here.
fn net() -> Option<Net> {
    can_run(&["/usr/sbin/bird"]).then(Net::new)
}

/// BIRD and our bgpd with these options, and their routes have arrived at both.
fn up(bird_options: &str, our_options: &str) -> Option<(Net, Process, Process)> {
    let net = net()?;
    let bird = net.bird(&bird(bird_options));
    let bgpd = net.bgpd(&ours(our_options));
    routes_flow(&net);
    Some((net, bird, bgpd))
}

/// Both families, both ways: BIRD has our prefixes, our kernel has BIRD's.
fn routes_flow(net: &Net) {
    within(LIMIT, "BIRD's table", || {
        holds(&net.birdc("show route all"), &["192.0.2.0/24", "2001:db8:1000::/48", "BGP.as_path: 64500"])
    });
    within(LIMIT, "our kernel's table", || {
        holds(&net.ip("route show proto 220"), &["203.0.113.0/24", "nhid"])?;
        holds(&net.ip("-6 route show proto 220"), &["2001:db8:b::/48", "nhid"])
    });
}

fn sessions_since(net: &Net) -> String {
    let text = net.birdc("show protocols");
    text.lines().filter(|l| l.starts_with('b')).collect::<Vec<_>>().join("\n")
}

#[test]
fn routes_flow_both_ways_in_both_families() {
    let Some((net, _bird, _bgpd)) = up("", "") else { return };
    // RFC 4724 §2: without it BIRD would hold stale routes for ever after a restart.
    within(LIMIT, "kernel objects", || holds(&net.ip("nexthop show"), &["via 198.51.100.1", "via 2001:db8:a::1"]));
    // A route withdrawn at BIRD leaves our kernel.
    net.birdc("disable s4");
    within(LIMIT, "withdrawal", || match net.ip("route show proto 220") {
        t if t.contains("203.0.113.0/24") => Err(t),
        _ => Ok(()),
    });
}

#[test]
fn rfc2385_md5_joins_with_the_key_and_not_without() {
    let Some((net, mut bird_with_key, bgpd)) = up("password \"correct horse\";", "md5 = \"correct horse\"\n") else {
        return;
    };
    assert!(!bgpd.log().contains("correct horse"));
    bird_with_key.kill();
    let _bird = net.bird(&bird("password \"wrong\";"));
    std::thread::sleep(Duration::from_secs(4));
    let text = net.birdc("show protocols");
    assert!(!text.contains("Established"), "{text}");
}

#[test]
fn rfc2385_md5_on_the_listener_lets_the_neighbour_in() {
    let Some(net) = net() else { return };
    let _bgpd = net.bgpd(&ours("md5 = \"correct horse\"\npassive = true\n"));
    let _bird = net.bird(&bird("password \"correct horse\";"));
    routes_flow(&net);
}

#[test]
fn rfc5082_gtsm_joins_a_neighbour_that_sends_255_and_refuses_others() {
    let Some((net, mut with, _bgpd)) = up("ttl security on;", "ttl_security = true\n") else { return };
    with.kill();
    let _without = net.bird(&bird("ttl security off;"));
    std::thread::sleep(Duration::from_secs(4));
    let text = net.birdc("show protocols");
    assert!(!text.contains("Established"), "{text}");
}

#[test]
fn rfc5082_3_a_caller_with_a_low_ttl_is_closed_before_a_word_is_read() {
    let Some(net) = net() else { return };
    let bgpd = net.bgpd(&ours("ttl_security = true\npassive = true\n"));
    let _bird = net.bird(&bird("ttl security off;"));
    within(LIMIT, "the refusal in the log", || holds(&bgpd.log(), &["it came with TTL 1, GTSM asks for 255"]));
    assert!(!bgpd.log().contains("OpenSent"), "an OPEN was read");
}

#[test]
fn a_range_lets_callers_in_and_strangers_not() {
    let Some(net) = net() else { return };
    let bgpd = net.bgpd(
        "[announce]\nprefixes = [\"192.0.2.0/24\"]\n[[neighbor]]\nname = \"callers\"\nrange = \"198.51.100.0/31\"\nremote_as = 64501\nrelation = \"transit\"\n",
    );
    let _bird = net.bird(&bird(""));
    within(LIMIT, "BIRD's table", || holds(&net.birdc("show route"), &["192.0.2.0/24"]));
    // Its IPv6 session comes from outside the range.
    within(LIMIT, "the stranger in the log", || {
        holds(&bgpd.log(), &["connection refused: no neighbour has this address"])
    });
    assert!(!net.birdc("show protocols b6").contains("Established"));
}

#[test]
fn rfc4724_kill_9_keeps_routes_here_and_there_and_the_next_start_adopts_them() {
    let Some((net, _bird, mut bgpd)) = up("", "") else { return };
    // A route of an earlier run that nobody will claim: it must go, but only after the restart is complete.
    net.ip("route add blackhole 203.0.113.128/25 proto 220 metric 512");
    // And one that is not ours: never touched.
    net.ip("route add blackhole 203.0.113.192/26 proto static metric 512");
    // What the kernel and BIRD say at each moment from here on.
    let watch = sh(&format!(
        "ip netns exec {} ip monitor route > {} 2>&1 & echo $!",
        net.ours,
        net.path("monitor.log").display()
    ));
    bgpd.kill();
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(100));
        holds(&net.birdc("show route"), &["192.0.2.0/24", "2001:db8:1000::/48"]).unwrap();
        holds(&net.ip("route show proto 220"), &["203.0.113.0/24", "192.0.2.0/24", "203.0.113.128/25"]).unwrap();
    }
    let bgpd = net.start_bgpd(&net.path("bgpd.toml"));
    within(LIMIT, "restart complete", || {
        holds(&net.birdc("show route"), &["192.0.2.0/24", "2001:db8:1000::/48"]).unwrap();
        holds(&bgpd.log(), &["restart complete", "stale kernel routes"])
    });
    within(LIMIT, "the sweep", || match net.ip("route show") {
        t if t.contains("203.0.113.128/25") => Err(t),
        t => holds(&t, &["203.0.113.192/26", "203.0.113.0/24"]),
    });
    std::thread::sleep(Duration::from_millis(500));
    sh(&format!("kill {watch}"));
    let events = std::fs::read_to_string(net.path("monitor.log")).unwrap();
    let gone: Vec<&str> =
        events.lines().filter(|l| l.starts_with("Deleted") && !l.contains("203.0.113.128/25")).collect();
    assert!(gone.is_empty(), "the restart removed what stood: {gone:?}");
    routes_flow(&net);
}

/// What our last OPEN said of b4's forwarding state, as BIRD shows it.
fn forwarding_preserved(net: &Net) -> bool {
    let text = net.birdc("show protocols all b4");
    let neighbor = text.split("Neighbor capabilities").nth(1).unwrap_or_default().to_owned();
    let line = |name: &str| neighbor.lines().find(|l| l.contains(name)).unwrap_or_default().to_owned();
    assert!(line("AF supported:").contains("ipv4"), "{text}");
    line("AF preserved:").contains("ipv4")
}

#[test]
fn rfc4724_3_only_a_start_that_adopted_routes_says_that_forwarding_was_preserved() {
    let Some((net, _bird, mut bgpd)) = up("", "") else { return };
    assert!(!forwarding_preserved(&net), "the very first start");
    bgpd.kill();
    let mut bgpd = net.start_bgpd(&net.path("bgpd.toml"));
    within(LIMIT, "restart complete", || holds(&bgpd.log(), &["restart complete"]));
    routes_flow(&net);
    assert!(forwarding_preserved(&net), "a start that adopted everything");
    bgpd.kill();
    // As after a power cut; routes go with their next-hop objects.
    net.ip("nexthop flush proto 220");
    net.ip("route flush proto 220");
    net.ip("-6 route flush proto 220");
    assert_eq!(net.ip("route show proto 220") + &net.ip("-6 route show proto 220"), "");
    let bgpd = net.start_bgpd(&net.path("bgpd.toml"));
    within(LIMIT, "the session", || holds(&bgpd.log(), &["session established", "198.51.100.1"]));
    routes_flow(&net);
    assert!(!forwarding_preserved(&net), "a start that found nothing");
}

#[test]
fn sigterm_leaves_forwarding_and_stop_withdraw_takes_it_away() {
    let Some((net, bird_daemon, mut bgpd)) = up("", "") else { return };
    bgpd.signal("TERM");
    assert!(bgpd.wait(Duration::from_secs(5)).success());
    holds(&net.ip("route show proto 220"), &["203.0.113.0/24"]).unwrap();
    holds(&net.birdc("show route"), &["192.0.2.0/24"]).unwrap();
    let config = net.path("bgpd.toml");
    let program = [env!("CARGO_BIN_EXE_bgpd"), "--config", config.to_str().unwrap(), "--stop", "withdraw"];
    let mut bgpd = net.spawn(&net.ours, "withdraw.log", &program);
    within(LIMIT, "restart complete", || holds(&bgpd.log(), &["restart complete"]));
    routes_flow(&net);
    bgpd.signal("TERM");
    assert!(bgpd.wait(Duration::from_secs(8)).success());
    assert_eq!(net.ip("route show proto 220"), "");
    assert_eq!(net.ip("-6 route show proto 220"), "");
    within(LIMIT, "BIRD hears Cease", || match net.birdc("show route") {
        t if t.contains("192.0.2.0/24") => Err(t),
        _ => holds(
            &bird_daemon.log(),
            &["b4: Received: Administrative shutdown", "b6: Received: Administrative shutdown"],
        ),
    });
}

#[test]
fn a_cosmetic_reload_resets_nothing_and_a_bad_file_changes_nothing() {
    let Some((net, _bird, bgpd)) = up("", "") else { return };
    let since = sessions_since(&net);
    let config = std::fs::read_to_string(net.path("bgpd.toml")).unwrap();
    net.write("bgpd.toml", &format!("# a comment\n\n{config}hold_time = 90\npassive = false\n"));
    bgpd.signal("HUP");
    within(LIMIT, "reload", || holds(&bgpd.log(), &["configuration reloaded: nothing changed"]));
    net.write("bgpd.toml", &format!("{config}pasive = true\n"));
    bgpd.signal("HUP");
    within(LIMIT, "refusal", || holds(&bgpd.log(), &["unknown-key: unknown key `pasive`; did you mean `passive`?"]));
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(sessions_since(&net), since);
    // A change of one neighbour's session ends that session and not the other.
    net.write("bgpd.toml", &format!("{config}hold_time = 30\n"));
    bgpd.signal("HUP");
    within(LIMIT, "v6 comes back", || {
        let now = sessions_since(&net);
        let line = |s: &str, name: &str| s.lines().find(|l| l.starts_with(name)).unwrap_or_default().to_owned();
        assert_eq!(line(&now, "b4"), line(&since, "b4"));
        if line(&now, "b6") != line(&since, "b6") && line(&now, "b6").contains("Established") {
            Ok(())
        } else {
            Err(now)
        }
    });
    // An announcement taken out of the file is withdrawn.
    net.write("bgpd.toml", &config.replace("\"192.0.2.0/24\", \"2001:db8:1000::/48\"", "\"192.0.2.0/24\""));
    bgpd.signal("HUP");
    within(LIMIT, "withdrawn", || match net.birdc("show route") {
        t if t.contains("2001:db8:1000::/48") => Err(t),
        t => holds(&t, &["192.0.2.0/24"]),
    });
}

#[test]
fn rfc8326_4_1_a_drain_asks_the_neighbour_to_keep_away_and_the_session_stays() {
    let Some((net, _bird, bgpd)) = up("", "") else { return };
    let since = sessions_since(&net);
    let config = std::fs::read_to_string(net.path("bgpd.toml")).unwrap();
    let marked = |wanted: bool| {
        let text = net.birdc("show route 192.0.2.0/24 all");
        if text.contains("(65535,0)") == wanted { Ok(()) } else { Err(text) }
    };
    marked(false).unwrap();
    net.write("bgpd.toml", &config.replace("name = \"v4\"\n", "name = \"v4\"\ndrain = true\n"));
    bgpd.signal("HUP");
    within(LIMIT, "GRACEFUL_SHUTDOWN at BIRD", || marked(true));
    net.write("bgpd.toml", &config);
    bgpd.signal("HUP");
    within(LIMIT, "the drain is over", || marked(false));
    assert_eq!(sessions_since(&net), since);
}

#[test]
fn a_cut_link_ends_the_session_at_once_and_it_comes_back() {
    let Some((net, _bird, bgpd)) = up("", "") else { return };
    net.ip("link set eth1 down");
    let took = within(LIMIT, "session ends", || holds(&bgpd.log(), &["interface down: session ended at once"]));
    assert!(took < Duration::from_secs(1), "{took:?}");
    within(LIMIT, "no route over a dead link", || match net.ip("route show proto 220") {
        t if t.contains("203.0.113.0/24") => Err(t),
        _ => Ok(()),
    });
    net.ip("link set eth1 up");
    net.ip("addr add 2001:db8:a::/127 dev eth1 nodad");
    routes_flow(&net);
}
