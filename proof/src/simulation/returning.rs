//! Commits in the middle of checkpoints that return to one key, as a heartbeat does.
//!
//! The leaf of that key is laid over again while each checkpoint writes, so the page under it stays
//! in use when no root on the disk has reached it for some checkpoints. Random commits return to
//! one leaf that often by luck only.

use std::sync::Arc;

use bristlecone::{Db, Result};

use super::crash::CrashHistory;
use super::expected::Version;
use super::interleave;
use super::reference::{Entry, Now, Tree};
use super::unwind::Guarded;

/// Checkpoints between two comparisons.
const CHECKPOINTS: usize = 4;

/// A key, and the top-level bucket that it is in.
type Place = (Vec<u8>, Vec<u8>);

impl CrashHistory {
    /// With checkpoints only when asked for, and commits in the middle of them that return.
    pub(crate) fn with_returns(seed: u64, images_per_event: u64) -> CrashHistory {
        let mut history = CrashHistory::new(seed, images_per_event);
        let options = history.options.checkpoint_log_bytes(1 << 40);
        history.options =
            options.checkpoint_log_bytes_min(1 << 40).checkpoint_memory_bytes(1 << 40);
        (history.interleaved, history.returns) = (true, true);
        history.shape.entries_max = history.random.pick(&[40, 120]);
        history.shape.buckets_max = 2;
        // A leaf that refers to pages is never laid over.
        history.shape.large_percent = 0;
        history
    }

    /// Works on a new database, and opens it once more; tells how many checkpoints were written.
    pub(crate) fn live_uncut(&mut self) -> Result<u64> {
        let db = Guarded::new(self.open()?);
        self.work(&db)?;
        let checkpoints = db.stats().checkpoints;
        db.into_inner().close()?;
        self.acknowledge_all(&self.disk.clone());
        self.open()?.close()?;
        Ok(checkpoints)
    }

    /// A few checkpoints, one behind the other; most commits in the middle of them put a small
    /// value under one and the same key. Then compares what the memory shows.
    pub(super) fn checkpoints_with_returns(&mut self, db: &Db) -> Result<()> {
        for _ in 0..CHECKPOINTS {
            self.write(db)?;
        }
        let Some(place) = self.some_value() else { return Ok(()) };
        for _ in 0..CHECKPOINTS {
            let stand_in = CrashHistory::new(0, 0);
            let (during, place) = (Guarded::new(db.clone()), place.clone());
            let callback = move |history: &mut CrashHistory| {
                let commit = match history.random.below(10) {
                    0..3 => history.put_again(&during, &place),
                    3 => history.write(&during),
                    _ => Ok(()),
                };
                commit.expect("a commit in the middle of a checkpoint");
            };
            let tip = self.versions.len() as u64 - 1;
            interleave::during(self, stand_in, callback, || db.checkpoint())?;
            self.acknowledge(tip);
        }
        self.assert_readable(db)
    }

    /// A place that holds a value.
    fn some_value(&mut self) -> Option<Place> {
        let root = &self.versions.last().expect("never empty").root;
        let places: Vec<(&[u8], &[u8])> = root
            .buckets()
            .flat_map(|(name, tree)| {
                let is_value = |key: &&Vec<u8>| matches!(tree.entries[*key], Entry::Value { .. });
                tree.entries.keys().filter(is_value).map(move |key| (name, &key[..]))
            })
            .collect();
        if places.is_empty() {
            return None;
        }
        let (name, key) = self.random.pick(&places);
        Some((name.to_vec(), key.to_vec()))
    }

    /// Commits another small value under a key, unless it is gone.
    fn put_again(&mut self, db: &Db, (name, key): &Place) -> Result<()> {
        let time_ms = self.observe(db)?;
        let mut root = Arc::clone(&self.versions.last().expect("never empty").root);
        let holds_value = |tree: &Tree| matches!(tree.entries.get(key), Some(Entry::Value { .. }));
        let now = Now::at(time_ms);
        if !root.visible_buckets(now).any(|(bucket, tree)| bucket == name && holds_value(tree)) {
            return Ok(());
        }
        let len = 1 + self.random.below(30);
        let value = self.random.bytes(len);
        let mut txn = Guarded::new(db.begin_write()?);
        txn.bucket_mut(name)?.put(key, &value)?;
        let tree = Arc::make_mut(&mut root).bucket_mut(name);
        tree.entries.insert(key.clone(), Entry::Value { bytes: value.into(), expires_at: 0 });
        self.tally.commits += 1;
        let buffered = self.random.percent(50);
        self.commit(txn.into_inner(), Version { root, time_ms }, buffered)
    }
}
