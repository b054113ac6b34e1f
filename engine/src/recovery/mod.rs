//! Opening: create what is missing, find the newest checkpoint, replay the log behind it.
//!
//! A new database is made under a temporary name and renamed when it is whole and durable, so that
//! a power cut leaves either nothing or a database. An existing one is opened in time that depends
//! on the log alone, not on the size of the data.
//!
//! Invariants:
//! 1. Nothing is written before the lock is held, and nothing in a directory that holds something
//!    else.
//! 2. What is believed is on the device: before the meta pages and the log are read, their files
//!    are synced and the system's cache of them is dropped.
//! 3. Opening twice gives the same content; opening that is cut short harms nothing.

mod apply;
mod attach;
mod collected;
mod replay;
mod unfinished;

pub(crate) use attach::attach;

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::error::{Error, ErrorKind, Result};
use crate::ids::Epoch;
use crate::io::{File, Host, Lock, OpenMode};
use crate::limits::PAGE_BYTES_MAX;
use crate::mutation::{self, Mutation};
use crate::options::Options;
use crate::pager::{
    Arena, Growth, Meta, PageMemory, Reserved, SpaceMap, create_data_file, read_metas,
};
use crate::sync::Mutex;
use crate::txn::{
    Clock, CommitQueue, FileState, Gauges, Lent, Lists, Marks, Published, Readers, Root, Signals,
    Stack, Store, WriteTxn, Writer, WriterSeat,
};
use crate::wal::{Position, ReplayRange, Room, Sequence, Wal, WalOptions};
use std::sync::Arc;

pub(crate) use unfinished::{remove_unfinished, unfinished_name};

/// The data file's name within the directory.
pub(crate) const DATA: &str = "data";
/// Its name while it is made.
const DATA_NEW: &str = "data.new";
/// The directory of the log.
pub(crate) const LOG: &str = "wal";
/// The lock file.
pub(crate) const LOCK: &str = "lock";

/// Opens or creates the database in `dir`.
pub(crate) fn open(
    host: Arc<dyn Host>,
    dir: &Path,
    options: Options,
    progress: Progress<'_>,
) -> Result<Arc<Store>> {
    options.validate()?;
    let found = look(&*host, dir, &options)?;
    let lock = take_lock(&*host, dir, &options)?;
    if found == Found::Nothing {
        // Seen without the lock, so it may be there by now.
        create_if_missing(&host, dir, &options)?;
    }
    let path = dir.join(DATA);
    let mode = if options.read_only { OpenMode::Read } else { OpenMode::ReadWrite };
    let file = host.open(&path, mode).map_err(|e| Error::io("open", &path, e))?;
    if !options.read_only {
        // Whoever renamed the data file, this process or one that was killed, its name is durable
        // before anything is built on it.
        if !mutation::is(Mutation::DatabaseNameNotSynced) {
            host.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))?;
        }
        if !mutation::is(Mutation::RecoveryNotSynced) {
            file.sync().map_err(|e| Error::io("sync", &path, e))?;
        }
    }
    // Only the meta pages: what they reach was durable before they were written, and dropping the
    // whole file's cache would make every open a cold start.
    file.forget_cached(2 * PAGE_BYTES_MAX as u64).map_err(|e| Error::io("read", &path, e))?;
    let (newest, other) = read_metas(&*file, &path)?;
    check_shape(&*file, &path, &newest, &options)?;
    let store = assemble(host, dir, file, &newest, other.as_ref(), options, lock)?;
    replay_log(&store, &newest, progress)?;
    if !store.options.read_only {
        // Who removes what has expired will tell of a damaged list.
        let next_due = WriteTxn::begin_unlogged(&store)?.next_due();
        store.note_next_due(next_due.unwrap_or(0));
    }
    Ok(store)
}

#[derive(PartialEq, Eq)]
enum Found {
    Nothing,
    Database,
}

/// Looks what the directory holds, and makes it if it is missing.
fn look(host: &dyn Host, dir: &Path, options: &Options) -> Result<Found> {
    let names = match host.list(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if !options.create || options.read_only {
                return Err(not_a_database(dir, "expected a directory, found none"));
            }
            make_dir(host, dir)?;
            return Ok(Found::Nothing);
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(not_a_database(dir, "expected a directory, found a file"));
        }
        Err(error) => return Err(Error::io("read", dir, error)),
    };
    if names.iter().any(|name| name == DATA) {
        return Ok(Found::Database);
    }
    let known = [DATA_NEW, LOG, LOCK];
    if let Some(other) = names.iter().find(|name| !known.contains(&name.as_str())) {
        let reason = format!("expected a data file or an empty directory, found \"{other}\"");
        return Err(not_a_database(dir, &reason));
    }
    if !options.create || options.read_only {
        return Err(not_a_database(dir, "expected a data file, found none"));
    }
    // A log is made only after the new data file's name is durable: see `create_if_missing`.
    if names.iter().any(|name| name == LOG) && !names.iter().any(|name| name == DATA_NEW) {
        return Err(not_a_database(dir, "expected a data file beside the log, found none"));
    }
    Ok(Found::Nothing)
}

