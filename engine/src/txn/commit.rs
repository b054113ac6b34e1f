//! The end of a write transaction: its record in the log, its root in the queue, and the wait.
//!
//! Order, for each commit: make room in the log; with the queue locked, append the record and queue
//! the root, so that nobody can publish in between; give up the writer's seat; wait for the flush
//! that the whole group shares. The log publishes the group's last root before it wakes anyone.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use crate::error::{Error, ErrorKind, Result};
use crate::ids::TxnId;
use crate::mutation::{self, Mutation};
use crate::wal::{Appended, Leaves, LongRecord, Room, Sequence};
use std::sync::Arc;

use super::operation::{Finished, LongRecords, RecordWriter};
use super::root::Root;
use super::store::Store;
use super::write::{Durability, WriteTxn};

/// So many pages a transaction that only removes may copy where the data file is full, at least.
const REMOVING_PAGES_MIN: u64 = 64;

/// A commit on its way to the device: wait for it, or await it.
///
/// Bound to no async runtime. Dropping it does not undo the commit.
#[derive(Debug)]
#[must_use = "a commit is not known to be durable before it was waited for"]
pub struct Commit {
    store: Arc<Store>,
    sequence: Sequence,
    txn: TxnId,
}

impl Commit {
    /// The transaction's number.
    #[must_use]
    pub fn id(&self) -> TxnId {
        self.txn
    }

    /// Blocks until the commit is durable and visible.
    ///
    /// # Errors
    /// `OutcomeUnknown` when the write or sync failed.
    pub fn wait(self) -> Result<TxnId> {
        self.store.wait_durable(self.sequence)?;
        Ok(self.txn)
    }

    /// Leaves the commit to the next flush, within the delay for buffered commits.
    pub(super) fn into_buffered(self) -> TxnId {
        self.store.signals.request_flush();
        self.txn
    }

    /// Asks the engine's thread to flush now.
    pub(super) fn request_flush(&self) {
        self.store.signals.state.lock().flush_now = true;
        self.store.signals.flush.notify_one();
    }
}

impl Future for Commit {
    type Output = Result<TxnId>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<TxnId>> {
        let (sequence, store) = (self.sequence, &self.store);
        // Without threads of the engine's own, whoever awaits does the work.
        if !store.options.threads
            && let Err(error) = store.wait_durable(sequence)
        {
            return Poll::Ready(Err(error));
        }
        let wal = match store.wal() {
            Ok(wal) => wal,
            Err(error) => return Poll::Ready(Err(error)),
        };
        wal.poll(sequence, context.waker())
            .map(|durable| durable.map_err(|error| store.note_log_failure(error)))
            .map_ok(|()| self.txn)
    }
}

impl Store {
    /// Blocks until the record is durable and its root published; leads the flush if nobody does.
    pub(crate) fn wait_durable(&self, sequence: Sequence) -> Result<()> {
        if mutation::is(Mutation::AcknowledgedBeforeSync) {
            return Ok(());
        }
        let publish = |durable, end| self.publish(durable, end);
        self.wal()?.wait(sequence, &publish).map_err(|error| self.note_log_failure(error))
    }

    /// Makes everything that was appended so far durable.
    pub(crate) fn flush(&self) -> Result<()> {
        let publish = |durable, end| self.publish(durable, end);
        self.wal()?.flush(&publish).map_err(|error| self.note_log_failure(error))
    }

    /// Lets the next checkpoint give back what the log keeps for the older meta page.
    fn request_log_space(&self) {
        self.gauges.log_is_full.store(true, Ordering::Relaxed);
        self.request_checkpoint();
    }

    fn request_checkpoint(&self) {
        if self.options.threads {
            self.signals.state.lock().checkpoint = true;
            self.signals.checkpoint.notify_one();
        }
    }

