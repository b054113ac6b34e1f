//! A directory of backups: full ones, and the changes after them, so that any point between can be
//! restored.
//!
//! ```text
//! full-<revision>.bcb              a full backup
//! changes-<first>-<last>.bcb       what was committed after it, with no gap
//! ```
//!
//! Numbers have twenty digits, so that names have the order of time. Files are written once, whole,
//! and never changed; what is old may be removed by anybody, a full backup not before there is a
//! newer one. Invariants:
//! 1. All files that one database adds follow each other without a gap, or a full one begins anew.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::TxnId;
use crate::io::{Host, RealHost};
use crate::options::Options;
use crate::recovery::sync_parent;

use super::container::{BlockReader, Header};
use super::file::OldFile;
use super::forward::{Forward, RestorePoint};
use super::read::Content;
use super::source::Source;
use super::{
    Backup, BackupKind, BackupOptions, BackupProgress, BackupReport, RestoreOptions, RestoreReport,
};
use super::{changes, restore, to_file, write};

const SUFFIX: &str = ".bcb";

/// The backups in a directory.
#[derive(Debug)]
pub struct Archive {
    host: Arc<dyn Host>,
    dir: PathBuf,
    /// Full backups by revision, and backups of changes by their first and last transaction; in
    /// order.
    full: Vec<TxnId>,
    changes: Vec<(TxnId, TxnId)>,
}

/// What was added to an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArchiveReport {
    /// The backup that was added; `None` when nothing was committed since the last one.
    pub added: Option<BackupReport>,
    /// True when the log no longer had what was committed after the archive's last changes: a full
    /// backup begins anew, and points between the two can't be restored.
    pub has_gap: bool,
    /// The newest point that the archive has.
    pub revision: TxnId,
}

impl Archive {
    /// The archive in a directory, which is empty where there is no such directory.
    ///
    /// # Errors
    /// `Io` when it cannot be listed.
    pub fn open(dir: impl AsRef<Path>) -> Result<Archive> {
        Archive::open_on(Arc::new(RealHost::default()), dir)
    }

    /// The same on a host other than the operating system.
    #[doc(hidden)]
    pub fn open_on(host: Arc<dyn Host>, dir: impl AsRef<Path>) -> Result<Archive> {
        let dir = dir.as_ref().to_path_buf();
        let names = match host.list(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            names => names.map_err(|error| Error::io("list", &dir, error))?,
        };
        let mut full: Vec<TxnId> = names.iter().filter_map(|name| full_of(name)).collect();
        let mut changes: Vec<_> = names.iter().filter_map(|name| changes_of(name)).collect();
        full.sort_unstable();
        changes.sort_unstable();
        Ok(Archive { host, dir, full, changes })
    }

    /// The newest revision that can be restored, going by the names of the files.
    #[must_use]
    pub fn newest(&self) -> Option<TxnId> {
        self.full.last().map(|full| self.reach(*full))
    }

    /// The revisions of the full backups, in order.
    #[must_use]
    pub fn full_backups(&self) -> &[TxnId] {
        &self.full
    }

    /// Restores the database as it was at a point into the directory `into`, from the last full
    /// backup before it: point-in-time recovery. See [`Backup::restore`].
    ///
    /// # Errors
    /// As [`Backup::restore_to`]. `InvalidArgument` when the archive has no full backup at or
    /// before the point.
    pub fn restore(
        &self,
        point: RestorePoint,
        into: impl AsRef<Path>,
        options: &RestoreOptions,
        progress: &mut dyn FnMut(BackupProgress) -> ControlFlow<()>,
    ) -> Result<RestoreReport> {
        self.restore_with(point, into.as_ref(), options, Options::default(), progress)
    }

    /// The same with options for the new database.
    #[doc(hidden)]
    pub fn restore_with(
        &self,
        point: RestorePoint,
        into: &Path,
        options: &RestoreOptions,
        database: Options,
        progress: &mut dyn FnMut(BackupProgress) -> ControlFlow<()>,
    ) -> Result<RestoreReport> {
        let full = self.full_before(point)?;
        let source = Source::begin(self.backup(&full_name(full))?, "restore", progress)?;
        let content = Content::begin(source)?;
        let later = self.follow(full);
        let mut later = later.iter().map(|(first, last)| self.backup(&changes_name(*first, *last)));
        let forward = Forward { point, later: &mut later, hole: self.hole_after(full) };
        restore::into_new(content, Some(forward), &self.host, into, options, database)
    }

