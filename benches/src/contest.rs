//! The rounds: every workload on every engine, one engine right after the other.
//!
//! The engine that begins changes with each workload. What an engine gets wrong ends its round and
//! is told in its row; the others go on. What an engine cannot do is told, and its round goes on.

use std::sync::Arc;

use bristlecone_benches::data::{BUCKET_RECORDS, Data, Shape};

use crate::arguments::Arguments;
use crate::contender::{Common, Contender};
use crate::device::Device;
use crate::engines::{KINDS, Kind, Mode, Result, Unsupported};
use crate::machine::{self, Ticks};
use crate::measure::Measure;
use crate::reads::{self, Reads};
use crate::values::Values;
use crate::workload::{
    BUCKETS_MAX, Get, RECORDS_MAX, SCAN_PAIRS, SETS, Set, WORKLOADS, Work, Workload,
};

const READS_MAX: usize = 1_000_000;
/// Pairs of the set of single values, which nobody loads.
const VALUES_PAIRS: usize = 1000;

/// All measurements of a workload on an engine.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) workload: Workload,
    pub(crate) kind: Kind,
    pub(crate) measures: Vec<Measure>,
    /// What went wrong first.
    pub(crate) failure: Option<String>,
    /// Why the engine cannot do this.
    pub(crate) absent: Option<String>,
}

/// What a run needs.
pub(crate) struct Contest<'a> {
    pub(crate) arguments: &'a Arguments,
    pub(crate) device: Option<&'a Device>,
    pub(crate) seed: u64,
}

impl Contest<'_> {
    /// Runs all rounds.
    pub(crate) fn run(&self) -> Result<Vec<Row>> {
        let wanted = |workload: &&Workload| self.arguments.wants_workload(workload.name);
        let row = |workload, kind| Row {
            workload,
            kind,
            measures: Vec::new(),
            failure: None,
            absent: None,
        };
        let mut rows: Vec<Row> = WORKLOADS
            .iter()
            .filter(wanted)
            .flat_map(|&workload| self.kinds().map(move |kind| row(workload, kind)))
            .collect();
        let mut sets: Vec<(Set, Arc<Data>)> = Vec::new();
        for &set in SETS {
            if rows.iter().any(|row| row.workload.set == set) {
                let of_pairs = sets.iter().find(|it| (it.0, set) == (Set::Pairs, Set::Halved));
                let data = of_pairs.map_or_else(|| self.data_of(set), |it| Arc::clone(&it.1));
                sets.push((set, data));
            }
        }
        for round in 0..self.arguments.rounds {
            eprintln!("round {} of {}", round + 1, self.arguments.rounds);
            for (set, data) in &sets {
                self.run_set(*set, data, round, &mut rows)?;
            }
        }
        Ok(rows)
    }

    fn kinds(&self) -> impl Iterator<Item = Kind> {
        KINDS.iter().copied().filter(|kind| self.arguments.wants_engine(kind.name))
    }

    fn data_of(&self, set: Set) -> Arc<Data> {
        let pairs = self.arguments.pairs;
        let (shape, count) = match set {
            Set::Pairs | Set::Halved => (Shape::Random, pairs),
            Set::Records => (Shape::Records, RECORDS_MAX.min(pairs / 10)),
            Set::Buckets => (Shape::Buckets, BUCKETS_MAX.min(pairs / 10) * BUCKET_RECORDS),
            Set::Values => (Shape::Random, VALUES_PAIRS),
        };
        eprintln!("making {count} pairs of {shape:?}");
        Arc::new(Data::of(shape, count, self.seed))
    }

    /// One round of a set.
    fn run_set(&self, set: Set, data: &Arc<Data>, round: usize, rows: &mut [Row]) -> Result<()> {
        let pairs = data.pairs();
        let values = (set == Set::Values).then(|| Values::random(self.seed));
        let common = Common {
            arguments: self.arguments,
            device: self.device,
            set,
            data,
            data_seed: self.seed,
            pairs: &pairs,
            values: values.as_ref(),
        };
        let mut contenders = Vec::new();
        for kind in self.kinds() {
            match Contender::enter(kind, &common) {
                Ok(contender) => contenders.push(contender),
                Err(error) => note_failure(rows, kind, |row| row.workload.set == set, &*error),
            }
        }
        let of_set = |(_, workload): &(usize, &Workload)| workload.set == set;
        for (number, &workload) in WORKLOADS.iter().enumerate().filter(of_set) {
            if workload.is_needed() || self.arguments.wants_workload(workload.name) {
                let begin = 1.min(contenders.len());
                contenders.rotate_left(begin);
                let seed = (round * WORKLOADS.len() + number) as u64;
                machine::wait_for_calm(self.arguments.patience)?;
                compete(workload, &mut contenders, &common, seed, rows);
            }
        }
        for contender in &mut contenders {
            if let Err(error) = contender.verify(&common) {
                let kind = contender.kind;
                note_failure(rows, kind, |row| row.workload.set == set, &*error);
            }
        }
        Ok(())
    }
}

