//! What is wrong with a store, so that a rig that must find something tells it from its own faults.

use std::fmt;

use bristlecone::{Error, ErrorKind};

/// Whose fault it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Why {
    /// What was acknowledged or seen before is not there.
    Lost,
    /// The content is not that of any commit that was begun.
    Mismatch,
    /// The engine says that the files are damaged.
    Damaged,
    /// Anything else: another error of the engine, a worker's end, the rig itself.
    Failed,
}

/// A store that is not as it must be, or that could not be judged.
#[derive(Clone, Debug)]
pub(crate) struct Wrong {
    pub(crate) why: Why,
    how: String,
}

impl Wrong {
    pub(crate) fn new(why: Why, how: impl Into<String>) -> Wrong {
        Wrong { why, how: how.into() }
    }

    /// The same, with the place where it was met.
    pub(crate) fn at(self, place: &str) -> Wrong {
        Wrong { how: format!("{place}: {}", self.how), ..self }
    }
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Wrong {
        let damaged =
            matches!(error.kind(), ErrorKind::Corrupt(_) | ErrorKind::NotADatabase { .. });
        Wrong::new(if damaged { Why::Damaged } else { Why::Failed }, error.to_string())
    }
}

impl From<String> for Wrong {
    fn from(how: String) -> Wrong {
        Wrong::new(Why::Failed, how)
    }
}

impl From<Wrong> for String {
    fn from(wrong: Wrong) -> String {
        wrong.to_string()
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why {
            Why::Failed => write!(f, "{}", self.how),
            why => write!(f, "{why:?}: {}", self.how),
        }
    }
}
