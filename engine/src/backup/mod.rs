//! Backups: the content of a database at one moment, in one checksummed file or stream; and a
//! database, or one bucket, out of it again.
//!
//! A backup is logical: buckets and records in the order of the tree, no pages ([`walk`],
//! [`content`]). It is read from a snapshot, so readers and writers go on. What it lies in
//! ([`container`]) serves other kinds of backups as well.
//!
//! Invariants:
//! 1. A backup that was cut short, at whatever byte, or damaged, is never taken for a whole one.
//! 2. A backup written to a path has its name when it is whole and durable; so has a database that
//!    is restored. What fails or is stopped before leaves nothing.
//! 3. A full backup has all that was in the database, with its expiry, whether that is over or not:
//!    changes that come later may still refer to it.

mod archive;
mod changes;
mod container;
mod content;
mod file;
mod forward;
mod paced;
mod read;
mod restore;
mod source;
mod throttle;
mod walk;
mod write;

use std::fmt;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::TxnId;
use crate::io::{Host, RealHost};
use crate::options::{Options, ReadOptions};
use crate::snapshot::Snapshot;

pub use archive::{Archive, ArchiveReport};
use changes::Log;
use container::{Counts, Header, Written};
use file::{NewFile, OldFile};
use forward::Forward;
pub use forward::RestorePoint;
use read::{Content, Event};
use source::Source;

/// What a backup that has no path is called in errors.
const STREAM: &str = "backup";

/// How to write a backup.
#[derive(Clone, Debug, Default)]
pub struct BackupOptions {
    bytes_per_second: Option<u64>,
    verify: bool,
}

impl BackupOptions {
    /// The defaults: as fast as it goes, and not read again.
    #[must_use]
    pub fn new() -> BackupOptions {
        BackupOptions::default()
    }

    /// Writes no more than this, in bytes of the backup, so that others have the device too. Time
    /// that was lost is not made up for.
    #[must_use]
    pub fn bytes_per_second(mut self, bytes: u64) -> BackupOptions {
        self.bytes_per_second = Some(bytes);
        self
    }

    /// Whether [`Db::backup_to`] reads the file again, from the device, and verifies it before the
    /// file gets its name. False by default.
    #[must_use]
    pub fn verify(mut self, verify: bool) -> BackupOptions {
        self.verify = verify;
        self
    }

    fn validate(&self) -> Result<()> {
        match self.bytes_per_second {
            Some(0) => Err(Error::invalid("expected a rate of at least 1 byte a second, found 0")),
            _ => Ok(()),
        }
    }
}

/// How to restore a database.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    page_bytes: Option<usize>,
    bucket: Vec<Vec<u8>>,
    verify: bool,
}

impl RestoreOptions {
    /// The defaults: everything, in pages as large as those of the database that was backed up.
    #[must_use]
    pub fn new() -> RestoreOptions {
        RestoreOptions::default()
    }

    /// Page size of the new database; see [`Options::page_bytes`].
    #[must_use]
    pub fn page_bytes(mut self, bytes: usize) -> RestoreOptions {
        self.page_bytes = Some(bytes);
        self
    }

    /// Restores one bucket with all it holds, by the names that lead to it from the top. The
    /// buckets around it are made too, with nothing else in them, without sequence or expiry.
    #[must_use]
    pub fn bucket<N: AsRef<[u8]>>(mut self, path: impl IntoIterator<Item = N>) -> RestoreOptions {
        self.bucket = path.into_iter().map(|name| name.as_ref().to_vec()).collect();
        self
    }

    /// Whether every page of the new database is read and verified before it gets its name, as
    /// [`Db::check`] does. False by default: the backup is verified in any case.
    #[must_use]
    pub fn verify(mut self, verify: bool) -> RestoreOptions {
        self.verify = verify;
        self
    }
}

/// How far a backup has come that is written or read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupProgress {
    /// Pairs written or read so far, of a full backup.
    pub pairs: u64,
    /// Transactions written or read so far, of a backup of changes.
    pub transactions: u64,
    /// Bytes of the backup so far.
    pub bytes: u64,
    /// Its bytes in all: the length of a file that is read; for one that is written the bytes of
    /// pages that the database has in use, and it becomes somewhat shorter; `None` for a stream.
    pub bytes_total: Option<u64>,
}

