//! Making what log records change, in one transaction of the engine's own.
//!
//! Changes are made in the order of their keys: see [`super::collected`]. While they are made from
//! the first key on, a thread, if there may be one, reads and verifies the leaves from the last key
//! on, which takes as long as all the rest.
//!
//! Invariants:
//! 1. Nothing is visible before it is published.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::ids::TxnId;
use crate::limits::GET_MANY_WIDTH;
use crate::txn::{Operation, ReadTxn, RecordReader, Store, WriteTxn};
use crate::wal::Position;

use super::collected::{BucketNumber, Change, Collected, ROOT, Taken};

/// So many changes are made at once: some MB of memory.
const CHANGES_MAX: usize = 1 << 17;
/// Fewer, where little of the log is collected.
const BYTES_PER_CHANGE: usize = 64;
/// Changes take about so many bytes of the log, or more.
const CHANGE_BYTES_MIN: usize = 32;
/// Fewer changes than this are not worth a thread.
const CHANGES_SHARED_MIN: usize = 256;

/// Where a record ends in the log, and where it is in memory.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) end: Position,
    pub(super) range: Range<usize>,
}

/// Makes changes.
pub(super) struct Applier {
    store: Arc<Store>,
    txn: WriteTxn,
}

impl Applier {
    /// Starts from the published root.
    pub(super) fn begin(store: &Arc<Store>) -> Result<Applier> {
        Ok(Applier { store: Arc::clone(store), txn: WriteTxn::begin_unlogged(store)? })
    }

    /// Publishes what was made: the content after transaction `last`, whose record ends at `end`.
    pub(super) fn publish(self, last: TxnId, end: Position) -> Result<()> {
        let Applier { store, mut txn } = self;
        txn.set_id(last);
        txn.replace_tip()?;
        let mut queue = store.queue.lock();
        queue.position = end;
        queue.marks.note(last, end);
        Ok(())
    }

    /// Makes what the records in `bytes` change.
    pub(super) fn apply(&mut self, records: &[Record], bytes: &[u8]) -> Result<()> {
        let store = Arc::clone(&self.store);
        let most = (store.options.replay_bytes / BYTES_PER_CHANGE).clamp(1, CHANGES_MAX);
        let mut changes = Collected::new((bytes.len() / CHANGE_BYTES_MIN).min(most));
        for Record { end, range } in records {
            let damaged = |found| damaged(&store, *end, found);
            let mut reader = RecordReader::new(&bytes[range.clone()]).map_err(damaged)?;
            let mut bucket = ROOT;
            changes.begin_record(*end);
            while let Some(operation) = reader.next().map_err(damaged)? {
                match operation {
                    Operation::Enter { name } => {
                        bucket = changes.within(bucket, name).map_err(damaged)?;
                    }
                    Operation::Leave { levels } => bucket = changes.outside(bucket, levels),
                    Operation::Put { key, .. } | Operation::Delete { key } => {
                        changes.push(bucket, key, operation);
                        if changes.len() >= most {
                            self.make(&mut changes, *end)?;
                        }
                    }
                    Operation::Sequence { number } => changes.set_sequence(bucket, number),
                    Operation::Create { .. }
                    | Operation::Drop { .. }
                    | Operation::Expire { .. } => {
                        self.make(&mut changes, *end)?;
                        self.enter(&changes, bucket, *end)?;
                        self.apply_one(operation, *end)?;
                    }
                }
            }
        }
        match records.last() {
            Some(Record { end, .. }) => self.make(&mut changes, *end),
            None => Ok(()),
        }
    }

