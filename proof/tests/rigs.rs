//! A short run of each rig. The tiers run the same with more cases: see `docs/testing.md`.

use bristlecone_proof::real::places::scratch;
use bristlecone_proof::rig::{self, Plan};
use bristlecone_proof::rigs::{RIGS, find};

/// Runs so many cases, and fails if one of them did.
fn run(name: &str, cases: u64) {
    let scratch = scratch().expect("a temporary directory");
    let worker = env!("CARGO_BIN_EXE_proof").into();
    let plan = Plan { cases, seed: 1, scratch: scratch.path().to_path_buf(), worker };
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
    a_follower_has_the_same_content: "followers", 3000;
    any_point_of_a_history_is_restored: "points-in-time", 10;
    no_clock_revives_a_record: "clock-jumps", 3000;
    every_flipped_bit_is_noticed_or_harmless: "bit-flips", 5000;
    every_overwritten_sector_is_noticed_or_harmless: "sectors", 2000;
    every_wrong_length_is_noticed_or_harmless: "lengths", 2000;
    what_is_not_saved_is_reported: "salvage", 1000;
    what_clients_see_is_linearizable: "linearizability", 8000;
    a_full_disk_refuses_writes_and_takes_them_again: "full-disk", 1;
    kills_lose_nothing_that_was_acknowledged: "kills", 80;
    power_cuts_on_ext4_lose_nothing_that_was_acknowledged: "power-cuts-ext4", 6;
    power_cuts_on_xfs_lose_nothing_that_was_acknowledged: "power-cuts-xfs", 6;
    power_cuts_on_a_lying_disk_lose_commits: "power-cuts-lying", 2;
    kills_at_system_calls_lose_nothing_that_was_acknowledged: "kills-at-syscalls", 24;
    nothing_is_acknowledged_after_a_failed_sync: "sync-failures", 24;
    a_call_that_is_interrupted_is_made_again: "interruptions", 8;
    a_sync_that_fails_once_is_not_believed_later: "fsyncgate", 1;
    a_full_file_system_refuses_writes_and_takes_them_again: "full-file-system", 20;
    where_nothing_may_be_written_nothing_is_damaged: "read-only", 12;
    what_cannot_be_read_is_told: "read-errors", 8;
    a_store_larger_than_memory_is_read_and_written: "small-memory", 1;
    an_allocation_that_fails_loses_nothing: "failing-allocations", 30;
    of_two_openers_one_is_told_that_it_is_locked: "second-opener", 40;
}
