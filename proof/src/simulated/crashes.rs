//! Power cuts at every operation of random histories.
//!
//! Goal: no acknowledged commit is ever lost, no unacknowledged one is ever half there, and what a
//! recovery found once is found for ever; wherever the power fails, in recovery too.
//!
//! Method: see `simulation/crash.rs` for the histories and the invariants I1 to I8 that each
//! recovered disk must satisfy, and `simulation/ordering.rs` for the order that every trace must
//! show.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::record::Evidence;
use crate::rig::{Counts, Plan, seeds};
use crate::simulation::crash::CrashHistory;
use crate::simulation::tally::place;

const LIVES: u64 = 4;
/// One of so many histories has lives that end because names of files could not be made durable.
const WITH_FAILING_NAMES: u64 = 8;
/// Of those, the number of the one with commits that return to one key.
const WITH_RETURNS: u64 = 4;
/// Images made at one operation.
const IMAGES_PER_EVENT: u64 = 4;

pub(crate) fn run(plan: &Plan) -> Evidence {
    seeds(plan, |seed, counts| history(seed, LIVES, IMAGES_PER_EVENT, counts))
}

/// Runs one history and counts its images.
pub(super) fn history(
    seed: u64,
    lives: u64,
    images_per_event: u64,
    counts: &Counts,
) -> Result<(), String> {
    let mut history = match seed % WITH_FAILING_NAMES {
        0 => CrashHistory::with_failures(seed, images_per_event),
        WITH_RETURNS => CrashHistory::with_returns(seed, images_per_event),
        _ => CrashHistory::new(seed, images_per_event),
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| history.run(lives)));
    let tally = history.tally;
    counts.cases(tally.images);
    counts.add("images of cut recoveries", tally.images_of_recovery);
    counts.add("operations on the disk", tally.events);
    counts.add("lives", tally.lives);
    counts.add("failed syncs", tally.failed_syncs);
    let (life, event, image) = place();
    let place = format!("life {life}, operation {event}, image {image} there");
    match outcome {
        Ok(done) => done.map_err(|error| format!("{place}: {error}")),
        Err(panic) => {
            eprintln!("at {place}; {:?}", history.shape);
            resume_unwind(panic)
        }
    }
}
