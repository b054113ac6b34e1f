//! Builds bolt files for the tests: sound ones by hand or from a model, which tests then damage.
//!
//! It is compiled for tests only, and shares only the checksum and the types with the reader.
//!
//! Invariants:
//! 1. Pages, inline pages and metas are laid out as bbolt does, so an image is sound until `set`.
//! 2. A seed gives the same model and the same image every time.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::meta::fnv1a;
use super::{BoltError, BoltFile, Event};

pub(super) const NO_FREELIST: u64 = u64::MAX;

/// A file in the temporary directory, removed when dropped.
#[derive(Debug)]
pub(super) struct ScratchFile(PathBuf);

impl ScratchFile {
    pub(super) fn with(bytes: &[u8]) -> ScratchFile {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("bristlecone-bolt-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, bytes).expect("write a scratch file");
        ScratchFile(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        fs::remove_file(&self.0).expect("remove a scratch file");
    }
}

/// An element of a leaf page to be built.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Pair(Vec<u8>, Vec<u8>),
    Bucket(Vec<u8>, Vec<u8>),
}

impl Item {
    pub(super) fn pair(key: &str, value: &str) -> Item {
        Item::Pair(key.into(), value.into())
    }

    pub(super) fn bucket(name: &str, value: Vec<u8>) -> Item {
        Item::Bucket(name.into(), value)
    }
}

/// The value of a bucket with pages of its own.
pub(super) fn tree_bucket(root: u64, sequence: u64) -> Vec<u8> {
    [root.to_le_bytes(), sequence.to_le_bytes()].concat()
}

/// The value of an inline bucket.
pub(super) fn inline_bucket(sequence: u64, items: &[Item]) -> Vec<u8> {
    [tree_bucket(0, sequence), leaf_page(0, 0, items)].concat()
}

fn header(id: u64, flags: u16, count: usize, overflow: u32) -> Vec<u8> {
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend(flags.to_le_bytes());
    bytes.extend(u16::try_from(count).expect("few elements").to_le_bytes());
    bytes.extend(overflow.to_le_bytes());
    bytes
}

fn leaf_page(id: u64, overflow: u32, items: &[Item]) -> Vec<u8> {
    let mut bytes = header(id, 0x02, items.len(), overflow);
    let mut data = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let (flags, key, value) = match item {
            Item::Pair(key, value) => (0, key, value),
            Item::Bucket(name, value) => (1, name, value),
        };
        let pos = (items.len() - index) * 16 + data.len();
        for field in [flags, pos, key.len(), value.len()] {
            bytes.extend(u32::try_from(field).expect("small").to_le_bytes());
        }
        data.extend_from_slice(key);
        data.extend_from_slice(value);
    }
    [bytes, data].concat()
}

/// A bolt file in memory.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) page_bytes: usize,
    pub(super) bytes: Vec<u8>,
}

impl Image {
    pub(super) fn new(page_bytes: usize) -> Image {
        Image { page_bytes, bytes: Vec::new() }
    }

    /// Pages of 1 KiB: root branch 3 over leaves 4 and 5, bucket `b` on 6 and 7, bucket `m` on 8,
    /// page 9 free, freelist on 2. Meta page 1, of transaction 5, is in force.
    pub(super) fn sample() -> Image {
        let mut image = Image::new(1024);
        image.freelist(2, &[9]);
        image.branch(3, &[("a", 4), ("m", 5)]);
        let small = inline_bucket(7, &[Item::pair("k1", "v1"), Item::pair("k2", "")]);
        image.leaf(4, &[Item::bucket("a", small), Item::bucket("b", tree_bucket(6, 0))]);
        let empty = inline_bucket(0, &[]);
        image.leaf(5, &[Item::bucket("m", tree_bucket(8, 3)), Item::bucket("n", empty)]);
        image.leaf(6, &[Item::pair("big", &"v".repeat(1500)), Item::pair("small", "x")]);
        let inner = inline_bucket(0, &[Item::pair("z", "26")]);
        image.leaf(8, &[Item::pair("p", "1"), Item::bucket("q", inner), Item::pair("r", "3")]);
        image.metas(3, 2, 10, 5);
        image
    }

    pub(super) fn offset(&self, page: u64) -> usize {
        usize::try_from(page).expect("few pages") * self.page_bytes
    }

