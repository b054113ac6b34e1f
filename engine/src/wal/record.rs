//! The bytes of the log: segment headers, frames, and the chunks that records are cut into.
//!
//! Pure functions over bytes. Never touches a file, and knows neither what a record means nor
//! which segment comes next. All numbers are little-endian; a block is 4 KiB.
//!
//! A segment is a header block, then frames, then blocks that belong to no frame (zeros, or what
//! is left from the segment's earlier life). The header block:
//!
//! ```text
//!  0        8    magic 89 42 52 43 57 41 4C 0A ("\x89BRCWAL\n")
//!  8        4    format version, 1
//! 12        4    CRC-32 of bytes [0, 12) and [16, 4096)
//! 16       16    database id
//! 32        8    segment number: the logical order of segments, from 1
//! 40        8    salt: random, new each time the segment is put to use
//! 48        8    first LSN: that of the segment's first frame
//! 56        8    length of the segment in bytes, this block included
//! 64     4032    zeros
//! ```
//!
//! A frame starts at a block boundary and is padded to one with zeros:
//!
//! ```text
//!  0        4    magic 42 52 46 01 ("BRF\x01")
//!  4        4    CRC-32 of bytes [8, 32 + payload length)
//!  8        8    salt of the segment
//! 16        8    LSN
//! 24        4    payload length in bytes
//! 28        4    number of chunks, at least 1
//! 32             payload: the chunks, one behind the other
//!                zeros up to the next block boundary, neither checked nor read
//! ```
//!
//! A chunk is a record, or a piece of one that is too long for a frame. A piece that is not the
//! LAST of its record is the only chunk of its frame:
//!
//! ```text
//!  0        4    bit 31 FIRST piece | bit 30 LAST piece | bits 0..30 length in bytes
//!  4             the bytes
//! ```
//!
//! Invariants:
//! 1. Decoding never panics and never trusts a length that was not compared with its bound.
//! 2. A frame that [`check_frame`] accepts was written whole, with this salt and this LSN.
//! 3. Bytes of a record keep their order: its chunks are consecutive, FIRST to LAST.
//! 4. A record that is cut starts its frame. So between two frames lies either the middle of one
//!    record, or a place from which a replay can start.

use std::fmt;

use crate::codec::{crc32, get_u32, get_u64, put_u32, put_u64};
use crate::ids::Lsn;
use crate::limits::{COUNTER_MAX, WAL_BLOCK_BYTES, WAL_FRAME_BYTES_MAX, WAL_PIECE_BYTES_MAX};
use crate::mutation::{self, Mutation};

/// Length of the header in front of a frame's payload.
pub(super) const FRAME_HEADER_BYTES: usize = 32;
/// Length of the header in front of a chunk.
pub(super) const CHUNK_HEADER_BYTES: usize = 4;
/// A block as an offset counts it.
pub(super) const BLOCK: u64 = WAL_BLOCK_BYTES as u64;

const SEGMENT_MAGIC: [u8; 8] = *b"\x89BRCWAL\n";
const FRAME_MAGIC: [u8; 4] = *b"BRF\x01";
/// The format that this build writes, and the only one that it reads.
pub(super) const FORMAT_VERSION: u32 = 1;

const CHUNK_FIRST: u32 = 1 << 31;
const CHUNK_LAST: u32 = 1 << 30;
const CHUNK_LENGTH: u32 = CHUNK_LAST - 1;

const SEGMENT_HEADER_END: usize = 64;
const _: () = assert!(SEGMENT_HEADER_END <= WAL_BLOCK_BYTES);
const _: () = assert!(FRAME_HEADER_BYTES + CHUNK_HEADER_BYTES < WAL_BLOCK_BYTES);
const _: () = assert!(WAL_FRAME_BYTES_MAX <= CHUNK_LENGTH as usize);
const _: () = assert!(WAL_FRAME_BYTES_MAX.is_multiple_of(WAL_BLOCK_BYTES));
const _: () =
    assert!(WAL_PIECE_BYTES_MAX + FRAME_HEADER_BYTES + CHUNK_HEADER_BYTES == WAL_FRAME_BYTES_MAX);

/// What the first block of a segment says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SegmentHeader {
    pub(super) database_id: [u8; 16],
    pub(super) number: u64,
    pub(super) salt: u64,
    pub(super) first_lsn: Lsn,
    pub(super) bytes: u64,
}

