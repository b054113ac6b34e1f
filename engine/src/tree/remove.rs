//! Take an entry out of a tree, and merge what it leaves.
//!
//! A page filled less than a quarter joins a neighbour under the same parent when both together
//! fill at most three quarters of a page; an empty page goes. Never moves entries only to balance
//! two pages. Invariants:
//! 1. No leaf is empty; a tree without entries has no page.
//! 2. The root has at least two children, or is a leaf.
//! 3. An error leaves a whole tree, with or without the entry.

use super::pages::{PagesMut, Replaced, Tree};
use super::path::{Path, descend, open, open_leaf, open_root, own, place};
use crate::error::Result;
use crate::ids::{Epoch, PageRef};
use crate::page::{Interior, InteriorBuilder, InteriorMut, Leaf, LeafBuilder};

/// Removes the entry with this key, if there is one.
pub(crate) fn remove<P: PagesMut>(
    pages: &mut P,
    tree: &mut Tree,
    key: &[u8],
) -> Result<Option<Replaced>> {
    if tree.root.id.is_none() {
        return Ok(None);
    }
    let mut path = descend(pages, tree.root, key)?;
    let Ok(index) = place(pages, &path, key)? else {
        return Ok(None);
    };
    own(pages, tree, &mut path, None, 0)?;
    let removed = Replaced::of(&open_leaf(pages, path.leaf())?.entry(index));
    pages.leaf_mut(path.leaf())?.remove(index);
    tree.entries = tree.entries.saturating_sub(1);
    shrink(pages, tree, &path)?;
    Ok(Some(removed))
}

/// From the leaf upwards: drops empty pages and joins small ones, as far as that goes.
fn shrink<P: PagesMut>(pages: &mut P, tree: &mut Tree, path: &Path) -> Result<()> {
    let mut is_gone = open_leaf(pages, path.leaf())?.count() == 0;
    for depth in (0..path.depth).rev() {
        let (parent, page) = (path.step(depth), path.step(depth + 1).page);
        let level = (path.depth - depth - 1) as u8;
        if is_gone {
            pages.retire(page, 1)?;
            let mut parent = InteriorMut::new(pages.page_mut(parent.page.id, 1));
            is_gone = parent.view().count() == 0;
            if !is_gone {
                parent.remove_child(path.step(depth).index());
            }
        } else if !join_neighbour(pages, parent.page, parent.index(), page, level)? {
            return Ok(());
        }
    }
    if is_gone {
        let root = std::mem::replace(&mut tree.root, PageRef::NONE);
        return pages.retire(root, 1);
    }
    lower_root(pages, tree)
}

/// Takes away roots that have a single child.
pub(super) fn lower_root<P: PagesMut>(pages: &mut P, tree: &mut Tree) -> Result<()> {
    let (mut bytes, mut level) = open_root(pages, tree.root)?;
    while level > 0 && Interior::new(bytes).count() == 0 {
        let child = Interior::new(bytes).child(0);
        level -= 1;
        open(pages, child, level)?;
        let child = if child.id.is_overlay() { whole(pages, child)? } else { child };
        let root = std::mem::replace(&mut tree.root, child);
        pages.retire(root, 1)?;
        bytes = open(pages, child, level)?;
    }
    Ok(())
}

/// A whole leaf in the place of an overlay.
fn whole<P: PagesMut>(pages: &mut P, overlay: PageRef) -> Result<PageRef> {
    let copy = PageRef::unsealed(pages.copy_page(overlay)?);
    pages.retire(overlay, 1)?;
    Ok(copy)
}

