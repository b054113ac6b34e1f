//! The order of writes and syncs in a trace: what must be durable before what.
//!
//! Reads the files by the published format, not through the engine. Stores of one space map group
//! only, which is all that the simulations make. Rules, checked at each operation:
//! 1. Every write to the log is durable before a commit is acknowledged.
//! 2. Every write to the data file is durable before a meta page is written, unless it was cut off.
//! 3. No page that a valid meta page reaches is written, nor the copy of a map page it refers to;
//!    and none while a torn meta page is there, which a torn write could make valid again.
//! 4. No segment that a durable meta page needs is removed or gets a new header: the older of the
//!    two is there in case the newer one is damaged.
//! 5. A segment's name is durable before anything is written behind its header, and what it holds
//!    when it gets that name is durable; the names of the
//!    data file and the log are durable before a commit is acknowledged and before a meta page is
//!    written; a data file is whole, and its log's name durable, before it gets its name.
//! 6. A meta page is durable before anything else is done.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bristlecone::io::sim::{Action, CrashImages, Event, Synced};

const DATA: &str = "/db/data";
const DATA_NEW: &str = "/db/data.new";
const LOG: &str = "/db/wal";
const META_BYTES: u64 = 4096;
const SEGMENT_MAGIC: &[u8] = b"\x89BRCWAL\n";
const META_MAGIC: &[u8] = b"\x89BCN\r\n\x1a\n";

/// What the rules need of a meta page.
struct Meta {
    checkpoint: u64,
    log_segment: u64,
    directory_copy: u64,
    durable: bool,
}

/// The checker of one trace.
pub(crate) struct Ordering {
    page_bytes: u64,
    /// Written to the data file, and not known to be durable.
    data: Vec<Range<u64>>,
    /// Written to segments, likewise.
    log: Vec<(PathBuf, Range<u64>)>,
    /// Segment numbers by file.
    segments: BTreeMap<PathBuf, u64>,
    /// The same of files that are not named as segments yet.
    unnamed: BTreeMap<PathBuf, u64>,
    /// True when a data file under its temporary name was changed since its sync.
    unfinished: bool,
    /// The meta page that the last operation wrote.
    meta: Option<Range<u64>>,
}

impl Ordering {
    /// Begins at the start of a trace.
    pub(crate) fn new(images: &CrashImages<'_>, page_bytes: usize) -> Ordering {
        let (mut segments, mut unnamed) = (BTreeMap::new(), BTreeMap::new());
        for (path, bytes) in images.killed().contents() {
            if let Some(number) = segment_number(&bytes) {
                // A long record whose commit was cut short: its name says that it is no segment.
                let named = path.extension().is_some_and(|it| it == "wal");
                if named { &mut segments } else { &mut unnamed }.insert(path, number);
            }
        }
        let page_bytes = page_bytes as u64;
        Ordering {
            page_bytes,
            data: Vec::new(),
            log: Vec::new(),
            segments,
            unnamed,
            unfinished: false,
            meta: None,
        }
    }

    /// Checks the operation in flight.
    pub(crate) fn check(&mut self, event: &Event, images: &CrashImages<'_>) {
        let path = &*event.path;
        if let Some(meta) = self.meta.take() {
            let durable = images.is_durable(DATA, meta.clone());
            assert!(durable, "rule 6: the meta page at {meta:?} is not durable");
        }
        if path == Path::new(DATA_NEW) && !matches!(event.action, Action::Rename { .. }) {
            self.unfinished = !matches!(event.action, Action::Sync(Synced::All));
        }
        match &event.action {
            Action::Write { offset, bytes, .. } if path == Path::new(DATA) => {
                let range = *offset..*offset + bytes.len() as u64;
                self.check_data_write(range, images);
                // One that failed is not relied on: the database stops.
                self.meta.take_if(|_| event.errno.is_some());
            }
            Action::Write { offset, bytes, .. } if path.starts_with(LOG) => {
                let range = *offset..*offset + bytes.len() as u64;
                self.check_log_write(path, range, bytes, images);
            }
            Action::Write { .. } => {}
            // What a rolled back transaction wrote and was cut off is nobody's any more.
            Action::SetLen(len) if path == Path::new(DATA) => {
                self.data.iter_mut().for_each(|range| range.end = range.end.min(*len));
                self.data.retain(|range| range.start < range.end);
            }
            Action::RemoveFile => {
                self.log.retain(|(written, _)| written != path);
                self.unnamed.remove(path);
                self.check_reuse(path, "removed", images);
            }
            Action::Rename { to } => self.check_rename(path, to, images),
            _ => {}
        }
    }

    /// Checks that everything a commit needs is durable.
    pub(crate) fn check_acknowledged(&mut self, images: &CrashImages<'_>) {
        // What has no final name yet is no part of the log.
        let is_segment = |path: &Path| path.extension().is_some_and(|it| it == "wal");
        for (path, range) in self.log.extract_if(.., |(path, _)| is_segment(path)) {
            let durable = images.is_durable(&path, range.clone());
            assert!(durable, "rule 1: {} at {range:?} is not durable", path.display());
        }
        check_names(images);
    }

