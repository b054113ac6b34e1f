//! One key, or many at once.
//!
//! Many keys go down level by level side by side: the pages of one level are asked for by all keys
//! before any is searched, so that their cache misses overlap; so are the entries in the end.
//! Never copies an entry: what is found is borrowed from its page.

use super::pages::{Pages, Root, leaf_of};
use super::path::{Opened, expect_child, open, open_root};
use crate::error::Result;
use crate::ids::PageRef;
use crate::limits::GET_MANY_WIDTH;
use crate::page::{Entry, Interior, Leaf};

/// The entry with this key.
// Always inline, as what it is made of: an entry that is returned travels through memory.
#[inline(always)]
pub(crate) fn get<'a, P: Pages>(
    pages: &'a P,
    root: Root<'a>,
    key: &[u8],
) -> Result<Option<Entry<'a>>> {
    let leaf = match root {
        Root::Empty => return Ok(None),
        Root::Image(image) => Leaf::new(image),
        Root::Page(page) => leaf_for(pages, open_root(pages, page)?, key)?,
    };
    Ok(leaf.find(key))
}

/// As [`get`], from a root page that was opened before.
#[inline(always)]
pub(crate) fn get_from<'a, P: Pages>(
    pages: &'a P,
    root: Opened<'a>,
    key: &[u8],
) -> Result<Option<Entry<'a>>> {
    Ok(leaf_for(pages, root, key)?.find(key))
}

/// Has the leaf where `key` belongs read and verified.
pub(crate) fn touch_leaf<P: Pages>(pages: &P, root: Root<'_>, key: &[u8]) -> Result<()> {
    match root {
        Root::Empty | Root::Image(_) => Ok(()),
        Root::Page(page) => leaf_for(pages, open_root(pages, page)?, key).map(|_| ()),
    }
}

/// Appends to `out`, for each key in turn, the entry with this key.
pub(crate) fn get_many<'a, P: Pages, K: AsRef<[u8]>>(
    pages: &'a P,
    root: Root<'a>,
    keys: &[K],
    out: &mut Vec<Option<Entry<'a>>>,
) -> Result<()> {
    out.reserve(keys.len());
    match root {
        Root::Empty => out.extend(keys.iter().map(|_| None)),
        Root::Image(image) => {
            let leaf = Leaf::new(image);
            out.extend(keys.iter().map(|key| leaf.find(key.as_ref())));
        }
        Root::Page(page) => {
            for keys in keys.chunks(GET_MANY_WIDTH) {
                get_abreast(pages, page, keys, out)?;
            }
        }
    }
    Ok(())
}

/// Says that the leaves where these keys belong, `GET_MANY_WIDTH` at most, will soon be read, and
/// their entries there: the cache misses overlap, where one key after the other would wait for its
/// own.
pub(crate) fn expect_leaves<'k, P: Pages>(
    pages: &P,
    root: PageRef,
    keys: impl Iterator<Item = &'k [u8]> + Clone,
) -> Result<()> {
    let (bytes, root_level) = open_root(pages, root)?;
    let mut at: [&[u8]; GET_MANY_WIDTH] = [bytes; GET_MANY_WIDTH];
    for level in (0..root_level).rev() {
        let mut children = [PageRef::NONE; GET_MANY_WIDTH];
        for ((key, bytes), child) in keys.clone().zip(&at).zip(&mut children) {
            let interior = Interior::new(bytes);
            *child = interior.child(interior.search(key));
            expect_child(pages, *child, level);
        }
        for (bytes, child) in at.iter_mut().zip(children).take_while(|at| !at.1.id.is_none()) {
            *bytes = open(pages, child, level)?;
        }
    }
    for (key, bytes) in keys.zip(at) {
        let leaf = leaf_of(pages, bytes)?;
        leaf.expect_entry(leaf.candidate(key));
    }
    Ok(())
}

/// The leaf where `key` belongs.
#[inline(always)]
fn leaf_for<'a, P: Pages>(pages: &'a P, root: Opened<'a>, key: &[u8]) -> Result<Leaf<'a>> {
    let (mut bytes, mut level) = root;
    while level > 0 {
        level -= 1;
        let interior = Interior::new(bytes);
        let child = interior.child(interior.search(key));
        expect_child(pages, child, level);
        bytes = open(pages, child, level)?;
    }
    leaf_of(pages, bytes)
}

/// Up to `GET_MANY_WIDTH` keys, level by level.
fn get_abreast<'a, P: Pages, K: AsRef<[u8]>>(
    pages: &'a P,
    root: PageRef,
    keys: &[K],
    out: &mut Vec<Option<Entry<'a>>>,
) -> Result<()> {
    let (bytes, root_level) = open_root(pages, root)?;
    let mut at: [&[u8]; GET_MANY_WIDTH] = [bytes; GET_MANY_WIDTH];
    let mut children = [PageRef::NONE; GET_MANY_WIDTH];
    for level in (0..root_level).rev() {
        for ((key, bytes), child) in keys.iter().zip(&at).zip(&mut children) {
            let interior = Interior::new(bytes);
            *child = interior.child(interior.search(key.as_ref()));
            expect_child(pages, *child, level);
        }
        for (bytes, child) in at.iter_mut().zip(children).take(keys.len()) {
            *bytes = open(pages, child, level)?;
        }
    }
    let mut places = [0; GET_MANY_WIDTH];
    for ((key, bytes), place) in keys.iter().zip(&at).zip(&mut places) {
        let leaf = leaf_of(pages, bytes)?;
        *place = leaf.candidate(key.as_ref());
        leaf.expect_entry(*place);
    }
    for ((key, bytes), place) in keys.iter().zip(at).zip(places) {
        out.push(leaf_of(pages, bytes)?.find_at(place, key.as_ref()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::histories::{Random, SHAPES};
    use super::super::insert;
    use super::super::page_store::PageStore;
    use super::super::pages::Tree;
    use super::*;
    use crate::page::{LeafBuilder, Payload};

    #[test]
    fn many_keys_at_once_find_what_single_gets_find() {
        for shape in SHAPES {
            let mut random = Random(3);
            let (mut store, mut tree) = (PageStore::new(4096), Tree::EMPTY);
            let mut keys: Vec<Vec<u8>> = (0..if cfg!(miri) { 8 } else { 2000 })
                .map(|_| shape.key(&mut random, 4096))
                .collect();
            let mut builder = LeafBuilder::new();
            for (number, key) in keys.iter().enumerate().filter(|(number, _)| number % 2 == 0) {
                let value = [number as u8; 30];
                let entry = Entry { key, payload: Payload::Value(&value), expires_at: 0 };
                insert(&mut store, &mut tree, &entry).unwrap();
            }
            let some = Entry { key: b"s", payload: Payload::Value(b"v"), expires_at: 0 };
            builder.push(&some);
            let image = builder.image();
            keys.push(b"s".to_vec());
            for root in [tree.root(), Root::Empty, Root::Image(&image)] {
                let mut out = Vec::new();
                get_many(&store, root, &keys, &mut out).unwrap();
                let single: Vec<Option<Entry<'_>>> =
                    keys.iter().map(|key| get(&store, root, key).unwrap()).collect();
                assert_eq!(out, single);
                assert_eq!(single.last() == Some(&Some(some)), root == Root::Image(&image));
            }
        }
    }
}
