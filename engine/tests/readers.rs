//! Who reads, for how long, and what it costs: ages, labels, deadlines and pinned bytes.
//!
//! The clock is the simulated disk's, which ticks every 10 ms.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bristlecone::io::sim::SimDisk;
use bristlecone::{Bucket, Db, Durability, ErrorKind, Options, ReadOptions, ReaderStats, Result};

const PAGE_BYTES: usize = 4096;
const KEYS: u32 = 2000;
/// Longer than a tick.
const DEADLINE: Duration = Duration::from_millis(200);

fn options() -> Options {
    Options::new().page_bytes(PAGE_BYTES).threads(false)
}

fn open(disk: &SimDisk, options: Options) -> Result<Db> {
    Db::open_on(Arc::new(disk.clone()), "/db", options)
}

fn filled() -> Result<(SimDisk, Db)> {
    let disk = SimDisk::new(1);
    let db = open(&disk, options())?;
    db.update(|txn| txn.create_bucket("bucket").map(|_| ()))?;
    overwrite(&db, 0)?;
    db.checkpoint()?;
    Ok((disk, db))
}

/// Gives all keys a new value.
fn overwrite(db: &Db, round: u8) -> Result<()> {
    db.update(|txn| {
        let mut bucket = txn.bucket_mut("bucket")?;
        (0..KEYS).try_for_each(|key| bucket.put(key.to_be_bytes(), [round; 100]))
    })
}

fn assert_all(bucket: Bucket<'_>, round: u8) -> Result<()> {
    let pairs = bucket.iter()?.collect::<Result<Vec<_>>>()?;
    assert_eq!(pairs.len(), KEYS as usize);
    assert!(pairs.iter().all(|(_, value)| *value == [round; 100]));
    Ok(())
}

fn labels(readers: &[ReaderStats]) -> Vec<Option<&str>> {
    readers.iter().map(|reader| reader.label.as_deref()).collect()
}

#[track_caller]
fn assert_expired<T: std::fmt::Debug>(read: Result<T>) {
    let error = read.expect_err("a read after the deadline");
    assert!(error.is_reader_expired(), "{error}");
}

#[test]
fn a_reader_is_told_of_with_its_age_its_label_and_what_it_sees() -> Result<()> {
    let (disk, db) = filled()?;
    assert_eq!((db.readers(), db.stats().oldest_reader), (vec![], Duration::ZERO));
    let first = db.begin_read()?;
    disk.advance_monotonic_ms(5000);
    overwrite(&db, 1)?;
    let second = db.snapshot_with(ReadOptions::new().label("backup"))?;
    disk.advance_monotonic_ms(30);
    let third = db.begin_read_with(ReadOptions::new().label("export").deadline(DEADLINE))?;
    let fourth = db.snapshot()?;
    // The wall clock has nothing to do with it.
    disk.advance_ms(86_400_000);
    disk.advance_monotonic_ms(100);
    let readers = db.readers();
    assert_eq!(labels(&readers), [None, Some("backup"), Some("export"), None]);
    assert_eq!(
        readers.iter().map(|it| it.age.as_millis()).collect::<Vec<_>>(),
        [5130, 130, 100, 100]
    );
    let revisions = [first.id(), second.id(), third.id(), fourth.id()];
    assert_eq!(readers.iter().map(|it| it.revision).collect::<Vec<_>>(), revisions);
    assert!(revisions[0] < revisions[1]);
    assert_eq!(readers[2].deadline, Some(DEADLINE));
    assert!(readers.iter().all(|it| !it.is_expired));
    assert_eq!(db.stats().oldest_reader, readers[0].age);
    disk.advance_monotonic_ms(100);
    let expired = |it: ReaderStats| it.is_expired;
    assert_eq!(
        db.readers().into_iter().map(expired).collect::<Vec<_>>(),
        [false, false, true, false]
    );
    drop(first);
    assert_eq!(db.stats().oldest_reader, Duration::from_millis(230));
    drop((second, third, fourth));
    // A reader in the same place as the one before has nothing of it.
    let fifth = db.begin_read()?;
    let readers = db.readers();
    assert_eq!((readers.len(), readers[0].age, labels(&readers)[0]), (1, Duration::ZERO, None));
    assert_eq!((readers[0].deadline, readers[0].is_expired), (None, false));
    drop(fifth);
    assert_eq!((db.readers().len(), db.stats().oldest_reader), (0, Duration::ZERO));
    Ok(())
}

