//! The history that a worker runs: each transaction follows from the seed, the thread and its
//! number, and from nothing else, so that whoever knows these can tell what it did.
//!
//! Each thread owns three top-level buckets. The sequence of the first is the number of the
//! thread's last transaction, so that a store tells how far each thread came.

use std::sync::Arc;

use bristlecone::{Bucket, BucketMut, Db, Durability, ReadTxn, Result, WriteTxn};

use crate::simulation::compare::Reads;
use crate::simulation::random::Random;
use crate::simulation::reference::{Entry, Tree};

/// Most operations of a transaction.
const OPERATIONS_MAX: usize = 8;
/// Keys of each bucket, when the scale is 1.
const KEYS: usize = 60;

/// What a thread does after its commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Then {
    Nothing,
    Sync,
    Checkpoint,
    /// Closes and opens the database, when it is the only thread.
    Reopen,
}

/// One transaction of a thread.
#[derive(Debug)]
pub(crate) struct Transaction {
    thread: usize,
    number: u64,
    operations: Vec<Operation>,
    pub(crate) durability: Durability,
    pub(crate) then: Then,
}

#[derive(Debug)]
struct Operation {
    /// Buckets to go through, made where they are missing.
    path: Vec<Vec<u8>>,
    change: Change,
}

#[derive(Debug)]
enum Change {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    /// The next number of the bucket's sequence.
    Count,
    /// Drops a nested bucket, if it is there.
    Drop(Vec<u8>),
}

/// The name of a thread's bucket.
pub(crate) fn bucket_name(thread: usize, which: usize) -> Vec<u8> {
    format!("thread {thread} bucket {which}").into_bytes()
}

impl Transaction {
    /// The transaction with this number, the first being 1; `scale` makes its values larger
    /// and its keys more.
    pub(crate) fn new(seed: u64, thread: usize, number: u64, scale: usize) -> Transaction {
        let mut random = Random::new(seed ^ ((thread as u64) << 56) ^ (number << 20));
        let count = 1 + random.below(OPERATIONS_MAX);
        let operations =
            (0..count).map(|_| Operation::random(&mut random, thread, scale)).collect();
        let durability = match random.percent(70) {
            true => Durability::Sync,
            false => Durability::Buffered,
        };
        let then = match random.below(100) {
            0..4 => Then::Sync,
            4..7 => Then::Checkpoint,
            7..9 => Then::Reopen,
            _ => Then::Nothing,
        };
        Transaction { thread, number, operations, durability, then }
    }

    /// Does it in a database.
    pub(crate) fn write(&self, txn: &mut WriteTxn) -> Result<()> {
        for operation in &self.operations {
            let mut bucket = txn.create_bucket_if_missing(&operation.path[0])?;
            operation.write(&mut bucket, 1)?;
        }
        let mut first = txn.create_bucket_if_missing(bucket_name(self.thread, 0))?;
        first.set_sequence(self.number)
    }

    /// Does it in the reference.
    pub(crate) fn note(&self, root: &mut Tree) {
        for operation in &self.operations {
            let mut tree = &mut *root;
            for name in &operation.path {
                tree = enter(tree, name);
            }
            operation.note(tree);
        }
        enter(root, &bucket_name(self.thread, 0)).sequence = self.number;
    }
}

/// A bucket of the reference, made if it is missing.
fn enter<'a>(tree: &'a mut Tree, name: &[u8]) -> &'a mut Tree {
    tree.entries.entry(name.to_vec()).or_insert_with(|| Entry::Bucket(Arc::default()));
    tree.bucket_mut(name)
}

impl Operation {
    fn random(random: &mut Random, thread: usize, scale: usize) -> Operation {
        let mut path = vec![bucket_name(thread, random.below(3))];
        while path.len() < 4 && random.percent(30) {
            path.push(nested_name(random));
        }
        let key = format!("key {:03}", random.below(KEYS * scale)).into_bytes();
        let change = match random.below(100) {
            0..60 => {
                let value = some_value(random, scale);
                Change::Put(key, value)
            }
            60..82 => Change::Delete(key),
            82..92 if path.len() > 1 => Change::Count,
            92..97 => Change::Drop(nested_name(random)),
            _ => Change::Put(key, Vec::new()),
        };
        Operation { path, change }
    }

