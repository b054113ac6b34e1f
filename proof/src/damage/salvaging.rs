//! Random damage to several sectors at once, and a salvage of what is left.
//!
//! Goal: without a gap in the log, what is saved is the newest content, and what is not saved is
//! reported with its bucket and range of keys; with one, the missing revisions are reported. No
//! key, bucket or value is there that never was.

use std::path::Path;
use std::sync::Arc;

use bristlecone::io::sim::{START_MS, SimDisk};
use bristlecone::{Bucket, Db, ErrorKind, Result, SalvageReport, salvage_on};

use super::store::{Left, PAGE_BYTES, Store, options};
use crate::record::Evidence;
use crate::rig::{Counts, Plan, seeds};
use crate::simulation::compare::{Reads, assert_sound};
use crate::simulation::random::Random;
use crate::simulation::reference::{Entry, Now, Tree};

const SECTOR_BYTES: usize = 512;
const DATA: &str = "/db/data";
const FRAME_MAGIC: &[u8] = b"BRF\x01";

pub(crate) fn run(plan: &Plan) -> Evidence {
    let stores =
        [Left::Closed, Left::Killed].map(|left| Store::new(left).expect("a store on a good disk"));
    seeds(plan, |seed, counts| {
        let mut random = Random::new(seed);
        let store = &stores[random.below(2)];
        let disk = store.fork();
        for _ in 0..1 + random.below(4) {
            damage(&mut random, store, &disk);
        }
        counts.cases(1);
        save(store, &disk, counts).map_err(|error| error.to_string())
    })
}

/// Spoils a sector of some file.
fn damage(random: &mut Random, store: &Store, disk: &SimDisk) {
    let files = store.files();
    let (path, length) = &files[random.below(files.len())];
    let at = random.below(*length as usize / SECTOR_BYTES) * SECTOR_BYTES;
    let bytes = match random.below(3) {
        0 => vec![0; SECTOR_BYTES],
        1 => random.bytes(SECTOR_BYTES),
        _ => {
            let mut bytes = store.read_file(path)[at..at + SECTOR_BYTES].to_vec();
            bytes[random.below(SECTOR_BYTES)] ^= 1 << random.below(8);
            bytes
        }
    };
    disk.overwrite(path, at as u64, &bytes).expect("a good disk");
}

fn save(store: &Store, disk: &SimDisk, counts: &Counts) -> Result<()> {
    let before = disk.contents();
    let host = Arc::new(disk.clone());
    let saved = salvage_on(host, "/db", "/saved", options(), &mut |_| {});
    let after = disk.contents().into_iter().filter(|(path, _)| path.starts_with("/db"));
    assert!(after.eq(before), "the damaged files were changed");
    let report = match saved {
        Ok(report) => report,
        Err(error) => {
            let hopeless = matches!(error.kind(), ErrorKind::Corrupt { .. });
            assert!(hopeless, "expected damage, found {error}");
            let before = store.read_file(Path::new(DATA));
            let metas_hit = (0..2).all(|page| {
                let meta = page * PAGE_BYTES..(page + 1) * PAGE_BYTES;
                disk.read_file(DATA).is_ok_and(|after| after[meta.clone()] != before[meta])
            });
            assert!(metas_hit, "a meta page is whole, and nothing was saved: {error}");
            let left = disk.list_all().into_keys().any(|path| path.starts_with("/saved"));
            assert!(!left, "a salvage that failed leaves files");
            counts.add("without a meta page", 1);
            return Ok(());
        }
    };
    counts.add("complete", u64::from(report.is_complete()));
    counts.add("with a gap in the log", u64::from(!report.gaps.is_empty()));
    let db = Db::open_on(Arc::new(disk.clone()), "/saved", options())?;
    assert_sound(&db)?;
    let view = db.begin_read()?;
    let (revision, last) = (report.revision.0 as usize, store.versions().len() - 1);
    // A last frame without its header looks as if it had never been written.
    let is_told = !report.gaps.is_empty() || last - revision <= frames_hit(store, disk);
    assert!(is_told, "revisions after {revision} are lost without a report, of {last}");
    // A gap may leave a key as it was at any time before.
    let oldest = if report.gaps.is_empty() { revision } else { 0 };
    let versions: Vec<&Tree> = store.versions()[oldest..=revision].iter().collect();
    let found = Found { report: &report, versions };
    found.compare_top(&view)
}

