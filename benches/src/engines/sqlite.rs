//! SQLite, through rusqlite, in its WAL mode with `synchronous = FULL`: each commit is synced.
//!
//! Statements are prepared once for each connection. One connection writes, for SQLite has one
//! writer; each reading thread takes a connection of its own. Files are read through a map, and
//! checkpoints come at the default of 1,000 pages. As its documentation advises, small rows are in
//! a table `WITHOUT ROWID`, and rows above a twentieth of a page in an ordinary table with an
//! index.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bristlecone_benches::data::{Pair, touch, touch_all, touch_pair};
use rusqlite::{CachedStatement, Connection};

use super::{Direction, Engine, Kind, Missing, Mode, Opening, Result, Role, View};

pub(super) const KIND: Kind = Kind {
    name: "sqlite",
    role: Role::Peer,
    buffered: "synchronous = OFF",
    gets_many: false,
    buckets: "a key prefix: each table is an entry of the schema",
    compaction: "VACUUM",
    open,
};

/// Rows up to this size are in a table `WITHOUT ROWID`.
const SMALL_ROW_BYTES: usize = 200;
/// Of one connection, in KiB. What is not in it is read through the map.
const CACHE_KIB: i64 = 64 << 10;
/// The largest that SQLite takes.
const MAP_BYTES: i64 = 0x7fff_0000;

/// How long a statement waits for a lock, the default of rusqlite.
const BUSY: Duration = Duration::from_secs(5);

const GET: &str = "SELECT value FROM pairs WHERE key = ?1";
const PUT: &str = "INSERT OR REPLACE INTO pairs (key, value) VALUES (?1, ?2)";
const DELETE: &str = "DELETE FROM pairs WHERE key = ?1";
const FORWARD: &str = "SELECT key, value FROM pairs WHERE key >= ?1 ORDER BY key LIMIT ?2";
const REVERSE: &str = "SELECT key, value FROM pairs WHERE key <= ?1 ORDER BY key DESC LIMIT ?2";
const ALL: &str = "SELECT key, value FROM pairs ORDER BY key";

struct Sqlite {
    path: PathBuf,
    durable: bool,
    /// Connections that wait for a reading thread.
    readers: Mutex<Vec<Connection>>,
    /// The last field: its close is the last one, which checkpoints the log.
    writer: Mutex<Connection>,
}

fn open(dir: &Path, opening: &Opening) -> Result<Box<dyn Engine>> {
    let path = dir.join("pairs.sqlite");
    let writer = connect(&path)?;
    writer.pragma_update(None, "journal_mode", "WAL")?;
    let small = opening.value_bytes <= SMALL_ROW_BYTES;
    let rowid = if small { "WITHOUT ROWID" } else { "" };
    writer.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS pairs (key BLOB PRIMARY KEY, value BLOB NOT NULL) {rowid}"
    ))?;
    let durable = opening.mode == Mode::Durable;
    writer.pragma_update(None, "synchronous", if durable { "FULL" } else { "OFF" })?;
    let sqlite = Sqlite { path, durable, readers: Mutex::default(), writer: Mutex::new(writer) };
    Ok(Box::new(sqlite))
}

fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    // Answers with the size that it has set.
    connection.pragma_update_and_check(None, "mmap_size", MAP_BYTES, |_| Ok(()))?;
    Ok(connection)
}

fn get(statement: &mut CachedStatement<'_>, key: &[u8], read: fn(&[u8]) -> u64) -> Result<u64> {
    let mut rows = statement.query([key])?;
    Ok(read(rows.next()?.ok_or(Missing)?.get_ref(0)?.as_blob()?))
}

fn sum_of(connection: &Connection, keys: &[&[u8]]) -> Result<u64> {
    let mut statement = connection.prepare_cached(GET)?;
    let mut sum = 0_u64;
    for key in keys {
        sum = sum.wrapping_add(get(&mut statement, key, touch)?);
    }
    Ok(sum)
}

