//! Opening a log: which files belong to it, what they hold, and where it ends.
//!
//! Hands every whole record behind a position to the caller, then judges what stopped it: a write
//! that was cut short, or damage. Changes nothing on the disk but to remove, at the end, files that
//! hold no segment; so it can be cut short itself, and done twice with one result.
//!
//! How the end is judged, with `n` the last valid frame:
//!
//! ```text
//!   a segment follows whose first LSN is n + 1      not the end: an earlier session stopped here
//!   a segment follows whose first LSN is larger     damage: frames are missing
//!   a trace of a later frame in this segment        damage
//!   a valid later frame in a file without header    damage
//!   none of these                                   the end; what stands there was never
//!                                                   acknowledged
//! ```
//!
//! A last segment that holds nothing but a record without its end counts as one without frames: the
//! record was never acknowledged, and the segment's name, of all, may not be durable (see `long`).
//! So the log ends before it, in a segment that is there for sure, and the next segment, with a
//! higher number, has the same first LSN.
//!
//! A log that somebody else writes meanwhile is judged by the same rules, with a second look,
//! because what was missing may have come: a later frame, or one in a file without a header, proves
//! damage only if the missing one, or the header, is still not there after it was seen. Both are
//! durable before what follows is written.
//!
//! Invariants:
//! 1. What is read is on the device: every file is synced first (a failure refuses the log), and
//!    the operating system is told to forget what it cached. Only a log that was closed cleanly,
//!    of which nothing is replayed, goes without, and one that is opened for reading only. Of one
//!    that somebody else writes the cache is forgotten first, and the file that holds the last
//!    frame is synced last: frames before that one are durable, or it would not be there.
//! 2. A frame that was acknowledged is replayed, or its loss is reported, unless it was the last
//!    one: an unfinished write and a damaged last frame look alike.
//! 3. A file without a header is not trusted as a spare: the sync that should have made its name
//!    durable may have failed. Nor is one that opens with a piece of a record. Any other with an
//!    old header was in use, so its name is durable.
//! 4. Of a log that somebody else writes, every record is replayed that was durable when the
//!    recovery began.
//! 5. Bytes from the disk never cause a panic, nor an allocation beyond the file's own length.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::reader::{Scan, Step, WINDOW_BYTES, Window, frame_at};
use super::record::{
    BLOCK, FORMAT_VERSION, FRAME_HEADER_BYTES, Flaw, FoundHeader, FrameHeader, SegmentHeader,
    decode_chunk,
};
use super::segment::{self, Live, SegmentFile, Segments};
use super::{Position, Replay, ReplayRange, WalStats};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::Lsn;
use crate::io::{Host, OpenMode, Region};
use crate::limits::{WAL_BLOCK_BYTES, WAL_FRAME_BYTES_MAX, WAL_SEGMENT_BYTES_MIN};
use crate::mutation::{self, Mutation};

/// What to recover.
pub(super) struct Request<'a> {
    pub(super) dir: &'a Path,
    pub(super) database_id: [u8; 16],
    pub(super) range: ReplayRange,
    /// See [`super::WalOptions`].
    pub(super) kept_bytes: u64,
    pub(super) access: Access,
}

/// Whose the log is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    /// This process's alone, to write to.
    Owner,
    /// This process's, and nothing may be changed: no file synced, none removed.
    ReadOnly,
    /// Another process may write to it. Nothing is changed, and only the last file synced.
    Attached,
}

/// The files of a log, told apart by their headers.
struct Files {
    /// Segments from that of the request's position on, in the order of their numbers.
    live: Vec<Live>,
    /// Files with zeros for a header: prepared and not used, or damaged.
    blank: Vec<SegmentFile>,
    /// Files with something else for a header: torn or damaged.
    broken: Vec<SegmentFile>,
    /// Segments before that of the position, which an older checkpoint or readers need, in their
    /// order.
    kept: Vec<Live>,
    /// Segments that nobody needs.
    old: Vec<SegmentFile>,
    /// Of those, ones whose name is perhaps not durable: see [`opens_with_a_piece`].
    unnamed: Vec<SegmentFile>,
}

