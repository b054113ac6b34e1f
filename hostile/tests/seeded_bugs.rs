//! The targets can fail: with one of the engine's seeded bugs, some file of the corpus shows it.
//!
//! Not every bug can show here: some need a power cut at one certain operation, which is what the
//! crash simulation is for.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use bristlecone::mutation::{self, Mutation};
use bristlecone_hostile::{data_file, log, operations};

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 3] =
    [("operations", operations::run), ("data_file", data_file::run), ("log", log::run)];

/// So many are caught by the files there are.
const CAUGHT_MIN: usize = 15;

/// The first file that fails with the bug, of any target.
fn caught(bug: Mutation) -> Option<String> {
    for (target, run) in TARGETS {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
        for entry in fs::read_dir(dir).expect("a corpus") {
            let path = entry.expect("an entry of the corpus").path();
            let bytes = fs::read(&path).expect("a file of the corpus");
            mutation::set(Some(bug));
            let outcome = catch_unwind(AssertUnwindSafe(|| run(&bytes)));
            mutation::set(None);
            if outcome.is_err() {
                return Some(path.display().to_string());
            }
        }
    }
    None
}

#[test]
fn the_corpora_catch_seeded_bugs() {
    // Panics are what is wanted here.
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for bug in Mutation::ALL {
        match caught(bug) {
            Some(file) => println!("{bug:?}: caught by {file}"),
            None => missed.push(bug),
        }
    }
    drop(std::panic::take_hook());
    println!("not caught by a corpus: {missed:?}");
    let caught = Mutation::ALL.len() - missed.len();
    assert!(caught >= CAUGHT_MIN, "expected {CAUGHT_MIN} bugs to be caught, found {caught}");
}
