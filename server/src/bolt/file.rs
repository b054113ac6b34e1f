//! Opens the file read-only, locks it against its owner, and reads bytes at offsets.
//!
//! It never writes, never maps the file, and knows nothing of pages.
//!
//! Invariants:
//! 1. The file is a regular one, and stays locked (shared) until this value is dropped. bbolt takes
//!    the exclusive form of the same `flock` while it has a database open for writing.
//! 2. Memory is reserved before it is filled, so a damaged length gives an error, not an abort.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::error::BoltError;

#[derive(Debug)]
pub(super) struct LockedFile {
    file: File,
    path: PathBuf,
    bytes_total: u64,
}

impl LockedFile {
    pub(super) fn open(path: &Path) -> Result<LockedFile, BoltError> {
        let io = |source| BoltError::io(path, source);
        // Asked before opening, because opening a named pipe would wait for its writer.
        if !fs::metadata(path).map_err(io)?.is_file() {
            let reason = "expected a regular file, found another kind".to_owned();
            return Err(BoltError::NotBolt { path: path.to_owned(), reason });
        }
        let file = File::open(path).map_err(io)?;
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(BoltError::InUse { path: path.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        // After the lock, so that no owner is still growing the file.
        let bytes_total = file.metadata().map_err(io)?.len();
        Ok(LockedFile { file, path: path.to_owned(), bytes_total })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn bytes_total(&self) -> u64 {
        self.bytes_total
    }

    /// Fills `into` with the bytes from `offset` on.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BoltError> {
        self.file.read_exact_at(into, offset).map_err(|source| BoltError::io(&self.path, source))
    }

    /// Lets `bytes`, which holds the file from `offset` on, hold at least `length` bytes of it.
    pub(super) fn extend(
        &self,
        bytes: &mut Vec<u8>,
        offset: u64,
        length: u64,
    ) -> Result<(), BoltError> {
        let held = bytes.len();
        let full = || BoltError::memory(&self.path);
        let length = usize::try_from(length).map_err(|_| full())?;
        if length > held {
            bytes.try_reserve_exact(length - held).map_err(|_| full())?;
            bytes.resize(length, 0);
            self.read(offset + held as u64, &mut bytes[held..])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bolt::image::ScratchFile;

    #[test]
    fn a_file_locked_by_its_owner_is_in_use() {
        let scratch = ScratchFile::with(b"0123456789");
        let owner = File::open(scratch.path()).expect("open");
        owner.lock().expect("exclusive lock");
        let refused = LockedFile::open(scratch.path()).expect_err("locked");
        assert!(matches!(refused, BoltError::InUse { .. }), "{refused}");
        owner.unlock().expect("unlock");
        LockedFile::open(scratch.path()).expect("the lock is gone");
    }

    #[test]
    fn two_readers_share_a_file_and_keep_its_owner_out() {
        let scratch = ScratchFile::with(b"0123456789");
        let _one = LockedFile::open(scratch.path()).expect("first reader");
        let _two = LockedFile::open(scratch.path()).expect("second reader");
        let owner = File::open(scratch.path()).expect("open");
        assert!(matches!(owner.try_lock(), Err(TryLockError::WouldBlock)));
    }

    #[test]
    fn a_directory_and_a_missing_file_are_refused() {
        let refused = LockedFile::open(&std::env::temp_dir()).expect_err("directory");
        assert!(matches!(refused, BoltError::NotBolt { .. }), "{refused}");
        let refused = LockedFile::open(Path::new("/nonexistent/bolt")).expect_err("missing");
        assert!(matches!(refused, BoltError::Io { .. }), "{refused}");
    }

    #[test]
    fn extending_reads_only_what_is_not_held() {
        let scratch = ScratchFile::with(b"0123456789");
        let file = LockedFile::open(scratch.path()).expect("open");
        let mut bytes = b"xy".to_vec();
        file.extend(&mut bytes, 3, 5).expect("extend");
        assert_eq!(bytes, b"xy567");
        file.extend(&mut bytes, 3, 1).expect("nothing to do");
        assert_eq!(bytes, b"xy567");
        let refused = file.extend(&mut bytes, 3, 8).expect_err("beyond the end");
        assert!(matches!(refused, BoltError::Io { .. }), "{refused}");
        let refused = file.extend(&mut Vec::new(), 0, u64::MAX).expect_err("beyond memory");
        assert!(matches!(refused, BoltError::Io { .. }), "{refused}");
    }
}
