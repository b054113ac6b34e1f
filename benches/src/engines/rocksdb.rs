//! RocksDB, with a block cache that holds all data, as its tuning guide has it.
//!
//! Bloom filters of 10 bits a key, the filters and indexes of level 0 pinned, and files synced as
//! they are written (`bytes_per_sync`). No compression, for values are random. A durable commit is
//! a batch with `sync`; log files are recycled, which its documentation recommends for such writes.
//! Buffered commits stay in the log's memory until `flush_wal` (`manual_wal_flush`). Sorted pairs
//! are written to a file of their own and ingested. To settle, the memtable is written out and
//! compactions are waited for.

use std::path::{Path, PathBuf};

use ::rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DEFAULT_COLUMN_FAMILY_NAME, Options, Snapshot,
    SstFileWriter, WaitForCompactOptions, WriteBatch, WriteOptions,
};
use bristlecone_benches::data::{Pair, touch, touch_all, touch_pair};

use super::{Direction, Engine, Kind, Missing, Mode, Opening, Result, Role, View};

pub(super) const KIND: Kind = Kind {
    name: "rocksdb",
    role: Role::Peer,
    buffered: "manual_wal_flush",
    gets_many: true,
    buckets: "a key prefix: a column family has memtables and files of its own",
    compaction: "compact_range()",
    open,
};

/// The column family that each database has.
const FAMILY: &str = DEFAULT_COLUMN_FAMILY_NAME;
/// Keys that are got at once.
const WIDTH: usize = 16;
const BLOOM_BITS: f64 = 10.0;
const SYNC_BYTES: u64 = 1 << 20;
const LOG_FILES_KEPT: usize = 4;

struct RocksDb {
    db: DB,
    options: Options,
    /// Where a file is made that is ingested.
    ingested: PathBuf,
    sync: bool,
}

fn options(opening: &Opening) -> Result<Options> {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(usize::try_from(opening.cache_bytes())?));
    table.set_bloom_filter(BLOOM_BITS, false);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::None);
    options.increase_parallelism(i32::try_from(std::thread::available_parallelism()?.get())?);
    options.set_bytes_per_sync(SYNC_BYTES);
    options.set_recycle_log_file_num(LOG_FILES_KEPT);
    options.set_manual_wal_flush(opening.mode == Mode::Buffered);
    Ok(options)
}

fn open(dir: &Path, opening: &Opening) -> Result<Box<dyn Engine>> {
    let options = options(opening)?;
    // By name, for a batched `multi_get` takes the handle of a column family.
    let families = [(FAMILY, options.clone())];
    let db = DB::open_cf_with_opts(&options, dir.join("db"), families)?;
    let sync = opening.mode == Mode::Durable;
    Ok(Box::new(RocksDb { db, options, ingested: dir.join("ingested.sst"), sync }))
}

fn sum_of(snapshot: &Snapshot<'_>, keys: &[&[u8]]) -> Result<u64> {
    let mut sum = 0_u64;
    for key in keys {
        sum = sum.wrapping_add(touch(&snapshot.get_pinned(key)?.ok_or(Missing)?));
    }
    Ok(sum)
}

impl RocksDb {
    fn write(&self, batch: WriteBatch, sync: bool) -> Result<()> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        Ok(self.db.write_opt(batch, &options)?)
    }
}

fn batch_of(pairs: &[Pair<'_>]) -> WriteBatch {
    let mut batch = WriteBatch::default();
    pairs.iter().for_each(|(key, value)| batch.put(key, value));
    batch
}

impl Engine for RocksDb {
    fn load(&self, pairs: &[Pair<'_>]) -> Result<()> {
        self.write(batch_of(pairs), true)
    }

    fn load_sorted(&self, pairs: &[Pair<'_>]) -> Result<()> {
        let mut writer = SstFileWriter::create(&self.options);
        writer.open(&self.ingested)?;
        for (key, value) in pairs {
            writer.put(key, value)?;
        }
        writer.finish()?;
        Ok(self.db.ingest_external_file(vec![&self.ingested])?)
    }

    fn get_together(&self, keys: &[&[u8]]) -> Result<u64> {
        sum_of(&self.db.snapshot(), keys)
    }

    fn get_each(&self, keys: &[&[u8]]) -> Result<u64> {
        let mut sum = 0_u64;
        for key in keys {
            sum = sum.wrapping_add(touch(&self.db.get_pinned(key)?.ok_or(Missing)?));
        }
        Ok(sum)
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<u64> {
        let family = self.db.cf_handle(FAMILY).ok_or("expected a column family, found none")?;
        let mut sum = 0_u64;
        for keys in keys.chunks(WIDTH) {
            for value in self.db.batched_multi_get_cf(family, keys, false) {
                sum = sum.wrapping_add(touch(&value?.ok_or(Missing)?));
            }
        }
        Ok(sum)
    }

    fn get_whole(&self, key: &[u8]) -> Result<u64> {
        Ok(touch_all(&self.db.get_pinned(key)?.ok_or(Missing)?))
    }

    fn scan(&self, starts: &[&[u8]], pairs: usize, direction: Direction) -> Result<u64> {
        // An iterator sees the database as it was when it was made.
        let mut iterator = self.db.raw_iterator();
        let mut sum = 0_u64;
        for start in starts {
            match direction {
                Direction::Forward => iterator.seek(start),
                Direction::Reverse => iterator.seek_for_prev(start),
            }
            for left in (0..pairs).rev() {
                let Some(pair) = iterator.item() else { break };
                sum = sum.wrapping_add(touch_pair(pair));
                match direction {
                    _ if left == 0 => (),
                    Direction::Forward => iterator.next(),
                    Direction::Reverse => iterator.prev(),
                }
            }
            iterator.status()?;
        }
        Ok(sum)
    }

    fn scan_all(&self) -> Result<u64> {
        let mut sum = 0_u64;
        self.visit(&mut |pair| sum = sum.wrapping_add(touch_pair(pair)))?;
        Ok(sum)
    }

    fn put(&self, pairs: &[Pair<'_>]) -> Result<()> {
        self.write(batch_of(pairs), self.sync)
    }

    fn delete(&self, keys: &[&[u8]]) -> Result<()> {
        let mut batch = WriteBatch::default();
        keys.iter().for_each(|key| batch.delete(key));
        self.write(batch, self.sync)
    }

    fn hold(&self, body: &mut dyn FnMut(&View<'_>) -> Result<()>) -> Result<()> {
        let snapshot = self.db.snapshot();
        body(&|keys| sum_of(&snapshot, keys))
    }

    fn visit(&self, see: &mut dyn FnMut(Pair<'_>)) -> Result<()> {
        let mut iterator = self.db.raw_iterator();
        iterator.seek_to_first();
        while let Some(pair) = iterator.item() {
            see(pair);
            iterator.next();
        }
        Ok(iterator.status()?)
    }

    fn settle(&self) -> Result<()> {
        self.db.flush_wal(true)?;
        self.db.flush()?;
        Ok(self.db.wait_for_compact(&WaitForCompactOptions::default())?)
    }

    fn compact(&mut self) -> Result<()> {
        self.db.compact_range(None::<&[u8]>, None::<&[u8]>);
        Ok(self.db.wait_for_compact(&WaitForCompactOptions::default())?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.settle()
    }
}
