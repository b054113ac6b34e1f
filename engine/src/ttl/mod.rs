//! Expiry: records whose time is over are removed, a few in each transaction.
//!
//! Readers hide them at once, by the time of their transaction; this gives their space back. Steps
//! are short, so that writers hardly wait, and what they remove is in the log as any other change.

mod trust;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::Result;
use crate::sync::Mutex;
use crate::txn::{Store, Swept, WriteTxn};

pub(crate) use trust::{Clocks, Trust};

/// Expiries looked at in one step.
const HINTS_PER_STEP: usize = 256;
/// Between two looks: what expires together is removed together.
const LOOK_MIN: Duration = Duration::from_millis(100);
const LOOK_MAX: Duration = Duration::from_secs(60);

/// How far a sweep has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweepProgress {
    /// Records removed so far.
    pub removed: u64,
    /// How long ago the earliest record that is still to be looked at has expired.
    pub lag: Duration,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweepReport {
    /// False when it was stopped before everything that has expired was removed.
    pub is_finished: bool,
    /// Records removed.
    pub removed: u64,
}

/// What the clocks say.
pub(crate) fn clocks(store: &Store) -> Clocks {
    let wall_ms = store.host.now_ms();
    let database_ms = store.now_ms();
    Clocks { wall_ms, database_ms, monotonic_ms: store.host.monotonic_ms() }
}

/// A new trust, for a database that was just opened.
pub(crate) fn trust(store: &Store) -> Mutex<Trust> {
    Mutex::new(Trust::new(store.clock.known_ms(), clocks(store)))
}

/// True when something is due. What is not due yet may be so by the next moment.
pub(crate) fn is_due(store: &Store, trust: &Mutex<Trust>) -> bool {
    let next = store.gauges.next_due_ms.load(Ordering::Relaxed);
    next <= trust.lock().until(clocks(store))
}

/// How long nobody need look whether something is due, unless what is due first changes. The wall
/// clock may be set meanwhile, so not for long.
pub(crate) fn next_look(store: &Store) -> Duration {
    let next = store.gauges.next_due_ms.load(Ordering::Relaxed);
    Duration::from_millis(next.saturating_sub(store.now_ms())).clamp(LOOK_MIN, LOOK_MAX)
}

/// How long the earliest record that has expired has been so.
pub(crate) fn lag(store: &Store) -> Duration {
    let next = store.gauges.next_due_ms.load(Ordering::Relaxed);
    Duration::from_millis(store.now_ms().saturating_sub(next))
}

/// Removes some of what has expired.
pub(crate) fn step(store: &Arc<Store>, trust: &Mutex<Trust>) -> Result<Swept> {
    let until_ms = trust.lock().until(clocks(store));
    let mut hints = HINTS_PER_STEP;
    loop {
        let mut txn = WriteTxn::begin(store)?;
        let swept = txn.sweep(until_ms, hints)?;
        match txn.commit_sweep(swept) {
            // Records of many leaves make copies of all of them: where the file is full, fewer.
            Err(error) if error.is_full() && hints > 1 => hints /= 4,
            done => {
                done?;
                store.gauges.swept.fetch_add(swept.removed, Ordering::Relaxed);
                return Ok(swept);
            }
        }
    }
}
