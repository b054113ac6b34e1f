//! What all transactions of one open database share.
//!
//! Lock order, outermost first: file state, writer, commit queue. A writer may try to get the file
//! state, and does without it. The log has locks of its own, inside the writer's. It calls
//! [`Store::publish`], which takes the commit queue, with none of them held; with the queue locked
//! it is called for an append only, with `log_start` locked for a size only.
//!
//! Invariants:
//! 1. `queue.unpublished` holds at most one root for each flush group: the last. The others of the
//!    group can never be published, so what they alone reach is free at once.
//! 2. After the first failed write or sync, `poison` is set and no commit is accepted.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::io::{Host, Lock};
use crate::mutation::{self, Mutation};
use crate::options::Options;
use crate::pager::{Arena, META_BYTES, Meta, PageMemory, SpaceMap};
use crate::sync::Mutex;
use crate::tree;
use crate::wal::{Position, Sequence, Wal};
use std::sync::Arc;

use super::clock::Clock;
use super::marks::Marks;
use super::readers::Readers;
use super::root::{DUE, Published, Root};
use super::seat::{Writer, WriterSeat};
use super::signals::Signals;

/// An arena of less gets no memory ahead.
const ARENA_BYTES_SMALL: usize = 4 << 20;
/// So much memory is found for the arena at once.
const ARENA_BYTES_NOW: usize = 1 << 20;
/// So much memory is found for the arena ahead of its use, at most.
const ARENA_BYTES_AHEAD: usize = 16 << 20;

/// One open database.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) dir: PathBuf,
    pub(crate) database_id: [u8; 16],
    pub(crate) options: Options,
    pub(crate) memory: PageMemory,
    pub(crate) readers: Readers,
    pub(crate) published: Published,
    pub(crate) clock: Clock,
    pub(crate) writer: WriterSeat,
    pub(crate) queue: Mutex<CommitQueue>,
    pub(crate) file_state: Mutex<FileState>,
    /// Set when opening is done; never when opened read-only.
    pub(crate) wal: OnceLock<Wal>,
    pub(crate) signals: Signals,
    pub(crate) gauges: Gauges,
    pub(crate) poison: OnceLock<Error>,
    /// Held until the last handle is gone.
    #[expect(dead_code, reason = "it is its destructor that matters")]
    pub(crate) lock: Option<Box<dyn Lock>>,
}

/// The writer, owned until dropped.
#[derive(Debug)]
pub(crate) struct WriterGuard {
    store: Arc<Store>,
    /// `None` only while the guard is dropped.
    writer: Option<Box<Writer>>,
}

impl WriterGuard {
    /// Waits until the seat is free and takes it.
    pub(crate) fn take(store: &Arc<Store>) -> WriterGuard {
        WriterGuard { store: Arc::clone(store), writer: Some(store.writer.take()) }
    }

    /// The database it writes to.
    #[inline]
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }
}

impl Deref for WriterGuard {
    type Target = Writer;
    #[inline]
    fn deref(&self) -> &Writer {
        self.writer.as_deref().expect("invariant: held until dropped")
    }
}

impl DerefMut for WriterGuard {
    #[inline]
    fn deref_mut(&mut self) -> &mut Writer {
        self.writer.as_deref_mut().expect("invariant: held until dropped")
    }
}

impl Drop for WriterGuard {
    fn drop(&mut self) {
        self.store.gauges.arena_units.store(self.arena.used(), Ordering::Relaxed);
        self.store.gauges.arena_pages.store(self.arena.pages(), Ordering::Relaxed);
        self.store.gauges.spilled_pages.store(self.lent.committed_pages(), Ordering::Relaxed);
        let (fresh, gauges) = (self.arena.fresh(), &self.store.gauges);
        // What was given back is not wanted again before it is used.
        if fresh > gauges.arena_fresh.load(Ordering::Relaxed) {
            self.store.expect_growth(fresh);
        } else {
            gauges.arena_fresh.store(fresh, Ordering::Relaxed);
        }
        self.store.writer.leave(self.writer.take());
    }
}

/// Roots on their way to the readers; protected by the queue lock.
#[derive(Debug)]
pub(crate) struct CommitQueue {
    /// Appended, not yet durable; in order.
    pub(crate) unpublished: VecDeque<(Sequence, Root)>,
    /// The root that readers see.
    pub(crate) published: Root,
    /// Where the log continues behind the records in it.
    pub(crate) position: Position,
    /// Where it continued behind earlier ones.
    pub(crate) marks: Marks,
}