    /// Makes all changes that were noted, the last of them of a record that ends at `end`.
    fn make(&mut self, changes: &mut Collected<'_>, end: Position) -> Result<()> {
        let mut taken = changes.take();
        let sequences = std::mem::take(&mut taken.sequences);
        let (store, made) = (&Arc::clone(&self.store), AtomicUsize::new(0));
        let is_shared = self.store.options.threads && taken.changes.len() >= CHANGES_SHARED_MIN;
        std::thread::scope(|scope| {
            // Left by an error too.
            let _all_is_made = EndOf(&made);
            if is_shared {
                let (changes, taken, made) = (&*changes, &taken.changes[..], &made);
                let helper = std::thread::Builder::new().name("bristlecone-replay".to_owned());
                // Without it the replay takes longer, and is the same.
                let help = move || touch_leaves(store, changes, taken, made);
                let _helper = helper.spawn_scoped(scope, help).ok();
            }
            self.make_in_order(changes, &taken, &made)
        })?;
        for (bucket, number) in sequences {
            self.enter(changes, bucket, end)?;
            self.apply_one(Operation::Sequence { number }, end)?;
        }
        Ok(())
    }

    fn make_in_order(
        &mut self,
        changes: &Collected<'_>,
        taken: &Taken<'_>,
        made: &AtomicUsize,
    ) -> Result<()> {
        let mut at = 0;
        for of_bucket in taken.changes.chunk_by(|a, b| a.bucket == b.bucket) {
            self.enter(changes, of_bucket[0].bucket, taken.end_of(&of_bucket[0]))?;
            for next in of_bucket.chunks(GET_MANY_WIDTH) {
                self.txn.expect(next.iter().map(Change::key));
                for change in next {
                    self.txn
                        .apply(change.operation)
                        .map_err(|error| self.failed(error, taken.end_of(change)))?;
                }
                at += next.len();
                made.store(at, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Opens a bucket and those around it, and no other.
    fn enter(
        &mut self,
        changes: &Collected<'_>,
        bucket: BucketNumber,
        end: Position,
    ) -> Result<()> {
        self.txn.return_to(1)?;
        for name in changes.path(bucket) {
            self.apply_one(Operation::Enter { name }, end)?;
        }
        Ok(())
    }

    fn apply_one(&mut self, operation: Operation<'_>, end: Position) -> Result<()> {
        self.txn.apply(operation).map_err(|error| self.failed(error, end))
    }

    /// What an operation that fails means, of a record that ends at `end`.
    #[cold]
    fn failed(&self, error: Error, end: Position) -> Error {
        match error.kind() {
            ErrorKind::Corrupt(_)
            | ErrorKind::Outrun { .. }
            | ErrorKind::Full { .. }
            | ErrorKind::Io { .. } => error,
            // The operation succeeded when it was logged.
            _ => damaged(&self.store, end, format!("an operation that fails: {error}")),
        }
    }
}

/// A record that cannot be replayed.
#[cold]
pub(super) fn damaged(store: &Store, end: Position, found: String) -> Error {
    let segment = store.dir.join(super::LOG).join(format!("segment {}", end.segment));
    let block = end.offset / crate::limits::WAL_BLOCK_BYTES as u64;
    Error::corrupt(&segment, block, "a record that applies", found)
}

/// Tells the helper that nothing is left to do, also while a panic unwinds.
struct EndOf<'a>(&'a AtomicUsize);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        self.0.store(usize::MAX, Ordering::Relaxed);
    }
}

/// Reads and verifies the leaves of the checkpoint that changes will come to, from the last one on,
/// until it meets whoever makes them.
fn touch_leaves(
    store: &Arc<Store>,
    changes: &Collected<'_>,
    taken: &[Change<'_>],
    made: &AtomicUsize,
) {
    // A hint: whoever needs what cannot be read will tell of it.
    let Ok(txn) = ReadTxn::begin(store) else { return };
    let mut left = taken.len();
    for of_bucket in taken.chunk_by(|a, b| a.bucket == b.bucket).rev() {
        let path = changes.path(of_bucket[0].bucket);
        let bucket = path.iter().try_fold(txn.root(), |outer, name| outer.bucket(name));
        for change in of_bucket.iter().rev() {
            if made.load(Ordering::Relaxed) >= left {
                return;
            }
            left -= 1;
            if let Ok(bucket) = &bucket {
                let _told_later = bucket.touch(change.key());
            }
        }
    }
}
