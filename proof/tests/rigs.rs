//! A short run of each rig. The tiers run the same with more cases: see `docs/testing.md`.

use bristlecone_proof::rig::{self, Plan};
use bristlecone_proof::rigs::{RIGS, find};

/// Runs so many cases, and fails if one of them did.
fn run(name: &str, cases: u64) {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let plan = Plan { cases, seed: 1, scratch: scratch.path().to_path_buf() };
    let evidence = rig::run(find(name).expect("a rig of this name"), &plan);
    println!("{evidence}");
    assert!(evidence.is_clean(), "{evidence:#?}");
    assert!(evidence.skipped.is_some() || evidence.cases > 0, "{evidence:#?}");
}

/// One test for each rig, and a test that none is forgotten.
macro_rules! rigs {
    ($($test:ident: $name:literal, $cases:literal;)*) => {
        $(#[test]
        fn $test() {
            run($name, $cases);
        })*

        #[test]
        fn every_rig_has_a_test() {
            // The seeded bugs are tested in a process of their own.
            let tested = [$($name),*, "seeded-bugs"];
            for rig in RIGS {
                assert!(tested.contains(&rig.name), "{} has no test", rig.name);
            }
        }
    };
}

rigs! {
    no_power_cut_loses_an_acknowledged_commit: "crash-images", 60_000;
    every_cut_of_every_short_history_is_survived: "crash-strings", 11;
    random_histories_agree_with_maps: "histories", 500_000;
    every_failing_operation_is_survived: "failing-disk", 1;
    a_disk_that_lies_is_found_out: "lying-disk", 3000;
    no_clock_revives_a_record: "clock-jumps", 3000;
    every_flipped_bit_is_noticed_or_harmless: "bit-flips", 5000;
    every_overwritten_sector_is_noticed_or_harmless: "sectors", 2000;
    every_wrong_length_is_noticed_or_harmless: "lengths", 2000;
    a_full_disk_refuses_writes_and_takes_them_again: "full-disk", 1;
}