/// What whoever backs up or restores is told before each block; a break stops it.
type Progress<'a> = &'a mut dyn FnMut(BackupProgress) -> ControlFlow<()>;

/// What a backup holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackupKind {
    /// Everything that was in the database at one revision.
    Full,
    /// What transactions have changed, one after the other.
    Changes {
        /// The first of them.
        first: TxnId,
        /// How many there are.
        transactions: u64,
    },
}

/// What a backup is: written whole, or read to its end and verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// What is in it.
    pub kind: BackupKind,
    /// The revision whose content it has, or the last that it leads to.
    pub revision: TxnId,
    /// When that was, by the database's clock.
    pub time: SystemTime,
    /// The database's number, random for each that is created, and new in one that is restored.
    pub database_id: [u8; 16],
    /// The database's page size.
    pub page_bytes: u64,
    /// Buckets, nested ones included.
    pub buckets: u64,
    /// Keys with values.
    pub pairs: u64,
    /// Bytes of keys and values, or of transactions.
    pub content_bytes: u64,
    /// Blocks, the header and the end block left out.
    pub blocks: u64,
    /// Length of the backup.
    pub bytes: u64,
}

impl BackupReport {
    fn new(header: &Header, counts: Counts, written: Written) -> BackupReport {
        let (kind, [buckets, pairs, content_bytes]) = match header.kind {
            container::CHANGES => {
                let [transactions, bytes, _] = counts;
                (BackupKind::Changes { first: header.first, transactions }, [0, 0, bytes])
            }
            _ => (BackupKind::Full, counts),
        };
        let time = time_of(header.time_ms);
        BackupReport {
            kind,
            revision: header.last,
            time,
            database_id: header.database_id,
            page_bytes: header.page_bytes as u64,
            buckets,
            pairs,
            content_bytes,
            blocks: written.blocks,
            bytes: written.bytes,
        }
    }
}

/// A clock's time as users see it.
fn time_of(time_ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(time_ms.min(i64::MAX as u64))
}

/// What was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RestoreReport {
    /// The backup, all of it.
    pub backup: BackupReport,
    /// The revision of the database now: that of the backup, or of the transaction that put the
    /// bucket into a database.
    pub revision: TxnId,
    /// When that was committed, or the backup was made, by the clock of the first database.
    pub time: SystemTime,
    /// Transactions that were made after what the full backup holds.
    pub transactions: u64,
    /// Buckets that were restored, nested ones included, those around a single one left out.
    pub buckets: u64,
    /// Pairs that were restored.
    pub pairs: u64,
    /// Bytes of their keys and values.
    pub content_bytes: u64,
}

impl Db {
    /// Writes a backup of everything that is committed and durable at this moment. Readers and
    /// writers go on, and what they commit meanwhile is not in it; pages that it has to read stay
    /// until then, as for any reader.
    ///
    /// `progress` is told before each block, at most a MiB. When it breaks, the backup ends there:
    /// an error, because what was written is no backup, and no reader takes it for one.
    ///
    /// ```
    /// # use std::ops::ControlFlow;
    /// # fn main() -> bristlecone::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a temporary directory");
    /// # let path = dir.path().join("state");
    /// use bristlecone::{Backup, BackupOptions, RestoreOptions};
    ///
    /// let db = bristlecone::Db::open(&path)?;
    /// db.update(|txn| txn.create_bucket("nodes")?.put("node-1", "worker"))?;
    /// let mut stream = Vec::new();
    /// db.backup(&mut stream, &BackupOptions::new(), &mut |_| ControlFlow::Continue(()))?;
    ///
    /// let copy = dir.path().join("copy");
    /// let backup = Backup::from_reader(&stream[..]);
    /// backup.restore(&copy, &RestoreOptions::new(), &mut |_| ControlFlow::Continue(()))?;
    /// let copy = bristlecone::Db::open(&copy)?;
    /// assert_eq!(copy.begin_read()?.bucket("nodes")?.get("node-1")?, Some(&b"worker"[..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Io`, or `Full`, when `out` fails; `Stopped` when `progress` broke; `Corrupt` when a page is
    /// damaged. In each case the database goes on. `InvalidArgument` for options that cannot be:
    /// what was written to a stream cannot be verified.
    pub fn backup(
        &self,
        out: &mut dyn Write,
        options: &BackupOptions,
        progress: &mut dyn FnMut(BackupProgress) -> ControlFlow<()>,
    ) -> Result<BackupReport> {
        options.validate()?;
        if options.verify {
            return Err(Error::invalid("expected a path for a backup that is verified"));
        }
        write::write(&self.backup_snapshot()?, out, Path::new(STREAM), options, progress)
    }

