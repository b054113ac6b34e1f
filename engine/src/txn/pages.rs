//! The pages of one write transaction: copies in the arena, and what they replace.
//!
//! Invariants:
//! 1. Only pages born in this transaction are changed in place.
//! 2. Nothing outside this transaction changes before it commits: a rollback frees every page it
//!    allocated and forgets what it retired.

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Epoch, PageId, PageRef};
use crate::mutation::{self, Mutation};
use crate::page::copy_live;
use crate::page::header::{Header, set_born};
use crate::pager::{PageMemory, Retired};
use crate::tree::{Pages, PagesMut};
use std::sync::Arc;

use super::seat::Lists;
use super::store::{Store, WriterGuard};

/// Lists of more pages than this are not kept for the next transaction.
const LIST_KEPT: usize = 4096;

/// The one writer's view of the pages.
#[derive(Debug)]
pub(crate) struct TxnPages {
    pub(crate) writer: WriterGuard,
    epoch: Epoch,
    lists: Lists,
}

impl TxnPages {
    /// Waits for the writer's seat.
    pub(crate) fn new(store: &Arc<Store>) -> TxnPages {
        let mut writer = WriterGuard::take(store);
        TxnPages {
            epoch: writer.tip.epoch.next(),
            lists: std::mem::take(&mut writer.lists),
            writer,
        }
    }

    #[inline]
    fn memory(&self) -> &PageMemory {
        &self.writer.store().memory
    }

    /// Frees everything that was allocated.
    pub(crate) fn roll_back(&mut self) {
        for (index, count) in std::mem::take(&mut self.lists.allocated) {
            if !mutation::is(Mutation::RolledBackPageLost) {
                self.writer.arena.free(index, count);
            }
        }
        self.lists.spare.clear();
        self.lists.spare_runs.clear();
        self.lists.retired.clear();
    }

    /// Hands over what was retired. Pages born after `floor` were never published and never will
    /// be, so they are free at once.
    pub(crate) fn keep(&mut self, floor: Epoch) {
        let writer = &mut *self.writer;
        let Lists { spare, spare_runs, retired, .. } = &mut self.lists;
        for index in spare.drain(..) {
            writer.arena.free(index, 1);
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
        self.lists.allocated.clear();
    }

    /// Notes that pages of an earlier transaction are no longer reached.
    fn retire_earlier(&mut self, id: PageId, count: u32, born: Epoch) {
        self.lists.retired.push(Retired { id, count, born, freed: self.epoch });
    }

    /// Retires an arena page whose content goes on living in the file.
    pub(crate) fn retire_moved(&mut self, id: PageId, count: u32, born: Epoch) {
        self.retire_earlier(id, count, born);
    }

    fn born(&self, id: PageId) -> Epoch {
        Header::read(self.memory().bytes(id, 1)).born
    }
}

impl Drop for TxnPages {
    fn drop(&mut self) {
        let mut lists = std::mem::take(&mut self.lists);
        if lists.allocated.capacity() <= LIST_KEPT && lists.retired.capacity() <= LIST_KEPT {
            lists.allocated.clear();
            lists.spare.clear();
            lists.spare_runs.clear();
            lists.retired.clear();
            self.writer.lists = lists;
        }
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
            && let Some(index) = self.lists.spare.pop()
        {
            return Ok(PageId::arena(index));
        }
        let index = self.writer.arena.allocate(count).ok_or_else(|| {
            Error::from(ErrorKind::Full {
                what: "transaction memory",
                reason: format!("{} pages are in use", self.writer.arena.used()),
            })
        })?;
        self.lists.allocated.push((index, count));
        Ok(PageId::arena(index))
    }

    #[inline]
    fn is_owned(&self, id: PageId) -> bool {
        id.is_arena() && self.born(id) == self.epoch
    }

    fn copy_page(&mut self, page: PageRef) -> Result<PageId> {
        let (epoch, id) = (self.epoch, self.allocate(1)?);
        let content = self.memory().page(page)?;
        let copy = self.memory().arena_bytes_mut(id, 1);
        copy_live(content, copy);
        set_born(copy, epoch);
        Ok(id)
    }

    #[inline]
    fn page_mut(&mut self, id: PageId, count: u32) -> &mut [u8] {
        self.memory().arena_bytes_mut(id, count)
    }

    fn retire(&mut self, page: PageRef, count: u32) -> Result<()> {
        if self.is_owned(page.id) {
            match count {
                1 => self.lists.spare.push(page.id.index()),
                _ => self.lists.spare_runs.push((page.id.index(), count)),
            }
            return Ok(());
        }
        // What was never read may hold anything: zero is the birth that pins the longest.
        let born = match page.id.is_arena() || self.memory().is_verified(page.id) {
            true => self.born(page.id),
            false => Epoch(0),
        };
        self.retire_earlier(page.id, count, born);
        Ok(())
    }
}