    /// Does it below `bucket`, which is the one that so many names of the path lead to.
    fn write(&self, bucket: &mut BucketMut<'_>, depth: usize) -> Result<()> {
        if let Some(name) = self.path.get(depth) {
            return self.write(&mut bucket.create_bucket_if_missing(name)?, depth + 1);
        }
        match &self.change {
            Change::Put(key, value) => bucket.put(key, value),
            Change::Delete(key) => bucket.delete(key).map(|_| ()),
            Change::Count => bucket.next_sequence().map(|_| ()),
            Change::Drop(name) => match bucket.drop_bucket(name) {
                Err(error) if error.is_bucket_not_found() => Ok(()),
                done => done,
            },
        }
    }

    fn note(&self, tree: &mut Tree) {
        match &self.change {
            Change::Put(key, value) => {
                let value = Entry::Value { bytes: value[..].into(), expires_at: 0 };
                tree.entries.insert(key.clone(), value);
            }
            Change::Delete(key) | Change::Drop(key) => {
                tree.entries.remove(key);
            }
            Change::Count => tree.sequence += 1,
        }
    }
}

fn nested_name(random: &mut Random) -> Vec<u8> {
    format!("nested {}", random.below(3)).into_bytes()
}

/// Mostly small; now and then several pages.
fn some_value(random: &mut Random, scale: usize) -> Vec<u8> {
    let len = match random.below(100) {
        0..80 => random.below(200),
        80..96 => 200 + random.below(2000),
        _ => 4000 + random.below(16_000),
    };
    random.bytes(len * scale)
}

/// How many transactions of a thread the database holds.
pub(crate) fn last_number(txn: &ReadTxn<'_>, thread: usize) -> Result<u64> {
    match txn.bucket(bucket_name(thread, 0)) {
        Ok(bucket) => Ok(bucket.sequence()),
        Err(error) if error.is_bucket_not_found() => Ok(0),
        Err(error) => Err(error),
    }
}

/// A checksum of all that a database shows.
pub(crate) fn digest(db: &Db) -> Result<u32> {
    let txn = db.begin_read()?;
    let reader: &dyn Reads = &txn;
    let mut hash = crc32fast::Hasher::new();
    let mut waiting: Vec<Bucket<'_>> = Vec::new();
    for name in reader.names()? {
        let name = name?;
        add(&mut hash, name);
        waiting.push(reader.top(name)?);
    }
    while let Some(bucket) = waiting.pop() {
        hash.update(&bucket.sequence().to_le_bytes());
        hash.update(&bucket.len().to_le_bytes());
        for pair in bucket.iter()? {
            let (key, value) = pair?;
            add(&mut hash, key);
            add(&mut hash, value);
        }
        for name in bucket.buckets()? {
            let name = name?;
            add(&mut hash, name);
            waiting.push(bucket.bucket(name)?);
        }
    }
    Ok(hash.finalize())
}

/// The same of the reference.
pub(crate) fn expected_digest(root: &Tree) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    let mut waiting: Vec<&Tree> = Vec::new();
    for (name, tree) in root.buckets() {
        add(&mut hash, name);
        waiting.push(tree);
    }
    while let Some(tree) = waiting.pop() {
        hash.update(&tree.sequence.to_le_bytes());
        hash.update(&(tree.entries.len() as u64).to_le_bytes());
        for (key, entry) in &tree.entries {
            if let Entry::Value { bytes, .. } = entry {
                add(&mut hash, key);
                add(&mut hash, bytes);
            }
        }
        for (name, nested) in tree.buckets() {
            add(&mut hash, name);
            waiting.push(nested);
        }
    }
    hash.finalize()
}

fn add(hash: &mut crc32fast::Hasher, bytes: &[u8]) {
    hash.update(&(bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}
