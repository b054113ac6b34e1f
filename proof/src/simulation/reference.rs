//! What a database shall hold: buckets as nested maps, cheap to copy for each version.
//!
//! Never calls the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A value.
    Value {
        /// What it is.
        bytes: Arc<[u8]>,
        /// When it ends, in milliseconds since 1970; 0 for never.
        expires_at: u64,
    },
    /// A nested bucket.
    Bucket(Arc<Tree>),
}

/// A bucket. The root holds buckets only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Values and nested buckets by key.
    pub entries: BTreeMap<Vec<u8>, Entry>,
    /// The bucket's sequence.
    pub sequence: u64,
    /// When the bucket ends, with all it holds, in milliseconds since 1970; 0 for never.
    pub expires_at: u64,
}

/// The times at which something is read: exactly known, or within bounds after a crash that may
/// have taken the last clock reading along.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// No earlier than this, in milliseconds since 1970.
    pub earliest: u64,
    /// No later than this.
    pub latest: u64,
}

impl Now {
    /// Exactly this time.
    pub fn at(now_ms: u64) -> Now {
        Now { earliest: now_ms, latest: now_ms }
    }

    /// Whether a record with this expiry is visible; `None` when it may be or not.
    pub fn shows(self, expires_at: u64) -> Option<bool> {
        if expires_at == 0 || expires_at > self.latest {
            return Some(true);
        }
        if expires_at <= self.earliest { Some(false) } else { None }
    }
}

impl Entry {
    /// When it ends; 0 for never.
    pub fn expires_at(&self) -> u64 {
        match self {
            Entry::Value { expires_at, .. } => *expires_at,
            Entry::Bucket(tree) => tree.expires_at,
        }
    }
}

impl Tree {
    /// What a key holds that is visible, when the time is exactly known.
    pub fn visible(&self, key: &[u8], now: Now) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| shown(now, entry.expires_at()))
    }

    /// Whether the key holds a nested bucket that is visible, when the time is exactly known.
    pub fn shows_bucket(&self, key: &[u8], now: Now) -> bool {
        matches!(self.visible(key, now), Some(Entry::Bucket(_)))
    }

    /// Nested buckets in order that are visible, when the time is exactly known.
    pub fn visible_buckets(&self, now: Now) -> impl Iterator<Item = (&[u8], &Arc<Tree>)> {
        self.buckets().filter(move |(_, tree)| shown(now, tree.expires_at))
    }

    /// The visible value of a key, when the time is exactly known; `None` for buckets too.
    pub fn value(&self, key: &[u8], now: Now) -> Option<&[u8]> {
        match self.entries.get(key) {
            Some(Entry::Value { bytes, expires_at }) if shown(now, *expires_at) => Some(bytes),
            _ => None,
        }
    }

    /// The visible pairs in order, when the time is exactly known.
    pub fn pairs(&self, now: Now) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> {
        self.entries.iter().filter_map(move |(key, entry)| match entry {
            Entry::Value { bytes, expires_at } if shown(now, *expires_at) => {
                Some((&key[..], &bytes[..]))
            }
            _ => None,
        })
    }

    /// Removes what has expired by a time, here and in nested buckets; tells whether there was any.
    pub fn expire(&mut self, now_ms: u64) -> bool {
        let mut expired = false;
        self.entries.retain(|_, entry| {
            let expires_at = entry.expires_at();
            let stays = expires_at == 0 || expires_at > now_ms;
            expired |= !stays;
            if let (true, Entry::Bucket(tree)) = (stays, entry) {
                expired |= Arc::make_mut(tree).expire(now_ms);
            }
            stays
        });
        expired
    }

    /// Nested buckets in order.
    pub fn buckets(&self) -> impl Iterator<Item = (&[u8], &Arc<Tree>)> {
        self.entries.iter().filter_map(|(key, entry)| match entry {
            Entry::Bucket(tree) => Some((&key[..], tree)),
            Entry::Value { .. } => None,
        })
    }

    /// Whether the key holds a nested bucket.
    pub fn is_bucket(&self, key: &[u8]) -> bool {
        matches!(self.entries.get(key), Some(Entry::Bucket(_)))
    }

    /// A nested bucket, to be changed.
    pub fn bucket_mut(&mut self, key: &[u8]) -> &mut Tree {
        match self.entries.get_mut(key) {
            Some(Entry::Bucket(tree)) => Arc::make_mut(tree),
            other => panic!("expected a bucket in the reference, found {other:?}"),
        }
    }
}

fn shown(now: Now, expires_at: u64) -> bool {
    now.shows(expires_at).expect("the time is known exactly")
}
