//! Buckets that expire: all they hold goes at once, and the space after it.

#[path = "support/simulated.rs"]
mod simulated;
#[path = "support/sound.rs"]
mod sound;

use std::ops::ControlFlow;
use std::time::Duration;

use bristlecone::io::sim::SimDisk;
use bristlecone::{Db, ErrorKind, Options, Result};

use simulated::{open, reopen};
use sound::assert_sound;

const SECOND: Duration = Duration::from_secs(1);

fn options() -> Options {
    Options::new().page_bytes(4096).threads(false)
}

fn sweep(db: &Db) -> Result<u64> {
    let report = db.sweep(&mut |_| ControlFlow::Continue(()))?;
    db.sync()?;
    Ok(report.removed)
}

/// A job with values, one of which expires later than the job, and a bucket in it.
fn job(db: &Db, name: &str, ttl: Duration) -> Result<()> {
    db.update(|txn| {
        let mut jobs = txn.create_bucket_if_missing("jobs")?;
        let mut job = jobs.create_bucket(name)?;
        job.expire_after(ttl)?;
        job.put("state", "running")?;
        job.put_with_ttl("lease", "held", 100 * SECOND)?;
        job.create_bucket("logs")?.put("1", vec![b'l'; 9000])
    })
}

fn names(db: &Db) -> Result<Vec<String>> {
    db.view(|txn| {
        let names = txn.bucket("jobs")?.buckets()?;
        names.map(|name| Ok(String::from_utf8_lossy(name?).into_owned())).collect()
    })
}

#[test]
fn a_bucket_goes_whole_when_its_time_is_over() -> Result<()> {
    let mut disk = SimDisk::new(1);
    let mut db = open(&disk, options())?;
    job(&db, "short", 5 * SECOND)?;
    job(&db, "long", 50 * SECOND)?;
    let before = db.snapshot()?;
    let jobs = before.bucket("jobs")?;
    assert_eq!(jobs.bucket_expiry("short")?, Some(before.now() + 5 * SECOND));
    assert_eq!(before.bucket_expiry("jobs")?, None);
    disk.advance_ms(5000);
    assert_eq!(names(&db)?, ["long"]);
    // Who began before sees it to the end.
    assert_eq!(jobs.bucket("short")?.get("state")?, Some(&b"running"[..]));
    db.view(|txn| {
        let jobs = txn.bucket("jobs")?;
        assert!(jobs.bucket("short").unwrap_err().is_bucket_not_found());
        assert!(jobs.bucket_expiry("short").unwrap_err().is_bucket_not_found());
        assert_eq!(jobs.get("short")?, None);
        Ok(())
    })?;
    db.update(|txn| {
        let mut jobs = txn.bucket_mut("jobs")?;
        assert!(jobs.bucket_mut("short").unwrap_err().is_bucket_not_found());
        assert!(jobs.drop_bucket("short").unwrap_err().is_bucket_not_found());
        Ok(())
    })?;
    drop(before);
    db = reopen(&mut disk, db, options())?;
    assert_eq!(names(&db)?, ["long"]);
    assert_eq!(sweep(&db)?, 1, "the bucket; what it held goes with it");
    assert_eq!(db.view(|txn| Ok(txn.bucket("jobs")?.len()))?, 1);
    db.checkpoint()?;
    assert_sound(&db)?;
    db = reopen(&mut disk, db, options())?;
    disk.advance_ms(200_000);
    assert_eq!(sweep(&db)?, 1, "hints of what went with a bucket lead to nothing");
    assert_eq!(db.view(|txn| Ok(txn.bucket("jobs")?.len()))?, 0);
    db.checkpoint()?;
    assert_sound(&db)
}

#[test]
fn the_expiry_of_a_bucket_is_moved_and_taken_away() -> Result<()> {
    let mut disk = SimDisk::new(2);
    let mut db = open(&disk, options())?;
    ["later", "sooner", "never"].into_iter().try_for_each(|name| job(&db, name, 10 * SECOND))?;
    db.checkpoint()?;
    db.update(|txn| {
        let now = txn.now();
        let mut jobs = txn.bucket_mut("jobs")?;
        let mut later = jobs.bucket_mut("later")?;
        assert_eq!(later.expires_at(), Some(now + 10 * SECOND));
        later.expire_at(now + 20 * SECOND)?;
        assert_eq!(later.expires_at(), Some(now + 20 * SECOND));
        for refused in [Duration::ZERO, Duration::MAX] {
            let error = later.expire_after(refused).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::InvalidArgument { .. }), "{error}");
        }
        drop(later);
        jobs.bucket_mut("sooner")?.expire_after(SECOND)?;
        jobs.bucket_mut("never")?.expire_never()
    })?;
    for (ms, left, swept) in [
        (0, &["later", "never", "sooner"][..], 0),
        (1000, &["later", "never"], 1),
        (9000, &["later", "never"], 0),
        (10_000, &["never"], 1),
        (90_000, &["never"], 1),
    ] {
        disk.advance_ms(ms);
        db = reopen(&mut disk, db, options())?;
        assert_eq!(names(&db)?, left, "after {ms} ms");
        // At last the lease in the bucket that stays.
        assert_eq!(sweep(&db)?, swept, "after {ms} ms");
        assert_eq!(names(&db)?, left);
        db.checkpoint()?;
        assert_sound(&db)?;
    }
    Ok(())
}

