//! Segment files: their names, how one is prepared, and which are in use, spare or done with.
//!
//! Does the file operations that make and remove segments and puts a header in front of one. Never
//! writes or reads frames, and never decides when a segment is needed.
//!
//! ```text
//!           prepare              activate                    recycle
//!   (none) ---------> spare -------------------> live ------------------+
//!                       ^     header written      |                     |
//!                       |                         | larger than half    | smaller, or
//!                       +-------------------------+ of the largest      | spares enough
//!                                                                       v
//!                                                                    removed
//! ```
//!
//! The segment of a long record comes from outside, already live, and is removed in the end, as is
//! one that was live and got no frame: neither is ever a spare.
//!
//! Invariants:
//! 1. A file has its name `<16 hex digits>.wal` only once it reads as zeros in full length, has its
//!    space, and is synced, and the directory is synced before the file is used. Or it holds a long
//!    record but for its last piece, all synced: see [`super::long`]. Every such file is
//!    at least [`WAL_SEGMENT_BYTES_MIN`] long and a multiple of a block; anything else is damage.
//! 2. Live segments have ascending numbers, and first LSNs that never go down.
//! 3. A header is durable before a frame is written behind it, and never changes while the segment
//!    is live.
//! 4. The number in a file's name says only when the file was made.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{BLOCK, SEGMENT_LOSS_BYTES, SegmentHeader};
use super::{Position, WalOptions, WalStats};
use crate::error::{Error, Result};
use crate::ids::Lsn;
use crate::io::{File, Host, OpenMode, Region};
use crate::limits::{
    COUNTER_MAX, WAL_BLOCK_BYTES, WAL_FRAME_BYTES_MAX, WAL_SEGMENT_BYTES_FIRST,
    WAL_SEGMENT_BYTES_MAX, WAL_SEGMENT_BYTES_MIN,
};
use crate::mutation::{self, Mutation};

const SUFFIX: &str = ".wal";
const TEMPORARY_SUFFIX: &str = ".tmp";

const _: () = assert!(WAL_SEGMENT_BYTES_MIN > BLOCK + SEGMENT_LOSS_BYTES);

/// A new segment is filled with zeros by writes of this size.
const FILL_BYTES: u64 = 1 << 20;
/// So many bytes of spares are kept however little was written.
const SPARE_BYTES_MIN: u64 = 1 << 20;

/// True when a segment for a record of so many bytes is written in full before it is used.
pub(super) fn is_filled_for(needed: u64) -> bool {
    needed < WAL_FRAME_BYTES_MAX as u64
}

/// Bytes of frames that surely fit into a segment of this length.
fn usable(segment_bytes: u64) -> u64 {
    segment_bytes - BLOCK - SEGMENT_LOSS_BYTES
}

/// True for a spare much longer than all that is worth keeping.
fn is_too_long(spare: &SegmentFile, bytes_max: u64) -> bool {
    spare.bytes / 2 > bytes_max
}

/// Bytes of frames that do not fit into what is prepared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Missing {
    /// Of those that are to be written.
    pub(super) needed: u64,
    /// Of those that are to stay free in spares.
    pub(super) kept: u64,
}

impl Missing {
    pub(super) fn is_nothing(self) -> bool {
        self == Missing { needed: 0, kept: 0 }
    }
}

/// How long a new segment becomes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Size {
    /// Twice as long as the longest so far, within the limits.
    Growing,
    /// As short as it can be.
    Smallest,
}

/// A file that is or can become a segment.
#[derive(Clone, Debug)]
pub(super) struct SegmentFile {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn File>,
    /// Number in the file's name.
    pub(super) file_number: u64,
    /// Length of the file, a multiple of a block.
    pub(super) bytes: u64,
    /// Every byte of it was written once. False for one that was made for a large record.
    pub(super) filled: bool,
    /// Made of a long record: it is never used again.
    pub(super) is_long: bool,
}

