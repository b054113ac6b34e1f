//! Random reads of one bucket, each compared with the reference.

use std::ops::Bound;

use bristlecone::{Bucket, Error, ErrorKind, Result};

use super::random::Random;
use super::reference::{Entry, Now, Tree};
use super::shape::Shape;

/// One bucket and what it must hold.
pub(crate) struct Reading<'a> {
    pub(crate) bucket: Bucket<'a>,
    pub(crate) tree: &'a Tree,
    pub(crate) now: Now,
}

impl Reading<'_> {
    /// Makes one random read.
    pub(crate) fn step(&self, random: &mut Random, shape: &Shape) -> Result<()> {
        match random.weighted(&[30, 10, 6, 10, 8, 12, 4, 4]) {
            0 => self.get(&self.some_key(random, shape)),
            1 => self.get_value(&self.some_key(random, shape)),
            2 => self.get_many(random, shape),
            3 => self.range(random, shape),
            4 => self.prefix(random, shape),
            5 => self.walk(random, shape),
            6 => self.ends(),
            _ => self.nested(random, shape),
        }
    }

    /// A key that is there, or a key that may be.
    fn some_key(&self, random: &mut Random, shape: &Shape) -> Vec<u8> {
        some_key(self.tree, random, shape)
    }

    fn get(&self, key: &[u8]) -> Result<()> {
        if self.tree.shows_bucket(key, self.now) {
            let error = self.bucket.get(key).expect_err("a bucket is not a value");
            expect(matches!(error.kind(), ErrorKind::IsABucket { .. }), error)?;
            assert!(!self.bucket.contains(key)?);
            return Ok(());
        }
        let expected = self.tree.value(key, self.now);
        assert!(self.bucket.get(key)? == expected, "get {}", key.escape_ascii());
        assert_eq!(self.bucket.contains(key)?, expected.is_some());
        Ok(())
    }

    fn get_value(&self, key: &[u8]) -> Result<()> {
        if self.tree.shows_bucket(key, self.now) {
            return Ok(());
        }
        let found = self.bucket.get_value(key)?;
        let expected = self.tree.value(key, self.now);
        assert!(found.map(|value| value.bytes) == expected, "value {}", key.escape_ascii());
        if let (Some(found), Some(Entry::Value { expires_at, .. })) =
            (found, self.tree.entries.get(key))
        {
            let since = |time: std::time::SystemTime| {
                time.duration_since(std::time::UNIX_EPOCH).map(|since| since.as_millis() as u64)
            };
            let found = found.expires_at.map(since).transpose().expect("an expiry after 1970");
            assert_eq!(found.unwrap_or(0), *expires_at);
        }
        Ok(())
    }

    fn get_many(&self, random: &mut Random, shape: &Shape) -> Result<()> {
        let count = random.pick(&[0, 1, 3, 16, 17, 50]);
        let keys: Vec<Vec<u8>> = (0..count).map(|_| self.some_key(random, shape)).collect();
        let found = self.bucket.get_many(&keys);
        if keys.iter().any(|key| self.tree.shows_bucket(key, self.now)) {
            let error = found.expect_err("a bucket is not a value");
            expect(matches!(error.kind(), ErrorKind::IsABucket { .. }), error)?;
            return Ok(());
        }
        let expected: Vec<_> = keys.iter().map(|key| self.tree.value(key, self.now)).collect();
        assert!(found? == expected, "get_many of {count} keys");
        Ok(())
    }

    fn range(&self, random: &mut Random, shape: &Shape) -> Result<()> {
        let mut bound = || {
            let key = self.some_key(random, shape);
            match random.below(3) {
                0 => Bound::Unbounded,
                1 => Bound::Included(key),
                _ => Bound::Excluded(key),
            }
        };
        let bounds = (bound(), bound());
        let lies_within = |key: &[u8]| {
            let after = match &bounds.0 {
                Bound::Unbounded => true,
                Bound::Included(start) => key >= &start[..],
                Bound::Excluded(start) => key > &start[..],
            };
            let before = match &bounds.1 {
                Bound::Unbounded => true,
                Bound::Included(end) => key <= &end[..],
                Bound::Excluded(end) => key < &end[..],
            };
            after && before
        };
        let expected = self.tree.pairs(self.now).filter(|(key, _)| lies_within(key));
        self.both_ways(self.bucket.range(bounds.clone())?, expected, random)
    }

    fn prefix(&self, random: &mut Random, shape: &Shape) -> Result<()> {
        let mut prefix = self.some_key(random, shape);
        prefix.truncate(random.below(prefix.len() + 1));
        if random.percent(5) {
            prefix.push(0xff);
        }
        let expected = self.tree.pairs(self.now).filter(|(key, _)| key.starts_with(&prefix));
        self.both_ways(self.bucket.prefix(&prefix)?, expected, random)
    }

    /// Takes pairs from both ends in random order, up to a random number, and then perhaps keys.
    fn both_ways<'t>(
        &self,
        mut found: bristlecone::Range<'_>,
        mut expected: impl DoubleEndedIterator<Item = (&'t [u8], &'t [u8])>,
        random: &mut Random,
    ) -> Result<()> {
        let backward = random.pick(&[0, 100, 50]);
        for _ in 0..random.pick(&[1, 8, 30, 1000]) {
            let (found, expected) = match random.percent(backward) {
                true => (found.next_back(), expected.next_back()),
                false => (found.next(), expected.next()),
            };
            assert!(found.transpose()? == expected, "a range differs");
            if expected.is_none() {
                break;
            }
        }
        if random.percent(70) {
            return Ok(());
        }
        let (mut found, mut expected) = (found.keys(), expected.map(|(key, _)| key));
        loop {
            let (found, expected) = match random.percent(backward) {
                true => (found.next_back(), expected.next_back()),
                false => (found.next(), expected.next()),
            };
            assert!(found.transpose()? == expected, "the keys of a range differ");
            if expected.is_none() {
                return Ok(());
            }
        }
    }

    /// A cursor, moved at random.
    fn walk(&self, random: &mut Random, shape: &Shape) -> Result<()> {
        let mut cursor = self.bucket.cursor();
        let pairs: Vec<(&[u8], &[u8])> = self.tree.pairs(self.now).collect();
        let mut at: Option<usize> = None;
        for _ in 0..1 + random.below(12) {
            let found = match random.below(8) {
                0 => {
                    at = (!pairs.is_empty()).then_some(0);
                    cursor.seek_to_first()?
                }
                1 => {
                    at = pairs.len().checked_sub(1);
                    cursor.seek_to_last()?
                }
                2 => {
                    let key = self.some_key(random, shape);
                    at = Some(pairs.partition_point(|pair| pair.0 < &key[..]));
                    cursor.seek(&key)?
                }
                3 => {
                    let key = self.some_key(random, shape);
                    at = pairs.partition_point(|pair| pair.0 <= &key[..]).checked_sub(1);
                    cursor.seek_back(&key)?
                }
                4 | 5 => {
                    at = Some(at.map_or(0, |at| at + 1));
                    cursor.next()?
                }
                _ => {
                    at = at.map_or(pairs.len(), |at| at).checked_sub(1);
                    cursor.prev()?
                }
            };
            at = at.filter(|at| *at < pairs.len());
            assert!(found == at.map(|at| pairs[at]), "a cursor differs");
            assert!(cursor.current() == found);
        }
        Ok(())
    }

    fn ends(&self) -> Result<()> {
        assert!(self.bucket.first()? == self.tree.pairs(self.now).next());
        assert!(self.bucket.last()? == self.tree.pairs(self.now).next_back());
        assert_eq!(self.bucket.len(), self.tree.entries.len() as u64);
        assert_eq!(self.bucket.is_empty(), self.tree.entries.is_empty());
        assert_eq!(self.bucket.sequence(), self.tree.sequence);
        Ok(())
    }

    fn nested(&self, random: &mut Random, shape: &Shape) -> Result<()> {
        let name = self.some_key(random, shape);
        match (self.bucket.bucket(&name), self.tree.visible(&name, self.now)) {
            (Ok(found), Some(Entry::Bucket(tree))) => {
                assert_eq!(found.len(), tree.entries.len() as u64);
                assert_eq!(found.sequence(), tree.sequence);
                Ok(())
            }
            (Err(error), Some(Entry::Value { .. })) => {
                expect(matches!(error.kind(), ErrorKind::NotABucket { .. }), error)?;
                Ok(())
            }
            (Err(error), None) if error.is_bucket_not_found() => Ok(()),
            (Err(error), _) => Err(error),
            (Ok(_), _) => panic!("a bucket that the reference does not have"),
        }
    }
}

/// A key that is there, or one that may be.
pub(crate) fn some_key(tree: &Tree, random: &mut Random, shape: &Shape) -> Vec<u8> {
    let fresh = shape.key(random);
    if random.percent(30) {
        return fresh;
    }
    let after = tree.entries.range::<[u8], _>((Bound::Included(&fresh[..]), Bound::Unbounded));
    let found = after.map(|(key, _)| key).next().or_else(|| tree.entries.keys().next());
    found.cloned().unwrap_or(fresh)
}

/// An error that was expected is none; another one is the caller's to judge.
pub(super) fn expect(expected: bool, error: Error) -> Result<()> {
    if expected { Ok(()) } else { Err(error) }
}
