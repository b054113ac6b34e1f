//! The one error of the bolt reader: which file or page, what was expected and what was found.
//!
//! It never shows a key, a name or a value of the database, so a log of it discloses nothing.
//!
//! Invariants:
//! 1. `Damaged` always names the page at fault: the one whose bytes contradict the format.
//! 2. An error of the operating system is kept as `source()`, never turned into text alone.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::page::PageId;

/// Why a bolt file was not opened or not read to its end.
#[derive(Debug)]
#[non_exhaustive]
pub enum BoltError {
    /// The operating system refused to open, lock or read the file.
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is of another kind.
    NotBolt {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },
    /// The file was written on a big-endian machine, in whose byte order bolt stores all numbers.
    BigEndian {
        /// The file.
        path: PathBuf,
    },
    /// The file has another version of the format.
    Version {
        /// The file.
        path: PathBuf,
        /// The version it claims; 2 is the one that is read.
        found: u32,
    },
    /// A process, most likely the owner of the database, holds a lock on the file.
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The bytes of a page contradict the format.
    Damaged {
        /// The page at fault. Its bytes begin at this number times the page size.
        page: u64,
        /// What was expected and what was found.
        reason: String,
    },
    /// The root bucket holds a plain pair. bbolt means it to hold only buckets, and so do we.
    RootPair {
        /// The leaf page that holds the pair.
        page: u64,
        /// The pair's place in it, from 0.
        element: u16,
    },
    /// The file is sound as far as it was read, but nests buckets deeper than is supported.
    TooDeep {
        /// The page that holds the first bucket beyond the bound.
        page: u64,
        /// The bound: buckets within buckets.
        depth_max: usize,
    },
}

impl BoltError {
    pub(super) fn damaged(page: PageId, reason: impl Into<String>) -> BoltError {
        BoltError::Damaged { page: page.0, reason: reason.into() }
    }

    pub(super) fn io(path: &Path, source: io::Error) -> BoltError {
        BoltError::Io { path: path.to_owned(), source }
    }

    pub(super) fn memory(path: &Path) -> BoltError {
        BoltError::io(path, io::Error::from(io::ErrorKind::OutOfMemory))
    }
}

impl fmt::Display for BoltError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BoltError::Io { path, source } => {
                write!(out, "cannot read {}: {source}", path.display())
            }
            BoltError::NotBolt { path, reason } => {
                write!(out, "{} is not a bolt file: {reason}", path.display())
            }
            BoltError::BigEndian { path } => write!(
                out,
                "{} is a bolt file of a big-endian machine, expected little-endian",
                path.display()
            ),
            BoltError::Version { path, found } => {
                write!(out, "{} is a bolt file of version {found}, expected 2", path.display())
            }
            BoltError::InUse { path } => {
                write!(out, "{} is in use by another process", path.display())
            }
            BoltError::Damaged { page, reason } => write!(out, "page {page} is damaged: {reason}"),
            BoltError::RootPair { page, element } => write!(
                out,
                "page {page}, element {element}: the root bucket holds a pair, expected buckets \
                 only"
            ),
            BoltError::TooDeep { page, depth_max } => write!(
                out,
                "page {page}: buckets nest deeper than expected, at most {depth_max} levels are \
                 read"
            ),
        }
    }
}

impl Error for BoltError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            BoltError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_was_expected_and_what_was_found() {
        let path = PathBuf::from("meta.db");
        let told = [
            BoltError::io(&path, io::Error::other("no luck")),
            BoltError::NotBolt { path: path.clone(), reason: "the file is empty".into() },
            BoltError::BigEndian { path: path.clone() },
            BoltError::Version { path: path.clone(), found: 1 },
            BoltError::InUse { path },
            BoltError::damaged(PageId(7), "flags 0x00, expected 0x02 (leaf)"),
            BoltError::RootPair { page: 3, element: 0 },
            BoltError::TooDeep { page: 9, depth_max: 4 },
        ]
        .map(|error| error.to_string());
        let expected = [
            "cannot read meta.db: no luck",
            "meta.db is not a bolt file: the file is empty",
            "meta.db is a bolt file of a big-endian machine, expected little-endian",
            "meta.db is a bolt file of version 1, expected 2",
            "meta.db is in use by another process",
            "page 7 is damaged: flags 0x00, expected 0x02 (leaf)",
            "page 3, element 0: the root bucket holds a pair, expected buckets only",
            "page 9: buckets nest deeper than expected, at most 4 levels are read",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn only_an_io_error_has_a_source() {
        let io = BoltError::io(Path::new("meta.db"), io::Error::other("no luck"));
        assert!(io.source().is_some());
        assert!(BoltError::damaged(PageId(7), "torn").source().is_none());
    }
}
