//! The data file, read by the rules of `docs/format.md`: meta pages, space map, trees.
//!
//! Every checksum on the way is compared. Never writes.

use std::path::Path;

use crate::layout::{
    BITMAP, COPIES, DIRECTORY, META_BYTES, META_VERSION, METAS, PAGE_BYTES_MAX, PAGE_BYTES_MIN,
    SPACE_CONTENT_AT, group, header, meta, space,
};
use crate::pages::{
    BucketRecord, Entry, Interior, Payload, Reference, read_interior, read_leaf, read_run,
    run_pages,
};

/// A data file in memory.
#[derive(Debug)]
pub(crate) struct DataFile {
    pub(crate) bytes: Vec<u8>,
    pub(crate) page_bytes: usize,
    /// Which meta page counts.
    pub(crate) newest: usize,
}

/// What a walk through trees came across.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    /// Numbers of all pages, in the order of the walk.
    pub(crate) pages: Vec<usize>,
    pub(crate) runs: usize,
    pub(crate) images: usize,
    pub(crate) expiries: usize,
    pub(crate) buckets: usize,
    pub(crate) values: u64,
    pub(crate) levels_max: usize,
    pub(crate) kept_suffixes: usize,
    pub(crate) longest_prefix: usize,
    /// Set for what was dropped: its records count no more.
    pub(crate) is_dropped: bool,
}

impl DataFile {
    /// Reads the file and finds the meta page that counts.
    pub(crate) fn read(path: &Path) -> DataFile {
        let bytes = std::fs::read(path.join("data")).expect("a data file");
        let page_bytes = meta::PAGE_BYTES.size(&bytes);
        let number = |page: usize| {
            let found = whole_meta(bytes.get(page * page_bytes..)?)?;
            assert_eq!(meta::PAGE_BYTES.size(found), page_bytes);
            Some((meta::CHECKPOINT.number(found), page))
        };
        let (checkpoint, newest) = (0..METAS).filter_map(number).max().expect("a whole meta page");
        assert_eq!(checkpoint % 2, newest as u64, "the page follows from the number");
        DataFile { bytes, page_bytes, newest }
    }

    /// The bytes of the meta page that counts.
    pub(crate) fn meta(&self) -> &[u8] {
        &self.pages(self.newest, 1)[..META_BYTES]
    }

    /// The root bucket.
    pub(crate) fn root(&self) -> BucketRecord {
        BucketRecord::read(meta::ROOT_BUCKET.slice(self.meta()))
    }

    /// The bucket of what was dropped, and of the list of expiries.
    pub(crate) fn system(&self) -> BucketRecord {
        BucketRecord::read(meta::SYSTEM_BUCKET.slice(self.meta()))
    }

