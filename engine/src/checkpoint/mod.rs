//! Checkpoints: what is only in memory and in the log goes to the data file.
//!
//! Order, and why each step waits for the one before:
//! 1. flush the log, so that the newest root is published, and pin that root;
//! 2. write copies of its arena pages, children before parents, to pages that nobody needs
//!    ([`copy`]); write the changed space map pages; sync: the root is whole in the file;
//! 3. write the other meta page and sync: the root is what the next open finds;
//! 4. let the newest root refer to the copies instead of the arena pages ([`relocate`]);
//! 5. recycle the log, up to where the older of the two meta pages needs it.
//!
//! Readers and writers go on meanwhile; steps 1 and 4 hold the writer's seat for a moment.
//!
//! Invariants:
//! 1. No page that either meta page reaches is written before step 3 is durable; a meta page that
//!    was found torn reaches nothing, and is erased first.
//! 2. A full disk before step 2 is complete leaves everything as it was; any other failure poisons
//!    the database.

mod copy;
mod relocate;

use std::sync::atomic::Ordering;

use crate::error::{Error, ErrorKind, Result};
use crate::ids::Epoch;
use crate::mutation::{self, Mutation};
use crate::pager::{Extent, Meta, Retired};
use crate::txn::{FileState, Pin, Root, Spilled, Store, WriteTxn, WriterGuard};
use crate::wal::{Kept, Position};
use std::sync::Arc;

use copy::Copier;

/// Pages of dropped buckets freed before a checkpoint, so that they need not be written.
const DROPPED_PAGES_FREED: u32 = 4096;
/// So many bytes of log may be kept for the older meta page, however small the data file is.
const LOG_BYTES_KEPT: u64 = 16 << 20;
/// Arena memory that is kept for the next changes, unless they come fast: then as much as was used,
/// because to give it back and take it again costs a tenth of each put. The next checkpoint that
/// comes for its age alone gives it back.
const ARENA_BYTES_KEPT: usize = 32 << 20;

/// A root that stays while it is written.
struct Seal {
    root: Root,
    position: Position,
    pin: Pin,
    freed: Vec<Retired>,
    /// Pages that transactions spilled, which the root may reach, and those that no root reaches.
    spilled: Vec<Spilled>,
    given_up: Vec<Extent>,
    /// Bytes of records appended when it was sealed.
    appended_bytes: u64,
    /// Bytes of the arena that are worth keeping.
    arena_bytes_kept: usize,
}

/// Writes a checkpoint of the newest root. False when there was nothing to write. `closing` marks
/// it as the end of a session.
///
/// When the disk was too full for the log, or the log that the older meta page needs is long beside
/// the data, a second one follows: that log can go as soon as there are two newer meta pages.
///
/// REQUIRES: the caller has no write transaction open.
pub(crate) fn run(store: &Arc<Store>, closing: bool) -> Result<bool> {
    let mut wrote = match run_once(store, closing, Also::Nothing) {
        // What is kept of the log for readers, and ready for commits, may be what is missing.
        Err(error) if error.is_full() && give_up_log(store)? => {
            run_once(store, closing, Also::Nothing)?
        }
        first => first?,
    };
    // Asked for once: a record that finds no room meanwhile asks again.
    let log_is_full = store.gauges.log_is_full.swap(false, Ordering::Relaxed);
    let data_is_full = store.gauges.data_is_full.swap(false, Ordering::Relaxed);
    if data_is_full {
        // What was removed is free when both meta pages have let go of it. Where the disk has no
        // room for that, the first checkpoint is complete all the same.
        for _ in 0..2 {
            match run_once(store, closing, Also::FileSpace) {
                Err(error) if error.is_full() => break,
                again => wrote |= again?,
            }
        }
    }
    if !log_is_full && !keeps_long_log(store)? {
        return Ok(wrote);
    }
    match run_once(store, closing, Also::LogSpace) {
        // The first one is complete; what the second would have given back is not.
        Err(error) if error.is_full() && wrote => {}
        again => wrote |= again?,
    }
    if log_is_full {
        // Readers of the log have to do without.
        give_up_log(store)?;
    }
    Ok(wrote)
}

