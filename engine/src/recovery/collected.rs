//! Changes of values out of many log records, in the order of their buckets and keys.
//!
//! Two changes of different keys may be made in either order, as long as no bucket is created or
//! dropped between them. Made in the order of their keys they come to each leaf once, and of those
//! to one key only the last has to be made.
//!
//! Never looks at a page. Invariants:
//! 1. Changes are taken bucket by bucket, in the order of keys, each key once with its last change.

use std::collections::{BTreeMap, HashMap};

use crate::codec::key_head;
use crate::limits::BUCKET_DEPTH_MAX;
use crate::mutation::{self, Mutation};
use crate::txn::Operation;
use crate::wal::Position;

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
pub(super) struct Collected<'r> {
    changes: Vec<Change<'r>>,
    /// The root, which has neither a parent nor a name, comes first.
    buckets: Vec<Place<'r>>,
    numbers: HashMap<(u32, &'r [u8]), BucketNumber>,
    sequences: BTreeMap<BucketNumber, u64>,
    /// Where each record ends in the log that has changes, and the number of its first one.
    records: Vec<(u32, Position)>,
}

/// A bucket.
#[derive(Debug)]
struct Place<'r> {
    parent: BucketNumber,
    name: &'r [u8],
    depth: usize,
}

/// What was noted, to be made.
#[derive(Debug)]
pub(super) struct Taken<'r> {
    /// In order.
    pub(super) changes: Vec<Change<'r>>,
    /// The last number of each sequence that is set.
    pub(super) sequences: BTreeMap<BucketNumber, u64>,
    records: Vec<(u32, Position)>,
}

impl Taken<'_> {
    /// Where the record of a change ends in the log.
    pub(super) fn end_of(&self, change: &Change<'_>) -> Position {
        let after = self.records.partition_point(|(first, _)| *first <= change.number);
        let record = after.checked_sub(1).and_then(|at| self.records.get(at));
        record.expect("invariant: a change is noted after its record").1
    }
}

impl<'r> Collected<'r> {
    /// For about so many changes.
    pub(super) fn new(expected: usize) -> Collected<'r> {
        Collected {
            changes: Vec::with_capacity(expected),
            buckets: vec![Place { parent: ROOT, name: b"", depth: 0 }],
            numbers: HashMap::new(),
            sequences: BTreeMap::new(),
            records: Vec::new(),
        }
    }

    /// Says that what is noted from here on is of the record that ends there.
    pub(super) fn begin_record(&mut self, end: Position) {
        let first = narrow(self.changes.len());
        self.records.pop_if(|(other, _)| *other == first);
        self.records.push((first, end));
    }

    /// The bucket of this name in another one. `Err` says what was expected and what was found.
    pub(super) fn within(
        &mut self,
        parent: BucketNumber,
        name: &'r [u8],
    ) -> Result<BucketNumber, String> {
        let next = BucketNumber(narrow(self.buckets.len()));
        let number = *self.numbers.entry((parent.0, name)).or_insert(next);
        if number == next {
            let depth = self.buckets[parent.0 as usize].depth + 1;
            if depth > BUCKET_DEPTH_MAX {
                return Err(format!("buckets {depth} deep, {BUCKET_DEPTH_MAX} at most"));
            }
            self.buckets.push(Place { parent, name, depth });
        }
        Ok(number)
    }

    /// The bucket so many levels up, or the root.
    pub(super) fn outside(&self, bucket: BucketNumber, levels: u64) -> BucketNumber {
        let (mut at, mut left) = (bucket, levels);
        while left > 0 && at != ROOT {
            (at, left) = (self.buckets[at.0 as usize].parent, left - 1);
        }
        at
    }

    /// The names that lead to a bucket, from the root on.
    pub(super) fn path(&self, bucket: BucketNumber) -> Vec<&'r [u8]> {
        let mut names = Vec::new();
        let mut at = bucket;
        while at != ROOT {
            let place = &self.buckets[at.0 as usize];
            names.push(place.name);
            at = place.parent;
        }
        names.reverse();
        names
    }

    /// Notes that the value of `key` is written or removed.
    pub(super) fn push(&mut self, bucket: BucketNumber, key: &'r [u8], operation: Operation<'r>) {
        debug_assert_eq!(operation.key(), Some(key));
        let number = narrow(self.changes.len());
        self.changes.push(Change { bucket, number, head: key_head(key), operation });
    }

    /// Notes that a bucket's sequence number is set.
    pub(super) fn set_sequence(&mut self, bucket: BucketNumber, number: u64) {
        self.sequences.insert(bucket, number);
    }

    /// How many changes were noted.
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Takes what was noted. The buckets stay known.
    pub(super) fn take(&mut self) -> Taken<'r> {
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
        let records = std::mem::take(&mut self.records);
        let last = records.last().map(|(_, end)| (0, *end));
        self.records.extend(last);
        Taken { changes, sequences: std::mem::take(&mut self.sequences), records }
    }
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
        let mut changes = Collected::new(9);
        let a = changes.within(ROOT, b"a").unwrap();
        let b = changes.within(a, b"a").unwrap();
        for (at, (key, value)) in keys.iter().zip(&values).enumerate() {
            changes.begin_record(Position { offset: at as u64 / 3, ..Position::START });
            let (key, bucket) = (key.as_bytes(), if at % 3 == 0 { b } else { a });
            let operation = match at % 5 {
                0 => Operation::Delete { key },
                _ => Operation::Put { key, value: value.as_bytes(), expires_at: 0 },
            };
            changes.push(bucket, key, operation);
        }
        let noted = changes.changes.clone();
        let all = changes.take();
        let taken = &all.changes;
        assert!(taken.is_sorted_by(|x, y| (x.bucket, x.key()) < (y.bucket, y.key())));
        for change in taken {
            let same = |it: &&Change<'_>| (it.bucket, it.key()) == (change.bucket, change.key());
            let last = noted.iter().rfind(same).unwrap();
            assert_eq!((last.number, last.operation), (change.number, change.operation));
            assert_eq!(all.end_of(change).offset, u64::from(last.number) / 3);
        }
        let places: std::collections::BTreeSet<_> =
            noted.iter().map(|it| (it.bucket, it.key())).collect();
        assert_eq!(taken.len(), places.len());
        assert_eq!(changes.len(), 0);
    }

    #[test]
    fn buckets_are_known_by_their_paths() {
        let mut changes = Collected::new(9);
        let outer = changes.within(ROOT, b"outer").unwrap();
        let inner = changes.within(outer, b"inner").unwrap();
        assert_ne!(changes.within(ROOT, b"inner").unwrap(), inner);
        assert_eq!(changes.within(outer, b"inner").unwrap(), inner);
        assert_eq!(changes.path(inner), [&b"outer"[..], b"inner"]);
        assert_eq!(changes.path(ROOT), [&b""[..]; 0]);
        let outside = |levels| changes.outside(inner, levels);
        assert_eq!((outside(0), outside(1), outside(2), outside(9)), (inner, outer, ROOT, ROOT));
        let mut deep = inner;
        (2..BUCKET_DEPTH_MAX).for_each(|_| deep = changes.within(deep, b"x").unwrap());
        assert!(changes.within(deep, b"x").is_err());
    }
}
