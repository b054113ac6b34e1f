//! The small store that is damaged: one of everything, in a few pages and a log.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bristlecone::io::sim::{START_MS, SimDisk};
use bristlecone::{BucketMut, Db, ErrorKind, Options, Result, WriteTxn};

use crate::simulation::compare::assert_agrees;
use crate::simulation::reference::{Entry, Now, Tree};

pub(super) const PAGE_BYTES: usize = 4096;
/// Larger than the store needs would make opening slow.
const RESERVE_BYTES: usize = 1 << 20;

/// How the store was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Left {
    /// Closed: everything is in the data file.
    Closed,
    /// Killed: the last commits are in the log alone.
    Killed,
}

/// A store, and what each of its revisions holds.
pub(super) struct Store {
    pub(super) left: Left,
    disk: SimDisk,
    versions: Vec<Tree>,
}

/// What came of opening and reading a damaged store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// An error, at the open or in a read, or a problem that the check found.
    Detected,
    /// Everything is as it was, and the check finds nothing.
    Harmless,
    /// Everything is as it was some commits earlier.
    Older,
}

impl Store {
    pub(super) fn new(left: Left) -> Result<Store> {
        let disk = SimDisk::new(1);
        disk.set_reserve_bytes_max(RESERVE_BYTES);
        let mut versions = vec![Tree::default()];
        let db = Db::open_on(Arc::new(disk.clone()), "/db", options())?;
        for number in 0..4 {
            commit(&db, &mut versions, |txn, root| write(txn, root, number))?;
            if number < 2 {
                db.checkpoint()?;
            }
        }
        let disk = match left {
            Left::Closed => {
                db.close()?;
                disk
            }
            Left::Killed => {
                let killed = disk.fork();
                disk.power_off();
                killed
            }
        };
        Ok(Store { left, disk, versions })
    }

    /// A copy of its disk.
    pub(super) fn fork(&self) -> SimDisk {
        self.disk.fork()
    }

    /// What each revision holds.
    pub(super) fn versions(&self) -> &[Tree] {
        &self.versions
    }

    /// Its files with their lengths, but for the lock.
    pub(super) fn files(&self) -> Vec<(PathBuf, u64)> {
        let files = self.disk.list_all().into_iter();
        let files = files.filter_map(|(path, bytes)| Some((path, bytes.filter(|&b| b > 0)?)));
        files.collect()
    }

    pub(super) fn read_file(&self, path: &Path) -> Vec<u8> {
        self.disk.read_file(path).expect("a file that was listed")
    }

    /// The number in a segment's header; the name of its file may be that of an earlier use.
    pub(super) fn segment_number(&self, path: &Path) -> u64 {
        let header = self.read_file(path);
        u64::from_le_bytes(header[32..40].try_into().expect("eight bytes"))
    }

    /// Opens a copy with some damage done to it, reads everything, and panics at a wrong answer.
    pub(super) fn examine(&self, damage: impl FnOnce(&SimDisk)) -> Verdict {
        let disk = self.disk.fork();
        damage(&disk);
        let verdict = match Db::open_on(Arc::new(disk.clone()), "/db", options()) {
            Ok(db) => self.read(&db),
            Err(error) => {
                let kind = error.kind();
                let typed = matches!(
                    kind,
                    ErrorKind::Corrupt { .. }
                        | ErrorKind::NotADatabase { .. }
                        | ErrorKind::Unsupported { .. }
                );
                assert!(typed, "expected an error that tells of damage, found {error}");
                Verdict::Detected
            }
        };
        disk.power_off();
        verdict
    }

    fn read(&self, db: &Db) -> Verdict {
        let view = db.begin_read().expect("reading begins");
        let revision = view.id().0 as usize;
        let version = self.versions.get(revision).expect("a revision that was committed");
        let shown = assert_agrees(&view, version, Now::at(START_MS));
        let report = db.check(&mut |_| ControlFlow::Continue(())).expect("a check");
        assert!(shown.damaged == 0 || !report.is_sound(), "a read found what the check did not");
        if !report.is_sound() {
            return Verdict::Detected;
        }
        let newest = revision + 1 == self.versions.len();
        if newest { Verdict::Harmless } else { Verdict::Older }
    }
}

/// Small pages and segments.
pub(super) fn options() -> Options {
    Options::new().page_bytes(PAGE_BYTES).wal_segment_bytes_max(16 << 10)
}

fn commit(
    db: &Db,
    versions: &mut Vec<Tree>,
    act: impl FnOnce(&mut WriteTxn, &mut Tree) -> Result<()>,
) -> Result<()> {
    let mut root = versions.last().expect("never empty").clone();
    db.update(|txn| act(txn, &mut root))?;
    versions.push(root);
    Ok(())
}

/// Each transaction writes to each kind of page.
fn write(txn: &mut WriteTxn, root: &mut Tree, number: u8) -> Result<()> {
    let empty = || Entry::Bucket(Arc::default());
    root.entries.entry(b"services".to_vec()).or_insert_with(empty);
    let tree = root.bucket_mut(b"services");
    let mut bucket = txn.create_bucket_if_missing("services")?;
    for key in 0..30_u8 {
        let value = vec![key ^ number; 120];
        put(&mut bucket, tree, &[b's', key, if key % 3 == 0 { 0 } else { number }], &value, 0)?;
    }
    put(&mut bucket, tree, b"large", &[number; 3000], 0)?;
    put(&mut bucket, tree, b"held", b"yes", START_MS + 1000)?;
    put(&mut bucket, tree, b"over", b"no", START_MS - 1000)?;
    tree.sequence = bucket.next_sequence()?;
    tree.entries.entry(b"nested".to_vec()).or_insert_with(empty);
    let mut nested = bucket.create_bucket_if_missing("nested")?;
    put(&mut nested, tree.bucket_mut(b"nested"), &[number], b"inline", 0)
}

fn put(
    bucket: &mut BucketMut<'_>,
    tree: &mut Tree,
    key: &[u8],
    value: &[u8],
    expires_at: u64,
) -> Result<()> {
    match expires_at {
        0 => bucket.put(key, value)?,
        _ => bucket.put_until(key, value, UNIX_EPOCH + Duration::from_millis(expires_at))?,
    }
    tree.entries.insert(key.to_vec(), Entry::Value { bytes: value.into(), expires_at });
    Ok(())
}