/// Joins a small page with a neighbour. False when it is not small or no neighbour has the room.
fn join_neighbour<P: PagesMut>(
    pages: &mut P,
    parent: PageRef,
    index: usize,
    page: PageRef,
    level: u8,
) -> Result<bool> {
    let page_bytes = pages.page_bytes();
    if Node::open(pages, page, level)?.used_bytes() >= page_bytes / 4 {
        return Ok(false);
    }
    let above = Interior::new(pages.page(parent)?);
    let neighbours = [index.checked_sub(1), Some(index + 1).filter(|i| *i <= above.count())];
    for neighbour in neighbours.into_iter().flatten() {
        let above = Interior::new(pages.page(parent)?);
        let (other, first) = (above.child(neighbour), index.min(neighbour));
        let separator = above.separator(first);
        let (mine, others) = (Node::open(pages, page, level)?, Node::open(pages, other, level)?);
        let (left, right) = if neighbour < index { (others, mine) } else { (mine, others) };
        if !is_between(&separator, &left, &right) {
            let expected = "a separator between its neighbours";
            return Err(pages.damaged(parent, expected, separator.escape_ascii().to_string()));
        }
        let Some(joined) = Joined::of(&left, &right, &separator, page_bytes / 4 * 3) else {
            continue;
        };
        let (epoch, overlay) = (pages.epoch(), page.id.is_overlay().then_some(page));
        let page = if overlay.is_some() { PageRef::unsealed(pages.allocate(1)?) } else { page };
        let fits = joined.write(pages.page_mut(page.id, 1), level, epoch);
        assert!(fits, "invariant: what fits three quarters of a page fits a page");
        let mut above = InteriorMut::new(pages.page_mut(parent.id, 1));
        above.set_child(first, page);
        above.remove_child(first + 1);
        for gone in overlay.into_iter().chain([other]) {
            pages.retire(gone, 1)?;
        }
        return Ok(true);
    }
    Ok(false)
}

/// True when a separator is above all of the page to its left, and not above that to its right.
fn is_between(separator: &[u8], left: &Node<'_>, right: &Node<'_>) -> bool {
    match (left, right) {
        (Node::Leaf(left), Node::Leaf(right)) => {
            let last = left.count().saturating_sub(1);
            left.key(last) < separator && separator <= right.key(0)
        }
        (Node::Interior(left), Node::Interior(right)) => {
            left.admits(left.count(), separator) && right.admits(0, separator)
        }
        _ => false,
    }
}

