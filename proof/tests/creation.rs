//! Databases whose making was killed, and then cut: three that were lost once.

use std::path::Path;
use std::sync::Arc;

use bristlecone::io::Host;
use bristlecone::io::sim::{CrashImages, SimDisk, Trace};
use bristlecone::{Db, Result};

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