/// A segment that holds, or is about to hold, frames that are needed.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) segment: SegmentFile,
    pub(super) header: SegmentHeader,
    /// Where the next frame would start.
    pub(super) end: u64,
}

/// Every segment file of the log. Guarded by a mutex of [`super::Wal`] that is never held across
/// an operation on a file.
#[derive(Debug)]
pub(super) struct Segments {
    /// In the order of their numbers; never empty. The last is the one that frames are written to
    /// when `writing` is set.
    pub(super) live: VecDeque<Live>,
    /// Ready for use: what they hold is not needed.
    pub(super) spares: Vec<SegmentFile>,
    /// What earlier sessions prepared and did not use. Not used now either, because the names may
    /// not be durable; they hold their space until this session prepares its own.
    pub(super) unused: Vec<SegmentFile>,
    /// Length of the spare that is becoming the active segment: its header is being written, and it
    /// is in neither list. Zero when there is none.
    pub(super) opening_bytes: u64,
    /// False until this session has a segment of its own.
    pub(super) writing: bool,
    /// LSN of the next frame.
    pub(super) next_lsn: Lsn,
    /// Number for the name of the next file.
    pub(super) next_file: u64,
    /// Where the log ended when it was opened. It ends there until `writing` is set.
    pub(super) recovered: Option<Position>,
    /// Bytes of frames that the last reservation was told would fit, less what was written since.
    pub(super) promised: u64,
    /// Length of the longest segment that this session has filled with zeros.
    pub(super) filled_max: u64,
    /// Of the bytes of frames that were written, those before the last [`Segments::recycle`], and
    /// what had been written between that and the one before.
    pub(super) frame_bytes_recycled: u64,
    pub(super) recycled_before: u64,
    /// What this session wrote; only the counters of frames and records are kept here.
    pub(super) written: WalStats,
}

impl Segments {
    /// What is missing for `needed` bytes of frames to fit, however records fall on the ends of
    /// segments, and `kept` bytes more to stay in spares: the smallest ones. Only spares, because
    /// the rest of a segment is of no use to the next session.
    pub(super) fn missing(&self, needed: u64, kept: u64) -> Missing {
        let active = match self.live.back() {
            Some(live) if self.writing => live.header.bytes - live.end,
            _ => 0,
        };
        let opening = self.opening_bytes.saturating_sub(BLOCK + SEGMENT_LOSS_BYTES);
        let (reserved, others) = self.spare_room(kept);
        let room = active.saturating_sub(SEGMENT_LOSS_BYTES) + opening + others;
        Missing { needed: needed.saturating_sub(room), kept: kept.saturating_sub(reserved) }
    }

    /// True when the spares take at least half of what a segment of this length does, and `kept`
    /// bytes besides.
    pub(super) fn has_spares_for(&self, segment_bytes: u64, kept: u64) -> bool {
        let spares: u64 = self.spares.iter().map(|spare| usable(spare.bytes)).sum();
        spares.saturating_sub(kept) >= usable(segment_bytes) / 2
    }

    /// Bytes of frames that fit into the spares: into the smallest ones, as many as take `kept`
    /// bytes, and into all others.
    fn spare_room(&self, kept: u64) -> (u64, u64) {
        let spares = || self.spares.iter().map(|spare| usable(spare.bytes)).zip(0_usize..);
        // From the smallest on, without memory: this is asked for each commit.
        let (mut reserved, mut last) = (0, None);
        while reserved < kept
            && let Some(next) = spares().filter(|spare| Some(*spare) > last).min()
        {
            (reserved, last) = (reserved + next.0, Some(next));
        }
        (reserved, spares().map(|(bytes, _)| bytes).sum::<u64>() - reserved)
    }

    /// Where the next frame would start.
    pub(super) fn end(&self) -> Position {
        if let Some(end) = self.recovered.filter(|_| !self.writing) {
            return end;
        }
        let last = self.live.back().expect("invariant: the segment of the last frame is kept");
        Position { segment: last.header.number, offset: last.end, lsn: self.next_lsn }
    }

