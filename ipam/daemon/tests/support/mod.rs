//! A real `ipamd` in a directory of its own.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "each test file uses a part"
)]

use api::ipam::ipam_client::IpamClient;
use api::ipam::*;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tonic::transport::Channel;

pub type Client = IpamClient<Channel>;

pub const IPAM: &str = r#"
[ipam]
sites = ["paris", "marseille"]
holdings = ["192.0.2.0/24", "198.51.100.0/24", "2001:db8::/44"]
"#;

/// A directory that goes with the test.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new() -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("ipamd-test-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let place = Place(dir);
        place.configure("", IPAM);
        place
    }

    /// A daemon with the usual configuration, and a client of it.
    pub async fn running() -> (Place, Daemon, Client) {
        let place = Place::new();
        let daemon = place.start();
        let client = place.client().await;
        (place, daemon, client)
    }

    /// Writes the configuration: `daemon` goes into the table of that name, `rest` after it.
    pub fn configure(&self, daemon: &str, rest: &str) {
        let (run, state) = (self.0.join("run"), self.0.join("state"));
        let text = format!("[daemon]\nrun_dir = {run:?}\nstate_dir = {state:?}\n{daemon}\n{rest}");
        std::fs::write(self.config(), text).unwrap();
    }

    pub fn config(&self) -> PathBuf {
        self.0.join("ipamd.toml")
    }

    pub fn store(&self) -> PathBuf {
        self.0.join("state/ipam.redb")
    }

    pub fn socket(&self) -> PathBuf {
        self.0.join("run/ipamd.sock")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.0.join("log")).unwrap_or_default()
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ipamd"));
        command.arg("--config").arg(self.config());
        command
    }

    /// Runs to the end, which must be soon: the exit code and what stands on standard error.
    #[track_caller]
    pub fn fails(&self) -> (i32, String) {
        let errors = self.0.join("errors");
        let mut command = self.command();
        command.env("ARTERE_LOG", "error").stderr(std::fs::File::create(&errors).unwrap());
        let mut daemon = Daemon { child: command.spawn().unwrap() };
        let status = daemon.ends_within(Duration::from_secs(10));
        (status.code().unwrap_or(-1), std::fs::read_to_string(errors).unwrap())
    }

    pub fn start(&self) -> Daemon {
        self.start_as(self.command())
    }

    pub fn start_as(&self, mut command: Command) -> Daemon {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.0.join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stderr(log).spawn().unwrap();
        let mut daemon = Daemon { child };
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            if let Some(status) = daemon.child.try_wait().unwrap() {
                panic!("ipamd ended with {status}: {}", self.log());
            }
            assert!(Instant::now() < deadline, "ipamd does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        daemon
    }

    pub async fn client(&self) -> Client {
        client(&format!("unix:{}", self.socket().display())).await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub async fn client(endpoint: &str) -> Client {
    let channel = daemonbase::grpc::connect("ipamd", &endpoint.parse().unwrap()).await.unwrap();
    IpamClient::new(channel).max_decoding_message_size(usize::MAX)
}

/// A running daemon, killed with the test.
pub struct Daemon {
    pub child: Child,
}

impl Daemon {
    pub fn kill_9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    #[track_caller]
    pub fn ends_within(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "still runs");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn add(prefix: &str, owner: &str) -> AddAssignmentRequest {
    AddAssignmentRequest { prefix: prefix.into(), owner: owner.into(), ..Default::default() }
}

pub fn alloc(length: u32, family: &str, owner: &str, key: &str) -> AllocateRequest {
    let (family, owner, request_id) = (family.into(), owner.into(), key.into());
    AllocateRequest { length, family, owner, request_id, ..Default::default() }
}

pub fn announce(prefix: &str, sites: &[&str]) -> AnnounceRequest {
    let sites = sites.iter().map(ToString::to_string).collect();
    AnnounceRequest { prefix: prefix.into(), sites, owner: String::new() }
}

pub fn withdraw(prefix: &str, sites: &[&str]) -> WithdrawRequest {
    WithdrawRequest { prefix: prefix.into(), sites: sites.iter().map(ToString::to_string).collect() }
}

pub fn watch(site: &str, since_revision: u64, store_id: &str) -> WatchAnnouncementsRequest {
    WatchAnnouncementsRequest { site: site.into(), since_revision, store_id: store_id.into() }
}

/// The next message, or a panic after five seconds.
pub async fn next(stream: &mut tonic::Streaming<AnnouncementSet>) -> AnnouncementSet {
    let message = tokio::time::timeout(Duration::from_secs(5), stream.message()).await;
    message.expect("a message within five seconds").unwrap().expect("the stream stands")
}

pub fn flip(path: &Path, needle: &[u8], by: &[u8]) {
    let mut bytes = std::fs::read(path).unwrap();
    let at: Vec<usize> = (0..bytes.len() - needle.len()).filter(|i| bytes[*i..].starts_with(needle)).collect();
    assert!(!at.is_empty(), "the text is in the file");
    for i in at {
        bytes[i..i + by.len()].copy_from_slice(by);
    }
    std::fs::write(path, bytes).unwrap();
}
