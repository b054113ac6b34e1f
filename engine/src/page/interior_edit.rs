//! An interior page, changed in place: set a child, insert and remove a separator.
//!
//! A separator that does not fit as the page is, but would with another prefix or without dead
//! bytes, rewrites the page. Never splits. REQUIRES throughout: the bytes passed `validate` or
//! were written by this module. Invariants:
//! 1. A refused change leaves the page as it was.
//! 2. Live suffixes never overlap, and `heap_low + live + garbage` is the page's length.

use super::header::{Header, narrow, set_count, set_garbage, set_heap_low};
use super::interior::Interior;
use super::interior_build::InteriorBuilder;
use super::keys::head;
use crate::codec::{put_u16, put_u32};
use crate::ids::PageRef;

/// An interior page that may be changed.
#[derive(Debug)]
pub(crate) struct InteriorMut<'a> {
    bytes: &'a mut [u8],
}

impl<'a> InteriorMut<'a> {
    pub(crate) fn new(bytes: &'a mut [u8]) -> InteriorMut<'a> {
        InteriorMut { bytes }
    }

    pub(crate) fn view(&self) -> Interior<'_> {
        Interior::new(self.bytes)
    }

    /// Lets child `index` be another page. REQUIRES: `index <= count()`.
    pub(crate) fn set_child(&mut self, index: usize, child: PageRef) {
        let (id_at, crc_at) = self.view().child_at(index);
        put_u32(self.bytes, id_at, child.id.0);
        put_u32(self.bytes, crc_at, child.crc);
    }

    /// Inserts a separator before separator `index`, and `right` as the child to its right. False
    /// when it does not fit.
    #[must_use]
    pub(crate) fn insert(&mut self, index: usize, separator: &[u8], right: PageRef) -> bool {
        let (page, header) = (self.view(), Header::read(self.bytes));
        let suffix = separator.strip_prefix(page.prefix());
        // The first separator becomes the prefix; those that follow shorten it as they must.
        let Some(suffix) = suffix.filter(|_| page.count() > 0 && page.has_room_for(separator))
        else {
            return self.rewrite(index, separator, right);
        };
        let kept = page.keeps_suffixes();
        let heap_bytes = if kept { 2 + suffix.len() } else { 0 };
        let count = page.count();
        let head_at = page.heads_at() + index * 4;
        let (child_at, crc_at) = page.child_at(index + 1);
        let (_, slots_at) = page.child_at(count + 1);
        let arrays_end = page.arrays_end();
        // From the top down, so that nothing is overwritten before it has moved.
        if kept {
            let slot_at = slots_at + index * 2;
            let start = header.heap_low - heap_bytes;
            self.bytes.copy_within(slot_at..arrays_end, slot_at + 14);
            self.bytes.copy_within(slots_at..slot_at, slots_at + 12);
            put_u16(self.bytes, slot_at + 12, narrow(start));
            put_u16(self.bytes, start, narrow(suffix.len()));
            self.bytes[start + 2..][..suffix.len()].copy_from_slice(suffix);
            set_heap_low(self.bytes, start);
        }
        self.bytes.copy_within(crc_at..slots_at, crc_at + 12);
        self.bytes.copy_within(child_at..crc_at, child_at + 8);
        self.bytes.copy_within(head_at..child_at, head_at + 4);
        put_u32(self.bytes, head_at, head(suffix));
        put_u32(self.bytes, child_at + 4, right.id.0);
        put_u32(self.bytes, crc_at + 8, right.crc);
        set_count(self.bytes, count + 1);
        true
    }

    /// Removes child `index` and the separator that set it off: the one to its left, or for the
    /// first child the one to its right. REQUIRES: `index <= count()` and `count() > 0`.
    pub(crate) fn remove_child(&mut self, index: usize) {
        let (page, header) = (self.view(), Header::read(self.bytes));
        let count = page.count();
        let gone = index.saturating_sub(1);
        let head_at = page.heads_at() + gone * 4;
        let (child_at, crc_at) = page.child_at(index);
        let (_, slots_at) = page.child_at(count + 1);
        let (kept, start, dead) =
            (page.keeps_suffixes(), page.slot(gone), 2 + page.suffix(gone).len());
        let arrays_end = page.arrays_end();
        // From the bottom up, so that nothing is overwritten before it has moved.
        self.bytes.copy_within(head_at + 4..child_at, head_at);
        self.bytes.copy_within(child_at + 4..crc_at, child_at - 4);
        self.bytes.copy_within(crc_at + 4..slots_at, crc_at - 8);
        set_count(self.bytes, count - 1);
        if !kept {
            return;
        }
        let slot_at = slots_at + gone * 2;
        self.bytes.copy_within(slots_at..slot_at, slots_at - 12);
        self.bytes.copy_within(slot_at + 2..arrays_end, slot_at - 12);
        if count == 1 {
            set_heap_low(self.bytes, self.bytes.len());
            set_garbage(self.bytes, 0);
        } else if start == header.heap_low {
            set_heap_low(self.bytes, start + dead);
        } else {
            set_garbage(self.bytes, header.garbage + dead);
        }
    }