/// Replays the log and returns its segments.
pub(super) fn recover(
    host: &dyn Host,
    request: &Request<'_>,
    replay: Replay<'_>,
) -> Result<Segments> {
    let dir = request.dir;
    let listing = segment::list(host, dir)?;
    let opened = open_files(host, &listing.segments, request.access)?;
    let mut end = None;
    if request.range.clean {
        let mut files = read_headers(&opened, request)?;
        if let [only] = &mut files.live[..]
            && files.broken.is_empty()
        {
            only.end = request.range.from.offset;
            end = Some((request.range.from, files));
        }
    }
    let (end, files) = match end {
        Some(found) => found,
        None => {
            match request.access {
                Access::Owner => settle(&opened)?,
                Access::ReadOnly => {}
                Access::Attached => forget_cached(&opened)?,
            }
            let mut files = read_headers(&opened, request)?;
            let end = replay_all(&mut files, request, replay)?;
            if request.access == Access::Attached {
                sync_last(&files)?;
            }
            (end, files)
        }
    };
    let useless = files.broken.iter().map(|broken| &broken.path).chain(&listing.unfinished);
    for path in useless.filter(|_| request.access == Access::Owner) {
        host.remove_file(path).map_err(|error| Error::io("remove", path, error))?;
    }
    let mut live = VecDeque::from(files.kept);
    live.extend(files.live);
    Ok(Segments {
        live,
        spares: files.old,
        unused: files.blank.into_iter().chain(files.unnamed).collect(),
        opening_bytes: 0,
        writing: false,
        next_lsn: end.lsn,
        next_file: listing.next_file,
        recovered: Some(end),
        promised: 0,
        filled_max: 0,
        frame_bytes_recycled: 0,
        recycled_before: 0,
        written: WalStats::default(),
    })
}

pub(super) fn open_files(
    host: &dyn Host,
    paths: &[(u64, PathBuf)],
    access: Access,
) -> Result<Vec<SegmentFile>> {
    let mode = if access == Access::Owner { OpenMode::ReadWrite } else { OpenMode::Read };
    let mut opened = Vec::with_capacity(paths.len());
    for (file_number, path) in paths {
        let file = match host.open_log(path, mode) {
            // Removed since it was listed: whether it was needed shows in the order of the rest.
            Err(error) if access == Access::Attached && error.kind() == io::ErrorKind::NotFound => {
                continue;
            }
            opened => opened.map_err(|error| Error::io("open", path, error))?,
        };
        let bytes = file.len().map_err(|error| Error::io("measure", path, error))?;
        if bytes < WAL_SEGMENT_BYTES_MIN || !bytes.is_multiple_of(BLOCK) {
            let expected = format!("whole blocks, at least {WAL_SEGMENT_BYTES_MIN} bytes");
            return Err(Error::corrupt(path, bytes / BLOCK, expected, format!("{bytes} bytes")));
        }
        let (path, file_number) = (path.clone(), *file_number);
        let (filled, is_long) = (true, false);
        opened.push(SegmentFile { path, file, file_number, bytes, filled, is_long });
    }
    Ok(opened)
}

/// Makes sure that what will be read is what the device holds.
fn settle(opened: &[SegmentFile]) -> Result<()> {
    for segment in opened.iter().filter(|_| !mutation::is(Mutation::RecoveryNotSynced)) {
        let failed = |error| Error::io("sync", &segment.path, error);
        segment.file.sync().map_err(failed)?;
        if !mutation::is(Mutation::CacheBelieved) {
            segment.file.forget_cached(segment.bytes).map_err(failed)?;
        }
    }
    Ok(())
}

/// Sees to it that what will be read is what the device holds, or what a sync after it would tell
/// of: after a failed write the cache may show what is not there, and say nothing any more.
fn forget_cached(opened: &[SegmentFile]) -> Result<()> {
    for segment in opened {
        let forgotten = segment.file.forget_cached(segment.bytes);
        forgotten.map_err(|error| Error::io("read", &segment.path, error))?;
    }
    Ok(())
}

/// Makes the last frame that was read durable, and so all: see the invariants of the log.
fn sync_last(files: &Files) -> Result<()> {
    let Some(last) = files.live.iter().rfind(|live| live.end > BLOCK) else { return Ok(()) };
    let SegmentFile { file, path, .. } = &last.segment;
    file.sync().map_err(|error| Error::io("sync", path, error))
}

/// Reads the header of every file, and refuses what cannot be one log.
fn read_headers(opened: &[SegmentFile], request: &Request<'_>) -> Result<Files> {
    let mut files = Files {
        live: Vec::new(),
        blank: Vec::new(),
        broken: Vec::new(),
        kept: Vec::new(),
        old: Vec::new(),
        unnamed: Vec::new(),
    };
    let mut before = Vec::new();
    let block = Region::heap(WAL_BLOCK_BYTES);
    for segment in opened {
        segment
            .file
            .read_at(block.bytes_mut(0, WAL_BLOCK_BYTES), 0)
            .map_err(|error| Error::io("read", &segment.path, error))?;
        match SegmentHeader::decode(block.bytes(0, WAL_BLOCK_BYTES)) {
            FoundHeader::Valid(header) => {
                check_header(segment, &header, request)?;
                let live = Live { segment: segment.clone(), header, end: BLOCK };
                match header.number >= request.range.from.segment {
                    true => files.live.push(live),
                    false => before.push(live),
                }
            }
            FoundHeader::Version(found) => return Err(other_version(&segment.path, found)),
            FoundHeader::Zeros => files.blank.push(segment.clone()),
            FoundHeader::Invalid => files.broken.push(segment.clone()),
        }
    }
    files.live.sort_by_key(|live| live.header.number);
    check_order(&files, request)?;
    sort_before(before, &mut files, request)?;
    Ok(files)
}

