//! Crash simulation: power cuts at every operation of random histories, and all cuts of short ones.
//!
//! Goal: no acknowledged commit is ever lost, no unacknowledged one is ever half there, and what a
//! recovery found once is found for ever; wherever the power fails, in recovery too.
//!
//! Method: see `simulation/crash.rs` for the random histories and the invariants I1 to I8 that each
//! recovered disk must satisfy, and `simulation/ordering.rs` for the order that every trace must
//! show.
//!
//! `BRISTLECONE_SEED=n` replays the one history with that seed. `BRISTLECONE_IMAGES=n` changes how
//! many disks are recovered.

#[path = "simulation/mod.rs"]
mod simulation;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use simulation::crash::{CrashHistory, place};

const IMAGES: u64 = 100_000;
const LIVES: u64 = 4;
const IMAGES_PER_EVENT: u64 = 4;
const THREADS: usize = 2;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Runs one history and adds its images; true if it went well.
fn run(seed: u64, images: &AtomicU64) -> bool {
    let mut history = CrashHistory::new(seed, IMAGES_PER_EVENT);
    let outcome = catch_unwind(AssertUnwindSafe(|| history.run(LIVES)));
    images.fetch_add(history.tally.images, Ordering::Relaxed);
    match outcome {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => eprintln!("the engine failed: {error}"),
        Err(_) => {}
    }
    let (life, event, image) = place();
    eprintln!(
        "seed {seed}: failed in life {life} at operation {event}, image {image} there, image {} of \
         the history; {:?}\n    replay with BRISTLECONE_SEED={seed}",
        history.tally.images, history.shape,
    );
    false
}

#[test]
fn no_power_cut_loses_an_acknowledged_commit() {
    let images = AtomicU64::new(0);
    if let Some(seed) = number("BRISTLECONE_SEED") {
        assert!(run(seed, &images));
        return;
    }
    let wanted = number("BRISTLECONE_IMAGES").unwrap_or(IMAGES);
    let start = Instant::now();
    let (next, failed) = (AtomicU64::new(1), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while images.load(Ordering::Relaxed) < wanted && failed.load(Ordering::Relaxed) == 0
                {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !run(seed, &images) {
                        failed.store(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(failed.into_inner(), 0, "the seed of a history that failed");
    let (images, seconds) = (images.into_inner(), start.elapsed().as_secs_f64());
    println!(
        "crash images: {images}, acknowledged commits lost: 0 ({} histories, {seconds:.1} s, {:.0} \
         images/s)",
        next.into_inner() - 1,
        images as f64 / seconds,
    );
}
