//! `backup` and `verify-backup`: the content of a database in one file, and whether one is whole.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bristlecone::{Backup, BackupKind, BackupOptions, BackupProgress, BackupReport};
use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;

use crate::names::to_hex;

use super::exit::Failure;
use super::interrupt::Interrupt;
use super::output::{byte_bar, print_json};
use super::reading;

#[derive(Args, Debug)]
#[command(
    long_about = "Write everything that a database holds to one file: buckets with their \
        sequences, keys, values and expiries, compact and checksummed.\n\n\
        The file appears under its name when it is complete and durable; until then it has \
        .unfinished behind its name. An interrupt leaves nothing. While another process owns the \
        database its newest transaction is backed up.",
    after_help = "Examples:\n  \
        bristlecone backup ./state ./state-monday.bcb --verify\n  \
        bristlecone backup ./state - | ssh elsewhere 'cat > state.bcb'\n\n\
        A stream that is cut short is no backup: restore and verify-backup tell, and end with 4."
)]
pub(super) struct BackupArguments {
    /// Directory of the database
    dir: PathBuf,
    /// The new file, or - for the standard output
    file: PathBuf,
    /// Write no more than so many bytes a second
    #[arg(long, value_name = "BYTES")]
    bytes_per_second: Option<u64>,
    /// Read the file again, from the device, and verify it before it gets its name
    #[arg(long)]
    verify: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(
    long_about = "Read a backup to its end and verify it: that it is whole, every checksum, and \
        that its content makes a database. Nothing is written.",
    after_help = "Example:\n  \
        bristlecone verify-backup ./state-monday.bcb\n\n\
        Ends with 4 when the backup is cut short or damaged."
)]
pub(super) struct VerifyArguments {
    /// The backup, or - for the standard input
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints of a backup.
#[derive(Serialize)]
pub(super) struct Summary {
    kind: &'static str,
    revision: u64,
    time_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    transactions: Option<u64>,
    database_id: String,
    page_bytes: u64,
    buckets: u64,
    pairs: u64,
    content_bytes: u64,
    blocks: u64,
    bytes: u64,
}

impl Summary {
    pub(super) fn new(report: &BackupReport) -> Summary {
        let time = report.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (kind, transactions) = match report.kind {
            BackupKind::Changes { transactions, .. } => ("changes", Some(transactions)),
            _ => ("full", None),
        };
        Summary {
            kind,
            transactions,
            revision: report.revision.0,
            time_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            database_id: to_hex(&report.database_id),
            page_bytes: report.page_bytes,
            buckets: report.buckets,
            pairs: report.pairs,
            content_bytes: report.content_bytes,
            blocks: report.blocks,
            bytes: report.bytes,
        }
    }
}

/// True for the argument that stands for the standard input or output.
pub(super) fn is_standard(file: &Path) -> bool {
    file == Path::new("-")
}

/// The backup that an argument stands for.
pub(super) fn open(file: &Path) -> Result<Backup<'static>, Failure> {
    match is_standard(file) {
        true => Ok(Backup::from_reader(io::stdin())),
        false => Ok(Backup::open(file)?),
    }
}

/// Shows how far it has come, and asks whether to go on.
pub(super) fn progress<'a>(
    bar: &'a ProgressBar,
    interrupt: &'a Interrupt,
) -> impl FnMut(BackupProgress) -> ControlFlow<()> + 'a {
    move |progress| {
        if let Some(total) = progress.bytes_total {
            bar.set_length(total.max(progress.bytes));
        }
        bar.set_position(progress.bytes);
        interrupt.flow()
    }
}

pub(super) fn backup(arguments: &BackupArguments) -> Result<(), Failure> {
    let BackupArguments { dir, file, bytes_per_second, verify, json } = arguments;
    let interrupt = Interrupt::watch()?;
    let mut options = BackupOptions::new().verify(*verify);
    if let Some(bytes) = *bytes_per_second {
        options = options.bytes_per_second(bytes);
    }
    let bar = byte_bar("backup");
    let to_stream = is_standard(file);
    let report = reading::read(dir, |db| {
        let told = &mut progress(&bar, &interrupt);
        if to_stream {
            let report = db.backup(&mut io::stdout().lock(), &options, told);
            // What was written can't be taken back, so it is not done again.
            return report.map_err(|error| Failure::from(error).for_good());
        }
        Ok(db.backup_to(file, &options, told)?)
    });
    bar.finish_and_clear();
    let report = report?;
    // The standard output is the backup's where it goes there.
    match to_stream {
        true => Ok(print(&mut io::stderr().lock(), *json, "backed up", &report)?),
        false => Ok(print(&mut io::stdout().lock(), *json, "backed up", &report)?),
    }
}

pub(super) fn verify(arguments: &VerifyArguments) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let bar = byte_bar("verify");
    let verified = open(&arguments.file)?.verify(&mut progress(&bar, &interrupt));
    bar.finish_and_clear();
    Ok(print(&mut io::stdout().lock(), arguments.json, "whole:", &verified?)?)
}

pub(super) fn print(
    out: &mut dyn Write,
    json: bool,
    what: &str,
    report: &BackupReport,
) -> io::Result<()> {
    if json {
        return print_json(out, &Summary::new(report));
    }
    let BackupReport { revision, buckets, pairs, content_bytes, bytes, .. } = report;
    if let BackupKind::Changes { first, transactions } = report.kind {
        return writeln!(
            out,
            "{what} {transactions} transactions, {first} to {revision}: {content_bytes} bytes in \
             {bytes} bytes"
        );
    }
    writeln!(
        out,
        "{what} revision {revision}: {buckets} buckets, {pairs} pairs, {content_bytes} bytes of \
         keys and values in {bytes} bytes"
    )
}
