//! State that must outlive the process: one directory per daemon, one owner, files that are whole or absent.
//!
//! A write goes to a temporary file beside the target, is flushed to the disk, renamed over it, and the directory is
//! flushed too: after a power cut the reader finds the old content or the new one, never half of each.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A state directory could not be used, or a file in it not be written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process holds the directory.
    #[error("state directory {dir} is in use by {holder}: stop that one first or give this one its own directory")]
    InUse {
        /// The directory.
        dir: String,
        /// `bgpd (pid 1234)`.
        holder: String,
    },
    /// The operating system refused.
    #[error("cannot {what} {path}: {error}; check that the directory exists, is writable and the disk has room")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: String,
        /// The reason.
        error: io::Error,
    },
}

impl StateError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
        let path = path.display().to_string();
        move |error| StateError::Io { what, path, error }
    }
}

/// A state directory held by this process. Dropped or killed, the lock is free again: the kernel holds it, not a file's
/// existence.
#[derive(Debug)]
pub struct StateDir {
    dir: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Makes `dir` (mode 0750) if need be and takes it for `daemon`. A second instance is refused by name and pid.
    pub fn open(dir: &Path, daemon: &str) -> Result<StateDir, StateError> {
        make_dir(dir)?;
        let path = dir.join("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut lock = options.open(&path).map_err(StateError::io("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = lock.read_to_string(&mut text);
                let holder = match text.trim() {
                    "" => "another process".to_owned(),
                    t => t.to_owned(),
                };
                return Err(StateError::InUse { dir: dir.display().to_string(), holder });
            }
            Err(TryLockError::Error(e)) => return Err(StateError::io("lock", &path)(e)),
        }
        let written = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{daemon} (pid {})", std::process::id()));
        written.map_err(StateError::io("write", &path))?;
        Ok(StateDir { dir: dir.to_owned(), _lock: lock })
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Replaces a file in it, whole or not at all, mode 0600.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        write_atomic(&self.path(name), bytes, 0o600)
    }

    /// Reads a file in it; `None` if there is none.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        let path = self.path(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(StateError::io("read", &path)(e)),
        }
    }
}

/// Makes a directory and its parents, mode 0750 for those that are new.
pub fn make_dir(dir: &Path) -> Result<(), StateError> {
    DirBuilder::new().recursive(true).mode(0o750).create(dir).map_err(StateError::io("create", dir))
}

/// Replaces `path` by a file of `bytes` with `mode`, whole or not at all, durable on return.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StateError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let whole = options.open(&temporary).and_then(|mut f| {
        // A leftover of an earlier crash keeps its old mode otherwise.
        f.set_permissions(std::fs::Permissions::from_mode(mode))?;
        f.write_all(bytes)?;
        f.sync_all()
    });
    if let Err(e) = whole {
        let _ = std::fs::remove_file(&temporary);
        return Err(StateError::io("write", &temporary)(e));
    }
    std::fs::rename(&temporary, path).map_err(StateError::io("replace", path))?;
    let parent = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    File::open(parent).and_then(|d| d.sync_all()).map_err(StateError::io("flush", parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("daemonbase-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn a_second_instance_is_refused_by_name_and_pid() {
        let dir = scratch("lock");
        let first = StateDir::open(&dir, "bgpd").unwrap();
        let e = StateDir::open(&dir, "bgpd").expect_err("held").to_string();
        assert!(e.contains(&format!("bgpd (pid {})", std::process::id())), "{e}");
        drop(first);
        // A lock file left by a killed process does not keep the next one out.
        assert!(dir.join("lock").exists());
        StateDir::open(&dir, "bgpd").expect("free again");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_file_is_replaced_whole_with_its_mode_and_nothing_stays_behind() {
        let dir = scratch("write");
        let state = StateDir::open(&dir, "ipamd").unwrap();
        assert_eq!(state.read("set").unwrap(), None);
        std::fs::write(dir.join("set.new"), b"left by a crash").unwrap();
        state.write("set", b"one, a longer content").unwrap();
        state.write("set", b"two").unwrap();
        assert_eq!(state.read("set").unwrap().as_deref(), Some(b"two".as_slice()));
        assert_eq!(std::fs::metadata(dir.join("set")).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!dir.join("set.new").exists());
        let e = write_atomic(&dir.join("absent/file"), b"x", 0o600).expect_err("no directory").to_string();
        assert!(e.contains("absent/file.new") && e.contains("No such file"), "{e}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
