//! Settings that vary with the seed, so that a choice more does not change all others.

use std::ops::ControlFlow;

use bristlecone::CompactProgress;

/// How much a transaction keeps in memory before it spills: everything, or next to nothing.
pub(super) fn spill_bytes(seed: u64) -> usize {
    [4 << 20, 0, 10 << 10][seed as usize % 3]
}

/// How many leaves a step of a compaction looks at, and so which runs are long for it.
pub(super) fn compact_pages(seed: u64) -> usize {
    [2, 9, 128][seed as usize / 3 % 3]
}

/// How much of the log a recovery collects before it makes changes: all of it, nothing but what one
/// record says, or a few records.
pub(super) fn replay_bytes(seed: u64) -> usize {
    [8 << 20, 0, 600][seed as usize / 9 % 3]
}

/// From how much log on a checkpoint may come because little else waits for it.
pub(super) fn log_bytes_min(seed: u64) -> u64 {
    [4 << 20, 1 << 10][seed as usize / 27 % 2]
}

/// Lets a compaction take so many steps.
pub(super) fn stopped_after(steps: usize) -> impl FnMut(CompactProgress) -> ControlFlow<()> {
    let mut left = steps;
    move |_| match left.checked_sub(1) {
        Some(fewer) => {
            left = fewer;
            ControlFlow::Continue(())
        }
        None => ControlFlow::Break(()),
    }
}
