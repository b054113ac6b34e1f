//! Points in time, restored from the archive of a long history.

use crate::record::Evidence;
use crate::rig::{Plan, seeds};
use crate::simulation::crash::CrashHistory;

/// Transactions of a history, and points of it that are restored.
const TRANSACTIONS: usize = 10_000;
const POINTS: u64 = 100;

/// Counts a point that was restored as a case.
pub(crate) fn run(plan: &Plan) -> Evidence {
    seeds(plan, |seed, counts| {
        // A run for fewer points has a history that is as much shorter.
        let points = plan.cases.min(POINTS);
        let transactions = TRANSACTIONS * points as usize / POINTS as usize;
        let restored = CrashHistory::plain(seed).restore_points(transactions, points);
        counts.cases(restored.map_err(|error| error.to_string())?);
        counts.add("histories", 1);
        Ok(())
    })
}
