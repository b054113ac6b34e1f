//! `archive`: what was committed since the last time, into a directory of backups.

use std::io::{self, Write};
use std::path::PathBuf;

use bristlecone::{BackupKind, BackupOptions};
use clap::Args;
use serde::Serialize;

use super::backup::{Summary, print, progress};
use super::exit::Failure;
use super::input;
use super::interrupt::Interrupt;
use super::output::{byte_bar, print_json};

#[derive(Args, Debug)]
#[command(
    long_about = "Add to an archive what was committed since its last backup, or a full backup \
        where it has none. Any revision or time that the archive has can be restored from it.\n\n\
        An archive is a directory of files that are written once: full-<revision>.bcb, and \
        changes-<first>-<last>.bcb. What is older than a full backup may be removed. A program \
        that has the database open archives by itself, with Db::archive, while it goes on.",
    after_help = "Examples:\n  \
        bristlecone archive ./state ./archive\n  \
        bristlecone restore ./archive ./state-then --time 2026-11-30T17:00:00Z"
)]
pub(super) struct Arguments {
    /// Directory of the database
    dir: PathBuf,
    /// Directory of the archive; it is made where it is missing
    archive: PathBuf,
    /// Add a full backup, too, from which restores take less time
    #[arg(long)]
    full: bool,
    /// Write no more than so many bytes a second
    #[arg(long, value_name = "BYTES")]
    bytes_per_second: Option<u64>,
    /// Read each file again, from the device, and verify it before it gets its name
    #[arg(long)]
    verify: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Archived {
    revision: u64,
    has_gap: bool,
    added: Vec<Summary>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let db = input::open_to_archive(&arguments.dir)?;
    let mut options = BackupOptions::new().verify(arguments.verify);
    if let Some(bytes) = arguments.bytes_per_second {
        options = options.bytes_per_second(bytes);
    }
    let bar = byte_bar("archive");
    let told = &mut progress(&bar, &interrupt);
    let report = db.archive(&arguments.archive, &options, told)?;
    let mut added: Vec<_> = report.added.into_iter().collect();
    let has_full = added.iter().any(|added| added.kind == BackupKind::Full);
    if arguments.full && !has_full {
        added.push(db.archive_full(&arguments.archive, &options, told)?);
    }
    db.close()?;
    bar.finish_and_clear();
    let mut out = io::stdout().lock();
    if arguments.json {
        let (revision, has_gap) = (report.revision.0, report.has_gap);
        let added = added.iter().map(Summary::new).collect();
        return Ok(print_json(&mut out, &Archived { revision, has_gap, added })?);
    }
    if report.has_gap {
        writeln!(
            out,
            "the log no longer had what followed the last backup: a full one begins anew"
        )?;
    }
    if added.is_empty() {
        writeln!(out, "nothing was committed since revision {}", report.revision)?;
    }
    Ok(added.iter().try_for_each(|added| print(&mut out, false, "archived", added))?)
}
