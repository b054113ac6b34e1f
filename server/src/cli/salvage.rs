//! `salvage`: what is left of a damaged database, into a new one.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bristlecone::{LogGap, Loss, SalvageReport};
use clap::Args;
use serde::Serialize;

use crate::names::escape;

use super::exit::{Exit, Failure};
use super::output::{pair_counter, print_json};

#[derive(Args, Debug)]
#[command(
    long_about = "Copy everything that can still be read of a damaged database into a new one, and \
        tell what is lost: which keys of which bucket, and which commits. The damaged database is \
        only read.\n\n\
        What is damaged in the newest checkpoint is made up from the one before and the log where \
        both allow it. The new database appears when it is complete and verified; its revisions \
        begin anew.",
    after_help = "Example:\n  \
        bristlecone salvage ./state ./state-salvaged\n\n\
        Ends with 0 when nothing is lost, with 6 when something is, and with 4 when the database \
        is too damaged to find anything in it. Names and keys stand with percent escapes for bytes \
        such as / that a path cannot hold."
)]
pub(super) struct Arguments {
    /// Directory of the damaged database
    dir: PathBuf,
    /// Directory of the new one; it must not exist, or be empty
    into: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Summary {
    complete: bool,
    checkpoint: u64,
    revision: u64,
    used_older: bool,
    buckets: u64,
    pairs: u64,
    bytes: u64,
    losses: Vec<LossLine>,
    gaps: Vec<GapLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unfinished: Option<String>,
}

#[derive(Serialize)]
struct LossLine {
    path: String,
    start: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
    why: String,
}

#[derive(Serialize)]
struct GapLine {
    first: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<u64>,
    why: String,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    refuse_inside(&arguments.dir, &arguments.into)?;
    let counter = pair_counter("salvage");
    let report = bristlecone::salvage(&arguments.dir, &arguments.into, &mut |progress| {
        counter.set_position(progress.pairs);
    });
    counter.finish_and_clear();
    let report = report?;
    print(arguments, &report)?;
    match report.is_complete() {
        true => Ok(()),
        false => Err(Failure::silent(Exit::Lost)),
    }
}

/// The engine compares the paths as they are written; here links and `..` are followed too.
fn refuse_inside(dir: &Path, into: &Path) -> Result<(), Failure> {
    let around = match into.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match (fs::canonicalize(dir), fs::canonicalize(around)) {
        (Ok(dir), Ok(around)) if around.starts_with(&dir) => {
            let message = "expected a directory outside the damaged one, found one in it";
            Err(Failure::new(Exit::Usage, message))
        }
        _ => Ok(()),
    }
}

fn path_of(loss: &Loss) -> String {
    let names: Vec<String> = loss.path.iter().map(|name| escape(name)).collect();
    names.join("/")
}

fn print(arguments: &Arguments, report: &SalvageReport) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    if arguments.json {
        print_json(&mut out, &summary(report))?;
        return out.flush();
    }
    for loss in &report.losses {
        writeln!(out, "lost: {}: {}", range_of(loss), loss.why)?;
    }
    for gap in &report.gaps {
        writeln!(out, "lost: {}: {}", commits_of(gap), gap.why)?;
    }
    if let Some(why) = &report.unfinished {
        let what = "the log ends in a write that is not whole, most likely never acknowledged";
        writeln!(out, "note: {what}: {why}")?;
    }
    let SalvageReport { buckets, pairs, bytes, revision, .. } = report;
    let (ranges, gaps) = (report.losses.len(), report.gaps.len());
    writeln!(
        out,
        "salvaged {buckets} buckets, {pairs} pairs, {bytes} bytes, up to revision {revision}; \
         lost {ranges} ranges of keys, {gaps} ranges of commits"
    )?;
    out.flush()
}

fn range_of(loss: &Loss) -> String {
    let (what, of) = match loss.path.is_empty() {
        true => ("top-level buckets", String::new()),
        false => ("keys", format!(" of bucket {}", path_of(loss))),
    };
    let from = match loss.start.is_empty() {
        true => String::new(),
        false => format!(" from {}", escape(&loss.start)),
    };
    let to = loss.end.as_ref().map(|end| format!(" to before {}", escape(end)));
    let to = to.unwrap_or_default();
    let all = if from.is_empty() && to.is_empty() { "all " } else { "" };
    format!("{all}{what}{of}{from}{to}")
}

fn commits_of(gap: &LogGap) -> String {
    match gap.last {
        Some(last) if last == gap.first => format!("commit {last}"),
        Some(last) => format!("commits {} to {last}", gap.first),
        None => format!("commits from {} on, if there were any", gap.first),
    }
}

fn summary(report: &SalvageReport) -> Summary {
    let losses = report.losses.iter().map(|loss| LossLine {
        path: path_of(loss),
        start: escape(&loss.start),
        end: loss.end.as_deref().map(escape),
        why: loss.why.to_string(),
    });
    let gaps = report.gaps.iter().map(|gap| GapLine {
        first: gap.first.0,
        last: gap.last.map(|last| last.0),
        why: gap.why.to_string(),
    });
    Summary {
        complete: report.is_complete(),
        checkpoint: report.checkpoint,
        revision: report.revision.0,
        used_older: report.used_older,
        buckets: report.buckets,
        pairs: report.pairs,
        bytes: report.bytes,
        losses: losses.collect(),
        gaps: gaps.collect(),
        unfinished: report.unfinished.as_ref().map(ToString::to_string),
    }
}
