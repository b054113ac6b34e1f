//! The checkpoint that an attached database reads, in a file that its owner writes to.
//!
//! The owner writes over no page that either meta page reaches. So what this checkpoint reaches
//! stays until its own meta page is overwritten, by the second checkpoint after it; then a page
//! that was not read yet may hold something else, and not match the checksum that led to it.
//!
//! Never writes. Invariants:
//! 1. A page that does not match is damage if the meta page is still there after the page was read,
//!    and else the reader was outrun: the owner writes the meta page first.
//! 2. So it is with the log behind the checkpoint: its segments are recycled after that.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::io::File;

/// What is attached to.
#[derive(Debug)]
pub(crate) struct Attached {
    dir: PathBuf,
    checkpoint: u64,
    /// Where its meta page lies in the file, and what that holds.
    meta_at: u64,
    meta: Vec<u8>,
    /// Memory of pages that were read, and how much it may become. Changed under the load lock.
    bytes: AtomicU64,
    bytes_max: u64,
}

impl Attached {
    /// A checkpoint of the database in `dir`, and how much memory its pages may take.
    pub(super) fn new(
        dir: &Path,
        checkpoint: u64,
        meta_at: u64,
        meta: Vec<u8>,
        bytes_max: u64,
    ) -> Attached {
        let (dir, bytes) = (dir.to_path_buf(), AtomicU64::new(0));
        Attached { dir, checkpoint, meta_at, meta, bytes, bytes_max }
    }

    /// Takes memory for pages that are read.
    pub(super) fn take(&self, bytes: u64) -> Result<()> {
        let all = self.bytes.load(Ordering::Relaxed).saturating_add(bytes);
        if all > self.bytes_max {
            let max = self.bytes_max;
            return Err(Error::from(ErrorKind::Full {
                what: "memory of an attached database",
                reason: format!("expected pages of at most {max} bytes, found more to read"),
            }));
        }
        self.bytes.store(all, Ordering::Relaxed);
        Ok(())
    }

    /// Fails when the owner has gone on so far that what was just read may be something else than
    /// it was: a page of the checkpoint, or the log behind it.
    pub(super) fn refuse_outrun(&self, file: &dyn File, path: &Path) -> Result<()> {
        let mut found = vec![0; self.meta.len()];
        file.read_at(&mut found, self.meta_at).map_err(|e| Error::io("read", path, e))?;
        if found == self.meta {
            return Ok(());
        }
        let (path, checkpoint) = (self.dir.clone(), self.checkpoint);
        Err(Error::from(ErrorKind::Outrun { path, checkpoint }))
    }
}
