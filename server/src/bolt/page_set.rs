//! A set of pages as a bitmap, one bit for each page below the high-water mark.
//!
//! It never grows: its size is fixed when it is made, 1/8 byte for a page.
//!
//! Invariants:
//! 1. `len` is the number of bits set.
//! 2. Only ids below `pages` may be asked for; the callers check ids from the disk first.

use std::fmt;

use super::page::PageId;

pub(super) struct PageSet {
    words: Vec<u64>,
    pages: u64,
    len: u64,
}

impl PageSet {
    /// An empty set for pages `0..pages`, or `None` when there is no memory for it.
    pub(super) fn new(pages: u64) -> Option<PageSet> {
        let words_total = usize::try_from(pages.div_ceil(64)).ok()?;
        let mut words = Vec::new();
        words.try_reserve_exact(words_total).ok()?;
        words.resize(words_total, 0);
        Some(PageSet { words, pages, len: 0 })
    }

    /// Adds a page, and tells whether it was absent.
    pub(super) fn insert(&mut self, id: PageId) -> bool {
        let (word, bit) = self.locate(id);
        let absent = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.len += u64::from(absent);
        absent
    }

    pub(super) fn contains(&self, id: PageId) -> bool {
        let (word, bit) = self.locate(id);
        self.words[word] & bit != 0
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    fn locate(&self, id: PageId) -> (usize, u64) {
        assert!(id.0 < self.pages, "invariant: page ids are checked before they are looked up");
        let word = usize::try_from(id.0 / 64).expect("invariant: the words fit in memory");
        (word, 1 << (id.0 % 64))
    }
}

impl fmt::Debug for PageSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "PageSet({} of {} pages)", self.len, self.pages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_absent_once() {
        let mut set = PageSet::new(130).expect("memory");
        for id in [0, 63, 64, 129] {
            assert!(!set.contains(PageId(id)));
            assert!(set.insert(PageId(id)));
            assert!(!set.insert(PageId(id)));
            assert!(set.contains(PageId(id)));
        }
        assert!(!set.contains(PageId(1)));
        assert_eq!(set.len(), 4);
        assert_eq!(format!("{set:?}"), "PageSet(4 of 130 pages)");
    }

    #[test]
    fn a_set_beyond_all_memory_is_refused() {
        assert!(PageSet::new(u64::MAX).is_none());
    }

    #[test]
    #[should_panic(expected = "invariant: page ids are checked")]
    fn a_page_beyond_the_set_is_a_bug_of_the_caller() {
        PageSet::new(64).expect("memory").contains(PageId(64));
    }
}
