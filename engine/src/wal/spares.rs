//! Space ahead of need: what is promised to records, and the segments made for it.
//!
//! Never writes a frame. Invariants:
//! 1. What was promised fits into the active segment and the spares until it is written.
//! 2. A failure to prepare or remove files changes nothing that a recovery could see.

use std::sync::atomic::Ordering;

use super::Leaves;
use super::record::BLOCK;
use super::segment::{self, Missing, SegmentFile, Size};
use super::writer::Log;
use crate::error::Result;
use crate::limits::WAL_RESERVE_BYTES;

/// Bytes of frames that the segment behind a long record takes.
const NEXT_BYTES: u64 = 32 << 10;

impl Log {
    /// Bytes of frames that are kept for records that only remove.
    pub(super) fn reserve_bytes(&self) -> u64 {
        WAL_RESERVE_BYTES.min(self.options.segment_bytes_max / 4)
    }

    /// Makes sure that `needed` bytes of frames fit and that what `leaves` says is left, and goes
    /// on to fit until the next promise. On failure nothing has changed, except that what is to be
    /// left may be ready.
    pub(super) fn promise(&self, needed: u64, leaves: Leaves) -> Result<()> {
        let kept = match leaves {
            Leaves::Reserve => self.reserve_bytes(),
            Leaves::Nothing => 0,
        };
        let missing = || {
            let mut segments = self.segments.lock();
            let missing = segments.missing(needed, kept);
            if missing.is_nothing() {
                segments.promised = needed;
            }
            missing
        };
        if missing().is_nothing() { Ok(()) } else { self.extend(missing) }
    }

    /// Promises `more` bytes besides, the reserve untouched, if they fit as things are.
    pub(super) fn promise_more(&self, more: u64) -> bool {
        let mut segments = self.segments.lock();
        let promised = segments.promised.saturating_add(more);
        let fits = segments.missing(promised, self.reserve_bytes()).is_nothing();
        if fits {
            segments.promised = promised;
        }
        fits
    }

    /// A segment to go on with behind a long record. A small one: perhaps the next record is long
    /// too, and leaves it as it is.
    pub(super) fn make_next(&self) -> Result<SegmentFile> {
        self.make(NEXT_BYTES, Size::Smallest)
    }

    /// See [`super::Wal::keep_reserve`].
    pub(super) fn keep_reserve(&self) -> Result<()> {
        let missing = || self.segments.lock().missing(0, self.reserve_bytes());
        if missing().is_nothing() { Ok(()) } else { self.extend(missing) }
    }

    /// Prepares segments until nothing is missing. On failure those that were prepared are removed
    /// again, but for what is kept: that comes first, and stays.
    pub(super) fn extend(&self, missing: impl Fn() -> Missing) -> Result<()> {
        let _one_at_a_time = self.maintenance.lock();
        let mut made = Vec::new();
        loop {
            let missing = missing();
            let prepared = match missing {
                Missing { needed: 0, kept: 0 } => return Ok(()),
                Missing { kept, .. } if kept > 0 => {
                    self.prepare(kept, Size::Smallest)?;
                    continue;
                }
                Missing { needed, .. } => {
                    let growing = self.prepare(needed, Size::Growing);
                    growing.or_else(|error| match error.is_full() {
                        // There may be room for a small one.
                        true => self.prepare(needed, Size::Smallest),
                        false => Err(error),
                    })
                }
            };
            match prepared {
                Ok(file_number) => made.push(file_number),
                Err(error) => {
                    self.discard(&made);
                    return Err(error);
                }
            }
        }
    }

    /// Makes one spare that takes `needed` bytes if it may. Returns the number of its file.
    /// REQUIRES the maintenance lock, or that nobody else knows the log yet.
    pub(super) fn prepare(&self, needed: u64, size: Size) -> Result<u64> {
        let spare = self.make(needed, size)?;
        let file_number = spare.file_number;
        self.segments.lock().spares.push(spare);
        Ok(file_number)
    }

    /// Makes a file that is ready to become a segment, and is in no list.
    fn make(&self, needed: u64, size: Size) -> Result<SegmentFile> {
        let (file_number, bytes) = {
            let mut segments = self.segments.lock();
            let file_number = segments.next_file;
            segments.next_file += 1;
            (file_number, segments.next_bytes(needed, size, &self.options))
        };
        let unused = std::mem::take(&mut self.segments.lock().unused);
        segment::remove(&*self.host, &self.dir, unused)?;
        let filled = segment::is_filled_for(needed);
        let spare = segment::prepare(&*self.host, &self.dir, file_number, bytes, filled)?;
        if filled && size == Size::Growing {
            let mut segments = self.segments.lock();
            segments.filled_max = segments.filled_max.max(bytes);
        }
        Ok(spare)
    }

    /// Removes spares by file number, as far as they are still spare. REQUIRES the maintenance
    /// lock.
    fn discard(&self, file_numbers: &[u64]) {
        let discarded: Vec<SegmentFile> = {
            let mut segments = self.segments.lock();
            let spares = std::mem::take(&mut segments.spares);
            let (discarded, kept) =
                spares.into_iter().partition(|spare| file_numbers.contains(&spare.file_number));
            segments.spares = kept;
            discarded
        };
        // The caller has the failure that matters; a file that stays is removed at the next open.
        let _ = segment::remove(&*self.host, &self.dir, discarded);
    }

    /// See [`super::Wal::prepare_ahead`].
    pub(super) fn prepare_ahead(&self) -> Result<bool> {
        let wanted = || {
            let segments = self.segments.lock();
            let active = segments.live.back().filter(|_| segments.writing);
            let Some(active) = active else { return false };
            let half_full = active.end >= active.header.bytes / 2;
            let next = active.header.bytes.min(self.options.segment_bytes_max);
            half_full && !segments.has_spares_for(next, self.reserve_bytes())
        };
        self.half_full.store(false, Ordering::Relaxed);
        if !wanted() {
            return Ok(false);
        }
        let _one_at_a_time = self.maintenance.lock();
        if !wanted() {
            return Ok(false);
        }
        self.prepare(BLOCK, Size::Growing).map(|_| true)
    }
}
