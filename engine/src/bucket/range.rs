//! Iterators over the pairs and the nested buckets of a bucket.

use std::borrow::Cow;
use std::iter::FusedIterator;
use std::ops::{Bound, RangeBounds};

use crate::error::Result;
use crate::page::{Entry, Payload};
use crate::pager::PageMemory;
use crate::tree;

use super::read::Bucket;

impl<'txn> Bucket<'txn> {
    /// The names of the nested buckets, in order.
    ///
    /// # Errors
    /// `Corrupt` when a page on the way is damaged.
    pub fn buckets(&self) -> Result<BucketNames<'txn>> {
        Ok(BucketNames::new(*self))
    }

    /// All pairs, in the order of their keys. Runs from both ends: `iter()?.rev()` is backwards.
    ///
    /// # Errors
    /// `Corrupt` when a page on the way is damaged.
    pub fn iter(&self) -> Result<Range<'txn>> {
        Ok(Range::new(*self, Bound::Unbounded, Bound::Unbounded))
    }

    /// The pairs whose keys lie within `bounds`, in order. Bounds that exclude everything give an
    /// empty range.
    ///
    /// # Errors
    /// `Corrupt` when a page on the way is damaged.
    pub fn range<K: AsRef<[u8]>>(&self, bounds: impl RangeBounds<K>) -> Result<Range<'txn>> {
        let owned = |bound: Bound<&K>| bound.map(|key| Cow::Owned(key.as_ref().to_vec()));
        Ok(Range::new(*self, owned(bounds.start_bound()), owned(bounds.end_bound())))
    }

    /// The pairs whose keys start with `prefix`, in order.
    ///
    /// # Errors
    /// `Corrupt` when a page on the way is damaged.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Range<'txn>> {
        let prefix = prefix.as_ref();
        let end = match successor(prefix) {
            Some(end) => Bound::Excluded(Cow::Owned(end)),
            None => Bound::Unbounded,
        };
        Ok(Range::new(*self, Bound::Included(Cow::Owned(prefix.to_vec())), end))
    }

    /// The first pair.
    ///
    /// # Errors
    /// `Corrupt` when a page on the way is damaged.
    pub fn first(&self) -> Result<Option<(&'txn [u8], &'txn [u8])>> {
        self.iter()?.next().transpose()
    }

    /// The last pair.
    ///
    /// # Errors
    /// `Corrupt` when a page on the way is damaged.
    pub fn last(&self) -> Result<Option<(&'txn [u8], &'txn [u8])>> {
        self.iter()?.next_back().transpose()
    }
}

type Pair<'txn> = (&'txn [u8], &'txn [u8]);

/// Pairs in key order, from either end. Nested buckets and expired values are left out.
///
/// A step after the deadline of a transaction that has one is an error, `ReaderExpired`. After an
/// error it gives nothing more.
#[derive(Debug)]
#[must_use = "a range is read by iterating"]
pub struct Range<'txn> {
    bucket: Bucket<'txn>,
    start: Bound<Cow<'txn, [u8]>>,
    end: Bound<Cow<'txn, [u8]>>,
    /// `None` until the first step from that end.
    front: Option<Side<'txn>>,
    back: Option<Side<'txn>>,
    done: bool,
}

type Side<'txn> = tree::Cursor<'txn, PageMemory>;

