//! The one error type: what was attempted, what was expected, what was found.
//!
//! An [`Error`] is one word wide, cheap to clone, and asked through [`Error::kind`] or the `is_*`
//! predicates. A missing key is never an error; it is `None`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::ids::TxnId;

/// The result of every fallible call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. One word wide; clones share the cause.
#[derive(Clone)]
pub struct Error(Arc<ErrorKind>);

/// The kinds of failure a caller can tell apart.
#[derive(Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument that can never be accepted; nothing was changed.
    InvalidArgument {
        /// What was expected and what was found.
        reason: String,
    },
    /// A key, value, bucket path or transaction beyond its limit; nothing was changed.
    TooLarge {
        /// What was too large: `key`, `value`, `bucket depth`, ...
        what: &'static str,
        /// The largest size allowed, in bytes unless `what` says otherwise.
        max: u64,
        /// The size found.
        found: u64,
    },
    /// The bucket does not exist.
    BucketNotFound {
        /// The bucket's name.
        name: Vec<u8>,
    },
    /// The bucket exists already.
    BucketExists {
        /// The bucket's name.
        name: Vec<u8>,
    },
    /// A bucket was asked for, and the key holds a value.
    NotABucket {
        /// The key.
        name: Vec<u8>,
    },
    /// A value was asked for or written, and the key holds a bucket.
    IsABucket {
        /// The key.
        name: Vec<u8>,
    },
    /// The database is open in another process, or a second time in this one.
    Locked {
        /// The database's directory.
        path: PathBuf,
    },
    /// The directory does not hold a Bristlecone database.
    NotADatabase {
        /// The directory.
        path: PathBuf,
        /// What was found instead.
        reason: String,
    },
    /// A database of another format version, page size or feature set.
    Unsupported {
        /// The file.
        file: PathBuf,
        /// What does not fit.
        what: &'static str,
        /// What this build or these options expect.
        expected: u64,
        /// What the file says.
        found: u64,
    },
    /// Bytes on disk are not what was written.
    Corrupt(Corruption),
    /// The database or its file system does not accept writes.
    ReadOnly {
        /// The database's directory.
        path: PathBuf,
    },
    /// The database was closed; it accepts no more writes through this handle.
    Closed {
        /// The database's directory.
        path: PathBuf,
    },
    /// A read after the deadline of its read transaction or snapshot.
    ReaderExpired {
        /// The reader's label, if it has one.
        label: Option<Arc<str>>,
        /// How long it might read.
        deadline: Duration,
        /// How long ago it began.
        age: Duration,
    },
    /// A configured bound or the disk is exhausted; the transaction was not applied.
    Full {
        /// What is exhausted: `disk`, `transaction memory`, `log`, ...
        what: &'static str,
        /// Detail for a person.
        reason: String,
    },
    /// The log no longer has what a reader of changes asked for.
    Compacted {
        /// The transaction after which changes were wanted.
        after: TxnId,
        /// The oldest transaction that the log has, or will have.
        oldest: TxnId,
    },
    /// The owner of an attached database has written two checkpoints since, and what was not read
    /// yet may be gone. What was read is right; attach again to read on.
    Outrun {
        /// The database's directory.
        path: PathBuf,
        /// The checkpoint that was attached to.
        checkpoint: u64,
    },
    /// An earlier write or sync failed; the database accepts no more writes until reopened.
    Poisoned {
        /// The first failure.
        first: Error,
    },
    /// The write or sync of a commit failed part way: it may or may not survive. Whichever it is
    /// after the next open stays so.
    OutcomeUnknown {
        /// The failure.
        cause: Error,
    },
    /// A backup ends before its end: it was not finished, or a part of it is lost.
    CutShort {
        /// The backup.
        file: PathBuf,
        /// Its length in bytes.
        bytes: u64,
        /// What was expected there.
        expected: String,
    },
    /// The caller's own progress function ended it; nothing is left of it.
    Stopped {
        /// What was ended: `backup`, `restore`, ...
        what: &'static str,
    },
    /// The operating system refused an operation.
    Io {
        /// The operation: `read`, `write`, `sync`, ...
        operation: &'static str,
        /// The file or directory.
        file: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

/// Where the damage is, and how it was seen.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Corruption {
    /// The damaged file.
    pub file: PathBuf,
    /// The page that is damaged; for a log segment the 4 KiB block, for a backup the block, of
    /// which the first is 1 and the header counts as 0.
    pub page: u64,
    /// What it is called in the message: `page`, or `block` of a backup.
    pub part: &'static str,
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub found: String,
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is damaged at {} {}: expected {}, found {}",
            self.file.display(),
            self.part,
            self.page,
            self.expected,
            self.found
        )
    }
}

