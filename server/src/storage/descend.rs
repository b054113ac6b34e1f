//! Opens buckets by their paths.
//!
//! Never creates one unless its name says so. A path is never empty and has a bounded depth, see
//! [`BucketPath`]; the recursion goes no deeper than the path.

use bristlecone::{Bucket, BucketMut, Error, ErrorKind, ReadTxn, Result, WriteTxn};

use crate::names::BucketPath;

/// What is done in a bucket that was opened for writing.
type Work<'w, T> = &'w mut dyn FnMut(&mut BucketMut<'_>) -> Result<T>;

/// The bucket at `path`, for reading.
pub(crate) fn bucket_at<'txn>(txn: &'txn ReadTxn<'_>, path: &BucketPath) -> Result<Bucket<'txn>> {
    let (first, rest) = split(path)?;
    rest.iter().try_fold(txn.bucket(first)?, |bucket, name| bucket.bucket(name))
}

/// Does `work` in the bucket at `path`.
pub(crate) fn with_bucket<T>(
    txn: &mut WriteTxn,
    path: &BucketPath,
    work: Work<'_, T>,
) -> Result<T> {
    let (first, rest) = split(path)?;
    enter(&mut txn.bucket_mut(first)?, rest, work)
}

/// Does `work` in the bucket at `path`, which is created with those on the way if it is missing.
pub(crate) fn with_new_bucket<T>(
    txn: &mut WriteTxn,
    path: &BucketPath,
    work: Work<'_, T>,
) -> Result<T> {
    let (first, rest) = split(path)?;
    create(&mut txn.create_bucket_if_missing(first)?, rest, work)
}

fn enter<T>(bucket: &mut BucketMut<'_>, rest: &[Vec<u8>], work: Work<'_, T>) -> Result<T> {
    match rest.split_first() {
        None => work(bucket),
        Some((name, rest)) => enter(&mut bucket.bucket_mut(name)?, rest, work),
    }
}

fn create<T>(bucket: &mut BucketMut<'_>, rest: &[Vec<u8>], work: Work<'_, T>) -> Result<T> {
    match rest.split_first() {
        None => work(bucket),
        Some((name, rest)) => create(&mut bucket.create_bucket_if_missing(name)?, rest, work),
    }
}

fn split(path: &BucketPath) -> Result<(&Vec<u8>, &[Vec<u8>])> {
    path.names().split_first().ok_or_else(|| {
        let reason = "expected the path of a bucket, found the root".to_owned();
        Error::from(ErrorKind::InvalidArgument { reason })
    })
}
