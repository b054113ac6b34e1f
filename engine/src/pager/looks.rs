//! When to look whether pages are in memory before they are touched.
//!
//! A page that is not comes from the device by 4 KiB, one piece after the other, where one that was
//! asked for comes as a whole, and several at once. But to look takes about as long as a get. So
//! each thread looks seldom while it finds all in memory, and each time once it does not, until it
//! does again.
//!
//! A look is never needed: it may be left out, and what it says may be wrong by the next moment.

use std::cell::Cell;

/// Reads between two looks while all is in memory.
const SELDOM: u32 = 256;
/// Reads after which misses are counted anew, while each is looked at.
const PERIOD: u32 = 64;
/// So many misses in a period are worth a look at each read.
const MISSES_MIN: u32 = 4;
/// A read of so many bytes counts as one more: beside a long one a look is little.
const BYTES_OF_ONE: usize = 16 << 10;

/// A thread that looks at each read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Period {
    /// Reads to its end.
    left: u32,
    /// Reads of it that were not in memory.
    misses: u32,
}

thread_local! {
    /// Reads to the next look. By itself, lest a read that needs no look wait for more.
    static LEFT: Cell<u32> = const { Cell::new(SELDOM) };
    /// `None` while this thread looks seldom.
    static PERIOD_NOW: Cell<Option<Period>> = const { Cell::new(None) };
}

/// Before this thread reads so many bytes: has `look` look, if that is worth it now. It tells
/// whether they were missing.
#[inline]
pub(super) fn before(bytes: usize, look: impl FnOnce() -> bool) {
    let (left, count) = (LEFT.get(), 1 + (bytes / BYTES_OF_ONE) as u32);
    if left > count {
        LEFT.set(left - count);
    } else {
        note(look());
    }
}

/// Notes what a look has told.
#[cold]
fn note(missed: bool) {
    let period = after(PERIOD_NOW.get(), missed);
    PERIOD_NOW.set(period);
    LEFT.set(if period.is_some() { 0 } else { SELDOM });
}

fn after(period: Option<Period>, missed: bool) -> Option<Period> {
    let begin = Period { left: PERIOD, misses: 0 };
    let Some(Period { left, misses }) = period else {
        return missed.then_some(begin);
    };
    let misses = misses + u32::from(missed);
    match left - 1 {
        0 => (misses >= MISSES_MIN).then_some(begin),
        left => Some(Period { left, misses }),
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    /// Looks at so many reads, of which every `nth` is a miss; in a thread of its own.
    fn looks(reads: usize, bytes: usize, nth: usize) -> usize {
        let count = move || {
            let mut looks = 0;
            for read in 1..=reads {
                before(bytes, || {
                    looks += 1;
                    nth > 0 && read % nth == 0
                });
            }
            looks
        };
        std::thread::spawn(count).join().unwrap()
    }

    #[test]
    fn few_reads_are_looked_at_while_all_are_in_memory() {
        assert_eq!(looks(25_600, 100, 0), 100);
        assert_eq!(looks(25_600, BYTES_OF_ONE, 0), 200);
        assert_eq!(looks(100, SELDOM as usize * BYTES_OF_ONE, 0), 100);
    }

    #[test]
    fn all_reads_are_looked_at_while_some_are_not_in_memory() {
        let reads = 6400;
        assert_eq!(looks(reads, 100, 1), reads - (SELDOM as usize - 1));
        // Found late, and kept at.
        assert!(looks(10 * reads, 100, 7) > 9 * reads);
        // One of a hundred is not worth it.
        assert!(looks(reads, 100, 100) < reads / 10);
    }

    #[test]
    fn a_thread_that_finds_all_in_memory_again_looks_seldom_again() {
        let last = |misses| Some(Period { left: 1, misses });
        assert_eq!(after(last(MISSES_MIN - 1), true), Some(Period { left: PERIOD, misses: 0 }));
        assert_eq!(after(last(MISSES_MIN - 1), false), None);
        assert_eq!(after(None, false), None);
    }
}
