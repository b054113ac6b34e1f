//! A leaf, read: entries in key order, found by binary search.
//!
//! ```text
//!  0      header          count = entries, level = 0
//! 24      prefix          a copy of what all keys start with, padded to 4
//!  .      heads  u32 x n  the 4 key bytes after the prefix as a big-endian number
//!  .      slots  u16 x n  where each entry starts
//!  .      free
//! heap_low heap           entries (see `entry`), live and dead, to the end of the page
//! ```
//!
//! Keys are whole in the heap; the prefix only decides which four bytes the heads show. A leaf
//! *image* (see `bucket`) is the same, as long as its content. The heap of an *overlay* begins in
//! another page and goes on in its own (see `overlay`). Never changes a byte. Invariants:
//! 1. No function panics, whatever the bytes: one whose arrays do not fit
//!    reads as empty, and offsets are clamped to the page.

use std::cmp::Ordering;
use std::ops::Range;

use super::entry::{self, Entry, EntryHead};
use super::header::{FLAG_OVERLAY, FLAG_REFERENCES, Header, PAGE_HEADER_BYTES};
use super::keys::{head, lower_bound, stored_head, suffix, upper_bound};
use crate::codec::align4;
use crate::io::prefetch_slice;

/// Cache lines of an entry that are asked for ahead.
const ENTRY_LINES: usize = 3;

/// Bytes that an entry costs beside its place in the heap: a head and a slot.
pub(crate) const LEAF_INDEX_BYTES: usize = 4 + 2;

/// The entries of a leaf page or leaf image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaf<'a> {
    bytes: &'a [u8],
    /// What slots are counted from: the leaf's own bytes, or those of an overlay's base.
    heap: &'a [u8],
    /// What slots beyond `heap` lead to: an overlay's own bytes, else none.
    beyond: &'a [u8],
    prefix: &'a [u8],
    heads: &'a [[u8; 4]],
    slots: &'a [[u8; 2]],
}

impl<'a> Leaf<'a> {
    /// A leaf without entries or bytes.
    pub(crate) const EMPTY: Leaf<'static> =
        Leaf { bytes: &[], heap: &[], beyond: &[], prefix: &[], heads: &[], slots: &[] };

    /// REQUIRES: `bytes` are those of a leaf; others read as some leaf or other.
    #[inline(always)]
    pub(crate) fn new(bytes: &'a [u8]) -> Leaf<'a> {
        Leaf::of(bytes, bytes, &[])
    }

    /// The leaf of an overlay and its base. REQUIRES: as [`Leaf::new`].
    #[inline(always)]
    pub(crate) fn over(bytes: &'a [u8], base: &'a [u8]) -> Leaf<'a> {
        Leaf::of(bytes, base, bytes)
    }

    #[inline(always)]
    fn of(bytes: &'a [u8], heap: &'a [u8], beyond: &'a [u8]) -> Leaf<'a> {
        let header = Header::read(bytes);
        let heads_at = PAGE_HEADER_BYTES + align4(header.prefix_len);
        let (heads_len, slots_len) = (header.count * 4, header.count * 2);
        let Some((prefix, arrays)) = bytes.split_at_checked(heads_at) else {
            return Leaf::EMPTY;
        };
        if heads_len + slots_len > arrays.len() {
            return Leaf::EMPTY;
        }
        let (heads, rest) = arrays.split_at(heads_len);
        Leaf {
            bytes,
            heap,
            beyond,
            prefix: &prefix[PAGE_HEADER_BYTES..][..header.prefix_len],
            heads: heads.as_chunks().0,
            slots: rest[..slots_len].as_chunks().0,
        }
    }

    /// Entries of the leaf.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.slots.len()
    }

