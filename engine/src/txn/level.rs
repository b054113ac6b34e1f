//! One open bucket of a write transaction.

use crate::page::BucketRecord;
use crate::tree::Tree;

/// One open bucket.
#[derive(Debug)]
pub(crate) struct Level {
    /// Its key in the parent; empty for the root.
    pub(super) name: Vec<u8>,
    pub(crate) tree: Tree,
    pub(crate) sequence: u64,
    /// The bucket's own expiry, as its entry in the parent says.
    pub(crate) expires_at: u64,
    /// Tells levels apart that had the same place on the stack at different times.
    pub(super) serial: u64,
    /// True when its root page was made of an inline image, for as long as it is open.
    pub(super) expanded: bool,
    /// True when it was created when it was opened: the parent has no entry of it yet.
    pub(super) is_new: bool,
    /// True when the expiry in the parent's entry is out of date.
    pub(super) expiry_is_new: bool,
    /// True when the record in the parent is out of date.
    pub(super) dirty: bool,
}

/// Memory of a transaction's open buckets, for the next transaction.
#[derive(Debug, Default)]
pub(crate) struct Stack {
    levels: Vec<Level>,
    logged: Vec<u64>,
    names: Vec<Vec<u8>>,
}

/// Names that are kept for their memory, and how long they may be.
const NAMES_KEPT: usize = 4;
const NAME_BYTES_KEPT: usize = 256;

impl Stack {
    /// The memory, emptied: levels, serials of levels, names.
    pub(super) fn take(&mut self) -> (Vec<Level>, Vec<u64>, Vec<Vec<u8>>) {
        let Stack { levels, logged, names } = std::mem::take(self);
        (levels, logged, names)
    }

    /// Keeps the memory of a transaction that has ended.
    pub(super) fn keep(
        &mut self,
        mut levels: Vec<Level>,
        mut logged: Vec<u64>,
        mut names: Vec<Vec<u8>>,
    ) {
        levels.clear();
        logged.clear();
        names.truncate(NAMES_KEPT);
        names.iter_mut().for_each(|name| {
            name.clear();
            name.shrink_to(NAME_BYTES_KEPT);
        });
        *self = Stack { levels, logged, names };
    }
}

impl Level {
    /// A level that belongs to a root rather than to a parent's entry.
    pub(crate) fn of_root(record: &BucketRecord) -> Level {
        let tree = Tree { root: record.root, entries: record.entries };
        let sequence = record.sequence;
        Level {
            name: Vec::new(),
            tree,
            sequence,
            expires_at: 0,
            serial: 0,
            expanded: false,
            is_new: false,
            expiry_is_new: false,
            dirty: false,
        }
    }

    /// What the parent or the root says of it.
    pub(crate) fn record(&self) -> BucketRecord {
        BucketRecord { root: self.tree.root, entries: self.tree.entries, sequence: self.sequence }
    }
}
