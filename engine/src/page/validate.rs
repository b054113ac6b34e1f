//! Is this page what its writer wrote? Asked once, when a page is first read from the file.
//!
//! The checksum has been compared before; this catches what a checksum cannot: a page written
//! wrongly, by a mistake or on purpose. Never follows a reference. Invariants:
//! 1. Every count, offset and length of a page that passes lies within the page, or within the
//!    leaf image it belongs to.
//! 2. Its keys ascend strictly, its heads are those of its keys, and its reserved bytes are zero.
//! 3. Its entries lie apart from each other, and live and dead bytes add up to the heap.

use super::bucket::{self, BucketRecord, RECORD_BYTES, RESERVED_AT};
use super::entry::{EntryHead, KIND_BUCKET, KIND_RUN, KIND_VALUE, Payload, payload_bytes_max};
use super::header::{FLAG_REFERENCES, FLAG_SUFFIXES, Header, PAGE_HEADER_BYTES, tree_level};
use super::interior::{INTERIOR_INDEX_BYTES, Interior, LAST_CHILD_BYTES};
use super::keys::{head, stored_head};
use super::leaf::{LEAF_INDEX_BYTES, Leaf};
use crate::codec::{align4, get_u32, get_u64};
use crate::limits::{self, BUCKET_DEPTH_MAX};

/// What is wrong, what was expected and what was found.
type Verdict = Result<(), String>;

/// A leaf image that is still to be checked.
struct Image<'a> {
    bytes: &'a [u8],
    entries: u64,
    depth: usize,
    /// The leaf around it says that it may hold references.
    may_have_references: bool,
}

/// Says what is wrong with a leaf or interior page. The length of `bytes` is the page size.
pub(crate) fn validate(bytes: &[u8]) -> Verdict {
    match tree_level(bytes) {
        Some(0) => validate_leaf(bytes),
        Some(_) => validate_interior(bytes),
        None => {
            let header = Header::read(bytes);
            Err(format!("expected a tree page, found kind {} level {}", header.kind, header.level))
        }
    }
}

fn validate_leaf(bytes: &[u8]) -> Verdict {
    let page_bytes = bytes.len();
    let mut images = Vec::new();
    check_leaf(bytes, page_bytes, 0, &mut images)?;
    while let Some(image) = images.pop() {
        check_image(&image)?;
        check_leaf(image.bytes, page_bytes, image.depth, &mut images)?;
    }
    Ok(())
}

/// What holds for a leaf image beyond what holds for a leaf.
fn check_image(image: &Image<'_>) -> Verdict {
    let header = Header::read(image.bytes);
    if tree_level(image.bytes) != Some(0) {
        return Err(format!("expected a leaf image in a bucket, found kind {}", header.kind));
    }
    expect("bucket nesting within its limit", image.depth <= BUCKET_DEPTH_MAX, image.depth)?;
    expect_equal("entries in a leaf image", image.entries, header.count as u64)?;
    let leaf = Leaf::new(image.bytes);
    let mut end = leaf.arrays_end();
    expect_equal("start of an image's heap", end, header.heap_low)?;
    for index in 0..leaf.count() {
        expect_equal("entry of an image in place", end, leaf.slot(index))?;
        end += leaf.stored(index).len();
    }
    expect_equal("end of an image's heap", image.bytes.len(), end)?;
    let hidden = leaf.may_have_references() && !image.may_have_references;
    expect("the reference flag around an image with references", !hidden, 0)
}

/// Checks one leaf, but for the images in it, which are added to `images`.
fn check_leaf<'a>(
    bytes: &'a [u8],
    page_bytes: usize,
    depth: usize,
    images: &mut Vec<Image<'a>>,
) -> Verdict {
    let header = Header::read(bytes);
    check_header(bytes, &header, FLAG_REFERENCES)?;
    let arrays = header.count * LEAF_INDEX_BYTES;
    check_arrays(bytes, &header, arrays)?;
    let leaf = Leaf::new(bytes);
    let mut spans = Vec::with_capacity(leaf.count());
    let mut previous: Option<&[u8]> = None;
    for (index, stored) in leaf.heads().iter().enumerate() {
        let start = leaf.slot(index);
        let end = check_entry(bytes, start, header.heap_low, page_bytes)?;
        spans.push((start, end));
        let key = leaf.key(index);
        let Some(suffix) = key.strip_prefix(leaf.prefix()) else {
            return Err(format!("expected the page's prefix in key {index}"));
        };
        expect_equal("head of a key", head(suffix), stored_head(*stored))?;
        expect("keys ascending", previous.is_none_or(|previous| previous < key), index)?;
        previous = Some(key);
        check_payload(&leaf, index, depth, images)?;
    }
    check_heap(bytes, &header, &mut spans)
}

