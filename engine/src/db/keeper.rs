//! The engine's threads, and what happens when the last handle goes.
//!
//! One thread flushes commits that nobody waits for; one writes checkpoints when the log or the
//! memory has grown, or time has passed; one removes what has expired; one prepares what commits
//! will need, so that they do not wait for it. Where no threads may run, the caller's own write
//! transactions do the work of the second before they begin, and [`Keeper::sweep`] that of the
//! third.
//!
//! Invariants:
//! 1. Closing writes a last checkpoint marked clean, unless a failure stopped all writing.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::checkpoint;
use crate::compact::Compaction;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::Mutex;
use crate::ttl::{self, SweepProgress, SweepReport, Trust};
use crate::txn::{Store, WriterGuard};
use std::sync::Arc;

/// Writers wait for a checkpoint when the log since the last is so many times what it may grow by.
const LOG_FACTOR: u64 = 4;
/// The log since the last checkpoint becomes so many times longer than the pages that wait for the
/// next, where an overlay counts as half a page. A longer one comes again and again to the same
/// pages, and whoever opens the database after a crash has to read all of it.
const LOG_PER_PAGES: u64 = 4;
/// A log of more segments than this is shortened when it is opened.
const SEGMENTS_MAX: usize = 16;
/// How often a waiting writer looks whether a failure stopped everything.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Keeps a database running; dropping it closes the database.
#[derive(Debug)]
pub(super) struct Keeper {
    store: Arc<Store>,
    threads: parking_lot::Mutex<Vec<JoinHandle<()>>>,
    closed: AtomicBool,
    /// Shared with the thread that removes what has expired.
    trust: Arc<Mutex<Trust>>,
    /// One at a time.
    pub(super) compaction: parking_lot::Mutex<Compaction>,
}

impl Keeper {
    /// Starts the threads, if the options and the host allow.
    pub(super) fn start(store: Arc<Store>) -> Result<Arc<Keeper>> {
        let mut threads = Vec::new();
        let trust = Arc::new(ttl::trust(&store));
        if store.options.threads {
            type Work = Box<dyn FnOnce(&Arc<Store>) + Send>;
            let swept_by = Arc::clone(&trust);
            let mut work: Vec<(&str, Work)> = vec![
                ("bristlecone-flush", Box::new(flush_loop)),
                ("bristlecone-check", Box::new(checkpoint_loop)),
                ("bristlecone-ahead", Box::new(prepare_loop)),
            ];
            if store.options.sweep {
                let sweep = move |store: &Arc<Store>| sweep_loop(store, &swept_by);
                work.push(("bristlecone-sweep", Box::new(sweep)));
            }
            for (name, work) in work {
                let shared = Arc::clone(&store);
                let spawned = std::thread::Builder::new()
                    .name(name.to_owned())
                    .spawn(move || {
                        let _guard = PoisonOnPanic(&shared);
                        work(&shared);
                    })
                    .map_err(|e| Error::io("start a thread for", &store.dir, e))?;
                threads.push(spawned);
            }
        }
        let threads = parking_lot::Mutex::new(threads);
        let (closed, compaction) = (AtomicBool::new(false), parking_lot::Mutex::default());
        let keeper = Keeper { store, threads, closed, trust, compaction };
        keeper.shorten_log()?;
        Ok(Arc::new(keeper))
    }

    /// Writes a checkpoint when the log consists of many segments. Each session begins one: where
    /// every process is killed before its first checkpoint, the log would grow with each.
    fn shorten_log(&self) -> Result<()> {
        let store = &self.store;
        let segments = match (store.wal.get(), *store.gauges.log_start.lock()) {
            (Some(wal), Some(start)) => wal.segments_since(start),
            _ => 0,
        };
        if segments <= SEGMENTS_MAX {
            return Ok(());
        }
        if !store.options.threads {
            if nears_end(store, 1) {
                store.gauges.data_is_full.store(true, Ordering::Relaxed);
            }
            return tolerate_full(checkpoint::run(store, false)).map(|_| ());
        }
        store.signals.state.lock().checkpoint = true;
        store.signals.checkpoint.notify_one();
        Ok(())
    }

