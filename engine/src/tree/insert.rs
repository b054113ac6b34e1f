//! Put an entry into a tree, or another payload into an entry.
//!
//! Never retires an overflow run or a bucket's tree: what was replaced is handed back. Invariants:
//! 1. An error leaves the entry as it was.

use super::pages::{PagesMut, Replaced, Tree};
use super::path::{descend, make_whole, open_leaf, own, place};
use super::split::split_leaf;
use crate::error::{Error, Result};
use crate::ids::PageRef;
use crate::limits;
use crate::page::entry::payload_bytes_max;
use crate::page::leaf::LEAF_INDEX_BYTES;
use crate::page::{Entry, LeafMut, Payload};

/// Puts an entry, in place of the one with its key if there is one.
///
/// The key may be as long as `limits::key_bytes_max`, the payload as a bucket record with the
/// largest inline image; what belongs in an overflow run is for the caller to put there.
pub(crate) fn insert<P: PagesMut>(
    pages: &mut P,
    tree: &mut Tree,
    entry: &Entry<'_>,
) -> Result<Option<Replaced>> {
    check_sizes(pages.page_bytes(), entry)?;
    if tree.root.id.is_none() {
        plant(pages, tree, entry)?;
        return Ok(None);
    }
    // A leaf can be too full to be split with the entry in it; then it is split without, and the
    // entry finds room in what is left. Twice is the most that takes.
    for _ in 0..3 {
        let mut path = descend(pages, tree.root, entry.key)?;
        // The leaf is copied before it is searched: then it is in cache.
        own(pages, tree, &mut path, Some(entry.key), entry.stored_bytes() + LEAF_INDEX_BYTES)?;
        let place = place(pages, &path, entry.key)?;
        let replaced = match place {
            Ok(index) => Some(Replaced::of(&open_leaf(pages, path.leaf())?.entry(index))),
            Err(_) => None,
        };
        let fits = put(pages, path.leaf(), place, entry)?
            || make_whole(pages, tree, &mut path)? && put(pages, path.leaf(), place, entry)?;
        if fits || split_leaf(pages, tree, &path, place, entry)? {
            // As with removals: a damaged record can hold any number.
            tree.entries = tree.entries.saturating_add(u64::from(replaced.is_none()));
            return Ok(replaced);
        }
    }
    let expected = "a leaf with room after two splits";
    Err(pages.damaged(tree.root, expected, "a full one".into()))
}

/// Gives the entry with this key another payload of the kind and length that it has. False when
/// there is none with such a payload: then the tree's content is as it was. Less work than
/// [`insert`], which hands back what it replaces and finds room for what is longer.
pub(crate) fn overwrite<P: PagesMut>(
    pages: &mut P,
    tree: &mut Tree,
    key: &[u8],
    payload: &Payload<'_>,
) -> Result<bool> {
    if tree.root.id.is_none() {
        return Ok(false);
    }
    let mut path = descend(pages, tree.root, key)?;
    own(pages, tree, &mut path, None, 0)?;
    match place(pages, &path, key)? {
        Ok(index) => Ok(pages.leaf_mut(path.leaf())?.overwrite(index, payload)),
        Err(_) => Ok(false),
    }
}

/// Puts the entry in its place of an owned leaf. False when it does not fit.
fn put<P: PagesMut>(
    pages: &mut P,
    leaf: PageRef,
    place: std::result::Result<usize, usize>,
    entry: &Entry<'_>,
) -> Result<bool> {
    let mut leaf = pages.leaf_mut(leaf)?;
    Ok(match place {
        Ok(index) => leaf.replace(index, entry),
        Err(index) => leaf.insert(index, entry),
    })
}

/// The first leaf of a tree.
fn plant<P: PagesMut>(pages: &mut P, tree: &mut Tree, entry: &Entry<'_>) -> Result<()> {
    let (epoch, id) = (pages.epoch(), pages.allocate(1)?);
    let fits = LeafMut::init(pages.page_mut(id, 1), epoch).insert(0, entry);
    assert!(fits, "invariant: an entry within its limits fits an empty leaf");
    *tree = Tree { root: PageRef::unsealed(id), entries: 1 };
    Ok(())
}

/// Refuses what no leaf of this page size takes.
pub(super) fn check_sizes(page_bytes: usize, entry: &Entry<'_>) -> Result<()> {
    let (key, payload) = (entry.key.len(), entry.payload.stored_bytes());
    let key_max = limits::key_bytes_max(page_bytes);
    if key > key_max {
        return Err(Error::too_large("key", key_max as u64, key as u64));
    }
    let payload_max = payload_bytes_max(page_bytes);
    if payload > payload_max {
        return Err(Error::too_large("payload", payload_max as u64, payload as u64));
    }
    Ok(())
}
