//! What bgpd refuses at its start: one line, exit code 2.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Net, can_run};
use std::process::Command;
use std::time::Duration;

fn check(text: &str) -> (Option<i32>, String, String) {
    let path = std::env::temp_dir().join(format!("bgpd-check-{}-{}.toml", std::process::id(), text.len()));
    std::fs::write(&path, text).unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_bgpd")).arg("--check").arg("--config").arg(&path).output().unwrap();
    std::fs::remove_file(&path).unwrap();
    let text = |b: &[u8]| String::from_utf8_lossy(b).replace(path.to_str().unwrap(), "FILE");
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}

#[test]
fn check_says_ok_or_one_line_and_2() {
    let good = "[bgp]\nlocal_as = 64500\nrouter_id = \"192.0.2.1\"\nlab = true\n";
    assert_eq!(check(good), (Some(0), "OK\n".into(), String::new()));
    let (code, out, err) = check(&good.replace("lab", "lap"));
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert_eq!(err, "FILE:4: unknown-key: unknown key `lap`; did you mean `lab`?\n");
}

#[test]
fn a_port_in_use_is_one_line_with_its_place_and_cure() {
    if !can_run(&[]) {
        return;
    }
    let net = Net::new();
    let _first = net.bgpd("");
    let config = std::fs::read_to_string(net.path("bgpd.toml")).unwrap();
    common::within(Duration::from_secs(5), "first listens", || {
        let text = common::sh(&format!("ip netns exec {} ss -ltn", net.ours));
        common::holds(&text, &["0.0.0.0:179", "[::]:179"])
    });
    let other = net.write("other.toml", &config.replace("/state", "/state2").replace("/run", "/run2"));
    let mut second = net.start_bgpd(&other);
    let status = second.wait(Duration::from_secs(5));
    assert_eq!(status.code(), Some(2), "{}", second.log());
    let line = format!(
        "{}:7: port-in-use: cannot listen on 0.0.0.0:179: Address already in use (os error 98); \
         stop who listens there (ss -ltnp 'sport = :179') or set another bgp.port\n",
        other.display()
    );
    assert_eq!(second.log(), line);
}

#[test]
fn a_second_bgpd_on_the_same_state_is_refused_by_name() {
    if !can_run(&[]) {
        return;
    }
    let net = Net::new();
    let first = net.bgpd("");
    common::within(Duration::from_secs(5), "first runs", || common::holds(&first.log(), &["listening"]));
    let mut second = net.start_bgpd(&net.path("bgpd.toml"));
    assert_ne!(second.wait(Duration::from_secs(5)).code(), Some(0));
    common::holds(&second.log(), &[&format!("is in use by bgpd (pid {})", first.id())]).unwrap();
}
