//! Walking a tree that may be damaged anywhere, and the buckets nested in it.
//!
//! What cannot be read is told by its range of keys; the walk goes on behind it. Without recursion:
//! the way from the root is a stack of pages. Invariants:
//! 1. Each key of the range is told as a pair or a bucket, is told as lost, or is not there.
//! 2. A page is visited once, and the stack is bounded by the depth of buckets and of trees.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::ids::PageRef;
use crate::limits::BUCKET_DEPTH_MAX;
use crate::page::{BucketRecord, Interior, Leaf, Payload, header, overflow};
use crate::tree::Root;

use super::losses::{KeyRange, Path};
use super::source::Source;

/// What is said of a bucket beside its name and what it holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct BucketHead {
    pub(super) sequence: u64,
    pub(super) expires_at: u64,
}

/// Told what a walk comes across. Its errors end the walk.
pub(super) trait Visit {
    /// A pair.
    fn pair(&mut self, path: &Path, key: &[u8], value: &[u8], expires_at: u64) -> Result<()>;
    /// A nested bucket, before what it holds.
    fn bucket(&mut self, path: &Path, name: &[u8], head: BucketHead) -> Result<()>;
    /// Keys of a bucket that cannot be read, with the buckets nested in them.
    fn lost(&mut self, path: &Path, range: KeyRange, why: Error);
}

/// Walks through the keys of `range` in the bucket at `path`, whose record is `record`.
pub(super) fn walk(
    source: &Source,
    path: &Path,
    record: &[u8],
    range: &KeyRange,
    visit: &mut dyn Visit,
) -> Result<()> {
    let seen = BTreeMap::new();
    let mut walk = Walk { source, path: path.clone(), stack: Vec::new(), seen, visit };
    walk.enter(record, range, false);
    while let Some(step) = walk.stack.last_mut() {
        let index = step.next;
        step.next += 1;
        match header::tree_level(&step.bytes) {
            Some(level @ 1..) => walk.child(index, level - 1),
            _ => walk.entry(index)?,
        }
    }
    Ok(())
}

/// A page, or the leaf image of a small bucket.
struct Step {
    bytes: Vec<u8>,
    next: usize,
    /// What its keys must lie in.
    bounds: KeyRange,
    /// What is wanted of the bucket it belongs to.
    wanted: KeyRange,
    /// True for the root of a nested bucket, which is left with it.
    nested: bool,
}

struct Walk<'a> {
    source: &'a Source,
    path: Path,
    stack: Vec<Step>,
    /// A bit for each page that was visited, 64 pages together: a walk may visit few of many.
    seen: BTreeMap<u32, u64>,
    visit: &'a mut dyn Visit,
}

impl Walk<'_> {
    /// Enters a bucket whose name is on the path already.
    fn enter(&mut self, record: &[u8], wanted: &KeyRange, nested: bool) {
        let (bounds, wanted) = (KeyRange::ALL, wanted.clone());
        let bytes = match Root::of_bucket(record) {
            Root::Empty => None,
            Root::Image(image) => Some(image.to_vec()),
            Root::Page(root) => match self.open(root, None, &bounds) {
                Ok(bytes) => Some(bytes),
                Err(why) => {
                    self.visit.lost(&self.path, wanted.clone(), why);
                    None
                }
            },
        };
        match bytes {
            Some(bytes) => self.stack.push(Step { bytes, next: 0, bounds, wanted, nested }),
            None if nested => drop(self.path.pop()),
            None => {}
        }
    }

    fn leave(&mut self) {
        let step = self.stack.pop().expect("invariant: a page is open");
        if step.nested {
            self.path.pop();
        }
    }

    /// Goes to child `index` of the interior page on top, if its keys are wanted.
    fn child(&mut self, index: usize, level: u8) {
        let step = self.stack.last().expect("invariant: a page is open");
        let page = Interior::new(&step.bytes);
        if index > page.count() {
            return self.leave();
        }
        let start = index.checked_sub(1).map_or(step.bounds.start.clone(), |i| page.separator(i));
        let end = match index < page.count() {
            true => Some(page.separator(index)),
            false => step.bounds.end.clone(),
        };
        let (bounds, wanted) = (KeyRange { start, end }, step.wanted.clone());
        let Some(lost) = bounds.shared(&wanted) else { return };
        match self.open(page.child(index), Some(level), &bounds) {
            Ok(bytes) => {
                self.stack.push(Step { bytes, next: 0, bounds, wanted, nested: false });
            }
            Err(why) => self.visit.lost(&self.path, lost, why),
        }
    }

    /// Tells of entry `index` of the leaf on top.
    fn entry(&mut self, index: usize) -> Result<()> {
        let Walk { source, path, stack, visit, .. } = self;
        let step = stack.last().expect("invariant: a page is open");
        let Some(entry) = Leaf::new(&step.bytes).get(index) else {
            self.leave();
            return Ok(());
        };
        let key = entry.key;
        if !step.wanted.contains(key) {
            return Ok(());
        }
        if key.is_empty() {
            let why = source.damaged(PageRef::NONE, "a key", "none".to_owned());
            visit.lost(path, KeyRange::of_key(key), why);
            return Ok(());
        }
        match entry.payload {
            Payload::Value(value) => visit.pair(path, key, value, entry.expires_at),
            Payload::Overflow { run, len } => match source.run(run, len) {
                Ok(bytes) => {
                    let value = overflow::run_value(&bytes, len);
                    visit.pair(path, key, value, entry.expires_at)
                }
                Err(why) => {
                    visit.lost(path, KeyRange::of_key(key), why);
                    Ok(())
                }
            },
            Payload::Bucket(record) if path.len() < BUCKET_DEPTH_MAX => {
                let sequence = BucketRecord::decode(record).sequence;
                visit.bucket(path, key, BucketHead { sequence, expires_at: entry.expires_at })?;
                let record = record.to_vec();
                let name = key.to_vec();
                self.path.push(name);
                self.enter(&record, &KeyRange::ALL, true);
                Ok(())
            }
            Payload::Bucket(_) => {
                let expected = format!("at most {BUCKET_DEPTH_MAX} nested buckets");
                let why = source.damaged(PageRef::NONE, &expected, "more".to_owned());
                visit.lost(path, KeyRange::of_key(key), why);
                Ok(())
            }
        }
    }

    /// Reads a page whose keys or separators must lie within `bounds`.
    fn open(&mut self, page: PageRef, level: Option<u8>, bounds: &KeyRange) -> Result<Vec<u8>> {
        let bytes = self.source.page(page, level)?;
        let word = self.seen.entry(page.id.index() / 64).or_default();
        let bit = 1 << (page.id.index() % 64);
        if *word & bit != 0 {
            return Err(self.source.damaged(page, "each page once", "it twice".to_owned()));
        }
        *word |= bit;
        let (first, last) = match header::tree_level(&bytes) {
            Some(0) => {
                let leaf = Leaf::new(&bytes);
                (leaf.key(0).to_vec(), leaf.key(leaf.count() - 1).to_vec())
            }
            _ => {
                let interior = Interior::new(&bytes);
                match interior.count() {
                    0 => return Ok(bytes),
                    count => (interior.separator(0), interior.separator(count - 1)),
                }
            }
        };
        if !bounds.contains(&first) || !bounds.contains(&last) {
            let found = format!("\"{}\" to \"{}\"", first.escape_ascii(), last.escape_ascii());
            return Err(self.source.damaged(page, "keys within the bounds of its parent", found));
        }
        Ok(bytes)
    }
}
