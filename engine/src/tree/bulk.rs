//! A tree from entries in ascending order, bottom up.
//!
//! Leaves and interior pages come out full, but for the last of each level. Never holds more than
//! one open page per level. Invariants:
//! 1. Every interior page has at least two children.
//! 2. A failed build leaves pages behind: it is for transactions that end with it.

use super::insert::check_sizes;
use super::pages::{PagesMut, Tree};
use crate::error::{Error, Result};
use crate::ids::PageRef;
use crate::limits::TREE_HEIGHT_MAX;
use crate::page::keys::shortest_separator;
use crate::page::leaf::LEAF_INDEX_BYTES;
use crate::page::{Entry, InteriorBuilder, LeafBuilder};

/// A tree in the making.
#[derive(Debug, Default)]
pub(crate) struct BulkBuilder {
    leaf: LeafBuilder,
    /// Separates the open leaf from the one before it.
    leaf_separator: Vec<u8>,
    /// The open interior pages, from level 1 up.
    levels: Vec<Level>,
    entries: u64,
}

/// The open page of a level.
#[derive(Debug)]
struct Level {
    page: InteriorBuilder,
    /// Separates the page from the one before it.
    separator: Vec<u8>,
}

impl BulkBuilder {
    pub(crate) fn new() -> BulkBuilder {
        BulkBuilder::default()
    }

    /// Appends an entry. Its key must be above all others.
    pub(crate) fn push<P: PagesMut>(&mut self, pages: &mut P, entry: &Entry<'_>) -> Result<()> {
        check_sizes(pages.page_bytes(), entry)?;
        let need = entry.stored_bytes() + LEAF_INDEX_BYTES;
        if let Some(last) = self.leaf.last_key() {
            if last >= entry.key {
                return Err(out_of_order(last, entry.key));
            }
            if self.leaf.used_bytes() + need > pages.page_bytes() {
                let separator = shortest_separator(last, entry.key).to_vec();
                self.close_leaf(pages)?;
                self.leaf_separator = separator;
            }
        }
        self.leaf.push(entry);
        self.entries += 1;
        Ok(())
    }

    /// The entries so far, if one leaf holds them all.
    pub(crate) fn only_leaf(&self) -> Option<&LeafBuilder> {
        self.levels.is_empty().then_some(&self.leaf)
    }

    /// Closes all pages.
    pub(crate) fn finish<P: PagesMut>(mut self, pages: &mut P) -> Result<Tree> {
        if self.entries == 0 {
            return Ok(Tree::EMPTY);
        }
        let mut root = self.close_leaf(pages)?;
        let mut level = 0;
        // A level with a single child has just been opened for it: the child is the root.
        while self.levels.get(level).is_some_and(|open| open.page.count() > 0) {
            let count = self.levels[level].page.count();
            root = write_interior(pages, &self.levels[level].page, count, level)?;
            let separator = std::mem::take(&mut self.levels[level].separator);
            level += 1;
            self.add(pages, level, separator, root)?;
        }
        Ok(Tree { root, entries: self.entries })
    }

    fn close_leaf<P: PagesMut>(&mut self, pages: &mut P) -> Result<PageRef> {
        let epoch = pages.epoch();
        let leaf = pages.place_built(&mut |bytes| {
            let fits = self.leaf.write(bytes, epoch);
            assert!(fits, "invariant: a leaf is closed before it is too full");
        })?;
        self.leaf.clear();
        let separator = std::mem::take(&mut self.leaf_separator);
        self.add(pages, 0, separator, leaf)?;
        Ok(leaf)
    }

    /// Makes `page` a child of the open page of a level, closing that when it is full.
    fn add<P: PagesMut>(
        &mut self,
        pages: &mut P,
        level: usize,
        separator: Vec<u8>,
        page: PageRef,
    ) -> Result<()> {
        let (mut level, mut separator, mut page) = (level, separator, page);
        while let Some(open) = self.levels.get_mut(level) {
            open.page.push(&separator, page);
            let count = open.page.count();
            if open.page.used_bytes(0..count) <= pages.page_bytes() {
                return Ok(());
            }
            // The last two children stay, so that no page has only one.
            let closed = write_interior(pages, &open.page, count - 2, level)?;
            let next = Level {
                separator: open.page.separator(count - 2).to_vec(),
                page: {
                    let mut rest = InteriorBuilder::new();
                    rest.push_first(open.page.child(count - 1));
                    rest.push(open.page.separator(count - 1), open.page.child(count));
                    rest
                },
            };
            separator = std::mem::replace(open, next).separator;
            page = closed;
            level += 1;
        }
        if level + 1 >= TREE_HEIGHT_MAX {
            return Err(Error::too_large("tree", TREE_HEIGHT_MAX as u64, level as u64 + 2));
        }
        let mut builder = InteriorBuilder::new();
        builder.push_first(page);
        self.levels.push(Level { page: builder, separator });
        Ok(())
    }
}

