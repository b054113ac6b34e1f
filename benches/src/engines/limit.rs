//! The limit: a program that does only what physics asks.
//!
//! Gets read a std `HashMap`, scans find their start among the heads of the keys and read entries
//! that lie one behind the other, a load writes a file from front to back, and a commit goes to a
//! zero-filled log. Nothing ties them together: puts are not read back.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::hash::Hash;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use bristlecone_benches::data::{Data, Pair, Shape, touch, touch_all, touch_pair};

use super::heads::Heads;
use super::limit_log::LimitLog;
use super::{Direction, Engine, Kind, Missing, Opening, Result, Role, Unsupported, View};

pub(super) const KIND: Kind = Kind {
    name: "limit",
    role: Role::Limit,
    buffered: "pwrite without a sync",
    gets_many: false,
    buckets: "a file and one HashMap",
    compaction: "the payload that is left",
    open,
};

const WRITE_BYTES: usize = 1 << 20;

/// Keys and values of fixed lengths, so that a map holds them without a pointer.
struct Limit<K, V> {
    dir: PathBuf,
    data: Arc<Data>,
    /// A transaction is the time that the lock is held. Built at the first get.
    map: OnceLock<RwLock<HashMap<K, V>>>,
    /// Built at the first scan.
    sorted: OnceLock<Sorted<K, V>>,
    /// What was put alone, for [`Engine::get_whole`].
    alone: RwLock<Vec<u8>>,
    log: LimitLog,
}

/// Pairs in the order of their keys.
struct Sorted<K, V> {
    heads: Heads,
    entries: Vec<(K, V)>,
}

fn open(dir: &Path, opening: &Opening) -> Result<Box<dyn Engine>> {
    let data = opening.data.clone().ok_or(Unsupported("the limit opens nothing"))?;
    let dir = dir.to_path_buf();
    let log = LimitLog::create(&dir.join("log"), opening.mode)?;
    const RANDOM: (usize, usize) = (Shape::Random.key_bytes(), Shape::Random.value_bytes());
    const RECORDS: (usize, usize) = (Shape::Records.key_bytes(), Shape::Records.value_bytes());
    const BUCKETS: (usize, usize) = (Shape::Buckets.key_bytes(), Shape::Buckets.value_bytes());
    Ok(match data.shape() {
        Shape::Random => Limit::<[u8; RANDOM.0], [u8; RANDOM.1]>::boxed(dir, data, log),
        Shape::Records => Limit::<[u8; RECORDS.0], [u8; RECORDS.1]>::boxed(dir, data, log),
        Shape::Buckets => Limit::<[u8; BUCKETS.0], [u8; BUCKETS.1]>::boxed(dir, data, log),
    })
}

/// Bytes of a fixed length.
trait Fixed: Borrow<[u8]> + for<'a> TryFrom<&'a [u8]> + Hash + Eq + Send + Sync + 'static {
    fn from_bytes(bytes: &[u8]) -> Self {
        let Ok(fixed) = Self::try_from(bytes) else {
            panic!("invariant: keys and values of a shape have one length")
        };
        fixed
    }
}

impl<const LENGTH: usize> Fixed for [u8; LENGTH] {}

impl<K: Fixed, V: Fixed> Limit<K, V> {
    fn boxed(dir: PathBuf, data: Arc<Data>, log: LimitLog) -> Box<dyn Engine> {
        let (map, sorted) = (OnceLock::new(), OnceLock::new());
        Box::new(Limit::<K, V> { dir, data, map, sorted, alone: RwLock::default(), log })
    }

    fn pair(&self, index: usize) -> (K, V) {
        let (key, value) = self.data.pair(index);
        (K::from_bytes(key), V::from_bytes(value))
    }

