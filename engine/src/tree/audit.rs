//! Does a tree keep every rule? The whole of it is read.
//!
//! Covers one tree: what its entries refer to is told to the caller, who audits nested buckets in
//! turn. Never changes anything and never recurses. Invariants:
//! 1. All separators and keys, taken from left to right through the whole tree, are in order: that
//!    is what "separators bound their children" and "leaves ascend" come to together.

use super::pages::{Pages, Root, leaf_of};
use super::path::{Step, open, open_root};
use crate::error::{Error, Result};
use crate::ids::{Epoch, PageRef};
use crate::limits::TREE_HEIGHT_MAX;
use crate::page::{Interior, Leaf, Payload, overlay, validate};

/// What an audit comes across.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen<'a> {
    /// A page of the tree, or the base of an overlay.
    Page(PageRef),
    /// A value in an overflow run.
    Run {
        /// First page of the run.
        run: PageRef,
        /// Length of the value.
        len: u32,
    },
    /// A nested bucket.
    Bucket {
        /// Its name.
        key: &'a [u8],
        /// Its record.
        record: &'a [u8],
    },
}

/// What a tree consists of.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct AuditCounts {
    /// Entries of the tree, nested buckets counting one each.
    pub(crate) entries: u64,
    /// Leaf pages; a leaf image is none.
    pub(crate) leaves: u64,
    /// Interior pages.
    pub(crate) interiors: u64,
    /// Levels, the leaves included.
    pub(crate) height: usize,
    /// Bytes in use in the leaf pages.
    pub(crate) leaf_bytes: u64,
}

struct Audit<'a, 's, P> {
    pages: &'a P,
    seen: &'s mut dyn FnMut(Seen<'a>) -> Result<()>,
    whole: bool,
    counts: AuditCounts,
    /// The key or separator that came last.
    last: Vec<u8>,
    last_is: Bound,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bound {
    Nothing,
    Key,
    Separator,
}

/// Reads a tree and holds it against every rule; tells `seen` what it comes across. Only the root
/// of a `whole` tree must have children to choose from; what is left of one need not.
pub(crate) fn audit<'a, P: Pages>(
    pages: &'a P,
    root: Root<'a>,
    whole: bool,
    seen: &mut dyn FnMut(Seen<'a>) -> Result<()>,
) -> Result<AuditCounts> {
    let counts = AuditCounts::default();
    let mut audit = Audit { pages, seen, whole, counts, last: Vec::new(), last_is: Bound::Nothing };
    match root {
        Root::Empty => {}
        Root::Image(image) => audit.leaf(PageRef::NONE, Leaf::new(image))?,
        Root::Page(root) => audit.tree(root)?,
    }
    Ok(audit.counts)
}

