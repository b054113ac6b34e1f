//! The read transaction: one root, pinned for as long as it is read.
//!
//! Never waits for a writer, never makes one wait. Invariants:
//! 1. All reads of a transaction see one root and one time: a record that has expired for one
//!    read has expired for all.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::Result;
use crate::ids::TxnId;
use crate::options::ReadOptions;
use crate::page::BucketRecord;
use crate::pager::PageMemory;

use super::deadline::{Deadline, TxnClock};
use super::readers::{Claim, Note};
use super::root::PublishedRoot;
use super::store::Store;
use std::sync::Arc;

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
    /// Pins the published root, for as long as the database's options let it be read.
    // Always inline, as what it is made of: a root that is stored by words and then copied as a
    // whole makes the processor wait for the stores, some 4 ns each time.
    #[inline(always)]
    pub(crate) fn begin(store: &'db Store) -> Result<ReadTxn<'db>> {
        Ok(ReadTxn { store, pin: Pin::by_default(store)? })
    }

    /// Pins the published root for a reader with a label or a deadline.
    pub(crate) fn begin_with(store: &'db Store, options: &ReadOptions) -> Result<ReadTxn<'db>> {
        Ok(ReadTxn { store, pin: Pin::with(store, options)? })
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
        self.pin.view(self.store)
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
    clock: TxnClock,
}

impl Pin {
    #[inline(always)]
    pub(crate) fn new(store: &Store) -> Result<Pin> {
        let began_ns = store.host.monotonic_tick_ns();
        let (claim, root) = store.readers.pin(&store.published, began_ns)?;
        Ok(Pin { claim, root, clock: TxnClock::unread() })
    }

    /// As [`Pin::new`], with the deadline that the database's options say.
    // The rare case returns words of its own: a pin that it had a reference to would be in memory,
    // and not in registers, in the common case too.
    #[inline(always)]
    fn by_default(store: &Store) -> Result<Pin> {
        let mut pin = Pin::new(store)?;
        if let Some(after) = store.options.reader_deadline {
            pin.clock = TxnClock::ending(limit(store, pin.claim.slot, None, after));
        }
        Ok(pin)
    }

    /// As [`Pin::new`], for one of the engine's own readers.
    pub(crate) fn labelled(store: &Store, label: &str) -> Result<Pin> {
        let pin = Pin::new(store)?;
        store.readers.note(pin.claim.slot, Note { label: Some(label.into()), deadline: None });
        Ok(pin)
    }

    /// As [`Pin::new`], for a reader with a label or a deadline.
    pub(crate) fn with(store: &Store, options: &ReadOptions) -> Result<Pin> {
        options.validate()?;
        let mut pin = Pin::new(store)?;
        let (slot, label) = (pin.claim.slot, options.label.clone());
        match options.deadline_in(&store.options) {
            Some(after) => pin.clock = TxnClock::ending(limit(store, slot, label, after)),
            None if label.is_some() => store.readers.note(slot, Note { label, deadline: None }),
            None => {}
        }
        Ok(pin)
    }

    /// How to read what is pinned.
    #[inline]
    pub(crate) fn view<'txn>(&'txn self, store: &'txn Store) -> View<'txn> {
        View { store, clock: &self.clock }
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

/// Lets the reader in this slot read for so long from now on.
#[cold]
fn limit(store: &Store, slot: usize, label: Option<Arc<str>>, after: Duration) -> Box<Deadline> {
    let deadline = Box::new(Deadline::new(label.clone(), store.host.monotonic_ns(), after));
    store.readers.note(slot, Note { label, deadline: Some((after, deadline.end_ns())) });
    deadline
}

/// Pages and a clock: what a bucket needs to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'txn> {
    pub(crate) store: &'txn Store,
    pub(crate) clock: &'txn TxnClock,
}

impl<'txn> View<'txn> {
    #[inline]
    pub(crate) fn pages(self) -> &'txn PageMemory {
        &self.store.memory
    }

    /// Refuses a read after the transaction's deadline.
    #[inline(always)]
    pub(crate) fn check_deadline(self) -> Result<()> {
        match self.clock.deadline() {
            None => Ok(()),
            Some(deadline) => deadline.check(&*self.store.host),
        }
    }

    /// True for a transaction with a deadline, of which each step of a scan has to ask.
    #[inline(always)]
    pub(crate) fn has_deadline(self) -> bool {
        self.clock.deadline().is_some()
    }

    /// True when a record with this expiry is still visible to the transaction.
    #[inline]
    pub(crate) fn is_visible(self, expires_at: u64) -> bool {
        expires_at == 0 || expires_at > self.now_ms()
    }

    /// The transaction's time, for users.
    pub(crate) fn now(self) -> SystemTime {
        // Some hundred million years: clocks tell less.
        UNIX_EPOCH + Duration::from_millis(self.now_ms().min(i64::MAX as u64))
    }

    pub(crate) fn now_ms(self) -> u64 {
        self.clock.now_ms(|| self.store.now_ms())
    }
}
