//! How to open a database.
//!
//! Defaults suit an orchestrator's state; every setting tells its unit and its default. Only the
//! page size is a property of the files; the rest may differ from one open to the next.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::limits::{
    ARENA_BYTES_RESERVED, DATA_BYTES_MIN, MAP_BYTES_RESERVED, PAGE_BYTES_DEFAULT, PAGE_BYTES_MAX,
    PAGE_BYTES_MIN, READER_LABEL_BYTES_MAX, WAL_PIECE_BYTES_MAX, WAL_SEGMENT_BYTES_MAX,
    WAL_SEGMENT_BYTES_MIN,
};

/// How to open a database. See [`Db::open`](crate::Db::open) for the defaults at work.
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) page_bytes: Option<usize>,
    pub(crate) create: bool,
    pub(crate) read_only: bool,
    pub(crate) attach: bool,
    pub(crate) attached_bytes_max: u64,
    pub(crate) map: bool,
    pub(crate) threads: bool,
    pub(crate) sweep: bool,
    pub(crate) memory_bytes_max: u64,
    pub(crate) data_bytes_max: u64,
    pub(crate) growth_bytes_max: u64,
    pub(crate) checkpoint_log_bytes: u64,
    pub(crate) checkpoint_log_bytes_min: u64,
    pub(crate) checkpoint_memory_bytes: u64,
    pub(crate) checkpoint_interval: Duration,
    pub(crate) buffered_delay: Duration,
    pub(crate) reader_deadline: Option<Duration>,
    pub(crate) wal_segment_bytes_max: u64,
    pub(crate) log_bytes_kept: u64,
    pub(crate) wal_piece_bytes: usize,
    pub(crate) spill_bytes: usize,
    pub(crate) compact_pages: usize,
    pub(crate) replay_bytes: usize,
    pub(crate) map_bytes: usize,
    pub(crate) arena_bytes: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            page_bytes: None,
            create: true,
            read_only: false,
            attach: false,
            attached_bytes_max: 1 << 30,
            map: true,
            threads: true,
            sweep: true,
            memory_bytes_max: 1 << 30,
            data_bytes_max: MAP_BYTES_RESERVED as u64,
            growth_bytes_max: 16 << 20,
            checkpoint_log_bytes: 64 << 20,
            checkpoint_log_bytes_min: 4 << 20,
            checkpoint_memory_bytes: 512 << 20,
            checkpoint_interval: Duration::from_secs(60),
            buffered_delay: Duration::from_millis(10),
            reader_deadline: None,
            wal_segment_bytes_max: 32 << 20,
            log_bytes_kept: 0,
            wal_piece_bytes: WAL_PIECE_BYTES_MAX,
            spill_bytes: 4 << 20,
            compact_pages: 128,
            replay_bytes: 8 << 20,
            map_bytes: MAP_BYTES_RESERVED,
            arena_bytes: ARENA_BYTES_RESERVED,
        }
    }
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new() -> Options {
        Options::default()
    }

    /// Page size in bytes: a power of two from 4,096 to 32,768, 8,192 by default. Fixed when the
    /// database is created; opening one of another size is an error if a size is asked for.
    #[must_use]
    pub fn page_bytes(mut self, bytes: usize) -> Options {
        self.page_bytes = Some(bytes);
        self
    }

    /// Whether a missing database is created. True by default.
    #[must_use]
    pub fn create(mut self, create: bool) -> Options {
        self.create = create;
        self
    }

    /// Opens without ever writing, also from a read-only file system. Commits that are only in
    /// the log are replayed in memory. False by default.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Options {
        self.read_only = read_only;
        self
    }

    /// Opens beside the process that owns the database, if there is one: see
    /// [`Db::attach`](crate::Db::attach), which tells what that means. False by default; true
    /// opens read-only, without a map and without threads.
    #[must_use]
    pub fn attach(mut self, attach: bool) -> Options {
        self.attach = attach;
        self
    }

    /// Memory for the pages that an attached database reads, in bytes; 1 GiB by default. Each is
    /// kept, because the owner may write over it in the file. A read that needs more fails with
    /// `Full`.
    #[must_use]
    pub fn attached_bytes_max(mut self, bytes: u64) -> Options {
        self.attached_bytes_max = bytes;
        self
    }

    /// Whether pages are read through a map of the data file. True by default; false reads each
    /// page once by `pread` and keeps it in memory.
    #[must_use]
    pub fn map(mut self, map: bool) -> Options {
        self.map = map;
        self
    }

    /// Whether the engine may run its threads: one flushes buffered commits, one writes
    /// checkpoints, one removes what has expired, and one prepares what commits will need, the
    /// log's next file and memory; a large transaction has one or two that write what it makes.
    /// True by default; false leaves all but the preparing to the caller.
    #[must_use]
    pub fn threads(mut self, threads: bool) -> Options {
        self.threads = threads;
        self
    }

    /// Whether a thread of the engine removes what has expired, in transactions of its own, each of
    /// which is a revision. True by default; else [`Db::sweep`](crate::Db::sweep) does it.
    #[must_use]
    pub fn sweep(mut self, sweep: bool) -> Options {
        self.sweep = sweep;
        self
    }

    /// Memory for changes that no checkpoint has written yet, in bytes; 1 GiB by default. A new
    /// write transaction waits for a checkpoint when it is reached. One transaction may exceed it;
    /// leaves that it builds and values of a MiB and more hardly count: they go to the file.
    #[must_use]
    pub fn memory_bytes_max(mut self, bytes: u64) -> Options {
        self.memory_bytes_max = bytes;
        self
    }

    /// How much the data file may hold, in bytes, at least 1 MiB; 1 TiB by default, which is the
    /// most. A commit that would need more fails with `Full` and changes nothing; a sixteenth is
    /// kept for transactions that only remove, which make room for others with the next
    /// checkpoints; where that is taken, small ones may go beyond by another. Counted is what the
    /// content takes, what the last checkpoints still reach, and what is in memory to be written.
    /// Where values fit into a page the file is not longer. Larger ones need free pages side by
    /// side: where they have many lengths and come and go at the limit, the file may become some
    /// times as long, most of it free.
    #[must_use]
    pub fn data_bytes_max(mut self, bytes: u64) -> Options {
        self.data_bytes_max = bytes;
        self
    }

    /// The data file grows by an eighth at a time, and by no more than so many bytes, unless more
    /// is needed at once; 16 MiB by default. What is free at its end, beyond that, goes back to
    /// the file system with checkpoints.
    #[must_use]
    pub fn growth_bytes_max(mut self, bytes: u64) -> Options {
        self.growth_bytes_max = bytes;
        self
    }

    /// A checkpoint starts when the log has grown by so many bytes; 64 MiB by default. Bounds the
    /// time to open after a crash.
    #[must_use]
    pub fn checkpoint_log_bytes(mut self, bytes: u64) -> Options {
        self.checkpoint_log_bytes = bytes;
        self
    }

    /// From so many bytes of log on a checkpoint starts also when the log is four times as long as
    /// the pages that its changes take; 4 MiB by default. So it stays short where the same records
    /// change all the time.
    #[must_use]
    pub fn checkpoint_log_bytes_min(mut self, bytes: u64) -> Options {
        self.checkpoint_log_bytes_min = bytes;
        self
    }

    /// A checkpoint starts when changes take so many bytes of memory; 512 MiB by default.
    #[must_use]
    pub fn checkpoint_memory_bytes(mut self, bytes: u64) -> Options {
        self.checkpoint_memory_bytes = bytes;
        self
    }

    /// A checkpoint starts when the oldest change is so old; 60 seconds by default.
    #[must_use]
    pub fn checkpoint_interval(mut self, interval: Duration) -> Options {
        self.checkpoint_interval = interval;
        self
    }

    /// The flush of a buffered commit begins at the latest after this time, where the engine has
    /// threads; 10 milliseconds by default.
    #[must_use]
    pub fn buffered_delay(mut self, delay: Duration) -> Options {
        self.buffered_delay = delay;
        self
    }

    /// How long a read transaction or snapshot may read, unless it has a deadline of its own: see
    /// [`ReadOptions::deadline`]. None by default.
    #[must_use]
    pub fn reader_deadline(mut self, deadline: Duration) -> Options {
        self.reader_deadline = Some(deadline);
        self
    }

    /// Largest log segment in bytes; 32 MiB by default. The first ones are smaller.
    #[must_use]
    pub fn wal_segment_bytes_max(mut self, bytes: u64) -> Options {
        self.wal_segment_bytes_max = bytes;
        self
    }

    /// So many bytes of log are kept at most that no recovery needs, for
    /// [`Db::changes`](crate::Db::changes); 0 by default. Given up when the disk is full.
    #[must_use]
    pub fn log_bytes_kept(mut self, bytes: u64) -> Options {
        self.log_bytes_kept = bytes;
        self
    }

    /// How much of a transaction's log record waits in memory; what is more is written while the
    /// transaction runs. For simulations, whose transactions are small.
    #[doc(hidden)]
    #[must_use]
    pub fn wal_piece_bytes(mut self, bytes: usize) -> Options {
        self.wal_piece_bytes = bytes;
        self
    }

    /// How many bytes of leaves a transaction that builds a tree keeps in memory; what comes behind
    /// them, and values of a quarter of that, goes to the data file while it runs. For simulations,
    /// whose transactions are small.
    #[doc(hidden)]
    #[must_use]
    pub fn spill_bytes(mut self, bytes: usize) -> Options {
        self.spill_bytes = bytes;
        self
    }

    /// How many leaves a step of a compaction looks at. For simulations, whose trees are small.
    #[doc(hidden)]
    #[must_use]
    pub fn compact_pages(mut self, pages: usize) -> Options {
        self.compact_pages = pages;
        self
    }

    /// How many bytes of log records are collected before what they change is made. For
    /// simulations, whose logs are short.
    #[doc(hidden)]
    #[must_use]
    pub fn replay_bytes(mut self, bytes: usize) -> Options {
        self.replay_bytes = bytes;
        self
    }

    /// Page size of a database that is to be created.
    pub(crate) fn new_page_bytes(&self) -> usize {
        self.page_bytes.unwrap_or(PAGE_BYTES_DEFAULT)
    }

    /// Refuses settings that no database can have.
    pub(crate) fn validate(&self) -> Result<()> {
        let page_bytes = self.new_page_bytes();
        let sizes = PAGE_BYTES_MIN..=PAGE_BYTES_MAX;
        if !page_bytes.is_power_of_two() || !sizes.contains(&page_bytes) {
            return Err(Error::invalid(format!(
                "expected a page size that is a power of two in {sizes:?}, found {page_bytes}"
            )));
        }
        if self.data_bytes_max < DATA_BYTES_MIN {
            return Err(Error::invalid(format!(
                "expected a data file of {DATA_BYTES_MIN} bytes or more, found {}",
                self.data_bytes_max
            )));
        }
        let segments = WAL_SEGMENT_BYTES_MIN..=WAL_SEGMENT_BYTES_MAX;
        if !segments.contains(&self.wal_segment_bytes_max) {
            return Err(Error::invalid(format!(
                "expected a log segment of {segments:?} bytes, found {}",
                self.wal_segment_bytes_max
            )));
        }
        validate_deadline(self.reader_deadline)
    }
}

