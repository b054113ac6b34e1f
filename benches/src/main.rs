//! Bristlecone beside redb and LMDB, and beside the limit of the machine.
//!
//! `cargo run --release -p bristlecone-benches --features peers -- --help` tells the options.
//! Engines take turns workload by workload; the median of all rounds is reported. Sums of what was
//! read are compared with what was put, all pairs are compared after the load and at the end, and
//! a durable workload counts only when the device was seen to flush.

mod arguments;
mod contest;
mod device;
mod engines;
mod measure;
mod report;
mod workload;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use bristlecone_benches::data::Data;

use arguments::{Arguments, USAGE};
use contest::Contest;
use device::Device;
use engines::{KINDS, Result};
use report::Circumstances;
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
    let mut circumstances = circumstances(arguments, device.as_ref());
    eprintln!("making {} pairs", arguments.pairs);
    let data = Data::random(arguments.pairs, SEED);
    let contest = Contest { arguments, data: &data, device: device.as_ref() };
    let rows = contest.run()?;
    circumstances.push(("load average after", first_line("/proc/loadavg")));
    println!("{}", report::table(&rows, &circumstances));
    if let Some(file) = &arguments.json {
        fs::write(file, report::json(&rows, &circumstances))?;
    }
    Ok(())
}

fn circumstances(arguments: &Arguments, device: Option<&Device>) -> Circumstances {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    vec![
        ("command", std::env::args().collect::<Vec<_>>().join(" ")),
        ("commit", commit()),
        ("machine", format!("{cpus} x {}", cpu())),
        ("kernel", first_line("/proc/sys/kernel/osrelease")),
        ("device", device.map_or("unknown".to_owned(), |device| device.name.clone())),
        (
            "data",
            format!(
                "{} pairs, seed {SEED:#x}, {} rounds, {:?} of commits",
                arguments.pairs, arguments.rounds, arguments.duration
            ),
        ),
        ("load average before", first_line("/proc/loadavg")),
    ]
}

/// The commit that the checkout stands on.
fn commit() -> String {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let told = git.output().ok().filter(|output| output.status.success());
    told.map_or("unknown".to_owned(), |it| String::from_utf8_lossy(&it.stdout).trim().to_owned())
}

fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or("unknown".to_owned(), |(_, name)| name.to_owned())
}

fn first_line(path: impl AsRef<Path>) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}