    /// Entry `index` in key order.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<Entry<'a>> {
        self.slots.get(index).map(|slot| entry::entry(self.at_slot(*slot)))
    }

    /// Key and value of entry `index`, if it is a value within the leaf and for good.
    #[inline]
    pub(crate) fn plain_pair(&self, index: usize) -> Option<(&'a [u8], &'a [u8])> {
        entry::plain_pair(self.at_slot(*self.slots.get(index)?))
    }

    /// Entry `index` in key order. REQUIRES: `index < count()`; beyond it an empty entry.
    #[inline(always)]
    pub(crate) fn entry(&self, index: usize) -> Entry<'a> {
        entry::entry(self.heap_at(index))
    }

    /// The key of entry `index`. REQUIRES: `index < count()`; beyond it an empty key.
    #[inline]
    pub(crate) fn key(&self, index: usize) -> &'a [u8] {
        entry::key(self.heap_at(index))
    }

    /// The whole entry `index` as it is stored.
    #[inline]
    pub(crate) fn stored(&self, index: usize) -> &'a [u8] {
        let bytes = self.heap_at(index);
        let len = EntryHead::read(bytes).map_or(0, |head| head.stored_bytes());
        bytes.get(..len).unwrap_or(&[])
    }

    /// Where the payload of entry `index` lies within the leaf's bytes.
    pub(crate) fn payload_range(&self, index: usize) -> Range<usize> {
        let at = self.slot(index);
        let payload = EntryHead::read(self.heap_at(index)).map_or(0..0, |head| head.payload());
        at + payload.start..at + payload.end
    }

    /// The kind of entry `index` as it is stored.
    pub(crate) fn stored_kind(&self, index: usize) -> u8 {
        EntryHead::read(self.heap_at(index)).map_or(entry::KIND_VALUE, |head| head.kind)
    }

    /// The entry with this key.
    // Always inline, or the view travels through memory: a tenth of all instructions of a get.
    #[inline(always)]
    pub(crate) fn find(self, key: &[u8]) -> Option<Entry<'a>> {
        self.find_at(self.candidate(key), key)
    }

    /// Where [`find`](Leaf::find) looks for a key: the first entry that can be it.
    #[inline(always)]
    pub(crate) fn candidate(self, key: &[u8]) -> usize {
        // A key without the prefix gets lost among the heads: the whole key is compared later.
        let suffix = key.get(self.prefix.len()..).unwrap_or_default();
        lower_bound(self.heads, head(suffix))
    }

    /// The entry with this key, if it is or follows entry `candidate`.
    #[inline(always)]
    pub(crate) fn find_at(self, candidate: usize, key: &[u8]) -> Option<Entry<'a>> {
        let wanted = head(key.get(self.prefix.len()..)?);
        if !self.has_head(candidate, wanted) {
            return None;
        }
        if self.has_head(candidate + 1, wanted) {
            return find_among_ties((self.bytes, self.heap, self.beyond), key);
        }
        let found = self.entry(candidate);
        (found.key == key).then_some(found)
    }

    /// Says that entry `index` will soon be read.
    #[inline]
    pub(crate) fn expect_entry(&self, index: usize) {
        prefetch_slice(self.heap_at(index), ENTRY_LINES);
    }

    /// The index of the entry with this key, or else that of the first entry above it.
    #[inline]
    pub(crate) fn search(self, key: &[u8]) -> Result<usize, usize> {
        let Some(suffix) = suffix(key, self.prefix) else {
            return Err(if key < self.prefix { 0 } else { self.count() });
        };
        let wanted = head(suffix);
        let low = lower_bound(self.heads, wanted);
        if !self.has_head(low, wanted) {
            return Err(low);
        }
        let ties = upper_bound(&self.heads[low..], wanted);
        self.search_ties(low, low + ties, key)
    }

    /// What every key of the leaf starts with.
    #[inline]
    pub(crate) fn prefix(&self) -> &'a [u8] {
        self.prefix
    }

    /// The heads as they are stored.
    pub(crate) fn heads(&self) -> &'a [[u8; 4]] {
        self.heads
    }

    /// Where the heads start.
    #[inline]
    pub(crate) fn heads_at(&self) -> usize {
        PAGE_HEADER_BYTES + align4(self.prefix.len())
    }

    /// Where the slots end and the free bytes start.
    #[inline]
    pub(crate) fn arrays_end(&self) -> usize {
        self.heads_at() + self.count() * LEAF_INDEX_BYTES
    }

    /// Where entry `index` starts.
    #[inline]
    pub(crate) fn slot(&self, index: usize) -> usize {
        self.slots.get(index).map_or(0, |slot| usize::from(u16::from_le_bytes(*slot)))
    }

    /// Where what [`Leaf::slot`] tells is in the leaf's own bytes, if it is.
    pub(crate) fn own_place(&self, slot: usize) -> Option<usize> {
        if self.beyond.is_empty() { Some(slot) } else { slot.checked_sub(self.heap.len()) }
    }

    /// Bytes of all entries in the heap, dead bytes left out.
    pub(crate) fn heap_bytes(&self) -> usize {
        let header = Header::read(self.bytes);
        if header.flags & FLAG_OVERLAY != 0 {
            return header.pages as usize;
        }
        self.bytes.len().saturating_sub(header.heap_low).saturating_sub(header.garbage)
    }

    /// Bytes in use, dead ones and the optional prefix left out.
    pub(crate) fn used_bytes(&self) -> usize {
        PAGE_HEADER_BYTES + self.count() * LEAF_INDEX_BYTES + self.heap_bytes()
    }

    /// False when no entry refers to a page. True says nothing.
    pub(crate) fn may_have_references(&self) -> bool {
        Header::read(self.bytes).flags & FLAG_REFERENCES != 0
    }

    #[inline]
    fn heap_at(&self, index: usize) -> &'a [u8] {
        self.slots.get(index).map_or(&[], |slot| self.at_slot(*slot))
    }

    #[inline]
    fn at_slot(&self, slot: [u8; 2]) -> &'a [u8] {
        let at = usize::from(u16::from_le_bytes(slot));
        match self.heap.get(at..) {
            Some(found) if !found.is_empty() => found,
            _ => self.beyond.get(at.wrapping_sub(self.heap.len())..).unwrap_or(&[]),
        }
    }

    #[inline]
    fn has_head(&self, index: usize, head: u32) -> bool {
        self.heads.get(index).is_some_and(|bytes| stored_head(*bytes) == head)
    }

    /// Binary search by whole keys from entry `low` up to `high`.
    #[inline]
    fn search_ties(self, low: usize, high: usize, key: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (low, high);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.key(middle).cmp(key) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }
}

/// The same as [`Leaf::find`]. Takes bytes, lest the view be kept in memory for its sake.
#[inline(never)]
fn find_among_ties<'a>(
    (bytes, heap, beyond): (&'a [u8], &'a [u8], &'a [u8]),
    key: &[u8],
) -> Option<Entry<'a>> {
    let leaf = Leaf::of(bytes, heap, beyond);
    leaf.search(key).ok().map(|index| leaf.entry(index))
}
