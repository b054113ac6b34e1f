//! Page memory: one long range of addresses, shared between one writer and many readers.
//!
//! This file and the signal handler in `map_failure` have all `unsafe` code of the engine. A region
//! is either anonymous memory (the arena, or pages read by `pread`) or a read-only map of the data
//! file. It never moves and never shrinks while it lives, so slices of it stay valid for as long as
//! it is borrowed.
//!
//! It does not know which pages are in use. The contract that makes sharing sound is kept by the
//! pager, and stated here once:
//! 1. A range handed out by [`Region::bytes`] is not written while the slice lives: the pager
//!    writes only pages that no published root reaches and no reader can hold.
//! 2. Ranges handed out by [`Region::bytes_mut`] at one time do not overlap: only the one writer
//!    asks for them, page by page; or, when pages are read by `pread`, the holder of the load lock,
//!    for a page that nobody has been given yet.
//! 3. The mapped file is changed only by this process (it holds the database's lock, and the file
//!    has mode 0600), only by `pwrite` to pages that no reader can hold, and never cut below a page
//!    that a reader can hold. Truncation by another program is a crash by signal, as for every
//!    mapped store; it is documented as such.

#![allow(unsafe_code, reason = "the one place of the engine where pages become slices")]

use std::alloc::Layout;
use std::fmt;
use std::io;
use std::path::Path;
use std::ptr::NonNull;

use super::map_failure::{self, Known};

/// A long, fixed range of memory that holds pages.
pub struct Region {
    base: NonNull<u8>,
    len: usize,
    backing: Backing,
}

enum Backing {
    /// Zeroed memory of the allocator, as it was allocated: hosts without maps, aligned buffers.
    Heap(NonNull<u8>, Layout),
    /// Anonymous pages, allocated by the kernel when first written.
    Anonymous(memmap2::MmapRaw),
    /// The data file, readable only. Held for their destructors, in this order.
    File(
        #[allow(dead_code, reason = "owns its entry in the table of maps")] Option<Known>,
        #[allow(dead_code, reason = "owns the mapping")] memmap2::Mmap,
    ),
}

// SAFETY: the memory is owned by the region and freed only by its destructor; the rules for
// concurrent access are those of the module's documentation, kept by the pager.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// Bytes that a processor fetches at once.
const CACHE_LINE_BYTES: usize = 64;

/// Regions start and pages lie at multiples of this, so that direct writes can use them.
const ALIGNMENT: usize = 4096;

impl Region {
    /// Zeroed memory from the allocator, aligned as direct I/O wants it.
    ///
    /// Asked for with a small alignment and aligned by hand: allocators hand out zeroed memory
    /// without touching it only when no large alignment is asked for.
    #[must_use]
    pub fn heap(len: usize) -> Region {
        let layout = Layout::from_size_align(len + ALIGNMENT, 16)
            .expect("invariant: a region fits in memory");
        // SAFETY: the layout has a size above zero.
        let pointer = unsafe { std::alloc::alloc_zeroed(layout) };
        let whole = NonNull::new(pointer).unwrap_or_else(|| std::alloc::handle_alloc_error(layout));
        let skip = whole.as_ptr().addr().wrapping_neg() % ALIGNMENT;
        // SAFETY: `skip` is below ALIGNMENT, which was added to the size.
        let base = unsafe { whole.add(skip) };
        Region { base, len, backing: Backing::Heap(whole, layout) }
    }

    /// Anonymous memory that costs nothing until it is written. Where the system refuses that much
    /// address space, a half, a quarter and so on is tried.
    pub(super) fn anonymous(len: usize) -> io::Result<Region> {
        let mut len = len;
        loop {
            let mapped = memmap2::MmapOptions::new().len(len).no_reserve_swap().map_anon();
            match mapped {
                Ok(map) => {
                    let map = memmap2::MmapRaw::from(map);
                    let base = NonNull::new(map.as_mut_ptr())
                        .expect("invariant: a mapping has an address");
                    return Ok(Region { base, len, backing: Backing::Anonymous(map) });
                }
                Err(error) if len <= 64 << 20 => return Err(error),
                Err(_) => len /= 2,
            }
        }
    }

    /// A read-only map of `file` that reaches `len` bytes, beyond the file's present end.
    pub(super) fn file(file: &std::fs::File, path: &Path, len: usize) -> io::Result<Region> {
        let mut len = len;
        loop {
            // SAFETY: rule 3 of the module: only this process changes the file, and the pager
            // never reads a page beyond the file's end through the map.
            let mapped = unsafe { memmap2::MmapOptions::new().len(len).map(file) };
            match mapped {
                Ok(map) => {
                    // A page that has to come from the device must not bring its neighbours along:
                    // where the file is larger than memory these drive out what is in use.
                    let _as_before = map.advise(memmap2::Advice::Random);
                    let base = NonNull::new(map.as_ptr().cast_mut())
                        .expect("invariant: a mapping has an address");
                    let known = map_failure::note(base.addr().get(), len, path);
                    return Ok(Region { base, len, backing: Backing::File(known, map) });
                }
                Err(error) if len <= 64 << 20 => return Err(error),
                Err(_) => len /= 2,
            }
        }
    }

