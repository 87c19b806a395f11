//! The runner on the real kernel, with a lab of two nodes: up, down, by every way of ending, and what is left (nothing).
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic is the report")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// True where network namespaces can be made; says why not, and fails in CI.
fn can_run() -> bool {
    let root = std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    if !root {
        assert!(std::env::var_os("CI").is_none(), "needs root (network namespaces), and CI must have it");
        eprintln!("skipped: needs root (network namespaces)");
    }
    root
}

/// A lab of two nodes in a folder of its own, under a name of its own; swept up at the end, whatever happens.
struct Tiny {
    name: String,
    dir: PathBuf,
}

impl Tiny {
    fn new(test: &str) -> Tiny {
        let name = format!("tiny-{test}-{}", std::process::id());
        let dir = std::env::temp_dir().join(&name);
        std::fs::create_dir_all(dir.join("expect")).expect("temporary folder");
        std::fs::write(dir.join("hello"), "bound\n").expect("written");
        let text = format!(
            "name: {name}\ntopology:\n  defaults:\n    kind: linux\n    image: host\n    binds: [\"hello:/etc/artere/hello:ro\"]\n    \
             sysctls: {{net.ipv4.ip_forward: 1, net.ipv4.conf.eth1.proxy_arp: 1}}\n  nodes:\n    a:\n      exec: [\"ip addr add 192.0.2.1/30 dev eth1\"]\n      \
             cmd: sleep 1000\n      env: {{COLOUR: green}}\n    b:\n      exec: [\"ip addr add 192.0.2.2/30 dev eth1\"]\n  links:\n    \
             - endpoints: [\"a:eth1\", \"b:eth1\"]\n      mtu: 1400\n"
        );
        std::fs::write(dir.join("tiny.clab.yml"), text).expect("written");
        let expect = r#"[{"name": "a reaches b", "node": "a", "run": ["ping", "-n", "-c", "1", "-W", "1", "192.0.2.2"], "within": 5}]"#;
        std::fs::write(dir.join("expect/1.json"), expect).expect("written");
        Tiny { name, dir }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut c = Command::new(env!("CARGO_BIN_EXE_lab-runner"));
        c.arg(self.dir.join("tiny.clab.yml")).args(args).stdin(Stdio::null());
        c
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("lab-runner runs")
    }

    fn ctl(&self, args: &[&str]) -> Output {
        let mut c = Command::new(env!("CARGO_BIN_EXE_lab-runner"));
        c.args(["ctl", &self.name]).args(args).output().expect("lab-runner runs")
    }

