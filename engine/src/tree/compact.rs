//! Make the leaves of a tree full again, and move pages to where they shall lie.
//!
//! Works on a window of neighbouring leaves under one parent, so that each step is short and any
//! other change may come between two. A page to be moved becomes an owned one: whoever gives
//! owned pages their place in the file decides where that is. Interior pages are moved as parents
//! of what is under them; they are not joined, there is one to some hundred leaves. Invariants:
//! 1. The entries of the tree stay as they are, and so do the bounds of the window.

use super::pages::{Pages, PagesMut, Tree, leaf_of};
use super::path::{Path, descend, open_leaf, own_interior};
use super::remove::lower_root;
use crate::error::Result;
use crate::ids::PageRef;
use crate::page::bucket::has_references;
use crate::page::keys::shortest_separator;
use crate::page::leaf::LEAF_INDEX_BYTES;
use crate::page::{
    Interior, InteriorBuilder, InteriorMut, Leaf, LeafBuilder, PAGE_HEADER_BYTES, Payload,
    Reference, Target, overflow, references,
};

/// Leaves are packed where that makes them fewer by one in so many.
const WORTH_PACKING: usize = 10;

/// What is wanted of the pages of a tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    /// So many leaves are looked at.
    pub(crate) leaves_max: usize,
    /// So many pages are written, or somewhat more.
    pub(crate) pages_max: u64,
    /// Leaves shall be full.
    pub(crate) full: bool,
    /// Pages of the file shall be below this one.
    pub(crate) below: u32,
    /// Runs of more pages than this stay where they are, and are told.
    pub(crate) run_pages_max: u32,
    /// A run, and the copy of it to refer to instead.
    pub(crate) copied: Option<(PageRef, PageRef)>,
}

impl Wish {
    fn moves(&self, page: PageRef) -> bool {
        !page.id.is_arena() && page.id.0 >= self.below
    }
}

/// What was done to a window, and what comes next.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// The first key behind it; `None` at the end of the tree.
    pub(crate) next: Option<Vec<u8>>,
    /// Leaves that it had.
    pub(crate) leaves: usize,
    /// Pages that were written anew.
    pub(crate) written: u64,
    /// Buckets in it that have pages of their own.
    pub(crate) buckets: Vec<Vec<u8>>,
    /// Runs that should be moved but are too long.
    pub(crate) long_runs: Vec<LongRun>,
    /// The copied run was still there, and is referred to no more.
    pub(crate) is_replaced: bool,
}

/// A run that is too long to be moved within a step.
#[derive(Debug)]
pub(crate) struct LongRun {
    pub(crate) page: PageRef,
    pub(crate) value_len: u32,
    /// The first key of the leaf that refers to it.
    pub(crate) leaf: Vec<u8>,
}

/// Looks at some leaves from the key `from` on, and does to them what is wished.
pub(crate) fn compact<P: PagesMut>(
    pages: &mut P,
    tree: &mut Tree,
    from: &[u8],
    wish: &Wish,
) -> Result<Window> {
    if tree.root.id.is_none() {
        return Ok(Window::default());
    }
    let path = descend(pages, tree.root, from)?;
    let leaves = Leaves::of(pages, &path, wish.leaves_max)?;
    let mut window = Window { next: leaves.bound(pages, &path)?, ..Window::default() };
    let mut work = Work { pages, tree, path, leaves, wish };
    work.move_interior(&mut window)?;
    work.pack(&mut window)?;
    while window.leaves < work.leaves.pages.len() {
        if window.leaves > 0 && window.written >= wish.pages_max {
            window.next = Some(work.first_key(window.leaves)?);
            break;
        }
        work.move_leaf(window.leaves, &mut window)?;
        window.leaves += 1;
    }
    // What goes back would never end.
    if let Some(next) = window.next.as_ref().filter(|next| next[..] <= *from) {
        let (expected, found) =
            (format!("a key above {}", from.escape_ascii()), next.escape_ascii());
        return Err(pages.damaged(tree.root, &expected, found.to_string()));
    }
    if work.path.depth > 0 && window.written > 0 {
        lower_root(pages, tree)?;
    }
    Ok(window)
}

