//! The 24 bytes that open every page of a tree and every overflow run.
//!
//! ```text
//!  0 u8  kind        1 leaf, 2 interior, 3 overflow, 4 space bitmap, 5 space directory
//!  1 u8  level       distance from the leaves; a leaf has 0
//!  2 u16 count       leaf: entries; interior: separators
//!  4 u16 prefix_len  bytes that every key (separator) of the page starts with
//!  6 u16 flags       bit 0: a leaf that may refer to other pages; bit 1: an interior page that
//!                    keeps whole separator suffixes; bit 2, only in memory: an overlay
//!  8 u16 heap_low    offset of the lowest byte of the heap, which ends with the page
//! 10 u16 garbage     dead bytes within the heap
//! 12 u32 zero        in an overflow run: pages of the run; in an overlay: live bytes of the heap
//! 16 u64 born        epoch in which the page was copied or made
//! ```
//!
//! Never interprets what follows the header. Invariants:
//! 1. Reading never panics: bytes too short for a header read as all zero, which no page kind is.

use crate::codec::{get_u16, put_u16, put_u32, put_u64};
use crate::ids::Epoch;
use crate::limits::TREE_HEIGHT_MAX;

/// Bytes of the header.
pub(crate) const PAGE_HEADER_BYTES: usize = 24;

/// A leaf that may refer to other pages: overflow runs, or the roots of buckets.
pub(crate) const FLAG_REFERENCES: u16 = 1 << 0;
/// An interior page that keeps whole separator suffixes.
pub(crate) const FLAG_SUFFIXES: u16 = 1 << 1;
/// An overlay, which no file ever holds: see [`super::overlay`].
pub(crate) const FLAG_OVERLAY: u16 = 1 << 2;

const KIND_AT: usize = 0;
const LEVEL_AT: usize = 1;
const COUNT_AT: usize = 2;
const PREFIX_LEN_AT: usize = 4;
const FLAGS_AT: usize = 6;
const HEAP_LOW_AT: usize = 8;
const GARBAGE_AT: usize = 10;
const PAGES_AT: usize = 12;
const BORN_AT: usize = 16;

const _: () = assert!(BORN_AT + 8 == PAGE_HEADER_BYTES);

/// What a page is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum PageKind {
    /// Entries of a tree.
    Leaf = 1,
    /// Separators and children of a tree.
    Interior = 2,
    /// First page of a run that holds one large value.
    Overflow = 3,
    /// Part of the map of free pages.
    SpaceBitmap = 4,
    /// Where the space bitmap's pages are.
    SpaceDirectory = 5,
}

/// A decoded header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) kind: u8,
    pub(crate) level: u8,
    pub(crate) count: usize,
    pub(crate) prefix_len: usize,
    pub(crate) flags: u16,
    pub(crate) heap_low: usize,
    pub(crate) garbage: usize,
    /// Zero in a tree page; the pages of an overflow run; the live bytes of an overlay's heap.
    pub(crate) pages: u32,
    pub(crate) born: Epoch,
}

impl Header {
    const NONE: Header = Header {
        kind: 0,
        level: 0,
        count: 0,
        prefix_len: 0,
        flags: 0,
        heap_low: 0,
        garbage: 0,
        pages: 0,
        born: Epoch(0),
    };

    #[inline]
    pub(crate) fn read(bytes: &[u8]) -> Header {
        let Some(fixed) = bytes.first_chunk::<PAGE_HEADER_BYTES>() else {
            return Header::NONE;
        };
        // By words, so that a search loads one and shifts.
        let (words, _) = fixed.as_chunks::<8>();
        let [opening, heap, born] = [0, 1, 2].map(|i| u64::from_le_bytes(words[i]));
        let half = |word: u64, at: usize| (word >> (at % 8 * 8)) as u16;
        Header {
            kind: opening as u8,
            level: (opening >> (LEVEL_AT * 8)) as u8,
            count: usize::from(half(opening, COUNT_AT)),
            prefix_len: usize::from(half(opening, PREFIX_LEN_AT)),
            flags: half(opening, FLAGS_AT),
            heap_low: usize::from(half(heap, HEAP_LOW_AT)),
            garbage: usize::from(half(heap, GARBAGE_AT)),
            pages: (heap >> 32) as u32,
            born: Epoch(born),
        }
    }

