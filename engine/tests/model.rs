//! Random histories of everything a user can do, compared with nested `BTreeMap`s.
//!
//! Goal: whatever the order of writes, reads, commits, rollbacks, checkpoints, clock steps, closes
//! and kills, each reader sees exactly the version it began with, and each open finds exactly what
//! was committed.
//!
//! Method: most histories run on a simulated disk, without threads, so a seed replays them
//! exactly; a share runs on the real file system with the map and the engine's threads. A history
//! that fails is run again with a full comparison after each commit, so that the operation
//! reported is the first that went wrong.
//!
//! `BRISTLECONE_SEED=n` replays the one history with that seed; odd multiples of 16 are on the
//! real file system. `BRISTLECONE_OPERATIONS=n` changes how many operations run in all.

#[path = "model/history.rs"]
mod history;
#[path = "simulation/mod.rs"]
mod simulation;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use history::History;

const OPERATIONS: u64 = 2_000_000;
const HISTORY_OPERATIONS: u64 = 3000;
const THREADS: u64 = 2;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Runs one history; true if it went well.
fn run(seed: u64, careful: bool, done: &AtomicU64) -> bool {
    let mut history = History::new(seed, seed % 32 == 16);
    history.careful = careful;
    let outcome = catch_unwind(AssertUnwindSafe(|| history.run(HISTORY_OPERATIONS)));
    done.fetch_add(history.operations, Ordering::Relaxed);
    let shape = history.shape;
    match outcome {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => eprintln!("the engine failed: {error}"),
        Err(_) => {}
    }
    eprintln!(
        "seed {seed}: failed at operation {}{}; {shape:?}\n    replay with BRISTLECONE_SEED={seed}",
        history.operations,
        if careful { ", comparing all" } else { "" },
    );
    false
}

#[test]
fn random_histories_agree_with_maps() {
    let done = AtomicU64::new(0);
    if let Some(seed) = number("BRISTLECONE_SEED") {
        assert!(run(seed, false, &done) || run(seed, true, &done));
        return;
    }
    let operations = number("BRISTLECONE_OPERATIONS").unwrap_or(OPERATIONS);
    let start = Instant::now();
    let next = AtomicU64::new(1);
    let failed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while done.load(Ordering::Relaxed) < operations
                    && failed.load(Ordering::Relaxed) == 0
                {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !run(seed, false, &done) {
                        run(seed, true, &done);
                        failed.store(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let (operations, histories) = (done.into_inner(), next.into_inner() - 1);
    println!("model: {operations} operations in {histories} histories, {:?}", start.elapsed());
    assert_eq!(failed.into_inner(), 0, "the seed of a history that failed");
}