    /// The newest full backup up to a point.
    fn full_before(&self, point: RestorePoint) -> Result<TxnId> {
        for full in self.full.iter().rev() {
            // Its time is in its header only.
            let time_ms = match point {
                RestorePoint::Time(_) => self.header(&full_name(*full))?.time_ms,
                _ => 0,
            };
            if point.includes(*full, time_ms) {
                return Ok(*full);
            }
        }
        let found = match self.full.first() {
            Some(oldest) => format!("a full backup of {oldest} and later ones"),
            None => "no full backup".to_owned(),
        };
        let dir = self.dir.display();
        Err(Error::invalid(format!("expected a backup up to {point:?} in {dir}, found {found}")))
    }

    /// The backups of changes that lead on from a revision, without a gap.
    fn follow(&self, from: TxnId) -> Vec<(TxnId, TxnId)> {
        let (mut reached, mut later) = (from, Vec::new());
        for &(first, last) in &self.changes {
            if first <= reached.next() && last > reached {
                later.push((first, last));
                reached = last;
            }
        }
        later
    }

    /// How far it reaches from a revision on, without a gap.
    fn reach(&self, from: TxnId) -> TxnId {
        self.follow(from).last().map_or(from, |(_, last)| *last)
    }

    /// After which transactions changes may be added: where those end that lead on from the full
    /// backup before the last, which may not lead up to the last one yet; or from the last one.
    fn ends(&self) -> Vec<TxnId> {
        let Some((last, others)) = self.full.split_last() else { return Vec::new() };
        let before = others.last().map(|full| self.reach(*full)).filter(|end| end < last);
        before.into_iter().chain([self.reach(*last)]).collect()
    }

    /// The first transaction behind a hole in what leads on from a revision, if there is one.
    fn hole_after(&self, from: TxnId) -> Option<TxnId> {
        let reached = self.reach(from);
        let changes = self.changes.iter().map(|(first, _)| *first);
        changes.chain(self.full.iter().copied()).filter(|first| *first > reached).min()
    }

    fn backup(&self, name: &str) -> Result<Backup<'static>> {
        Backup::open_on(&*self.host, self.dir.join(name))
    }

    fn header(&self, name: &str) -> Result<Header> {
        let path = self.dir.join(name);
        let file = OldFile::open(&*self.host, &path)?;
        BlockReader::begin(Box::new(file), &path).map(|(header, _)| header)
    }

    /// The name of the file that leads to a revision.
    fn name_of(&self, revision: TxnId) -> String {
        match self.changes.iter().rev().find(|(_, last)| *last == revision) {
            Some((first, last)) => changes_name(*first, *last),
            None => full_name(revision),
        }
    }
}

impl Db {
    /// Adds to the archive in a directory what was committed since its last backup, as a backup of
    /// changes, or a full one where there is none. Called now and then, at least as often as the
    /// log is kept ([`Options::log_bytes_kept`]), it keeps every point that can be restored. The
    /// directory is made where it is missing.
    ///
    /// # Errors
    /// As [`backup_to`](Db::backup_to). `InvalidArgument` when the archive is that of another
    /// database, or is ahead of this one.
    pub fn archive(
        &self,
        dir: impl AsRef<Path>,
        options: &BackupOptions,
        progress: &mut dyn FnMut(BackupProgress) -> ControlFlow<()>,
    ) -> Result<ArchiveReport> {
        options.validate()?;
        let dir = dir.as_ref();
        let store = self.store();
        let host = &*store.host;
        settle_dir(host, dir)?;
        let archive = Archive::open_on(Arc::clone(&store.host), dir)?;
        self.check_archive(&archive)?;
        let mut has_gap = false;
        for after in archive.ends() {
            let wanted = match changes::wanted(store, after) {
                Err(error) if error.is_compacted() => {
                    has_gap = true;
                    continue;
                }
                wanted => wanted?,
            };
            let Some(wanted) = wanted else {
                return Ok(ArchiveReport { added: None, has_gap, revision: after });
            };
            let path = dir.join(changes_name(wanted.header.first, wanted.header.last));
            let added = to_file(host, &path, options, progress, |file, name, progress| {
                changes::write(store, wanted, file, name, options, progress)
            })?;
            return Ok(ArchiveReport { added: Some(added), has_gap, revision: added.revision });
        }
        let snapshot = self.backup_snapshot()?;
        let path = dir.join(full_name(snapshot.id()));
        let added = to_file(host, &path, options, progress, |file, name, progress| {
            write::write(&snapshot, file, name, options, progress)
        })?;
        Ok(ArchiveReport { added: Some(added), has_gap, revision: added.revision })
    }