/// A page of either kind.
enum Node<'a> {
    Leaf(Leaf<'a>),
    Interior(Interior<'a>),
}

impl<'a> Node<'a> {
    fn open<P: PagesMut>(pages: &'a P, page: PageRef, level: u8) -> Result<Node<'a>> {
        Ok(match level {
            0 => Node::Leaf(open_leaf(pages, page)?),
            _ => Node::Interior(Interior::new(open(pages, page, level)?)),
        })
    }

    fn used_bytes(&self) -> usize {
        match self {
            Node::Leaf(leaf) => leaf.used_bytes(),
            Node::Interior(interior) => interior.used_bytes(),
        }
    }
}

/// Two neighbours, gathered to become one page.
enum Joined {
    Leaf(LeafBuilder),
    Interior(InteriorBuilder),
}

impl Joined {
    /// The content of both pages, if it takes no more than `room`.
    fn of(left: &Node<'_>, right: &Node<'_>, separator: &[u8], room: usize) -> Option<Joined> {
        if left.used_bytes() + right.used_bytes() > room {
            return None;
        }
        match (left, right) {
            (Node::Leaf(left), Node::Leaf(right)) => {
                let mut builder = LeafBuilder::with_room(left.count() + right.count(), room);
                (0..left.count()).for_each(|index| builder.push_stored(left, index));
                (0..right.count()).for_each(|index| builder.push_stored(right, index));
                Some(Joined::Leaf(builder))
            }
            (Node::Interior(left), Node::Interior(right)) => {
                let mut builder = InteriorBuilder::new();
                builder.push_page(None, left);
                builder.push_page(Some(separator), right);
                let fits = builder.used_bytes(0..builder.count()) <= room;
                fits.then_some(Joined::Interior(builder))
            }
            _ => None,
        }
    }

    fn write(&self, page: &mut [u8], level: u8, born: Epoch) -> bool {
        match self {
            Joined::Leaf(builder) => builder.write(page, born),
            Joined::Interior(builder) => builder.write(0..builder.count(), page, level, born),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::page_store::PageStore;
    use super::super::pages::Pages;
    use super::super::{Cursor, get, insert};
    use super::*;
    use crate::page::LeafMut;
    use crate::page::{Entry, Payload};

    fn put(store: &mut PageStore, tree: &mut Tree, number: u32) {
        let key = number.to_be_bytes();
        let entry = Entry { key: &key, payload: Payload::Value(&[1; 100]), expires_at: 0 };
        insert(store, tree, &entry).unwrap();
    }

    #[test]
    fn thinned_out_leaves_are_joined() {
        let (mut store, mut tree) = (PageStore::new(4096), Tree::EMPTY);
        let count = if cfg!(miri) { 200 } else { 20_000 };
        (0..count).for_each(|number| put(&mut store, &mut tree, number));
        let before = store.audit(tree.root()).unwrap();
        for number in (0..count).filter(|number| number % 10 != 0) {
            assert!(remove(&mut store, &mut tree, &number.to_be_bytes()).unwrap().is_some());
        }
        let after = store.audit(tree.root()).unwrap();
        assert_eq!(after.entries, u64::from(count / 10));
        assert!(after.leaves * 4 < before.leaves, "{before:?} became {after:?}");
        assert_eq!(remove(&mut store, &mut tree, b"missing").unwrap(), None);
    }

    #[test]
    fn a_sealed_version_stays_readable_while_the_next_is_made() {
        let (mut store, mut tree) = (PageStore::new(4096), Tree::EMPTY);
        let count = if cfg!(miri) { 60 } else { 2000 };
        (0..count).for_each(|number| put(&mut store, &mut tree, number));
        store.seal();
        let old = tree;
        for number in 0..count {
            remove(&mut store, &mut tree, &number.to_be_bytes()).unwrap();
        }
        assert_eq!(tree, Tree::EMPTY);
        let mut cursor = Cursor::new(&store, old.root());
        for number in 0..count {
            assert_eq!(cursor.next().unwrap().unwrap().key, number.to_be_bytes());
        }
        assert!(cursor.next().unwrap().is_none());
    }

    #[test]
    fn neighbours_in_the_wrong_order_are_not_joined() {
        let (mut store, mut tree) = (PageStore::new(4096), Tree::EMPTY);
        (0..100).for_each(|number| put(&mut store, &mut tree, number));
        let root = Interior::new(store.page(tree.root).unwrap());
        let leaves = [root.child(0), root.child(1)];
        for leaf in leaves {
            let mut leaf = LeafMut::new(store.page_mut(leaf.id, 1));
            (0..leaf.view().count() - 3).for_each(|_| leaf.remove(0));
        }
        let key = Leaf::new(store.page(leaves[1]).unwrap()).key(1).to_vec();
        let mut root = InteriorMut::new(store.page_mut(tree.root.id, 1));
        root.set_child(0, leaves[1]);
        root.set_child(1, leaves[0]);
        // Below its separator now: a key of the swapped leaf is looked for in the other.
        assert_eq!(remove(&mut store, &mut tree, &key).unwrap(), None);
        let stray = Entry { key: &[0; 5], payload: Payload::Value(b""), expires_at: 0 };
        insert(&mut store, &mut tree, &stray).unwrap();
        let error = remove(&mut store, &mut tree, stray.key).unwrap_err();
        assert!(error.to_string().contains("expected a separator between its neighbours"));
    }

    #[test]
    fn a_missing_key_copies_no_page() {
        let (mut store, mut tree) = (PageStore::new(4096), Tree::EMPTY);
        (0..100).for_each(|number| put(&mut store, &mut tree, number));
        store.seal();
        let before = tree;
        assert_eq!(remove(&mut store, &mut tree, b"missing").unwrap(), None);
        assert_eq!(tree, before);
        assert!(get(&store, tree.root(), &7u32.to_be_bytes()).unwrap().is_some());
    }
}
