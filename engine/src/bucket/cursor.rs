//! A cursor over the pairs of a bucket.

use crate::error::Result;
use crate::page::{Entry, Payload};
use crate::pager::PageMemory;
use crate::tree;

use super::read::Bucket;

impl<'txn> Bucket<'txn> {
    /// A cursor, not yet on any pair.
    #[must_use]
    pub fn cursor(&self) -> Cursor<'txn> {
        Cursor::new(*self)
    }
}

type Pair<'txn> = (&'txn [u8], &'txn [u8]);

/// A place among the pairs of a bucket, moved at will in both directions.
///
/// Nested buckets and expired values are skipped. Before the first move, after a move past either
/// end and after an error it stands on no pair.
#[derive(Debug)]
pub struct Cursor<'txn> {
    bucket: Bucket<'txn>,
    inner: tree::Cursor<'txn, PageMemory>,
    current: Option<Pair<'txn>>,
}

#[derive(Clone, Copy)]
enum Direction {
    Forward,
    Backward,
}

impl<'txn> Cursor<'txn> {
    pub(super) fn new(bucket: Bucket<'txn>) -> Cursor<'txn> {
        let inner = tree::Cursor::new(bucket.view().pages(), bucket.root());
        Cursor { bucket, inner, current: None }
    }

    /// The pair the cursor stands on.
    #[must_use]
    pub fn current(&self) -> Option<(&'txn [u8], &'txn [u8])> {
        self.current
    }

    /// Moves to the first pair.
    ///
    /// # Errors
    /// `Corrupt` when a page on the way is damaged, `ReaderExpired` after the deadline of a
    /// transaction that has one; so for all moves.
    pub fn seek_to_first(&mut self) -> Result<Option<(&'txn [u8], &'txn [u8])>> {
        let entry = self.inner.seek_to_first();
        self.settle(entry, Direction::Forward)
    }

    /// Moves to the last pair.
    ///
    /// # Errors
    /// As [`seek_to_first`](Cursor::seek_to_first).
    pub fn seek_to_last(&mut self) -> Result<Option<(&'txn [u8], &'txn [u8])>> {
        let entry = self.inner.seek_to_last();
        self.settle(entry, Direction::Backward)
    }

    /// Moves to the first pair whose key is `key` or greater.
    ///
    /// # Errors
    /// As [`seek_to_first`](Cursor::seek_to_first).
    pub fn seek(&mut self, key: impl AsRef<[u8]>) -> Result<Option<(&'txn [u8], &'txn [u8])>> {
        let entry = self.inner.seek(key.as_ref());
        self.settle(entry, Direction::Forward)
    }

    /// Moves to the last pair whose key is `key` or less.
    ///
    /// # Errors
    /// As [`seek_to_first`](Cursor::seek_to_first).
    pub fn seek_back(&mut self, key: impl AsRef<[u8]>) -> Result<Option<(&'txn [u8], &'txn [u8])>> {
        let key = key.as_ref();
        let entry = match self.inner.seek(key) {
            Ok(Some(entry)) if entry.key == key => Ok(Some(entry)),
            Ok(Some(_)) => self.inner.prev(),
            Ok(None) => self.inner.seek_to_last(),
            Err(error) => Err(error),
        };
        self.settle(entry, Direction::Backward)
    }

    /// Moves to the next pair; from no pair, to the first.
    ///
    /// # Errors
    /// As [`seek_to_first`](Cursor::seek_to_first).
    #[inline]
    #[allow(clippy::should_implement_trait, reason = "a cursor goes both ways and is fallible")]
    pub fn next(&mut self) -> Result<Option<(&'txn [u8], &'txn [u8])>> {
        if self.current.is_some()
            && !self.bucket.view().has_deadline()
            && let Some(pair) = self.inner.next_plain()
        {
            self.current = Some(pair);
            return Ok(self.current);
        }
        self.step(Direction::Forward)
    }

    /// Moves to the previous pair; from no pair, to the last.
    ///
    /// # Errors
    /// As [`seek_to_first`](Cursor::seek_to_first).
    #[inline]
    pub fn prev(&mut self) -> Result<Option<(&'txn [u8], &'txn [u8])>> {
        if self.current.is_some()
            && !self.bucket.view().has_deadline()
            && let Some(pair) = self.inner.previous_plain()
        {
            self.current = Some(pair);
            return Ok(self.current);
        }
        self.step(Direction::Backward)
    }

    /// A step from whatever entry, to whatever entry.
    fn step(&mut self, direction: Direction) -> Result<Option<Pair<'txn>>> {
        let entry = match (self.current, direction) {
            (Some(_), Direction::Forward) => self.inner.next(),
            (Some(_), Direction::Backward) => self.inner.prev(),
            (None, Direction::Forward) => self.inner.seek_to_first(),
            (None, Direction::Backward) => self.inner.seek_to_last(),
        };
        self.settle(entry, direction)
    }

    /// Skips what is not a visible pair.
    fn settle(
        &mut self,
        entry: Result<Option<Entry<'txn>>>,
        direction: Direction,
    ) -> Result<Option<Pair<'txn>>> {
        self.current = None;
        let mut entry = entry?;
        loop {
            self.bucket.view().check_deadline()?;
            let Some(found) = entry else { break };
            if !matches!(found.payload, Payload::Bucket(_))
                && let Some(value) = self.bucket.value_of(&found)?
            {
                self.current = Some((found.key, value));
                break;
            }
            entry = match direction {
                Direction::Forward => self.inner.next()?,
                Direction::Backward => self.inner.prev()?,
            };
        }
        Ok(self.current)
    }
}
