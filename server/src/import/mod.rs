//! Imports a bbolt file into a new or empty database: all of it or nothing.
//!
//! The file is read to its end and checked before a database is opened. What fits in one
//! transaction is imported in one. A larger file takes several: the first creates the top-level
//! bucket `__import_incomplete`, the last drops it, and where it is found nothing is served and
//! nothing is imported.
//!
//! Never changes the bbolt file, and never touches a database that holds a bucket.
//!
//! Invariants:
//! 1. A failed import leaves no database that was not there before, and an empty one empty.
//! 2. Every bucket, sequence, key and value is imported, or the error says which one cannot be.

mod error;
mod survey;
mod writer;

use std::ffi::OsString;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use bristlecone::{Db, ErrorKind, Options};

use crate::bolt::{BoltFile, Event};
use crate::limits::IMPORT_TXN_BYTES_MAX;
use crate::storage::{IMPORT_INCOMPLETE, is_import_incomplete};

pub use error::ImportError;
use survey::Survey;
use writer::Writer;

/// How to import.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ImportOptions {
    /// Page size of a database that is created, in bytes. `None` takes the engine's default, or the
    /// smallest that the longest key needs.
    pub page_bytes: Option<usize>,
    /// Keys and values of one transaction, in bytes.
    pub txn_bytes_max: u64,
}

impl Default for ImportOptions {
    fn default() -> ImportOptions {
        ImportOptions { page_bytes: None, txn_bytes_max: IMPORT_TXN_BYTES_MAX }
    }
}

/// How far an import has come.
#[derive(Clone, Copy, Debug)]
pub struct ImportProgress {
    /// What is being done.
    pub phase: ImportPhase,
    /// Pages of the bbolt file that this phase has read.
    pub pages_done: u64,
    /// Pages that it will read, at most.
    pub pages_total: u64,
}

/// The two passes over the bbolt file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportPhase {
    /// Every page is checked; nothing is written.
    Verify,
    /// Buckets, keys and values are written.
    Import,
}

/// What was imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportReport {
    /// Buckets at all depths.
    pub buckets: u64,
    /// Keys in all buckets.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Write transactions that it took.
    pub txns: u64,
}

/// Imports the bbolt file `file` into the database in `dir`. `progress` is told now and then, and
/// stops it when it breaks.
///
/// # Errors
/// [`ImportError`] tells them; nothing is left behind in any of these cases.
pub fn import(
    file: &Path,
    dir: &Path,
    options: &ImportOptions,
    progress: &mut dyn FnMut(ImportProgress) -> ControlFlow<()>,
) -> Result<ImportReport, ImportError> {
    let source = BoltFile::open(file)?;
    let survey =
        Survey::of(&source, &mut |pages| progress(tell(&source, ImportPhase::Verify, pages)))?;
    let page_bytes = match options.page_bytes {
        Some(page_bytes) => page_bytes,
        None => survey.page_bytes()?,
    };
    survey.check(page_bytes)?;
    let target = Target::open(dir, options.page_bytes, page_bytes)?;
    match fill(&target.db, &source, &survey, options, progress) {
        Ok(report) => {
            target.db.close()?;
            Ok(report)
        }
        Err(error) => {
            target.abandon();
            Err(error)
        }
    }
}

fn tell(source: &BoltFile, phase: ImportPhase, pages_done: u64) -> ImportProgress {
    ImportProgress { phase, pages_done, pages_total: source.pages_total() }
}

fn fill(
    db: &Db,
    source: &BoltFile,
    survey: &Survey,
    options: &ImportOptions,
    progress: &mut dyn FnMut(ImportProgress) -> ControlFlow<()>,
) -> Result<ImportReport, ImportError> {
    // An existing database keeps its page size.
    survey.check(page_bytes_of(db))?;
    let mut writer = Writer::begin(db, survey.bytes(), options.txn_bytes_max)?;
    source.walk(&mut |event| -> Result<(), ImportError> {
        match event {
            Event::EnterBucket { name, sequence } => writer.enter(name, sequence),
            Event::Pair { key, value } => writer.pair(key, value),
            Event::LeaveBucket => writer.leave(),
            Event::Progress { pages_read } => {
                go_on(progress(tell(source, ImportPhase::Import, pages_read)))
            }
        }
    })?;
    let txns = writer.finish()?;
    // While a failure can still undo the import; closing has little left to do then.
    db.checkpoint()?;
    Ok(ImportReport { buckets: survey.buckets(), keys: survey.keys(), bytes: survey.bytes(), txns })
}

