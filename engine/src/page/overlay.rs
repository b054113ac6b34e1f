//! A changed leaf that leaves most entries where they are.
//!
//! A transaction that changes one entry of a leaf needs a leaf of its own, but not a copy of the
//! other entries. An overlay has its own header, prefix, heads and slots, and a heap with what was
//! put since; all other slots lead to the *base*, the whole leaf that it was made of. The base must
//! stay as it is and where it is for as long as anybody can reach the overlay. An overlay lives in
//! memory only: a checkpoint writes the whole leaf. The idea is that of delta records (Levandoski,
//! Lomet and Sengupta, "The Bw-Tree", 2013), cut down to one that never grows into a chain: reading
//! one costs what reading a leaf costs.
//!
//! ```text
//!  0      header, prefix, heads, slots    as in a leaf, but for the slots: one below the length of
//!                                         the base is a place in it, any other, less that length,
//!                                         a place in the overlay
//!  .      free
//! heap_low heap                           entries of its own, live and dead
//! end - 8 u32 id, u32 CRC-32              the base
//! ```
//!
//! Never follows the reference to the base. Invariants:
//! 1. The base is a whole leaf, never an overlay.
//! 2. No entry of an overlay refers to a page, so nobody has to look for references in one.

use super::header::{FLAG_OVERLAY, Header, PageKind, narrow, set_born, set_garbage, set_heap_low};
use super::leaf::Leaf;
use super::leaf_build::LeafBuilder;
use crate::codec::{get_u16, get_u32, put_u16, put_u32};
use crate::ids::{Epoch, PageId, PageRef};

/// Bytes of the reference to the base.
const BASE_BYTES: usize = 8;
/// Unless so much of an overlay would be free for entries of its own it is not worth making.
const ROOM_MIN: usize = 256;

/// Where the heap of an overlay of so many bytes ends.
fn heap_end(len: usize) -> usize {
    len - BASE_BYTES
}

/// The base of an overlay. REQUIRES: `bytes` are those of one.
pub(crate) fn base(bytes: &[u8]) -> PageRef {
    let at = heap_end(bytes.len());
    PageRef { id: PageId(get_u32(bytes, at)), crc: get_u32(bytes, at + 4) }
}

/// True for the bytes of an overlay.
#[inline]
pub(crate) fn is_overlay(bytes: &[u8]) -> bool {
    Header::read(bytes).flags & FLAG_OVERLAY != 0
}

/// Writes an overlay in place of the leaf `from`, of which `place` tells where it is: over it, or
/// where it is an overlay, over its base. False, with `to` unchanged, when the leaf may refer to
/// pages, or the overlay would have too little room for `need` bytes and for what follows.
#[must_use]
pub(crate) fn lay(from: &[u8], place: PageRef, to: &mut [u8], need: usize, born: Epoch) -> bool {
    if is_overlay(from) {
        return copy(from, to, need, born);
    }
    let (leaf, header) = (Leaf::new(from), Header::read(from));
    let (arrays_end, end) = (leaf.arrays_end(), heap_end(to.len()));
    let is_whole = header.kind == PageKind::Leaf as u8 && header.flags == 0;
    if !is_whole || leaf.count() == 0 || arrays_end + need.max(ROOM_MIN) > end {
        return false;
    }
    let pages = leaf.heap_bytes() as u32;
    to[..arrays_end].copy_from_slice(&from[..arrays_end]);
    Header { flags: FLAG_OVERLAY, heap_low: end, garbage: 0, pages, born, ..header }.write(to);
    put_u32(to, end, place.id.0);
    put_u32(to, end + 4, place.crc);
    true
}