/// Checks the lengths of the entry at `start`; returns where it ends.
fn check_entry(
    bytes: &[u8],
    start: usize,
    heap_low: usize,
    page_bytes: usize,
) -> Result<usize, String> {
    expect("an entry within the heap", start >= heap_low, start)?;
    let Some(entry) = bytes.get(start..).and_then(EntryHead::read) else {
        return Err(format!("expected an entry within the page, found it at {start}"));
    };
    let end = start + entry.stored_bytes();
    expect("the end of an entry within the page", end <= bytes.len(), end)?;
    let (key_len, payload_len) = (entry.key().len(), entry.payload().len());
    expect("a key within its limit", key_len <= limits::key_bytes_max(page_bytes), key_len)?;
    expect(
        "a payload within its limit",
        payload_len <= payload_bytes_max(page_bytes),
        payload_len,
    )?;
    if entry.has_expiry {
        expect("an expiry that is not zero", get_u64(bytes, start + 4) != 0, 0)?;
    }
    Ok(end)
}

fn check_payload<'a>(
    leaf: &Leaf<'a>,
    index: usize,
    depth: usize,
    images: &mut Vec<Image<'a>>,
) -> Verdict {
    let kind = leaf.stored_kind(index);
    expect("an entry kind from 0 to 2", matches!(kind, KIND_VALUE | KIND_RUN | KIND_BUCKET), kind)?;
    let refers = match leaf.entry(index).payload {
        Payload::Value(_) => false,
        Payload::Overflow { run, len } => {
            expect_equal("bytes of a run's payload", 12, leaf.payload_range(index).len())?;
            expect("a page for a run", !run.id.is_none(), run.id)?;
            let in_limit = len as usize <= limits::VALUE_BYTES_MAX;
            expect("a value within its limit", in_limit, len)?;
            true
        }
        Payload::Bucket(record) => {
            let bucket = check_record(record)?;
            if let Some(bytes) = bucket::image(record) {
                let may_have_references = leaf.may_have_references();
                let (entries, depth) = (bucket.entries, depth + 1);
                images.push(Image { bytes, entries, depth, may_have_references });
            }
            !bucket.root.id.is_none()
        }
    };
    let hidden = refers && !leaf.may_have_references();
    expect("the reference flag on a leaf with references", !hidden, index)
}

fn check_record(record: &[u8]) -> Result<BucketRecord, String> {
    expect("a whole bucket record", record.len() >= RECORD_BYTES, record.len())?;
    expect_equal("reserved bytes of a bucket record", 0, get_u64(record, RESERVED_AT))?;
    let bucket = BucketRecord::decode(record);
    if bucket.root.id.is_none() {
        expect_equal("checksum of no page", 0, bucket.root.crc)?;
    } else {
        expect("entries under a bucket's root", bucket.entries > 0, bucket.entries)?;
    }
    if bucket::image(record).is_none() {
        expect_equal("bytes of a bucket record", RECORD_BYTES, record.len())?;
    }
    Ok(bucket)
}

fn validate_interior(bytes: &[u8]) -> Verdict {
    let header = Header::read(bytes);
    check_header(bytes, &header, FLAG_SUFFIXES)?;
    let keeps_suffixes = header.flags & FLAG_SUFFIXES != 0;
    let slots = if keeps_suffixes { header.count * 2 } else { 0 };
    check_arrays(bytes, &header, header.count * INTERIOR_INDEX_BYTES + LAST_CHILD_BYTES + slots)?;
    let page = Interior::new(bytes);
    for index in 0..=page.count() {
        expect("a page for every child", !page.child(index).id.is_none(), index)?;
    }
    let mut spans = Vec::new();
    let (mut previous, mut separator) = (Vec::new(), Vec::new());
    for (index, stored) in page.heads().iter().enumerate() {
        if keeps_suffixes {
            spans.push(check_suffix(bytes, &page, index, header.heap_low)?);
            expect_equal("head of a separator", head(page.suffix(index)), stored_head(*stored))?;
        }
        separator.clear();
        page.push_separator(index, &mut separator);
        expect("separators ascending", index == 0 || previous < separator, index)?;
        let len = separator.len();
        expect("a separator that is not empty", len > 0, index)?;
        expect("a separator within its limit", len <= limits::key_bytes_max(bytes.len()), len)?;
        std::mem::swap(&mut previous, &mut separator);
    }
    check_heap(bytes, &header, &mut spans)
}

