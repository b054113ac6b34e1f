//! `import-bolt`: a bbolt file into a new or empty database.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use crate::import::{ImportOptions, ImportPhase, ImportReport, import};

use super::exit::Failure;
use super::input::page_bytes;
use super::interrupt::Interrupt;
use super::output::{print_json, progress_bar};

#[derive(Args, Debug)]
#[command(
    long_about = "Import a bbolt (BoltDB) file, as etcd, containerd and many others write it, into \
        a new or empty database: all buckets, nested as they are, their sequences, keys and \
        values. The file is read to its end and verified first, and is not changed.\n\n\
        It is all or nothing: a failed import leaves no database behind. The process that owns the \
        file must not be running.",
    after_help = "Example:\n  \
        bristlecone import-bolt /var/lib/etcd/member/snap/db ./state\n\n\
        Ends with 3 when the file or the database is open elsewhere, with 4 when the file is \
        damaged; the page and the reason are told."
)]
pub(super) struct Arguments {
    /// The bbolt file
    file: PathBuf,
    /// Directory of the database; created if it is missing
    dir: PathBuf,
    /// Page size of the new database: 4096, 8192, 16384 or 32768; keys are up to a quarter of it.
    /// The default is 8192, or what the longest key needs
    #[arg(long, value_name = "BYTES", value_parser = page_bytes)]
    page_bytes: Option<usize>,
    /// Print the summary as a JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary {
    buckets: u64,
    keys: u64,
    bytes: u64,
    seconds: f64,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let begun = Instant::now();
    let bar = progress_bar("verify");
    let options = ImportOptions { page_bytes: arguments.page_bytes, ..ImportOptions::default() };
    let imported = import(&arguments.file, &arguments.dir, &options, &mut |progress| {
        if progress.phase == ImportPhase::Import {
            bar.set_message("import");
        }
        bar.set_length(progress.pages_total);
        bar.set_position(progress.pages_done);
        interrupt.flow()
    });
    bar.finish_and_clear();
    let ImportReport { buckets, keys, bytes, .. } = imported?;
    let seconds = begun.elapsed().as_secs_f64();
    let mut out = io::stdout().lock();
    if arguments.json {
        return Ok(print_json(&mut out, &Summary { buckets, keys, bytes, seconds })?);
    }
    let summary = format!("{buckets} buckets, {keys} keys, {bytes} bytes in {seconds:.2} s");
    Ok(writeln!(out, "imported {summary}")?)
}
