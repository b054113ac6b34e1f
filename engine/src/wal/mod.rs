//! The write-ahead log: opaque records, made durable in groups, read back in order.
//!
//! A log is a directory of segments. Each session (each open) writes to segments of its own; each
//! flush appends one frame, or a few, to the newest. What is older than a checkpoint is recycled.
//! It knows nothing of keys, transactions or pages, and reads no clock. A thread of its own writes
//! long records, where it may.
//!
//! | file | holds |
//! |---|---|
//! | [`record`] | the bytes: segment headers, frames, chunks |
//! | [`group`] | who writes, who waits, who is woken |
//! | [`segment`] | segment files and their life |
//! | [`long`] | a record written while its transaction runs |
//! | [`writer`] | frames into segments |
//! | [`spares`], [`room`] | space ahead of need, for segments and for records |
//! | [`reader`] | frames out of segments, records out of frames |
//! | [`recover`] | opening: replay, and torn tail or damage |
//! | [`attached`] | replay of a log that another process writes |
//! | [`remains`] | what is left of a log that is damaged |
//!
//! Invariants:
//! 1. `published <= durable <= appended`; records are published in the order of their appends.
//! 2. A block that holds a frame which is still needed is never written again.
//! 3. A frame is written to the log only after the frame before it, and the header of its segment,
//!    are durable; and a file with frames becomes a part of it only when all of them are. So an
//!    invalid frame with a valid one behind it is damage, never a torn write.
//! 4. After a failed write or sync of a frame or header nothing is written any more. A failure to
//!    prepare or remove a file harms nothing and is only reported.
//! 5. LSNs are consecutive over the life of the database, and no two frames that a recovery can
//!    accept have the same one.
//!
//! Locks, in the order in which they may be taken: the group's state; `buffer` (the leader's own);
//! `maintenance` (preparing spares and recycling files); `segments` (lists, never held during I/O).

mod attached;
mod group;
mod long;
mod reader;
mod record;
mod recover;
mod remains;
mod room;
mod segment;
mod spares;
mod writer;

#[cfg(test)]
mod fixture;

use std::path::Path;
use std::sync::Arc;
use std::task::{Poll, Waker};

use self::group::{Batch, Group, Sink};
pub(crate) use self::long::LongRecord;
use self::reader::{Scan, Step};
use self::record::{BLOCK, Flaw};
use self::recover::Access;
pub(crate) use self::remains::{Remains, Remnant};
pub(crate) use self::room::Room;
use self::writer::Log;
use crate::error::{Error, Result};
use crate::ids::Lsn;
use crate::io::Host;
use crate::limits::{WAL_BLOCK_BYTES, WAL_PENDING_BYTES_MAX, WAL_PIECE_BYTES_MAX, WAL_SPARES_MAX};

/// Number of a record in this session, from 1. 0 stands for "before the first".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct Sequence(pub(crate) u64);

/// A record that was added to a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Appended {
    /// The record's number.
    pub(crate) sequence: Sequence,
    /// True when the record before it is in the same group: both become durable in one flush, and
    /// only the last record of a group is ever published.
    pub(crate) joined: bool,
}

/// What a record leaves of the space that is ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Leaves {
    /// [`WAL_RESERVE_BYTES`](crate::limits::WAL_RESERVE_BYTES), for records that only remove.
    Reserve,
    /// Nothing: it only removes.
    Nothing,
}

/// What is kept of the log that no recovery needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kept {
    /// What the options say.
    AsAsked,
    /// Nothing: the disk is full.
    Nothing,
}

/// A place between two frames: where the next frame starts, or would start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Position {
    /// Number of the segment.
    pub(crate) segment: u64,
    /// Bytes from the segment's start, a multiple of a block.
    pub(crate) offset: u64,
    /// LSN of the frame.
    pub(crate) lsn: Lsn,
}

impl Position {
    /// Where the log of a new database starts.
    pub(crate) const START: Position =
        Position { segment: 1, offset: WAL_BLOCK_BYTES as u64, lsn: Lsn(1) };
}

/// What of the log an opening needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ReplayRange {
    /// Segments from that of this position on are kept: an older checkpoint may need them.
    pub(crate) keep: Position,
    /// Records from here on are replayed.
    pub(crate) from: Position,
    /// True when the log was closed with `from` at its end.
    pub(crate) clean: bool,
}

