//! Compaction: the data file made as short as its content, while readers and writers go on.
//!
//! In two passes over all buckets: leaves are made full, then what lies beyond the length that the
//! content needs is moved below it. Checkpoints write what was changed, and give the free end of
//! the file back. The passes go in short steps ([`pass`]), each a transaction of its own that
//! changes no content and is not logged: what a crash leaves is what some checkpoint wrote, as
//! always.
//!
//! Invariants:
//! 1. The content of every bucket is the same before and after each step.
//! 2. A step holds the writer's seat for a bounded number of pages, which were read before.

mod buckets;
mod pass;
mod runs;

use std::ops::ControlFlow;

use crate::checkpoint;
use crate::error::Result;
use crate::txn::{Store, WriteTxn};
use std::sync::Arc;

use pass::Pass;

/// Pages of dropped buckets freed in one step.
const DROPPED_PAGES_FREED: u32 = 256;
/// The file is written to below a ceiling that leaves one page in so many free: checkpoints need
/// some for what they write anew before they free what it replaces.
const SLACK: u32 = 64;
/// And a quarter of a step, but of a small file no more than one page in so many: the file would
/// become mostly room.
const SLACK_OF_SMALL: u32 = 8;
/// A checkpoint writes what so many steps with all they may look at have changed.
const MEMORY_STEPS: u64 = 16;
/// How often what is still beyond the ceiling is moved: the first round makes room above it for
/// runs that find no room below.
const ROUNDS_MAX: u32 = 3;
/// So many checkpoints give the free end of the file back: what one frees no meta page reaches two
/// later, the next counts fewer pages, and so does the last.
const CHECKPOINTS_TO_SHORTEN: u32 = 4;

/// How far a compaction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactProgress {
    /// Pages looked at so far.
    pub pages_done: u64,
    /// Pages to look at in all, about.
    pub pages_total: u64,
    /// Length of the data file.
    pub file_bytes: u64,
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactReport {
    /// False when it was stopped: the next one goes on there.
    pub is_finished: bool,
    /// Length of the data file before.
    pub file_bytes_before: u64,
    /// Length of the data file after. What readers hold, or a writer changes meanwhile, can keep
    /// it longer than its content needs.
    pub file_bytes_after: u64,
    /// Bytes of pages that were written anew.
    pub written_bytes: u64,
}

/// Where a compaction that was stopped goes on.
#[derive(Debug, Default)]
pub(crate) struct Compaction {
    pass: Option<Pass>,
}

/// What a compaction is told to do before its next step.
type Progress<'a> = &'a mut dyn FnMut(CompactProgress) -> ControlFlow<()>;

/// Goes on with a compaction, or begins one.
pub(crate) fn compact(
    store: &Arc<Store>,
    compaction: &mut Compaction,
    progress: Progress<'_>,
) -> Result<CompactReport> {
    store.wal()?;
    let file_bytes_before = file_bytes(store);
    let mut written = 0;
    let ended = {
        let _ends_with_this = Ceiling(store);
        work(store, compaction, progress, &mut written)?
    };
    Ok(CompactReport {
        is_finished: ended.is_continue(),
        file_bytes_before,
        file_bytes_after: file_bytes(store),
        written_bytes: written * store.memory.page_bytes() as u64,
    })
}

/// Where the file is written to; dropping it ends that.
struct Ceiling<'a>(&'a Store);

impl Ceiling<'_> {
    fn set(store: &Store, pass: &Pass) {
        store.file_state.lock().space.prefer_below(Some(pass.ceiling));
    }
}

impl Drop for Ceiling<'_> {
    fn drop(&mut self) {
        self.0.file_state.lock().space.prefer_below(None);
    }
}

/// Breaks when it was told to, and then leaves its pass. An error leaves none: the next compaction
/// begins anew, with what is done by now.
fn work(
    store: &Arc<Store>,
    compaction: &mut Compaction,
    progress: Progress<'_>,
    written: &mut u64,
) -> Result<ControlFlow<()>> {
    let mut pass = match compaction.pass.take() {
        Some(mut pass) => {
            // The content may have become more since, or less.
            pass.aim(store);
            pass
        }
        None => {
            free_dropped(store)?;
            Pass::new(store, 0)
        }
    };
    loop {
        Ceiling::set(store, &pass);
        let mut in_memory = 0;
        while pass.advance() {
            let told = CompactProgress { file_bytes: file_bytes(store), ..pass.progress() };
            if progress(told).is_break() {
                compaction.pass = Some(pass);
                return Ok(ControlFlow::Break(()));
            }
            let before = pass.written;
            pass.step(store)?;
            let more = pass.written - before;
            *written += more;
            in_memory += more;
            if in_memory >= MEMORY_STEPS * store.options.compact_pages as u64 {
                checkpoint::run(store, false)?;
                in_memory = 0;
            }
        }
        (0..CHECKPOINTS_TO_SHORTEN).try_for_each(|_| checkpoint::run_for_file_space(store))?;
        let is_long = file_pages(store) > pass.ceiling;
        let goes_on = pass.round < ROUNDS_MAX && is_long && pass.written > 0;
        if pass.round > 0 && !goes_on {
            return Ok(ControlFlow::Continue(()));
        }
        pass = pass.next(store);
    }
}

/// Frees all that was dropped.
fn free_dropped(store: &Arc<Store>) -> Result<()> {
    loop {
        let mut txn = begin(store)?;
        let more = txn.free_dropped(DROPPED_PAGES_FREED)?;
        txn.replace_tip()?;
        if !more {
            return Ok(());
        }
    }
}

/// A transaction for a step.
fn begin(store: &Arc<Store>) -> Result<WriteTxn> {
    let txn = WriteTxn::begin_unlogged(store)?;
    txn.check_open().map(|()| txn)
}

fn file_pages(store: &Store) -> u32 {
    store.file_state.lock().newest.file_pages
}

fn file_bytes(store: &Store) -> u64 {
    u64::from(file_pages(store)) * store.memory.page_bytes() as u64
}

/// The length that the file needs: its pages in use, and some room to write.
fn ceiling(store: &Store) -> u32 {
    let file = store.file_state.lock();
    let free = u32::try_from(file.space.free_pages()).unwrap_or(u32::MAX);
    let used = file.space.file_pages().saturating_sub(free);
    let step = u32::try_from(store.options.compact_pages).unwrap_or(u32::MAX);
    let room = used / SLACK + (step / 4).min(used / SLACK_OF_SMALL);
    used.saturating_add(room)
}
