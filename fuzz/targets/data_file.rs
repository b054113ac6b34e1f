//! Hostile bytes in a data file: a sound database with bytes of the fuzzer's choice over any part
//! of it opens, or is refused, and whatever can be read is read, without a panic.

#![no_main]

use std::sync::{Arc, OnceLock};

use bristlecone::io::sim::SimDisk;
use bristlecone::{Bucket, Db, Options, Result};
use libfuzzer_sys::fuzz_target;

/// A small database with leaves, interior pages, runs, nested and inline buckets, closed.
fn seed() -> &'static SimDisk {
    static SEED: OnceLock<SimDisk> = OnceLock::new();
    SEED.get_or_init(|| {
        let disk = SimDisk::new(1);
        disk.set_reserve_bytes_max(1 << 20);
        let filled = (|| -> Result<()> {
            let db = Db::open_on(Arc::new(disk.clone()), "/db", options())?;
            db.update(|txn| {
                let mut bucket = txn.create_bucket("bucket")?;
                for number in 0_u32..600 {
                    bucket.put(number.to_be_bytes(), [7; 40])?;
                }
                bucket.put("large", vec![1; 9000])?;
                bucket.create_bucket("inline")?.put("key", "value")
            })?;
            db.close()
        })();
        filled.expect("a sound database");
        disk
    })
}

fn options() -> Options {
    Options::new().page_bytes(4096)
}

fn read_all(bucket: &Bucket<'_>) -> Result<()> {
    for pair in bucket.iter()? {
        let _ = pair?;
    }
    for name in bucket.buckets()? {
        let nested = bucket.bucket(name?)?;
        for pair in nested.iter()? {
            let _ = pair?;
        }
    }
    Ok(())
}

// The first four bytes say where the rest goes.
fuzz_target!(|input: &[u8]| {
    let Some((at, bytes)) = input.split_first_chunk::<4>() else { return };
    let disk = seed().fork();
    let length = disk.read_file("/db/data").expect("the file").len() as u64;
    let at = u64::from(u32::from_le_bytes(*at)) % length;
    let fits = bytes.len().min(usize::try_from(length - at).unwrap_or(0));
    disk.overwrite("/db/data", at, &bytes[..fits]).expect("within the file");
    let Ok(db) = Db::open_on(Arc::new(disk), "/db", options()) else { return };
    let _ = db.view(|txn| read_all(&txn.bucket("bucket")?));
    let _ = db.check(&mut |_| {});
    let _ = db.update(|txn| txn.bucket_mut("bucket")?.put("new", "value"));
    let _ = db.checkpoint();
});