    fn map(&self) -> RwLockReadGuard<'_, HashMap<K, V>> {
        let all = || (0..self.data.count()).map(|index| self.pair(index));
        let map = self.map.get_or_init(|| RwLock::new(all().collect()));
        map.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn sorted(&self) -> &Sorted<K, V> {
        self.sorted.get_or_init(|| {
            let indexes = (0..self.data.count()).map(|rank| self.data.index_at(rank));
            let heads = Heads::of(indexes.clone().map(|index| self.data.key(index)));
            Sorted { heads, entries: indexes.map(|index| self.pair(index)).collect() }
        })
    }

    fn pairs(&self) -> impl Iterator<Item = Pair<'_>> {
        self.sorted().entries.iter().map(|(key, value)| (key.borrow(), value.borrow()))
    }
}

impl<K: Fixed, V: Fixed> Sorted<K, V> {
    /// The place of the first key that is not below `key`.
    #[inline]
    fn place_of(&self, key: &[u8]) -> usize {
        let mut place = self.heads.below(key);
        while self.entries.get(place).is_some_and(|(other, _)| other.borrow() < key) {
            place += 1;
        }
        place
    }
}

impl<K: Fixed, V: Fixed> Engine for Limit<K, V> {
    fn load(&self, pairs: &[Pair<'_>]) -> Result<()> {
        // Blocks that the file has already are written again: a value put twice needs no others.
        let path = self.dir.join("data");
        let file: File = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        let mut writer = BufWriter::with_capacity(WRITE_BYTES, file);
        for (key, value) in pairs {
            writer.write_all(key)?;
            writer.write_all(value)?;
        }
        writer.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_data()?;
        if let [(_, value)] = pairs {
            let mut alone = self.alone.write().unwrap_or_else(PoisonError::into_inner);
            alone.clear();
            alone.extend_from_slice(value);
        }
        Ok(())
    }

    fn get_together(&self, keys: &[&[u8]]) -> Result<u64> {
        let map = self.map();
        let mut sum = 0_u64;
        for key in keys {
            sum = sum.wrapping_add(touch(map.get(*key).ok_or(Missing)?.borrow()));
        }
        Ok(sum)
    }

    fn get_each(&self, keys: &[&[u8]]) -> Result<u64> {
        let mut sum = 0_u64;
        for key in keys {
            sum = sum.wrapping_add(touch(self.map().get(*key).ok_or(Missing)?.borrow()));
        }
        Ok(sum)
    }

    fn get_whole(&self, _key: &[u8]) -> Result<u64> {
        Ok(touch_all(&self.alone.read().unwrap_or_else(PoisonError::into_inner)))
    }

    fn scan(&self, starts: &[&[u8]], pairs: usize, direction: Direction) -> Result<u64> {
        let sorted = self.sorted();
        let mut sum = 0_u64;
        for start in starts {
            let place = sorted.place_of(start);
            let range = match direction {
                Direction::Forward => place..(place + pairs).min(sorted.entries.len()),
                Direction::Reverse => (place + 1).saturating_sub(pairs)..place + 1,
            };
            for (key, value) in &sorted.entries[range] {
                sum = sum.wrapping_add(touch_pair((key.borrow(), value.borrow())));
            }
        }
        Ok(sum)
    }

    fn scan_all(&self) -> Result<u64> {
        Ok(self.pairs().fold(0, |sum: u64, pair| sum.wrapping_add(touch_pair(pair))))
    }

    fn put(&self, pairs: &[Pair<'_>]) -> Result<()> {
        match pairs {
            // A log would only copy it.
            [(_, value)] if value.len() >= WRITE_BYTES => self.load(pairs),
            _ => Ok(self.log.commit(pairs)?),
        }
    }

    fn delete(&self, keys: &[&[u8]]) -> Result<()> {
        let pairs: Vec<Pair<'_>> = keys.iter().map(|key| (*key, &[][..])).collect();
        Ok(self.log.commit(&pairs)?)
    }

    fn hold(&self, body: &mut dyn FnMut(&View<'_>) -> Result<()>) -> Result<()> {
        body(&|keys| self.get_together(keys))
    }

    fn visit(&self, see: &mut dyn FnMut(Pair<'_>)) -> Result<()> {
        self.pairs().for_each(see);
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        Ok(self.log.sync()?)
    }
}