/// Tells segments apart that lie before that of the position: those that an older checkpoint needs,
/// those before them that are kept for readers, as far as none is missing between, and the rest.
fn sort_before(mut before: Vec<Live>, files: &mut Files, request: &Request<'_>) -> Result<()> {
    before.sort_by_key(|live| std::cmp::Reverse(live.header.number));
    let mut next = request.range.from.segment;
    let mut left = request.kept_bytes;
    for mut live in before {
        let header = &live.header;
        let is_next = header.number + 1 == next && header.bytes <= live.segment.bytes;
        let is_needed = header.number >= request.range.keep.segment;
        let is_kept = is_needed || is_next && live.segment.bytes <= left;
        let opens_with_a_piece = opens_with_a_piece(&live.segment)?;
        if is_kept {
            next = header.number;
            if !is_needed {
                left -= live.segment.bytes;
            }
            live.end = if opens_with_a_piece { BLOCK } else { header.bytes };
            files.kept.push(live);
            continue;
        }
        // None before it is kept either.
        left = 0;
        match opens_with_a_piece {
            true => files.unnamed.push(live.segment),
            false => files.old.push(live.segment),
        }
    }
    files.kept.reverse();
    Ok(())
}

/// True when a segment opens with a piece of a record, as one does that was put together from a
/// long record. If the end of that was never written, the segment's name may not be durable, and it
/// must not be used again. Others that open so are few.
fn opens_with_a_piece(segment: &SegmentFile) -> Result<bool> {
    let block = Region::heap(WAL_BLOCK_BYTES);
    segment
        .file
        .read_at(block.bytes_mut(0, WAL_BLOCK_BYTES), BLOCK)
        .map_err(|error| Error::io("read", &segment.path, error))?;
    let block = block.bytes(0, WAL_BLOCK_BYTES);
    let is_frame = FrameHeader::decode(block).is_some();
    let chunk = decode_chunk(block, FRAME_HEADER_BYTES, usize::MAX);
    Ok(is_frame && chunk.is_some_and(|chunk| chunk.first && !chunk.last))
}

fn check_header(
    segment: &SegmentFile,
    header: &SegmentHeader,
    request: &Request<'_>,
) -> Result<()> {
    if header.database_id != request.database_id {
        let (expected, found) =
            (u128::from_be_bytes(request.database_id), u128::from_be_bytes(header.database_id));
        return Err(Error::from(ErrorKind::NotADatabase {
            path: segment.path.clone(),
            reason: format!("expected a log of database {expected:032x}, found {found:032x}"),
        }));
    }
    let whole = header.bytes <= segment.bytes
        && header.bytes >= WAL_SEGMENT_BYTES_MIN
        && header.bytes.is_multiple_of(BLOCK);
    if !whole && header.number >= request.range.from.segment {
        let expected = format!("{} bytes", header.bytes);
        let found = format!("{} bytes", segment.bytes);
        return Err(Error::corrupt(&segment.path, segment.bytes / BLOCK, expected, found));
    }
    Ok(())
}

pub(super) fn other_version(path: &Path, found: u32) -> Error {
    Error::from(ErrorKind::Unsupported {
        file: path.to_path_buf(),
        what: "log format version",
        expected: FORMAT_VERSION.into(),
        found: found.into(),
    })
}

