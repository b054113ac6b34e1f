//! The space map: which pages of the data file are free. Checkpoints write it; they and large
//! transactions take pages.
//!
//! The file is divided into groups, each with three copies of its bitmap page: one bit a page,
//! set when in use. Group 0 has its own at its start, behind the two meta pages; after it sixteen
//! groups make a cluster and have theirs at the cluster's start. Every so many groups a directory
//! page, in three copies too, holds the checksum, free count and current copy of each group's
//! bitmap; a meta page holds the same of the directories. A checkpoint writes only the bitmaps it
//! changed, each to a copy that neither meta page refers to.
//!
//! Invariants:
//! 1. The map written with a root marks exactly the pages that root reaches, and the fixed pages.
//! 2. A page is handed out only if it is free for the root being written and for both meta pages,
//!    and no reader holds it. So three bitmaps are kept of each loaded group, and a set of pages
//!    held by readers.
//! 3. Groups are loaded when first needed: opening costs nothing in proportion to the file.

mod growth;
mod lent;
mod tail;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::error::{Error, Result};
use crate::ids::Epoch;
use crate::mutation::{self, Mutation};

pub(crate) use growth::Growth;

use super::memory::PageMemory;
use super::meta::Meta;
pub(crate) use super::space_group::Extent;
use super::space_group::{Group, clear, collect_free, is_busy, is_set, set};
use super::space_pages::{
    COPIES, DirectoryRef, Geometry, GroupEntry, encode_bitmap, encode_directory, read_entries,
    read_older_bitmap, read_sound_bitmap,
};
use super::waiting::{Retired, pinned};

/// The file's free space.
#[derive(Debug)]
pub(crate) struct SpaceMap {
    page_bytes: usize,
    /// Pages in the file; those beyond are neither free nor in use.
    file_pages: u32,
    /// Entries for the next checkpoint.
    entries: Vec<GroupEntry>,
    /// Entries as each of the two meta pages knows them.
    meta_entries: [Vec<GroupEntry>; 2],
    directories: Vec<DirectoryRef>,
    meta_directories: [Vec<DirectoryRef>; 2],
    groups: BTreeMap<u32, Group>,
    /// Free for the map, held by readers.
    held: Vec<Retired>,
    /// Free for the map, held because overlays in the newest tree are laid over them: until a
    /// transaction retires them.
    vacated: BTreeSet<u32>,
    /// Free extents that were found since the last checkpoint began or ended, the best last.
    extents: Vec<Extent>,
    /// How long the file was before it grew for lent pages, if it did since the last checkpoint.
    grown_from: Option<u32>,
    /// Pages from here on are handed out only when there is no other.
    ceiling: u32,
    growth: Growth,
    /// Pages as each of the two meta pages counts them, and as many as the file has room for.
    meta_pages: [u32; 2],
    file_length: u32,
    /// First group whose free extents are not in `extents` yet.
    scanned: u32,
}

impl SpaceMap {
    /// The map of a file that holds nothing but its fixed pages. Nothing is written yet.
    pub(crate) fn empty(page_bytes: usize) -> SpaceMap {
        let geometry = Geometry::new(page_bytes);
        let mut map = SpaceMap {
            page_bytes,
            file_pages: 0,
            entries: Vec::new(),
            meta_entries: [Vec::new(), Vec::new()],
            directories: Vec::new(),
            meta_directories: [Vec::new(), Vec::new()],
            groups: BTreeMap::new(),
            held: Vec::new(),
            vacated: BTreeSet::new(),
            extents: Vec::new(),
            grown_from: None,
            ceiling: u32::MAX,
            growth: Growth::default(),
            meta_pages: [0; 2],
            file_length: geometry.first_pages(),
            scanned: 0,
        };
        map.extend(geometry.first_pages());
        map
    }

    /// The map that the newest meta page refers to. The other page's map is needed to keep what it
    /// reaches; where it is damaged that page is of no use any more.
    pub(crate) fn open(memory: &PageMemory, newest: &Meta, other: Option<&Meta>) -> Result<Self> {
        let mut map = SpaceMap::empty(newest.page_bytes);
        map.groups.clear();
        map.extents.clear();
        map.scanned = 0;
        map.file_pages = newest.file_pages;
        map.meta_pages[newest.slot()] = newest.file_pages;
        let bytes = memory.file().len().map_err(|e| Error::io("read", memory.path(), e))?;
        map.file_length = u32::try_from(bytes / newest.page_bytes as u64).unwrap_or(u32::MAX);
        map.entries = read_entries(memory, newest.file_pages, &newest.directories)?;
        map.directories = newest.directories.clone();
        map.meta_entries[newest.slot()] = map.entries.clone();
        map.meta_directories[newest.slot()] = map.directories.clone();
        if let Some(other) = other
            && let Ok(entries) = read_entries(memory, other.file_pages, &other.directories)
        {
            map.meta_pages[other.slot()] = other.file_pages;
            map.meta_entries[other.slot()] = entries;
            map.meta_directories[other.slot()] = other.directories.clone();
        }
        Ok(map)
    }

