//! The bucket a write transaction is in, and its operations there.
//!
//! Open buckets form a stack of levels, the root at the bottom. Entering a bucket pushes its tree;
//! leaving writes its record back into the parent's entry, inline when it is small. A bucket that
//! is created and opened at once has no entry until it is left. Each operation is also noted for
//! the log, with the steps between buckets that it needs.
//!
//! Invariants:
//! 1. Arguments are checked before anything is changed; an operation that fails after that marks
//!    the transaction failed, and it can only roll back.
//! 2. When only the root level is open, every bucket's record in its parent is true.

use crate::error::{Error, ErrorKind, Result};
use crate::ids::PageRef;
use crate::io::prefetch_slice;
use crate::limits::{self, BUCKET_DEPTH_MAX, VALUE_BYTES_MAX, key_bytes_max};
use crate::mutation::{self, Mutation};
use crate::page::bucket::RECORD_BYTES;
use crate::page::{self, BucketRecord, Entry, Leaf, LeafBuilder, Payload, overflow};
use crate::tree::{self, Pages, PagesMut, Replaced, ReplacedPayload, Tree};

use super::level::Level;
use super::operation::Operation;
use super::sorted::{Sorted, VALUE_LINES};
use super::store::Store;
use super::write::WriteTxn;

impl WriteTxn {
    /// How many buckets are open within each other, the root included.
    pub(crate) fn depth(&self) -> usize {
        self.levels.len()
    }

    /// The innermost open bucket.
    pub(crate) fn level(&self) -> &Level {
        self.levels.last().expect("invariant: the root level is always open")
    }

    /// Leaves buckets until `depth` are open: those that a forgotten handle left open.
    pub(crate) fn return_to(&mut self, depth: usize) -> Result<()> {
        while self.levels.len() > depth {
            self.leave()?;
        }
        self.check_failed()
    }

    /// Opens a bucket of the innermost one.
    pub(crate) fn enter(&mut self, name: &[u8]) -> Result<()> {
        self.check_failed()?;
        self.check_depth()?;
        let parent = &self.level().tree;
        let Some(entry) = tree::get(&self.pages, parent.root(), name)? else {
            return Err(Error::from(ErrorKind::BucketNotFound { name: name.to_vec() }));
        };
        let Payload::Bucket(bytes) = entry.payload else {
            return Err(Error::from(ErrorKind::NotABucket { name: name.to_vec() }));
        };
        let record = BucketRecord::decode(bytes);
        let expires_at = entry.expires_at;
        let image = page::bucket::image(bytes).map(<[u8]>::to_vec);
        let mut level = Level::of_root(&record);
        if let Some(image) = image {
            let expanded = self.expand(&image);
            level.tree.root = self.note_failure(expanded)?;
            level.expanded = true;
        }
        level.expires_at = expires_at;
        self.open_level(level, name);
        Ok(())
    }

    fn open_level(&mut self, mut level: Level, name: &[u8]) {
        level.name = self.names.pop().unwrap_or_default();
        level.name.clear();
        level.name.extend_from_slice(name);
        self.serials += 1;
        level.serial = self.serials;
        self.levels.push(level);
    }

    fn check_depth(&self) -> Result<()> {
        let found = self.levels.len();
        match found <= BUCKET_DEPTH_MAX {
            true => Ok(()),
            false => Err(Error::too_large("bucket depth", BUCKET_DEPTH_MAX as u64, found as u64)),
        }
    }

    /// Gives an inline bucket a page of its own while it is open.
    fn expand(&mut self, image: &[u8]) -> Result<PageRef> {
        let id = self.pages.allocate(1)?;
        let epoch = self.pages.epoch();
        let written = LeafBuilder::of(&Leaf::new(image)).write(self.pages.page_mut(id, 1), epoch);
        assert!(written, "an image is smaller than a page");
        Ok(PageRef::unsealed(id))
    }

    /// Closes the innermost bucket and brings its record in the parent up to date.
    pub(crate) fn leave(&mut self) -> Result<()> {
        let level = self.levels.pop().expect("invariant: a bucket is open");
        assert!(!self.levels.is_empty(), "the root level is never left");
        let closed = self.close(&level);
        self.names.push(level.name);
        self.note_failure(closed)
    }