/// Gives up all of the log that no recovery needs; true when the disk has more room by that.
fn give_up_log(store: &Store) -> Result<bool> {
    let wal = store.wal()?;
    let file = store.file_state.lock();
    let before = wal.stats().file_bytes;
    wal.recycle(file.older_log, Kept::Nothing)?;
    Ok(wal.stats().file_bytes < before)
}

/// True when what the log keeps for the older meta page alone is more than a quarter of the data
/// file, and more than a small database need care about.
fn keeps_long_log(store: &Store) -> Result<bool> {
    let wal = store.wal()?;
    let file = store.file_state.lock();
    let kept = wal.bytes_since(file.older_log).saturating_sub(wal.bytes_since(file.newest.log));
    let file_bytes = u64::from(file.newest.file_pages) * store.memory.page_bytes() as u64;
    Ok(kept > (file_bytes / 4).max(LOG_BYTES_KEPT))
}

/// Writes a checkpoint whether something was changed or not: several of them give the free end of
/// the file back.
///
/// REQUIRES: the caller has no write transaction open.
pub(crate) fn run_for_file_space(store: &Arc<Store>) -> Result<()> {
    run_once(store, false, Also::FileSpace).map(|_| ())
}

/// What makes a checkpoint worth writing where nothing was changed.
enum Also {
    Nothing,
    /// What the log keeps for the older meta page.
    LogSpace,
    /// What the file keeps for it.
    FileSpace,
}

fn run_once(store: &Arc<Store>, closing: bool, also: Also) -> Result<bool> {
    let wal = store.wal()?;
    // A long transaction under way is waited for first: it can be lent pages as long as nobody has
    // the space map.
    drop(WriterGuard::take(store));
    let mut file = store.file_state.lock();
    store.check_poison()?;
    if store.has_dropped()? {
        let mut txn = WriteTxn::begin_unlogged(store)?;
        txn.free_dropped(DROPPED_PAGES_FREED)?;
        txn.replace_tip()?;
    }
    store.flush()?;
    let seal = seal(store)?;
    file.space.take_back(&seal.given_up);
    file.space.shorten(&store.memory);
    let is_wanted = match also {
        Also::Nothing => false,
        Also::LogSpace => file.older_log != file.newest.log,
        Also::FileSpace => true,
    };
    let wrote = if is_current(&file, &seal, closing) && !is_wanted {
        Ok(false)
    } else {
        write(store, &mut file, &seal, closing).map(|()| true)
    };
    seal.pin.release(store);
    let wrote = wrote.inspect_err(|error| note_failure(store, error))?;
    store.trim_arena(seal.arena_bytes_kept);
    store.gauges.checkpointed_bytes.store(seal.appended_bytes, Ordering::Relaxed);
    if wrote {
        wal.recycle(file.older_log, Kept::AsAsked)?;
    }
    Ok(wrote)
}

/// True when the newest meta page says all there is to say.
fn is_current(file: &FileState, seal: &Seal, closing: bool) -> bool {
    let same =
        file.newest.epoch == seal.root.epoch && seal.freed.is_empty() && seal.spilled.is_empty();
    same && (file.newest.clean || !closing)
}

/// A full disk is no reason to stop: nothing was harmed, and space may come back.
fn note_failure(store: &Store, error: &Error) {
    if !matches!(error.kind(), ErrorKind::Full { .. }) {
        store.poison(error);
    }
}

fn seal(store: &Arc<Store>) -> Result<Seal> {
    let mut writer = WriterGuard::take(store);
    let (root, position, pin) = {
        // Publishing needs the queue, so the root that is pinned is the one that it names.
        let queue = store.queue.lock();
        let pin = Pin::labelled(store, "checkpoint")?;
        (queue.published, queue.position, pin)
    };
    assert_eq!(pin.root.epoch, root.epoch, "the published root is pinned");
    let freed = store.writer.with_waiting(|waiting| {
        let is_of_root = |page: &&Retired| page.freed <= root.epoch;
        waiting.pages.iter().filter(is_of_root).copied().collect()
    });
    let (spilled, given_up) = writer.lent.hand_over(root.epoch);
    let appended_bytes = store.gauges.appended_bytes.load(Ordering::Relaxed);
    let used = writer.arena.used() as usize * store.memory.unit_bytes();
    let is_busy = store.log_bytes() >= store.options.checkpoint_log_bytes / 2
        || used as u64 >= store.options.checkpoint_memory_bytes / 2;
    let arena_bytes_kept = if is_busy { used.max(ARENA_BYTES_KEPT) } else { ARENA_BYTES_KEPT };
    Ok(Seal { root, position, pin, freed, spilled, given_up, appended_bytes, arena_bytes_kept })
}

