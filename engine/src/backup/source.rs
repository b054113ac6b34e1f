//! Blocks that are read, each told of before.

use crate::error::{Error, ErrorKind, Result};

use super::container::{Block, BlockReader, Header, Written, unsupported};
use super::{Backup, BackupProgress, Progress};

/// A backup that is read.
pub(super) struct Source<'a> {
    pub(super) header: Header,
    blocks: BlockReader<'a>,
    pub(super) progress: Progress<'a>,
    /// What is done with the backup, as an error names it.
    what: &'static str,
    pub(super) told: BackupProgress,
}

impl<'a> Source<'a> {
    /// Reads the header. `what` is done with the backup, should it be stopped.
    pub(super) fn begin(
        backup: Backup<'a>,
        what: &'static str,
        progress: Progress<'a>,
    ) -> Result<Source<'a>> {
        let Backup { input, name, bytes_total } = backup;
        let (header, blocks) = BlockReader::begin(input, &name)?;
        let told = BackupProgress { bytes: blocks.bytes, bytes_total, ..BackupProgress::default() };
        Ok(Source { header, blocks, progress, what, told })
    }

    /// Refuses a backup of another kind.
    pub(super) fn check_kind(&self, expected: u32) -> Result<()> {
        match self.header.kind {
            kind if kind == expected => Ok(()),
            kind => Err(unsupported(&self.blocks.name, "kind of backup", expected, kind)),
        }
    }

    /// The payload of the block at hand; empty before the first.
    pub(super) fn payload(&self) -> &[u8] {
        self.blocks.payload()
    }

    /// Reads the next block. Behind the end block there is none.
    pub(super) fn next_block(&mut self) -> Result<Block> {
        self.tell()?;
        let block = self.blocks.next()?;
        self.told.bytes = self.blocks.bytes;
        Ok(block)
    }

    /// Asks whether to go on.
    pub(super) fn tell(&mut self) -> Result<()> {
        match (self.progress)(self.told).is_break() {
            true => Err(Error::from(ErrorKind::Stopped { what: self.what })),
            false => Ok(()),
        }
    }

    /// Blocks read, the end block left out, and bytes.
    pub(super) fn read_so_far(&self) -> Written {
        self.blocks.read_so_far()
    }

    /// Damage in the block at hand.
    #[cold]
    pub(super) fn damaged(&self, expected: String, found: String) -> Error {
        self.blocks.damaged(expected, found)
    }
}
