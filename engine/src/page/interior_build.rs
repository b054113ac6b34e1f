//! An interior page, written whole from separators and children in ascending order.
//!
//! Gathers more than a page holds if asked to, so that a split can choose where to cut. Never
//! sorts and never checks the order. Invariants:
//! 1. The prefix is the longest that all separators of the page share: unlike in a leaf it is not
//!    a copy, so it always saves room.
//! 2. A page keeps whole suffixes only when some suffix says more than its head.

use std::ops::Range;

use super::header::{FLAG_SUFFIXES, Header, PAGE_HEADER_BYTES, PageKind, narrow};
use super::interior::{INTERIOR_INDEX_BYTES, Interior, LAST_CHILD_BYTES, SUFFIX_INDEX_BYTES};
use super::keys::{common_prefix_len, head};
use crate::codec::{align4, put_u16, put_u32};
use crate::ids::{Epoch, PageRef};
use crate::limits;

// Any page holds three separators of the largest size: splits rely on it.
const _: () = assert!(
    PAGE_HEADER_BYTES
        + LAST_CHILD_BYTES
        + 3 * (INTERIOR_INDEX_BYTES
            + SUFFIX_INDEX_BYTES
            + limits::key_bytes_max(limits::PAGE_BYTES_MIN))
        <= limits::PAGE_BYTES_MIN
);

/// Separators and children on their way into interior pages.
#[derive(Debug, Default)]
pub(crate) struct InteriorBuilder {
    /// All separators, end to end.
    separators: Vec<u8>,
    /// Where each ends within `separators`.
    ends: Vec<u32>,
    /// One more than separators, or none at all.
    children: Vec<PageRef>,
    /// Over all separators, so that growing by one is measured without looking at the others.
    extent: Extent,
}

/// What decides whether some separators need whole suffixes.
#[derive(Clone, Copy, Debug, Default)]
struct Extent {
    longest: usize,
    longest_zero_ended: usize,
}

impl Extent {
    fn add(&mut self, separator: &[u8]) {
        self.longest = self.longest.max(separator.len());
        if separator.last() == Some(&0) {
            self.longest_zero_ended = self.longest_zero_ended.max(separator.len());
        }
    }

    /// True when after the prefix some suffix says more than its head: see `keys::head_is_whole`.
    fn needs_suffixes(&self, prefix_len: usize) -> bool {
        self.longest > prefix_len + 4 || self.longest_zero_ended > prefix_len
    }
}

/// How a range of separators would be laid out.
#[derive(Clone, Copy)]
struct Layout {
    prefix_len: usize,
    keeps_suffixes: bool,
    used_bytes: usize,
}

impl InteriorBuilder {
    pub(crate) fn new() -> InteriorBuilder {
        InteriorBuilder::default()
    }

    /// The first child. REQUIRES: nothing was pushed yet.
    pub(crate) fn push_first(&mut self, child: PageRef) {
        debug_assert!(self.children.is_empty());
        self.children.push(child);
    }

    /// Appends a separator and the child to its right.
    pub(crate) fn push(&mut self, separator: &[u8], child: PageRef) {
        self.separators.extend_from_slice(separator);
        self.ends.push(self.separators.len() as u32);
        self.children.push(child);
        self.extent.add(separator);
    }

    /// Appends everything in `page`; before its first child goes `separator`, unless the page is
    /// the first.
    pub(crate) fn push_page(&mut self, separator: Option<&[u8]>, page: &Interior<'_>) {
        match separator {
            Some(separator) => self.push(separator, page.child(0)),
            None => self.push_first(page.child(0)),
        }
        for index in 0..page.count() {
            page.push_separator(index, &mut self.separators);
            self.ends.push(self.separators.len() as u32);
            self.children.push(page.child(index + 1));
            let start = self.start(self.count() - 1);
            self.extent.add(&self.separators[start..]);
        }
    }

    /// Inserts a separator before separator `index`, and the child to its right.
    pub(crate) fn insert(&mut self, index: usize, separator: &[u8], child: PageRef) {
        let at = self.start(index);
        self.separators.splice(at..at, separator.iter().copied());
        self.ends.insert(index, at as u32);
        self.ends[index..].iter_mut().for_each(|end| *end += separator.len() as u32);
        self.children.insert(index + 1, child);
        self.extent.add(separator);
    }

    /// Separators so far.
    pub(crate) fn count(&self) -> usize {
        self.ends.len()
    }

    /// Separator `index`. REQUIRES: `index < count()`.
    pub(crate) fn separator(&self, index: usize) -> &[u8] {
        &self.separators[self.start(index)..self.ends[index] as usize]
    }

    /// Child `index`. REQUIRES: `index <= count()`.
    pub(crate) fn child(&self, index: usize) -> PageRef {
        self.children[index]
    }

    /// Bytes of a page with these separators and the children around them.
    pub(crate) fn used_bytes(&self, range: Range<usize>) -> usize {
        self.layout(range).used_bytes
    }