    /// The same to a new file, of mode 0600. It appears under its name when it is whole and
    /// durable; until then it has `.unfinished` behind its name, and after a failure it is removed.
    /// What a killed one has left there the next one replaces.
    ///
    /// # Errors
    /// As [`backup`](Db::backup). `InvalidArgument` when there is something of that name; `Locked`
    /// while another backup is written there.
    pub fn backup_to(
        &self,
        path: impl AsRef<Path>,
        options: &BackupOptions,
        progress: &mut dyn FnMut(BackupProgress) -> ControlFlow<()>,
    ) -> Result<BackupReport> {
        options.validate()?;
        to_file(&*self.store().host, path.as_ref(), options, progress, |file, name, progress| {
            write::write(&self.backup_snapshot()?, file, name, options, progress)
        })
    }
}

impl Db {
    /// What a full backup is made of.
    fn backup_snapshot(&self) -> Result<Snapshot> {
        // Longer than others, as its reader says: it may be throttled.
        self.snapshot_with(ReadOptions::new().label("backup").no_deadline())
    }
}

/// Has `write` write a backup to a new file, which gets its name when it is whole.
fn to_file(
    host: &dyn Host,
    path: &Path,
    options: &BackupOptions,
    progress: Progress<'_>,
    write: impl FnOnce(&mut dyn Write, &Path, Progress<'_>) -> Result<BackupReport>,
) -> Result<BackupReport> {
    let mut file = NewFile::create(host, path)?;
    let unfinished = file.unfinished().to_path_buf();
    let report = write(&mut file, &unfinished, progress)?;
    file.sync()?;
    if options.verify {
        Backup::of_file(file.read_back()?, unfinished).verify(progress)?;
    }
    file.finish()?;
    Ok(report)
}

/// A backup, to be verified or restored.
///
/// Whatever is done with it reads it to its end, and fails unless the backup is whole: every block
/// has its checksum and its place, their content makes a tree, and the end is there.
pub struct Backup<'a> {
    input: Box<dyn Read + 'a>,
    name: PathBuf,
    bytes_total: Option<u64>,
}

impl fmt::Debug for Backup<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backup").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Backup<'static> {
    /// The backup in a file.
    ///
    /// # Errors
    /// `Io` when it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Backup<'static>> {
        Backup::open_on(&RealHost::default(), path)
    }

    /// The same on a host other than the operating system.
    #[doc(hidden)]
    pub fn open_on(host: &dyn Host, path: impl AsRef<Path>) -> Result<Backup<'static>> {
        let path = path.as_ref();
        Ok(Backup::of_file(OldFile::open(host, path)?, path.to_path_buf()))
    }

    fn of_file(file: OldFile, name: PathBuf) -> Backup<'static> {
        let bytes_total = Some(file.len);
        Backup { input: Box::new(file), name, bytes_total }
    }
}