    /// Length in bytes.
    #[inline]
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a region is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The bytes `[at, at + len)`. REQUIRES rule 1 of the module.
    #[inline]
    #[must_use]
    pub fn bytes(&self, at: usize, len: usize) -> &[u8] {
        assert!(at <= self.len && len <= self.len - at, "range beyond the region");
        // SAFETY: the range was just checked to lie within the region.
        let start = unsafe { self.base.as_ptr().add(at) };
        // SAFETY: the memory is initialised (zeroed or file content) and, by rule 1, not written
        // while the slice lives.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// Asks the processor for cache lines from `at` on, which somebody will soon read. Reads
    /// nothing, and does nothing where the region ends before.
    #[inline]
    pub fn prefetch(&self, at: usize, lines: usize) {
        if at < self.len && lines * CACHE_LINE_BYTES <= self.len - at {
            prefetch(self.base.as_ptr().wrapping_add(at), lines);
        }
    }

    /// The same for the lines before `end`.
    #[inline]
    pub fn prefetch_end(&self, end: usize, lines: usize) {
        self.prefetch(end.wrapping_sub(lines * CACHE_LINE_BYTES), lines);
    }

    /// The bytes `[at, at + len)`, to be written. REQUIRES rule 2 of the module; panics for a map
    /// of a file, which is never written.
    #[inline]
    #[allow(clippy::mut_from_ref, reason = "one writer, disjoint pages: rule 2 of the module")]
    pub fn bytes_mut(&self, at: usize, len: usize) -> &mut [u8] {
        assert!(!matches!(self.backing, Backing::File(..)), "a mapped file is never written");
        assert!(at <= self.len && len <= self.len - at, "range beyond the region");
        // SAFETY: the range was just checked to lie within the region.
        let start = unsafe { self.base.as_ptr().add(at) };
        // SAFETY: the memory is initialised, and by rule 2 no other slice of the range lives.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    /// Has the system back `[at, at + len)` with memory now, so that nobody waits for it at a first
    /// touch. Changes no byte; a system that cannot do it leaves it to the first touch.
    pub fn populate(&self, at: usize, len: usize) {
        assert!(at <= self.len && len <= self.len - at, "range beyond the region");
        if let Backing::Anonymous(map) = &self.backing {
            let _at_first_touch = map.advise_range(memmap2::Advice::PopulateWrite, at, len);
        }
    }

    /// False when the byte at `at` of a mapped file would have to come from the device. Linux tells
    /// that to those who own the file or may write it; to others everything is in memory.
    #[must_use]
    pub fn is_in_memory(&self, at: usize) -> bool {
        let Backing::File(..) = &self.backing else { return true };
        assert!(at < self.len, "a byte beyond the region");
        // The map begins with a page of the system's, whatever its size.
        let page = at - at % rustix::param::page_size();
        let (start, mut told) = (self.base.as_ptr().wrapping_add(page), 1);
        // SAFETY: the one page that is asked about lies in the map, which lives, so the call writes
        // one byte; it does not touch the page.
        let failed = unsafe { libc::mincore(start.cast(), 1, &raw mut told) } != 0;
        failed || told & 1 == 1
    }

    /// Gives the memory of `[at, at + len)` back to the system; it reads as zeros afterwards.
    /// REQUIRES rule 2 of the module.
    pub fn release(&self, at: usize, len: usize) {
        assert!(at <= self.len && len <= self.len - at, "range beyond the region");
        match &self.backing {
            Backing::Heap(..) => self.bytes_mut(at, len).fill(0),
            Backing::Anonymous(map) => {
                // SAFETY: the range is within the map, and by rule 2 no slice of it lives.
                let advised = unsafe {
                    map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, at, len)
                };
                if advised.is_err() {
                    self.bytes_mut(at, len).fill(0);
                }
            }
            Backing::File(..) => {}
        }
    }
}

/// Asks the processor for the first cache lines of a slice, as far as it goes.
#[inline]
pub(crate) fn prefetch_slice(bytes: &[u8], lines: usize) {
    let before = bytes.as_ptr().addr() % CACHE_LINE_BYTES;
    prefetch(bytes.as_ptr(), lines.min((before + bytes.len()).div_ceil(CACHE_LINE_BYTES)));
}

#[inline]
fn prefetch(start: *const u8, lines: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for line in 0..lines {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint: whatever the address, it neither reads nor faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line * CACHE_LINE_BYTES).cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _no_such_hint = (start, lines);
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Backing::Heap(whole, layout) = self.backing {
            // SAFETY: allocated by `Region::heap` with this layout, and freed once.
            unsafe { std::alloc::dealloc(whole.as_ptr(), layout) };
        }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backing = match self.backing {
            Backing::Heap(..) => "heap",
            Backing::Anonymous(_) => "anonymous",
            Backing::File(..) => "file",
        };
        write!(f, "Region({backing}, {} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_written_are_read_back_and_released_to_zeros() {
        let mut regions = vec![Region::heap(1 << 16)];
        if !cfg!(miri) {
            regions.push(Region::anonymous(1 << 30).unwrap());
        }
        for region in regions {
            region.bytes_mut(4096, 4096).fill(7);
            assert_eq!(region.bytes(4096, 4096), [7; 4096]);
            assert_eq!(region.bytes(0, 4096), [0; 4096]);
            region.release(4096, 4096);
            assert_eq!(region.bytes(4096, 4096), [0; 4096]);
        }
    }

    #[test]
    #[should_panic(expected = "range beyond the region")]
    fn a_range_beyond_the_region_panics() {
        let region = Region::heap(4096);
        let _ = region.bytes(4000, 97);
    }
}
