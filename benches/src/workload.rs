//! The workloads, in the order in which a round runs them.
//!
//! Reads come before puts, so that all engines and all rounds read the same pairs.

use crate::engines::{Direction, Mode};

/// Gets in a transaction, unless each has its own.
pub(crate) const GETS_TOGETHER: usize = 1000;
/// Pairs of a short scan.
pub(crate) const SCAN_PAIRS: usize = 10;
/// How often a full scan is repeated in one measurement.
pub(crate) const FULL_SCANS: usize = 5;

/// A workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) work: Work,
}

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    Load(Order),
    /// No work: the size that the load has left.
    Size,
    Get {
        how: Get,
        threads: usize,
    },
    Scan(Direction),
    FullScan,
    Commit {
        threads: usize,
        puts: usize,
        mode: Mode,
    },
}

/// In which order pairs are loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    Random,
    /// Sorted by the bench, which is part of the time, then loaded by the engine's fastest way.
    Sorted,
}

/// How keys are got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Get {
    Together,
    Each,
    Many,
}

const fn workload(name: &'static str, unit: &'static str, work: Work) -> Workload {
    Workload { name, unit, work }
}

const fn commit(threads: usize, puts: usize, mode: Mode) -> Work {
    Work::Commit { threads, puts, mode }
}

const fn get(how: Get, threads: usize) -> Work {
    Work::Get { how, threads }
}

/// All workloads. The load in random order is the first, for the others need its pairs.
pub(crate) const WORKLOADS: &[Workload] = &[
    workload("load, random order", "pairs/s", Work::Load(Order::Random)),
    workload("load, sorted first", "pairs/s", Work::Load(Order::Sorted)),
    workload("size after load", "MB", Work::Size),
    workload("get, 1000 a txn", "gets/s", get(Get::Together, 1)),
    workload("get, 1 a txn", "gets/s", get(Get::Each, 1)),
    workload("get, 2 threads", "gets/s", get(Get::Together, 2)),
    workload("get_many of 16", "gets/s", get(Get::Many, 1)),
    workload("scan of 10", "scans/s", Work::Scan(Direction::Forward)),
    workload("scan of 10, reverse", "scans/s", Work::Scan(Direction::Reverse)),
    workload("full scan", "pairs/s", Work::FullScan),
    workload("durable put, 1 thread", "commits/s", commit(1, 1, Mode::Durable)),
    workload("durable put, 16 threads", "commits/s", commit(16, 1, Mode::Durable)),
    workload("durable put, 64 threads", "commits/s", commit(64, 1, Mode::Durable)),
    workload("100 puts a durable txn", "puts/s", commit(1, 100, Mode::Durable)),
    workload("buffered put", "commits/s", commit(1, 1, Mode::Buffered)),
];
