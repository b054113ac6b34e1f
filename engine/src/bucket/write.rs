//! Writing a bucket.
//!
//! Invariants:
//! 1. A handle closes its bucket when it is dropped: the record in the parent is then true.

use std::ops::RangeBounds;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};
use crate::txn::WriteTxn;

use super::cursor::Cursor;
use super::range::{BucketNames, Range};
use super::read::{Bucket, Value, time_of};

/// A bucket, to be read and written. One at a time in a transaction: open another after this one
/// is dropped, or a nested one through it.
#[derive(Debug)]
pub struct BucketMut<'txn> {
    txn: &'txn mut WriteTxn,
    /// Open buckets up to and including this one, the root counted.
    depth: usize,
}

impl<'txn> BucketMut<'txn> {
    /// Opens the bucket `name` of the bucket at `depth`.
    pub(super) fn enter(
        txn: &'txn mut WriteTxn,
        depth: usize,
        name: &[u8],
    ) -> Result<BucketMut<'txn>> {
        txn.return_to(depth)?;
        txn.enter(name)?;
        let depth = txn.depth();
        Ok(BucketMut { txn, depth })
    }

    /// Writes `value` under `key`, replacing what was there and its expiry: the value stays for
    /// good.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty key, `TooLarge` for a key over a quarter of the page size or
    /// a value over 1 GiB - 1, `IsABucket` when the key holds a bucket: nothing is changed. `Full`,
    /// `Io` or `Poisoned` when what a large transaction has done so far cannot be written to the
    /// log: it can then only roll back.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<()> {
        self.txn()?.put(key.as_ref(), value.as_ref(), 0)
    }

    /// As [`put`](BucketMut::put); the value expires when `ttl` has passed since the transaction
    /// began. Expired values are hidden from reads that begin after that.
    ///
    /// # Errors
    /// As [`put`](BucketMut::put), and `InvalidArgument` for a time to live below a millisecond or
    /// beyond the clock's range.
    pub fn put_with_ttl(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        ttl: Duration,
    ) -> Result<()> {
        let txn = self.txn()?;
        let expires_at = after(txn.time_ms, ttl)?;
        txn.put(key.as_ref(), value.as_ref(), expires_at)
    }

    /// As [`put`](BucketMut::put); the value expires at `time`, with a precision of milliseconds.
    ///
    /// # Errors
    /// As [`put`](BucketMut::put), and `InvalidArgument` for a time before 1970.
    pub fn put_until(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        time: SystemTime,
    ) -> Result<()> {
        let expires_at = at(time)?;
        self.txn()?.put(key.as_ref(), value.as_ref(), expires_at)
    }

    /// As [`put`](BucketMut::put), but keeps the expiry of the value that it replaces. Where there
    /// was none, or it has expired, the new one stays for good.
    ///
    /// # Errors
    /// As [`put`](BucketMut::put).
    pub fn put_keeping_ttl(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<()> {
        let key = key.as_ref();
        let expires_at = self.expiry(key)?.unwrap_or(0);
        self.txn()?.put(key, value.as_ref(), expires_at)
    }

    /// Lets the value of `key` expire when `ttl` has passed since the transaction began, whatever
    /// its expiry was; tells whether there is a value that has not expired. Reads the value, costs
    /// what a put of it does, and shows as one in the log; where the expiry is the same already,
    /// nothing is read or written.
    ///
    /// # Errors
    /// As [`put_with_ttl`](BucketMut::put_with_ttl).
    pub fn touch(&mut self, key: impl AsRef<[u8]>, ttl: Duration) -> Result<bool> {
        let expires_at = after(self.txn()?.time_ms, ttl)?;
        self.set_expiry(key.as_ref(), expires_at)
    }

    /// As [`touch`](BucketMut::touch); the value expires at `time`, with a precision of
    /// milliseconds.
    ///
    /// # Errors
    /// As [`put_until`](BucketMut::put_until).
    pub fn touch_until(&mut self, key: impl AsRef<[u8]>, time: SystemTime) -> Result<bool> {
        self.set_expiry(key.as_ref(), at(time)?)
    }

    /// As [`touch`](BucketMut::touch), but lets the value stay for good.
    ///
    /// # Errors
    /// As [`put`](BucketMut::put).
    pub fn persist(&mut self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.set_expiry(key.as_ref(), 0)
    }

    /// Gives a visible value another expiry; tells whether there is one. Writes the value again:
    /// the log, and whoever reads it, knows of puts only.
    fn set_expiry(&mut self, key: &[u8], expires_at: u64) -> Result<bool> {
        match self.expiry(key)? {
            None => return Ok(false),
            Some(before) if before == expires_at => return Ok(true),
            Some(_) => {}
        }
        let Some(value) = self.get(key)?.map(<[u8]>::to_vec) else { return Ok(false) };
        self.txn()?.put(key, &value, expires_at)?;
        Ok(true)
    }

    /// When the value of `key` expires, zero for one that stays; `None` when it is missing or
    /// expired. Reads nothing of the value.
    fn expiry(&mut self, key: &[u8]) -> Result<Option<u64>> {
        self.txn()?.check_key("key", key)?;
        self.as_bucket().expiry(key)
    }

    /// Removes the value of `key`; tells whether there was one that had not expired.
    ///
    /// # Errors
    /// As [`put`](BucketMut::put).
    pub fn delete(&mut self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.txn()?.delete(key.as_ref())
    }

    /// As [`put`](BucketMut::put) for many pairs, in any order; of those with one key the last
    /// counts. They are sorted first, so that every page is changed once, and an empty bucket gets
    /// full pages: several times faster than single puts where there are many.
    ///
    /// # Errors
    /// As [`put`](BucketMut::put). A key or value that cannot be is found before anything is
    /// changed; after `IsABucket` some pairs may have been written.
    pub fn put_many<K: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, pairs: &[(K, V)]) -> Result<()> {
        self.txn()?.put_many(pairs)
    }

    /// As [`delete`](BucketMut::delete) for many keys, in any order; tells how many had a value
    /// that had not expired. They are sorted first, and the pages of several are fetched at once:
    /// faster than single deletes where the bucket is larger than the processor's caches.
    ///
    /// # Errors
    /// As [`put`](BucketMut::put). A key that cannot be is found before anything is changed; after
    /// `IsABucket` some values may have been removed.
    pub fn delete_many<K: AsRef<[u8]>>(&mut self, keys: &[K]) -> Result<u64> {
        self.txn()?.delete_many(keys)
    }

    /// Fills this bucket, which must be empty, from pairs in ascending order of their keys: bottom
    /// up, with full pages, and without the sort of [`put_many`](BucketMut::put_many). Returns the
    /// number of pairs.
    ///
    /// # Errors
    /// `InvalidArgument` when the bucket is not empty or a key does not ascend; the transaction can
    /// then only roll back.
    pub fn build<'a>(
        &mut self,
        pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<u64> {
        self.txn()?.build(&mut pairs.into_iter())
    }

    /// Advances the sequence counter and returns it: 1 at first.
    ///
    /// # Errors
    /// `Full` when the counter is at its end.
    pub fn next_sequence(&mut self) -> Result<u64> {
        let next = self.sequence().checked_add(1);
        let next = next.ok_or_else(|| Error::invalid("expected a sequence below 2^64 - 1"))?;
        self.set_sequence(next)?;
        Ok(next)
    }

    /// Sets the sequence counter.
    ///
    /// # Errors
    /// Only those of a transaction that failed before.
    pub fn set_sequence(&mut self, number: u64) -> Result<()> {
        self.txn()?.set_sequence(number)
    }

    /// Lets this bucket, with all it holds, expire when `ttl` has passed since the transaction
    /// began, whatever its expiry was. For reads and writes that begin after that it is missing;
    /// it is dropped as a whole, later and in bounded steps.
    ///
    /// # Errors
    /// `InvalidArgument` for a time to live below a millisecond or beyond the clock's range.
    pub fn expire_after(&mut self, ttl: Duration) -> Result<()> {
        let txn = self.txn()?;
        let expires_at = after(txn.time_ms, ttl)?;
        txn.set_bucket_expiry(expires_at)
    }

    /// As [`expire_after`](BucketMut::expire_after); the bucket expires at `time`, with a precision
    /// of milliseconds.
    ///
    /// # Errors
    /// `InvalidArgument` for a time before 1970.
    pub fn expire_at(&mut self, time: SystemTime) -> Result<()> {
        let expires_at = at(time)?;
        self.txn()?.set_bucket_expiry(expires_at)
    }

    /// As [`expire_after`](BucketMut::expire_after), but lets the bucket stay for good.
    ///
    /// # Errors
    /// Only those of a transaction that failed before.
    pub fn expire_never(&mut self) -> Result<()> {
        self.txn()?.set_bucket_expiry(0)
    }

    /// When this bucket expires; `None` when it stays for good.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        time_of(self.txn.levels[self.depth - 1].expires_at)
    }

    /// Creates a nested bucket.
    ///
    /// # Errors
    /// `BucketExists`, `NotABucket` when the key holds a value, `TooLarge` or `InvalidArgument` for
    /// a name that cannot be, or a bucket nested deeper than 64.
    pub fn create_bucket(&mut self, name: impl AsRef<[u8]>) -> Result<BucketMut<'_>> {
        let depth = self.depth;
        create(self.txn()?, depth, name.as_ref())
    }

    /// Opens a nested bucket, creating it if it is missing.
    ///
    /// # Errors
    /// As [`create_bucket`](BucketMut::create_bucket), `BucketExists` apart.
    pub fn create_bucket_if_missing(&mut self, name: impl AsRef<[u8]>) -> Result<BucketMut<'_>> {
        let depth = self.depth;
        open_or_create(self.txn()?, depth, name.as_ref())
    }

    /// Opens a nested bucket for writing.
    ///
    /// # Errors
    /// `BucketNotFound`, or `NotABucket` when the key holds a value.
    pub fn bucket_mut(&mut self, name: impl AsRef<[u8]>) -> Result<BucketMut<'_>> {
        let depth = self.depth;
        BucketMut::enter(self.txn()?, depth, name.as_ref())
    }

    /// Drops a nested bucket and all it holds. It is gone at once, whatever its size; its pages
    /// are freed in bounded steps later.
    ///
    /// # Errors
    /// `BucketNotFound`, or `NotABucket` when the key holds a value.
    pub fn drop_bucket(&mut self, name: impl AsRef<[u8]>) -> Result<()> {
        self.txn()?.drop_bucket_here(name.as_ref())
    }

    /// The bucket as this transaction sees it now, for reading.
    #[must_use]
    pub fn as_bucket(&self) -> Bucket<'_> {
        let level = &self.txn.levels[self.depth - 1];
        Bucket::of_root(self.txn.view(), level.record())
    }

    /// As [`Bucket::get`].
    ///
    /// # Errors
    /// As there.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<&[u8]>> {
        self.as_bucket().get(key)
    }

    /// As [`Bucket::get_value`].
    ///
    /// # Errors
    /// As there.
    pub fn get_value(&self, key: impl AsRef<[u8]>) -> Result<Option<Value<'_>>> {
        self.as_bucket().get_value(key)
    }

    /// As [`Bucket::iter`].
    ///
    /// # Errors
    /// As there.
    pub fn iter(&self) -> Result<Range<'_>> {
        self.as_bucket().iter()
    }

    /// As [`Bucket::range`].
    ///
    /// # Errors
    /// As there.
    pub fn range<K: AsRef<[u8]>>(&self, bounds: impl RangeBounds<K>) -> Result<Range<'_>> {
        self.as_bucket().range(bounds)
    }

    /// As [`Bucket::prefix`].
    ///
    /// # Errors
    /// As there.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Range<'_>> {
        self.as_bucket().prefix(prefix)
    }

    /// As [`Bucket::cursor`].
    #[must_use]
    pub fn cursor(&self) -> Cursor<'_> {
        self.as_bucket().cursor()
    }

    /// As [`Bucket::buckets`].
    ///
    /// # Errors
    /// As there.
    pub fn buckets(&self) -> Result<BucketNames<'_>> {
        self.as_bucket().buckets()
    }

    /// As [`Bucket::bucket_expiry`].
    ///
    /// # Errors
    /// As there.
    pub fn bucket_expiry(&self, name: impl AsRef<[u8]>) -> Result<Option<SystemTime>> {
        self.as_bucket().bucket_expiry(name)
    }

    /// As [`Bucket::len`].
    #[must_use]
    pub fn len(&self) -> u64 {
        self.as_bucket().len()
    }

    /// As [`Bucket::is_empty`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_bucket().is_empty()
    }

    /// As [`Bucket::sequence`].
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.as_bucket().sequence()
    }

    /// The transaction, with this bucket as the innermost open one.
    #[inline]
    fn txn(&mut self) -> Result<&mut WriteTxn> {
        self.txn.return_to(self.depth)?;
        Ok(self.txn)
    }
}