    /// Makes sure that a record of so many bytes has room in the log.
    fn reserve_log(&self, room: &mut Room, bytes: usize, only_removes: bool) -> Result<()> {
        let wal = self.wal()?;
        let publish = |durable, end| self.publish(durable, end);
        let reserved = match wal.reserve_room(room, bytes, &publish) {
            // What is kept is for this, and only when there is no other room.
            Err(error) if error.is_full() && only_removes => {
                wal.reserve(bytes, Leaves::Nothing, &publish)
            }
            reserved => reserved,
        };
        reserved.map_err(|error| self.note_log_failure(error))
    }

    /// A failed log stops all writing.
    pub(super) fn note_log_failure(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::Full { .. } => self.request_log_space(),
            ErrorKind::OutcomeUnknown { cause } => self.poison(cause),
            ErrorKind::Poisoned { first } => self.poison(first),
            _ => {}
        }
        error
    }
}

impl LongRecords for Store {
    fn begin_long(&self) -> Result<LongRecord> {
        let publish = |durable, end| self.publish(durable, end);
        self.wal()?.begin_long(&publish).map_err(|error| self.note_log_failure(error))
    }

    fn end_long(&self, record: &mut LongRecord, last_piece: Vec<u8>) -> Result<()> {
        self.wal()?.end_long(record, last_piece)
    }
}

impl WriteTxn {
    /// Makes the changes permanent and returns the transaction's number.
    ///
    /// With [`Durability::Sync`] the changes are on the device and visible to readers when this
    /// returns. Commits of other threads share the same flush. A transaction that changed nothing
    /// has the number of the one before it, and is as durable as that one.
    ///
    /// # Errors
    /// `Full` when the disk has no room for the log: nothing was changed. `OutcomeUnknown` when the
    /// write or sync failed: the changes may or may not survive, and the database must be reopened.
    pub fn commit(self) -> Result<TxnId> {
        let durability = self.durability;
        let commit = self.append()?;
        match durability {
            Durability::Sync => commit.wait(),
            Durability::Buffered => Ok(commit.into_buffered()),
        }
    }

    /// Gives the changes their place in the log and returns a future, bound to no runtime, that
    /// completes when they are durable and visible. The next write transaction can begin at once.
    /// Dropping the future does not undo the commit.
    ///
    /// # Errors
    /// As [`commit`](WriteTxn::commit); `OutcomeUnknown` comes from the future.
    pub fn commit_async(self) -> Result<Commit> {
        let commit = self.append()?;
        commit.request_flush();
        Ok(commit)
    }

    /// Appends the transaction's record to the log and makes its root the tip.
    pub(super) fn append(mut self) -> Result<Commit> {
        let root = self.new_root()?;
        let store = Arc::clone(self.store());
        let record = self.record.take().expect("invariant: a user's transaction is logged");
        if record.is_empty() {
            // Nothing to append: the commit is as durable as the one before it.
            let (txn, sequence) = (self.pages.writer.tip.txn, self.pages.writer.sequence);
            self.pages.writer.record = record.into_memory();
            return Ok(Commit { store, sequence, txn });
        }
        self.check_size(&store, record.only_removes())?;
        let sequence = self.append_record(&store, record, root)?;
        let txn = self.id;
        self.end();
        drop(self);
        Ok(Commit { store, sequence, txn })
    }

    /// Refuses a commit for which the data file has no room.
    fn check_size(&self, store: &Store, only_removes: bool) -> Result<()> {
        let waiting = u64::from(self.pages.writer.arena.pages())
            + self.pages.writer.lent.committed_pages()
            + self.pages.spill.pages();
        let (taken, most) = store.data_pages(only_removes);
        // What removes little may always do so: where the file holds nearly all it may, or more, a
        // copy of what is changed is what room begins with.
        let little = (most / 16).max(REMOVING_PAGES_MIN);
        let is_nearly_full = taken > most - most / 16;
        if taken + waiting <= most || only_removes && is_nearly_full && waiting <= little {
            return Ok(());
        }
        // What was removed makes room with the next checkpoints.
        store.gauges.data_is_full.store(true, Ordering::Relaxed);
        store.request_checkpoint();
        let found = taken + waiting;
        let reason = format!("expected that {most} pages are enough, found a need for {found}");
        Err(Error::from(ErrorKind::Full { what: "data file", reason }))
    }

