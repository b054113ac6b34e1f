//! The log, read by the rules of `docs/format.md`: segments, frames, records, operations.
//!
//! Never writes, and knows nothing of damage: whatever is no valid frame is the end.

use std::path::{Path, PathBuf};

use crate::layout::{
    BLOCK_BYTES, CHUNK_HEADER_BYTES, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, RECORD_HEADER_BYTES,
    RECORD_VERSION, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SEGMENT_VERSION, frame, meta, record,
    segment,
};

/// A segment that is in use.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) number: u64,
    pub(crate) first_lsn: u64,
}

/// A frame: where it lies, and whether its pieces of a record were the first and the last.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) segment: u64,
    pub(crate) at: usize,
    pub(crate) bytes: usize,
    pub(crate) payload_end: usize,
    pub(crate) chunks: Vec<(bool, bool)>,
}

/// One operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Operation {
    Enter(Vec<u8>),
    Leave(u64),
    Put(Vec<u8>, Vec<u8>),
    PutUntil(Vec<u8>, u64, Vec<u8>),
    Delete(Vec<u8>),
    Create(Vec<u8>),
    Drop(Vec<u8>),
    Sequence(u64),
    Expire(u64),
}

/// A commit.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) txn: u64,
    pub(crate) time: u64,
    pub(crate) operations: Vec<Operation>,
}

/// What the log holds behind a position.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) segments: Vec<Segment>,
    pub(crate) frames: Vec<Frame>,
    pub(crate) records: Vec<Record>,
}

impl Log {
    /// Reads the log of the database in `path`, from the position in a meta page on.
    pub(crate) fn read(path: &Path, from: &[u8]) -> Log {
        let mut log = Log { segments: segments(path, from), ..Log::default() };
        let (mut segment, mut at) = (0, meta::LOG_OFFSET.size(from));
        assert_eq!(log.segments[0].number, meta::LOG_SEGMENT.number(from));
        let mut lsn = meta::LOG_LSN.number(from);
        let mut partial: Option<Vec<u8>> = None;
        loop {
            if log.segments.get(segment + 1).is_some_and(|next| next.first_lsn == lsn) {
                (segment, at) = (segment + 1, BLOCK_BYTES);
                continue;
            }
            let Some(frame) = frame_at(&log.segments[segment], at, lsn) else { break };
            let mut chunk_at = at + FRAME_HEADER_BYTES;
            for &(is_first, is_last) in &frame.chunks {
                let bytes = chunk(&log.segments[segment].bytes, chunk_at);
                chunk_at += CHUNK_HEADER_BYTES + bytes.len();
                assert_eq!(partial.is_none(), is_first, "pieces follow each other");
                assert!(is_last || frame.chunks.len() == 1, "a piece is alone in its frame");
                let mut whole = partial.take().unwrap_or_default();
                whole.extend_from_slice(bytes);
                match is_last {
                    true => log.records.push(read_record(&whole)),
                    false => partial = Some(whole),
                }
            }
            assert_eq!(chunk_at, frame.payload_end, "chunks fill the payload");
            (at, lsn) = (at + frame.bytes, lsn + 1);
            log.frames.push(frame);
        }
        assert!(partial.is_none(), "no record is cut at the end");
        log
    }
}

/// The segments from that of the position on, in their order.
fn segments(path: &Path, from: &[u8]) -> Vec<Segment> {
    let mut found = Vec::new();
    for listed in std::fs::read_dir(path.join("wal")).expect("a log") {
        let listed = listed.expect("a file");
        let (path, name) = (listed.path(), listed.file_name().into_string().expect("a name"));
        let digits = name.strip_suffix(".wal").expect("a segment");
        assert!(digits.len() == 16 && digits.bytes().all(|b| b"0123456789abcdef".contains(&b)));
        let bytes = std::fs::read(&path).expect("a segment");
        assert!(bytes.len().is_multiple_of(BLOCK_BYTES));
        assert!((SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes.len()));
        let head = &bytes[..BLOCK_BYTES];
        if head.iter().all(|byte| *byte == 0) {
            continue;
        }
        assert_eq!(segment::MAGIC.slice(head), b"\x89BRCWAL\n");
        assert_eq!(segment::CRC.word(head), header_crc(head));
        assert_eq!(segment::VERSION.size(head), SEGMENT_VERSION);
        assert_eq!(segment::DATABASE_ID.slice(head), meta::DATABASE_ID.slice(from));
        assert_eq!(segment::BYTES.size(head), bytes.len());
        segment::ZERO.assert_zero(head);
        let (number, first_lsn) = (segment::NUMBER.number(head), segment::FIRST_LSN.number(head));
        if number >= meta::LOG_SEGMENT.number(from) {
            found.push(Segment { path, number, first_lsn, bytes });
        }
    }
    found.sort_by_key(|segment| segment.number);
    found
}

