//! `get`, `put` and `delete`: one key.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use bristlecone::Value;
use clap::Args;

use crate::names::BucketPath;
use crate::storage::{IMPORT_INCOMPLETE, bucket_at, with_bucket, with_new_bucket};

use super::exit::{Exit, Failure};
use super::input;
use super::output::{Pair, print_json};
use super::reading;

/// The key that a command is about.
#[derive(Args, Debug)]
struct Key {
    /// Directory of the database
    dir: PathBuf,
    /// Path of the bucket: names separated by /, other bytes as %2F
    bucket: BucketPath,
    /// The key, as text or with --hex
    key: OsString,
    /// The key is written in hexadecimal digits
    #[arg(long)]
    hex: bool,
}

impl Key {
    fn bytes(&self) -> Result<Vec<u8>, Failure> {
        input::key_of(&self.key, self.hex)
    }

    fn missing(&self) -> Failure {
        let key = self.key.to_string_lossy();
        Failure::new(Exit::NotThere, format!("key not found in bucket {}: {key}", self.bucket))
    }
}

#[derive(Args, Debug)]
#[command(
    long_about = "Print the value of a key, byte by byte as it was stored. A line break is added \
        on a terminal only.\n\nWith --json, an object: `key` and `value` as text; a key that is \
        not UTF-8 as `key_hex`, such a value as `value_base64`; `expires_at_ms` (milliseconds \
        since 1970) if the value expires.",
    after_help = "Examples:\n  \
        bristlecone get ./state users alice\n  \
        bristlecone get ./state v1/snapshots/k8s.io%2F10 id --json\n\n\
        Ends with 1 when the bucket or the key is not there."
)]
pub(super) struct GetArguments {
    #[command(flatten)]
    key: Key,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn get(arguments: &GetArguments) -> Result<(), Failure> {
    let key = arguments.key.bytes()?;
    reading::read(&arguments.key.dir, |db| {
        let txn = db.begin_read()?;
        let found = bucket_at(&txn, &arguments.key.bucket)?.get_value(&key)?;
        print_value(arguments, &key, &found.ok_or_else(|| arguments.key.missing())?)
    })
}

fn print_value(arguments: &GetArguments, key: &[u8], value: &Value<'_>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    if arguments.json {
        let mut pair = Pair::new(key, Some(value.bytes));
        let since = value.expires_at.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        pair.expires_at_ms = since.and_then(|since| u64::try_from(since.as_millis()).ok());
        return Ok(print_json(&mut out, &pair)?);
    }
    out.write_all(value.bytes)?;
    if out.is_terminal() {
        writeln!(out)?;
    }
    Ok(out.flush()?)
}

#[derive(Args, Debug)]
#[command(
    long_about = "Write a value, replacing what was there. It is durable when the command ends.",
    after_help = "Examples:\n  \
        bristlecone put ./state users alice '{\"age\":7}' --create\n  \
        bristlecone put ./state locks leader - --ttl 30 < holder.json\n\n\
        Ends with 1 when a bucket is not there and --create is not given."
)]
pub(super) struct PutArguments {
    #[command(flatten)]
    key: Key,
    /// The value, or - to read it from the standard input
    #[arg(allow_negative_numbers = true)]
    value: OsString,
    /// Let the value expire after so many seconds, fractions allowed
    #[arg(long, value_name = "SECONDS", value_parser = input::seconds)]
    ttl: Option<Duration>,
    /// Create the database and the buckets on the way if they are missing
    #[arg(long)]
    create: bool,
}

pub(super) fn put(arguments: &PutArguments) -> Result<(), Failure> {
    let PutArguments { key: place, ttl, create, .. } = arguments;
    if place.bucket.names()[0] == IMPORT_INCOMPLETE {
        let message = format!("expected another bucket: {} is reserved", place.bucket);
        return Err(Failure::new(Exit::Usage, message));
    }
    let key = place.bytes()?;
    let value = input::value_of(&arguments.value)?;
    let db = input::open_to_write(&place.dir, *create)?;
    let write = if *create { with_new_bucket } else { with_bucket };
    db.update(|txn| {
        write(txn, &place.bucket, &mut |bucket| match ttl {
            Some(ttl) => bucket.put_with_ttl(&key, &value, *ttl),
            None => bucket.put(&key, &value),
        })
    })?;
    Ok(db.close()?)
}

#[derive(Args, Debug)]
#[command(
    long_about = "Remove a key and its value. The removal is durable when the command ends.",
    after_help = "Example:\n  \
        bristlecone delete ./state users alice\n\n\
        Ends with 1 when the bucket or the key is not there."
)]
pub(super) struct DeleteArguments {
    #[command(flatten)]
    key: Key,
}

pub(super) fn delete(arguments: &DeleteArguments) -> Result<(), Failure> {
    let key = arguments.key.bytes()?;
    let db = input::open_to_write(&arguments.key.dir, false)?;
    let bucket = &arguments.key.bucket;
    let there = db.update(|txn| with_bucket(txn, bucket, &mut |bucket| bucket.delete(&key)))?;
    db.close()?;
    there.then_some(()).ok_or_else(|| arguments.key.missing())
}
