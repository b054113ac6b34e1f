//! Pages as slices: the arena, and the data file through its map or through `pread`.
//!
//! The top bit of a page id picks one of two regions; the rest is the place in it. There is no page
//! table between an id and its bytes.
//!
//! Never writes the file. Invariants:
//! 1. A file page is handed out only after it was read by `pread`, matched its parent's checksum
//!    and passed the structural checks; so a media error is an error, not a signal, and damage is
//!    `Corrupt`, not a wrong answer.
//! 2. What another process may write to is not mapped: a page that was verified stays as it is.
//! 3. Without a map, the region of file pages is filled page by page under the load lock, before
//!    the page's verified bit is set; so no slice of it exists while it is filled.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{PageId, PageRef};
use crate::io::{File, Host, Region};
use crate::limits::ARENA_UNITS;
use crate::mutation::{self, Mutation};
use crate::page::{self, overflow};
use crate::sync::Mutex;
use crate::tree::{Pages, READ_AHEAD_MAX};

use super::attached::Attached;
use super::looks;
use super::verified::Verified;

/// Cache lines in which the heads and slots of a page most likely are.
const OPENING_LINES: usize = 5;

/// Cache lines at the end of an overlay, where its own entries and the reference to its base are.
const OVERLAY_END_LINES: usize = 16;
/// A value in a run this long is read ahead: else it would come from the device by 4 KiB where it
/// is not in memory.
const RUN_AHEAD_BYTES: usize = 16 << 10;
/// Memory that is asked for in one step.
const POPULATE_BYTES: usize = 2 << 20;

/// All pages of one open database.
#[derive(Debug)]
pub(crate) struct PageMemory {
    page_bytes: usize,
    /// The bits of an index within a page of the file, and within a unit of the arena.
    shifts: [u32; 2],
    /// File pages at 0, the arena at 1: indexed by the top bit of a page id.
    regions: [Region; 2],
    file: Arc<dyn File>,
    path: PathBuf,
    verified: Verified,
    /// `Some` where there is no map: file pages are read into their region under this lock.
    load: Option<Mutex<()>>,
    /// `Some` where another process may write to the file.
    attached: Option<Attached>,
}

/// What memory is reserved, and for whom.
#[derive(Debug)]
pub(crate) struct Reserved {
    /// Address space for the data file.
    pub(crate) map_bytes: usize,
    /// Address space for the arena.
    pub(crate) arena_bytes: usize,
    /// `Some` reads the file beside its owner, without a map.
    pub(crate) attached: Option<Attached>,
}

impl PageMemory {
    /// Reserves the regions for a data file of `page_bytes` pages.
    pub(crate) fn new(
        host: &dyn Host,
        file: Arc<dyn File>,
        path: &Path,
        page_bytes: usize,
        reserved: Reserved,
    ) -> Result<PageMemory> {
        let Reserved { map_bytes, arena_bytes, attached } = reserved;
        // What another process writes would show in a map, also in pages that were verified.
        let map = match attached {
            Some(_) => None,
            None => file.map(map_bytes).map_err(|e| Error::io("map", path, e))?,
        };
        let load = if map.is_none() { Some(Mutex::new(())) } else { None };
        let reserve = |bytes| host.reserve(bytes).map_err(|e| Error::io("reserve", path, e));
        let pages = match map {
            Some(region) => region,
            None => reserve(map_bytes)?,
        };
        let arena = reserve(arena_bytes)?;
        let verified = Verified::new(pages.len() / page_bytes);
        Ok(PageMemory {
            page_bytes,
            shifts: [page_bytes, page_bytes / ARENA_UNITS as usize].map(usize::trailing_zeros),
            regions: [pages, arena],
            file,
            path: path.to_path_buf(),
            verified,
            load,
            attached,
        })
    }

    /// Pages the data file can grow to within the reservation.
    pub(crate) fn file_pages_max(&self) -> u32 {
        let pages = self.regions[0].len() >> self.shifts[0];
        u32::try_from(pages).unwrap_or(u32::MAX).min(crate::limits::FILE_PAGES_MAX)
    }

    /// Units the arena can hold.
    pub(crate) fn arena_units_max(&self) -> u32 {
        let units = self.regions[1].len() >> self.shifts[1];
        u32::try_from(units).unwrap_or(u32::MAX).min(PageId::ARENA_UNITS_MAX)
    }

    /// The units of the arena that so many bytes fill.
    pub(crate) fn units(&self, bytes: usize) -> u32 {
        u32::try_from(bytes >> self.shifts[1]).unwrap_or(u32::MAX)
    }

    /// Size of a unit of the arena in bytes.
    pub(crate) fn unit_bytes(&self) -> usize {
        1 << self.shifts[1]
    }

