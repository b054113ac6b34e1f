//! `restore`: a database, or one bucket, out of a backup; or a point in time, out of an archive.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use bristlecone::{Archive, RestoreOptions, RestorePoint, RestoreReport, TxnId};
use clap::Args;
use serde::Serialize;

use crate::names::BucketPath;

use super::backup::{Summary, open, progress};
use super::exit::{Exit, Failure};
use super::input::{self, page_bytes};
use super::interrupt::Interrupt;
use super::output::{byte_bar, print_json};

#[derive(Args, Debug)]
#[command(
    long_about = "Restore a database from a backup into a new directory. It has the revision of \
        the backup, and appears under its name when the backup was read to its end and verified \
        and everything is durable; until then it has .unfinished behind its name. An interrupt, or \
        a backup that is cut short or damaged, leaves nothing.\n\n\
        With --bucket only that bucket is restored, with all it holds. With --existing it goes \
        into a database that is there, in one transaction; the bucket must not be there yet.\n\n\
        Out of an archive, the directory that Db::archive or the command archive keeps, the \
        database is restored as it was at any --revision or --time that the archive has.",
    after_help = "Examples:\n  \
        bristlecone restore ./state-monday.bcb ./state\n  \
        ssh elsewhere 'cat state.bcb' | bristlecone restore - ./state\n  \
        bristlecone restore ./state-monday.bcb ./state --bucket v1/snapshots --existing\n  \
        bristlecone restore ./archive ./state --time 2026-11-30T17:00:00Z\n\n\
        Ends with 1 when the backup has no such bucket, with 4 when it is cut short or damaged."
)]
pub(super) struct Arguments {
    /// The backup, or - for the standard input; or the directory of an archive
    file: PathBuf,
    /// Directory of the database; it must not exist, or be empty
    dir: PathBuf,
    /// Path of the one bucket to restore: names separated by /, other bytes as %2F
    #[arg(long, value_name = "PATH")]
    bucket: Option<BucketPath>,
    /// Out of an archive: up to this revision; the newest without it
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["time", "bucket"])]
    revision: Option<u64>,
    /// Out of an archive: up to the last revision of this time, as 2026-11-30T17:00:00Z
    #[arg(long, conflicts_with = "bucket")]
    time: Option<jiff::Timestamp>,
    /// Restore the bucket into a database that is there
    #[arg(long, requires = "bucket", conflicts_with_all = ["page_bytes", "verify"])]
    existing: bool,
    /// Page size of the new database: 4096, 8192, 16384 or 32768; keys are up to a quarter of it.
    /// The default is that of the database that was backed up
    #[arg(long, value_name = "BYTES", value_parser = page_bytes)]
    page_bytes: Option<usize>,
    /// Read and verify every page of the new database before it gets its name
    #[arg(long)]
    verify: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Restored {
    revision: u64,
    time_ms: u64,
    transactions: u64,
    buckets: u64,
    pairs: u64,
    content_bytes: u64,
    backup: Summary,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let is_archive = arguments.file.is_dir();
    if !is_archive && (arguments.revision.is_some() || arguments.time.is_some()) {
        let file = arguments.file.display();
        return Err(Failure::new(
            Exit::Usage,
            format!("expected the directory of an archive, found {file}"),
        ));
    }
    if is_archive && arguments.bucket.is_some() {
        return Err(Failure::new(
            Exit::Usage,
            "expected a backup to take one bucket out of, found an archive",
        ));
    }
    if is_archive {
        return restore_point(arguments, &interrupt);
    }
    let backup = open(&arguments.file)?;
    let bar = byte_bar("restore");
    let told = &mut progress(&bar, &interrupt);
    let names = arguments.bucket.as_ref().map(BucketPath::names).unwrap_or_default();
    let restored = match arguments.existing {
        true => {
            let db = input::open_to_write(&arguments.dir, false)?;
            let restored = backup.restore_bucket(&db, names, told);
            restored.and_then(|report| db.close().map(|()| report))
        }
        false => backup.restore(&arguments.dir, &options(arguments).bucket(names), told),
    };
    bar.finish_and_clear();
    Ok(print(arguments, &restored?)?)
}

fn options(arguments: &Arguments) -> RestoreOptions {
    let options = RestoreOptions::new().verify(arguments.verify);
    match arguments.page_bytes {
        Some(bytes) => options.page_bytes(bytes),
        None => options,
    }
}

/// Restores what an archive has up to a point.
fn restore_point(arguments: &Arguments, interrupt: &Interrupt) -> Result<(), Failure> {
    let point = match (arguments.revision, arguments.time) {
        (Some(revision), _) => RestorePoint::Transaction(TxnId(revision)),
        (None, Some(time)) => {
            let since = Duration::try_from(time.as_duration()).unwrap_or_default();
            RestorePoint::Time(UNIX_EPOCH + since)
        }
        (None, None) => RestorePoint::Newest,
    };
    let archive = Archive::open(&arguments.file)?;
    let bar = byte_bar("restore");
    let told = &mut progress(&bar, interrupt);
    let restored = archive.restore(point, &arguments.dir, &options(arguments), told);
    bar.finish_and_clear();
    Ok(print(arguments, &restored?)?)
}

fn print(arguments: &Arguments, report: &RestoreReport) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let RestoreReport { transactions, buckets, pairs, content_bytes, ref backup, .. } = *report;
    if arguments.json {
        let (revision, backup) = (report.revision.0, Summary::new(backup));
        let time = report.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let restored =
            Restored { revision, time_ms, transactions, buckets, pairs, content_bytes, backup };
        return print_json(&mut out, &restored);
    }
    let revision = report.revision;
    write!(
        out,
        "restored {buckets} buckets, {pairs} pairs, {content_bytes} bytes of keys and values"
    )?;
    if transactions > 0 {
        write!(out, ", and {transactions} transactions after them")?;
    }
    writeln!(out, "; the database is at revision {revision}")
}
