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
//! many disks of random histories are recovered, `BRISTLECONE_LENGTH=n` the length of the short
//! histories of which every cut is made.

#[path = "simulation/mod.rs"]
mod simulation;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use bristlecone::io::Host;
use bristlecone::io::sim::{CrashImages, SimDisk, Trace};
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

/// What is done to open the disk, and to make a database there.
fn trace_of_opening(disk: &SimDisk) -> Result<Trace> {
    disk.start_trace();
    drop(Db::open_on(Arc::new(disk.clone()), "/db", bristlecone::Options::new())?);
    Ok(disk.take_trace().expect("started above"))
}

/// The disks that a kill at each of the first operations leaves.
fn killed(trace: &Trace, operations: usize) -> Vec<SimDisk> {
    let mut images = CrashImages::new(trace);
    (0..operations).map_while(|_| images.advance().map(|_| images.killed())).collect()
}

/// A creation that is cut short is cleaned up by the next one. When that one is killed too, and
/// then the power fails while a third one cleans up, what is left still opens: the log must be gone
/// for sure before the unfinished data file is, which tells what the log belonged to.
#[test]
fn a_creation_killed_twice_and_then_cut_can_still_be_finished() -> Result<()> {
    let disk = SimDisk::new(1);
    disk.set_reserve_bytes_max(1 << 20);
    for once in killed(&trace_of_opening(&disk)?, usize::MAX) {
        for twice in killed(&trace_of_opening(&once)?, 6) {
            let trace = trace_of_opening(&twice)?;
            let mut images = CrashImages::new(&trace);
            for _ in 0..4 {
                images.advance();
                for seed in 0..8 {
                    let left = images.image(seed);
                    let names = left.list_all();
                    let opened = Db::open_on(Arc::new(left), "/db", bristlecone::Options::new());
                    assert!(opened.is_ok(), "{opened:?} with {names:?}");
                }
            }
        }
    }
    Ok(())
}
