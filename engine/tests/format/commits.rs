//! Commits that have every kind of operation, and what the log then has of them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bristlecone::{Db, Result};

use crate::layout::FRAME_BYTES_MAX;
use crate::log::Operation;

pub(crate) fn expiry() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(4_102_444_800_000)
}

/// Commits of every kind of operation, some of them large; none is in a checkpoint.
pub(crate) fn log_everything(db: &Db) -> Result<()> {
    db.update(|txn| {
        let mut fruit = txn.create_bucket("fruit")?;
        fruit.put("apple", "red")?;
        fruit.put_until("melon", "ripe", expiry())?;
        fruit.create_bucket("stones")?.put("plum", vec![b'p'; 300])?;
        fruit.set_sequence(300)?;
        fruit.expire_at(expiry())
    })?;
    db.update(|txn| {
        txn.bucket_mut("fruit")?.delete("apple")?;
        txn.create_bucket("old").map(|_| ())
    })?;
    db.update(|txn| {
        txn.drop_bucket("old")?;
        txn.bucket_mut("fruit")?.put("huge", vec![b'h'; 2 * FRAME_BYTES_MAX + 5000])
    })?;
    db.update(|txn| txn.bucket_mut("fruit")?.put("last", "one"))
}

pub(crate) fn expected_operations() -> Vec<Vec<Operation>> {
    use Operation::{Create, Delete, Drop, Enter, Expire, Leave, Put, PutUntil, Sequence};
    let fruit = || b"fruit".to_vec();
    vec![
        vec![
            Create(fruit()),
            Enter(fruit()),
            Put(b"apple".to_vec(), b"red".to_vec()),
            PutUntil(b"melon".to_vec(), 4_102_444_800_000, b"ripe".to_vec()),
            Create(b"stones".to_vec()),
            Enter(b"stones".to_vec()),
            Put(b"plum".to_vec(), vec![b'p'; 300]),
            Leave(1),
            Sequence(300),
            Expire(4_102_444_800_000),
        ],
        vec![Enter(fruit()), Delete(b"apple".to_vec()), Leave(1), Create(b"old".to_vec())],
        vec![
            Drop(b"old".to_vec()),
            Enter(fruit()),
            Put(b"huge".to_vec(), vec![b'h'; 2 * FRAME_BYTES_MAX + 5000]),
        ],
        vec![Enter(fruit()), Put(b"last".to_vec(), b"one".to_vec())],
    ]
}
