//! The database handle: open, begin, close.

mod keeper;
mod stats;

use std::ops::ControlFlow;
use std::path::Path;

use crate::changes::{self, Changes, Transaction};
use crate::check::{self, CheckProgress, CheckReport};
use crate::checkpoint;
use crate::compact::{self, CompactProgress, CompactReport};
use crate::error::Result;
use crate::ids::TxnId;
use crate::io::{Host, RealHost};
use crate::options::{Options, ReadOptions};
use crate::recovery::{self, OpenProgress};
use crate::snapshot::Snapshot;
use crate::ttl::{SweepProgress, SweepReport};
use crate::txn::{Durability, ReadTxn, Store, WriteTxn};
use std::sync::Arc;

use keeper::Keeper;
pub use stats::{ReaderStats, Stats};

/// An open database. Cheap to clone; clones share it, and it is closed when the last one and the
/// last write transaction are gone.
///
/// ```
/// # fn main() -> bristlecone::Result<()> {
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// # let path = dir.path().join("state");
/// let db = bristlecone::Db::open(&path)?;
/// db.update(|txn| {
///     let mut nodes = txn.create_bucket_if_missing("nodes")?;
///     nodes.put("node-1", r#"{"Role":"worker"}"#)
/// })?;
/// db.view(|txn| {
///     let nodes = txn.bucket("nodes")?;
///     assert_eq!(nodes.get("node-1")?, Some(&br#"{"Role":"worker"}"#[..]));
///     Ok(())
/// })?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Db {
    keeper: Arc<Keeper>,
}

impl Db {
    /// Opens the database in the directory `path`, or creates it there.
    ///
    /// # Errors
    /// `Locked` when it is open already, here or in another process. `NotADatabase` when the
    /// directory holds something else. `Unsupported` for another format version. `Corrupt` when
    /// what is needed to open is damaged. Nothing is changed in any of these cases.
    pub fn open(path: impl AsRef<Path>) -> Result<Db> {
        Db::open_with(path, Options::default())
    }

    /// As [`open`](Db::open), with options.
    ///
    /// # Errors
    /// As [`open`](Db::open), and `InvalidArgument` for options that cannot be.
    pub fn open_with(path: impl AsRef<Path>, options: Options) -> Result<Db> {
        Db::open_with_progress(path, options, &mut |_| ControlFlow::Continue(()))
    }

    /// As [`open_with`](Db::open_with), and tells `progress` how far the replay of the log has
    /// come, at the first commit and after each MiB. When it breaks, the open ends with `Stopped`;
    /// nothing is changed, and the next one begins anew.
    ///
    /// # Errors
    /// As [`open_with`](Db::open_with), and `Stopped`.
    pub fn open_with_progress(
        path: impl AsRef<Path>,
        options: Options,
        progress: &mut dyn FnMut(OpenProgress) -> ControlFlow<()>,
    ) -> Result<Db> {
        let host = Arc::new(RealHost { map: options.map });
        Db::open_on_with(host, path, options, progress)
    }

    /// Reads a database beside the process that owns it, without asking anything of that: no lock
    /// is taken, no file made or written, nothing is left behind when this process is killed. It
    /// works as well when nobody owns the database.
    ///
    /// What is seen is the content after one transaction, and stays that: attach again to see later
    /// ones. It has every commit that was acknowledged before the call, and it is durable: the one
    /// thing that the owner may notice is that a file of its log is synced once.
    ///
    /// Pages are read when they are first needed, and kept in memory, up to
    /// [`Options::attached_bytes_max`]. In the file they stay until the owner has written two more
    /// checkpoints. After that a read of what is not in memory yet may fail with
    /// [`Outrun`](crate::ErrorKind::Outrun), and then the answer is to attach again. A wrong value
    /// is never seen. How far apart checkpoints are is told at [`Options::checkpoint_interval`] and
    /// beside it; a database that nobody writes to has none.
    ///
    /// ```
    /// # fn main() -> bristlecone::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a temporary directory");
    /// # let path = dir.path().join("state");
    /// let owner = bristlecone::Db::open(&path)?;
    /// owner.update(|txn| txn.create_bucket("nodes")?.put("node-1", "up"))?;
    /// // Most likely in another process.
    /// let attached = bristlecone::Db::attach(&path)?;
    /// let txn = attached.begin_read()?;
    /// assert_eq!(txn.bucket("nodes")?.get("node-1")?, Some(&b"up"[..]));
    /// assert!(attached.begin_write().is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`open`](Db::open), but `Locked`; `NotADatabase` where there is none, or not yet;
    /// `Outrun` when the owner writes checkpoints faster than they can be read.
    pub fn attach(path: impl AsRef<Path>) -> Result<Db> {
        Db::open_with(path, Options::new().attach(true))
    }

    /// As [`open_with`](Db::open_with), on a host other than the operating system: how the
    /// simulations run the whole engine.
    #[doc(hidden)]
    pub fn open_on(host: Arc<dyn Host>, path: impl AsRef<Path>, options: Options) -> Result<Db> {
        Db::open_on_with(host, path, options, &mut |_| ControlFlow::Continue(()))
    }

