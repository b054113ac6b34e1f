//! Blocks that are written no faster than was asked for, each told of before.
//!
//! Invariants:
//! 1. Nothing is written behind a failure, or after `progress` broke: the end block is missing.

use std::io::Write;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::txn::Store;

use super::container::{BlockWriter, Counts, Header, Written};
use super::throttle::Throttle;
use super::{BackupOptions, BackupProgress, Progress};

/// A backup that is written.
pub(super) struct Paced<'a> {
    blocks: BlockWriter<'a>,
    throttle: Throttle<'a>,
    progress: Progress<'a>,
    pub(super) told: BackupProgress,
}

impl<'a> Paced<'a> {
    /// Writes the header; `name` is what the backup is called in errors.
    pub(super) fn begin(
        store: &'a Store,
        out: &'a mut dyn Write,
        name: &Path,
        header: &Header,
        options: &BackupOptions,
        progress: Progress<'a>,
    ) -> Result<Paced<'a>> {
        let throttle = Throttle::new(&*store.host, options.bytes_per_second);
        let blocks = BlockWriter::begin(out, name, header)?;
        Ok(Paced { blocks, throttle, progress, told: BackupProgress::default() })
    }

    /// The payload of the block in the making.
    pub(super) fn payload(&mut self) -> &mut Vec<u8> {
        self.blocks.payload()
    }

    /// Its length.
    pub(super) fn payload_bytes(&self) -> usize {
        self.blocks.payload_bytes()
    }

    /// Writes the block and begins the next.
    pub(super) fn finish_block(&mut self, kind: u32) -> Result<()> {
        self.tell()?;
        self.throttle.note(self.blocks.block_bytes());
        self.blocks.finish_block(kind)?;
        self.told.bytes = self.blocks.bytes;
        while self.throttle.wait() {
            self.tell()?;
        }
        Ok(())
    }

    /// Writes the end block. REQUIRES: the payload is empty.
    pub(super) fn finish(mut self, counts: Counts) -> Result<Written> {
        self.tell()?;
        self.blocks.finish(counts)
    }

    fn tell(&mut self) -> Result<()> {
        match (self.progress)(self.told).is_break() {
            true => Err(Error::from(ErrorKind::Stopped { what: "backup" })),
            false => Ok(()),
        }
    }
}
