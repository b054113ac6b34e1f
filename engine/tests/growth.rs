//! Large files: more pages than one page of the space map describes, and more than a checkpoint
//! frees at once. And what has its space before they grow.

#[path = "support/sound.rs"]
mod sound;

use std::sync::Arc;

use bristlecone::io::sim::SimDisk;
use bristlecone::{Db, Options, Result};

use sound::assert_sound;

/// Pages that one bitmap page describes, at 4 KiB a page.
const GROUP_BYTES: u64 = (4096 - 64) * 8 * 4096;

fn open(disk: &SimDisk) -> Result<Db> {
    Db::open_on(Arc::new(disk.clone()), "/db", Options::new().page_bytes(4096))
}

fn disk() -> SimDisk {
    let disk = SimDisk::new(1);
    disk.set_reserve_bytes_max(512 << 20);
    disk
}

#[test]
fn pages_behind_the_first_group_are_handed_out_once() -> Result<()> {
    let disk = disk();
    let db = open(&disk)?;
    db.update(|txn| txn.create_bucket("b").map(|_| ()))?;
    let mut number = 0_u32;
    let mut rounds_behind = 0;
    while rounds_behind < 4 {
        db.update(|txn| {
            let mut bucket = txn.bucket_mut("b")?;
            // Before the boundary large runs, to be there soon; then runs that leave remainders.
            let (count, len) = if rounds_behind == 0 { (8, 2 << 20) } else { (10, 700_000) };
            for _ in 0..count {
                number += 1;
                bucket.put(number.to_be_bytes(), vec![number as u8; len])?;
                bucket.put(format!("small {number}"), vec![number as u8; 900])?;
            }
            Ok(())
        })?;
        db.checkpoint()?;
        rounds_behind += usize::from(db.stats().file_bytes > GROUP_BYTES);
    }
    assert_sound(&db)?;
    db.close()?;
    let db = open(&disk)?;
    db.view(|txn| {
        for number in 1..=number {
            let value = txn.bucket("b")?.get(number.to_be_bytes())?.expect("a value");
            assert!(value.iter().all(|&byte| byte == number as u8));
        }
        Ok(())
    })
}

/// Twelve thousand pages: three checkpoints have to free them, and any may be cut short.
#[test]
fn a_large_bucket_is_freed_in_steps_whatever_interrupts_them() -> Result<()> {
    let disk = disk();
    let db = open(&disk)?;
    let keys: Vec<[u8; 4]> = (0..12_000_u32).map(u32::to_be_bytes).collect();
    let value = [7; 2000];
    db.update(|txn| {
        let pairs = keys.iter().map(|key| (&key[..], &value[..]));
        assert_eq!(txn.create_bucket("large")?.build(pairs)?, keys.len() as u64);
        txn.create_bucket("small")?.put("key", "value")
    })?;
    db.checkpoint()?;
    let before = db.stats();
    db.update(|txn| txn.drop_bucket("large"))?;
    for step in 0..4 {
        db.checkpoint()?;
        assert_sound(&db)?;
        for left in [disk.fork(), disk.crash(step)] {
            let db = open(&left)?;
            assert_sound(&db)?;
            db.checkpoint()?;
            assert_sound(&db)?;
            db.view(|txn| {
                assert_eq!(txn.buckets()?.count(), 1);
                assert_eq!(txn.bucket("small")?.get("key")?, Some(&b"value"[..]));
                Ok(())
            })?;
        }
    }
    let after = db.stats();
    assert!(after.file_bytes - after.free_bytes < 40 * 4096, "{before:?}, then {after:?}");
    Ok(())
}

/// A large transaction goes through the log once; when it is in the data file, the log is short.
#[test]
fn the_log_of_a_large_transaction_is_given_back() -> Result<()> {
    let disk = disk();
    let db = open(&disk)?;
    let value = vec![7; 3000];
    let pairs: Vec<([u8; 4], &[u8])> =
        (0..12_000_u32).map(|number| (number.to_be_bytes(), &value[..])).collect();
    db.update(|txn| txn.create_bucket("b")?.put_many(&pairs))?;
    assert!(db.stats().log_file_bytes > 34 << 20, "{:?}", db.stats());
    db.checkpoint()?;
    assert!(db.stats().log_file_bytes < 4 << 20, "{:?}", db.stats());
    db.update(|txn| txn.bucket_mut("b")?.put("key", "value"))?;
    drop(db);
    let db = open(&disk)?;
    assert_eq!(db.view(|txn| Ok(txn.bucket("b")?.len()))?, 12_001);
    assert_sound(&db)
}

/// What an earlier session kept for deletes is given up and made anew by the next one. A checkpoint
/// that took its space from the disk in between would leave nothing for deletes.
#[test]
fn what_is_kept_for_deletes_is_there_before_a_checkpoint_takes_space() -> Result<()> {
    let disk = disk();
    let db = open(&disk)?;
    db.update(|txn| txn.create_bucket("b")?.put("key", [7; 3000]))?;
    let left = disk.fork();
    disk.power_off();
    drop(db);
    let db = open(&left)?;
    left.start_trace();
    db.checkpoint()?;
    let trace = left.take_trace().expect("started above");
    let is_log = |path: &std::path::Path| path.parent().is_some_and(|dir| dir.ends_with("wal"));
    let events = trace.events();
    let kept = events.iter().position(|event| is_log(&event.path));
    let taken = events.iter().position(|event| event.path.ends_with("data"));
    assert!(kept.expect("a segment is prepared") < taken.expect("the data file is written"));
    Ok(())
}

#[test]
fn the_log_of_a_few_records_that_change_all_the_time_stays_short() -> Result<()> {
    const ROUND_BYTES: u64 = 100 * 1000;
    let disk = disk();
    let db = Db::open_on(Arc::new(disk.clone()), "/db", Options::new())?;
    db.update(|txn| txn.create_bucket("b").map(|_| ()))?;
    let log_files = || -> u64 {
        let all = disk.list_all();
        all.iter().filter(|(path, _)| path.starts_with("/db/wal")).filter_map(|(_, len)| *len).sum()
    };
    let (mut log_max, mut files_max) = (0, 0);
    for round in 0..300_u32 {
        db.update(|txn| {
            let mut bucket = txn.bucket_mut("b")?;
            (0..100_u32).try_for_each(|key| {
                bucket.put(key.to_be_bytes(), vec![round as u8; 1000]).map(|_| ())
            })
        })?;
        log_max = log_max.max(db.stats().log_bytes);
        files_max = files_max.max(log_files());
    }
    // Far below the 64 MiB that the options allow, of which 30 MB were written.
    assert!(log_max > 4 * ROUND_BYTES && log_max < 6 << 20, "{log_max}");
    assert!(files_max < 20 << 20, "{files_max}");
    assert_sound(&db)
}