    fn append_record(
        &mut self,
        store: &Store,
        record: RecordWriter,
        root: Root,
    ) -> Result<Sequence> {
        store.check_poison()?;
        let only_removes = record.only_removes();
        let record = record.finish(store).map_err(|error| store.note_log_failure(error))?;
        let writer = &mut *self.pages.writer;
        match &record {
            Finished::Whole(bytes) => {
                store.reserve_log(&mut writer.log_room, bytes.len(), only_removes)?;
            }
            Finished::Long(_) => writer.log_room = Room::default(),
        }
        let expected = Sequence(writer.sequence.0 + 1);
        let wal = store.wal()?;
        let (len, appended) = {
            // Locked until its root is queued: once the record is appended, another thread may
            // flush and publish it at any time.
            let mut queue = store.queue.lock();
            let (len, appended) = match record {
                Finished::Whole(mut bytes) => {
                    let len = bytes.len() as u64;
                    let appended = wal.append_joining(&mut bytes);
                    writer.record = bytes;
                    (len, appended)
                }
                Finished::Long(long) => (long.record_bytes(), wal.append_long(*long)),
            };
            if let Ok(Appended { joined: true, .. }) = appended {
                // The root before this one is in the same group: it is skipped, see invariant 1 of
                // the store.
                let skipped = queue.unpublished.pop_back_if(|(at, _)| *at == writer.sequence);
                debug_assert!(skipped.is_some());
            }
            if appended.is_ok() {
                queue.unpublished.push_back((expected, root));
            }
            (len, appended)
        };
        let appended = appended.map_err(|error| store.note_log_failure(error))?;
        assert_eq!(appended.sequence, expected, "the log counts records as the writer does");
        store.gauges.appended_bytes.fetch_add(len, Ordering::Relaxed);
        self.advance(root, appended.joined);
        Ok(expected)
    }

    /// Makes `root` the tip, after its record joined a flush group.
    fn advance(&mut self, root: Root, joined: bool) {
        let writer = &mut *self.pages.writer;
        if !joined {
            writer.group_floor = writer.tip.epoch;
        }
        writer.sequence = Sequence(writer.sequence.0 + 1);
        writer.tip = root;
        let floor = writer.group_floor;
        self.pages.keep(floor);
        self.reclaim_some();
        self.tell_next_due();
    }

    fn tell_next_due(&self) {
        if let Some(time_ms) = self.next_due_ms {
            self.store().note_next_due(time_ms);
        }
    }

    /// Ends a transaction that is not logged: its root has the content of the tip's transactions
    /// and takes the tip's place, published or in the queue.
    pub(crate) fn replace_tip(mut self) -> Result<()> {
        let root = self.new_root()?;
        let store = Arc::clone(self.store());
        {
            let mut queue = store.queue.lock();
            match queue.unpublished.back_mut() {
                Some((sequence, waiting)) => {
                    assert_eq!(*sequence, self.pages.writer.sequence, "the tip is queued last");
                    *waiting = root;
                }
                None => {
                    store.published.publish(&root);
                    queue.published = root;
                }
            }
        }
        self.pages.writer.tip = root;
        // Whatever this transaction retired may be reachable from a published root.
        self.pages.keep(root.epoch);
        self.reclaim_some();
        self.tell_next_due();
        self.end();
        Ok(())
    }

    /// Frees what readers have left, when enough waits to be worth a look at the reader table.
    fn reclaim_some(&mut self) {
        if self.pages.writer.arena.wants_reclaim() {
            let store = Arc::clone(self.store());
            store.reclaim(&mut self.pages.writer.arena);
        }
    }
}
