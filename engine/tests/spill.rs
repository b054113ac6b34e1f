//! Spilled pages: what they save a large transaction, and what they must not cost. Power cuts and
//! random histories are in `bristlecone-proof`.

#[path = "support/sound.rs"]
mod sound;

use std::sync::Arc;

use bristlecone::io::sim::SimDisk;
use bristlecone::{Db, Options, Result};

use sound::assert_sound;

const PAIRS: u32 = 20_000;
const VALUE: [u8; 150] = [7; 150];
/// Keys and values, and what a page costs.
const LOAD_BYTES: u64 = PAIRS as u64 * 165;

fn disk() -> SimDisk {
    let disk = SimDisk::new(1);
    disk.set_reserve_bytes_max(64 << 20);
    disk
}

/// Without threads a checkpoint comes only when it is asked for.
fn options() -> Options {
    let options = Options::new().page_bytes(4096).threads(false).spill_bytes(100 << 10);
    options.checkpoint_log_bytes(1 << 30)
}

fn open(disk: &SimDisk) -> Result<Db> {
    Db::open_on(Arc::new(disk.clone()), "/db", options())
}

fn pairs() -> Vec<([u8; 4], [u8; 150])> {
    (0..PAIRS).map(|number| (number.to_be_bytes(), VALUE)).collect()
}

fn load(db: &Db, name: &str) -> Result<()> {
    db.update(|txn| {
        txn.create_bucket(name)?;
        txn.bucket_mut(name)?.put_many(&pairs())
    })
}

fn assert_loaded(db: &Db, name: &str) -> Result<()> {
    db.view(|txn| {
        let bucket = txn.bucket(name)?;
        let found: Vec<_> = bucket.iter()?.collect::<Result<_>>()?;
        assert!(found.iter().map(|pair| pair.0).eq(pairs().iter().map(|pair| &pair.0[..])));
        assert!(found.iter().all(|pair| pair.1 == VALUE));
        Ok(())
    })
}

#[test]
fn a_load_takes_little_memory_and_is_there_before_and_after_a_checkpoint() -> Result<()> {
    let disk = disk();
    let db = open(&disk)?;
    load(&db, "b")?;
    assert!(db.stats().memory_bytes < LOAD_BYTES / 10, "{}", db.stats().memory_bytes);
    assert_loaded(&db, "b")?;
    assert_sound(&db)?;
    db.update(|txn| txn.bucket_mut("b")?.put(7_u32.to_be_bytes(), VALUE))?;
    assert_sound(&db)?;
    // Killed: no checkpoint has the pages, the log has the pairs.
    std::mem::forget(db);
    let db = open(&disk.crash(1))?;
    assert_loaded(&db, "b")?;
    db.checkpoint()?;
    assert_sound(&db)?;
    drop(db);

    let disk = self::disk();
    let db = open(&disk)?;
    load(&db, "b")?;
    let before = disk.stats().bytes_written;
    db.checkpoint()?;
    let written = disk.stats().bytes_written - before;
    assert!(written < LOAD_BYTES / 10, "a checkpoint writes {written} bytes once more");
    std::mem::forget(db);
    let db = open(&disk.crash(1))?;
    assert_loaded(&db, "b")?;
    assert_sound(&db)
}

#[test]
fn a_load_need_not_fit_the_memory() -> Result<()> {
    let disk = disk();
    let db =
        Db::open_on(Arc::new(disk.clone()), "/db", options().memory_bytes_max(LOAD_BYTES / 4))?;
    load(&db, "b")?;
    assert_loaded(&db, "b")
}

#[test]
fn what_is_rolled_back_is_used_again() -> Result<()> {
    let disk = disk();
    let db = open(&disk)?;
    load(&db, "kept")?;
    db.checkpoint()?;
    for round in 0..10 {
        let mut txn = db.begin_write()?;
        txn.create_bucket("dropped")?;
        txn.bucket_mut("dropped")?.put_many(&pairs())?;
        assert_eq!(txn.bucket("dropped")?.iter()?.count(), PAIRS as usize);
        drop(txn);
        if round % 3 == 0 {
            db.checkpoint()?;
        }
    }
    db.update(|txn| txn.bucket_mut("kept")?.put(b"one more", b""))?;
    db.checkpoint()?;
    assert_sound(&db)?;
    let bytes = db.stats().file_bytes;
    assert!(bytes < LOAD_BYTES * 3, "{bytes} bytes for {LOAD_BYTES} and as much that was dropped");
    Ok(())
}

#[test]
fn values_put_again_and_again_need_room_for_what_a_checkpoint_can_free() -> Result<()> {
    let disk = disk();
    let db = open(&disk)?;
    db.update(|txn| txn.create_bucket("b").map(|_| ()))?;
    let put = |byte: u8| {
        let value = vec![byte; 300_000];
        db.update(|txn| {
            let mut bucket = txn.bucket_mut("b")?;
            // The first is replaced before anybody but this transaction could read it.
            bucket.put(b"key", vec![0; 200_000])?;
            bucket.put(b"key", &value)?;
            assert_eq!(bucket.get(b"key")?, Some(&value[..]));
            Ok(())
        })
    };
    put(255)?;
    let old = db.begin_read()?;
    for byte in 0..60 {
        put(byte)?;
        assert_eq!(old.bucket("b")?.get(b"key")?, Some(&vec![255; 300_000][..]));
        if byte % 3 == 2 {
            db.checkpoint()?;
            assert_sound(&db)?;
        }
    }
    // Three transactions between two checkpoints, and two meta pages; and what the reader sees.
    let bytes = db.stats().file_bytes;
    assert!(bytes < 13 * 500_000, "{bytes} bytes");
    drop(old);
    Ok(())
}

#[test]
fn a_full_disk_refuses_a_load_and_nothing_is_lost() -> Result<()> {
    let disk = disk();
    let db = open(&disk)?;
    load(&db, "kept")?;
    db.checkpoint()?;
    for room in [0, LOAD_BYTES / 3, LOAD_BYTES, LOAD_BYTES * 3 / 2] {
        let before = disk.space_bytes();
        disk.set_capacity(Some(before + room));
        let refused = load(&db, "refused").unwrap_err();
        assert!(refused.is_full(), "{refused}");
        // What the file grew for it goes back to the disk: deletes and small commits need some.
        assert!(disk.space_bytes() < before + (64 << 10), "{}", disk.space_bytes() - before);
        db.update(|txn| txn.bucket_mut("kept")?.put(3_u32.to_be_bytes(), VALUE))?;
        disk.set_capacity(None);
        assert_loaded(&db, "kept")?;
        assert_sound(&db)?;
    }
    load(&db, "taken")?;
    assert_loaded(&db, "taken")?;
    db.checkpoint()?;
    assert_sound(&db)
}