pub(crate) fn not_a_database(dir: &Path, reason: &str) -> Error {
    let (path, reason) = (dir.to_path_buf(), reason.to_owned());
    Error::from(ErrorKind::NotADatabase { path, reason })
}

fn list(host: &dyn Host, dir: &Path) -> Result<Vec<String>> {
    host.list(dir).map_err(|e| Error::io("read", dir, e))
}

/// Makes the directory, its name not yet durable.
fn make_dir(host: &dyn Host, dir: &Path) -> Result<()> {
    match host.create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::io("create", dir, error))
        }
        _ => Ok(()),
    }
}

pub(crate) fn sync_parent(host: &dyn Host, dir: &Path) -> Result<()> {
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    host.sync_dir(parent).map_err(|e| Error::io("sync", parent, e))
}

fn take_lock(host: &dyn Host, dir: &Path, options: &Options) -> Result<Option<Box<dyn Lock>>> {
    let path = dir.join(LOCK);
    match host.lock(&path) {
        Ok(Some(lock)) => Ok(Some(lock)),
        Ok(None) => Err(Error::from(ErrorKind::Locked { path: dir.to_path_buf() })),
        // Nobody can write there, so nobody has to be kept out.
        Err(error) if options.read_only && error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            Ok(None)
        }
        Err(error) => Err(Error::io("lock", &path, error)),
    }
}

/// The name that the data file gets last is not yet durable.
fn create_if_missing(host: &Arc<dyn Host>, dir: &Path, options: &Options) -> Result<()> {
    let names = list(&**host, dir)?;
    if names.iter().any(|name| name == DATA) {
        return Ok(());
    }
    let (new, path, log) = (dir.join(DATA_NEW), dir.join(DATA), dir.join(LOG));
    if names.iter().any(|name| name == DATA_NEW) {
        remove_begun(host, dir, names.iter().any(|name| name == LOG))?;
    }
    // Whoever made the directory may have died before its name was durable.
    if !mutation::is(Mutation::DirectoryNotSynced) {
        sync_parent(&**host, dir)?;
    }
    let database_id = u128::from(host.random()) << 64 | u128::from(host.random());
    let database_id = database_id.to_le_bytes();
    create_data_file(&**host, &new, options.new_page_bytes(), database_id)?;
    let sync_dir = || host.sync_dir(dir).map_err(|e| Error::io("sync", dir, e));
    sync_dir()?;
    Wal::create(Arc::clone(host), &log, database_id, wal_options(options))?;
    // The log's name must be durable before the data file's: a data file without a log is damage.
    sync_dir()?;
    host.rename(&new, &path).map_err(|e| Error::io("rename", &new, e))
}

/// Removes what a creation that was cut short left behind: the log first, so that a log without a
/// data file always means that the data file is lost.
fn remove_begun(host: &Arc<dyn Host>, dir: &Path, has_log: bool) -> Result<()> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |e| Error::io("remove", &path, e)
    };
    let log = dir.join(LOG);
    if has_log {
        for name in list(&**host, &log)? {
            host.remove_file(&log.join(&name)).map_err(failed(&log))?;
        }
        host.sync_dir(&log).map_err(failed(&log))?;
        host.remove_dir(&log).map_err(failed(&log))?;
    }
    // Also when the log is gone already: whoever removed it may have died before that was durable.
    host.sync_dir(dir).map_err(failed(dir))?;
    let new = dir.join(DATA_NEW);
    host.remove_file(&new).map_err(failed(&new))
}

fn wal_options(options: &Options) -> WalOptions {
    WalOptions {
        segment_bytes_max: options.wal_segment_bytes_max,
        piece_bytes: options.wal_piece_bytes,
        threads: options.threads,
        kept_bytes: options.log_bytes_kept,
        ..WalOptions::default()
    }
}

/// How the data file may grow.
fn growth(options: &Options, page_bytes: usize) -> Growth {
    let pages = |bytes: u64| u32::try_from(bytes / page_bytes as u64).unwrap_or(u32::MAX);
    let (step_max, pages_max) = (pages(options.growth_bytes_max), pages(options.data_bytes_max));
    Growth { step_max, pages_max }
}

fn check_shape(file: &dyn File, path: &Path, newest: &Meta, options: &Options) -> Result<()> {
    if let Some(expected) = options.page_bytes
        && expected != newest.page_bytes
    {
        return Err(Error::from(ErrorKind::Unsupported {
            file: path.to_path_buf(),
            what: "page size",
            expected: expected as u64,
            found: newest.page_bytes as u64,
        }));
    }
    let expected = u64::from(newest.file_pages) * newest.page_bytes as u64;
    let found = file.len().map_err(|e| Error::io("read", path, e))?;
    if found < expected {
        let page = found / newest.page_bytes as u64;
        let (expected, found) = (format!("a file of {expected} bytes"), format!("{found} bytes"));
        return Err(Error::corrupt(path, page, expected, found));
    }
    Ok(())
}

