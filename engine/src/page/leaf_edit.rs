//! A leaf, changed in place: insert, replace, remove.
//!
//! A change that does not fit as the page is, but would without its dead bytes or with a shorter
//! prefix, rewrites the page. An overlay is never rewritten: who is refused makes it whole. Never
//! splits. REQUIRES throughout: the bytes passed `validate` or were written by this module.
//! Invariants:
//! 1. A refused change leaves the page as it was.
//! 2. Live entries never overlap, and `heap_low + live + garbage` is the page's length.

use super::entry::{Entry, Payload};
use super::header::{
    FLAG_REFERENCES, Header, PAGE_HEADER_BYTES, PageKind, add_flags, narrow, set_count,
    set_garbage, set_heap_low, set_live,
};
use super::keys::head;
use super::leaf::{LEAF_INDEX_BYTES, Leaf};
use super::leaf_build::LeafBuilder;
use crate::codec::{put_u16, put_u32};
use crate::ids::Epoch;

/// A leaf that may be changed.
#[derive(Debug)]
pub(crate) struct LeafMut<'a> {
    bytes: &'a mut [u8],
    /// Of an overlay, the base.
    base: Option<&'a [u8]>,
}

/// How entries change when a leaf is rewritten.
#[derive(Clone, Copy)]
enum Change {
    Insert,
    Replace,
}

impl<'a> LeafMut<'a> {
    pub(crate) fn new(bytes: &'a mut [u8]) -> LeafMut<'a> {
        LeafMut { bytes, base: None }
    }

    /// The leaf of an overlay and its base.
    pub(crate) fn over(bytes: &'a mut [u8], base: &'a [u8]) -> LeafMut<'a> {
        LeafMut { bytes, base: Some(base) }
    }

    /// Makes `bytes` an empty leaf.
    pub(crate) fn init(bytes: &'a mut [u8], born: Epoch) -> LeafMut<'a> {
        let header = Header {
            kind: PageKind::Leaf as u8,
            level: 0,
            count: 0,
            prefix_len: 0,
            flags: 0,
            heap_low: bytes.len(),
            garbage: 0,
            pages: 0,
            born,
        };
        header.write(bytes);
        LeafMut::new(bytes)
    }

    pub(crate) fn view(&self) -> Leaf<'_> {
        match self.base {
            None => Leaf::new(self.bytes),
            Some(base) => Leaf::over(self.bytes, base),
        }
    }

    /// What a slot is that leads to byte `at`.
    fn slot_of(&self, at: usize) -> u16 {
        narrow(self.base.map_or(0, <[u8]>::len) + at)
    }

    /// True for an entry that an overlay does not take: it may refer to pages, or the whole leaf
    /// would not fit a page with the `added` bytes.
    fn refuses(&self, entry: &Entry<'_>, added: usize) -> bool {
        self.base.is_some_and(|base| {
            entry.payload.has_references() || self.view().used_bytes() + added > base.len()
        })
    }

    /// Keeps the books: live bytes of an overlay's heap, or else dead bytes. The heap has grown by
    /// `added`, and `dead` of its bytes are live no more.
    fn keep_books(&mut self, header: &Header, added: usize, dead: usize) {
        match self.base {
            None => set_garbage(self.bytes, header.garbage + dead),
            Some(_) => set_live(self.bytes, header.pages as usize + added - dead),
        }
    }

    /// Inserts before entry `index`, where the entry's key belongs. False when it does not fit.
    #[must_use]
    pub(crate) fn insert(&mut self, index: usize, entry: &Entry<'_>) -> bool {
        let (leaf, header) = (self.view(), Header::read(self.bytes));
        let need = entry.stored_bytes();
        let free = header.heap_low.saturating_sub(leaf.arrays_end());
        let Some(suffix) = entry.key.strip_prefix(leaf.prefix()) else {
            return self.rewrite(index, entry, Change::Insert);
        };
        // The first key becomes the prefix; keys that follow shorten it as they must.
        if free < need + LEAF_INDEX_BYTES
            || leaf.count() == 0
            || self.refuses(entry, need + LEAF_INDEX_BYTES)
        {
            return self.rewrite(index, entry, Change::Insert);
        }
        let (count, heads_at) = (leaf.count(), leaf.heads_at());
        let slots_at = heads_at + count * 4;
        let slot_at = slots_at + index * 2;
        let head_at = heads_at + index * 4;
        let start = header.heap_low - need;
        // From the top down, so that nothing is overwritten before it has moved.
        self.bytes.copy_within(slot_at..slots_at + count * 2, slot_at + LEAF_INDEX_BYTES);
        self.bytes.copy_within(head_at..slot_at, head_at + 4);
        put_u32(self.bytes, head_at, head(suffix));
        put_u16(self.bytes, slot_at + 4, self.slot_of(start));
        set_count(self.bytes, count + 1);
        set_heap_low(self.bytes, start);
        self.keep_books(&header, need, 0);
        self.write_entry(start, entry);
        true
    }

