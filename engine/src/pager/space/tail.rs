//! A file that becomes shorter: free pages at its end go.
//!
//! In two steps. First the map gives them up, so that the next meta page counts fewer pages; when
//! both meta pages do, the file is cut. So whichever of them the next open takes, the file is as
//! long as that one says. Where the middle of the file is to be emptied too, the ceiling keeps
//! new content below it.

use super::super::memory::PageMemory;
use super::super::space_group::{Extent, last_busy};
use super::SpaceMap;
use crate::error::Result;
use crate::mutation::{self, Mutation};

impl SpaceMap {
    /// Lets pages from `ceiling` on be handed out only when there is no other.
    pub(crate) fn prefer_below(&mut self, ceiling: Option<u32>) {
        self.ceiling = ceiling.unwrap_or(u32::MAX);
        // They are found again, in the other order.
        self.extents.clear();
        self.scanned = 0;
    }

    /// True when the free extents below the ceiling are not all found yet.
    pub(super) fn has_more_below_ceiling(&self) -> bool {
        let below = self.ceiling.min(self.file_pages);
        self.ceiling != u32::MAX && self.scanned * self.geometry().group_pages() < below
    }

    /// Puts the best extent last: the longest below the ceiling, or else the first above it. None
    /// has pages on both sides.
    pub(super) fn order_extents(&mut self) {
        let ceiling = self.ceiling;
        let mut above = Vec::new();
        for extent in &mut self.extents {
            let end = extent.start + extent.count;
            if extent.start < ceiling && ceiling < end {
                extent.count = ceiling - extent.start;
                above.push(Extent { start: ceiling, count: end - ceiling });
            }
        }
        self.extents.append(&mut above);
        self.extents.sort_unstable_by_key(|extent| match extent.start < ceiling {
            true => (true, extent.count, u32::MAX - extent.start),
            false => (false, u32::MAX - extent.start, 0),
        });
    }

    /// Gives up the free pages at the end of the file: all of them under a ceiling, and else, if
    /// they are many, all but those of the next growth. A page that a meta page or a reader needs
    /// is not free.
    pub(crate) fn trim(&mut self, memory: &PageMemory) {
        // Where the map cannot be read, whoever needs that part of it tells.
        let Ok(end) = self.used_end(memory) else { return };
        let kept = if self.ceiling == u32::MAX { self.growth_step() } else { 0 };
        let to = self.end_with(end, kept);
        if to < self.file_pages && self.file_pages - to >= kept {
            self.forget_tail(to);
        }
    }

    /// The end of the last page that is in use.
    fn used_end(&mut self, memory: &PageMemory) -> Result<u32> {
        let geometry = self.geometry();
        let mut end = self.file_pages;
        while end > geometry.first_pages() {
            let index = (end - 1) / geometry.group_pages();
            let start = index * geometry.group_pages();
            self.load(memory, start)?;
            let bits = geometry.fixed_pages(index)..end - start;
            if let Some(bit) = last_busy(&self.groups[&index], bits) {
                return Ok(start + bit + 1);
            }
            end = start;
        }
        Ok(geometry.first_pages())
    }

    /// The end of a file with `more` pages behind `end`: none where the next cluster would begin.
    fn end_with(&self, end: u32, more: u32) -> u32 {
        let geometry = self.geometry();
        let first = geometry.cluster((end - 1) / geometry.group_pages());
        end.saturating_add(more).min(first.end * geometry.group_pages())
    }

    /// Makes the map end at `to`. REQUIRES: nobody needs a page behind that.
    pub(super) fn forget_tail(&mut self, to: u32) {
        let (geometry, from) = (self.geometry(), self.file_pages);
        let kept = geometry.groups(to);
        self.groups.retain(|&index, _| index < kept);
        self.entries.truncate(kept as usize);
        self.directories.truncate(kept.div_ceil(geometry.directory_groups()) as usize);
        if let Some(last) = kept.checked_sub(1) {
            let end = from.min(kept * geometry.group_pages());
            self.entries[last as usize].free -= end - to;
            if let Some(group) = self.groups.get_mut(&last) {
                // Its directory tells the free pages.
                group.dirty = true;
            }
        }
        self.file_pages = to;
        (self.grown_from, self.scanned) = (None, 0);
        self.extents.clear();
    }

    /// Cuts off the file what neither this map nor a meta page counts.
    pub(crate) fn cut_file(&mut self, memory: &PageMemory) {
        let mut pages = self.file_pages;
        if !mutation::is(Mutation::TailCutEarly) {
            pages = pages.max(self.meta_pages[0]).max(self.meta_pages[1]);
        }
        if pages >= self.file_length {
            return;
        }
        let bytes = u64::from(pages) * memory.page_bytes() as u64;
        // Where damage leads there it is to be read again, which tells that it is not there.
        memory.forget(pages, self.file_length.min(memory.file_pages_max()).saturating_sub(pages));
        // A longer file than the map knows does no harm.
        if memory.file().set_len(bytes).is_ok() {
            self.file_length = pages;
        }
    }
}