#[test]
fn what_has_expired_makes_room_for_what_is_new() -> Result<()> {
    let mut disk = SimDisk::new(3);
    let mut db = open(&disk, options())?;
    for name in ["bucket", "if missing", "value", "deleted"] {
        job(&db, name, SECOND)?;
    }
    db.update(|txn| txn.bucket_mut("jobs")?.put_with_ttl("was a value", "1", SECOND))?;
    disk.advance_ms(1000);
    db.update(|txn| {
        let mut jobs = txn.bucket_mut("jobs")?;
        jobs.create_bucket("bucket")?.put("new", "1")?;
        let mut job = jobs.create_bucket_if_missing("if missing")?;
        assert_eq!((job.len(), job.expires_at()), (0, None));
        job.put("new", "2")?;
        drop(job);
        jobs.put("value", "3")?;
        assert!(!jobs.delete("deleted")?);
        jobs.create_bucket("was a value")?.put("new", "4")
    })?;
    for _ in 0..3 {
        db.view(|txn| {
            let jobs = txn.bucket("jobs")?;
            for (name, new) in [("bucket", "1"), ("if missing", "2"), ("was a value", "4")] {
                assert_eq!(jobs.bucket_expiry(name)?, None);
                let job = jobs.bucket(name)?;
                assert_eq!((job.len(), job.get("new")?), (1, Some(new.as_bytes())));
            }
            assert_eq!((jobs.len(), jobs.get("value")?), (4, Some(&b"3"[..])));
            Ok(())
        })?;
        db = reopen(&mut disk, db, options())?;
        assert_eq!(sweep(&db)?, 0, "old hints lead to what is new, and it stays");
        db.checkpoint()?;
        assert_sound(&db)?;
    }
    Ok(())
}

#[test]
fn a_large_bucket_gives_its_space_back() -> Result<()> {
    let disk = SimDisk::new(4);
    let db = open(&disk, options())?;
    db.update(|txn| {
        let mut large = txn.create_bucket("large")?;
        large.expire_after(SECOND)?;
        (0..20_000u32).try_for_each(|n| large.put(n.to_be_bytes(), [7; 100]))
    })?;
    db.checkpoint()?;
    let full = db.stats();
    disk.advance_ms(1000);
    let memory = db.stats().memory_bytes;
    assert_eq!(sweep(&db)?, 1);
    let taken = db.stats().memory_bytes - memory;
    assert!(taken < 300_000, "detached at once, {taken} bytes for a little of it");
    for _ in 0..100 {
        db.checkpoint()?;
    }
    let left = db.stats();
    assert!(full.file_bytes - full.free_bytes > 2_000_000);
    assert!(left.file_bytes - left.free_bytes < 100_000, "{left:?}");
    db.checkpoint()?;
    assert_sound(&db)
}

#[test]
fn a_compaction_takes_what_has_expired_along() -> Result<()> {
    let disk = SimDisk::new(5);
    let db = open(&disk, options())?;
    db.update(|txn| {
        txn.create_bucket("first")?.put_many(&pairs(20_000))?;
        let mut expired = txn.create_bucket("later")?;
        expired.expire_after(SECOND)?;
        expired.put_many(&pairs(2000))
    })?;
    db.checkpoint()?;
    db.update(|txn| txn.drop_bucket("first"))?;
    disk.advance_ms(1000);
    assert!(db.compact(&mut |_| ControlFlow::Continue(()))?.is_finished);
    let stats = db.stats();
    assert!(stats.file_bytes < 800_000 && stats.free_bytes < 200_000, "{stats:?}");
    assert_eq!(sweep(&db)?, 1);
    db.checkpoint()?;
    assert_sound(&db)
}

fn pairs(count: u32) -> Vec<([u8; 4], [u8; 100])> {
    (0..count).map(|n| (n.to_be_bytes(), [1; 100])).collect()
}