    /// Says how the file may grow.
    pub(crate) fn set_growth(&mut self, growth: Growth) {
        self.growth = growth;
    }

    fn geometry(&self) -> Geometry {
        Geometry::new(self.page_bytes)
    }

    /// Pages in the file.
    pub(crate) fn file_pages(&self) -> u32 {
        self.file_pages
    }

    /// Free pages, those held by readers or by an older checkpoint included.
    pub(crate) fn free_pages(&self) -> u64 {
        self.entries.iter().map(|entry| u64::from(entry.free)).sum()
    }

    /// Of the free pages those that are known to be held: by a meta page, readers or overlays.
    pub(crate) fn held_pages(&self) -> u64 {
        let held = |group: &Group| -> u64 {
            let words = group.current.iter().zip(&group.held).zip(&group.metas[0]);
            let words = words.zip(&group.metas[1]);
            let count = |(((current, held), one), other): (((&u64, &u64), &u64), &u64)| {
                u64::from((!current & (held | one | other)).count_ones())
            };
            words.map(count).sum()
        };
        self.groups.values().map(held).sum()
    }

    /// The directories as the next meta page shall name them.
    pub(crate) fn directories(&self) -> Vec<DirectoryRef> {
        self.directories.clone()
    }

    /// Begins a checkpoint: pages that were lent to transactions up to the root's epoch are in use,
    /// pages retired by such become free in the map, and those that readers left are no longer
    /// held.
    pub(crate) fn begin(
        &mut self,
        memory: &PageMemory,
        lent: &[Extent],
        freed: &[Retired],
        readers: &[Epoch],
    ) -> Result<()> {
        self.extents.clear();
        (self.grown_from, self.scanned) = (None, 0);
        let group_pages = self.geometry().group_pages();
        // Loaded before anything is changed: a read that fails leaves the map as it was.
        for retired in freed {
            for page in (retired.id.0..retired.id.0 + retired.count).step_by(group_pages as usize) {
                self.load(memory, page)?;
            }
            self.load(memory, retired.id.0 + retired.count - 1)?;
        }
        self.settle(lent);
        self.verify_freed(memory, freed)?;
        for retired in freed {
            self.held.push(*retired);
            if self.is_vacated(retired) {
                self.vacated.remove(&retired.id.0);
                continue;
            }
            for page in retired.id.0..retired.id.0 + retired.count {
                let (index, bit) = (page / group_pages, page % group_pages);
                let group = self.groups.get_mut(&index).expect("invariant: just loaded");
                if !mutation::is(Mutation::FreedPageLost) {
                    clear(&mut group.current, bit);
                }
                set(&mut group.held, bit);
                group.dirty = true;
                self.entries[index as usize].free += 1;
            }
        }
        self.release_held(readers);
        Ok(())
    }

    /// Refuses to free a page twice, one that is free already, or a fixed one: only a damaged file
    /// refers to such pages. The groups of all pages are loaded.
    fn verify_freed(&self, memory: &PageMemory, freed: &[Retired]) -> Result<()> {
        let mut runs: Vec<Range<u32>> =
            freed.iter().map(|retired| retired.id.0..retired.id.0 + retired.count).collect();
        runs.sort_unstable_by_key(|run| run.start);
        let twice = runs.windows(2).find(|pair| pair[0].end > pair[1].start);
        let group_pages = self.geometry().group_pages();
        let is_used = |page: u32| {
            let group = self.groups.get(&(page / group_pages));
            let is_set = group.is_some_and(|group| is_set(&group.current, page % group_pages));
            is_set && !self.is_fixed(page)
        };
        let others = freed.iter().filter(|retired| !self.is_vacated(retired));
        let mut pages = others.flat_map(|retired| retired.id.0..retired.id.0 + retired.count);
        let unused = || pages.find(|page| !is_used(*page));
        let wrong = twice.map(|pair| pair[1].start).or_else(unused);
        let (expected, found) = ("a page in use", "one that is freed twice, free or fixed");
        wrong
            .map_or(Ok(()), |page| Err(Error::corrupt(memory.path(), page.into(), expected, found)))
    }

    /// True for a page that was marked free before it was retired.
    fn is_vacated(&self, retired: &Retired) -> bool {
        retired.count == 1 && self.vacated.contains(&retired.id.0)
    }

