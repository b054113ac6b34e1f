//! Salvage: everything that can still be read of a damaged database, copied into a new one.
//!
//! The last resort, for a database that no longer opens or that `check` finds damaged. Steps:
//! 1. choose the newest meta page that is whole, and copy its tree; a page that cannot be read
//!    costs the range of keys between its separators;
//! 2. what is lost of it, take from the tree of the older meta page, if the log from there on is
//!    whole: both trees are in the file until the next checkpoint, and so is the log between them;
//! 3. replay the log: up to the newest checkpoint only what concerns those ranges, so that they
//!    have their newest content and not that of the older checkpoint; behind it everything;
//! 4. verify the new database, and only then give it its name.
//!
//! Invariants:
//! 1. Nothing in the damaged directory is written, but that its lock is held meanwhile; the lock
//!    file is made if it is missing.
//! 2. What lies outside the losses and the gaps that are reported is exactly the newest content.
//! 3. Without a gap in the log, each pair that is in the new database has its newest value, also
//!    within the losses.

mod losses;
mod replay;
mod source;
mod target;
mod walk;

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::db::Db;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::TxnId;
use crate::io::{Host, Lock, OpenMode, RealHost};
use crate::options::Options;
use crate::pager::{Meta, read_surviving_metas};
use crate::recovery::{
    DATA, LOCK, LOG, not_a_database, remove_unfinished, sync_parent, unfinished_name,
};
use crate::wal::Remains;

use losses::{KeyRange, Losses};
use replay::Replay;
use source::Source;
use target::Target;
use walk::{BucketHead, Visit, walk};

/// How far a salvage has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvageProgress {
    /// Pairs written so far.
    pub pairs: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Ranges of keys that could not be read so far; some of them may be found elsewhere.
    pub ranges_unread: u64,
}

/// What was salvaged, and what was not.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SalvageReport {
    /// Number of the checkpoint whose tree was copied.
    pub checkpoint: u64,
    /// Last revision of the damaged database that could be read. Revisions of the new database
    /// begin anew.
    pub revision: TxnId,
    /// True when ranges that are damaged in the newest tree were made up from the older one, or
    /// from the log.
    pub used_older: bool,
    /// Buckets of the new database, nested ones included.
    pub buckets: u64,
    /// Pairs of the new database, those that have expired included.
    pub pairs: u64,
    /// Bytes of keys and values that were written to it, replaced ones included.
    pub bytes: u64,
    /// Ranges of keys that are lost, in the order of bucket paths and keys.
    pub losses: Vec<Loss>,
    /// Commits that are lost because the log cannot be read there.
    pub gaps: Vec<LogGap>,
    /// The log ends in a write that is not whole. In most cases nobody was told that it is durable;
    /// damage to the last write looks the same.
    pub unfinished: Option<Error>,
}

impl SalvageReport {
    /// True when nothing was lost.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.losses.is_empty() && self.gaps.is_empty()
    }
}

/// Keys of one bucket that are lost, from `start` to before `end`, and nested buckets with such
/// names with all they hold, their sequences too. What is there nevertheless, because the log has
/// it, has its newest value.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Loss {
    /// Names of the buckets, from the top; empty where top-level buckets themselves are lost.
    pub path: Vec<Vec<u8>>,
    /// The first key that may be lost; empty for the first of the bucket.
    pub start: Vec<u8>,
    /// The first key that is not; `None` when all that follow are lost.
    pub end: Option<Vec<u8>>,
    /// What is damaged.
    pub why: Error,
}

/// Commits that could not be read. Later ones were applied nevertheless; a key that the missing
/// ones changed, and no later one did, has an older value.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogGap {
    /// The first revision that is missing.
    pub first: TxnId,
    /// The last one; `None` when it is not known how many follow.
    pub last: Option<TxnId>,
    /// What is damaged.
    pub why: Error,
}

