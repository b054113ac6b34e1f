//! Hostile bytes in the segments of a log.
//!
//! The bytes are a mode, then patches over the segments of a killed database with commits in its
//! log. Bit 0 of the mode says whether the checksums of headers and frames are mended afterwards.
//!
//! Whatever the patches: opening and all that follows ends, with values or errors. Without mended
//! checksums the content is that of one of the commits.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bristlecone::io::sim::SimDisk;

use crate::content::exercise;
use crate::images;
use crate::input::Input;
use crate::patch::{Plain, apply, number, put, put_checksum};

const BLOCK_BYTES: usize = 4096;
const FRAME_MAGIC: &[u8] = b"BRF\x01";
const FRAME_CHECKSUM_AT: usize = 4;
const FRAME_COVERED_AT: usize = 8;
const FRAME_HEADER_BYTES: usize = 32;
const SEGMENT_MAGIC: &[u8] = b"\x89BRCWAL\n";
const SEGMENT_CHECKSUM_AT: usize = 12;

/// Fields of a segment header: where and how long.
const SEGMENT_FIELDS: [(usize, usize); 7] =
    [(0, 8), (8, 4), (16, 16), (32, 8), (40, 8), (48, 8), (56, 8)];
/// Fields of a frame, of its first chunk and of the record that begins there.
const FRAME_FIELDS: [(usize, usize); 10] =
    [(0, 4), (8, 8), (16, 8), (24, 4), (28, 4), (32, 4), (36, 1), (37, 8), (45, 8), (53, 1)];

const PATCHES_MAX: usize = 32;

/// The segments by path.
type Segments = BTreeMap<PathBuf, Vec<u8>>;

/// Tries one input; panics when it finds a bug.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mended = input.byte() & 1 == 1;
    let image = images::killed();
    let disk = image.disk.fork();
    let sound = segments(&disk);
    let mut patched = sound.clone();
    for _ in 0..PATCHES_MAX {
        if input.is_empty() {
            break;
        }
        patch(&mut input, &mut patched);
    }
    if mended {
        patched.values_mut().for_each(|segment| mend(segment));
    }
    let may_lie = mended || is_forged(&sound, &patched);
    for path in sound.keys().filter(|path| !patched.contains_key(*path)) {
        remove(&disk, path);
    }
    for (path, segment) in &patched {
        disk.write_file(path, segment).expect("a file on the simulated disk");
    }
    exercise(&disk, &mut |look| {
        if !may_lie {
            let txn = usize::try_from(look.txn).unwrap_or(usize::MAX);
            look.assert_within(image.versions.get(txn).expect("a commit of before"));
        }
    });
}

fn segments(disk: &SimDisk) -> Segments {
    let is_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wal");
    disk.contents().into_iter().filter(|(path, _)| is_log(path)).collect()
}

fn remove(disk: &SimDisk, path: &std::path::Path) {
    use bristlecone::io::Host;
    disk.remove_file(path).expect("a file that is there");
}

fn patch(input: &mut Input<'_>, segments: &mut Segments) {
    let kind = input.choice(10);
    let chosen = input.choice(segments.len().max(1));
    let Some((path, bytes)) = segments.iter_mut().nth(chosen) else { return };
    match kind {
        0 => apply(Plain::Literal, input, bytes, BLOCK_BYTES),
        1 => apply(Plain::Flip, input, bytes, BLOCK_BYTES),
        2 => apply(Plain::Copy, input, bytes, BLOCK_BYTES),
        3 => apply(Plain::Fill, input, bytes, BLOCK_BYTES),
        4 => {
            let (at, size) = SEGMENT_FIELDS[input.choice(SEGMENT_FIELDS.len())];
            put(bytes, at, input.take(size));
        }
        5 => {
            let frames = frames(bytes);
            let nth = input.choice(frames.len().max(1));
            let (at, size) = FRAME_FIELDS[input.choice(FRAME_FIELDS.len())];
            if let Some(frame) = frames.get(nth) {
                put(bytes, frame + at, input.take(size));
            }
        }
        6 => {
            let frames = frames(bytes);
            let nth = input.choice(frames.len().max(1));
            let at = FRAME_HEADER_BYTES + input.choice(256);
            if let Some(frame) = frames.get(nth) {
                let count = 1 + input.choice(32);
                put(bytes, frame + at, input.take(count));
            }
        }
        7 => {
            let path = path.clone();
            segments.remove(&path);
        }
        8 => {
            let copy = bytes.clone();
            let name = format!("{:016x}.wal", input.number(8));
            let path = path.with_file_name(name);
            segments.insert(path, copy);
        }
        _ => {
            let len = input.below(bytes.len() + 2 * BLOCK_BYTES);
            bytes.resize(len, 0);
        }
    }
}

/// Where blocks begin with the magic of a frame.
fn frames(segment: &[u8]) -> Vec<usize> {
    let at = (BLOCK_BYTES..segment.len()).step_by(BLOCK_BYTES);
    at.filter(|at| segment[*at..].starts_with(FRAME_MAGIC)).collect()
}

/// The bytes that the checksum of a frame covers.
fn covered(segment: &[u8], frame: usize) -> Option<&[u8]> {
    let payload_bytes = number(segment, frame + 24, 4)?;
    let end = frame.checked_add(FRAME_HEADER_BYTES)?.checked_add(payload_bytes)?;
    segment.get(frame + FRAME_COVERED_AT..end)
}

