//! Spilled pages: written to the data file while their transaction runs.
//!
//! A load of many pairs and a large value need not be in memory twice, in the arena and in the
//! file's cache. Their pages go to pages of the file that the space map lends: no root reaches them
//! before the transaction commits, and no checkpoint hands them out. Nothing is synced here. What
//! makes the transaction durable is its record, as always; the first checkpoint that has its root
//! syncs what was spilled and marks it as used. A crash before that, or a rollback, leaves pages
//! that are free.
//!
//! Only pages that nobody will change: those of trees built from below, and runs of large values.
//! While a checkpoint is written nothing is lent, and the pages go to the arena as others do.
//! Invariants:
//! 1. A spilled page refers to pages of the file alone.
//! 2. What is spilled is written before it is read, which is for the caller to see to, and before
//!    its transaction ends.

use std::sync::Arc;

use super::lent::Block;
use super::pages::TxnPages;
use super::store::Store;
use crate::error::{Error, Result};
use crate::ids::{Epoch, PageId, PageRef};
use crate::io::WriteBehind;
use crate::page::{overflow, references};
use crate::pager::Extent;
use crate::tree::{Pages, PagesMut};

/// So much is lent at a time for leaves: what is left of it makes the file longer than it need be.
const LEND_BYTES: usize = 2 << 20;
/// Runs of up to so many parts of that are taken from it.
const SHORT_RUN_PART: u32 = 16;
/// What is spilled is gathered into writes of this size.
pub(super) const WRITE_BYTES: usize = 1 << 20;

/// Writes the next piece of a value, all of it.
pub(super) type Fill<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<()>;

impl TxnPages {
    /// The birth of a page that was spilled and is in no checkpoint yet.
    pub(super) fn spilled_at(&self, id: PageId) -> Option<Epoch> {
        match self.spill.holds(id) {
            true => Some(self.epoch()),
            false => self.writer.lent.born(id),
        }
    }

    /// The place of a page that will not be changed: spilled, where many came before.
    pub(super) fn place_unchanging(&mut self, fill: &mut dyn FnMut(&mut [u8])) -> Result<PageRef> {
        let page_bytes = self.page_bytes();
        let page = match &mut self.spill.after {
            Some(left) if *left < page_bytes => self.take_lent()?,
            Some(left) => {
                *left -= page_bytes;
                None
            }
            None => None,
        };
        let Some(page) = page else {
            let id = self.allocate(1)?;
            fill(self.page_mut(id, 1));
            return Ok(PageRef::unsealed(id));
        };
        let bytes = self.block_bytes(page, page_bytes)?;
        fill(bytes);
        if references(bytes).any(|to| to.page.id.is_arena()) {
            return self.move_to_arena(page);
        }
        let crc = crc32fast::hash(bytes);
        self.spill.note(page);
        Ok(PageRef { id: PageId(page), crc })
    }

    /// Memory for the next `len` bytes, which are for the pages from `page` on, in the present
    /// block if they follow what it holds and fit.
    fn block_bytes(&mut self, page: u32, len: usize) -> Result<&mut [u8]> {
        let page_bytes = self.page_bytes();
        let takes = |block: &Block| {
            let next = block.first + (block.bytes / page_bytes) as u32;
            next == page && block.bytes + len <= block.memory.len()
        };
        if !self.spill.block.as_deref().is_some_and(takes) {
            self.hand_over()?;
            let store = Arc::clone(self.writer.store());
            let behind = self.spill.behind.get_or_insert_with(|| {
                let file = Arc::clone(store.memory.file());
                Box::new(WriteBehind::new(file, WRITE_BYTES, store.options.threads))
            });
            let memory = behind.memory().map_err(|error| failed(&store, error))?;
            self.spill.block = Some(Box::new(Block { memory, first: page, bytes: 0 }));
        }
        let block = self.spill.block.as_mut().expect("invariant: just made");
        block.bytes += len;
        Ok(block.memory.bytes_mut(block.bytes - len, len))
    }

    /// Takes the last page of the block to the arena after all.
    fn move_to_arena(&mut self, page: u32) -> Result<PageRef> {
        let count = 1 + self.writer.lent.room.map_or(0, |room| room.count);
        self.writer.lent.room = Some(Extent { start: page, count });
        let (page_bytes, id) = (self.page_bytes(), self.allocate(1)?);
        let block = self.spill.block.as_mut().expect("invariant: the page is in it");
        block.bytes -= page_bytes;
        let leaf = block.memory.bytes(block.bytes, page_bytes);
        self.writer.store().memory.arena_bytes_mut(id, 1).copy_from_slice(leaf);
        Ok(PageRef::unsealed(id))
    }

    /// Has the block written.
    fn hand_over(&mut self) -> Result<()> {
        let Some(block) = self.spill.block.take() else { return Ok(()) };
        let Block { memory, first, bytes } = *block;
        let store: &Store = self.writer.store();
        let page_bytes = store.memory.page_bytes();
        store.memory.forget(first, (bytes / page_bytes) as u32);
        let behind = self.spill.behind.as_mut().expect("invariant: the memory is from there");
        let written = behind.write(memory, bytes, u64::from(first) * page_bytes as u64);
        written.map_err(|error| failed(store, error))
    }