    /// Writes the page anew with one more separator, if that fits.
    fn rewrite(&mut self, index: usize, separator: &[u8], right: PageRef) -> bool {
        let header = Header::read(self.bytes);
        let mut builder = InteriorBuilder::new();
        builder.push_page(None, &self.view());
        builder.insert(index, separator, right);
        builder.write(0..builder.count(), self.bytes, header.level, header.born)
    }
}

#[cfg(test)]
mod tests {
    use super::super::validate::validate;
    use super::*;
    use crate::ids::{Epoch, PageId};

    fn page_ref(number: u32) -> PageRef {
        PageRef { id: PageId(number), crc: !number }
    }

    fn single_child(child: u32) -> Vec<u8> {
        let mut builder = InteriorBuilder::new();
        builder.push_first(page_ref(child));
        let mut bytes = vec![0xaa; 4096];
        assert!(builder.write(0..0, &mut bytes, 1, Epoch(1)));
        bytes
    }

    /// The separators and children of a page; panics if it is not valid.
    fn content(bytes: &[u8]) -> (Vec<Vec<u8>>, Vec<u32>) {
        validate(bytes).unwrap();
        let page = Interior::new(bytes);
        (0..=page.count()).for_each(|i| assert_eq!(page.child(i).crc, !page.child(i).id.0));
        let separators = (0..page.count()).map(|i| page.separator(i)).collect();
        (separators, (0..=page.count()).map(|i| page.child(i).id.0).collect())
    }

    fn insert_and_remove_in_odd_orders(separators: &[&[u8]]) {
        let mut bytes = single_child(100);
        let (mut keys, mut children) = (vec![], vec![100]);
        for step in 0..separators.len() {
            let pick = (step * 7 + 3) % separators.len();
            let key = separators[pick].to_vec();
            let index = keys.iter().filter(|other| **other < key).count();
            assert!(InteriorMut::new(&mut bytes).insert(index, &key, page_ref(pick as u32 + 1)));
            keys.insert(index, key);
            children.insert(index + 1, pick as u32 + 1);
            assert_eq!(content(&bytes), (keys.clone(), children.clone()));
        }
        for step in 0..separators.len() {
            let index = (step * 5 + 2) % children.len();
            InteriorMut::new(&mut bytes).remove_child(index);
            children.remove(index);
            keys.remove(index.saturating_sub(1));
            assert_eq!(content(&bytes), (keys.clone(), children.clone()));
        }
        InteriorMut::new(&mut bytes).set_child(0, page_ref(77));
        assert_eq!(content(&bytes), (vec![], vec![77]));
    }

    #[test]
    fn separators_come_and_go_in_place() {
        insert_and_remove_in_odd_orders(&[b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h"]);
        insert_and_remove_in_odd_orders(&[b"xa", b"xab", b"xabc", b"xabcd", b"xabce", b"xb"]);
        insert_and_remove_in_odd_orders(&[
            b"\0",
            b"\0\0",
            b"long-separator-1",
            b"long-separator-2",
            b"long-separator-20",
            b"long-separator-20\0",
            b"short",
            b"\xff",
        ]);
    }

    #[test]
    fn a_full_page_refuses_and_stays_as_it_was() {
        let mut bytes = single_child(1);
        let mut number = 0u32;
        while InteriorMut::new(&mut bytes).insert(
            number as usize,
            &(2 * number + 1).to_be_bytes(),
            page_ref(number + 2),
        ) {
            number += 1;
        }
        assert!(number > 330, "{number} separators of four bytes");
        let before = bytes.clone();
        let long = [&3u32.to_be_bytes()[..], &[9; 1000]].concat();
        assert!(!InteriorMut::new(&mut bytes).insert(3, &long, page_ref(9)));
        assert_eq!(bytes, before);
    }
}