    fn must(&self, args: &[&str]) -> String {
        let out = self.ctl(args);
        assert!(out.status.success(), "{args:?}: {}", said(&out));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// In the foreground, until its expectations are met and it waits for Ctrl-C.
    fn stay(&self) -> Child {
        let child = self.command(&[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("lab-runner runs");
        let start = Instant::now();
        while !self.ctl(&["exec", "a", "ping", "-n", "-c", "1", "-W", "1", "192.0.2.2"]).status.success() {
            assert!(start.elapsed() < Duration::from_secs(15), "{} does not come up", self.name);
            std::thread::sleep(Duration::from_millis(50));
        }
        child
    }

    /// What of this lab is on the machine: named namespaces, files, processes.
    fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for dir in ["/run/netns", "/run/artere-labs"] {
            let names = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path());
            left.extend(names.map(|p| p.display().to_string()).filter(|p| p.contains(&self.name)));
        }
        left.extend(self.processes());
        left
    }

    fn processes(&self) -> Vec<String> {
        let all = std::fs::read_dir("/proc").expect("/proc").flatten().map(|e| e.path().join("cmdline"));
        let lines = all.filter_map(|p| Some((p.clone(), std::fs::read_to_string(p).ok()?.replace('\0', " "))));
        // The spec file's path in `__node` and `__init` names the lab.
        lines
            .filter(|(_, c)| c.contains(&format!("/{}/", self.name)) && !c.contains("ctl"))
            .map(|(p, c)| format!("{}: {c}", p.display()))
            .collect()
    }

    fn gone(&self, when: &str) {
        let start = Instant::now();
        while !self.left().is_empty() {
            assert!(start.elapsed() < Duration::from_secs(5), "{when}: left behind: {:?}", self.left());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        self.run(&["--down"]);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn said(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().expect("kill runs");
    assert!(status.success());
}

#[test]
fn once_works_twice_in_a_row_and_leaves_nothing() {
    if !can_run() {
        return;
    }
    let lab = Tiny::new("once");
    for turn in ["first", "second"] {
        let out = lab.run(&["--once"]);
        assert!(out.status.success(), "{turn}: {}", said(&out));
        assert!(said(&out).contains("1 expectations met, 0 not"), "{turn}: {}", said(&out));
        assert_eq!(lab.left(), Vec::<String>::new(), "{turn}");
    }
    std::fs::write(
        lab.dir.join("bad.json"),
        r#"[{"name": "no such host", "node": "a", "run": "ping -n -c1 -W1 192.0.2.3", "within": 1}]"#,
    )
    .expect("written");
    let out = lab.run(&["--check", lab.dir.join("bad.json").to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    assert!(said(&out).contains("FAILED") && said(&out).contains("0 expectations met, 1 not"), "{}", said(&out));
    assert_eq!(lab.left(), Vec::<String>::new());
}

#[test]
fn every_way_of_ending_the_runner_leaves_nothing() {
    if !can_run() {
        return;
    }
    let lab = Tiny::new("end");
    for name in ["INT", "TERM", "HUP"] {
        let mut child = lab.stay();
        signal(&child, name);
        child.wait().expect("ends");
        assert_eq!(lab.left(), Vec::<String>::new(), "after SIG{name}");
    }
    let mut child = lab.stay();
    signal(&child, "KILL");
    child.wait().expect("ends");
    // The kernel ends the nodes with it; names and files wait for the next run.
    let start = Instant::now();
    while !lab.processes().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(5), "processes outlive a killed runner: {:?}", lab.processes());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!lab.left().is_empty(), "a killed runner cannot tidy up; if it does, this test proves nothing");
    let out = lab.run(&["--once"]);
    assert!(out.status.success(), "after kill -9: {}", said(&out));
    assert_eq!(lab.left(), Vec::<String>::new());
}

#[test]
fn a_lab_kept_for_a_process_ends_with_it_and_the_leavings_of_dead_copies_go_at_the_next_start() {
    if !can_run() {
        return;
    }
    let lab = Tiny::new("owner");
    let mut owner = Command::new("sleep").arg("1000").spawn().expect("sleep runs");
    let out = lab.run(&["--instance", "t1", "--keep", "--owner", &owner.id().to_string()]);
    assert!(out.status.success(), "{}", said(&out));
    assert!(!lab.left().is_empty());
    // As a test that is killed: nobody takes anything down.
    signal(&owner, "KILL");
    owner.wait().expect("ends");
    lab.gone("its owner was killed");
    // A copy whose own runner was killed leaves names and files, which nobody asks for under this name again.
    let out = lab.run(&["--instance", "t2", "--keep"]);
    assert!(out.status.success(), "{}", said(&out));
    let state = std::fs::read_to_string(format!("/run/artere-labs/{}.t2/state.json", lab.name)).expect("state");
    let runner = state.split("\"runner\": ").nth(1).and_then(|r| r.split(',').next()).expect("a runner");
    assert!(Command::new("kill").args(["-KILL", runner]).status().expect("kill runs").success());
    let start = Instant::now();
    while !lab.processes().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(5), "processes outlive a killed runner: {:?}", lab.processes());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(lab.left().iter().any(|l| l.contains(".t2")), "a killed runner cannot tidy up");
    let out = lab.run(&["--instance", "t3", "--once"]);
    assert!(out.status.success(), "{}", said(&out));
    assert_eq!(lab.left(), Vec::<String>::new());
}

#[test]
fn a_play_counts_every_packet_and_says_what_a_cut_has_cost() {
    if !can_run() {
        return;
    }
    let lab = Tiny::new("play");
    let plays = |most: u64| {
        let text = format!(
            r#"{{"rate": 200, "streams": [{{"name": "there", "from": "a", "to": ["b"], "addresses": ["192.0.2.2"]}},
                {{"name": "in circles", "from": "a", "to": [], "addresses": ["198.51.100.1"]}}],
            "plays": [{{"name": "cut", "seconds": 1.5, "steps": [{{"at": 0.5, "node": "a", "run": "ip link set eth1 down"}},
                    {{"at": 1, "node": "a", "run": "ip link set eth1 up"}}],
                "without_way": ["in circles"], "most": {{"gap_ms": {most}, "expired": 0}}}},
                {{"name": "and nothing more", "seconds": 0.5, "steps": [], "continues": true,
                "without_way": ["in circles"], "most": {{"gap_ms": 0, "expired": 100000}}}}]}}"#
        );
        std::fs::write(lab.dir.join("plays.json"), text).expect("written");
        let file = format!("--play={}", lab.dir.join("plays.json").display());
        lab.run(&[&file, "-o", "json"])
    };
    // Each of the two sends packets to the second address to the other: until their time is over.
    let yml = std::fs::read_to_string(lab.dir.join("tiny.clab.yml")).expect("read");
    let yml = [(1, 2), (2, 1)].iter().fold(yml, |yml, (own, other)| {
        let address = format!("192.0.2.{own}/30 dev eth1\"");
        yml.replace(&address, &format!("{address}, \"ip route add 198.51.100.0/24 via 192.0.2.{other}\""))
    });
    let yml = yml.replace("ip_forward: 1", "ip_forward: 1, net.ipv4.conf.all.accept_local: 1, net.ipv4.conf.all.rp_filter: 0, net.ipv4.conf.default.rp_filter: 0");
    std::fs::write(lab.dir.join("tiny.clab.yml"), yml).expect("written");
    let out = plays(5);
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    let lines: serde_json::Value =
        serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&out)));
    let (cut, after) = (&lines[0], &lines[1]);
    assert_eq!((cut["sent"].as_u64(), after["sent"].as_u64()), (Some(300), Some(100)), "{lines}");
    let never = cut["never"].as_u64().unwrap();
    assert!(never >= 90, "half a second without a link is a hundred packets: {lines}");
    assert_eq!(cut["once"].as_u64().unwrap() + never, 300, "{lines}");
    assert!(cut["longest_gap_ms"].as_f64().unwrap() >= 450.0, "{lines}");
    // What had no way went in a circle, until the route into it went with the link; the kernels have counted it.
    let expired = cut["expired"].as_u64().unwrap();
    assert!((90..=110).contains(&expired), "{lines}");
    assert_eq!((cut["without_way"].as_u64(), after["never"].as_u64()), (Some(300), Some(0)), "{lines}");
    let failed = cut["failed"].to_string();
    assert!(failed.contains("there to 192.0.2.2: a gap of") && failed.contains("went in a circle"), "{failed}");
    assert_eq!(after["failed"].as_array().map(Vec::len), Some(0), "{lines}");
    assert_eq!(lab.left(), Vec::<String>::new());
}

