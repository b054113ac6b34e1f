//! One tree page or leaf image, read by the rules of `docs/format.md`, and each rule asserted.
//!
//! Never follows a page id.

use crate::layout::{
    BUCKET_RECORD_BYTES, HEAD_BYTES, INTERIOR, LEAF, PAGE_HEADER_BYTES, RUN, bucket, entry, header,
    interior, leaf, overflow, run,
};

const MAY_REFER: u64 = 1;
const KEEPS_SUFFIXES: u64 = 2;

/// A page and the checksum its parent holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reference {
    pub(crate) page: u32,
    pub(crate) crc: u32,
}

/// A bucket record, its image with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BucketRecord {
    pub(crate) root: Reference,
    pub(crate) entries: u64,
    pub(crate) sequence: u64,
    pub(crate) image: Option<Vec<u8>>,
}

impl BucketRecord {
    pub(crate) fn read(bytes: &[u8]) -> BucketRecord {
        let root = Reference { page: bucket::ROOT.word(bytes), crc: bucket::CRC.word(bytes) };
        let entries = bucket::ENTRIES.number(bytes);
        bucket::ZERO.assert_zero(bytes);
        let has_image = root.page == 0 && entries > 0;
        assert!(root.page != 0 || root.crc == 0, "a checksum of no page");
        assert!(root.page == 0 || entries > 0, "a root page of no entries");
        assert_eq!(bytes.len() > BUCKET_RECORD_BYTES, has_image, "an image only where one is due");
        let image = has_image.then(|| bytes[BUCKET_RECORD_BYTES..].to_vec());
        BucketRecord { root, entries, sequence: bucket::SEQUENCE.number(bytes), image }
    }
}

/// What an entry holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Payload {
    Value(Vec<u8>),
    Run { first: Reference, value_bytes: usize },
    Bucket(BucketRecord),
}

/// One entry of a leaf.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    pub(crate) expires_at: Option<u64>,
    pub(crate) payload: Payload,
}

/// The separators and children of an interior page.
#[derive(Debug)]
pub(crate) struct Interior {
    pub(crate) separators: Vec<Vec<u8>>,
    pub(crate) children: Vec<Reference>,
}

fn align4(size: usize) -> usize {
    size.div_ceil(4) * 4
}