impl<'txn> Range<'txn> {
    pub(super) fn new(
        bucket: Bucket<'txn>,
        start: Bound<Cow<'txn, [u8]>>,
        end: Bound<Cow<'txn, [u8]>>,
    ) -> Range<'txn> {
        Range { bucket, start, end, front: None, back: None, done: false }
    }

    /// The keys alone, from where this range stands. Where values are long it reads far less.
    pub fn keys(self) -> Keys<'txn> {
        Keys(self)
    }

    /// The next entry from the front, within the end bound.
    fn step(&mut self) -> Result<Option<Entry<'txn>>> {
        self.bucket.view().check_deadline()?;
        let entry = match &mut self.front {
            Some(cursor) => cursor.next()?,
            None => self.first()?,
        };
        Ok(entry.filter(|entry| self.is_before_end(entry.key)))
    }

    /// True when the end bound lets a key through.
    #[inline]
    fn is_before_end(&self, key: &[u8]) -> bool {
        match &self.end {
            Bound::Unbounded => true,
            Bound::Included(end) => key <= &**end,
            Bound::Excluded(end) => key < &**end,
        }
    }

    fn first(&mut self) -> Result<Option<Entry<'txn>>> {
        let cursor = tree::Cursor::new(self.bucket.view().pages(), self.bucket.root());
        let cursor = self.front.insert(cursor);
        let found = match &self.start {
            Bound::Unbounded => return cursor.seek_to_first(),
            Bound::Included(start) => cursor.seek(start)?,
            Bound::Excluded(start) => match cursor.seek(start)? {
                Some(entry) if entry.key == &**start => cursor.next()?,
                other => other,
            },
        };
        cursor.expect_beside(false);
        Ok(found)
    }

    /// The next entry from the back, within the start bound.
    fn step_back(&mut self) -> Result<Option<Entry<'txn>>> {
        self.bucket.view().check_deadline()?;
        let entry = match &mut self.back {
            Some(cursor) => cursor.prev()?,
            None => self.last()?,
        };
        Ok(entry.filter(|entry| self.is_after_start(entry.key)))
    }

    /// True when the start bound lets a key through.
    #[inline]
    fn is_after_start(&self, key: &[u8]) -> bool {
        match &self.start {
            Bound::Unbounded => true,
            Bound::Included(start) => key >= &**start,
            Bound::Excluded(start) => key > &**start,
        }
    }

    fn last(&mut self) -> Result<Option<Entry<'txn>>> {
        let cursor = tree::Cursor::new(self.bucket.view().pages(), self.bucket.root());
        let cursor = self.back.insert(cursor);
        let (end, included) = match &self.end {
            Bound::Unbounded => return cursor.seek_to_last(),
            Bound::Included(end) => (end, true),
            Bound::Excluded(end) => (end, false),
        };
        let found = match cursor.seek(end)? {
            Some(entry) if included && entry.key == &**end => Some(entry),
            Some(_) => cursor.prev()?,
            None => cursor.seek_to_last()?,
        };
        cursor.expect_beside(true);
        Ok(found)
    }

    /// The next entry from the front that is shown.
    fn forward(&mut self) -> Result<Option<Entry<'txn>>> {
        if self.front.is_none()
            && let Some(key) = self.back.as_ref().and_then(|back| back.current()).map(|e| e.key)
        {
            // From now on the two ends must not pass each other.
            self.end = Bound::Excluded(Cow::Borrowed(key));
        }
        while let Some(entry) = self.step()? {
            if self.back.is_some() {
                self.start = Bound::Excluded(Cow::Borrowed(entry.key));
            }
            if self.is_shown(&entry) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// The next entry from the back that is shown.
    fn backward(&mut self) -> Result<Option<Entry<'txn>>> {
        if self.back.is_none()
            && let Some(key) = self.front.as_ref().and_then(|front| front.current()).map(|e| e.key)
        {
            // From now on the two ends must not pass each other.
            self.start = Bound::Excluded(Cow::Borrowed(key));
        }
        while let Some(entry) = self.step_back()? {
            if self.front.is_some() {
                self.end = Bound::Excluded(Cow::Borrowed(entry.key));
            }
            if self.is_shown(&entry) {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    fn is_shown(&self, entry: &Entry<'txn>) -> bool {
        !matches!(entry.payload, Payload::Bucket(_))
            && self.bucket.view().is_visible(entry.expires_at)
    }

    /// Of an entry that is shown, what is asked for.
    #[inline]
    fn pair(&self, entry: Option<Entry<'txn>>) -> Result<Option<Pair<'txn>>> {
        let Some(entry) = entry else { return Ok(None) };
        Ok(self.bucket.value_of(&entry)?.map(|value| (entry.key, value)))
    }

    /// Ends the iteration at its end or after an error.
    #[inline]
    fn note_end<T>(&mut self, step: Result<Option<T>>) -> Option<Result<T>> {
        let item = step.transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

impl<'txn> Iterator for Range<'txn> {
    type Item = Result<Pair<'txn>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.back.is_none()
            && !self.bucket.view().has_deadline()
            && let Some(front) = &mut self.front
            && let Some((key, value)) = front.next_plain()
        {
            self.done = !self.is_before_end(key);
            return (!self.done).then_some(Ok((key, value)));
        }
        let step = self.forward().and_then(|entry| self.pair(entry));
        self.note_end(step)
    }
}

impl DoubleEndedIterator for Range<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.front.is_none()
            && !self.bucket.view().has_deadline()
            && let Some(back) = &mut self.back
            && let Some((key, value)) = back.previous_plain()
        {
            self.done = !self.is_after_start(key);
            return (!self.done).then_some(Ok((key, value)));
        }
        let step = self.backward().and_then(|entry| self.pair(entry));
        self.note_end(step)
    }
}

impl FusedIterator for Range<'_> {}

/// The keys of a [`Range`], from either end. Reads nothing of long values, which lie in pages of
/// their own.
///
/// After an error it gives nothing more.
#[derive(Debug)]
#[must_use = "keys are read by iterating"]
pub struct Keys<'txn>(Range<'txn>);

impl<'txn> Iterator for Keys<'txn> {
    type Item = Result<&'txn [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.done {
            return None;
        }
        let step = self.0.forward();
        self.0.note_end(step.map(|entry| entry.map(|entry| entry.key)))
    }
}

impl DoubleEndedIterator for Keys<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.0.done {
            return None;
        }
        let step = self.0.backward();
        self.0.note_end(step.map(|entry| entry.map(|entry| entry.key)))
    }
}

impl FusedIterator for Keys<'_> {}

/// Names of nested buckets, in order.
#[derive(Debug)]
#[must_use = "names are read by iterating"]
pub struct BucketNames<'txn> {
    bucket: Bucket<'txn>,
    cursor: Option<Side<'txn>>,
    done: bool,
}

impl<'txn> BucketNames<'txn> {
    pub(super) fn new(bucket: Bucket<'txn>) -> BucketNames<'txn> {
        BucketNames { bucket, cursor: None, done: false }
    }

    fn step(&mut self) -> Result<Option<&'txn [u8]>> {
        loop {
            self.bucket.view().check_deadline()?;
            let entry = match &mut self.cursor {
                Some(cursor) => cursor.next()?,
                None => {
                    let view = self.bucket.view();
                    let cursor = tree::Cursor::new(view.pages(), self.bucket.root());
                    self.cursor.insert(cursor).seek_to_first()?
                }
            };
            match entry {
                None => return Ok(None),
                Some(Entry { key, payload: Payload::Bucket(_), expires_at })
                    if self.bucket.view().is_visible(expires_at) =>
                {
                    return Ok(Some(key));
                }
                Some(_) => {}
            }
        }
    }
}

impl<'txn> Iterator for BucketNames<'txn> {
    type Item = Result<&'txn [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.step().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

impl FusedIterator for BucketNames<'_> {}

/// The smallest byte string that is greater than all that start with `prefix`.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_successor_of_a_prefix_skips_trailing_ff() {
        assert_eq!(successor(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(successor(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(successor(b"\xff"), None);
        assert_eq!(successor(b""), None);
    }
}