    /// Replaces entry `index` by one of the same key. False when it does not fit.
    #[must_use]
    pub(crate) fn replace(&mut self, index: usize, entry: &Entry<'_>) -> bool {
        let (leaf, header) = (self.view(), Header::read(self.bytes));
        let (old, need) = (leaf.stored(index).len(), entry.stored_bytes());
        let free = header.heap_low.saturating_sub(leaf.arrays_end());
        let place = leaf.own_place(leaf.slot(index));
        if self.refuses(entry, need.saturating_sub(old)) {
            return false;
        }
        if need <= old
            && let Some(start) = place
        {
            self.keep_books(&header, 0, old - need);
            self.write_entry(start, entry);
            return true;
        }
        if free < need {
            return self.rewrite(index, entry, Change::Replace);
        }
        let start = header.heap_low - need;
        let slot_at = leaf.heads_at() + leaf.count() * 4 + index * 2;
        put_u16(self.bytes, slot_at, self.slot_of(start));
        set_heap_low(self.bytes, start);
        self.keep_books(&header, need, old);
        self.write_entry(start, entry);
        true
    }

    /// Gives entry `index` another payload of the kind and length that it has. False, and nothing
    /// changes, when it has others, and for an overlay.
    #[must_use]
    pub(crate) fn overwrite(&mut self, index: usize, payload: &Payload<'_>) -> bool {
        let leaf = self.view();
        let (kind, place) = (leaf.stored_kind(index), leaf.payload_range(index));
        let is_alike = kind == payload.kind() && place.len() == payload.stored_bytes();
        if self.base.is_some() || index >= leaf.count() || !is_alike {
            return false;
        }
        payload.write(&mut self.bytes[place]);
        self.note_references(payload);
        true
    }

    /// Removes entry `index`. REQUIRES: `index < count()`.
    pub(crate) fn remove(&mut self, index: usize) {
        let (leaf, header) = (self.view(), Header::read(self.bytes));
        let (count, heads_at) = (leaf.count(), leaf.heads_at());
        let (place, old) = (leaf.own_place(leaf.slot(index)), leaf.stored(index).len());
        let slots_at = heads_at + count * 4;
        let (head_at, slot_at) = (heads_at + index * 4, slots_at + index * 2);
        self.bytes.copy_within(head_at + 4..slot_at, head_at);
        self.bytes.copy_within(slot_at + 2..slots_at + count * 2, slot_at - 4);
        set_count(self.bytes, count - 1);
        if self.base.is_some() {
            self.keep_books(&header, 0, old);
        } else if count == 1 {
            set_heap_low(self.bytes, self.bytes.len());
            set_garbage(self.bytes, 0);
        } else if place == Some(header.heap_low) {
            set_heap_low(self.bytes, header.heap_low + old);
        } else {
            self.keep_books(&header, 0, old);
        }
    }

    fn write_entry(&mut self, start: usize, entry: &Entry<'_>) {
        entry.write(&mut self.bytes[start..start + entry.stored_bytes()]);
        self.note_references(&entry.payload);
    }

    fn note_references(&mut self, payload: &Payload<'_>) {
        if payload.has_references() {
            add_flags(self.bytes, FLAG_REFERENCES);
        }
    }

    /// Writes the page anew with the change, without dead bytes and with the prefix that fits.
    fn rewrite(&mut self, index: usize, entry: &Entry<'_>, change: Change) -> bool {
        if self.base.is_some() {
            return false;
        }
        let (leaf, born) = (self.view(), Header::read(self.bytes).born);
        let (gone, added) = match change {
            Change::Insert => (0, LEAF_INDEX_BYTES),
            Change::Replace => (leaf.stored(index).len(), 0),
        };
        if leaf.used_bytes() + added + entry.stored_bytes() > self.bytes.len() + gone {
            return false;
        }
        let mut builder = LeafBuilder::with_room(leaf.count() + 1, self.bytes.len());
        (0..index).for_each(|i| builder.push_stored(&leaf, i));
        builder.push(entry);
        let rest = match change {
            Change::Insert => index,
            Change::Replace => index + 1,
        };
        (rest..leaf.count()).for_each(|i| builder.push_stored(&leaf, i));
        builder.write(self.bytes, born)
    }
}

const _: () = assert!(PAGE_HEADER_BYTES.is_multiple_of(4));

#[cfg(test)]
mod tests {
    use super::super::BucketRecord;
    use super::super::validate::validate;
    use super::*;
    use crate::ids::{PageId, PageRef};

    fn value<'a>(key: &'a [u8], value: &'a [u8]) -> Entry<'a> {
        Entry { key, payload: Payload::Value(value), expires_at: 0 }
    }

