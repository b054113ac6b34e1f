//! The sound databases that hostile bytes are put over. Each is made once.

use std::sync::OnceLock;

use bristlecone::io::sim::SimDisk;
use bristlecone::{Error, Result, WriteTxn};

use crate::content::{Content, RESERVE_BYTES, look, open};

/// A database on a disk, and what it held after each transaction.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) disk: SimDisk,
    /// By number of the transaction.
    pub(crate) versions: Vec<Content>,
}

/// Leaves, interior pages of two levels, kept suffixes, runs, nested and inline buckets, expiries;
/// closed, so that the log is empty.
pub(crate) fn closed() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| make(true).expect("a sound database"))
}

/// The same with two checkpoints, many commits behind the last, and no close.
pub(crate) fn killed() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| make(false).expect("a sound database"))
}

fn make(close: bool) -> Result<Image> {
    let disk = SimDisk::new(1);
    disk.set_reserve_bytes_max(RESERVE_BYTES);
    let db = open(&disk)?;
    let mut versions = vec![Content::new()];
    let mut commit = |work: &mut dyn FnMut(&mut WriteTxn) -> Result<()>| {
        db.update(|txn| work(txn))?;
        versions.push(look(&db).content);
        Ok::<(), Error>(())
    };
    commit(&mut |txn| {
        let mut bucket = txn.create_bucket("bucket")?;
        for number in 0_u32..300 {
            bucket.put(number.to_be_bytes(), [7; 40])?;
        }
        bucket.put("large", vec![1; 9000])
    })?;
    commit(&mut |txn| {
        let mut long = txn.create_bucket("long")?;
        for number in 0_u8..40 {
            let key = [&[b'p'; 60][..], &[number], &[b's'; 700]].concat();
            long.put(key, [number; 9])?;
        }
        Ok(())
    })?;
    db.checkpoint()?;
    commit(&mut |txn| {
        let mut bucket = txn.bucket_mut("bucket")?;
        let mut inline = bucket.create_bucket("inline")?;
        inline.put("key", "value")?;
        inline.create_bucket("deeper")?.put("run", vec![2; 5000])?;
        inline.set_sequence(7)?;
        drop(inline);
        let mut nested = bucket.create_bucket("nested")?;
        for number in 0_u32..100 {
            nested.put(format!("k{number}"), [3; 60])?;
        }
        drop(nested);
        let expiry = std::time::Duration::from_secs(3600);
        bucket.put_with_ttl("late", "gone one day", expiry)
    })?;
    commit(&mut |txn| txn.create_bucket("dropped")?.put("large", vec![4; 20_000]))?;
    commit(&mut |txn| {
        let mut kept = txn.create_bucket("kept")?;
        for number in 0_u8..54 {
            kept.put([&[number / 9; 20][..], &[number]].concat(), [number; 300])?;
        }
        Ok(())
    })?;
    db.checkpoint()?;
    for number in 0_u8..12 {
        commit(&mut |txn| change(txn, number))?;
    }
    if close {
        db.close()?;
        return Ok(Image { disk, versions });
    }
    // As a kill leaves it.
    Ok(Image { disk: disk.fork(), versions })
}

/// A commit behind the last checkpoint.
fn change(txn: &mut WriteTxn, number: u8) -> Result<()> {
    let mut bucket = txn.bucket_mut("bucket")?;
    bucket.put([b'n', number], vec![number; 1 + usize::from(number) * 90])?;
    bucket.delete([0, 0, 0, number])?;
    match number {
        3 => {
            drop(bucket);
            txn.drop_bucket("dropped")
        }
        5 => bucket.put("two frames and more", vec![5; 13_000]),
        _ => Ok(()),
    }
}
