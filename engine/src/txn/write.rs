//! The write transaction: one at a time, from the newest root to the next.
//!
//! Invariants:
//! 1. It starts from the newest appended root, durable or not: commits are durable in the same
//!    order, so a commit is never durable without those it was built on.
//! 2. Dropping it, also while a panic unwinds, rolls it back.

use std::any::Any;
use std::fmt;
use std::time::SystemTime;

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Epoch, TxnId};
use crate::mutation::{self, Mutation};
use crate::page::BucketRecord;
use std::sync::Arc;

use super::deadline::TxnClock;
use super::level::Level;
use super::operation::RecordWriter;
use super::pages::TxnPages;
use super::read::View;
use super::root::Root;
use super::store::Store;

/// When a commit returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Durability {
    /// When the commit is on the device and visible to readers.
    #[default]
    Sync,
    /// When the commit has its place in the log's memory. The flush that makes it durable, and then
    /// visible to readers, begins within
    /// [`Options::buffered_delay`](crate::Options::buffered_delay), or without the engine's threads
    /// with the next commit that waits, sync, checkpoint or close. A power cut or a kill before
    /// that loses it, but never an earlier commit without it.
    Buffered,
}

/// A transaction that reads and writes. One at a time: the next waits until this one is committed
/// or dropped, but not for this one's commit to reach the disk.
///
/// Dropping it without a commit undoes everything it did.
#[must_use = "a write transaction that is dropped rolls back"]
pub struct WriteTxn {
    pub(crate) pages: TxnPages,
    /// Open buckets, the root at the bottom.
    pub(crate) levels: Vec<Level>,
    /// Dropped buckets that wait to be freed, and the list of expiries.
    pub(crate) system: Level,
    /// That list, once it was changed.
    pub(super) due: Option<BucketRecord>,
    /// The earliest time in it, once it was changed and written back.
    pub(super) next_due_ms: Option<u64>,
    /// `None` for transactions that are not logged: replay and housekeeping.
    pub(super) record: Option<RecordWriter>,
    /// Serials of the levels that the log believes to be in.
    pub(super) logged: Vec<u64>,
    /// Names of buckets that were left, for their memory.
    pub(super) names: Vec<Vec<u8>>,
    pub(super) serials: u64,
    pub(crate) id: TxnId,
    /// The transaction's clock, milliseconds since 1970; zero where expired entries are seen too.
    pub(crate) time_ms: u64,
    /// The same, in the form that reads share.
    clock: TxnClock,
    pub(super) durability: Durability,
    /// The first error that left the tree half changed.
    failure: Option<Error>,
    ended: bool,
    /// Keeps the database open. The last field: it goes after the writer's seat is free again.
    keep_open: Option<Arc<dyn Any + Send + Sync>>,
}

impl WriteTxn {
    /// Waits for the writer lock and begins.
    pub(crate) fn begin(store: &Arc<Store>) -> Result<WriteTxn> {
        let piece_bytes = store.wal()?.piece_bytes();
        let mut txn = WriteTxn::begin_unlogged(store)?;
        txn.check_open()?;
        txn.time_ms = store.now_ms().max(1);
        txn.clock = TxnClock::showing(txn.time_ms);
        txn.id = txn.id.next();
        let memory = std::mem::take(&mut txn.pages.writer.record);
        txn.pages.spill.allow(store.options.spill_bytes);
        txn.record = Some(RecordWriter::new(memory, piece_bytes, txn.id, txn.time_ms));
        Ok(txn)
    }

    /// Refuses to change a database that was closed.
    pub(crate) fn check_open(&self) -> Result<()> {
        match self.pages.writer.closed {
            true => Err(Error::from(ErrorKind::Closed { path: self.store().dir.clone() })),
            false => Ok(()),
        }
    }

