//! Counts of durations in buckets whose width grows with the duration.
//!
//! Below 32 ns each nanosecond has a bucket; above, each power of two is cut into 32 buckets of
//! one width, so a quantile is at most 1/32 too long. The longest duration is kept exactly.

use serde::{Deserialize, Serialize};

/// Buckets in a power of two, as a number of bits.
const PART_BITS: u32 = 5;
const PARTS: u64 = 1 << PART_BITS;

/// How often each duration came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub struct Histogram {
    /// The count of each bucket, up to the last that was needed.
    counts: Vec<u64>,
    worst: u64,
}

/// The form of a histogram in a record.
#[derive(Serialize, Deserialize)]
struct Saved {
    worst: u64,
    /// The last duration and the count of each bucket that is not empty.
    buckets: Vec<(u64, u64)>,
}

impl Histogram {
    /// Counts a duration in nanoseconds.
    pub fn add(&mut self, nanoseconds: u64) {
        *self.count_of(bucket(nanoseconds)) += 1;
        self.worst = self.worst.max(nanoseconds);
    }

    /// Counts all that another histogram has counted.
    pub fn add_all(&mut self, other: &Histogram) {
        for (bucket, count) in other.counts.iter().enumerate() {
            *self.count_of(bucket) += count;
        }
        self.worst = self.worst.max(other.worst);
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The longest, exactly; zero when there was none.
    #[must_use]
    pub fn worst(&self) -> u64 {
        self.worst
    }

    /// A duration that so large a share of all, from 0 to 1, did not exceed. Zero when there was
    /// none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> u64 {
        let rank = (self.count() as f64 * share).ceil() as u64;
        let mut below = 0;
        for (last, count) in self.buckets() {
            below += count;
            if below >= rank.max(1) {
                return last.min(self.worst);
            }
        }
        self.worst
    }

    /// The last duration and the count of each bucket that is not empty, the shortest first.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(bucket, &count)| (last_of(bucket), count))
    }

    fn count_of(&mut self, bucket: usize) -> &mut u64 {
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        &mut self.counts[bucket]
    }
}

impl From<Saved> for Histogram {
    fn from(saved: Saved) -> Histogram {
        let mut histogram = Histogram { counts: Vec::new(), worst: saved.worst };
        for (last, count) in saved.buckets {
            *histogram.count_of(bucket(last)) += count;
        }
        histogram
    }
}

impl From<Histogram> for Saved {
    fn from(histogram: Histogram) -> Saved {
        Saved { worst: histogram.worst, buckets: histogram.buckets().collect() }
    }
}

fn bucket(value: u64) -> usize {
    if value < PARTS {
        return value as usize;
    }
    let shift = value.ilog2() - PART_BITS;
    // The top bits of the value, of which the first is always set, behind all smaller powers.
    ((u64::from(shift) << PART_BITS) + (value >> shift)) as usize
}

/// The last value of a bucket.
fn last_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * PARTS {
        return bucket;
    }
    let shift = (bucket >> PART_BITS) - 1;
    let first = ((bucket & (PARTS - 1)) + PARTS) << shift;
    first + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_hold_what_they_say() {
        let mut last = 0;
        for value in 1..100_000_u64 {
            let step = bucket(value) - bucket(value - 1);
            assert!(step <= 1, "{value}");
            if step == 1 {
                assert_eq!(last, value - 1);
            }
            last = last_of(bucket(value));
            assert!(last >= value && last - value <= value / PARTS, "{value} {last}");
        }
        for value in [u64::MAX, u64::MAX / 3, 1 << 40] {
            assert!(last_of(bucket(value)) >= value, "{value}");
        }
    }

    #[test]
    fn quantiles_are_close_and_the_worst_is_exact() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile(0.5), histogram.worst()), (0, 0));
        (1..=100_000).for_each(|value| histogram.add(value));
        for (share, exact) in [(0.5, 50_000), (0.99, 99_000), (1.0, 100_000)] {
            let found = histogram.quantile(share);
            assert!(found >= exact && found <= exact + exact / PARTS, "{share}: {found}");
        }
        assert_eq!((histogram.count(), histogram.worst()), (100_000, 100_000));
    }

    #[test]
    fn a_saved_histogram_is_the_same() {
        let mut histogram = Histogram::default();
        [3, 3, 90_123, 17_000_001].into_iter().for_each(|value| histogram.add(value));
        let text = serde_json::to_string(&histogram).expect("JSON");
        assert_eq!(serde_json::from_str::<Histogram>(&text).expect("a histogram"), histogram);
        let mut twice = histogram.clone();
        twice.add_all(&histogram);
        assert_eq!((twice.count(), twice.worst()), (8, histogram.worst()));
    }
}