    /// The list of expiries: time, number, and the names that lead to a record.
    pub(crate) fn hints(&self) -> Vec<(u64, u64, Vec<Vec<u8>>)> {
        let list = self.bucket(&self.system(), &[0]);
        assert!(list.image.is_none() && list.entries > 0);
        let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("8 bytes"));
        let hint = |entry: Entry| {
            let Payload::Value(place) = &entry.payload else { panic!("a hint: {entry:?}") };
            let (mut names, mut rest) = (Vec::new(), &place[..]);
            while let [low, high, behind @ ..] = rest {
                let (name, behind) = behind.split_at(u16::from_le_bytes([*low, *high]).into());
                names.push(name.to_vec());
                rest = behind;
            }
            assert!(
                rest.is_empty() && entry.key.len() == 16 && number(&entry.key[8..]) < list.sequence
            );
            (number(&entry.key[..8]), number(&entry.key[8..]), names)
        };
        self.entries(&list).into_iter().map(hint).collect()
    }

    /// The bytes of adjoining pages.
    pub(crate) fn pages(&self, page: usize, count: usize) -> &[u8] {
        &self.bytes[page * self.page_bytes..][..count * self.page_bytes]
    }

    /// The same, with the checksum that the reference holds.
    fn checked(&self, to: Reference, count: usize) -> &[u8] {
        assert!(to.page >= 8 && to.page >> 31 == 0, "page {:x} is no page of a tree", to.page);
        let bytes = self.pages(to.page as usize, count);
        assert_eq!(crc32fast::hash(bytes), to.crc, "checksum of page {}", to.page);
        assert!(header::BORN.number(bytes) <= meta::EPOCH.number(self.meta()), "birth");
        bytes
    }

    /// Pages that a bitmap page describes.
    pub(crate) fn group_pages(&self) -> usize {
        (self.page_bytes - SPACE_CONTENT_AT) * 8
    }

    /// The page of a copy of a group's bitmap.
    pub(crate) fn bitmap_page(&self, index: usize, copy: usize) -> usize {
        let first = if index == 0 { 0 } else { 1 + (index - 1) / 16 * 16 };
        let before = if index == 0 { METAS } else { (index - first) * COPIES };
        first * self.group_pages() + before + copy
    }

    /// The page of a copy of a directory.
    pub(crate) fn directory_page(&self, number: usize, copy: usize) -> usize {
        self.bitmap_page(number * (self.page_bytes - SPACE_CONTENT_AT) / 8, COPIES) + copy
    }

    /// One page of the space map.
    fn space_page(&self, page: usize, crc: u32, kind: usize, number: usize) -> &[u8] {
        let bytes = self.pages(page, 1);
        assert_eq!(crc32fast::hash(bytes), crc, "checksum of page {page}");
        assert_eq!((space::KIND.size(bytes), space::NUMBER.size(bytes)), (kind, number));
        space::ZERO.assert_zero(bytes);
        space::ZERO_BEHIND.assert_zero(bytes);
        assert!(space::BORN.number(bytes) <= meta::EPOCH.number(self.meta()));
        bytes
    }

    /// Whether each page is in use, by the space map; and the page and copy of its first bitmap.
    pub(crate) fn used_pages(&self) -> (Vec<bool>, usize) {
        let file_pages = meta::FILE_PAGES.size(self.meta());
        let (group_pages, in_directory) =
            (self.group_pages(), (self.page_bytes - SPACE_CONTENT_AT) / 8);
        let groups = file_pages.div_ceil(group_pages);
        assert_eq!(meta::DIRECTORIES.size(self.meta()), groups.div_ceil(in_directory));
        let (mut used, mut first_copy) = (vec![false; file_pages], 0);
        for index in 0..groups {
            let number = index / in_directory;
            let named = &meta::REFERENCES.slice(self.meta())[number * 8..];
            let copy = group::COPY_AND_FREE.size(named);
            let crc = group::CRC.word(named);
            let directory =
                self.space_page(self.directory_page(number, copy), crc, DIRECTORY, number);
            let at = SPACE_CONTENT_AT + index % in_directory * 8;
            let word = group::COPY_AND_FREE.size(&directory[at..]);
            let (copy, free) = (word >> 30, word & ((1 << 30) - 1));
            let crc = group::CRC.word(&directory[at..]);
            let bitmap = self.space_page(self.bitmap_page(index, copy), crc, BITMAP, index);
            let is_set = |bit: usize| bitmap[SPACE_CONTENT_AT + bit / 8] >> (bit % 8) & 1 == 1;
            let end = group_pages.min(file_pages - index * group_pages);
            (0..end).for_each(|bit| used[index * group_pages + bit] = is_set(bit));
            assert!((end..group_pages).all(|bit| !is_set(bit)), "pages beyond the file");
            assert_eq!((0..end).filter(|bit| !is_set(*bit)).count(), free, "free pages");
            first_copy = if index == 0 { copy } else { first_copy };
        }
        (used, self.bitmap_page(0, first_copy))
    }

    /// Walks through a bucket and all within it, and asserts every rule.
    pub(crate) fn walk(&self, record: &BucketRecord, reached: &mut Reached) {
        let mut last = None;
        let entries = match &record.image {
            Some(image) => {
                reached.images += 1;
                self.walk_entries(read_leaf(image, true), &mut last, reached)
            }
            None if record.root.page == 0 => 0,
            None => {
                let level = header::LEVEL.size(self.checked(record.root, 1));
                reached.levels_max = reached.levels_max.max(level + 1);
                let (count, _) = self.node(record.root, level);
                let is_root = level == 0 || count > 0 || reached.is_dropped;
                assert!(is_root, "a root has two children");
                self.walk_tree(record.root, level, &mut last, reached)
            }
        };
        assert!(reached.is_dropped || entries == record.entries, "entries of a bucket");
    }

    /// Separators or entries of a page, and its bytes.
    fn node(&self, page: Reference, level: usize) -> (usize, &[u8]) {
        let bytes = self.checked(page, 1);
        assert_eq!(header::LEVEL.size(bytes), level);
        (header::COUNT.size(bytes), bytes)
    }

    /// Returns the entries below a page. `last` is the highest key or separator so far.
    fn walk_tree(
        &self,
        page: Reference,
        level: usize,
        last: &mut Option<Vec<u8>>,
        reached: &mut Reached,
    ) -> u64 {
        let (_, bytes) = self.node(page, level);
        reached.pages.push(page.page as usize);
        reached.longest_prefix = reached.longest_prefix.max(header::PREFIX_BYTES.size(bytes));
        if level == 0 {
            return self.walk_entries(read_leaf(bytes, false), last, reached);
        }
        let Interior { separators, children } = read_interior(bytes, level);
        reached.kept_suffixes += usize::from(header::FLAGS.number(bytes) != 0);
        let mut entries = 0;
        for (index, child) in children.into_iter().enumerate() {
            if let Some(left) = index.checked_sub(1) {
                assert!(last.as_ref().is_none_or(|last| *last < separators[left]));
                *last = Some(separators[left].clone());
            }
            let bound = last.clone();
            entries += self.walk_tree(child, level - 1, last, reached);
            assert!(bound <= *last, "keys are not below the separator before them");
        }
        entries
    }

    fn walk_entries(
        &self,
        entries: Vec<Entry>,
        last: &mut Option<Vec<u8>>,
        reached: &mut Reached,
    ) -> u64 {
        let count = entries.len() as u64;
        for entry in entries {
            assert!(last.as_ref().is_none_or(|last| *last <= entry.key), "keys ascend");
            *last = Some(entry.key);
            reached.expiries += usize::from(entry.expires_at.is_some());
            match entry.payload {
                Payload::Value(_) => reached.values += 1,
                Payload::Run { first, value_bytes } => {
                    let pages = run_pages(value_bytes, self.page_bytes);
                    read_run(self.checked(first, pages), value_bytes, self.page_bytes);
                    let from = first.page as usize;
                    let cluster = |page: usize| (page / self.group_pages()).div_ceil(16);
                    assert_eq!(cluster(from), cluster(from + pages - 1));
                    reached.pages.extend(from..from + pages);
                    reached.runs += 1;
                    reached.values += 1;
                }
                Payload::Bucket(record) => {
                    reached.buckets += 1;
                    self.walk(&record, reached);
                }
            }
        }
        count
    }

    /// All entries of a bucket, in the order of their keys.
    pub(crate) fn entries(&self, record: &BucketRecord) -> Vec<Entry> {
        if let Some(image) = &record.image {
            return read_leaf(image, true);
        }
        let mut waiting = if record.root.page == 0 { vec![] } else { vec![record.root] };
        let mut entries = Vec::new();
        while let Some(page) = waiting.pop() {
            let bytes = self.checked(page, 1);
            match header::LEVEL.size(bytes) {
                0 => entries.extend(read_leaf(bytes, false)),
                level => waiting.extend(read_interior(bytes, level).children.iter().rev()),
            }
        }
        entries
    }

    /// The entry with this key, found the way a reader would.
    pub(crate) fn find(&self, record: &BucketRecord, key: &[u8]) -> Option<Entry> {
        let in_leaf = |leaf: Vec<Entry>| leaf.into_iter().find(|entry| entry.key == key);
        if let Some(image) = &record.image {
            return in_leaf(read_leaf(image, true));
        }
        let mut page = record.root;
        while page.page != 0 {
            let bytes = self.checked(page, 1);
            let level = header::LEVEL.size(bytes);
            if level == 0 {
                return in_leaf(read_leaf(bytes, false));
            }
            let Interior { separators, children } = read_interior(bytes, level);
            page = children[separators.iter().filter(|separator| &separator[..] <= key).count()];
        }
        None
    }

    /// A nested bucket.
    pub(crate) fn bucket(&self, record: &BucketRecord, name: &[u8]) -> BucketRecord {
        match self.find(record, name).map(|entry| entry.payload) {
            Some(Payload::Bucket(found)) => found,
            other => panic!("expected a bucket, found {other:?}"),
        }
    }

    /// The value of a key, wherever it lies.
    pub(crate) fn value(&self, record: &BucketRecord, key: &[u8]) -> Option<Vec<u8>> {
        match self.find(record, key)?.payload {
            Payload::Value(value) => Some(value),
            Payload::Run { first, value_bytes } => {
                let run = self.checked(first, run_pages(value_bytes, self.page_bytes));
                Some(read_run(run, value_bytes, self.page_bytes).to_vec())
            }
            Payload::Bucket(_) => panic!("expected a value, found a bucket"),
        }
    }
}

/// The 4096 bytes of a meta page, if it is whole.
pub(crate) fn whole_meta(bytes: &[u8]) -> Option<&[u8]> {
    let bytes = bytes.get(..META_BYTES)?;
    let page_bytes = meta::PAGE_BYTES.size(bytes);
    let is_whole = meta::MAGIC.slice(bytes) == b"\x89BCN\r\n\x1a\n"
        && crc32fast::hash(&bytes[..meta::CRC.at]) == meta::CRC.word(bytes)
        && meta::VERSION.size(bytes) == META_VERSION
        && page_bytes.is_power_of_two()
        && (PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&page_bytes)
        && meta::DIRECTORIES.size(bytes) * 8 <= meta::REFERENCES.bytes;
    is_whole.then_some(bytes)
}
