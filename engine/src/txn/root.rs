//! Roots: one version of the whole database each, and the one that readers see.
//!
//! The published root lies in two cells of plain numbers, used in turn, so that a reader takes its
//! copy without a lock, a reference count or an allocation.
//!
//! Invariants:
//! 1. Roots are published by one thread at a time, in the order of their epochs.
//! 2. A cell is rewritten only while the other one is the published one. A reader that finds the
//!    same publication number before and after its copy has a whole root.

use crate::ids::{Epoch, PageId, PageRef, TxnId};
use crate::page::BucketRecord;
#[cfg(loom)]
use crate::sync::atomic::fence;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The key of the list of expiries in the system bucket. Those of dropped buckets have eight bytes.
pub(crate) const DUE: &[u8] = &[0];

/// One version of the database, as the writer knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    /// Number of this version.
    pub(crate) epoch: Epoch,
    /// The last transaction in it.
    pub(crate) txn: TxnId,
    /// The bucket that holds the top-level buckets.
    pub(crate) buckets: BucketRecord,
    /// The bucket of the engine's own: buckets that were dropped and wait to be freed, and the
    /// list of expiries.
    pub(crate) system: BucketRecord,
}

#[cfg(any(test, loom))]
impl Root {
    /// A database in which nothing was ever written.
    pub(crate) const EMPTY: Root = Root {
        epoch: Epoch(0),
        txn: TxnId(0),
        buckets: BucketRecord::EMPTY,
        system: BucketRecord::EMPTY,
    };
}

/// What a reader needs of a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PublishedRoot {
    pub(crate) epoch: Epoch,
    pub(crate) txn: TxnId,
    pub(crate) buckets: BucketRecord,
}

impl PublishedRoot {
    /// For model checks, which publish roots that differ in their epoch alone.
    #[cfg(loom)]
    pub(crate) fn is_consistent(&self) -> bool {
        self.txn.0 == 0 && self.buckets == BucketRecord::EMPTY
    }
}

/// Epoch, transaction, root page and its checksum, entries, sequence.
const WORDS: usize = 5;

/// The root that readers see.
#[derive(Debug)]
pub(crate) struct Published {
    /// Counts publications; the lowest bit says which cell holds the root.
    number: AtomicU64,
    cells: [[AtomicU64; WORDS]; 2],
}

impl Published {
    /// Publishes the empty root.
    pub(crate) fn new() -> Published {
        let cell = || std::array::from_fn(|_| AtomicU64::new(0));
        Published { number: AtomicU64::new(0), cells: [cell(), cell()] }
    }

    /// The number of the publication and its root. The root may be torn if the number has moved
    /// on when it is read again.
    #[inline]
    pub(crate) fn load(&self) -> (u64, PublishedRoot) {
        let number = self.number.load(Ordering::SeqCst);
        let cell = &self.cells[usize::from(number & 1 == 1)];
        // Acquire pairs with the release in `publish`: whoever reads a word of a later publication
        // also sees that the number has moved.
        let word = |index: usize| cell[index].load(Ordering::Acquire);
        let root = PublishedRoot {
            epoch: Epoch(word(0)),
            txn: TxnId(word(1)),
            buckets: BucketRecord { root: unpack(word(2)), entries: word(3), sequence: word(4) },
        };
        (number, root)
    }

    /// Makes `root` the one that readers see from now on.
    pub(crate) fn publish(&self, root: &Root) {
        let number = self.number.load(Ordering::Relaxed).wrapping_add(1);
        let cell = &self.cells[usize::from(number & 1 == 1)];
        let Root { epoch, txn, buckets, .. } = root;
        let words = [epoch.0, txn.0, pack(buckets.root), buckets.entries, buckets.sequence];
        for (word, value) in cell.iter().zip(words) {
            word.store(value, Ordering::Release);
        }
        self.number.store(number, Ordering::SeqCst);
        full_fence();
    }
}

/// The order that the reader table rests on is that of sequentially consistent accesses. Loom gives
/// those to fences only, so a model run adds them; elsewhere the accesses suffice.
#[inline]
pub(super) fn full_fence() {
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}

fn pack(page: PageRef) -> u64 {
    u64::from(page.id.0) | u64::from(page.crc) << 32
}

#[inline]
fn unpack(word: u64) -> PageRef {
    PageRef { id: PageId(word as u32), crc: (word >> 32) as u32 }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_last_published_root_is_seen() {
        let published = Published::new();
        for epoch in 1..5 {
            let page = PageRef { id: PageId::arena(7), crc: u32::MAX };
            let buckets = BucketRecord { root: page, entries: 3, sequence: u64::MAX };
            let root = Root { epoch: Epoch(epoch), txn: TxnId(9), buckets, ..Root::EMPTY };
            published.publish(&root);
            let (number, seen) = published.load();
            assert_eq!(number, epoch);
            assert_eq!((seen.epoch, seen.txn, seen.buckets), (root.epoch, root.txn, buckets));
        }
    }
}
