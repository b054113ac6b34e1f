//! Transactions of the change feed, as a backup: written from the log, and read again.
//!
//! ```text
//! block 4  transactions: for each u32 length, and its record
//! block 5  u64 length of a record; its pieces are in the blocks of kind 2 that follow
//! ```
//!
//! Invariants:
//! 1. Transactions have consecutive numbers, from the first to the last that the header tells.
//! 2. The end is told when the end block was read and counts what was told.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::changes::{Changes, Transaction};
use crate::codec::{get_u32, get_u64};
use crate::db::Db;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::TxnId;
use crate::limits::BACKUP_BLOCK_BYTES_MAX;
use crate::txn::Store;

use super::container::{Block, CHANGES, Counts, Header, LONG, PIECE, TRANSACTIONS};
use super::paced::Paced;
use super::source::Source;
use super::{BackupOptions, BackupProgress, BackupReport, Progress, STREAM, to_file};

/// A record longer than this lies in blocks of its own.
const RECORD_BYTES_MAX: usize = BACKUP_BLOCK_BYTES_MAX / 4;

impl Db {
    /// Writes a backup of what was committed after transaction `after`, up to this moment, from the
    /// log: an incremental backup. `None` when nothing was; then nothing is written.
    ///
    /// # Errors
    /// As [`backup`](Db::backup). `Compacted` when the log does not reach back so far: see
    /// [`Options::log_bytes_kept`](crate::Options::log_bytes_kept).
    pub fn backup_changes(
        &self,
        after: TxnId,
        out: &mut dyn Write,
        options: &BackupOptions,
        progress: &mut dyn FnMut(BackupProgress) -> ControlFlow<()>,
    ) -> Result<Option<BackupReport>> {
        options.validate()?;
        if options.verify {
            return Err(Error::invalid("expected a path for a backup that is verified"));
        }
        let Some(wanted) = wanted(self.store(), after)? else { return Ok(None) };
        write(self.store(), wanted, out, Path::new(STREAM), options, progress).map(Some)
    }

    /// The same to a new file, as [`backup_to`](Db::backup_to) makes it.
    ///
    /// # Errors
    /// As [`backup_changes`](Db::backup_changes) and [`backup_to`](Db::backup_to).
    pub fn backup_changes_to(
        &self,
        after: TxnId,
        path: impl AsRef<Path>,
        options: &BackupOptions,
        progress: &mut dyn FnMut(BackupProgress) -> ControlFlow<()>,
    ) -> Result<Option<BackupReport>> {
        options.validate()?;
        let Some(wanted) = wanted(self.store(), after)? else { return Ok(None) };
        to_file(&*self.store().host, path.as_ref(), options, progress, |file, name, progress| {
            write(self.store(), wanted, file, name, options, progress)
        })
        .map(Some)
    }
}

/// What is to be written: the feed, up to a transaction, and the header of the backup.
pub(super) struct Wanted {
    feed: Changes,
    pub(super) header: Header,
}

/// What is committed after `after`; `None` when nothing is.
pub(super) fn wanted(store: &Arc<Store>, after: TxnId) -> Result<Option<Wanted>> {
    let last = store.queue.lock().published.txn;
    let feed = Changes::new(store, after)?;
    if last <= after {
        return Ok(None);
    }
    let header = Header {
        kind: CHANGES,
        database_id: store.database_id,
        page_bytes: store.memory.page_bytes(),
        first: after.next(),
        last,
        time_ms: store.now_ms(),
    };
    Ok(Some(Wanted { feed, header }))
}

/// Writes them; `name` is what the backup is called in errors.
pub(super) fn write(
    store: &Arc<Store>,
    wanted: Wanted,
    out: &mut dyn Write,
    name: &Path,
    options: &BackupOptions,
    progress: Progress<'_>,
) -> Result<BackupReport> {
    let Wanted { mut feed, header } = wanted;
    let mut blocks = Paced::begin(store, out, name, &header, options, progress)?;
    let mut counts: Counts = [0; 3];
    while feed.position() < header.last {
        let Some(next) = feed.try_next()? else {
            let (after, oldest) = (feed.position(), header.last.next());
            return Err(Error::from(ErrorKind::Compacted { after, oldest }));
        };
        let record = next.as_bytes();
        counts[0] += 1;
        counts[1] += record.len() as u64;
        blocks.told.transactions += 1;
        if record.len() <= RECORD_BYTES_MAX {
            if blocks.payload_bytes() + 4 + record.len() > BACKUP_BLOCK_BYTES_MAX {
                blocks.finish_block(TRANSACTIONS)?;
            }
            let len = u32::try_from(record.len()).expect("invariant: shorter than a block");
            blocks.payload().extend_from_slice(&len.to_le_bytes());
            blocks.payload().extend_from_slice(record);
            continue;
        }
        if blocks.payload_bytes() > 0 {
            blocks.finish_block(TRANSACTIONS)?;
        }
        blocks.payload().extend_from_slice(&(record.len() as u64).to_le_bytes());
        blocks.finish_block(LONG)?;
        for piece in record.chunks(BACKUP_BLOCK_BYTES_MAX) {
            blocks.payload().extend_from_slice(piece);
            blocks.finish_block(PIECE)?;
        }
    }
    if blocks.payload_bytes() > 0 {
        blocks.finish_block(TRANSACTIONS)?;
    }
    let written = blocks.finish(counts)?;
    Ok(BackupReport::new(&header, counts, written))
}

