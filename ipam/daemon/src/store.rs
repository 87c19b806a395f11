//! The event log on disk: one redb file, `ipam.redb`.
//!
//! An event goes: JSON -> 8 bytes of chained checksum before it -> table `events` under its revision -> durable when
//! [`Store::append`] returns (one transaction for all that is given). Loading reads every event, checks the chain and
//! replays. Invariants: revisions are 1, 2, 3 ... without a hole; each checksum covers the event and the checksum before
//! it, so a changed, lost or exchanged event is found at the next start; a file that is there is whole (it is made under
//! another name and renamed).

use ipam_core::{Event, State};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

const META: TableDefinition<'_, &str, &str> = TableDefinition::new("meta");
const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
const SCHEMA: &str = "1";

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// Damaged, or not ours.
    #[error("{path} is damaged: {what}; move it away and restore the last backup")]
    Corrupt {
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// Written by another version.
    #[error("{path} has schema {found}, this ipamd reads {SCHEMA}: run the ipamd that wrote it")]
    Schema {
        /// The file.
        path: String,
        /// What it says.
        found: String,
    },
    /// The operating system refused.
    #[error("cannot use {path}: {what}; check that the disk has room and the file belongs to this user")]
    Io {
        /// The file.
        path: String,
        /// The reason.
        what: String,
    },
}

/// The open log.
pub(crate) struct Store {
    /// None only while the file is opened again.
    database: Option<Database>,
    path: PathBuf,
    id: String,
    /// The last event's revision and checksum.
    end: (u64, u64),
}

impl Store {
    /// Opens the store, making it if there is none, and replays it.
    pub(crate) fn open(path: &Path) -> Result<(Store, State), StoreError> {
        if !path.exists() {
            create(path)?;
        }
        Store::load(path)
    }

    /// Opens the store and replays it.
    pub(crate) fn load(path: &Path) -> Result<(Store, State), StoreError> {
        // redb asserts on some kinds of damage; that is a finding about the file, not a fault of ours to print a trace of.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let loaded = catch_unwind(AssertUnwindSafe(|| replay(path)));
        std::panic::set_hook(hook);
        loaded.unwrap_or_else(|_| Err(corrupt(path, "its pages do not make a tree")))
    }

    /// Which store this is: made at random when the file was.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes events after the last one; all are durable on return, or none is written.
    pub(crate) fn append(&mut self, events: &[Event]) -> Result<(), StoreError> {
        let end = self.write(events).map_err(|e| failed(&self.path, &e))?;
        self.end = end;
        Ok(())
    }

    /// Opens the file again after a failed write and replays it: redb takes no more writes until then.
    pub(crate) fn reopen(&mut self) -> Result<State, StoreError> {
        self.database = None;
        let (store, state) = Store::load(&self.path)?;
        *self = store;
        Ok(state)
    }

    fn database(&self) -> Result<&Database, redb::Error> {
        self.database.as_ref().ok_or(redb::Error::DatabaseAlreadyOpen)
    }

    fn write(&self, events: &[Event]) -> Result<(u64, u64), redb::Error> {
        let (mut revision, mut sum) = self.end;
        let mut transaction = self.database()?.begin_write()?;
        // With one phase, a last commit that was damaged later is taken for one that a crash tore, and dropped in silence.
        transaction.set_two_phase_commit(true);
        {
            let mut table = transaction.open_table(EVENTS)?;
            for event in events {
                let json = serde_json::to_vec(event).map_err(|e| redb::Error::Io(e.into()))?;
                revision += 1;
                sum = checksum(sum, &json);
                let mut record = sum.to_be_bytes().to_vec();
                record.extend_from_slice(&json);
                table.insert(revision, record.as_slice())?;
            }
        }
        transaction.commit()?;
        Ok((revision, sum))
    }

    /// The events after `revision`, oldest first.
    pub(crate) fn since(&self, revision: u64) -> Result<Vec<Event>, StoreError> {
        let read = || -> Result<Vec<Vec<u8>>, redb::Error> {
            let table = self.database()?.begin_read()?.open_table(EVENTS)?;
            table.range(revision + 1..)?.map(|row| Ok(row?.1.value().to_vec())).collect()
        };
        let records = read().map_err(|e| failed(&self.path, &e))?;
        records.iter().map(|r| decode(r).map(|(_, event)| event).map_err(|e| corrupt(&self.path, e))).collect()
    }
}

