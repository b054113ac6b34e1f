//! What a compaction does within a transaction.

use std::sync::Arc;

use crate::error::Result;
use crate::ids::{PageId, PageRef};
use crate::page::overflow;
use crate::pager::Extent;
use crate::tree::{self, Pages, Tree, Window, Wish};

use super::pages::TxnPages;
use super::spill::{WRITE_BYTES, failed};
use super::store::{Store, WriterGuard};
use super::write::WriteTxn;

impl WriteTxn {
    /// Compacts some leaves of the innermost bucket. REQUIRES: the transaction is not logged.
    pub(crate) fn compact_here(&mut self, from: &[u8], wish: &Wish) -> Result<Window> {
        let level = self.levels.last_mut().expect("invariant: the root level is always open");
        let compacted = tree::compact(&mut self.pages, &mut level.tree, from, wish);
        // A bucket whose pages stay where they are keeps its record.
        level.dirty |= !matches!(&compacted, Ok(window) if window.written == 0);
        self.note_failure(compacted)
    }
}

impl WriteTxn {
    /// Compacts some leaves of the list of expiries, and the bucket that it is in. REQUIRES: as
    /// [`WriteTxn::compact_here`].
    pub(crate) fn compact_due(&mut self, from: &[u8], wish: &Wish) -> Result<Window> {
        let list = self.due()?;
        let mut tree = Tree { root: list.root, entries: list.entries };
        let window = tree::compact(&mut self.pages, &mut tree, from, wish)?;
        if window.written > 0 {
            self.set_due(tree, list.sequence);
        }
        // A page or two: what was dropped is freed before.
        let around = tree::compact(&mut self.pages, &mut self.system.tree, &[], wish)?;
        Ok(Window { written: window.written + around.written, ..window })
    }
}

impl TxnPages {
    /// Takes over a copy that [`Store::copy_run`] has made; it is given up with the transaction.
    /// Returns both, as a [`Wish`] wants them.
    pub(crate) fn refer_to(&mut self, copy: Extent, run: PageRef) -> (PageRef, PageRef) {
        self.spill.note_run(copy);
        (run, PageRef { id: PageId(copy.start), ..run })
    }
}

impl Store {
    /// Copies a run of the file to the first place before it that has room, which is lent; `None`
    /// where there is none. REQUIRES: the caller is a reader, so that the run stays as it is.
    pub(crate) fn copy_run(
        self: &Arc<Store>,
        run: PageRef,
        value_len: u32,
    ) -> Result<Option<Extent>> {
        let count = overflow::run_pages(value_len, self.memory.page_bytes());
        // Verified before it is copied.
        self.memory.run(run, value_len)?;
        let Some(copy) = self.lend_before(run.id.index(), count)? else { return Ok(None) };
        self.memory.forget(copy.start, count);
        let bytes = self.memory.bytes(run.id, count);
        let mut offset = u64::from(copy.start) * self.memory.page_bytes() as u64;
        for piece in bytes.chunks(WRITE_BYTES) {
            self.memory.file().write_at(piece, offset).map_err(|error| failed(self, error))?;
            offset += piece.len() as u64;
        }
        Ok(Some(copy))
    }

    fn lend_before(self: &Arc<Store>, page: u32, count: u32) -> Result<Option<Extent>> {
        let given_up = WriterGuard::take(self).lent.take_given_up();
        let mut file = self.file_state.lock();
        file.space.take_back(&given_up);
        self.check_poison()?;
        let erased = file.erase_torn_meta(&self.memory);
        erased.inspect_err(|error| self.poison(error))?;
        file.space.lend_before(&self.memory, page, count)
    }
}
