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
use crate::limits::{self, BUCKET_DEPTH_MAX, key_bytes_max};
use crate::mutation::{self, Mutation};
use crate::page::bucket::RECORD_BYTES;
use crate::page::{self, BucketRecord, Entry, Leaf, LeafBuilder, Payload};
use crate::tree::{self, Pages, PagesMut, Replaced, ReplacedPayload};

use super::level::Level;
use super::operation::{Operation, RecordWriter};
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
        let expires_at = entry.expires_at;
        if self.has_expired(expires_at) {
            return Err(Error::from(ErrorKind::BucketNotFound { name: name.to_vec() }));
        }
        let Payload::Bucket(bytes) = entry.payload else {
            return Err(Error::from(ErrorKind::NotABucket { name: name.to_vec() }));
        };
        let record = BucketRecord::decode(bytes);
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
            && !level.expiry_is_new
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
        self.make_vacant(name)?;
        let record = BucketRecord::EMPTY.encode();
        self.insert(&Entry { key: name, payload: Payload::Bucket(&record), expires_at: 0 })?;
        self.log(Operation::Create { name })
    }

    /// Creates an empty bucket in the innermost one, and opens it. Its entry in the parent is
    /// written once, when it is left.
    pub(crate) fn create_and_enter(&mut self, name: &[u8]) -> Result<()> {
        self.make_vacant(name)?;
        self.check_depth()?;
        self.log(Operation::Create { name })?;
        let mut level = Level::of_root(&BucketRecord::EMPTY);
        (level.is_new, level.dirty) = (true, true);
        self.open_level(level, name);
        Ok(())
    }

    /// Refuses a name that no bucket can be created under. What has expired there is removed.
    fn make_vacant(&mut self, name: &[u8]) -> Result<()> {
        self.check_key("bucket name", name)?;
        let Some(entry) = tree::get(&self.pages, self.level().tree.root(), name)? else {
            return Ok(());
        };
        let is_bucket = matches!(entry.payload, Payload::Bucket(_));
        let name_taken = name.to_vec();
        match (is_bucket, self.has_expired(entry.expires_at)) {
            (true, true) => self.drop_entry(name),
            (false, true) => self.delete(name).map(|_| ()),
            (true, false) => Err(Error::from(ErrorKind::BucketExists { name: name_taken })),
            (false, false) => Err(Error::from(ErrorKind::NotABucket { name: name_taken })),
        }
    }

    /// Drops a bucket of the innermost one with all it holds: detached now, freed in steps.
    pub(crate) fn drop_bucket_here(&mut self, name: &[u8]) -> Result<()> {
        self.check_failed()?;
        let found = tree::get(&self.pages, self.level().tree.root(), name)?;
        match found.filter(|entry| !self.has_expired(entry.expires_at)) {
            None => Err(Error::from(ErrorKind::BucketNotFound { name: name.to_vec() })),
            Some(Entry { payload: Payload::Bucket(_), .. }) => self.drop_entry(name),
            Some(_) => Err(Error::from(ErrorKind::NotABucket { name: name.to_vec() })),
        }
    }

    /// Drops a bucket that is there, expired or not.
    pub(super) fn drop_entry(&mut self, name: &[u8]) -> Result<()> {
        if let Some(ReplacedPayload::Bucket(record)) = self.remove(name)?.map(|old| old.payload) {
            self.drop_record(name, &record)?;
        }
        Ok(())
    }

    /// Drops what a bucket holds that has no entry any more.
    pub(super) fn drop_record(&mut self, name: &[u8], record: &[u8]) -> Result<()> {
        let detached = self.detach(record);
        self.note_failure(detached)?;
        self.log(Operation::Drop { name })
    }

    /// Sets the innermost bucket's sequence number.
    pub(crate) fn set_sequence(&mut self, number: u64) -> Result<()> {
        self.check_failed()?;
        let level = self.levels.last_mut().expect("invariant: the root level is always open");
        level.sequence = number;
        level.dirty = true;
        self.log(Operation::Sequence { number })
    }

    /// Sets when the innermost bucket expires; 0 for never.
    pub(crate) fn set_bucket_expiry(&mut self, expires_at: u64) -> Result<()> {
        self.check_failed()?;
        if self.levels.len() == 1 {
            return Err(Error::invalid("expected an expiry of a bucket, found one of the root"));
        }
        let level = self.levels.last_mut().expect("invariant: the root level is always open");
        let before = std::mem::replace(&mut level.expires_at, expires_at);
        (level.expiry_is_new, level.dirty) = (true, true);
        self.note_expiry(None, expires_at, before)?;
        self.log(Operation::Expire { expires_at })
    }

    /// True when the transaction must not see what has this expiry.
    pub(super) fn has_expired(&self, expires_at: u64) -> bool {
        expires_at != 0 && expires_at <= self.time_ms
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
            Operation::Expire { expires_at } => self.set_bucket_expiry(expires_at),
        }
    }

    pub(super) fn insert(&mut self, entry: &Entry<'_>) -> Result<Option<Replaced>> {
        let level = self.levels.last_mut().expect("invariant: the root level is always open");
        level.dirty = true;
        let inserted = tree::insert(&mut self.pages, &mut level.tree, entry);
        self.note_failure(inserted)
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Result<Option<Replaced>> {
        let level = self.levels.last_mut().expect("invariant: the root level is always open");
        let removed = tree::remove(&mut self.pages, &mut level.tree, key);
        if !matches!(removed, Ok(None)) {
            level.dirty = true;
        }
        self.note_failure(removed)
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

    pub(super) fn page_bytes(&self) -> usize {
        self.pages.page_bytes()
    }

    /// Notes an operation for the log, after the steps from the bucket of the last one.
    pub(super) fn log(&mut self, operation: Operation<'_>) -> Result<()> {
        self.log_with(|record, store| record.push(operation, store))
    }

    /// The same for what `push_last` notes.
    pub(super) fn log_with(
        &mut self,
        push_last: impl FnOnce(&mut RecordWriter, &Store) -> Result<()>,
    ) -> Result<()> {
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
        let noted = noted.and_then(|()| push_last(record, store));
        let noted = noted.map_err(|error| store.note_log_failure(error));
        self.note_failure(noted)
    }
}
