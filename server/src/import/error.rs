//! Why a bbolt file was not imported.

use std::fmt;
use std::path::PathBuf;

use bristlecone::Error;

use crate::bolt::BoltError;
use crate::names::BucketPath;
use crate::storage::IMPORT_INCOMPLETE;

/// Why nothing was imported.
#[derive(Debug)]
#[non_exhaustive]
pub enum ImportError {
    /// The bbolt file cannot be read, is damaged, or is in use.
    Bolt(BoltError),
    /// The database refused or failed.
    Database(Error),
    /// It was stopped as asked.
    Stopped,
    /// The database holds buckets already.
    NotEmpty {
        /// The database's directory.
        dir: PathBuf,
    },
    /// An earlier import into the database was cut short.
    Incomplete {
        /// The database's directory.
        dir: PathBuf,
    },
    /// A key, or the name of a bucket, is longer than the page size allows.
    KeyTooLarge {
        /// The bucket that holds it.
        bucket: BucketPath,
        /// The bound, in bytes.
        max: usize,
        /// Its length, in bytes.
        found: usize,
    },
    /// A value is larger than the engine stores.
    ValueTooLarge {
        /// The bucket that holds it.
        bucket: BucketPath,
        /// The bound, in bytes.
        max: usize,
        /// Its length, in bytes.
        found: usize,
    },
    /// Buckets nest deeper than the engine's do.
    TooDeep {
        /// The deepest bucket that could be imported.
        bucket: BucketPath,
        /// The bound: buckets within buckets.
        max: usize,
    },
    /// The root bucket has a sequence, for which the engine has no place.
    RootSequence {
        /// The sequence.
        found: u64,
    },
    /// A top-level bucket has the name by which unfinished imports are known.
    ReservedName,
}

impl From<BoltError> for ImportError {
    fn from(error: BoltError) -> ImportError {
        ImportError::Bolt(error)
    }
}

impl From<Error> for ImportError {
    fn from(error: Error) -> ImportError {
        ImportError::Database(error)
    }
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImportError::Bolt(error) => error.fmt(f),
            ImportError::Database(error) => error.fmt(f),
            ImportError::NotEmpty { dir } => {
                let dir = dir.display();
                write!(f, "expected a new or empty database, found buckets in {dir}")
            }
            ImportError::Incomplete { dir } => {
                let dir = dir.display();
                write!(f, "an import into {dir} was cut short: remove it and import again")
            }
            ImportError::KeyTooLarge { bucket, max, found } => write!(
                f,
                "a key in bucket \"{bucket}\" is too long: expected at most {max} bytes, found \
                 {found}"
            ),
            ImportError::ValueTooLarge { bucket, max, found } => write!(
                f,
                "a value in bucket \"{bucket}\" is too large: expected at most {max} bytes, found \
                 {found}"
            ),
            ImportError::TooDeep { bucket, max } => write!(
                f,
                "expected at most {max} nested buckets, found one more in bucket \"{bucket}\""
            ),
            ImportError::RootSequence { found } => {
                write!(f, "expected the root bucket to have the sequence 0, found {found}")
            }
            ImportError::Stopped => f.write_str("import stopped as asked"),
            ImportError::ReservedName => {
                let name = IMPORT_INCOMPLETE.escape_ascii();
                write!(f, "expected no bucket of the name {name}, which is reserved")
            }
        }
    }
}

impl std::error::Error for ImportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ImportError::Bolt(error) => error.source(),
            ImportError::Database(error) => error.source(),
            _ => None,
        }
    }
}
