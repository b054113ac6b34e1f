//! Random commits, and the content that the database had after each.

use std::collections::BTreeMap;
use std::sync::Arc;

use bristlecone::{Db, Durability, Result};
use parking_lot::Mutex;

pub(crate) const BUCKETS: [&str; 2] = ["b", "c"];

/// Number of the bucket and key, and value.
pub(crate) type Content = BTreeMap<(usize, Vec<u8>), Arc<[u8]>>;

/// What was committed: the content at each revision, and the last one that was acknowledged.
pub(crate) struct History {
    pub(crate) contents: Vec<Content>,
    pub(crate) acknowledged: u64,
}

pub(crate) type Shared = Arc<Mutex<History>>;

pub(crate) fn history() -> Shared {
    Arc::new(Mutex::new(History { contents: vec![Content::new()], acknowledged: 0 }))
}

pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % count
    }
}

fn value(random: &mut Random) -> Vec<u8> {
    let len = match random.below(20) {
        0 => 5_000 + random.below(9_000),
        1..5 => 500 + random.below(500),
        _ => random.below(100),
    };
    vec![random.below(256) as u8; len as usize]
}

/// Commits a random transaction, which is in the history before.
pub(crate) fn commit(db: &Db, history: &Mutex<History>, random: &mut Random) -> Result<()> {
    let mut content = {
        let history = history.lock();
        history.contents.last().expect("a revision").clone()
    };
    let mut txn = db.begin_write()?;
    if random.below(12) == 0 {
        if txn.bucket_mut(BUCKETS[1]).is_ok() {
            txn.drop_bucket(BUCKETS[1])?;
        }
        content.retain(|(bucket, _), _| *bucket == 0);
    }
    let changes = if random.below(10) == 0 { 60 } else { 1 + random.below(6) };
    for change in 0..changes {
        let bucket = random.below(2) as usize;
        let key = format!("key {}", random.below(40)).into_bytes();
        let mut changed = txn.create_bucket_if_missing(BUCKETS[bucket])?;
        // A transaction that changes nothing is no revision.
        if change > 0 && random.below(4) == 0 {
            let was_there = content.remove(&(bucket, key.clone())).is_some();
            assert_eq!(changed.delete(&key)?, was_there);
        } else {
            let value = value(random);
            changed.put(&key, &value)?;
            content.insert((bucket, key), value.into());
        }
    }
    let is_sync = random.below(4) > 0;
    txn.set_durability(if is_sync { Durability::Sync } else { Durability::Buffered });
    history.lock().contents.push(content);
    let revision = txn.commit()?;
    let mut history = history.lock();
    assert_eq!(revision.0 as usize, history.contents.len() - 1);
    if is_sync {
        history.acknowledged = revision.0;
    }
    Ok(())
}

/// Everything that is there.
pub(crate) fn content_of(db: &Db) -> Result<Content> {
    let mut content = Content::new();
    let txn = db.begin_read()?;
    for (number, name) in BUCKETS.iter().enumerate() {
        match txn.bucket(name) {
            Ok(bucket) => {
                for pair in bucket.iter()? {
                    let (key, value) = pair?;
                    content.insert((number, key.to_vec()), value.into());
                }
            }
            Err(error) if error.is_bucket_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(content)
}

pub(crate) fn assert_content(db: &Db, history: &Mutex<History>) -> Result<u64> {
    let revision = db.stats().revision.0;
    let content = content_of(db)?;
    let history = history.lock();
    let begun = history.contents.len() as u64 - 1;
    assert!(revision <= begun, "revision {revision} of {begun}");
    assert!(content == history.contents[revision as usize], "content at revision {revision}");
    Ok(revision)
}
