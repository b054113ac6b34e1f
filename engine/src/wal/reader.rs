//! Reading the log: frames in LSN order across segments, records put together from their chunks.
//!
//! Serves recovery, which reads until there is no valid frame any more, and readers of a running
//! log, who read up to a position that they know to be durable. Never writes, and never decides
//! whether an invalid frame is a torn tail or damage: that is `recover`'s.
//!
//! Invariants:
//! 1. A record is handed out only when all its chunks were read from valid frames with consecutive
//!    LSNs.
//! 2. A segment ends where the next one says: a frame whose LSN the next segment claims as its
//!    first is never read, even if it is valid. An earlier recovery has decided that it was torn.
//! 3. Memory is bounded: a window of [`WINDOW_BYTES`] or one frame, and one record, which is no
//!    longer than the valid frames that it was read from.

use std::path::Path;
use std::sync::Arc;

use super::Position;
use super::record::{BLOCK, FRAME_HEADER_BYTES, Flaw, FrameHeader, check_frame, decode_chunk};
use super::segment::{Live, SegmentFile};
use crate::error::{Error, Result};
use crate::ids::Lsn;
use crate::io::Region;
use crate::limits::{WAL_BLOCK_BYTES, WAL_FRAME_BYTES_MAX};
use crate::mutation::{self, Mutation};

/// Segments are read in pieces of this size: the device takes about as long for 4 KiB.
pub(super) const WINDOW_BYTES: u64 = 512 << 10;
const _: () = assert!(WINDOW_BYTES as usize <= WAL_FRAME_BYTES_MAX);

/// A piece of a segment in memory.
#[derive(Debug, Default)]
pub(super) struct Window {
    memory: Option<Region>,
    /// Which file and bytes the memory holds.
    file_number: u64,
    start: u64,
    len: usize,
}

impl Window {
    /// The bytes `[offset, offset + len)` of `segment`, all below `limit`. Reads ahead up to
    /// `limit`. REQUIRES whole blocks.
    pub(super) fn read(
        &mut self,
        segment: &SegmentFile,
        offset: u64,
        len: usize,
        limit: u64,
    ) -> Result<&[u8]> {
        assert!(offset + len as u64 <= limit && limit <= segment.bytes, "reads stay in the file");
        let known = self.file_number == segment.file_number
            && offset >= self.start
            && offset + len as u64 <= self.start + self.len as u64;
        if !known {
            self.fill(segment, offset, len, limit)?;
        }
        let at = usize::try_from(offset - self.start).expect("invariant: within the window");
        let memory = self.memory.as_ref().expect("invariant: the window was filled");
        Ok(memory.bytes(at, len))
    }

    fn fill(&mut self, segment: &SegmentFile, offset: u64, len: usize, limit: u64) -> Result<()> {
        let ahead = usize::try_from((limit - offset).min(WINDOW_BYTES))
            .expect("invariant: the window fits in memory");
        let len = len.max(ahead);
        // Nothing is known while the read may fail.
        self.len = 0;
        let memory = match self.memory.take() {
            Some(memory) if memory.len() >= len => memory,
            _ => Region::heap(len),
        };
        let memory = self.memory.insert(memory);
        segment
            .file
            .read_at(memory.bytes_mut(0, len), offset)
            .map_err(|error| Error::io("read", &segment.path, error))?;
        (self.file_number, self.start, self.len) = (segment.file_number, offset, len);
        Ok(())
    }
}

/// The frame at `offset` of `segment`, whatever its salt and LSN, if its checksum holds and it
/// ends before `limit`. REQUIRES that a block starts there below `limit`.
pub(super) fn frame_at<'w>(
    window: &'w mut Window,
    segment: &SegmentFile,
    offset: u64,
    limit: u64,
) -> Result<Result<(FrameHeader, &'w [u8]), Flaw>> {
    let block = window.read(segment, offset, WAL_BLOCK_BYTES, limit)?;
    let Some(header) = FrameHeader::decode(block) else { return Ok(Err(Flaw::Absent)) };
    let Some(frame_bytes) = header.frame_bytes(limit - offset) else {
        return Ok(Err(Flaw::Length(header.payload_len)));
    };
    let frame = window.read(segment, offset, frame_bytes, limit)?;
    Ok(check_frame(&header, frame).map(|()| (header, frame)))
}

/// What a scan came upon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// A whole record that lies in the current frame.
    Whole { start: usize, end: usize },
    /// A whole record that was put together from pieces.
    Joined,
    /// The end: what is there instead of a frame.
    End(Flaw),
}

/// A frame whose chunks are being handed out.
#[derive(Clone, Copy, Debug)]
struct Current {
    offset: u64,
    bytes: usize,
    payload_end: usize,
    chunk_count: u32,
    chunks_left: u32,
    /// Where the next chunk starts within the frame.
    at: usize,
}