/// Copies what can still be read of the damaged database in the directory `from` into a new one in
/// the directory `into`, which must not exist or be empty. The damaged one is only read.
///
/// The new database appears under its name when it is complete, verified and durable. Until then it
/// has `.unfinished` behind its name, and after a failure it is removed.
///
/// ```
/// # fn main() -> bristlecone::Result<()> {
/// # let dir = tempfile::tempdir().expect("a temporary directory");
/// # let (damaged, into) = (dir.path().join("damaged"), dir.path().join("salvaged"));
/// # bristlecone::Db::open(&damaged)?.update(|txn| txn.create_bucket("b")?.put("k", "v"))?;
/// let report = bristlecone::salvage(&damaged, &into, &mut |_| {})?;
/// for loss in &report.losses {
///     println!("lost in {:?}: {:?} to {:?}: {}", loss.path, loss.start, loss.end, loss.why);
/// }
/// assert!(report.is_complete());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// `Corrupt` when neither meta page is whole, or the two contradict each other, so that no tree can
/// be trusted. `Locked` when the database is open, or another salvage writes to the same place;
/// `Io` where its lock file may not be opened for writing. `NotADatabase` and `Unsupported` as
/// [`Db::open`](crate::Db::open). `InvalidArgument` for an `into` that cannot be. Failures of
/// writing, such as `Full`.
pub fn salvage(
    from: impl AsRef<Path>,
    into: impl AsRef<Path>,
    progress: &mut dyn FnMut(SalvageProgress),
) -> Result<SalvageReport> {
    let options = Options::default();
    salvage_on(Arc::new(RealHost { map: options.map }), from, into, options, progress)
}

/// As [`salvage`], on a host other than the operating system, with options for the new database.
#[doc(hidden)]
pub fn salvage_on(
    host: Arc<dyn Host>,
    from: impl AsRef<Path>,
    into: impl AsRef<Path>,
    options: Options,
    progress: &mut dyn FnMut(SalvageProgress),
) -> Result<SalvageReport> {
    let (from, into) = (from.as_ref(), into.as_ref());
    if into.starts_with(from) {
        return Err(Error::invalid(
            "expected a directory outside the damaged one, found one in it",
        ));
    }
    let unfinished = unfinished_name(&*host, into)?;
    let damaged = Damaged::open(&*host, from)?;
    let log = from.join(LOG);
    let Meta { database_id, log: position, .. } = damaged.newest;
    let remains = Remains::find(&*host, &log, database_id, position)?;
    // Nothing is removed from what is half copied.
    let options = options.sweep(false).create(true).read_only(false);
    let options = options.page_bytes(damaged.newest.page_bytes);
    let salvaged = Db::open_on(Arc::clone(&host), &unfinished, options)
        .and_then(|db| copy(&damaged, &remains, db, progress))
        .and_then(|report| {
            let renamed = host.rename(&unfinished, into);
            renamed.map_err(|e| Error::io("rename", &unfinished, e))?;
            sync_parent(&*host, into)?;
            Ok(report)
        });
    // What is left of it is of no use to anybody, and the first failure is what matters. But when
    // it is locked it is somebody else's.
    if salvaged.as_ref().is_err_and(|error| !error.is_locked()) {
        let _ = remove_unfinished(&*host, &unfinished);
    }
    salvaged
}

/// The damaged database, locked.
struct Damaged {
    source: Source,
    newest: Meta,
    older: Option<Meta>,
    _lock: Option<Box<dyn Lock>>,
}

impl Damaged {
    fn open(host: &dyn Host, dir: &Path) -> Result<Damaged> {
        let path = dir.join(DATA);
        let file = host.open(&path, OpenMode::Read).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => not_a_database(dir, "expected a data file, found none"),
            _ => Error::io("open", &path, error),
        })?;
        let lock = match host.lock(&dir.join(LOCK)) {
            Ok(Some(lock)) => Some(lock),
            Ok(None) => return Err(Error::from(ErrorKind::Locked { path: dir.to_path_buf() })),
            // Nobody can write there, so nobody has to be kept out.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => None,
            Err(error) => return Err(Error::io("lock", &dir.join(LOCK), error)),
        };
        let (newest, older) = read_surviving_metas(&*file, &path)?;
        let page_bytes = newest.page_bytes;
        let len = file.len().map_err(|e| Error::io("read", &path, e))?;
        let pages = len / page_bytes as u64;
        let pages = u32::try_from(pages).unwrap_or(u32::MAX).min(newest.file_pages);
        let source = Source { file, path, page_bytes, pages };
        Ok(Damaged { source, newest, older, _lock: lock })
    }
}

