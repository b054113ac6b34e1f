//! Compaction: what it gives back, and what it must leave alone. Power cuts and random histories
//! are in `bristlecone-proof`.

#[path = "support/sound.rs"]
mod sound;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bristlecone::io::sim::SimDisk;
use bristlecone::{CompactProgress, CompactReport, Db, ErrorKind, Options, Result};

use sound::assert_sound;

const VALUE: [u8; 150] = [7; 150];
const PAGE: u64 = 4096;

fn open(disk: &SimDisk) -> Result<Db> {
    let options = Options::new().page_bytes(PAGE as usize).threads(false);
    let options = options.checkpoint_log_bytes(256 << 10).compact_pages(16);
    Db::open_on(Arc::new(disk.clone()), "/db", options)
}

fn disk() -> SimDisk {
    let disk = SimDisk::new(1);
    disk.set_reserve_bytes_max(64 << 20);
    disk
}

fn key(number: u32) -> [u8; 4] {
    // In no order.
    number.wrapping_mul(0x9e37_79b1).to_be_bytes()
}

fn put_all(db: &Db, name: &str, numbers: std::ops::Range<u32>) -> Result<()> {
    for start in numbers.clone().step_by(500) {
        db.update(|txn| {
            let mut bucket = txn.create_bucket_if_missing(name)?;
            (start..numbers.end.min(start + 500))
                .try_for_each(|number| bucket.put(key(number), VALUE))
        })?;
    }
    Ok(())
}

fn delete(db: &Db, name: &str, numbers: impl Iterator<Item = u32>) -> Result<()> {
    let keys: Vec<[u8; 4]> = numbers.map(key).collect();
    for keys in keys.chunks(500) {
        db.update(|txn| txn.bucket_mut(name)?.delete_many(keys).map(|_| ()))?;
    }
    Ok(())
}

fn assert_holds(db: &Db, name: &str, numbers: impl Iterator<Item = u32>) -> Result<()> {
    let mut keys: Vec<[u8; 4]> = numbers.map(key).collect();
    keys.sort_unstable();
    db.view(|txn| {
        let found: Vec<_> = txn.bucket(name)?.iter()?.collect::<Result<_>>()?;
        assert!(found.iter().map(|pair| pair.0).eq(keys.iter().map(|key| &key[..])));
        assert!(found.iter().all(|pair| pair.1 == VALUE));
        Ok(())
    })
}

fn compact(db: &Db) -> Result<CompactReport> {
    db.compact(&mut |_| ControlFlow::Continue(()))
}

#[test]
fn a_file_of_which_most_was_deleted_becomes_as_short_as_its_content() -> Result<()> {
    let disk = disk();
    let db = open(&disk)?;
    put_all(&db, "pairs", 0..20_000)?;
    delete(&db, "pairs", (0..20_000).filter(|number| number % 4 != 0))?;
    db.checkpoint()?;
    let report = compact(&db)?;
    assert!(report.is_finished);
    let live = 5000 * (4 + 150 + 12);
    let (before, after) = (report.file_bytes_before, report.file_bytes_after);
    assert!(after * 10 < live * 13 && before > 3 * after, "{live} live bytes: {report:?}");
    assert_eq!(disk.read_file("/db/data").expect("a data file").len() as u64, after);
    assert_holds(&db, "pairs", (0..20_000).filter(|number| number % 4 == 0))?;
    assert_sound(&db)?;
    let again = compact(&db)?;
    assert!(again.written_bytes < live / 10, "there is nothing more to do: {again:?}");
    // What was given back is taken again, and the file grows as any.
    put_all(&db, "more", 0..20_000)?;
    db.close()?;
    let db = open(&disk)?;
    assert_holds(&db, "more", 0..20_000)?;
    assert_holds(&db, "pairs", (0..20_000).filter(|number| number % 4 == 0))?;
    assert_sound(&db)
}

