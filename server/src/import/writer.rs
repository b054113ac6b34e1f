//! The second pass: buckets and pairs in the order of the bbolt file, in write transactions of
//! bounded size.
//!
//! Invariants:
//! 1. While more than one transaction is needed, the mark of an unfinished import is in the
//!    database, from the first transaction to the last.
//! 2. A bucket is created when it is left or when its first pairs are written, with its sequence.

use bristlecone::{BucketMut, Db, Durability, Result, WriteTxn};

use crate::limits::IMPORT_BATCH_BYTES;
use crate::names::BucketPath;
use crate::storage::{IMPORT_INCOMPLETE, with_new_bucket};

use super::error::ImportError;

/// A bucket that was entered and not yet left.
#[derive(Debug)]
struct Open {
    name: Vec<u8>,
    sequence: u64,
    created: bool,
}

#[derive(Debug)]
pub(super) struct Writer<'db> {
    db: &'db Db,
    /// `None` only between two transactions.
    txn: Option<WriteTxn>,
    txn_bytes: u64,
    txn_bytes_max: u64,
    txns: u64,
    marked: bool,
    open: Vec<Open>,
    /// Pairs of the innermost bucket that wait to be written.
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    pairs_bytes: usize,
}

impl<'db> Writer<'db> {
    /// Begins to import `bytes` in transactions of at most about `txn_bytes_max`.
    pub(super) fn begin(db: &'db Db, bytes: u64, txn_bytes_max: u64) -> Result<Writer<'db>> {
        let mut txn = db.begin_write()?;
        let marked = bytes > txn_bytes_max;
        if marked {
            drop(txn.create_bucket(IMPORT_INCOMPLETE)?);
        }
        Ok(Writer {
            db,
            txn: Some(txn),
            txn_bytes: 0,
            txn_bytes_max,
            txns: 1,
            marked,
            open: Vec::new(),
            pairs: Vec::new(),
            pairs_bytes: 0,
        })
    }

    pub(super) fn enter(&mut self, name: &[u8], sequence: u64) -> Result<(), ImportError> {
        self.write()?;
        self.txn_bytes += name.len() as u64;
        self.open.push(Open { name: name.to_vec(), sequence, created: false });
        Ok(())
    }

    pub(super) fn pair(&mut self, key: &[u8], value: &[u8]) -> Result<(), ImportError> {
        self.pairs.push((key.to_vec(), value.to_vec()));
        self.pairs_bytes += key.len() + value.len();
        let batch_bytes = self.txn_bytes_max.min(IMPORT_BATCH_BYTES as u64);
        if self.pairs_bytes as u64 >= batch_bytes {
            self.write()?;
        }
        Ok(())
    }

    pub(super) fn leave(&mut self) -> Result<(), ImportError> {
        self.write()?;
        self.open.pop();
        Ok(())
    }

    /// Ends the import, durably; returns how many transactions it took.
    pub(super) fn finish(mut self) -> Result<u64, ImportError> {
        let mut txn = self.next_txn()?;
        if self.marked {
            txn.drop_bucket(IMPORT_INCOMPLETE)?;
        }
        txn.commit()?;
        Ok(self.txns)
    }

    /// Writes what waits for the innermost bucket, and begins another transaction when this one
    /// has become too large.
    fn write(&mut self) -> Result<(), ImportError> {
        let Some(open) = self.open.last() else { return Ok(()) };
        let sequence = (!open.created).then_some(open.sequence);
        if sequence.is_none() && self.pairs.is_empty() {
            return Ok(());
        }
        let names = self.open.iter().map(|open| open.name.clone()).collect();
        let path = BucketPath::new(names).expect("invariant: the survey bounded depth and names");
        let mut txn = self.next_txn()?;
        let pairs = &self.pairs;
        with_new_bucket(&mut txn, &path, &mut |bucket| fill(bucket, sequence, pairs))?;
        self.txn = Some(txn);
        // The buckets around it are there: each was written when the one within it was entered.
        if let Some(open) = self.open.last_mut() {
            open.created = true;
        }
        self.txn_bytes += self.pairs_bytes as u64;
        self.pairs.clear();
        self.pairs_bytes = 0;
        if self.marked && self.txn_bytes >= self.txn_bytes_max {
            self.commit()?;
        }
        Ok(())
    }

    /// Ends the transaction. The last one of the import makes all of them durable.
    fn commit(&mut self) -> Result<()> {
        if let Some(mut txn) = self.txn.take() {
            txn.set_durability(Durability::Buffered);
            txn.commit()?;
        }
        self.txn_bytes = 0;
        Ok(())
    }

    /// Takes the transaction that is open, or begins the next.
    fn next_txn(&mut self) -> Result<WriteTxn> {
        if let Some(txn) = self.txn.take() {
            return Ok(txn);
        }
        self.txns += 1;
        self.db.begin_write()
    }
}

fn fill(
    bucket: &mut BucketMut<'_>,
    sequence: Option<u64>,
    pairs: &[(Vec<u8>, Vec<u8>)],
) -> Result<()> {
    if let Some(sequence) = sequence.filter(|&sequence| sequence > 0) {
        bucket.set_sequence(sequence)?;
    }
    if bucket.is_empty() && !pairs.is_empty() {
        bucket.build(pairs.iter().map(|(key, value)| (&key[..], &value[..])))?;
        return Ok(());
    }
    pairs.iter().try_for_each(|(key, value)| bucket.put(key, value))
}
