//! Comparing all that a reader sees with the reference.

use std::ops::ControlFlow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    let report = db.check(&mut |_| ControlFlow::Continue(()))?;
    assert!(report.is_sound(), "{:#?}", report.problems);
    assert_eq!(report.pages_reachable + report.pages_free, report.pages, "{report:?}");
    Ok(())
}

/// Panics unless the reader sees exactly the reference: every bucket, pair, count and sequence.
pub fn assert_same(reader: &dyn Reads, root: &Tree, now: Now) -> Result<()> {
    let names: Vec<&[u8]> = reader.names()?.collect::<Result<_>>()?;
    let mut waiting: Vec<(Bucket<'_>, &Tree)> = Vec::new();
    for (name, tree) in expected_buckets(&names, root, now) {
        waiting.push((reader.top(name)?, tree));
    }
    while let Some((bucket, tree)) = waiting.pop() {
        assert_eq!(bucket.len(), tree.entries.len() as u64, "entries of a bucket");
        assert_eq!(bucket.sequence(), tree.sequence, "sequence of a bucket");
        assert_same_pairs(&bucket, tree, now)?;
        let names: Vec<&[u8]> = bucket.buckets()?.collect::<Result<_>>()?;
        for (name, nested) in expected_buckets(&names, tree, now) {
            assert_eq!(bucket.bucket_expiry(name)?, time_of(nested.expires_at));
            waiting.push((bucket.bucket(name)?, nested));
        }
    }
    Ok(())
}

/// Panics unless these are the names of the buckets that are visible; one whose time may be over
/// may be there or not. Returns those that are there.
fn expected_buckets<'t>(names: &[&[u8]], tree: &'t Tree, now: Now) -> Vec<(&'t [u8], &'t Tree)> {
    let is_here = |name: &[u8]| names.binary_search(&name).is_ok();
    let shows = |(name, tree): &(&[u8], &Tree)| now.shows(tree.expires_at).unwrap_or(is_here(name));
    let expected: Vec<_> =
        tree.buckets().map(|(name, tree)| (name, &**tree)).filter(shows).collect();
    assert_eq!(names, expected.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "buckets");
    expected
}

fn time_of(expires_at: u64) -> Option<SystemTime> {
    (expires_at != 0).then(|| UNIX_EPOCH + Duration::from_millis(expires_at))
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
    /// The bucket, if there was an answer; it may be missing unless it `shows` for sure.
    fn note_bucket<'a>(
        &mut self,
        opened: Result<Bucket<'a>>,
        shows: Option<bool>,
    ) -> Option<Bucket<'a>> {
        match opened {
            Err(error) if error.is_bucket_not_found() && shows != Some(true) => {
                self.right += 1;
                None
            }
            opened => {
                assert!(opened.is_err() || shows != Some(false), "a bucket that has expired");
                self.note(opened)
            }
        }
    }

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
        agree_on_names(&mut shown, names, root, now);
    }
    let mut waiting: Vec<(Bucket<'_>, &Tree)> = Vec::new();
    for (name, tree) in root.buckets() {
        let opened = shown.note_bucket(reader.top(name), now.shows(tree.expires_at));
        waiting.extend(opened.map(|bucket| (bucket, &**tree)));
    }
    while let Some((bucket, tree)) = waiting.pop() {
        assert_eq!(bucket.len(), tree.entries.len() as u64, "entries of a bucket");
        assert_eq!(bucket.sequence(), tree.sequence, "sequence of a bucket");
        agree_on_pairs(&mut shown, &bucket, tree, now);
        if let Some(names) = shown.note(bucket.buckets()) {
            agree_on_names(&mut shown, names, tree, now);
        }
        for (name, nested) in tree.buckets() {
            let opened = shown.note_bucket(bucket.bucket(name), now.shows(nested.expires_at));
            waiting.extend(opened.map(|bucket| (bucket, &**nested)));
        }
    }
    shown
}

/// The names up to the first damage must be the first of those expected; one whose bucket may have
/// expired may be missing.
fn agree_on_names<'a>(
    shown: &mut Shown,
    found: impl Iterator<Item = Result<&'a [u8]>>,
    tree: &Tree,
    now: Now,
) {
    let mut expected = tree.buckets().map(|(name, tree)| (name, now.shows(tree.expires_at)));
    for name in found {
        let Some(name) = shown.note(name) else { return };
        let next = expected.find(|(expected, shows)| *expected == name || *shows == Some(true));
        let right = next.is_some_and(|next| next.0 == name && next.1 != Some(false));
        assert!(right, "the name of a bucket, {}", name.escape_ascii());
    }
    let missing = expected.find(|(_, shows)| *shows == Some(true));
    assert!(missing.is_none(), "a bucket is missing without an error");
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
        let right =
            next.is_some_and(|next| next.0 == key && next.1 == value && next.2 != Some(false));
        assert!(right, "a pair that is not there: {}", key.escape_ascii());
    }
    let missing = expected.find(|(_, _, shows)| *shows == Some(true));
    assert!(missing.is_none(), "a pair is missing without an error");
}