    fn check_data_write(&mut self, range: Range<u64>, images: &CrashImages<'_>) {
        if range.start >= 2 * self.page_bytes {
            self.check_pages(&range, images);
            self.data.push(range);
            return;
        }
        for earlier in self.data.drain(..) {
            let durable = images.is_durable(DATA, earlier.clone());
            assert!(durable, "rule 2: data at {earlier:?} is not durable before its meta page");
        }
        check_names(images);
        self.meta = Some(range);
    }

    fn check_pages(&self, range: &Range<u64>, images: &CrashImages<'_>) {
        let disk = images.killed();
        let data = disk.read_file(DATA).expect("a data file");
        let pages = range.start / self.page_bytes..range.end.div_ceil(self.page_bytes);
        let metas = self.metas(&data, images);
        let empty = (0..2).filter(|slot| self.meta_page(&data, *slot).iter().all(|&b| b == 0));
        let sound = metas.len() + empty.count();
        assert!(sound == 2, "rule 3: pages {pages:?} are written beside a torn meta page");
        for meta in metas {
            let directory = 5 + meta.directory_copy;
            let at = (directory * self.page_bytes) as usize + 64;
            let bitmap = 2 + u64::from(u32_at(&data, at + 4) >> 30);
            for page in pages.clone() {
                let bits = (bitmap * self.page_bytes) as usize + 64;
                let used = data[bits + page as usize / 8] >> (page % 8) & 1 == 1;
                let reached = if page < 8 { page == directory || page == bitmap } else { used };
                let number = meta.checkpoint;
                assert!(!reached, "rule 3: page {page} is written, checkpoint {number} needs it");
            }
        }
    }

    fn check_log_write(
        &mut self,
        path: &Path,
        range: Range<u64>,
        bytes: &[u8],
        images: &CrashImages<'_>,
    ) {
        let is_segment = path.extension().is_some_and(|extension| extension == "wal");
        if is_segment {
            let durable = images.is_entry_durable(path);
            assert!(durable, "rule 5: {} is written before its name is durable", path.display());
        }
        if is_segment && range.start == 0 {
            self.check_reuse(path, "reused", images);
            self.segments.extend(segment_number(bytes).map(|number| (path.to_path_buf(), number)));
        }
        if !is_segment && range.start == 0 {
            // What another file of that name has held counts no more.
            self.unnamed.remove(path);
            self.unnamed.extend(segment_number(bytes).map(|number| (path.to_path_buf(), number)));
        }
        self.log.push((path.to_path_buf(), range));
    }

    fn check_reuse(&mut self, path: &Path, what: &str, images: &CrashImages<'_>) {
        let Some(number) = self.segments.remove(path) else { return };
        let Ok(data) = images.killed().read_file(DATA) else { return };
        let durable = self.metas(&data, images).into_iter().filter(|meta| meta.durable);
        let needed = durable.map(|meta| meta.log_segment).min().expect("a durable meta page");
        assert!(number < needed, "rule 4: segment {number} is {what}, needed from {needed} on");
    }

    fn check_rename(&mut self, from: &Path, to: &Path, images: &CrashImages<'_>) {
        if from == Path::new(DATA_NEW) {
            assert!(!self.unfinished, "rule 5: an unfinished data file is renamed");
            assert!(images.is_entry_durable(LOG), "rule 5: the log's name is not durable");
        }
        if let Some(number) = self.unnamed.remove(from) {
            self.segments.insert(to.to_path_buf(), number);
        }
        // What was written under the old name is under the new one.
        for (path, range) in &mut self.log {
            if path == from {
                let durable = images.is_content_durable(to, range.clone());
                assert!(durable, "rule 5: {} at {range:?} is not durable", from.display());
                *path = to.to_path_buf();
            }
        }
    }

    fn meta_page<'d>(&self, data: &'d [u8], slot: u64) -> &'d [u8] {
        let at = (slot * self.page_bytes) as usize;
        &data[at..at + META_BYTES as usize]
    }

    fn metas(&self, data: &[u8], images: &CrashImages<'_>) -> Vec<Meta> {
        let decode = |slot: u64| {
            let at = slot * self.page_bytes;
            let page = self.meta_page(data, slot);
            let crc = crc32fast::hash(&page[..4092]);
            let valid = page.starts_with(META_MAGIC) && u32_at(page, 4092) == crc;
            valid.then(|| Meta {
                checkpoint: u64_at(page, 32),
                log_segment: u64_at(page, 64),
                directory_copy: u64::from(u32_at(page, 172)),
                durable: images.is_durable(DATA, at..at + META_BYTES),
            })
        };
        (0..2).filter_map(decode).collect()
    }
}

fn check_names(images: &CrashImages<'_>) {
    for name in [DATA, LOG] {
        assert!(images.is_entry_durable(name), "rule 5: the name {name} is not durable");
    }
}

/// The number in a segment's header, if that is whole.
fn segment_number(bytes: &[u8]) -> Option<u64> {
    let block = bytes.get(..4096).filter(|block| block.starts_with(SEGMENT_MAGIC))?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&block[..12]);
    crc.update(&block[16..]);
    (crc.finalize() == u32_at(block, 12)).then(|| u64_at(block, 32))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
