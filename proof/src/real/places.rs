//! Directories for stores and images: on the disk of the rig's own, or in memory.

use std::path::Path;

use tempfile::{Builder, TempDir};

use crate::rig::Plan;

/// What names begin with, so that what a killed rig left can be told.
const PREFIX: &str = "bristlecone-proof-";
/// Where files live in memory, on machines that have it.
const MEMORY: &str = "/dev/shm";

/// A directory within that of the rig.
pub(crate) fn on_disk(plan: &Plan) -> Result<TempDir, String> {
    new(&plan.scratch)
}

/// A directory in memory, if the machine has that: for what outlives a process anyway.
pub(crate) fn in_memory(plan: &Plan) -> Result<TempDir, String> {
    let memory = Path::new(MEMORY);
    new(if memory.is_dir() { memory } else { &plan.scratch })
}

fn new(within: &Path) -> Result<TempDir, String> {
    let made = Builder::new().prefix(PREFIX).tempdir_in(within);
    made.map_err(|error| format!("{}: {error}", within.display()))
}