    /// Marks a page free that the root being written does not reach, but that is still in use: an
    /// overlay in memory is laid over it. It is held until a transaction retires it.
    pub(crate) fn vacate(&mut self, memory: &PageMemory, page: u32) -> Result<()> {
        // A checkpoint that was given up may have marked it before.
        if self.vacated.contains(&page) || mutation::is(Mutation::BaseLost) {
            return Ok(());
        }
        self.load(memory, page)?;
        let group_pages = self.geometry().group_pages();
        let (index, bit) = (page / group_pages, page % group_pages);
        if self.is_fixed(page) || !is_set(&self.groups[&index].current, bit) {
            // Only a damaged file refers to such a page.
            let (expected, found) = ("a leaf in use", "one that is free or fixed");
            return Err(Error::corrupt(memory.path(), page.into(), expected, found));
        }
        let group = self.groups.get_mut(&index).expect("invariant: just loaded");
        clear(&mut group.current, bit);
        set(&mut group.held, bit);
        group.dirty = true;
        self.entries[index as usize].free += 1;
        self.vacated.insert(page);
        if mutation::is(Mutation::BaseNotHeld) {
            clear(&mut group.held, bit);
        }
        Ok(())
    }

    fn release_held(&mut self, readers: &[Epoch]) {
        let group_pages = self.geometry().group_pages();
        let groups = &mut self.groups;
        self.held.retain(|retired| {
            let pinned = retired.is_pinned(readers);
            if !pinned {
                for page in retired.id.0..retired.id.0 + retired.count {
                    if let Some(group) = groups.get_mut(&(page / group_pages)) {
                        clear(&mut group.held, page % group_pages);
                    }
                }
            }
            pinned
        });
    }

    /// How many held pages each of the readers' epochs, which ascend, can reach.
    pub(crate) fn pinned(&self, readers: &[Epoch]) -> Vec<(Epoch, u64)> {
        readers.iter().copied().zip(pinned(&self.held, readers)).collect()
    }

    /// Takes up to `want` adjoining free pages, of the longest run there is below the ceiling, or
    /// else of the first above it; `None` when the file has to grow. `exact` asks for all of them
    /// or none.
    pub(crate) fn take(
        &mut self,
        memory: &PageMemory,
        want: u32,
        exact: bool,
    ) -> Result<Option<Extent>> {
        let Some(taken) = self.cut(memory, want, exact)? else { return Ok(None) };
        let group_pages = self.geometry().group_pages();
        for page in taken.start..taken.start + taken.count {
            let (index, bit) = (page / group_pages, page % group_pages);
            let group = self.groups.get_mut(&index).expect("invariant: extents are of groups");
            assert!(!is_busy(group, bit), "page {page} is handed out while in use");
            set(&mut group.current, bit);
            group.dirty = true;
            self.entries[index as usize].free -= 1;
        }
        Ok(Some(taken))
    }

    /// Cuts what [`SpaceMap::take`] takes off the extents that were found, which are looked for
    /// where none will do. The pages are not marked.
    fn cut(&mut self, memory: &PageMemory, want: u32, exact: bool) -> Result<Option<Extent>> {
        loop {
            if self.has_more_below_ceiling() && self.scan_next(memory)? {
                continue;
            }
            let fits = match exact {
                true => self.extents.iter().rposition(|extent| extent.count >= want),
                false => self.extents.len().checked_sub(1),
            };
            if let Some(index) = fits {
                return Ok(Some(self.cut_at(index, want)));
            }
            if !self.scan_next(memory)? {
                return Ok(None);
            }
        }
    }

    /// Cuts up to `want` pages off an extent.
    fn cut_at(&mut self, index: usize, want: u32) -> Extent {
        let extent = &mut self.extents[index];
        let cut = Extent { start: extent.start, count: extent.count.min(want) };
        extent.start += cut.count;
        extent.count -= cut.count;
        if extent.count == 0 {
            self.extents.remove(index);
        }
        cut
    }

    /// Returns pages that were taken and not used.
    pub(crate) fn put_back(&mut self, extent: Extent) {
        let group_pages = self.geometry().group_pages();
        for page in extent.start..extent.start + extent.count {
            let index = page / group_pages;
            let group = self.groups.get_mut(&index).expect("invariant: it was taken from there");
            clear(&mut group.current, page % group_pages);
            self.entries[index as usize].free += 1;
        }
    }

