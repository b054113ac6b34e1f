//! The new database: written in transactions of bounded size, in the order in which things come.
//!
//! Takes each operation as the truth about its key, whatever stands there: it comes from the
//! newest tree, or from the log behind what was written before. Invariants:
//! 1. A bucket that an operation is in, and that is missing, is made.

use std::ops::ControlFlow;

use crate::db::Db;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::SALVAGE_TXN_BYTES;
use crate::tree;
use crate::txn::WriteTxn;

use super::losses::{KeyRange, Path};

/// What an operation costs beside its key and value, about.
const OPERATION_BYTES: usize = 64;
/// Keys that are removed from a range at once.
const CLEAR_KEYS: usize = 1024;

#[derive(Debug)]
pub(super) struct Target {
    db: Db,
    txn: Option<WriteTxn>,
    txn_bytes: usize,
    /// Buckets that the transaction has open.
    open: Path,
    /// Pairs written, and the bytes of their keys and values.
    pub(super) pairs: u64,
    pub(super) bytes: u64,
}

/// What the new database holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holds {
    pub(super) buckets: u64,
    pub(super) pairs: u64,
}

impl Target {
    pub(super) fn new(db: Db) -> Target {
        Target { db, txn: None, txn_bytes: 0, open: Vec::new(), pairs: 0, bytes: 0 }
    }

    /// Makes sure that the database's clock is not behind that of the old one: what had expired
    /// stays so.
    pub(super) fn advance_clock(&self, time_ms: u64) {
        self.db.store().clock.advance(time_ms);
    }

    pub(super) fn put(
        &mut self,
        path: &[Vec<u8>],
        key: &[u8],
        value: &[u8],
        expires_at: u64,
    ) -> Result<()> {
        self.pairs += 1;
        self.bytes += (key.len() + value.len()) as u64;
        let txn = self.at(path, key.len() + value.len())?;
        match txn.put(key, value, expires_at) {
            Err(error) if is_bucket(&error) => {
                txn.drop_bucket_here(key)?;
                txn.put(key, value, expires_at)
            }
            done => done,
        }
    }

    pub(super) fn delete(&mut self, path: &[Vec<u8>], key: &[u8]) -> Result<()> {
        let txn = self.at(path, key.len())?;
        match txn.delete(key) {
            Err(error) if is_bucket(&error) => txn.drop_bucket_here(key),
            done => done.map(|_| ()),
        }
    }

    /// Makes an empty bucket, whatever was there.
    pub(super) fn create(&mut self, path: &[Vec<u8>], name: &[u8]) -> Result<()> {
        self.delete(path, name)?;
        self.at(path, name.len())?.create(name)
    }

    pub(super) fn set_sequence(&mut self, path: &[Vec<u8>], number: u64) -> Result<()> {
        self.at(path, 0)?.set_sequence(number)
    }

    /// Sets when a bucket expires.
    pub(super) fn set_expiry(&mut self, path: &[Vec<u8>], expires_at: u64) -> Result<()> {
        self.at(path, 0)?.set_bucket_expiry(expires_at)
    }

    /// Removes all entries of a range.
    pub(super) fn clear(&mut self, path: &[Vec<u8>], range: &KeyRange) -> Result<()> {
        loop {
            let txn = self.at(path, 0)?;
            let keys = keys(txn, range)?;
            for key in &keys {
                self.delete(path, key)?;
            }
            if keys.len() < CLEAR_KEYS {
                return Ok(());
            }
        }
    }

    /// The transaction, in the bucket at `path`.
    fn at(&mut self, path: &[Vec<u8>], bytes: usize) -> Result<&mut WriteTxn> {
        if self.txn_bytes >= SALVAGE_TXN_BYTES {
            self.commit()?;
        }
        self.txn_bytes += bytes + OPERATION_BYTES;
        let txn = match &mut self.txn {
            Some(txn) => txn,
            none => none.insert(self.db.begin_write()?),
        };
        // What has expired is copied as it was: with its expiry.
        txn.see_expired();
        let same = self.open.iter().zip(path).take_while(|(open, name)| open == name).count();
        // One more level is the root's.
        txn.return_to(same + 1)?;
        self.open.truncate(same);
        for name in &path[same..] {
            enter(txn, name)?;
            self.open.push(name.clone());
        }
        Ok(txn)
    }

    fn commit(&mut self) -> Result<()> {
        self.open.clear();
        self.txn_bytes = 0;
        match self.txn.take() {
            Some(txn) => txn.commit().map(|_| ()),
            None => Ok(()),
        }
    }

    /// Makes everything durable, verifies it, and closes the database.
    pub(super) fn finish(mut self) -> Result<Holds> {
        self.commit()?;
        self.db.checkpoint()?;
        let report = self.db.check(&mut |_| ControlFlow::Continue(()))?;
        if let Some(problem) = report.problems.first() {
            let path = self.db.store().data_path();
            return Err(Error::corrupt(path, 0, "a sound copy", problem.clone()));
        }
        let buckets = report.buckets;
        self.db.close()?;
        Ok(Holds { buckets, pairs: report.entries - buckets })
    }
}

/// Opens a bucket of the innermost one, making it where it is missing.
fn enter(txn: &mut WriteTxn, name: &[u8]) -> Result<()> {
    match txn.enter(name) {
        Err(error) if error.is_bucket_not_found() => txn.create_and_enter(name),
        Err(error) if matches!(error.kind(), ErrorKind::NotABucket { .. }) => {
            txn.delete(name)?;
            txn.create_and_enter(name)
        }
        done => done,
    }
}

/// The first keys of a range of the innermost bucket.
fn keys(txn: &WriteTxn, range: &KeyRange) -> Result<Vec<Vec<u8>>> {
    let mut cursor = tree::Cursor::new(&txn.pages, txn.level().tree.root());
    let mut keys = Vec::new();
    let mut entry = cursor.seek(&range.start)?;
    while let Some(found) = entry.filter(|entry| range.contains(entry.key)) {
        keys.push(found.key.to_vec());
        if keys.len() == CLEAR_KEYS {
            break;
        }
        entry = cursor.next()?;
    }
    Ok(keys)
}

fn is_bucket(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::IsABucket { .. })
}
