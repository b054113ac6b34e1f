//! Bristlecone, with its defaults, or half of the memory that it is told for changed pages when a
//! checkpoint begins, and all of it at most.

use std::ops::ControlFlow;
use std::path::Path;

use bristlecone::{Bucket, Db, Durability, Options};
use bristlecone_benches::data::{
    BUCKET_NAME_BYTES, Pair, same_bucket, touch, touch_all, touch_pair,
};

use super::{Direction, Engine, Kind, Missing, Mode, Opening, Result, Role, View};

pub(super) const KIND: Kind = Kind {
    name: "bristlecone",
    role: Role::Ours,
    buffered: "Buffered, 10 ms",
    gets_many: true,
    buckets: "buckets",
    compaction: "compact()",
    open,
};

const BUCKET: &str = "pairs";
/// Keys that are got at once.
const WIDTH: usize = 16;

struct Bristlecone {
    db: Db,
    durability: Durability,
}

fn open(dir: &Path, opening: &Opening) -> Result<Box<dyn Engine>> {
    let durability = match opening.mode {
        Mode::Durable => Durability::Sync,
        Mode::Buffered => Durability::Buffered,
    };
    let mut options = Options::new();
    if let Some(bytes) = opening.memory_bytes {
        options = options.memory_bytes_max(bytes).checkpoint_memory_bytes(bytes / 2);
    }
    let db = options.open(dir.join("db"))?;
    // An open that is timed must not commit, so only a new database gets its bucket.
    if db.begin_read()?.bucket(BUCKET).is_err() {
        db.update(|txn| txn.create_bucket_if_missing(BUCKET).map(|_| ()))?;
    }
    Ok(Box::new(Bristlecone { db, durability }))
}

fn sum_of(bucket: Bucket<'_>, keys: &[&[u8]]) -> Result<u64> {
    let mut sum = 0_u64;
    for key in keys {
        sum = sum.wrapping_add(touch(bucket.get(key)?.ok_or(Missing)?));
    }
    Ok(sum)
}

impl Engine for Bristlecone {
    fn load(&self, pairs: &[Pair<'_>]) -> Result<()> {
        let mut txn = self.db.begin_write()?;
        txn.bucket_mut(BUCKET)?.put_many(pairs)?;
        txn.commit()?;
        Ok(())
    }

    fn load_sorted(&self, pairs: &[Pair<'_>]) -> Result<()> {
        let mut txn = self.db.begin_write()?;
        txn.bucket_mut(BUCKET)?.build(pairs.iter().copied())?;
        txn.commit()?;
        Ok(())
    }

    fn get_together(&self, keys: &[&[u8]]) -> Result<u64> {
        sum_of(self.db.begin_read()?.bucket(BUCKET)?, keys)
    }

    fn get_each(&self, keys: &[&[u8]]) -> Result<u64> {
        let mut sum = 0_u64;
        for key in keys {
            let txn = self.db.begin_read()?;
            let value = txn.bucket(BUCKET)?.get(key)?.ok_or(Missing)?;
            sum = sum.wrapping_add(touch(value));
        }
        Ok(sum)
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<u64> {
        let txn = self.db.begin_read()?;
        let bucket = txn.bucket(BUCKET)?;
        let mut sum = 0_u64;
        for keys in keys.chunks(WIDTH) {
            let values = bucket.get_many(keys)?;
            if values.len() != keys.len() {
                return Err(
                    format!("expected {} values, found {}", keys.len(), values.len()).into()
                );
            }
            for value in values {
                sum = sum.wrapping_add(touch(value.ok_or(Missing)?));
            }
        }
        Ok(sum)
    }

    fn get_whole(&self, key: &[u8]) -> Result<u64> {
        let txn = self.db.begin_read()?;
        Ok(touch_all(txn.bucket(BUCKET)?.get(key)?.ok_or(Missing)?))
    }

    fn scan(&self, starts: &[&[u8]], pairs: usize, direction: Direction) -> Result<u64> {
        let txn = self.db.begin_read()?;
        let bucket = txn.bucket(BUCKET)?;
        let mut sum = 0_u64;
        for start in starts {
            let mut cursor = bucket.cursor();
            let mut pair = match direction {
                Direction::Forward => cursor.seek(start)?,
                Direction::Reverse => cursor.seek_back(start)?,
            };
            for left in (0..pairs).rev() {
                let Some(found) = pair else { break };
                sum = sum.wrapping_add(touch_pair(found));
                if left > 0 {
                    pair = match direction {
                        Direction::Forward => cursor.next()?,
                        Direction::Reverse => cursor.prev()?,
                    };
                }
            }
        }
        Ok(sum)
    }

    fn scan_all(&self) -> Result<u64> {
        let txn = self.db.begin_read()?;
        let mut sum = 0_u64;
        for pair in txn.bucket(BUCKET)?.iter()? {
            sum = sum.wrapping_add(touch_pair(pair?));
        }
        Ok(sum)
    }

    fn put(&self, pairs: &[Pair<'_>]) -> Result<()> {
        let mut txn = self.db.begin_write()?;
        txn.set_durability(self.durability);
        match pairs {
            [(key, value)] => txn.bucket_mut(BUCKET)?.put(key, value)?,
            pairs => txn.bucket_mut(BUCKET)?.put_many(pairs)?,
        }
        txn.commit()?;
        Ok(())
    }

    fn delete(&self, keys: &[&[u8]]) -> Result<()> {
        let mut txn = self.db.begin_write()?;
        txn.set_durability(self.durability);
        txn.bucket_mut(BUCKET)?.delete_many(keys)?;
        txn.commit()?;
        Ok(())
    }

    fn hold(&self, body: &mut dyn FnMut(&View<'_>) -> Result<()>) -> Result<()> {
        let txn = self.db.begin_read()?;
        let bucket = txn.bucket(BUCKET)?;
        body(&|keys| sum_of(bucket, keys))
    }

    fn create_buckets(&self, pairs: &[Pair<'_>]) -> Result<()> {
        let mut txn = self.db.begin_write()?;
        for records in pairs.chunk_by(same_bucket) {
            let mut bucket = txn.create_bucket(&records[0].0[..BUCKET_NAME_BYTES])?;
            for (key, value) in records {
                bucket.put(&key[BUCKET_NAME_BYTES..], value)?;
            }
        }
        txn.commit()?;
        Ok(())
    }

    fn get_in_buckets(&self, keys: &[&[u8]]) -> Result<u64> {
        let txn = self.db.begin_read()?;
        let mut sum = 0_u64;
        for key in keys {
            let (name, key) = key.split_at(BUCKET_NAME_BYTES);
            sum = sum.wrapping_add(touch(txn.bucket(name)?.get(key)?.ok_or(Missing)?));
        }
        Ok(sum)
    }

    fn visit(&self, see: &mut dyn FnMut(Pair<'_>)) -> Result<()> {
        let txn = self.db.begin_read()?;
        for pair in txn.bucket(BUCKET)?.iter()? {
            see(pair?);
        }
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.db.sync()?;
        self.db.checkpoint()?;
        Ok(())
    }

    fn compact(&mut self) -> Result<()> {
        self.db.compact(&mut |_| ControlFlow::Continue(()))?;
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.db.close()?)
    }
}
