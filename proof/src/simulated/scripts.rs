//! Every power cut of every short string of operations on a new store.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::record::Evidence;
use crate::rig::{Plan, each, message};
use crate::simulation::script::{self, Step};
use crate::simulation::tally::place;

/// Where a cut can leave no more than so many disks, all are recovered: eight pending effects.
const OUTCOMES_MAX: u64 = 256;
/// Images at an operation that can leave more.
const IMAGES_PER_EVENT: u64 = 12;

/// All strings up to the length of which there are as many as the plan says.
pub(crate) fn run(plan: &Plan) -> Evidence {
    let mut scripts: Vec<Vec<Step>> = vec![Vec::new()];
    let mut longest = scripts.clone();
    while (scripts.len() as u64) < plan.cases {
        let longer = |script: &Vec<Step>, step: Step| [&script[..], &[step]].concat();
        longest =
            longest.iter().flat_map(|script| Step::ALL.map(|step| longer(script, step))).collect();
        scripts.extend(longest.iter().cloned());
    }
    each(
        &scripts,
        |script| format!("{script:?} at {:?}", place()),
        |script, counts| {
            let examine = || script::examine(script, OUTCOMES_MAX, IMAGES_PER_EVENT);
            let done = catch_unwind(AssertUnwindSafe(examine)).map_err(|panic| message(&*panic))?;
            let tally = done.map_err(|error| error.to_string())?;
            counts.cases(1);
            counts.add("images", tally.images);
            Ok(())
        },
    )
}
