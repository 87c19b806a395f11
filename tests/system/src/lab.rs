//! One copy of a lab, up for the length of a test.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

/// The repository's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where cargo put the program `name`, next to the running test.
///
/// # Panics
/// If the test does not run from cargo's target directory.
pub fn program(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("own path");
    let dir = exe.parent().and_then(|d| d.parent()).expect("target/PROFILE/deps/TEST");
    dir.join(name)
}

/// A lab that is taken down when this value goes.
pub struct Lab {
    name: String,
    suffix: String,
    instance: String,
}

impl Lab {
    /// Brings up a copy of `name` under a name of its own and waits until its expectations are met.
    ///
    /// # Panics
    /// If it does not come up, with what the runner said.
    pub fn up(name: &str) -> Lab {
        let suffix = format!("t{}", std::process::id());
        let lab = Lab { name: name.to_owned(), instance: format!("{name}.{suffix}"), suffix };
        let me = std::process::id().to_string();
        let mut args = vec![&*lab.name, "--instance", &lab.suffix, "--keep"];
        // A test that is killed takes nothing down; the lab ends with it all the same, unless it is wanted for a look.
        if std::env::var_os("KEEP_LAB").is_none() {
            args.extend(["--owner", &me]);
        }
        let out = lab.runner(&args);
        assert!(out.status.success(), "labs/run {name} --keep:\n{}", said(&out));
        lab
    }

    fn runner(&self, args: &[&str]) -> Output {
        Command::new(program("lab-runner")).args(args).output().expect("lab-runner runs")
    }

    fn ctl(&self, args: &[&str]) -> Output {
        let mut all = vec!["ctl", self.instance.as_str()];
        all.extend(args);
        self.runner(&all)
    }

    fn must(&self, args: &[&str]) -> String {
        let out = self.ctl(args);
        assert!(out.status.success(), "{args:?} in {}:\n{}", self.instance, said(&out));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Sends KILL to a node's program (`all`: everyone's at once) and waits for its end.
    pub fn kill(&self, node: &str) {
        self.must(&["kill", node]);
    }

    /// Starts a node's program again.
    pub fn start(&self, node: &str) {
        self.must(&["start", node]);
    }

    /// Takes the carrier from `node:interface`.
    pub fn cut(&self, end: &str) {
        self.must(&["cut", end]);
    }

    /// Gives it back.
    pub fn heal(&self, end: &str) {
        self.must(&["heal", end]);
    }

    /// A command inside a node: exit code and output (both streams).
    pub fn exec(&self, node: &str, argv: &[&str]) -> (i32, String) {
        let mut all = vec!["exec", node];
        all.extend(argv);
        let out = self.ctl(&all);
        (out.status.code().unwrap_or(-1), said(&out))
    }

    /// A command inside a node that must succeed; its standard output.
    pub fn run(&self, node: &str, argv: &[&str]) -> String {
        let mut all = vec!["exec", node];
        all.extend(argv);
        self.must(&all)
    }

    /// The same, read as JSON.
    ///
    /// # Panics
    /// If the output is no JSON.
    pub fn json(&self, node: &str, argv: &[&str]) -> Value {
        let text = self.run(node, argv);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{argv:?} in {node}: {e}:\n{text}"))
    }

    /// The command that runs something inside a node, for long runs.
    pub(crate) fn command(&self, node: &str, argv: &[&str]) -> Command {
        let mut c = Command::new(program("lab-runner"));
        c.args(["ctl", &self.instance, "exec", node]).args(argv);
        c
    }

    /// A program that runs inside a node beside the test; the caller ends it.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn(&self, node: &str, argv: &[&str]) -> std::process::Child {
        let mut c = self.command(node, argv);
        c.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().expect("starts")
    }

    /// Plays the lab's plays whose name contains `only` (all: `""`); their lines, whether a play failed or not.
    ///
    /// # Panics
    /// If they cannot be played.
    pub fn play(&self, only: &str) -> Vec<Value> {
        let out = self.runner(&[&self.name, "--instance", &self.suffix, "--play", "--only", only, "--output", "json"]);
        let lines = serde_json::from_slice(&out.stdout);
        lines.unwrap_or_else(|e| panic!("labs/run {} --play: {e}:\n{}", self.name, said(&out)))
    }

    /// The runner's state file.
    ///
    /// # Panics
    /// If the state cannot be read.
    pub fn state(&self) -> Value {
        serde_json::from_str(&self.must(&["state"])).expect("state is JSON")
    }

    /// What a node's program has said so far.
    pub fn log(&self, node: &str) -> String {
        self.must(&["log", node])
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in ["par-a", "cha-a", "cha-b", "rr1", "ipam"] {
                let out = self.ctl(&["log", node]);
                let text = String::from_utf8_lossy(&out.stdout).into_owned();
                let tail: Vec<_> = text.lines().rev().take(25).collect();
                eprintln!("---- last lines of {node}");
                for line in tail.into_iter().rev() {
                    eprintln!("{line}");
                }
            }
            if std::env::var_os("KEEP_LAB").is_some() {
                eprintln!("kept: {}", self.instance);
                return;
            }
        }
        self.runner(&[&self.name, "--instance", &self.suffix, "--down"]);
    }
}

fn said(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}
