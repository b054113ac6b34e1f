//! Random histories of everything a user can do, compared with nested `BTreeMap`s.
//!
//! Goal: whatever the order of writes, reads, commits, rollbacks, checkpoints, clock steps, closes
//! and kills, each reader sees exactly the version it began with, and each open finds exactly what
//! was committed.
//!
//! Method: most histories run on a simulated disk, without threads, so a seed replays them
//! exactly; a share runs on the real file system with the map and the engine's threads. A history
//! that fails is run again with a full comparison after each commit, so that the operation
//! reported is the first that went wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::record::Evidence;
use crate::rig::{Counts, Plan, message, seeds};
use crate::simulation::history::History;

const OPERATIONS: u64 = 3000;

pub(crate) fn run(plan: &Plan) -> Evidence {
    seeds(plan, |seed, counts| {
        counts.add("histories", 1);
        once(seed, false, counts).map_err(|first| {
            let unseen = format!("{first}; not when all is compared after each commit");
            once(seed, true, counts).err().unwrap_or(unseen)
        })
    })
}

fn once(seed: u64, careful: bool, counts: &Counts) -> Result<(), String> {
    let mut history = History::new(seed, seed % 32 == 16);
    history.careful = careful;
    let outcome = catch_unwind(AssertUnwindSafe(|| history.run(OPERATIONS)));
    counts.cases(history.operations);
    let failure = match outcome {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => message(&*panic),
    };
    Err(format!("operation {}, {:?}: {failure}", history.operations, history.shape))
}