/// Has the leaves read and verified that [`compact`] will look at, and the runs it will copy.
pub(crate) fn touch<P: Pages>(pages: &P, root: PageRef, from: &[u8], wish: &Wish) -> Result<()> {
    if root.id.is_none() {
        return Ok(());
    }
    let path = descend(pages, root, from)?;
    let leaves = Leaves::of(pages, &path, wish.leaves_max)?;
    for leaf in &leaves.pages {
        open_leaf(pages, *leaf)?;
        for reference in references(pages.page(*leaf)?) {
            if let Target::Run { value_len } = reference.target
                && wish.moves(reference.page)
                && overflow::run_pages(value_len, pages.page_bytes()) <= wish.run_pages_max
            {
                pages.run(reference.page, value_len)?;
            }
        }
    }
    Ok(())
}

/// True when the leaf where `key` belongs refers to a run.
pub(crate) fn refers_to<P: Pages>(
    pages: &P,
    root: PageRef,
    key: &[u8],
    run: PageRef,
) -> Result<bool> {
    if root.id.is_none() {
        return Ok(false);
    }
    let leaf = descend(pages, root, key)?.leaf();
    Ok(references(pages.page(leaf)?).any(|reference| reference.page == run))
}

/// Neighbouring leaves under one parent.
struct Leaves {
    pages: Vec<PageRef>,
    /// Which child of the parent the first is.
    first: usize,
}

impl Leaves {
    fn of<P: Pages>(pages: &P, path: &Path, leaves_max: usize) -> Result<Leaves> {
        let Some(above) = path.depth.checked_sub(1) else {
            return Ok(Leaves { pages: vec![path.leaf()], first: 0 });
        };
        let step = path.step(above);
        let parent = Interior::new(pages.page(step.page)?);
        let end = (step.index() + leaves_max).min(parent.count() + 1);
        let leaves = (step.index()..end).map(|index| parent.child(index)).collect();
        Ok(Leaves { pages: leaves, first: step.index() })
    }

    fn end(&self) -> usize {
        self.first + self.pages.len()
    }

    /// The separator to the right of the last, which may stand further up.
    fn bound<P: Pages>(&self, pages: &P, path: &Path) -> Result<Option<Vec<u8>>> {
        for depth in (0..path.depth).rev() {
            let step = path.step(depth);
            let above = Interior::new(pages.page(step.page)?);
            let index = if depth + 1 == path.depth { self.end() - 1 } else { step.index() };
            if index < above.count() {
                return Ok(Some(above.separator(index)));
            }
        }
        Ok(None)
    }
}

/// The entries of some leaves, gathered into fewer.
struct Packed {
    leaves: Vec<LeafBuilder>,
    /// All that the parent will have; the new leaves are not known yet.
    parent: InteriorBuilder,
}

impl Packed {
    /// `None` where it is not worth it, or the parent would have no room for the separators.
    fn of<P: Pages>(pages: &P, path: &Path, old: &Leaves) -> Result<Option<Packed>> {
        let Some(above) = path.depth.checked_sub(1) else { return Ok(None) };
        let most = old.pages.len() - 1 - old.pages.len() / WORTH_PACKING;
        let mut bytes = 0;
        for leaf in &old.pages {
            let leaf = open_leaf(pages, *leaf)?;
            bytes += leaf.heap_bytes() + leaf.count() * LEAF_INDEX_BYTES;
        }
        if most == 0 || bytes.div_ceil(pages.page_bytes() - PAGE_HEADER_BYTES) > most {
            return Ok(None);
        }
        let leaves = gather(pages, &old.pages)?;
        if leaves.len() > most {
            return Ok(None);
        }
        let page = Interior::new(pages.page(path.step(above).page)?);
        let parent = parent_of(&page, old, &leaves);
        let fits = parent.used_bytes(0..parent.count()) <= pages.page_bytes();
        Ok(fits.then_some(Packed { leaves, parent }))
    }

