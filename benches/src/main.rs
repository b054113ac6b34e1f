//! Bristlecone beside other engines, and beside the limit of the machine.
//!
//! `cargo run --release -p bristlecone-benches --features all-peers -- --help` tells the options.
//! Engines take turns workload by workload; the median of all rounds is reported. Sums of what was
//! read are compared with what was put, all pairs are compared after the load and at the end, and
//! a durable workload counts only when the device was seen to flush.

mod arguments;
mod buckets;
mod child;
mod commits;
mod contender;
mod contest;
mod engines;
mod lifecycle;
mod measure;
mod outcome;
mod performer;
mod reads;
mod together;
mod values;
mod workload;

use std::process::ExitCode;

use bristlecone_benches::record::Record;
use bristlecone_benches::{circumstances, device, machine};

use arguments::{Arguments, USAGE};
use device::Device;
use engines::{KINDS, Result};
use workload::WORKLOADS;

/// Of the data.
const SEED: u64 = 0xb215_71ec_04e0_0001;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = child::run(&words)
        .unwrap_or_else(|| Arguments::parse(words).and_then(|arguments| run(&arguments)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}\n\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if arguments.help {
        println!("{USAGE}");
        return Ok(());
    }
    if arguments.list {
        WORKLOADS.iter().for_each(|workload| println!("{} ({})", workload.name, workload.unit));
        KINDS.iter().for_each(|kind| println!("engine: {}", kind.name));
        return Ok(());
    }
    let device = Device::of(&arguments.dir)?;
    let data =
        format!("{} pairs, seed {SEED:#x}, {:?} of commits", arguments.pairs, arguments.duration);
    let mut circumstances = circumstances::before("side-by-side", device.as_ref(), data);
    let rows = contest::run(arguments)?;
    circumstances.load_after = machine::load_average();
    let run = outcome::record(&rows, arguments.rounds, circumstances);
    println!("{}", outcome::table(&run));
    if let Some(file) = &arguments.json {
        Record::SideBySide(run).write(file)?;
    }
    Ok(())
}
