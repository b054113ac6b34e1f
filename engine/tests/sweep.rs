//! What has expired goes: at once from what readers see, and then from the file.

#[path = "support/simulated.rs"]
mod simulated;
#[path = "support/sound.rs"]
mod sound;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use bristlecone::io::sim::SimDisk;
use bristlecone::{Db, Options, Result, SweepReport};

use simulated::{open, reopen};
use sound::assert_sound;

const SECOND: Duration = Duration::from_secs(1);
const DAY_MS: i64 = 24 * 3_600_000;

fn options() -> Options {
    Options::new().page_bytes(4096).threads(false)
}

/// Its commits are buffered: they show when they are durable.
fn sweep(db: &Db) -> Result<SweepReport> {
    let report = db.sweep(&mut |_| ControlFlow::Continue(()))?;
    db.sync()?;
    Ok(report)
}

fn key(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

fn len(db: &Db) -> Result<u64> {
    db.view(|txn| Ok(txn.bucket("leases")?.len()))
}

#[test]
fn what_has_expired_is_removed_and_what_was_renewed_stays() -> Result<()> {
    let mut disk = SimDisk::new(1);
    let mut db = open(&disk, options())?;
    db.update(|txn| {
        let mut leases = txn.create_bucket("leases")?;
        (0..1000).try_for_each(|n| leases.put_with_ttl(key(n), "held", 5 * SECOND))
    })?;
    db.checkpoint()?;
    db.update(|txn| {
        let mut leases = txn.bucket_mut("leases")?;
        for n in 0..1000 {
            match n % 5 {
                0 => leases.put_with_ttl(key(n), "renewed", 60 * SECOND)?,
                1 => leases.put(key(n), "for good")?,
                2 => drop(leases.delete(key(n))?),
                3 => drop(leases.touch(key(n), SECOND)?),
                _ => {}
            }
        }
        Ok(())
    })?;
    assert_eq!(len(&db)?, 800);
    assert_eq!(sweep(&db)?.removed, 0, "nothing has expired");
    disk.advance_ms(1500);
    assert!(db.stats().ttl_lag >= Duration::from_millis(400), "{:?}", db.stats().ttl_lag);
    assert_eq!(sweep(&db)?.removed, 200, "what was touched");
    for _ in 0..2 {
        assert_eq!((len(&db)?, db.stats().ttl_lag), (600, Duration::ZERO));
        // The sweep is in the log, and its hints are found again.
        db.sync()?;
        db = reopen(&mut disk, db, options())?;
        db.checkpoint()?;
        assert_sound(&db)?;
    }
    disk.advance_ms(4000);
    assert_eq!(sweep(&db)?.removed, 200);
    assert_eq!((len(&db)?, db.stats().swept), (400, 200));
    disk.advance_ms(60_000);
    assert_eq!(sweep(&db)?.removed, 200);
    let report = sweep(&db)?;
    assert!(report.is_finished && report.removed == 0, "{report:?}");
    assert_eq!(len(&db)?, 200);
    db.view(|txn| {
        let leases = txn.bucket("leases")?;
        assert!(leases.iter()?.all(|pair| pair.is_ok_and(|(_, value)| value == b"for good")));
        Ok(())
    })?;
    db.checkpoint()?;
    assert_sound(&db)
}

#[test]
fn a_sweep_goes_in_steps_and_can_be_stopped() -> Result<()> {
    let disk = SimDisk::new(1);
    let db = open(&disk, options())?;
    db.update(|txn| {
        let mut leases = txn.create_bucket("leases")?;
        (0..1000).try_for_each(|n| leases.put_with_ttl(key(n), "held", SECOND))
    })?;
    disk.advance_ms(1000);
    let (revision, mut steps) = (db.begin_read()?.id().0, 0);
    let report = db.sweep(&mut |progress| {
        steps += 1;
        assert!(progress.removed < 1000);
        if steps <= 2 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    assert!(!report.is_finished && report.removed > 0 && report.removed < 1000, "{report:?}");
    db.sync()?;
    assert_eq!(db.begin_read()?.id().0, revision + 2, "each step is a commit");
    assert_eq!(len(&db)?, 1000 - report.removed);
    assert_eq!(sweep(&db)?.removed, 1000 - report.removed);
    assert_eq!(len(&db)?, 0);
    db.checkpoint()?;
    assert_sound(&db)?;
    // Nothing is left of it, in the list of expiries neither.
    let used = db.check(&mut |_| ControlFlow::Continue(()))?.pages_reachable;
    let fresh = open(&SimDisk::new(2), options())?;
    fresh.update(|txn| txn.create_bucket("leases").map(|_| ()))?;
    fresh.checkpoint()?;
    assert_eq!(used, fresh.check(&mut |_| ControlFlow::Continue(()))?.pages_reachable);
    Ok(())
}

#[test]
fn nothing_is_removed_because_of_a_clock_that_was_set_forward() -> Result<()> {
    let mut disk = SimDisk::new(1);
    let mut db = open(&disk, options())?;
    db.update(|txn| {
        let mut leases = txn.create_bucket("leases")?;
        leases.put_with_ttl("short", "", SECOND)?;
        leases.put_with_ttl("long", "", 3600 * 24 * SECOND)
    })?;
    disk.advance_ms(3650 * DAY_MS);
    let hidden = |db: &Db| db.view(|txn| Ok(txn.bucket("leases")?.get("long")?.is_none()));
    assert!(hidden(&db)?);
    for _ in 0..2 {
        assert_eq!((sweep(&db)?.removed, len(&db)?), (0, 2), "the clock is not believed yet");
        // A commit keeps the time that readers go by.
        db.update(|txn| txn.bucket_mut("leases")?.put("another", ""))?;
        db.update(|txn| txn.bucket_mut("leases")?.delete("another").map(|_| ()))?;
    }
    // Taken back: what has expired is known again.
    disk.advance_ms(-3650 * DAY_MS + 2000);
    db = reopen(&mut disk, db, options())?;
    assert!(hidden(&db)?, "what was hidden is not shown again");
    assert_eq!((sweep(&db)?.removed, len(&db)?), (1, 1));
    Ok(())
}

#[test]
fn records_with_the_longest_names_are_found() -> Result<()> {
    let mut disk = SimDisk::new(1);
    let mut db = open(&disk, options())?;
    let name = [b'n'; 1024];
    db.update(|txn| {
        let mut outer = txn.create_bucket(name)?;
        let mut inner = outer.create_bucket(name)?;
        inner.put_with_ttl(name, "value", SECOND)?;
        inner.put_with_ttl("long", vec![7; 100_000], SECOND)
    })?;
    db.checkpoint()?;
    assert_sound(&db)?;
    db = reopen(&mut disk, db, options())?;
    disk.advance_ms(1000);
    assert_eq!(sweep(&db)?.removed, 2);
    db.view(|txn| {
        assert!(txn.bucket(name)?.bucket(name)?.is_empty());
        Ok(())
    })?;
    db.checkpoint()?;
    assert_sound(&db)
}

#[test]
fn hints_of_what_is_gone_lead_to_nothing() -> Result<()> {
    let disk = SimDisk::new(1);
    let db = open(&disk, options())?;
    db.update(|txn| {
        txn.create_bucket("dropped")?.put_with_ttl("key", "", SECOND)?;
        let mut leases = txn.create_bucket("leases")?;
        leases.create_bucket("nested")?.put_with_ttl("key", "", SECOND)?;
        leases.put_with_ttl("a bucket later", "", SECOND)
    })?;
    db.update(|txn| {
        txn.drop_bucket("dropped")?;
        let mut leases = txn.bucket_mut("leases")?;
        leases.drop_bucket("nested")?;
        leases.put("nested", "a value now")?;
        leases.delete("a bucket later")?;
        leases.create_bucket("a bucket later").map(|_| ())
    })?;
    disk.advance_ms(1000);
    let revision = db.begin_read()?.id();
    let report = sweep(&db)?;
    assert!(report.is_finished && report.removed == 0, "{report:?}");
    assert_eq!((db.begin_read()?.id(), len(&db)?), (revision, 2), "no revision for nothing");
    assert_eq!(db.stats().ttl_lag, Duration::ZERO);
    db.checkpoint()?;
    assert_sound(&db)
}

#[test]
fn the_list_of_expiries_is_compacted_too() -> Result<()> {
    let disk = SimDisk::new(1);
    let db = open(&disk, options())?;
    db.update(|txn| {
        txn.create_bucket("gone")?.put("key", vec![7; 2_000_000])?;
        let mut leases = txn.create_bucket("leases")?;
        (0..2000).try_for_each(|n| leases.put_with_ttl(key(n), "held", 100 * SECOND))
    })?;
    db.checkpoint()?;
    db.update(|txn| txn.drop_bucket("gone"))?;
    let before = db.stats().file_bytes;
    let report = db.compact(&mut |_| ControlFlow::Continue(()))?;
    assert!(report.is_finished && report.file_bytes_after < before / 3, "{before}: {report:?}");
    db.checkpoint()?;
    assert_sound(&db)?;
    disk.advance_ms(100_000);
    assert_eq!(sweep(&db)?.removed, 2000);
    db.checkpoint()?;
    assert_sound(&db)
}

#[test]
fn a_thread_removes_what_has_expired() -> Result<()> {
    let dir = tempfile::tempdir().expect("a directory");
    let db = Db::open(dir.path().join("db"))?;
    db.update(|txn| {
        let mut leases = txn.create_bucket("leases")?;
        leases.put_with_ttl("later", "", 3600 * SECOND)?;
        (0..1000).try_for_each(|n| leases.put_with_ttl(key(n), "held", SECOND / 10))
    })?;
    let begin = Instant::now();
    while db.stats().swept < 1000 {
        assert!(begin.elapsed() < 30 * SECOND, "{:?}", db.stats());
        std::thread::sleep(SECOND / 100);
    }
    db.sync()?;
    assert_eq!(len(&db)?, 1);
    db.close()
}
