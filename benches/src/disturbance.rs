//! How long durable commits take while the engine compacts or sweeps, beside the quiet figures.
//!
//! `cargo run --release -p bristlecone-benches --bin disturbance -- --help` tells the options. What
//! is there at the end is compared with what was put, every page is checked, and commits count only
//! when the device was seen to flush. The record is written also when that fails, and says so.

mod phases;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bristlecone_benches::device::Device;
use bristlecone_benches::machine::{self, Ticks};
use bristlecone_benches::record::{Disturbance, Phase, Record};
use bristlecone_benches::{circumstances, published};

use phases::{Result, Round};

const SEED: u64 = 0xb215_71ec_04e0_0004;
/// Twice as long as it takes to put half a million records on a machine that has other work too.
const LIFETIME: Duration = Duration::from_secs(8);
const USAGE: &str = "\
disturbance: durable commits of one thread while the engine compacts or sweeps

  --pairs N            pairs of the bucket that is compacted, of which half are deleted (1000000)
  --expiring N         records that expire together and are swept (500000)
  --seconds N          how long each quiet phase takes (3)
  --rounds N           rounds, of which the medians count (3)
  --dir DIR            where the databases are put (temporary files)
  --record FILE        the record (benches/records/disturbance.json)";

struct Arguments {
    pairs: usize,
    expiring: usize,
    seconds: u64,
    rounds: u64,
    dir: PathBuf,
    record: PathBuf,
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
    let mut arguments = Arguments {
        pairs: 1_000_000,
        expiring: 500_000,
        seconds: 3,
        rounds: 3,
        dir: std::env::temp_dir(),
        record: PathBuf::from("benches/records").join("disturbance.json"),
    };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("expected a value after {word}"))?;
        match word.as_str() {
            "--pairs" => arguments.pairs = value.parse()?,
            "--expiring" => arguments.expiring = value.parse()?,
            "--seconds" => arguments.seconds = value.parse()?,
            "--rounds" => arguments.rounds = value.parse()?,
            "--dir" => arguments.dir = value.into(),
            "--record" => arguments.record = value.into(),
            other => return Err(format!("expected an option, found {other}").into()),
        }
    }
    let Arguments { pairs, expiring, seconds, rounds, .. } = arguments;
    for (name, found, most) in [
        ("pairs", pairs as u64, 100_000_000),
        ("expiring", expiring as u64, 100_000_000),
        ("seconds", seconds, 1_000_000),
        ("rounds", rounds, 1000),
    ] {
        if !(1..=most).contains(&found) {
            return Err(format!("expected 1 to {most} for --{name}, found {found}").into());
        }
    }
    Ok(arguments)
}

/// Runs and writes the record; true when nothing went wrong.
fn run(arguments: &Arguments) -> Result<bool> {
    let Arguments { pairs, expiring, seconds, rounds, dir, record } = arguments;
    let device = Device::of(dir)?;
    let told = format!("{pairs} pairs and {expiring} that expire, seed {SEED:#x}");
    let mut circumstances = circumstances::before("disturbance", device.as_ref(), told);
    let ticks = Ticks::now()?;
    let (mut phases, mut failure): (Vec<Phase>, Option<String>) = (Vec::new(), None);
    for round in 0..*rounds {
        eprintln!("round {} of {rounds}", round + 1);
        let round = Round {
            pairs: *pairs,
            expiring: *expiring,
            quiet: Duration::from_secs(*seconds),
            lifetime: LIFETIME,
            seed: SEED ^ (round << 40),
            device: device.as_ref(),
        };
        let (done, wrong) = round.within(dir)?;
        for (name, commits) in done {
            match phases.iter_mut().find(|phase| phase.name == name) {
                Some(phase) => phase.rounds.push(commits),
                None => phases.push(Phase { name: name.to_owned(), rounds: vec![commits] }),
            }
        }
        failure = failure.or(wrong);
    }
    let others = Ticks::now()?.others_since(ticks);
    circumstances.load_after = machine::load_average();
    let failed = failure.is_some();
    let disturbance = Disturbance { circumstances, others, failure, phases };
    println!("{}", published::disturbed(&disturbance));
    Record::Disturbance(disturbance).write(record)?;
    println!("record in {}", record.display());
    Ok(!failed)
}