fn header_checksum(segment: &[u8]) -> Option<u32> {
    let block = segment.get(..BLOCK_BYTES)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&block[..SEGMENT_CHECKSUM_AT]);
    hasher.update(&block[SEGMENT_CHECKSUM_AT + 4..]);
    Some(hasher.finalize())
}

fn mend(segment: &mut [u8]) {
    if let Some(checksum) = header_checksum(segment) {
        put_checksum(segment, SEGMENT_CHECKSUM_AT, checksum);
    }
    for frame in frames(segment) {
        if let Some(covered) = covered(segment, frame) {
            let checksum = crc32fast::hash(covered);
            put_checksum(segment, frame + FRAME_CHECKSUM_AT, checksum);
        }
    }
}

/// True when a header or frame has its checksum, and was not there before.
fn is_forged(sound: &Segments, patched: &Segments) -> bool {
    let known = |covered: &[u8]| {
        let in_segment = |segment: &Vec<u8>| {
            let frames = frames(segment);
            frames.into_iter().any(|frame| self::covered(segment, frame) == Some(covered))
        };
        sound.values().any(in_segment)
    };
    patched.values().any(|segment| {
        let is_whole = |frame: &usize| {
            let stored = number(segment, frame + FRAME_CHECKSUM_AT, 4);
            covered(segment, *frame)
                .filter(|covered| stored == Some(crc32fast::hash(covered) as usize))
                .is_some_and(|covered| !known(covered))
        };
        let stored = number(segment, SEGMENT_CHECKSUM_AT, 4).and_then(|crc| crc.try_into().ok());
        let header_is_whole = segment.starts_with(SEGMENT_MAGIC)
            && header_checksum(segment).is_some_and(|checksum| stored == Some(checksum));
        let header = segment.get(..BLOCK_BYTES);
        let header_known = sound.values().any(|one| header == one.get(..BLOCK_BYTES));
        header_is_whole && !header_known || frames(segment).iter().any(is_whole)
    })
}

/// Inputs to begin with: a name for each.
#[must_use]
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let frame = |mode: u8, segment: u8, nth: u8, field: u8, value: &[u8]| {
        [&[mode, 5, segment, nth, field], value].concat()
    };
    let header = |mode: u8, segment: u8, field: u8, value: &[u8]| {
        [&[mode, 4, segment, field], value].concat()
    };
    let record = |segment: u8, nth: u8, at: u8, bytes: &[u8]| {
        let count = u8::try_from(bytes.len() - 1).expect("short");
        [&[1, 6, segment, nth, at, count], bytes].concat()
    };
    vec![
        ("nothing", vec![0]),
        ("nothing-mended", vec![1]),
        ("a-flipped-bit", vec![0, 1, 0, 2, 90, 0, 1]),
        ("a-flipped-bit-mended", vec![1, 1, 0, 2, 90, 0, 1]),
        ("a-frame-of-zeros", vec![0, 3, 0, 2, 0, 0, 0xff, 0x0f, 0]),
        ("the-last-segment-removed", vec![0, 7, 2]),
        ("the-first-segment-removed", vec![0, 7, 0]),
        ("a-segment-twice", vec![0, 8, 0, 0x77, 0, 0, 0, 0, 0, 0, 0]),
        ("the-last-file-number-of-all", [&[0, 8, 7][..], &[0xff; 8]].concat()),
        ("a-shorter-segment", vec![0, 9, 1, 0, 0x20]),
        ("a-longer-segment", vec![0, 9, 1, 0, 0x50]),
        ("a-frame-over-another", vec![0, 2, 0, 1, 0, 0, 2, 0, 0, 0xff, 0x0f]),
        ("another-version", header(1, 1, 1, &[2, 0, 0, 0])),
        ("another-database", header(1, 1, 2, &[9; 16])),
        ("the-last-segment-number-of-all", header(1, 1, 3, &[0xff; 8])),
        ("another-salt", header(1, 1, 4, &[1; 8])),
        ("the-last-lsn-of-all", header(1, 1, 5, &[0xff; 8])),
        ("a-length-of-all", header(1, 1, 6, &[0xff; 8])),
        ("a-frame-of-all-lengths", frame(1, 1, 0, 3, &[0xff, 0xff, 0x3f, 0])),
        ("a-frame-of-no-payload", frame(1, 1, 0, 3, &[0; 4])),
        ("more-chunks-than-there-are", frame(1, 1, 0, 4, &[9, 0, 0, 0])),
        ("a-first-piece-alone", frame(1, 0, 0, 5, &[20, 0, 0, 0x80])),
        ("a-last-piece-alone", frame(1, 0, 0, 5, &[20, 0, 0, 0x40])),
        ("a-middle-piece-alone", frame(1, 0, 0, 5, &[20, 0, 0, 0])),
        ("another-version-of-a-record", frame(1, 1, 0, 6, &[2])),
        ("the-last-transaction-of-all", frame(1, 1, 0, 7, &[0xff; 8])),
        ("the-last-time-of-all", frame(1, 1, 0, 8, &[0xff; 8])),
        ("no-such-operation", frame(1, 0, 0, 9, &[0x63])),
        ("leaving-the-root", record(0, 0, 21, &[2, 0xff, 0xff, 0xff, 0x7f])),
        ("a-name-without-end", record(0, 0, 21, &[1, 0xff, 0xff, 0xff, 0xff, 0x0f])),
        ("a-number-too-long", record(0, 0, 21, &[8, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80])),
        ("the-root-as-a-bucket", record(0, 0, 21, &[3, 1, b'k', 1, b'v'])),
        ("a-drop-of-what-is-not-there", record(0, 0, 21, &[7, 1, b'x'])),
    ]
}
