//! Make room: split a leaf, and the pages above it as far as they are full.
//!
//! `cut` decides where. Invariants:
//! 1. All pages that a split can need are allocated before it changes one; those it did not need
//!    go back.

use super::cut::{Edge, Sequence, interior_cut, leaf_cut};
use super::pages::{PagesMut, Tree};
use super::path::Path;
use crate::error::{Error, Result};
use crate::ids::{PageId, PageRef};
use crate::limits::TREE_HEIGHT_MAX;
use crate::page::keys::shortest_separator;
use crate::page::{Entry, Interior, InteriorBuilder, InteriorMut, Leaf};

/// A page that became two.
struct Halves {
    left: PageRef,
    separator: Vec<u8>,
    right: PageRef,
}

/// Splits the leaf at the end of `path`, with the entry in its place if that can be: true then.
/// Otherwise the leaf is split without the entry. REQUIRES: the path is owned.
pub(super) fn split_leaf<P: PagesMut>(
    pages: &mut P,
    tree: &mut Tree,
    path: &Path,
    place: Result<usize, usize>,
    entry: &Entry<'_>,
) -> Result<bool> {
    let content = pages.page(path.leaf())?.to_vec();
    let stored = Sequence::new(Leaf::new(&content));
    let changed = stored.with(place, entry);
    let edge = match place {
        Err(index) if path.is_rightmost && index == stored.count() => Edge::Right,
        Err(0) if path.is_leftmost => Edge::Left,
        _ => Edge::None,
    };
    let (sequence, cut, is_taken) = match leaf_cut(&changed, edge, pages.page_bytes()) {
        Some(cut) => (changed, cut, true),
        // The entry fits with neither neighbour. Without it both sides are parts of the old leaf.
        None => (stored, place.unwrap_or_else(|index| index).max(1), false),
    };
    let separator = shortest_separator(sequence.key(cut - 1), sequence.key(cut)).to_vec();
    let has_room = check_above(pages, path, &separator)?;
    let mut spare = Spare::reserve(pages, path, has_room)?;
    let fresh = spare.take();
    let (left, right) = match edge {
        Edge::Left => (fresh, path.leaf().id),
        Edge::Right | Edge::None => (path.leaf().id, fresh),
    };
    for (id, part) in [(left, 0..cut), (right, cut..sequence.count())] {
        let epoch = pages.epoch();
        // At an edge of the tree the new entry stands alone, and the old leaf stays as it is.
        if edge == Edge::None || id == fresh {
            let fits = sequence.part(part).write(pages.page_mut(id, 1), epoch);
            assert!(fits, "invariant: both sides of a cut fit a page");
        }
    }
    let halves =
        Halves { left: PageRef::unsealed(left), separator, right: PageRef::unsealed(right) };
    raise(pages, tree, path, halves, edge, spare)?;
    Ok(is_taken)
}

/// Tells the pages above that a page became two, splitting those without room.
fn raise<P: PagesMut>(
    pages: &mut P,
    tree: &mut Tree,
    path: &Path,
    halves: Halves,
    edge: Edge,
    mut spare: Spare,
) -> Result<()> {
    let (page_bytes, epoch) = (pages.page_bytes(), pages.epoch());
    let mut halves = halves;
    for depth in (0..path.depth).rev() {
        let step = path.step(depth);
        let mut parent = InteriorMut::new(pages.page_mut(step.page.id, 1));
        parent.set_child(step.index(), halves.left);
        if parent.insert(step.index(), &halves.separator, halves.right) {
            return spare.give_back(pages);
        }
        let mut builder = InteriorBuilder::new();
        builder.push_page(None, &parent.view());
        builder.insert(step.index(), &halves.separator, halves.right);
        let cut = interior_cut(&builder, edge, page_bytes);
        let level = (path.depth - depth) as u8;
        let fresh = spare.take();
        let fits = builder.write(0..cut, pages.page_mut(step.page.id, 1), level, epoch)
            && builder.write(cut + 1..builder.count(), pages.page_mut(fresh, 1), level, epoch);
        assert!(fits, "invariant: both sides of a cut fit a page");
        halves = Halves {
            left: step.page,
            separator: builder.separator(cut).to_vec(),
            right: PageRef::unsealed(fresh),
        };
    }
    let root = spare.take();
    let mut builder = InteriorBuilder::new();
    builder.push_first(halves.left);
    builder.push(&halves.separator, halves.right);
    let fits = builder.write(0..1, pages.page_mut(root, 1), path.depth as u8 + 1, epoch);
    assert!(fits, "invariant: one separator fits a page");
    tree.root = PageRef::unsealed(root);
    spare.give_back(pages)
}

