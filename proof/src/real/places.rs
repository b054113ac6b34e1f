//! Directories for stores and images: on the disk of the rig's own, or in memory.

use std::path::Path;

use tempfile::{Builder, TempDir};

use super::leftovers::{PREFIX, Undo, undo};
use crate::rig::{Plan, THREADS};

/// Where files live in memory, on machines that have it.
const MEMORY: &str = "/dev/shm";
/// Room for a store, with its log.
const STORE_BYTES: u64 = 64 << 20;

/// The directory of a rig.
///
/// # Errors
/// That of the system, when it cannot be made.
pub fn scratch() -> Result<TempDir, String> {
    new(&std::env::temp_dir())
}

/// A directory within that of the rig.
pub(crate) fn on_disk(plan: &Plan) -> Result<TempDir, String> {
    new(&plan.scratch)
}

/// A directory in memory, if the machine has that: for what outlives a process anyway.
pub(crate) fn in_memory(plan: &Plan) -> Result<TempDir, String> {
    with_room(plan, STORE_BYTES)
}

/// A directory with room for so much by each thread: in memory, else on the disk.
pub(crate) fn with_room(plan: &Plan, bytes: u64) -> Result<TempDir, String> {
    let needed = bytes * THREADS as u64;
    let places = [Path::new(MEMORY), &plan.scratch];
    match places.into_iter().find(|place| room(place) >= needed) {
        Some(place) => new(place),
        None => Err(format!("expected {} MiB of room in {places:?}, found less", needed >> 20)),
    }
}

/// Bytes that are free; none where there is no directory.
fn room(place: &Path) -> u64 {
    rustix::fs::statvfs(place).map_or(0, |found| found.f_bavail * found.f_frsize)
}

fn new(within: &Path) -> Result<TempDir, String> {
    let made = Builder::new().prefix(PREFIX).tempdir_in(within);
    let made = made.map_err(|error| format!("{}: {error}", within.display()))?;
    undo(Undo::Remove(made.path()));
    Ok(made)
}
