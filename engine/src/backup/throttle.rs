//! How fast a backup is written.
//!
//! What is written makes a debt of time, which is waited for before more is written. Time that was
//! lost elsewhere is not made up: no burst follows a stall.

use crate::io::Host;

/// So long is waited at once: whoever wants to stop the backup is asked in between.
const WAIT_MS_MAX: u64 = 100;

#[derive(Debug)]
pub(super) struct Throttle<'a> {
    host: &'a dyn Host,
    /// `None` for as fast as it goes.
    bytes_per_second: Option<u64>,
    debt_us: u64,
    since_ms: u64,
}

impl<'a> Throttle<'a> {
    pub(super) fn new(host: &'a dyn Host, bytes_per_second: Option<u64>) -> Throttle<'a> {
        Throttle { host, bytes_per_second, debt_us: 0, since_ms: host.monotonic_ms() }
    }

    /// Takes note of bytes that are about to be written.
    pub(super) fn note(&mut self, bytes: u64) {
        if let Some(rate) = self.bytes_per_second {
            self.settle();
            let us = u128::from(bytes) * 1_000_000 / u128::from(rate.max(1));
            let us = u64::try_from(us).unwrap_or(u64::MAX);
            self.debt_us = self.debt_us.saturating_add(us);
        }
    }

    /// Waits for a moment; false when nothing is left to wait for.
    pub(super) fn wait(&mut self) -> bool {
        if self.bytes_per_second.is_none() {
            return false;
        }
        self.settle();
        let wait_ms = (self.debt_us / 1000).min(WAIT_MS_MAX);
        if wait_ms > 0 {
            self.host.sleep_ms(wait_ms);
        }
        wait_ms > 0
    }

    /// Takes the time that has passed from the debt.
    fn settle(&mut self) {
        let now_ms = self.host.monotonic_ms();
        let passed_us = now_ms.saturating_sub(self.since_ms).saturating_mul(1000);
        (self.since_ms, self.debt_us) = (now_ms, self.debt_us.saturating_sub(passed_us));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::{START_MS, SimDisk};

    fn waited_ms(disk: &SimDisk) -> u64 {
        disk.now_ms() - START_MS
    }

    #[test]
    fn what_is_written_takes_its_time_and_no_more() {
        let disk = SimDisk::new(1);
        let mut throttle = Throttle::new(&disk, Some(1000));
        for _ in 0..30 {
            throttle.note(77);
            while throttle.wait() {}
        }
        assert_eq!(waited_ms(&disk), 30 * 77);
        // Nothing is made up for a second in which nothing was written.
        disk.sleep_ms(1000);
        throttle.note(500);
        while throttle.wait() {}
        throttle.note(500);
        while throttle.wait() {}
        assert_eq!(waited_ms(&disk), 30 * 77 + 1000 + 2 * 500);
    }

    #[test]
    fn without_a_rate_nothing_is_waited_for() {
        let disk = SimDisk::new(1);
        let mut throttle = Throttle::new(&disk, None);
        throttle.note(u64::MAX);
        assert!(!throttle.wait());
        assert_eq!(waited_ms(&disk), 0);
    }
}
