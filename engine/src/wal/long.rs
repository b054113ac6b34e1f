//! A record that is too long to wait in memory for its commit: its pieces are written while its
//! transaction runs.
//!
//! They go to a file of their own, under a temporary name, around the system's cache: nobody reads
//! them soon. A thread of the record's own writes one while the next is put together. When the
//! transaction commits, the file becomes the log's next segment, which ends in a record without its
//! end; then the last piece is written, like any other frame, and the record is whole. Memory holds
//! one piece, and a few frames.
//!
//! ```text
//!   write       pieces, not synced              a file that every open removes
//!   finish      header; sync; rename; sync      a record without its end, which no open counts
//!               of the directory
//!               the last piece, durable         committed
//! ```
//!
//! Never touches a segment of the log, and never decides that a record is long. Invariants:
//! 1. Nobody appends between [`LongRecord::begin`] and the record's own append. So the LSNs of its
//!    pieces are those that come next; given up, it leaves them to whoever comes then.
//! 2. The file has its final name only when all it holds is durable, and that name is durable
//!    before the last piece is written: so of the log's own invariants none is touched.
//! 3. Space is allocated before it is written to: a full disk is met before the commit.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::WalOptions;
use super::record::{BLOCK, CHUNK_HEADER_BYTES, FRAME_HEADER_BYTES, SegmentHeader, encode_piece};
use super::segment::{self, SegmentFile};
use crate::error::{Error, Result};
use crate::ids::Lsn;
use crate::io::{File, Host, OpenMode, Region, WriteBehind};
use crate::limits::{WAL_BLOCK_BYTES, WAL_SEGMENT_BYTES_MIN};
use crate::mutation::{self, Mutation};

/// The file grows by an eighth, but by no less than two pieces and no more than this.
const GROWTH_BYTES_MAX: u64 = 64 << 20;
/// A piece is written in frames of so many bytes: the first is on its way while the others are put
/// together.
const FRAME_BYTES: usize = 1 << 20;
/// So much is left for the frame that makes the record whole, of one block: what comes before it
/// need not be durable at once.
const LAST_BYTES: usize = WAL_BLOCK_BYTES - FRAME_HEADER_BYTES - CHUNK_HEADER_BYTES;

/// A long record under way. Dropped before it is finished, it takes its file away.
#[derive(Debug)]
pub(crate) struct LongRecord {
    host: Arc<dyn Host>,
    dir: PathBuf,
    file: Arc<dyn File>,
    file_number: u64,
    temporary: PathBuf,
    salt: u64,
    first_lsn: Lsn,
    /// Frames written so far, and where the next one goes.
    frames: u64,
    end: u64,
    /// Length of the file.
    allocated: u64,
    /// Bytes of the record so far.
    record_bytes: u64,
    piece_bytes: usize,
    last_piece: Vec<u8>,
    /// What becomes the segment behind it.
    next: Option<SegmentFile>,
    /// Where frames are put together, and the thread that writes them.
    behind: WriteBehind,
    is_named: bool,
}

/// A long record that is whole, as a segment of the log.
pub(super) struct Finished {
    pub(super) segment: SegmentFile,
    /// What becomes the segment behind it.
    pub(super) next: SegmentFile,
    /// Where its last frame ends.
    pub(super) end: u64,
    pub(super) frames: u64,
}

impl LongRecord {
    /// Opens the file of this number. REQUIRES that everything appended is durable, `first_lsn` is
    /// what comes next, and invariant 1 from here on.
    pub(super) fn begin(
        host: &Arc<dyn Host>,
        dir: &Path,
        file_number: u64,
        first_lsn: Lsn,
        options: &WalOptions,
    ) -> Result<LongRecord> {
        let temporary = segment::temporary_path(dir, file_number);
        let file = host.open_log(&temporary, OpenMode::CreateNew);
        let file = file.map_err(|error| Error::io("create", &temporary, error))?;
        let frame_bytes_max = frame_bytes(options.piece_bytes().min(FRAME_BYTES));
        let behind = WriteBehind::new(Arc::clone(&file), frame_bytes_max, options.threads);
        Ok(LongRecord {
            host: Arc::clone(host),
            dir: dir.to_path_buf(),
            file,
            file_number,
            temporary,
            salt: host.random(),
            first_lsn,
            frames: 0,
            end: BLOCK,
            allocated: 0,
            record_bytes: 0,
            piece_bytes: options.piece_bytes(),
            last_piece: Vec::new(),
            next: None,
            behind,
            is_named: false,
        })
    }

