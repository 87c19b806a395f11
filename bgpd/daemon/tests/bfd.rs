//! BFD against BIRD 2 and FRR's bfdd, judged by their view, by BGP's and by the kernel.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{Net, Process, can_run, holds, sh, within};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

fn bird(bfd: &str) -> String {
    format!(
        "log stderr all;
router id 198.51.100.1;
protocol device {{}}
protocol bfd watch {{ {bfd} }}
protocol static s4 {{ ipv4; route 203.0.113.0/24 blackhole; }}
protocol static s6 {{ ipv6; route 2001:db8:b::/48 blackhole; }}
template bgp t {{ local as 64501; graceful restart on; connect retry time 1; connect delay time 1; error wait time 1,2; bfd on; }}
protocol bgp b4 from t {{ neighbor 198.51.100.0 as 64500; ipv4 {{ import all; export where source = RTS_STATIC; }}; }}
protocol bgp b6 from t {{ neighbor 2001:db8:a:: as 64500; ipv6 {{ import all; export where source = RTS_STATIC; }}; }}
"
    )
}

const FAST: &str =
    "interface \"*\" { min rx interval 50 ms; min tx interval 50 ms; idle tx interval 300 ms; multiplier 3; };";

fn ours(bfd: &str) -> String {
    format!(
        "[[group]]\nname = \"them\"\nremote_as = 64501\nrelation = \"transit\"\nconnect_retry_time = 1\nbfd = {{ {bfd} }}\n\
         [[neighbor]]\nname = \"v4\"\ngroup = \"them\"\naddress = \"198.51.100.1\"\nfamilies = [\"ipv4-unicast\"]\n\
         [[neighbor]]\nname = \"v6\"\ngroup = \"them\"\naddress = \"2001:db8:a::1\"\nfamilies = [\"ipv6-unicast\"]\n"
    )
}

/// BIRD's sessions: two lines, each with these words.
fn bird_shows(net: &Net, words: &[&str]) -> Result<(), String> {
    let text = net.birdc("show bfd sessions");
    let lines: Vec<&str> = text.lines().filter(|l| l.contains("eth1")).collect();
    match lines.len() == 2 && lines.iter().all(|l| words.iter().all(|w| l.contains(w))) {
        true => Ok(()),
        false => Err(text),
    }
}

fn established(net: &Net) -> Result<(), String> {
    let text = net.birdc("show protocols");
    match text.matches("Established").count() {
        2 => Ok(()),
        _ => Err(text),
    }
}

/// When BIRD's BGP sessions last changed.
fn bgp_since(net: &Net) -> String {
    let text = net.birdc("show protocols");
    text.lines().filter(|l| l.starts_with('b')).collect::<Vec<_>>().join("\n")
}

fn routes(net: &Net) -> Result<(), String> {
    holds(&net.ip("route show proto 220"), &["203.0.113.0/24"])?;
    holds(&net.ip("-6 route show proto 220"), &["2001:db8:b::/48"])
}

fn up(bird_bfd: &str, our_bfd: &str) -> Option<(Net, Process, Process)> {
    if !can_run(&["/usr/sbin/bird"]) {
        return None;
    }
    let net = Net::new();
    let bird = net.bird(&bird(bird_bfd));
    let bgpd = net.bgpd(&ours(our_bfd));
    within(LIMIT, "BGP", || established(&net));
    within(LIMIT, "routes", || routes(&net));
    within(LIMIT, "BFD at BIRD", || bird_shows(&net, &["Up"]));
    Some((net, bird, bgpd))
}

/// Nothing gets in or out of the other end, and no link goes down.
fn cut(net: &Net) {
    let rules = "add table inet cut
add chain inet cut i { type filter hook input priority 0; policy drop; }
add chain inet cut o { type filter hook output priority 0; policy drop; }
";
    let file = net.write("cut.nft", rules);
    sh(&format!("ip netns exec {} nft -f {}", net.theirs, file.display()));
}

#[test]
fn rfc5880_6_8_3_with_bird_timers_are_negotiated_and_changed_live() {
    let Some((net, _bird, bgpd)) = up(FAST, "interval = 50, multiplier = 3") else { return };
    within(LIMIT, "50 ms x 3", || bird_shows(&net, &["Up", "0.050", "0.150"]));
    let before = bgp_since(&net);
    let file = net.path("bgpd.toml");
    sh(&format!("sed -i 's/interval = 50/interval = 200/' {}", file.display()));
    bgpd.signal("HUP");
    within(LIMIT, "200 ms x 3", || bird_shows(&net, &["Up", "0.200", "0.600"]));
    assert_eq!(before, bgp_since(&net));
    assert!(!bgpd.log().contains("BFD down"), "{}", bgpd.log());
}

#[test]
fn rfc5880_6_1_with_bird_either_end_may_be_the_passive_one() {
    let passive = FAST.replace("multiplier 3;", "multiplier 3; passive yes;");
    for (theirs, ours) in [(&*passive, "interval = 50"), (FAST, "interval = 50, passive = true")] {
        let Some((_net, bird, bgpd)) = up(theirs, ours) else { return };
        assert!(!bgpd.log().contains("BFD down"), "{}", bgpd.log());
        drop(bird);
    }
}

