//! What comes and goes millions of times, and how large the files become: values that are
//! overwritten, and records that expire, each without a reader and with one that is held.
//!
//! `cargo run --release -p bristlecone-benches --bin churn -- --help` tells the options. What is
//! there at the end is compared with what was put, what the reader sees with what it saw, and every
//! page is checked. The record is written also when that fails, and says so.

mod turnover;

use std::path::PathBuf;
use std::process::ExitCode;

use bristlecone_benches::data::Data;
use bristlecone_benches::device::Device;
use bristlecone_benches::machine::{self, Ticks};
use bristlecone_benches::record::{Asked, Churn, Record, Turnover};
use bristlecone_benches::{circumstances, published};

use turnover::{Result, Run};

const SEED: u64 = 0xb215_71ec_04e0_0003;
const USAGE: &str = "\
churn: overwrites and records that expire, with and without a reader, and the files meanwhile

  --puts N             puts of each of the four runs (2000000)
  --together N         puts in a buffered transaction (100)
  --keys N             keys that are overwritten (1000)
  --lasting N          pairs that stay where others expire (100000)
  --lifetime SECONDS   how long a record lives that expires (2)
  --rate N             how many of those are put in a second (33333)
  --dir DIR            where the databases are put (temporary files)
  --record FILE        the record (benches/records/churn.json)";

struct Arguments {
    asked: Asked,
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
    let mut asked = Asked {
        puts: 2_000_000,
        together: 100,
        keys: 1000,
        lasting: 100_000,
        lifetime_seconds: 2.0,
        rate: 33_333,
    };
    let (mut dir, mut record) =
        (std::env::temp_dir(), PathBuf::from("benches/records").join("churn.json"));
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("expected a value after {word}"))?;
        match word.as_str() {
            "--puts" => asked.puts = value.parse()?,
            "--together" => asked.together = value.parse()?,
            "--keys" => asked.keys = value.parse()?,
            "--lasting" => asked.lasting = value.parse()?,
            "--lifetime" => asked.lifetime_seconds = value.parse()?,
            "--rate" => asked.rate = value.parse()?,
            "--dir" => dir = value.into(),
            "--record" => record = value.into(),
            other => return Err(format!("expected an option, found {other}").into()),
        }
    }
    for (name, found, most) in [
        ("puts", asked.puts, 1_000_000_000),
        ("together", asked.together as u64, asked.puts),
        ("keys", asked.keys as u64, 10_000_000),
        ("lasting", asked.lasting as u64, 10_000_000),
        ("rate", asked.rate, 100_000_000),
    ] {
        if !(1..=most).contains(&found) {
            return Err(format!("expected 1 to {most} for --{name}, found {found}").into());
        }
    }
    if !(0.1..=3600.0).contains(&asked.lifetime_seconds) {
        let found = asked.lifetime_seconds;
        return Err(format!("expected 0.1 to 3600 for --lifetime, found {found}").into());
    }
    Ok(Arguments { asked, dir, record })
}

/// Runs and writes the record; true when nothing went wrong.
fn run(arguments: &Arguments) -> Result<bool> {
    let Arguments { asked, dir, record } = arguments;
    let device = Device::of(dir)?;
    let overwritten = Data::random(asked.keys, SEED);
    let lasting = Data::random(asked.lasting, SEED);
    let pair_bytes = overwritten.pair_bytes();
    let told = format!("{} puts of {pair_bytes} B a run, seed {SEED:#x}", asked.puts);
    let mut circumstances = circumstances::before("churn", device.as_ref(), told);
    let ticks = Ticks::now()?;
    let mut runs = Vec::new();
    for (turnover, data) in [(Turnover::Overwrites, &overwritten), (Turnover::Expiries, &lasting)] {
        for with_reader in [false, true] {
            let held = if with_reader { "with a reader" } else { "without a reader" };
            eprintln!("{turnover:?}, {held}");
            let run = Run { turnover, with_reader, asked, data, seed: SEED };
            runs.push(run.within(dir)?);
        }
    }
    let others = Ticks::now()?.others_since(ticks);
    circumstances.load_after = machine::load_average();
    let failed = runs.iter().any(|run| run.failure.is_some());
    let churn = Churn { circumstances, asked: asked.clone(), others, runs };
    println!("{}", published::churned(&churn));
    Record::Churn(churn).write(record)?;
    println!("record in {}", record.display());
    Ok(!failed)
}