#[test]
fn two_copies_stand_side_by_side_and_the_same_one_is_refused() {
    if !can_run() {
        return;
    }
    let lab = Tiny::new("twice");
    let mut child = lab.stay();
    let out = lab.run(&["--once"]);
    assert_eq!(out.status.code(), Some(2), "{}", said(&out));
    assert!(said(&out).contains(&format!("held by process {}", child.id())), "{}", said(&out));
    let out = lab.run(&["--instance", "copy", "--once"]);
    assert!(out.status.success(), "{}", said(&out));
    lab.must(&["exec", "a", "ping", "-n", "-c", "1", "-W", "1", "192.0.2.2"]);
    signal(&child, "INT");
    child.wait().expect("ends");
    lab.gone("both copies");
}

#[test]
fn keep_check_and_down() {
    if !can_run() {
        return;
    }
    let lab = Tiny::new("keep");
    let out = lab.run(&["--keep"]);
    assert!(out.status.success(), "{}", said(&out));
    let file = lab.dir.join("expect/1.json");
    let out = lab.run(&["--check", file.to_str().unwrap()]);
    assert!(out.status.success() && said(&out).contains("1 expectations met"), "{}", said(&out));
    let out = lab.run(&["--down"]);
    assert!(out.status.success(), "{}", said(&out));
    lab.gone("--down");
}