#[test]
fn what_a_reader_keeps_grows_to_what_it_sees_and_goes_with_it() -> Result<()> {
    let (_, db) = filled()?;
    let visible = db.stats().file_bytes - db.stats().free_bytes;
    let pinned = |db: &Db| db.readers().iter().map(|it| it.pinned_bytes).collect::<Vec<_>>();
    let old = db.begin_read()?;
    assert_eq!(pinned(&db), [0]);
    let mut before = 0;
    for round in 1..=8 {
        db.update(|txn| {
            let keys = KEYS / 8 * (u32::from(round) - 1)..KEYS / 8 * u32::from(round);
            let mut bucket = txn.bucket_mut("bucket")?;
            keys.into_iter().try_for_each(|key| bucket.put(key.to_be_bytes(), [round; 100]))
        })?;
        let now = pinned(&db)[0];
        assert!(now >= before + visible / 12, "round {round}: {now} after {before} of {visible}");
        before = now;
        if round % 3 == 0 {
            // In the list of the space map as in those of transactions.
            db.checkpoint()?;
            assert!(pinned(&db)[0] >= before, "{before}");
        }
    }
    let all = pinned(&db)[0];
    assert!(all <= visible * 11 / 10, "{all} of {visible}");
    let young = db.begin_read()?;
    assert_eq!(pinned(&db)[1], 0, "all that was freed, was freed before");
    overwrite(&db, 9)?;
    let [of_old, of_young] = pinned(&db)[..] else { panic!("two readers") };
    assert!(of_old >= all && of_old <= visible * 11 / 10, "{of_old} of {visible}");
    assert!(of_young >= visible / 2, "each reader has a copy of its own: {of_young}");
    assert_all(old.bucket("bucket")?, 0)?;
    drop(old);
    assert_eq!(pinned(&db).len(), 1);
    drop(young);
    assert_eq!(pinned(&db), []);
    let newest = db.begin_read()?;
    assert_eq!(pinned(&db), [0]);
    drop(newest);
    // What waited for them is given back.
    (0..3).try_for_each(|_| db.checkpoint())?;
    assert_eq!(db.stats().memory_bytes, 0);
    assert!(db.check(&mut |_| ControlFlow::Continue(()))?.is_sound());
    Ok(())
}

#[test]
fn a_thread_with_a_write_transaction_can_ask_who_reads() -> Result<()> {
    let (_, db) = filled()?;
    let overwrite_some = |round: u8| {
        db.update(|txn| {
            let mut bucket = txn.bucket_mut("bucket")?;
            (0..KEYS / 4).try_for_each(|key| bucket.put(key.to_be_bytes(), [round; 100]))
        })
    };
    // Of what it sees a quarter is in memory and the rest in the file.
    overwrite_some(1)?;
    let reader = db.begin_read_with(ReadOptions::new().label("old"))?;
    overwrite_some(2)?;
    let mut txn = db.begin_write()?;
    let before = db.readers();
    assert!(before[0].pinned_bytes > u64::from(KEYS / 4) * 100 * 3 / 4, "{before:?}");
    (0..KEYS).try_for_each(|key| txn.bucket_mut("bucket")?.put(key.to_be_bytes(), "value"))?;
    assert_eq!(db.readers(), before, "it has not committed");
    assert_eq!((labels(&before), db.stats().readers), (vec![Some("old")], 1));
    drop(txn);
    assert!(db.readers()[0].pinned_bytes >= before[0].pinned_bytes);
    drop(reader);
    Ok(())
}