    /// The number of the next segment.
    pub(super) fn next_number(&self) -> u64 {
        self.live.back().map_or(1, |live| live.header.number + 1)
    }

    /// Length for the next new segment, which has to take `needed` bytes of frames if it may.
    pub(super) fn next_bytes(&self, needed: u64, size: Size, options: &WalOptions) -> u64 {
        let least = needed.saturating_add(BLOCK + SEGMENT_LOSS_BYTES);
        let wanted = match size {
            // For a large record alone: whatever comes next gets one that is written in full.
            Size::Growing if !is_filled_for(needed) => least,
            // From the first size on in each session, whatever there is: one that is killed soon
            // leaves no more behind than it needed.
            // Twice as long only when more was written since segments were last recycled: where
            // checkpoints follow each other soon, long ones would be mostly empty.
            Size::Growing => {
                let written = self.written_since_recycled();
                let doubled = self.filled_max.saturating_mul(2);
                let longest = if doubled <= written { doubled } else { self.filled_max };
                longest.max(least)
            }
            Size::Smallest => least,
        };
        // In whole blocks and within the limits, whatever the options say.
        let max = options.segment_bytes_max / BLOCK * BLOCK;
        let max = max.clamp(WAL_SEGMENT_BYTES_MIN, WAL_SEGMENT_BYTES_MAX);
        let min = match size {
            Size::Growing => WAL_SEGMENT_BYTES_FIRST.min(max),
            Size::Smallest => WAL_SEGMENT_BYTES_MIN,
        };
        wanted.div_ceil(BLOCK).saturating_mul(BLOCK).clamp(min, max)
    }

    /// Takes the largest spare, the oldest of those: fewer changes of segment.
    pub(super) fn take_spare(&mut self) -> Option<SegmentFile> {
        if mutation::is(Mutation::LogRecycledEarly) && self.live.len() > 1 {
            return self.live.pop_front().map(|live| live.segment);
        }
        let key = |spare: &SegmentFile| (spare.bytes, std::cmp::Reverse(spare.file_number));
        let best = (0..self.spares.len()).max_by_key(|index| key(&self.spares[*index]))?;
        Some(self.spares.swap_remove(best))
    }

    /// Bytes of frames written since the last [`Segments::recycle`].
    fn written_since_recycled(&self) -> u64 {
        self.written.frame_bytes - self.frame_bytes_recycled
    }

    /// The same, or what was written between the two before it: two checkpoints that come together
    /// do not mean that little is written.
    fn written_lately(&self) -> u64 {
        self.written_since_recycled().max(self.recycled_before)
    }

    /// So many bytes of spares are worth keeping: half as much again as was written, because the
    /// next segment is wanted when the last one is half full.
    fn spare_bytes_max(written: u64) -> u64 {
        (written + written / 2).max(SPARE_BYTES_MIN)
    }

    /// True when what stays free for deletes is in spares that are too long to be worth keeping.
    pub(super) fn wants_short_reserve(&self) -> bool {
        let bytes_max = Segments::spare_bytes_max(self.written_lately());
        let is_long = |spare: &SegmentFile| is_too_long(spare, bytes_max);
        !self.spares.is_empty() && self.spares.iter().all(is_long)
    }

