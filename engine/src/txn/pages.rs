//! The pages of one write transaction: copies in the arena, and what they replace.
//!
//! Invariants:
//! 1. Only pages born in this transaction are changed in place.
//! 2. Nothing outside this transaction changes before it commits: a rollback frees every page it
//!    allocated and forgets what it retired.
//! 3. However it ends, the writer's lists are empty when the next one begins.

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Epoch, PageId, PageRef};
use crate::limits::ARENA_UNITS;
use crate::mutation::{self, Mutation};
use crate::page::header::{Header, set_born};
use crate::page::{LeafMut, PAGE_HEADER_BYTES, PageKind, copy_live, overlay};
use crate::pager::{PageMemory, Retired};
use crate::tree::{Pages, PagesMut};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::lent::Spill;
use super::seat::{Lists, Writer};
use super::store::{Store, WriterGuard};

/// Lists of more pages than this are not kept for the next transaction.
const LIST_KEPT: usize = 4096;

/// The one writer's view of the pages.
#[derive(Debug)]
pub(crate) struct TxnPages {
    /// Ends before the writer's seat is free.
    pub(super) spill: Spill,
    pub(crate) writer: WriterGuard,
    epoch: Epoch,
    /// An index of the arena beyond which growth is told.
    expected: u32,
}

impl TxnPages {
    /// Waits for the writer's seat.
    pub(crate) fn new(store: &Arc<Store>) -> TxnPages {
        let writer = WriterGuard::take(store);
        TxnPages {
            expected: writer.arena.fresh(),
            epoch: writer.tip.epoch.next(),
            spill: Spill::default(),
            writer,
        }
    }

    #[inline]
    fn memory(&self) -> &PageMemory {
        &self.writer.store().memory
    }

    /// Frees everything that was allocated.
    pub(crate) fn roll_back(&mut self) {
        let Writer { lists, arena, .. } = &mut *self.writer;
        for (index, count) in lists.allocated.drain(..) {
            if !mutation::is(Mutation::RolledBackPageLost) {
                arena.free(index, count);
            }
        }
        lists.clear();
        self.give_up_spilled();
    }

    /// Hands over what was retired. Pages born after `floor` were never published and never will
    /// be, so they are free at once.
    pub(crate) fn keep(&mut self, floor: Epoch) {
        let writer = &mut *self.writer;
        let Lists { spare, spare_units, spare_runs, retired, .. } = &mut writer.lists;
        for index in spare_units.drain(..) {
            writer.arena.free(index, 1);
        }
        for index in spare.drain(..) {
            writer.arena.free(index, ARENA_UNITS);
        }
        for (index, count) in spare_runs.drain(..) {
            writer.arena.free(index, count);
        }
        for retired in retired.drain(..) {
            if !retired.id.is_arena() {
                writer.freed.push(retired);
            } else if retired.born > floor {
                writer.arena.free(retired.id.index(), retired.count);
            } else {
                writer.arena.retire(retired);
            }
        }
        writer.lists.allocated.clear();
        self.spill.end(&mut writer.lent, Some(self.epoch));
    }

    /// Takes units of the arena.
    fn take(&mut self, count: u32) -> Result<u32> {
        let arena = &mut self.writer.arena;
        let index = arena.allocate(count).or_else(|| {
            // There may be room that only has to be joined.
            let _nothing_to_give_back = arena.coalesce(u32::MAX);
            arena.allocate(count)
        });
        let index = index.ok_or_else(|| {
            let bytes = u64::from(self.writer.arena.used()) * self.memory().unit_bytes() as u64;
            let reason = format!("{bytes} bytes are in use");
            Error::from(ErrorKind::Full { what: "transaction memory", reason })
        })?;
        self.writer.lists.allocated.push((index, count));
        // A large transaction grows the arena by itself.
        if index >= self.expected {
            self.writer.store().expect_growth(index);
            self.expected = self.writer.store().find_memory_now(index, count);
        }
        Ok(index)
    }

    /// Retires pages of the file, or units of the arena, that are not owned.
    fn retire_earlier(&mut self, id: PageId, count: u32, born: Epoch) {
        self.writer.lists.retired.push(Retired { id, count, born, freed: self.epoch });
    }

    /// Retires what a checkpoint has copied to the file: the base of an overlay too.
    pub(crate) fn retire_moved(&mut self, id: PageId, units: u32, born: Epoch) -> Result<()> {
        self.retire_earlier(id, units, born);
        match id.is_overlay() {
            true => self.retire(overlay::base(self.memory().bytes(id, 1)), 1),
            false => Ok(()),
        }
    }

    /// Retires the copy in the file of a page that an overlay was laid over meanwhile: no root that
    /// readers see has ever reached it.
    pub(crate) fn retire_copy(&mut self, copy: PageId) {
        self.retire_earlier(copy, 1, self.epoch);
    }

    /// Retires an overlay, of which the base stays.
    fn retire_overlay(&mut self, id: PageId) {
        match self.is_owned(id) {
            true => self.writer.lists.spare_units.push(id.index()),
            false => self.retire_earlier(id, 1, self.born(id)),
        }
    }

    fn born(&self, id: PageId) -> Epoch {
        Header::read(self.memory().bytes(id, 1)).born
    }