/// Copies an overlay. False, with `to` unchanged, when it has no room for `need` bytes more.
fn copy(from: &[u8], to: &mut [u8], need: usize, born: Epoch) -> bool {
    let (arrays_end, heap_low) = (Leaf::new(from).arrays_end(), Header::read(from).heap_low);
    if arrays_end + need > heap_low {
        return false;
    }
    to[..arrays_end].copy_from_slice(&from[..arrays_end]);
    to[heap_low..].copy_from_slice(&from[heap_low..]);
    set_born(to, born);
    true
}

/// Writes the whole leaf that an overlay and its base are together. Same input, same bytes, but for
/// those that are free.
pub(crate) fn write_whole(bytes: &[u8], base: &[u8], page: &mut [u8], born: Epoch) {
    let leaf = Leaf::over(bytes, base);
    let (mine, theirs) = (Header::read(bytes), Header::read(base));
    let own = &bytes[mine.heap_low..heap_end(bytes.len())];
    let arrays_end = leaf.arrays_end();
    let Some(heap_low) = theirs.heap_low.checked_sub(own.len()).filter(|low| *low >= arrays_end)
    else {
        let fits = LeafBuilder::of(&leaf).write(page, born);
        assert!(fits, "invariant: an overlay holds what fits a page");
        return;
    };
    page[..arrays_end].copy_from_slice(&bytes[..arrays_end]);
    page[theirs.heap_low..].copy_from_slice(&base[theirs.heap_low..]);
    page[heap_low..theirs.heap_low].copy_from_slice(own);
    let slots_at = leaf.heads_at() + leaf.count() * 4;
    for index in 0..leaf.count() {
        let at = slots_at + index * 2;
        if let Some(own_at) = usize::from(get_u16(page, at)).checked_sub(base.len()) {
            put_u16(page, at, narrow(own_at - mine.heap_low + heap_low));
        }
    }
    Header { flags: 0, pages: 0, born, ..mine }.write(page);
    set_heap_low(page, heap_low);
    set_garbage(page, page.len() - heap_low - mine.pages as usize);
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, LeafMut, Payload, validate};
    use super::*;

    const PAGE: usize = 4096;
    const UNIT: usize = 1024;
    const BASE: PageRef = PageRef { id: PageId(77), crc: 0x1234_5678 };

    fn entry<'a>(key: &'a [u8], value: &'a [u8]) -> Entry<'a> {
        Entry { key, payload: Payload::Value(value), expires_at: 0 }
    }

    fn leaf_of(keys: &[&str], len: usize) -> Vec<u8> {
        let mut page = vec![0xcc; PAGE];
        let mut builder = LeafBuilder::new();
        keys.iter().for_each(|key| builder.push(&entry(key.as_bytes(), &vec![7; len])));
        assert!(builder.write(&mut page, Epoch(1)));
        page
    }

    fn pairs<'a>(leaf: &Leaf<'a>) -> Vec<Entry<'a>> {
        (0..leaf.count()).map(|index| leaf.entry(index)).collect()
    }

    /// Puts or removes; what the leaf then is, overlay and whole.
    fn change(overlay: &mut [u8], base: &[u8], key: &str, value: Option<&[u8]>) -> bool {
        let mut leaf = LeafMut::over(overlay, base);
        let done = match (leaf.view().search(key.as_bytes()), value) {
            (Ok(index), Some(value)) => leaf.replace(index, &entry(key.as_bytes(), value)),
            (Err(index), Some(value)) => leaf.insert(index, &entry(key.as_bytes(), value)),
            (Ok(index), None) => {
                leaf.remove(index);
                true
            }
            (Err(_), None) => true,
        };
        let mut whole = vec![0xee; PAGE];
        write_whole(overlay, base, &mut whole, Epoch(9));
        validate(&whole).unwrap();
        let (over, alone) = (Leaf::over(overlay, base), Leaf::new(&whole));
        assert_eq!(pairs(&over), pairs(&alone));
        assert_eq!(over.used_bytes(), alone.used_bytes());
        assert_eq!(alone.find(key.as_bytes()).is_some(), over.find(key.as_bytes()).is_some());
        done
    }

    #[test]
    fn an_overlay_reads_as_the_leaf_that_it_stands_for() {
        let names: Vec<String> = (0..20).map(|n| format!("user:{n:04}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let base = leaf_of(&names, 100);
        let before = base.clone();
        let mut overlay = vec![0xdd; UNIT];
        assert!(lay(&base, BASE, &mut overlay, 100, Epoch(2)));
        assert!(is_overlay(&overlay) && !is_overlay(&base));
        assert_eq!(super::base(&overlay), BASE);
        assert_eq!(pairs(&Leaf::over(&overlay, &base)), pairs(&Leaf::new(&base)));
        assert!(change(&mut overlay, &base, "user:0003", Some(b"other")));
        assert!(change(&mut overlay, &base, "user:0003", Some(b"and another")));
        assert!(change(&mut overlay, &base, "user:0003", Some(b"less")));
        assert!(change(&mut overlay, &base, "user:0003b", Some(&[1; 90])));
        assert!(change(&mut overlay, &base, "user:0000", None));
        assert!(change(&mut overlay, &base, "user:0003b", None));
        assert!(change(&mut overlay, &base, "user:0019", Some(b"")));
        let mut second = vec![0; UNIT];
        assert!(copy(&overlay, &mut second, 50, Epoch(3)));
        assert!(change(&mut second, &base, "user:0009", Some(&[2; 40])));
        assert_eq!(
            Leaf::over(&overlay, &base).find(b"user:0009"),
            Some(entry(b"user:0009", &[7; 100]))
        );
        assert_eq!(base, before);
        for name in &names {
            assert!(change(&mut overlay, &base, name, None));
        }
        assert_eq!(Leaf::over(&overlay, &base).count(), 0);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_changes_nothing() {
        let base = leaf_of(&["key a", "key b"], 100);
        let mut overlay = vec![0; UNIT];
        assert!(lay(&base, BASE, &mut overlay, 0, Epoch(2)));
        let mut count = 0;
        while change(&mut overlay, &base, &format!("key {count:03}"), Some(&[1; 100])) {
            count += 1;
        }
        assert!((5..9).contains(&count), "{count}");
        assert!(!change(&mut overlay, &base, "another prefix", Some(b"")));
        let mut other = vec![3; UNIT];
        assert!(!copy(&overlay, &mut other, 200, Epoch(3)));
        assert!(!lay(&base, BASE, &mut other, UNIT, Epoch(3)));
        assert_eq!(other, vec![3; UNIT]);
    }

    #[test]
    fn a_whole_leaf_without_room_for_both_heaps_is_written_anew() {
        let names: Vec<String> = (0..30).map(|n| format!("{n:02}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let base = leaf_of(&names, 115);
        assert!(Leaf::new(&base).used_bytes() > PAGE - 500);
        let mut overlay = vec![0; UNIT];
        assert!(lay(&base, BASE, &mut overlay, 0, Epoch(2)));
        for name in &names[..6] {
            assert!(change(&mut overlay, &base, name, Some(&[9; 90])));
        }
    }

    #[test]
    fn a_leaf_that_refers_to_pages_gets_no_overlay() {
        let mut base = leaf_of(&["a"], 10);
        let run = PageRef { id: PageId(3), crc: 4 };
        let payload = Payload::Overflow { run, len: 9000 };
        let far = Entry { key: b"b", payload, expires_at: 0 };
        let mut overlay = vec![0; UNIT];
        assert!(lay(&base, BASE, &mut overlay, 0, Epoch(2)));
        assert!(!LeafMut::over(&mut overlay, &base).insert(1, &far));
        assert!(!LeafMut::over(&mut overlay, &base).replace(0, &Entry { key: b"a", ..far }));
        assert!(LeafMut::new(&mut base).insert(1, &far));
        assert!(!lay(&base, BASE, &mut overlay, 0, Epoch(2)));
    }
}
