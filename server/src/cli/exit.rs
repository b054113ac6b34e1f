//! How commands end: the exit codes, and which failure has which.

use std::fmt;
use std::io;
use std::process::ExitCode;

use bristlecone::{Error, ErrorKind};

use crate::bolt::BoltError;
use crate::import::ImportError;
use crate::serve::ServeError;

/// The exit codes, as `--help` tells them.
pub(super) const EXIT_CODES: &str = "Exit codes:\n  \
    0  done\n  \
    1  the bucket, key or page that was asked for is not there, or a check found problems\n  \
    2  the arguments cannot be\n  \
    3  the database, or the file to import, is open elsewhere; or its owner went on too fast\n  \
    \x20  for a command that only reads\n  \
    4  the database, the backup, or the file to import, is damaged or cut short\n  \
    5  any other failure\n  \
    6  salvaged, and some keys or commits are lost
  \
    75 the data file was cut by another program, or its device failed, while it was read";

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Done = 0,
    NotThere = 1,
    Usage = 2,
    Locked = 3,
    Damaged = 4,
    Other = 5,
    Lost = 6,
}

/// A command that failed, and what to say about it.
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    message: Option<String>,
    is_outrun: bool,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl fmt::Display) -> Failure {
        Failure { exit, message: Some(message.to_string()), is_outrun: false }
    }

    /// The same, not to be tried again.
    pub(super) fn for_good(self) -> Failure {
        Failure { is_outrun: false, ..self }
    }

    /// A failure of which everything was said.
    pub(super) fn silent(exit: Exit) -> Failure {
        Failure { exit, message: None, is_outrun: false }
    }

    /// True when the owner of an attached database has overtaken the command.
    pub(super) fn is_outrun(&self) -> bool {
        self.is_outrun
    }

    /// Says what failed, and ends the process with its code.
    pub(super) fn report(self) -> ExitCode {
        if let Some(message) = self.message {
            eprintln!("bristlecone: error: {message}");
        }
        ExitCode::from(self.exit as u8)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let exit = match error.kind() {
            ErrorKind::BucketNotFound { .. }
            | ErrorKind::NotABucket { .. }
            | ErrorKind::IsABucket { .. } => Exit::NotThere,
            ErrorKind::InvalidArgument { .. } | ErrorKind::TooLarge { .. } => Exit::Usage,
            ErrorKind::Locked { .. } | ErrorKind::Outrun { .. } => Exit::Locked,
            ErrorKind::Corrupt(_) | ErrorKind::CutShort { .. } => Exit::Damaged,
            _ => Exit::Other,
        };
        let is_outrun = error.is_outrun();
        Failure { is_outrun, ..Failure::new(exit, error) }
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Failure {
        match error {
            ImportError::Database(error) => error.into(),
            ImportError::Bolt(BoltError::Damaged { .. } | BoltError::RootPair { .. }) => {
                Failure::new(Exit::Damaged, error)
            }
            ImportError::Bolt(BoltError::InUse { .. }) => Failure::new(Exit::Locked, error),
            _ => Failure::new(Exit::Other, error),
        }
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Failure {
        match error {
            ServeError::Database(error) => error.into(),
            ServeError::NotLoopback { .. } => Failure::new(Exit::Usage, error),
            _ => Failure::new(Exit::Other, error),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            // Whoever read the output has seen enough.
            io::ErrorKind::BrokenPipe => Failure::silent(Exit::Done),
            _ => Failure::new(Exit::Other, format!("cannot write the output: {error}")),
        }
    }
}
