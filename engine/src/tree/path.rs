//! The way from the root to a leaf.
//!
//! Opens each page and holds it against its parent; for a change, makes every page on the way an
//! owned one, the leaf an overlay where that serves. Never changes an entry. Invariants:
//! 1. A path is as long as its root's level says, and each page states the level below.

use super::pages::{Pages, PagesMut, Tree, leaf_of};
use crate::error::{Error, Result};
use crate::ids::PageRef;
use crate::limits::TREE_HEIGHT_MAX;
use crate::page::header::{Header, is_at_level, tree_level};
use crate::page::{Interior, InteriorMut, Leaf};

/// A page on the way, and which of its children comes next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) page: PageRef,
    /// Paths are copied: narrow, so that they are short.
    index: u32,
}

impl Step {
    pub(super) const NONE: Step = Step { page: PageRef::NONE, index: 0 };

    #[inline]
    pub(super) fn new(page: PageRef, index: usize) -> Step {
        Step { page, index: index as u32 }
    }

    #[inline]
    pub(super) fn index(&self) -> usize {
        self.index as usize
    }
}

/// From the root to the leaf where a key belongs.
#[derive(Debug)]
pub(super) struct Path {
    steps: [Step; TREE_HEIGHT_MAX],
    /// Interior pages on the way.
    pub(super) depth: usize,
    /// The leaf is the first of the tree.
    pub(super) is_leftmost: bool,
    /// The leaf is the last of the tree.
    pub(super) is_rightmost: bool,
}

impl Path {
    /// The step `depth` pages below the root.
    pub(super) fn step(&self, depth: usize) -> Step {
        self.steps[depth]
    }

    /// The leaf.
    pub(super) fn leaf(&self) -> PageRef {
        self.steps[self.depth].page
    }
}

/// The bytes of a page and its level.
pub(crate) type Opened<'a> = (&'a [u8], u8);

/// Says that a page that its parent expects at `level` will soon be read. Those above the leaves
/// are read so often that they stay in memory.
#[inline(always)]
pub(super) fn expect_child<P: Pages>(pages: &P, page: PageRef, level: u8) {
    match level {
        0 => pages.expect_whole(page),
        _ => pages.expect(page),
    }
}

/// The root's bytes and its level.
#[inline(always)]
pub(crate) fn open_root<P: Pages>(pages: &P, root: PageRef) -> Result<Opened<'_>> {
    let bytes = pages.page(root)?;
    match tree_level(bytes) {
        Some(level) => Ok((bytes, level)),
        None => Err(not_at_level(pages, root, bytes, None)),
    }
}

/// The bytes of a page that its parent expects at `level`.
#[inline]
pub(super) fn open<P: Pages>(pages: &P, page: PageRef, level: u8) -> Result<&[u8]> {
    let bytes = pages.page(page)?;
    if is_at_level(bytes, level) {
        Ok(bytes)
    } else {
        Err(not_at_level(pages, page, bytes, Some(level)))
    }
}

/// The leaf that its parent expects in a page.
#[inline]
pub(super) fn open_leaf<P: Pages>(pages: &P, page: PageRef) -> Result<Leaf<'_>> {
    leaf_of(pages, open(pages, page, 0)?)
}

#[cold]
fn not_at_level<P: Pages>(pages: &P, page: PageRef, bytes: &[u8], level: Option<u8>) -> Error {
    let header = Header::read(bytes);
    let expected = match level {
        Some(level) => format!("a tree page of level {level}"),
        None => "the root of a tree".to_string(),
    };
    pages.damaged(page, &expected, format!("kind {} level {}", header.kind, header.level))
}