    /// The birth of a run in the file that was not verified: zero, which pins the longest. But a
    /// reader that is older than the newest checkpoint would so keep each run that is replaced,
    /// those included that it cannot see. Beside one the header is read, and believed: where it is
    /// damaged the run is, and whoever reads that is told so by its checksum.
    #[cold]
    fn born_unverified(&self, id: PageId, pages: u32) -> Epoch {
        let store = self.writer.store();
        let newest = Epoch(store.gauges.checkpoint_epoch.load(Ordering::Relaxed));
        if !store.readers.has_before(newest) {
            return Epoch(0);
        }
        let mut bytes = [0; PAGE_HEADER_BYTES];
        let offset = u64::from(id.index()) * self.page_bytes() as u64;
        let header = match store.memory.file().read_at(&mut bytes, offset) {
            Ok(()) => Header::read(&bytes),
            Err(_) => return Epoch(0),
        };
        let is_run = header.kind == PageKind::Overflow as u8 && header.pages == pages;
        if is_run && header.born <= newest { header.born } else { Epoch(0) }
    }
}

impl Drop for TxnPages {
    fn drop(&mut self) {
        let lists = &mut self.writer.lists;
        if lists.allocated.capacity().max(lists.retired.capacity()) > LIST_KEPT {
            *lists = Lists::default();
        }
        lists.clear();
    }
}

impl Pages for TxnPages {
    #[inline]
    fn page_bytes(&self) -> usize {
        self.memory().page_bytes()
    }

    #[inline]
    fn page(&self, page: PageRef) -> Result<&[u8]> {
        self.memory().page(page)
    }

    #[inline]
    fn expect(&self, page: PageRef) {
        self.memory().expect(page);
    }

    #[inline]
    fn expect_whole(&self, page: PageRef) {
        self.memory().expect_whole(page);
    }

    fn read_ahead(&self, pages: &[Range<u32>]) {
        self.memory().read_ahead(pages);
    }

    fn run(&self, run: PageRef, value_len: u32) -> Result<&[u8]> {
        self.memory().run(run, value_len)
    }

    #[cold]
    fn damaged(&self, page: PageRef, expected: &str, found: String) -> Error {
        self.memory().damaged(page, expected, found)
    }
}

impl PagesMut for TxnPages {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn allocate(&mut self, count: u32) -> Result<PageId> {
        if count == 1
            && let Some(index) = self.writer.lists.spare.pop()
        {
            return Ok(PageId::arena(index));
        }
        Ok(PageId::arena(self.take(count * ARENA_UNITS)?))
    }

    fn place_built(&mut self, fill: &mut dyn FnMut(&mut [u8])) -> Result<PageRef> {
        self.place_unchanging(fill)
    }

    #[inline]
    fn is_owned(&self, id: PageId) -> bool {
        id.is_arena() && self.born(id) == self.epoch
    }

    fn copy_page(&mut self, page: PageRef) -> Result<PageId> {
        let (epoch, id) = (self.epoch, self.allocate(1)?);
        let (memory, content) = (self.memory(), self.memory().page(page)?);
        let copy = memory.arena_bytes_mut(id, 1);
        if page.id.is_overlay() {
            overlay::write_whole(content, memory.page(overlay::base(content))?, copy, epoch);
        } else {
            copy_live(content, copy);
            set_born(copy, epoch);
        }
        Ok(id)
    }

    fn lay_over(&mut self, leaf: PageRef, need: usize) -> Result<Option<PageId>> {
        let index = match self.writer.lists.spare_units.pop() {
            Some(index) => index,
            None => self.take(1)?,
        };
        let (epoch, id) = (self.epoch, PageId::overlay(index));
        let (memory, content) = (self.memory(), self.memory().page(leaf)?);
        let copy = memory.arena_bytes_mut(id, 1);
        if !overlay::lay(content, leaf, copy, need, epoch) {
            self.writer.lists.spare_units.push(index);
            return Ok(None);
        }
        if leaf.id.is_overlay() {
            self.retire_overlay(leaf.id);
        }
        Ok(Some(id))
    }

    fn leaf_mut(&mut self, leaf: PageRef) -> Result<LeafMut<'_>> {
        let memory = self.memory();
        let bytes = memory.arena_bytes_mut(leaf.id, 1);
        if !leaf.id.is_overlay() {
            return Ok(LeafMut::new(bytes));
        }
        let base = memory.page(overlay::base(bytes))?;
        Ok(LeafMut::over(bytes, base))
    }

    #[inline]
    fn page_mut(&mut self, id: PageId, count: u32) -> &mut [u8] {
        self.memory().arena_bytes_mut(id, count)
    }

    fn retire(&mut self, page: PageRef, count: u32) -> Result<()> {
        if page.id.is_overlay() {
            let base = overlay::base(self.memory().page(page)?);
            self.retire_overlay(page.id);
            return self.retire(base, 1);
        }
        if self.is_owned(page.id) {
            match count {
                1 => self.writer.lists.spare.push(page.id.index()),
                _ => self.writer.lists.spare_runs.push((page.id.index(), count * ARENA_UNITS)),
            }
            return Ok(());
        }
        let born = match page.id.is_arena() || self.memory().is_verified(page.id) {
            true => self.born(page.id),
            false => {
                let spilled_at = self.spilled_at(page.id);
                spilled_at.unwrap_or_else(|| self.born_unverified(page.id, count))
            }
        };
        let count = if page.id.is_arena() { count * ARENA_UNITS } else { count };
        self.retire_earlier(page.id, count, born);
        Ok(())
    }
}