    #[inline]
    pub(super) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Before a write transaction begins: sees that memory and log stay within their bounds.
    pub(super) fn relieve(&self) -> Result<()> {
        let store = &self.store;
        if !wants_checkpoint(store) || store.wal.get().is_none() {
            return Ok(());
        }
        if !store.options.threads {
            return tolerate_full(checkpoint::run(store, false)).map(|_| ());
        }
        let mut state = store.signals.state.lock();
        // One checkpoint is waited for, and where the data file is full another one, since the
        // first may have begun before. Not more: what readers hold no checkpoint can free.
        let mut until = state.checkpoints + 1;
        if nears_end(store, 1) {
            store.gauges.data_is_full.store(true, Ordering::Relaxed);
            until += 1;
        }
        loop {
            if !state.checkpoint {
                state.checkpoint = true;
                store.signals.checkpoint.notify_one();
            }
            if !over_bounds(store) || state.checkpoints >= until || state.stop {
                return Ok(());
            }
            store.check_poison()?;
            store.signals.checkpointed.wait_for(&mut state, LOOK_AGAIN);
        }
    }

    /// Removes what has expired until nothing is due or `progress` breaks.
    pub(super) fn sweep(
        &self,
        progress: &mut dyn FnMut(SweepProgress) -> ControlFlow<()>,
    ) -> Result<SweepReport> {
        let mut report = SweepReport::default();
        loop {
            let (removed, lag) = (report.removed, ttl::lag(&self.store));
            if progress(SweepProgress { removed, lag }).is_break() {
                return Ok(report);
            }
            self.relieve()?;
            let swept = ttl::step(&self.store, &self.trust)?;
            report.removed += swept.removed;
            if swept.hints == 0 {
                report.is_finished = true;
                return Ok(report);
            }
        }
    }

    /// Stops the threads and leaves the files clean.
    pub(super) fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        {
            let mut state = self.store.signals.state.lock();
            state.stop = true;
            self.store.signals.flush.notify_all();
            self.store.signals.prepare.notify_all();
            self.store.signals.checkpoint.notify_all();
            self.store.signals.checkpointed.notify_all();
            self.store.signals.sweep.notify_all();
        }
        for thread in self.threads.lock().drain(..) {
            if thread.thread().id() != std::thread::current().id() {
                // One that panicked has told.
                let _poisoned = thread.join();
            }
        }
        if self.store.wal.get().is_none() {
            return Ok(());
        }
        let closed = self.write_last();
        self.store.signals.end_followers();
        closed
    }

    fn write_last(&self) -> Result<()> {
        // Whoever sat here before has appended its record; whoever comes after is refused.
        WriterGuard::take(&self.store).closed = true;
        self.store.check_poison()?;
        checkpoint::run(&self.store, true)?;
        Ok(())
    }
}

/// A thread of the engine that panics ends all writing: nobody would do its work any more.
struct PoisonOnPanic<'a>(&'a Arc<Store>);

impl Drop for PoisonOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison(&Error::invalid("a thread of the engine panicked"));
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Nobody is left to tell. What was acknowledged is in the log, and the next open replays
        // it; `Db::close` is for those who want to know.
        let _unreported = self.close();
    }
}

/// True when a checkpoint is due: the log found no room, or by size. Each flush pads its frame to a
/// block, so that small lone commits fill the log's files long before their records are as large as
/// the trigger. Half as much again is what the spare segments hold: so none has to be made anew.
fn wants_checkpoint(store: &Store) -> bool {
    let (trigger, gauges) = (log_trigger(store), &store.gauges);
    let frame_bytes = gauges.log_frame_bytes.load(Ordering::Relaxed);
    gauges.log_is_full.load(Ordering::Relaxed)
        || gauges.data_is_full.load(Ordering::Relaxed)
        || nears_end(store, 2)
        || store.log_bytes() >= trigger
        || frame_bytes >= trigger.saturating_add(trigger / 2)
        || store.arena_bytes() >= store.options.checkpoint_memory_bytes
}

/// So many bytes of log are worth a checkpoint.
fn log_trigger(store: &Store) -> u64 {
    let worth = store.waiting_bytes().saturating_mul(LOG_PER_PAGES);
    let least = store.options.checkpoint_log_bytes_min.max(1);
    worth.max(least).min(store.options.checkpoint_log_bytes)
}

/// True when writers have to wait.
fn over_bounds(store: &Store) -> bool {
    store.log_bytes() >= store.options.checkpoint_log_bytes.saturating_mul(LOG_FACTOR)
        || store.arena_bytes() >= store.options.memory_bytes_max
        || nears_end(store, 1)
}

/// True when so many times the pages that wait for a checkpoint do not fit into the data file, and
/// checkpoints may change that.
fn nears_end(store: &Store, times: u64) -> bool {
    let waiting = u64::from(store.gauges.arena_pages.load(Ordering::Relaxed));
    let held = store.gauges.held_pages.load(Ordering::Relaxed);
    let (taken, most) = store.data_pages(false);
    waiting + held > 0 && taken + times * waiting > most
}