/// The checksum of a segment header.
pub(crate) fn header_crc(head: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head[..segment::CRC.at]);
    hasher.update(&head[segment::CRC.at + segment::CRC.bytes..]);
    hasher.finalize()
}

/// The valid frame at `at`.
fn frame_at(segment: &Segment, at: usize, lsn: u64) -> Option<Frame> {
    let bytes = segment.bytes.get(at..at + BLOCK_BYTES)?;
    if frame::MAGIC.slice(bytes) != b"BRF\x01" {
        return None;
    }
    let payload_end = at + FRAME_HEADER_BYTES + frame::PAYLOAD_BYTES.size(bytes);
    let end = payload_end.next_multiple_of(BLOCK_BYTES);
    let whole = segment.bytes.get(at..end).filter(|whole| whole.len() <= FRAME_BYTES_MAX)?;
    let found = crc32fast::hash(&whole[frame::SALT.at..payload_end - at]);
    let is_valid = found == frame::CRC.word(whole)
        && frame::SALT.slice(whole) == self::segment::SALT.slice(&segment.bytes)
        && frame::LSN.number(whole) == lsn;
    if !is_valid {
        return None;
    }
    assert!(whole[payload_end - at..].iter().all(|byte| *byte == 0), "zeros behind the payload");
    let (mut chunks, mut chunk_at) = (Vec::new(), at + FRAME_HEADER_BYTES);
    for _ in 0..frame::CHUNKS.size(whole) {
        let word = chunk_word(&segment.bytes, chunk_at);
        chunks.push((word >> 31 == 1, word >> 30 & 1 == 1));
        chunk_at += CHUNK_HEADER_BYTES + chunk(&segment.bytes, chunk_at).len();
    }
    assert!(!chunks.is_empty(), "a frame has a chunk");
    Some(Frame { segment: segment.number, at, bytes: end - at, payload_end, chunks })
}

fn chunk_word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes[at..].first_chunk().expect("a chunk header");
    u32::from_le_bytes(*word)
}

/// The bytes of the chunk at `at`.
fn chunk(bytes: &[u8], at: usize) -> &[u8] {
    let len = chunk_word(bytes, at) & ((1 << 30) - 1);
    &bytes[at + CHUNK_HEADER_BYTES..][..len as usize]
}

fn read_record(bytes: &[u8]) -> Record {
    assert_eq!(record::VERSION.size(bytes), RECORD_VERSION);
    let (txn, time) = (record::TXN.number(bytes), record::TIME.number(bytes));
    let mut rest = &bytes[RECORD_HEADER_BYTES..];
    let mut operations = Vec::new();
    while let Some((kind, behind)) = rest.split_first() {
        rest = behind;
        operations.push(match kind {
            1 => Operation::Enter(string(&mut rest)),
            2 => Operation::Leave(number(&mut rest)),
            3 => Operation::Put(string(&mut rest), string(&mut rest)),
            4 => {
                let key = string(&mut rest);
                let (expiry, behind) = rest.split_first_chunk().expect("an expiry");
                rest = behind;
                Operation::PutUntil(key, u64::from_le_bytes(*expiry), string(&mut rest))
            }
            5 => Operation::Delete(string(&mut rest)),
            6 => Operation::Create(string(&mut rest)),
            7 => Operation::Drop(string(&mut rest)),
            8 => Operation::Sequence(number(&mut rest)),
            9 => {
                let (expiry, behind) = rest.split_first_chunk().expect("an expiry");
                rest = behind;
                Operation::Expire(u64::from_le_bytes(*expiry))
            }
            _ => panic!("an operation of kind {kind}"),
        });
    }
    Record { txn, time, operations }
}

/// A LEB128 number.
fn number(rest: &mut &[u8]) -> u64 {
    let len = rest.iter().position(|byte| byte & 0x80 == 0).expect("a last byte") + 1;
    let (bytes, behind) = rest.split_at(len);
    *rest = behind;
    bytes.iter().rev().fold(0, |number, byte| number << 7 | u64::from(byte & 0x7f))
}

/// A number and that many bytes.
fn string(rest: &mut &[u8]) -> Vec<u8> {
    let len = usize::try_from(number(rest)).expect("a length");
    let (bytes, behind) = rest.split_at(len);
    *rest = behind;
    bytes.to_vec()
}
