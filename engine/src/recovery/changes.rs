//! Changes of values out of many log records, in the order of their buckets and keys.
//!
//! Two changes of different keys may be made in either order, as long as no bucket is created or
//! dropped between them. Made in the order of their keys they come to each leaf once, and of those
//! to one key only the last has to be made.
//!
//! Never looks at a page. Invariants:
//! 1. Changes are taken bucket by bucket, in the order of keys, each key once with its last change.

use std::collections::HashMap;

use crate::mutation::{self, Mutation};
use crate::txn::Operation;

/// Number of a bucket among those that the records name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct BucketNumber(u32);

/// The bucket that holds the top-level buckets.
pub(super) const ROOT: BucketNumber = BucketNumber(0);

/// A value written or removed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'r> {
    pub(super) bucket: BucketNumber,
    /// How many changes were noted before this one.
    pub(super) number: u32,
    /// The first bytes of the key, which nearly always decide.
    head: u64,
    pub(super) operation: Operation<'r>,
}

impl<'r> Change<'r> {
    /// The key that is changed.
    #[inline]
    pub(super) fn key(&self) -> &'r [u8] {
        self.operation.key().expect("invariant: only changes of values are noted")
    }
}

/// What records change, and the names of the buckets where.
#[derive(Debug)]
pub(super) struct Changes<'r> {
    changes: Vec<Change<'r>>,
    /// The parent and the name of each bucket; the root, which has neither, comes first.
    buckets: Vec<(BucketNumber, &'r [u8])>,
    numbers: HashMap<(u32, &'r [u8]), BucketNumber>,
    sequences: Vec<(BucketNumber, u64)>,
}

impl<'r> Changes<'r> {
    /// For about so many changes.
    pub(super) fn new(expected: usize) -> Changes<'r> {
        Changes {
            changes: Vec::with_capacity(expected),
            buckets: vec![(ROOT, b"")],
            numbers: HashMap::new(),
            sequences: Vec::new(),
        }
    }

    /// The bucket of this name in another one.
    pub(super) fn within(&mut self, parent: BucketNumber, name: &'r [u8]) -> BucketNumber {
        let next = BucketNumber(narrow(self.buckets.len()));
        let number = *self.numbers.entry((parent.0, name)).or_insert(next);
        if number == next {
            self.buckets.push((parent, name));
        }
        number
    }

    /// The bucket so many levels up, or the root.
    pub(super) fn outside(&self, bucket: BucketNumber, levels: u64) -> BucketNumber {
        let (mut at, mut left) = (bucket, levels);
        while left > 0 && at != ROOT {
            (at, left) = (self.buckets[at.0 as usize].0, left - 1);
        }
        at
    }

    /// The names that lead to a bucket, from the root on.
    pub(super) fn path(&self, bucket: BucketNumber) -> Vec<&'r [u8]> {
        let mut names = Vec::new();
        let mut at = bucket;
        while at != ROOT {
            let (parent, name) = self.buckets[at.0 as usize];
            names.push(name);
            at = parent;
        }
        names.reverse();
        names
    }

    /// Notes that the value of `key` is written or removed.
    pub(super) fn push(&mut self, bucket: BucketNumber, key: &'r [u8], operation: Operation<'r>) {
        debug_assert_eq!(operation.key(), Some(key));
        let number = narrow(self.changes.len());
        self.changes.push(Change { bucket, number, head: head(key), operation });
    }

    /// Notes that a bucket's sequence number is set.
    pub(super) fn set_sequence(&mut self, bucket: BucketNumber, number: u64) {
        self.sequences.push((bucket, number));
    }

    /// How many changes were noted.
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Takes the changes and the sequence numbers. The buckets stay known.
    pub(super) fn take(&mut self) -> (Vec<Change<'r>>, Vec<(BucketNumber, u64)>) {
        let mut changes = std::mem::take(&mut self.changes);
        changes.sort_unstable_by(|a, b| {
            let order = |it: &Change<'_>| (it.bucket, it.head);
            let keys = || a.key().cmp(b.key()).then(a.number.cmp(&b.number));
            order(a).cmp(&order(b)).then_with(keys)
        });
        // The last of each key comes to lie where the first one was.
        let keeps_first = mutation::is(Mutation::FirstChangeReplayed);
        changes.dedup_by(|later, kept| {
            let same = later.bucket == kept.bucket && later.key() == kept.key();
            if same && !keeps_first {
                *kept = *later;
            }
            same
        });
        (changes, std::mem::take(&mut self.sequences))
    }
}

/// The first eight bytes of a key as a number, so that numbers order as the bytes do.
fn head(key: &[u8]) -> u64 {
    let mut head = [0; 8];
    let len = key.len().min(8);
    head[..len].copy_from_slice(&key[..len]);
    u64::from_be_bytes(head)
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).expect("invariant: changes are made before there are so many")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_comes_once_with_its_last_change_in_the_order_of_buckets_and_keys() {
        let keys: Vec<String> = (0..500).map(|n| format!("key {}", n * 7 % 90)).collect();
        let values: Vec<String> = (0..500).map(|n| n.to_string()).collect();
        let mut changes = Changes::new(9);
        let a = changes.within(ROOT, b"a");
        let b = changes.within(a, b"a");
        for (at, (key, value)) in keys.iter().zip(&values).enumerate() {
            let (key, bucket) = (key.as_bytes(), if at % 3 == 0 { b } else { a });
            let operation = match at % 5 {
                0 => Operation::Delete { key },
                _ => Operation::Put { key, value: value.as_bytes(), expires_at: 0 },
            };
            changes.push(bucket, key, operation);
        }
        let noted = changes.changes.clone();
        let (taken, _) = changes.take();
        assert!(taken.is_sorted_by(|x, y| (x.bucket, x.key()) < (y.bucket, y.key())));
        for change in &taken {
            let same = |it: &&Change<'_>| (it.bucket, it.key()) == (change.bucket, change.key());
            let last = noted.iter().rfind(same).unwrap();
            assert_eq!((last.number, last.operation), (change.number, change.operation));
        }
        let places: std::collections::BTreeSet<_> =
            noted.iter().map(|it| (it.bucket, it.key())).collect();
        assert_eq!(taken.len(), places.len());
        assert_eq!(changes.len(), 0);
    }

    #[test]
    fn buckets_are_known_by_their_paths() {
        let mut changes = Changes::new(9);
        let outer = changes.within(ROOT, b"outer");
        let inner = changes.within(outer, b"inner");
        assert_ne!(changes.within(ROOT, b"inner"), inner);
        assert_eq!(changes.within(outer, b"inner"), inner);
        assert_eq!(changes.path(inner), [&b"outer"[..], b"inner"]);
        assert_eq!(changes.path(ROOT), [&b""[..]; 0]);
        let outside = |levels| changes.outside(inner, levels);
        assert_eq!((outside(0), outside(1), outside(2), outside(9)), (inner, outer, ROOT, ROOT));
    }
}
