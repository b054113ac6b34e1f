//! Loading a bucket with all that it holds, from what comes in the order of keys.
//!
//! Each bucket that is open has a tree in the making; when it is left, its record goes to that of
//! the bucket around it, with its entries where they are few. So every page is written once, full,
//! and nearly all of them to the file while the transaction runs ([`super::spill`]): of a load of
//! any size little is in memory. A value comes in pieces where it is long.
//!
//! Never looks whether a record has expired. Invariants:
//! 1. Between two calls the transaction is in the bucket of the innermost tree, whose level has no
//!    entry before its tree is finished.
//! 2. A load that is not finished leaves a transaction that can only roll back.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ids::PageRef;
use crate::limits::{self, VALUE_BYTES_MAX};
use crate::page::bucket::RECORD_BYTES;
use crate::page::{BucketRecord, Entry, LeafBuilder, Payload, overflow};
use crate::tree::{BulkBuilder, Pages, PagesMut, Tree};

use super::due::push_name;
use super::operation::Operation;
use super::spill::{Fill, WRITE_BYTES};
use super::values::check_value;
use super::write::WriteTxn;

/// So many bytes of leaves stay in memory.
const LOAD_SPILL_BYTES: usize = 64 << 10;

/// When the list of expiries learns of the records that are loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hints {
    /// With each record: the hints are in memory, all of them, until the transaction ends.
    Now,
    /// The caller sees to it later: [`WriteTxn::add_hints`].
    Later,
}

/// A load under way. Ends with [`Load::finish`], or with the transaction.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    txn: &'a mut WriteTxn,
    /// The trees of the open buckets, from the one that is filled on.
    open: Vec<BulkBuilder>,
    hints: Hints,
}

impl<'a> Load<'a> {
    /// Begins to fill the innermost bucket, which must be empty.
    pub(crate) fn begin(txn: &'a mut WriteTxn, hints: Hints) -> Result<Load<'a>> {
        txn.check_failed()?;
        let found = txn.level().tree.entries;
        if found > 0 {
            return Err(Error::invalid(format!("expected an empty bucket, found {found} entries")));
        }
        let spill_bytes = txn.store().options.spill_bytes;
        txn.pages.spill.allow(spill_bytes.min(LOAD_SPILL_BYTES));
        Ok(Load { txn, open: vec![BulkBuilder::new()], hints })
    }

    /// Creates a bucket in the innermost one, and enters it. `expires_at` 0 means for good.
    pub(crate) fn enter(&mut self, name: &[u8], sequence: u64, expires_at: u64) -> Result<()> {
        let entered = self.txn.create_and_enter(name);
        self.txn.note_failure(entered)?;
        if sequence != 0 {
            self.txn.set_sequence(sequence)?;
        }
        match self.hints {
            Hints::Now if expires_at != 0 => self.txn.set_bucket_expiry(expires_at)?,
            _ => {
                let level = self.txn.levels.last_mut().expect("invariant: just entered");
                level.expires_at = expires_at;
            }
        }
        self.open.push(BulkBuilder::new());
        Ok(())
    }

    /// Adds a record to the innermost bucket, behind all others.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8], expires_at: u64) -> Result<()> {
        check_value(value)?;
        let inline = Entry { key, payload: Payload::Value(value), expires_at };
        if !self.fits(&inline) {
            let mut rest = value;
            return self.put_long(key, value.len() as u32, expires_at, &mut |piece| {
                let (now, later) = rest.split_at(piece.len());
                piece.copy_from_slice(now);
                rest = later;
                Ok(())
            });
        }
        self.txn.check_key("key", key)?;
        self.push(&inline)?;
        self.txn.log(Operation::Put { key, value, expires_at })?;
        self.note_expiry(key, expires_at)
    }

    /// The same for a value of so many bytes, which `fill` writes piece by piece.
    pub(crate) fn put_long(
        &mut self,
        key: &[u8],
        len: u32,
        expires_at: u64,
        fill: Fill<'_>,
    ) -> Result<()> {
        self.txn.check_key("key", key)?;
        if len as usize > VALUE_BYTES_MAX {
            return Err(Error::too_large("value", VALUE_BYTES_MAX as u64, len.into()));
        }
        let placed = self.place_value(key, len, expires_at, fill);
        let payload = Payload::Overflow { run: self.txn.note_failure(placed)?, len };
        self.push(&Entry { key, payload, expires_at })?;
        self.note_expiry(key, expires_at)
    }

    /// Leaves the innermost bucket: its record is behind all others of the one around it.
    pub(crate) fn leave(&mut self) -> Result<()> {
        let builder = self.open.pop().expect("invariant: only what was entered is left");
        let level = self.txn.levels.pop().expect("invariant: it has a level");
        let left = record_of(self.txn, builder, level.sequence, level.name.len());
        let record = self.txn.note_failure(left)?;
        let payload = Payload::Bucket(&record);
        let entry = Entry { key: &level.name, payload, expires_at: level.expires_at };
        let pushed = self.push(&entry);
        self.txn.names.push(level.name);
        pushed
    }

