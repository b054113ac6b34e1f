//! sled 0.34, in its mode for throughput, with a cache that holds all data.
//!
//! A transaction is one insert, or a batch, which is atomic; a durable one then calls `flush`. On
//! Linux that ends in `sync_file_range`, which does not flush the device's cache, so the file is
//! synced as well. Large values go to files of their own, which sled does not sync at all: then the
//! file system is. The thread that flushes in the background is off, for it would only repeat
//! that. There are no transactions for reads: each get and each step of a scan sees the newest.

use std::fs::File;
use std::path::Path;

use ::sled::{Batch, Config, Db, Mode as Preference};
use bristlecone_benches::data::{Pair, touch, touch_all, touch_pair};

use super::{Direction, Engine, Kind, Missing, Mode, Opening, Result, Role, Unsupported, View};

pub(super) const KIND: Kind = Kind {
    name: "sled",
    role: Role::Peer,
    buffered: "without flush",
    gets_many: false,
    buckets: "a key prefix: a batch writes to one tree",
    compaction: "no compaction that can be asked for",
    open,
};

/// Values below this length are in the log.
const LARGE_BYTES: usize = 128 << 10;

fn value_bytes_max(pairs: &[Pair<'_>]) -> usize {
    pairs.iter().map(|(_, value)| value.len()).max().unwrap_or_default()
}

struct Sled {
    db: Db,
    /// The file that `db` writes to, for syncs.
    file: File,
    durable: bool,
}

fn open(dir: &Path, opening: &Opening) -> Result<Box<dyn Engine>> {
    let config = Config::new()
        .path(dir)
        .mode(Preference::HighThroughput)
        .cache_capacity(opening.cache_bytes())
        .flush_every_ms(None);
    let db = config.open()?;
    let file = File::open(dir.join("db"))?;
    Ok(Box::new(Sled { db, file, durable: opening.mode == Mode::Durable }))
}

impl Sled {
    fn apply(&self, pairs: &[Pair<'_>]) -> Result<()> {
        match pairs {
            [(key, value)] => {
                self.db.insert(key, *value)?;
            }
            _ => {
                let mut batch = Batch::default();
                pairs.iter().for_each(|(key, value)| batch.insert(*key, *value));
                self.db.apply_batch(batch)?;
            }
        }
        Ok(())
    }

    /// Makes durable what was put. `value_bytes` is the length of the longest value.
    fn flush(&self, value_bytes: usize) -> Result<()> {
        self.db.flush()?;
        if value_bytes >= LARGE_BYTES {
            rustix::fs::syncfs(&self.file)?;
        } else {
            self.file.sync_data()?;
        }
        Ok(())
    }
}

impl Engine for Sled {
    fn load(&self, pairs: &[Pair<'_>]) -> Result<()> {
        self.apply(pairs)?;
        self.flush(value_bytes_max(pairs))
    }

    fn get_together(&self, keys: &[&[u8]]) -> Result<u64> {
        let mut sum = 0_u64;
        for key in keys {
            sum = sum.wrapping_add(touch(&self.db.get(key)?.ok_or(Missing)?));
        }
        Ok(sum)
    }

    fn get_each(&self, keys: &[&[u8]]) -> Result<u64> {
        self.get_together(keys)
    }

    fn get_whole(&self, key: &[u8]) -> Result<u64> {
        Ok(touch_all(&self.db.get(key)?.ok_or(Missing)?))
    }

    fn scan(&self, starts: &[&[u8]], pairs: usize, direction: Direction) -> Result<u64> {
        let mut sum = 0_u64;
        for start in starts {
            match direction {
                Direction::Forward => {
                    for pair in self.db.range::<&[u8], _>(*start..).take(pairs) {
                        let (key, value) = pair?;
                        sum = sum.wrapping_add(touch_pair((&key, &value)));
                    }
                }
                Direction::Reverse => {
                    for pair in self.db.range::<&[u8], _>(..=*start).rev().take(pairs) {
                        let (key, value) = pair?;
                        sum = sum.wrapping_add(touch_pair((&key, &value)));
                    }
                }
            }
        }
        Ok(sum)
    }

    fn scan_all(&self) -> Result<u64> {
        let mut sum = 0_u64;
        self.visit(&mut |pair| sum = sum.wrapping_add(touch_pair(pair)))?;
        Ok(sum)
    }

    fn put(&self, pairs: &[Pair<'_>]) -> Result<()> {
        self.apply(pairs)?;
        if self.durable { self.flush(value_bytes_max(pairs)) } else { Ok(()) }
    }

    fn delete(&self, keys: &[&[u8]]) -> Result<()> {
        let mut batch = Batch::default();
        keys.iter().for_each(|key| batch.remove(*key));
        self.db.apply_batch(batch)?;
        if self.durable { self.flush(0) } else { Ok(()) }
    }

    fn hold(&self, _body: &mut dyn FnMut(&View<'_>) -> Result<()>) -> Result<()> {
        Err(Unsupported("sled has no views that can be held").into())
    }

    fn visit(&self, see: &mut dyn FnMut(Pair<'_>)) -> Result<()> {
        for pair in self.db.iter() {
            let (key, value) = pair?;
            see((&key, &value));
        }
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.flush(0)
    }
}