/// Frames of the log that are no longer as they were.
fn frames_hit(store: &Store, disk: &SimDisk) -> usize {
    let log = store.files().into_iter().filter(|(path, _)| !path.ends_with("data"));
    let hit = log.map(|(path, _)| {
        let (before, after) = (store.read_file(&path), disk.read_file(&path));
        let after = after.expect("a file that was listed");
        let starts = (0..before.len()).step_by(PAGE_BYTES);
        let frames = starts.filter(|&start| before[start..].starts_with(FRAME_MAGIC));
        let is_hit = |start: &usize| {
            let payload = before[start + 24..start + 28].try_into().expect("four bytes");
            let end = start + 32 + u32::from_le_bytes(payload) as usize;
            before[*start..end] != after[*start..end]
        };
        frames.filter(is_hit).count()
    });
    hit.sum()
}

/// What was saved, held against what there was.
struct Found<'a> {
    report: &'a SalvageReport,
    /// The newest last. More than one if the log has a gap.
    versions: Vec<&'a Tree>,
}

impl Found<'_> {
    fn compare_top(&self, view: &dyn Reads) -> Result<()> {
        for name in view.names()? {
            let name = name?;
            let known = self.versions.iter().any(|tree| tree.is_bucket(name));
            assert!(known, "a bucket that never was: {}", name.escape_ascii());
        }
        let newest = self.versions.last().expect("never empty");
        for (name, _) in newest.buckets() {
            let trees = self.versions.iter().filter_map(|tree| nested(tree, name)).collect();
            match view.top(name) {
                Ok(bucket) => self.compare(&bucket, &mut vec![name.to_vec()], trees)?,
                Err(_) => assert!(self.is_lost(&[], name), "a bucket is lost without a report"),
            }
        }
        Ok(())
    }

    fn compare(
        &self,
        bucket: &Bucket<'_>,
        path: &mut Vec<Vec<u8>>,
        versions: Vec<&Tree>,
    ) -> Result<()> {
        let newest = versions.last().expect("a bucket of the newest version");
        let now = Now::at(START_MS);
        for pair in bucket.iter()? {
            let (key, value) = pair?;
            let was = versions.iter().any(|tree| tree.value(key, now) == Some(value));
            assert!(was, "{path:?}: a pair that is not the newest: {}", key.escape_ascii());
        }
        for (key, value) in newest.pairs(now) {
            let found = bucket.get(key)?;
            let fine = found == Some(value) || self.is_lost(path, key) || versions.len() > 1;
            assert!(fine, "{path:?}: {} is lost without a report", key.escape_ascii());
        }
        let is_lost = || versions.len() > 1 || self.touches(path);
        assert!(bucket.sequence() == newest.sequence || is_lost(), "{path:?}: the sequence");
        for name in bucket.buckets()? {
            let name = name?;
            let known = versions.iter().any(|tree| tree.is_bucket(name));
            assert!(known, "a bucket that never was: {}", name.escape_ascii());
        }
        for (name, _) in newest.buckets() {
            let trees = versions.iter().filter_map(|tree| nested(tree, name)).collect();
            match bucket.bucket(name) {
                Ok(inner) => {
                    path.push(name.to_vec());
                    self.compare(&inner, path, trees)?;
                    path.pop();
                }
                Err(_) => assert!(self.is_lost(path, name) || versions.len() > 1, "lost bucket"),
            }
        }
        Ok(())
    }

    /// Whether the report tells of a loss in a bucket, or in one that it lies in.
    fn touches(&self, path: &[Vec<u8>]) -> bool {
        let above = |depth| self.is_lost(&path[..depth], &path[depth]);
        (0..path.len()).any(above) || self.report.losses.iter().any(|loss| loss.path == path)
    }

    /// Whether the report covers a key, or a bucket that it lies in.
    fn is_lost(&self, path: &[Vec<u8>], key: &[u8]) -> bool {
        self.report.losses.iter().any(|loss| {
            let depth = loss.path.len();
            if depth > path.len() || loss.path != path[..depth] {
                return false;
            }
            let key = path.get(depth).map_or(key, Vec::as_slice);
            &loss.start[..] <= key && loss.end.as_ref().is_none_or(|end| key < &end[..])
        })
    }
}

fn nested<'a>(tree: &'a Tree, name: &[u8]) -> Option<&'a Tree> {
    match tree.entries.get(name) {
        Some(Entry::Bucket(tree)) => Some(tree),
        _ => None,
    }
}
