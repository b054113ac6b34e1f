//! After a checkpoint: the newest root refers to the copies in the file, and the arena pages go.
//!
//! Transactions that committed while the checkpoint wrote have made pages that still refer to
//! arena pages of the checkpoint's root. Those few are copied once more, with the references
//! changed, as any writer copies what it changes; published pages stay as they are. So readers
//! never see a page change, and no load of a page id has to be atomic.
//!
//! What they laid an overlay over stays in memory as its base. The copy of such a page is no part
//! of the newest tree, and free again for the next checkpoint.
//!
//! Invariants:
//! 1. The content of every bucket is the same before and after.
//! 2. Afterwards the newest root reaches no arena page that was copied, but as a base.

use crate::error::Result;
use crate::ids::{Epoch, PageId, PageRef};
use crate::limits::ARENA_UNITS;
use crate::mutation::{self, Mutation};
use crate::page::{Reference, Target, overlay, references};
use crate::pager::Retired;
use crate::tree::{Pages, PagesMut};
use crate::txn::{Store, WriteTxn};
use std::collections::BTreeSet;
use std::sync::Arc;

use super::copy::{Moved, Original};

/// A page whose references are being looked at.
struct Frame {
    page: PageRef,
    references: Vec<Reference>,
    next: usize,
    changes: Vec<(Reference, PageRef)>,
}

/// Replaces the newest root by one that refers to the copies. `sealed` is the epoch of the root
/// that was copied.
pub(super) fn relocate(store: &Arc<Store>, moved: Moved, sealed: Epoch) -> Result<()> {
    if moved.originals.is_empty() {
        return Ok(());
    }
    let mut txn = WriteTxn::begin_unlogged(store)?;
    let kept = release_dropped(&txn, &moved, sealed);
    let (buckets, system) = (txn.levels[0].tree.root, txn.system.tree.root);
    let mut bases = BTreeSet::new();
    let buckets = relocate_tree(&mut txn, &moved, &mut bases, buckets)?;
    txn.levels[0].tree.root = buckets;
    let system = relocate_tree(&mut txn, &moved, &mut bases, system)?;
    txn.system.tree.root = system;
    for Original { id, units, born } in kept {
        match moved.get(id).filter(|_| bases.contains(&id)) {
            Some(place) => txn.pages.retire_copy(place.id),
            None => txn.pages.retire_moved(id, units, born)?,
        }
    }
    txn.replace_tip()
}

/// Copies whose originals were dropped while the checkpoint ran are already free again for the
/// next one. Returns the originals that are still in use.
fn release_dropped(txn: &WriteTxn, moved: &Moved, sealed: Epoch) -> Vec<Original> {
    let mut dropped = txn.store().writer.with_waiting(|waiting| {
        let mut dropped = Vec::new();
        for retired in waiting.units.iter().filter(|retired| retired.freed > sealed) {
            if let Some(place) = moved.get(retired.id) {
                dropped.push(retired.id);
                if !mutation::is(Mutation::DroppedCopyLost) {
                    let count = retired.count.div_ceil(ARENA_UNITS);
                    // No root that readers see has ever reached it.
                    let born = retired.freed;
                    waiting.pages.push(Retired { id: place.id, count, born, ..*retired });
                }
            }
        }
        dropped
    });
    dropped.sort_unstable();
    let kept = moved.originals.iter().filter(|it| dropped.binary_search(&it.id).is_err());
    kept.copied().collect()
}

/// Adds to `bases` the pages with a copy that overlays are laid over.
fn relocate_tree(
    txn: &mut WriteTxn,
    moved: &Moved,
    bases: &mut BTreeSet<PageId>,
    root: PageRef,
) -> Result<PageRef> {
    if let Some(place) = moved.get(root.id) {
        return Ok(place);
    }
    if !root.id.is_arena() {
        return Ok(root);
    }
    let mut stack = vec![frame(txn, moved, bases, root)?];
    loop {
        let top = stack.last_mut().expect("invariant: returns when the root is done");
        if let Some(reference) = top.references.get(top.next).copied() {
            top.next += 1;
            match (moved.get(reference.page.id), reference.target) {
                (Some(place), _) => top.changes.push((reference, place)),
                (None, Target::Run { .. }) => {}
                (None, _) => stack.push(frame(txn, moved, bases, reference.page)?),
            }
            continue;
        }
        let done = stack.pop().expect("invariant: just looked at");
        let place = change(txn, &done)?;
        match stack.last_mut() {
            None => return Ok(place),
            Some(parent) if place != done.page => {
                let reference = parent.references[parent.next - 1];
                parent.changes.push((reference, place));
            }
            Some(_) => {}
        }
    }
}

fn frame(
    txn: &WriteTxn,
    moved: &Moved,
    bases: &mut BTreeSet<PageId>,
    page: PageRef,
) -> Result<Frame> {
    let bytes = txn.pages.page(page)?;
    if page.id.is_overlay() {
        bases.extend(Some(overlay::base(bytes).id).filter(|base| moved.get(*base).is_some()));
    }
    let references: Vec<Reference> = references(bytes).filter(|to| to.page.id.is_arena()).collect();
    // Most are leaves that nobody has looked at for a while, and of which the header says that
    // nothing is to be done: their cache misses overlap.
    let others = references.iter().filter(|to| moved.get(to.page.id).is_none());
    others.for_each(|to| txn.pages.expect(to.page));
    Ok(Frame { page, references, next: 0, changes: Vec::new() })
}

/// Copies a page with its references changed, if any did.
fn change(txn: &mut WriteTxn, frame: &Frame) -> Result<PageRef> {
    if frame.changes.is_empty() {
        return Ok(frame.page);
    }
    let id = txn.pages.copy_page(frame.page)?;
    let copy = txn.pages.page_mut(id, 1);
    for (reference, place) in &frame.changes {
        reference.patch(copy, *place);
    }
    txn.pages.retire(frame.page, 1)?;
    Ok(PageRef::unsealed(id))
}