/// What is on disk; protected by the lock that makes checkpoints one at a time.
#[derive(Debug)]
pub(crate) struct FileState {
    pub(crate) space: SpaceMap,
    /// The newest durable checkpoint.
    pub(crate) newest: Meta,
    /// Where the log of the one before it begins: both must stay recoverable.
    pub(crate) older_log: Position,
    /// False when the meta page that the next checkpoint is written to was found empty or torn.
    pub(crate) other_meta_is_whole: bool,
}

impl FileState {
    /// Makes sure that the meta page which is not whole never becomes whole: a power cut in the
    /// middle of its next write could add just the sectors that it lacks. What it refers to is
    /// about to be written over. Now it is not yet, so a cut in the middle of this write does no
    /// harm.
    pub(crate) fn erase_torn_meta(&self, memory: &PageMemory) -> Result<()> {
        if self.other_meta_is_whole || mutation::is(Mutation::TornMetaKept) {
            return Ok(());
        }
        let offset = (1 - self.newest.slot()) as u64 * memory.page_bytes() as u64;
        let data = memory.file();
        let mut bytes = [0; META_BYTES];
        data.read_at(&mut bytes, offset).map_err(|e| Error::io("read", memory.path(), e))?;
        if bytes == [0; META_BYTES] {
            return Ok(());
        }
        let erased = data.write_durable_at(&[0; META_BYTES], offset);
        erased.map_err(|e| memory.failed_write("write", e))
    }
}

/// Units of the arena that memory is wanted for, and up to where it was found before.
struct Wanted {
    backed: u32,
    from: u32,
    to: u32,
}

/// Sizes that are looked at without a lock: how much waits for a checkpoint, and what the newest
/// one left behind.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    /// Units of the arena in use when the writer's seat was last left.
    pub(crate) arena_units: AtomicU32,
    /// Pages that a file would need for what is in memory, then.
    pub(crate) arena_pages: AtomicU32,
    /// Pages of the data file that transactions spilled, in no checkpoint yet, then.
    pub(crate) spilled_pages: AtomicU64,
    /// The first unit of the arena that was never used, or was given back, then.
    pub(crate) arena_fresh: AtomicU32,
    /// Units up to here have memory, whether they were used or not.
    pub(crate) arena_backed: AtomicU32,
    /// Bytes of records appended since open, and of those the ones in a checkpoint.
    pub(crate) appended_bytes: AtomicU64,
    pub(crate) checkpointed_bytes: AtomicU64,
    /// Bytes of the log's frames that are in no checkpoint, padding included; and where they begin.
    pub(crate) log_frame_bytes: AtomicU64,
    pub(crate) log_start: parking_lot::Mutex<Option<Position>>,
    /// Pages of the data file, those of them that are free, and the newest checkpoint's number and
    /// the epoch of its root.
    pub(crate) file_pages: AtomicU64,
    pub(crate) free_pages: AtomicU64,
    /// Of the free ones those that the older meta page or a reader still reaches.
    pub(crate) held_pages: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) checkpoint_epoch: AtomicU64,
    /// Since the last checkpoint a record found no room for the log.
    pub(crate) log_is_full: AtomicBool,
    /// Since the last checkpoint a commit needed more pages than the data file may have.
    pub(crate) data_is_full: AtomicBool,
    /// The earliest time in the list of expiries, and records that were removed since open.
    pub(crate) next_due_ms: AtomicU64,
    pub(crate) swept: AtomicU64,
}

impl Gauges {
    /// Takes the sizes of a durable checkpoint.
    pub(crate) fn set_file(&self, file: &FileState) {
        self.file_pages.store(file.newest.file_pages.into(), Ordering::Relaxed);
        self.free_pages.store(file.space.free_pages(), Ordering::Relaxed);
        self.held_pages.store(file.space.held_pages(), Ordering::Relaxed);
        self.checkpoints.store(file.newest.checkpoint, Ordering::Relaxed);
        self.checkpoint_epoch.store(file.newest.epoch.0, Ordering::Relaxed);
        *self.log_start.lock() = Some(file.newest.log);
    }
}