#[test]
fn rfc9384_a_silent_cut_ends_the_session_long_before_the_hold_time() {
    let Some((net, _bird, bgpd)) = up(FAST, "interval = 50, multiplier = 3") else { return };
    within(LIMIT, "50 ms x 3", || bird_shows(&net, &["Up", "0.050"]));
    cut(&net);
    // Graceful restart was agreed, and still nothing is kept: the TCP connection stands, so nobody restarts. Hold time 90 s.
    let took = within(Duration::from_secs(10), "our kernel's routes", || match routes(&net) {
        Ok(()) => Err(net.ip("route show proto 220")),
        Err(_) => Ok(()),
    });
    eprintln!("silent cut, 3 x 50 ms: a route left the kernel after {took:?} (polled each 50 ms)");
    within(LIMIT, "the reason", || holds(&bgpd.log(), &["BFD down", "BFD Down"]));
}

#[test]
fn rfc5880_6_7_4_keyed_sha1_with_bird() {
    for kind in ["", "meticulous "] {
        if !can_run(&["/usr/sbin/bird"]) {
            return;
        }
        let net = Net::new();
        let ours_kind = if kind.is_empty() { "sha1" } else { "meticulous-sha1" };
        net.write("key", "a key of BFD\n");
        sh(&format!("chmod 600 {}", net.path("key").display()));
        let auth = format!("{FAST} ").replace(
            "multiplier 3;",
            &format!("multiplier 3; authentication {kind}keyed sha1; password \"a key of BFD\" {{ id 7; }};"),
        );
        let _bird = net.bird(&bird(&auth));
        let _bgpd = net
            .bgpd(&ours(&format!("interval = 50, auth = \"{ours_kind}\", auth_key_id = 7, auth_key_file = \"key\"")));
        within(LIMIT, ours_kind, || bird_shows(&net, &["Up", "0.050"]));
        std::thread::sleep(Duration::from_secs(2));
        bird_shows(&net, &["Up", "0.050"]).unwrap();
        established(&net).unwrap();
    }
}

#[test]
fn strict_no_session_before_bfd_is_up() {
    if !can_run(&["/usr/sbin/bird"]) {
        return;
    }
    let net = Net::new();
    let _bird = net.bird(
        &bird("disabled; ")
            .replace("disabled; ", FAST)
            .replace("protocol bfd watch {", "protocol bfd watch { disabled;"),
    );
    let bgpd = net.bgpd(&ours("interval = 50, strict = true"));
    within(LIMIT, "OpenConfirm", || holds(&bgpd.log(), &["to=OpenConfirm"]));
    std::thread::sleep(Duration::from_secs(3));
    assert!(established(&net).is_err() && !net.birdc("show protocols").contains("Established"));
    net.birdc("enable watch");
    within(LIMIT, "BGP after BFD", || established(&net));
}

const FRR: &str = "/usr/lib/frr/";

/// FRR's zebra, bfdd and bgpd in the other namespace.
fn frr(net: &Net) -> Vec<Process> {
    let dir = net.dir.display().to_string();
    // zebra and bfdd give up being root.
    sh(&format!("chmod 777 {dir}"));
    let config = "router bgp 64501
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 bgp graceful-restart
 neighbor 198.51.100.0 remote-as 64500
 neighbor 198.51.100.0 timers connect 1
 neighbor 198.51.100.0 bfd
 neighbor 198.51.100.0 bfd profile fast
 neighbor 2001:db8:a:: remote-as 64500
 neighbor 2001:db8:a:: timers connect 1
 neighbor 2001:db8:a:: bfd
 neighbor 2001:db8:a:: bfd profile fast
 address-family ipv4 unicast
  neighbor 198.51.100.0 activate
 exit-address-family
 address-family ipv6 unicast
  neighbor 2001:db8:a:: activate
 exit-address-family
";
    let profile =
        "bfd\n profile fast\n  transmit-interval 50\n  receive-interval 50\n  detect-multiplier 3\n exit\nexit\n";
    let files = [
        ("zebra", net.write("zebra.conf", "")),
        ("bfdd", net.write("bfdd.conf", profile)),
        ("bgpd", net.write("frr.conf", config)),
    ];
    let mut all = Vec::new();
    for (name, file) in files {
        let (program, file) = (format!("{FRR}{name}"), file.display().to_string());
        let (zebra, pid) = (format!("{dir}/zserv.api"), format!("{dir}/{name}.pid"));
        let control = format!("{dir}/bfdctl");
        let mut line =
            vec![&*program, "-z", &zebra, "-P", "0", "-f", &file, "-i", &pid, "--vty_socket", &dir, "--log", "stdout"];
        match name {
            "bgpd" => line.extend(["-S", "-n"]),
            "bfdd" => line.extend(["--bfdctl", &control]),
            _ => {}
        }
        all.push(net.spawn(&net.theirs, &format!("frr-{name}.log"), &line));
        std::thread::sleep(Duration::from_millis(500));
    }
    all
}

