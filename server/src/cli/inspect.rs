//! `stats`, `check` and `dump`: how a database is.

use std::io::{self, Write};
use std::path::PathBuf;

use bristlecone::CheckReport;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::exit::{Exit, Failure};
use super::interrupt::Interrupt;
use super::output::{print_json, progress_bar};
use super::reading;

#[derive(Args, Debug)]
#[command(
    long_about = "Print the sizes of a database, in bytes, and its counters.",
    after_help = "Example:\n  bristlecone stats ./state --json"
)]
pub(super) struct StatsArguments {
    /// Directory of the database
    dir: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Stats {
    revision: u64,
    page_bytes: u64,
    file_bytes: u64,
    free_bytes: u64,
    memory_bytes: u64,
    log_bytes: u64,
    checkpoints: u64,
}

pub(super) fn stats(arguments: &StatsArguments) -> Result<(), Failure> {
    let stats = reading::read(&arguments.dir, |db| Ok(db.stats()))?;
    let stats = Stats {
        revision: stats.revision.0,
        page_bytes: stats.page_bytes,
        file_bytes: stats.file_bytes,
        free_bytes: stats.free_bytes,
        memory_bytes: stats.memory_bytes,
        log_bytes: stats.log_bytes,
        checkpoints: stats.checkpoints,
    };
    let mut out = io::stdout().lock();
    if arguments.json {
        return Ok(print_json(&mut out, &stats)?);
    }
    writeln!(out, "revision      {:>14}  last commit", stats.revision)?;
    writeln!(out, "page bytes    {:>14}", stats.page_bytes)?;
    writeln!(out, "file bytes    {:>14}  the data file", stats.file_bytes)?;
    writeln!(out, "free bytes    {:>14}  of them, in free pages", stats.free_bytes)?;
    writeln!(out, "memory bytes  {:>14}  changes replayed from the log", stats.memory_bytes)?;
    writeln!(out, "log bytes     {:>14}  commits behind the checkpoint", stats.log_bytes)?;
    writeln!(out, "checkpoints   {:>14}  since it was created", stats.checkpoints)?;
    Ok(())
}

#[derive(Args, Debug)]
#[command(
    long_about = "Read every page of a database, and verify checksums, order, counts and free \
        space. Nothing is changed or repaired.",
    after_help = "Example:\n  \
        bristlecone check ./state && echo sound\n\n\
        Ends with 0 when the database is sound, with 1 when the check found problems, and with 4 \
        when it is too damaged to open."
)]
pub(super) struct CheckArguments {
    /// Directory of the database
    dir: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    sound: bool,
    pages: u64,
    pages_reachable: u64,
    pages_free: u64,
    buckets: u64,
    entries: u64,
    problems: &'a [String],
}

pub(super) fn check(arguments: &CheckArguments) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let bar = progress_bar("check");
    let report = reading::read(&arguments.dir, |db| {
        let report = db.check(&mut |progress| {
            bar.set_length(progress.pages_total);
            bar.set_position(progress.pages_done);
            interrupt.flow()
        });
        Ok(report?)
    });
    bar.finish_and_clear();
    let report = report?;
    print_report(arguments, &report)?;
    match report.problems.is_empty() {
        true => Ok(()),
        false => Err(Failure::silent(Exit::NotThere)),
    }
}

fn print_report(arguments: &CheckArguments, report: &CheckReport) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let CheckReport { pages, pages_reachable, pages_free, buckets, entries, problems, .. } = report;
    let (&pages, &pages_reachable, &pages_free) = (pages, pages_reachable, pages_free);
    let (&buckets, &entries) = (buckets, entries);
    let sound = problems.is_empty();
    if arguments.json {
        let report =
            Report { sound, pages, pages_reachable, pages_free, buckets, entries, problems };
        return print_json(&mut out, &report);
    }
    for problem in problems {
        writeln!(out, "problem: {problem}")?;
    }
    let verdict = if sound { "sound" } else { "not sound" };
    writeln!(
        out,
        "{verdict}: {} problems; {pages} pages, {pages_reachable} reachable, {pages_free} free; \
         {buckets} buckets, {entries} entries",
        problems.len()
    )
}

#[derive(Args, Debug)]
#[command(
    long_about = "Show the inside of a database's files, for those who look into damage.",
    after_help = "Example:\n  bristlecone dump page 2 ./state"
)]
pub(super) struct DumpArguments {
    #[command(subcommand)]
    what: Dump,
}

#[derive(Debug, Subcommand)]
enum Dump {
    /// Print one page of the data file as text; works while the database is open, or damaged
    #[command(after_help = "Example:\n  bristlecone dump page 2 ./state")]
    Page {
        /// Number of the page, from 0
        page: u64,
        /// Directory of the database
        dir: PathBuf,
    },
}

pub(super) fn dump(arguments: &DumpArguments) -> Result<(), Failure> {
    let Dump::Page { page, dir } = &arguments.what;
    let text = bristlecone::dump_page(dir, *page)?;
    let mut out = io::stdout().lock();
    Ok(writeln!(out, "{}", text.trim_end())?)
}