/// An error where progress broke.
fn go_on(flow: ControlFlow<()>) -> Result<(), ImportError> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(ImportError::Stopped),
    }
}

fn page_bytes_of(db: &Db) -> usize {
    // A page is at most 32 KiB, so its size fits any integer.
    db.stats().page_bytes as usize
}

/// The database that is imported into, and what was there before.
#[derive(Debug)]
struct Target<'a> {
    db: Db,
    dir: &'a Path,
    before: Before,
}

#[derive(Debug)]
enum Before {
    /// An empty database.
    Database,
    /// A directory without one, holding these names.
    Directory(Vec<OsString>),
    /// No directory.
    Nothing,
}

impl<'a> Target<'a> {
    /// Opens an empty database, or creates one of `page_bytes`. An existing one must have the page
    /// size that was `asked` for, if one was.
    fn open(
        dir: &'a Path,
        asked: Option<usize>,
        page_bytes: usize,
    ) -> Result<Target<'a>, ImportError> {
        let existing = match asked {
            Some(asked) => Options::new().page_bytes(asked),
            None => Options::new(),
        };
        match existing.create(false).open(dir) {
            Ok(db) => {
                check_empty(&db, dir)?;
                Ok(Target { db, dir, before: Before::Database })
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotADatabase { .. }) => {
                let before = match names_in(dir) {
                    Some(names) => Before::Directory(names),
                    None => Before::Nothing,
                };
                let db = Options::new().page_bytes(page_bytes).open(dir)?;
                Ok(Target { db, dir, before })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Undoes what the import did. What cannot be undone keeps its mark, so it is found later.
    fn abandon(self) {
        let Target { db, dir, before } = self;
        match before {
            Before::Database => {
                let _marked = db.update(|txn| {
                    let names: Result<Vec<_>, _> =
                        txn.buckets()?.map(|name| name.map(<[u8]>::to_vec)).collect();
                    let (mark, others): (Vec<_>, Vec<_>) =
                        names?.into_iter().partition(|name| name == IMPORT_INCOMPLETE);
                    others.iter().chain(&mark).try_for_each(|name| txn.drop_bucket(name))
                });
            }
            Before::Directory(names) => {
                drop(db);
                for name in names_in(dir).unwrap_or_default() {
                    if !names.contains(&name) {
                        remove(&dir.join(name));
                    }
                }
            }
            Before::Nothing => {
                drop(db);
                remove(dir);
            }
        }
    }
}

fn check_empty(db: &Db, dir: &Path) -> Result<(), ImportError> {
    if is_import_incomplete(db)? {
        return Err(ImportError::Incomplete { dir: dir.to_path_buf() });
    }
    match db.begin_read()?.buckets()?.next() {
        None => Ok(()),
        Some(Ok(_)) => Err(ImportError::NotEmpty { dir: dir.to_path_buf() }),
        Some(Err(error)) => Err(error.into()),
    }
}

fn names_in(dir: &Path) -> Option<Vec<OsString>> {
    let entries = fs::read_dir(dir).ok()?;
    Some(entries.filter_map(|entry| entry.ok().map(|entry| entry.file_name())).collect())
}

/// Removes what this import created. What stays has the mark of an import that was cut short, or
/// no bucket at all.
fn remove(path: &Path) {
    let _left_behind = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens the target, writes as an import of two transactions would, and abandons it.
    fn abandon(dir: &Path) {
        let target = Target::open(dir, None, 8192).expect("a target");
        let written = target.db.update(|txn| {
            drop(txn.create_bucket(IMPORT_INCOMPLETE)?);
            txn.create_bucket("half")?.put("k", "v")
        });
        written.expect("written");
        target.abandon();
    }

    #[test]
    fn what_was_not_there_before_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("db");
        abandon(&dir);
        assert!(!dir.exists());
        fs::create_dir(&dir).expect("an empty folder");
        abandon(&dir);
        assert_eq!(names_in(&dir), Some(Vec::new()));
    }

    #[test]
    fn an_empty_database_stays_and_stays_empty() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("db");
        Db::open(&dir).expect("a database").close().expect("closed");
        abandon(&dir);
        let db = Options::new().create(false).open(&dir).expect("a database");
        check_empty(&db, &dir).expect("empty");
    }
}