    /// Finds the free extents of the next group that has some; false when there is none left.
    fn scan_next(&mut self, memory: &PageMemory) -> Result<bool> {
        let geometry = self.geometry();
        while self.scanned < geometry.groups(self.file_pages) {
            let index = self.scanned;
            self.scanned += 1;
            if self.entries[index as usize].free == 0 {
                continue;
            }
            let start = index * geometry.group_pages();
            self.load(memory, start)?;
            let end = (self.file_pages - start).min(geometry.group_pages());
            let group = &self.groups[&index];
            let before = self.extents.len();
            collect_free(group, start, end, &mut self.extents);
            self.join_at(start, before);
            self.order_extents();
            return Ok(true);
        }
        Ok(false)
    }

    /// Joins an extent that ends where a group begins with the group's first, which is at `index`:
    /// a long run may have both.
    fn join_at(&mut self, boundary: u32, index: usize) {
        let first = self.extents.get(index).copied();
        let Some(first) = first.filter(|extent| extent.start == boundary) else { return };
        let before = &mut self.extents[..index];
        if let Some(left) = before.iter_mut().find(|left| left.start + left.count == boundary) {
            left.count += first.count;
            self.extents.remove(index);
        }
    }

    /// Loads the group of `page` as the next checkpoint and both meta pages know it.
    fn load(&mut self, memory: &PageMemory, page: u32) -> Result<()> {
        let geometry = self.geometry();
        let index = page / geometry.group_pages();
        if self.groups.contains_key(&index) {
            return Ok(());
        }
        let Some(&entry) = self.entries.get(index as usize) else {
            let expected = format!("a page below {}", self.file_pages);
            return Err(Error::corrupt(memory.path(), u64::from(page), expected, page.to_string()));
        };
        let current = read_sound_bitmap(memory, self.file_pages, index, entry)?;
        let as_known = |entries: &[GroupEntry]| match entries.get(index as usize) {
            Some(known) if *known == entry => current.clone(),
            Some(known) => read_older_bitmap(memory, self.file_pages, index, *known),
            None => vec![0; current.len()],
        };
        let metas = [as_known(&self.meta_entries[0]), as_known(&self.meta_entries[1])];
        let held = vec![0; current.len()];
        self.groups.insert(index, Group { current, metas, held, dirty: false });
        Ok(())
    }

    /// Hands the changed bitmap and directory pages to `write`, with the page each goes to.
    pub(crate) fn write_changed(
        &mut self,
        epoch: Epoch,
        write: &mut dyn FnMut(u32, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let geometry = self.geometry();
        let mut changed = vec![false; self.directories.len()];
        let groups: Vec<u32> =
            self.groups.iter().filter(|(_, group)| group.dirty).map(|(&index, _)| index).collect();
        for index in groups {
            let at = index as usize;
            let known = |entries: &Vec<GroupEntry>| entries.get(at).map(|entry| entry.copy);
            let copy = free_copy(known(&self.meta_entries[0]), known(&self.meta_entries[1]));
            let group = &self.groups[&index];
            let page = encode_bitmap(&group.current, index, epoch, self.page_bytes);
            write(geometry.bitmap_page(index, copy), &page)?;
            self.entries[at].crc = crc32fast::hash(&page);
            self.entries[at].copy = copy;
            changed[at / geometry.directory_groups() as usize] = true;
        }
        for number in (0..self.directories.len()).filter(|&number| changed[number]) {
            let known = |refs: &Vec<DirectoryRef>| refs.get(number).map(|known| known.copy);
            let copy =
                free_copy(known(&self.meta_directories[0]), known(&self.meta_directories[1]));
            let number_u32 = u32::try_from(number).expect("invariant: at most 500 directories");
            let page = encode_directory(&self.entries, number_u32, epoch, self.page_bytes);
            write(geometry.directory_page(number_u32, copy), &page)?;
            self.directories[number] = DirectoryRef { crc: crc32fast::hash(&page), copy };
        }
        Ok(())
    }

    /// The checkpoint whose meta page lies in `slot` is durable.
    pub(crate) fn committed(&mut self, slot: usize) {
        self.meta_entries[slot] = self.entries.clone();
        self.meta_directories[slot] = self.directories.clone();
        self.meta_pages[slot] = self.file_pages;
        for group in self.groups.values_mut() {
            group.metas[slot].clone_from(&group.current);
            group.dirty = false;
        }
        self.extents.clear();
        self.scanned = 0;
    }

    /// True when the map of the meta page in `slot` marks the page as in use: for the verifier.
    pub(crate) fn is_used(&mut self, memory: &PageMemory, slot: usize, page: u32) -> Result<bool> {
        self.load(memory, page)?;
        let group_pages = self.geometry().group_pages();
        Ok(is_set(&self.groups[&(page / group_pages)].metas[slot], page % group_pages))
    }

    /// True for a page that holds a meta page or a part of this map.
    pub(crate) fn is_fixed(&self, page: u32) -> bool {
        let geometry = self.geometry();
        let group_pages = geometry.group_pages();
        page % group_pages < geometry.fixed_pages(page / group_pages)
    }
}

/// A copy that neither meta page refers to.
fn free_copy(first: Option<u32>, second: Option<u32>) -> u32 {
    (0..COPIES)
        .find(|&copy| Some(copy) != first && Some(copy) != second)
        .expect("invariant: three copies, two in use")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Lsn, PageId, TxnId};
    use crate::io::sim::SimDisk;
    use crate::io::{Host, OpenMode};
    use crate::page::BucketRecord;
    use crate::pager::Reserved;
    use crate::wal::Position;
    use std::path::Path;
    use std::sync::Arc;