impl Store {
    /// Milliseconds since 1970, never less than before.
    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms(&*self.host)
    }

    /// Pages of the data file that can't be written to by the next checkpoint, and how many of all
    /// may be in use, for a transaction that only removes or for another one.
    pub(crate) fn data_pages(&self, only_removes: bool) -> (u64, u64) {
        let pages = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed);
        let Gauges { file_pages, free_pages, held_pages, .. } = &self.gauges;
        let free = pages(free_pages).saturating_sub(pages(held_pages));
        let taken = pages(file_pages).saturating_sub(free);
        let most = self.options.data_bytes_max / self.memory.page_bytes() as u64;
        (taken, if only_removes { most } else { most - most / 16 })
    }

    /// The data file's path.
    pub(crate) fn data_path(&self) -> &Path {
        self.memory.path()
    }

    /// The log, or the error that a write to a read-only database gets.
    pub(crate) fn wal(&self) -> Result<&Wal> {
        self.wal.get().ok_or_else(|| Error::from(ErrorKind::ReadOnly { path: self.dir.clone() }))
    }

    /// Makes the newest root whose record is durable visible to readers. The log calls this, one
    /// thread at a time, before it wakes those who wait for `durable`.
    pub(crate) fn publish(&self, durable: Sequence, end: Position) {
        let mut queue = self.queue.lock();
        let mut newest = None;
        while let Some(&(sequence, root)) = queue.unpublished.front()
            && sequence <= durable
        {
            newest = Some(root);
            queue.unpublished.pop_front();
        }
        if let Some(root) = newest {
            assert!(root.epoch > queue.published.epoch, "roots are published in order");
            self.published.publish(&root);
            queue.published = root;
            queue.position = end;
            queue.marks.note(root.txn, end);
        }
        drop(queue);
        self.signals.wake_followers();
        self.measure_log();
        if self.wal.get().is_some_and(Wal::wants_segment) {
            self.prepare_ahead();
        }
    }

    /// Takes note of how long the log is now.
    pub(crate) fn measure_log(&self) {
        let Some(wal) = self.wal.get() else { return };
        // Locked to the end, so that what is noted last is measured from the newest start.
        let start = self.gauges.log_start.lock();
        let bytes = start.map_or(0, |start| wal.bytes_since(start));
        self.gauges.log_frame_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Has a thread of the engine make the next segment of the log and find memory for the arena,
    /// so that no commit has to wait for them.
    fn prepare_ahead(&self) {
        if self.options.threads {
            let mut state = self.signals.state.lock();
            // Once asked for is enough.
            if !state.prepare {
                state.prepare = true;
                self.signals.prepare.notify_one();
            }
        }
    }

    /// Takes note of how far the arena has grown, and has memory found ahead if it grows on.
    #[inline]
    pub(crate) fn expect_growth(&self, fresh: u32) {
        self.gauges.arena_fresh.store(fresh, Ordering::Relaxed);
        if self.wants_memory().is_some() {
            self.prepare_ahead();
        }
    }

    /// Finds memory at once for `count` units of the arena from `fresh` on, and what follows them,
    /// unless a thread has found it ahead: for many together it takes a third of what a first touch
    /// of each takes. Returns the unit from which on more is wanted.
    pub(crate) fn find_memory_now(&self, fresh: u32, count: u32) -> u32 {
        let backed = self.gauges.arena_backed.load(Ordering::Relaxed);
        let step = self.memory.units(ARENA_BYTES_NOW);
        let to = fresh.saturating_add(count.max(step)).min(self.arena_units_wanted_max());
        // What stays small takes no more than it needs.
        if !self.options.threads || fresh < step || to <= fresh {
            return fresh.saturating_add(step);
        }
        if fresh < backed {
            return to.min(backed);
        }
        self.memory.populate_arena(fresh, to);
        self.note_backed(backed, to);
        to
    }

    /// Units beyond this are never found ahead.
    fn arena_units_wanted_max(&self) -> u32 {
        let bytes = usize::try_from(self.options.memory_bytes_max).unwrap_or(usize::MAX);
        self.memory.units(bytes).min(self.memory.arena_units_max())
    }

    /// Takes note that units have memory, unless some of it was given back meanwhile.
    fn note_backed(&self, before: u32, to: u32) {
        let (backed, relaxed) = (&self.gauges.arena_backed, Ordering::Relaxed);
        let _is_noted = backed.compare_exchange(before, to, relaxed, relaxed);
    }

    /// Finds memory for the arena ahead of its use, as far as it is wanted now.
    pub(crate) fn find_memory(&self) {
        while let Some(Wanted { backed, from, to }) = self.wants_memory() {
            self.memory.populate_arena(from, to);
            self.note_backed(backed, to);
        }
    }

    /// The units of the arena that will soon be used and have perhaps no memory yet: the system
    /// needs a microsecond or two for the first touch of each 4 KiB.
    fn wants_memory(&self) -> Option<Wanted> {
        let gauges = &self.gauges;
        let (fresh, backed) = (
            gauges.arena_fresh.load(Ordering::Relaxed),
            gauges.arena_backed.load(Ordering::Relaxed),
        );
        let units = |bytes: usize| self.memory.units(bytes);
        // What stays small takes none ahead.
        let ahead = fresh.saturating_sub(units(ARENA_BYTES_SMALL)).min(units(ARENA_BYTES_AHEAD));
        let from = fresh.max(backed);
        let to = fresh.saturating_add(ahead).min(self.arena_units_wanted_max());
        let is_short = fresh.saturating_add(ahead / 2) > backed && from < to;
        is_short.then_some(Wanted { backed, from, to })
    }

    /// Refuses to go on after a failure.
    pub(crate) fn check_poison(&self) -> Result<()> {
        match self.poison.get() {
            Some(first) => Err(Error::from(ErrorKind::Poisoned { first: first.clone() })),
            None => Ok(()),
        }
    }

    /// Stops all writing for good; the first failure is kept.
    pub(crate) fn poison(&self, first: &Error) {
        let _kept = self.poison.set(first.clone());
    }

    /// Bytes of memory taken by pages that wait for a checkpoint or for readers.
    pub(crate) fn arena_bytes(&self) -> u64 {
        let units = self.gauges.arena_units.load(Ordering::Relaxed);
        u64::from(units) * self.memory.unit_bytes() as u64
    }

    /// Bytes of pages, in memory or spilled, that make a checkpoint worth its cost.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        let spilled = self.gauges.spilled_pages.load(Ordering::Relaxed);
        self.arena_bytes() + spilled * self.memory.page_bytes() as u64
    }

    /// Bytes of records that no checkpoint has yet.
    pub(crate) fn log_bytes(&self) -> u64 {
        let appended = self.gauges.appended_bytes.load(Ordering::Relaxed);
        appended.saturating_sub(self.gauges.checkpointed_bytes.load(Ordering::Relaxed))
    }

    /// Takes note of the earliest time in the list of expiries.
    pub(crate) fn note_next_due(&self, time_ms: u64) {
        let before = self.gauges.next_due_ms.swap(time_ms, Ordering::Relaxed);
        if time_ms < before && self.options.threads {
            // Locked, lest the thread be about to sleep.
            let _locked = self.signals.state.lock();
            self.signals.sweep.notify_one();
        }
    }

    /// True when dropped buckets wait to be freed.
    pub(crate) fn has_dropped(self: &Arc<Store>) -> Result<bool> {
        let writer = WriterGuard::take(self);
        let system = writer.tip.system;
        match system.entries {
            0 => Ok(false),
            // It may be the list of expiries.
            1 => Ok(tree::get(&self.memory, tree::Root::of_page(system.root), DUE)?.is_none()),
            _ => Ok(true),
        }
    }

    /// Frees arena pages that readers have left, and gives free memory beyond `keep` bytes back.
    pub(crate) fn trim_arena(self: &Arc<Store>, keep: usize) {
        let mut writer = WriterGuard::take(self);
        self.reclaim(&mut writer.arena);
        if let Some((from, count)) = writer.arena.coalesce(self.memory.units(keep)) {
            // What was found ahead goes too.
            let backed = self.gauges.arena_backed.fetch_min(from, Ordering::Relaxed);
            self.memory.release_arena(from, count.max(backed.saturating_sub(from)));
        }
    }

    /// Frees what neither readers nor future readers can reach.
    pub(crate) fn reclaim(&self, arena: &mut Arena) {
        let published = self.queue.lock().published.epoch;
        let readers = self.readers.epochs();
        self.writer.with_waiting(|waiting| arena.reclaim(&mut waiting.units, published, &readers));
    }
}