impl Sqlite {
    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads with a connection that no other thread has meanwhile.
    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let waiting = || self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = waiting().pop();
        let connection = taken.map_or_else(|| connect(&self.path), Ok)?;
        let result = read(&connection);
        waiting().push(connection);
        result
    }

    /// The same in one transaction.
    fn read_together<T>(&self, read: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.read(|connection| {
            let txn = connection.unchecked_transaction()?;
            let result = read(&txn)?;
            txn.commit()?;
            Ok(result)
        })
    }

    fn checkpoint(&self, writer: &Connection) -> Result<()> {
        // Does what it can beside a reader, and does not wait for it.
        writer.busy_timeout(Duration::ZERO)?;
        writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))?;
        writer.busy_timeout(BUSY)?;
        // Earlier checkpoints have left pages unsynced where nothing is.
        if !self.durable {
            File::open(&self.path)?.sync_all()?;
        }
        Ok(())
    }
}

impl Engine for Sqlite {
    fn load(&self, pairs: &[Pair<'_>]) -> Result<()> {
        self.put(pairs)?;
        if self.durable { Ok(()) } else { self.settle() }
    }

    fn get_together(&self, keys: &[&[u8]]) -> Result<u64> {
        self.read_together(|connection| sum_of(connection, keys))
    }

    fn get_each(&self, keys: &[&[u8]]) -> Result<u64> {
        // Without a transaction around it each query is one.
        self.read(|connection| sum_of(connection, keys))
    }

    fn get_whole(&self, key: &[u8]) -> Result<u64> {
        self.read(|connection| get(&mut connection.prepare_cached(GET)?, key, touch_all))
    }

    fn scan(&self, starts: &[&[u8]], pairs: usize, direction: Direction) -> Result<u64> {
        self.read_together(|connection| {
            let mut statement = connection.prepare_cached(match direction {
                Direction::Forward => FORWARD,
                Direction::Reverse => REVERSE,
            })?;
            let mut sum = 0_u64;
            for start in starts {
                let mut rows = statement.query((*start, i64::try_from(pairs)?))?;
                while let Some(row) = rows.next()? {
                    let pair = (row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
                    sum = sum.wrapping_add(touch_pair(pair));
                }
            }
            Ok(sum)
        })
    }

    fn scan_all(&self) -> Result<u64> {
        let mut sum = 0_u64;
        self.visit(&mut |pair| sum = sum.wrapping_add(touch_pair(pair)))?;
        Ok(sum)
    }

    fn put(&self, pairs: &[Pair<'_>]) -> Result<()> {
        let writer = self.writer();
        let mut statement = writer.prepare_cached(PUT)?;
        if let [(key, value)] = pairs {
            // Without a transaction around it a statement is one.
            statement.execute((*key, *value))?;
            return Ok(());
        }
        let txn = writer.unchecked_transaction()?;
        for (key, value) in pairs {
            statement.execute((*key, *value))?;
        }
        Ok(txn.commit()?)
    }

    fn delete(&self, keys: &[&[u8]]) -> Result<()> {
        let writer = self.writer();
        let mut statement = writer.prepare_cached(DELETE)?;
        let txn = writer.unchecked_transaction()?;
        for key in keys {
            statement.execute([*key])?;
        }
        Ok(txn.commit()?)
    }

    fn hold(&self, body: &mut dyn FnMut(&View<'_>) -> Result<()>) -> Result<()> {
        self.read_together(|connection| {
            // The view begins with the first read.
            connection.query_row("SELECT 1 FROM pairs LIMIT 1", (), |_| Ok(()))?;
            body(&|keys| sum_of(connection, keys))
        })
    }

    fn visit(&self, see: &mut dyn FnMut(Pair<'_>)) -> Result<()> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(ALL)?;
            let mut rows = statement.query(())?;
            while let Some(row) = rows.next()? {
                see((row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?));
            }
            Ok(())
        })
    }

    fn settle(&self) -> Result<()> {
        self.checkpoint(&self.writer())
    }

    fn compact(&mut self) -> Result<()> {
        let writer = self.writer();
        writer.execute_batch("VACUUM")?;
        self.checkpoint(&writer)
    }
}
