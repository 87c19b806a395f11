//! What the interop tests share: a link between two network namespaces, our bgpd at one end and a foreign daemon at the
//! other. Everything made here is removed when it is dropped; only processes started here are ended, by their id.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test support: a panic is the report"
)]

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// False (with a line that says why) where the test cannot run; a failure where `CI` is set.
pub fn can_run(programs: &[&str]) -> bool {
    let why = if std::fs::read_to_string("/proc/self/status").is_ok_and(|s| s.contains("\nUid:\t0\t")) {
        programs.iter().find(|p| !Path::new(p).exists()).map(|p| format!("{p} is not installed"))
    } else {
        Some("needs root (network namespaces)".to_owned())
    };
    match why {
        None => true,
        Some(why) => {
            assert!(std::env::var_os("CI").is_none(), "{why}, and CI must have it");
            eprintln!("skipped: {why}");
            false
        }
    }
}

/// Polls until `check` says yes or `limit` has passed.
#[track_caller]
pub fn within(limit: Duration, what: &str, mut check: impl FnMut() -> Result<(), String>) -> Duration {
    let start = Instant::now();
    loop {
        match check() {
            Ok(()) => return start.elapsed(),
            Err(e) if start.elapsed() > limit => panic!("{what}: not within {limit:?}; last seen:\n{e}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// `Ok` if `text` holds every needle.
pub fn holds(text: &str, needles: &[&str]) -> Result<(), String> {
    match needles.iter().find(|n| !text.contains(**n)) {
        None => Ok(()),
        Some(n) => Err(format!("no {n:?} in:\n{text}")),
    }
}

/// Runs a command to its end; its standard output.
#[track_caller]
pub fn sh(line: &str) -> String {
    let out = Command::new("sh").args(["-ec", line]).output().unwrap();
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{line}: {err}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Two namespaces and a link: ours has 198.51.100.0/31 and 2001:db8:a::/127 on eth1, theirs the upper addresses.
pub struct Net {
    pub ours: String,
    pub theirs: String,
    pub dir: PathBuf,
}

impl Net {
    pub fn new() -> Net {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("at-daemon-{}-{n}", std::process::id());
        let net = Net { ours: format!("{id}-a"), theirs: format!("{id}-b"), dir: std::env::temp_dir().join(&id) };
        std::fs::create_dir_all(&net.dir).unwrap();
        let (a, b) = (&net.ours, &net.theirs);
        sh(&format!(
            "ip netns add {a}; ip netns add {b}; ip link add eth1 netns {a} type veth peer name eth1 netns {b}
             for n in {a} {b}; do ip -n $n link set lo up; ip -n $n link set eth1 up; done
             ip -n {a} addr add 198.51.100.0/31 dev eth1; ip -n {b} addr add 198.51.100.1/31 dev eth1
             ip -n {a} addr add 2001:db8:a::/127 dev eth1 nodad; ip -n {b} addr add 2001:db8:a::1/127 dev eth1 nodad"
        ));
        net
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// `ip ...` in our namespace.
    pub fn ip(&self, arguments: &str) -> String {
        sh(&format!("ip -n {} {arguments}", self.ours))
    }

    /// Starts a program in a namespace, its output in a file of the test's folder.
    pub fn spawn(&self, namespace: &str, log: &str, program: &[&str]) -> Process {
        let file = File::create(self.path(log)).unwrap();
        let child = Command::new("ip")
            .args(["netns", "exec", namespace])
            .args(program)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Process { child, log: self.path(log) }
    }

    /// Our bgpd with `config` (the head is added).
    pub fn bgpd(&self, config: &str) -> Process {
        self.bgpd_with("", config)
    }

    /// The same, with further keys of `[bgp]`.
    pub fn bgpd_with(&self, bgp: &str, config: &str) -> Process {
        let dir = self.dir.display();
        let head = format!(
            "[bgp]\nlocal_as = 64500\nrouter_id = \"192.0.2.1\"\nlab = true\nselection_deferral = 20\n\
             own_prefixes = [\"192.0.2.0/24\", \"2001:db8:1000::/36\"]\nlisten = [\"0.0.0.0\", \"::\"]\n{bgp}\
             [daemon]\nrun_dir = \"{dir}/run\"\nstate_dir = \"{dir}/state\"\nlog = \"info,bgpd=debug\"\n"
        );
        let file = self.write("bgpd.toml", &(head + config));
        self.start_bgpd(&file)
    }

    pub fn start_bgpd(&self, file: &Path) -> Process {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let program = [env!("CARGO_BIN_EXE_bgpd"), "--config", file.to_str().unwrap()];
        self.spawn(&self.ours, &format!("bgpd-{n}.log"), &program)
    }

    /// BIRD in the other namespace.
    pub fn bird(&self, config: &str) -> Process {
        let file = self.write("bird.conf", config);
        let (file, ctl) = (file.display().to_string(), self.path("bird.ctl").display().to_string());
        self.spawn(&self.theirs, "bird.log", &["bird", "-f", "-c", &file, "-s", &ctl])
    }

    pub fn birdc(&self, command: &str) -> String {
        let out = Command::new("birdc").args(["-s", self.path("bird.ctl").to_str().unwrap()]).arg(command).output();
        let out = out.unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
    }

    /// FRR's bgpd alone in the other namespace: it learns and announces, its kernel stays as it is.
    pub fn frr(&self, config: &str) -> Process {
        let file = self.write("frr.conf", config).display().to_string();
        let (vty, pid) = (self.dir.display().to_string(), self.path("frr.pid").display().to_string());
        let bgpd = "/usr/lib/frr/bgpd";
        let program =
            [bgpd, "-S", "-Z", "-n", "-P", "0", "-f", &file, "-i", &pid, "--vty_socket", &vty, "--log", "stdout"];
        self.spawn(&self.theirs, "frr.log", &program)
    }

    pub fn vtysh(&self, command: &str) -> String {
        let out = Command::new("vtysh").arg("--vty_socket").arg(&self.dir).args(["-d", "bgpd", "-c", command]).output();
        let out = out.unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
    }

    /// OpenBGPD in the other namespace.
    pub fn openbgpd(&self, config: &str) -> Process {
        let socket = format!("socket \"{}\"\n", self.path("openbgpd.sock").display());
        let file = self.write("openbgpd.conf", &(socket + config));
        // The home of its user, where it locks itself in; Debian's service makes it, we are none.
        sh(&format!("chmod 600 {}; install -d -m 755 /run/openbgpd", file.display()));
        self.spawn(&self.theirs, "openbgpd.log", &["/usr/sbin/bgpd", "-d", "-f", file.to_str().unwrap()])
    }

    pub fn bgpctl(&self, command: &str) -> String {
        let socket = self.path("openbgpd.sock").display().to_string();
        let out = Command::new("bgpctl").args(["-s", &socket]).args(command.split(' ')).output().unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for namespace in [&self.ours, &self.theirs] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// A process of ours (`ip netns exec` becomes the program itself, so the id is the program's).
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn signal(&self, name: &str) {
        sh(&format!("kill -{name} {}", self.id()));
    }

    /// SIGKILL, and gone on return.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for the end.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            if start.elapsed() > limit {
                self.kill();
                return ExitStatus::from_raw(9);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Foreign daemons have children of their own that end with SIGTERM only.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}
