//! LMDB, through heed.
//!
//! A commit is durable by default: data, then the meta page, each synced. The one setting that is
//! not a default saves it work: memory that it is about to fill is not zeroed first.

use std::ops::Bound;
use std::path::Path;

use bristlecone_benches::data::{Data, Key, Pair, touch, touch_pair};
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, PutFlags};

use super::{Direction, Engine, Kind, Missing, Mode, Result, Role};

pub(super) const KIND: Kind = Kind { name: "lmdb", role: Role::Peer, buffered: "NOSYNC", open };

/// Address space; the file grows as needed.
const MAP_BYTES: usize = 64 << 30;
const READERS_MAX: u32 = 512;

struct Lmdb {
    env: Env,
    pairs: Database<'static, Bytes, Bytes>,
}

fn open(dir: &Path, mode: Mode, _data: &Data) -> Result<Box<dyn Engine>> {
    let flags = match mode {
        Mode::Durable => EnvFlags::NO_MEM_INIT,
        Mode::Buffered => EnvFlags::NO_MEM_INIT | EnvFlags::NO_SYNC,
    };
    let env = open_env(dir, flags)?;
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

    fn get_together(&self, keys: &[Key]) -> Result<u64> {
        let txn = self.env.read_txn()?;
        let mut sum = 0_u64;
        for key in keys {
            sum = sum.wrapping_add(touch(self.pairs.get(&txn, key)?.ok_or(Missing)?));
        }
        Ok(sum)
    }

    fn get_each(&self, keys: &[Key]) -> Result<u64> {
        let mut sum = 0_u64;
        for key in keys {
            let txn = self.env.read_txn()?;
            sum = sum.wrapping_add(touch(self.pairs.get(&txn, key)?.ok_or(Missing)?));
        }
        Ok(sum)
    }

    fn scan(&self, starts: &[Key], pairs: usize, direction: Direction) -> Result<u64> {
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
