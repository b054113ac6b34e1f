//! A data file that may hold only so much: commits that need more are refused, deletes go on.

#[path = "support/sound.rs"]
mod sound;

use std::ops::ControlFlow;
use std::sync::Arc;

use bristlecone::io::sim::SimDisk;
use bristlecone::{Db, Error, ErrorKind, Options, Result};

use sound::assert_sound;

const BYTES_MAX: u64 = 2 << 20;

fn open(disk: &SimDisk, threads: bool) -> Result<Db> {
    let options = Options::new().page_bytes(4096).threads(threads).data_bytes_max(BYTES_MAX);
    Db::open_on(Arc::new(disk.clone()), "/db", options.checkpoint_log_bytes(1 << 40))
}

fn assert_full(error: &Error) {
    let expected = matches!(error.kind(), ErrorKind::Full { what: "data file", .. });
    assert!(expected, "expected a full data file, found {error}");
}

fn put(db: &Db, number: u32, bytes: usize) -> Result<()> {
    let value = vec![number as u8; bytes];
    db.update(|txn| txn.create_bucket_if_missing("b")?.put(number.to_be_bytes(), &value))
}

fn delete(db: &Db, number: u32) -> Result<bool> {
    db.update(|txn| txn.bucket_mut("b")?.delete(number.to_be_bytes()))
}

/// Puts until one is refused; tells how many there are.
fn fill(db: &Db, mut next: u32, bytes: usize) -> u32 {
    loop {
        match put(db, next, bytes) {
            Ok(()) => next += 1,
            Err(error) => {
                assert_full(&error);
                return next;
            }
        }
        let most = if bytes < 4096 { BYTES_MAX } else { BYTES_MAX + 3 * bytes as u64 };
        assert!(db.stats().file_bytes <= most, "{:?}", db.stats());
    }
}

#[test]
fn a_full_data_file_refuses_what_adds_and_takes_deletes() -> Result<()> {
    for (bytes, least) in [(100, 12_000), (3000, 300), (30_000, 40)] {
        let disk = SimDisk::new(1);
        let mut db = open(&disk, false)?;
        let count = fill(&db, 0, bytes);
        assert!(count >= least, "{count} values of {bytes} bytes");
        // Again and again, and after a restart, and nothing of it is there.
        assert_eq!(db.view(|txn| Ok(txn.bucket("b")?.len()))?, u64::from(count));
        db.checkpoint()?;
        assert_sound(&db)?;
        db.close()?;
        db = open(&disk, false)?;
        let more = fill(&db, count, bytes);
        assert!(more <= count + count / 8 + 1, "{count} values, and then {more}");
        let count = more;
        // Every one can be removed, in any order; then there is room again.
        for number in (0..count).filter(|number| number % 2 == 0) {
            assert!(delete(&db, number)?);
        }
        for number in (0..count).filter(|number| number % 2 == 0) {
            let outcome = put(&db, number, bytes).or_else(|_| put(&db, number, bytes));
            if number < count / 2 {
                outcome?;
            }
        }
        for number in 0..count {
            delete(&db, number)?;
        }
        assert!(fill(&db, 0, bytes) > least * 3 / 4);
        // Eight pages that are not side by side hold no value of so many.
        let most = if bytes < 4096 { BYTES_MAX } else { BYTES_MAX + 3 * bytes as u64 };
        assert!(db.stats().file_bytes <= most, "{:?}", db.stats());
        db.checkpoint()?;
        assert_sound(&db)?;
    }
    Ok(())
}

#[test]
fn records_that_change_all_the_time_do_not_fill_it() -> Result<()> {
    let disk = SimDisk::new(2);
    let db = open(&disk, false)?;
    for round in 0..60 {
        (0..100).try_for_each(|number| put(&db, number, 1000 + round * 7))?;
        assert!(db.stats().file_bytes <= BYTES_MAX, "{:?}", db.stats());
    }
    db.checkpoint()?;
    assert_sound(&db)
}

