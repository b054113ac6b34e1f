//! Snapshots: read transactions that own what they need.

use std::fmt;
use std::time::SystemTime;

use crate::bucket::{Bucket, BucketNames};
use crate::error::Result;
use crate::ids::TxnId;
use crate::options::ReadOptions;
use crate::txn::{Pin, Store};
use std::sync::Arc;

/// The database as it was at one moment, to be kept and sent anywhere. It pins what it can reach
/// until it is dropped, as a read transaction does.
pub struct Snapshot {
    pin: Pin,
    store: Arc<Store>,
}

impl Snapshot {
    /// Pins the published root.
    pub(crate) fn new(store: Arc<Store>, options: &ReadOptions) -> Result<Snapshot> {
        Ok(Snapshot { pin: Pin::with(&store, options)?, store })
    }

    /// The database's revision at that moment.
    #[must_use]
    pub fn id(&self) -> TxnId {
        self.pin.root.txn
    }

    /// The snapshot's clock; see [`ReadTxn::now`](crate::ReadTxn::now).
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.pin.view(&self.store).now()
    }

    /// A top-level bucket.
    ///
    /// # Errors
    /// As [`ReadTxn::bucket`](crate::ReadTxn::bucket).
    pub fn bucket(&self, name: impl AsRef<[u8]>) -> Result<Bucket<'_>> {
        self.root().bucket(name)
    }

    /// The names of the top-level buckets, in order.
    ///
    /// # Errors
    /// As [`ReadTxn::buckets`](crate::ReadTxn::buckets).
    pub fn buckets(&self) -> Result<BucketNames<'_>> {
        self.root().buckets()
    }

    /// When the top-level bucket `name` expires; `None` when it stays for good.
    ///
    /// # Errors
    /// As [`bucket`](Snapshot::bucket).
    pub fn bucket_expiry(&self, name: impl AsRef<[u8]>) -> Result<Option<SystemTime>> {
        self.root().bucket_expiry(name)
    }

    /// The same in milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        self.pin.view(&self.store).now_ms()
    }

    /// What it is a snapshot of, and what it holds there.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn pin(&self) -> &Pin {
        &self.pin
    }

    fn root(&self) -> Bucket<'_> {
        Bucket::of_pin(&self.store, &self.pin)
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.pin.release(&self.store);
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("id", &self.id()).finish_non_exhaustive()
    }
}
