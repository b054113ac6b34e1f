//! A disk that becomes full in the middle of a sweep or a compaction: nothing is lost, the error
//! says so, and when there is space again both go on to their end.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bristlecone::io::sim::SimDisk;
use bristlecone::{Db, Options, Result};

fn open(disk: &SimDisk) -> Result<Db> {
    let options = Options::new().page_bytes(4096).threads(false).wal_segment_bytes_max(16 << 10);
    Db::open_on(Arc::new(disk.clone()), "/db", options)
}

/// Records of which many have expired: what stays is 2000 of them.
fn expired(disk: &SimDisk) -> Result<Db> {
    let db = open(disk)?;
    db.update(|txn| {
        let mut kept = txn.create_bucket("kept")?;
        (0..8000_u32).try_for_each(|n| match n % 4 {
            0 => kept.put(n.to_be_bytes(), vec![n as u8; 120]),
            _ => kept.put_with_ttl(n.to_be_bytes(), vec![1; 120], Duration::from_secs(1)),
        })
    })?;
    // The log of all that is not what makes room.
    for number in 0..6_u32 {
        db.update(|txn| txn.bucket_mut("kept")?.put(number.to_be_bytes(), vec![0; 120]))?;
        db.update(|txn| txn.bucket_mut("kept")?.delete(number.to_be_bytes()).map(|_| ()))?;
        db.checkpoint()?;
    }
    db.update(|txn| {
        let mut kept = txn.bucket_mut("kept")?;
        kept.put(0_u32.to_be_bytes(), vec![0; 120])?;
        kept.put(4_u32.to_be_bytes(), vec![4; 120])
    })?;
    db.checkpoint()?;
    disk.advance_ms(1000);
    Ok(db)
}

/// Leaves of which a quarter is full, and hardly a free page: what is moved needs new ones first.
fn sparse(disk: &SimDisk) -> Result<Db> {
    let db = open(disk)?;
    let value = |n: u32| vec![n as u8; if n.is_multiple_of(4) { 120 } else { 60 }];
    db.update(|txn| {
        let mut kept = txn.create_bucket("kept")?;
        (0..8000_u32).try_for_each(|n| kept.put(n.to_be_bytes(), value(n)))
    })?;
    db.checkpoint()?;
    db.update(|txn| {
        let mut kept = txn.bucket_mut("kept")?;
        let gone = (0..8000_u32).filter(|n| !n.is_multiple_of(4));
        gone.into_iter().try_for_each(|n| kept.delete(n.to_be_bytes()).map(|_| ()))
    })?;
    Ok(db)
}

/// What stays, as it was.
fn assert_content(db: &Db) -> Result<()> {
    let txn = db.begin_read()?;
    let kept = txn.bucket("kept")?;
    let mut count = 0;
    for pair in kept.iter()? {
        let (key, value) = pair?;
        assert_eq!(value, vec![key[3]; 120]);
        count += 1;
    }
    assert_eq!(count, 2000);
    let report = db.check(&mut |_| ControlFlow::Continue(()))?;
    assert!(report.is_sound(), "{:#?}", report.problems);
    Ok(())
}

/// Does `work` where so many bytes are free, and again where there is no end to them; tells whether
/// it was refused at first.
fn tried(
    room: u64,
    make: impl Fn(&SimDisk) -> Result<Db>,
    work: impl Fn(&Db) -> Result<()>,
) -> Result<bool> {
    let disk = SimDisk::new(room);
    let db = make(&disk)?;
    disk.set_capacity(Some(disk.space_bytes() + room));
    let outcome = work(&db);
    assert_content(&db)?;
    if let Err(error) = &outcome {
        assert!(error.is_full(), "{error}");
    }
    disk.set_capacity(None);
    // As it is after a kill now, and as it goes on.
    let killed = disk.fork();
    work(&db)?;
    assert_content(&db)?;
    drop(db);
    disk.power_off();
    let reopened = open(&killed)?;
    assert_content(&reopened)?;
    work(&reopened)?;
    assert_content(&reopened)?;
    Ok(outcome.is_err())
}

#[test]
fn a_sweep_goes_on_when_there_is_space() -> Result<()> {
    let sweep = |db: &Db| {
        let report = db.sweep(&mut |_| ControlFlow::Continue(()))?;
        assert!(report.is_finished);
        db.sync()?;
        db.checkpoint()?;
        let len = db.view(|txn| Ok(txn.bucket("kept")?.len()))?;
        assert_eq!(len, 2000, "what has expired is gone");
        Ok(())
    };
    let mut refused = 0;
    for room in (0..40).map(|n| n * 100_000) {
        refused += u64::from(tried(room, expired, sweep)?);
    }
    assert!((1..40).contains(&refused), "{refused}");
    Ok(())
}

#[test]
fn a_compaction_goes_on_when_there_is_space() -> Result<()> {
    let compact = |db: &Db| {
        let report = db.compact(&mut |_| ControlFlow::Continue(()))?;
        assert!(report.is_finished);
        // Two checkpoints until the end of the file goes back.
        db.checkpoint()
    };
    let mut refused = 0;
    for room in (0..40).map(|n| n * 16_384) {
        refused += u64::from(tried(room, sparse, compact)?);
    }
    assert!((1..40).contains(&refused), "{refused}");
    Ok(())
}