    /// A file of its own for the map's pages, and the metas of the checkpoints so far.
    struct Rig {
        memory: PageMemory,
        map: SpaceMap,
        metas: Vec<Meta>,
    }

    const PAGE_BYTES: usize = 4096;

    impl Rig {
        fn new() -> Rig {
            Rig::of(8 << 20)
        }

        /// For a file of so many bytes at most.
        fn of(bytes_max: usize) -> Rig {
            let disk = SimDisk::new(1);
            disk.set_reserve_bytes_max(bytes_max);
            let path = Path::new("data");
            let file = disk.open(path, OpenMode::CreateNew).unwrap();
            file.set_len(64 << 20).unwrap();
            let file = Arc::clone(&file);
            let (arena_bytes, attached) = (1 << 20, None);
            let reserved = Reserved { map_bytes: bytes_max, arena_bytes, attached };
            let memory = PageMemory::new(&disk, file, path, PAGE_BYTES, reserved).unwrap();
            let mut rig = Rig { memory, map: SpaceMap::empty(PAGE_BYTES), metas: Vec::new() };
            rig.checkpoint();
            rig
        }

        /// Writes what changed, as a checkpoint does.
        fn checkpoint(&mut self) {
            let memory = &self.memory;
            let number = self.metas.len() as u64;
            self.map
                .write_changed(Epoch(number), &mut |page, bytes| {
                    let at = u64::from(page) * PAGE_BYTES as u64;
                    memory
                        .file()
                        .write_at(bytes, at)
                        .map_err(|e| Error::io("write", "d".as_ref(), e))
                })
                .unwrap();
            let meta = Meta {
                page_bytes: PAGE_BYTES,
                database_id: [0; 16],
                checkpoint: number,
                epoch: Epoch(number),
                txn: TxnId(number),
                clock_ms: 0,
                log: Position { segment: 1, offset: 4096, lsn: Lsn(1) },
                clean: false,
                file_pages: self.map.file_pages(),
                buckets: BucketRecord::EMPTY,
                system: BucketRecord::EMPTY,
                directories: self.map.directories(),
            };
            self.map.committed(meta.slot());
            self.metas.push(meta);
        }

        fn reopen(&mut self) {
            let newest = self.metas.last().unwrap();
            let other = self.metas.len().checked_sub(2).map(|index| &self.metas[index]);
            self.map = SpaceMap::open(&self.memory, newest, other).unwrap();
        }

        fn begin(&mut self, freed: &[(u32, u64)], readers: &[u64]) {
            let freed: Vec<Retired> = freed
                .iter()
                .map(|&(page, at)| Retired {
                    id: PageId(page),
                    count: 1,
                    born: Epoch(0),
                    freed: Epoch(at),
                })
                .collect();
            let readers: Vec<Epoch> = readers.iter().map(|&epoch| Epoch(epoch)).collect();
            self.map.begin(&self.memory, &[], &freed, &readers).unwrap();
        }

        fn take(&mut self, want: u32, exact: bool) -> Option<Extent> {
            self.map.take(&self.memory, want, exact).unwrap()
        }
    }

    #[test]
    fn only_a_page_in_use_is_freed_and_only_once() {
        let mut rig = Rig::new();
        rig.map.grow(&rig.memory, 4).unwrap();
        rig.begin(&[], &[]);
        rig.take(2, true).unwrap();
        let retired = |page: u32, count: u32| {
            let epochs = (Epoch(0), Epoch(1));
            Retired { id: PageId(page), count, born: epochs.0, freed: epochs.1 }
        };
        for freed in [
            vec![retired(8, 1), retired(8, 1)],
            vec![retired(9, 1), retired(8, 2)],
            vec![retired(11, 1)],
            vec![retired(9, 2)],
            vec![retired(7, 1)],
            vec![retired(12, 1)],
        ] {
            let refused = rig.map.begin(&rig.memory, &[], &freed, &[]);
            assert!(refused.is_err_and(|error| error.is_corrupt()), "{freed:?}");
        }
        for page in [7, 11, 12] {
            let refused = rig.map.vacate(&rig.memory, page);
            assert!(refused.is_err_and(|error| error.is_corrupt()), "page {page}");
        }
        assert_eq!(rig.map.free_pages(), 2);
        rig.map.vacate(&rig.memory, 8).unwrap();
        let twice = rig.map.begin(&rig.memory, &[], &[retired(8, 1), retired(8, 1)], &[]);
        assert!(twice.is_err_and(|error| error.is_corrupt()));
        let within = rig.map.begin(&rig.memory, &[], &[retired(8, 2)], &[]);
        assert!(within.is_err_and(|error| error.is_corrupt()));
        rig.begin(&[(8, 1), (9, 1)], &[]);
    }