impl Error {
    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.0
    }

    /// Damage at `page` of `file`.
    #[cold]
    pub(crate) fn corrupt(
        file: &Path,
        page: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Error {
        Error::corrupt_part(file, ("page", page), expected.into(), found.into())
    }

    /// The same in a block of a backup.
    #[cold]
    pub(crate) fn corrupt_block(file: &Path, block: u64, expected: String, found: String) -> Error {
        Error::corrupt_part(file, ("block", block), expected, found)
    }

    fn corrupt_part(
        file: &Path,
        (part, page): (&'static str, u64),
        expected: String,
        found: String,
    ) -> Error {
        let file = file.to_path_buf();
        Error::from(ErrorKind::Corrupt(Corruption { file, page, part, expected, found }))
    }

    /// An argument that can never be accepted.
    #[cold]
    pub(crate) fn invalid(reason: impl Into<String>) -> Error {
        Error::from(ErrorKind::InvalidArgument { reason: reason.into() })
    }

    /// A size beyond its limit.
    #[cold]
    pub(crate) fn too_large(what: &'static str, max: u64, found: u64) -> Error {
        Error::from(ErrorKind::TooLarge { what, max, found })
    }

    /// A failed operation on a file. A full disk and a read-only file system have their own kinds.
    #[cold]
    pub(crate) fn io(operation: &'static str, file: &Path, source: io::Error) -> Error {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => {
                ErrorKind::Full { what: "disk", reason: format!("{}: {source}", file.display()) }
            }
            io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly { path: file.to_path_buf() },
            _ => ErrorKind::Io { operation, file: file.to_path_buf(), source },
        };
        Error::from(kind)
    }

    /// True when the bucket does not exist.
    #[must_use]
    pub fn is_bucket_not_found(&self) -> bool {
        matches!(self.kind(), ErrorKind::BucketNotFound { .. })
    }

    /// True when another opener holds the database.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        matches!(self.kind(), ErrorKind::Locked { .. })
    }

    /// True when bytes on disk are not what was written.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        matches!(self.kind(), ErrorKind::Corrupt(_))
    }

    /// True when a backup ends before its end.
    #[must_use]
    pub fn is_cut_short(&self) -> bool {
        matches!(self.kind(), ErrorKind::CutShort { .. })
    }

    /// True when the caller's own progress function ended it.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(self.kind(), ErrorKind::Stopped { .. })
    }

    /// True when a bound or the disk is exhausted and nothing was applied.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.kind(), ErrorKind::Full { .. })
    }

    /// True when the log no longer has the changes that were asked for.
    #[must_use]
    pub fn is_compacted(&self) -> bool {
        matches!(self.kind(), ErrorKind::Compacted { .. })
    }

    /// True when a reader went on beyond its deadline.
    #[must_use]
    pub fn is_reader_expired(&self) -> bool {
        matches!(self.kind(), ErrorKind::ReaderExpired { .. })
    }

    /// True when the owner of an attached database has overtaken who reads it: attach again.
    #[must_use]
    pub fn is_outrun(&self) -> bool {
        matches!(self.kind(), ErrorKind::Outrun { .. })
    }

    /// True when an earlier failure stopped all writing.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        matches!(self.kind(), ErrorKind::Poisoned { .. })
    }

    /// True when a commit may or may not survive.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self.kind(), ErrorKind::OutcomeUnknown { .. })
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Error {
        Error(Arc::new(kind))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            ErrorKind::InvalidArgument { reason } => f.write_str(reason),
            ErrorKind::TooLarge { what, max, found } => {
                write!(f, "{what} too large: expected at most {max}, found {found}")
            }
            ErrorKind::BucketNotFound { name } => write!(f, "bucket not found: {}", text(name)),
            ErrorKind::BucketExists { name } => write!(f, "bucket exists already: {}", text(name)),
            ErrorKind::NotABucket { name } => {
                write!(f, "expected a bucket, found a value: {}", text(name))
            }
            ErrorKind::IsABucket { name } => {
                write!(f, "expected a value, found a bucket: {}", text(name))
            }
            ErrorKind::Locked { path } => {
                write!(f, "database is open elsewhere: {}", path.display())
            }
            ErrorKind::NotADatabase { path, reason } => {
                write!(f, "not a bristlecone database: {}: {reason}", path.display())
            }
            ErrorKind::Unsupported { file, what, expected, found } => {
                write!(f, "{}: expected {what} {expected}, found {found}", file.display())
            }
            ErrorKind::Corrupt(corruption) => fmt::Display::fmt(corruption, f),
            ErrorKind::ReadOnly { path } => write!(f, "read-only: {}", path.display()),
            ErrorKind::Closed { path } => write!(f, "closed: {}", path.display()),
            ErrorKind::ReaderExpired { label, deadline, age } => {
                let label = label.as_deref().unwrap_or("without a label");
                write!(f, "reader {label}: expected an end within {deadline:?}, found {age:?}")
            }
            ErrorKind::Full { what, reason } => write!(f, "{what} full: {reason}"),
            ErrorKind::Compacted { after, oldest } => {
                write!(f, "expected changes after {after} in the log, found {oldest} and later")
            }
            ErrorKind::Outrun { path, checkpoint } => {
                let path = path.display();
                write!(f, "outrun by the owner of {path}: expected checkpoint {checkpoint} ")?;
                f.write_str("in the file, found later ones; attach again")
            }
            ErrorKind::Poisoned { first } => {
                write!(f, "database stopped writing after a failure, reopen it: {first}")
            }
            ErrorKind::OutcomeUnknown { cause } => {
                write!(f, "commit may or may not survive: {cause}")
            }
            ErrorKind::CutShort { file, bytes, expected } => {
                let file = file.display();
                write!(f, "backup is cut short: {file}: expected {expected} at byte {bytes}")?;
                f.write_str(", found the end")
            }
            ErrorKind::Stopped { what } => write!(f, "{what} stopped as asked"),
            ErrorKind::Io { operation, file, source } => {
                write!(f, "cannot {operation} {}: {source}", file.display())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self.kind() {
            ErrorKind::Io { source, .. } => Some(source),
            ErrorKind::Poisoned { first } => Some(first),
            ErrorKind::OutcomeUnknown { cause } => Some(cause),
            _ => None,
        }
    }
}

/// Names are bytes; a person reads them as text where they are text.
fn text(name: &[u8]) -> String {
    format!("\"{}\"", name.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_word_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn a_full_disk_is_told_apart_from_other_failures() {
        let full = Error::io("write", Path::new("data"), io::ErrorKind::StorageFull.into());
        assert!(full.is_full());
        let other = Error::io("write", Path::new("data"), io::ErrorKind::BrokenPipe.into());
        assert_eq!(other.to_string(), "cannot write data: broken pipe");
    }
}
