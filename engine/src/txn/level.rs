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
    pub(super) expires_at: u64,
    /// Tells levels apart that had the same place on the stack at different times.
    pub(super) serial: u64,
    /// True when its root page was made of an inline image, for as long as it is open.
    pub(super) expanded: bool,
    /// True when the record in the parent is out of date.
    pub(super) dirty: bool,
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
            dirty: false,
        }
    }

    /// What the parent or the root says of it.
    pub(crate) fn record(&self) -> BucketRecord {
        BucketRecord { root: self.tree.root, entries: self.tree.entries, sequence: self.sequence }
    }
}