    #[test]
    fn a_freed_page_is_not_reused_while_either_meta_reaches_it() {
        for reopen in [false, true] {
            let mut rig = Rig::new();
            rig.map.grow(&rig.memory, 4).unwrap();
            rig.begin(&[], &[]);
            let first = rig.take(4, true).unwrap();
            assert_eq!(first, Extent { start: 8, count: 4 });
            rig.checkpoint();
            // Freed for the next root: the meta just written still reaches it, and stays one of
            // the two for one checkpoint more.
            rig.begin(&[(8, 2)], &[]);
            assert_eq!(rig.take(1, true), None);
            rig.checkpoint();
            if reopen {
                rig.reopen();
            }
            rig.begin(&[], &[]);
            assert_eq!(rig.take(1, true), None, "the older meta reaches page 8");
            rig.checkpoint();
            if reopen {
                rig.reopen();
            }
            rig.begin(&[], &[]);
            assert_eq!(rig.take(1, true), Some(Extent { start: 8, count: 1 }));
        }
    }

    #[test]
    fn a_freed_page_is_not_reused_while_a_reader_reaches_it() {
        let mut rig = Rig::new();
        rig.map.grow(&rig.memory, 2).unwrap();
        rig.begin(&[], &[]);
        rig.take(2, true).unwrap();
        rig.checkpoint();
        rig.begin(&[(8, 5), (9, 3)], &[4]);
        for _ in 0..3 {
            rig.checkpoint();
            rig.begin(&[], &[4]);
        }
        assert_eq!(rig.take(2, false), Some(Extent { start: 9, count: 1 }), "page 8 is held");
        rig.checkpoint();
        rig.begin(&[], &[5]);
        assert_eq!(rig.take(2, false), Some(Extent { start: 8, count: 1 }));
    }

    #[test]
    fn a_vacated_page_is_free_on_disk_and_held_until_it_is_retired() {
        let mut rig = Rig::new();
        rig.map.grow(&rig.memory, 2).unwrap();
        rig.begin(&[], &[]);
        rig.take(2, true).unwrap();
        rig.checkpoint();
        rig.begin(&[], &[]);
        rig.map.vacate(&rig.memory, 8).unwrap();
        // As after a checkpoint that was given up.
        rig.map.vacate(&rig.memory, 8).unwrap();
        assert_eq!(rig.map.free_pages(), 1);
        for _ in 0..3 {
            rig.checkpoint();
            rig.begin(&[], &[]);
            assert_eq!(rig.take(1, true), None, "an overlay is laid over it");
        }
        let map = SpaceMap::open(&rig.memory, &rig.metas[3], Some(&rig.metas[4])).unwrap();
        assert_eq!(map.free_pages(), 1, "the next session has no overlay");
        // A reader that came before it was retired sees the overlay.
        rig.begin(&[(8, 7)], &[6]);
        assert_eq!(rig.take(1, true), None);
        rig.checkpoint();
        rig.begin(&[], &[7]);
        assert_eq!(
            (rig.take(1, true), rig.map.free_pages()),
            (Some(Extent { start: 8, count: 1 }), 0)
        );
    }

    #[test]
    fn what_is_taken_and_put_back_is_free_again() {
        let mut rig = Rig::new();
        rig.map.grow(&rig.memory, 100).unwrap();
        rig.begin(&[], &[]);
        assert_eq!(rig.map.free_pages(), 100);
        let taken = rig.take(30, true).unwrap();
        assert_eq!(rig.map.free_pages(), 70);
        rig.map.put_back(taken);
        assert_eq!(rig.map.free_pages(), 100);
        rig.checkpoint();
        rig.reopen();
        assert_eq!(rig.map.free_pages(), 100);
        rig.begin(&[], &[]);
        assert_eq!(rig.take(100, true), Some(Extent { start: 8, count: 100 }));
    }

