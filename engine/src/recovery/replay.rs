//! Replaying the log: the operations of each record, in one transaction of the engine's own.
//!
//! Invariants:
//! 1. Records follow each other without a gap in their transaction numbers.
//! 2. Nothing is visible before all of it is replayed.

use crate::error::{Error, ErrorKind, Result};
use crate::limits::GET_MANY_WIDTH;
use crate::mutation::{self, Mutation};
use crate::pager::Meta;
use crate::txn::{RecordReader, Store, WriteTxn};
use crate::wal::Position;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A replay under way.
pub(super) struct Replay<'a> {
    store: &'a Arc<Store>,
    txn: WriteTxn,
    end: Position,
    records: u64,
}

impl<'a> Replay<'a> {
    /// Starts from the root of a checkpoint.
    pub(super) fn begin(store: &'a Arc<Store>, newest: &Meta) -> Result<Replay<'a>> {
        let txn = WriteTxn::begin_unlogged(store)?;
        Ok(Replay { store, txn, end: newest.log, records: 0 })
    }

    /// Applies one record.
    pub(super) fn apply(&mut self, end: Position, record: &[u8]) -> Result<()> {
        let mut reader = RecordReader::new(record).map_err(|found| self.damaged(end, found))?;
        let expected = self.txn.id().next();
        if reader.txn != expected {
            let found = format!("transaction {}, expected {expected}", reader.txn);
            return Err(self.damaged(end, found));
        }
        self.txn.return_to(1)?;
        if !mutation::is(Mutation::ClockNotReplayed) {
            self.store.clock.advance(reader.time_ms);
        }
        let mut operations = Vec::with_capacity(GET_MANY_WIDTH);
        loop {
            while operations.len() < GET_MANY_WIDTH
                && let Some(next) = reader.next().map_err(|found| self.damaged(end, found))?
            {
                operations.push(next);
            }
            if operations.is_empty() {
                break;
            }
            self.txn.expect(&operations);
            for operation in operations.drain(..) {
                self.txn.apply(operation).map_err(|error| match error.kind() {
                    ErrorKind::Corrupt(_) | ErrorKind::Full { .. } | ErrorKind::Io { .. } => error,
                    // The operation succeeded when it was logged.
                    _ => self.damaged(end, format!("an operation that fails: {error}")),
                })?;
            }
        }
        self.txn.set_id(reader.txn);
        self.store.gauges.appended_bytes.fetch_add(record.len() as u64, Ordering::Relaxed);
        self.end = end;
        self.records += 1;
        Ok(())
    }

    /// Publishes what was replayed.
    pub(super) fn finish(self) -> Result<()> {
        let Replay { store, txn, end, records } = self;
        if records > 0 {
            txn.replace_tip()?;
            store.queue.lock().position = end;
        }
        Ok(())
    }

    #[cold]
    fn damaged(&self, end: Position, found: String) -> Error {
        let segment = self.store.dir.join(super::LOG).join(format!("segment {}", end.segment));
        let block = end.offset / crate::limits::WAL_BLOCK_BYTES as u64;
        Error::corrupt(&segment, block, "a record that applies", found)
    }
}