/// How large segments grow, and how many are kept ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WalOptions {
    /// Segments double in size up to this many bytes.
    pub(crate) segment_bytes_max: u64,
    /// Of segments that no recovery needs, so many bytes are kept for readers.
    pub(crate) kept_bytes: u64,
    /// Recycled segments beyond this number are removed.
    pub(crate) spares_max: usize,
    /// Pieces in which a long record is handed over are of this length.
    pub(crate) piece_bytes: usize,
    /// Whether threads may run.
    pub(crate) threads: bool,
}

impl WalOptions {
    fn piece_bytes(&self) -> usize {
        self.piece_bytes.clamp(1, WAL_PIECE_BYTES_MAX)
    }
}

impl Default for WalOptions {
    fn default() -> WalOptions {
        WalOptions {
            segment_bytes_max: 32 << 20,
            kept_bytes: 0,
            spares_max: WAL_SPARES_MAX,
            piece_bytes: WAL_PIECE_BYTES_MAX,
            threads: false,
        }
    }
}

/// What the log holds and what this session did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct WalStats {
    /// Segments that hold frames.
    pub(crate) segments: u64,
    /// Segments ready for use.
    pub(crate) spares: u64,
    /// Length of all segment files.
    pub(crate) file_bytes: u64,
    /// Frames written by this session.
    pub(crate) frames: u64,
    /// Groups written by this session.
    pub(crate) flushes: u64,
    /// Records written by this session.
    pub(crate) records: u64,
    /// Bytes of those records.
    pub(crate) record_bytes: u64,
    /// Bytes of those frames, headers and padding included.
    pub(crate) frame_bytes: u64,
}

/// Told what became durable: the last record, and the position behind its frame. Called by one
/// thread at a time, in order, before anybody who waits for these records is woken. May ask the
/// log for sizes and do nothing else with it; must not take a lock that is held while the log is
/// called for more than an append or a size.
pub(crate) type Publish<'a> = &'a dyn Fn(Sequence, Position);

/// Receives a record at recovery, and where the frame ends that holds its last byte. When the next
/// record comes with another position, or none comes, a later replay can start from this one: it
/// gives exactly the records that follow.
pub(crate) type Replay<'a> = &'a mut dyn FnMut(Position, &[u8]) -> Result<()>;

/// The log of one database, opened by one process. Dropping it writes nothing: flush first.
#[derive(Debug)]
pub(crate) struct Wal {
    group: Group,
    log: Arc<Log>,
}

impl Wal {
    /// Makes the directory `dir` with a log that starts at [`Position::START`], all durable.
    pub(crate) fn create(
        host: Arc<dyn Host>,
        dir: &Path,
        database_id: [u8; 16],
        options: WalOptions,
    ) -> Result<Wal> {
        Ok(Wal::new(Log::create(host, dir, database_id, options)?))
    }

    /// Opens the log and replays every whole record from `from` on. `clean` says that the log was
    /// closed with `from` at its end; where the files agree, nothing is scanned.
    ///
    /// Changes nothing but to remove files that hold no segment, so that it can be cut short itself
    /// and repeated.
    pub(crate) fn open(
        host: Arc<dyn Host>,
        dir: &Path,
        database_id: [u8; 16],
        range: ReplayRange,
        options: WalOptions,
        replay: Replay<'_>,
    ) -> Result<Wal> {
        let kept_bytes = options.kept_bytes;
        let access = Access::Owner;
        let request = recover::Request { dir, database_id, range, kept_bytes, access };
        let segments = recover::recover(&*host, &request, replay)?;
        Ok(Wal::new(Log::new(host, dir, database_id, options, segments)))
    }

    /// Replays like [`Wal::open`] from files that may not be writable, changes nothing, and returns
    /// where the log ends.
    pub(crate) fn read_only(
        host: &dyn Host,
        dir: &Path,
        database_id: [u8; 16],
        range: ReplayRange,
        replay: Replay<'_>,
    ) -> Result<Position> {
        let access = Access::ReadOnly;
        let request = recover::Request { dir, database_id, range, kept_bytes: 0, access };
        recover::recover(host, &request, replay).map(|segments| segments.end())
    }

    fn new(log: Log) -> Wal {
        Wal { group: Group::new(), log: Arc::new(log) }
    }

