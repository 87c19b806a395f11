//! `noc ip`, `announce`, `withdraw` against the real `ipamd`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "in a test a panic is the report"
)]

mod support;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::*;

struct Ipamd {
    dir: PathBuf,
    child: Child,
}

impl Ipamd {
    fn start(name: &str) -> Ipamd {
        // Beside our own binary, where a build of the workspace leaves it.
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_noc")).with_file_name("ipamd");
        assert!(binary.exists(), "{} is not there: run `cargo build --workspace`", binary.display());
        let dir = std::env::temp_dir().join(format!("noc-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let config = dir.join("ipamd.toml");
        let text = format!(
            "[daemon]\nrun_dir = {dir:?}\nstate_dir = {dir:?}\nlog = \"warn\"\n\
             [ipam]\nsites = [\"paris\", \"marseille\"]\nholdings = [\"192.0.2.0/24\", \"2001:db8::/44\"]\n"
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new(binary).arg("--config").arg(&config).stdin(Stdio::null()).spawn().unwrap();
        let daemon = Ipamd { dir, child };
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::os::unix::net::UnixStream::connect(daemon.dir.join("ipamd.sock")).is_err() {
            assert!(Instant::now() < deadline, "ipamd does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        daemon
    }

    fn noc(&self, args: &[&str]) -> Ran {
        let mut command = command(args);
        command.env("NOC_IPAM", format!("unix:{}", self.dir.join("ipamd.sock").display()));
        ran(command)
    }

    /// It works, and says so.
    fn ok(&self, args: &[&str]) -> String {
        let ran = self.noc(args);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}: {ran:?}");
        ran.out
    }
}

impl Drop for Ipamd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn an_address_goes_from_booking_to_announcement_and_back() {
    let ipamd = Ipamd::start("life");
    ipamd.ok(&["ip", "site", "add", "chartres"]);
    ipamd.ok(&["ip", "holding", "add", "203.0.113.0/24", "--source", "RIPE"]);
    let said =
        ipamd.ok(&["ip", "add", "192.0.2.0/24", "--owner", "dept-75", "--site", "paris", "--description", "food bank"]);
    assert_eq!(said, "192.0.2.0/24 is booked for dept-75\n");
    let alloc = ["ip", "alloc", "--length", "28", "--within", "192.0.2.0/24", "--owner", "dept-75", "--key", "k1"];
    assert_eq!(ipamd.ok(&alloc), "192.0.2.0/28 is booked for dept-75\n");
    assert_eq!(ipamd.ok(&alloc), "192.0.2.0/28 is booked for dept-75\n", "the same key, the same answer");
    let said = ipamd.ok(&["announce", "192.0.2.0/24", "--from", "paris,chartres", "--owner", "dept-75"]);
    assert_eq!(said, "192.0.2.0/24 is announced from paris, chartres\n");
    assert_eq!(
        ipamd.ok(&["ip", "tree", "192.0.2.0/24"]),
        "PREFIX            KIND        OWNER    SITE   ANNOUNCED FROM   DESCRIPTION\n\
         192.0.2.0/24      holding                                      ipamd.toml\n\
         \u{20} 192.0.2.0/24    assignment  dept-75  paris  chartres, paris  food bank\n\
         \u{20}   192.0.2.0/28  assignment  dept-75\n"
    );
    let no = ipamd.noc(&["ip", "release", "192.0.2.0/24"]);
    assert_eq!((no.code, no.err.lines().count()), (3, 1), "{no:?}");
    assert!(no.err.starts_with("noc: IPAM-RELEASE-3: ") && no.err.contains("noc withdraw 192.0.2.0/24"), "{no:?}");
    ipamd.ok(&["withdraw", "192.0.2.0/24", "--from", "paris"]);
    assert_eq!(ipamd.ok(&["announcements", "--site", "paris", "-o", "json"]), "[]\n");
    ipamd.ok(&["withdraw", "192.0.2.0/24"]);
    ipamd.ok(&["ip", "release", "192.0.2.0/24", "--owner", "dept-75"]);
    assert!(ipamd.ok(&["ip", "free", "192.0.2.0/24"]).starts_with("FREE\n192.0.2.16/28\n192.0.2.32/27\n"));
}

#[test]
fn refusals_are_exit_3_findings_exit_1_and_nonsense_exit_2() {
    let ipamd = Ipamd::start("codes");
    ipamd.ok(&["ip", "add", "192.0.2.0/25", "--owner", "dept-13"]);
    for (args, code, says) in [
        (&["announce", "198.51.100.0/24", "--from", "paris"][..], 3, "IPAM-ANNOUNCE-1"),
        (&["announce", "192.0.2.0/25", "--from", "paris"], 3, "IPAM-ANNOUNCE-2"),
        (&["announce", "192.0.2.0/24", "--from", "paris", "--owner", "dept-75"], 3, "IPAM-ANNOUNCE-3"),
        (&["announce", "192.0.2.0/24", "--from", "lyon"], 3, "IPAM-SITE-1"),
        (&["ip", "add", "192.0.2.0/26", "--owner", "dept-75"], 3, "IPAM-ASSIGN-2"),
        (&["ip", "add", "192.0.2.128/26", "--owner", "a b"], 2, "IPAM-NAME-1"),
        (&["ip", "show", "198.51.100.1"], 1, "198.51.100.1/32 is not ours"),
        (&["ip", "show", "192.0.2.200"], 1, "192.0.2.200/32 is not booked"),
        (&["ip", "free", "198.51.100.0/24"], 1, "nothing is free"),
        (&["show", "summary", "--bgpd", "unix:/nonexistent"], 4, "is it running?"),
    ] {
        let ran = ipamd.noc(args);
        assert_eq!((ran.code, ran.err.lines().count()), (code, 1), "{args:?}: {ran:?}");
        assert!(ran.err.contains(says), "{args:?}: {ran:?}");
    }
}

#[test]
fn json_keeps_its_keys() {
    let ipamd = Ipamd::start("json");
    let booked = ipamd.ok(&["ip", "add", "192.0.2.0/24", "--owner", "dept-75", "-o", "json"]);
    let booked: serde_json::Value = serde_json::from_str(&booked).unwrap();
    let expected = serde_json::json!({
        "prefix": "192.0.2.0/24", "owner": "dept-75", "site": "", "description": "", "revision": 5
    });
    assert_eq!(booked, expected);
    let told: serde_json::Value =
        serde_json::from_str(&ipamd.ok(&["announce", "192.0.2.0/24", "--from", "paris", "-o", "json"])).unwrap();
    assert_eq!(told, serde_json::json!({"revision": 6, "message": "192.0.2.0/24 is announced from paris"}));
    let list: serde_json::Value = serde_json::from_str(&ipamd.ok(&["ip", "show", "192.0.2.9", "-o", "json"])).unwrap();
    let expected = serde_json::json!({
        "revision": 6,
        "holdings": [{"prefix": "192.0.2.0/24", "source": "ipamd.toml"}],
        "sites": [{"name": "marseille", "description": ""}, {"name": "paris", "description": ""}],
        "assignments": [booked],
        "announcements": [{"prefix": "192.0.2.0/24", "sites": ["paris"], "owner": "dept-75"}],
    });
    assert_eq!(list, expected);
    let free: serde_json::Value = serde_json::from_str(&ipamd.ok(&["ip", "free", "-o", "json"])).unwrap();
    assert_eq!(free, serde_json::json!([{"prefix": "2001:db8::/44"}]));
    let tree: serde_json::Value =
        serde_json::from_str(&ipamd.ok(&["ip", "tree", "192.0.2.0/24", "-o", "json"])).unwrap();
    let node = &tree["nodes"][0]["children"][0];
    assert_eq!((&node["kind"], &node["announced_from"]), (&"assignment".into(), &serde_json::json!(["paris"])));
}
