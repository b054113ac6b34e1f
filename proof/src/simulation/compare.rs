//! Comparing all that a reader sees with the reference.

use bristlecone::{Bucket, BucketNames, Db, ReadTxn, Result, Snapshot, WriteTxn};

use super::reference::{Entry, Now, Tree};

/// What can open buckets.
pub trait Reads {
    /// A top-level bucket.
    fn top(&self, name: &[u8]) -> Result<Bucket<'_>>;
    /// The names of the top-level buckets.
    fn names(&self) -> Result<BucketNames<'_>>;
}

macro_rules! reads {
    ($type:ty) => {
        impl Reads for $type {
            fn top(&self, name: &[u8]) -> Result<Bucket<'_>> {
                self.bucket(name)
            }

            fn names(&self) -> Result<BucketNames<'_>> {
                self.buckets()
            }
        }
    };
}

reads!(ReadTxn<'_>);
reads!(Snapshot);
reads!(WriteTxn);

/// Panics unless the whole file is sound, no page lost and none in use twice.
pub fn assert_sound(db: &Db) -> Result<()> {
    let report = db.check(&mut |_| {})?;
    assert!(report.is_sound(), "{:#?}", report.problems);
    assert_eq!(report.pages_reachable + report.pages_free, report.pages, "{report:?}");
    Ok(())
}

/// Panics unless the reader sees exactly the reference: every bucket, pair, count and sequence.
pub fn assert_same(reader: &dyn Reads, root: &Tree, now: Now) -> Result<()> {
    let names: Vec<&[u8]> = reader.names()?.collect::<Result<_>>()?;
    let expected: Vec<&[u8]> = root.buckets().map(|(name, _)| name).collect();
    assert_eq!(names, expected, "top-level buckets");
    let mut waiting: Vec<(Bucket<'_>, &Tree)> = Vec::new();
    for (name, tree) in root.buckets() {
        waiting.push((reader.top(name)?, tree));
    }
    while let Some((bucket, tree)) = waiting.pop() {
        assert_eq!(bucket.len(), tree.entries.len() as u64, "entries of a bucket");
        assert_eq!(bucket.sequence(), tree.sequence, "sequence of a bucket");
        assert_same_pairs(&bucket, tree, now)?;
        let names: Vec<&[u8]> = bucket.buckets()?.collect::<Result<_>>()?;
        let expected: Vec<&[u8]> = tree.buckets().map(|(name, _)| name).collect();
        assert_eq!(names, expected, "nested buckets");
        for (name, nested) in tree.buckets() {
            waiting.push((bucket.bucket(name)?, nested));
        }
    }
    Ok(())
}

fn assert_same_pairs(bucket: &Bucket<'_>, tree: &Tree, now: Now) -> Result<()> {
    let mut found = bucket.iter()?;
    let mut next = found.next().transpose()?;
    for (key, entry) in &tree.entries {
        let Entry::Value { bytes, expires_at } = entry else { continue };
        let is_here = next.is_some_and(|(found, _)| found == &key[..]);
        if now.shows(*expires_at).unwrap_or(is_here) {
            let (found_key, found_value) = next.expect("a pair that the reference has");
            assert_eq!(found_key.escape_ascii().to_string(), key.escape_ascii().to_string());
            assert!(found_value == &bytes[..], "the value of {:?}", key.escape_ascii());
            next = found.next().transpose()?;
        }
    }
    assert_eq!(next.map(|(key, _)| key), None, "a pair that the reference does not have");
    Ok(())
}