    fn close(&mut self, level: &Level) -> Result<()> {
        let root = level.tree.root;
        if !level.dirty {
            // Nothing was written: the parent still has the image that this page was made of.
            return if level.expanded { self.pages.retire(root, 1) } else { Ok(()) };
        }
        let owned = !root.id.is_none() && self.pages.is_owned(root.id);
        let mut record = level.record();
        let mut with_image = Vec::new();
        if owned && let Some(small) = self.small_leaf(root, level.name.len())? {
            record.root = PageRef::NONE;
            with_image.reserve_exact(RECORD_BYTES + small.used_bytes());
            with_image.extend_from_slice(&record.encode());
            small.append_image(&mut with_image);
            self.pages.retire(root, 1)?;
        }
        let record = record.encode();
        let payload = if with_image.is_empty() { &record[..] } else { &with_image };
        let parent = self.levels.last_mut().expect("invariant: the root level is always open");
        parent.dirty = true;
        let payload = Payload::Bucket(payload);
        // Of a bucket with pages of its own only the root has changed, and the number of entries.
        if with_image.is_empty()
            && !level.is_new
            && tree::overwrite(&mut self.pages, &mut parent.tree, &level.name, &payload)?
        {
            return Ok(());
        }
        let entry = Entry { key: &level.name, payload, expires_at: level.expires_at };
        let replaced = tree::insert(&mut self.pages, &mut parent.tree, &entry)?;
        debug_assert!(!level.is_new || replaced.is_none(), "a name that was vacant is taken");
        Ok(())
    }

    /// The entries of a bucket that is one leaf, small enough to lie in its parent's entry.
    fn small_leaf(&self, root: PageRef, name_bytes: usize) -> Result<Option<LeafBuilder>> {
        let page = self.pages.page(root)?;
        if page::header::tree_level(page) != Some(0) {
            return Ok(None);
        }
        let leaf = tree::leaf_of(&self.pages, page)?;
        let room = limits::inline_bucket_bytes_max(self.pages.page_bytes());
        let fits = leaf.used_bytes() + name_bytes <= room;
        Ok(fits.then(|| LeafBuilder::of(&leaf)))
    }

    /// Creates an empty bucket in the innermost one.
    pub(crate) fn create(&mut self, name: &[u8]) -> Result<()> {
        self.check_vacant(name)?;
        let record = BucketRecord::EMPTY.encode();
        self.insert(&Entry { key: name, payload: Payload::Bucket(&record), expires_at: 0 })?;
        self.log(Operation::Create { name })
    }

    /// Creates an empty bucket in the innermost one, and opens it. Its entry in the parent is
    /// written once, when it is left.
    pub(crate) fn create_and_enter(&mut self, name: &[u8]) -> Result<()> {
        self.check_vacant(name)?;
        self.check_depth()?;
        self.log(Operation::Create { name })?;
        let mut level = Level::of_root(&BucketRecord::EMPTY);
        (level.is_new, level.dirty) = (true, true);
        self.open_level(level, name);
        Ok(())
    }

    /// Refuses a name that no bucket can be created under.
    fn check_vacant(&self, name: &[u8]) -> Result<()> {
        self.check_key("bucket name", name)?;
        if let Some(entry) = tree::get(&self.pages, self.level().tree.root(), name)? {
            let name = name.to_vec();
            return Err(Error::from(match entry.payload {
                Payload::Bucket(_) => ErrorKind::BucketExists { name },
                _ => ErrorKind::NotABucket { name },
            }));
        }
        Ok(())
    }

