//! What the reads of one transaction share: its time, and the deadline that it may have.
//!
//! Invariants:
//! 1. The time is read once: a record that has expired for one read has expired for all.
//! 2. No read fails before the deadline. It begins to count at a time of the precise clock, and is
//!    compared with the last tick, which is never ahead of that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::io::Host;

/// Time and deadline of one transaction.
#[derive(Debug)]
pub(crate) struct TxnClock {
    /// Milliseconds since 1970; zero until it is first asked for.
    now_ms: AtomicU64,
    /// Boxed, because few readers have one: a read looks at one word.
    deadline: Option<Box<Deadline>>,
}

/// When a reader has to end.
#[derive(Debug)]
pub(crate) struct Deadline {
    label: Option<Arc<str>>,
    after: Duration,
    began_ns: u64,
    end_ns: u64,
}

impl TxnClock {
    /// A clock that is read when it is first asked, and no deadline.
    #[inline(always)]
    pub(super) fn unread() -> TxnClock {
        TxnClock { now_ms: AtomicU64::new(0), deadline: None }
    }

    /// A clock that shows this time, milliseconds since 1970, and no deadline.
    pub(super) fn showing(now_ms: u64) -> TxnClock {
        TxnClock { now_ms: AtomicU64::new(now_ms), deadline: None }
    }

    /// A clock that is read when it is first asked, and this deadline.
    pub(super) fn ending(deadline: Box<Deadline>) -> TxnClock {
        TxnClock { now_ms: AtomicU64::new(0), deadline: Some(deadline) }
    }

    /// The deadline, which few have.
    #[inline(always)]
    pub(super) fn deadline(&self) -> Option<&Deadline> {
        self.deadline.as_deref()
    }

    /// The time, milliseconds since 1970: read at the first call.
    pub(super) fn now_ms(&self, read: impl FnOnce() -> u64) -> u64 {
        match self.now_ms.load(Ordering::Relaxed) {
            0 => {
                let now = read().max(1);
                match self.now_ms.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => now,
                    Err(earlier) => earlier,
                }
            }
            known => known,
        }
    }
}

impl Deadline {
    /// The end of a reader that began at this time of the host's monotonic clock.
    pub(super) fn new(label: Option<Arc<str>>, began_ns: u64, after: Duration) -> Deadline {
        let after_ns = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        Deadline { label, after, began_ns, end_ns: began_ns.saturating_add(after_ns) }
    }

    /// When it ends, by that clock.
    pub(super) fn end_ns(&self) -> u64 {
        self.end_ns
    }

    /// Refuses a read after the deadline.
    #[cold]
    pub(super) fn check(&self, host: &dyn Host) -> Result<()> {
        let now_ns = host.monotonic_tick_ns();
        if now_ns < self.end_ns {
            return Ok(());
        }
        let age = Duration::from_nanos(now_ns.saturating_sub(self.began_ns));
        let (label, deadline) = (self.label.clone(), self.after);
        Err(Error::from(ErrorKind::ReaderExpired { label, deadline, age }))
    }
}