    /// Writes them in the place of the old ones. REQUIRES: the pages above are owned.
    fn write<P: PagesMut>(self, pages: &mut P, path: &Path, old: &Leaves) -> Result<Vec<PageRef>> {
        let (epoch, parent) = (pages.epoch(), path.step(path.depth - 1).page.id);
        let mut new = Vec::new();
        for leaf in &self.leaves {
            let id = pages.allocate(1)?;
            let fits = leaf.write(pages.page_mut(id, 1), epoch);
            assert!(fits, "invariant: a leaf is closed before it is too full");
            new.push(PageRef::unsealed(id));
        }
        let bytes = pages.page_mut(parent, 1);
        let fits = self.parent.write(0..self.parent.count(), bytes, 1, epoch);
        assert!(fits, "invariant: measured before");
        let mut above = InteriorMut::new(bytes);
        for (index, leaf) in new.iter().enumerate() {
            above.set_child(old.first + index, *leaf);
        }
        old.pages.iter().try_for_each(|leaf| pages.retire(*leaf, 1))?;
        Ok(new)
    }
}

/// The entries of leaves, packed.
fn gather<P: Pages>(pages: &P, leaves: &[PageRef]) -> Result<Vec<LeafBuilder>> {
    let mut gathered = vec![LeafBuilder::new()];
    for leaf in leaves {
        let leaf = open_leaf(pages, *leaf)?;
        for index in 0..leaf.count() {
            let need = leaf.stored(index).len() + LEAF_INDEX_BYTES;
            let last = gathered.last_mut().expect("invariant: never empty");
            if last.count() > 0 && last.used_bytes() + need > pages.page_bytes() {
                gathered.push(LeafBuilder::new());
            }
            let last = gathered.last_mut().expect("invariant: never empty");
            last.push_stored(&leaf, index);
        }
    }
    Ok(gathered)
}

/// The parent with other leaves in the place of the old ones.
fn parent_of(page: &Interior<'_>, old: &Leaves, leaves: &[LeafBuilder]) -> InteriorBuilder {
    let mut parent = InteriorBuilder::new();
    let mut add = |separator: Option<&[u8]>, child: PageRef| match separator {
        Some(separator) => parent.push(separator, child),
        None => parent.push_first(child),
    };
    let before = |index: usize| index.checked_sub(1).map(|index| page.separator(index));
    for index in 0..old.first {
        add(before(index).as_deref(), page.child(index));
    }
    add(before(old.first).as_deref(), PageRef::NONE);
    for pair in leaves.windows(2) {
        let last = pair[0].last_key().expect("invariant: no leaf is empty");
        add(Some(shortest_separator(last, pair[1].key(0))), PageRef::NONE);
    }
    for index in old.end()..=page.count() {
        add(before(index).as_deref(), page.child(index));
    }
    parent
}

fn note_buckets(leaf: &Leaf<'_>, buckets: &mut Vec<Vec<u8>>) {
    for index in 0..leaf.count() {
        let entry = leaf.entry(index);
        if let Payload::Bucket(record) = entry.payload
            && has_references(record)
        {
            buckets.push(entry.key.to_vec());
        }
    }
}

/// A window at work.
struct Work<'a, P> {
    pages: &'a mut P,
    tree: &'a mut Tree,
    path: Path,
    leaves: Leaves,
    wish: &'a Wish,
}

