//! Makes the tables of `docs/benchmarks.md` and the plots beside it from the committed records.
//!
//! `cargo run -p bristlecone-benches --bin report` from the root of the repository; with `--check`
//! it changes nothing, and fails when page and records differ. It measures nothing.

use std::path::Path;
use std::process::ExitCode;

use bristlecone_benches::{published, record};

const RECORDS: &str = "benches/records";
const USAGE: &str = "\
report: tables and plots in docs from the records in benches/records

  --check    changes nothing; fails when docs and records differ";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let check = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--check"] => true,
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("error: expected nothing or --check, found {arguments:?}\n\n{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    match run(check) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// True unless a check has found a difference.
fn run(check: bool) -> Result<bool, String> {
    let root = Path::new(".");
    let records = record::read_all(Path::new(RECORDS))?;
    let pages = published::pages(root, &records)?;
    let told = |error: std::io::Error| error.to_string();
    if check {
        let differences = published::differences(root, &pages).map_err(told)?;
        differences.iter().for_each(|difference| println!("{difference}"));
        return Ok(differences.is_empty());
    }
    published::write(root, &pages).map_err(told)?;
    println!("{} records, {} files", records.len(), pages.len());
    Ok(true)
}