/// Checks where a suffix lies; returns from where to where.
fn check_suffix(
    bytes: &[u8],
    page: &Interior<'_>,
    index: usize,
    heap_low: usize,
) -> Result<(usize, usize), String> {
    let start = page.slot(index);
    expect("a suffix within the heap", start >= heap_low, start)?;
    let len = bytes.get(start..).and_then(|rest| rest.first_chunk());
    let Some(len) = len.map(|len| usize::from(u16::from_le_bytes(*len))) else {
        return Err(format!("expected a suffix within the page, found it at {start}"));
    };
    let end = start + 2 + len;
    expect("the end of a suffix within the page", end <= bytes.len(), end)?;
    Ok((start, end))
}

/// What leaves and interior pages have in common.
fn check_header(bytes: &[u8], header: &Header, flags: u16) -> Verdict {
    expect("a whole header", bytes.len() >= PAGE_HEADER_BYTES, bytes.len())?;
    expect("a page within its limit", bytes.len() <= limits::PAGE_BYTES_MAX, bytes.len())?;
    expect("known flags", header.flags & !flags == 0, header.flags)?;
    expect_equal("reserved bytes of the header", 0, get_u32(bytes, 12))
}

/// The arrays end before the heap starts, and the prefix is padded with zeros.
fn check_arrays(bytes: &[u8], header: &Header, arrays: usize) -> Verdict {
    let heads_at = PAGE_HEADER_BYTES + align4(header.prefix_len);
    expect("the heap within the page", header.heap_low <= bytes.len(), header.heap_low)?;
    expect("the arrays below the heap", heads_at + arrays <= header.heap_low, heads_at + arrays)?;
    let padding = &bytes[PAGE_HEADER_BYTES + header.prefix_len..heads_at];
    expect("zeros after the prefix", padding.iter().all(|&byte| byte == 0), 0)
}

/// The live spans of the heap lie apart, and with the dead bytes they fill it.
fn check_heap(bytes: &[u8], header: &Header, spans: &mut [(usize, usize)]) -> Verdict {
    if !spans.is_sorted() {
        spans.sort_unstable();
    }
    let apart = spans.windows(2).all(|pair| pair[0].1 <= pair[1].0);
    expect("entries that lie apart", apart, spans.len())?;
    let live: usize = spans.iter().map(|(start, end)| end - start).sum();
    let heap = bytes.len() - header.heap_low;
    expect_equal("bytes of the heap", heap, live + header.garbage)
}

fn expect(what: &str, holds: bool, found: impl std::fmt::Debug) -> Verdict {
    if holds { Ok(()) } else { Err(format!("expected {what}, found {found:?}")) }
}