    /// Writes a page with these separators and the children around them. False, with `page`
    /// unchanged, when it does not fit.
    #[must_use]
    pub(crate) fn write(
        &self,
        range: Range<usize>,
        page: &mut [u8],
        level: u8,
        born: Epoch,
    ) -> bool {
        let layout = self.layout(range.clone());
        if layout.used_bytes > page.len() {
            return false;
        }
        let count = range.len();
        let mut heap_low = page.len();
        let heads_at = PAGE_HEADER_BYTES + align4(layout.prefix_len);
        let children_at = heads_at + count * 4;
        let crcs_at = children_at + (count + 1) * 4;
        let slots_at = crcs_at + (count + 1) * 4;
        page[PAGE_HEADER_BYTES..heads_at].fill(0);
        if let Some(first) = range.clone().next() {
            let prefix = &self.separator(first)[..layout.prefix_len];
            page[PAGE_HEADER_BYTES..][..layout.prefix_len].copy_from_slice(prefix);
        }
        for (i, child) in self.children[range.start..=range.end].iter().enumerate() {
            put_u32(page, children_at + i * 4, child.id.0);
            put_u32(page, crcs_at + i * 4, child.crc);
        }
        for (i, index) in range.enumerate() {
            let suffix = &self.separator(index)[layout.prefix_len..];
            put_u32(page, heads_at + i * 4, head(suffix));
            if layout.keeps_suffixes {
                heap_low -= 2 + suffix.len();
                put_u16(page, heap_low, narrow(suffix.len()));
                page[heap_low + 2..][..suffix.len()].copy_from_slice(suffix);
                put_u16(page, slots_at + i * 2, narrow(heap_low));
            }
        }
        let header = Header {
            kind: PageKind::Interior as u8,
            level,
            count,
            prefix_len: layout.prefix_len,
            flags: if layout.keeps_suffixes { FLAG_SUFFIXES } else { 0 },
            heap_low,
            garbage: 0,
            pages: 0,
            born,
        };
        header.write(page);
        true
    }

    fn start(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.ends[index - 1] as usize }
    }

    fn layout(&self, range: Range<usize>) -> Layout {
        let count = range.len();
        let (Some(first), Some(last)) = (range.clone().next(), range.clone().next_back()) else {
            let used_bytes = PAGE_HEADER_BYTES + LAST_CHILD_BYTES;
            return Layout { prefix_len: 0, keeps_suffixes: false, used_bytes };
        };
        let prefix_len = common_prefix_len(self.separator(first), self.separator(last));
        let separator_bytes = self.ends[last] as usize - self.start(first);
        let suffix_bytes = separator_bytes - count * prefix_len;
        let mut extent = self.extent;
        if count < self.count() {
            extent = Extent::default();
            range.for_each(|index| extent.add(self.separator(index)));
        }
        let keeps_suffixes = extent.needs_suffixes(prefix_len);
        let heap = if keeps_suffixes { suffix_bytes + count * SUFFIX_INDEX_BYTES } else { 0 };
        let used_bytes = PAGE_HEADER_BYTES
            + align4(prefix_len)
            + count * INTERIOR_INDEX_BYTES
            + LAST_CHILD_BYTES
            + heap;
        Layout { prefix_len, keeps_suffixes, used_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::super::validate::validate;
    use super::*;
    use crate::ids::PageId;

    fn page_ref(number: u32) -> PageRef {
        PageRef { id: PageId(number), crc: !number }
    }

    fn check(separators: &[&[u8]], keeps_suffixes: bool) {
        let mut builder = InteriorBuilder::new();
        builder.push_first(page_ref(1));
        for (i, separator) in separators.iter().enumerate() {
            builder.push(separator, page_ref(i as u32 + 2));
        }
        let mut bytes = vec![0xaa; 4096];
        assert!(builder.write(0..separators.len(), &mut bytes, 1, Epoch(9)));
        validate(&bytes).unwrap();
        let page = Interior::new(&bytes);
        assert_eq!(page.keeps_suffixes(), keeps_suffixes);
        assert_eq!(page.used_bytes(), builder.used_bytes(0..separators.len()));
        let mut probes: Vec<Vec<u8>> = vec![vec![], vec![0], vec![0xff; 9]];
        for (index, separator) in separators.iter().enumerate() {
            assert_eq!(page.separator(index), *separator);
            probes.push(separator.to_vec());
            probes.push([*separator, b"\0"].concat());
            probes.push([*separator, b"\xff"].concat());
            probes.push(separator[..separator.len() - 1].to_vec());
        }
        for probe in probes {
            let want = separators.iter().filter(|separator| **separator <= &probe[..]).count();
            assert_eq!(page.search(&probe), want, "{probe:?}");
            assert_eq!(page.child(want), page_ref(want as u32 + 1));
        }
        assert_eq!(page.child(separators.len() + 1), PageRef::NONE);
    }

    #[test]
    fn a_key_is_routed_as_by_comparing_all_separators() {
        check(&[], false);
        check(&[b"m"], false);
        check(&[b"a", b"ab", b"abcd", b"b", b"ba"], false);
        check(&[b"node-1", b"node-10", b"node-2", b"node-201"], false);
        check(&[b"node", b"node\0", b"node\0\0", b"nodf"], true);
        check(&[b"a", b"aaaaaaaa1", b"aaaaaaaa2", b"aaaaaaaa2\0", b"aaaaaaab"], true);
        check(&[b"\0", b"\0\0", b"\0\0\0\0\0\x01", b"\xff", b"\xff\xff\xff\xff\xff"], true);
    }

    #[test]
    fn an_inserted_separator_stands_where_it_was_put() {
        let mut builder = InteriorBuilder::new();
        builder.push_first(page_ref(1));
        builder.push(b"b", page_ref(2));
        builder.push(b"dd", page_ref(4));
        builder.insert(1, b"ccc", page_ref(3));
        builder.insert(0, b"a", page_ref(9));
        builder.insert(4, b"e", page_ref(5));
        let separators: Vec<&[u8]> = (0..5).map(|i| builder.separator(i)).collect();
        assert_eq!(separators, [&b"a"[..], b"b", b"ccc", b"dd", b"e"]);
        let children: Vec<u32> = (0..6).map(|i| builder.child(i).id.0).collect();
        assert_eq!(children, [1, 9, 2, 3, 4, 5]);
    }
}