/// The number at `at`, `size` bytes long.
fn number(bytes: &[u8], at: usize, size: usize) -> usize {
    bytes[at..at + size].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

fn word(number: usize) -> u32 {
    u32::try_from(number).expect("a number of four bytes")
}

/// The head of what is behind the prefix in a key.
fn head(suffix: &[u8]) -> usize {
    (0..HEAD_BYTES).fold(0, |head, i| head << 8 | usize::from(*suffix.get(i).unwrap_or(&0)))
}

/// The prefix, and where the heads start.
fn prefix(bytes: &[u8]) -> (&[u8], usize) {
    let (start, len) = (PAGE_HEADER_BYTES, header::PREFIX_BYTES.size(bytes));
    let heads_at = start + align4(len);
    assert!(bytes[start + len..heads_at].iter().all(|byte| *byte == 0), "padding of the prefix");
    (&bytes[start..start + len], heads_at)
}

/// Asserts that what is live in the heap lies apart, and fills it together with the garbage.
fn assert_heap(bytes: &[u8], mut live: Vec<(usize, usize)>) {
    let start = header::HEAP_START.size(bytes);
    live.sort_unstable();
    assert!(live.windows(2).all(|pair| pair[0].1 <= pair[1].0), "entries overlap");
    assert!(live.first().is_none_or(|first| first.0 >= start), "an entry before the heap");
    let used: usize = live.iter().map(|(from, to)| to - from).sum();
    assert_eq!(used + header::GARBAGE.size(bytes), bytes.len() - start, "bytes of the heap");
}

fn read_entry(bytes: &[u8], at: usize) -> (Entry, usize) {
    let bytes_from = &bytes[at..];
    let opening = entry::KEY_BYTES_AND_KIND.size(bytes_from);
    let lengths = entry::PAYLOAD_BYTES_AND_EXPIRY.size(bytes_from);
    let (key_bytes, kind) = (opening & 0x3fff, opening >> 14);
    let (payload_bytes, has_expiry) = (lengths & 0x7fff, lengths >> 15 == 1);
    let expiry = entry::EXPIRES_AT;
    let expires_at = has_expiry.then(|| expiry.number(bytes_from));
    assert_ne!(expires_at, Some(0), "an expiry that says nothing");
    let key_at = expiry.at + if has_expiry { expiry.bytes } else { 0 };
    let payload_at = key_at + key_bytes;
    let end = payload_at + payload_bytes;
    let stored = &bytes_from[payload_at..end];
    let payload = match kind {
        0 => Payload::Value(stored.to_vec()),
        1 => {
            assert_eq!(stored.len(), overflow::VALUE_BYTES.at + overflow::VALUE_BYTES.bytes);
            let first =
                Reference { page: overflow::PAGE.word(stored), crc: overflow::CRC.word(stored) };
            Payload::Run { first, value_bytes: overflow::VALUE_BYTES.size(stored) }
        }
        2 => Payload::Bucket(BucketRecord::read(stored)),
        _ => panic!("an entry of kind {kind}"),
    };
    (Entry { key: bytes_from[key_at..payload_at].to_vec(), expires_at, payload }, at + end)
}

fn refers(entry: &Entry) -> bool {
    match &entry.payload {
        Payload::Value(_) => false,
        Payload::Run { .. } => true,
        Payload::Bucket(record) => {
            let in_image = record.image.as_ref().is_some_and(|image| {
                header::FLAGS.number(image) & MAY_REFER != 0
                    && read_leaf(image, true).iter().any(refers)
            });
            record.root.page != 0 || in_image
        }
    }
}

/// The entries of a leaf page, or of a leaf image.
pub(crate) fn read_leaf(bytes: &[u8], is_image: bool) -> Vec<Entry> {
    assert_eq!(leaf::HEADER.bytes, PAGE_HEADER_BYTES);
    assert_eq!((header::KIND.size(bytes), header::LEVEL.size(bytes)), (LEAF, 0));
    header::RUN_PAGES.assert_zero(bytes);
    let flags = header::FLAGS.number(bytes);
    assert_eq!(flags & !MAY_REFER, 0, "flags of a leaf");
    let count = header::COUNT.size(bytes);
    assert!(count > 0, "a leaf has entries");
    let (prefix, heads_at) = prefix(bytes);
    let slots_at = heads_at + count * HEAD_BYTES;
    let slots_end = slots_at + count * 2;
    assert!(slots_end <= header::HEAP_START.size(bytes), "arrays end before the heap");
    let (mut entries, mut live) = (Vec::<Entry>::new(), Vec::new());
    for index in 0..count {
        let start = number(bytes, slots_at + index * 2, 2);
        let (entry, end) = read_entry(bytes, start);
        let suffix = entry.key.strip_prefix(prefix).expect("the prefix in every key");
        assert_eq!(number(bytes, heads_at + index * HEAD_BYTES, HEAD_BYTES), head(suffix));
        assert!(entries.last().is_none_or(|last| last.key < entry.key), "keys ascend");
        assert!(flags & MAY_REFER != 0 || !refers(&entry), "a reference without the flag");
        live.push((start, end));
        entries.push(entry);
    }
    if is_image {
        let in_order = live.windows(2).all(|pair| pair[0].1 == pair[1].0);
        assert!(in_order && live[0].0 == slots_end, "an image is compact and in order");
        assert_eq!((header::BORN.number(bytes), prefix.len()), (0, 0));
    }
    assert_heap(bytes, live);
    entries
}

/// An interior page of this level.
pub(crate) fn read_interior(bytes: &[u8], level: usize) -> Interior {
    assert_eq!(interior::HEADER.bytes, PAGE_HEADER_BYTES);
    assert_eq!((header::KIND.size(bytes), header::LEVEL.size(bytes)), (INTERIOR, level));
    header::RUN_PAGES.assert_zero(bytes);
    let flags = header::FLAGS.number(bytes);
    assert_eq!(flags & !KEEPS_SUFFIXES, 0, "flags of an interior page");
    let keeps_suffixes = flags & KEEPS_SUFFIXES != 0;
    let count = header::COUNT.size(bytes);
    let (prefix, heads_at) = prefix(bytes);
    let pages_at = heads_at + count * HEAD_BYTES;
    let crcs_at = pages_at + (count + 1) * 4;
    let slots_at = crcs_at + (count + 1) * 4;
    let (mut separators, mut live) = (Vec::<Vec<u8>>::new(), Vec::new());
    for index in 0..count {
        let stored = number(bytes, heads_at + index * HEAD_BYTES, HEAD_BYTES);
        let suffix = if keeps_suffixes {
            let at = number(bytes, slots_at + index * 2, 2);
            let end = at + 2 + number(bytes, at, 2);
            live.push((at, end));
            bytes[at + 2..end].to_vec()
        } else {
            let all = word(stored).to_be_bytes();
            let zeros = all.iter().rev().take_while(|byte| **byte == 0).count();
            all[..HEAD_BYTES - zeros].to_vec()
        };
        assert_eq!(stored, head(&suffix));
        let separator = [prefix, &suffix[..]].concat();
        assert!(!separator.is_empty() && separator.len() <= bytes.len() / 4);
        assert!(separators.last().is_none_or(|last| *last < separator), "separators ascend");
        separators.push(separator);
    }
    let reference = |index: usize| Reference {
        page: word(number(bytes, pages_at + index * 4, 4)),
        crc: word(number(bytes, crcs_at + index * 4, 4)),
    };
    assert_heap(bytes, live);
    Interior { separators, children: (0..=count).map(reference).collect() }
}

/// How many pages of `page_bytes` the run of a value takes.
pub(crate) fn run_pages(value_bytes: usize, page_bytes: usize) -> usize {
    (run::HEADER.bytes + value_bytes).div_ceil(page_bytes)
}

/// The value in a whole overflow run.
pub(crate) fn read_run(bytes: &[u8], value_bytes: usize, page_bytes: usize) -> &[u8] {
    assert_eq!(header::KIND.size(bytes), RUN);
    assert!(bytes[1..header::RUN_PAGES.at].iter().all(|byte| *byte == 0), "header of a run");
    assert_eq!(header::RUN_PAGES.size(bytes), run_pages(value_bytes, page_bytes));
    let (value, padding) = bytes[PAGE_HEADER_BYTES..].split_at(value_bytes);
    assert!(padding.iter().all(|byte| *byte == 0), "zeros behind a value");
    value
}