/// Holds the pages above a split against each other, before anything is changed: each may be valid
/// and yet be in the wrong place. True when the page right above the leaf has room for `separator`.
fn check_above<P: PagesMut>(pages: &P, path: &Path, separator: &[u8]) -> Result<bool> {
    let Some(mut depth) = path.depth.checked_sub(1) else {
        return Ok(false);
    };
    let above = path.step(depth);
    let mut page = Interior::new(pages.page(above.page)?);
    let has_room = page.has_room_for(separator);
    let mut is_in_order = page.admits(above.index(), separator);
    while !has_room && is_in_order && depth > 0 {
        depth -= 1;
        let above = path.step(depth);
        let parent = Interior::new(pages.page(above.page)?);
        let ends = [0, page.count().saturating_sub(1)];
        is_in_order = page.count() == 0
            || ends.iter().all(|index| parent.admits(above.index(), &page.separator(*index)));
        page = parent;
    }
    if is_in_order {
        return Ok(has_room);
    }
    let expected = "separators that bound what is below them";
    Err(pages.damaged(path.step(depth).page, expected, "others".into()))
}

/// Fresh pages, allocated before a change so that none fails in its midst.
struct Spare {
    pages: Vec<PageId>,
}

impl Spare {
    /// The pages that a split of the leaf at the end of `path` can need.
    fn reserve<P: PagesMut>(pages: &mut P, path: &Path, has_room: bool) -> Result<Spare> {
        // Without room right above it is not worth finding out how far up the splits will go.
        let count = if has_room { 1 } else { 1 + path.depth + 1 };
        if !has_room && path.depth + 2 > TREE_HEIGHT_MAX {
            return Err(Error::too_large("tree", TREE_HEIGHT_MAX as u64, path.depth as u64 + 2));
        }
        let mut spare = Spare { pages: Vec::with_capacity(count) };
        for _ in 0..count {
            match pages.allocate(1) {
                Ok(id) => spare.pages.push(id),
                Err(error) => {
                    spare.give_back(pages)?;
                    return Err(error);
                }
            }
        }
        Ok(spare)
    }

    fn take(&mut self) -> PageId {
        self.pages.pop().expect("invariant: a split takes no more pages than it reserved")
    }

    fn give_back<P: PagesMut>(self, pages: &mut P) -> Result<()> {
        self.pages.into_iter().try_for_each(|id| pages.retire(PageRef::unsealed(id), 1))
    }
}

#[cfg(test)]
mod tests {
    use super::super::histories::{Random, SHAPES, Shape};
    use super::super::page_store::PageStore;
    use super::super::{Cursor, insert, remove};
    use super::*;
    use crate::limits::{inline_bucket_bytes_max, key_bytes_max};
    use crate::page::{BucketRecord, LeafBuilder, Payload};

    fn entry<'a>(key: &'a [u8], value: &'a [u8]) -> Entry<'a> {
        Entry { key, payload: Payload::Value(value), expires_at: 0 }
    }

    /// How full the leaves are, in percent, after inserting in this order.
    fn fill(keys: impl Iterator<Item = Vec<u8>>) -> u64 {
        let (mut store, mut tree) = (PageStore::new(8192), Tree::EMPTY);
        for key in keys {
            insert(&mut store, &mut tree, &entry(&key, &[1; 150])).unwrap();
        }
        let counts = store.audit(tree.root()).unwrap();
        counts.leaf_bytes * 100 / (counts.leaves * 8192)
    }

    #[test]
    #[cfg_attr(miri, ignore = "needs many pages to mean anything")]
    fn loads_in_order_fill_pages_and_random_loads_fill_two_thirds() {
        let counter = |number: u64| format!("user:{number:019}").into_bytes();
        assert!(fill((0..20_000).map(counter)) >= 97);
        assert!(fill((0..20_000).rev().map(counter)) >= 97);
        let mut random = Random(1);
        let fill = fill((0..20_000).map(|_| Shape::Random24.key(&mut random, 8192)));
        // ln 2 in the long run, in waves as long as all pages fill and split together.
        assert!((60..=78).contains(&fill), "{fill} %");
    }

