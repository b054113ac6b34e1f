//! `buckets`: the tree of buckets.

use std::io::{self, Write};
use std::path::PathBuf;

use bristlecone::{Bucket, BucketNames, Db};
use clap::Args;
use serde::Serialize;

use crate::names::{BucketPath, escape};
use crate::storage::{IMPORT_INCOMPLETE, bucket_at};

use super::exit::Failure;
use super::output::print_json;
use super::reading;

#[derive(Args, Debug)]
#[command(
    long_about = "List all buckets, or those within PATH, as a tree. Each has the number of its \
        entries, which are values and nested buckets, and its sequence counter.\n\n\
        Names stand with percent escapes for bytes such as / that a path cannot hold.",
    after_help = "Examples:\n  \
        bristlecone buckets ./state\n  \
        bristlecone buckets ./state v1/snapshots --json\n\n\
        With --json, one object a line:\n  \
        {\"path\":\"v1/snapshots\",\"depth\":2,\"entries\":8,\"sequence\":8}"
)]
pub(super) struct Arguments {
    /// Directory of the database
    dir: PathBuf,
    /// Path of a bucket: names separated by /, other bytes as %2F
    path: Option<BucketPath>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    depth: usize,
    entries: u64,
    sequence: u64,
}

/// A bucket on the way, or the root, and the names within it that are left.
struct Level<'txn> {
    /// `None` for the root.
    bucket: Option<Bucket<'txn>>,
    names: BucketNames<'txn>,
    path: String,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let listing = reading::read(&arguments.dir, |db| list(arguments, db))?;
    let mut out = io::stdout().lock();
    out.write_all(&listing)?;
    Ok(out.flush()?)
}

/// What is printed.
fn list(arguments: &Arguments, db: &Db) -> Result<Vec<u8>, Failure> {
    let txn = db.begin_read()?;
    let mut out = Vec::new();
    let mut levels = match &arguments.path {
        None => vec![Level { bucket: None, names: txn.buckets()?, path: String::new() }],
        Some(path) => {
            let bucket = bucket_at(&txn, path)?;
            let path = path.to_string();
            print(&mut out, arguments.json, &bucket, 1, &path)?;
            vec![Level { bucket: Some(bucket), names: bucket.buckets()?, path }]
        }
    };
    let above = usize::from(arguments.path.is_some());
    // As deep as buckets nest, which the engine bounds.
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.next() else {
            levels.pop();
            continue;
        };
        let name = name?;
        let bucket = match level.bucket {
            Some(bucket) => bucket.bucket(name)?,
            None => txn.bucket(name)?,
        };
        let slash = if level.path.is_empty() { "" } else { "/" };
        let path = format!("{}{slash}{}", level.path, escape(name));
        if level.bucket.is_none() && name == IMPORT_INCOMPLETE {
            let dir = arguments.dir.display();
            eprintln!("bristlecone: warning: an import into {dir} was cut short");
        }
        print(&mut out, arguments.json, &bucket, levels.len() + above, &path)?;
        levels.push(Level { bucket: Some(bucket), names: bucket.buckets()?, path });
    }
    Ok(out)
}

/// Prints a bucket at `depth` of the listing; the first has depth 1.
fn print(
    out: &mut dyn Write,
    json: bool,
    bucket: &Bucket<'_>,
    depth: usize,
    path: &str,
) -> io::Result<()> {
    let (entries, sequence) = (bucket.len(), bucket.sequence());
    if json {
        let depth = path.split('/').count();
        return print_json(out, &Line { path, depth, entries, sequence });
    }
    let name = match depth {
        1 => path,
        _ => path.rsplit('/').next().unwrap_or_default(),
    };
    let indent = 2 * (depth - 1);
    writeln!(out, "{:indent$}{name}  {entries} entries, sequence {sequence}", "")
}