fn vtysh(net: &Net, daemon: &str, commands: &[&str]) -> String {
    let mut vtysh = std::process::Command::new("vtysh");
    vtysh.arg("--vty_socket").arg(&net.dir).args(["-d", daemon]);
    commands.iter().for_each(|c| {
        vtysh.args(["-c", c]);
    });
    let out = vtysh.output().unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

/// bfdd's sessions: two, each with these words.
fn bfdd_shows(net: &Net, words: &[&str]) -> Result<(), String> {
    let text = vtysh(net, "bfdd", &["show bfd peers"]);
    match words.iter().all(|w| text.matches(w).count() == 2) {
        true => Ok(()),
        false => Err(text),
    }
}

fn frr_established(net: &Net) -> Result<(), String> {
    let text = net.vtysh("show bgp neighbors");
    match text.matches("BGP state = Established").count() {
        2 => Ok(()),
        _ => Err(text),
    }
}

/// FRR makes its BFD session anew once BGP is up, and the new one begins with Down: BGP may come up twice. Waits until both are
/// up and have stayed so for a while.
fn settle(net: &Net) {
    let mut last = (String::new(), Instant::now());
    within(LIMIT, "BGP and BFD", || {
        let both = frr_established(net).and_then(|()| bfdd_shows(net, &["Status: up"]));
        both.inspect_err(|_| last.0.clear())?;
        let text = net.vtysh("show bgp neighbors");
        let now: String = text.lines().filter(|l| l.contains("Connections established")).collect();
        if now != last.0 {
            last = (now, Instant::now());
        }
        if last.1.elapsed() > Duration::from_secs(3) { Ok(()) } else { Err(last.0.clone()) }
    });
}

#[test]
fn with_frr_both_families_come_up_change_live_and_rfc5882_3_2_admin_down_keeps_bgp() {
    if !can_run(&["/usr/lib/frr/bfdd", "/usr/lib/frr/zebra"]) {
        return;
    }
    let net = Net::new();
    let _frr = frr(&net);
    let bgpd = net.bgpd(&ours("interval = 50, multiplier = 3"));
    settle(&net);
    let falls = |d: &Process| (d.log().matches("BFD down").count(), d.log().matches("session down").count());
    let before = falls(&bgpd);
    // Ours changes, then theirs.
    let file = net.path("bgpd.toml");
    sh(&format!("sed -i 's/interval = 50/interval = 200/' {}", file.display()));
    bgpd.signal("HUP");
    within(LIMIT, "200 ms", || bfdd_shows(&net, &["Status: up", "Transmission interval: 200ms"]));
    vtysh(&net, "bfdd", &["configure", "bfd", "profile fast", "transmit-interval 400", "receive-interval 400"]);
    within(LIMIT, "400 ms", || bfdd_shows(&net, &["Status: up", "Transmission interval: 400ms"]));
    assert_eq!(falls(&bgpd), before, "{}", bgpd.log());
    // RFC 5880 §6.1: FRR in the passive role finds us, who call; then we are passive, and it calls.
    for (theirs, ours) in [("passive-mode", "passive = false"), ("no passive-mode", "passive = true")] {
        vtysh(&net, "bfdd", &["configure", "bfd", "profile fast", theirs]);
        sh(&format!(
            "sed -i 's/bfd = {{ interval = 200, multiplier = 3[^}}]*}}/bfd = {{ interval = 200, multiplier = 3, {ours} }}/' {}",
            file.display()
        ));
        bgpd.signal("HUP");
        vtysh(&net, "bfdd", &["configure", "bfd", "profile fast", "shutdown"]);
        within(LIMIT, "their shutdown", || bfdd_shows(&net, &["Status: shutdown"]));
        vtysh(&net, "bfdd", &["configure", "bfd", "profile fast", "no shutdown"]);
        within(LIMIT, ours, || bfdd_shows(&net, &["Status: up"]));
    }
    assert_eq!(falls(&bgpd), before, "{}", bgpd.log());
    let told = |d: &Process| d.log().matches("RemoteAdminDown").count();
    let earlier = told(&bgpd);
    vtysh(&net, "bfdd", &["configure", "bfd", "profile fast", "shutdown"]);
    within(LIMIT, "AdminDown in the log", || match told(&bgpd) - earlier {
        2.. => Ok(()),
        _ => Err(bgpd.log()),
    });
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(falls(&bgpd), before, "{}", bgpd.log());
}

#[test]
fn with_frr_a_silent_cut_ends_the_session_long_before_the_hold_time() {
    if !can_run(&["/usr/lib/frr/bfdd", "/usr/lib/frr/zebra"]) {
        return;
    }
    let net = Net::new();
    let _frr = frr(&net);
    let bgpd = net.bgpd(&ours("interval = 50, multiplier = 3"));
    settle(&net);
    let before = bgpd.log().matches("session down").count();
    cut(&net);
    within(Duration::from_secs(10), "both sessions", || match bgpd.log().matches("session down").count() - before {
        2 => holds(&bgpd.log(), &["BFD Down"]),
        _ => Err(bgpd.log()),
    });
}
