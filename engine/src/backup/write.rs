//! A full backup of what a snapshot sees, block by block.
//!
//! Holds one block in memory, however long a value is.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::error::Result;
use crate::limits::{BACKUP_BLOCK_BYTES_MAX, BACKUP_PUT_BYTES_MAX};
use crate::page::Payload;
use crate::snapshot::Snapshot;
use crate::tree::Pages;
use crate::txn::Store;

use super::container::{CONTENT, Counts, FULL, Header, PIECE};
use super::content::{OPERATION_BYTES_MAX, Operation};
use super::paced::Paced;
use super::walk::{Step, Walk};
use super::{BackupOptions, BackupReport, Progress};

/// Writes a backup of the snapshot; `name` is what it is called in errors.
pub(super) fn write(
    snapshot: &Snapshot,
    out: &mut dyn Write,
    name: &Path,
    options: &BackupOptions,
    progress: Progress<'_>,
) -> Result<BackupReport> {
    let store = snapshot.store();
    let header = Header {
        kind: FULL,
        database_id: store.database_id,
        page_bytes: store.memory.page_bytes(),
        first: snapshot.id(),
        last: snapshot.id(),
        time_ms: snapshot.now_ms(),
    };
    let bytes_total = Some(bytes_about(store));
    let mut blocks = Paced::begin(store, out, name, &header, options, progress)?;
    blocks.told.bytes_total = bytes_total;
    let mut writer = Writer { blocks, counts: [0; 3] };
    let mut walk = Walk::new(store, snapshot.pin());
    while let Some(step) = walk.next()? {
        writer.step(store, step)?;
    }
    writer.finish(&header)
}

/// Bytes of pages in use, which are somewhat more than a backup has.
fn bytes_about(store: &Store) -> u64 {
    let gauge = |pages: &std::sync::atomic::AtomicU64| pages.load(Ordering::Relaxed);
    let pages = gauge(&store.gauges.file_pages).saturating_sub(gauge(&store.gauges.free_pages));
    pages * store.memory.page_bytes() as u64 + store.arena_bytes()
}

struct Writer<'a> {
    blocks: Paced<'a>,
    /// Buckets, pairs, bytes of keys and values.
    counts: Counts,
}

impl Writer<'_> {
    fn step(&mut self, store: &Store, step: Step<'_>) -> Result<()> {
        let (key, value, expires_at) = match step {
            Step::Enter { name, sequence, expires_at } => {
                self.counts[0] += 1;
                let enter = Operation::Enter { name, sequence, expires_at };
                return self.push(&enter, name.len());
            }
            Step::Leave => return self.push(&Operation::Leave, 0),
            Step::Pair { key, value, expires_at } => (key, value, expires_at),
        };
        let value = match value {
            Payload::Value(value) => value,
            Payload::Overflow { run, len } => store.memory.run(run, len)?,
            Payload::Bucket(_) => unreachable!("a walk enters buckets"),
        };
        let bytes = key.len() + value.len();
        self.counts[1] += 1;
        self.counts[2] += bytes as u64;
        self.blocks.told.pairs += 1;
        if value.len() <= BACKUP_PUT_BYTES_MAX {
            return self.push(&Operation::Put { key, value, expires_at }, bytes);
        }
        let len = value.len() as u64;
        self.push(&Operation::PutLong { key, len, expires_at }, key.len())?;
        self.blocks.finish_block(CONTENT)?;
        for piece in value.chunks(BACKUP_BLOCK_BYTES_MAX) {
            self.blocks.payload().extend_from_slice(piece);
            self.blocks.finish_block(PIECE)?;
        }
        Ok(())
    }

    /// Adds an operation with names, keys and values of so many bytes.
    fn push(&mut self, operation: &Operation<'_>, bytes: usize) -> Result<()> {
        let bytes_max = bytes + OPERATION_BYTES_MAX;
        if self.blocks.payload_bytes() + bytes_max > BACKUP_BLOCK_BYTES_MAX {
            self.blocks.finish_block(CONTENT)?;
        }
        operation.write(self.blocks.payload());
        Ok(())
    }

    fn finish(mut self, header: &Header) -> Result<BackupReport> {
        if self.blocks.payload_bytes() > 0 {
            self.blocks.finish_block(CONTENT)?;
        }
        let written = self.blocks.finish(self.counts)?;
        Ok(BackupReport::new(header, self.counts, written))
    }
}
