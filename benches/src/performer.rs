//! An engine in a process of its own, for its part of a round: nothing that other engines allocate,
//! map or do in the background is in its process, and what it has held is gone with it.
//!
//! The process makes its data and opens its database, tells "ready", and then does line by line
//! what it is told:
//!
//! ```text
//! perform SEED WORKLOAD    measured JSON, or failed WHY, or cannot WHY
//! leave                    closes the database, and ends: left DIR
//! end                      compares all that is stored: ended, or failed WHY
//! ```

use std::path::Path;
use std::sync::Arc;

use bristlecone_benches::data::{BUCKET_RECORDS, Data, Shape};
use bristlecone_benches::scratch::{Scratch, forget_cached};

use crate::SEED;
use crate::arguments::Arguments;
use crate::child::{Process, line, tell};
use crate::contender::{Common, Contender};
use crate::device::Device;
use crate::engines::{Kind, Result, Unsupported};
use crate::machine::{self, Ticks};
use crate::measure::Measure;
use crate::reads::{self, Reads};
use crate::values::Values;
use crate::workload::{BUCKETS_MAX, RECORDS_MAX, SCAN_PAIRS, SETS, Set, WORKLOADS, Work, Workload};

const READS_MAX: usize = 1_000_000;
/// Pairs of the set of single values, which nobody loads.
const VALUES_PAIRS: usize = 1000;

const READY: &str = "ready";
const PERFORM: &str = "perform";
const MEASURED: &str = "measured";
const FAILED: &str = "failed";
const CANNOT: &str = "cannot";
const LEAVE: &str = "leave";
const LEFT: &str = "left";
const END: &str = "end";
const ENDED: &str = "ended";

/// Why there is no measure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Failure {
    /// The engine is not made for it.
    Cannot(String),
    /// It went wrong.
    Failed(String),
}

impl From<Box<dyn std::error::Error + Send + Sync>> for Failure {
    fn from(error: Box<dyn std::error::Error + Send + Sync>) -> Failure {
        // A line of the pipe tells it.
        let told = error.to_string().replace('\n', " ");
        match error.downcast_ref::<Unsupported>() {
            Some(_) => Failure::Cannot(told),
            None => Failure::Failed(told),
        }
    }
}

/// The process of an engine from the side of its parent.
pub(crate) struct Performer {
    kind: Kind,
    process: Process,
    is_in: bool,
    /// The last field: the files go after the process.
    scratch: Scratch,
}

impl Performer {
    /// Starts the process; returns when it is ready.
    pub(crate) fn start(kind: Kind, set: Set, arguments: &Arguments) -> Result<Performer> {
        let scratch = Scratch::within(&arguments.dir)?;
        let mut words = vec![set.word().to_owned()];
        words.extend(arguments.for_child());
        let mut process = Process::start(&["round", kind.name], scratch.path(), &words)?;
        process.expect(READY)?;
        Ok(Performer { kind, process, is_in: true, scratch })
    }