    /// Writes the next piece, which is not the last, or has it written. Fails with `Full` when the
    /// disk has no space; after a failure the record can only be given up.
    pub(crate) fn write(&mut self, piece: &[u8]) -> Result<()> {
        for bytes in piece.chunks(FRAME_BYTES) {
            self.allocate(self.end + frame_bytes(bytes.len()) as u64)?;
            let memory = self.behind.memory().map_err(self.failed("write"))?;
            let frame_bytes = self.encode(&memory, bytes, false);
            let written = self.behind.write(memory, frame_bytes, self.end);
            written.map_err(self.failed("write"))?;
            self.end += frame_bytes as u64;
            self.frames += 1;
        }
        self.record_bytes += piece.len() as u64;
        Ok(())
    }

    /// Takes the last piece and makes sure that there is space for it, and what becomes the segment
    /// behind it. Returns when all other pieces are written.
    pub(super) fn end(&mut self, last_piece: Vec<u8>, next: SegmentFile) -> Result<()> {
        self.next = Some(next);
        self.last_piece = last_piece;
        let before = self.last_piece.len().saturating_sub(LAST_BYTES);
        if before > 0 {
            let last = self.last_piece.split_off(before);
            let before = std::mem::replace(&mut self.last_piece, last);
            self.write(&before)?;
        }
        self.record_bytes += self.last_piece.len() as u64;
        self.allocate(self.segment_bytes())?;
        self.behind.finish().map_err(self.failed("write"))
    }

    /// Bytes of the record so far, headers not counted.
    pub(crate) fn record_bytes(&self) -> u64 {
        self.record_bytes
    }

    pub(super) fn first_lsn(&self) -> Lsn {
        self.first_lsn
    }

    pub(super) fn salt(&self) -> u64 {
        self.salt
    }

    /// Length of the segment that it becomes.
    pub(super) fn segment_bytes(&self) -> u64 {
        (self.end + frame_bytes(self.last_piece.len()) as u64).max(WAL_SEGMENT_BYTES_MIN)
    }

    /// Makes the file a segment with this header, and then the record whole.
    pub(super) fn finish(mut self, header: &SegmentHeader) -> Result<Finished> {
        assert!(header.bytes == self.segment_bytes(), "a header tells the length of its file");
        let block = Region::heap(WAL_BLOCK_BYTES);
        header.encode(block.bytes_mut(0, WAL_BLOCK_BYTES));
        let block = block.bytes(0, WAL_BLOCK_BYTES);
        self.file.write_at(block, 0).map_err(self.failed("write"))?;
        if self.allocated > header.bytes {
            self.file.set_len(header.bytes).map_err(self.failed("cut"))?;
        }
        if !mutation::is(Mutation::LongRecordNotSynced) {
            self.file.sync().map_err(self.failed("sync"))?;
        }
        let path = segment::path(&self.dir, self.file_number);
        self.host.rename(&self.temporary, &path).map_err(self.failed("rename"))?;
        self.is_named = true;
        if !mutation::is(Mutation::LongRecordNameNotSynced) {
            segment::sync_dir(&*self.host, &self.dir)?;
        }
        let last_piece = std::mem::take(&mut self.last_piece);
        let memory = self.behind.memory().map_err(self.failed("write"))?;
        let frame_bytes = self.encode(&memory, &last_piece, true);
        self.file
            .write_durable_at(memory.bytes(0, frame_bytes), self.end)
            .map_err(|error| Error::io("write", &path, error))?;
        let segment = SegmentFile {
            path,
            file: Arc::clone(&self.file),
            file_number: self.file_number,
            bytes: header.bytes,
            filled: true,
            is_long: true,
        };
        let next = self.next.take().expect("invariant: the end was told");
        let end = self.end + frame_bytes as u64;
        Ok(Finished { segment, next, end, frames: self.frames + 1 })
    }

    fn encode(&self, memory: &Region, piece: &[u8], is_last: bool) -> usize {
        let memory = memory.bytes_mut(0, frame_bytes(piece.len()));
        let lsn = Lsn(self.first_lsn.0 + self.frames);
        encode_piece(memory, piece, (self.frames == 0, is_last), self.salt, lsn)
    }

    /// Makes sure that the file has blocks for `bytes`.
    fn allocate(&mut self, bytes: u64) -> Result<()> {
        if bytes <= self.allocated {
            return Ok(());
        }
        let piece = frame_bytes(self.piece_bytes) as u64;
        let growth = (self.allocated / 8).min(GROWTH_BYTES_MAX).max(2 * piece);
        let generous = bytes.max((self.allocated + growth) / BLOCK * BLOCK);
        let made = self.file.allocate(generous).map(|()| generous);
        // Where there is no room to be generous, there may be for what is needed; and what was
        // taken before the room ended is not for this file.
        let made = made.or_else(|_| {
            self.file.set_len(self.allocated)?;
            self.file.allocate(bytes).map(|()| bytes)
        });
        self.allocated = made.map_err(self.failed("allocate"))?;
        Ok(())
    }

