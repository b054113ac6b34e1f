//! Databases that repeat the commits of another one.

use crate::record::Evidence;
use crate::rig::{Plan, seeds};
use crate::simulation::crash::CrashHistory;

/// Counts a transaction that was repeated as a case.
pub(crate) fn run(plan: &Plan) -> Evidence {
    seeds(plan, |seed, counts| {
        let repeated = CrashHistory::plain(seed).follow().map_err(|error| error.to_string())?;
        counts.cases(repeated);
        counts.add("followers", 1);
        Ok(())
    })
}
