//! Random content, and what there is of it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bristlecone::io::sim::{START_MS, SimDisk};
use bristlecone::{BucketMut, Db, Result};

use crate::tree::{Tree, options};

impl Tree {
    /// The bucket that these names lead to.
    pub(crate) fn at(&self, path: &[&str]) -> &Tree {
        path.iter().fold(self, |tree, name| &tree.buckets[name.as_bytes()])
    }

    /// Buckets within it and pairs, also those that have expired.
    pub(crate) fn stored(&self) -> [u64; 2] {
        let buckets = self.buckets.len() as u64;
        let mut stored = [buckets, self.entries.saturating_sub(buckets)];
        for nested in self.buckets.values() {
            stored.iter_mut().zip(nested.stored()).for_each(|(sum, count)| *sum += count);
        }
        stored
    }
}

/// Numbers that follow from a seed.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % bound
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }

    fn key(&mut self, page_bytes: usize) -> Vec<u8> {
        let len = match self.below(12) {
            0 => page_bytes / 4,
            1 => 1,
            _ => 4 + self.below(20) as usize,
        };
        self.bytes(len)
    }

    /// Of any of the lengths at which something changes.
    fn value(&mut self, page_bytes: usize) -> Vec<u8> {
        let len = match self.below(300) {
            0 => 64 << 10,
            1 => (64 << 10) + 1,
            2 => 1 << 20,
            3..6 => page_bytes * 3,
            6..10 => page_bytes / 4,
            10..14 => 0,
            _ => self.below(200) as usize,
        };
        let seed = self.bytes(16);
        seed.into_iter().cycle().take(len).collect()
    }
}

pub(crate) fn at_ms(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

pub(crate) fn open(disk: &SimDisk, dir: &str) -> Db {
    let options = options().page_bytes(page_bytes_of(disk, dir));
    Db::open_on(Arc::new(disk.clone()), dir, options).expect("no fault")
}

/// The page size of a database, or that of a new one.
fn page_bytes_of(disk: &SimDisk, dir: &str) -> usize {
    let data = disk.read_file(Path::new(dir).join("data"));
    data.map_or(4096, |data| u32::from_le_bytes(data[12..16].try_into().expect("4")) as usize)
}

/// A database of a little of everything: for tests that go over each byte of its backup.
pub(crate) fn small(disk: &SimDisk) -> Result<Db> {
    let db = open(disk, "/db");
    db.update(|txn| {
        let mut a = txn.create_bucket("a")?;
        a.put("k", "value")?;
        a.put_until("l", "leased", at_ms(START_MS + 60_000))?;
        a.set_sequence(300)?;
        a.create_bucket("in")?.put("x", "")?;
        drop(a);
        txn.create_bucket("b").map(|_| ())
    })?;
    Ok(db)
}

/// Fills a database with random content, in several transactions.
pub(crate) fn fill(db: &Db, random: &mut Random) -> Result<()> {
    for _ in 0..4 {
        db.update(|txn| {
            for _ in 0..1 + random.below(6) {
                let name = random.key(4096);
                fill_bucket(&mut txn.create_bucket_if_missing(name)?, random, 1)?;
            }
            Ok(())
        })?;
        if random.below(2) == 0 {
            db.checkpoint()?;
        }
    }
    Ok(())
}

fn fill_bucket(bucket: &mut BucketMut<'_>, random: &mut Random, depth: u64) -> Result<()> {
    if random.below(2) == 0 {
        bucket.set_sequence(random.below(1 << 30) << random.below(34))?;
    }
    let count = match random.below(5) {
        0 => 0,
        1 | 2 => random.below(6),
        _ => random.below(250),
    };
    for _ in 0..count {
        let (key, value) = (random.key(4096), random.value(4096));
        let put = match random.below(4) {
            0 => {
                let time = at_ms(START_MS - 20_000 + random.below(40_000));
                bucket.put_until(&key, value, time)
            }
            _ => bucket.put(&key, value),
        };
        match put {
            Err(error) if error.to_string().starts_with("expected a value, found") => {}
            put => put?,
        }
    }
    for _ in 0..random.below(6).saturating_sub(1 + depth) {
        let name = random.key(4096);
        match bucket.create_bucket_if_missing(&name) {
            Err(error) if error.to_string().starts_with("expected a bucket, found") => {}
            nested => fill_bucket(&mut nested?, random, depth + 1)?,
        }
    }
    Ok(())
}