/// What was found where a segment header may stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FoundHeader {
    /// A header whose checksum holds.
    Valid(SegmentHeader),
    /// Nothing was ever written.
    Zeros,
    /// A whole header of another format version.
    Version(u32),
    /// A header that was torn or damaged, or something else.
    Invalid,
}

impl SegmentHeader {
    /// Writes the header into `block`, one block long.
    pub(super) fn encode(&self, block: &mut [u8]) {
        assert_eq!(block.len(), WAL_BLOCK_BYTES, "a segment header fills one block");
        block.fill(0);
        block[0..8].copy_from_slice(&SEGMENT_MAGIC);
        put_u32(block, 8, FORMAT_VERSION);
        block[16..32].copy_from_slice(&self.database_id);
        put_u64(block, 32, self.number);
        put_u64(block, 40, self.salt);
        put_u64(block, 48, self.first_lsn.0);
        put_u64(block, 56, self.bytes);
        let crc = segment_crc(block);
        put_u32(block, 12, crc);
    }

    /// Reads the header from `block`, one block long.
    pub(super) fn decode(block: &[u8]) -> FoundHeader {
        assert_eq!(block.len(), WAL_BLOCK_BYTES, "a segment header fills one block");
        if block.iter().all(|byte| *byte == 0) {
            return FoundHeader::Zeros;
        }
        if block[0..8] != SEGMENT_MAGIC || get_u32(block, 12) != segment_crc(block) {
            return FoundHeader::Invalid;
        }
        let version = get_u32(block, 8);
        if version != FORMAT_VERSION {
            return FoundHeader::Version(version);
        }
        let mut database_id = [0; 16];
        database_id.copy_from_slice(&block[16..32]);
        let (number, first_lsn) = (get_u64(block, 32), Lsn(get_u64(block, 48)));
        if number >= COUNTER_MAX || first_lsn.0 >= COUNTER_MAX {
            return FoundHeader::Invalid;
        }
        FoundHeader::Valid(SegmentHeader {
            database_id,
            number,
            salt: get_u64(block, 40),
            first_lsn,
            bytes: get_u64(block, 56),
        })
    }
}

fn segment_crc(block: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&block[..12]);
    hasher.update(&block[16..]);
    hasher.finalize()
}

/// What stands in front of a frame's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FrameHeader {
    pub(super) crc: u32,
    pub(super) salt: u64,
    pub(super) lsn: Lsn,
    pub(super) payload_len: u32,
    pub(super) chunk_count: u32,
}

/// Why there is no valid frame at a place where one was looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flaw {
    /// The segment ends here.
    End,
    /// No frame was ever written here.
    Absent,
    /// A frame of the segment's earlier life.
    Salt,
    /// A frame of another place in the order.
    Lsn(Lsn),
    /// A frame that would end outside of its segment, or longer than any that is written.
    Length(u32),
    /// A frame that is damaged or not complete.
    Checksum { expected: u32, found: u32 },
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::End => f.write_str("the end of the segment"),
            Flaw::Absent => f.write_str("no frame"),
            Flaw::Salt => f.write_str("a frame of an earlier use of the segment"),
            Flaw::Lsn(found) => write!(f, "frame {found}"),
            Flaw::Length(found) => write!(f, "a frame of {found} bytes"),
            Flaw::Checksum { expected, found } => {
                write!(f, "a frame with checksum {found:08x} that says {expected:08x}")
            }
        }
    }
}

impl FrameHeader {
    /// Reads the header at the start of `bytes`. `None` without the magic, or with a number that no
    /// frame gets.
    pub(super) fn decode(bytes: &[u8]) -> Option<FrameHeader> {
        if bytes.len() < FRAME_HEADER_BYTES || bytes[0..4] != FRAME_MAGIC {
            return None;
        }
        let header = FrameHeader {
            crc: get_u32(bytes, 4),
            salt: get_u64(bytes, 8),
            lsn: Lsn(get_u64(bytes, 16)),
            payload_len: get_u32(bytes, 24),
            chunk_count: get_u32(bytes, 28),
        };
        (header.lsn.0 < COUNTER_MAX).then_some(header)
    }