/// Makes the file under another name, complete with its id, and renames it.
fn create(path: &Path) -> Result<(), StoreError> {
    let io = |e: std::io::Error| StoreError::Io { path: path.display().to_string(), what: e.to_string() };
    let new = path.with_extension("redb.new");
    match std::fs::remove_file(&new) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io(e)),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(io)?;
    let mut random = [0; 16];
    File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut random)).map_err(io)?;
    let id = format!("{:032x}", u128::from_be_bytes(random));
    let fill = || -> Result<(), redb::Error> {
        let database = Database::create(&new)?;
        let transaction = database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            meta.insert("schema", SCHEMA)?;
            meta.insert("store_id", id.as_str())?;
            transaction.open_table(EVENTS)?;
        }
        transaction.commit()?;
        Ok(())
    };
    fill().map_err(|e| failed(path, &e))?;
    std::fs::rename(&new, path).map_err(io)?;
    let dir = path.parent().unwrap_or(Path::new("/"));
    File::open(dir).and_then(|d| d.sync_all()).map_err(io)
}

fn replay(path: &Path) -> Result<(Store, State), StoreError> {
    let failed = |e: redb::Error| failed(path, &e);
    let database = Database::open(path).map_err(|e| failed(e.into()))?;
    let transaction = database.begin_read().map_err(|e| failed(e.into()))?;
    let meta = transaction.open_table(META).map_err(|e| failed(e.into()))?;
    let word = |key: &str| -> Result<String, StoreError> {
        let value = meta.get(key).map_err(|e| failed(e.into()))?;
        value.map(|v| v.value().to_owned()).ok_or_else(|| corrupt(path, format!("it has no {key}")))
    };
    let found = word("schema")?;
    if found != SCHEMA {
        return Err(StoreError::Schema { path: path.display().to_string(), found });
    }
    let id = word("store_id")?;
    let mut state = State::default();
    let mut end = (0, 0);
    let events = transaction.open_table(EVENTS).map_err(|e| failed(e.into()))?;
    for row in events.iter().map_err(|e| failed(e.into()))? {
        let (revision, record) = row.map_err(|e| failed(e.into()))?;
        let (revision, record) = (revision.value(), record.value());
        let at = |what: &str| corrupt(path, format!("event {revision}: {what}"));
        let (sum, event) = decode(record).map_err(|e| at(&e))?;
        if revision != end.0 + 1 {
            return Err(at("those before it are missing"));
        }
        if sum != checksum(end.1, record.get(8..).unwrap_or_default()) {
            return Err(at("its checksum does not match"));
        }
        state.apply(&event).map_err(|e| corrupt(path, e.to_string()))?;
        end = (revision, sum);
    }
    drop((events, meta, transaction));
    Ok((Store { database: Some(database), path: path.to_owned(), id, end }, state))
}

fn decode(record: &[u8]) -> Result<(u64, Event), String> {
    let (sum, json) = record.split_first_chunk::<8>().ok_or("it is cut short")?;
    let event = serde_json::from_slice(json).map_err(|e| format!("it does not read ({e})"))?;
    Ok((u64::from_be_bytes(*sum), event))
}

/// FNV-1a over the checksum before and the event. Against decay, not against forgery.
fn checksum(before: u64, json: &[u8]) -> u64 {
    let bytes = before.to_be_bytes();
    bytes
        .iter()
        .chain(json)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

fn corrupt(path: &Path, what: impl Into<String>) -> StoreError {
    StoreError::Corrupt { path: path.display().to_string(), what: what.into() }
}

fn failed(path: &Path, error: &redb::Error) -> StoreError {
    let what = error.to_string().replace('\n', " ");
    match error {
        redb::Error::Io(e) if e.kind() == std::io::ErrorKind::InvalidData => corrupt(path, what),
        redb::Error::Io(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => corrupt(path, what),
        redb::Error::Corrupted(_)
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::RepairAborted => corrupt(path, what),
        _ => StoreError::Io { path: path.display().to_string(), what },
    }
}
