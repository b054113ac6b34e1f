//! Long work tells how far it has come, and ends when it is asked to, with nothing lost.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bristlecone::io::sim::SimDisk;
use bristlecone::{CheckProgress, Db, OpenProgress, Options, Result};

const COMMITS: u64 = 60;

fn options() -> Options {
    Options::new().page_bytes(4096).threads(false).checkpoint_log_bytes(1 << 40)
}

/// What a kill leaves of a database whose log is 6 MB long.
fn killed() -> Result<SimDisk> {
    let disk = SimDisk::new(1);
    disk.set_reserve_bytes_max(64 << 20);
    let options = options().checkpoint_log_bytes_min(1 << 40);
    let db = Db::open_on(Arc::new(disk.clone()), "/db", options)?;
    for number in 0..COMMITS {
        db.update(|txn| {
            let mut bucket = txn.create_bucket_if_missing("b")?;
            bucket.put(number.to_be_bytes(), vec![number as u8; 100_000])
        })?;
    }
    let left = disk.fork();
    disk.power_off();
    Ok(left)
}

fn open(
    disk: &SimDisk,
    options: Options,
    progress: &mut dyn FnMut(OpenProgress) -> ControlFlow<()>,
) -> Result<Db> {
    Db::open_on_with(Arc::new(disk.clone()), Path::new("/db"), options, progress)
}

#[test]
fn an_open_tells_how_much_of_the_log_it_has_replayed() -> Result<()> {
    let disk = killed()?;
    for options in [options(), options().read_only(true), options().attach(true)] {
        let (mut told, mut calls) = (OpenProgress::default(), 0);
        let db = open(&disk.fork(), options, &mut |now| {
            assert!(now.transactions > told.transactions && now.log_bytes > told.log_bytes);
            (told, calls) = (now, calls + 1);
            ControlFlow::Continue(())
        })?;
        assert!((5..10).contains(&calls), "{calls} calls for 6 MB");
        assert!(told.transactions <= COMMITS && told.log_bytes > 5_000_000, "{told:?}");
        assert_eq!(db.begin_read()?.bucket("b")?.len(), COMMITS);
    }
    Ok(())
}

#[test]
fn an_open_that_is_stopped_leaves_everything_as_it_was() -> Result<()> {
    let disk = killed()?;
    for stop_at in 1..6 {
        let mut calls = 0;
        let stopped = open(&disk, options(), &mut |_| {
            calls += 1;
            if calls == stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let error = stopped.expect_err("it was stopped");
        assert!(error.is_stopped(), "{error}");
        assert_eq!(error.to_string(), "open stopped as asked");
        // Not locked either, and what a power cut leaves is the same.
        let cut = disk.crash(stop_at);
        for disk in [&disk, &cut] {
            let db = open(disk, options().read_only(true), &mut |_| ControlFlow::Continue(()))?;
            assert_eq!(db.begin_read()?.bucket("b")?.len(), COMMITS);
        }
    }
    Ok(())
}

#[test]
fn a_check_that_is_stopped_says_so() -> Result<()> {
    let disk = killed()?;
    let db = open(&disk, options(), &mut |_| ControlFlow::Continue(()))?;
    db.checkpoint()?;
    let mut last = None;
    let stopped = db.check(&mut |now: CheckProgress| {
        last = Some(now);
        if now.pages_done > 500 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(stopped.expect_err("it was stopped").is_stopped());
    assert!(last.is_some_and(|last| last.pages_done < last.pages_total), "{last:?}");
    assert!(db.check(&mut |_| ControlFlow::Continue(()))?.is_sound());
    Ok(())
}