impl<'a, P: Pages> Audit<'a, '_, P> {
    fn tree(&mut self, root: PageRef) -> Result<()> {
        let (bytes, root_level) = open_root(self.pages, root)?;
        if self.whole && root_level > 0 && Interior::new(bytes).count() == 0 {
            return Err(self.pages.damaged(root, "a root with two children", "one".into()));
        }
        self.counts.height = usize::from(root_level) + 1;
        let mut steps = [Step::NONE; TREE_HEIGHT_MAX];
        steps[0].page = root;
        let mut depth = 0;
        loop {
            let (page, index) = (steps[depth].page, steps[depth].index());
            let level = root_level - depth as u8;
            let bytes = open(self.pages, page, level)?;
            if index == 0 {
                self.page(page, level, bytes)?;
            }
            let interior = Interior::new(bytes);
            if level > 0 && index <= interior.count() {
                if let Some(left) = index.checked_sub(1) {
                    let separator = interior.separator(left);
                    self.in_order(page, &separator, Bound::Separator)?;
                }
                steps[depth] = Step::new(page, index + 1);
                depth += 1;
                steps[depth] = Step::new(interior.child(index), 0);
                continue;
            }
            if level == 0 {
                self.leaf(page, leaf_of(self.pages, bytes)?)?;
            }
            match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return Ok(()),
            }
        }
    }

    /// What holds for each page by itself.
    fn page(&mut self, page: PageRef, level: u8, bytes: &[u8]) -> Result<()> {
        let invalid = |found| self.pages.damaged(page, "a valid page", found);
        if overlay::is_overlay(bytes) {
            let base = overlay::base(bytes);
            let mut whole = vec![0; self.pages.page_bytes()];
            overlay::write_whole(bytes, self.pages.page(base)?, &mut whole, Epoch(0));
            validate(&whole).map_err(invalid)?;
            (self.seen)(Seen::Page(base))?;
        } else {
            validate(bytes).map_err(invalid)?;
        }
        if level == 0 {
            self.counts.leaves += 1;
            self.counts.leaf_bytes += leaf_of(self.pages, bytes)?.used_bytes() as u64;
        } else {
            self.counts.interiors += 1;
        }
        (self.seen)(Seen::Page(page))
    }

    fn leaf(&mut self, page: PageRef, leaf: Leaf<'a>) -> Result<()> {
        if leaf.count() == 0 {
            return Err(self.pages.damaged(page, "a leaf with entries", "none".into()));
        }
        for index in 0..leaf.count() {
            let entry = leaf.entry(index);
            self.in_order(page, entry.key, Bound::Key)?;
            self.counts.entries += 1;
            match entry.payload {
                Payload::Value(_) => {}
                Payload::Overflow { run, len } => (self.seen)(Seen::Run { run, len })?,
                Payload::Bucket(record) => (self.seen)(Seen::Bucket { key: entry.key, record })?,
            }
        }
        Ok(())
    }

    /// A separator is above all keys to its left, and not above those to its right.
    fn in_order(&mut self, page: PageRef, bound: &[u8], bound_is: Bound) -> Result<()> {
        let is_in_order = match (self.last_is, bound_is) {
            (Bound::Nothing, _) => true,
            (Bound::Separator, Bound::Key) => self.last.as_slice() <= bound,
            _ => self.last.as_slice() < bound,
        };
        if !is_in_order {
            return Err(self.not_in_order(page, bound));
        }
        self.last.clear();
        self.last.extend_from_slice(bound);
        self.last_is = bound_is;
        Ok(())
    }

    #[cold]
    fn not_in_order(&self, page: PageRef, bound: &[u8]) -> Error {
        let expected = format!("keys above \"{}\"", self.last.escape_ascii());
        self.pages.damaged(page, &expected, format!("\"{}\"", bound.escape_ascii()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::insert;
    use super::super::page_store::PageStore;
    use super::super::pages::{PagesMut, Tree};
    use super::*;
    use crate::page::{Entry, InteriorMut, LeafMut};

    fn entry(key: &[u8]) -> Entry<'_> {
        Entry { key, payload: Payload::Value(&[1; 300]), expires_at: 0 }
    }

    /// A root and its leaves.
    fn tree() -> (PageStore, Tree, Vec<PageRef>) {
        let (mut store, mut tree) = (PageStore::new(4096), Tree::EMPTY);
        for number in 0..100u32 {
            insert(&mut store, &mut tree, &entry(&number.to_be_bytes())).unwrap();
        }
        let root = Interior::new(store.page(tree.root).unwrap());
        let leaves = (0..=root.count()).map(|index| root.child(index)).collect();
        (store, tree, leaves)
    }

    fn verdict(store: &PageStore, tree: &Tree) -> String {
        audit(store, tree.root(), true, &mut |_| Ok(())).unwrap_err().to_string()
    }

    #[test]
    fn a_sound_tree_passes() {
        let (store, tree, leaves) = tree();
        let counts = store.audit(tree.root()).unwrap();
        assert_eq!((counts.entries, counts.leaves), (100, leaves.len() as u64));
        assert_eq!((counts.interiors, counts.height), (1, 2));
    }

    #[test]
    fn swapped_leaves_are_found() {
        let (mut store, tree, leaves) = tree();
        let mut root = InteriorMut::new(store.page_mut(tree.root.id, 1));
        root.set_child(2, leaves[3]);
        root.set_child(3, leaves[2]);
        assert!(verdict(&store, &tree).contains("expected keys above"));
    }

    #[test]
    fn a_key_right_of_its_separator_is_found() {
        let (mut store, tree, leaves) = tree();
        let first = Leaf::new(store.page(leaves[2]).unwrap()).key(0).to_vec();
        let mut leaf = LeafMut::new(store.page_mut(leaves[1].id, 1));
        leaf.remove(0);
        let index = leaf.view().count();
        assert!(leaf.insert(index, &entry(&first)));
        assert!(verdict(&store, &tree).contains("expected keys above"));
    }

    #[test]
    fn a_key_left_of_its_separator_is_found() {
        let (mut store, tree, leaves) = tree();
        let mut left = LeafMut::new(store.page_mut(leaves[1].id, 1));
        let last = left.view().count() - 1;
        let key = left.view().key(last).to_vec();
        left.remove(last);
        let mut right = LeafMut::new(store.page_mut(leaves[2].id, 1));
        right.remove(1);
        assert!(right.insert(0, &entry(&key)));
        assert!(verdict(&store, &tree).contains("expected keys above"));
    }

    #[test]
    fn a_page_of_another_level_is_found_and_no_loop_is_followed() {
        let (mut store, tree, _) = tree();
        let root = tree.root;
        InteriorMut::new(store.page_mut(root.id, 1)).set_child(0, root);
        let expected = "expected a tree page of level 0, found kind 2 level 1";
        assert!(verdict(&store, &tree).contains(expected));
        assert!(super::super::get(&store, tree.root(), b"").unwrap_err().is_corrupt());
    }

    #[test]
    fn an_empty_leaf_is_found() {
        let (mut store, tree, leaves) = tree();
        let epoch = store.epoch();
        LeafMut::init(store.page_mut(leaves[1].id, 1), epoch);
        assert!(verdict(&store, &tree).contains("expected a leaf with entries, found none"));
    }

    #[test]
    fn a_page_that_contradicts_itself_is_found() {
        let (mut store, tree, leaves) = tree();
        store.raw(leaves[1].id)[12] = 1;
        assert!(verdict(&store, &tree).contains("reserved bytes of the header"));
    }
}
