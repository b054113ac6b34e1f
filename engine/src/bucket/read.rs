//! Reading a bucket.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{Error, ErrorKind, Result};
use crate::page::{BucketRecord, Entry, Payload};
use crate::tree::{self, Opened, Pages, Root};
use crate::txn::{Pin, Store, View};

/// A bucket, to be read. Cheap to copy; lives as long as its transaction.
///
/// Keys are ordered by their bytes. A key holds either a value or a nested bucket; reads of values
/// do not see buckets, and the reverse.
#[derive(Clone, Copy)]
pub struct Bucket<'txn> {
    view: View<'txn>,
    root: Root<'txn>,
    record: BucketRecord,
    /// The root page, opened once for all gets. `None` where there is none, or where opening it
    /// fails: then the gets tell.
    opened: Option<Opened<'txn>>,
}

/// A value and what is stored beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Value<'txn> {
    /// The value.
    pub bytes: &'txn [u8],
    /// When it expires; `None` for one that stays.
    pub expires_at: Option<SystemTime>,
}

impl fmt::Debug for Bucket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("record", &self.record).finish_non_exhaustive()
    }
}

impl<'txn> Bucket<'txn> {
    /// The bucket that a root or a level stands for.
    #[inline]
    pub(super) fn of_root(view: View<'txn>, record: BucketRecord) -> Bucket<'txn> {
        Bucket { view, root: Root::of_page(record.root), record, opened: None }
    }

    /// The bucket of the top-level buckets, for whoever holds a pin.
    pub(crate) fn of_pin(store: &'txn Store, pin: &'txn Pin) -> Bucket<'txn> {
        Bucket::of_root(pin.view(store), pin.buckets())
    }

    /// The top-level bucket of this name, for whoever holds a pin.
    #[inline(always)]
    pub(super) fn top(view: View<'txn>, pin: &Pin, name: &[u8]) -> Result<Bucket<'txn>> {
        let root = Root::of_page(pin.buckets().root);
        record_of(view, root, name).map(|(record, _)| Bucket::of_entry(view, record))
    }

    /// The bucket that an entry of its parent describes.
    // Always inline, as all that makes a bucket: one that is stored by words and then copied as a
    // whole makes the processor wait for the stores, some 4 ns each time.
    #[inline(always)]
    fn of_entry(view: View<'txn>, payload: &'txn [u8]) -> Bucket<'txn> {
        let record = BucketRecord::decode(payload);
        let root = Root::of_decoded(&record, payload);
        let opened = match root {
            Root::Page(page) => tree::open_root(view.pages(), page).ok(),
            Root::Empty | Root::Image(_) => None,
        };
        Bucket { view, root, record, opened }
    }

