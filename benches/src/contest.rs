//! The rounds: every workload on every engine, one engine right after the other.
//!
//! The engine that begins changes with each workload. What an engine gets wrong ends its round and
//! is told in its row; the others go on.

use std::sync::Arc;

use bristlecone_benches::data::{Data, Pair};
use bristlecone_benches::scratch::{Scratch, disk_bytes};

use crate::arguments::Arguments;
use crate::device::Device;
use crate::engines::{Engine, KINDS, Kind, Mode, Opening, Result, Role};
use crate::machine::{self, Ticks};
use crate::measure::{self, Commits, Measure, Reads};
use crate::workload::{Get, Order, SCAN_PAIRS, WORKLOADS, Work, Workload};

const READS_MAX: usize = 1_000_000;

/// All measurements of a workload on an engine.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) workload: Workload,
    pub(crate) kind: Kind,
    pub(crate) measures: Vec<Measure>,
    /// What went wrong first.
    pub(crate) failure: Option<String>,
}

/// What a run needs.
pub(crate) struct Contest<'a> {
    pub(crate) arguments: &'a Arguments,
    pub(crate) data: &'a Arc<Data>,
    pub(crate) device: Option<&'a Device>,
}

/// An engine in one round.
struct Contender {
    kind: Kind,
    /// `None` after a failure.
    engine: Option<Box<dyn Engine>>,
    mode: Mode,
    /// The index of the value that each key should have.
    newest: Vec<u32>,
    /// The last field: the files go after the engine.
    scratch: Scratch,
}

/// Reads that all engines do alike.
#[derive(Default)]
struct Shared {
    reads: Vec<Reads>,
}