impl<P: PagesMut> Work<'_, P> {
    fn move_interior(&mut self, window: &mut Window) -> Result<()> {
        let depth = self.path.depth;
        if (0..depth).any(|depth| self.wish.moves(self.path.step(depth).page)) {
            own_interior(self.pages, self.tree, &mut self.path)?;
            window.written += depth as u64;
        }
        Ok(())
    }

    fn pack(&mut self, window: &mut Window) -> Result<()> {
        if !self.wish.full {
            return Ok(());
        }
        let Some(packed) = Packed::of(self.pages, &self.path, &self.leaves)? else {
            return Ok(());
        };
        own_interior(self.pages, self.tree, &mut self.path)?;
        self.leaves.pages = packed.write(self.pages, &self.path, &self.leaves)?;
        window.written += (self.leaves.pages.len() + self.path.depth) as u64;
        Ok(())
    }

    /// Moves one leaf and the runs that it refers to, if that is wished, and notes its buckets.
    fn move_leaf(&mut self, index: usize, window: &mut Window) -> Result<()> {
        let (page, page_bytes) = (self.leaves.pages[index], self.pages.page_bytes());
        let bytes = self.pages.page(page)?;
        let leaf = leaf_of(self.pages, bytes)?;
        let mut runs = Vec::new();
        if leaf.may_have_references() {
            note_buckets(&leaf, &mut window.buckets);
            for reference in references(bytes) {
                let Target::Run { value_len } = reference.target else { continue };
                let count = overflow::run_pages(value_len, page_bytes);
                let copy = self.wish.copied.filter(|copied| copied.0 == reference.page);
                if copy.is_none() && !self.wish.moves(reference.page) {
                    continue;
                }
                if copy.is_none() && count > self.wish.run_pages_max {
                    let (page, leaf) = (reference.page, leaf.key(0).to_vec());
                    window.long_runs.push(LongRun { page, value_len, leaf });
                } else {
                    runs.push((reference, count, copy.map(|copied| copied.1)));
                }
            }
        }
        if !self.wish.moves(page) && runs.is_empty() {
            return Ok(());
        }
        let leaf = self.own_leaf(index)?;
        window.written += 1;
        for (reference, count, copy) in runs {
            let place = match copy {
                Some(copy) => copy,
                None => self.copy_run(&reference)?,
            };
            window.is_replaced |= copy.is_some();
            reference.patch(self.pages.page_mut(leaf.id, 1), place);
            self.pages.retire(reference.page, count)?;
            window.written += u64::from(count);
        }
        Ok(())
    }

    /// Makes a leaf of the window an owned, whole one.
    fn own_leaf(&mut self, index: usize) -> Result<PageRef> {
        let page = self.leaves.pages[index];
        if self.pages.is_owned(page.id) && !page.id.is_overlay() {
            return Ok(page);
        }
        own_interior(self.pages, self.tree, &mut self.path)?;
        let copy = PageRef::unsealed(self.pages.copy_page(page)?);
        match self.path.depth.checked_sub(1) {
            None => self.tree.root = copy,
            Some(above) => {
                let parent = self.pages.page_mut(self.path.step(above).page.id, 1);
                InteriorMut::new(parent).set_child(self.leaves.first + index, copy);
            }
        }
        self.pages.retire(page, 1)?;
        self.leaves.pages[index] = copy;
        Ok(copy)
    }

    /// An owned copy of a run.
    fn copy_run(&mut self, reference: &Reference) -> Result<PageRef> {
        let Target::Run { value_len } = reference.target else { return Ok(reference.page) };
        let value = self.pages.run(reference.page, value_len)?.to_vec();
        let count = overflow::run_pages(value_len, self.pages.page_bytes());
        let (epoch, id) = (self.pages.epoch(), self.pages.allocate(count)?);
        let run = self.pages.page_mut(id, count);
        overflow::begin_run(run, count, epoch);
        overflow::fill_run(run, &value);
        Ok(PageRef::unsealed(id))
    }

    fn first_key(&self, index: usize) -> Result<Vec<u8>> {
        Ok(open_leaf(self.pages, self.leaves.pages[index])?.key(0).to_vec())
    }
}
