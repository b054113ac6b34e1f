//! Pages lent to transactions, which write them before any checkpoint has them.
//!
//! They are free for the map on disk, so that a crash leaves nothing to be tidied up, and held in
//! memory, so that no checkpoint hands them out. The first checkpoint whose root may reach them
//! marks them as used; what a transaction gave up is taken back.

use super::super::memory::PageMemory;
use super::super::space_group::{Extent, Group, clear, is_busy, is_set, set};
use super::SpaceMap;
use crate::error::{Error, ErrorKind, Result};
use crate::mutation::{self, Mutation};

impl SpaceMap {
    /// Lends up to `want` adjoining pages that nobody needs, or with `exact` all of them. Makes the
    /// file longer where it has none.
    pub(crate) fn lend(&mut self, memory: &PageMemory, want: u32, exact: bool) -> Result<Extent> {
        let lent = match self.cut(memory, want, exact)? {
            Some(lent) => lent,
            None if self.is_at_its_end(want) => {
                let reason = format!("it may have {} pages", self.growth.pages_max);
                return Err(Error::from(ErrorKind::Full { what: "data file", reason }));
            }
            None => {
                self.grown_from.get_or_insert(self.file_pages);
                self.make_room(memory, want, 0)?;
                self.cut(memory, want, exact)?.expect("invariant: the file has grown")
            }
        };
        self.hold(lent);
        Ok(lent)
    }

    /// Lends adjoining pages at the first place before `page` that has so many.
    pub(crate) fn lend_before(
        &mut self,
        memory: &PageMemory,
        page: u32,
        want: u32,
    ) -> Result<Option<Extent>> {
        while self.scan_next(memory)? {}
        let fits = |extent: &Extent| extent.count >= want && extent.start + want <= page;
        let fitting = self.extents.iter().enumerate().filter(|(_, extent)| fits(extent));
        let Some((index, _)) = fitting.min_by_key(|(_, extent)| extent.start) else {
            return Ok(None);
        };
        let lent = self.cut_at(index, want);
        self.hold(lent);
        Ok(Some(lent))
    }

    fn hold(&mut self, lent: Extent) {
        self.for_each(lent, |group, bit| {
            assert!(!is_busy(group, bit), "a page is lent while in use");
            if !mutation::is(Mutation::LentNotHeld) {
                set(&mut group.held, bit);
            }
            0
        });
    }

    /// Takes lent pages back that no root reaches.
    pub(crate) fn take_back(&mut self, lent: &[Extent]) {
        if !lent.is_empty() {
            // They are found again.
            self.extents.clear();
            self.scanned = 0;
        }
        for extent in lent {
            self.for_each(*extent, |group, bit| {
                clear(&mut group.held, bit);
                0
            });
        }
    }

    /// Marks lent pages as used. Those that are marked already stay so: a checkpoint that was given
    /// up may have begun with them.
    pub(super) fn settle(&mut self, lent: &[Extent]) {
        if mutation::is(Mutation::LentNotSettled) {
            return;
        }
        for extent in lent {
            self.for_each(*extent, |group, bit| {
                let was_free = !is_set(&group.current, bit);
                set(&mut group.current, bit);
                clear(&mut group.held, bit);
                group.dirty = true;
                u32::from(was_free)
            });
        }
    }

    /// Does something with each page; it tells how many free ones are less.
    fn for_each(&mut self, extent: Extent, mut work: impl FnMut(&mut Group, u32) -> u32) {
        let group_pages = self.geometry().group_pages();
        for page in extent.start..extent.start + extent.count {
            let index = page / group_pages;
            let group = self.groups.get_mut(&index).expect("invariant: it was lent from there");
            self.entries[index as usize].free -= work(group, page % group_pages);
        }
    }
}
