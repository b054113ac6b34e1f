//! Changed leaves that leave most entries where they are: what they save, and what they must not
//! lose. Random histories of all kinds are in `bristlecone-proof`.

#[path = "support/sound.rs"]
mod sound;

use std::sync::Arc;

use bristlecone::io::sim::SimDisk;
use bristlecone::{Db, Options, Result};

use sound::assert_sound;

const KEYS: u32 = 4000;
/// About 24 of these go to a leaf.
const VALUE: [u8; 150] = [7; 150];
/// Far enough apart to be in different leaves.
const STRIDE: usize = 40;

fn key(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// A database of full leaves, all in the file.
fn loaded(disk: &SimDisk) -> Result<Db> {
    disk.set_reserve_bytes_max(64 << 20);
    // Without threads a checkpoint comes only when it is asked for.
    let options = Options::new().page_bytes(4096).threads(false).checkpoint_log_bytes(1 << 30);
    let db = Db::open_on(Arc::new(disk.clone()), "/db", options)?;
    db.update(|txn| {
        txn.create_bucket("b")?;
        let keys: Vec<[u8; 4]> = (0..KEYS).map(key).collect();
        txn.bucket_mut("b")?.build(keys.iter().map(|key| (&key[..], &VALUE[..])))?;
        Ok(())
    })?;
    db.checkpoint()?;
    Ok(db)
}

fn put(db: &Db, number: u32, value: &[u8]) -> Result<()> {
    db.update(|txn| txn.bucket_mut("b")?.put(key(number), value))
}

fn get(db: &Db, number: u32) -> Result<Option<Vec<u8>>> {
    db.view(|txn| Ok(txn.bucket("b")?.get(key(number))?.map(<[u8]>::to_vec)))
}

#[test]
fn a_change_to_a_leaf_takes_a_fraction_of_a_page_until_it_is_changed_often() -> Result<()> {
    let db = loaded(&SimDisk::new(1))?;
    let changed: Vec<u32> = (0..KEYS).step_by(STRIDE).collect();
    let before = db.stats().memory_bytes;
    for &number in &changed {
        put(&db, number, b"changed")?;
    }
    let bytes = db.stats().memory_bytes - before;
    let whole = 4096 * changed.len() as u64;
    // Two dozen more for pages that wait to be free again.
    assert!(bytes < whole / 2 + 24 * 4096, "{bytes} for {} leaves", changed.len());
    for round in 0..8 {
        for &number in &changed {
            put(&db, number + round, &[round as u8; 140])?;
        }
    }
    for &number in &changed {
        assert_eq!(get(&db, number + 7)?, Some(vec![7; 140]));
        assert_eq!(get(&db, number + 8)?, Some(VALUE.to_vec()));
    }
    assert_eq!(db.view(|txn| Ok(txn.bucket("b")?.iter()?.count()))?, KEYS as usize);
    db.checkpoint()?;
    assert_sound(&db)
}

/// Goal: what an overlay was laid over is neither lost nor used again too soon, whatever a
/// checkpoint, a reader and further changes do to the leaf meanwhile.
#[test]
fn what_changes_leave_in_place_stays_while_anybody_sees_it_and_goes_then() -> Result<()> {
    let disk = SimDisk::new(2);
    let db = loaded(&disk)?;
    let size = db.stats().file_bytes;
    let changed: Vec<u32> = (0..KEYS).step_by(STRIDE).collect();
    for round in 0..12_u8 {
        let reader = db.begin_read()?;
        for &number in &changed {
            put(&db, number + u32::from(round % 3), &[round; 130])?;
        }
        if round % 2 == 1 {
            db.update(|txn| txn.bucket_mut("b")?.delete(key(u32::from(round) + 10)).map(|_| ()))?;
        }
        db.checkpoint()?;
        for (index, &number) in changed.iter().enumerate().filter(|(index, _)| index % 2 == 0) {
            put(&db, number + 5, &[round, index as u8])?;
        }
        db.checkpoint()?;
        let bucket = reader.bucket("b")?;
        for &number in &changed {
            let number = number + u32::from(round % 3);
            let expected = round.checked_sub(3).map_or(VALUE.to_vec(), |old| vec![old; 130]);
            assert_eq!(bucket.get(key(number))?, Some(&expected[..]), "key {number}");
        }
        drop(reader);
        assert_sound(&db)?;
    }
    // All changed leaves are there three times at most, and a reader kept as many.
    let leaves = changed.len() as u64 * 4096;
    let grown = db.stats().file_bytes - size;
    assert!(grown < 5 * leaves, "{grown} for changes to {leaves}");
    let all = |db: &Db| {
        db.view(|txn| {
            let bucket = txn.bucket("b")?;
            bucket.iter()?.map(|pair| pair.map(|(k, v)| (k.to_vec(), v.to_vec()))).collect()
        })
    };
    let before: Vec<(Vec<u8>, Vec<u8>)> = all(&db)?;
    drop(db);
    let options = Options::new().page_bytes(4096).threads(false);
    let db = Db::open_on(Arc::new(disk), "/db", options)?;
    assert_eq!(all(&db)?, before);
    assert_sound(&db)
}

#[test]
fn a_leaf_that_loses_its_entries_one_by_one_goes() -> Result<()> {
    let db = loaded(&SimDisk::new(3))?;
    for number in 0..KEYS - 30 {
        db.update(|txn| txn.bucket_mut("b")?.delete(key(number)).map(|_| ()))?;
        if number % 400 == 399 {
            db.checkpoint()?;
            assert_sound(&db)?;
        }
    }
    assert_eq!(db.view(|txn| Ok(txn.bucket("b")?.iter()?.count()))?, 30);
    assert_eq!(get(&db, KEYS - 30)?, Some(VALUE.to_vec()));
    db.checkpoint()?;
    db.checkpoint()?;
    assert_sound(&db)
}
