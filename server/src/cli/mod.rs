//! The command line: one file for each kind of command, and one for how they end.
//!
//! Commands that only read open the database read-only, so they change nothing and work on a
//! read-only file system; beside a process that owns it they attach.
//!
//! Invariants:
//! 1. What was asked for goes to the standard output, all else to the standard error.
//! 2. The exit code tells what kind of end it was; see `bristlecone --help`.

mod archive;
mod backup;
mod buckets;
mod compact;
mod exit;
mod import;
mod input;
mod inspect;
mod interrupt;
mod output;
mod reading;
mod restore;
mod salvage;
mod scan;
mod serve;
mod values;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::{EXIT_CODES, Failure};

const EXAMPLE: &str = "Example, from nothing to a value and back:\n  \
    bristlecone put ./state users alice '{\"age\":7}' --create\n  \
    bristlecone get ./state users alice\n\n\
    `bristlecone help COMMAND` tells more about a command and shows an example.";

#[derive(Debug, Parser)]
#[command(
    name = "bristlecone",
    version,
    about = "A transactional key-value store: server, command line, import from bbolt",
    long_about = "A transactional key-value store: server, command line, import from bbolt.\n\n\
        A database is a directory. It holds buckets, which hold keys with values and further \
        buckets. Commands open the database themselves, and one process owns it at a time. While \
        another does, a server for one, commands that only read show its newest transaction \
        (buckets, get, scan, stats, check), and say so; others end with 3.",
    after_help = format!("{EXAMPLE}\n\n{EXIT_CODES}")
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Import a bbolt (BoltDB) file into a new or empty database
    ImportBolt(import::Arguments),
    /// List buckets as a tree
    Buckets(buckets::Arguments),
    /// Print the value of a key
    Get(values::GetArguments),
    /// Write a value
    Put(values::PutArguments),
    /// Remove a key
    Delete(values::DeleteArguments),
    /// Print keys and values in order, one JSON object a line
    Scan(scan::Arguments),
    /// Print sizes and counters
    Stats(inspect::StatsArguments),
    /// Verify every page of a database
    Check(inspect::CheckArguments),
    /// Make the data file as short as its content
    Compact(compact::Arguments),
    /// Show the inside of a database's files
    Dump(inspect::DumpArguments),
    /// Write everything that a database holds to one file
    Backup(backup::BackupArguments),
    /// Verify that a backup is whole
    VerifyBackup(backup::VerifyArguments),
    /// Add what was committed since the last time to an archive
    Archive(archive::Arguments),
    /// Restore a database, or one bucket, from a backup, or a point in time from an archive
    Restore(restore::Arguments),
    /// Copy what is left of a damaged database into a new one
    Salvage(salvage::Arguments),
    /// Serve a database over HTTP
    Serve(serve::Arguments),
}

/// Runs the command that the arguments of this process ask for.
#[must_use]
pub fn main() -> ExitCode {
    if let Err(error) = bristlecone::exit_on_map_failure() {
        eprintln!("bristlecone: no handler for failures of the map: {error}");
    }
    let result = match Arguments::parse().command {
        Command::ImportBolt(arguments) => import::run(&arguments),
        Command::Buckets(arguments) => buckets::run(&arguments),
        Command::Get(arguments) => values::get(&arguments),
        Command::Put(arguments) => values::put(&arguments),
        Command::Delete(arguments) => values::delete(&arguments),
        Command::Scan(arguments) => scan::run(&arguments),
        Command::Stats(arguments) => inspect::stats(&arguments),
        Command::Check(arguments) => inspect::check(&arguments),
        Command::Compact(arguments) => compact::run(&arguments),
        Command::Dump(arguments) => inspect::dump(&arguments),
        Command::Archive(arguments) => archive::run(&arguments),
        Command::Backup(arguments) => backup::backup(&arguments),
        Command::VerifyBackup(arguments) => backup::verify(&arguments),
        Command::Restore(arguments) => restore::run(&arguments),
        Command::Salvage(arguments) => salvage::run(&arguments),
        Command::Serve(arguments) => serve::run(arguments),
    };
    result.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_sound_and_every_command_has_an_example() {
        let command = Arguments::command();
        command.clone().debug_assert();
        for sub in command.get_subcommands() {
            let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{}", sub.get_name());
        }
    }
}