/// The live segments have different numbers, rising LSNs, and start with that of the position.
fn check_order(files: &Files, request: &Request<'_>) -> Result<()> {
    let from = request.range.from;
    let holds = |live: &Live| {
        live.header.number == from.segment
            && live.header.first_lsn <= from.lsn
            && from.offset >= BLOCK
            && from.offset <= live.header.bytes
            && from.offset.is_multiple_of(BLOCK)
    };
    let Some(first) = files.live.first().filter(|first| holds(first)) else {
        let path = files.broken.first().map(|broken| broken.path.as_path());
        let path = path.or(files.live.first().map(|live| live.segment.path.as_path()));
        let expected =
            format!("segment {} with frame {} at byte {}", from.segment, from.lsn, from.offset);
        let found = match files.live.first() {
            None => "no such segment".to_owned(),
            Some(live) => format!(
                "segment {} of {} bytes that starts with frame {}",
                live.header.number, live.header.bytes, live.header.first_lsn
            ),
        };
        return Err(Error::corrupt(path.unwrap_or(request.dir), 0, expected, found));
    };
    let mut previous = first;
    for next in &files.live[1..] {
        if next.header.number == previous.header.number {
            let expected = format!("one segment {}", next.header.number);
            let found = format!("another in {}", previous.segment.path.display());
            return Err(Error::corrupt(&next.segment.path, 0, expected, found));
        }
        if next.header.first_lsn < previous.header.first_lsn {
            let expected = format!("first frame {} or later", previous.header.first_lsn);
            let found = format!("{}", next.header.first_lsn);
            return Err(Error::corrupt(&next.segment.path, 0, expected, found));
        }
        previous = next;
    }
    Ok(())
}

/// Replays every record behind the position and returns where the log ends.
fn replay_all(files: &mut Files, request: &Request<'_>, replay: Replay<'_>) -> Result<Position> {
    let live = files.live.iter().cloned().map(Arc::new).collect();
    let mut scan = Scan::new(live, request.range.from);
    let flaw = loop {
        match scan.step(None)? {
            Step::End(flaw) => break flaw,
            step => {
                let (position, record) = scan.record(step)?;
                replay(position, record)?;
            }
        }
    };
    refuse_damage(files, &scan, flaw, request.access)?;
    let end = end_of(&scan);
    let position = scan.position();
    let last = if end.segment == position.segment { end.offset } else { BLOCK };
    let ends = scan.passed().iter().copied().chain([(position.segment, last)]);
    for (live, (number, end)) in files.live.iter_mut().zip(ends) {
        assert!(live.header.number == number, "segments are passed in order");
        live.end = end;
    }
    Ok(end)
}

/// Where the log ends that was scanned: at the scan's position, unless all that the last segment
/// holds is a record without its end. Then it ends in the segment before that has frames.
fn end_of(scan: &Scan) -> Position {
    let position = scan.position();
    let is_all = |start: &Position| start.segment == position.segment && start.offset == BLOCK;
    let Some(start) = scan.incomplete().filter(is_all) else { return position };
    let with_frames = scan.passed().iter().rev().find(|(_, end)| *end > BLOCK);
    match with_frames.or(scan.passed().first()) {
        Some(&(segment, offset)) if !mutation::is(Mutation::LongRecordKept) => {
            Position { segment, offset, lsn: start.lsn }
        }
        _ => position,
    }
}

/// Looks for any sign that the frame at the scan's position was once durable.
fn refuse_damage(files: &Files, scan: &Scan, flaw: Flaw, access: Access) -> Result<()> {
    let end = scan.position();
    let is_attached = access == Access::Attached;
    let mut window = Window::default();
    let live = scan.segment();
    let mut offset = end.offset;
    // The next frame begins within the length of one. Who opens looks further, for the case that
    // this one is damaged too; that much reading is not asked of a device at each attach.
    let near = offset.saturating_add(BLOCK + WAL_FRAME_BYTES_MAX as u64);
    let limit = if is_attached { near.min(live.header.bytes) } else { live.header.bytes };
    while offset < limit {
        if let Some(later) = trace_of_later(&mut window, live, offset, end.lsn)? {
            if is_attached && scan.has_come()? {
                // It was not there when the scan was: the log that was read ends before it.
                return Ok(());
            }
            return Err(damage(scan, flaw, later, &live.segment.path, offset));
        }
        offset += BLOCK;
    }
    // Behind a record without its end the next session goes on with the record's own LSNs.
    let lsn = end_of(scan).lsn;
    for segment in files.blank.iter().chain(&files.broken) {
        let mut offset = BLOCK;
        // A segment begins with its first frame.
        let limit = if is_attached { segment.bytes.min(WINDOW_BYTES) } else { segment.bytes };
        while offset < limit {
            if let Ok((header, _)) = frame_at(&mut window, segment, offset, segment.bytes)?
                && header.lsn >= lsn
            {
                if is_attached && has_header(segment)? {
                    // It was put to use since its header was read.
                    break;
                }
                return Err(damage(scan, flaw, header.lsn, &segment.path, offset));
            }
            offset += BLOCK;
        }
    }
    Ok(())
}

/// True when by now the file has a header.
fn has_header(segment: &SegmentFile) -> Result<bool> {
    let mut window = Window::default();
    let block = window.read(segment, 0, WAL_BLOCK_BYTES, BLOCK)?;
    Ok(matches!(SegmentHeader::decode(block), FoundHeader::Valid(_)))
}

