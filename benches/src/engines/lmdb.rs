//! LMDB, through heed.
//!
//! A commit is durable by default: data, then the meta page, each synced. The settings that are not
//! defaults save it work: memory that it is about to fill is not zeroed first, and where it is told
//! of less memory than data the system reads nothing ahead for its map.

use std::ops::Bound;
use std::path::Path;

use bristlecone_benches::data::{Pair, touch, touch_all, touch_pair};
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, PutFlags, RoTxn, WithTls};

use super::{Direction, Engine, Kind, Missing, Mode, Opening, Result, Role, View};

pub(super) const KIND: Kind = Kind {
    name: "lmdb",
    role: Role::Peer,
    buffered: "NOSYNC",
    gets_many: false,
    buckets: "a key prefix: named databases are searched one by one in each transaction",
    compaction: "compacts only into a copy",
    open,
};

/// Address space; the file grows as needed.
const MAP_BYTES: usize = 64 << 30;
const READERS_MAX: u32 = 512;

struct Lmdb {
    env: Env,
    pairs: Database<'static, Bytes, Bytes>,
}

fn open(dir: &Path, opening: &Opening) -> Result<Box<dyn Engine>> {
    let flags = match opening.mode {
        Mode::Durable => EnvFlags::NO_MEM_INIT,
        Mode::Buffered => EnvFlags::NO_MEM_INIT | EnvFlags::NO_SYNC,
    };
    // Which its documentation advises where the data is larger than memory.
    let ahead = match opening.memory_bytes {
        Some(bytes) if bytes < opening.payload_bytes => EnvFlags::NO_READ_AHEAD,
        _ => EnvFlags::empty(),
    };
    let env = open_env(dir, flags | ahead)?;
    let txn = env.write_txn()?;
    let pairs = env
        .create_databases_and_commit(txn, |opener, txn| {
            opener.create_database::<Bytes, Bytes>(txn, None).map(CommitOrAbort::<_, ()>::Commit)
        })?
        .commit()
        .ok_or("expected the unnamed database, found none")?;
    Ok(Box::new(Lmdb { env, pairs }))
}

#[expect(unsafe_code, reason = "heed leaves it to the caller that nobody else changes the file")]
fn open_env(dir: &Path, flags: EnvFlags) -> heed::Result<Env> {
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES).max_readers(READERS_MAX);
    // SAFETY: without syncs a power cut may damage the file; `Scratch` removes it after the run,
    // and nothing opens it after one.
    unsafe { options.flags(flags) };
    // SAFETY: the directory was made by `Scratch` for this process alone, so nobody else changes
    // or truncates the file under the map.
    unsafe { options.open(dir) }
}

impl Lmdb {
    fn sum_of(&self, txn: &RoTxn<'_, WithTls>, keys: &[&[u8]]) -> Result<u64> {
        let mut sum = 0_u64;
        for key in keys {
            sum = sum.wrapping_add(touch(self.pairs.get(txn, key)?.ok_or(Missing)?));
        }
        Ok(sum)
    }
}

impl Engine for Lmdb {
    fn load(&self, pairs: &[Pair<'_>]) -> Result<()> {
        let mut txn = self.env.write_txn()?;
        for (key, value) in pairs {
            self.pairs.put(&mut txn, key, value)?;
        }
        txn.commit()?;
        Ok(())
    }

    fn load_sorted(&self, pairs: &[Pair<'_>]) -> Result<()> {
        let mut txn = self.env.write_txn()?;
        for (key, value) in pairs {
            self.pairs.put_with_flags(&mut txn, PutFlags::APPEND, key, value)?;
        }
        txn.commit()?;
        Ok(())
    }

    fn get_together(&self, keys: &[&[u8]]) -> Result<u64> {
        self.sum_of(&self.env.read_txn()?, keys)
    }

    fn get_each(&self, keys: &[&[u8]]) -> Result<u64> {
        let mut sum = 0_u64;
        for key in keys {
            let txn = self.env.read_txn()?;
            sum = sum.wrapping_add(touch(self.pairs.get(&txn, key)?.ok_or(Missing)?));
        }
        Ok(sum)
    }

    fn get_whole(&self, key: &[u8]) -> Result<u64> {
        let txn = self.env.read_txn()?;
        Ok(touch_all(self.pairs.get(&txn, key)?.ok_or(Missing)?))
    }

    fn scan(&self, starts: &[&[u8]], pairs: usize, direction: Direction) -> Result<u64> {
        let txn = self.env.read_txn()?;
        let mut sum = 0_u64;
        for start in starts {
            let start = Bound::Included(&start[..]);
            match direction {
                Direction::Forward => {
                    let bounds = (start, Bound::Unbounded);
                    for pair in self.pairs.range(&txn, &bounds)?.take(pairs) {
                        sum = sum.wrapping_add(touch_pair(pair?));
                    }
                }
                Direction::Reverse => {
                    let bounds = (Bound::Unbounded, start);
                    for pair in self.pairs.rev_range(&txn, &bounds)?.take(pairs) {
                        sum = sum.wrapping_add(touch_pair(pair?));
                    }
                }
            }
        }
        Ok(sum)
    }

    fn scan_all(&self) -> Result<u64> {
        let txn = self.env.read_txn()?;
        let mut sum = 0_u64;
        for pair in self.pairs.iter(&txn)? {
            sum = sum.wrapping_add(touch_pair(pair?));
        }
        Ok(sum)
    }

    fn put(&self, pairs: &[Pair<'_>]) -> Result<()> {
        self.load(pairs)
    }

    fn delete(&self, keys: &[&[u8]]) -> Result<()> {
        let mut txn = self.env.write_txn()?;
        for key in keys {
            self.pairs.delete(&mut txn, key)?;
        }
        txn.commit()?;
        Ok(())
    }

    fn hold(&self, body: &mut dyn FnMut(&View<'_>) -> Result<()>) -> Result<()> {
        let txn = self.env.read_txn()?;
        body(&|keys| self.sum_of(&txn, keys))
    }

    fn visit(&self, see: &mut dyn FnMut(Pair<'_>)) -> Result<()> {
        let txn = self.env.read_txn()?;
        for pair in self.pairs.iter(&txn)? {
            see(pair?);
        }
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.env.force_sync()?;
        Ok(())
    }
}
