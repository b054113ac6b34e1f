//! The methods that open buckets, added to the transactions.

use std::time::SystemTime;

use crate::error::Result;
use crate::txn::{ReadTxn, WriteTxn};

use super::range::BucketNames;
use super::read::Bucket;
use super::write::{self, BucketMut};

/// The root holds the top-level buckets; it is the outermost level of a transaction.
const ROOT_DEPTH: usize = 1;

impl ReadTxn<'_> {
    /// A top-level bucket.
    ///
    /// # Errors
    /// `BucketNotFound` when it is missing; `Corrupt` when a page on the way is damaged;
    /// `ReaderExpired` after the transaction's deadline, if it has one.
    #[inline(always)]
    pub fn bucket(&self, name: impl AsRef<[u8]>) -> Result<Bucket<'_>> {
        Bucket::top(self.view(), &self.pin, name.as_ref())
    }

    /// The names of the top-level buckets, in order.
    ///
    /// # Errors
    /// `ReaderExpired` after the transaction's deadline, if it has one; so each name too, and
    /// `Corrupt` when a page on the way is damaged.
    pub fn buckets(&self) -> Result<BucketNames<'_>> {
        self.root().buckets()
    }

    /// When the top-level bucket `name` expires; `None` when it stays for good.
    ///
    /// # Errors
    /// As [`bucket`](ReadTxn::bucket).
    pub fn bucket_expiry(&self, name: impl AsRef<[u8]>) -> Result<Option<SystemTime>> {
        self.root().bucket_expiry(name)
    }

    /// The bucket that holds the top-level buckets.
    #[inline]
    pub(crate) fn root(&self) -> Bucket<'_> {
        Bucket::of_root(self.view(), self.pin.buckets())
    }
}

impl WriteTxn {
    /// A top-level bucket as this transaction sees it, for reading. What a [`BucketMut`] that was
    /// leaked has created or changed shows when the transaction is next written to.
    ///
    /// # Errors
    /// As [`ReadTxn::bucket`].
    pub fn bucket(&self, name: impl AsRef<[u8]>) -> Result<Bucket<'_>> {
        self.root().bucket(name)
    }

    /// The names of the top-level buckets, in order.
    ///
    /// # Errors
    /// As [`ReadTxn::buckets`].
    pub fn buckets(&self) -> Result<BucketNames<'_>> {
        self.root().buckets()
    }

    /// When the top-level bucket `name` expires; `None` when it stays for good.
    ///
    /// # Errors
    /// As [`bucket`](WriteTxn::bucket).
    pub fn bucket_expiry(&self, name: impl AsRef<[u8]>) -> Result<Option<SystemTime>> {
        self.root().bucket_expiry(name)
    }

    /// Opens a top-level bucket for writing.
    ///
    /// # Errors
    /// `BucketNotFound` when it is missing.
    pub fn bucket_mut(&mut self, name: impl AsRef<[u8]>) -> Result<BucketMut<'_>> {
        BucketMut::enter(self, ROOT_DEPTH, name.as_ref())
    }

    /// Creates a top-level bucket.
    ///
    /// # Errors
    /// `BucketExists`; `InvalidArgument` or `TooLarge` for a name that cannot be.
    pub fn create_bucket(&mut self, name: impl AsRef<[u8]>) -> Result<BucketMut<'_>> {
        write::create(self, ROOT_DEPTH, name.as_ref())
    }

    /// Opens a top-level bucket for writing, creating it if it is missing.
    ///
    /// # Errors
    /// As [`create_bucket`](WriteTxn::create_bucket), `BucketExists` apart.
    pub fn create_bucket_if_missing(&mut self, name: impl AsRef<[u8]>) -> Result<BucketMut<'_>> {
        write::open_or_create(self, ROOT_DEPTH, name.as_ref())
    }

    /// Drops a top-level bucket and all it holds; see [`BucketMut::drop_bucket`].
    ///
    /// # Errors
    /// `BucketNotFound` when it is missing.
    pub fn drop_bucket(&mut self, name: impl AsRef<[u8]>) -> Result<()> {
        self.return_to(ROOT_DEPTH)?;
        self.drop_bucket_here(name.as_ref())
    }

    fn root(&self) -> Bucket<'_> {
        Bucket::of_root(self.view(), self.levels[0].record())
    }
}
