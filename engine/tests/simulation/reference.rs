//! What a database shall hold: buckets as nested maps, cheap to copy for each version.
//!
//! Never calls the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Value { bytes: Arc<[u8]>, expires_at: u64 },
    Bucket(Arc<Tree>),
}

/// A bucket. The root holds buckets only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) entries: BTreeMap<Vec<u8>, Entry>,
    pub(crate) sequence: u64,
}

/// The times at which something is read: exactly known, or within bounds after a crash that may
/// have taken the last clock reading along.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) earliest: u64,
    pub(crate) latest: u64,
}

impl Now {
    pub(crate) fn at(now_ms: u64) -> Now {
        Now { earliest: now_ms, latest: now_ms }
    }

    /// Whether a record with this expiry is visible; `None` when it may be or not.
    pub(crate) fn shows(self, expires_at: u64) -> Option<bool> {
        if expires_at == 0 || expires_at > self.latest {
            return Some(true);
        }
        if expires_at <= self.earliest { Some(false) } else { None }
    }
}

impl Tree {
    /// The visible value of a key, when the time is exactly known; `None` for buckets too.
    pub(crate) fn value(&self, key: &[u8], now: Now) -> Option<&[u8]> {
        match self.entries.get(key) {
            Some(Entry::Value { bytes, expires_at }) if shown(now, *expires_at) => Some(bytes),
            _ => None,
        }
    }

    /// The visible pairs in order, when the time is exactly known.
    pub(crate) fn pairs(&self, now: Now) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> {
        self.entries.iter().filter_map(move |(key, entry)| match entry {
            Entry::Value { bytes, expires_at } if shown(now, *expires_at) => {
                Some((&key[..], &bytes[..]))
            }
            _ => None,
        })
    }

    /// Nested buckets in order.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (&[u8], &Arc<Tree>)> {
        self.entries.iter().filter_map(|(key, entry)| match entry {
            Entry::Bucket(tree) => Some((&key[..], tree)),
            Entry::Value { .. } => None,
        })
    }

    pub(crate) fn is_bucket(&self, key: &[u8]) -> bool {
        matches!(self.entries.get(key), Some(Entry::Bucket(_)))
    }

    /// A nested bucket, to be changed.
    pub(crate) fn bucket_mut(&mut self, key: &[u8]) -> &mut Tree {
        match self.entries.get_mut(key) {
            Some(Entry::Bucket(tree)) => Arc::make_mut(tree),
            other => panic!("expected a bucket in the reference, found {other:?}"),
        }
    }
}

fn shown(now: Now, expires_at: u64) -> bool {
    now.shows(expires_at).expect("the time is known exactly")
}