/// The way to where `key` belongs. The leaf itself is asked for and not yet looked at: whoever
/// copies the pages above it first need not wait for it.
pub(super) fn descend<P: Pages>(pages: &P, root: PageRef, key: &[u8]) -> Result<Path> {
    let (mut bytes, root_level) = open_root(pages, root)?;
    let mut path = Path {
        steps: [Step::NONE; TREE_HEIGHT_MAX],
        depth: usize::from(root_level),
        is_leftmost: true,
        is_rightmost: true,
    };
    let mut page = root;
    for (depth, level) in (0..root_level).rev().enumerate() {
        let interior = Interior::new(bytes);
        let index = interior.search(key);
        path.steps[depth] = Step::new(page, index);
        path.is_leftmost &= index == 0;
        path.is_rightmost &= index == interior.count();
        page = interior.child(index);
        expect_child(pages, page, level);
        if level > 0 {
            bytes = open(pages, page, level)?;
        }
    }
    path.steps[path.depth] = Step::new(page, 0);
    Ok(path)
}

/// The place of `key` within the leaf at the end of its path: where it is, or would be.
pub(super) fn place<P: Pages>(pages: &P, path: &Path, key: &[u8]) -> Result<Result<usize, usize>> {
    Ok(open_leaf(pages, path.leaf())?.search(key))
}

/// Makes every page of the path owned, copying those that are not. Of the leaf `need` bytes more
/// are wanted than it has, and its entry `key` if that was not looked up before.
pub(super) fn own<P: PagesMut>(
    pages: &mut P,
    tree: &mut Tree,
    path: &mut Path,
    key: Option<&[u8]>,
    need: usize,
) -> Result<()> {
    let page = path.leaf();
    if pages.is_owned(page.id) {
        return Ok(());
    }
    own_interior(pages, tree, path)?;
    // An overlay leaves the entry where it is: it is fetched while the rest is copied.
    let leaf = open_leaf(pages, page)?;
    key.inspect(|key| leaf.expect_entry(leaf.candidate(key)));
    // Small trees are read again and again: their one leaf stays whole.
    if path.depth > 0
        && let Some(id) = pages.lay_over(page, need)?
    {
        replace(pages, tree, path, path.depth, PageRef::unsealed(id));
        return Ok(());
    }
    copy(pages, tree, path, path.depth)
}

/// Makes every page of the path but the leaf owned.
pub(super) fn own_interior<P: PagesMut>(
    pages: &mut P,
    tree: &mut Tree,
    path: &mut Path,
) -> Result<()> {
    for depth in 0..path.depth {
        if !pages.is_owned(path.steps[depth].page.id) {
            copy(pages, tree, path, depth)?;
        }
    }
    Ok(())
}

/// Puts an owned copy in the place of the page at `depth`. REQUIRES: the page above is owned.
fn copy<P: PagesMut>(pages: &mut P, tree: &mut Tree, path: &mut Path, depth: usize) -> Result<()> {
    let page = path.steps[depth].page;
    let copy = PageRef::unsealed(pages.copy_page(page)?);
    replace(pages, tree, path, depth, copy);
    pages.retire(page, 1)
}

/// Makes the owned leaf at the end of an owned path whole. False when it is.
pub(super) fn make_whole<P: PagesMut>(
    pages: &mut P,
    tree: &mut Tree,
    path: &mut Path,
) -> Result<bool> {
    let leaf = path.leaf();
    if !leaf.id.is_overlay() {
        return Ok(false);
    }
    let copy = PageRef::unsealed(pages.copy_page(leaf)?);
    replace(pages, tree, path, path.depth, copy);
    pages.retire(leaf, 1)?;
    Ok(true)
}

/// Puts a page in the place of the one at `depth`. REQUIRES: the page above is owned.
fn replace<P: PagesMut>(
    pages: &mut P,
    tree: &mut Tree,
    path: &mut Path,
    depth: usize,
    page: PageRef,
) {
    match depth.checked_sub(1) {
        None => tree.root = page,
        Some(above) => {
            let parent = path.steps[above];
            InteriorMut::new(pages.page_mut(parent.page.id, 1)).set_child(parent.index(), page);
        }
    }
    path.steps[depth].page = page;
}
