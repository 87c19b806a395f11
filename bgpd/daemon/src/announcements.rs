//! The last accepted announcement set, kept on disk: what this site originates while ipamd is away (and at boot, before
//! anybody could be asked).

use std::collections::BTreeSet;

use api::ipam::AnnouncementSet;
use daemonbase::state::{StateDir, StateError};
use net_types::Prefix;
use serde::{Deserialize, Serialize};

const FILE: &str = "announcements.json";

/// A site's set at a revision of a store.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Announcements {
    /// Whose set it is.
    pub site: String,
    /// The store that the revision belongs to.
    pub store_id: String,
    /// Its revision.
    pub revision: u64,
    /// As ipamd gave it; what is not ours is held back when it is used, not here.
    pub prefixes: BTreeSet<Prefix>,
}

impl Announcements {
    /// The set on disk, if there is one for this site. An unreadable file is reported and treated as none: announcing
    /// something wrong would be worse than asking ipamd again.
    pub fn load(dir: &StateDir, site: &str) -> Result<Option<Announcements>, String> {
        let path = dir.path(FILE);
        let Some(bytes) = dir.read(FILE).map_err(|e| e.to_string())? else { return Ok(None) };
        let set: Announcements = serde_json::from_slice(&bytes)
            .map_err(|e| format!("{} is damaged ({e}); ipamd will give the set again", path.display()))?;
        Ok((set.site == site).then_some(set))
    }

    /// Writes it, durable on return.
    pub fn save(&self, dir: &StateDir) -> Result<(), StateError> {
        dir.write(FILE, serde_json::to_string_pretty(self).unwrap_or_default().as_bytes())
    }

    /// Applies a message of the stream. A prefix that cannot be read refuses the whole message, so that no part of a
    /// change is taken.
    pub fn apply(&mut self, message: &AnnouncementSet) -> Result<(), String> {
        let read = |list: &[String]| -> Result<Vec<Prefix>, String> {
            list.iter().map(|p| p.parse().map_err(|e| format!("revision {}: {e}", message.revision))).collect()
        };
        let (announce, withdraw) = (read(&message.announce)?, read(&message.withdraw)?);
        if message.snapshot {
            self.prefixes = announce.into_iter().collect();
        } else {
            withdraw.iter().for_each(|p| {
                self.prefixes.remove(p);
            });
            self.prefixes.extend(announce);
        }
        self.revision = message.revision;
        self.store_id.clone_from(&message.store_id);
        Ok(())
    }
}

/// Splits a set into what may be originated and what is refused: outside our own space.
pub fn within(set: &BTreeSet<Prefix>, own: &[Prefix]) -> (Vec<Prefix>, Vec<Prefix>) {
    set.iter().partition(|p| own.iter().any(|o| o.covers(p)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(revision: u64, snapshot: bool, announce: &[&str], withdraw: &[&str]) -> AnnouncementSet {
        let text = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect();
        AnnouncementSet { revision, store_id: "s".into(), snapshot, announce: text(announce), withdraw: text(withdraw) }
    }

    #[test]
    fn a_difference_withdraws_before_it_announces_and_a_bad_message_changes_nothing() {
        let mut set = Announcements::default();
        set.apply(&message(1, true, &["192.0.2.0/24", "198.51.100.0/24"], &[])).unwrap();
        set.apply(&message(2, false, &["192.0.2.0/24"], &["192.0.2.0/24", "198.51.100.0/24"])).unwrap();
        assert_eq!(set.prefixes.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.0/24"]);
        let before = set.clone();
        assert!(set.apply(&message(3, false, &["203.0.113.0/24", "203.0.113.1/24"], &[])).is_err());
        assert_eq!(set, before);
        let (ours, foreign) = within(&set.prefixes, &["198.51.100.0/24".parse().unwrap()]);
        assert_eq!((ours.len(), foreign.len()), (0, 1));
    }

    #[test]
    fn the_set_on_disk_is_for_its_site_only() {
        let path = std::env::temp_dir().join(format!("bgpd-announcements-{}", std::process::id()));
        let dir = StateDir::open(&path, "test").unwrap();
        assert_eq!(Announcements::load(&dir, "paris"), Ok(None));
        let mut set = Announcements { site: "paris".into(), ..Announcements::default() };
        set.apply(&message(7, true, &["2001:db8:1::/48"], &[])).unwrap();
        set.save(&dir).unwrap();
        assert_eq!(Announcements::load(&dir, "paris"), Ok(Some(set)));
        assert_eq!(Announcements::load(&dir, "chartres"), Ok(None));
        std::fs::write(dir.path(FILE), "{").unwrap();
        assert!(Announcements::load(&dir, "paris").unwrap_err().contains("damaged"));
        std::fs::remove_dir_all(&path).unwrap();
    }
}