/// The LSN of a frame at `offset` that proves that frame `lsn` was durable once.
///
/// The salt is random and no user sees it, so a header with this salt and a larger LSN was written
/// by this log, even when the rest of that frame is damaged too. The same LSN proves it only with
/// a valid frame: the torn frame itself has it.
fn trace_of_later(window: &mut Window, live: &Live, offset: u64, lsn: Lsn) -> Result<Option<Lsn>> {
    let limit = live.header.bytes;
    let block = window.read(&live.segment, offset, WAL_BLOCK_BYTES, limit)?;
    let Some(header) = FrameHeader::decode(block) else { return Ok(None) };
    if header.salt != live.header.salt || header.lsn < lsn {
        return Ok(None);
    }
    let proven = header.lsn > lsn || frame_at(window, &live.segment, offset, limit)?.is_ok();
    Ok(proven.then_some(header.lsn))
}

fn damage(scan: &Scan, flaw: Flaw, later: Lsn, path: &Path, offset: u64) -> Error {
    let end = scan.position();
    let expected = format!(
        "frame {}, because frame {later} is at block {} of {}",
        end.lsn,
        offset / BLOCK,
        path.display()
    );
    let block = end.offset / BLOCK;
    Error::corrupt(&scan.segment().segment.path, block, expected, flaw.to_string())
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::super::fixture::{
        ID, SMALL, commit, create, damage, dir, fail_at, files, nothing, open, pseudo_random, range,
    };
    use super::super::record::Splitter;
    use super::super::{Kept, Leaves, Wal};
    use super::*;
    use crate::io::sim::{CrashImages, SimDisk};

    /// A record that tells its number, `len` bytes long.
    fn numbered(n: u32, len: usize) -> Vec<u8> {
        let mut record = n.to_le_bytes().to_vec();
        record.resize(len.max(4), 0xA5);
        record
    }

    /// Two frames in one segment; in the next session's a record that fills the rest of it and goes
    /// on in a third, where one more frame follows and one block is free.
    fn small_log() -> (SimDisk, Vec<Vec<u8>>) {
        let disk = SimDisk::new(7);
        let records = vec![numbered(0, 10), numbered(1, 20), numbered(2, 13_000), numbered(3, 30)];
        let wal = create(&disk);
        commit(&wal, &records[0]);
        commit(&wal, &records[1]);
        drop(wal);
        let (wal, _) = open(&disk, Position::START).unwrap();
        commit(&wal, &records[2]);
        commit(&wal, &records[3]);
        drop(wal);
        // An open removes what holds no segment.
        open(&disk, Position::START).unwrap();
        (disk, records)
    }

    /// The file of a segment.
    fn file_of(disk: &SimDisk, number: u64) -> PathBuf {
        let holds =
            |path: &PathBuf| match SegmentHeader::decode(&disk.read_file(path).unwrap()[..4096]) {
                FoundHeader::Valid(header) => header.number == number,
                _ => false,
            };
        files(disk).into_iter().find(holds).unwrap()
    }

    /// The last segment of [`small_log`], its free block, and a frame that could stand there.
    fn next_frame(disk: &SimDisk, salt_mask: u64, lsn: Lsn) -> (Vec<u8>, usize, Vec<u8>) {
        let content = disk.read_file(file_of(disk, 3)).unwrap();
        let FoundHeader::Valid(header) = SegmentHeader::decode(&content[..4096]) else { panic!() };
        let mut frame = vec![0; 4096];
        let mut splitter = Splitter::new(std::iter::once(&b"torn"[..]));
        splitter.encode_frame(&mut frame, header.salt ^ salt_mask, lsn);
        let at = content.len() - 4096;
        assert!(content[at..].iter().all(|byte| *byte == 0), "the last block is free");
        (content, at, frame)
    }

    /// What a recovery of a damaged log may say: damage, or what was there, or all but the last
    /// frame when that is what was hit.
    fn assert_prefix_or_corrupt(disk: &SimDisk, records: &[Vec<u8>], what: &str) -> bool {
        match open(disk, Position::START) {
            Ok((_, found)) => {
                assert!(records.starts_with(&found), "{what}: invented records");
                assert!(found.len() + 1 >= records.len(), "{what}: lost {:?}", found.len());
                let (_, again) = open(disk, Position::START).unwrap();
                assert_eq!(found, again, "{what}: recovering twice");
                found.len() == records.len()
            }
            Err(error) => {
                assert!(error.is_corrupt(), "{what}: {error}");
                false
            }
        }
    }

    #[test]
    fn records_of_several_sessions_are_replayed_in_order() {
        let (disk, records) = small_log();
        let (wal, found) = open(&disk, Position::START).unwrap();
        assert_eq!(found, records);
        let end = wal.end();
        assert_eq!(end.lsn, Lsn(6));
        assert_eq!(wal.bytes_since(Position::START), 5 * BLOCK + 2 * BLOCK);
        let (_, found) = open(&disk, end).unwrap();
        assert_eq!(found.len(), 0);
    }

    #[test]
    fn a_flipped_byte_anywhere_loses_at_most_the_last_frame() {
        let (disk, records) = small_log();
        let mut intact = 0;
        for path in files(&disk) {
            let len = disk.read_file(&path).unwrap().len();
            for at in (0..len).step_by(if cfg!(miri) { 3911 } else { 1 }) {
                damage(&disk, &path, |content| content[at] ^= 0x40);
                let what = format!("byte {at} of {}", path.display());
                intact += usize::from(assert_prefix_or_corrupt(&disk, &records, &what));
                damage(&disk, &path, |content| content[at] ^= 0x40);
            }
        }
        assert!(intact > 0, "padding harms nobody");
    }

    #[test]
    fn a_file_cut_short_is_damage() {
        let (disk, records) = small_log();
        for path in files(&disk) {
            let whole = disk.read_file(&path).unwrap();
            for len in (0..whole.len()).step_by(if cfg!(miri) { 5001 } else { 7 }) {
                damage(&disk, &path, |content| content.truncate(len));
                match open(&disk, Position::START) {
                    Err(error) => assert!(error.is_corrupt(), "{error}"),
                    Ok(_) => panic!("{} of {len} bytes was accepted", path.display()),
                }
                damage(&disk, &path, |content| content.clone_from(&whole));
            }
            damage(&disk, &path, |content| content.resize(whole.len() + 8192, 0));
            assert_eq!(open(&disk, Position::START).unwrap().1, records);
            damage(&disk, &path, |content| content.clone_from(&whole));
        }
    }

    #[test]
    fn a_write_torn_at_any_sector_is_the_end_of_the_log() {
        let (disk, mut records) = small_log();
        let path = file_of(&disk, 3);
        let (before, at, frame) = next_frame(&disk, 0, Lsn(6));
        for mask in (0..=255_u32).step_by(if cfg!(miri) { 85 } else { 1 }) {
            damage(&disk, &path, |content| {
                content.clone_from(&before);
                for sector in 0..8 {
                    let range = sector * 512..(sector + 1) * 512;
                    if mask >> sector & 1 == 1 {
                        content[at..][range.clone()].copy_from_slice(&frame[range]);
                    } else if mask & 16 != 0 {
                        content[at..][range].fill(mask as u8);
                    }
                }
            });
            let (_, found) = open(&disk, Position::START).unwrap();
            // All that matters of this frame is in its first sector.
            if mask & 1 == 1 {
                records.push(b"torn".to_vec());
            }
            assert_eq!(found, records);
            records.truncate(4);
        }
    }

    #[test]
    fn a_frame_of_another_salt_is_neither_replayed_nor_taken_for_a_trace() {
        for lsn in [Lsn(5), Lsn(6), Lsn(7)] {
            let (disk, records) = small_log();
            let (_, at, frame) = next_frame(&disk, 1, lsn);
            disk.overwrite(file_of(&disk, 3), at as u64, &frame).unwrap();
            assert_eq!(open(&disk, Position::START).unwrap().1, records, "{lsn}");
        }
    }

    /// Goal: no power cut at any moment loses an acknowledged record or brings back a recycled one,
    /// and a second power cut during recovery changes nothing.
    /// Method: a short history of two sessions with a checkpoint, recorded; every disk that a cut
    /// in each of its operations may leave where they are few, else a sample.
    #[test]
    fn every_power_cut_of_a_short_history_is_recovered() {
        let disk = SimDisk::new(11);
        let mut wal = create(&disk);
        let record = |n: u64| numbered(n as u32, [10, 5000, 13_000, 30][n as usize % 4]);
        let mut ends = vec![Position::START];
        disk.start_trace();
        for n in 0..if cfg!(miri) { 2 } else { 16 } {
            commit(&wal, &record(n));
            ends.push(wal.end());
            // Acknowledged records, and how many of them the checkpoint holds.
            disk.mark((n + 1) << 8 | if n < 7 { 0 } else { 6 });
            if n == 7 {
                wal.recycle(ends[6], Kept::AsAsked).unwrap();
            }
            if n == 11 {
                wal = open(&disk, ends[6]).unwrap().0;
            }
        }
        let trace = disk.take_trace().unwrap();
        let (mut images, mut mark, mut checked) = (CrashImages::new(&trace), 0, 0_u64);
        loop {
            let more = images.advance();
            mark = more.and_then(crate::io::sim::Event::mark).unwrap_or(mark);
            let mut check = |image: SimDisk| {
                let (acknowledged, held) = (mark >> 8, mark & 0xFF);
                let (again, found) = open(&image, ends[held as usize]).unwrap();
                let all: Vec<_> = (held..=acknowledged).map(record).collect();
                assert!(all.starts_with(&found), "invented records");
                assert!(found.len() as u64 >= acknowledged - held, "lost records");
                let (twice, found_twice) =
                    open(&image.crash(checked), ends[held as usize]).unwrap();
                assert_eq!((again.end(), found), (twice.end(), found_twice));
                checked += 1;
            };
            let sample = if cfg!(miri) { 1 } else { 16 };
            match images.all(if cfg!(miri) { 0 } else { 8 }) {
                Some(all) => all.for_each(check),
                None => (0..sample).for_each(|seed| check(images.image(seed))),
            }
            if more.is_none() {
                break;
            }
        }
        assert!(checked > 1000 || cfg!(miri), "{checked} images");
    }

    #[test]
    fn damage_before_a_valid_frame_is_reported_with_its_place() {
        let (disk, _) = small_log();
        let path = file_of(&disk, 1);
        damage(&disk, &path, |content| content[4096 + 40] ^= 1);
        let error = open(&disk, Position::START).unwrap_err();
        let ErrorKind::Corrupt(corruption) = error.kind() else { panic!("{error}") };
        assert_eq!((corruption.page, &corruption.file), (1, &path));
        assert!(corruption.expected.contains("frame 1"), "{error}");
    }

    #[test]
    fn two_damaged_frames_at_the_end_are_not_taken_for_a_torn_one() {
        let disk = SimDisk::new(1);
        let wal = create(&disk);
        (0..3).for_each(|n| commit(&wal, &numbered(n, 10)));
        let path = file_of(&disk, 1);
        damage(&disk, &path, |content| content[2 * 4096 + 40] ^= 1);
        damage(&disk, &path, |content| content[3 * 4096 + 40] ^= 1);
        assert!(open(&disk, Position::START).unwrap_err().is_corrupt());
    }

    #[test]
    fn a_lost_segment_header_is_damage_when_frames_stand_behind_it() {
        let (disk, _) = small_log();
        let last = file_of(&disk, 3);
        let whole = disk.read_file(&last).unwrap();
        damage(&disk, &last, |content| content[..4096].fill(0));
        assert!(open(&disk, Position::START).unwrap_err().is_corrupt());
        damage(&disk, &last, |content| content[..4096].fill(0xFF));
        assert!(open(&disk, Position::START).unwrap_err().is_corrupt());
        damage(&disk, &last, |content| content.clone_from(&whole));
        let first = file_of(&disk, 1);
        damage(&disk, &first, |content| content[20] ^= 1);
        assert!(open(&disk, Position::START).unwrap_err().is_corrupt());
    }

    #[test]
    fn a_missing_segment_is_damage_and_a_foreign_one_is_refused() {
        let (disk, _) = small_log();
        let paths = [file_of(&disk, 1), file_of(&disk, 2)];
        damage(&disk, &paths[1], |content| content[100] ^= 1);
        assert!(open(&disk, Position::START).unwrap_err().is_corrupt());
        damage(&disk, &paths[1], |content| content[100] ^= 1);
        let first = disk.read_file(&paths[0]).unwrap();
        damage(&disk, &paths[1], |content| content.clone_from(&first));
        let error = open(&disk, Position::START).unwrap_err();
        assert!(error.to_string().contains("one segment 1"), "{error}");
        let outcome = Wal::open(
            Arc::new(disk),
            dir(),
            [1; 16],
            range(Position::START, false),
            SMALL,
            &mut |_, _| Ok(()),
        );
        assert!(matches!(outcome.unwrap_err().kind(), ErrorKind::NotADatabase { .. }));
    }

    #[test]
    fn a_position_that_the_log_does_not_hold_is_damage() {
        let (disk, _) = small_log();
        let start = Position::START;
        for from in [
            Position { segment: 9, ..start },
            Position { offset: 1 << 40, ..start },
            Position { offset: 4097, ..start },
            Position { offset: 0, ..start },
            Position { lsn: Lsn(0), ..start },
            Position { lsn: Lsn(2), ..start },
            Position { lsn: Lsn(9), ..start },
        ] {
            assert!(open(&disk, from).unwrap_err().is_corrupt(), "{from:?}");
        }
    }

    #[test]
    fn an_incomplete_record_of_an_earlier_session_is_dropped() {
        for tail in [1, 2, 3] {
            let disk = SimDisk::new(3);
            let wal = create(&disk);
            commit(&wal, b"before");
            // Three frames; segments of this size have three blocks for frames.
            wal.reserve(11_000, Leaves::Nothing, &nothing).unwrap();
            let sequence = wal.append(&numbered(1, 11_000)).unwrap();
            fail_at(&disk, tail, true);
            let failed = wal.wait(sequence, &nothing).unwrap_err();
            assert!(failed.is_outcome_unknown());
            let disk = disk.crash(1);
            for session in 0..3 {
                let (wal, found) = open(&disk, Position::START).unwrap();
                assert_eq!(found.len(), 1 + session, "tail {tail}");
                assert_eq!(found[0], b"before");
                commit(&wal, b"after");
            }
        }
    }

    #[test]
    fn a_clean_log_is_opened_without_a_scan_and_an_unclean_one_is_not() {
        let (disk, records) = small_log();
        let (wal, _) = open(&disk, Position::START).unwrap();
        let end = wal.end();
        drop(wal);
        let listing = segment::list(&disk, dir()).unwrap();
        let open_clean = |from: Position| {
            let mut count = 0;
            disk.reset_stats();
            let wal = Wal::open(
                Arc::new(disk.clone()),
                dir(),
                ID,
                range(from, true),
                SMALL,
                &mut |_, _| {
                    count += 1;
                    Ok(())
                },
            )
            .unwrap();
            assert_eq!(wal.end(), end);
            let stats = disk.stats();
            (count, stats.bytes_read, stats.syncs + stats.writes + stats.removes)
        };
        // Of each segment the header, and of the older two the block behind it.
        let headers = (listing.segments.len() as u64 + 2) * BLOCK;
        assert_eq!(open_clean(end), (0, headers, 0));
        // A segment with a higher number proves that the log was used afterwards.
        assert_eq!(open_clean(Position::START).0, records.len());
    }

    #[test]
    fn reading_only_replays_the_same_and_changes_nothing() {
        let (disk, records) = small_log();
        disk.write_file(dir().join("00000000000000ff.tmp"), b"").unwrap();
        disk.write_file(dir().join("00000000000000fe.wal"), &[0; 16_384]).unwrap();
        disk.reset_stats();
        let before = disk.contents();
        let mut found = Vec::new();
        let mut replay = |_, record: &[u8]| {
            found.push(record.to_vec());
            Ok(())
        };
        let end =
            Wal::read_only(&disk, dir(), ID, range(Position::START, false), &mut replay).unwrap();
        assert_eq!((found, disk.contents()), (records, before));
        let stats = disk.stats();
        assert_eq!((stats.syncs, stats.writes, stats.durable_writes, stats.removes), (0, 0, 0, 0));
        assert_eq!(end, open(&disk, Position::START).unwrap().0.end());
    }

    #[test]
    fn unfinished_files_are_removed_and_strange_names_left_alone() {
        let (disk, records) = small_log();
        for name in ["00000000000000ff.tmp", "00000000000000FF.wal", "notes", "1.wal"] {
            disk.open(&dir().join(name), OpenMode::CreateNew).unwrap();
        }
        let (wal, found) = open(&disk, Position::START).unwrap();
        assert_eq!(found, records);
        assert_eq!(
            disk.list_all().keys().filter(|path| path.ends_with("00000000000000ff.tmp")).count(),
            0
        );
        assert!(disk.read_file(dir().join("00000000000000FF.wal")).is_ok());
        commit(&wal, &[1; 50_000]);
        assert!(disk.read_file(dir().join("0000000000000100.wal")).is_ok(), "a new number");
    }

    #[test]
    fn hostile_bytes_never_panic() {
        let (disk, _) = small_log();
        let paths = files(&disk);
        let rounds = if cfg!(miri) { 5 } else { 20_000 };
        let mut random = pseudo_random(42);
        let mut random = move || random(1 << 31) as usize;
        for _ in 0..rounds {
            let path = &paths[random() % paths.len()];
            let whole = disk.read_file(path).unwrap();
            damage(&disk, path, |content| {
                // A field of a frame, then its checksum made right again.
                let at = 4096 * (1 + random() % 3);
                let field = at + 8 + random() % 40;
                content[field] = random() as u8;
                let len = u32::from_le_bytes(content[at + 24..at + 28].try_into().unwrap());
                let end = (at + 32).saturating_add(len as usize).min(content.len());
                let crc = crc32fast::hash(&content[at + 8..end]);
                content[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
            });
            if let Err(error) = open(&disk, Position::START) {
                assert!(error.is_corrupt(), "{error}");
            }
            damage(&disk, path, |content| content.clone_from(&whole));
        }
    }
}
