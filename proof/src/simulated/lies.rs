//! Writes that go nowhere or elsewhere, and syncs that do nothing.

use crate::record::Evidence;
use crate::rig::{Plan, seeds};
use crate::simulation::crash::CrashHistory;

/// Counts a lie that was met as a case.
pub(crate) fn run(plan: &Plan) -> Evidence {
    seeds(plan, |seed, counts| {
        let lied = CrashHistory::plain(seed).lie().map_err(|error| error.to_string())?;
        counts.cases(lied.met);
        counts.add("databases read", lied.databases);
        counts.add("reported damaged", lied.damaged);
        counts.add("opened at an older revision", lied.rolled_back);
        Ok(())
    })
}