    #[test]
    fn a_lent_page_is_free_on_disk_and_nobody_elses_until_it_is_settled_or_taken_back() {
        let mut rig = Rig::new();
        let first = rig.map.lend(&rig.memory, 10, true).unwrap();
        let second = rig.map.lend(&rig.memory, 6, true).unwrap();
        assert_eq!((first.start, second.start), (8, 18));
        rig.begin(&[], &[]);
        let (pages, free) = (rig.map.file_pages(), rig.map.free_pages());
        while let Some(taken) = rig.take(1, true) {
            assert!(taken.start >= 24, "{taken:?} is lent");
        }
        assert_eq!(rig.map.free_pages(), 16);
        rig.checkpoint();
        assert!(!rig.map.is_used(&rig.memory, 1, 8).unwrap());
        rig.map.take_back(&[second]);
        for round in 0..2 {
            // The first round's checkpoint is given up.
            rig.map.begin(&rig.memory, &[first], &[], &[]).unwrap();
            assert_eq!(rig.map.free_pages(), 6, "round {round}");
        }
        assert_eq!(rig.take(6, true), Some(second));
        assert_eq!(rig.take(1, true), None);
        rig.checkpoint();
        assert!(rig.map.is_used(&rig.memory, 0, 8).unwrap());
        rig.begin(&[(8, 3)], &[]);
        assert_eq!(rig.map.free_pages(), 1);
        assert!(free >= 16 && rig.map.file_pages() == pages);
    }

    #[test]
    #[cfg_attr(miri, ignore = "a file of 140 MB")]
    fn a_file_that_grew_for_what_was_given_up_is_as_long_as_before() {
        let mut rig = Rig::of(256 << 20);
        let group_pages = Geometry::new(PAGE_BYTES).group_pages();
        let near_end = group_pages - 100;
        rig.map.grow(&rig.memory, near_end - 8).unwrap();
        rig.begin(&[], &[]);
        rig.take(near_end - 8, true).unwrap();
        rig.checkpoint();
        for keeps in [false, true] {
            let (pages, free) = (rig.map.file_pages(), rig.map.free_pages());
            let mut lent = Vec::new();
            while rig.map.file_pages() < group_pages + 200 {
                lent.push(rig.map.lend(&rig.memory, 30, true).unwrap());
            }
            let kept = if keeps { lent.pop() } else { None };
            rig.map.take_back(&lent);
            rig.map.shorten(&rig.memory);
            assert_eq!(rig.map.file_pages() == pages, !keeps);
            if let Some(kept) = kept {
                rig.map.begin(&rig.memory, &[kept], &[], &[]).unwrap();
                rig.map.shorten(&rig.memory);
            } else {
                assert_eq!(rig.map.free_pages(), free);
            }
            rig.checkpoint();
            rig.reopen();
            let marked = |rig: &mut Rig, slot, page| rig.map.is_used(&rig.memory, slot, page);
            let slot = rig.metas.last().unwrap().slot();
            assert_eq!(marked(&mut rig, slot, near_end - 1).ok(), Some(true));
            if let Some(kept) = kept {
                assert_eq!(marked(&mut rig, slot, kept.start).ok(), Some(true));
                assert!(rig.map.free_pages() > 0);
            }
        }
    }

    #[test]
    fn pages_of_a_group_that_grew_while_all_was_scanned_are_handed_out_once() {
        let mut rig = Rig::new();
        let group_pages = Geometry::new(PAGE_BYTES).group_pages();
        rig.map.grow(&rig.memory, group_pages - 100 - 8).unwrap();
        rig.begin(&[], &[]);
        rig.take(group_pages - 100 - 8, true).unwrap();
        assert_eq!(rig.take(300, true), None);
        let add = rig.map.growth_for(300).unwrap();
        rig.map.grow(&rig.memory, add + 248).unwrap();
        rig.take(300, true).unwrap();
        assert_eq!(rig.take(300, true), None);
        let mut handed_out = std::collections::BTreeSet::new();
        while let Some(taken) = rig.take(1, true) {
            assert!(handed_out.insert(taken.start), "page {} twice", taken.start);
        }
        assert!(handed_out.len() >= 248, "{}", handed_out.len());
    }

    #[test]
    fn growth_of_which_nothing_is_taken_is_told_too() {
        let mut rig = Rig::new();
        rig.map.grow(&rig.memory, 10).unwrap();
        rig.checkpoint();
        rig.reopen();
        assert_eq!(rig.map.free_pages(), 10);
        rig.begin(&[], &[]);
        assert_eq!(rig.take(10, true), Some(Extent { start: 8, count: 10 }));
    }