    /// Drops a bucket of the innermost one with all it holds: detached now, freed in steps.
    pub(crate) fn drop_bucket_here(&mut self, name: &[u8]) -> Result<()> {
        self.check_failed()?;
        match tree::get(&self.pages, self.level().tree.root(), name)? {
            None => return Err(Error::from(ErrorKind::BucketNotFound { name: name.to_vec() })),
            Some(Entry { payload: Payload::Bucket(_), .. }) => {}
            Some(_) => return Err(Error::from(ErrorKind::NotABucket { name: name.to_vec() })),
        }
        if let Some(ReplacedPayload::Bucket(record)) = self.remove(name)?.map(|old| old.payload) {
            let detached = self.detach(&record);
            self.note_failure(detached)?;
        }
        self.log(Operation::Drop { name })
    }

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
            Some((ReplacedPayload::Bucket(record), expires_at)) => {
                // A bucket is never replaced by a value. It is rare enough to be put back.
                self.put_back(key, &record, expires_at)?;
                return Err(Error::from(ErrorKind::IsABucket { name: key.to_vec() }));
            }
            Some((ReplacedPayload::Overflow { run, len }, _)) => self.retire_run(run, len)?,
            Some((ReplacedPayload::Value { .. }, _)) | None => {}
        }
        self.note_expiry(key, expires_at, before)?;
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
            ReplacedPayload::Bucket(record) => {
                self.put_back(key, &record, expires_at)?;
                return Err(Error::from(ErrorKind::IsABucket { name: key.to_vec() }));
            }
            ReplacedPayload::Overflow { run, len } => self.retire_run(run, len)?,
            ReplacedPayload::Value { .. } => {}
        }
        self.log(Operation::Delete { key })?;
        Ok(expires_at == 0 || expires_at > self.time_ms)
    }

    /// Writes a bucket's record where it was, over whatever took its place.
    fn put_back(&mut self, key: &[u8], record: &[u8], expires_at: u64) -> Result<()> {
        let entry = Entry { key, payload: Payload::Bucket(record), expires_at };
        match self.insert(&entry)?.map(|old| old.payload) {
            Some(ReplacedPayload::Overflow { run, len }) => self.retire_run(run, len),
            _ => Ok(()),
        }
    }

    /// Sets the innermost bucket's sequence number.
    pub(crate) fn set_sequence(&mut self, number: u64) -> Result<()> {
        self.check_failed()?;
        let level = self.levels.last_mut().expect("invariant: the root level is always open");
        level.sequence = number;
        level.dirty = true;
        self.log(Operation::Sequence { number })
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

    /// Applies an operation of the log.
    pub(crate) fn apply(&mut self, operation: Operation<'_>) -> Result<()> {
        match operation {
            Operation::Enter { name } => self.enter(name),
            Operation::Leave { levels } => {
                let left = (self.levels.len() as u64).saturating_sub(levels).max(1);
                self.return_to(usize::try_from(left).unwrap_or(1))
            }
            Operation::Put { key, value, expires_at } => self.put(key, value, expires_at),
            Operation::Delete { key } => self.delete(key).map(|_| ()),
            Operation::Create { name } => self.create(name),
            Operation::Drop { name } => self.drop_bucket_here(name),
            Operation::Sequence { .. } if mutation::is(Mutation::SequenceNotReplayed) => Ok(()),
            Operation::Sequence { number } => self.set_sequence(number),
        }
    }

    /// Has the leaves fetched where keys belong, `GET_MANY_WIDTH` at most, that will soon change.
    pub(crate) fn expect<'k>(&self, keys: impl Iterator<Item = &'k [u8]> + Clone) {
        let root = self.level().tree.root;
        if !root.id.is_none() {
            // A hint: whoever needs a damaged page will tell of it.
            let _told_later = tree::expect_leaves(&self.pages, root, keys);
        }
    }

    fn insert(&mut self, entry: &Entry<'_>) -> Result<Option<Replaced>> {
        let level = self.levels.last_mut().expect("invariant: the root level is always open");
        level.dirty = true;
        let inserted = tree::insert(&mut self.pages, &mut level.tree, entry);
        self.note_failure(inserted)
    }

    fn remove(&mut self, key: &[u8]) -> Result<Option<Replaced>> {
        let level = self.levels.last_mut().expect("invariant: the root level is always open");
        let removed = tree::remove(&mut self.pages, &mut level.tree, key);
        if !matches!(removed, Ok(None)) {
            level.dirty = true;
        }
        self.note_failure(removed)
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

    /// Checks a key or bucket name, and that the transaction is still good.
    pub(crate) fn check_key(&self, what: &'static str, key: &[u8]) -> Result<()> {
        self.check_failed()?;
        let max = key_bytes_max(self.pages.page_bytes());
        match key.len() {
            0 => Err(Error::invalid(format!("expected a {what} of 1 to {max} bytes, found 0"))),
            len if len > max => Err(Error::too_large(what, max as u64, len as u64)),
            _ => Ok(()),
        }
    }

    fn page_bytes(&self) -> usize {
        self.pages.page_bytes()
    }

    /// Notes an operation for the log, after the steps from the bucket of the last one.
    fn log(&mut self, operation: Operation<'_>) -> Result<()> {
        let Some(record) = &mut self.record else { return Ok(()) };
        let store: &Store = self.pages.writer.store();
        let open = &self.levels[1..];
        let logged = &mut self.logged;
        let same = logged.iter().zip(open).take_while(|(a, b)| **a == b.serial).count();
        let mut push = |operation| record.push(operation, store);
        let mut noted = Ok(());
        if logged.len() > same {
            noted = push(Operation::Leave { levels: (logged.len() - same) as u64 });
            logged.truncate(same);
        }
        for level in &open[same..] {
            noted = noted.and_then(|()| push(Operation::Enter { name: &level.name }));
            logged.push(level.serial);
        }
        let noted = noted.and_then(|()| push(operation));
        let noted = noted.map_err(|error| store.note_log_failure(error));
        self.note_failure(noted)
    }
}

fn check_value(value: &[u8]) -> Result<()> {
    match value.len() {
        len if len > VALUE_BYTES_MAX => {
            Err(Error::too_large("value", VALUE_BYTES_MAX as u64, len as u64))
        }
        _ => Ok(()),
    }
}