/// Writes and checkpoints a lot, with a reader from the beginning on or without. Returns the bytes
/// that it sees, those that file and memory take in the end, and those that it is told to keep.
fn written_under_a_reader(
    holds: bool,
    fill: fn(&Db, u8) -> Result<()>,
    dirty: bool,
) -> Result<[u64; 3]> {
    let disk = SimDisk::new(1);
    disk.set_reserve_bytes_max(128 << 20);
    let db = open(&disk, options())?;
    db.update(|txn| txn.create_bucket("bucket").map(|_| ()))?;
    fill(&db, 0)?;
    (0..2).try_for_each(|_| db.checkpoint())?;
    let visible = db.stats().file_bytes - db.stats().free_bytes;
    if dirty {
        // All that the reader sees is in memory.
        fill(&db, 0)?;
    }
    let reader = if holds { Some(db.begin_read()?) } else { None };
    db.update(|txn| txn.create_bucket("later").map(|_| ()))?;
    for round in 1..=20 {
        db.checkpoint()?;
        (0..2).try_for_each(|_| fill(&db, round))?;
    }
    let pinned = db.readers().first().map_or(0, |it| it.pinned_bytes);
    if let Some(reader) = reader {
        for pair in reader.bucket("bucket")?.iter()? {
            assert!(pair?.1.iter().all(|byte| *byte == 0));
        }
        assert_eq!(reader.buckets()?.count(), 1);
    }
    assert!(db.check(&mut |_| ControlFlow::Continue(()))?.is_sound());
    Ok([visible, db.stats().file_bytes + db.stats().memory_bytes, pinned])
}

#[test]
fn one_old_reader_costs_one_copy_of_what_it_sees_however_much_is_written() -> Result<()> {
    let large = |db: &Db, round: u8| {
        db.update(|txn| {
            let mut bucket = txn.bucket_mut("bucket")?;
            (0..20_u32).try_for_each(|key| bucket.put(key.to_be_bytes(), vec![round; 50_000]))
        })
    };
    for (fill, dirty) in [
        (overwrite as fn(&Db, u8) -> Result<()>, false),
        (overwrite, true),
        (large, false),
        (large, true),
    ] {
        let [visible, without, _] = written_under_a_reader(false, fill, dirty)?;
        let [_, with, pinned] = written_under_a_reader(true, fill, dirty)?;
        // The file grows by an eighth, but by sixteen pages at least.
        let growth = (with / 8).max(16 * PAGE_BYTES as u64);
        let told = format!("{with} beside {without}, {pinned} of {visible}, dirty: {dirty}");
        assert!(with - without <= visible + growth, "{told}");
        assert!(pinned <= visible * 11 / 10 && pinned > visible / 2, "{told}");
    }
    Ok(())
}

#[test]
fn every_read_after_the_deadline_fails_and_none_before() -> Result<()> {
    let (disk, db) = filled()?;
    // Between two ticks, where a coarse clock may be wrong.
    disk.advance_monotonic_ms(7);
    let txn = db.begin_read_with(ReadOptions::new().label("slow").deadline(DEADLINE))?;
    let bucket = txn.bucket("bucket")?;
    let key = |number: u32| number.to_be_bytes();
    let mut ranges = [bucket.iter()?, bucket.iter()?, bucket.range(key(5)..key(9))?];
    let (mut keys, mut back) = (bucket.iter()?.keys(), bucket.iter()?.keys());
    let (mut forward, mut backward, mut fresh) =
        (bucket.cursor(), bucket.cursor(), bucket.cursor());
    let mut names = txn.buckets()?;
    disk.advance_monotonic_ms(199);
    // All of it, so that steps within a leaf are among them; and some again, to go on later.
    assert_all(bucket, 0)?;
    assert_eq!(bucket.iter()?.rev().filter(Result::is_ok).count(), KEYS as usize);
    let held = bucket.get(key(3))?.expect("a value");
    assert!(ranges[0].next().is_some_and(|it| it.is_ok()));
    assert!(ranges[1].next_back().is_some_and(|it| it.is_ok()));
    assert!(keys.next().is_some_and(|it| it.is_ok()));
    assert!(back.next_back().is_some_and(|it| it.is_ok()));
    assert!(forward.seek_to_first()?.is_some() && forward.next()?.is_some());
    assert!(backward.seek_to_last()?.is_some() && backward.prev()?.is_some());
    assert!(bucket.contains(key(7))? && bucket.get_value(key(7))?.is_some());
    assert_eq!(bucket.get_many(&[key(7), key(8)])?.len(), 2);
    assert!(bucket.buckets()?.next().is_none());

    disk.advance_monotonic_ms(10);
    assert_expired(bucket.get(key(3)));
    assert_expired(bucket.get("missing"));
    assert_expired(bucket.get_value(key(3)));
    assert_expired(bucket.get_many(&[key(7), key(8)]));
    assert_expired(bucket.contains(key(7)));
    assert_expired(bucket.bucket("nested"));
    assert_expired(bucket.first());
    assert_expired(bucket.last());
    assert_expired(txn.bucket("bucket"));
    assert_expired(names.next().expect("an error"));
    assert!(names.next().is_none());
    let [first, second, third] = &mut ranges;
    for step in [first.next(), second.next_back(), third.next(), keys.next().map(pair)] {
        assert_expired(step.expect("an error"));
    }
    assert_expired(back.next_back().expect("an error"));
    assert!(first.next().is_none() && second.next_back().is_none(), "they have ended");
    assert_expired(forward.next());
    assert_expired(backward.prev());
    assert!(forward.current().is_none());
    assert_expired(fresh.seek_to_first());
    assert_expired(fresh.seek_to_last());
    assert_expired(fresh.seek(key(4)));
    assert_expired(fresh.seek_back(key(4)));

    // What was borrowed before stays as it is, whatever is written.
    (1..5).try_for_each(|round| overwrite(&db, round).and_then(|()| db.checkpoint()))?;
    assert_eq!(held, [0; 100]);
    assert!(db.readers()[0].is_expired && db.readers()[0].pinned_bytes > 0);
    let error = bucket.get(key(3)).expect_err("it is past its deadline");
    let ErrorKind::ReaderExpired { label, deadline, age, .. } = error.kind() else {
        panic!("{error}")
    };
    assert_eq!((label.as_deref(), *deadline), (Some("slow"), DEADLINE));
    assert_eq!(*age, Duration::from_millis(203), "from the beginning to the last tick");
    let text = "reader slow: expected an end within 200ms, found 203ms";
    assert_eq!(error.to_string(), text);
    Ok(())
}

