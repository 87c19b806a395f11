//! Without any daemon: usage, reachability, completions, help.

mod support;

use support::*;

#[test]
fn usage_errors_are_one_line_and_exit_2() {
    for (args, says) in [
        (&["show", "route", "192.0.2.1/24"][..], "did you mean 192.0.2.0/24"),
        (&["show", "nothing"], "nothing"),
        (&["ip", "add", "192.0.2.0/28"], "--owner <OWNER>"),
        (&["announce", "192.0.2.0/24"], "--from <SITES>"),
        (&["ip", "alloc", "--length", "28", "--owner", "dept-75"], "--family <FAMILY>"),
        (&["--bgpd", "nowhere", "show", "summary"], "is no endpoint"),
        (&["neighbor", "disable", "a", "--message", &"x".repeat(256)], "RFC 9003"),
    ] {
        let ran = noc(args);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.lines().count()), (2, "", 1), "{args:?}: {ran:?}");
        assert!(ran.err.starts_with("noc: ") && ran.err.contains(says), "{args:?}: {ran:?}");
    }
}

#[test]
fn a_daemon_that_is_away_is_exit_4_and_named() {
    for (args, name) in [
        (&["--bgpd", "unix:/nonexistent/bgpd.sock", "show", "summary"][..], "bgpd at unix:/nonexistent/bgpd.sock"),
        (&["--ipam", "unix:/nonexistent/ipamd.sock", "ip", "free"], "ipamd at unix:/nonexistent/ipamd.sock"),
        (&["--ipam", "127.0.0.1:1", "ip", "free"], "ipamd at http://127.0.0.1:1"),
    ] {
        let ran = noc(args);
        assert_eq!((ran.code, ran.err.lines().count()), (4, 1), "{ran:?}");
        assert!(ran.err.contains(name) && ran.err.contains("is it running?"), "{ran:?}");
    }
    let mut from_environment = command(&["show", "summary"]);
    from_environment.env("NOC_BGPD", "unix:/nonexistent/other.sock");
    assert!(ran(from_environment).err.contains("/nonexistent/other.sock"));
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = noc(&["completions", shell]);
        assert_eq!(ran.code, 0, "{ran:?}");
        for word in ["announcements", "rib-in", "alloc"] {
            assert!(ran.out.contains(word), "{shell}: {word}");
        }
    }
    let mut check = std::process::Command::new("bash");
    check.args(["-c", &format!("eval \"$({} completions bash)\" && complete -p noc", env!("CARGO_BIN_EXE_noc"))]);
    assert!(ran(check).out.contains("noc"), "bash takes it");
}

#[test]
fn each_command_has_help_with_an_example() {
    for path in [
        "show summary",
        "show memory",
        "show neighbors",
        "show route",
        "show rib-in",
        "show rib-out",
        "show next-hops",
        "show fib",
        "explain route",
        "explain export",
        "config reload",
        "neighbor enable",
        "neighbor disable",
        "neighbor drain",
        "neighbor undrain",
        "ip add",
        "ip alloc",
        "ip release",
        "ip show",
        "ip tree",
        "ip free",
        "ip holding add",
        "ip site add",
        "announce",
        "withdraw",
        "announcements",
        "completions",
    ] {
        let mut args: Vec<&str> = path.split(' ').collect();
        args.push("--help");
        let ran = noc(&args);
        assert_eq!(ran.code, 0, "{path}");
        assert!(ran.out.contains(&format!("noc {path}")) && ran.out.contains("Example"), "{path}: {}", ran.out);
    }
}
