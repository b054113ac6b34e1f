//! Which pages of the file have been verified since they were last written.
//!
//! A bit for each page, in chunks made when first needed, so that a large address reservation
//! costs nothing. Readers set bits, whoever writes pages clears them; both through shared
//! references.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

const WORDS: usize = 512;
const CHUNK_PAGES: usize = WORDS * 64;

type Chunk = Box<[AtomicU64; WORDS]>;

/// A set of page indexes below a bound.
#[derive(Debug)]
pub(crate) struct Verified {
    chunks: Box<[OnceLock<Chunk>]>,
}

impl Verified {
    /// An empty set that can hold indexes below `pages`.
    pub(crate) fn new(pages: usize) -> Verified {
        let chunks = (0..pages.div_ceil(CHUNK_PAGES)).map(|_| OnceLock::new()).collect();
        Verified { chunks }
    }

    /// True when the page was verified. What was read to verify it happens before this returns.
    #[inline]
    pub(crate) fn contains(&self, page: u32) -> bool {
        let (chunk, word, bit) = place(page);
        match self.chunks.get(chunk).and_then(OnceLock::get) {
            Some(words) => words[word].load(Ordering::Acquire) & bit != 0,
            None => false,
        }
    }

    /// Notes that the page was verified.
    pub(crate) fn insert(&self, page: u32) {
        let (chunk, word, bit) = place(page);
        if let Some(chunk) = self.chunks.get(chunk) {
            let words = chunk.get_or_init(|| Box::new([const { AtomicU64::new(0) }; WORDS]));
            words[word].fetch_or(bit, Ordering::Release);
        }
    }

    /// Forgets `count` pages from `page` on: they are about to be written.
    pub(crate) fn remove(&self, page: u32, count: u32) {
        for page in page..page + count {
            let (chunk, word, bit) = place(page);
            if let Some(words) = self.chunks.get(chunk).and_then(OnceLock::get) {
                words[word].fetch_and(!bit, Ordering::Release);
            }
        }
    }
}

#[inline]
fn place(page: u32) -> (usize, usize, u64) {
    let page = page as usize;
    (page / CHUNK_PAGES, page / 64 % WORDS, 1 << (page % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_remembered_until_removed() {
        let verified = Verified::new(100_000);
        for page in [0, 63, 64, 32_767, 32_768, 99_999] {
            assert!(!verified.contains(page));
            verified.insert(page);
            assert!(verified.contains(page));
        }
        assert!(!verified.contains(65));
        verified.remove(63, 2);
        assert!(!verified.contains(63) && !verified.contains(64) && verified.contains(0));
    }

    #[test]
    fn a_page_beyond_the_bound_is_never_verified() {
        let verified = Verified::new(10);
        verified.insert(u32::MAX >> 1);
        assert!(!verified.contains(u32::MAX >> 1));
    }
}
