//! Where and on what a run takes place, as its record tells it.

use crate::device::Device;
use crate::machine;
use crate::record::Circumstances;

/// Options whose values are places of one machine, and what is told in their stead.
const PLACES: &[(&str, &str)] =
    &[("--dir", "DIR"), ("--json", "FILE"), ("--record", "FILE"), ("--group", "GROUP")];

/// Features of this crate, and whether this build has them.
const FEATURES: &[(&str, bool)] = &[
    ("peers", cfg!(feature = "peers")),
    ("libmdbx", cfg!(feature = "libmdbx")),
    ("rocksdb", cfg!(feature = "rocksdb")),
];

/// The circumstances before a run of one of the crate's binaries.
#[must_use]
pub fn before(binary: &str, device: Option<&Device>, data: String) -> Circumstances {
    Circumstances {
        command: command(binary, std::env::args().skip(1)),
        commit: machine::commit(),
        date: machine::date(),
        machine: machine::processors(),
        kernel: machine::kernel(),
        device: device.map_or("unknown".to_owned(), |device| {
            format!("{}, {}", device.name, device.file_system)
        }),
        data,
        load_before: machine::load_average(),
        load_after: String::new(),
    }
}

/// A command with which anybody can repeat the run.
fn command(binary: &str, arguments: impl Iterator<Item = String>) -> String {
    let mut command = String::from("cargo run --release -p bristlecone-benches");
    let features = FEATURES.iter().filter(|(_, built)| *built).map(|(name, _)| *name);
    let features = features.collect::<Vec<_>>().join(",");
    if !features.is_empty() {
        command += " --features ";
        command += &features;
    }
    if binary != "side-by-side" {
        command += " --bin ";
        command += binary;
    }
    let mut place = None;
    for (number, argument) in arguments.enumerate() {
        command += if number == 0 { " -- " } else { " " };
        let quotes = if argument.contains(' ') { "'" } else { "" };
        command += &[quotes, place.unwrap_or(&argument), quotes].concat();
        place = PLACES.iter().find(|(option, _)| *option == argument).map(|(_, name)| *name);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_repeated_elsewhere() {
        let arguments = ["--only", "durable put", "--dir", "/tmp/disk", "--calm", "5"];
        let command = command("side-by-side", arguments.map(str::to_owned).into_iter());
        assert!(command.starts_with("cargo run --release -p bristlecone-benches"), "{command}");
        assert!(command.ends_with(" -- --only 'durable put' --dir DIR --calm 5"), "{command}");
    }
}