    #[test]
    #[cfg_attr(miri, ignore = "needs many pages to mean anything")]
    fn loads_in_order_fill_interior_pages_too() {
        let numbers = 0..6000u32;
        let orders: [Vec<u32>; 2] = [numbers.clone().collect(), numbers.rev().collect()];
        for order in orders {
            let (mut store, mut tree) = (PageStore::new(4096), Tree::EMPTY);
            for number in order {
                // Three to a leaf.
                let key = (number * 3 + 1).to_be_bytes();
                insert(&mut store, &mut tree, &entry(&key, &[1; 1000])).unwrap();
            }
            let counts = store.audit(tree.root()).unwrap();
            // Of 12 bytes a child, 339 fit. Some separators need more.
            assert!(counts.leaves / (counts.interiors - 1) > 190, "{counts:?}");
        }
    }

    #[test]
    fn an_entry_too_large_for_both_neighbours_gets_a_leaf_of_its_own() {
        let page_bytes = 4096;
        let image_bytes = inline_bucket_bytes_max(page_bytes);
        let record = |byte: u8| {
            let mut builder = LeafBuilder::new();
            let value = vec![byte; image_bytes - builder.used_bytes() - 6 - 4];
            builder.push(&entry(b"", &value));
            assert_eq!(builder.image().len(), image_bytes);
            let bucket = BucketRecord { entries: 1, ..BucketRecord::EMPTY };
            [&bucket.encode()[..], &builder.image()].concat()
        };
        let key = |byte: u8, len: usize| [&[byte][..], &vec![b'k'; len - 1]].concat();
        let (mut store, mut tree) = (PageStore::new(page_bytes), Tree::EMPTY);
        // Two that fill a leaf, then one of half a leaf between them, then it grows again.
        for (byte, len) in [(b'a', 910), (b'c', 910), (b'b', key_bytes_max(page_bytes))] {
            let (key, record) = (key(byte, len), record(byte));
            let entry = Entry { key: &key, payload: Payload::Bucket(&record), expires_at: 1 };
            insert(&mut store, &mut tree, &entry).unwrap();
            store.seal();
        }
        let counts = store.audit(tree.root()).unwrap();
        assert_eq!((counts.entries, counts.leaves), (3, 3));
    }

    #[test]
    fn a_replaced_entry_that_grows_splits_its_leaf() {
        let (mut store, mut tree) = (PageStore::new(4096), Tree::EMPTY);
        let key = |byte: u8| [byte; 20];
        for byte in 0..30 {
            insert(&mut store, &mut tree, &entry(&key(byte), &[byte; 90])).unwrap();
        }
        for byte in 0..30 {
            insert(&mut store, &mut tree, &entry(&key(byte), &[byte; 1000])).unwrap();
            store.audit(tree.root()).unwrap();
        }
        assert_eq!(tree.entries, 30);
        let mut cursor = Cursor::new(&store, tree.root());
        for byte in 0..30 {
            assert_eq!(cursor.next().unwrap(), Some(entry(&key(byte), &[byte; 1000])));
        }
    }

    #[test]
    fn without_memory_a_change_fails_and_leaves_the_tree_as_it_was() {
        for shape in SHAPES {
            println!("shape {shape:?}");
            let mut random = Random(9);
            let (mut store, mut tree) = (PageStore::new(4096), Tree::EMPTY);
            for _ in 0..if cfg!(miri) { 6 } else { 700 } {
                let key = shape.key(&mut random, 4096);
                let before = tree.entries;
                let is_there = super::super::get(&store, tree.root(), &key).unwrap().is_some();
                if random.below(4) == 0 {
                    store.seal();
                }
                for budget in 0.. {
                    store.budget = budget;
                    let value = vec![1; random.below(400)];
                    match insert(&mut store, &mut tree, &entry(&key, &value)) {
                        Ok(_) => break,
                        Err(error) => assert!(error.is_full()),
                    }
                    assert_eq!(tree.entries, before);
                    let counts = store.audit(tree.root()).unwrap();
                    assert_eq!(counts.entries, before);
                    let found = super::super::get(&store, tree.root(), &key).unwrap();
                    assert_eq!(found.is_some(), is_there);
                }
                store.budget = usize::MAX;
                store.audit(tree.root()).unwrap();
                if random.below(3) == 0 {
                    remove(&mut store, &mut tree, &key).unwrap();
                }
            }
        }
    }
}
