//! The verifier: every page of the file read from the device, held against its checksum, its
//! parent and the space map.
//!
//! Runs on an open database, beside readers and writers; only checkpoints wait. Never repairs.
//! What it proves when it finds nothing:
//! 1. Every page that the newest checkpoint reaches matches the checksum its parent holds, is well
//!    formed, and its keys lie within the bounds its parents give; no page is reached twice.
//! 2. Every bucket has as many entries as its record says.
//! 3. The space map marks exactly the pages that are reached: none is both free and in use, none
//!    is lost.
//! 4. The same, the space map apart, of what was committed since the checkpoint.

mod dump;

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use crate::error::{Error, ErrorKind, Result};
use crate::ids::PageRef;
use crate::limits::BUCKET_DEPTH_MAX;
use crate::page::{BucketRecord, overflow};
use crate::tree::{self, Root, Seen};
use crate::txn::{FileState, Pin, Store};
use std::sync::Arc;

pub use dump::dump_page;

/// How far a check has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckProgress {
    /// Pages read so far.
    pub pages_done: u64,
    /// Pages to read in all.
    pub pages_total: u64,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// Pages in the data file.
    pub pages: u64,
    /// Pages in use: reached from the newest checkpoint, or fixed in their place.
    pub pages_reachable: u64,
    /// Free pages.
    pub pages_free: u64,
    /// Buckets, nested ones included.
    pub buckets: u64,
    /// Entries of all buckets, nested buckets counting one each.
    pub entries: u64,
    /// What is wrong, a sentence each. Empty for a sound database.
    pub problems: Vec<String>,
}

impl CheckReport {
    /// True when nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Problems listed before the check gives up counting.
const PROBLEMS_MAX: usize = 100;

/// Checks everything. Damage is reported, not returned as an error.
pub(crate) fn check(
    store: &Arc<Store>,
    progress: &mut dyn FnMut(CheckProgress) -> ControlFlow<()>,
) -> Result<CheckReport> {
    let mut file = store.file_state.lock();
    let pages = file.newest.file_pages;
    let free = store.gauges.free_pages.load(Ordering::Relaxed);
    let pages_total = u64::from(pages).saturating_sub(free);
    let mut check = Check {
        store,
        seen: vec![0; pages.div_ceil(64) as usize],
        report: CheckReport { pages: u64::from(pages), ..CheckReport::default() },
        pages_total,
        pages_done: 0,
        progress,
    };
    check.walk(&file.newest.buckets.encode(), Walk::File)?;
    check.walk(&file.newest.system.encode(), Walk::Dropped)?;
    check.compare_space(&mut file)?;
    let pin = Pin::labelled(store, "check")?;
    if pin.root.epoch != file.newest.epoch {
        // Counted anew: what is reported is what readers see.
        (check.report.buckets, check.report.entries) = (0, 0);
        let walked = check.walk(&pin.buckets().encode(), Walk::Memory);
        pin.release(store);
        walked?;
    } else {
        pin.release(store);
    }
    // The bucket of top-level buckets is not one that a user made.
    check.report.buckets = check.report.buckets.saturating_sub(1);
    Ok(check.report)
}

struct Check<'a> {
    store: &'a Store,
    /// A bit for each page of the file that was reached.
    seen: Vec<u64>,
    report: CheckReport,
    pages_total: u64,
    pages_done: u64,
    progress: &'a mut dyn FnMut(CheckProgress) -> ControlFlow<()>,
}

/// What is walked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    /// The newest checkpoint: every page is in the file, and reached once.
    File,
    /// Its dropped buckets, which are freed page by page: their records no longer count entries.
    Dropped,
    /// What readers see, some of it in memory only.
    Memory,
}

/// A bucket to be checked.
struct Pending {
    record: Vec<u8>,
    depth: usize,
    /// Names from the top, for the report.
    path: String,
}