    /// Size of a page in bytes.
    #[inline]
    pub(crate) fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// The data file's path, for errors.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The data file.
    pub(crate) fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// The bytes of an overlay, or of `count` adjoining pages, wherever they are, unverified.
    #[inline]
    pub(crate) fn bytes(&self, id: PageId, count: u32) -> &[u8] {
        let (region, at) = self.place(id);
        region.bytes(at, self.len(id, count))
    }

    #[inline]
    fn place(&self, id: PageId) -> (&Region, usize) {
        let number = (id.0 >> 31) as usize;
        (&self.regions[number], (id.index() as usize) << self.shifts[number])
    }

    #[inline]
    fn len(&self, id: PageId, count: u32) -> usize {
        if id.is_overlay() { self.unit_bytes() } else { count as usize * self.page_bytes }
    }

    /// The bytes of an overlay or of arena pages, to be written. REQUIRES: allocated by the open
    /// transaction, or not yet handed to any tree.
    #[inline]
    #[allow(clippy::mut_from_ref, reason = "the arena has one writer; see io::region")]
    pub(crate) fn arena_bytes_mut(&self, id: PageId, count: u32) -> &mut [u8] {
        assert!(id.is_arena(), "only arena pages are written in memory");
        let (region, at) = self.place(id);
        region.bytes_mut(at, self.len(id, count))
    }

    /// Has the system back units `[from, to)` of the arena with memory now.
    pub(crate) fn populate_arena(&self, from: u32, to: u32) {
        let (shift, to) = (self.shifts[1], to.min(self.arena_units_max()));
        let (from, to) = ((from as usize) << shift, (to as usize) << shift);
        // Whoever maps or unmaps memory in this process waits for a step.
        for at in (from..to).step_by(POPULATE_BYTES) {
            self.regions[1].populate(at, POPULATE_BYTES.min(to - at));
        }
    }

    /// Gives the memory of units `[from, from + count)` of the arena back to the system.
    pub(crate) fn release_arena(&self, from: u32, count: u32) {
        let shift = self.shifts[1];
        self.regions[1].release((from as usize) << shift, (count as usize) << shift);
    }

    /// True when the file page was read and verified since it was last written.
    pub(crate) fn is_verified(&self, id: PageId) -> bool {
        self.verified.contains(id.index())
    }

    /// Forgets that pages were verified: they are about to be written.
    pub(crate) fn forget(&self, page: u32, count: u32) {
        self.verified.remove(page, count);
    }

    /// Reads a page or run from the device once more and holds it against its checksum, whatever
    /// was verified before. For the verifier.
    pub(crate) fn read_again(&self, page: PageRef, count: u32) -> Result<()> {
        let mut copy = vec![0; count as usize * self.page_bytes];
        self.load_into(&mut copy, page, |_| Ok(()))
    }

    /// Reads and verifies a run of file pages that has not been touched since it was written.
    #[cold]
    fn first_touch(&self, page: PageRef, count: u32, check: impl Check) -> Result<()> {
        let index = page.id.index();
        if page.id.is_none() || count > self.file_pages_max().saturating_sub(index) {
            return Err(self.damaged_page(page.id, "a page within the file", index.to_string()));
        }
        match &self.load {
            None => {
                let mut copy = vec![0; count as usize * self.page_bytes];
                self.load_into(&mut copy, page, check)?;
            }
            Some(lock) => {
                let _loading = lock.lock();
                if self.verified.contains(index) {
                    return Ok(());
                }
                let (region, at) = self.place(page.id);
                let bytes = region.bytes_mut(at, count as usize * self.page_bytes);
                if let Some(attached) = &self.attached {
                    attached.take(bytes.len() as u64)?;
                }
                self.load_into(bytes, page, check)?;
            }
        }
        self.verified.insert(index);
        Ok(())
    }

    fn load_into(&self, bytes: &mut [u8], page: PageRef, check: impl Check) -> Result<()> {
        let offset = u64::from(page.id.index()) * self.page_bytes as u64;
        self.file.read_at(bytes, offset).map_err(|error| {
            if error.kind() == std::io::ErrorKind::UnexpectedEof {
                self.damaged_page(page.id, "a page within the file", "end of file".to_owned())
            } else {
                Error::io("read", &self.path, error)
            }
        })?;
        let found = crc32fast::hash(bytes);
        if found != page.crc && !mutation::is(Mutation::PageNotVerified) {
            let expected = format!("checksum {:08x}", page.crc);
            return Err(self.damaged_page(page.id, &expected, format!("{found:08x}")));
        }
        check(bytes).map_err(|found| self.damaged_page(page.id, "a well-formed page", found))
    }

    /// Space was allocated before anything was written to it, so a write that finds the disk full
    /// is as grave as any other failed write. A file system that takes no writes any more is told
    /// as such.
    #[cold]
    pub(crate) fn failed_write(&self, operation: &'static str, source: std::io::Error) -> Error {
        if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem {
            return Error::io(operation, &self.path, source);
        }
        Error::from(ErrorKind::Io { operation, file: self.path.clone(), source })
    }