    fn failed(&self, operation: &'static str) -> impl Fn(std::io::Error) -> Error + use<'_> {
        move |error| Error::io(operation, &self.temporary, error)
    }
}

impl Drop for LongRecord {
    fn drop(&mut self) {
        // Files that stay are removed by the next session.
        if !self.is_named {
            let _left_to_the_next_open = self.host.remove_file(&self.temporary);
        }
        if let Some(next) = &self.next {
            let _left_to_the_next_session = self.host.remove_file(&next.path);
        }
    }
}

/// Length of the frame of a piece.
fn frame_bytes(piece_bytes: usize) -> usize {
    (FRAME_HEADER_BYTES + CHUNK_HEADER_BYTES + piece_bytes).next_multiple_of(WAL_BLOCK_BYTES)
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::super::fixture::{
        ID, commit, create_with, damage, dir, fail_at, files, limit_space, nothing, open_with,
    };
    use super::super::{Kept, Leaves, Position, ReplayRange, Wal};
    use super::*;
    use crate::io::sim::{CrashImages, SimDisk};

    const PIECE: usize = 5000;
    const OPTIONS: WalOptions = WalOptions {
        segment_bytes_max: WAL_SEGMENT_BYTES_MIN,
        piece_bytes: PIECE,
        ..super::super::fixture::SMALL
    };

    fn record(n: u64, len: usize) -> Vec<u8> {
        let mut record = n.to_le_bytes().to_vec();
        record.resize(len.max(8), n as u8);
        record
    }

    /// Writes all pieces but the last; the record, and the last piece.
    fn begin(wal: &Wal, record: &[u8]) -> Result<(LongRecord, Vec<u8>)> {
        let mut long = wal.begin_long(&nothing)?;
        let whole = (record.len() - 1) / PIECE * PIECE;
        for piece in record[..whole].chunks(PIECE) {
            long.write(piece)?;
        }
        Ok((long, record[whole..].to_vec()))
    }

    fn commit_long(wal: &Wal, record: &[u8]) -> Result<()> {
        let (mut long, last) = begin(wal, record)?;
        wal.end_long(&mut long, last)?;
        assert_eq!(long.record_bytes(), record.len() as u64);
        let appended = wal.append_long(long)?;
        wal.wait(appended.sequence, &nothing)
    }

    fn open(disk: &SimDisk, from: Position) -> Result<(Wal, Vec<Vec<u8>>)> {
        open_with(disk, from, OPTIONS)
    }

    #[test]
    fn long_records_of_every_length_around_a_piece_are_read_back_among_others() {
        let disk = SimDisk::new(1);
        let wal = create_with(&disk, OPTIONS);
        let mut records = Vec::new();
        for (n, len) in [1, 4999, 5000, 5001, 9999, 10_000, 10_001, 77_000].into_iter().enumerate()
        {
            let (short, long) = (record(n as u64, 9), record(n as u64, len));
            commit(&wal, &short);
            commit_long(&wal, &long).unwrap();
            records.extend([short, long]);
        }
        let end = wal.end();
        drop(wal);
        let (wal, found) = open(&disk, Position::START).unwrap();
        assert_eq!(found, records);
        assert_eq!(wal.end(), end);
        commit(&wal, b"one more");
        wal.recycle(wal.end(), Kept::AsAsked).unwrap();
        assert!(wal.stats().file_bytes < 8 * WAL_SEGMENT_BYTES_MIN, "{:?}", wal.stats());
    }

    #[test]
    fn a_record_that_is_given_up_leaves_nothing() {
        let disk = SimDisk::new(1);
        let wal = create_with(&disk, OPTIONS);
        commit(&wal, b"before");
        // What is kept for deletes is made first.
        drop(begin(&wal, b"nothing").unwrap());
        let (before, end) = (disk.list_all().len(), wal.end());
        for with_end in [false, true] {
            let (mut long, last) = begin(&wal, &record(7, 50_000)).unwrap();
            assert_eq!(disk.list_all().len(), before + 1);
            if with_end {
                wal.end_long(&mut long, last).unwrap();
            }
            drop(long);
            assert_eq!((disk.list_all().len(), wal.end()), (before, end));
        }
        commit(&wal, b"behind");
        drop(wal);
        assert_eq!(open(&disk, Position::START).unwrap().1, [&b"before"[..], b"behind"]);
    }

    #[test]
    fn a_full_disk_is_met_before_the_commit_and_costs_nothing_else() {
        for room in (0..80_000).step_by(4096) {
            let disk = SimDisk::new(1);
            let wal = create_with(&disk, OPTIONS);
            commit(&wal, b"before");
            let (long, short) = (record(7, 50_000), record(8, 100));
            limit_space(&disk, room);
            let made = begin(&wal, &long).and_then(|(mut long, last)| {
                wal.end_long(&mut long, last)?;
                Ok(long)
            });
            let outcome = match made {
                Ok(long) => {
                    let appended = wal.append_long(long).unwrap();
                    wal.wait(appended.sequence, &nothing).unwrap();
                    vec![b"before".to_vec(), record(7, 50_000), short.clone()]
                }
                Err(error) => {
                    assert!(error.is_full(), "{room}: {error}");
                    vec![b"before".to_vec(), short.clone()]
                }
            };
            disk.set_capacity(None);
            commit(&wal, &short);
            drop(wal);
            assert_eq!(open(&disk, Position::START).unwrap().1, outcome, "room {room}");
        }
    }

    #[test]
    fn a_failure_of_any_operation_leaves_all_or_nothing_of_the_record() {
        let long = record(7, 22_000);
        for number in 1.. {
            let disk = SimDisk::new(number);
            let wal = create_with(&disk, OPTIONS);
            commit(&wal, b"before");
            fail_at(&disk, number, false);
            let outcome = commit_long(&wal, &long);
            disk.clear_faults();
            if disk.stats().faults == 0 {
                outcome.unwrap();
                assert!(number > 15, "{number} operations");
                break;
            }
            drop(wal);
            let (_, found) = open(&disk.crash(number), Position::START).unwrap();
            let all = [b"before".to_vec(), long.clone()];
            assert!(found == all[..1] || found == all, "operation {number}");
            assert!(outcome.is_err() || found == all, "operation {number}");
        }
    }

    /// Goal: no power cut loses an acknowledged record, shows a part of a long one, or leaves a log
    /// that a second open reads otherwise.
    /// Method: short, long and given up records in two sessions, recorded; every disk that a cut in
    /// each operation may leave where they are few, else a sample. What is recovered goes on, and
    /// is cut again.
    #[test]
    fn every_power_cut_of_a_history_with_long_records_is_recovered() {
        let disk = SimDisk::new(5);
        let mut wal = create_with(&disk, OPTIONS);
        let lengths = [10, 12_000, 30, 16_000, 5001];
        let record = |n: u64| record(n, lengths[n as usize % lengths.len()]);
        disk.start_trace();
        for n in 0..if cfg!(miri) { 2 } else { 10 } {
            if n % 3 == 1 {
                drop(begin(&wal, &record(n + 100)).unwrap());
            }
            match lengths[n as usize % lengths.len()] {
                len if len < PIECE => commit(&wal, &record(n)),
                _ => commit_long(&wal, &record(n)).unwrap(),
            }
            disk.mark(n + 1);
            if n == 5 {
                drop(wal);
                wal = open(&disk, Position::START).unwrap().0;
            }
        }
        let trace = disk.take_trace().unwrap();
        let (mut images, mut acknowledged, mut checked) = (CrashImages::new(&trace), 0, 0_u64);
        loop {
            let more = images.advance();
            acknowledged = more.and_then(crate::io::sim::Event::mark).unwrap_or(acknowledged);
            let mut check = |image: SimDisk| {
                let (again, found) = open(&image, Position::START).unwrap();
                let all: Vec<_> = (0..=acknowledged).map(record).collect();
                assert!(all.starts_with(&found), "invented records");
                assert!(found.len() as u64 >= acknowledged, "lost records");
                commit(&again, b"behind");
                drop(again);
                let (_, twice) = open(&image.crash(checked), Position::START).unwrap();
                let expected: Vec<_> = found.into_iter().chain([b"behind".to_vec()]).collect();
                assert_eq!(twice, expected);
                checked += 1;
            };
            match images.all(if cfg!(miri) { 0 } else { 8 }) {
                Some(all) => all.for_each(check),
                None => (0..if cfg!(miri) { 1 } else { 16 }).for_each(|n| check(images.image(n))),
            }
            if more.is_none() {
                break;
            }
        }
        assert!(checked > 1000 || cfg!(miri), "{checked} images");
    }

    /// What a failure of an operation of the commit leaves: the log without the record, and the
    /// disk.
    fn fail_in_commit(number: u64) -> (SimDisk, Position) {
        let disk = SimDisk::new(1);
        let wal = create_with(&disk, OPTIONS);
        commit(&wal, b"before");
        let end = wal.end();
        let (mut long, last) = begin(&wal, &record(7, 22_000)).unwrap();
        wal.end_long(&mut long, last).unwrap();
        let appended = wal.append_long(long).unwrap();
        fail_at(&disk, number, false);
        assert!(wal.wait(appended.sequence, &nothing).unwrap_err().is_outcome_unknown());
        drop(wal);
        disk.clear_faults();
        assert_eq!(files(&disk).len(), 2, "the segment has its name");
        (disk, end)
    }

    /// Numbers of the operations of a commit that sync the directory and write the last piece.
    const NAMED: u64 = 5;
    const LAST: u64 = 6;

    #[test]
    fn a_segment_without_the_end_of_its_record_counts_for_nothing() {
        for (number, crashed) in [(LAST, false), (LAST, true), (NAMED, false)] {
            let (disk, end) = fail_in_commit(number);
            let left = files(&disk);
            let mut disk = if crashed { disk.crash(3) } else { disk.fork() };
            for session in 0..2 {
                let (wal, found) = open(&disk, Position::START).unwrap();
                assert_eq!((found.len(), wal.end()), (1, end), "the log ends before the record");
                assert_eq!(wal.bytes_since(end), 0);
                drop(wal);
                disk = disk.fork();
                assert_eq!(files(&disk), left, "session {session}");
            }
            let (wal, _) = open(&disk, Position::START).unwrap();
            commit(&wal, b"behind");
            assert_eq!(wal.end().segment, end.segment + 2, "no number is used twice");
            // The name may not have been durable.
            for seed in 0..50 {
                let (_, found) = open(&disk.crash(seed), Position::START).unwrap();
                assert_eq!(found, [&b"before"[..], b"behind"], "seed {seed}");
            }
            wal.recycle(wal.end(), Kept::AsAsked).unwrap();
            assert!(!files(&disk).contains(&left[1]), "{} is used again", dir().display());
        }
    }

    /// What a second session leaves that goes on behind a segment without the end of its record:
    /// the disk, that segment's file, and where the log ends.
    fn go_on_behind() -> (SimDisk, PathBuf, Position) {
        let (disk, _) = fail_in_commit(NAMED);
        let unfinished = files(&disk)[1].clone();
        let (wal, _) = open(&disk, Position::START).unwrap();
        commit(&wal, b"behind");
        (disk, unfinished, wal.end())
    }

    #[test]
    fn a_later_session_does_not_use_it_again_either() {
        let (disk, unfinished, end) = go_on_behind();
        for keep in [Position::START, end] {
            let disk = disk.fork();
            let range = ReplayRange { keep, from: end, clean: false };
            let host = Arc::new(disk.clone());
            let wal = Wal::open(host, dir(), ID, range, OPTIONS, &mut |_, _| Ok(())).unwrap();
            for n in 0..20 {
                commit(&wal, &record(n, 9000));
                wal.recycle(wal.end(), Kept::AsAsked).unwrap();
            }
            assert!(!files(&disk).contains(&unfinished), "kept from {keep:?}");
        }
    }

    #[test]
    fn a_damaged_header_behind_it_is_not_taken_for_the_end() {
        let (disk, unfinished, _) = go_on_behind();
        let behind = files(&disk).into_iter().rfind(|path| *path > unfinished).unwrap();
        damage(&disk, &behind, |content| content[40] ^= 1);
        assert!(open(&disk, Position::START).unwrap_err().is_corrupt());
    }

    #[test]
    fn what_comes_behind_a_long_record_is_refused_in_time_when_the_disk_is_full() {
        let disk = SimDisk::new(1);
        let options = WalOptions { segment_bytes_max: 1 << 20, ..OPTIONS };
        let wal = create_with(&disk, options);
        commit(&wal, b"before");
        let (mut long, last) = begin(&wal, &record(7, 50_000)).unwrap();
        wal.end_long(&mut long, last).unwrap();
        limit_space(&disk, 0);
        // It fits what is left of the segment that the long record leaves.
        wal.append_long(long).unwrap();
        let next = record(8, 100_000);
        assert!(wal.reserve(next.len(), Leaves::Reserve, &nothing).unwrap_err().is_full());
        disk.set_capacity(None);
        commit(&wal, &next);
        drop(wal);
        let (_, found) = open(&disk, Position::START).unwrap();
        assert_eq!(found, [b"before".to_vec(), record(7, 50_000), next]);
    }
}