/// How to begin a read transaction or a snapshot: see [`Db::begin_read_with`] and
/// [`Db::snapshot_with`].
///
/// [`Db::begin_read_with`]: crate::Db::begin_read_with
/// [`Db::snapshot_with`]: crate::Db::snapshot_with
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    pub(crate) label: Option<Arc<str>>,
    /// `None` for the one that the database's options say; `Some(None)` for no deadline at all.
    deadline: Option<Option<Duration>>,
}

impl ReadOptions {
    /// No label, and the deadline of [`Options::reader_deadline`], if there is one.
    #[must_use]
    pub fn new() -> ReadOptions {
        ReadOptions::default()
    }

    /// What the reader is called where it is told of: in [`Db::readers`](crate::Db::readers) and in
    /// the error after its deadline. At most 256 bytes. It need not be the only one of that name.
    #[must_use]
    pub fn label(mut self, label: impl Into<Arc<str>>) -> ReadOptions {
        self.label = Some(label.into());
        self
    }

    /// How long the reader may read, more than zero, from its beginning on. Then each further read
    /// fails with [`ErrorKind::ReaderExpired`](crate::ErrorKind::ReaderExpired); it fails no
    /// earlier, and some milliseconds later at most. Time in which the machine is suspended does
    /// not count.
    ///
    /// It ends a loop that reads, not the reader. What was borrowed before stays as it is, and so
    /// the pages that the reader can reach are kept, until it is dropped. A reader that is never
    /// dropped keeps them whatever its deadline.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> ReadOptions {
        self.deadline = Some(Some(deadline));
        self
    }

    /// Lets the reader read for ever, whatever [`Options::reader_deadline`] says.
    #[must_use]
    pub fn no_deadline(mut self) -> ReadOptions {
        self.deadline = Some(None);
        self
    }

    /// The deadline, in a database that was opened with these options.
    pub(crate) fn deadline_in(&self, options: &Options) -> Option<Duration> {
        self.deadline.unwrap_or(options.reader_deadline)
    }

    /// Refuses settings that no reader can have.
    pub(crate) fn validate(&self) -> Result<()> {
        let bytes = self.label.as_deref().map_or(0, str::len);
        if bytes > READER_LABEL_BYTES_MAX {
            let max = READER_LABEL_BYTES_MAX as u64;
            return Err(Error::too_large("reader label", max, bytes as u64));
        }
        validate_deadline(self.deadline.flatten())
    }
}

/// A reader that may not read at all is a mistake: no deadline is the absence of one.
fn validate_deadline(deadline: Option<Duration>) -> Result<()> {
    match deadline {
        Some(Duration::ZERO) => Err(Error::invalid("expected a reader's deadline above zero")),
        _ => Ok(()),
    }
}
