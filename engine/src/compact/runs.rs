//! Runs of large values, moved one by one.
//!
//! A run of megabytes is not copied while the writer's seat is held. It is copied first, to pages
//! that the space map lends; a reader keeps the original as it is. Then a step lets the leaf refer
//! to the copy, if it still refers to the original.

use crate::error::Result;
use crate::page::overflow;
use crate::tree::{self, LongRun, Wish};
use crate::txn::{Pin, Store};
use std::sync::Arc;

use super::begin;
use super::buckets::{is_entered, root_of};

/// Moves a run that an entry of a bucket refers to towards the start of the file, if it has room
/// there; tells how many pages were written.
pub(super) fn move_run(
    store: &Arc<Store>,
    bucket: &[&[u8]],
    run: &LongRun,
    wish: &Wish,
) -> Result<u64> {
    let pin = Pin::labelled(store, "compaction")?;
    let moved = copy_and_refer(store, &pin, bucket, run, wish);
    pin.release(store);
    moved
}

fn copy_and_refer(
    store: &Arc<Store>,
    pin: &Pin,
    bucket: &[&[u8]],
    run: &LongRun,
    wish: &Wish,
) -> Result<u64> {
    // What the pinned root reaches stays as it is; what it does not may be something else by now.
    let root = root_of(store, pin, bucket.iter().copied())?;
    if !tree::refers_to(&store.memory, root, &run.leaf, run.page)? {
        return Ok(0);
    }
    let Some(copy) = store.copy_run(run.page, run.value_len)? else { return Ok(0) };
    let mut txn = begin(store)?;
    let copied = txn.pages.refer_to(copy, run.page);
    for name in bucket {
        if !is_entered(txn.enter(name))? {
            return Ok(0);
        }
    }
    let wish = Wish { leaves_max: 1, full: false, below: u32::MAX, copied: Some(copied), ..*wish };
    let window = txn.compact_here(&run.leaf, &wish)?;
    if !window.is_replaced {
        return Ok(0);
    }
    txn.replace_tip()?;
    Ok(overflow::run_pages(run.value_len, store.memory.page_bytes()).into())
}