    /// Gives back what the transaction, which is rolled back, was lent, and what the file has grown
    /// for it. While a checkpoint is written that is left to the next one.
    pub(super) fn give_up_spilled(&mut self) {
        self.spill.end(&mut self.writer.lent, None);
        let store = Arc::clone(self.writer.store());
        let lent = &mut self.writer.lent;
        if lent.given_up.is_empty() {
            return;
        }
        if let Some(mut file) = store.file_state.try_lock() {
            file.space.take_back(&std::mem::take(&mut lent.given_up));
            file.space.shorten(&store.memory);
        }
    }

    /// Returns when everything is written. To be called before what was spilled is read.
    pub(super) fn finish_spilling(&mut self) -> Result<()> {
        self.hand_over()?;
        let Some(behind) = &mut self.spill.behind else { return Ok(()) };
        behind.finish().map_err(|error| failed(self.writer.store(), error))
    }

    /// Spills the run of a large value; `None` where it has to go to the arena.
    pub(super) fn place_run(&mut self, value: &[u8]) -> Result<Option<PageRef>> {
        let least = self.spill.after.map_or(usize::MAX, |_| self.spill_bytes() / 4);
        if value.len() < least {
            return Ok(None);
        }
        let mut rest = value;
        self.spill_run(value.len() as u32, &mut |piece| {
            let (now, later) = rest.split_at(piece.len());
            piece.copy_from_slice(now);
            rest = later;
            Ok(())
        })
    }

    /// Spills the run of a value of so many bytes, which `fill` writes piece by piece; `None`, and
    /// nothing was asked for, where it has to go to the arena. After an error of `fill` the
    /// transaction can only roll back.
    pub(super) fn spill_run(&mut self, len: u32, fill: Fill<'_>) -> Result<Option<PageRef>> {
        let page_bytes = self.page_bytes();
        let count = overflow::run_pages(len, page_bytes);
        let Some(run) = self.lend_run(count)? else { return Ok(None) };
        self.spill.note_run(run);
        let (mut crc, mut rest, epoch) = (crc32fast::Hasher::new(), len as usize, self.epoch());
        let end = run.start + run.count;
        for page in (run.start..end).step_by(WRITE_BYTES / page_bytes) {
            let pages = (end - page).min((WRITE_BYTES / page_bytes) as u32) as usize;
            let bytes = self.block_bytes(page, pages * page_bytes)?;
            let content = match page == run.start {
                true => overflow::begin_run(bytes, count, epoch),
                false => &mut *bytes,
            };
            let (piece, padding) = content.split_at_mut(content.len().min(rest));
            rest -= piece.len();
            fill(piece)?;
            padding.fill(0);
            crc.update(bytes);
        }
        Ok(Some(PageRef { id: PageId(run.start), crc: crc.finalize() }))
    }

    fn spill_bytes(&self) -> usize {
        self.writer.store().options.spill_bytes
    }

    /// The next lent page; `None` where none is lent now.
    fn take_lent(&mut self) -> Result<Option<u32>> {
        if self.writer.lent.room.is_none_or(|room| room.count == 0) {
            let want = LEND_BYTES / self.page_bytes();
            self.writer.lent.room = self.lend(want as u32, false)?;
        }
        Ok(self.writer.lent.room.as_mut().map(|room| {
            let page = room.start;
            (room.start, room.count) = (page + 1, room.count - 1);
            page
        }))
    }

    /// Adjoining pages for a run. A short one takes them from the room for single pages.
    fn lend_run(&mut self, count: u32) -> Result<Option<Extent>> {
        let room_pages = (LEND_BYTES / self.page_bytes()) as u32;
        if count > room_pages / SHORT_RUN_PART {
            return self.lend(count, true);
        }
        if self.writer.lent.room.is_none_or(|room| room.count < count) {
            let rest = self.writer.lent.room.take();
            self.writer.lent.given_up.extend(rest.filter(|room| room.count > 0));
            self.writer.lent.room = self.lend(room_pages, false)?;
        }
        match &mut self.writer.lent.room {
            Some(room) if room.count >= count => {
                let run = Extent { start: room.start, count };
                (room.start, room.count) = (room.start + count, room.count - count);
                Ok(Some(run))
            }
            _ => self.lend(count, true),
        }
    }

    fn lend(&mut self, want: u32, exact: bool) -> Result<Option<Extent>> {
        let store = Arc::clone(self.writer.store());
        // A checkpoint has it for as long as it takes, and waits for the writer in the end.
        let Some(mut file) = store.file_state.try_lock() else { return Ok(None) };
        // What the log keeps for deletes comes before what may go to memory.
        match store.wal()?.keep_reserve() {
            Err(error) if error.is_full() => return Ok(None),
            kept => kept?,
        }
        file.space.take_back(&std::mem::take(&mut self.writer.lent.given_up));
        let erased = file.erase_torn_meta(&store.memory);
        erased.inspect_err(|error| store.poison(error))?;
        match file.space.lend(&store.memory, want, exact) {
            Ok(lent) => Ok(Some(lent)),
            // Memory may have room, and the file by the time of the checkpoint.
            Err(error) if error.is_full() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A write to lent pages that failed is as grave as a failed checkpoint.
pub(super) fn failed(store: &Store, error: std::io::Error) -> Error {
    let error = store.memory.failed_write("write", error);
    store.poison(&error);
    error
}
