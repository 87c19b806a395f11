//! Was there a run before this one, and does its forwarding still stand? The answer sets the R bit and the deferral of
//! the first decision (RFC 4724 §4.1).
//!
//! With a kernel table the table itself answers: routes that carry our protocol number are an earlier run's, and forward.
//! Without one (a route reflector) a note of the last run answers, if the machine has not booted since and the note is
//! younger than neighbours keep our routes.

use std::time::{Duration, SystemTime};

use daemonbase::state::StateDir;
use serde::{Deserialize, Serialize};

const FILE: &str = "running.json";
/// How often a running daemon renews its note.
pub const RENEW: Duration = Duration::from_secs(30);

#[derive(Serialize, Deserialize)]
struct Note {
    boot_id: String,
    seconds: u64,
}

/// Notes that we run now.
pub fn note(dir: &StateDir) {
    let note = Note { boot_id: boot_id(), seconds: seconds() };
    let text = serde_json::to_vec(&note).unwrap_or_default();
    if let Err(e) = dir.write(FILE, &text) {
        tracing::warn!("{e}");
    }
}

/// True if an earlier run on this boot left a note no older than `keep` plus one renewal.
pub fn ran_lately(dir: &StateDir, keep: Duration) -> bool {
    let Ok(Some(bytes)) = dir.read(FILE) else { return false };
    let Ok(note) = serde_json::from_slice::<Note>(&bytes) else { return false };
    note.boot_id == boot_id() && seconds().saturating_sub(note.seconds) <= (keep + RENEW).as_secs()
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or_else(|_| String::new(), |s| s.trim().to_owned())
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_young_note_of_this_boot_counts() {
        let path = std::env::temp_dir().join(format!("bgpd-restart-{}", std::process::id()));
        let dir = StateDir::open(&path, "test").unwrap();
        let keep = Duration::from_secs(120);
        assert!(!ran_lately(&dir, keep));
        note(&dir);
        assert!(ran_lately(&dir, keep));
        let write = |boot_id: String, seconds| {
            dir.write(FILE, &serde_json::to_vec(&Note { boot_id, seconds }).unwrap()).unwrap();
        };
        write(boot_id(), seconds() - 151);
        assert!(!ran_lately(&dir, keep));
        write("another".into(), seconds());
        assert!(!ran_lately(&dir, keep));
        std::fs::remove_dir_all(&path).unwrap();
    }
}
