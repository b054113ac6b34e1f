//! Buckets that may be gone by now, by the names that lead to them.

use crate::error::{Error, ErrorKind, Result};
use crate::ids::PageRef;
use crate::page::{BucketRecord, Payload};
use crate::tree::{self, Root};
use crate::txn::{Pin, Store};

/// The root page of a bucket as readers see it; none where it has none of its own.
pub(super) fn root_of<'a>(
    store: &Store,
    pin: &Pin,
    names: impl Iterator<Item = &'a [u8]>,
) -> Result<PageRef> {
    let mut record = pin.buckets().encode().to_vec();
    for name in names {
        let entry = tree::get(&store.memory, Root::of_bucket(&record), name)?;
        record = match entry.map(|entry| entry.payload) {
            Some(Payload::Bucket(record)) => record.to_vec(),
            _ => return Ok(PageRef::NONE),
        };
    }
    Ok(BucketRecord::decode(&record).root)
}

/// False where there is no such bucket any more.
pub(super) fn is_entered(entered: Result<()>) -> Result<bool> {
    let is_gone = |error: &Error| {
        matches!(error.kind(), ErrorKind::BucketNotFound { .. } | ErrorKind::NotABucket { .. })
    };
    match entered {
        Err(error) if is_gone(&error) => Ok(false),
        entered => entered.map(|()| true),
    }
}
