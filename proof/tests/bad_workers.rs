//! Goal: a rig takes nobody's word for what must not happen.
//!
//! Method: scripts stand in for the worker processes. Each tells of damage, ends badly or does
//! nothing at all, and every rig with workers must fail.

use std::os::unix::fs::PermissionsExt;

use bristlecone_proof::real::places::scratch;
use bristlecone_proof::rig::{self, Plan};
use bristlecone_proof::rigs::find;

/// Says that it found damage.
const DAMAGED: &str = "echo failed corrupt made up; exit 25";
/// The real worker, which says the same where it ends badly.
const DAMAGED_AFTER_ALL: &str = r#""$PROOF" "$@" || { echo failed corrupt made up; exit 25; }"#;
/// The same, if it dies by a signal.
const DEAD_AFTER_ALL: &str = r#""$PROOF" "$@" || kill -9 $$"#;
/// Does nothing, and ends well.
const IDLE: &str = "exit 0";
/// Ends as a panic does.
const PANICKED: &str = "echo a panic >&2; exit 101";

/// The failures of a rig with this for a worker; `None` where the machine cannot run it.
fn failures(name: &str, cases: u64, script: &str) -> Option<Vec<String>> {
    let dir = scratch().expect("a temporary directory");
    let worker = dir.path().join("worker");
    let proof = env!("CARGO_BIN_EXE_proof");
    let text = format!("#!/bin/sh\nPROOF='{proof}'\n{script}\n");
    std::fs::write(&worker, text).expect("a script");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&worker, executable).expect("a script that can be run");
    let plan = Plan { cases, seed: 1, scratch: dir.path().to_path_buf(), worker };
    let evidence = rig::run(find(name).expect("a rig of this name"), &plan);
    evidence.skipped.is_none().then_some(evidence.failures)
}

/// Every failure of each of these rigs, of which there is one, says this.
fn assert_all_fail(rigs: &[(&str, u64)], script: &str, with: &str) {
    for &(name, cases) in rigs {
        if let Some(failures) = failures(name, cases, script) {
            assert!(!failures.is_empty(), "{name} passed with {script:?}");
            let said = failures.iter().all(|failure| failure.contains(with));
            assert!(said, "{name} with {script:?}: {failures:#?}");
        }
    }
}

#[test]
fn damage_that_a_worker_tells_of_fails_the_rig() {
    let rigs = [
        ("kills", 40),
        ("power-cuts-ext4", 10),
        ("kills-at-syscalls", 8),
        ("sync-failures", 8),
        ("interruptions", 8),
        ("fsyncgate", 1),
        ("full-file-system", 4),
        ("read-only", 4),
        ("read-errors", 4),
        ("small-memory", 1),
        ("failing-allocations", 4),
        // More than the first seed has, whose races are of threads.
        ("second-opener", 10),
    ];
    assert_all_fail(&rigs, DAMAGED, "corrupt");
}

#[test]
fn damage_after_a_fault_fails_the_rig() {
    let rigs =
        [("sync-failures", 32), ("fsyncgate", 1), ("full-file-system", 60), ("read-only", 8)];
    assert_all_fail(&rigs, DAMAGED_AFTER_ALL, "corrupt");
}

#[test]
fn a_death_by_a_signal_that_nobody_sent_fails_the_rig() {
    let rigs = [("sync-failures", 32), ("fsyncgate", 1), ("full-file-system", 60)];
    assert_all_fail(&rigs, DEAD_AFTER_ALL, "signal: 9");
    assert_all_fail(&[("failing-allocations", 8)], "kill -9 $$", "signal: 9");
}

#[test]
fn workers_that_do_nothing_fail_the_rig() {
    assert_all_fail(&[("kills", 40), ("power-cuts-ext4", 24)], IDLE, "lives acknowledged nothing");
    assert_all_fail(&[("small-memory", 1)], IDLE, "");
}

#[test]
fn a_lying_disk_does_not_excuse_other_faults() {
    assert_all_fail(&[("power-cuts-lying", 2)], PANICKED, "exit status: 101");
    assert_all_fail(&[("power-cuts-lying", 2)], IDLE, "lost nothing");
}
