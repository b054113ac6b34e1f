//! Random puts over a loaded database for minutes, second by second: does anything ever stall?
//!
//! `cargo run --release -p bristlecone-benches --bin sustained -- --help` tells the options. What
//! was put is compared at the end, and durable commits count only when the device was seen to
//! flush. The record is written also when that fails, and says so.

#[expect(dead_code, reason = "only loads and puts are needed of the engines' trait here")]
mod engines;
mod steady;
mod subject;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bristlecone_benches::data::Data;
use bristlecone_benches::device::{Counts, Device};
use bristlecone_benches::machine::{self, Ticks};
use bristlecone_benches::record::{Load, Record, Sustained};
use bristlecone_benches::scratch::Scratch;
use bristlecone_benches::{circumstances, published};

use engines::{KINDS, Kind, Mode, Opening, Result, Role};
use steady::{Outcome, Steady};
use subject::Subject;

const SEED: u64 = 0xb215_71ec_04e0_0002;
const USAGE: &str = "\
sustained: random puts over a loaded database for minutes, recorded second by second

  --engine NAME        the engine (bristlecone)
  --pairs N            pairs that are loaded first (1000000)
  --seconds N          how long is put (600)
  --threads N          threads that commit (4)
  --puts N             puts in a transaction (10)
  --durability WHICH   durable or buffered (durable)
  --dir DIR            where the database is put (temporary files)
  --record FILE        the record (benches/records/sustained-ENGINE-THREADSxPUTS.json)";

struct Arguments {
    kind: Kind,
    load: Load,
    seconds: u64,
    dir: PathBuf,
    record: Option<PathBuf>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match parse(words).and_then(|arguments| run(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}\n\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn parse(words: Vec<String>) -> Result<Arguments> {
    let (mut engine, mut seconds, mut dir, mut record) =
        ("bristlecone".to_owned(), 600, std::env::temp_dir(), None);
    let mut load = Load { pairs: 1_000_000, threads: 4, puts: 10, durable: true };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("expected a value after {word}"))?;
        match word.as_str() {
            "--engine" => engine = value,
            "--pairs" => load.pairs = value.parse()?,
            "--seconds" => seconds = value.parse()?,
            "--threads" => load.threads = value.parse()?,
            "--puts" => load.puts = value.parse()?,
            "--durability" => {
                load.durable = match value.as_str() {
                    "durable" => true,
                    "buffered" => false,
                    _ => return Err(format!("expected durable or buffered, found {value}").into()),
                }
            }
            "--dir" => dir = value.into(),
            "--record" => record = Some(value.into()),
            other => return Err(format!("expected an option, found {other}").into()),
        }
    }
    for (name, found, most) in [
        ("pairs", load.pairs, 100_000_000),
        ("threads", load.threads, load.pairs.min(1000)),
        ("puts", load.puts, load.pairs),
        ("seconds", usize::try_from(seconds)?, 1_000_000),
    ] {
        if !(1..=most).contains(&found) {
            return Err(format!("expected 1 to {most} {name}, found {found}").into());
        }
    }
    let Some(kind) = KINDS.iter().copied().find(|kind| kind.name == engine) else {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        return Err(format!("expected an engine of {names:?}, found {engine}").into());
    };
    Ok(Arguments { kind, load, seconds, dir, record })
}

/// Runs and writes the record; true when nothing went wrong.
fn run(arguments: &Arguments) -> Result<bool> {
    let Arguments { kind, load, seconds, .. } = arguments;
    let device = Device::of(&arguments.dir)?;
    let told = format!("{} pairs, seed {SEED:#x}, {seconds} s", load.pairs);
    let mut circumstances = circumstances::before("sustained", device.as_ref(), told);
    eprintln!("loading {} pairs into {}", load.pairs, kind.name);
    let data = Arc::new(Data::random(load.pairs, SEED));
    let own_bytes = machine::anonymous_bytes()?;
    let scratch = Scratch::within(&arguments.dir)?;
    let mode = if load.durable { Mode::Durable } else { Mode::Buffered };
    let opening = Opening {
        mode,
        payload_bytes: data.payload_bytes(),
        value_bytes: data.shape().value_bytes(),
        memory_bytes: None,
        data: Some(Arc::clone(&data)),
    };
    let subject = Subject::open(*kind, scratch.path(), &opening)?;
    subject.load(&data.pairs())?;
    subject.settle()?;
    let counts = || device.as_ref().map(Device::counts).transpose();
    let (before, ticks) = (counts()?, Ticks::now()?);
    let duration = Duration::from_secs(*seconds);
    let dir = scratch.path();
    let steady =
        Steady { subject: &subject, data: &data, load, duration, seed: SEED, dir, own_bytes };
    let outcome = steady.run()?;
    let since = |now: Option<Counts>| now.zip(before).map(|(now, before)| now.since(before));
    let (during, others) = (since(counts()?), Ticks::now()?.others_since(ticks));
    let settled = subject.settle();
    let written = since(counts()?).map(|counts| counts.written_bytes);
    let flushes = during.map(|counts| counts.flushes);
    let verified = settled.and_then(|()| match kind.role {
        // It keeps no puts.
        Role::Limit => Ok(()),
        _ => steady.verify(&outcome.commits),
    });
    let failure = failure(&outcome, verified, load, flushes);
    circumstances.load_after = machine::load_average();
    let puts = outcome.latency.count() * load.puts as u64;
    let payload = puts * data.pair_bytes() as u64;
    let record = Sustained {
        circumstances,
        engine: kind.name.to_owned(),
        role: kind.role,
        load: load.clone(),
        elapsed_seconds: outcome.elapsed.as_secs_f64(),
        latency: outcome.latency,
        flushes,
        write_amplification: written.map(|bytes| bytes as f64 / payload.max(1) as f64),
        others,
        failure,
        seconds: outcome.seconds,
    };
    publish(arguments, record)
}

/// Why a run does not count, if so.
fn failure(
    outcome: &Outcome,
    verified: Result<()>,
    load: &Load,
    flushes: Option<u64>,
) -> Option<String> {
    // A thread waits for its commit, so a flush serves at most one commit of each.
    let flushes_min = outcome.latency.count().div_ceil(load.threads as u64);
    let shown = !load.durable || flushes.is_some_and(|flushes| flushes >= flushes_min);
    match (&outcome.failure, verified, shown) {
        (Some(failure), ..) => Some(failure.clone()),
        (None, Err(error), _) => Some(error.to_string()),
        (None, Ok(()), false) => Some("fewer flushes than its commits need".to_owned()),
        (None, Ok(()), true) => None,
    }
}

fn publish(arguments: &Arguments, record: Sustained) -> Result<bool> {
    let Load { threads, puts, durable, .. } = record.load;
    let file = arguments.record.clone().unwrap_or_else(|| {
        let kind = if durable { "" } else { "-buffered" };
        let name = format!("sustained-{}-{threads}x{puts}{kind}.json", record.engine);
        PathBuf::from("benches/records").join(name)
    });
    let failed = record.failure.is_some();
    println!("{}", published::told(&record));
    Record::Sustained(record).write(&file)?;
    println!("record in {}", file.display());
    Ok(!failed)
}
