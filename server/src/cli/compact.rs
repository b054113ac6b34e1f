//! `compact`: a data file as short as its content.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use bristlecone::CompactReport;
use serde::Serialize;

use super::exit::Failure;
use super::input;
use super::output::{print_json, progress_bar};

#[derive(clap::Args, Debug)]
#[command(
    long_about = "Make the data file of a database as short as its content, and give the rest back \
        to the file system. The content stays as it is, also when this is interrupted.",
    after_help = "Example:\n  bristlecone compact ./state"
)]
pub(super) struct Arguments {
    /// Directory of the database
    dir: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    file_bytes_before: u64,
    file_bytes_after: u64,
    written_bytes: u64,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let db = input::open_to_write(&arguments.dir, false)?;
    let bar = progress_bar("compact");
    let report = db.compact(&mut |progress| {
        bar.set_length(progress.pages_total);
        bar.set_position(progress.pages_done);
        ControlFlow::Continue(())
    })?;
    bar.finish_and_clear();
    db.close()?;
    Ok(print_report(arguments, &report)?)
}

fn print_report(arguments: &Arguments, report: &CompactReport) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let CompactReport { file_bytes_before, file_bytes_after, written_bytes, .. } = *report;
    if arguments.json {
        return print_json(
            &mut out,
            &Report { file_bytes_before, file_bytes_after, written_bytes },
        );
    }
    writeln!(
        out,
        "{file_bytes_before} bytes became {file_bytes_after}; {written_bytes} bytes were moved"
    )
}