    /// Goes on in a new process, in the group, with nothing of the files in the system's cache.
    pub(crate) fn enter_group(&mut self, set: Set, arguments: &Arguments) -> Result<()> {
        let answer = self.process.ask(LEAVE)?;
        let left = answer.strip_prefix(LEFT).map(str::trim_start);
        let dir = Path::new(left.ok_or_else(|| format!("expected a place, found {answer:?}"))?);
        forget_cached(dir)?;
        let mut words = vec![set.word().to_owned()];
        words.extend(arguments.for_child_with(dir));
        let args = ["round", self.kind.name];
        let next = Process::start(&args, self.scratch.path(), &words)?;
        std::mem::replace(&mut self.process, next).ended()?;
        self.process.expect(READY)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// False after a failure: what is in the database is not known any more.
    pub(crate) fn is_in(&self) -> bool {
        self.is_in
    }

    /// Does the work of a workload once. `seed` is the same for all engines.
    pub(crate) fn perform(
        &mut self,
        workload: &Workload,
        seed: u64,
    ) -> std::result::Result<Measure, Failure> {
        let answer = self.process.ask(&format!("{PERFORM} {seed} {}", workload.name));
        let measure = answer.map_err(Failure::from).and_then(|answer| read_answer(&answer));
        self.is_in = !matches!(measure, Err(Failure::Failed(_)));
        measure
    }

    /// Has all that is stored compared, and ends the process.
    pub(crate) fn end(mut self) -> Result<()> {
        match self.process.ask(END)? {
            answer if answer == ENDED => self.process.ended(),
            answer => Err(answer.into()),
        }
    }
}

fn read_answer(answer: &str) -> std::result::Result<Measure, Failure> {
    match answer.split_once(' ') {
        Some((MEASURED, measure)) => serde_json::from_str(measure)
            .map_err(|error| Failure::Failed(format!("expected a measure, found {error}"))),
        Some((CANNOT, why)) => Err(Failure::Cannot(why.to_owned())),
        Some((FAILED, why)) => Err(Failure::Failed(why.to_owned())),
        _ => Err(Failure::Failed(format!("expected the outcome of a workload, found {answer:?}"))),
    }
}

/// The process of an engine: takes part in a round of a set until it is told to end.
pub(crate) fn serve(kind: Kind, set: &str, arguments: &Arguments) -> Result<()> {
    let set = SETS.iter().find(|it| it.word() == set);
    let set = *set.ok_or("expected a set of workloads, found another word")?;
    let device = Device::of(&arguments.dir)?;
    let data = data_of(set, arguments.pairs);
    let pairs = data.pairs();
    let values = (set == Set::Values).then(|| Values::random(SEED));
    let common = Common {
        arguments,
        device: device.as_ref(),
        set,
        data: &data,
        data_seed: SEED,
        pairs: &pairs,
        values: values.as_ref(),
    };
    if let Some(group) = &arguments.group {
        // What the data takes stays outside.
        machine::enter_group(&group.join(kind.name))?;
    }
    let mut contender = match &arguments.loaded {
        Some(dir) => Contender::go_on(kind, &common, dir)?,
        None => Contender::enter(kind, &common)?,
    };
    tell(READY)?;
    loop {
        let told = line()?;
        if told == END {
            break;
        }
        if told == LEAVE {
            return tell(&format!("{LEFT} {}", contender.leave()?.display()));
        }
        let (seed, workload) = read_work(&told)?;
        let reads = shared_reads(arguments, workload.work, &data, seed);
        tell(&match perform(workload.work, &mut contender, &common, &reads, seed) {
            Ok(measure) => format!("{MEASURED} {}", serde_json::to_string(&measure)?),
            Err(error) => match Failure::from(error) {
                Failure::Cannot(why) => format!("{CANNOT} {why}"),
                Failure::Failed(why) => format!("{FAILED} {why}"),
            },
        })?;
    }
    contender.verify(&common)?;
    drop(contender);
    tell(ENDED)
}

fn read_work(told: &str) -> Result<(u64, Workload)> {
    let expected = || format!("expected a seed and a workload, found {told:?}");
    let words = told.strip_prefix(PERFORM).map(str::trim_start);
    let (seed, name) = words.and_then(|it| it.split_once(' ')).ok_or_else(expected)?;
    let workload = WORKLOADS.iter().find(|it| it.name == name).ok_or_else(expected)?;
    Ok((seed.parse()?, *workload))
}

fn data_of(set: Set, pairs: usize) -> Arc<Data> {
    let (shape, count) = match set {
        Set::Pairs | Set::Halved => (Shape::Random, pairs),
        Set::Records => (Shape::Records, RECORDS_MAX.min(pairs / 10)),
        Set::Buckets => (Shape::Buckets, BUCKETS_MAX.min(pairs / 10) * BUCKET_RECORDS),
        Set::Values => (Shape::Random, VALUES_PAIRS),
    };
    Arc::new(Data::of(shape, count, SEED))
}

/// Prepares what all engines read.
fn shared_reads(arguments: &Arguments, work: Work, data: &Data, seed: u64) -> Vec<Reads> {
    // Where each may come from the device, fewer.
    let most = if arguments.group.is_some() { READS_MAX / 10 } else { READS_MAX };
    let count = data.count().clamp(READS_MAX / 10, most);
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
fn perform(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measure_survives_the_pipe() {
        let beside = Some((0.1, "puts/s".to_owned()));
        let measure = Measure { value: 1.0 / 3.0, beside, ..Measure::default() };
        let told = format!("{MEASURED} {}", serde_json::to_string(&measure).expect("a line"));
        assert_eq!(read_answer(&told), Ok(measure));
        assert!(!told.contains('\n'));
    }

    #[test]
    fn what_went_wrong_survives_the_pipe() {
        let cannot = Failure::from(Box::from(Unsupported("no such thing")) as Box<_>);
        assert_eq!(cannot, Failure::Cannot("no such thing".to_owned()));
        assert_eq!(read_answer("cannot no such thing"), Err(cannot));
        assert_eq!(read_answer("failed in two words"), Err(Failure::Failed("in two words".into())));
        assert!(matches!(read_answer(""), Err(Failure::Failed(_))));
    }

    #[test]
    fn every_workload_can_be_asked_for() {
        for workload in WORKLOADS {
            let (seed, found) = read_work(&format!("{PERFORM} 7 {}", workload.name)).expect("it");
            assert_eq!((seed, found.name), (7, workload.name));
        }
        assert!(read_work("perform load, random order").is_err());
    }
}
