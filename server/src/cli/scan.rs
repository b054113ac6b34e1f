//! `scan`: the pairs of a bucket, in order.

use std::ffi::OsString;
use std::io::{self, Write};
use std::ops::Bound;
use std::path::PathBuf;

use bristlecone::Range;
use clap::Args;

use crate::names::BucketPath;
use crate::storage::bucket_at;

use super::exit::Failure;
use super::input;
use super::output::{Pair, print_json};
use super::reading;

#[derive(Args, Debug)]
#[command(
    long_about = "Print the keys and values of a bucket in the order of the keys' bytes, one JSON \
        object a line: {\"key\":\"..\",\"value\":\"..\"}. A key that is not UTF-8 is `key_hex`, in \
        hexadecimal digits; such a value is `value_base64`. Values are JSON strings even where \
        they hold JSON. Nested buckets are left out.\n\n\
        --prefix, --start and --end all have to hold.",
    after_help = "Examples:\n  \
        bristlecone scan ./state users --prefix a --limit 10\n  \
        bristlecone scan ./state users --reverse --keys-only | head -1\n\n\
        Ends with 1 when the bucket is not there."
)]
pub(super) struct Arguments {
    /// Directory of the database
    dir: PathBuf,
    /// Path of the bucket: names separated by /, other bytes as %2F
    bucket: BucketPath,
    /// Only keys that start with this
    #[arg(long, value_name = "KEY", default_value = "")]
    prefix: OsString,
    /// Only keys from this one on
    #[arg(long, value_name = "KEY")]
    start: Option<OsString>,
    /// Only keys before this one
    #[arg(long, value_name = "KEY")]
    end: Option<OsString>,
    /// At most so many
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// From the last key to the first
    #[arg(long)]
    reverse: bool,
    /// Print no values
    #[arg(long)]
    keys_only: bool,
    /// The prefix, start and end are written in hexadecimal digits
    #[arg(long)]
    hex: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let key = |argument: &OsString| input::key_of(argument, arguments.hex);
    let prefix = key(&arguments.prefix)?;
    let start = arguments.start.as_ref().map(key).transpose()?;
    let end = arguments.end.as_ref().map(key).transpose()?;
    let bounds = bounds(&prefix, start, end);
    reading::read(&arguments.dir, |db| {
        let txn = db.begin_read()?;
        let bucket = bucket_at(&txn, &arguments.bucket)?;
        let pairs = || Ok::<_, Failure>(pairs_of(arguments, bucket.range(bounds.clone())?));
        if db.is_attached() {
            // What was read once stays in memory: then nothing can be missing any more.
            pairs()?.try_for_each(|pair| pair.map(drop))?;
        }
        let mut out = io::BufWriter::new(io::stdout().lock());
        for pair in pairs()? {
            let (key, value) = pair?;
            print_json(&mut out, &Pair::new(key, (!arguments.keys_only).then_some(value)))?;
        }
        Ok(out.flush()?)
    })
}

type Pairs<'txn> = Box<dyn Iterator<Item = bristlecone::Result<(&'txn [u8], &'txn [u8])>> + 'txn>;

/// Those that are printed, in their order.
fn pairs_of<'txn>(arguments: &Arguments, range: Range<'txn>) -> Pairs<'txn> {
    let limit = arguments.limit.unwrap_or(usize::MAX);
    match arguments.reverse {
        true => Box::new(range.rev().take(limit)),
        false => Box::new(range.take(limit)),
    }
}

/// The keys that start with `prefix`, from `start` to before `end`.
fn bounds(
    prefix: &[u8],
    start: Option<Vec<u8>>,
    end: Option<Vec<u8>>,
) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let start = start.unwrap_or_default().max(prefix.to_vec());
    let end = match (end, after(prefix)) {
        (Some(end), Some(after)) => Some(end.min(after)),
        (end, after) => end.or(after),
    };
    (Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded))
}

/// The first key behind all that start with `prefix`.
fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut after = prefix[..=last].to_vec();
    after[last] += 1;
    Some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_start_and_end_all_hold() {
        let bytes = |text: &str| text.as_bytes().to_vec();
        let within = |prefix: &str, start: Option<&str>, end: Option<&str>| {
            bounds(prefix.as_bytes(), start.map(bytes), end.map(bytes))
        };
        let from = |start: &str| Bound::Included(bytes(start));
        let to = |end: &str| Bound::Excluded(bytes(end));
        assert_eq!(within("", None, None), (from(""), Bound::Unbounded));
        assert_eq!(within("b", None, None), (from("b"), to("c")));
        assert_eq!(within("b", Some("a"), Some("z")), (from("b"), to("c")));
        assert_eq!(within("b", Some("b5"), Some("b7")), (from("b5"), to("b7")));
        let highest = bounds(b"\xff", None, None);
        assert_eq!(highest, (Bound::Included(vec![0xff]), Bound::Unbounded));
    }
}
