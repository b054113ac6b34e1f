//! Bristlecone beside redb and LMDB, and beside the limit of the machine.
//!
//! `cargo run --release -p bristlecone-benches --features peers -- --help` tells the options.
//! Engines take turns workload by workload; the median of all rounds is reported. Sums of what was
//! read are compared with what was put, all pairs are compared after the load and at the end, and
//! a durable workload counts only when the device was seen to flush.

mod arguments;
mod contest;
mod engines;
mod measure;
mod outcome;
mod workload;

use std::process::ExitCode;

use bristlecone_benches::data::Data;
use bristlecone_benches::record::Record;
use bristlecone_benches::{circumstances, device, machine};

use arguments::{Arguments, USAGE};
use contest::Contest;
use device::Device;
use engines::{KINDS, Result};
use workload::WORKLOADS;

const SEED: u64 = 0xb215_71ec_04e0_0001;

fn main() -> ExitCode {
    match Arguments::parse(std::env::args().skip(1)).and_then(|arguments| run(&arguments)) {
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
    eprintln!("making {} pairs", arguments.pairs);
    let data = Data::random(arguments.pairs, SEED);
    let contest = Contest { arguments, data: &data, device: device.as_ref() };
    let rows = contest.run()?;
    circumstances.load_after = machine::load_average();
    let run = outcome::record(&rows, arguments.rounds, circumstances);
    println!("{}", outcome::table(&run));
    if let Some(file) = &arguments.json {
        Record::SideBySide(run).write(file)?;
    }
    Ok(())
}
