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
            let name = key.escape_ascii();
            let (found_key, found_value) = next.unwrap_or_else(|| {
                panic!("{name} is missing, which ends at {expires_at}, {now:?}")
            });
            assert_eq!(found_key.escape_ascii().to_string(), key.escape_ascii().to_string());
            assert!(found_value == &bytes[..], "the value of {}", key.escape_ascii());
            next = found.next().transpose()?;
        }
    }
    assert_eq!(next.map(|(key, _)| key), None, "a pair that the reference does not have");
    Ok(())
}

/// What a database showed that may be damaged.
#[derive(Clone, Copy, Default, Debug)]
pub struct Shown {
    /// Reads that gave what they should.
    pub right: u64,
    /// Reads that reported damage.
    pub damaged: u64,
}

impl Shown {
    /// The answer, if there was one. Panics when the read failed by anything but damage.
    fn note<T>(&mut self, read: Result<T>) -> Option<T> {
        match read {
            Ok(answer) => {
                self.right += 1;
                Some(answer)
            }
            Err(error) => {
                assert!(error.is_corrupt(), "expected an answer or damage, found {error}");
                self.damaged += 1;
                None
            }
        }
    }
}

/// Reads everything in each way, and panics if something is shown that the reference does not have,
/// or something is missing without an error.
pub fn assert_agrees(reader: &dyn Reads, root: &Tree, now: Now) -> Shown {
    let mut shown = Shown::default();
    if let Some(names) = shown.note(reader.names()) {
        agree_in_order(&mut shown, names, root.buckets().map(|(name, _)| name));
    }
    let mut waiting: Vec<(Bucket<'_>, &Tree)> = Vec::new();
    for (name, tree) in root.buckets() {
        waiting.extend(shown.note(reader.top(name)).map(|bucket| (bucket, &**tree)));
    }
    while let Some((bucket, tree)) = waiting.pop() {
        assert_eq!(bucket.len(), tree.entries.len() as u64, "entries of a bucket");
        assert_eq!(bucket.sequence(), tree.sequence, "sequence of a bucket");
        agree_on_pairs(&mut shown, &bucket, tree, now);
        if let Some(names) = shown.note(bucket.buckets()) {
            agree_in_order(&mut shown, names, tree.buckets().map(|(name, _)| name));
        }
        for (name, nested) in tree.buckets() {
            waiting.extend(shown.note(bucket.bucket(name)).map(|bucket| (bucket, &**nested)));
        }
    }
    shown
}

/// The names up to the first damage must be the first of those expected.
fn agree_in_order<'a, 'b>(
    shown: &mut Shown,
    found: impl Iterator<Item = Result<&'a [u8]>>,
    mut expected: impl Iterator<Item = &'b [u8]>,
) {
    for name in found {
        let Some(name) = shown.note(name) else { return };
        assert_eq!(Some(name), expected.next(), "the name of a bucket");
    }
    assert_eq!(expected.next(), None, "a bucket is missing without an error");
}

fn agree_on_pairs(shown: &mut Shown, bucket: &Bucket<'_>, tree: &Tree, now: Now) {
    // Expiry may be uncertain: then either answer is right.
    let mut expected = tree.entries.iter().filter_map(|(key, entry)| match entry {
        Entry::Value { bytes, expires_at } => Some((&key[..], &bytes[..], now.shows(*expires_at))),
        Entry::Bucket(_) => None,
    });
    for (key, value, shows) in expected.clone() {
        if let Some(found) = shown.note(bucket.get(key)) {
            let right = match found {
                Some(found) => found == value && shows != Some(false),
                None => shows != Some(true),
            };
            assert!(right, "the value of {}", key.escape_ascii());
        }
    }
    let Some(pairs) = shown.note(bucket.iter()) else { return };
    for pair in pairs {
        let Some((key, value)) = shown.note(pair) else { return };
        let next = expected.find(|(expected, _, shows)| *expected == key || *shows == Some(true));
        let right = next.is_some_and(|next| next.0 == key && next.1 == value);
        assert!(right, "a pair that is not there: {}", key.escape_ascii());
    }
    let missing = expected.find(|(_, _, shows)| *shows == Some(true));
    assert!(missing.is_none(), "a pair is missing without an error");
}