/// A checkpoint that found the disk full has harmed nothing; the log still takes commits.
fn tolerate_full(result: Result<bool>) -> Result<bool> {
    match result {
        Err(error) if matches!(error.kind(), ErrorKind::Full { .. }) => Ok(false),
        other => other,
    }
}

/// Flushes what was committed without waiting.
fn flush_loop(store: &Arc<Store>) {
    let signals = &store.signals;
    loop {
        {
            let mut state = signals.state.lock();
            let wanted = || signals.wants_flush.load(Ordering::Relaxed);
            while !wanted() && !state.flush_now && !state.stop {
                signals.flush.wait(&mut state);
            }
            if state.stop {
                return;
            }
            let deadline = Instant::now() + store.options.buffered_delay;
            while wanted() && !state.flush_now && !state.stop {
                if signals.flush.wait_until(&mut state, deadline).timed_out() {
                    break;
                }
            }
            signals.wants_flush.store(false, Ordering::Relaxed);
            state.flush_now = false;
        }
        // A failure is kept by the store: those who wait for their commit get it, and so does the
        // next write transaction.
        let _kept = store.flush();
    }
}

/// Makes the log's next segment, and finds memory for the arena.
fn prepare_loop(store: &Arc<Store>) {
    let signals = &store.signals;
    loop {
        {
            let mut state = signals.state.lock();
            while !state.prepare && !state.stop {
                signals.prepare.wait(&mut state);
            }
            if state.stop {
                return;
            }
            // Before the work: what is asked for meanwhile is looked at again.
            state.prepare = false;
        }
        if let Some(wal) = store.wal.get() {
            let _retried_by_the_writer = wal.prepare_ahead();
        }
        store.find_memory();
    }
}

/// Removes what has expired, as it expires.
fn sweep_loop(store: &Arc<Store>, trust: &Mutex<Trust>) {
    let signals = &store.signals;
    let mut rest = Duration::ZERO;
    loop {
        {
            let mut state = signals.state.lock();
            // After each step writers have as long for themselves.
            let awake = Instant::now() + rest;
            while !state.stop && Instant::now() < awake {
                signals.sweep.wait_until(&mut state, awake);
            }
            while !state.stop && !ttl::is_due(store, trust) {
                signals.sweep.wait_for(&mut state, ttl::next_look(store));
            }
            if state.stop {
                return;
            }
        }
        let begin = Instant::now();
        rest = match ttl::step(store, trust) {
            Ok(_) => begin.elapsed(),
            // Space may come back, and is what this is for.
            Err(error) if error.is_full() => LOOK_AGAIN,
            // A failure is kept by the store; damage is there to be found by whoever reads it.
            Err(_) => return,
        };
    }
}

/// Writes checkpoints when they are due.
fn checkpoint_loop(store: &Arc<Store>) {
    let signals = &store.signals;
    let interval = store.options.checkpoint_interval;
    let mut last = Instant::now();
    loop {
        {
            let mut state = signals.state.lock();
            while !state.checkpoint && !state.stop {
                let timed_out = signals.checkpoint.wait_until(&mut state, last + interval);
                if timed_out.timed_out() {
                    break;
                }
            }
            if state.stop {
                return;
            }
        }
        last = Instant::now();
        // A failure is kept by the store; a full disk is tried again when the next is due.
        let result = tolerate_full(checkpoint::run(store, false));
        let mut state = signals.state.lock();
        state.checkpoint = false;
        state.checkpoints += 1;
        signals.checkpointed.notify_all();
        if result.is_err() {
            return;
        }
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use crate::{Db, Options};

    #[test]
    fn memory_beyond_the_arena_is_not_found_ahead() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new();
        options.arena_bytes = 40 << 20;
        let db = Db::open_with(dir.path(), options).unwrap();
        db.update(|txn| txn.create_bucket("b").map(|_| ())).unwrap();
        let full = db.update(|txn| {
            let mut bucket = txn.bucket_mut("b")?;
            (0..1_000_000_u32).try_for_each(|number| {
                bucket.put(number.wrapping_mul(2_654_435_761).to_be_bytes(), [7; 200])
            })
        });
        assert!(full.unwrap_err().to_string().contains("memory"));
        db.update(|txn| txn.bucket_mut("b")?.put("x", "y")).unwrap();
        // Gives back what was found and is not used.
        db.checkpoint().unwrap();
        db.close().unwrap();
    }
}
