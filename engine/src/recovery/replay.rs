//! Replaying the log: its records are collected, and what they change is made by [`super::apply`].
//!
//! Of a long log a thread, if there may be one, makes what one part changes while the next is read.
//!
//! Invariants:
//! 1. Records follow each other without a gap in their transaction numbers.
//! 2. Whoever has a replay no more has none of its threads either.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use crate::error::{Error, Result};
use crate::ids::TxnId;
use crate::mutation::{self, Mutation};
use crate::pager::Meta;
use crate::txn::{RecordReader, Store};
use crate::wal::Position;

use super::apply::{Applier, Record, damaged};

/// Memory that a part reserves at first, at most.
const RESERVED_MAX: usize = 8 << 20;

/// A replay under way.
pub(super) struct Replay<'a> {
    store: &'a Arc<Store>,
    part: Part,
    work: Work,
    /// Where the last record of all ends, and its transaction.
    end: Position,
    last: TxnId,
}

/// Records that were collected, one behind the other.
#[derive(Default)]
struct Part {
    bytes: Vec<u8>,
    records: Vec<Record>,
}

enum Work {
    /// Nothing is being made. The memory of a part that was made is used again.
    Rests(Box<(Applier, Part)>),
    /// A thread makes what a part changes.
    Runs(JoinHandle<Result<(Applier, Part)>>),
    /// It failed.
    Failed,
}

impl Work {
    fn rests(applier: Applier, empty: Part) -> Work {
        Work::Rests(Box::new((applier, empty)))
    }
}

impl Part {
    fn push(&mut self, end: Position, record: &[u8], bytes_max: usize) {
        if self.bytes.capacity() == 0 {
            // Takes memory as it is filled.
            self.bytes.reserve_exact(bytes_max.min(RESERVED_MAX));
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(record);
        self.records.push(Record { end, range: start..self.bytes.len() });
    }

    /// Makes what the records change, and forgets them.
    fn apply(mut self, mut applier: Applier) -> Result<(Applier, Part)> {
        applier.apply(&self.records, &self.bytes)?;
        self.records.clear();
        self.bytes.clear();
        Ok((applier, self))
    }
}

impl<'a> Replay<'a> {
    /// Starts from the root of a checkpoint.
    pub(super) fn begin(store: &'a Arc<Store>, newest: &Meta) -> Result<Replay<'a>> {
        let work = Work::rests(Applier::begin(store)?, Part::default());
        Ok(Replay { store, part: Part::default(), work, end: newest.log, last: newest.txn })
    }

    /// Takes one record.
    pub(super) fn take(&mut self, end: Position, record: &[u8]) -> Result<()> {
        let reader = RecordReader::new(record).map_err(|found| damaged(self.store, end, found))?;
        let expected = self.last.next();
        if reader.txn != expected {
            let found = format!("transaction {}, expected {expected}", reader.txn);
            return Err(damaged(self.store, end, found));
        }
        if !mutation::is(Mutation::ClockNotReplayed) {
            self.store.clock.advance(reader.time_ms);
        }
        self.store.gauges.appended_bytes.fetch_add(record.len() as u64, Ordering::Relaxed);
        (self.end, self.last) = (end, reader.txn);
        let bytes_max = self.store.options.replay_bytes;
        let is_full = self.part.bytes.len().saturating_add(record.len()) > bytes_max;
        if is_full && !self.part.records.is_empty() {
            self.hand_over()?;
        }
        if record.len() > bytes_max {
            return self.apply_alone(end, record);
        }
        self.part.push(end, record, bytes_max);
        Ok(())
    }

    /// Publishes what was replayed.
    pub(super) fn finish(mut self) -> Result<()> {
        let (applier, _) = self.wait()?;
        let (applier, _) = std::mem::take(&mut self.part).apply(applier)?;
        let nothing_came = self.last == self.store.queue.lock().published.txn;
        if nothing_came { Ok(()) } else { applier.publish(self.last, self.end) }
    }

    /// Has made what was collected: by a thread, if there may be one.
    fn hand_over(&mut self) -> Result<()> {
        let (applier, empty) = self.wait()?;
        let full = std::mem::replace(&mut self.part, empty);
        self.work = if self.store.options.threads {
            let thread = std::thread::Builder::new().name("bristlecone-replay".to_owned());
            let running = thread.spawn(move || full.apply(applier));
            let failed = |error| Error::io("start a thread for", &self.store.dir, error);
            Work::Runs(running.map_err(failed)?)
        } else {
            let (applier, empty) = full.apply(applier)?;
            Work::rests(applier, empty)
        };
        Ok(())
    }

    /// Makes what a record changes that is longer than a part, where it is.
    fn apply_alone(&mut self, end: Position, record: &[u8]) -> Result<()> {
        let (mut applier, part) = self.wait()?;
        applier.apply(&[Record { end, range: 0..record.len() }], record)?;
        self.work = Work::rests(applier, part);
        Ok(())
    }

    /// Waits for the thread, if one runs.
    fn wait(&mut self) -> Result<(Applier, Part)> {
        match std::mem::replace(&mut self.work, Work::Failed) {
            Work::Rests(rests) => Ok(*rests),
            Work::Runs(running) => running.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Work::Failed => {
                Err(Error::invalid("expected a replay under way, found one that failed"))
            }
        }
    }
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        // After a failure elsewhere, which is told.
        if let Work::Runs(running) = std::mem::replace(&mut self.work, Work::Failed) {
            let _untold = running.join();
        }
    }
}
