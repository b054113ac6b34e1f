//! Backups in files of a host.
//!
//! Invariants:
//! 1. A backup has its name when it is whole and durable, never before, and takes it from nobody.
//! 2. Two that are written to one place at once do not mix: the second is refused.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::io::{File, Host, Lock, OpenMode};
use crate::recovery::sync_parent;

/// What was written goes to the device every so many bytes: all at once, at the end, would keep
/// commits waiting.
const SYNC_BYTES: u64 = 32 << 20;

/// A file that is written from its start.
pub(super) struct NewFile<'a> {
    host: &'a dyn Host,
    path: &'a Path,
    /// Its name until it is whole.
    unfinished: PathBuf,
    file: Arc<dyn File>,
    /// Held until it has its name.
    _lock: Box<dyn Lock>,
    bytes: u64,
    synced_bytes: u64,
    has_name: bool,
}

impl<'a> NewFile<'a> {
    /// Begins a file; refuses a path that is taken. What an earlier one that was killed has left
    /// is written over.
    pub(super) fn create(host: &'a dyn Host, path: &'a Path) -> Result<NewFile<'a>> {
        let Some(name) = path.file_name() else {
            let found = path.display();
            return Err(Error::invalid(format!("expected a file with a name, found {found}")));
        };
        refuse_taken(host, path)?;
        let mut unfinished = OsString::from(name);
        unfinished.push(".unfinished");
        let unfinished = path.with_file_name(unfinished);
        let failed = |operation| {
            let unfinished = &unfinished;
            move |error| Error::io(operation, unfinished, error)
        };
        let lock = host.lock(&unfinished).map_err(failed("create"))?;
        let Some(lock) = lock else {
            return Err(Error::from(ErrorKind::Locked { path: unfinished }));
        };
        let file = host.open(&unfinished, OpenMode::ReadWrite).inspect_err(|_| {
            let _ = host.remove_file(&unfinished);
        });
        let file = file.map_err(failed("open"))?;
        let new = NewFile {
            host,
            path,
            unfinished,
            file,
            _lock: lock,
            bytes: 0,
            synced_bytes: 0,
            has_name: false,
        };
        new.file.set_len(0).map_err(|error| Error::io("cut", &new.unfinished, error))?;
        Ok(new)
    }

    /// What the file is called until it is whole.
    pub(super) fn unfinished(&self) -> &Path {
        &self.unfinished
    }

    /// Makes what was written durable.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync().map_err(|error| Error::io("sync", &self.unfinished, error))
    }

    /// Reads what was written, from the device where the host can see to that.
    pub(super) fn read_back(&self) -> Result<OldFile> {
        let forgotten = self.file.forget_cached(self.bytes);
        forgotten.map_err(|error| Error::io("read", &self.unfinished, error))?;
        Ok(OldFile { file: Arc::clone(&self.file), at: 0, len: self.bytes })
    }

    /// Gives the file its name. REQUIRES: it was synced.
    pub(super) fn finish(mut self) -> Result<()> {
        refuse_taken(self.host, self.path)?;
        let renamed = self.host.rename(&self.unfinished, self.path);
        renamed.map_err(|error| Error::io("rename", &self.unfinished, error))?;
        self.has_name = true;
        sync_parent(self.host, self.path).inspect_err(|_| {
            // It may be there after a power cut, or not: so that nobody counts on it, it is not.
            let _ = self.host.remove_file(self.path);
        })
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if !self.has_name {
            // Of no use to anybody, and the first failure is what matters.
            let _ = self.host.remove_file(&self.unfinished);
        }
    }
}

impl Write for NewFile<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file.write_at(buf, self.bytes)?;
        self.bytes += buf.len() as u64;
        if self.bytes - self.synced_bytes >= SYNC_BYTES {
            self.file.sync()?;
            self.synced_bytes = self.bytes;
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A rename would take the name from what has it.
fn refuse_taken(host: &dyn Host, path: &Path) -> Result<()> {
    match host.open(path, OpenMode::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() != io::ErrorKind::IsADirectory => {
            Err(Error::io("open", path, error))
        }
        _ => {
            let found = path.display();
            Err(Error::invalid(format!("expected a new file, found {found}")))
        }
    }
}

/// A file that is read from its start.
#[derive(Debug)]
pub(super) struct OldFile {
    file: Arc<dyn File>,
    at: u64,
    pub(super) len: u64,
}

impl OldFile {
    pub(super) fn open(host: &dyn Host, path: &Path) -> Result<OldFile> {
        let failed = |error| Error::io("open", path, error);
        let file = host.open(path, OpenMode::Read).map_err(failed)?;
        let len = file.len().map_err(failed)?;
        Ok(OldFile { file, at: 0, len })
    }
}

impl Read for OldFile {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len - self.at).unwrap_or(usize::MAX);
        let count = left.min(buf.len());
        self.file.read_at(&mut buf[..count], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
