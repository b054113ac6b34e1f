//! What the engine says of files that were changed.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use bristlecone::{Db, Options};

use crate::killed::copy_dir;

/// What the engine says of a database whose files were changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// Nothing is wrong, and the last commit is there.
    Sound,
    /// Nothing is wrong, and the last commit is not there.
    Shortened,
    /// `Corrupt`, or problems found by a check.
    Damaged,
}

/// Opens for reading only, so that nothing is repaired, and checks everything.
pub(crate) fn outcome(path: &Path) -> Outcome {
    let look = |db: &Db| {
        let is_sound = db.check(&mut |_| ControlFlow::Continue(()))?.is_sound();
        let last = db.view(|txn| txn.bucket("small")?.get("b").map(|found| found.is_some()))?;
        Ok((is_sound, last))
    };
    match Options::new().read_only(true).open(path).and_then(|db| look(&db)) {
        Ok((true, true)) => Outcome::Sound,
        Ok((true, false)) => Outcome::Shortened,
        Ok((false, _)) => Outcome::Damaged,
        Err(error) => {
            assert!(error.is_corrupt(), "{error}");
            Outcome::Damaged
        }
    }
}

/// The outcome with one bit of a file the other way.
pub(crate) fn outcome_with(from: &Path, file: &Path, at: usize) -> Outcome {
    let copy = copy_dir(from);
    let file = copy.path().join(file.strip_prefix(from).unwrap_or(file));
    let mut bytes = fs::read(&file).expect("a file");
    bytes[at] ^= 1;
    fs::write(&file, bytes).expect("a file");
    outcome(copy.path())
}