/// The expiry of what lives for `ttl` from `now_ms` on.
fn after(now_ms: u64, ttl: Duration) -> Result<u64> {
    let expires_at = match u64::try_from(ttl.as_millis()) {
        Ok(0) => return Err(Error::invalid("expected a time to live of at least 1 ms")),
        Ok(ttl_ms) => now_ms.checked_add(ttl_ms),
        Err(_) => None,
    };
    expires_at.ok_or_else(|| Error::invalid("expected a time to live within the clock's range"))
}

/// The expiry of what lives until `time`.
fn at(time: SystemTime) -> Result<u64> {
    let since = time.duration_since(UNIX_EPOCH).ok();
    since
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        .filter(|expires_at| *expires_at > 0)
        .ok_or_else(|| Error::invalid("expected an expiry after 1970"))
}

impl Drop for BucketMut<'_> {
    fn drop(&mut self) {
        // A failure is kept by the transaction: its next operation or its commit reports it.
        let _kept = self.txn.return_to(self.depth - 1);
    }
}

/// Creates the bucket `name` in the bucket at `depth`, and opens it.
pub(super) fn create<'txn>(
    txn: &'txn mut WriteTxn,
    depth: usize,
    name: &[u8],
) -> Result<BucketMut<'txn>> {
    txn.return_to(depth)?;
    txn.create_and_enter(name)?;
    let depth = txn.depth();
    Ok(BucketMut { txn, depth })
}

/// Opens the bucket `name` in the bucket at `depth`, creating it if it is missing.
pub(super) fn open_or_create<'txn>(
    txn: &'txn mut WriteTxn,
    depth: usize,
    name: &[u8],
) -> Result<BucketMut<'txn>> {
    txn.return_to(depth)?;
    match txn.enter(name) {
        Err(error) if error.is_bucket_not_found() => {
            txn.create_and_enter(name)?;
        }
        other => other?,
    }
    let depth = txn.depth();
    Ok(BucketMut { txn, depth })
}
