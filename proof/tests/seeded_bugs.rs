//! Each seeded bug is caught. In a process of its own: the panics that catch them are not printed.

use bristlecone_proof::rig::{self, Plan};
use bristlecone_proof::rigs::find;

#[test]
fn every_seeded_bug_is_caught() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let worker = env!("CARGO_BIN_EXE_proof").into();
    let plan = Plan { cases: 1, seed: 1, scratch: scratch.path().to_path_buf(), worker };
    let evidence = rig::run(find("seeded-bugs").expect("a rig of this name"), &plan);
    println!("{evidence}");
    assert!(evidence.is_clean(), "{evidence:#?}");
    assert!(evidence.cases >= 20, "{evidence:#?}");
}
