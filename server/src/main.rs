//! The program `bristlecone`; everything is in the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    bristlecone_server::cli::main()
}
