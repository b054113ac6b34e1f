//! Hostile bytes in a data file.
//!
//! The bytes are a mode, then patches over a sound data file. Bit 0 of the mode says whether the
//! checksums are mended afterwards, bit 1 which of two databases it is.
//!
//! Whatever the patches: opening, reading, checking, writing and checkpointing end, with values or
//! errors. Without mended checksums the values are right.

use std::collections::BTreeMap;

use crate::content::{DIR, exercise};
use crate::images;
use crate::input::Input;
use crate::mend::{self, META_CHECKSUM_AT, PAGE_BYTES, ROOT_BUCKET_AT, SYSTEM_BUCKET_AT};
use crate::patch::{Plain, apply, number, put};

/// Patches of one input.
const PATCHES_MAX: usize = 32;

/// Fields of a page header: where and how long.
const HEADER_FIELDS: [(usize, usize); 9] =
    [(0, 1), (1, 1), (2, 2), (4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 8)];
/// Fields of a meta page.
const META_FIELDS: [(usize, usize); 17] = [
    (8, 4),
    (12, 4),
    (32, 8),
    (40, 8),
    (48, 8),
    (56, 8),
    (64, 8),
    (72, 8),
    (80, 8),
    (88, 4),
    (92, 4),
    (ROOT_BUCKET_AT, 4),
    (ROOT_BUCKET_AT + 8, 8),
    (SYSTEM_BUCKET_AT, 4),
    (SYSTEM_BUCKET_AT + 8, 8),
    (160, 4),
    (172, 4),
];
/// Fields of a leaf's entry, from its start; the third is where a bucket record or the reference
/// to a run begins.
const ENTRY_FIELDS: [(usize, usize); 4] = [(0, 2), (2, 2), (0, 4), (8, 4)];

/// Tries one input; panics when it finds a bug.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mode = input.byte();
    let image = if mode & 2 == 0 { images::closed() } else { images::killed() };
    let path = format!("{DIR}/data");
    let sound = image.disk.read_file(&path).expect("the image has a data file");
    let mut patched = sound.clone();
    for _ in 0..PATCHES_MAX {
        if input.is_empty() {
            break;
        }
        patch(&mut input, &mut patched);
    }
    let mended = mode & 1 == 1;
    if mended {
        mend::mend(&mut patched);
    }
    let may_lie = mended || is_forged(&sound, &patched);
    let disk = image.disk.fork();
    disk.write_file(&path, &patched).expect("a file on the simulated disk");
    exercise(&disk, &mut |look| {
        if !may_lie {
            look.assert_within(image.versions.last().expect("a version"));
        }
    });
}

fn patch(input: &mut Input<'_>, bytes: &mut Vec<u8>) {
    let kind = input.choice(9);
    let pages = bytes.len().div_ceil(PAGE_BYTES).max(1);
    match kind {
        0 => apply(Plain::Literal, input, bytes, PAGE_BYTES),
        1 => apply(Plain::Flip, input, bytes, PAGE_BYTES),
        2 => apply(Plain::Copy, input, bytes, PAGE_BYTES),
        3 => apply(Plain::Fill, input, bytes, PAGE_BYTES),
        4 => {
            let page = input.choice(pages) * PAGE_BYTES;
            let (at, size) = HEADER_FIELDS[input.choice(HEADER_FIELDS.len())];
            put(bytes, page + at, input.take(size));
        }
        5 => {
            let page = input.choice(2) * PAGE_BYTES;
            let (at, size) = META_FIELDS[input.choice(META_FIELDS.len())];
            put(bytes, page + at, input.take(size));
        }
        6 => entry(input, bytes, pages),
        7 => child(input, bytes, pages),
        _ => {
            let len = input.below(bytes.len() + 2 * PAGE_BYTES);
            bytes.resize(len, 0);
        }
    }
}

/// A field of an entry of a leaf.
fn entry(input: &mut Input<'_>, bytes: &mut [u8], pages: usize) {
    let page = input.choice(pages) * PAGE_BYTES;
    let index = input.byte();
    let field = input.choice(ENTRY_FIELDS.len());
    let count = number(bytes, page + 2, 2).unwrap_or(0);
    let prefix_bytes = number(bytes, page + 4, 2).unwrap_or(0).next_multiple_of(4);
    let slot_at = page + 24 + prefix_bytes + count * 4 + usize::from(index) % count.max(1) * 2;
    let Some(slot) = number(bytes, slot_at, 2) else { return };
    let key_bytes = number(bytes, page + slot, 2).unwrap_or(0) & 0x3fff;
    let (at, size) = ENTRY_FIELDS[field];
    let begins = page + slot + if field < 2 { 0 } else { 4 + key_bytes };
    put(bytes, begins + at, input.take(size));
}