    fn keys(bytes: &[u8]) -> Vec<&[u8]> {
        let leaf = Leaf::new(bytes);
        (0..leaf.count()).map(|i| leaf.key(i)).collect()
    }

    fn put(bytes: &mut [u8], entry: &Entry<'_>) -> bool {
        let mut leaf = LeafMut::new(bytes);
        let done = match leaf.view().search(entry.key) {
            Ok(index) => leaf.replace(index, entry),
            Err(index) => leaf.insert(index, entry),
        };
        validate(bytes).unwrap();
        done
    }

    #[test]
    fn entries_inserted_in_any_order_stand_in_key_order() {
        let mut page = vec![0x55; 4096];
        LeafMut::init(&mut page, Epoch(1));
        for key in ["m", "c", "x", "ca", "", "m\0", "zzzzzz", "cab", "b"] {
            assert!(put(&mut page, &value(key.as_bytes(), b"v")));
        }
        let want = ["", "b", "c", "ca", "cab", "m", "m\0", "x", "zzzzzz"];
        assert_eq!(keys(&page), want.map(str::as_bytes));
    }

    #[test]
    fn dead_bytes_are_reclaimed_when_room_is_short() {
        let mut page = vec![0; 4096];
        LeafMut::init(&mut page, Epoch(1));
        for key in [b"a", b"b", b"c"] {
            assert!(put(&mut page, &value(key, &[key[0]; 1050])));
        }
        assert!(!put(&mut page, &value(b"d", &[b'd'; 1050])), "a fourth does not fit");
        LeafMut::new(&mut page).remove(1);
        assert!(put(&mut page, &value(b"d", &[b'd'; 1050])), "it fits where b was");
        assert_eq!(keys(&page), [b"a", b"c", b"d"]);
        assert_eq!(Leaf::new(&page).find(b"d"), Some(value(b"d", &[b'd'; 1050])));
        assert_eq!(Header::read(&page).garbage, 0);
    }

    #[test]
    fn replacing_keeps_the_books() {
        let mut page = vec![0; 4096];
        LeafMut::init(&mut page, Epoch(1));
        for len in [10, 10, 4, 300, 1050, 0, 1056, 20] {
            for key in [&b"k1"[..], b"k2"] {
                let content = vec![len as u8; if key == b"k1" { len } else { 5 }];
                assert!(put(&mut page, &value(key, &content)));
                assert_eq!(Leaf::new(&page).find(key), Some(value(key, &content)));
            }
        }
        LeafMut::new(&mut page).remove(0);
        LeafMut::new(&mut page).remove(0);
        validate(&page).unwrap();
        assert_eq!(Leaf::new(&page).used_bytes(), PAGE_HEADER_BYTES);
    }

    #[test]
    fn a_payload_is_overwritten_by_its_like_only() {
        let mut page = vec![0; 4096];
        LeafMut::init(&mut page, Epoch(1));
        let (empty, rooted) = (BucketRecord::EMPTY.encode(), record(7));
        let bucket = |record| Entry { key: b"b", payload: Payload::Bucket(record), expires_at: 9 };
        assert!(put(&mut page, &value(b"a", b"value")) && put(&mut page, &bucket(&empty)));
        assert!(!Leaf::new(&page).may_have_references());
        for other in [Payload::Value(&rooted), Payload::Bucket(&[0; 31]), Payload::Bucket(&[])] {
            let before = page.clone();
            assert!(!LeafMut::new(&mut page).overwrite(1, &other));
            assert_eq!(page, before);
        }
        assert!(LeafMut::new(&mut page).overwrite(1, &Payload::Bucket(&rooted)));
        assert!(!LeafMut::new(&mut page).overwrite(2, &Payload::Bucket(&rooted)));
        validate(&page).unwrap();
        assert_eq!(Leaf::new(&page).find(b"a"), Some(value(b"a", b"value")));
        assert_eq!(Leaf::new(&page).find(b"b"), Some(bucket(&rooted)));
        assert!(Leaf::new(&page).may_have_references(), "a checkpoint would miss the root");
    }

    fn record(page: u32) -> [u8; 32] {
        let root = PageRef { id: PageId(page), crc: 1 };
        BucketRecord { root, entries: 3, sequence: 0 }.encode()
    }

    #[test]
    fn a_key_outside_the_prefix_shortens_it() {
        let mut page = vec![0; 4096];
        LeafMut::init(&mut page, Epoch(1));
        for key in ["service/web/1", "service/web/2", "service/api/1", "node/7"] {
            assert!(put(&mut page, &value(key.as_bytes(), b"")));
        }
        assert_eq!(Leaf::new(&page).prefix(), b"");
        assert_eq!(Leaf::new(&page).search(b"service/api/1"), Ok(1));
    }
}
