//! Space of the log that is reserved for small records before they come.
//!
//! A record has to have its space before it is appended. Where each asks for it by itself, it takes
//! two locks and a look at all segments, which for a small transaction is as much work as a tenth
//! of the rest. So one asks for many. Only a number: the space is promised by the log.

use super::record::{BLOCK, footprint};
use crate::limits::WAL_FRAME_BYTES_MAX;

/// What is left of such a promise. Whoever orders appends keeps it.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Bytes of frames.
    left: u64,
}

impl Room {
    /// Bytes of frames that are reserved at once.
    pub(super) const BYTES: u64 = 256 << 10;
    /// What the log is to promise for that. [`footprint`] allows records that are written together,
    /// where they come to more than a frame, two blocks more for each half of a frame.
    pub(super) const PROMISE_BYTES: u64 = Room::BYTES + 16 * BLOCK;
    /// Right after the promise.
    pub(super) const FULL: Room = Room { left: Room::BYTES };

    /// Takes what a record of `bytes` needs at most, in a frame of its own. False where that is not
    /// there: then nothing is left, and a new promise is due.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let left = self.left.checked_sub(footprint(1, bytes as u64));
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    #[cfg(test)]
    pub(super) fn is_open(&self) -> bool {
        self.left > 0
    }
}

const _: () = assert!(Room::BYTES < WAL_FRAME_BYTES_MAX as u64 / 2);

#[cfg(test)]
mod tests {
    use super::*;

    /// What is taken record by record is enough for all of them together, whatever was there
    /// before.
    #[test]
    fn records_of_a_room_fit_its_promise_together() {
        let frame = WAL_FRAME_BYTES_MAX as u64;
        let before = [0, 1, 3000, frame - 100_000, frame - 5000, frame, 3 * frame - 1, 7 * frame];
        for (pending, len) in
            before.iter().flat_map(|at| [1, 200, 4000, 4096, 100_000].map(|len| (at, len)))
        {
            let (mut room, mut records) = (Room::FULL, 0);
            while room.take(len) {
                records += 1;
            }
            let alone = footprint(1, *pending);
            let together = footprint(1 + records, pending + records * len as u64);
            assert!(records > 1 && together <= alone + Room::PROMISE_BYTES, "{pending} {len}");
        }
    }
}