fn write(store: &Arc<Store>, file: &mut FileState, seal: &Seal, closing: bool) -> Result<()> {
    file.erase_torn_meta(&store.memory)?;
    if !closing {
        // Where that fails the checkpoint goes on: it may be what makes room.
        let _tried_again_by_the_next_record = store.wal()?.keep_reserve();
    }
    let readers = store.readers.epochs();
    let lent: Vec<Extent> = seal.spilled.iter().map(|spilled| spilled.extent).collect();
    if let Err(error) = file.space.begin(&store.memory, &lent, &seal.freed, &readers) {
        // What was spilled is for the next checkpoint, as what was freed, which waits still.
        WriterGuard::take(store).lent.restore(&seal.spilled);
        return Err(error);
    }
    let pinned = file.space.pinned(&readers);
    store.writer.with_waiting(|waiting| {
        waiting.pages.retain(|page| page.freed > seal.root.epoch);
        waiting.pages.shrink_to_fit();
        waiting.freed_pages = pinned;
    });
    let mut copier = Copier::new(store, &mut file.space, seal.root.epoch);
    let copied = copier.copy_root(&seal.root);
    let (buckets, system) = match copied {
        Ok(records) => records,
        Err(error) => {
            copier.undo();
            return Err(error);
        }
    };
    let moved = copier.finish();
    file.space.trim(&store.memory);
    if mutation::is(Mutation::TailCutEarly) {
        file.space.cut_file(&store.memory);
    }
    write_space(store, file, seal.root.epoch)?;
    if !mutation::is(Mutation::MetaBeforeData) {
        sync(store)?;
    }
    let ahead = mutation::is(Mutation::LogPositionAhead);
    let meta = Meta {
        page_bytes: store.memory.page_bytes(),
        database_id: file.newest.database_id,
        checkpoint: file.newest.checkpoint + 1,
        epoch: seal.root.epoch,
        txn: seal.root.txn,
        clock_ms: store.now_ms(),
        log: if ahead { store.wal()?.end() } else { seal.position },
        clean: closing,
        file_pages: file.space.file_pages(),
        buckets,
        system,
        directories: file.space.directories(),
    };
    write_meta(store, &meta)?;
    if mutation::is(Mutation::MetaBeforeData) {
        sync(store)?;
    }
    file.space.committed(meta.slot());
    file.space.cut_file(&store.memory);
    file.older_log = file.newest.log;
    file.newest = meta;
    file.other_meta_is_whole = true;
    store.gauges.set_file(file);
    store.measure_log();
    relocate::relocate(store, moved, seal.root.epoch)
}

fn write_space(store: &Store, file: &mut FileState, epoch: Epoch) -> Result<()> {
    let page_bytes = store.memory.page_bytes() as u64;
    let data = store.memory.file();
    file.space.write_changed(epoch, &mut |page, bytes| {
        data.write_at(bytes, u64::from(page) * page_bytes)
            .map_err(|e| store.memory.failed_write("write", e))
    })
}

fn sync(store: &Store) -> Result<()> {
    if mutation::is(Mutation::DataNotSynced) {
        return Ok(());
    }
    store.memory.file().sync().map_err(|e| store.memory.failed_write("sync", e))
}

fn write_meta(store: &Store, meta: &Meta) -> Result<()> {
    let offset = meta.slot() as u64 * store.memory.page_bytes() as u64;
    let data = store.memory.file();
    match mutation::is(Mutation::MetaNotSynced) {
        true => data.write_at(&meta.encode(), offset),
        false => data.write_durable_at(&meta.encode(), offset),
    }
    .map_err(|e| store.memory.failed_write("write", e))
}
