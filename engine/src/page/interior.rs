//! An interior page, read: which child holds a key.
//!
//! ```text
//!  0      header             count = separators n, level >= 1
//! 24      prefix             what all separators start with, padded to 4
//!  .      heads    u32 x n   the 4 bytes after the prefix as a big-endian number
//!  .      children u32 x n+1 page ids
//!  .      crcs     u32 x n+1 checksums of the children
//!  .      slots    u16 x n   only with FLAG_SUFFIXES: where each suffix starts
//!  .      free
//! heap_low heap              only with FLAG_SUFFIXES: u16 length, the separator after the prefix
//! ```
//!
//! Child `i` holds the keys below separator `i` and not below separator `i - 1`. Without
//! FLAG_SUFFIXES every suffix is its head without the zeros at the end, which is why a suffix
//! longer than 4 bytes or ending in a zero needs the flag; then an equal head means "not below"
//! and the search ends with the heads. A page may have a single child and no separator: removals
//! can leave that, splits never do. Never changes a byte. Invariants:
//! 1. No function panics, whatever the bytes: counts and offsets are clamped to the page.

use super::header::{FLAG_SUFFIXES, Header, PAGE_HEADER_BYTES};
use super::keys::{
    head, head_is_whole, lower_bound, stored_head, suffix, suffix_of_head, upper_bound,
};
use crate::codec::align4;
use crate::ids::{PageId, PageRef};

/// Bytes that a separator and its child cost beside the suffix: a head, an id and a checksum.
pub(crate) const INTERIOR_INDEX_BYTES: usize = 4 + 4 + 4;
/// Bytes of the child that has no separator.
pub(crate) const LAST_CHILD_BYTES: usize = 4 + 4;
/// Bytes that a kept suffix costs beside itself: a slot and a length.
pub(crate) const SUFFIX_INDEX_BYTES: usize = 2 + 2;

/// The separators and children of an interior page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interior<'a> {
    bytes: &'a [u8],
    prefix: &'a [u8],
    heads: &'a [[u8; 4]],
    /// Children, then checksums, then whatever follows.
    rest: &'a [u8],
    keeps_suffixes: bool,
}

impl<'a> Interior<'a> {
    /// What bytes that are no interior page read as: no separator, and a child that is no page.
    const NONE: Interior<'static> =
        Interior { bytes: &[], prefix: &[], heads: &[], rest: &[], keeps_suffixes: false };

    /// REQUIRES: `bytes` are those of an interior page; others read as some page or other.
    #[inline]
    pub(crate) fn new(bytes: &'a [u8]) -> Interior<'a> {
        let header = Header::read(bytes);
        let heads_at = PAGE_HEADER_BYTES + align4(header.prefix_len);
        let arrays_end = heads_at + header.count * INTERIOR_INDEX_BYTES + LAST_CHILD_BYTES;
        let Some((prefix, arrays)) = bytes.split_at_checked(heads_at) else {
            return Interior::NONE;
        };
        if arrays_end > bytes.len() {
            return Interior::NONE;
        }
        let (heads, rest) = arrays.split_at(header.count * 4);
        Interior {
            bytes,
            prefix: &prefix[PAGE_HEADER_BYTES..][..header.prefix_len],
            heads: heads.as_chunks().0,
            rest,
            keeps_suffixes: header.flags & FLAG_SUFFIXES != 0,
        }
    }

    /// Separators of the page; it has one child more.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.heads.len()
    }

    /// The index of the child that holds `key`, if any does.
    // Always inline, or the view travels through memory: a tenth of all instructions of a get.
    #[inline(always)]
    pub(crate) fn search(self, key: &[u8]) -> usize {
        let Some(suffix) = suffix(key, self.prefix) else {
            return if key < self.prefix { 0 } else { self.count() };
        };
        let wanted = head(suffix);
        let above = upper_bound(self.heads, wanted);
        if !self.keeps_suffixes || !self.has_head(above.wrapping_sub(1), wanted) {
            return above;
        }
        search_ties(self.bytes, above, wanted, suffix)
    }

    /// Child `index`. REQUIRES: `index <= count()`; beyond it no page.
    #[inline]
    pub(crate) fn child(&self, index: usize) -> PageRef {
        let (words, _) = self.rest.as_chunks::<4>();
        let (id, crc) = (words.get(index), words.get(self.count() + 1 + index));
        let (Some(id), Some(crc), true) = (id, crc, index <= self.count()) else {
            return PageRef::NONE;
        };
        PageRef { id: PageId(u32::from_le_bytes(*id)), crc: u32::from_le_bytes(*crc) }
    }