    /// Makes sure that everything pending and a record of `bytes` more can be written without new
    /// space, and that what `leaves` says is left over. Waits for a flush, or leads one, when too
    /// much is pending, or a long record.
    ///
    /// Fails with `Full` when the disk has no space; then nothing has changed, and a later call can
    /// succeed. Holds for the records that the caller appends next: call it under the lock that
    /// orders appends.
    pub(crate) fn reserve(&self, bytes: usize, leaves: Leaves, publish: Publish<'_>) -> Result<()> {
        let bytes = bytes as u64;
        let backlog = loop {
            let backlog = self.group.backlog()?;
            let pending = backlog.pending.bytes;
            let pending_max = WAL_PENDING_BYTES_MAX - Room::BYTES;
            let is_much = pending > 0 && pending.saturating_add(bytes) > pending_max;
            // What is left of the active segment counts for nothing once a long record is there.
            if !is_much && !backlog.has_long {
                break backlog;
            }
            // A failure shows in the next look: this caller has no record whose outcome could be
            // unknown.
            let _ = self.flush(publish);
        };
        let flying = record::footprint(backlog.flying.records, backlog.flying.bytes);
        let pending = backlog.pending;
        // A leader may take the pending group before the record joins it: then the record has a
        // last block, and a frame header, of its own.
        let apart = record::footprint(pending.records, pending.bytes)
            .saturating_add(record::footprint(1, bytes));
        self.log.promise(flying.saturating_add(apart), leaves)
    }

    /// Makes sure that a record of `bytes` fits `room`: takes it from there if it is, else reserves
    /// it as [`Wal::reserve`] does, and room for records after it where the log has that already.
    /// REQUIRES: since `room` was last used nothing was reserved without it, and no long record was
    /// appended.
    pub(crate) fn reserve_room(
        &self,
        room: &mut Room,
        bytes: usize,
        publish: Publish<'_>,
    ) -> Result<()> {
        if room.take(bytes) {
            return Ok(());
        }
        self.reserve(bytes, Leaves::Reserve, publish)?;
        if self.log.promise_more(Room::PROMISE_BYTES) {
            *room = Room::FULL;
        }
        Ok(())
    }

    /// Prepares what is kept for records that only remove, if it is not there yet. Whoever takes
    /// much space from the disk asks for this first: the space of what an earlier session kept is
    /// free for a moment before it is taken again.
    pub(crate) fn keep_reserve(&self) -> Result<()> {
        self.log.keep_reserve()
    }

    /// Adds a record to the pending group. Never touches the disk; the record is written when
    /// somebody waits for it or flushes. What is left in `record` is memory for the next one.
    pub(crate) fn append_joining(&self, record: &mut Vec<u8>) -> Result<Appended> {
        self.group.append_joining(record)
    }

    /// Pieces of a long record but the last are of this length.
    pub(crate) fn piece_bytes(&self) -> usize {
        self.log.piece_bytes()
    }

    /// Begins a record that is too long to wait in memory: its pieces are written as they come, and
    /// none counts before the whole record is appended and durable. Makes everything appended so
    /// far durable. REQUIRES, from here to [`Wal::append_long`] or to the end of what is returned,
    /// that nobody appends: call it under the lock that orders appends.
    pub(crate) fn begin_long(&self, publish: Publish<'_>) -> Result<LongRecord> {
        // A failure concerns others, and shows in the next look: this caller has no record whose
        // outcome could be unknown.
        let _ = self.flush(publish);
        self.group.backlog()?;
        // Before space is taken from the disk, for longer than a promise holds.
        self.log.keep_reserve()?;
        self.log.begin_long()
    }

    /// Takes the last piece of a long record, and makes sure that there is space for it and for a
    /// segment behind it. Writes no frame. Fails with `Full` like [`Wal::reserve`]; the record can
    /// then only be given up.
    pub(crate) fn end_long(&self, record: &mut LongRecord, last_piece: Vec<u8>) -> Result<()> {
        record.end(last_piece, self.log.make_next()?)
    }

    /// Adds a long record, whose end was told, to the pending group. As [`Wal::append_joining`],
    /// never touches the disk.
    pub(crate) fn append_long(&self, record: LongRecord) -> Result<Appended> {
        self.group.append_long(record)
    }

    /// [`Wal::append_joining`] for tests that need the number alone.
    #[cfg(test)]
    fn append(&self, record: &[u8]) -> Result<Sequence> {
        self.group.append(record)
    }

    /// Returns when the record is durable and published. May write for all who wait.
    pub(crate) fn wait(&self, sequence: Sequence, publish: Publish<'_>) -> Result<()> {
        self.group.wait(sequence, &Flush { log: &self.log, publish })
    }

