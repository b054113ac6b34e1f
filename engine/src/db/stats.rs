//! Sizes and counters of an open database.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::ids::TxnId;
use crate::ttl;
use crate::txn::Store;

/// Sizes and counters of an open database, taken at one moment. Sizes are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The last transaction that is durable and visible: the database's revision.
    pub revision: TxnId,
    /// Page size.
    pub page_bytes: u64,
    /// Length of the data file.
    pub file_bytes: u64,
    /// Free pages in the data file, those that the next checkpoint frees not counted.
    pub free_bytes: u64,
    /// Memory taken by changes that no checkpoint has written, or that readers hold.
    pub memory_bytes: u64,
    /// Readers and snapshots open.
    pub readers: u64,
    /// Length of all log files.
    pub log_file_bytes: u64,
    /// Bytes of commits in the log that no checkpoint has written.
    pub log_bytes: u64,
    /// Commits since open.
    pub commits: u64,
    /// Flushes of the log since open: fewer than commits where commits shared them.
    pub flushes: u64,
    /// Checkpoints since the database was created.
    pub checkpoints: u64,
    /// Records removed since open because they had expired.
    pub swept: u64,
    /// How long ago the earliest record that has expired and is not removed has done so.
    pub ttl_lag: Duration,
}

pub(super) fn collect(store: &Store) -> Stats {
    let page_bytes = store.memory.page_bytes() as u64;
    // No lock that a checkpoint holds: a thread with a write transaction may ask too.
    let gauge = |value: &AtomicU64| value.load(Ordering::Relaxed);
    let log = store.wal.get().map(|wal| wal.stats()).unwrap_or_default();
    let revision = store.queue.lock().published.txn;
    Stats {
        revision,
        page_bytes,
        file_bytes: gauge(&store.gauges.file_pages) * page_bytes,
        free_bytes: gauge(&store.gauges.free_pages) * page_bytes,
        memory_bytes: store.arena_bytes(),
        readers: store.readers.count(),
        log_file_bytes: log.file_bytes,
        log_bytes: store.log_bytes(),
        commits: log.records,
        flushes: log.flushes,
        checkpoints: gauge(&store.gauges.checkpoints),
        swept: gauge(&store.gauges.swept),
        ttl_lag: ttl::lag(store),
    }
}