/// A backup of changes that is read.
pub(super) struct Log<'a> {
    source: Source<'a>,
    /// Where in the payload of the block at hand the next transaction begins.
    at: usize,
    /// The transaction that comes next.
    next: TxnId,
    counts: Counts,
}

impl<'a> Log<'a> {
    /// Begins to read a source whose header alone was read.
    pub(super) fn begin(source: Source<'a>) -> Result<Log<'a>> {
        source.check_kind(CHANGES)?;
        let (at, next, counts) = (0, source.header.first, [0; 3]);
        Ok(Log { source, at, next, counts })
    }

    pub(super) fn header(&self) -> &Header {
        &self.source.header
    }

    /// The next transaction; `None` when all were told and the backup is whole.
    pub(super) fn next(&mut self) -> Result<Option<Transaction>> {
        let record = loop {
            if self.at < self.source.payload().len() {
                break self.take_record()?;
            }
            match self.next_block()? {
                Block::Payload(TRANSACTIONS) => {}
                Block::Payload(LONG) => break self.join_record()?,
                Block::Payload(kind) => {
                    let expected = format!("a block of kind {TRANSACTIONS} or {LONG}");
                    return Err(self.source.damaged(expected, kind.to_string()));
                }
                Block::End(counts) => return self.end(counts).map(|()| None),
            }
        };
        self.counts[0] += 1;
        self.counts[1] += record.len() as u64;
        let damaged = |error: Error| self.source.damaged("a transaction".into(), error.to_string());
        let transaction = Transaction::from_bytes(record).map_err(damaged)?;
        let (expected, found) = (self.next, transaction.id());
        if found != expected || found > self.source.header.last {
            let expected = format!("transaction {expected} of {}", self.source.header.last);
            return Err(self.source.damaged(expected, found.to_string()));
        }
        self.next = expected.next();
        Ok(Some(transaction))
    }

    /// What the backup is. REQUIRES: the end was told.
    pub(super) fn report(&self) -> BackupReport {
        BackupReport::new(&self.source.header, self.counts, self.source.read_so_far())
    }

    /// The transaction at hand.
    fn take_record(&mut self) -> Result<Vec<u8>> {
        let rest = &self.source.payload()[self.at..];
        let record = rest.split_first_chunk::<4>().and_then(|(len, rest)| {
            let len = get_u32(len, 0) as usize;
            rest.get(..len)
        });
        let Some(record) = record else {
            let expected = format!("a whole transaction at byte {} of the payload", self.at);
            return Err(self.source.damaged(expected, format!("{} bytes", rest.len())));
        };
        self.at += 4 + record.len();
        Ok(record.to_vec())
    }

    /// One whose length is at hand, out of its pieces.
    fn join_record(&mut self) -> Result<Vec<u8>> {
        let payload = self.source.payload();
        if payload.len() != 8 {
            let found = format!("{} bytes", payload.len());
            return Err(self.source.damaged("a length of 8 bytes".into(), found));
        }
        let len = get_u64(payload, 0);
        let mut record = Vec::new();
        while (record.len() as u64) < len {
            let left = len - record.len() as u64;
            let found = match self.next_block()? {
                Block::Payload(PIECE) if !self.source.payload().is_empty() => {
                    self.source.payload().len() as u64
                }
                _ => 0,
            };
            if found == 0 || found > left {
                let expected = format!("a piece of at most {left} bytes");
                return Err(self.source.damaged(expected, format!("{found} bytes")));
            }
            record.extend_from_slice(self.source.payload());
        }
        self.at = self.source.payload().len();
        Ok(record)
    }

    fn next_block(&mut self) -> Result<Block> {
        self.source.told.transactions = self.counts[0];
        self.at = 0;
        self.source.next_block()
    }

    fn end(&mut self, counts: Counts) -> Result<()> {
        self.at = self.source.payload().len();
        if counts != self.counts || self.next != self.source.header.last.next() {
            let expected =
                format!("{counts:?} transactions and bytes up to {}", self.source.header.last);
            let found = format!("{:?} before {}", self.counts, self.next);
            return Err(self.source.damaged(expected, found));
        }
        Ok(())
    }
}
