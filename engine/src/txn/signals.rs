//! What threads ask of each other, and wait for.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Requests to the engine's threads, and what writers wait for. Not part of any model check: the
/// waits have timeouts.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    pub(crate) state: parking_lot::Mutex<SignalState>,
    /// A commit waits for a flush that nobody leads: one is due when the delay is over. Changed
    /// with the state locked.
    pub(crate) wants_flush: AtomicBool,
    /// The thread that flushes waits here.
    pub(crate) flush: parking_lot::Condvar,
    /// The thread that prepares what others will need waits here.
    pub(crate) prepare: parking_lot::Condvar,
    /// The thread that writes checkpoints waits here.
    pub(crate) checkpoint: parking_lot::Condvar,
    /// Writers wait here for a checkpoint to end.
    pub(crate) checkpointed: parking_lot::Condvar,
    /// The thread that removes what has expired waits here.
    pub(crate) sweep: parking_lot::Condvar,
    /// Who reads changes waits here for the next commit, and how many do.
    pub(crate) published: parking_lot::Condvar,
    pub(crate) followers: AtomicU32,
    /// Set when no commit will follow any more. Changed with the state locked.
    pub(crate) is_at_end: AtomicBool,
}

impl Signals {
    /// Wakes those who wait for the next commit.
    pub(super) fn wake_followers(&self) {
        // Who waits has counted itself before it looked for commits, and looks with the state
        // locked: either it sees this one, or it is seen here.
        if self.followers.load(Ordering::SeqCst) > 0 {
            let _locked = self.state.lock();
            self.published.notify_all();
        }
    }

    /// Tells those who wait for the next commit that there is none.
    pub(crate) fn end_followers(&self) {
        let _locked = self.state.lock();
        self.is_at_end.store(true, Ordering::Relaxed);
        self.published.notify_all();
    }

    /// Has a thread of the engine flush, within the delay, what was appended before this call.
    #[inline]
    pub(crate) fn request_flush(&self) {
        // Once asked for is enough. The thread takes the request back before it locks the log's
        // group: whoever appended after that sees that nothing is asked for.
        if self.wants_flush.load(Ordering::Relaxed) {
            return;
        }
        let _locked = self.state.lock();
        self.wants_flush.store(true, Ordering::Relaxed);
        self.flush.notify_one();
    }
}

/// Protected by its mutex in [`Signals`].
#[derive(Debug, Default)]
pub(crate) struct SignalState {
    /// As [`Signals::wants_flush`], at once.
    pub(crate) flush_now: bool,
    /// The log's next segment is wanted, or memory for the arena.
    pub(crate) prepare: bool,
    pub(crate) checkpoint: bool,
    pub(crate) stop: bool,
    /// Checkpoints that ended since open.
    pub(crate) checkpoints: u64,
}