fn pair(key: Result<&[u8]>) -> Result<(&[u8], &[u8])> {
    key.map(|key| (key, key))
}

#[test]
fn a_snapshot_has_a_deadline_too_and_others_go_on() -> Result<()> {
    let (disk, db) = filled()?;
    let snapshot = db.snapshot_with(ReadOptions::new().deadline(DEADLINE))?;
    let (other, open_end) = (db.begin_read()?, db.snapshot()?);
    let mut txn = db.begin_write()?;
    disk.advance_monotonic_ms(190);
    assert_all(snapshot.bucket("bucket")?, 0)?;
    assert_eq!(snapshot.buckets()?.count(), 1);
    disk.advance_monotonic_ms(10);
    assert_expired(snapshot.bucket("bucket"));
    assert_expired(snapshot.buckets()?.next().expect("an error"));
    let error = snapshot.bucket("bucket").expect_err("it is past its deadline");
    assert!(error.to_string().starts_with("reader without a label: "), "{error}");
    assert_all(other.bucket("bucket")?, 0)?;
    assert_all(open_end.bucket("bucket")?, 0)?;
    txn.bucket_mut("bucket")?.put("key", "value")?;
    assert!(txn.bucket("bucket")?.get("key")?.is_some(), "a write transaction has no deadline");
    txn.commit()?;
    Ok(())
}

#[test]
fn the_databases_deadline_is_for_readers_without_one_of_their_own() -> Result<()> {
    let (disk, db) = filled()?;
    db.close()?;
    let db = open(&disk, options().reader_deadline(DEADLINE))?;
    let plain = db.begin_read()?;
    let labelled = db.begin_read_with(ReadOptions::new().label("labelled"))?;
    let snapshot = db.snapshot()?;
    let longer = db.begin_read_with(ReadOptions::new().deadline(2 * DEADLINE))?;
    let endless = db.begin_read_with(ReadOptions::new().no_deadline())?;
    let deadlines: Vec<_> = db.readers().into_iter().map(|it| it.deadline).collect();
    let of = |deadline| deadlines.iter().filter(|it| **it == deadline).count();
    assert_eq!((of(Some(DEADLINE)), of(Some(2 * DEADLINE)), of(None)), (3, 1, 1));
    disk.advance_monotonic_ms(200);
    assert_expired(plain.bucket("bucket"));
    assert_expired(labelled.bucket("bucket"));
    assert_expired(snapshot.bucket("bucket"));
    assert_expired(db.view(|txn| {
        disk.advance_monotonic_ms(200);
        txn.bucket("bucket").map(|_| ())
    }));
    assert_expired(longer.bucket("bucket"));
    assert_all(endless.bucket("bucket")?, 0)?;
    // The engine's own readers take as long as they do.
    overwrite(&db, 1)?;
    let mut passes = 0;
    let report = db.check(&mut |_| {
        passes += 1;
        disk.advance_monotonic_ms(200);
        ControlFlow::Continue(())
    })?;
    assert!(report.is_sound() && passes > 0, "{:?}", report.problems);
    assert_eq!(report.entries, u64::from(KEYS) + 1);
    Ok(())
}

