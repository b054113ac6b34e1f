//! Loads branch and leaf pages with their overflow, each at most once.
//!
//! It never reads more of a run than its elements use, and never holds a page itself.
//!
//! Invariants:
//! 1. A page is handed out only after its header, elements and key order were checked.
//! 2. A page is claimed by one run in the life of a loader, and never while the freelist lists it.
//!    So there are no cycles, no shared pages, and no more work than the file has pages.

use super::error::BoltError;
use super::file::LockedFile;
use super::freelist::Freelist;
use super::meta::{META_PAGES, Meta};
use super::page::{Elements, Header, PageId, Shape};
use super::page_set::PageSet;

/// A checked page.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) id: PageId,
    pub(super) elements: Elements<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct Loader<'f> {
    file: &'f LockedFile,
    meta: &'f Meta,
    freelist: Option<&'f Freelist>,
    claimed: PageSet,
    pub(super) pages_read: u64,
}

impl<'f> Loader<'f> {
    pub(super) fn new(
        file: &'f LockedFile,
        meta: &'f Meta,
        freelist: Option<&'f Freelist>,
    ) -> Result<Loader<'f>, BoltError> {
        let set = PageSet::new(meta.high_water);
        let mut claimed = set.ok_or_else(|| BoltError::memory(file.path()))?;
        for id in 0..META_PAGES {
            claimed.insert(PageId(id));
        }
        for id in freelist.into_iter().flat_map(Freelist::run) {
            claimed.insert(id);
        }
        Ok(Loader { file, meta, freelist, claimed, pages_read: 0 })
    }

    /// Loads the page `id`, which `Meta::check_allowed` has let pass.
    pub(super) fn load(&mut self, id: PageId) -> Result<Page, BoltError> {
        assert!(self.meta.allows(id), "invariant: page ids are checked before they are followed");
        let damaged = |reason| BoltError::damaged(id, reason);
        let page_bytes = self.meta.page_bytes;
        let offset = id.0 * page_bytes;
        let mut bytes = Vec::new();
        self.file.extend(&mut bytes, offset, page_bytes)?;
        let header = Header::decode(&bytes);
        header.check_id(id).map_err(damaged)?;
        let shape = Shape::of(&header).map_err(damaged)?;
        shape.check_empty(&bytes).map_err(damaged)?;
        let run_pages = header.check_run(self.meta.high_water).map_err(damaged)?;
        self.claim(id, run_pages)?;
        let run_bytes = run_pages * page_bytes;
        shape.check_array_end(run_bytes).map_err(damaged)?;
        self.file.extend(&mut bytes, offset, shape.array_end())?;
        let packed = shape.check_array(&bytes, run_bytes).map_err(damaged)?;
        self.file.extend(&mut bytes, offset, packed.end)?;
        bytes.truncate(usize::try_from(packed.end).expect("invariant: the page is in memory"));
        let elements = packed.check_keys(bytes).map_err(damaged)?;
        self.pages_read += run_pages;
        Ok(Page { id, elements })
    }

    /// The pages that are neither reached nor free, once all trees were loaded. `None` when the
    /// file persists no freelist.
    pub(super) fn pages_leaked(&self) -> Option<u64> {
        let free = self.freelist?.free.len();
        Some(self.meta.high_water - self.claimed.len() - free)
    }

    fn claim(&mut self, first: PageId, run_pages: u64) -> Result<(), BoltError> {
        for id in (first.0..first.0 + run_pages).map(PageId) {
            if self.freelist.is_some_and(|freelist| freelist.free.contains(id)) {
                let reason = format!("in use by the run of page {}, but listed as free", first.0);
                return Err(BoltError::damaged(id, reason));
            }
            if !self.claimed.insert(id) {
                let reason = format!("reached twice, now by the run of page {}", first.0);
                return Err(BoltError::damaged(id, reason));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::bolt::image::{Image, Item, tree_bucket};

    fn damaged(page: u64, at: usize, bytes: &[u8], expected_page: u64, expected: &str) {
        let mut image = Image::sample();
        image.poke(page, at, bytes);
        image.assert_damaged(expected_page, expected);
    }

    #[test]
    fn each_field_of_a_header_is_checked() {
        damaged(4, 0, &[5], 4, "its header names page 5, expected 4");
        damaged(4, 8, &[0], 4, "its flags are 0x00 (unknown), expected a branch or leaf page");
        damaged(4, 8, &[0x10], 4, "its flags are 0x10 (freelist), expected a branch or leaf page");
        damaged(3, 10, &[0], 3, "a branch page of 0 elements, expected at least 1");
        damaged(8, 10, &[0], 8, "a page of 0 elements holds bytes, expected zeros");
        damaged(4, 10, &[64], 4, "its 64 elements end at byte 1040, expected at most 1024");
        damaged(6, 12, &[0], 6, "element 0: ends at byte 1551, expected at most 1024");
        damaged(6, 12, &[4], 6, "a run of 5 pages, expected at most 4");
    }

    #[test]
    fn a_page_in_use_is_not_free() {
        let expected = "in use by the run of page 8, but listed as free";
        damaged(8, 12, &[1], 9, expected);
        damaged(2, 16, &[8], 8, expected);
        damaged(2, 16, &[7], 7, "in use by the run of page 6, but listed as free");
    }

    #[test]
    fn a_page_is_reached_once() {
        damaged(4, 12, &[1], 5, "reached twice, now by the run of page 5");
        damaged(6, 12, &[2], 8, "reached twice, now by the run of page 8");
        let mut image = Image::sample();
        image.leaf(8, &[Item::bucket("loop", tree_bucket(5, 0))]);
        image.assert_damaged(5, "reached twice, now by the run of page 5");
        let mut image = Image::sample();
        image.poke(3, 24, &[2]);
        image.assert_damaged(2, "its flags are 0x10 (freelist), expected a branch or leaf page");
    }

    #[test]
    fn elements_and_keys_may_lie_in_the_overflow() {
        let mut image = Image::new(1024);
        let names: Vec<String> = (0..200).map(|number| format!("{number:0>40}")).collect();
        let pairs: Vec<Item> = names.iter().map(|name| Item::pair(name, "")).collect();
        let leaf_pages = image.leaf(3, &pairs);
        image.leaf(2, &[Item::bucket("many", tree_bucket(3, 0))]);
        let freelist = 3 + leaf_pages;
        image.freelist(freelist, &[]);
        image.metas(2, freelist, freelist + 1, 1);
        let summary = image.open().and_then(|file| file.verify()).expect("sound");
        assert_eq!((summary.pairs, summary.key_bytes), (200, 8000));
        assert_eq!((summary.pages_read, summary.pages_leaked), (1 + leaf_pages, Some(0)));
    }
}