impl Contest<'_> {
    /// Runs all rounds.
    pub(crate) fn run(&self) -> Result<Vec<Row>> {
        let kinds = || KINDS.iter().filter(|kind| self.arguments.wants_engine(kind.name));
        let wanted = |workload: &&Workload| self.arguments.wants_workload(workload.name);
        let mut rows: Vec<Row> = WORKLOADS
            .iter()
            .filter(wanted)
            .flat_map(|&workload| kinds().map(move |&kind| (workload, kind)))
            .map(|(workload, kind)| Row { workload, kind, measures: Vec::new(), failure: None })
            .collect();
        let pairs = self.data.pairs();
        for round in 0..self.arguments.rounds {
            eprintln!("round {} of {}", round + 1, self.arguments.rounds);
            let mut contenders = Vec::new();
            for &kind in kinds() {
                contenders.push(self.enter(kind)?);
            }
            for (number, &workload) in WORKLOADS.iter().enumerate() {
                let needed = workload.work == Work::Load(Order::Random);
                if needed || wanted(&&workload) {
                    contenders.rotate_left(1);
                    let seed = (round * WORKLOADS.len() + number) as u64;
                    machine::wait_for_calm(self.arguments.patience)?;
                    self.compete(workload, &mut contenders, &pairs, seed, &mut rows);
                }
            }
            for contender in &mut contenders {
                let verified = contender.verify(self.data);
                note_failure(&mut rows, None, contender, verified);
            }
        }
        Ok(rows)
    }

    fn enter(&self, kind: Kind) -> Result<Contender> {
        let scratch = Scratch::within(&self.arguments.dir)?;
        let engine = (kind.open)(scratch.path(), &opening(Mode::Durable, self.data))?;
        let newest = (0..).take(self.data.count()).collect();
        Ok(Contender { kind, engine: Some(engine), mode: Mode::Durable, newest, scratch })
    }

    /// One workload on all engines.
    fn compete(
        &self,
        workload: Workload,
        contenders: &mut [Contender],
        pairs: &[Pair<'_>],
        seed: u64,
        rows: &mut [Row],
    ) {
        let shared = self.shared(workload.work, seed);
        for contender in contenders.iter_mut().filter(|contender| contender.engine.is_some()) {
            let measured = self.measure_among_others(workload, contender, pairs, &shared, seed);
            let measured = match (workload.work, measured) {
                // Also makes sure that all pages have been touched before reads are measured.
                (Work::Load(_), Ok(it)) => contender.verify(self.data).map(|()| it),
                (_, other) => other,
            };
            if let Ok(measure) = &measured {
                let (name, engine) = (workload.name, contender.kind.name);
                let others = measure.others.unwrap_or_default() * 100.0;
                let (value, unit) = (measure.value, workload.unit);
                eprintln!("  {name:24} {engine:12} {value:14.0} {unit:9} {others:3.0} % others");
                for row in rows.iter_mut() {
                    if (row.workload.name, row.kind.name) == (name, engine) {
                        row.measures.push(measure.clone());
                    }
                }
            }
            note_failure(rows, Some(workload.name), contender, measured.map(|_| ()));
        }
    }

    /// Prepares what all engines read.
    fn shared(&self, work: Work, seed: u64) -> Shared {
        let count = self.data.count().clamp(READS_MAX / 10, READS_MAX);
        let reads = match work {
            Work::Get { threads, .. } => measure::random_gets(self.data, threads, count, seed),
            Work::Scan(direction) => {
                let count = count / SCAN_PAIRS;
                vec![measure::random_scans(self.data, direction, count, seed)]
            }
            _ => Vec::new(),
        };
        Shared { reads }
    }

    /// As [`Contest::measure`]; also notes how busy others kept the machine.
    fn measure_among_others(
        &self,
        workload: Workload,
        contender: &mut Contender,
        pairs: &[Pair<'_>],
        shared: &Shared,
        seed: u64,
    ) -> Result<Measure> {
        let before = Ticks::now()?;
        let measure = self.measure(workload.work, contender, pairs, shared, seed)?;
        Ok(Measure { others: Ticks::now()?.others_since(before), ..measure })
    }

    fn measure(
        &self,
        work: Work,
        contender: &mut Contender,
        pairs: &[Pair<'_>],
        shared: &Shared,
        seed: u64,
    ) -> Result<Measure> {
        match work {
            Work::Load(Order::Random) => {
                measure::load(contender.engine()?, pairs, Order::Random, self.device)
            }
            Work::Load(Order::Sorted) => {
                let other = self.enter(contender.kind)?;
                let measure = measure::load(other.engine()?, pairs, Order::Sorted, self.device)?;
                other.verify(self.data)?;
                Ok(measure)
            }
            Work::Size => {
                let bytes = match contender.kind.role {
                    // Its log is zero-filled, whatever is loaded.
                    Role::Limit => self.data.payload_bytes(),
                    _ => disk_bytes(contender.scratch.path())?,
                };
                Ok(Measure { value: bytes as f64 / 1e6, ..Measure::default() })
            }
            Work::Get { how, .. } => measure::gets(contender.engine()?, &shared.reads, how),
            Work::Scan(direction) => {
                measure::scans(contender.engine()?, &shared.reads[0], direction)
            }
            Work::FullScan => measure::full_scans(contender.engine()?, self.data),
            Work::Commit { threads, puts, mode } => {
                contender.reopen(mode, self.data)?;
                let duration = self.arguments.duration;
                let commits = Commits { threads, puts, mode, duration, seed };
                let engine = contender.engine.as_deref().ok_or("no engine")?;
                let newest = &mut contender.newest;
                measure::commits(engine, self.data, &commits, newest, self.device)
            }
        }
    }
}

fn opening(mode: Mode, data: &Arc<Data>) -> Opening {
    Opening {
        mode,
        payload_bytes: data.payload_bytes(),
        value_bytes: data.shape().value_bytes(),
        data: Some(Arc::clone(data)),
    }
}

impl Contender {
    fn engine(&self) -> Result<&dyn Engine> {
        self.engine.as_deref().ok_or_else(|| "expected an open engine, found none".into())
    }

    /// Opens the database again where a mode is a property of an open database.
    fn reopen(&mut self, mode: Mode, data: &Arc<Data>) -> Result<()> {
        if self.mode != mode {
            self.engine = None;
            self.engine = Some((self.kind.open)(self.scratch.path(), &opening(mode, data))?);
            self.mode = mode;
        }
        Ok(())
    }

    /// Compares the database with what was put.
    fn verify(&self, data: &Data) -> Result<()> {
        match (&self.engine, self.kind.role) {
            (None, _) | (_, Role::Limit) => Ok(()),
            (Some(engine), _) => measure::verify(&**engine, data, &self.newest),
        }
    }
}

/// Ends the round of an engine that failed: in the row of the workload, or in all of its rows.
fn note_failure(
    rows: &mut [Row],
    workload: Option<&str>,
    contender: &mut Contender,
    result: Result<()>,
) {
    let Err(error) = result else { return };
    eprintln!("  {} failed: {error}", contender.kind.name);
    contender.engine = None;
    for row in rows.iter_mut().filter(|row| row.kind.name == contender.kind.name) {
        if row.failure.is_none() && workload.is_none_or(|name| row.workload.name == name) {
            row.failure = Some(error.to_string());
        }
    }
}

/// What is particular about an engine in a workload.
pub(crate) fn remark(row: &Row) -> Option<&'static str> {
    match row.workload.work {
        Work::Commit { mode: Mode::Buffered, .. } => Some(row.kind.buffered),
        Work::Get { how: Get::Many, .. } if row.kind.role != Role::Ours => Some("single gets"),
        _ => None,
    }
}
