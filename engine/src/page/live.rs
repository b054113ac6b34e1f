//! Copies of pages without the free bytes between their arrays and their heap.

use super::header::{Header, PageKind};
use super::interior::Interior;
use super::leaf::Leaf;

/// Copies what a tree page holds; the free bytes of `to` stay as they are. REQUIRES: both are
/// pages of one size.
pub(crate) fn copy_live(from: &[u8], to: &mut [u8]) {
    let header = Header::read(from);
    let arrays_end = match header.kind {
        kind if kind == PageKind::Leaf as u8 => Leaf::new(from).arrays_end(),
        kind if kind == PageKind::Interior as u8 => Interior::new(from).arrays_end(),
        _ => from.len(),
    };
    if arrays_end >= header.heap_low || header.heap_low > from.len() {
        to.copy_from_slice(from);
        return;
    }
    to[..arrays_end].copy_from_slice(&from[..arrays_end]);
    to[header.heap_low..].copy_from_slice(&from[header.heap_low..]);
}

#[cfg(test)]
mod tests {
    use super::super::{Entry, LeafMut, Payload, validate};
    use super::*;
    use crate::ids::Epoch;

    #[test]
    fn a_copy_has_every_entry_and_not_the_free_bytes() {
        let mut from = vec![1; 4096];
        let mut leaf = LeafMut::init(&mut from, Epoch(3));
        for key in 0..20_u8 {
            let entry = Entry { key: &[key], payload: Payload::Value(&[key; 50]), expires_at: 0 };
            assert!(leaf.insert(usize::from(key), &entry));
        }
        let mut to = vec![2; 4096];
        copy_live(&from, &mut to);
        validate(&to).unwrap();
        let (from, to) = (Leaf::new(&from), Leaf::new(&to));
        assert_eq!(to.count(), 20);
        assert!((0..20).all(|index| to.entry(index) == from.entry(index)));
    }

    #[test]
    fn a_page_that_is_no_tree_page_is_copied_whole() {
        let (from, mut to) = (vec![0xff; 4096], vec![2; 4096]);
        copy_live(&from, &mut to);
        assert_eq!(from, to);
    }
}