    /// The value of `key`, borrowed from the transaction; `None` when it is missing or expired.
    ///
    /// # Errors
    /// `IsABucket` when the key holds a bucket; `Corrupt` when a page on the way is damaged;
    /// `ReaderExpired` after the deadline of a transaction that has one.
    #[inline]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<&'txn [u8]>> {
        self.value_under(key.as_ref())
    }

    /// One function down to the entry, which so stays in registers.
    fn value_under(&self, key: &[u8]) -> Result<Option<&'txn [u8]>> {
        self.view.check_deadline()?;
        let pages = self.view.pages();
        let found = match self.opened {
            Some(root) => tree::get_from(pages, root, key)?,
            None => tree::get(pages, self.root, key)?,
        };
        match found {
            Some(entry) => self.value_of(&entry),
            None => Ok(None),
        }
    }

    /// The value of `key` with its expiry.
    ///
    /// # Errors
    /// As [`get`](Bucket::get).
    pub fn get_value(&self, key: impl AsRef<[u8]>) -> Result<Option<Value<'txn>>> {
        self.view.check_deadline()?;
        let Some(entry) = tree::get(self.view.pages(), self.root, key.as_ref())? else {
            return Ok(None);
        };
        let expires_at = time_of(entry.expires_at);
        Ok(self.value_of(&entry)?.map(|bytes| Value { bytes, expires_at }))
    }

    /// The values of many keys, in the order asked. Goes down the tree with all of them at once,
    /// so that their cache misses overlap: several times faster than one [`get`](Bucket::get) each.
    ///
    /// # Errors
    /// As [`get`](Bucket::get).
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<&'txn [u8]>>> {
        self.view.check_deadline()?;
        let mut entries = Vec::new();
        tree::get_many(self.view.pages(), self.root, keys, &mut entries)?;
        entries
            .into_iter()
            .map(|entry| entry.map_or(Ok(None), |entry| self.value_of(&entry)))
            .collect()
    }

    /// True when `key` holds a value that has not expired.
    ///
    /// # Errors
    /// As [`get`](Bucket::get).
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.view.check_deadline()?;
        Ok(tree::get(self.view.pages(), self.root, key.as_ref())?.is_some_and(|entry| {
            !matches!(entry.payload, Payload::Bucket(_)) && self.view.is_visible(entry.expires_at)
        }))
    }

    /// Entries in the bucket: values and nested buckets, expired values included until they are
    /// swept. Kept in the bucket's record, so it costs no scan.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.record.entries
    }

    /// True when the bucket has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.record.entries == 0
    }

    /// The bucket's sequence counter; zero until it is first advanced.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.record.sequence
    }

    /// A nested bucket.
    ///
    /// # Errors
    /// `BucketNotFound` when the key is missing or the bucket expired, `NotABucket` when it holds
    /// a value; `Corrupt` and `ReaderExpired` as [`get`](Bucket::get).
    #[inline(always)]
    pub fn bucket(&self, name: impl AsRef<[u8]>) -> Result<Bucket<'txn>> {
        let record = record_of(self.view, self.root, name.as_ref());
        record.map(|(record, _)| Bucket::of_entry(self.view, record))
    }

    /// When the nested bucket `name` expires; `None` when it stays for good.
    ///
    /// # Errors
    /// As [`bucket`](Bucket::bucket).
    pub fn bucket_expiry(&self, name: impl AsRef<[u8]>) -> Result<Option<SystemTime>> {
        let (_, expires_at) = record_of(self.view, self.root, name.as_ref())?;
        Ok(time_of(expires_at))
    }

    /// Has the page where `key` belongs read and verified.
    pub(crate) fn touch(&self, key: &[u8]) -> Result<()> {
        tree::touch_leaf(self.view.pages(), self.root, key)
    }

    #[inline]
    pub(super) fn view(&self) -> View<'txn> {
        self.view
    }

    #[inline]
    pub(super) fn root(&self) -> Root<'txn> {
        self.root
    }

    /// When the value of `key` expires, zero for one that stays; `None` when it is missing or has
    /// expired. Reads nothing of the value.
    pub(super) fn expiry(&self, key: &[u8]) -> Result<Option<u64>> {
        match tree::get(self.view.pages(), self.root, key)? {
            Some(entry) if !self.view.is_visible(entry.expires_at) => Ok(None),
            Some(Entry { payload: Payload::Bucket(_), .. }) => {
                Err(Error::from(ErrorKind::IsABucket { name: key.to_vec() }))
            }
            found => Ok(found.map(|entry| entry.expires_at)),
        }
    }

    /// The bytes of an entry that holds a value; `None` when it has expired.
    // Always inline, or the entry travels through memory.
    #[inline(always)]
    pub(super) fn value_of(&self, entry: &Entry<'txn>) -> Result<Option<&'txn [u8]>> {
        if !self.view.is_visible(entry.expires_at) {
            return Ok(None);
        }
        match entry.payload {
            Payload::Value(bytes) => Ok(Some(bytes)),
            Payload::Overflow { run, len } => self.view.pages().run(run, len).map(Some),
            Payload::Bucket(_) => {
                Err(Error::from(ErrorKind::IsABucket { name: entry.key.to_vec() }))
            }
        }
    }
}

/// The record of the bucket `name` in the bucket with this root, and its expiry.
fn record_of<'txn>(view: View<'txn>, root: Root<'txn>, name: &[u8]) -> Result<(&'txn [u8], u64)> {
    view.check_deadline()?;
    match tree::get(view.pages(), root, name)? {
        Some(Entry { expires_at, .. }) if !view.is_visible(expires_at) => Err(not_found(name)),
        Some(Entry { payload: Payload::Bucket(record), expires_at, .. }) => {
            Ok((record, expires_at))
        }
        Some(_) => Err(Error::from(ErrorKind::NotABucket { name: name.to_vec() })),
        None => Err(not_found(name)),
    }
}

#[cold]
fn not_found(name: &[u8]) -> Error {
    Error::from(ErrorKind::BucketNotFound { name: name.to_vec() })
}

/// An expiry as users see it; zero stands for none.
pub(super) fn time_of(expires_at: u64) -> Option<SystemTime> {
    match expires_at {
        0 => None,
        expires_at => UNIX_EPOCH.checked_add(Duration::from_millis(expires_at)),
    }
}