fn copy(
    damaged: &Damaged,
    remains: &Remains,
    db: Db,
    progress: &mut dyn FnMut(SalvageProgress),
) -> Result<SalvageReport> {
    let Damaged { source, newest, older, .. } = damaged;
    let mut target = Target::new(db);
    target.advance_clock(newest.clock_ms);
    let mut copier = Copier { target: &mut target, losses: Losses::default(), why: None, progress };
    walk(source, &Vec::new(), &newest.buckets.encode(), &KeyRange::ALL, &mut copier)?;
    let regions = copier.losses;
    let (mut losses, mut next) = (regions.clone(), newest.txn.next());
    let mut used_older = false;
    if !regions.is_empty() {
        next = replay::first_before(remains, newest.txn)?;
        used_older = next <= newest.txn;
        if let Some(older) = older.as_ref().filter(|older| next <= older.txn.next()) {
            next = older.txn.next();
            losses = copy_older(source, older, &regions, &mut target, progress)?;
            used_older = true;
        }
    }
    let (gaps, why, unfinished) = (Vec::new(), None, None);
    let newest_txn = newest.txn;
    let mut replay = Replay {
        target: &mut target,
        regions: &regions,
        losses: &mut losses,
        newest: newest_txn,
        next,
        gaps,
        why,
        unfinished,
    };
    replay.run(remains)?;
    let Replay { next, gaps, unfinished, .. } = replay;
    let bytes = target.bytes;
    let holds = target.finish()?;
    let losses = losses.iter().map(|(path, range, why)| Loss {
        path: path.clone(),
        start: range.start,
        end: range.end,
        why: why.clone(),
    });
    Ok(SalvageReport {
        checkpoint: newest.checkpoint,
        revision: TxnId(next.0 - 1).max(newest_txn),
        used_older,
        buckets: holds.buckets,
        pairs: holds.pairs,
        bytes,
        losses: losses.collect(),
        gaps,
        unfinished,
    })
}

/// Copies what the older tree has of the ranges that are lost in the newest. Returns what is lost
/// in both.
fn copy_older(
    source: &Source,
    older: &Meta,
    regions: &Losses,
    target: &mut Target,
    progress: &mut dyn FnMut(SalvageProgress),
) -> Result<Losses> {
    let mut copier = Copier { target, losses: Losses::default(), why: None, progress };
    let root = older.buckets.encode();
    for (path, range, why) in regions.iter() {
        copier.why = Some(why.clone());
        match source.find(&root, path) {
            Ok(Some(record)) => walk(source, path, &record, &range, &mut copier)?,
            // The bucket was made later; the log has everything that was put into it.
            Ok(None) => {}
            Err(_) => copier.losses.add(path, range, why.clone()),
        }
    }
    Ok(copier.losses)
}

/// Copies what a walk finds.
struct Copier<'a> {
    target: &'a mut Target,
    losses: Losses,
    /// Why the newest tree was given up, where another one is walked.
    why: Option<Error>,
    progress: &'a mut dyn FnMut(SalvageProgress),
}

impl Visit for Copier<'_> {
    fn pair(
        &mut self,
        path: &losses::Path,
        key: &[u8],
        value: &[u8],
        expires_at: u64,
    ) -> Result<()> {
        self.target.put(path, key, value, expires_at)?;
        let Target { pairs, bytes, .. } = *self.target;
        let ranges_unread = self.losses.count();
        (self.progress)(SalvageProgress { pairs, bytes, ranges_unread });
        Ok(())
    }

    fn bucket(&mut self, path: &losses::Path, name: &[u8], head: BucketHead) -> Result<()> {
        self.target.create(path, name)?;
        let bucket = [&path[..], &[name.to_vec()]].concat();
        if head.sequence != 0 {
            self.target.set_sequence(&bucket, head.sequence)?;
        }
        match head.expires_at {
            0 => Ok(()),
            expires_at => self.target.set_expiry(&bucket, expires_at),
        }
    }

    fn lost(&mut self, path: &losses::Path, range: KeyRange, why: Error) {
        self.losses.add(path, range, self.why.clone().unwrap_or(why));
    }
}
