//! redb, with its defaults: one-phase durable commits and a cache of 1 GiB or more.

use std::path::Path;

use ::redb::{
    Builder, Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition,
};
use bristlecone_benches::data::{
    BUCKET_NAME_BYTES, Pair, same_bucket, touch, touch_all, touch_pair,
};

use super::{Direction, Engine, Kind, Missing, Mode, Opening, Result, Role, View};

pub(super) const KIND: Kind = Kind {
    name: "redb",
    role: Role::Peer,
    buffered: "Durability::None",
    gets_many: false,
    buckets: "tables",
    compaction: "compact()",
    open,
};

const PAIRS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pairs");

struct Redb {
    db: Database,
    durability: Durability,
}

fn open(dir: &Path, opening: &Opening) -> Result<Box<dyn Engine>> {
    let durability = match opening.mode {
        Mode::Durable => Durability::Immediate,
        Mode::Buffered => Durability::None,
    };
    let cache_bytes = usize::try_from(opening.cache_bytes())?;
    let db = Builder::new().set_cache_size(cache_bytes).create(dir.join("pairs.redb"))?;
    let redb = Redb { db, durability };
    // An open that is timed must not commit, so only a new database gets its table.
    if redb.db.begin_read()?.open_table(PAIRS).is_err() {
        redb.settle()?;
    }
    Ok(Box::new(redb))
}

fn sum_of(table: &ReadOnlyTable<&[u8], &[u8]>, keys: &[&[u8]]) -> Result<u64> {
    let mut sum = 0_u64;
    for key in keys {
        sum = sum.wrapping_add(touch(table.get(key)?.ok_or(Missing)?.value()));
    }
    Ok(sum)
}

/// The table of a small bucket.
fn table_of(key: &[u8]) -> Result<(&str, &[u8])> {
    let (name, key) = key.split_at(BUCKET_NAME_BYTES);
    Ok((std::str::from_utf8(name)?, key))
}

impl Redb {
    fn write(&self, pairs: &[Pair<'_>], durability: Durability) -> Result<()> {
        let mut txn = self.db.begin_write()?;
        txn.set_durability(durability)?;
        let mut table = txn.open_table(PAIRS)?;
        for (key, value) in pairs {
            table.insert(key, value)?;
        }
        drop(table);
        txn.commit()?;
        Ok(())
    }
}

impl Engine for Redb {
    fn load(&self, pairs: &[Pair<'_>]) -> Result<()> {
        self.write(pairs, Durability::Immediate)
    }

    fn get_together(&self, keys: &[&[u8]]) -> Result<u64> {
        sum_of(&self.db.begin_read()?.open_table(PAIRS)?, keys)
    }

    fn get_each(&self, keys: &[&[u8]]) -> Result<u64> {
        let mut sum = 0_u64;
        for key in keys {
            let table = self.db.begin_read()?.open_table(PAIRS)?;
            sum = sum.wrapping_add(touch(table.get(key)?.ok_or(Missing)?.value()));
        }
        Ok(sum)
    }

    fn get_whole(&self, key: &[u8]) -> Result<u64> {
        let table = self.db.begin_read()?.open_table(PAIRS)?;
        Ok(touch_all(table.get(key)?.ok_or(Missing)?.value()))
    }

    fn scan(&self, starts: &[&[u8]], pairs: usize, direction: Direction) -> Result<u64> {
        let table = self.db.begin_read()?.open_table(PAIRS)?;
        let mut sum = 0_u64;
        for start in starts {
            match direction {
                Direction::Forward => {
                    for pair in table.range::<&[u8]>(*start..)?.take(pairs) {
                        let (key, value) = pair?;
                        sum = sum.wrapping_add(touch_pair((key.value(), value.value())));
                    }
                }
                Direction::Reverse => {
                    for pair in table.range::<&[u8]>(..=*start)?.rev().take(pairs) {
                        let (key, value) = pair?;
                        sum = sum.wrapping_add(touch_pair((key.value(), value.value())));
                    }
                }
            }
        }
        Ok(sum)
    }

    fn scan_all(&self) -> Result<u64> {
        let table = self.db.begin_read()?.open_table(PAIRS)?;
        let mut sum = 0_u64;
        for pair in table.iter()? {
            let (key, value) = pair?;
            sum = sum.wrapping_add(touch_pair((key.value(), value.value())));
        }
        Ok(sum)
    }

    fn put(&self, pairs: &[Pair<'_>]) -> Result<()> {
        self.write(pairs, self.durability)
    }

    fn delete(&self, keys: &[&[u8]]) -> Result<()> {
        let mut txn = self.db.begin_write()?;
        txn.set_durability(self.durability)?;
        let mut table = txn.open_table(PAIRS)?;
        for key in keys {
            table.remove(key)?;
        }
        drop(table);
        txn.commit()?;
        Ok(())
    }

    fn hold(&self, body: &mut dyn FnMut(&View<'_>) -> Result<()>) -> Result<()> {
        let table = self.db.begin_read()?.open_table(PAIRS)?;
        body(&|keys| sum_of(&table, keys))
    }

    fn create_buckets(&self, pairs: &[Pair<'_>]) -> Result<()> {
        let txn = self.db.begin_write()?;
        for records in pairs.chunk_by(same_bucket) {
            let definition = TableDefinition::<&[u8], &[u8]>::new(table_of(records[0].0)?.0);
            let mut table = txn.open_table(definition)?;
            for (key, value) in records {
                table.insert(table_of(key)?.1, value)?;
            }
        }
        txn.commit()?;
        Ok(())
    }

    fn get_in_buckets(&self, keys: &[&[u8]]) -> Result<u64> {
        let txn = self.db.begin_read()?;
        let mut sum = 0_u64;
        for key in keys {
            let (name, key) = table_of(key)?;
            let table = txn.open_table(TableDefinition::<&[u8], &[u8]>::new(name))?;
            sum = sum.wrapping_add(touch(table.get(key)?.ok_or(Missing)?.value()));
        }
        Ok(sum)
    }

    fn visit(&self, see: &mut dyn FnMut(Pair<'_>)) -> Result<()> {
        let table = self.db.begin_read()?.open_table(PAIRS)?;
        for pair in table.iter()? {
            let (key, value) = pair?;
            see((key.value(), value.value()));
        }
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.write(&[], Durability::Immediate)
    }

    fn compact(&mut self) -> Result<()> {
        // A pass can make room for another one.
        while self.db.compact()? {}
        Ok(())
    }
}