    /// Before pages of the file are touched: has them asked for, all at once, where they are not in
    /// memory and it is time to look.
    #[inline]
    fn ask_ahead(&self, pages: Range<u32>) {
        if self.load.is_none() {
            looks::before(pages.len() * self.page_bytes, || self.ask_for_missing(&[pages]));
        }
    }

    /// Asks for pages of the file, unless the last of the longest range is in memory, which stands
    /// for all; tells whether it did.
    #[cold]
    fn ask_for_missing(&self, pages: &[Range<u32>]) -> bool {
        let longest = pages.iter().max_by_key(|range| range.len()).filter(|it| !it.is_empty());
        let end = |range: &Range<u32>| (range.end as usize) << self.shifts[0];
        // A damaged reference may lead anywhere.
        let last = longest.and_then(|range| end(range).checked_sub(1));
        let Some(last) = last.filter(|last| *last < self.regions[0].len()) else { return false };
        if self.regions[0].is_in_memory(last) {
            return false;
        }
        let bytes = |page: u32| u64::from(page) << self.shifts[0];
        let mut ranges = [const { 0..0 }; READ_AHEAD_MAX];
        for (range, pages) in ranges.iter_mut().zip(pages) {
            *range = bytes(pages.start)..bytes(pages.end);
        }
        self.file.read_ahead(&ranges[..pages.len().min(READ_AHEAD_MAX)]);
        true
    }

    #[cold]
    fn damaged_page(&self, id: PageId, expected: &str, found: String) -> Error {
        self.judge(Error::corrupt(&self.path, u64::from(id.index()), expected, found))
    }

    /// What damage that was just found in the file means: see [`Attached`].
    #[cold]
    pub(crate) fn judge(&self, damage: Error) -> Error {
        match self.refuse_outrun() {
            Err(outrun) if outrun.is_outrun() => outrun,
            // A meta page that cannot be read tells nothing.
            Ok(()) | Err(_) => damage,
        }
    }

    /// Fails when this is an attached database whose owner has outrun it.
    pub(crate) fn refuse_outrun(&self) -> Result<()> {
        match &self.attached {
            Some(attached) => attached.refuse_outrun(&*self.file, &self.path),
            None => Ok(()),
        }
    }
}

trait Check: Fn(&[u8]) -> Result<(), String> {}
impl<F: Fn(&[u8]) -> Result<(), String>> Check for F {}

impl Pages for PageMemory {
    #[inline]
    fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    #[inline]
    fn page(&self, page: PageRef) -> Result<&[u8]> {
        if !page.id.is_arena() && !self.verified.contains(page.id.0) {
            self.first_touch(page, 1, validate_in_file)?;
        }
        Ok(self.bytes(page.id, 1))
    }

    #[inline]
    fn expect(&self, page: PageRef) {
        let (region, at) = self.place(page.id);
        region.prefetch(at, OPENING_LINES);
        if page.id.is_overlay() {
            region.prefetch_end(at + self.unit_bytes(), OVERLAY_END_LINES);
        }
    }

    #[inline]
    fn expect_whole(&self, page: PageRef) {
        self.expect(page);
        if !page.id.is_arena() {
            self.ask_ahead(page.id.0..page.id.0 + 1);
        }
    }

    fn read_ahead(&self, pages: &[Range<u32>]) {
        // What was never read is read by `pread`, which the system reads ahead for by itself.
        if self.load.is_none() && pages.iter().any(|pages| self.verified.contains(pages.start)) {
            self.ask_for_missing(pages);
        }
    }

    fn run(&self, run: PageRef, value_len: u32) -> Result<&[u8]> {
        let count = overflow::run_pages(value_len, self.page_bytes);
        if !run.id.is_arena() {
            if !self.verified.contains(run.id.0) {
                let check =
                    |bytes: &[u8]| overflow::validate_run(bytes, self.page_bytes, value_len);
                self.first_touch(run, count, check)?;
            } else if count as usize * self.page_bytes >= RUN_AHEAD_BYTES {
                self.ask_ahead(run.id.0..run.id.0 + count);
            }
            // In a damaged file another reference may have led here first, to fewer pages.
            overflow::validate_start(self.bytes(run.id, 1), count)
                .map_err(|found| self.damaged_page(run.id, "a well-formed page", found))?;
        }
        Ok(overflow::run_value(self.bytes(run.id, count), value_len))
    }

    #[cold]
    fn damaged(&self, page: PageRef, expected: &str, found: String) -> Error {
        self.damaged_page(page.id, expected, found)
    }
}

/// A tree page of the file is well formed, and refers to pages of the file only.
pub(crate) fn validate_in_file(bytes: &[u8]) -> Result<(), String> {
    page::validate(bytes)?;
    match page::references(bytes).find(|reference| reference.page.id.is_arena()) {
        Some(reference) => Err(format!("a reference to {}", reference.page.id)),
        None => Ok(()),
    }
}