#[test]
fn one_transaction_that_is_too_large_is_refused_as_a_whole() -> Result<()> {
    let disk = SimDisk::new(3);
    let db = open(&disk, false)?;
    put(&db, 0, 10)?;
    for value in [vec![1; 300], vec![1; 3000], vec![1; 700_000]] {
        let pairs: Vec<_> = (0..3_000_000 / value.len() as u32)
            .map(|number| (number.to_be_bytes(), value.clone()))
            .collect();
        let refused = db.update(|txn| txn.create_bucket("large")?.put_many(&pairs));
        assert_full(&refused.unwrap_err());
        db.checkpoint()?;
        assert_sound(&db)?;
        let names = db.view(|txn| {
            txn.buckets()?.map(|name| Ok(name?.to_vec())).collect::<Result<Vec<_>>>()
        })?;
        assert_eq!(names, [b"b"]);
        assert!(db.stats().file_bytes <= BYTES_MAX, "{:?}", db.stats());
    }
    put(&db, 1, 100_000)
}

#[test]
fn with_threads_a_full_file_takes_what_fits_again() -> Result<()> {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options::new().page_bytes(4096).data_bytes_max(BYTES_MAX);
    let db = options.open(dir.path().join("db"))?;
    let count = fill(&db, 0, 3000);
    // What a checkpoint under way still holds counts too, so it may be said to be full early.
    assert!(count >= 150, "{count}");
    (0..count).try_for_each(|number| delete(&db, number).map(|_| ()))?;
    // The checkpoints that make room run beside this.
    let fits = |_: &u32| put(&db, 0, 3000).is_ok();
    let tries = (0..1000).find(|tries| {
        std::thread::sleep(std::time::Duration::from_millis(u64::from(*tries).min(10)));
        fits(tries)
    });
    assert!(tries.is_some(), "{:?}", db.stats());
    db.close()
}

#[test]
fn a_limit_that_no_database_fits_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let error = Options::new().data_bytes_max(1 << 19).open(dir.path()).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::InvalidArgument { .. }), "{error}");
}

#[test]
fn what_has_expired_is_removed_from_a_full_data_file() -> Result<()> {
    let disk = SimDisk::new(9);
    let db = open(&disk, false)?;
    let key = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let ttl = std::time::Duration::from_secs(5);
    let lease = |number: u64| {
        db.update(|txn| txn.create_bucket_if_missing("b")?.put_with_ttl(key(number), [1; 100], ttl))
    };
    let count = (0..).find(|number| lease(*number).is_err()).expect("it is full");
    assert!(count > 3000, "{count}");
    disk.advance_ms(6000);
    while !db.sweep(&mut |_| ControlFlow::Continue(()))?.is_finished {}
    db.sync()?;
    assert_eq!(db.view(|txn| Ok(txn.bucket("b")?.len()))?, 0);
    assert!((0..).find(|number| lease(*number).is_err()) > Some(3000));
    db.checkpoint()?;
    assert_sound(&db)
}

#[test]
fn of_a_data_file_that_holds_too_much_anything_may_be_removed() -> Result<()> {
    let disk = SimDisk::new(10);
    let open = |bytes| {
        let options = Options::new().page_bytes(4096).threads(false).data_bytes_max(bytes);
        Db::open_on(Arc::new(disk.clone()), "/db", options)
    };
    let db = open(1 << 40)?;
    (0..3000).try_for_each(|number| put(&db, number, 1000))?;
    db.close()?;
    let db = open(BYTES_MAX)?;
    assert_full(&put(&db, 3000, 1000).unwrap_err());
    (0..3000).try_for_each(|number| delete(&db, number).map(|_| ()))?;
    let tried = put(&db, 0, 1000).or_else(|_| put(&db, 0, 1000));
    tried?;
    db.checkpoint()?;
    assert_sound(&db)
}
