//! What was done, and where a history is.

use std::cell::Cell;

/// What was done.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Tally {
    /// Disks recovered and compared.
    pub(crate) images: u64,
    /// Of those, ones that a cut during a recovery left.
    pub(crate) images_of_recovery: u64,
    pub(crate) commits: u64,
    pub(crate) events: u64,
    pub(crate) lives: u64,
    /// Lives that ended with a sync that failed.
    pub(crate) failed_syncs: u64,
}

thread_local! {
    /// Where the history is, for the message of a failure: life, event, image.
    pub(super) static PLACE: Cell<(u64, usize, u64)> = const { Cell::new((0, 0, 0)) };
}

/// Life, event and image that the history of this thread came to.
pub(crate) fn place() -> (u64, usize, u64) {
    PLACE.get()
}