    pub(super) fn set(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end.next_multiple_of(self.page_bytes), 0);
        }
        self.bytes[at..end].copy_from_slice(bytes);
    }

    /// Changes bytes of a page.
    pub(super) fn poke(&mut self, page: u64, at: usize, bytes: &[u8]) {
        self.set(self.offset(page) + at, bytes);
    }

    /// Writes a leaf page and returns its number of pages.
    pub(super) fn leaf(&mut self, id: u64, items: &[Item]) -> u64 {
        let pages = leaf_page(id, 0, items).len().div_ceil(self.page_bytes);
        let overflow = u32::try_from(pages - 1).expect("few pages");
        self.set(self.offset(id), &leaf_page(id, overflow, items));
        pages as u64
    }

    /// Writes a branch page and returns its number of pages.
    pub(super) fn branch<K: AsRef<[u8]>>(&mut self, id: u64, children: &[(K, u64)]) -> u64 {
        let (mut array, mut data) = (Vec::new(), Vec::new());
        for (index, (key, child)) in children.iter().enumerate() {
            let pos = (children.len() - index) * 16 + data.len();
            for field in [pos, key.as_ref().len()] {
                array.extend(u32::try_from(field).expect("small").to_le_bytes());
            }
            array.extend(child.to_le_bytes());
            data.extend_from_slice(key.as_ref());
        }
        let pages = (16 + array.len() + data.len()).div_ceil(self.page_bytes);
        let overflow = u32::try_from(pages - 1).expect("few pages");
        let head = header(id, 0x01, children.len(), overflow);
        self.set(self.offset(id), &[head, array, data].concat());
        pages as u64
    }

    /// Writes a freelist and returns its number of pages.
    pub(super) fn freelist(&mut self, id: u64, free: &[u64]) -> u64 {
        let large = free.len() >= 0xFFFF;
        let mut ids: Vec<u8> = Vec::new();
        if large {
            ids.extend((free.len() as u64).to_le_bytes());
        }
        ids.extend(free.iter().flat_map(|id| id.to_le_bytes()));
        let pages = (16 + ids.len()).div_ceil(self.page_bytes);
        let overflow = u32::try_from(pages - 1).expect("few pages");
        let head = header(id, 0x10, if large { 0xFFFF } else { free.len() }, overflow);
        self.set(self.offset(id), &[head, ids].concat());
        pages as u64
    }

    /// Writes both meta pages, of transactions `txn_id - 1` and `txn_id`, the latter in its place.
    pub(super) fn metas(&mut self, root: u64, freelist: u64, high_water: u64, txn_id: u64) {
        for txn_id in [txn_id - 1, txn_id] {
            let page = txn_id % 2;
            let mut meta = header(page, 0x04, 0, 0);
            let page_bytes = u32::try_from(self.page_bytes).expect("small");
            for field in [0xED0C_DAED, 2, page_bytes, 0] {
                meta.extend(field.to_le_bytes());
            }
            for field in [root, 0, freelist, high_water, txn_id, 0] {
                meta.extend(field.to_le_bytes());
            }
            self.poke(page, 0, &meta);
            self.seal(page);
        }
        let pages = usize::try_from(high_water).expect("few pages");
        self.bytes.resize(self.bytes.len().max(pages * self.page_bytes), 0);
    }

    /// Makes the checksum of a meta page right again.
    pub(super) fn seal(&mut self, page: u64) {
        let at = self.offset(page);
        let checksum = fnv1a(&self.bytes[at + 16..at + 72]);
        self.poke(page, 72, &checksum.to_le_bytes());
    }

    pub(super) fn open(&self) -> Result<BoltFile, BoltError> {
        BoltFile::open(ScratchFile::with(&self.bytes).path())
    }

    /// Why this image is refused, by `open` or else by `verify`.
    pub(super) fn refusal(&self) -> BoltError {
        match self.open().and_then(|file| file.verify()) {
            Err(refusal) => refusal,
            Ok(summary) => panic!("expected a refusal, found {summary:?}"),
        }
    }

    pub(super) fn assert_damaged(&self, expected_page: u64, expected_reason: &str) {
        match self.refusal() {
            BoltError::Damaged { page, reason } => {
                assert_eq!((page, reason.as_str()), (expected_page, expected_reason));
            }
            other => panic!("expected damage, found {other}"),
        }
    }
}

/// An event with its bytes, without progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Enter(Vec<u8>, u64),
    Pair(Vec<u8>, Vec<u8>),
    Leave,
}

/// All events of a file.
pub(super) fn tell(file: &BoltFile) -> Result<Vec<Told>, BoltError> {
    let mut told = Vec::new();
    file.walk::<BoltError>(&mut |event| {
        match event {
            Event::EnterBucket { name, sequence } => told.push(Told::Enter(name.into(), sequence)),
            Event::Pair { key, value } => told.push(Told::Pair(key.into(), value.into())),
            Event::LeaveBucket => told.push(Told::Leave),
            Event::Progress { .. } => {}
        }
        Ok(())
    })?;
    Ok(told)
}