    /// Length of the whole frame, padding included, when it fits into `room` bytes.
    pub(super) fn frame_bytes(&self, room: u64) -> Option<usize> {
        let payload = usize::try_from(self.payload_len).ok()?;
        let whole =
            payload.checked_add(FRAME_HEADER_BYTES)?.checked_next_multiple_of(WAL_BLOCK_BYTES)?;
        let fits = whole <= WAL_FRAME_BYTES_MAX && u64::try_from(whole).is_ok_and(|b| b <= room);
        fits.then_some(whole)
    }

    /// End of the payload within the frame. REQUIRES that [`FrameHeader::frame_bytes`] accepted.
    pub(super) fn payload_end(&self) -> usize {
        FRAME_HEADER_BYTES + self.payload_len as usize
    }
}

/// Compares the checksum of `frame`, which is as long as its header says.
pub(super) fn check_frame(header: &FrameHeader, frame: &[u8]) -> Result<(), Flaw> {
    let found = crc32(&frame[8..header.payload_end()]);
    if found == header.crc || mutation::is(Mutation::TornFrameAccepted) {
        return Ok(());
    }
    Err(Flaw::Checksum { expected: header.crc, found })
}

/// Hands out records in the pieces that fit into frames.
#[derive(Debug)]
pub(super) struct Splitter<'a, I> {
    records: I,
    /// What is left of the record that was begun, and whether it is still whole.
    current: Option<(&'a [u8], bool)>,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Splitter<'a, I> {
    pub(super) fn new(mut records: I) -> Splitter<'a, I> {
        let current = records.next().map(|record| (record, true));
        Splitter { records, current }
    }

    /// True when every record was written.
    pub(super) fn is_done(&self) -> bool {
        self.current.is_none()
    }

    /// Fills the start of `buffer` with one frame that holds as much as fits, padded to a block;
    /// returns its length. REQUIRES that something is left, and whole blocks of buffer.
    pub(super) fn encode_frame(&mut self, buffer: &mut [u8], salt: u64, lsn: Lsn) -> usize {
        assert!(!self.is_done(), "a frame holds at least one chunk");
        assert!(!buffer.is_empty() && buffer.len().is_multiple_of(WAL_BLOCK_BYTES));
        let mut at = FRAME_HEADER_BYTES;
        let mut chunk_count: u32 = 0;
        while let Some((rest, whole)) = self.current {
            let room = buffer.len() - at;
            // Only what starts its frame is cut.
            if chunk_count > 0 && rest.len() + CHUNK_HEADER_BYTES > room {
                break;
            }
            let room = room - CHUNK_HEADER_BYTES;
            let (piece, later) = rest.split_at(rest.len().min(room));
            at = put_chunk(buffer, at, piece, whole, later.is_empty());
            chunk_count += 1;
            self.current = match later.is_empty() {
                true => self.records.next().map(|record| (record, true)),
                false => Some((later, false)),
            };
        }
        seal_frame(buffer, at, chunk_count, salt, lsn)
    }
}

/// Fills the start of `buffer` with a frame of one chunk: a piece of a record, its first or last or
/// one in between. Returns the frame's length. REQUIRES that it fits, and whole blocks of buffer.
pub(super) fn encode_piece(
    buffer: &mut [u8],
    piece: &[u8],
    (first, last): (bool, bool),
    salt: u64,
    lsn: Lsn,
) -> usize {
    let end = put_chunk(buffer, FRAME_HEADER_BYTES, piece, first, last);
    seal_frame(buffer, end, 1, salt, lsn)
}

/// Writes a chunk at `at`; returns where it ends.
fn put_chunk(buffer: &mut [u8], at: usize, piece: &[u8], first: bool, last: bool) -> usize {
    let mut word = u32::try_from(piece.len()).expect("invariant: a frame is below 1 GiB");
    word |= if first { CHUNK_FIRST } else { 0 };
    word |= if last { CHUNK_LAST } else { 0 };
    put_u32(buffer, at, word);
    let start = at + CHUNK_HEADER_BYTES;
    buffer[start..start + piece.len()].copy_from_slice(piece);
    start + piece.len()
}