#[test]
fn a_small_file_is_not_left_with_as_much_room_as_a_large_one_needs() -> Result<()> {
    let disk = disk();
    // With steps as large as they are by default.
    let options = Options::new().page_bytes(PAGE as usize).threads(false);
    let db = Db::open_on(Arc::new(disk.clone()), "/db", options)?;
    compact(&db)?;
    let empty = db.stats().file_bytes;
    let live = 500 * (4 + 150 + 12);
    for _ in 0..5 {
        // Each checkpoint writes all of it somewhere else.
        put_all(&db, "pairs", 0..500)?;
        db.checkpoint()?;
        let report = compact(&db)?;
        assert!((report.file_bytes_after - empty) * 10 < live * 13, "{empty} empty, {report:?}");
    }
    assert_holds(&db, "pairs", 0..500)?;
    assert_sound(&db)
}

#[test]
fn buckets_within_each_other_and_large_values_are_moved_too() -> Result<()> {
    let disk = disk();
    let db = open(&disk)?;
    let large = |number: u32| vec![number as u8; 3000 + number as usize * 7000];
    db.update(|txn| {
        let mut first = txn.create_bucket("first")?;
        (0..20).try_for_each(|number| first.put(key(number), vec![1; 1 << 20]))
    })?;
    put_all(&db, "second", 0..5000)?;
    for number in 0..60_u32 {
        db.update(|txn| {
            let mut outer = txn.create_bucket_if_missing("outer")?;
            outer.put(key(number), large(number))?;
            let mut inner = outer.create_bucket(format!("inner-{number}"))?;
            inner.put("small", number.to_string())?;
            inner.put("large", large(number))?;
            let mut innermost = inner.create_bucket("innermost")?;
            (0..200).try_for_each(|number| innermost.put(key(number), VALUE))
        })?;
    }
    db.checkpoint()?;
    db.update(|txn| txn.drop_bucket("first"))?;
    db.update(|txn| txn.drop_bucket("second"))?;
    let report = compact(&db)?;
    assert!(report.file_bytes_before - report.file_bytes_after > 20 << 20, "{report:?}");
    assert_sound(&db)?;
    db.view(|txn| {
        let outer = txn.bucket("outer")?;
        for number in 0..60 {
            assert_eq!(outer.get(key(number))?, Some(&large(number)[..]));
            let inner = outer.bucket(format!("inner-{number}"))?;
            assert_eq!(inner.get("small")?, Some(number.to_string().as_bytes()));
            assert_eq!(inner.get("large")?, Some(&large(number)[..]));
            assert_eq!(inner.bucket("innermost")?.iter()?.count(), 200);
        }
        Ok(())
    })?;
    let free = db.stats().free_bytes;
    assert!(free * 20 < report.file_bytes_after, "{free} bytes of {report:?} are free");
    Ok(())
}