    /// Ends the load: the bucket that was filled holds everything. REQUIRES: what was entered has
    /// been left.
    pub(crate) fn finish(mut self) -> Result<()> {
        let builder = self.open.pop().expect("invariant: a load has a bucket to fill");
        assert!(self.open.is_empty(), "all buckets that were entered are left");
        let tree = finish(self.txn, builder);
        let tree = self.txn.note_failure(tree)?;
        let spilled = self.txn.pages.finish_spilling();
        self.txn.note_failure(spilled)?;
        let level = self.txn.levels.last_mut().expect("invariant: the root level is always open");
        (level.tree, level.dirty) = (tree, true);
        Ok(())
    }

    fn fits(&self, inline: &Entry<'_>) -> bool {
        inline.stored_bytes() <= limits::inline_bytes_max(self.txn.pages.page_bytes())
    }

    fn push(&mut self, entry: &Entry<'_>) -> Result<()> {
        let innermost = self.open.last_mut().expect("invariant: a load has a bucket to fill");
        let pushed = innermost.push(&mut self.txn.pages, entry);
        self.txn.note_failure(pushed)
    }

    fn note_expiry(&mut self, key: &[u8], expires_at: u64) -> Result<()> {
        match self.hints {
            Hints::Now => self.txn.note_expiry(Some(key), expires_at, 0),
            Hints::Later => Ok(()),
        }
    }

    /// Writes a value to pages of its own, and to the log if there is one.
    fn place_value(
        &mut self,
        key: &[u8],
        len: u32,
        expires_at: u64,
        fill: Fill<'_>,
    ) -> Result<PageRef> {
        let txn = &mut *self.txn;
        txn.log_with(|record, store| record.push_put(key, len, expires_at, store))?;
        let store = Arc::clone(txn.store());
        let WriteTxn { pages, record, .. } = txn;
        let mut fill = |piece: &mut [u8]| {
            fill(piece)?;
            let Some(record) = record else { return Ok(()) };
            let noted = record.push_piece(piece, &*store);
            noted.map_err(|error| store.note_log_failure(error))
        };
        if let Some(run) = pages.spill_run(len, &mut fill)? {
            return Ok(run);
        }
        let count = overflow::run_pages(len, pages.page_bytes());
        let (epoch, id) = (pages.epoch(), pages.allocate(count)?);
        let rest = overflow::begin_run(pages.page_mut(id, count), count, epoch);
        let (content, padding) = rest.split_at_mut(len as usize);
        content.chunks_mut(WRITE_BYTES).try_for_each(&mut fill)?;
        padding.fill(0);
        Ok(PageRef::unsealed(id))
    }
}

/// The payload of the entry of a bucket that is finished, with its entries where they are few.
fn record_of(
    txn: &mut WriteTxn,
    builder: BulkBuilder,
    sequence: u64,
    name_bytes: usize,
) -> Result<Vec<u8>> {
    let room = limits::inline_bucket_bytes_max(txn.pages.page_bytes());
    let is_small = |leaf: &&LeafBuilder| leaf.used_bytes() + name_bytes <= room;
    let mut record = page_record(Tree::EMPTY, sequence);
    if let Some(leaf) = builder.only_leaf().filter(is_small) {
        record.entries = leaf.count() as u64;
        let mut bytes = Vec::with_capacity(RECORD_BYTES + leaf.used_bytes());
        bytes.extend_from_slice(&record.encode());
        if record.entries > 0 {
            leaf.append_image(&mut bytes);
        }
        return Ok(bytes);
    }
    let tree = builder.finish(&mut txn.pages)?;
    Ok(page_record(tree, sequence).encode().to_vec())
}

fn page_record(tree: Tree, sequence: u64) -> BucketRecord {
    BucketRecord { root: tree.root, entries: tree.entries, sequence }
}

/// The tree of the bucket that is filled. What may lie in the entry of a bucket is in memory, where
/// leaving the bucket finds it.
fn finish(txn: &mut WriteTxn, builder: BulkBuilder) -> Result<Tree> {
    let Some(leaf) = builder.only_leaf().filter(|leaf| leaf.count() > 0) else {
        return builder.finish(&mut txn.pages);
    };
    let (epoch, id) = (txn.epoch(), txn.pages.allocate(1)?);
    let fits = leaf.write(txn.pages.page_mut(id, 1), epoch);
    assert!(fits, "invariant: a leaf is closed before it is too full");
    Ok(Tree { root: PageRef::unsealed(id), entries: leaf.count() as u64 })
}

/// A record with an expiry, as a hint names it: its time, and [`place_of`] the record.
pub(crate) type Expiring = (u64, Vec<u8>);

/// The place of what these names lead to: those of the buckets, then the key.
pub(crate) fn place_of<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut place = Vec::new();
    names.into_iter().for_each(|name| push_name(&mut place, name));
    place
}

impl WriteTxn {
    /// Adds hints for records that have none.
    pub(crate) fn add_hints(&mut self, expiring: &[Expiring]) -> Result<()> {
        let added = expiring.iter().try_for_each(|(time_ms, place)| self.add_hint(*time_ms, place));
        self.note_failure(added)
    }
}