/// Walks through segments from a position on.
#[derive(Debug)]
pub(super) struct Scan {
    /// In the order of their numbers, starting with that of the position.
    segments: Vec<Arc<Live>>,
    /// Where the next frame starts.
    position: Position,
    window: Window,
    current: Option<Current>,
    /// Pieces of a record whose last piece was not read yet.
    partial: Vec<u8>,
    /// Where the frame of the first piece in `partial` starts, while that waits for its next piece.
    joining: Option<Position>,
    /// True as long as the rest of a record that began before may come, of which nothing is told.
    leaves_out: bool,
    /// Number and end of each segment that was left behind.
    passed: Vec<(u64, u64)>,
}

impl Scan {
    /// REQUIRES that the first segment is the one that holds `from`.
    pub(super) fn new(segments: Vec<Arc<Live>>, from: Position) -> Scan {
        assert!(segments[0].header.number == from.segment, "a scan starts in its first segment");
        Scan {
            segments,
            position: from,
            window: Window::default(),
            current: None,
            partial: Vec::new(),
            joining: None,
            leaves_out: false,
            passed: Vec::new(),
        }
    }

    /// Leaves out the rest of a record that began before the first segment, if that opens with it.
    pub(super) fn leave_out_rest(&mut self) {
        self.leaves_out = true;
    }

    /// Where the next frame starts.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// The segment of the position.
    pub(super) fn segment(&self) -> &Arc<Live> {
        &self.segments[0]
    }

    /// Number and end of each segment that was left behind, oldest first.
    pub(super) fn passed(&self) -> &[(u64, u64)] {
        &self.passed
    }

    /// True when `until` lies in a segment that the scan does not know yet.
    pub(super) fn wants_segments(&self, until: Position) -> bool {
        let last = &self.segments[self.segments.len() - 1];
        last.header.number < until.segment
    }

    /// Replaces the segments, which have become more. The first is still that of the position.
    pub(super) fn refresh(&mut self, segments: Vec<Arc<Live>>) {
        assert!(segments[0].header.number == self.position.segment, "a scan goes on where it was");
        self.segments = segments;
    }

    /// Where a record begins whose end was not found yet, if there is one.
    pub(super) fn incomplete(&self) -> Option<Position> {
        self.joining
    }

    /// The record that a step came upon, and where the frame ends that holds its last byte.
    pub(super) fn record(&mut self, step: Step) -> Result<(Position, &[u8])> {
        let Step::Whole { start, end } = step else { return Ok((self.position, &self.partial)) };
        let current = self.current.expect("invariant: the frame of the last step is kept");
        let live = &self.segments[0];
        let limit = current.offset + current.bytes as u64;
        let frame = self.window.read(&live.segment, current.offset, current.bytes, limit)?;
        Ok((self.position, &frame[start..end]))
    }

    /// True when by now a valid frame is at the position: it was not there, or not whole, when the
    /// scan was. Read from the file, whatever is known of it.
    pub(super) fn has_come(&self) -> Result<bool> {
        let (live, Position { offset, lsn, .. }) = (&self.segments[0], self.position);
        if offset >= live.header.bytes {
            return Ok(false);
        }
        let mut window = Window::default();
        let found = frame_at(&mut window, &live.segment, offset, live.header.bytes)?;
        Ok(found.is_ok_and(|(header, _)| header.salt == live.header.salt && header.lsn == lsn))
    }

    /// The same record, to keep.
    pub(super) fn take_record(&mut self, step: Step) -> Result<Vec<u8>> {
        match step {
            Step::Joined => Ok(std::mem::take(&mut self.partial)),
            step => self.record(step).map(|(_, record)| record.to_vec()),
        }
    }

    /// True when the scan is between two records, and the next frame is the first of `live`.
    pub(super) fn goes_on_in(&self, live: &Live) -> bool {
        let is_done = self.current.is_none_or(|current| current.chunks_left == 0);
        is_done && self.joining.is_none() && live.header.first_lsn == self.position.lsn
    }

    /// Goes on in the first of these segments, from its start.
    pub(super) fn move_to(&mut self, segments: Vec<Arc<Live>>) {
        assert!(self.goes_on_in(&segments[0]), "a scan goes on with the next frame");
        self.position.segment = segments[0].header.number;
        self.position.offset = BLOCK;
        self.current = None;
        self.segments = segments;
    }

    /// What to say when there should have been a frame.
    pub(super) fn damage(&self, flaw: Flaw) -> Error {
        let live = &self.segments[0];
        let expected = format!("frame {}", self.position.lsn);
        let block = self.position.offset / BLOCK;
        Error::corrupt(&live.segment.path, block, expected, flaw.to_string())
    }

    /// Goes on to the next record in frames that end at or before `until`, or to the end.
    pub(super) fn step(&mut self, until: Option<Position>) -> Result<Step> {
        loop {
            if let Some(step) = self.next_chunk()? {
                return Ok(step);
            }
            if self.current.is_some() {
                continue;
            }
            if until.is_some_and(|until| self.position.lsn >= until.lsn) {
                return Ok(Step::End(Flaw::End));
            }
            if self.enter_next_segment()? {
                continue;
            }
            if let Err(flaw) = self.next_frame(until)? {
                self.refuse_gap(flaw)?;
                return Ok(Step::End(flaw));
            }
        }
    }