    /// Both.
    #[doc(hidden)]
    pub fn open_on_with(
        host: Arc<dyn Host>,
        path: impl AsRef<Path>,
        options: Options,
        progress: &mut dyn FnMut(OpenProgress) -> ControlFlow<()>,
    ) -> Result<Db> {
        let mut options = options;
        options.read_only |= options.attach;
        options.threads &= host.may_spawn() && !options.read_only;
        let store = match options.attach {
            true => recovery::attach(host, path.as_ref(), options, progress)?,
            false => recovery::open(host, path.as_ref(), options, progress)?,
        };
        Ok(Db { keeper: Keeper::start(store)? })
    }

    /// Runs `read` in a read transaction.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn view<T>(&self, read: impl FnOnce(&ReadTxn<'_>) -> Result<T>) -> Result<T> {
        read(&self.begin_read()?)
    }

    /// Runs `write` in a write transaction and commits it; when this returns, the changes are
    /// durable and visible. An error or a panic in `write` rolls everything back.
    ///
    /// # Errors
    /// Those of `write` and of [`WriteTxn::commit`].
    pub fn update<T>(&self, write: impl FnOnce(&mut WriteTxn) -> Result<T>) -> Result<T> {
        let mut txn = self.begin_write()?;
        let result = write(&mut txn)?;
        txn.commit()?;
        Ok(result)
    }

    /// Begins a read transaction: what was committed and durable at this moment.
    ///
    /// # Errors
    /// `Full` when 65,536 readers are open.
    #[inline]
    pub fn begin_read(&self) -> Result<ReadTxn<'_>> {
        ReadTxn::begin(self.store())
    }

    /// As [`begin_read`](Db::begin_read), with a label that tells who reads, or a deadline for it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use bristlecone::ReadOptions;
    /// # fn main() -> bristlecone::Result<()> {
    /// # let dir = tempfile::tempdir().expect("a temporary directory");
    /// # let db = bristlecone::Db::open(dir.path().join("state"))?;
    /// let options = ReadOptions::new().label("export").deadline(Duration::from_secs(60));
    /// let txn = db.begin_read_with(options)?;
    /// assert_eq!(db.readers()[0].label.as_deref(), Some("export"));
    /// // Whoever reads on after a minute is told.
    /// for name in txn.buckets()? {
    ///     println!("{}", name?.escape_ascii());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`begin_read`](Db::begin_read); `TooLarge` for a label of more than 256 bytes,
    /// `InvalidArgument` for a deadline of zero.
    pub fn begin_read_with(&self, options: ReadOptions) -> Result<ReadTxn<'_>> {
        ReadTxn::begin_with(self.store(), &options)
    }

    /// Waits until no other write transaction is open, and begins one. A thread that holds a write
    /// transaction and begins another waits for itself, for ever.
    ///
    /// # Errors
    /// `Poisoned` after a failed write or sync; `Closed` after [`close`](Db::close); `ReadOnly`
    /// when opened read-only.
    pub fn begin_write(&self) -> Result<WriteTxn> {
        self.keeper.relieve()?;
        let mut txn = WriteTxn::begin(self.store())?;
        txn.keep_open(Arc::clone(&self.keeper) as _);
        Ok(txn)
    }

    /// A read transaction that owns what it needs: it can be kept and sent anywhere.
    ///
    /// # Errors
    /// As [`begin_read`](Db::begin_read).
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.snapshot_with(ReadOptions::new())
    }

    /// As [`snapshot`](Db::snapshot), with a label that tells whose it is, or a deadline for it.
    ///
    /// # Errors
    /// As [`begin_read_with`](Db::begin_read_with).
    pub fn snapshot_with(&self, options: ReadOptions) -> Result<Snapshot> {
        Snapshot::new(Arc::clone(self.store()), &options)
    }

    /// What is committed after transaction `after`, from the log: each commit whole, once, in
    /// order, when it is durable. Asks nothing of writers: they neither wait for who reads, nor
    /// keep the log for them longer than
    /// [`Options::log_bytes_kept`](crate::Options::log_bytes_kept) says. After a restart it goes on
    /// where it was with the number of the last transaction that was dealt with.
    ///
    /// # Errors
    /// `Compacted` when the log does not reach back so far: begin with a copy of the whole instead.
    /// `InvalidArgument` when no such transaction was committed yet; `ReadOnly` when opened
    /// read-only.
    pub fn changes(&self, after: TxnId) -> Result<Changes> {
        Changes::new(self.store(), after)
    }

    /// Commits what another database has committed, with its number and its time. A database that
    /// begins as a copy of the other one, or empty as that began, and repeats all its transactions,
    /// and has no other writers, nor a sweep of its own
    /// ([`Options::sweep`](crate::Options::sweep)), has the same content at each of them.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not the transaction after the last one here, or does not fit
    /// the content; nothing is changed. Those of [`begin_write`](Db::begin_write) and
    /// [`WriteTxn::commit`].
    pub fn repeat(&self, transaction: &Transaction, durability: Durability) -> Result<TxnId> {
        let mut txn = self.begin_write()?;
        changes::repeat(&mut txn, transaction)?;
        txn.set_durability(durability);
        txn.commit()
    }

    /// Makes all buffered commits durable and visible.
    ///
    /// # Errors
    /// `OutcomeUnknown` or `Poisoned` when that failed, `ReadOnly` when opened read-only.
    pub fn sync(&self) -> Result<()> {
        self.store().flush()
    }

    /// Writes everything committed so far to the data file, now rather than when the log has
    /// grown. Not needed for durability. Must not be called by a thread that holds a write
    /// transaction.
    ///
    /// # Errors
    /// `Full` when the disk has no room: nothing is lost, and it can be tried again. Any other
    /// failure stops all writing until the database is reopened.
    pub fn checkpoint(&self) -> Result<()> {
        checkpoint::run(self.store(), false)?;
        Ok(())
    }

    /// Makes the data file as short as its content: leaves are made full, what lies at the end of
    /// the file moves to free places before it, and the free end goes back to the file system.
    /// Readers and writers go on; a writer waits for the step at hand, some hundred pages.
    ///
    /// `progress` is told before each step. When it breaks, the next call goes on from there,
    /// until the database is closed: so the work can be spread over quiet times. What a reader
    /// holds at the end of the file goes with a checkpoint after it. A large value stays where it
    /// is when no free place before it is long enough. Must not be called by a thread that holds
    /// a write transaction, nor by `progress`.
    ///
    /// # Errors
    /// `Full` when the disk has no room for what is moved first; nothing is lost. `ReadOnly` and
    /// `Closed` when nothing may be written, and those of [`checkpoint`](Db::checkpoint).
    pub fn compact(
        &self,
        progress: &mut dyn FnMut(CompactProgress) -> ControlFlow<()>,
    ) -> Result<CompactReport> {
        compact::compact(self.store(), &mut self.keeper.compaction.lock(), progress)
    }

    /// Removes the records that have expired, in short transactions that other writers may come
    /// between. The engine's thread does so by itself, unless the options say otherwise. `progress`
    /// is told before each transaction, and ends the sweep when it breaks. Its commits are
    /// [`Buffered`](crate::Durability::Buffered). Must not be called by a thread that holds a write
    /// transaction, nor by `progress`.
    ///
    /// What has expired by a wall clock that was set forward by more than an hour is removed only
    /// when the clock has stayed there for ten minutes.
    ///
    /// # Errors
    /// As [`begin_write`](Db::begin_write) and [`WriteTxn::commit`].
    pub fn sweep(
        &self,
        progress: &mut dyn FnMut(SweepProgress) -> ControlFlow<()>,
    ) -> Result<SweepReport> {
        self.keeper.sweep(progress)
    }

    /// Reads every page of the data file from the device and verifies it; tells `progress` how far
    /// it has come, and ends when that breaks. Readers and writers go on; checkpoints wait. Must
    /// not be called by a thread that holds a write transaction.
    ///
    /// # Errors
    /// Damage is in the report. An error means that the check itself could not go on: `Stopped`
    /// when `progress` broke.
    pub fn check(
        &self,
        progress: &mut dyn FnMut(CheckProgress) -> ControlFlow<()>,
    ) -> Result<CheckReport> {
        check::check(self.store(), progress)
    }

    /// Sizes and counters, taken at one moment.
    #[must_use]
    pub fn stats(&self) -> Stats {
        stats::collect(self.store())
    }

    /// The read transactions and snapshots that are open, the oldest first, each with its age and
    /// with what it keeps. One that begins or ends at this moment may be missing.
    ///
    /// May be called at any time, by a thread with a write transaction too: no reader, writer or
    /// checkpoint is waited for. It looks once at each page that waits to be used again, some
    /// milliseconds for a million of them, and a commit may wait for that.
    #[must_use]
    pub fn readers(&self) -> Vec<ReaderStats> {
        stats::readers(self.store())
    }

    /// Closes the database and reports what dropping it would not: makes buffered commits durable,
    /// writes a last checkpoint so that the next open need not replay the log, and stops. Other
    /// handles can still read; they cannot write. Waits for an open write transaction to end.
    ///
    /// # Errors
    /// Those of the last flush and checkpoint. What was acknowledged before is safe regardless.
    pub fn close(self) -> Result<()> {
        self.keeper.close()
    }

    /// True when it was opened beside its owner: see [`attach`](Db::attach).
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.store().options.attach
    }

    /// The database's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.store().dir
    }

    #[inline]
    pub(crate) fn store(&self) -> &Arc<Store> {
        self.keeper.store()
    }
}

impl Options {
    /// Opens or creates the database in the directory `path` with these options.
    ///
    /// # Errors
    /// As [`Db::open`], and `InvalidArgument` for options that cannot be.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Db> {
        Db::open_with(path, self)
    }
}