    /// Appends separator `index` to `out`. REQUIRES: `index < count()`; beyond it nothing.
    pub(crate) fn push_separator(&self, index: usize, out: &mut Vec<u8>) {
        let Some(stored) = self.heads.get(index) else {
            return;
        };
        out.extend_from_slice(self.prefix);
        if self.keeps_suffixes {
            out.extend_from_slice(self.suffix(index));
        } else {
            let (bytes, len) = suffix_of_head(stored_head(*stored));
            out.extend_from_slice(&bytes[..len]);
        }
    }

    /// Separator `index`, copied together. REQUIRES: `index < count()`.
    pub(crate) fn separator(&self, index: usize) -> Vec<u8> {
        let mut separator = Vec::new();
        self.push_separator(index, &mut separator);
        separator
    }

    /// What every separator of the page starts with.
    pub(crate) fn prefix(&self) -> &'a [u8] {
        self.prefix
    }

    /// The heads as they are stored.
    pub(crate) fn heads(&self) -> &'a [[u8; 4]] {
        self.heads
    }

    /// True when suffixes are kept whole.
    pub(crate) fn keeps_suffixes(&self) -> bool {
        self.keeps_suffixes
    }

    /// The kept suffix of separator `index`; empty when the page keeps none.
    #[inline]
    pub(crate) fn suffix(&self, index: usize) -> &'a [u8] {
        let at = self.slot(index);
        let Some((len, rest)) = self.bytes.get(at..).and_then(|heap| heap.split_first_chunk())
        else {
            return &[];
        };
        rest.get(..usize::from(u16::from_le_bytes(*len))).unwrap_or(&[])
    }

    /// Where the suffix of separator `index` starts, its length first. Beyond the page without.
    #[inline]
    pub(crate) fn slot(&self, index: usize) -> usize {
        let at = (self.count() + 1) * LAST_CHILD_BYTES + index * 2;
        match self.rest.get(at..).and_then(|slots| slots.first_chunk()) {
            Some(slot) if self.keeps_suffixes => usize::from(u16::from_le_bytes(*slot)),
            _ => usize::MAX,
        }
    }

    /// Where the heads start.
    pub(crate) fn heads_at(&self) -> usize {
        PAGE_HEADER_BYTES + align4(self.prefix.len())
    }

    /// Where the arrays end and the free bytes start.
    pub(crate) fn arrays_end(&self) -> usize {
        let slots = if self.keeps_suffixes { self.count() * 2 } else { 0 };
        self.heads_at() + self.count() * INTERIOR_INDEX_BYTES + LAST_CHILD_BYTES + slots
    }

    /// Bytes in use, dead ones left out.
    pub(crate) fn used_bytes(&self) -> usize {
        let header = Header::read(self.bytes);
        let heap = self.bytes.len().saturating_sub(header.heap_low);
        self.arrays_end() + heap.saturating_sub(header.garbage)
    }

    /// True when a separator before separator `index` would be in order.
    pub(crate) fn admits(&self, index: usize, separator: &[u8]) -> bool {
        let is_above = index == 0 || self.separator(index - 1).as_slice() < separator;
        is_above && (index == self.count() || separator < self.separator(index).as_slice())
    }

    /// True when one more separator certainly fits, with the page otherwise as it is.
    pub(crate) fn has_room_for(&self, separator: &[u8]) -> bool {
        let Some(suffix) = separator.strip_prefix(self.prefix) else {
            return false;
        };
        let kept = if self.keeps_suffixes { SUFFIX_INDEX_BYTES + suffix.len() } else { 0 };
        let free = Header::read(self.bytes).heap_low.saturating_sub(self.arrays_end());
        (self.keeps_suffixes || head_is_whole(suffix)) && INTERIOR_INDEX_BYTES + kept <= free
    }

    /// Where id and checksum of child `index` lie within the page.
    pub(crate) fn child_at(&self, index: usize) -> (usize, usize) {
        let children_at = self.heads_at() + self.count() * 4;
        let crcs_at = children_at + (self.count() + 1) * 4;
        (children_at + index * 4, crcs_at + index * 4)
    }

    #[inline]
    fn has_head(&self, index: usize, head: u32) -> bool {
        self.heads.get(index).is_some_and(|bytes| stored_head(*bytes) == head)
    }
}

/// Among the separators below `above` with this head, how many (and all before) are not above
/// `suffix`. Takes bytes, lest the view be kept in memory for its sake.
#[inline(never)]
fn search_ties(page: &[u8], above: usize, head: u32, suffix: &[u8]) -> usize {
    let page = Interior::new(page);
    let mut low = lower_bound(&page.heads[..above], head);
    let mut high = above;
    while low < high {
        let middle = low + (high - low) / 2;
        if page.suffix(middle) <= suffix { low = middle + 1 } else { high = middle }
    }
    low
}