    /// Moves segments wholly before `up_to` to the spares, but for the newest of them, those that
    /// are kept for readers, and returns the files to remove: small
    /// ones, more than `spares_max`, and more than half as much again as was written since the last
    /// call, as far as neither what was promised nor `kept` bytes need them.
    pub(super) fn recycle(
        &mut self,
        up_to: Position,
        options: &WalOptions,
        kept: u64,
    ) -> Vec<SegmentFile> {
        let mut removed = Vec::new();
        let is_before = |live: &&Live| live.header.number < up_to.segment;
        let before: u64 = self.live.iter().filter(is_before).map(|live| live.segment.bytes).sum();
        let mut needless = before.saturating_sub(options.kept_bytes);
        while self.live.len() > 1 && needless > 0 {
            let Some(mut live) = self.live.pop_front() else { break };
            needless = needless.saturating_sub(live.segment.bytes);
            // One without frames may be what a recovery has left of a long record: its name is
            // perhaps not durable.
            if live.end == BLOCK || live.segment.is_long {
                removed.push(live.segment);
                continue;
            }
            live.segment.filled |= live.end + SEGMENT_LOSS_BYTES >= live.header.bytes;
            self.spares.push(live.segment);
        }
        let written = self.written_since_recycled();
        let bytes_max = Segments::spare_bytes_max(written);
        // After a burst segments become short again.
        self.filled_max = self.filled_max.min(self.written_lately().max(WAL_SEGMENT_BYTES_FIRST));
        (self.frame_bytes_recycled, self.recycled_before) = (self.written.frame_bytes, written);
        // Those that are worth keeping first: written in full, not too long, large, old.
        let is_long = |spare: &SegmentFile| {
            is_too_long(spare, bytes_max) || spare.bytes > options.segment_bytes_max
        };
        let worth = |spare: &SegmentFile| {
            let good = (spare.filled, !is_long(spare), spare.bytes);
            (std::cmp::Reverse(good), spare.file_number)
        };
        self.spares.sort_by_key(worth);
        let live = self.live.iter().map(|live| live.segment.bytes);
        let spares = self.spares.iter().filter(|spare| !is_long(spare)).map(|spare| spare.bytes);
        let largest = live.chain(spares).max().unwrap_or(0);
        for index in (0..self.spares.len()).rev() {
            let spare = self.spares.remove(index);
            let small = spare.bytes < largest / 2;
            let others: u64 = self.spares.iter().map(|spare| spare.bytes).sum();
            let many = self.spares.len() >= options.spares_max || others >= bytes_max;
            let needless = small || many || is_long(&spare) || !spare.filled;
            if needless && self.missing(self.promised, kept).is_nothing() {
                removed.push(spare);
            } else {
                self.spares.insert(index, spare);
            }
        }
        removed
    }
}

/// The files of a log directory, by name.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Segment files and their numbers, in order.
    pub(super) segments: Vec<(u64, PathBuf)>,
    /// Files whose preparation was cut short.
    pub(super) unfinished: Vec<PathBuf>,
    /// A number that no file has had.
    pub(super) next_file: u64,
}

/// Lists `dir`. Names that this module did not give are left alone.
pub(super) fn list(host: &dyn Host, dir: &Path) -> Result<Listing> {
    let names = host.list(dir).map_err(|error| Error::io("list", dir, error))?;
    let mut listing = Listing { next_file: 1, ..Listing::default() };
    for name in names {
        let (number, finished) =
            match (name.strip_suffix(SUFFIX), name.strip_suffix(TEMPORARY_SUFFIX)) {
                (Some(digits), _) => (file_number(digits), true),
                (_, Some(digits)) => (file_number(digits), false),
                _ => (None, false),
            };
        let Some(number) = number else { continue };
        if number >= COUNTER_MAX {
            let expected = "a number that can be counted up in the name of a segment";
            return Err(Error::corrupt(&dir.join(name), 0, expected, format!("{number:x}")));
        }
        listing.next_file = listing.next_file.max(number + 1);
        match finished {
            true => listing.segments.push((number, dir.join(name))),
            false => listing.unfinished.push(dir.join(name)),
        }
    }
    listing.segments.sort();
    listing.unfinished.sort();
    Ok(listing)
}

/// A segment's path.
pub(super) fn path(dir: &Path, file_number: u64) -> PathBuf {
    dir.join(format!("{file_number:016x}{SUFFIX}"))
}

/// The path of a file that is not yet a segment.
pub(super) fn temporary_path(dir: &Path, file_number: u64) -> PathBuf {
    dir.join(format!("{file_number:016x}{TEMPORARY_SUFFIX}"))
}