impl<'a> Backup<'a> {
    /// The backup that comes from a reader, up to its end. Nothing may follow it.
    #[must_use]
    pub fn from_reader(reader: impl Read + 'a) -> Backup<'a> {
        Backup { input: Box::new(reader), name: PathBuf::from(STREAM), bytes_total: None }
    }

    /// Reads everything and verifies it; nothing is written. `progress` is told before each block,
    /// and ends it when it breaks.
    ///
    /// # Errors
    /// `CutShort` when the end is missing, `Corrupt` for any other damage, `Unsupported` for a
    /// backup of another format or kind, `Stopped` when `progress` broke, `Io` when the reader
    /// fails.
    pub fn verify(
        self,
        progress: &mut dyn FnMut(BackupProgress) -> ControlFlow<()>,
    ) -> Result<BackupReport> {
        let source = Source::begin(self, "verification", progress)?;
        if source.header.kind == container::CHANGES {
            let mut log = Log::begin(source)?;
            while log.next()?.is_some() {}
            return Ok(log.report());
        }
        let mut content = Content::begin(source)?;
        while let Event::Operation(_) = content.next()? {}
        Ok(content.report())
    }

    /// Restores the database, or one bucket of it, in the directory `into`, which must not exist or
    /// be empty. Its revision is that of the backup, and its clock is at least the backup's.
    ///
    /// The database appears under its name when the backup was read to its end and verified, and
    /// everything is durable. Until then it has `.unfinished` behind its name, and after a failure
    /// it is removed.
    ///
    /// # Errors
    /// Those of [`verify`](Backup::verify) and of writing. `BucketNotFound` when the bucket that
    /// was asked for is not in the backup; `TooLarge` for a key that the page size does not allow;
    /// `InvalidArgument` for an `into` that cannot be; `Locked` while another restore writes there.
    pub fn restore(
        self,
        into: impl AsRef<Path>,
        options: &RestoreOptions,
        progress: &mut dyn FnMut(BackupProgress) -> ControlFlow<()>,
    ) -> Result<RestoreReport> {
        let database = Options::default();
        let host = Arc::new(RealHost { map: database.map });
        self.restore_on(host, into, options, database, progress)
    }

    /// The same on a host other than the operating system, with options for the new database.
    #[doc(hidden)]
    pub fn restore_on(
        self,
        host: Arc<dyn Host>,
        into: impl AsRef<Path>,
        options: &RestoreOptions,
        database: Options,
        progress: &mut dyn FnMut(BackupProgress) -> ControlFlow<()>,
    ) -> Result<RestoreReport> {
        let content = Content::begin(Source::begin(self, "restore", progress)?)?;
        restore::into_new(content, None, &host, into.as_ref(), options, database)
    }

    /// As [`restore`](Backup::restore), and goes on from there to a later point: makes what the
    /// transactions of `later` have changed, backups of changes of the same database, in order;
    /// none may be missing between. What they tell that is in the full backup already, or beyond
    /// the point, is left out. Each that is begun is read to its end.
    ///
    /// # Errors
    /// As [`restore`](Backup::restore), which is done as a whole or not at all. `InvalidArgument`
    /// when a transaction is missing, a backup is of another database, or the point is before the
    /// full backup or behind the last transaction.
    pub fn restore_to<'b>(
        self,
        point: RestorePoint,
        later: impl IntoIterator<Item = Result<Backup<'b>>>,
        into: impl AsRef<Path>,
        options: &RestoreOptions,
        progress: &mut dyn FnMut(BackupProgress) -> ControlFlow<()>,
    ) -> Result<RestoreReport> {
        let database = Options::default();
        let host: Arc<dyn Host> = Arc::new(RealHost { map: database.map });
        self.restore_to_on(&host, point, &mut later.into_iter(), into, options, database, progress)
    }

    /// The same on a host other than the operating system, with options for the new database.
    #[doc(hidden)]
    #[expect(clippy::too_many_arguments, reason = "what users call has fewer")]
    pub fn restore_to_on<'b>(
        self,
        host: &Arc<dyn Host>,
        point: RestorePoint,
        later: &mut dyn Iterator<Item = Result<Backup<'b>>>,
        into: impl AsRef<Path>,
        options: &RestoreOptions,
        database: Options,
        progress: &mut dyn FnMut(BackupProgress) -> ControlFlow<()>,
    ) -> Result<RestoreReport> {
        let content = Content::begin(Source::begin(self, "restore", progress)?)?;
        let forward = Forward { point, later, hole: None };
        restore::into_new(content, Some(forward), host, into.as_ref(), options, database)
    }

    /// Restores one bucket with all it holds into a database, in one transaction: `path` are the
    /// names that lead to it from the top, here and there. It must not be there yet; buckets around
    /// it that are missing are made. The writer's seat is taken until the backup is read to its
    /// end; what fails before changes nothing.
    ///
    /// # Errors
    /// As [`restore`](Backup::restore). `BucketExists` when the bucket is there, and those of
    /// [`WriteTxn::commit`](crate::WriteTxn::commit).
    pub fn restore_bucket<N: AsRef<[u8]>>(
        self,
        db: &Db,
        path: impl IntoIterator<Item = N>,
        progress: &mut dyn FnMut(BackupProgress) -> ControlFlow<()>,
    ) -> Result<RestoreReport> {
        let path: Vec<Vec<u8>> = path.into_iter().map(|name| name.as_ref().to_vec()).collect();
        let content = Content::begin(Source::begin(self, "restore", progress)?)?;
        restore::into_existing(content, db, &path)
    }
}
