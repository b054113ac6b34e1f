//! How commands that only read open a database: for themselves or, while another process owns it,
//! attached.
//!
//! Invariants:
//! 1. Whatever a command prints is of one transaction.

use std::path::Path;

use bristlecone::{Db, Options};

use crate::limits::{ATTACHED_BYTES_MIN, ATTACHED_TRIES_MAX};

use super::exit::Failure;

/// Does `work` on an existing database, which is opened read-only. While another process owns it,
/// it is attached to; and where that goes on so fast that what `work` needs is gone before it was
/// read, all is done again on what the database has become.
///
/// So `work` prints nothing before it has read all that it needs. What it has read once it can read
/// again: [`Db::is_attached`] tells whether it has to.
pub(super) fn read<T>(
    dir: &Path,
    mut work: impl FnMut(&Db) -> Result<T, Failure>,
) -> Result<T, Failure> {
    match Options::new().read_only(true).create(false).open(dir) {
        Err(error) if error.is_locked() => {}
        opened => return work(&opened?),
    }
    let mut tries = 1;
    loop {
        let db = Options::new().attach(true).attached_bytes_max(attached_bytes_max()).open(dir)?;
        match work(&db) {
            Err(failure) if failure.is_outrun() && tries < ATTACHED_TRIES_MAX => tries += 1,
            result => {
                let revision = db.stats().revision;
                eprintln!(
                    "bristlecone: note: another process owns this database; showing transaction \
                     {revision}, as of its log"
                );
                return result;
            }
        }
    }
}

/// Half of the memory that is there: the owner needs some, too.
fn attached_bytes_max() -> u64 {
    let told = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    (number.unwrap_or(0) * 1024 / 2).max(ATTACHED_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_for_attached_pages_is_bounded_by_what_there_is() {
        assert!((ATTACHED_BYTES_MIN..1 << 50).contains(&attached_bytes_max()));
    }
}
