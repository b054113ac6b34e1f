//! Sizes and counters of an open database, and who reads it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::ids::{Epoch, TxnId};
use crate::ttl;
use crate::txn::{OpenReader, Store};
use std::sync::Arc;

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
    /// Readers and snapshots open, those of the engine's own included, as a checkpoint's.
    pub readers: u64,
    /// How long ago the oldest of them began; zero where there is none. It may be some milliseconds
    /// off. Who that is tells [`Db::readers`](crate::Db::readers).
    pub oldest_reader: Duration,
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

/// A read transaction or snapshot that is open, as [`Db::readers`](crate::Db::readers) tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReaderStats {
    /// The last transaction that it sees.
    pub revision: TxnId,
    /// How long ago it began; it may be some milliseconds off.
    pub age: Duration,
    /// What it was called when it began. The engine's own readers are `checkpoint`, `compaction`
    /// and `check`.
    pub label: Option<Arc<str>>,
    /// How long it may read; see [`ReadOptions::deadline`](crate::ReadOptions::deadline).
    pub deadline: Option<Duration>,
    /// It is past its deadline: its reads fail, and it keeps its pages until it is dropped.
    pub is_expired: bool,
    /// Bytes of pages, in memory and in the data file, that were replaced or removed since it began
    /// and that it can still reach: what it keeps from being used again. What two readers can reach
    /// is told of both, so it is used again when the last of them has ended.
    pub pinned_bytes: u64,
}

/// All readers, the oldest first.
pub(super) fn readers(store: &Store) -> Vec<ReaderStats> {
    let mut open = store.readers.open();
    open.sort_unstable_by_key(|reader| (reader.began_ns, reader.epoch));
    let mut epochs: Vec<Epoch> = open.iter().map(|reader| reader.epoch).collect();
    epochs.sort_unstable();
    epochs.dedup();
    let pinned = store.writer.with_waiting(|waiting| waiting.pinned(&epochs));
    let (unit, page) = (store.memory.unit_bytes() as u64, store.memory.page_bytes() as u64);
    let pinned_bytes = |epoch: &Epoch| {
        let found = epochs.binary_search(epoch).map(|index| pinned[index]);
        found.map_or(0, |(units, pages)| units * unit + pages * page)
    };
    let now_ns = store.host.monotonic_tick_ns();
    let tell = |OpenReader { epoch, txn, began_ns, note }| ReaderStats {
        revision: txn,
        age: Duration::from_nanos(now_ns.saturating_sub(began_ns)),
        label: note.label,
        deadline: note.deadline.map(|(deadline, _)| deadline),
        is_expired: note.deadline.is_some_and(|(_, end_ns)| now_ns >= end_ns),
        pinned_bytes: pinned_bytes(&epoch),
    };
    open.into_iter().map(tell).collect()
}

pub(super) fn collect(store: &Store) -> Stats {
    let page_bytes = store.memory.page_bytes() as u64;
    // No lock that a checkpoint holds: a thread with a write transaction may ask too.
    let gauge = |value: &AtomicU64| value.load(Ordering::Relaxed);
    let log = store.wal.get().map(|wal| wal.stats()).unwrap_or_default();
    let revision = store.queue.lock().published.txn;
    let began_ns = store.readers.oldest_ns();
    let oldest_ns =
        began_ns.map_or(0, |began| store.host.monotonic_tick_ns().saturating_sub(began));
    Stats {
        revision,
        page_bytes,
        file_bytes: gauge(&store.gauges.file_pages) * page_bytes,
        free_bytes: gauge(&store.gauges.free_pages) * page_bytes,
        memory_bytes: store.arena_bytes(),
        readers: store.readers.count(),
        oldest_reader: Duration::from_nanos(oldest_ns),
        log_file_bytes: log.file_bytes,
        log_bytes: store.log_bytes(),
        commits: log.records,
        flushes: log.flushes,
        checkpoints: gauge(&store.gauges.checkpoints),
        swept: gauge(&store.gauges.swept),
        ttl_lag: ttl::lag(store),
    }
}