#[test]
fn what_no_reader_can_have_is_refused() -> Result<()> {
    let (disk, db) = filled()?;
    let zero = db.begin_read_with(ReadOptions::new().deadline(Duration::ZERO)).unwrap_err();
    assert!(matches!(zero.kind(), ErrorKind::InvalidArgument { .. }), "{zero}");
    let long = db.snapshot_with(ReadOptions::new().label("x".repeat(257))).unwrap_err();
    assert!(matches!(long.kind(), ErrorKind::TooLarge { max: 256, found: 257, .. }), "{long}");
    assert_eq!(db.readers(), []);
    drop(db.snapshot_with(ReadOptions::new().label("x".repeat(256)).deadline(Duration::MAX))?);
    db.close()?;
    let zero = open(&disk, options().reader_deadline(Duration::ZERO)).unwrap_err();
    assert!(matches!(zero.kind(), ErrorKind::InvalidArgument { .. }), "{zero}");
    Ok(())
}

#[test]
fn on_the_real_clock_readers_age_and_a_checkpoint_is_told_apart() -> Result<()> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let db = Db::open_with(dir.path().join("db"), Options::new().page_bytes(PAGE_BYTES))?;
    db.update(|txn| txn.create_bucket("bucket").map(|_| ()))?;
    overwrite(&db, 0)?;
    let began = Instant::now();
    let txn = db.begin_read_with(ReadOptions::new().deadline(Duration::from_millis(50)))?;
    let bucket = txn.bucket("bucket")?;
    let error = loop {
        let before = began.elapsed();
        match bucket.get(7_u32.to_be_bytes()) {
            Ok(value) => assert!(value.is_some() && before < Duration::from_secs(10)),
            Err(error) => break error,
        }
    };
    assert!(error.is_reader_expired() && began.elapsed() >= Duration::from_millis(50), "{error}");
    let age = db.readers()[0].age;
    assert!(age >= Duration::from_millis(50) && age <= began.elapsed() + Duration::from_millis(50));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| -> Result<()> {
            for round in (0..=u8::MAX).cycle() {
                overwrite(&db, round)?;
                db.checkpoint()?;
                if db.stats().readers == 0 {
                    break;
                }
            }
            Ok(())
        });
        let sees = || labels(&db.readers()).contains(&Some("checkpoint"));
        while !sees() && began.elapsed() < Duration::from_secs(60) {}
        assert!(began.elapsed() < Duration::from_secs(60), "no checkpoint was seen");
        drop(txn);
        writer.join().expect("a writer that ends")
    })
}

#[test]
fn what_is_replaced_while_a_checkpoint_begins_is_used_again_after_the_next() -> Result<()> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let db = Db::open_with(dir.path().join("db"), options())?;
    let put = |keys: std::ops::Range<u32>, round: u8| -> Result<()> {
        let mut txn = db.begin_write()?;
        txn.set_durability(Durability::Buffered);
        let mut bucket = txn.create_bucket_if_missing("bucket")?;
        keys.into_iter().try_for_each(|key| bucket.put(key.to_be_bytes(), [round; 2000]))?;
        drop(bucket);
        txn.commit().map(|_| ())
    };
    put(0..KEYS, 0)?;
    db.checkpoint()?;
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| -> Result<()> {
            // Runs in the file, each of them replaced for the first time since it got there.
            let mut keys = (0..KEYS).cycle();
            while !is_done.load(Ordering::Relaxed) {
                let key = keys.next().expect("it has no end");
                put(key..key + 1, 1)?;
            }
            Ok(())
        });
        for _ in 0..25 {
            db.checkpoint()?;
        }
        is_done.store(true, Ordering::Relaxed);
        writer.join().expect("a writer that ends")
    })?;
    (0..3).try_for_each(|_| db.checkpoint())?;
    let report = db.check(&mut |_| ControlFlow::Continue(()))?;
    assert!(report.is_sound(), "{:#?}", report.problems);
    Ok(())
}