    /// Begins a transaction that leaves the log and the transaction number alone, and for which
    /// nothing has expired.
    pub(crate) fn begin_unlogged(store: &Arc<Store>) -> Result<WriteTxn> {
        let mut pages = TxnPages::new(store);
        store.check_poison()?;
        let tip = pages.writer.tip;
        let (mut levels, logged, names) = pages.writer.stack.take();
        levels.push(Level::of_root(&tip.buckets));
        Ok(WriteTxn {
            levels,
            system: Level::of_root(&tip.system),
            due: None,
            next_due_ms: None,
            pages,
            record: None,
            logged,
            names,
            serials: 0,
            id: tip.txn,
            time_ms: if mutation::is(Mutation::ReplayGoesByClock) { store.now_ms() } else { 0 },
            clock: TxnClock::showing(0),
            durability: Durability::Sync,
            failure: None,
            ended: false,
            keep_open: None,
        })
    }

    /// This transaction's number: the database's revision once it is committed. Known before, so
    /// that it can be stored in the records it belongs to. A transaction that is rolled back, or
    /// changes nothing, gives its number to the next.
    #[must_use]
    pub fn id(&self) -> TxnId {
        self.id
    }

    /// The transaction's clock, read when it began: times to live count from here, and what has
    /// expired by then is hidden. Stored with the commit.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.view().now()
    }

    /// Has the transaction see what has expired, too.
    pub(crate) fn see_expired(&mut self) {
        self.time_ms = 0;
    }

    /// Takes the time of a transaction of another database, which it repeats: nothing has expired
    /// for it that had not for that one. REQUIRES that nothing was done yet.
    pub(crate) fn take_time(&mut self, time_ms: u64) {
        self.see_expired();
        if let Some(record) = self.record.take() {
            let piece_bytes = record.piece_bytes();
            let memory = record.into_memory();
            self.record = Some(RecordWriter::new(memory, piece_bytes, self.id, time_ms));
        }
    }

    /// Takes the number of a replayed transaction.
    pub(crate) fn set_id(&mut self, id: TxnId) {
        self.id = id;
    }

    /// Chooses when [`commit`](WriteTxn::commit) returns; [`Durability::Sync`] by default.
    pub fn set_durability(&mut self, durability: Durability) {
        self.durability = durability;
    }

    /// Undoes everything; the same as dropping the transaction.
    pub fn rollback(self) {}

    /// Keeps the database open for as long as the transaction lives.
    pub(crate) fn keep_open(&mut self, handle: Arc<dyn Any + Send + Sync>) {
        self.keep_open = Some(handle);
    }

    /// The database it writes to.
    pub(crate) fn store(&self) -> &Arc<Store> {
        self.pages.writer.store()
    }

    /// How to read what this transaction sees.
    pub(crate) fn view(&self) -> View<'_> {
        View { store: self.store(), clock: &self.clock }
    }

    /// Remembers an error that left something half changed.
    pub(super) fn note_failure<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result
            && self.failure.is_none()
        {
            self.failure = Some(error.clone());
        }
        result
    }

    /// Refuses to go on after an operation failed half way.
    pub(super) fn check_failed(&self) -> Result<()> {
        match &self.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(()),
        }
    }

    /// The root this transaction leads to. All buckets must be left.
    pub(super) fn new_root(&mut self) -> Result<Root> {
        self.return_to(1)?;
        self.close_due()?;
        self.pages.finish_spilling()?;
        Ok(Root {
            epoch: self.epoch(),
            txn: self.id,
            buckets: self.level().record(),
            system: self.system.record(),
        })
    }

    /// The epoch this transaction's pages are born in.
    pub(crate) fn epoch(&self) -> Epoch {
        crate::tree::PagesMut::epoch(&self.pages)
    }

    /// The transaction ended well: dropping it undoes nothing.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }
}

impl fmt::Debug for WriteTxn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteTxn").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for WriteTxn {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            self.pages.writer.record = record.into_memory();
        }
        let (levels, logged) = (std::mem::take(&mut self.levels), std::mem::take(&mut self.logged));
        self.pages.writer.stack.keep(levels, logged, std::mem::take(&mut self.names));
        if !self.ended {
            self.pages.roll_back();
        }
    }
}

/// As a database is, a transaction may be sent to another thread, and read by several.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<WriteTxn>();
};
