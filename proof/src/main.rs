//! `proof`: runs the rigs and writes the record of it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use bristlecone_proof::real::allocator::FailingAllocator;
use bristlecone_proof::real::orders::Orders;
use bristlecone_proof::real::places::scratch;
use bristlecone_proof::real::worker;
use bristlecone_proof::record::Record;
use bristlecone_proof::rig::{self, Plan, Rig, Tier};
use bristlecone_proof::rigs::{RIGS, find};
use bristlecone_proof::tables;
use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: FailingAllocator = FailingAllocator;

const RECORDS: &str = "proof/records";
const DOCUMENT: &str = "docs/testing.md";

/// The evidence: runs the rigs of a tier, or one of them.
#[derive(Parser)]
#[command(name = "proof")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What runs with every change: at most five minutes.
    Push(Run),
    /// What runs every night: about an hour.
    Nightly(Run),
    /// What runs before a release: hours.
    Release(Run),
    /// One rig.
    Rig {
        /// Its name, as `list` tells it.
        name: String,
        /// Cases to run; those of the push tier unless said.
        #[arg(long)]
        cases: Option<u64>,
        /// The first seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// What the rigs of real processes start and kill.
    #[command(hide = true)]
    Worker(Orders),
    /// Lists the rigs, with the cases of each tier.
    List,
    /// Makes the tables of docs/testing.md from the records in proof/records.
    Tables {
        /// Changes nothing; fails when the tables differ.
        #[arg(long)]
        check: bool,
    },
}

#[derive(clap::Args)]
struct Run {
    /// The first seed. Another one looks at other histories.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to write the record.
    #[arg(long, default_value = "target/proof-records")]
    records: PathBuf,
}

fn main() -> ExitCode {
    // The server's own command line, for the rigs that kill it.
    if std::env::args().nth(1).is_some_and(|command| command == "serve") {
        return bristlecone_server::cli::main();
    }
    let done = match Arguments::parse().command {
        Command::Push(run) => run_tier(Tier::Push, &run),
        Command::Nightly(run) => run_tier(Tier::Nightly, &run),
        Command::Release(run) => run_tier(Tier::Release, &run),
        Command::Rig { name, cases, seed } => run_one(&name, cases, seed),
        Command::Worker(orders) => return worker::run(&orders),
        Command::List => {
            for Rig { name, unit, cases: [push, nightly, release], fault, .. } in RIGS {
                println!("{name:<24} {push} / {nightly} / {release} {unit}: {fault}");
            }
            Ok(true)
        }
        Command::Tables { check } => make_tables(check),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("proof: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the rigs of a tier and writes the record; true when nothing went wrong.
fn run_tier(tier: Tier, run: &Run) -> Result<bool, String> {
    let (start, mut record) = (Instant::now(), Record::new(tier.name()));
    std::fs::create_dir_all(&run.records).map_err(|error| error.to_string())?;
    let file = run.records.join(format!("{}.json", tier.name()));
    for rig in RIGS {
        let cases = rig.cases[tier as usize];
        if cases == 0 {
            continue;
        }
        let evidence = run_rig(rig, cases, run.seed)?;
        println!("{evidence}");
        record.rigs.push(evidence);
        record.seconds = start.elapsed().as_secs_f64().round();
        // A long run that is stopped leaves what it had.
        let text = serde_json::to_string_pretty(&record).map_err(|error| error.to_string())?;
        std::fs::write(&file, text + "\n").map_err(|error| error.to_string())?;
    }
    let skipped = record.rigs.iter().filter(|evidence| evidence.skipped.is_some()).count();
    let failed = record.rigs.iter().filter(|evidence| !evidence.is_clean()).count();
    println!(
        "{}: {} rigs, {skipped} skipped, {failed} failed, {} s; record in {}",
        tier.name(),
        record.rigs.len(),
        record.seconds,
        file.display(),
    );
    Ok(failed == 0)
}

fn run_one(name: &str, cases: Option<u64>, seed: u64) -> Result<bool, String> {
    let Some(rig) = find(name) else {
        return Err(format!("expected the name of a rig, found {name:?}; `list` tells them"));
    };
    let evidence = run_rig(rig, cases.unwrap_or(rig.cases[0]), seed)?;
    println!("{}", serde_json::to_string_pretty(&evidence).map_err(|error| error.to_string())?);
    Ok(evidence.is_clean())
}

fn run_rig(
    rig: &Rig,
    cases: u64,
    seed: u64,
) -> Result<bristlecone_proof::record::Evidence, String> {
    let scratch = scratch()?;
    let worker = std::env::current_exe().map_err(|error| error.to_string())?;
    Ok(rig::run(rig, &Plan { cases, seed, scratch: scratch.path().to_path_buf(), worker }))
}

fn make_tables(check: bool) -> Result<bool, String> {
    let mut records = [None, None, None];
    for (record, tier) in records.iter_mut().zip(Tier::ALL) {
        *record = read_record(&Path::new(RECORDS).join(format!("{}.json", tier.name())))?;
    }
    let document = std::fs::read_to_string(DOCUMENT).map_err(|error| error.to_string())?;
    let fuzz = read_if_there(&Path::new(RECORDS).join("fuzz.jsonl"))?.unwrap_or_default();
    let filled = tables::fill(&document, &records, &fuzz)?;
    if check {
        if filled != document {
            println!("{DOCUMENT}: expected the tables of {RECORDS}, found others");
        }
        return Ok(filled == document);
    }
    std::fs::write(DOCUMENT, filled).map_err(|error| error.to_string())?;
    Ok(true)
}

fn read_record(file: &Path) -> Result<Option<Record>, String> {
    let text = read_if_there(file)?;
    let record = text.map(|text| serde_json::from_str(&text)).transpose();
    record.map_err(|error| format!("{}: {error}", file.display()))
}

fn read_if_there(file: &Path) -> Result<Option<String>, String> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}
