//! The figures that Bristlecone is to reach, and whether a run has reached them.
//!
//! Goals are for 1,000,000 pairs of 24-byte random keys and 150-byte random values, for 100,000
//! records and for 100,000 small buckets.

use crate::record::{Better, Role, Workload, figures};

use super::numbers::{amount, percent, with_unit};

/// How good a figure must be.
#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
    /// A share of what the limit reaches in the same run.
    OfLimit(f64),
}

/// A workload, one of its figures, and how good it must be.
#[derive(Clone, Copy, Debug)]
struct Goal {
    workload: &'static str,
    /// A figure beside the main one, and its unit.
    beside: Option<(&'static str, &'static str)>,
    bound: Bound,
}

const fn goal(workload: &'static str, bound: Bound) -> Goal {
    Goal { workload, beside: None, bound }
}

const fn beside(
    workload: &'static str,
    figure: &'static str,
    unit: &'static str,
    bound: Bound,
) -> Goal {
    Goal { workload, beside: Some((figure, unit)), bound }
}

/// All goals, in the units of their workloads.
const GOALS: &[Goal] = &[
    goal("load, random order", Bound::AtLeast(2e6)),
    goal("get, 1000 a txn", Bound::AtLeast(2.5e6)),
    goal("get, 1 a txn", Bound::AtLeast(2.3e6)),
    goal("get, 2 threads", Bound::AtLeast(4.8e6)),
    goal("get_many of 16", Bound::AtLeast(8e6)),
    goal("scan of 10", Bound::AtLeast(1e6)),
    goal("scan of 10, reverse", Bound::AtLeast(1e6)),
    goal("full scan", Bound::AtLeast(35e6)),
    goal("durable put, 1 thread", Bound::OfLimit(0.95)),
    goal("durable put, 16 threads", Bound::OfLimit(0.9)),
    beside("durable put, 16 threads", figures::P99, "us", Bound::AtMost(1000.0)),
    goal("durable put, 64 threads", Bound::OfLimit(0.9)),
    goal("buffered put", Bound::AtLeast(500e3)),
    goal("100 puts a durable txn", Bound::AtLeast(400e3)),
    beside("100 puts a durable txn", figures::WRITTEN, "", Bound::AtMost(10.0)),
    goal("gets beside commits", Bound::AtLeast(3e6)),
    beside("gets beside commits", "puts/s", "puts/s", Bound::AtLeast(6e3)),
    goal("delete half", Bound::AtLeast(600e3)),
    goal("size after load", Bound::AtMost(225.0)),
    goal("size, half deleted", Bound::AtMost(110.0)),
    goal("growth, long reader", Bound::AtMost(5.0)),
    beside("growth, long reader", "puts/s", "puts/s", Bound::AtLeast(300e3)),
    goal("memory of load, random", Bound::AtMost(300.0)),
    goal("memory of load, sorted", Bound::AtMost(300.0)),
    goal("open, clean", Bound::AtMost(1.0)),
    goal("open, killed, 1 MB", Bound::AtMost(10.0)),
    goal("open, killed, 64 MB", Bound::AtMost(300.0)),
    goal("records: load", Bound::AtLeast(350e3)),
    goal("records: get", Bound::AtLeast(2.5e6)),
    goal("records: scan of 10", Bound::AtLeast(700e3)),
    goal("records: durable put", Bound::OfLimit(0.95)),
    goal("buckets: create all", Bound::AtMost(1.5)),
    goal("buckets: open and get", Bound::AtMost(1000.0)),
];

/// The longest durable commit that may come while checkpoints are written and the log is
/// recycled, in microseconds.
pub(super) const STALL_US: f64 = 20_000.0;

/// So many bytes of data file for each live byte, after a compaction and without any, and so many
/// more: the pages of an empty database, and what the last steps of a file leave. Without a
/// compaction a file has room for three generations of its pages, of which some are half empty.
pub(super) const COMPACTED: (f64, u64) = (1.3, 128 << 10);
pub(super) const NOT_COMPACTED: (f64, u64) = (8.0, 1 << 20);

/// Whether a file of so many bytes keeps to a bound for so many live bytes.
pub(super) fn keeps_to((times, more): (f64, u64), file_bytes: u64, live_bytes: u64) -> bool {
    file_bytes as f64 <= live_bytes as f64 * times + more as f64
}

/// A goal in words, and whether it was reached; `None` where that was not measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) goal: String,
    pub(super) met: Option<bool>,
}

/// The goals of a workload and what became of them.
pub(super) fn verdicts(workload: &Workload) -> Vec<Verdict> {
    let goals = GOALS.iter().filter(|goal| goal.workload == workload.name);
    goals.map(|goal| verdict(goal, workload)).collect()
}

/// What the main figure of a workload must be, in its unit.
pub(super) fn target(workload: &Workload) -> Option<f64> {
    let mut goals = GOALS.iter().filter(|goal| goal.workload == workload.name);
    let goal = goals.find(|goal| goal.beside.is_none())?;
    match goal.bound {
        Bound::AtLeast(bound) | Bound::AtMost(bound) => Some(bound),
        Bound::OfLimit(share) => Some(workload.best(Role::Limit)?.1 * share),
    }
}

fn verdict(goal: &Goal, workload: &Workload) -> Verdict {
    let ours = workload.best(Role::Ours);
    let found = match goal.beside {
        None => ours.map(|(_, median)| median),
        Some((name, _)) => ours.and_then(|(entry, _)| Some(entry.beside.get(name)?.spread.median)),
    };
    let written = |bound: f64| match goal.beside {
        None => amount(bound),
        Some((_, unit)) => with_unit(bound, unit),
    };
    let (mut text, bound, better) = match goal.bound {
        Bound::AtLeast(bound) => (format!("≥ {}", written(bound)), Some(bound), Better::Higher),
        Bound::AtMost(bound) => (format!("≤ {}", written(bound)), Some(bound), Better::Lower),
        Bound::OfLimit(share) => {
            let limit = workload.best(Role::Limit).map(|(_, median)| median);
            let text = format!("{} of the limit", percent(share));
            (text, limit.map(|limit| limit * share), workload.better)
        }
    };
    // A name that is the unit has been told with the number.
    if let Some((name, _)) = goal.beside.filter(|(name, unit)| name != unit) {
        text = format!("{name} {text}");
    }
    let met = found.zip(bound).map(|(found, bound)| match better {
        Better::Higher => found >= bound,
        Better::Lower => found <= bound,
    });
    Verdict { goal: text, met }
}

#[cfg(test)]
mod tests {
    use super::super::tables::tests::workload;
    use super::*;

    #[test]
    fn goals_are_met_or_not_or_not_measured() {
        let commits = workload("durable put, 16 threads", "commits/s", &[950.0, 500.0, 1000.0]);
        let found = verdicts(&commits);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].goal.as_str(), found[0].met), ("90 % of the limit", Some(true)));
        assert_eq!((found[1].goal.as_str(), found[1].met), ("p99 ≤ 1 ms", None));
        assert_eq!(target(&commits), Some(900.0));
        let mut size = workload("size after load", "MB", &[490.0, 268.0]);
        size.better = Better::Lower;
        assert_eq!(verdicts(&size), [Verdict { goal: "≤ 225".to_owned(), met: Some(false) }]);
        assert_eq!(verdicts(&workload("of no goal", "MB", &[1.0])), []);
        let beside = verdicts(&workload("gets beside commits", "gets/s", &[3e6]));
        assert_eq!(beside[1], Verdict { goal: "≥ 6,000 puts/s".to_owned(), met: None });
    }
}
