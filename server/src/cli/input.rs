//! Arguments that several commands share, and how they become paths, keys and values.

use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Duration;

use bristlecone::{Db, Options};

use crate::limits::{INPUT_BYTES_MAX, LOG_BYTES_KEPT, TTL_SECONDS_MAX};
use crate::names::from_hex;
use crate::storage::ttl_of_seconds;

use super::exit::{Exit, Failure};

/// Opens a database to write, and creates it if that was asked for.
pub(super) fn open_to_write(dir: &Path, create: bool) -> Result<Db, Failure> {
    // A command is a short guest: what the owner keeps of its log stays, within reason.
    Ok(Options::new().create(create).log_bytes_kept(LOG_BYTES_KEPT).open(dir)?)
}

/// Opens an existing database for its log, of which nothing is given up.
pub(super) fn open_to_archive(dir: &Path) -> Result<Db, Failure> {
    Ok(Options::new().create(false).log_bytes_kept(u64::MAX).open(dir)?)
}

/// The bytes that an argument stands for: its own, or those its hexadecimal digits tell.
pub(super) fn key_of(argument: &OsStr, hex: bool) -> Result<Vec<u8>, Failure> {
    let bytes = argument.as_bytes();
    if !hex {
        return Ok(bytes.to_vec());
    }
    from_hex(bytes).map_err(|error| {
        let argument = argument.to_string_lossy();
        Failure::new(Exit::Usage, format!("{error}, found \"{argument}\""))
    })
}

/// The value that an argument stands for: its own bytes, or the standard input for `-`.
pub(super) fn value_of(argument: &OsString) -> Result<Vec<u8>, Failure> {
    if argument != "-" {
        return Ok(argument.as_bytes().to_vec());
    }
    let mut value = Vec::new();
    // One byte more, so that what is too large is told from what just fits.
    let mut input = std::io::stdin().lock().take(INPUT_BYTES_MAX as u64 + 1);
    let read = input.read_to_end(&mut value);
    read.map_err(|error| Failure::new(Exit::Other, format!("cannot read the input: {error}")))?;
    if value.len() > INPUT_BYTES_MAX {
        let message = format!("expected a value of at most {INPUT_BYTES_MAX} bytes, found more");
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(value)
}

/// A time to live in seconds, fractions allowed.
pub(super) fn seconds(argument: &str) -> Result<Duration, String> {
    let expected = || format!("expected a number from 0.001 to {TTL_SECONDS_MAX}");
    argument.parse().ok().and_then(ttl_of_seconds).ok_or_else(expected)
}

/// A page size, as an argument.
pub(super) fn page_bytes(argument: &str) -> Result<usize, String> {
    let sizes = [4096, 8192, 16384, 32768];
    let expected = || format!("expected one of {sizes:?}");
    argument.parse().ok().filter(|size| sizes.contains(size)).ok_or_else(expected)
}