#[test]
fn a_node_is_what_its_file_says() {
    if !can_run() {
        return;
    }
    let lab = Tiny::new("node");
    let mut child = lab.stay();
    let exec = |argv: &[&str]| lab.must(&[&["exec", "a"], argv].concat());
    assert_eq!(exec(&["hostname"]).trim(), "a");
    assert_eq!(exec(&["cat", "/etc/artere/hello"]).trim(), "bound");
    assert!(
        !lab.ctl(&["exec", "a", "sh", "-c", "echo x > /etc/artere/hello"]).status.success(),
        "a :ro bind is read-only"
    );
    assert_eq!(
        exec(&["cat", "/proc/sys/net/ipv4/conf/eth1/proxy_arp", "/proc/sys/net/ipv4/ip_forward"]).trim(),
        "1\n1"
    );
    assert!(exec(&["ip", "link", "show", "eth1"]).contains("mtu 1400"));
    assert_eq!(exec(&["sh", "-c", "echo $COLOUR"]).trim(), "green");
    // What a node writes under /etc, /var and /run is its own and stays while its program comes and goes.
    exec(&["sh", "-c", "echo mine > /var/lib/artere/state; echo x > /run/x; echo x > /etc/lab-tiny-test"]);
    assert!(!Path::new("/var/lib/artere/state").exists() && !Path::new("/run/x").exists());
    assert!(!Path::new("/etc/lab-tiny-test").exists());
    let pid = || std::fs::read_to_string(format!("/run/artere-labs/{}/a.pid", lab.name)).expect("pid file");
    let before = pid();
    lab.must(&["kill", "a"]);
    assert!(!exec(&["ps", "ax"]).contains("sleep 1000"));
    assert!(said(&lab.ctl(&["kill", "a"])).contains("not running"));
    lab.must(&["start", "a"]);
    assert_ne!(before, pid());
    assert!(exec(&["ps", "ax"]).contains("sleep 1000"));
    assert_eq!(exec(&["cat", "/var/lib/artere/state"]).trim(), "mine");
    // Exit codes pass through.
    assert_eq!(lab.ctl(&["exec", "a", "sh", "-c", "exit 7"]).status.code(), Some(7));
    // A cut takes the carrier, not the address; healing brings it back.
    lab.must(&["cut", "a:eth1"]);
    let link = exec(&["ip", "addr", "show", "eth1"]);
    assert!(link.contains("NO-CARRIER") && link.contains("192.0.2.1/30"), "{link}");
    assert!(!lab.ctl(&["exec", "a", "ping", "-n", "-c", "1", "-W", "1", "192.0.2.2"]).status.success());
    lab.must(&["heal", "a:eth1"]);
    exec(&["ping", "-n", "-c", "3", "-W", "1", "192.0.2.2"]);
    signal(&child, "TERM");
    child.wait().expect("ends");
    lab.gone("SIGTERM");
}
