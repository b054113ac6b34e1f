//! A leaf, written whole from entries in ascending order.
//!
//! Gathers entries, then lays them out with the heap in key order, so that a scan reads upwards
//! through memory. Never sorts and never checks the order. Invariants:
//! 1. What is written has no dead bytes.
//! 2. The prefix is the longest that all keys share, up to `PREFIX_BYTES_MAX` and the room left:
//!    a prefix is a copy, so it never displaces an entry.

use super::entry::{self, Entry};
use super::header::{FLAG_REFERENCES, Header, PAGE_HEADER_BYTES, PageKind, narrow};
use super::keys::{common_prefix_len, head};
use super::leaf::{LEAF_INDEX_BYTES, Leaf};
use crate::codec::{align4, put_u16, put_u32};
use crate::ids::Epoch;
use crate::limits;

/// Longest prefix of a leaf. It is a copy of key bytes: a longer one would cost more room than the
/// sharper heads save time.
pub(crate) const PREFIX_BYTES_MAX: usize = 128;

// Any page holds an entry of the largest key and the largest payload.
const _: () = assert!(
    PAGE_HEADER_BYTES
        + LEAF_INDEX_BYTES
        + 12
        + limits::key_bytes_max(limits::PAGE_BYTES_MIN)
        + entry::payload_bytes_max(limits::PAGE_BYTES_MIN)
        <= limits::PAGE_BYTES_MIN
);

/// Entries on their way into a leaf.
#[derive(Debug, Default)]
pub(crate) struct LeafBuilder {
    /// The entries as they will lie in the heap.
    heap: Vec<u8>,
    /// Where each starts within `heap`.
    starts: Vec<u32>,
    has_references: bool,
}

impl LeafBuilder {
    pub(crate) fn new() -> LeafBuilder {
        LeafBuilder::default()
    }

    /// With room for so many entries, `heap_bytes` long together.
    pub(crate) fn with_room(entries: usize, heap_bytes: usize) -> LeafBuilder {
        LeafBuilder {
            heap: Vec::with_capacity(heap_bytes),
            starts: Vec::with_capacity(entries),
            has_references: false,
        }
    }

    /// All entries of a leaf.
    pub(crate) fn of(leaf: &Leaf<'_>) -> LeafBuilder {
        let stored = |index| leaf.stored(index).len();
        let heap_bytes = (0..leaf.count()).map(stored).sum();
        let mut builder = LeafBuilder::with_room(leaf.count(), heap_bytes);
        (0..leaf.count()).for_each(|index| builder.push_stored(leaf, index));
        builder
    }

    /// Appends an entry. REQUIRES: its key is above all others.
    pub(crate) fn push(&mut self, entry: &Entry<'_>) {
        let start = self.heap.len();
        self.starts.push(start as u32);
        self.heap.resize(start + entry.stored_bytes(), 0);
        entry.write(&mut self.heap[start..]);
        self.has_references |= entry.payload.has_references();
    }

    /// Appends entry `index` of a leaf as it is stored. REQUIRES: its key is above all others.
    pub(crate) fn push_stored(&mut self, leaf: &Leaf<'_>, index: usize) {
        self.starts.push(self.heap.len() as u32);
        self.heap.extend_from_slice(leaf.stored(index));
        if leaf.may_have_references() {
            self.has_references |= leaf.entry(index).payload.has_references();
        }
    }

    /// Entries so far.
    pub(crate) fn count(&self) -> usize {
        self.starts.len()
    }

    /// The key of entry `index`. REQUIRES: `index < count()`.
    pub(crate) fn key(&self, index: usize) -> &[u8] {
        entry::key(&self.heap[self.starts[index] as usize..])
    }

    /// The key pushed last.
    pub(crate) fn last_key(&self) -> Option<&[u8]> {
        self.count().checked_sub(1).map(|last| self.key(last))
    }

    /// Bytes of a leaf with the entries so far; the optional prefix is left out.
    pub(crate) fn used_bytes(&self) -> usize {
        PAGE_HEADER_BYTES + self.count() * LEAF_INDEX_BYTES + self.heap.len()
    }

    /// Forgets all entries.
    pub(crate) fn clear(&mut self) {
        self.heap.clear();
        self.starts.clear();
        self.has_references = false;
    }

