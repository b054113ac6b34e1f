//! The workloads, in the order in which a round runs them.
//!
//! Within a set of data reads come before puts, so that all engines and all rounds read the same
//! pairs; what leaves files that are larger than their content comes last.

use crate::engines::{Direction, Mode};

/// Gets in a transaction, unless each has its own.
pub(crate) const GETS_TOGETHER: usize = 1000;
/// Pairs of a short scan.
pub(crate) const SCAN_PAIRS: usize = 10;
/// How often a full scan is repeated in one measurement.
pub(crate) const FULL_SCANS: usize = 5;
/// Deletes in a transaction.
pub(crate) const DELETES_TOGETHER: usize = 1000;
/// Keys that are overwritten below a long reader.
pub(crate) const HELD_KEYS: usize = 1000;
/// How often they are overwritten, all together, unless there are few pairs.
pub(crate) const OVERWRITES_MAX: usize = 200_000;
/// The largest number of JSON records.
pub(crate) const RECORDS_MAX: usize = 100_000;
/// The largest number of small buckets.
pub(crate) const BUCKETS_MAX: usize = 100_000;
/// The largest single value, in bytes.
pub(crate) const VALUE_BYTES_MAX: usize = 100_000_000;
/// What is in the log of a process that is killed: a little, and as much as it can be before the
/// 64 MiB at which Bristlecone writes a checkpoint, its headers counted.
const LOG_BYTES: [usize; 2] = [1_000_000, 58_000_000];

/// The pairs that workloads share. Each set has databases of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Set {
    /// Random pairs, as many as are asked for.
    Pairs,
    /// The same pairs, loaded anew: nothing else has shaped the files that deletes thin out.
    Halved,
    /// A tenth as many records of JSON.
    Records,
    /// Small buckets, a tenth as many.
    Buckets,
    /// Single values.
    Values,
}

/// All sets, in the order of a round.
pub(crate) const SETS: &[Set] = &[Set::Pairs, Set::Halved, Set::Records, Set::Buckets, Set::Values];

/// A workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) set: Set,
    pub(crate) work: Work,
}

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Work {
    Load(Order),
    /// The anonymous memory that a load takes at most.
    Memory(Order),
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
    /// Two threads get while one commits durably.
    GetsBesideCommits,
    /// What overwrites cost while a reader holds an old view.
    LongReader,
    /// An open after a clean close.
    Open,
    /// An open after a kill with so many bytes of payload behind the last checkpoint.
    OpenKilled(usize),
    DeleteHalf,
    /// The size when what the deletes have left free is given back.
    SizeCompacted,
    CreateBuckets,
    GetInBuckets,
    PutValue(usize),
    GetValue(usize),
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

impl Work {
    /// Whether all that is stored is compared with what was put as soon as it is done, which also
    /// touches all pages before reads are measured.
    pub(crate) fn is_compared(self) -> bool {
        match self {
            Work::Load(order) => order == Order::Random,
            Work::OpenKilled(_) | Work::DeleteHalf | Work::SizeCompacted => true,
            work => work == Work::CreateBuckets,
        }
    }
}

impl Set {
    /// For a command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Set::Pairs => "pairs",
            Set::Halved => "halved",
            Set::Records => "records",
            Set::Buckets => "buckets",
            Set::Values => "values",
        }
    }
}

impl Order {
    /// For a command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Order::Random => "random",
            Order::Sorted => "sorted",
        }
    }
}

impl Workload {
    /// Whether the value is a size or a time, not a rate.
    pub(crate) fn less_is_better(&self) -> bool {
        matches!(self.unit, "MB" | "s" | "ms" | "ns")
    }

    /// Whether other workloads of the set need what this one leaves.
    pub(crate) fn is_needed(&self) -> bool {
        matches!(self.work, Work::Load(Order::Random) | Work::CreateBuckets | Work::DeleteHalf)
    }
}

const fn workload(name: &'static str, unit: &'static str, work: Work) -> Workload {
    Workload { name, unit, set: Set::Pairs, work }
}

const fn of(set: Set, workload: Workload) -> Workload {
    Workload { set, ..workload }
}

const fn records(name: &'static str, unit: &'static str, work: Work) -> Workload {
    of(Set::Records, workload(name, unit, work))
}

const fn value(name: &'static str, unit: &'static str, work: Work) -> Workload {
    of(Set::Values, workload(name, unit, work))
}

const fn commit(threads: usize, puts: usize, mode: Mode) -> Work {
    Work::Commit { threads, puts, mode }
}

const fn get(how: Get, threads: usize) -> Work {
    Work::Get { how, threads }
}

/// All workloads. The first of a set leaves what the others of the set need.
pub(crate) const WORKLOADS: &[Workload] = &[
    workload("load, random order", "pairs/s", Work::Load(Order::Random)),
    workload("load, sorted first", "pairs/s", Work::Load(Order::Sorted)),
    workload("memory of load, random", "MB", Work::Memory(Order::Random)),
    workload("memory of load, sorted", "MB", Work::Memory(Order::Sorted)),
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
    workload("gets beside commits", "gets/s", Work::GetsBesideCommits),
    workload("open, clean", "ms", Work::Open),
    workload("open, killed, 1 MB", "ms", Work::OpenKilled(LOG_BYTES[0])),
    workload("open, killed, 64 MB", "ms", Work::OpenKilled(LOG_BYTES[1])),
    workload("buffered put", "commits/s", commit(1, 1, Mode::Buffered)),
    workload("growth, long reader", "MB", Work::LongReader),
    of(Set::Halved, workload("delete half", "deletes/s", Work::DeleteHalf)),
    of(Set::Halved, workload("size, half deleted", "MB", Work::SizeCompacted)),
    records("records: load", "pairs/s", Work::Load(Order::Random)),
    records("records: get", "gets/s", get(Get::Together, 1)),
    records("records: scan of 10", "scans/s", Work::Scan(Direction::Forward)),
    records("records: durable put", "commits/s", commit(1, 1, Mode::Durable)),
    of(Set::Buckets, workload("buckets: create all", "s", Work::CreateBuckets)),
    of(Set::Buckets, workload("buckets: open and get", "ns", Work::GetInBuckets)),
    value("put of 10 B", "puts/s", Work::PutValue(10)),
    value("get of 10 B", "gets/s", Work::GetValue(10)),
    value("put of 1 KB", "puts/s", Work::PutValue(1000)),
    value("get of 1 KB", "gets/s", Work::GetValue(1000)),
    value("put of 100 KB", "MB/s", Work::PutValue(100_000)),
    value("get of 100 KB", "MB/s", Work::GetValue(100_000)),
    value("put of 10 MB", "MB/s", Work::PutValue(10_000_000)),
    value("get of 10 MB", "MB/s", Work::GetValue(10_000_000)),
    value("put of 100 MB", "MB/s", Work::PutValue(VALUE_BYTES_MAX)),
    value("get of 100 MB", "MB/s", Work::GetValue(VALUE_BYTES_MAX)),
];
