//! redb, with its defaults: one-phase durable commits and a cache of 1 GiB or more.

use std::path::Path;

use ::redb::{Builder, Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use bristlecone_benches::data::{Data, Key, Pair, touch, touch_pair};

use super::{Direction, Engine, Kind, Missing, Mode, Result, Role};

pub(super) const KIND: Kind =
    Kind { name: "redb", role: Role::Peer, buffered: "Durability::None", open };

const PAIRS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("pairs");

struct Redb {
    db: Database,
    durability: Durability,
}

fn open(dir: &Path, mode: Mode, data: &Data) -> Result<Box<dyn Engine>> {
    let durability = match mode {
        Mode::Durable => Durability::Immediate,
        Mode::Buffered => Durability::None,
    };
    // All data fits, as it fits in the page cache that the other engines read through.
    let cache_bytes = (1 << 30).max(usize::try_from(4 * data.payload_bytes())?);
    let db = Builder::new().set_cache_size(cache_bytes).create(dir.join("pairs.redb"))?;
    let redb = Redb { db, durability };
    redb.settle()?;
    Ok(Box::new(redb))
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

    fn load_sorted(&self, pairs: &[Pair<'_>]) -> Result<()> {
        self.write(pairs, Durability::Immediate)
    }

    fn get_together(&self, keys: &[Key]) -> Result<u64> {
        let table = self.db.begin_read()?.open_table(PAIRS)?;
        let mut sum = 0_u64;
        for key in keys {
            sum = sum.wrapping_add(touch(table.get(&key[..])?.ok_or(Missing)?.value()));
        }
        Ok(sum)
    }

    fn get_each(&self, keys: &[Key]) -> Result<u64> {
        let mut sum = 0_u64;
        for key in keys {
            let table = self.db.begin_read()?.open_table(PAIRS)?;
            sum = sum.wrapping_add(touch(table.get(&key[..])?.ok_or(Missing)?.value()));
        }
        Ok(sum)
    }

    fn scan(&self, starts: &[Key], pairs: usize, direction: Direction) -> Result<u64> {
        let table = self.db.begin_read()?.open_table(PAIRS)?;
        let mut sum = 0_u64;
        for start in starts {
            match direction {
                Direction::Forward => {
                    for pair in table.range::<&[u8]>(&start[..]..)?.take(pairs) {
                        let (key, value) = pair?;
                        sum = sum.wrapping_add(touch_pair((key.value(), value.value())));
                    }
                }
                Direction::Reverse => {
                    for pair in table.range::<&[u8]>(..=&start[..])?.rev().take(pairs) {
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
}
