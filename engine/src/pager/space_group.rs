//! The bitmaps of one group of pages, and the free extents in them.
//!
//! Knows bits by their place in the group. Never reads or writes a page.

use std::ops::Range;

use crate::mutation::{self, Mutation};

/// Adjoining free pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The first page.
    pub(crate) start: u32,
    /// How many.
    pub(crate) count: u32,
}

/// The bitmaps of one loaded group.
#[derive(Debug)]
pub(super) struct Group {
    /// For the root being written next.
    pub(super) current: Vec<u64>,
    /// As each of the two meta pages knows it; empty when that page is damaged.
    pub(super) metas: [Vec<u64>; 2],
    /// Pages that are free but may be held by a reader, or are lent.
    pub(super) held: Vec<u64>,
    pub(super) dirty: bool,
}

pub(super) fn is_set(words: &[u64], bit: u32) -> bool {
    words.get(bit as usize / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
}

pub(super) fn set(words: &mut [u64], bit: u32) {
    words[bit as usize / 64] |= 1 << (bit % 64);
}

pub(super) fn clear(words: &mut [u64], bit: u32) {
    words[bit as usize / 64] &= !(1 << (bit % 64));
}

pub(super) fn is_busy(group: &Group, bit: u32) -> bool {
    busy_word(group, bit as usize / 64) >> (bit % 64) & 1 == 1
}

/// The pages of one word of the bitmaps that may not be handed out.
fn busy_word(group: &Group, index: usize) -> u64 {
    let word = |words: &Vec<u64>| words.get(index).copied().unwrap_or(0);
    let needed = word(&group.metas[0]) | word(&group.metas[1]);
    let needed = if mutation::is(Mutation::PageReusedBeforeMeta) { 0 } else { needed };
    word(&group.current) | needed | word(&group.held)
}

/// The last of the bits of which the page may not be handed out.
pub(super) fn last_busy(group: &Group, bits: Range<u32>) -> Option<u32> {
    let mut end = bits.end;
    while end > bits.start {
        let first = (end - 1) & !63;
        let busy = busy_word(group, first as usize / 64) & u64::MAX >> (63 - (end - 1) % 64);
        match busy.checked_ilog2() {
            Some(bit) if first + bit >= bits.start => return Some(first + bit),
            _ => end = first,
        }
    }
    None
}

/// Adds the extents of pages that nobody needs, `end` pages of the group from `start` on.
pub(super) fn collect_free(group: &Group, start: u32, end: u32, extents: &mut Vec<Extent>) {
    let mut open: Option<Extent> = None;
    let mut bit = 0;
    while bit < end {
        let index = bit as usize / 64;
        // What is left of the word, as a run of equal bits.
        let rest = busy_word(group, index) >> (bit % 64);
        let taken = rest & 1 == 1;
        let same = if taken { rest.trailing_ones() } else { rest.trailing_zeros() };
        let count = same.min(64 - bit % 64).min(end - bit);
        match (&mut open, taken) {
            (Some(_), true) => extents.extend(open.take()),
            (Some(extent), false) => extent.count += count,
            (None, true) => {}
            (None, false) => open = Some(Extent { start: start + bit, count }),
        }
        bit += count;
    }
    extents.extend(open);
}