    #[test]
    fn growth_is_by_steps_and_to_an_end_that_are_asked_for() {
        let mut rig = Rig::new();
        rig.map.grow(&rig.memory, 392).unwrap();
        rig.begin(&[], &[]);
        let grow = |rig: &mut Rig, step_max, pages_max, count| {
            rig.map.set_growth(Growth { step_max, pages_max });
            let before = rig.map.file_pages();
            rig.map.make_room(&rig.memory, count, u32::MAX).unwrap();
            rig.map.file_pages() - before
        };
        assert_eq!(grow(&mut rig, 2048, u32::MAX, 1), 1 + 400 / 8);
        assert_eq!(grow(&mut rig, 20, u32::MAX, 1), 1 + 20);
        // What is needed comes all the same.
        assert_eq!(grow(&mut rig, 20, u32::MAX, 100), 100 + 20);
        let pages = rig.map.file_pages();
        assert_eq!(grow(&mut rig, 20, pages + 10, 1), 10);
        assert_eq!(grow(&mut rig, 20, pages + 10, 3), 3, "what was committed");
        let refused = rig.map.lend(&rig.memory, 1000, true).unwrap_err();
        assert!(refused.is_full() && rig.map.file_pages() == pages + 13, "{refused}");
    }

    #[test]
    fn growth_into_a_new_group_keeps_its_fixed_pages() {
        let mut rig = Rig::new();
        let group_pages = Geometry::new(PAGE_BYTES).group_pages();
        let add = rig.map.growth_for(group_pages - 8).unwrap();
        rig.map.grow(&rig.memory, add).unwrap();
        assert_eq!(rig.map.file_pages(), group_pages);
        rig.begin(&[], &[]);
        rig.take(group_pages - 8, true).unwrap();
        let fixed = 16 * COPIES;
        assert_eq!(rig.map.growth_for(1), Some(fixed + 1), "the cluster's bitmaps, and the page");
        assert_eq!(rig.map.growth_for(16 * group_pages), None);
        rig.map.grow(&rig.memory, fixed + 1).unwrap();
        let first = group_pages + fixed;
        assert_eq!(rig.take(1, true), Some(Extent { start: first, count: 1 }));
        assert!(rig.map.is_fixed(first - 1) && !rig.map.is_fixed(first));
        rig.checkpoint();
        rig.reopen();
        assert_eq!(rig.map.free_pages(), 0);
        // A run over a boundary between groups of one cluster, freed and found again.
        let run = group_pages + 1000;
        let add = rig.map.growth_for(run).unwrap();
        assert_eq!(add, run);
        rig.map.grow(&rig.memory, add).unwrap();
        rig.begin(&[], &[]);
        let long = Extent { start: first + 1, count: run };
        assert_eq!(rig.take(run, true), Some(long));
        rig.checkpoint();
        let freed = Retired { id: PageId(long.start), count: run, born: Epoch(0), freed: Epoch(1) };
        rig.map.begin(&rig.memory, &[], &[freed], &[]).unwrap();
        rig.checkpoint();
        rig.checkpoint();
        rig.reopen();
        rig.begin(&[], &[]);
        assert_eq!(rig.take(run, true), Some(long));
    }

    #[test]
    fn a_bitmap_that_no_checkpoint_writes_is_refused_whatever_the_checksum() {
        // A fixed page that is free, a page beyond the end in use, one page more in use than told.
        for bit in [1, 18, 9] {
            let mut rig = Rig::new();
            rig.map.grow(&rig.memory, 10).unwrap();
            rig.begin(&[], &[]);
            rig.take(1, true).unwrap();
            rig.checkpoint();
            rig.reopen();
            let page = Geometry::new(PAGE_BYTES).bitmap_page(0, rig.map.entries[0].copy);
            let at = u64::from(page) * PAGE_BYTES as u64;
            let mut bytes = vec![0; PAGE_BYTES];
            rig.memory.file().read_at(&mut bytes, at).unwrap();
            bytes[64 + bit / 8] ^= 1 << (bit % 8);
            rig.memory.file().write_at(&bytes, at).unwrap();
            rig.map.entries[0].crc = crc32fast::hash(&bytes);
            let refused = rig.map.take(&rig.memory, 1, true);
            let error = refused.expect_err("no such bitmap");
            assert!(error.is_corrupt(), "bit {bit}: {error}");
        }
    }

    #[test]
    fn every_copy_of_the_map_is_verified() {
        let mut rig = Rig::new();
        rig.map.grow(&rig.memory, 10).unwrap();
        rig.checkpoint();
        let newest = rig.metas.last().unwrap();
        let directory = newest.directories[0];
        let page = Geometry::new(PAGE_BYTES).directory_page(0, directory.copy);
        rig.memory.file().write_at(&[1], u64::from(page) * PAGE_BYTES as u64 + 77).unwrap();
        assert!(SpaceMap::open(&rig.memory, newest, None).unwrap_err().is_corrupt());
    }
}
