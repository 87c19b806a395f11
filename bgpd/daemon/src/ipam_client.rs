//! Follows a site's announcement set at ipamd: a resumable stream, endpoints tried in turn, for ever.
//!
//! The way of a set: stream message -> applied to the last set -> disk -> [`State`] -> the supervisor -> the RIB.
//! Invariants: nothing is taken back because ipamd is away; a set is in force only once it is on disk, so a restart
//! never knows less than the neighbours were told.

use std::sync::Arc;
use std::time::Duration;

use api::ipam::WatchAnnouncementsRequest;
use api::ipam::ipam_client::IpamClient;
use daemonbase::grpc::{self, Address};
use daemonbase::state::StateDir;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::announcements::Announcements;
use crate::config::IpamConfig;

/// First wait before the next round over the endpoints, doubled up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// A dead link is noticed after one ping interval and one timeout.
const PING_EVERY: Duration = Duration::from_secs(3);
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// What the client knows.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The last accepted set.
    pub set: Announcements,
    /// Where it is connected.
    pub connected: Option<String>,
    /// Since when it is or is not.
    pub since: Option<Instant>,
}

impl State {
    /// For `noc show summary`.
    pub fn describe(&self) -> String {
        let seconds = self.since.map_or(0, |s| s.elapsed().as_secs());
        match &self.connected {
            Some(endpoint) => format!("connected to {endpoint} for {seconds} s"),
            None => format!("away for {seconds} s; revision {} in force", self.set.revision),
        }
    }
}

/// Runs for ever; dropped to stop.
pub async fn run(config: IpamConfig, dir: Arc<StateDir>, state: watch::Sender<State>) {
    let mut backoff = BACKOFF_MIN;
    let mut told = false;
    loop {
        for endpoint in &config.endpoints {
            let began = Instant::now();
            let why = follow(&config.site, endpoint, &dir, &state).await;
            let lost = state.borrow().connected.is_some();
            if lost || !told {
                told = true;
                warn!(%endpoint, revision = state.borrow().set.revision, "ipamd is away, its last set stays in force: {why}");
            }
            if lost {
                state.send_modify(|s| {
                    s.connected = None;
                    s.since = Some(Instant::now());
                });
            }
            // A connection that stood a while starts the waits anew.
            if began.elapsed() > BACKOFF_MAX {
                backoff = BACKOFF_MIN;
            }
        }
        sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Follows one endpoint until it fails; returns why.
async fn follow(site: &str, endpoint: &str, dir: &Arc<StateDir>, state: &watch::Sender<State>) -> String {
    let address: Address = match endpoint.parse() {
        Ok(address) => address,
        Err(e) => return e,
    };
    let channel = match grpc::connect_with_ping("ipamd", &address, PING_EVERY, PING_TIMEOUT).await {
        Ok(channel) => channel,
        Err(e) => return e.to_string(),
    };
    let request = {
        let set = &state.borrow().set;
        let (since_revision, store_id) = (set.revision, set.store_id.clone());
        WatchAnnouncementsRequest { site: site.to_owned(), since_revision, store_id }
    };
    let mut stream = match IpamClient::new(channel).watch_announcements(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return status.message().to_owned(),
    };
    info!(endpoint, site, "following ipamd");
    state.send_modify(|s| {
        s.connected = Some(endpoint.to_owned());
        s.since = Some(Instant::now());
    });
    loop {
        let message = match stream.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return "the stream ended".into(),
            Err(status) => return status.message().to_owned(),
        };
        let mut set = state.borrow().set.clone();
        set.site = site.to_owned();
        if let Err(e) = set.apply(&message) {
            return format!("refused: {e}");
        }
        let (saved, on_disk) = (set.clone(), dir.clone());
        match tokio::task::spawn_blocking(move || saved.save(&on_disk)).await {
            Ok(Ok(())) => {}
            // Better announce what is asked than nothing; the next change tries again.
            Ok(Err(e)) => warn!("announcement set in force but not on disk: {e}"),
            Err(e) => return e.to_string(),
        }
        info!(revision = set.revision, prefixes = set.prefixes.len(), "announcement set");
        state.send_modify(|s| s.set = set);
    }
}