fn expect_equal<T: PartialEq + std::fmt::Display>(what: &str, expected: T, found: T) -> Verdict {
    if expected == found {
        Ok(())
    } else {
        Err(format!("expected {what} to be {expected}, found {found}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::super::references::references;
    use super::super::{Entry, InteriorBuilder, InteriorMut, LeafBuilder, LeafMut};
    use super::*;
    use crate::ids::{Epoch, PageId, PageRef};

    const PAGE_BYTES: usize = 4096;

    fn cases() -> ProptestConfig {
        let (cases, failure_persistence) = (if cfg!(miri) { 4 } else { 1500 }, None);
        ProptestConfig { cases, failure_persistence, ..ProptestConfig::default() }
    }

    /// Calls every reading function of a page. It must not panic, whatever the bytes.
    fn read_all(bytes: &[u8]) {
        let keys: [&[u8]; 5] = [b"", b"k", b"kk\0", &[0xff; 40], &bytes[..bytes.len().min(30)]];
        let (leaf, interior) = (Leaf::new(bytes), Interior::new(bytes));
        for index in 0..leaf.count() + 2 {
            let _ = (leaf.entry(index), leaf.get(index), leaf.stored(index), leaf.key(index));
            let _ = (leaf.payload_range(index), leaf.stored_kind(index), leaf.slot(index));
            let _ = (leaf.find(leaf.key(index)), leaf.search(leaf.key(index)));
        }
        for index in 0..interior.count() + 2 {
            let _ = (interior.child(index), interior.suffix(index), interior.slot(index));
            let _ = interior.search(&interior.separator(index));
        }
        for key in keys {
            let _ = (leaf.find(key), leaf.search(key), interior.search(key));
            let _ = interior.has_room_for(key);
        }
        let _ = (leaf.used_bytes(), leaf.arrays_end(), leaf.may_have_references());
        let _ = (interior.used_bytes(), interior.arrays_end());
        let _ = references(bytes).count();
    }

    /// Changes a page in many ways. It must not panic when the page is valid.
    fn change_all(bytes: &[u8]) {
        let mut copy = bytes.to_vec();
        if tree_level(bytes) != Some(0) {
            let mut page = InteriorMut::new(&mut copy);
            let long = [b'k'; 900];
            for separator in [&b"k"[..], b"kkkkkkkk", b"\0", &long] {
                let index = page.view().search(separator);
                let _ = page.insert(index, separator, PageRef { id: PageId(5), crc: 1 });
            }
            while page.view().count() > 0 {
                page.set_child(0, PageRef { id: PageId(6), crc: 1 });
                page.remove_child(page.view().count() / 2);
            }
            return;
        }
        let mut leaf = LeafMut::new(&mut copy);
        for (key, len) in [(&b"k"[..], 30), (b"kk", 600), (b"", 1000), (&[b'k'; 1024], 0)] {
            let value = vec![3; len];
            let entry = Entry { key, payload: Payload::Value(&value), expires_at: 9 };
            let _ = match leaf.view().search(key) {
                Ok(index) => leaf.replace(index, &entry),
                Err(index) => leaf.insert(index, &entry),
            };
        }
        while leaf.view().count() > 0 {
            leaf.remove(leaf.view().count() / 2);
        }
        let found: Vec<_> = references(bytes).collect();
        let mut copy = bytes.to_vec();
        found.iter().for_each(|found| found.patch(&mut copy, PageRef { id: PageId(9), crc: 2 }));
        validate(&copy).unwrap();
    }

    fn check(bytes: &[u8]) {
        read_all(bytes);
        if validate(bytes).is_ok() {
            change_all(bytes);
        }
    }

    /// Keys that share a prefix now and then, with what they hold: a choice and a length.
    fn content() -> impl Strategy<Value = BTreeMap<Vec<u8>, (u8, usize)>> {
        let key = prop_oneof![
            vec(prop_oneof![Just(b'k'), Just(0u8), any::<u8>()], 0..12),
            vec(Just(b'k'), 1..200),
        ];
        btree_map(key, (0u8..8, 0usize..90), 0..30)
    }

    fn build(content: &BTreeMap<Vec<u8>, (u8, usize)>, depth: usize) -> LeafBuilder {
        let mut builder = LeafBuilder::new();
        for (key, &(choice, len)) in content {
            let mut bucket = BucketRecord { sequence: 4, ..BucketRecord::EMPTY };
            let value = vec![choice; len];
            let run = PageRef { id: PageId(len as u32 + 1), crc: 3 };
            let mut record = Vec::new();
            let payload = match choice {
                0 => Payload::Overflow { run, len: 5000 },
                1 => {
                    (bucket.root, bucket.entries) = (run, 7);
                    record.extend_from_slice(&bucket.encode());
                    Payload::Bucket(&record)
                }
                2 if depth < 3 => {
                    let inner: BTreeMap<_, _> =
                        content.iter().take(2).map(|(k, v)| (k.clone(), *v)).collect();
                    let inner = build(&inner, depth + 1);
                    bucket.entries = inner.count() as u64;
                    record.extend_from_slice(&bucket.encode());
                    if inner.count() > 0 {
                        record.extend_from_slice(&inner.image());
                    }
                    Payload::Bucket(&record)
                }
                _ => Payload::Value(&value),
            };
            let entry = Entry { key, payload, expires_at: (len % 3) as u64 };
            let room = PAGE_BYTES - builder.used_bytes();
            let fits = entry.stored_bytes() + LEAF_INDEX_BYTES <= room;
            if fits && payload.stored_bytes() <= payload_bytes_max(PAGE_BYTES) {
                builder.push(&entry);
            }
        }
        builder
    }

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn random_bytes_never_panic(mut bytes in vec(any::<u8>(), 0..5000), kind in 0u8..4) {
            check(&bytes);
            if let [first, level, ..] = &mut bytes[..] {
                (*first, *level) = (kind, kind.saturating_sub(1));
            }
            check(&bytes);
        }

        #[test]
        fn a_written_leaf_is_valid_and_a_damaged_one_never_panics(
            content in content(),
            damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            near_front in any::<bool>(),
        ) {
            let mut bytes = vec![0; PAGE_BYTES];
            prop_assert!(build(&content, 0).write(&mut bytes, Epoch(1)));
            prop_assert_eq!(validate(&bytes), Ok(()));
            change_all(&bytes);
            for (at, byte) in damage {
                let at = at.index(if near_front { 200 } else { PAGE_BYTES });
                bytes[at] = byte;
                check(&bytes);
            }
        }

        #[test]
        fn a_written_interior_page_is_valid_and_a_damaged_one_never_panics(
            content in content(),
            damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            near_front in any::<bool>(),
        ) {
            let mut builder = InteriorBuilder::new();
            builder.push_first(PageRef { id: PageId(1), crc: 0 });
            for (key, &(_, len)) in content.iter().filter(|(key, _)| !key.is_empty()) {
                builder.push(key, PageRef { id: PageId(len as u32 + 1), crc: 8 });
            }
            let fits = |count: &usize| builder.used_bytes(0..*count) <= PAGE_BYTES;
            let count = (0..=builder.count()).rev().find(fits);
            let mut bytes = vec![0; PAGE_BYTES];
            prop_assert!(builder.write(0..count.unwrap_or(0), &mut bytes, 1, Epoch(1)));
            prop_assert_eq!(validate(&bytes), Ok(()));
            change_all(&bytes);
            for (at, byte) in damage {
                let at = at.index(if near_front { 200 } else { PAGE_BYTES });
                bytes[at] = byte;
                check(&bytes);
            }
        }
    }

    /// A leaf with three entries of four key bytes each, and a prefix of three.
    fn small_leaf() -> Vec<u8> {
        let mut builder = LeafBuilder::new();
        for key in [b"key1", b"key2", b"key3"] {
            builder.push(&Entry { key, payload: Payload::Value(b"value"), expires_at: 5 });
        }
        let mut bytes = vec![0; PAGE_BYTES];
        assert!(builder.write(&mut bytes, Epoch(1)));
        bytes
    }

    #[test]
    fn each_kind_of_damage_is_named() {
        let entries_at = PAGE_BYTES - 3 * (4 + 8 + 4 + 5);
        for (at, byte, named) in [
            (0, 9, "a tree page"),
            (1, 1, "a tree page"),
            (2, 2, "within the heap"),
            (3, 9, "arrays below the heap"),
            (4, 2, "zeros after the prefix"),
            (6, 2, "known flags"),
            (8, 0, "heap"),
            (10, 1, "bytes of the heap"),
            (12, 1, "reserved bytes of the header"),
            (24, b'x', "prefix"),
            (28, 1, "head of a key"),
            (40, 0, "an entry within the heap"),
            (entries_at, 5, "head of a key"),
            (entries_at + 1, 0xc0, "kind"),
            (entries_at + 1, 0x40, "run"),
            (entries_at + 4, 0, "expiry"),
        ] {
            let mut bytes = small_leaf();
            validate(&bytes).unwrap();
            bytes[at] = byte;
            let found = validate(&bytes).unwrap_err();
            assert!(found.contains(named), "byte {at}: {found}");
        }
    }

    #[test]
    fn keys_out_of_order_and_entries_in_each_other_are_named() {
        let mut bytes = small_leaf();
        // The second key becomes "key0", in its head and in the heap.
        (bytes[35], bytes[PAGE_BYTES - 21 - 6]) = (b'0', b'0');
        assert_eq!(validate(&bytes), Err("expected keys ascending, found 1".into()));

        let mut builder = LeafBuilder::new();
        // The value looks like an entry with the key "c", four bytes into the entry "b".
        for (key, value) in [(b"b", &b"\x01\0\0\0c"[..]), (b"c", b"")] {
            builder.push(&Entry { key, payload: Payload::Value(value), expires_at: 0 });
        }
        let mut bytes = vec![0; PAGE_BYTES];
        assert!(builder.write(&mut bytes, Epoch(1)));
        let slot_at = PAGE_HEADER_BYTES + 2 * 4 + 2;
        bytes[slot_at] -= 5;
        assert_eq!(validate(&bytes), Err("expected entries that lie apart, found 2".into()));
    }
}
