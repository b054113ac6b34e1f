//! The time that transactions go by.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::io::Host;

/// The database's clock: the wall clock, but never earlier than any time it told before. Across
/// restarts it is never earlier than the last commit or checkpoint.
#[derive(Debug)]
pub(crate) struct Clock {
    floor_ms: AtomicU64,
    /// The part of it that does not come from the wall clock.
    known_ms: AtomicU64,
}

impl Clock {
    /// A clock that never tells a time before `floor_ms`.
    pub(crate) fn new(floor_ms: u64) -> Clock {
        Clock { floor_ms: AtomicU64::new(floor_ms), known_ms: AtomicU64::new(floor_ms) }
    }

    /// The latest time that a commit or checkpoint of an earlier session has told.
    pub(crate) fn known_ms(&self) -> u64 {
        self.known_ms.load(Ordering::Relaxed)
    }

    /// Makes sure that the clock never tells a time before `time_ms`.
    pub(crate) fn advance(&self, time_ms: u64) {
        self.floor_ms.fetch_max(time_ms, Ordering::Relaxed);
        self.known_ms.fetch_max(time_ms, Ordering::Relaxed);
    }

    /// Milliseconds since 1970.
    pub(crate) fn now_ms(&self, host: &dyn Host) -> u64 {
        let wall = host.now_ms();
        self.floor_ms.fetch_max(wall, Ordering::Relaxed).max(wall)
    }
}
