//! The read transaction: one root, pinned for as long as it is read.
//!
//! Never waits for a writer, never makes one wait. Invariants:
//! 1. All reads of a transaction see one root and one time: a record that has expired for one
//!    read has expired for all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::Result;
use crate::ids::TxnId;
use crate::page::BucketRecord;
use crate::pager::PageMemory;

use super::readers::Claim;
use super::root::PublishedRoot;
use super::store::Store;

/// A transaction that reads. Any number at once, on any threads.
///
/// It sees the database as it was when it began. Keys and values are borrowed from it without a
/// copy. While it lives, the pages it can reach are kept.
#[derive(Debug)]
pub struct ReadTxn<'db> {
    store: &'db Store,
    pub(crate) pin: Pin,
}

impl<'db> ReadTxn<'db> {
    /// Pins the published root.
    // Always inline, as what it is made of: a root that is stored by words and then copied as a
    // whole makes the processor wait for the stores, some 4 ns each time.
    #[inline(always)]
    pub(crate) fn begin(store: &'db Store) -> Result<ReadTxn<'db>> {
        Ok(ReadTxn { store, pin: Pin::new(store)? })
    }

    /// The transaction whose commit made what is read: the database's revision.
    #[must_use]
    pub fn id(&self) -> TxnId {
        self.pin.root.txn
    }

    /// The transaction's clock: all that has expired by then is hidden. Read when it is first
    /// needed, here or by a read that meets a value with an expiry; never earlier than any commit
    /// before.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.view().now()
    }

    /// How to read what is pinned.
    #[inline]
    pub(crate) fn view(&self) -> View<'_> {
        View { store: self.store, now_ms: &self.pin.now_ms }
    }
}

impl Drop for ReadTxn<'_> {
    #[inline]
    fn drop(&mut self) {
        self.pin.release(self.store);
    }
}

/// A pinned root. Whoever holds it must release it with its store.
#[derive(Debug)]
pub(crate) struct Pin {
    claim: Claim,
    pub(crate) root: PublishedRoot,
    /// The transaction's clock; zero until it is first asked for.
    pub(crate) now_ms: AtomicU64,
}

impl Pin {
    #[inline(always)]
    pub(crate) fn new(store: &Store) -> Result<Pin> {
        let (claim, root) = store.readers.pin(&store.published)?;
        Ok(Pin { claim, root, now_ms: AtomicU64::new(0) })
    }

    #[inline]
    pub(crate) fn release(&self, store: &Store) {
        store.readers.release(&self.claim);
    }

    /// The bucket that holds the top-level buckets.
    #[inline]
    pub(crate) fn buckets(&self) -> BucketRecord {
        self.root.buckets
    }
}

/// Pages and a clock: what a bucket needs to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'txn> {
    pub(crate) store: &'txn Store,
    pub(crate) now_ms: &'txn AtomicU64,
}

impl<'txn> View<'txn> {
    #[inline]
    pub(crate) fn pages(self) -> &'txn PageMemory {
        &self.store.memory
    }

    /// True when a record with this expiry is still visible to the transaction.
    #[inline]
    pub(crate) fn is_visible(self, expires_at: u64) -> bool {
        expires_at == 0 || expires_at > self.now_ms()
    }

    /// The same, for users.
    pub(crate) fn now(self) -> SystemTime {
        // Some hundred million years: clocks tell less.
        UNIX_EPOCH + Duration::from_millis(self.now_ms().min(i64::MAX as u64))
    }

    /// The transaction's clock: read once, when the first record that can expire is met.
    fn now_ms(self) -> u64 {
        match self.now_ms.load(Ordering::Relaxed) {
            0 => {
                let now = self.store.now_ms().max(1);
                match self.now_ms.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => now,
                    Err(earlier) => earlier,
                }
            }
            known => known,
        }
    }
}