    /// Ready when the record is durable and published. Never writes: somebody else has to flush,
    /// and wakes the waker.
    pub(crate) fn poll(&self, sequence: Sequence, waker: &Waker) -> Poll<Result<()>> {
        self.group.poll(sequence, waker)
    }

    /// Returns when everything appended before the call is durable and published.
    pub(crate) fn flush(&self, publish: Publish<'_>) -> Result<()> {
        self.group.flush(&Flush { log: &self.log, publish })
    }

    /// True when [`Wal::prepare_ahead`] may have something to do.
    pub(crate) fn wants_segment(&self) -> bool {
        self.log.wants_segment()
    }

    /// Prepares a segment when the active one is more than half full and none is ready. True if it
    /// did. For a background thread, to spare a leader the wait.
    pub(crate) fn prepare_ahead(&self) -> Result<bool> {
        self.log.prepare_ahead()
    }

    /// Gives up what lies before `up_to`, which no recovery will ask for again, but for what is
    /// kept for readers.
    pub(crate) fn recycle(&self, up_to: Position, kept: Kept) -> Result<()> {
        self.log.recycle(up_to, kept)
    }

    /// Last record that is durable and published.
    #[cfg(test)]
    pub(crate) fn published(&self) -> Sequence {
        self.group.published()
    }

    /// The first failure, after which nothing is written any more.
    #[cfg(test)]
    pub(crate) fn poison(&self) -> Option<Error> {
        self.group.poison()
    }

    /// Start of the oldest segment that is kept.
    pub(crate) fn start(&self) -> Position {
        self.log.start()
    }

    /// Where the next frame will start. While a group is being written this can lie inside of it;
    /// a checkpoint takes the position that was published with its last record instead.
    pub(crate) fn end(&self) -> Position {
        self.log.end()
    }

    /// Bytes of frames from `since` to the end.
    pub(crate) fn bytes_since(&self, since: Position) -> u64 {
        self.log.bytes_since(since)
    }

    /// Segments from the one of `since` to the last.
    pub(crate) fn segments_since(&self, since: Position) -> usize {
        self.log.segments_since(since)
    }

    /// Counters.
    pub(crate) fn stats(&self) -> WalStats {
        self.log.stats()
    }

    /// A reader of the running log from `from` on, a position that was published or replayed, or
    /// the start; `None` when that was recycled. From the start of a segment on it leaves out the
    /// rest of a record that began before.
    pub(crate) fn reader(&self, from: Position) -> Option<Reader> {
        let mut scan = Scan::new(self.log.live_from(from)?, from);
        if from.offset == BLOCK {
            scan.leave_out_rest();
        }
        Some(Reader { log: Arc::clone(&self.log), scan })
    }
}

/// What a leader of this log does.
struct Flush<'a> {
    log: &'a Log,
    publish: Publish<'a>,
}

impl Sink for Flush<'_> {
    type End = Position;

    fn write(&self, batch: &mut Batch) -> Result<Position> {
        self.log.write(batch)
    }

    fn publish(&self, durable: Sequence, end: Position) {
        (self.publish)(durable, end);
    }
}

/// Reads records of a running log, up to positions that are known to be durable.
#[derive(Debug)]
pub(crate) struct Reader {
    log: Arc<Log>,
    scan: Scan,
}

/// What a reader of the running log comes upon.
#[derive(Debug)]
pub(crate) enum Read {
    /// A record.
    Record(Vec<u8>),
    /// Nothing more yet.
    End,
    /// What came next is gone.
    Recycled,
}

impl Reader {
    /// The next record in frames before `until`, a position that was published.
    pub(crate) fn next(&mut self, until: Position) -> Result<Read> {
        if self.scan.wants_segments(until) {
            match self.log.live_from(self.scan.position()) {
                Some(live) => self.scan.refresh(live),
                // Nothing was missed where the log goes on with the next frame.
                None => match self.log.live_from(self.log.start()) {
                    Some(live) if self.scan.goes_on_in(&live[0]) => self.scan.move_to(live),
                    _ => return Ok(Read::Recycled),
                },
            }
        }
        match self.scan.step(Some(until)) {
            Ok(Step::End(Flaw::End)) => Ok(Read::End),
            // Either the segment was recycled, or what is durable is gone.
            Ok(Step::End(flaw)) => self.explain(self.scan.damage(flaw)),
            Err(error) => self.explain(error),
            Ok(step) => self.scan.take_record(step).map(Read::Record),
        }
    }