impl Check<'_> {
    /// Checks a bucket and all within it. An error says nothing of the database.
    fn walk(&mut self, record: &[u8], walk: Walk) -> Result<()> {
        let mut pending = vec![Pending { record: record.to_vec(), depth: 0, path: String::new() }];
        while let Some(bucket) = pending.pop() {
            if self.report.problems.len() >= PROBLEMS_MAX {
                break;
            }
            match self.bucket(&bucket, walk, &mut pending) {
                Ok(()) => {}
                // Stopped; or an attached database that its owner has outrun, or that takes too
                // much memory.
                Err(error) if error.is_stopped() || error.is_outrun() || error.is_full() => {
                    return Err(error);
                }
                Err(error) => {
                    self.report.problems.push(format!("bucket {}: {error}", bucket.path));
                }
            }
        }
        Ok(())
    }

    fn bucket(&mut self, bucket: &Pending, walk: Walk, pending: &mut Vec<Pending>) -> Result<()> {
        let record = BucketRecord::decode(&bucket.record);
        let memory = &self.store.memory;
        if bucket.depth > BUCKET_DEPTH_MAX + 1 {
            let expected = format!("at most {BUCKET_DEPTH_MAX} nested buckets");
            return Err(tree::Pages::damaged(memory, record.root, &expected, "more".to_owned()));
        }
        let depth = bucket.depth + 1;
        let mut seen = |seen: Seen<'_>| match seen {
            Seen::Page(page) => self.page(page, 1, walk),
            Seen::Run { run, len } => {
                let count = overflow::run_pages(len, memory.page_bytes());
                self.page(run, count, walk)?;
                tree::Pages::run(memory, run, len).map(|_| ())
            }
            Seen::Bucket { key, record } => {
                let path = format!("{}/{}", bucket.path, key.escape_ascii());
                pending.push(Pending { record: record.to_vec(), depth, path });
                Ok(())
            }
        };
        let whole = walk != Walk::Dropped || bucket.depth != 1;
        let root = Root::of_bucket(&bucket.record);
        let counts = tree::audit(memory, root, whole, &mut seen)?;
        if walk != Walk::Dropped {
            self.report.buckets += 1;
            self.report.entries += counts.entries;
        }
        if whole && counts.entries != record.entries {
            let expected = format!("{} entries", record.entries);
            let found = counts.entries.to_string();
            return Err(tree::Pages::damaged(memory, record.root, &expected, found));
        }
        Ok(())
    }

    /// Takes note of a page or run, and reads it from the device.
    fn page(&mut self, page: PageRef, count: u32, walk: Walk) -> Result<()> {
        let memory = &self.store.memory;
        if page.id.is_arena() {
            return match walk {
                Walk::Memory => Ok(()),
                _ => {
                    let found = page.id.to_string();
                    Err(tree::Pages::damaged(memory, page, "a page of the file", found))
                }
            };
        }
        if walk == Walk::Memory {
            return Ok(());
        }
        for index in page.id.0..page.id.0.saturating_add(count) {
            let word = self.seen.get_mut(index as usize / 64);
            let expected = format!("a page below {}", self.report.pages);
            let word = word.ok_or_else(|| {
                Error::corrupt(memory.path(), u64::from(index), expected, index.to_string())
            })?;
            if *word >> (index % 64) & 1 == 1 {
                let found = "it twice".to_owned();
                return Err(tree::Pages::damaged(memory, page, "each page once", found));
            }
            *word |= 1 << (index % 64);
        }
        self.pages_done += u64::from(count);
        let (pages_done, pages_total) = (self.pages_done, self.pages_total);
        if (self.progress)(CheckProgress { pages_done, pages_total }).is_break() {
            return Err(Error::from(ErrorKind::Stopped { what: "check" }));
        }
        memory.read_again(page, count)
    }

    /// Holds the pages reached against the map written with the checkpoint.
    fn compare_space(&mut self, file: &mut FileState) -> Result<()> {
        let slot = file.newest.slot();
        for page in 0..file.newest.file_pages {
            let reached = self.seen[page as usize / 64] >> (page % 64) & 1 == 1;
            let fixed = file.space.is_fixed(page);
            let used = match file.space.is_used(&self.store.memory, slot, page) {
                Ok(used) => used,
                Err(error) => {
                    let error = self.store.memory.judge(error);
                    if error.is_outrun() {
                        return Err(error);
                    }
                    self.report.problems.push(error.to_string());
                    return Ok(());
                }
            };
            if used {
                self.report.pages_reachable += 1;
            } else {
                self.report.pages_free += 1;
            }
            let what = match (reached || fixed, used) {
                (true, false) => "in use, and free in the space map",
                (false, true) => "lost: not in use, and not free in the space map",
                _ if reached && fixed => "in use, and a fixed page",
                _ => continue,
            };
            if self.report.problems.len() < PROBLEMS_MAX {
                self.report.problems.push(format!("page {page} is {what}"));
            }
        }
        Ok(())
    }
}