/// A small random generator (SplitMix64).
#[derive(Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below the bound")
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// A database in memory.
#[derive(Clone, Debug)]
pub(super) enum Model {
    Pair(Vec<u8>),
    Bucket(u64, BTreeMap<Vec<u8>, Model>),
}

impl Model {
    /// A root bucket with buckets nested up to four deep.
    pub(super) fn random(random: &mut Random) -> Model {
        let mut buckets = BTreeMap::new();
        for _ in 0..random.below(6) {
            let name_bytes = 1 + random.below(20);
            buckets.insert(random.bytes(name_bytes), Model::random_bucket(random, 3));
        }
        Model::Bucket(0, buckets)
    }

    fn random_bucket(random: &mut Random, levels: usize) -> Model {
        let mut entries = BTreeMap::new();
        for _ in 0..random.below(24) {
            let key_bytes = 1 + random.below(30);
            let key = random.bytes(key_bytes);
            let entry = if levels > 0 && random.below(8) == 0 {
                Model::random_bucket(random, levels - 1)
            } else {
                let most = [1, 50, 3000][random.below(3)];
                let value_bytes = random.below(most);
                Model::Pair(random.bytes(value_bytes))
            };
            entries.insert(key, entry);
        }
        Model::Bucket(random.next(), entries)
    }

    /// The events to be expected of an image of this model.
    pub(super) fn told(&self) -> Vec<Told> {
        let mut told = Vec::new();
        if let Model::Bucket(_, entries) = self {
            for (key, entry) in entries {
                match entry {
                    Model::Pair(value) => told.push(Told::Pair(key.clone(), value.clone())),
                    Model::Bucket(sequence, _) => {
                        told.push(Told::Enter(key.clone(), *sequence));
                        told.extend(entry.told());
                        told.push(Told::Leave);
                    }
                }
            }
        }
        told
    }

    /// An image of this model, with pages free here and there.
    pub(super) fn image(&self, random: &mut Random) -> Image {
        let mut image = Image::new(1024);
        let mut places = Places { next: 3, free: vec![2] };
        let Model::Bucket(_, entries) = self else { panic!("the root is a bucket") };
        let root = write_tree(&mut image, entries, &mut places, random);
        let freelist = if random.below(4) == 0 {
            NO_FREELIST
        } else {
            let at = places.next;
            places.next += image.freelist(at, &places.free);
            at
        };
        image.metas(root, freelist, places.next, 1 + random.next() % 1000);
        image
    }
}

struct Places {
    next: u64,
    free: Vec<u64>,
}

impl Places {
    /// Begins a run, at times leaving a free page before it.
    fn begin(&mut self, random: &mut Random) -> u64 {
        if random.below(6) == 0 {
            self.free.push(self.next);
            self.next += 1;
        }
        self.next
    }
}

fn write_tree(
    image: &mut Image,
    entries: &BTreeMap<Vec<u8>, Model>,
    places: &mut Places,
    random: &mut Random,
) -> u64 {
    let mut items = Vec::new();
    for (key, entry) in entries {
        items.push(match entry {
            Model::Pair(value) => Item::Pair(key.clone(), value.clone()),
            Model::Bucket(sequence, within) => {
                Item::Bucket(key.clone(), write_bucket(image, *sequence, within, places, random))
            }
        });
    }
    let mut level: Vec<(Vec<u8>, u64)> = Vec::new();
    let mut rest = items.as_slice();
    while !rest.is_empty() || level.is_empty() {
        let (page, left) = rest.split_at(rest.len().min(1 + random.below(8)));
        let id = places.begin(random);
        places.next += image.leaf(id, page);
        let first = page.first().map_or(Vec::new(), |item| match item {
            Item::Pair(key, _) | Item::Bucket(key, _) => key.clone(),
        });
        level.push((first, id));
        rest = left;
    }
    while level.len() > 1 {
        let mut above = Vec::new();
        for children in level.chunks(2 + random.below(3)) {
            let id = places.begin(random);
            places.next += image.branch(id, children);
            above.push((children[0].0.clone(), id));
        }
        level = above;
    }
    level[0].1
}

fn write_bucket(
    image: &mut Image,
    sequence: u64,
    entries: &BTreeMap<Vec<u8>, Model>,
    places: &mut Places,
    random: &mut Random,
) -> Vec<u8> {
    let mut pairs = Vec::new();
    for (key, entry) in entries {
        if let Model::Pair(value) = entry {
            pairs.push(Item::Pair(key.clone(), value.clone()));
        }
    }
    let inline = inline_bucket(sequence, &pairs);
    if pairs.len() == entries.len() && inline.len() <= 256 {
        return inline;
    }
    tree_bucket(write_tree(image, entries, places, random), sequence)
}