/// Writes a page of the first `count` separators.
fn write_interior<P: PagesMut>(
    pages: &mut P,
    builder: &InteriorBuilder,
    count: usize,
    level: usize,
) -> Result<PageRef> {
    let epoch = pages.epoch();
    pages.place_built(&mut |bytes| {
        let fits = builder.write(0..count, bytes, level as u8 + 1, epoch);
        assert!(fits, "invariant: an interior page is closed before it is too full");
    })
}

#[cold]
fn out_of_order(last: &[u8], key: &[u8]) -> Error {
    let (last, key) = (last.escape_ascii(), key.escape_ascii());
    Error::invalid(format!("expected a key above \"{last}\", found \"{key}\""))
}

#[cfg(test)]
mod tests {
    use super::super::histories::{Random, SHAPES};
    use super::super::page_store::PageStore;
    use super::super::{Cursor, insert};
    use super::*;
    use crate::page::Payload;

    fn value<'a>(key: &'a [u8], value: &'a [u8]) -> Entry<'a> {
        Entry { key, payload: Payload::Value(value), expires_at: 0 }
    }

    #[test]
    fn a_bulk_built_tree_holds_what_was_pushed_and_takes_more() {
        for shape in SHAPES {
            for count in if cfg!(miri) { vec![0, 1, 12] } else { vec![0, 1, 2, 50, 1000, 6000] } {
                let mut random = Random(count as u64);
                let mut keys: Vec<Vec<u8>> =
                    (0..count).map(|_| shape.key(&mut random, 4096)).collect();
                keys.sort();
                keys.dedup();
                let mut store = PageStore::new(4096);
                let mut builder = BulkBuilder::new();
                for key in &keys {
                    builder.push(&mut store, &value(key, &key[..key.len() % 50])).unwrap();
                }
                let mut tree = builder.finish(&mut store).unwrap();
                assert_eq!(tree.entries, keys.len() as u64);
                store.audit(tree.root()).unwrap();
                store.seal();
                let mut cursor = Cursor::new(&store, tree.root());
                for key in &keys {
                    assert_eq!(cursor.next().unwrap().map(|entry| entry.key), Some(&key[..]));
                }
                assert!(cursor.next().unwrap().is_none());
                for _ in 0..count / 4 {
                    let key = shape.key(&mut random, 4096);
                    insert(&mut store, &mut tree, &value(&key, b"more")).unwrap();
                }
                let counts = store.audit(tree.root()).unwrap();
                assert_eq!(counts.entries, tree.entries);
            }
        }
    }

    #[test]
    fn bulk_built_pages_are_full() {
        let mut store = PageStore::new(8192);
        let mut builder = BulkBuilder::new();
        let count = if cfg!(miri) { 100 } else { 30_000u64 };
        for number in 0..count {
            builder.push(&mut store, &value(&number.to_be_bytes(), &[1; 150])).unwrap();
        }
        let tree = builder.finish(&mut store).unwrap();
        let counts = store.audit(tree.root()).unwrap();
        assert!(counts.leaf_bytes * 100 > counts.leaves * 8192 * if cfg!(miri) { 60 } else { 97 });
    }

    #[test]
    fn keys_out_of_order_are_refused() {
        let mut store = PageStore::new(4096);
        let mut builder = BulkBuilder::new();
        builder.push(&mut store, &value(b"b", b"")).unwrap();
        for key in [b"b", b"a"] {
            let error = builder.push(&mut store, &value(key, b"")).unwrap_err();
            assert!(error.to_string().starts_with("expected a key above \"b\""));
        }
    }
}