#[test]
fn a_compaction_that_was_stopped_goes_on() -> Result<()> {
    let disk = disk();
    let db = open(&disk)?;
    put_all(&db, "pairs", 0..20_000)?;
    delete(&db, "pairs", 2000..20_000)?;
    let (mut calls, mut done) = (0, 0);
    let report = loop {
        let mut once = true;
        let report = db.compact(&mut |progress: CompactProgress| {
            assert!(progress.pages_done >= done && progress.pages_done <= progress.pages_total);
            done = progress.pages_done;
            match std::mem::take(&mut once) {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        calls += 1;
        // A writer comes between.
        db.update(|txn| txn.bucket_mut("pairs")?.put(key(calls), VALUE))?;
        if report.is_finished {
            break report;
        }
    };
    assert!(calls > 3, "{calls}");
    assert!(report.file_bytes_after < 2 * 2000 * 166, "{report:?}");
    assert_holds(&db, "pairs", 0..2000)?;
    assert_sound(&db)
}

#[test]
fn readers_keep_what_they_see() -> Result<()> {
    let disk = disk();
    let db = open(&disk)?;
    put_all(&db, "pairs", 0..8000)?;
    db.checkpoint()?;
    let snapshot = db.snapshot()?;
    delete(&db, "pairs", 100..8000)?;
    let held = compact(&db)?;
    assert!(held.file_bytes_after > 8000 * 160, "{held:?}");
    let seen = snapshot.bucket("pairs")?.iter()?.collect::<Result<Vec<_>>>()?;
    assert!(seen.len() == 8000 && seen.iter().all(|pair| pair.1 == VALUE));
    drop(snapshot);
    let report = compact(&db)?;
    assert!(report.file_bytes_after < 200 << 10, "{report:?}");
    assert_holds(&db, "pairs", 0..100)?;
    assert_sound(&db)
}

#[test]
fn a_free_end_goes_with_checkpoints_alone() -> Result<()> {
    let disk = disk();
    let db = open(&disk)?;
    put_all(&db, "kept", 0..100)?;
    db.checkpoint()?;
    put_all(&db, "dropped", 0..20_000)?;
    db.checkpoint()?;
    let long = db.stats().file_bytes;
    db.update(|txn| txn.drop_bucket("dropped"))?;
    for number in 0..20 {
        db.update(|txn| txn.bucket_mut("kept")?.put(key(number), VALUE))?;
        db.checkpoint()?;
    }
    let short = db.stats().file_bytes;
    assert!(short * 4 < long, "{long} bytes became {short}");
    assert_eq!(disk.read_file("/db/data").expect("a data file").len() as u64, short);
    assert_holds(&db, "kept", 0..100)?;
    assert_sound(&db)
}

#[test]
fn writers_and_readers_go_on_beside_it() -> Result<()> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = Options::new().checkpoint_log_bytes(1 << 20).compact_pages(8);
    let db = options.open(dir.path().join("db"))?;
    put_all(&db, "pairs", 0..20_000)?;
    delete(&db, "pairs", 10_000..20_000)?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let write = |start: u32| -> Result<u32> {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                let numbers = (start..start + 2000).filter(|number| number % 7 == round % 7);
                delete(&db, "pairs", numbers.clone())?;
                db.update(|txn| {
                    let mut bucket = txn.bucket_mut("pairs")?;
                    numbers.clone().try_for_each(|number| bucket.put(key(number), VALUE))
                })?;
                db.update(|txn| {
                    txn.create_bucket_if_missing("large")?.put(key(start), [1; 90_000])
                })?;
                round += 1;
            }
            Ok(round)
        };
        let writers = [0, 5000].map(|start| scope.spawn(move || write(start)));
        let reader = scope.spawn(|| -> Result<u32> {
            let mut reads = 0;
            while !stop.load(Ordering::Relaxed) {
                let view = db.begin_read()?;
                let bucket = view.bucket("pairs")?;
                let found: Vec<_> = bucket.iter()?.collect::<Result<_>>()?;
                assert_eq!(found.len() as u64, bucket.len());
                assert!(found.iter().all(|pair| pair.1 == VALUE));
                reads += 1;
            }
            Ok(reads)
        });
        for _ in 0..5 {
            assert!(compact(&db)?.is_finished);
        }
        stop.store(true, Ordering::Relaxed);
        let rounds: Vec<u32> =
            writers.map(|it| it.join().expect("a writer")).into_iter().collect::<Result<_>>()?;
        assert!(rounds.iter().all(|rounds| *rounds > 0));
        assert!(reader.join().expect("a reader")? > 0);
        Ok(())
    })?;
    assert_holds(&db, "pairs", 0..10_000)?;
    let report = compact(&db)?;
    let live = 10_000 * 166 + 2 * 90_000;
    assert!(report.file_bytes_after < live * 13 / 10, "{report:?}");
    assert_sound(&db)
}

#[test]
fn a_closed_or_read_only_database_is_left_alone() -> Result<()> {
    let disk = disk();
    let db = open(&disk)?;
    put_all(&db, "pairs", 0..100)?;
    let other = db.clone();
    db.close()?;
    assert!(compact(&other).is_err());
    drop(other);
    let options = Options::new().read_only(true);
    let db = Db::open_on(Arc::new(disk.clone()), "/db", options)?;
    let error = compact(&db).expect_err("it is read-only");
    assert!(matches!(error.kind(), ErrorKind::ReadOnly { .. }), "{error}");
    Ok(())
}
