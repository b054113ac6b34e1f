//! fjall, with a block cache that holds all data, and without compression: values are random.
//!
//! A durable commit is a batch that syncs the journal (`PersistMode::SyncData`); a buffered one
//! leaves that to a later `persist`. Sorted pairs are ingested. Gets are expected to find their
//! key, as they do here. Values of 4 KiB and more are kept apart from their keys, as its
//! documentation recommends for large ones. To settle, the memtable is written out and compactions
//! are waited for.

use std::path::Path;
use std::thread;
use std::time::Duration;

use ::fjall::{
    Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, OwnedWriteBatch, PersistMode,
    Readable, Snapshot,
};
use bristlecone_benches::data::{Pair, touch, touch_all, touch_pair};

use super::{Direction, Engine, Kind, Missing, Mode, Opening, Result, Role, View};

pub(super) const KIND: Kind = Kind {
    name: "fjall",
    role: Role::Peer,
    buffered: "a batch without persist",
    gets_many: false,
    buckets: "a key prefix: a keyspace is a tree with files of its own",
    compaction: "major_compact()",
    open,
};

/// Values from this length on are kept apart.
const LARGE_BYTES: usize = 4096;
/// Compactions follow each other; after so long without one there is none to come.
const QUIET: Duration = Duration::from_millis(20);

struct Fjall {
    db: Database,
    pairs: Keyspace,
    /// When a commit of pairs is persisted.
    persist: Option<PersistMode>,
}

fn open(dir: &Path, opening: &Opening) -> Result<Box<dyn Engine>> {
    let db = Database::builder(dir).cache_size(opening.cache_bytes()).open()?;
    let large = opening.value_bytes >= LARGE_BYTES;
    let pairs = db.keyspace("pairs", || {
        KeyspaceCreateOptions::default()
            .expect_point_read_hits(true)
            .with_kv_separation(large.then(KvSeparationOptions::default))
    })?;
    let persist = (opening.mode == Mode::Durable).then_some(PersistMode::SyncData);
    Ok(Box::new(Fjall { db, pairs, persist }))
}

impl Fjall {
    fn batch(&self, operations: usize, persist: Option<PersistMode>) -> OwnedWriteBatch {
        OwnedWriteBatch::with_capacity(self.db.clone(), operations).durability(persist)
    }

    fn write(&self, pairs: &[Pair<'_>], persist: Option<PersistMode>) -> Result<()> {
        let mut batch = self.batch(pairs.len(), persist);
        for (key, value) in pairs {
            batch.insert(&self.pairs, *key, *value);
        }
        Ok(batch.commit()?)
    }

    fn sum_of(&self, snapshot: &Snapshot, keys: &[&[u8]]) -> Result<u64> {
        let mut sum = 0_u64;
        for key in keys {
            sum = sum.wrapping_add(touch(&snapshot.get(&self.pairs, key)?.ok_or(Missing)?));
        }
        Ok(sum)
    }
}

impl Engine for Fjall {
    fn load(&self, pairs: &[Pair<'_>]) -> Result<()> {
        self.write(pairs, Some(PersistMode::SyncAll))
    }

    fn load_sorted(&self, pairs: &[Pair<'_>]) -> Result<()> {
        let mut ingestion = self.pairs.start_ingestion()?;
        for (key, value) in pairs {
            ingestion.write(*key, *value)?;
        }
        ingestion.finish()?;
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }

    fn get_together(&self, keys: &[&[u8]]) -> Result<u64> {
        self.sum_of(&self.db.snapshot(), keys)
    }

    fn get_each(&self, keys: &[&[u8]]) -> Result<u64> {
        let mut sum = 0_u64;
        for key in keys {
            sum = sum.wrapping_add(touch(&self.pairs.get(key)?.ok_or(Missing)?));
        }
        Ok(sum)
    }

    fn get_whole(&self, key: &[u8]) -> Result<u64> {
        Ok(touch_all(&self.pairs.get(key)?.ok_or(Missing)?))
    }

    fn scan(&self, starts: &[&[u8]], pairs: usize, direction: Direction) -> Result<u64> {
        let snapshot = self.db.snapshot();
        let mut sum = 0_u64;
        for start in starts {
            match direction {
                Direction::Forward => {
                    for guard in snapshot.range(&self.pairs, *start..).take(pairs) {
                        let (key, value) = guard.into_inner()?;
                        sum = sum.wrapping_add(touch_pair((&key, &value)));
                    }
                }
                Direction::Reverse => {
                    for guard in snapshot.range(&self.pairs, ..=*start).rev().take(pairs) {
                        let (key, value) = guard.into_inner()?;
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
        self.write(pairs, self.persist)
    }

    fn delete(&self, keys: &[&[u8]]) -> Result<()> {
        let mut batch = self.batch(keys.len(), self.persist);
        for key in keys {
            batch.remove(&self.pairs, *key);
        }
        Ok(batch.commit()?)
    }

    fn hold(&self, body: &mut dyn FnMut(&View<'_>) -> Result<()>) -> Result<()> {
        let snapshot = self.db.snapshot();
        body(&|keys| self.sum_of(&snapshot, keys))
    }

    fn visit(&self, see: &mut dyn FnMut(Pair<'_>)) -> Result<()> {
        for guard in self.db.snapshot().iter(&self.pairs) {
            let (key, value) = guard.into_inner()?;
            see((&key, &value));
        }
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.db.persist(PersistMode::SyncAll)?;
        self.pairs.rotate_memtable_and_wait()?;
        let done = || (self.db.outstanding_flushes(), self.db.compactions_completed());
        let mut last = None;
        while self.db.active_compactions() > 0 || last != Some(done()) {
            last = Some(done());
            thread::sleep(QUIET);
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<()> {
        Ok(self.pairs.major_compact()?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.settle()
    }
}
