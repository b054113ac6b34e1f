//! All that the API asks of the engine, in plain types: paths, bytes, durations.
//!
//! Never holds a transaction across an await, and never blocks an async worker on the writer lock:
//! reads run on the spot, writes begin on a thread of their own and await their flush.
//!
//! Invariants:
//! 1. `put` and `delete` return only when the change is durable and visible.

mod descend;

use std::path::Path;
use std::time::Duration;

use bristlecone::{Commit, Db, Error, Options, Result};
use bytes::Bytes;

use crate::limits::TTL_SECONDS_MAX;
use crate::names::BucketPath;

pub(crate) use descend::{bucket_at, with_bucket, with_new_bucket};

/// A top-level bucket of this name says that an import was cut short.
pub const IMPORT_INCOMPLETE: &[u8] = b"__import_incomplete";

/// The database as the API sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Storage {
    db: Db,
    key_bytes_max: usize,
}

impl Storage {
    /// Opens the database in `dir`, or creates it there.
    ///
    /// # Errors
    /// Those of [`Db::open`].
    pub fn open(dir: &Path) -> Result<Storage> {
        Ok(Storage::of(Options::new().open(dir)?))
    }

    /// The same over a database that is open already.
    #[must_use]
    pub fn of(db: Db) -> Storage {
        // Asked once: sizes are counted under locks that a checkpoint holds for long. A page is at
        // most 32 KiB, so its size fits any integer.
        let key_bytes_max = bristlecone::limits::key_bytes_max(db.stats().page_bytes as usize);
        Storage { db, key_bytes_max }
    }

    /// Longest key and name, in bytes.
    #[must_use]
    pub fn key_bytes_max(&self) -> usize {
        self.key_bytes_max
    }

    /// True when an import into this database was cut short.
    ///
    /// # Errors
    /// `Corrupt` when a page on the way is damaged.
    pub fn is_import_incomplete(&self) -> Result<bool> {
        is_import_incomplete(&self.db)
    }

    /// The value of `key`; `None` when it, or a bucket on the way, is missing or expired, or when
    /// the key holds a bucket.
    ///
    /// # Errors
    /// `Corrupt` when a page on the way is damaged; `Full` when too many readers are open.
    pub fn get(&self, bucket: &BucketPath, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let txn = self.db.begin_read()?;
        match bucket_at(&txn, bucket).and_then(|bucket| bucket.get(key)) {
            Ok(value) => Ok(value.map(<[u8]>::to_vec)),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The first `limit` keys that start with `prefix`, in order; none when the bucket is missing.
    ///
    /// # Errors
    /// As [`get`](Storage::get).
    pub fn keys(&self, bucket: &BucketPath, prefix: &[u8], limit: usize) -> Result<Vec<Vec<u8>>> {
        let txn = self.db.begin_read()?;
        let pairs = match bucket_at(&txn, bucket).and_then(|bucket| bucket.prefix(prefix)) {
            Ok(pairs) => pairs,
            Err(error) if is_absence(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        pairs.keys().take(limit).map(|key| key.map(<[u8]>::to_vec)).collect()
    }

    /// Writes `value` under `key`, and creates the buckets on the way.
    ///
    /// # Errors
    /// `TooLarge`, `IsABucket`, `NotABucket`, `Full`: nothing was changed. `Poisoned` after an
    /// earlier failure, `OutcomeUnknown` when the flush failed.
    pub async fn put(
        &self,
        bucket: BucketPath,
        key: Vec<u8>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<()> {
        let db = self.db.clone();
        let commit = on_a_thread(move || -> Result<Commit> {
            let mut txn = db.begin_write()?;
            with_new_bucket(&mut txn, &bucket, &mut |bucket| match ttl {
                Some(ttl) => bucket.put_with_ttl(&key, &value, ttl),
                None => bucket.put(&key, &value),
            })?;
            txn.commit_async()
        });
        commit.await?.await?;
        Ok(())
    }

    /// Removes the value of `key`; tells whether there was one.
    ///
    /// # Errors
    /// As [`put`](Storage::put).
    pub async fn delete(&self, bucket: BucketPath, key: Vec<u8>) -> Result<bool> {
        let db = self.db.clone();
        let commit = on_a_thread(move || -> Result<Option<Commit>> {
            let mut txn = db.begin_write()?;
            match with_bucket(&mut txn, &bucket, &mut |bucket| bucket.delete(&key)) {
                Ok(true) => txn.commit_async().map(Some),
                Ok(false) => Ok(None),
                Err(error) if error.is_bucket_not_found() => Ok(None),
                Err(error) => Err(error),
            }
        });
        match commit.await? {
            Some(commit) => commit.await.map(|_| true),
            None => Ok(false),
        }
    }

    /// Closes the database; see [`Db::close`].
    ///
    /// # Errors
    /// Those of the last flush and checkpoint.
    pub async fn close(self) -> Result<()> {
        on_a_thread(move || self.db.close()).await
    }
}

/// A time to live of so many seconds; `None` below a millisecond or beyond the bound.
#[must_use]
pub fn ttl_of_seconds(seconds: f64) -> Option<Duration> {
    let ttl = Duration::try_from_secs_f64(seconds).ok()?;
    (ttl.as_millis() > 0 && seconds <= TTL_SECONDS_MAX).then_some(ttl)
}

/// True when an import into this database was cut short.
pub(crate) fn is_import_incomplete(db: &Db) -> Result<bool> {
    match db.begin_read()?.bucket(IMPORT_INCOMPLETE) {
        Ok(_) => Ok(true),
        Err(error) if error.is_bucket_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// True for errors that mean that there is no value: not damage, not a refusal.
fn is_absence(error: &Error) -> bool {
    use bristlecone::ErrorKind::{BucketNotFound, IsABucket, NotABucket};
    matches!(error.kind(), BucketNotFound { .. } | IsABucket { .. } | NotABucket { .. })
}

/// Runs what may block. A panic goes on in the caller.
async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_is_a_positive_number_of_bounded_size() {
        assert_eq!(ttl_of_seconds(1.5), Some(Duration::from_millis(1500)));
        assert_eq!(ttl_of_seconds(0.001), Some(Duration::from_millis(1)));
        for seconds in [0.0, -1.0, 0.0009, f64::NAN, f64::INFINITY, TTL_SECONDS_MAX * 2.0] {
            assert_eq!(ttl_of_seconds(seconds), None, "{seconds}");
        }
    }
}