    /// REQUIRES: `bytes` is at least a header long, and every field fits its width.
    pub(crate) fn write(&self, bytes: &mut [u8]) {
        bytes[KIND_AT] = self.kind;
        bytes[LEVEL_AT] = self.level;
        set_count(bytes, self.count);
        put_u16(bytes, PREFIX_LEN_AT, narrow(self.prefix_len));
        put_u16(bytes, FLAGS_AT, self.flags);
        set_heap_low(bytes, self.heap_low);
        set_garbage(bytes, self.garbage);
        put_u32(bytes, PAGES_AT, self.pages);
        set_born(bytes, self.born);
    }
}

/// The level of a tree page, or `None` for bytes that are no tree page.
#[inline]
pub(crate) fn tree_level(bytes: &[u8]) -> Option<u8> {
    let [kind, level, ..] = *bytes.first_chunk::<PAGE_HEADER_BYTES>()?;
    let is_leaf = kind == PageKind::Leaf as u8 && level == 0;
    let is_interior = kind == PageKind::Interior as u8
        && level.wrapping_sub(1) < const { TREE_HEIGHT_MAX as u8 - 1 };
    (is_leaf || is_interior).then_some(level)
}

/// True for a tree page of this level. REQUIRES: `level < TREE_HEIGHT_MAX`.
#[inline]
pub(crate) fn is_at_level(bytes: &[u8], level: u8) -> bool {
    let kind = if level == 0 { PageKind::Leaf } else { PageKind::Interior };
    let opening = [kind as u8, level];
    bytes.len() >= PAGE_HEADER_BYTES && bytes.first_chunk() == Some(&opening)
}

pub(crate) fn set_born(bytes: &mut [u8], born: Epoch) {
    put_u64(bytes, BORN_AT, born.0);
}

pub(crate) fn set_count(bytes: &mut [u8], count: usize) {
    put_u16(bytes, COUNT_AT, narrow(count));
}

pub(crate) fn set_heap_low(bytes: &mut [u8], heap_low: usize) {
    put_u16(bytes, HEAP_LOW_AT, narrow(heap_low));
}

pub(crate) fn set_garbage(bytes: &mut [u8], garbage: usize) {
    put_u16(bytes, GARBAGE_AT, narrow(garbage));
}

/// Sets the live bytes of an overlay's heap.
pub(crate) fn set_live(bytes: &mut [u8], live: usize) {
    put_u32(bytes, PAGES_AT, live as u32);
}

/// Adds to the flags of a page.
pub(crate) fn add_flags(bytes: &mut [u8], flags: u16) {
    put_u16(bytes, FLAGS_AT, get_u16(bytes, FLAGS_AT) | flags);
}

/// An offset or count within a page as it is stored.
#[inline]
pub(crate) fn narrow(value: usize) -> u16 {
    u16::try_from(value).expect("invariant: offsets and counts within a page fit 16 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_as_written() {
        let header = Header {
            kind: PageKind::Interior as u8,
            level: 3,
            count: 258,
            prefix_len: 5,
            flags: FLAG_SUFFIXES,
            heap_low: 32768,
            garbage: 77,
            pages: 0,
            born: Epoch(1 << 40),
        };
        let mut bytes = [0xffu8; 64];
        header.write(&mut bytes);
        assert_eq!(format!("{:?}", Header::read(&bytes)), format!("{header:?}"));
        assert_eq!(&bytes[..4], &[2, 3, 2, 1]);
        assert_eq!(tree_level(&bytes), Some(3));
        assert_eq!(Header::read(&bytes).born, Epoch(1 << 40));
    }

    #[test]
    fn only_tree_pages_have_a_level() {
        let level = |kind, level| {
            let mut bytes = [0; PAGE_HEADER_BYTES];
            bytes[..2].copy_from_slice(&[kind, level]);
            let found = tree_level(&bytes);
            let levels = 0..TREE_HEIGHT_MAX as u8;
            levels.for_each(|at| assert_eq!(is_at_level(&bytes, at), found == Some(at)));
            found
        };
        assert_eq!(tree_level(&[1, 0]), None);
        assert_eq!(level(1, 0), Some(0));
        assert_eq!(level(1, 1), None);
        assert_eq!(level(2, 0), None);
        assert_eq!(level(2, 31), Some(31));
        assert_eq!(level(2, 32), None);
        assert_eq!(level(6, 0), None);
    }
}
