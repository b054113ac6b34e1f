//! `restore`: a database, or one bucket, out of a backup.

use std::io::{self, Write};
use std::path::PathBuf;

use bristlecone::{RestoreOptions, RestoreReport};
use clap::Args;
use serde::Serialize;

use crate::names::BucketPath;

use super::backup::{Summary, open, progress};
use super::exit::Failure;
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
        into a database that is there, in one transaction; the bucket must not be there yet.",
    after_help = "Examples:\n  \
        bristlecone restore ./state-monday.bcb ./state\n  \
        ssh elsewhere 'cat state.bcb' | bristlecone restore - ./state\n  \
        bristlecone restore ./state-monday.bcb ./state --bucket v1/snapshots --existing\n\n\
        Ends with 1 when the backup has no such bucket, with 4 when it is cut short or damaged."
)]
pub(super) struct Arguments {
    /// The backup, or - for the standard input
    file: PathBuf,
    /// Directory of the database; it must not exist, or be empty
    dir: PathBuf,
    /// Path of the one bucket to restore: names separated by /, other bytes as %2F
    #[arg(long, value_name = "PATH")]
    bucket: Option<BucketPath>,
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
    buckets: u64,
    pairs: u64,
    content_bytes: u64,
    backup: Summary,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
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
        false => {
            let mut options = RestoreOptions::new().bucket(names).verify(arguments.verify);
            if let Some(bytes) = arguments.page_bytes {
                options = options.page_bytes(bytes);
            }
            backup.restore(&arguments.dir, &options, told)
        }
    };
    bar.finish_and_clear();
    Ok(print(arguments, &restored?)?)
}

fn print(arguments: &Arguments, report: &RestoreReport) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let RestoreReport { buckets, pairs, content_bytes, ref backup, .. } = *report;
    if arguments.json {
        let (revision, backup) = (report.revision.0, Summary::new(backup));
        return print_json(&mut out, &Restored { revision, buckets, pairs, content_bytes, backup });
    }
    let revision = report.revision;
    writeln!(
        out,
        "restored {buckets} buckets, {pairs} pairs, {content_bytes} bytes of keys and values; the \
         database is at revision {revision}"
    )
}
