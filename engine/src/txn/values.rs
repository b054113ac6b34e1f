//! Values of the innermost open bucket of a write transaction: put, deleted, built.
//!
//! Invariants:
//! 1. Arguments are checked before anything is changed; an operation that fails after that marks
//!    the transaction failed, and it can only roll back.

use crate::error::{Error, ErrorKind, Result};
use crate::ids::PageRef;
use crate::io::prefetch_slice;
use crate::limits::{self, VALUE_BYTES_MAX};
use crate::page::{Entry, Payload, overflow};
use crate::tree::{self, Pages, PagesMut, Replaced, ReplacedPayload, Tree};

use super::operation::Operation;
use super::sorted::{Sorted, VALUE_LINES};
use super::write::WriteTxn;

impl WriteTxn {
    /// Writes a value in the innermost bucket; `expires_at` 0 means for good.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8], expires_at: u64) -> Result<()> {
        self.check_key("key", key)?;
        check_value(value)?;
        // It is copied when its place is found: until then its cache misses are over.
        prefetch_slice(value, VALUE_LINES);
        let inline = Entry { key, payload: Payload::Value(value), expires_at };
        let fits = inline.stored_bytes() <= limits::inline_bytes_max(self.page_bytes());
        let run = if fits { None } else { Some(self.begin_run(value)?) };
        let payload = run.map_or(inline.payload, |(run, len)| Payload::Overflow { run, len });
        let replaced = self.insert(&Entry { key, payload, expires_at })?;
        let before = replaced.as_ref().map_or(0, |old| old.expires_at);
        match replaced.map(|old| (old.payload, old.expires_at)) {
            Some((ReplacedPayload::Bucket(record), expires_at)) if self.has_expired(expires_at) => {
                self.drop_record(key, &record)?;
            }
            Some((ReplacedPayload::Bucket(record), expires_at)) => {
                // A bucket is never replaced by a value. It is rare enough to be put back.
                self.put_back(key, &record, expires_at)?;
                return Err(Error::from(ErrorKind::IsABucket { name: key.to_vec() }));
            }
            Some((ReplacedPayload::Overflow { run, len }, _)) => self.retire_run(run, len)?,
            Some((ReplacedPayload::Value { .. }, _)) | None => {}
        }
        self.note_expiry(Some(key), expires_at, before)?;
        let logged = self.log(Operation::Put { key, value, expires_at });
        let Some(run) = run else { return logged };
        // The device has begun to write the value meanwhile.
        self.fill_run(run, value);
        let spilled = self.pages.finish_spilling();
        logged.and(self.note_failure(spilled))
    }

    /// Removes a value of the innermost bucket; tells whether one was visible.
    pub(crate) fn delete(&mut self, key: &[u8]) -> Result<bool> {
        self.check_key("key", key)?;
        let Some(Replaced { payload, expires_at }) = self.remove(key)? else { return Ok(false) };
        match payload {
            ReplacedPayload::Bucket(record) if self.has_expired(expires_at) => {
                return self.drop_record(key, &record).map(|()| false);
            }
            ReplacedPayload::Bucket(record) => {
                self.put_back(key, &record, expires_at)?;
                return Err(Error::from(ErrorKind::IsABucket { name: key.to_vec() }));
            }
            ReplacedPayload::Overflow { run, len } => self.retire_run(run, len)?,
            ReplacedPayload::Value { .. } => {}
        }
        self.log(Operation::Delete { key })?;
        Ok(!self.has_expired(expires_at))
    }

    /// Writes a bucket's record where it was, over whatever took its place.
    fn put_back(&mut self, key: &[u8], record: &[u8], expires_at: u64) -> Result<()> {
        let entry = Entry { key, payload: Payload::Bucket(record), expires_at };
        match self.insert(&entry)?.map(|old| old.payload) {
            Some(ReplacedPayload::Overflow { run, len }) => self.retire_run(run, len),
            _ => Ok(()),
        }
    }

    /// Writes many values in the innermost bucket, in the order of their keys; of those with one
    /// key the last.
    pub(crate) fn put_many<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        pairs: &[(K, V)],
    ) -> Result<()> {
        for (key, value) in pairs {
            self.check_key("key", key.as_ref())?;
            check_value(value.as_ref())?;
        }
        let mut sorted = Sorted::new(pairs);
        if self.level().tree.entries == 0 {
            return self.build(&mut sorted).map(|_| ());
        }
        loop {
            let count = self.expect_ahead(&mut sorted);
            if count == 0 {
                return Ok(());
            }
            sorted.by_ref().take(count).try_for_each(|(key, value)| self.put(key, value, 0))?;
        }
    }

    /// Removes many values of the innermost bucket; tells how many were visible.
    pub(crate) fn delete_many<K: AsRef<[u8]>>(&mut self, keys: &[K]) -> Result<u64> {
        for key in keys {
            self.check_key("key", key.as_ref())?;
        }
        let pairs: Vec<(&[u8], [u8; 0])> = keys.iter().map(|key| (key.as_ref(), [])).collect();
        let (mut sorted, mut deleted) = (Sorted::new(&pairs), 0);
        loop {
            let count = self.expect_ahead(&mut sorted);
            if count == 0 {
                return Ok(deleted);
            }
            for (key, _) in sorted.by_ref().take(count) {
                deleted += u64::from(self.delete(key)?);
            }
        }
    }

    /// Has the leaves of the next pairs fetched; tells how many pairs.
    fn expect_ahead<K: AsRef<[u8]>, V: AsRef<[u8]>>(&self, sorted: &mut Sorted<'_, K, V>) -> usize {
        let keys = sorted.keys_ahead();
        self.expect(keys.clone());
        keys.count()
    }

    /// Fills the innermost bucket, which must be empty, from ascending pairs: bottom up, with full
    /// pages. Returns the number of pairs.
    pub(crate) fn build<'a>(
        &mut self,
        pairs: &mut dyn Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<u64> {
        self.check_failed()?;
        if self.level().tree.entries > 0 {
            let found = self.level().tree.entries;
            return Err(Error::invalid(format!("expected an empty bucket, found {found} entries")));
        }
        let built = self.build_tree(pairs);
        let tree = self.note_failure(built)?;
        let level = self.levels.last_mut().expect("invariant: the root level is always open");
        level.tree = tree;
        level.dirty = true;
        Ok(self.level().tree.entries)
    }

    fn build_tree<'a>(
        &mut self,
        pairs: &mut dyn Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Tree> {
        let mut builder = tree::BulkBuilder::new();
        for (key, value) in pairs {
            self.check_key("key", key)?;
            check_value(value)?;
            let inline = Entry { key, payload: Payload::Value(value), expires_at: 0 };
            let fits = inline.stored_bytes() <= limits::inline_bytes_max(self.page_bytes());
            let payload = match fits {
                true => inline.payload,
                false => {
                    let (run, len) = self.begin_run(value)?;
                    self.fill_run((run, len), value);
                    Payload::Overflow { run, len }
                }
            };
            builder.push(&mut self.pages, &Entry { key, payload, expires_at: 0 })?;
            self.log(Operation::Put { key, value, expires_at: 0 })?;
        }
        let tree = builder.finish(&mut self.pages)?;
        self.pages.finish_spilling()?;
        Ok(tree)
    }

    /// Has the leaves fetched where keys belong, `GET_MANY_WIDTH` at most, that will soon change.
    pub(crate) fn expect<'k>(&self, keys: impl Iterator<Item = &'k [u8]> + Clone) {
        let root = self.level().tree.root;
        if !root.id.is_none() {
            // A hint: whoever needs a damaged page will tell of it.
            let _told_later = tree::expect_leaves(&self.pages, root, keys);
        }
    }

    /// Takes pages of its own for a value too large for a leaf; returns them and its length. They
    /// hold anything until they are filled, unless they are in the file.
    pub(super) fn begin_run(&mut self, value: &[u8]) -> Result<(PageRef, u32)> {
        let len = u32::try_from(value.len()).expect("invariant: checked against the limit");
        let (page_bytes, epoch) = (self.page_bytes(), self.pages.epoch());
        let spilled = self.pages.place_run(value);
        if let Some(run) = self.note_failure(spilled)? {
            return Ok((run, len));
        }
        let count = overflow::run_pages(len, page_bytes);
        let allocated = self.pages.allocate(count);
        let id = self.note_failure(allocated)?;
        overflow::begin_run(self.pages.page_mut(id, count), count, epoch);
        Ok((PageRef::unsealed(id), len))
    }

    pub(super) fn fill_run(&mut self, (run, len): (PageRef, u32), value: &[u8]) {
        if !run.id.is_arena() {
            return;
        }
        let count = overflow::run_pages(len, self.page_bytes());
        overflow::fill_run(self.pages.page_mut(run.id, count), value);
    }

    pub(super) fn retire_run(&mut self, run: PageRef, len: u32) -> Result<()> {
        let count = overflow::run_pages(len, self.pages.page_bytes());
        let retired = self.pages.retire(run, count);
        self.note_failure(retired)
    }
}

pub(super) fn check_value(value: &[u8]) -> Result<()> {
    match value.len() {
        len if len > VALUE_BYTES_MAX => {
            Err(Error::too_large("value", VALUE_BYTES_MAX as u64, len as u64))
        }
        _ => Ok(()),
    }
}
