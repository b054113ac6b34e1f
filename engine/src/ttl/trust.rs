//! Which of two clocks is believed when records are removed for good.
//!
//! Readers go by the database's clock: the wall clock, never back. A wall clock that is set forward
//! by mistake hides records before their time. That can't be undone for readers, who must not see a
//! record again that was hidden; but their bytes stay until it is plain that the clock is right: as
//! long as it is ahead of what has passed by the machine's other clock, which only counts, what
//! expired in between is not removed.
//!
//! Never asks a clock itself.

/// So far the wall clock may be ahead at once: a machine that slept, a clock that was corrected.
const AHEAD_MS: u64 = 3_600_000;
/// After so long it is believed all the same: the database was closed meanwhile, for all we know.
const DOUBT_MS: u64 = 10 * 60_000;

/// What the clocks say now, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    /// The wall clock, since 1970.
    pub(crate) wall_ms: u64,
    /// The database's, which is never behind it.
    pub(crate) database_ms: u64,
    /// The one that only counts.
    pub(crate) monotonic_ms: u64,
}

/// How time is believed to have passed.
#[derive(Debug)]
pub(crate) struct Trust {
    /// The time that is believed, as of when the counting clock said so much.
    believed_ms: u64,
    at_ms: u64,
    /// Since when the wall clock has been too far ahead.
    doubted_since_ms: Option<u64>,
}

impl Trust {
    /// `known_ms` is the last time that the database knows of from before it was opened.
    pub(crate) fn new(known_ms: u64, now: Clocks) -> Trust {
        // A time that the wall clock has not reached again was one of those mistakes.
        let believed_ms = match known_ms > now.wall_ms.saturating_add(AHEAD_MS) {
            true => now.wall_ms,
            false => known_ms,
        };
        Trust { believed_ms, at_ms: now.monotonic_ms, doubted_since_ms: None }
    }

    /// What has expired by the returned time may be removed.
    pub(crate) fn until(&mut self, now: Clocks) -> u64 {
        let passed = now.monotonic_ms.saturating_sub(self.at_ms);
        self.believed_ms = self.believed_ms.saturating_add(passed);
        self.at_ms = now.monotonic_ms;
        if now.wall_ms > self.believed_ms.saturating_add(AHEAD_MS) {
            let since = *self.doubted_since_ms.get_or_insert(now.monotonic_ms);
            if now.monotonic_ms - since < DOUBT_MS {
                return self.believed_ms.min(now.database_ms);
            }
        }
        self.doubted_since_ms = None;
        // A clock that is set back does not make time go back.
        self.believed_ms = self.believed_ms.max(now.wall_ms);
        match now.database_ms > self.believed_ms.saturating_add(AHEAD_MS) {
            true => self.believed_ms,
            false => now.database_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * 3_600_000;
    const START_MS: u64 = 20_000 * DAY_MS;

    fn clocks(wall_ms: u64, database_ms: u64, monotonic_ms: u64) -> Clocks {
        Clocks { wall_ms, database_ms, monotonic_ms }
    }

    #[test]
    fn a_clock_that_goes_on_is_believed() {
        let mut trust = Trust::new(START_MS, clocks(START_MS, START_MS, 7));
        for second in 1..100 {
            let now = START_MS + second * 1001;
            assert_eq!(trust.until(clocks(now, now, 7 + second * 1000)), now);
        }
        // Set back a little: readers still go by the later time.
        assert_eq!(trust.until(clocks(START_MS, START_MS + 99_099, 100_000)), START_MS + 99_099);
    }

    #[test]
    fn a_jump_forward_that_is_taken_back_removes_nothing_young() {
        let mut trust = Trust::new(START_MS, clocks(START_MS, START_MS, 0));
        let far = START_MS + 3650 * DAY_MS;
        assert_eq!(trust.until(clocks(far, far, 1000)), START_MS + 1000);
        assert_eq!(trust.until(clocks(far + 60_000, far + 60_000, 61_000)), START_MS + 61_000);
        // Taken back: readers stay where they were.
        let later = START_MS + DAY_MS;
        assert_eq!(trust.until(clocks(later, far + 60_000, DAY_MS)), later);
        // And also when it is opened again.
        let mut trust = Trust::new(far + 60_000, clocks(later, far + 60_000, 5));
        assert_eq!(trust.until(clocks(later + 10, far + 60_000, 15)), later + 10);
    }

    #[test]
    fn a_jump_that_lasts_is_believed_after_a_while() {
        let mut trust = Trust::new(START_MS, clocks(START_MS, START_MS, 0));
        let now = |passed| {
            clocks(START_MS + 30 * DAY_MS + passed, START_MS + 30 * DAY_MS + passed, passed)
        };
        assert_eq!(trust.until(now(0)), START_MS);
        assert_eq!(trust.until(now(DOUBT_MS - 1)), START_MS + DOUBT_MS - 1);
        assert_eq!(trust.until(now(DOUBT_MS)), START_MS + 30 * DAY_MS + DOUBT_MS);
    }

    #[test]
    fn a_clock_that_begins_in_1970_removes_nothing() {
        let mut trust = Trust::new(START_MS, clocks(0, START_MS, 0));
        assert_eq!(trust.until(clocks(1000, START_MS, 1000)), 1000);
    }
}
