//! canopydb, with a page cache that holds all data, as its README has it for data that fits.
//!
//! A durable commit waits for the sync of the log (`commit_with(true)`). Puts and deletes run in
//! concurrent transactions, which its documentation recommends for random writes: their syncs can
//! be shared, and a conflict, found by page, is tried again. A load is an exclusive transaction.
//! Values are not compressed. A close checkpoints first, as its options advise for a quick open.

use std::path::Path;

use ::canopydb::{
    Database, DbOptions, EnvOptions, Error, ReadTransaction, Tree, TreeOptions, WriteTransaction,
};
use bristlecone_benches::data::{
    BUCKET_NAME_BYTES, Pair, same_bucket, touch, touch_all, touch_pair,
};

use super::{Direction, Engine, Kind, Missing, Mode, Opening, Result, Role, View};

pub(super) const KIND: Kind = Kind {
    name: "canopydb",
    role: Role::Peer,
    buffered: "commit_with(false)",
    gets_many: false,
    buckets: "trees",
    compaction: "compact()",
    open,
};

const PAIRS: &[u8] = b"pairs";

struct Canopydb {
    db: Database,
    sync: bool,
}

fn open(dir: &Path, opening: &Opening) -> Result<Box<dyn Engine>> {
    let mut options = EnvOptions::new(dir);
    options.page_cache_size = usize::try_from(opening.cache_bytes())?;
    let db = Database::with_options(options, DbOptions::default())?;
    let canopydb = Canopydb { db, sync: opening.mode == Mode::Durable };
    // An open that is timed must not commit, so only a new database gets its tree.
    if canopydb.db.begin_read()?.get_tree(PAIRS)?.is_none() {
        canopydb.load(&[])?;
    }
    Ok(Box::new(canopydb))
}

fn tree_of(txn: &WriteTransaction) -> Result<Tree<'_>> {
    let mut options = TreeOptions::default();
    options.compress_overflow_values = None;
    Ok(txn.get_or_create_tree_with(PAIRS, options)?)
}

fn pairs_of(txn: &ReadTransaction) -> Result<Tree<'_>> {
    Ok(txn.get_tree(PAIRS)?.ok_or(Missing)?)
}

fn sum_of(tree: &Tree<'_>, keys: &[&[u8]]) -> Result<u64> {
    let mut sum = 0_u64;
    for key in keys {
        sum = sum.wrapping_add(touch(&tree.get(key)?.ok_or(Missing)?));
    }
    Ok(sum)
}

impl Canopydb {
    /// Writes in concurrent transactions until one has met no conflict.
    fn write(&self, change: impl Fn(&mut Tree<'_>) -> Result<()>) -> Result<()> {
        loop {
            let txn = self.db.begin_write_concurrent()?;
            change(&mut tree_of(&txn)?)?;
            match txn.commit_with(self.sync) {
                Err(Error::WriteConflict) => (),
                result => return Ok(result.map(|_| ())?),
            }
        }
    }
}

impl Engine for Canopydb {
    fn load(&self, pairs: &[Pair<'_>]) -> Result<()> {
        let txn = self.db.begin_write()?;
        let mut tree = tree_of(&txn)?;
        for (key, value) in pairs {
            tree.insert(key, value)?;
        }
        drop(tree);
        txn.commit_with(true)?;
        Ok(())
    }

    fn get_together(&self, keys: &[&[u8]]) -> Result<u64> {
        let txn = self.db.begin_read()?;
        sum_of(&pairs_of(&txn)?, keys)
    }

    fn get_each(&self, keys: &[&[u8]]) -> Result<u64> {
        let mut sum = 0_u64;
        for key in keys {
            let txn = self.db.begin_read()?;
            let value = pairs_of(&txn)?.get(key)?.ok_or(Missing)?;
            sum = sum.wrapping_add(touch(&value));
        }
        Ok(sum)
    }

    fn get_whole(&self, key: &[u8]) -> Result<u64> {
        let txn = self.db.begin_read()?;
        let value = pairs_of(&txn)?.get(key)?.ok_or(Missing)?;
        Ok(touch_all(&value))
    }

    fn scan(&self, starts: &[&[u8]], pairs: usize, direction: Direction) -> Result<u64> {
        let txn = self.db.begin_read()?;
        let tree = pairs_of(&txn)?;
        let mut sum = 0_u64;
        for start in starts {
            match direction {
                Direction::Forward => {
                    for pair in tree.range(*start..)?.take(pairs) {
                        let (key, value) = pair?;
                        sum = sum.wrapping_add(touch_pair((&key, &value)));
                    }
                }
                Direction::Reverse => {
                    for pair in tree.range(..=*start)?.rev().take(pairs) {
                        let (key, value) = pair?;
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
        self.write(|tree| {
            for (key, value) in pairs {
                tree.insert(key, value)?;
            }
            Ok(())
        })
    }

    fn delete(&self, keys: &[&[u8]]) -> Result<()> {
        self.write(|tree| {
            for key in keys {
                tree.delete(key)?;
            }
            Ok(())
        })
    }

    fn hold(&self, body: &mut dyn FnMut(&View<'_>) -> Result<()>) -> Result<()> {
        let txn = self.db.begin_read()?;
        let tree = pairs_of(&txn)?;
        body(&|keys| sum_of(&tree, keys))
    }

    fn create_buckets(&self, pairs: &[Pair<'_>]) -> Result<()> {
        let txn = self.db.begin_write()?;
        for records in pairs.chunk_by(same_bucket) {
            let mut tree = txn.get_or_create_tree(&records[0].0[..BUCKET_NAME_BYTES])?;
            for (key, value) in records {
                tree.insert(&key[BUCKET_NAME_BYTES..], value)?;
            }
        }
        txn.commit_with(true)?;
        Ok(())
    }

    fn get_in_buckets(&self, keys: &[&[u8]]) -> Result<u64> {
        let txn = self.db.begin_read()?;
        let mut sum = 0_u64;
        for key in keys {
            let (name, key) = key.split_at(BUCKET_NAME_BYTES);
            let tree = txn.get_tree(name)?.ok_or(Missing)?;
            sum = sum.wrapping_add(touch(&tree.get(key)?.ok_or(Missing)?));
        }
        Ok(sum)
    }

    fn visit(&self, see: &mut dyn FnMut(Pair<'_>)) -> Result<()> {
        let txn = self.db.begin_read()?;
        for pair in pairs_of(&txn)?.iter()? {
            let (key, value) = pair?;
            see((&key, &value));
        }
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.db.sync()?;
        self.db.checkpoint()?;
        Ok(())
    }

    fn compact(&mut self) -> Result<()> {
        Ok(self.db.compact()?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.settle()
    }
}