/// The page that an interior page refers to.
fn child(input: &mut Input<'_>, bytes: &mut [u8], pages: usize) {
    let page = input.choice(pages) * PAGE_BYTES;
    let count = number(bytes, page + 2, 2).unwrap_or(0);
    let prefix_bytes = number(bytes, page + 4, 2).unwrap_or(0).next_multiple_of(4);
    let index = input.choice(count + 1);
    let at = page + 24 + prefix_bytes + (count + index) * 4;
    put(bytes, at, &u32::from(input.byte()).to_le_bytes());
}

/// True when bytes that differ have a checksum that stands somewhere in the file: then nothing can
/// tell them from what was written.
fn is_forged(sound: &[u8], patched: &[u8]) -> bool {
    let mut units: BTreeMap<usize, usize> = mend::mend(&mut sound.to_vec());
    for page in 0..sound.len() / PAGE_BYTES {
        units.entry(page).or_insert(PAGE_BYTES);
    }
    units.insert(0, META_CHECKSUM_AT);
    units.insert(1, META_CHECKSUM_AT);
    units.into_iter().any(|(page, len)| {
        let range = page * PAGE_BYTES..page * PAGE_BYTES + len;
        let (Some(before), Some(after)) = (sound.get(range.clone()), patched.get(range)) else {
            return false;
        };
        let checksum = crc32fast::hash(after).to_le_bytes();
        before != after && patched.windows(4).any(|window| window == checksum)
    })
}

/// Inputs to begin with: a name for each.
#[must_use]
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let page =
        |mode: u8, page: u8, field: u8, value: &[u8]| [&[mode, 4, page, field], value].concat();
    let meta =
        |mode: u8, page: u8, field: u8, value: &[u8]| [&[mode, 5, page, field], value].concat();
    vec![
        ("nothing", vec![0]),
        ("nothing-in-a-killed-one", vec![2]),
        ("nothing-mended", vec![1]),
        ("nothing-mended-in-a-killed-one", vec![3]),
        ("a-flipped-bit", vec![0, 1, 9, 40, 0, 0x10]),
        ("a-flipped-bit-mended", vec![1, 1, 9, 40, 0, 0x10]),
        ("a-meta-page-of-zeros", vec![0, 3, 1, 0, 0, 0xff, 0x0f, 0]),
        ("both-meta-pages-of-zeros", vec![0, 3, 0, 0, 0, 0xff, 0x0f, 0, 3, 1, 0, 0, 0xff, 0x0f, 0]),
        ("a-page-over-another", vec![1, 2, 9, 0, 0, 10, 0, 0, 0xff, 0x0f]),
        ("a-level-of-its-own", page(1, 12, 1, &[5])),
        ("more-entries-than-fit", page(1, 9, 2, &[0xff, 0xff])),
        ("a-prefix-beyond-the-page", page(1, 9, 3, &[0xf0, 0xff])),
        ("a-heap-before-the-header", page(1, 9, 5, &[0, 0])),
        ("an-interior-page-as-a-leaf", page(1, 55, 0, &[1])),
        ("the-last-transaction-of-all", meta(1, 1, 4, &[0xff; 8])),
        ("the-last-epoch-of-all", meta(1, 1, 3, &[0xff; 8])),
        ("the-last-time-of-all", meta(1, 1, 5, &[0xff; 8])),
        ("the-last-checkpoint-of-all", meta(1, 1, 2, &[0xff; 8])),
        ("more-pages-than-the-file", meta(1, 1, 10, &[0xff, 0xff, 0xff, 0x7f])),
        ("the-root-among-the-dropped", meta(1, 1, 13, &[9, 0, 0, 0])),
        ("more-entries-than-there-are", meta(3, 0, 12, &[0xff; 8])),
        ("fewer-entries-than-there-are", meta(3, 0, 12, &[1, 0, 0, 0, 0, 0, 0, 0])),
        ("a-child-that-is-its-parent", vec![1, 7, 55, 0, 55, 7, 22, 0, 22]),
        ("one-child-twice", vec![1, 7, 55, 0, 9, 7, 55, 1, 9, 7, 22, 0, 9]),
        ("a-longer-key", vec![1, 6, 9, 0, 0, 0xff, 0x3f]),
        ("a-bucket-that-was-a-value", vec![1, 6, 9, 3, 0, 4, 0x80]),
        ("a-run-that-was-a-value", vec![1, 6, 9, 3, 0, 4, 0x40]),
        ("another-root-of-a-bucket", vec![1, 6, 56, 0, 2, 9, 0, 0, 0]),
        ("a-longer-run", vec![1, 6, 52, 7, 3, 0xff, 0xff, 0xff, 0x3f]),
        ("a-shorter-file", vec![0, 8, 0, 0x40]),
        ("a-longer-file", vec![2, 8, 0xff, 0xff]),
    ]
}