/// One workload on all engines.
fn compete(
    workload: Workload,
    contenders: &mut [Contender],
    common: &Common<'_>,
    seed: u64,
    rows: &mut [Row],
) {
    let reads = shared_reads(workload.work, common.data, seed);
    for contender in contenders.iter_mut().filter(|contender| contender.is_in()) {
        let (name, kind) = (workload.name, contender.kind);
        let of_row = |row: &Row| row.workload.name == name;
        match measure_among_others(workload.work, contender, common, &reads, seed) {
            Ok(measure) => {
                let others = measure.others.unwrap_or_default() * 100.0;
                let (value, unit, engine) = (measure.value, workload.unit, kind.name);
                eprintln!("  {name:24} {engine:12} {value:14.2} {unit:9} {others:3.0} % others");
                for row in rows.iter_mut().filter(|row| of_row(row) && row.kind.name == kind.name) {
                    row.measures.push(measure.clone());
                }
            }
            Err(error) => {
                if error.downcast_ref::<Unsupported>().is_none() {
                    contender.give_up();
                }
                note_failure(rows, kind, of_row, &*error);
            }
        }
    }
}

/// Prepares what all engines read.
fn shared_reads(work: Work, data: &Data, seed: u64) -> Vec<Reads> {
    let count = data.count().clamp(READS_MAX / 10, READS_MAX);
    match work {
        Work::Get { threads, .. } => reads::random_gets(data, threads, count, seed),
        Work::GetInBuckets => reads::random_gets(data, 1, count, seed),
        Work::Scan(direction) => {
            vec![reads::random_scans(data, direction, count / SCAN_PAIRS, seed)]
        }
        _ => Vec::new(),
    }
}

/// As [`Contender::perform`]; also notes how busy others kept the machine.
fn measure_among_others(
    work: Work,
    contender: &mut Contender,
    common: &Common<'_>,
    reads: &[Reads],
    seed: u64,
) -> Result<Measure> {
    let before = Ticks::now()?;
    let measure = contender.perform(work, common, reads, seed)?;
    Ok(Measure { others: Ticks::now()?.others_since(before), ..measure })
}

/// Tells what went wrong first in all rows of an engine that `concerned` picks.
fn note_failure(
    rows: &mut [Row],
    kind: Kind,
    concerned: impl Fn(&Row) -> bool,
    error: &(dyn std::error::Error + Send + Sync + 'static),
) {
    let told = error.to_string();
    let absent = error.downcast_ref::<Unsupported>().is_some();
    eprintln!("  {} {}: {told}", kind.name, if absent { "cannot" } else { "failed" });
    for row in rows.iter_mut().filter(|row| row.kind.name == kind.name && concerned(row)) {
        let place = if absent { &mut row.absent } else { &mut row.failure };
        place.get_or_insert_with(|| told.clone());
    }
}

/// What is particular about an engine in a workload.
pub(crate) fn remark(row: &Row) -> Option<&'static str> {
    let kind = row.kind;
    match row.workload.work {
        Work::Commit { mode: Mode::Buffered, .. } | Work::LongReader => Some(kind.buffered),
        Work::Get { how: Get::Many, .. } if !kind.gets_many => Some("single gets"),
        Work::SizeCompacted => Some(kind.compaction),
        Work::CreateBuckets | Work::GetInBuckets => Some(kind.buckets),
        _ => None,
    }
}