    /// Writes the leaf over `page`. False, with `page` unchanged, when it does not fit.
    #[must_use]
    pub(crate) fn write(&self, page: &mut [u8], born: Epoch) -> bool {
        let Some(room) = page.len().checked_sub(self.used_bytes()) else {
            return false;
        };
        let prefix_len = self.prefix_len().min(room & !3);
        self.lay_out(page, prefix_len, born);
        true
    }

    /// The leaf image of the entries.
    #[cfg(test)]
    pub(crate) fn image(&self) -> Vec<u8> {
        let mut image = Vec::new();
        self.append_image(&mut image);
        image
    }

    /// Appends the leaf image of the entries: a leaf without prefix, exactly as long as its
    /// content.
    pub(crate) fn append_image(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + self.used_bytes(), 0);
        self.lay_out(&mut out[start..], 0, Epoch(0));
    }

    fn prefix_len(&self) -> usize {
        let Some(last) = self.last_key() else {
            return 0;
        };
        common_prefix_len(self.key(0), last).min(PREFIX_BYTES_MAX)
    }

    fn lay_out(&self, page: &mut [u8], prefix_len: usize, born: Epoch) {
        let heap_low = page.len() - self.heap.len();
        let header = Header {
            kind: PageKind::Leaf as u8,
            level: 0,
            count: self.count(),
            prefix_len,
            flags: if self.has_references { FLAG_REFERENCES } else { 0 },
            heap_low,
            garbage: 0,
            pages: 0,
            born,
        };
        header.write(page);
        page[heap_low..].copy_from_slice(&self.heap);
        let heads_at = PAGE_HEADER_BYTES + align4(prefix_len);
        if prefix_len > 0 {
            page[PAGE_HEADER_BYTES..heads_at].fill(0);
            page[PAGE_HEADER_BYTES..][..prefix_len].copy_from_slice(&self.key(0)[..prefix_len]);
        }
        let slots_at = heads_at + self.count() * 4;
        for (index, &start) in self.starts.iter().enumerate() {
            let suffix = self.key(index).get(prefix_len..).unwrap_or(&[]);
            put_u32(page, heads_at + index * 4, head(suffix));
            put_u16(page, slots_at + index * 2, narrow(heap_low + start as usize));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Payload;
    use super::*;

    fn value<'a>(key: &'a [u8], value: &'a [u8]) -> Entry<'a> {
        Entry { key, payload: Payload::Value(value), expires_at: 0 }
    }

    #[test]
    fn a_built_leaf_finds_what_was_pushed() {
        let keys: Vec<String> = (0..60).map(|i| format!("prefix-{:04}", i * 3)).collect();
        let mut builder = LeafBuilder::new();
        keys.iter().for_each(|key| builder.push(&value(key.as_bytes(), key.as_bytes())));
        let mut page = vec![0xaa; 4096];
        assert!(builder.write(&mut page, Epoch(3)));
        for bytes in [page, builder.image()] {
            let leaf = Leaf::new(&bytes);
            assert_eq!(leaf.count(), keys.len());
            for (index, key) in keys.iter().enumerate() {
                assert_eq!(leaf.search(key.as_bytes()), Ok(index));
                let found = leaf.find(key.as_bytes()).unwrap();
                assert_eq!(found, value(key.as_bytes(), key.as_bytes()));
                let above = format!("{key}x");
                assert_eq!(leaf.search(above.as_bytes()), Err(index + 1));
                assert_eq!(leaf.find(above.as_bytes()), None);
            }
            assert_eq!(leaf.search(b"a"), Err(0));
            assert_eq!(leaf.search(b"prefix"), Err(0));
            assert_eq!(leaf.search(b"q"), Err(keys.len()));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut builder = LeafBuilder::new();
        builder.push(&value(b"a", &[1; 2000]));
        builder.push(&value(b"b", &[2; 2000]));
        builder.push(&value(b"c", &[3; 2000]));
        assert!(!builder.write(&mut [0; 4096], Epoch(0)));
    }

    #[test]
    fn a_prefix_never_displaces_an_entry() {
        let mut builder = LeafBuilder::new();
        builder.push(&value(&[b'p'; 1000], &[1; 1000]));
        builder.push(&value(&[b'p'; 1001], &[2; 1024]));
        let room = 4096 - builder.used_bytes();
        assert!(room > 0 && room < PREFIX_BYTES_MAX);
        let mut page = vec![0; 4096];
        assert!(builder.write(&mut page, Epoch(0)));
        assert_eq!(Leaf::new(&page).prefix().len(), room & !3);
        assert_eq!(Leaf::new(&page).search(&[b'p'; 1001]), Ok(1));
    }
}