fn file_number(digits: &str) -> Option<u64> {
    let plain =
        digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if plain { u64::from_str_radix(digits, 16).ok() } else { None }
}

/// Makes a file of `bytes` zeros, durable in content and name. On failure nothing is left of it,
/// or at most a file with a temporary name. `filled` says that the zeros are written; otherwise
/// there is only space for them.
pub(super) fn prepare(
    host: &dyn Host,
    dir: &Path,
    file_number: u64,
    bytes: u64,
    filled: bool,
) -> Result<SegmentFile> {
    assert!(bytes >= WAL_SEGMENT_BYTES_MIN && bytes.is_multiple_of(BLOCK));
    let (temporary, path) = (temporary_path(dir, file_number), path(dir, file_number));
    let made = fill(host, &temporary, bytes, filled).and_then(|file| {
        host.rename(&temporary, &path).map_err(|error| Error::io("rename", &temporary, error))?;
        if !mutation::is(Mutation::SegmentNameNotSynced) {
            sync_dir(host, dir)?;
        }
        Ok(SegmentFile { path: path.clone(), file, file_number, bytes, filled, is_long: false })
    });
    if made.is_err() {
        // One of the two names exists, or none. What stays is removed at the next open.
        let _ = host.remove_file(&temporary);
        let _ = host.remove_file(&path);
    }
    made
}

/// Written in full rather than only allocated: a write into blocks that were never written costs
/// up to twice as much, because it changes the file system's own records as well. To a large frame
/// that is nothing, and writing it twice is much.
fn fill(host: &dyn Host, path: &Path, bytes: u64, filled: bool) -> Result<Arc<dyn File>> {
    let failed = |operation| move |error: io::Error| Error::io(operation, path, error);
    let file = host.open_log(path, OpenMode::CreateNew).map_err(failed("create"))?;
    file.allocate(bytes).map_err(failed("allocate"))?;
    let piece = usize::try_from(bytes.min(FILL_BYTES)).expect("invariant: 1 MiB fits in memory");
    let zeros = Region::heap(piece);
    let mut offset = 0;
    while filled && offset < bytes {
        let len = (bytes - offset).min(FILL_BYTES);
        let len = usize::try_from(len).expect("invariant: 1 MiB fits in memory");
        file.write_at(zeros.bytes(0, len), offset).map_err(failed("write"))?;
        offset += len as u64;
    }
    file.sync().map_err(failed("sync"))?;
    Ok(file)
}

/// Puts a header in front of `segment`, durably. What the segment held before is gone.
pub(super) fn write_header(segment: &SegmentFile, header: &SegmentHeader) -> Result<()> {
    let block = Region::heap(WAL_BLOCK_BYTES);
    header.encode(block.bytes_mut(0, WAL_BLOCK_BYTES));
    let bytes = block.bytes(0, WAL_BLOCK_BYTES);
    assert!(header.bytes == segment.bytes, "a header tells the length of its file");
    match mutation::is(Mutation::SegmentHeaderNotSynced) {
        true => segment.file.write_at(bytes, 0),
        false => segment.file.write_durable_at(bytes, 0),
    }
    .map_err(|error| Error::io("write", &segment.path, error))
}

/// Removes files and makes that durable. Tries all, and returns the first failure. Closes them,
/// too: only then is their space free.
///
/// A file that stays, or comes back after a power cut, has an old number: at the next open it is
/// a spare.
pub(super) fn remove(host: &dyn Host, dir: &Path, files: Vec<SegmentFile>) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let mut outcome = Ok(());
    for SegmentFile { path, file, .. } in files {
        let removed = host.remove_file(&path);
        drop(file);
        outcome = outcome.and(removed.map_err(|error| Error::io("remove", &path, error)));
    }
    outcome.and(sync_dir(host, dir))
}

pub(super) fn sync_dir(host: &dyn Host, dir: &Path) -> Result<()> {
    host.sync_dir(dir).map_err(|error| Error::io("sync", dir, error))
}