fn assemble(
    host: Arc<dyn Host>,
    dir: &Path,
    file: Arc<dyn File>,
    newest: &Meta,
    other: Option<&Meta>,
    options: Options,
    lock: Option<Box<dyn Lock>>,
) -> Result<Arc<Store>> {
    let path: PathBuf = dir.join(DATA);
    let page_bytes = newest.page_bytes;
    let attached = || newest.attached(dir, options.attached_bytes_max);
    let reserved = Reserved {
        map_bytes: options.map_bytes,
        arena_bytes: options.arena_bytes,
        attached: options.attach.then(attached),
    };
    let memory = PageMemory::new(&*host, file, &path, page_bytes, reserved)?;
    let mut space = SpaceMap::open(&memory, newest, other)?;
    space.set_growth(growth(&options, newest.page_bytes));
    let Meta { epoch, txn, buckets, system, .. } = *newest;
    let root = Root { epoch, txn, buckets, system };
    let published = Published::new();
    published.publish(&root);
    let writer = Writer {
        tip: root,
        arena: Arena::new(memory.arena_units_max()),
        freed: Vec::new(),
        lent: Lent::default(),
        log_room: Room::default(),
        sequence: Sequence(0),
        group_floor: Epoch(0),
        record: Vec::new(),
        lists: Lists::default(),
        stack: Stack::default(),
        closed: false,
    };
    let older_log = other.map_or(newest.log, |other| other.log);
    let mut marks = Marks::default();
    if let Some(other) = &other {
        marks.note(other.txn, other.log);
    }
    marks.note(newest.txn, newest.log);
    let (unpublished, position) = (VecDeque::new(), newest.log);
    let queue = CommitQueue { unpublished, published: root, position, marks };
    let other_meta_is_whole = other.is_some();
    let file_state = FileState { space, newest: newest.clone(), older_log, other_meta_is_whole };
    let gauges = Gauges::default();
    gauges.set_file(&file_state);
    Ok(Arc::new(Store {
        host,
        dir: dir.to_path_buf(),
        database_id: newest.database_id,
        memory,
        readers: Readers::new(),
        published,
        clock: Clock::new(newest.clock_ms),
        writer: WriterSeat::new(writer),
        queue: Mutex::new(queue),
        file_state: Mutex::new(file_state),
        wal: OnceLock::new(),
        signals: Signals::default(),
        gauges,
        poison: OnceLock::new(),
        lock,
        options,
    }))
}

/// How far an open has come that replays the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenProgress {
    /// Commits read from the log.
    pub transactions: u64,
    /// Bytes of them.
    pub log_bytes: u64,
}

/// Told of an open now and then; a break stops it.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(OpenProgress) -> ControlFlow<()>;

/// So many bytes of the log are read between two calls of a progress.
const TOLD_BYTES: u64 = 1 << 20;

/// What a progress is told.
struct Told<'a> {
    progress: Progress<'a>,
    now: OpenProgress,
    told_bytes: u64,
}

impl<'a> Told<'a> {
    fn new(progress: Progress<'a>) -> Told<'a> {
        Told { progress, now: OpenProgress::default(), told_bytes: 0 }
    }

    /// Takes note of a record that is replayed next.
    fn note(&mut self, record: &[u8]) -> Result<()> {
        self.now.transactions += 1;
        self.now.log_bytes += record.len() as u64;
        if self.now.transactions > 1 && self.now.log_bytes < self.told_bytes + TOLD_BYTES {
            return Ok(());
        }
        self.told_bytes = self.now.log_bytes;
        match (self.progress)(self.now).is_break() {
            true => Err(Error::from(ErrorKind::Stopped { what: "open" })),
            false => Ok(()),
        }
    }
}

/// Brings the content up to the last whole commit of the log.
fn replay_log(store: &Arc<Store>, newest: &Meta, progress: Progress<'_>) -> Result<()> {
    let mut replay = replay::Replay::begin(store, newest)?;
    let mut told = Told::new(progress);
    let log = store.dir.join(LOG);
    let Meta { database_id, log: from, clean, .. } = *newest;
    let range = ReplayRange { keep: store.file_state.lock().older_log, from, clean };
    if store.options.read_only {
        let mut apply = |position: Position, record: &[u8]| {
            told.note(record)?;
            replay.take(position, record)
        };
        let read = if store.options.attach { Wal::attached } else { Wal::read_only };
        read(&*store.host, &log, database_id, range, &mut apply)?;
        return replay.finish();
    }
    let wal = Wal::open(
        Arc::clone(&store.host),
        &log,
        database_id,
        range,
        wal_options(&store.options),
        &mut |position, record| {
            told.note(record)?;
            replay.take(position, record)
        },
    )?;
    replay.finish()?;
    store.wal.set(wal).expect("invariant: set once, here");
    store.measure_log();
    Ok(())
}