    /// Moves on when the next segment claims the LSN that comes now.
    fn enter_next_segment(&mut self) -> Result<bool> {
        let Some(next) = self.segments.get(1) else { return Ok(false) };
        let (first, wanted) = (next.header.first_lsn, self.position.lsn);
        if first < wanted {
            let expected = format!("a segment that starts with frame {wanted} or later");
            return Err(Error::corrupt(&next.segment.path, 0, expected, format!("frame {first}")));
        }
        if first > wanted {
            return Ok(false);
        }
        self.passed.push((self.position.segment, self.position.offset));
        self.position.segment = next.header.number;
        self.position.offset = BLOCK;
        self.segments.remove(0);
        Ok(true)
    }

    /// Makes the frame at the position the current one, if it is valid.
    fn next_frame(&mut self, until: Option<Position>) -> Result<Result<(), Flaw>> {
        let live = &self.segments[0];
        // Beyond a position that is known to be durable somebody may be writing.
        let limit = match until {
            Some(until) if until.segment == live.header.number => until.offset,
            // A file that was cut is shorter than its header says.
            _ => live.header.bytes.min(live.segment.bytes),
        };
        let Position { offset, lsn, .. } = self.position;
        if offset >= limit {
            return Ok(Err(Flaw::End));
        }
        let (header, frame) = match frame_at(&mut self.window, &live.segment, offset, limit)? {
            Ok(found) => found,
            Err(flaw) => return Ok(Err(flaw)),
        };
        let stale = mutation::is(Mutation::StaleFrameAccepted);
        if header.salt != live.header.salt && !stale {
            return Ok(Err(Flaw::Salt));
        }
        if header.lsn != lsn && !stale {
            return Ok(Err(Flaw::Lsn(header.lsn)));
        }
        let bytes = frame.len();
        self.current = Some(Current {
            offset,
            bytes,
            payload_end: header.payload_end(),
            chunk_count: header.chunk_count,
            chunks_left: header.chunk_count,
            at: FRAME_HEADER_BYTES,
        });
        self.position.offset += bytes as u64;
        self.position.lsn = lsn.next();
        Ok(Ok(()))
    }

    /// An invalid frame with a later segment behind it: frames are missing.
    fn refuse_gap(&self, flaw: Flaw) -> Result<()> {
        let Some(next) = self.segments.get(1) else { return Ok(()) };
        let (live, lsn) = (&self.segments[0], self.position.lsn);
        let expected = format!(
            "frame {lsn}, because segment {} starts with frame {}",
            next.header.number, next.header.first_lsn
        );
        let block = self.position.offset / BLOCK;
        Err(Error::corrupt(&live.segment.path, block, expected, flaw.to_string()))
    }

    /// Takes the next chunk of the current frame; a step when it completes a record.
    fn next_chunk(&mut self) -> Result<Option<Step>> {
        let Some(mut current) = self.current else { return Ok(None) };
        let live = &self.segments[0];
        let path = live.segment.path.as_path();
        if current.chunks_left == 0 {
            if current.at != current.payload_end {
                return Err(bad_chunk(path, &current, "the end of the payload", "bytes behind it"));
            }
            self.current = None;
            return Ok(None);
        }
        let limit = current.offset + current.bytes as u64;
        let frame = self.window.read(&live.segment, current.offset, current.bytes, limit)?;
        let Some(chunk) = decode_chunk(frame, current.at, current.payload_end) else {
            return Err(bad_chunk(path, &current, "a chunk within its frame", "a longer one"));
        };
        let opens_segment = current.offset == BLOCK && current.at == FRAME_HEADER_BYTES;
        if chunk.first && self.joining.is_some() && !opens_segment {
            let expected = "the next piece of a record";
            return Err(bad_chunk(path, &current, expected, "the first piece of another"));
        }
        if !chunk.first && self.joining.is_none() && self.leaves_out {
            current.at = chunk.end;
            current.chunks_left -= 1;
            self.current = Some(current);
            return Ok(None);
        }
        self.leaves_out = false;
        if !chunk.first && self.joining.is_none() {
            return Err(bad_chunk(path, &current, "the first piece of a record", "a later one"));
        }
        if !chunk.last && current.chunk_count != 1 {
            return Err(bad_chunk(path, &current, "a whole record", "a piece beside others"));
        }
        if chunk.first {
            // What an earlier session left incomplete was never acknowledged.
            self.partial.clear();
            let lsn = Lsn(self.position.lsn.0 - 1);
            self.joining = Some(Position { offset: current.offset, lsn, ..self.position });
        }
        if chunk.last {
            self.joining = None;
        }
        let whole = chunk.first && chunk.last;
        if !whole {
            self.partial.extend_from_slice(&frame[chunk.start..chunk.end]);
        }
        current.at = chunk.end;
        current.chunks_left -= 1;
        self.current = Some(current);
        Ok(match (whole, chunk.last) {
            (true, _) => Some(Step::Whole { start: chunk.start, end: chunk.end }),
            (false, true) => Some(Step::Joined),
            (false, false) => None,
        })
    }
}

fn bad_chunk(path: &Path, current: &Current, expected: &str, found: &str) -> Error {
    Error::corrupt(path, current.offset / BLOCK, expected, found)
}
