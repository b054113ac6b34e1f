//! libmdbx, through the crate `libmdbx`.
//!
//! A commit is durable by default (`SYNC_DURABLE`). Pages are written to the file, not through a
//! writable map, which is its default and what keeps a stray write out of the data. Settings that
//! are not defaults save it work: memory that it is about to fill is not zeroed first
//! (`NOMEMINIT`), and pages freed last are used first (`LIFORECLAIM`), which its documentation
//! recommends for disks that cache writes; where it is told of less memory than data the system
//! reads nothing ahead for its map (`NORDAHEAD`). The crate begins and ends write transactions in a
//! thread of its own: two changes of threads in each commit are part of its price.

use std::borrow::Cow;
use std::path::Path;

use ::libmdbx::{
    Cursor, Database, DatabaseOptions, Mode as Access, NoWriteMap, RO, ReadWriteOptions, SyncMode,
    Table, TableFlags, Transaction, WriteFlags,
};
use bristlecone_benches::data::{Pair, touch, touch_all, touch_pair};

use super::{Direction, Engine, Kind, Missing, Mode, Opening, Result, Role, View};

pub(super) const KIND: Kind = Kind {
    name: "libmdbx",
    role: Role::Peer,
    buffered: "UTTERLY_NOSYNC",
    gets_many: false,
    buckets: "a key prefix: there are at most 32,765 tables",
    compaction: "compacts only into a copy",
    open,
};

/// The file grows up to here as needed.
const FILE_BYTES_MAX: isize = 64 << 30;
const READERS_MAX: u32 = 512;

type Bytes<'a> = Cow<'a, [u8]>;
type ReadTxn<'a> = Transaction<'a, RO, NoWriteMap>;

struct Libmdbx {
    db: Database<NoWriteMap>,
}

fn open(dir: &Path, opening: &Opening) -> Result<Box<dyn Engine>> {
    let sync_mode = match opening.mode {
        Mode::Durable => SyncMode::Durable,
        Mode::Buffered => SyncMode::UtterlyNoSync,
    };
    let max_size = Some(FILE_BYTES_MAX);
    let options = DatabaseOptions {
        max_readers: Some(READERS_MAX),
        mode: Access::ReadWrite(ReadWriteOptions { sync_mode, max_size, ..Default::default() }),
        no_meminit: true,
        liforeclaim: true,
        // Which its documentation advises where the data is larger than memory.
        no_rdahead: opening.memory_bytes.is_some_and(|bytes| bytes < opening.payload_bytes),
        ..DatabaseOptions::default()
    };
    Ok(Box::new(Libmdbx { db: Database::open_with_options(dir, options)? }))
}

fn touched<'txn>(txn: &'txn ReadTxn<'_>, table: &Table<'txn>, key: &[u8]) -> Result<u64> {
    Ok(touch(&txn.get::<Bytes<'_>>(table, key)?.ok_or(Missing)?))
}

fn sum_of(txn: &ReadTxn<'_>, keys: &[&[u8]]) -> Result<u64> {
    let table = txn.open_table(None)?;
    let mut sum = 0_u64;
    for key in keys {
        sum = sum.wrapping_add(touched(txn, &table, key)?);
    }
    Ok(sum)
}

fn scan_from(
    cursor: &mut Cursor<'_, RO>,
    start: &[u8],
    pairs: usize,
    direction: Direction,
) -> Result<u64> {
    let mut pair: Option<(Bytes<'_>, Bytes<'_>)> = match direction {
        Direction::Forward => cursor.set_range(start)?,
        Direction::Reverse => cursor.set_upperbound(start)?,
    };
    let mut sum = 0_u64;
    for left in (0..pairs).rev() {
        let Some((key, value)) = &pair else { break };
        sum = sum.wrapping_add(touch_pair((key, value)));
        if left > 0 {
            pair = match direction {
                Direction::Forward => cursor.next()?,
                Direction::Reverse => cursor.prev()?,
            };
        }
    }
    Ok(sum)
}

impl Libmdbx {
    fn write(&self, pairs: &[Pair<'_>], flags: WriteFlags) -> Result<()> {
        let txn = self.db.begin_rw_txn()?;
        let table = txn.create_table(None, TableFlags::empty())?;
        for (key, value) in pairs {
            txn.put(&table, key, value, flags)?;
        }
        txn.commit()?;
        Ok(())
    }
}

impl Engine for Libmdbx {
    fn load(&self, pairs: &[Pair<'_>]) -> Result<()> {
        self.write(pairs, WriteFlags::UPSERT)
    }

    fn load_sorted(&self, pairs: &[Pair<'_>]) -> Result<()> {
        self.write(pairs, WriteFlags::APPEND)
    }

    fn get_together(&self, keys: &[&[u8]]) -> Result<u64> {
        sum_of(&self.db.begin_ro_txn()?, keys)
    }

    fn get_each(&self, keys: &[&[u8]]) -> Result<u64> {
        // The handle of a table outlives its transaction, as its documentation recommends.
        let opener = self.db.begin_ro_txn()?;
        let table = opener.open_table(None)?;
        let mut sum = 0_u64;
        for key in keys {
            sum = sum.wrapping_add(touched(&self.db.begin_ro_txn()?, &table, key)?);
        }
        Ok(sum)
    }

    fn get_whole(&self, key: &[u8]) -> Result<u64> {
        let txn = self.db.begin_ro_txn()?;
        let table = txn.open_table(None)?;
        Ok(touch_all(&txn.get::<Bytes<'_>>(&table, key)?.ok_or(Missing)?))
    }

    fn scan(&self, starts: &[&[u8]], pairs: usize, direction: Direction) -> Result<u64> {
        let txn = self.db.begin_ro_txn()?;
        let table = txn.open_table(None)?;
        let mut cursor = txn.cursor(&table)?;
        let mut sum = 0_u64;
        for start in starts {
            sum = sum.wrapping_add(scan_from(&mut cursor, start, pairs, direction)?);
        }
        Ok(sum)
    }

    fn scan_all(&self) -> Result<u64> {
        let mut sum = 0_u64;
        self.visit(&mut |pair| sum = sum.wrapping_add(touch_pair(pair)))?;
        Ok(sum)
    }

    fn put(&self, pairs: &[Pair<'_>]) -> Result<()> {
        self.load(pairs)
    }

    fn delete(&self, keys: &[&[u8]]) -> Result<()> {
        let txn = self.db.begin_rw_txn()?;
        let table = txn.open_table(None)?;
        for key in keys {
            txn.del(&table, key, None)?;
        }
        txn.commit()?;
        Ok(())
    }

    fn hold(&self, body: &mut dyn FnMut(&View<'_>) -> Result<()>) -> Result<()> {
        let txn = self.db.begin_ro_txn()?;
        body(&|keys| sum_of(&txn, keys))
    }

    fn visit(&self, see: &mut dyn FnMut(Pair<'_>)) -> Result<()> {
        let txn = self.db.begin_ro_txn()?;
        let table = txn.open_table(None)?;
        let mut cursor = txn.cursor(&table)?;
        for pair in cursor.iter_start::<Bytes<'_>, Bytes<'_>>() {
            let (key, value) = pair?;
            see((&key, &value));
        }
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.db.sync(true)?;
        Ok(())
    }
}