/// Writes header, checksum and padding around a payload that ends at `end`.
fn seal_frame(buffer: &mut [u8], end: usize, chunk_count: u32, salt: u64, lsn: Lsn) -> usize {
    let payload_len =
        u32::try_from(end - FRAME_HEADER_BYTES).expect("invariant: a frame is below 1 GiB");
    buffer[0..4].copy_from_slice(&FRAME_MAGIC);
    put_u64(buffer, 8, salt);
    put_u64(buffer, 16, lsn.0);
    put_u32(buffer, 24, payload_len);
    put_u32(buffer, 28, chunk_count);
    let crc = crc32(&buffer[8..end]);
    put_u32(buffer, 4, crc);
    let frame_bytes = end.next_multiple_of(WAL_BLOCK_BYTES);
    buffer[end..frame_bytes].fill(0);
    frame_bytes
}

/// A record or a piece of one, as a range of its frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Chunk {
    pub(super) first: bool,
    pub(super) last: bool,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Reads the chunk at `at` of a frame whose payload ends at `payload_end`. `None` when it would
/// reach beyond.
pub(super) fn decode_chunk(frame: &[u8], at: usize, payload_end: usize) -> Option<Chunk> {
    let start = at.checked_add(CHUNK_HEADER_BYTES).filter(|start| *start <= payload_end)?;
    let word = get_u32(frame, at);
    let length = usize::try_from(word & CHUNK_LENGTH).ok()?;
    let end = start.checked_add(length).filter(|end| *end <= payload_end)?;
    Some(Chunk { first: word & CHUNK_FIRST != 0, last: word & CHUNK_LAST != 0, start, end })
}

/// Space that `records` records of `bytes` bytes in all can take at most when they are written
/// together: headers, cuts at full frames, padding. Cuts at the end of a segment are not included:
/// each wastes less than [`SEGMENT_LOSS_BYTES`].
pub(super) fn footprint(records: u64, bytes: u64) -> u64 {
    const FRAME_MAX: u64 = WAL_FRAME_BYTES_MAX as u64;
    if records == 0 {
        return 0;
    }
    let payload = bytes.saturating_add(records.saturating_mul(CHUNK_HEADER_BYTES as u64));
    let whole = payload.saturating_add(FRAME_HEADER_BYTES as u64);
    // A frame is closed early when the next record does not fit, so two frames in a row hold more
    // than one could. Each has a header, at most one piece's header, and less than a block of
    // padding.
    let more_frames = if whole <= FRAME_MAX { 0 } else { whole / (FRAME_MAX / 2) + 1 };
    let blocks = whole.div_ceil(BLOCK).saturating_add(2 * more_frames);
    blocks.saturating_mul(BLOCK)
}

