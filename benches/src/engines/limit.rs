//! The limit: a program that does only what physics asks.
//!
//! Gets read a std `HashMap`, scans a sorted `Vec`, a load writes a file from front to back, and a
//! commit goes to a zero-filled log. Nothing ties them together: puts are not read back.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use bristlecone_benches::data::{Data, Key, Pair, Value, touch, touch_pair};

use super::limit_log::LimitLog;
use super::{Direction, Engine, Kind, Missing, Mode, Result, Role};

pub(super) const KIND: Kind =
    Kind { name: "limit", role: Role::Limit, buffered: "pwrite without a sync", open };

const WRITE_BYTES: usize = 1 << 20;

struct Limit {
    dir: PathBuf,
    /// A transaction is the time that the lock is held.
    map: RwLock<HashMap<Key, Value>>,
    sorted: Vec<(Key, Value)>,
    log: LimitLog,
}

fn open(dir: &Path, mode: Mode, data: &Data) -> Result<Box<dyn Engine>> {
    let pairs = || (0..data.count()).map(|index| (*data.key(index), *data.value(index)));
    let in_order = (0..data.count()).map(|rank| data.index_at(rank));
    Ok(Box::new(Limit {
        dir: dir.to_path_buf(),
        map: RwLock::new(pairs().collect()),
        sorted: in_order.map(|index| (*data.key(index), *data.value(index))).collect(),
        log: LimitLog::create(&dir.join("log"), mode)?,
    }))
}

impl Limit {
    fn map(&self) -> RwLockReadGuard<'_, HashMap<Key, Value>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn pairs(&self) -> impl Iterator<Item = Pair<'_>> {
        self.sorted.iter().map(|(key, value)| (&key[..], &value[..]))
    }
}

impl Engine for Limit {
    fn load(&self, pairs: &[Pair<'_>]) -> Result<()> {
        let file = File::create(self.dir.join("data"))?;
        let mut writer = BufWriter::with_capacity(WRITE_BYTES, file);
        for (key, value) in pairs {
            writer.write_all(key)?;
            writer.write_all(value)?;
        }
        writer.into_inner()?.sync_data()?;
        Ok(())
    }

    fn load_sorted(&self, pairs: &[Pair<'_>]) -> Result<()> {
        self.load(pairs)
    }

    fn get_together(&self, keys: &[Key]) -> Result<u64> {
        let map = self.map();
        let mut sum = 0_u64;
        for key in keys {
            sum = sum.wrapping_add(touch(map.get(key).ok_or(Missing)?));
        }
        Ok(sum)
    }

    fn get_each(&self, keys: &[Key]) -> Result<u64> {
        let mut sum = 0_u64;
        for key in keys {
            sum = sum.wrapping_add(touch(self.map().get(key).ok_or(Missing)?));
        }
        Ok(sum)
    }

    fn scan(&self, starts: &[Key], pairs: usize, direction: Direction) -> Result<u64> {
        let mut sum = 0_u64;
        for start in starts {
            let at = self.sorted.partition_point(|(key, _)| key < start);
            let range = match direction {
                Direction::Forward => at..(at + pairs).min(self.sorted.len()),
                Direction::Reverse => (at + 1).saturating_sub(pairs)..at + 1,
            };
            for (key, value) in &self.sorted[range] {
                sum = sum.wrapping_add(touch_pair((key, value)));
            }
        }
        Ok(sum)
    }

    fn scan_all(&self) -> Result<u64> {
        Ok(self.pairs().fold(0, |sum: u64, pair| sum.wrapping_add(touch_pair(pair))))
    }

    fn put(&self, pairs: &[Pair<'_>]) -> Result<()> {
        Ok(self.log.commit(pairs)?)
    }

    fn visit(&self, see: &mut dyn FnMut(Pair<'_>)) -> Result<()> {
        self.pairs().for_each(see);
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        Ok(self.log.sync()?)
    }
}