    fn explain(&self, error: Error) -> Result<Read> {
        match self.log.live_from(self.scan.position()) {
            Some(_) => Err(error),
            None => Ok(Read::Recycled),
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::fixture::{commit, create, create_with, fail_at, nothing, open};
    use super::*;
    use crate::io::sim::SimDisk;

    #[test]
    fn a_failure_of_any_operation_loses_nothing_that_was_acknowledged() {
        let rounds = if cfg!(miri) { 4_u8 } else { 8 };
        for forever in [false, true] {
            for number in (1..).step_by(if cfg!(miri) { 41 } else { 1 }) {
                let disk = SimDisk::new(number);
                let wal = create(&disk);
                fail_at(&disk, number, forever);
                let mut acknowledged = Vec::new();
                let mut uncertain = None;
                for n in 0..rounds {
                    let record = vec![n; 1000 * usize::from(n)];
                    if wal.reserve(record.len(), Leaves::Nothing, &nothing).is_err() {
                        continue;
                    }
                    let Ok(sequence) = wal.append(&record) else { continue };
                    match wal.wait(sequence, &nothing) {
                        Ok(()) => acknowledged.push(record),
                        Err(error) => {
                            assert!(error.is_outcome_unknown(), "{error}");
                            assert!(wal.append(b"x").unwrap_err().is_poisoned());
                            assert!(
                                wal.reserve(1, Leaves::Nothing, &nothing)
                                    .unwrap_err()
                                    .is_poisoned()
                            );
                            assert!(wal.poison().is_some());
                            uncertain.get_or_insert(record);
                        }
                    }
                }
                let reached = disk.stats().faults > 0;
                for disk in [disk.crash(1), disk.fork()] {
                    let (_, found) = open(&disk, Position::START).unwrap();
                    let mut all = acknowledged.clone();
                    all.extend(uncertain.clone());
                    assert!(found.len() >= acknowledged.len(), "operation {number}");
                    assert!(all.starts_with(&found), "operation {number}");
                }
                if !reached {
                    break;
                }
            }
        }
    }

    #[test]
    fn creation_fails_cleanly_at_every_operation() {
        for number in 1.. {
            let disk = SimDisk::new(1);
            fail_at(&disk, number, true);
            let created =
                Wal::create(Arc::new(disk.clone()), fixture::dir(), fixture::ID, fixture::SMALL);
            if disk.stats().faults == 0 {
                created.unwrap();
                break;
            }
            assert!(created.is_err());
        }
    }

    #[test]
    fn many_threads_are_published_in_order_and_read_back() {
        let (threads, rounds) = if cfg!(miri) { (2, 3) } else { (8, 300) };
        let disk = SimDisk::new(9);
        let wal = create(&disk);
        let order = Mutex::new(());
        let published = AtomicU64::new(0);
        let ends = Mutex::new(vec![Position::START]);
        let publish = |durable: Sequence, end: Position| {
            assert!(published.swap(durable.0, Ordering::SeqCst) < durable.0);
            ends.lock().unwrap().push(end);
        };
        std::thread::scope(|scope| {
            for id in 0..threads {
                let (wal, order, published, publish) = (&wal, &order, &published, &publish);
                scope.spawn(move || {
                    for round in 0..rounds {
                        let record = format!("{id:03} {round:05}");
                        let sequence = {
                            let _held = order.lock().unwrap();
                            wal.reserve(record.len(), Leaves::Nothing, publish).unwrap();
                            wal.append(record.as_bytes()).unwrap()
                        };
                        wal.wait(sequence, publish).unwrap();
                        assert!(published.load(Ordering::SeqCst) >= sequence.0);
                    }
                });
            }
        });
        assert!(ends.lock().unwrap().is_sorted());
        let (_, found) = open(&disk.crash(1), Position::START).unwrap();
        assert_eq!(found.len(), threads * rounds);
        for id in 0..threads {
            let mine = format!("{id:03}");
            let mine: Vec<_> = found.iter().filter(|it| it.starts_with(mine.as_bytes())).collect();
            assert!(mine.is_sorted());
        }
    }

    #[test]
    fn a_future_is_ready_after_somebody_flushed() {
        let wal = create(&SimDisk::new(1));
        let sequence = wal.append(b"a").unwrap();
        assert!(wal.poll(sequence, Waker::noop()).is_pending());
        wal.flush(&nothing).unwrap();
        assert!(wal.poll(sequence, Waker::noop()).is_ready());
        assert_eq!(wal.published(), sequence);
    }

    #[test]
    fn too_much_pending_makes_reserve_flush() {
        if cfg!(miri) {
            return;
        }
        let disk = SimDisk::new(1);
        let options = WalOptions { segment_bytes_max: 64 << 20, ..fixture::SMALL };
        let wal = create_with(&disk, options);
        let record = vec![0; 12 << 20];
        for n in 1..=5 {
            wal.reserve(record.len(), Leaves::Nothing, &nothing).unwrap();
            wal.append(&record).unwrap();
            assert_eq!(wal.published(), Sequence(if n <= 2 { 0 } else { (n - 1) / 2 * 2 }));
        }
    }

    fn read(reader: &mut Reader, until: Position) -> Option<Vec<u8>> {
        match reader.next(until).unwrap() {
            Read::Record(record) => Some(record),
            Read::End => None,
            Read::Recycled => panic!("expected a record or the end, found that it was recycled"),
        }
    }

    #[test]
    fn a_reader_follows_the_running_log_and_notices_recycling() {
        let disk = SimDisk::new(2);
        let wal = create(&disk);
        let mut reader = wal.reader(Position::START).unwrap();
        let mut late = wal.reader(Position::START).unwrap();
        assert!(read(&mut reader, wal.end()).is_none());
        for n in 0..if cfg!(miri) { 6 } else { 40_u32 } {
            let (record, before) = (vec![n as u8; 400 * n as usize], wal.end());
            commit(&wal, &record);
            assert_eq!(read(&mut reader, wal.end()), Some(record.clone()));
            assert!(read(&mut reader, wal.end()).is_none());
            // Somebody who starts in the middle finds the same.
            let mut other = wal.reader(before).unwrap();
            assert_eq!(read(&mut other, wal.end()), Some(record));
            assert!(read(&mut wal.reader(wal.end()).unwrap(), wal.end()).is_none());
        }
        assert_eq!(wal.start(), Position::START);
        wal.recycle(wal.end(), Kept::AsAsked).unwrap();
        (0..10).for_each(|_| commit(&wal, &[1; 9000]));
        assert!(wal.start() > Position::START);
        assert!(wal.reader(Position::START).is_none());
        while let Read::Record(_) = late.next(wal.end()).unwrap() {}
        assert!(matches!(late.next(wal.end()).unwrap(), Read::Recycled));
    }

    #[test]
    fn what_is_kept_for_readers_is_bounded_and_outlives_the_session() {
        let disk = SimDisk::new(3);
        let options = WalOptions { kept_bytes: 100 << 10, ..fixture::SMALL };
        let wal = create_with(&disk, options);
        let record = |n: u8| vec![n; 5000];
        let first_kept = |wal: &Wal| {
            let mut reader = wal.reader(wal.start()).unwrap();
            read(&mut reader, wal.end()).expect("a record")[0]
        };
        for n in 0..100 {
            commit(&wal, &record(n));
            wal.recycle(wal.end(), Kept::AsAsked).unwrap();
        }
        let first = first_kept(&wal);
        assert!((84..95).contains(&first), "from {first} on, in six segments of three blocks");
        let open = |from, kept_bytes| {
            let range = ReplayRange { keep: from, from, clean: false };
            let options = WalOptions { kept_bytes, ..options };
            let mut replay = |_: Position, _: &[u8]| panic!("expected no record");
            let host = Arc::new(disk.clone());
            Wal::open(host, fixture::dir(), fixture::ID, range, options, &mut replay).unwrap()
        };
        let from = wal.end();
        drop(wal);
        let wal = open(from, options.kept_bytes);
        let mut reader = wal.reader(wal.start()).unwrap();
        for n in first..100 {
            assert_eq!(read(&mut reader, wal.end()), Some(record(n)));
        }
        commit(&wal, &record(100));
        assert_eq!(read(&mut reader, wal.end()), Some(record(100)));
        let from = wal.end();
        drop(wal);
        assert!(first_kept(&open(from, 40 << 10)) > first);
        let wal = open(from, options.kept_bytes);
        assert!(first_kept(&wal) >= first);
        wal.recycle(wal.end(), Kept::Nothing).unwrap();
        assert_eq!(wal.stats().segments, 1);
    }
}
