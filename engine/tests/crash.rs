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
//! many disks of random histories are recovered, `BRISTLECONE_LENGTH=n` how long the short histories
//! are of which all cuts are made.

#[path = "simulation/mod.rs"]
mod simulation;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use bristlecone::io::Host;
use bristlecone::io::sim::{CrashImages, SimDisk};
use bristlecone::{Db, Result};
use simulation::crash::{CrashHistory, place};
use simulation::script::{self, Step};

const IMAGES: u64 = 150_000;
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

/// Where a cut can leave no more than so many disks, all are recovered: eight pending effects.
const OUTCOMES_MAX: u64 = 256;
/// Longest of the short histories.
const LENGTH: u64 = 2;

#[test]
fn every_cut_of_every_short_history_is_survived() {
    let length = number("BRISTLECONE_LENGTH").unwrap_or(LENGTH);
    let mut scripts: Vec<Vec<Step>> = vec![Vec::new()];
    let mut longest = scripts.clone();
    for _ in 0..length {
        let longer = |script: &Vec<Step>, step: Step| [&script[..], &[step]].concat();
        longest =
            longest.iter().flat_map(|script| Step::ALL.map(|step| longer(script, step))).collect();
        scripts.extend(longest.iter().cloned());
    }
    let start = Instant::now();
    let (next, images) = (AtomicUsize::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(script) = scripts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let done = catch_unwind(|| script::examine(script, OUTCOMES_MAX, 12));
                    match done {
                        Ok(Ok(tally)) => images.fetch_add(tally.images, Ordering::Relaxed),
                        Ok(Err(error)) => panic!("{script:?} at {:?}: {error}", place()),
                        Err(_) => panic!("{script:?} failed at {:?}", place()),
                    };
                }
            });
        }
    });
    println!(
        "crash images: {}, acknowledged commits lost: 0 (all {} histories of up to {length} \
         operations, {:.1} s)",
        images.into_inner(),
        scripts.len(),
        start.elapsed().as_secs_f64(),
    );
}

/// The process that made the directory was killed before it made the directory's name durable; the
/// next one found the directory and did not either.
#[test]
fn a_directory_whose_maker_was_killed_gets_a_durable_name() -> Result<()> {
    let disk = SimDisk::new(1);
    disk.create_dir(Path::new("/db")).expect("an empty disk");
    let db = Db::open_on(Arc::new(disk.clone()), "/db", bristlecone::Options::new())?;
    db.update(|txn| txn.create_bucket("b")?.put("key", "value"))?;
    for seed in 0..100 {
        let left = disk.crash(seed);
        let db = Db::open_on(Arc::new(left), "/db", bristlecone::Options::new())?;
        assert_eq!(db.begin_read()?.id().0, 1, "seed {seed}");
    }
    Ok(())
}

/// The process that created the database was killed between giving the data file its name and
/// making that durable; the next one found the file and did not either.
#[test]
fn a_database_whose_creator_was_killed_gets_a_durable_name() -> Result<()> {
    let disk = SimDisk::new(1);
    disk.start_trace();
    drop(Db::open_on(Arc::new(disk.clone()), "/db", bristlecone::Options::new())?);
    let trace = disk.take_trace().expect("started above");
    let mut images = CrashImages::new(&trace);
    while images.advance().is_some() {
        let disk = images.killed();
        let db = Db::open_on(Arc::new(disk.clone()), "/db", bristlecone::Options::new())?;
        db.update(|txn| txn.create_bucket("b")?.put("key", "value"))?;
        for seed in 0..20 {
            let left = disk.crash(seed);
            let db = Db::open_on(Arc::new(left), "/db", bristlecone::Options::new())?;
            assert_eq!(db.begin_read()?.id().0, 1, "{:?}, seed {seed}", images.in_flight());
        }
    }
    Ok(())
}