    /// Adds a full backup to the archive in a directory: restores from there on take less time, and
    /// what is older may be removed.
    ///
    /// # Errors
    /// As [`archive`](Db::archive). `InvalidArgument` when it has one of this revision.
    pub fn archive_full(
        &self,
        dir: impl AsRef<Path>,
        options: &BackupOptions,
        progress: &mut dyn FnMut(BackupProgress) -> ControlFlow<()>,
    ) -> Result<BackupReport> {
        // What comes before it must be there, too, for points between to be restored.
        let before = self.archive(dir.as_ref(), options, progress)?;
        if let Some(added) = before.added.filter(|added| added.kind == BackupKind::Full) {
            return Ok(added);
        }
        let (dir, host) = (dir.as_ref(), &*self.store().host);
        let snapshot = self.backup_snapshot()?;
        let path = dir.join(full_name(snapshot.id()));
        to_file(host, &path, options, progress, |file, name, progress| {
            write::write(&snapshot, file, name, options, progress)
        })
    }

    /// Refuses an archive that is not of this database's past.
    fn check_archive(&self, archive: &Archive) -> Result<()> {
        let Some(newest) = archive.newest() else { return Ok(()) };
        let header = archive.header(&archive.name_of(newest))?;
        let expected = self.store().database_id;
        if header.database_id != expected {
            let (expected, found) =
                (u128::from_be_bytes(expected), u128::from_be_bytes(header.database_id));
            return Err(Error::invalid(format!(
                "expected an archive of database {expected:032x}, found one of {found:032x}"
            )));
        }
        Ok(())
    }
}

/// Makes the directory where it is missing, and all names in it, and its own, durable: one that was
/// killed, or failed, before it had done so is no reason to believe them.
fn settle_dir(host: &dyn Host, dir: &Path) -> Result<()> {
    match host.create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Error::io("create", dir, error));
        }
        Err(_) | Ok(()) => {}
    }
    sync_parent(host, dir)?;
    host.sync_dir(dir).map_err(|error| Error::io("sync", dir, error))
}

fn full_name(revision: TxnId) -> String {
    format!("full-{:020}{SUFFIX}", revision.0)
}

fn changes_name(first: TxnId, last: TxnId) -> String {
    format!("changes-{:020}-{:020}{SUFFIX}", first.0, last.0)
}

/// The revision in the name of a full backup. Other names are nobody's.
fn full_of(name: &str) -> Option<TxnId> {
    let revision = TxnId(name.strip_prefix("full-")?.strip_suffix(SUFFIX)?.parse().ok()?);
    (full_name(revision) == name).then_some(revision)
}

fn changes_of(name: &str) -> Option<(TxnId, TxnId)> {
    let (first, last) = name.strip_prefix("changes-")?.strip_suffix(SUFFIX)?.split_once('-')?;
    let (first, last) = (TxnId(first.parse().ok()?), TxnId(last.parse().ok()?));
    (first <= last && changes_name(first, last) == name).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_left_alone() {
        let (first, last) = (TxnId(7), TxnId(u64::MAX));
        assert_eq!(full_of(&full_name(last)), Some(last));
        assert_eq!(changes_of(&changes_name(first, last)), Some((first, last)));
        for other in ["full-7.bcb", "full-00000000000000000007.bcb.unfinished", "full-.bcb", "x"] {
            assert_eq!((full_of(other), changes_of(other)), (None, None), "{other}");
        }
        assert_eq!(changes_of(&changes_name(last, first)), None);
    }

    #[test]
    fn changes_are_followed_as_far_as_there_is_no_gap() {
        let txn = |(first, last)| (TxnId(first), TxnId(last));
        let archive = Archive {
            host: Arc::new(RealHost::default()),
            dir: PathBuf::new(),
            full: vec![TxnId(3), TxnId(20)],
            changes: [(4, 7), (5, 9), (10, 12), (14, 19), (21, 21)].map(txn).to_vec(),
        };
        assert_eq!(archive.follow(TxnId(3)), [(4, 7), (5, 9), (10, 12)].map(txn));
        assert_eq!(archive.follow(TxnId(12)), []);
        assert_eq!(archive.newest(), Some(TxnId(21)));
        assert_eq!(archive.ends(), [TxnId(12), TxnId(21)], "a full one fills no gap");
        let hole = |from| archive.hole_after(TxnId(from));
        assert_eq!((hole(3), hole(20)), (Some(TxnId(14)), None));
        assert_eq!(archive.name_of(TxnId(21)), changes_name(TxnId(21), TxnId(21)));
        assert_eq!(archive.name_of(TxnId(20)), full_name(TxnId(20)));
    }
}