/// What the end of a segment can waste: a frame's padding, and the headers of the frame and the
/// piece behind it.
pub(super) const SEGMENT_LOSS_BYTES: u64 = 2 * BLOCK;

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        database_id: [7; 16],
        number: 3,
        salt: 0x1122_3344_5566_7788,
        first_lsn: Lsn(9),
        bytes: 1 << 20,
    };

    #[test]
    fn a_segment_header_is_read_back_and_no_flipped_bit_is_accepted() {
        let mut block = vec![0; WAL_BLOCK_BYTES];
        assert_eq!(SegmentHeader::decode(&block), FoundHeader::Zeros);
        HEADER.encode(&mut block);
        assert_eq!(SegmentHeader::decode(&block), FoundHeader::Valid(HEADER));
        for bit in (0..WAL_BLOCK_BYTES * 8).step_by(if cfg!(miri) { 997 } else { 1 }) {
            block[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&block), FoundHeader::Invalid, "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_header_of_another_version_is_told_apart_from_damage() {
        let mut block = vec![0; WAL_BLOCK_BYTES];
        HEADER.encode(&mut block);
        block[8] = 2;
        let crc = segment_crc(&block);
        put_u32(&mut block, 12, crc);
        assert_eq!(SegmentHeader::decode(&block), FoundHeader::Version(2));
    }

    #[test]
    fn a_header_with_a_number_that_cannot_be_counted_up_is_refused() {
        let mut block = vec![0; WAL_BLOCK_BYTES];
        let number = SegmentHeader { number: u64::MAX, ..HEADER };
        let first_lsn = SegmentHeader { first_lsn: Lsn(COUNTER_MAX), ..HEADER };
        for header in [number, first_lsn] {
            header.encode(&mut block);
            assert_eq!(SegmentHeader::decode(&block), FoundHeader::Invalid);
        }
    }

    /// Writes `records` in frames of `frame_max` bytes and reads them back.
    fn round_trip(records: &[Vec<u8>], frame_max: usize) -> (Vec<Vec<u8>>, u64) {
        let mut splitter = Splitter::new(records.iter().map(Vec::as_slice));
        let mut buffer = vec![0xEE; frame_max];
        let (mut out, mut partial, mut lsn, mut total) = (Vec::new(), Vec::new(), 1, 0);
        while !splitter.is_done() {
            let len = splitter.encode_frame(&mut buffer, 5, Lsn(lsn));
            let header = FrameHeader::decode(&buffer).unwrap();
            assert_eq!((header.salt, header.lsn), (5, Lsn(lsn)));
            assert_eq!(header.frame_bytes(len as u64), Some(len));
            assert_eq!(header.frame_bytes(len as u64 - 1), None);
            check_frame(&header, &buffer[..len]).unwrap();
            let mut at = FRAME_HEADER_BYTES;
            for _ in 0..header.chunk_count {
                let chunk = decode_chunk(&buffer, at, header.payload_end()).unwrap();
                assert_eq!(chunk.first, partial.is_empty() || chunk.start == chunk.end);
                partial.extend_from_slice(&buffer[chunk.start..chunk.end]);
                if chunk.last {
                    out.push(std::mem::take(&mut partial));
                }
                at = chunk.end;
            }
            assert_eq!(at, header.payload_end());
            lsn += 1;
            total += len as u64;
        }
        (out, total)
    }

    #[test]
    fn records_of_every_length_around_a_frame_are_read_back() {
        let lengths =
            [0, 1, 4052, 4053, 4054, 4055, 4056, 4057, 4058, 4059, 4060, 4061, 8100, 9999];
        let lengths = if cfg!(miri) { &lengths[6..9] } else { &lengths[..] };
        for &first in lengths {
            for &second in lengths {
                let records = [vec![1; first], vec![2; second], vec![3; 5]];
                assert_eq!(round_trip(&records, 4096).0, records);
                assert_eq!(round_trip(&records, 8192).0, records);
            }
        }
    }

    #[test]
    fn the_footprint_is_never_below_what_is_written() {
        let lengths = [0, 1, 4059, 4060, 4061, 100_000, WAL_FRAME_BYTES_MAX - 40];
        for len in lengths {
            for count in [1_usize, 2, 3, 50] {
                if len * count > 9_000_000 || cfg!(miri) && len * count > 20_000 {
                    continue;
                }
                let records = vec![vec![9; len]; count];
                let bound = footprint(count as u64, (len * count) as u64);
                let (_, total) = round_trip(&records, WAL_FRAME_BYTES_MAX);
                assert!(total <= bound, "{count} x {len}: {total} > {bound}");
                assert!(bound <= total + 8 * BLOCK, "{count} x {len}: {total} << {bound}");
            }
        }
    }

    #[test]
    fn a_frame_with_a_number_that_cannot_be_counted_up_is_none() {
        let mut frame = [0; FRAME_HEADER_BYTES];
        frame[..4].copy_from_slice(&FRAME_MAGIC);
        for (lsn, is_one) in [(COUNTER_MAX - 1, true), (COUNTER_MAX, false), (u64::MAX, false)] {
            put_u64(&mut frame, 16, lsn);
            assert_eq!(FrameHeader::decode(&frame).is_some(), is_one, "frame {lsn}");
        }
    }

    #[test]
    fn lengths_beyond_their_bounds_are_refused() {
        let mut header =
            FrameHeader { crc: 0, salt: 0, lsn: Lsn(1), payload_len: u32::MAX, chunk_count: 1 };
        assert_eq!(header.frame_bytes(u64::MAX), None);
        header.payload_len = 4096 - 32;
        assert_eq!(header.frame_bytes(u64::MAX), Some(4096));
        let frame = [0xFF; 64];
        assert_eq!(decode_chunk(&frame, 32, 64), None);
        assert_eq!(decode_chunk(&frame, 61, 64), None);
        assert_eq!(decode_chunk(&frame, usize::MAX, 64), None);
    }
}
