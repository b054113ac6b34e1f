//! A file that becomes longer: by whole extents, and never across a cluster's fixed pages.

use std::ops::Range;

use super::super::memory::PageMemory;
use super::super::space_group::{Extent, Group, is_busy, set};
use super::super::space_pages::{DirectoryRef, GroupEntry};
use super::SpaceMap;
use crate::error::{Error, ErrorKind, Result};

/// The file grows by an eighth, but by no less than so many pages, unless told.
const GROWTH_PAGES_MIN: u32 = 16;

/// How the file may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Growth {
    /// By no more pages at a time, unless told.
    pub(crate) step_max: u32,
    /// To no more pages, but for what was committed.
    pub(crate) pages_max: u32,
}

impl Default for Growth {
    fn default() -> Growth {
        Growth { step_max: 2048, pages_max: u32::MAX }
    }
}

impl SpaceMap {
    /// Makes the file longer, so that `count` adjoining pages are free at its end, and where it is
    /// large up to `more` besides: they are allocated on disk before the map knows them. Fails with
    /// `Full` and changes nothing where the disk, or the largest file there may be, has no room.
    pub(crate) fn make_room(&mut self, memory: &PageMemory, count: u32, more: u32) -> Result<()> {
        let present = self.file_pages;
        let step = self.growth_step().min(more);
        let too_long =
            |what: String| Err(Error::from(ErrorKind::Full { what: "data file", reason: what }));
        let Some(needed) = self.growth_for(count) else {
            return too_long(format!("no cluster has room for {count} adjoining pages"));
        };
        let pages_max = memory.file_pages_max();
        let add = needed.max(self.growth_in_cluster(needed + step));
        // Beyond what the file is meant to have it grows by no more than is needed now.
        let add = add.min(self.growth.pages_max.saturating_sub(present)).max(needed);
        let add = add.min(pages_max.saturating_sub(present));
        if add < needed {
            return too_long(format!("it may have {pages_max} pages"));
        }
        let bytes = u64::from(present + add) * memory.page_bytes() as u64;
        memory.file().allocate(bytes).map_err(|e| Error::io("allocate", memory.path(), e))?;
        self.file_length = self.file_length.max(present + add);
        self.grow(memory, add)
    }

    /// How many pages more a file of this length gets at a time.
    pub(super) fn growth_step(&self) -> u32 {
        let step_max = self.growth.step_max.max(GROWTH_PAGES_MIN);
        (self.file_pages / 8).clamp(GROWTH_PAGES_MIN, step_max)
    }

    /// True when the file may not become so much longer that `count` adjoining pages are free.
    pub(super) fn is_at_its_end(&self, count: u32) -> bool {
        let needed = self.growth_for(count).unwrap_or(u32::MAX);
        self.file_pages.saturating_add(needed) > self.growth.pages_max
    }

    /// Adds `count` free pages at the end of the file, the fixed pages of new groups apart.
    pub(super) fn grow(&mut self, memory: &PageMemory, count: u32) -> Result<()> {
        // The last group gains pages: it must be known before it is changed.
        self.load(memory, self.file_pages - 1)?;
        self.extend(count);
        Ok(())
    }

    pub(super) fn extend(&mut self, count: u32) {
        let geometry = self.geometry();
        let (from, to) = (self.file_pages, self.file_pages + count);
        let words = geometry.group_pages() as usize / 64;
        for index in geometry.groups(from)..geometry.groups(to) {
            let zeros = || vec![0u64; words];
            let mut group =
                Group { current: zeros(), metas: [zeros(), zeros()], held: zeros(), dirty: true };
            for page in 0..geometry.fixed_pages(index) {
                set(&mut group.current, page);
            }
            self.groups.insert(index, group);
            self.entries.push(GroupEntry::default());
            if index.is_multiple_of(geometry.directory_groups()) {
                self.directories.push(DirectoryRef::default());
            }
        }
        self.file_pages = to;
        // Free counts are those of pages within the file.
        let first = from / geometry.group_pages();
        for index in first..geometry.groups(to) {
            let start = index * geometry.group_pages();
            let fixed = geometry.fixed_pages(index);
            let before = from.saturating_sub(start).min(geometry.group_pages()).max(fixed);
            let after = (to - start).min(geometry.group_pages());
            self.entries[index as usize].free += after.saturating_sub(before);
            if let Some(group) = self.groups.get_mut(&index) {
                // Its directory tells the free pages, also when none of them is taken.
                group.dirty = true;
            }
        }
        // Where not all was scanned the new pages are found as others are, and else not again.
        if self.scanned == geometry.groups(from) {
            self.scanned = geometry.groups(to);
            self.extents.extend(self.grown_extent(from, to));
            self.order_extents();
        }
    }

    /// The grown pages of the last cluster, as one extent: growth is asked for so that it does not
    /// span clusters, see [`SpaceMap::growth_for`].
    fn grown_extent(&self, from: u32, to: u32) -> Option<Extent> {
        let geometry = self.geometry();
        let first = geometry.cluster((to - 1) / geometry.group_pages()).start;
        let fixed_end = first * geometry.group_pages() + geometry.fixed_pages(first);
        let start = from.max(fixed_end);
        (start < to).then(|| Extent { start, count: to - start })
    }

    /// How many pages to add so that the file ends with at least `count` adjoining free ones, of
    /// which none is a fixed page. `None` when a run of `count` does not fit in any cluster.
    pub(super) fn growth_for(&self, count: u32) -> Option<u32> {
        let geometry = self.geometry();
        let cluster = geometry.cluster(self.file_pages / geometry.group_pages());
        let room = |cluster: &Range<u32>| {
            let first = cluster.start * geometry.group_pages();
            let start = (first + geometry.fixed_pages(cluster.start)).max(self.file_pages);
            let end = cluster.end * geometry.group_pages();
            (end - start >= count).then_some(start + count - self.file_pages)
        };
        room(&cluster).or_else(|| room(&geometry.cluster(cluster.end)))
    }

    /// `count` pages of growth, or less where a new cluster would begin.
    fn growth_in_cluster(&self, count: u32) -> u32 {
        let geometry = self.geometry();
        let cluster = geometry.cluster(self.file_pages / geometry.group_pages());
        count.min(cluster.end * geometry.group_pages() - self.file_pages)
    }

    /// Makes the file as long again as it was before it grew for pages that were lent, if none of
    /// the new ones is needed.
    pub(crate) fn shorten(&mut self, memory: &PageMemory) {
        let Some(to) = self.grown_from.filter(|to| *to < self.file_pages) else { return };
        let (geometry, from) = (self.geometry(), self.file_pages);
        let group_pages = geometry.group_pages();
        let is_needed = |page: u32| {
            let group = self.groups.get(&(page / group_pages));
            !self.is_fixed(page) && group.is_none_or(|group| is_busy(group, page % group_pages))
        };
        if (to..from).any(is_needed) {
            return;
        }
        self.forget_tail(to);
        self.cut_file(memory);
    }
}
