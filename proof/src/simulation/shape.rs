//! What random histories are made of: how keys look, how large values are, how buckets nest.

use super::random::Random;

/// The sizes of one history. Copied into each; never changes while it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) page_bytes: usize,
    /// Buckets hold about so many entries before deletes prevail.
    pub(crate) entries_max: usize,
    /// Buckets within a bucket.
    pub(crate) buckets_max: usize,
    pub(crate) depth_max: usize,
    /// Of a hundred values, how many lie in pages of their own.
    pub(crate) large_percent: usize,
    /// The largest value, in pages.
    pub(crate) value_pages_max: usize,
    /// Of a hundred keys, how many are near the longest that is allowed.
    pub(crate) long_key_percent: usize,
    /// Pairs of a bulk build.
    pub(crate) build_max: usize,
    /// True when the clock is the test's own.
    pub(crate) simulated_clock: bool,
}

impl Shape {
    /// A key that may be in use already.
    pub(crate) fn key(&self, random: &mut Random) -> Vec<u8> {
        let number = random.below(self.entries_max * 2);
        if random.percent(self.long_key_percent) {
            let mut key = vec![b'l'; self.page_bytes / 4 - random.below(20) - 1];
            let middle = key.len() / 2;
            key[middle..middle + 4].copy_from_slice(&((number % 20) as u32).to_be_bytes());
            return key;
        }
        match number % 5 {
            0 => format!("{number}").into_bytes(),
            1 => format!("a-prefix-that-many-keys-share/{number:06}").into_bytes(),
            2 => (number as u16).to_be_bytes().to_vec(),
            3 => vec![0xff; 1 + number % 7],
            _ => format!("k{number:04}").into_bytes(),
        }
    }

    /// A bucket's name: one of few.
    pub(crate) fn name(&self, random: &mut Random) -> Vec<u8> {
        let number = random.below(self.buckets_max * 2);
        match number % 4 {
            0 => format!("a-prefix-that-many-keys-share/bucket-{number}").into_bytes(),
            _ => format!("bucket-{number}").into_bytes(),
        }
    }

    pub(crate) fn value(&self, random: &mut Random) -> Vec<u8> {
        let page = self.page_bytes;
        let len = if random.percent(self.large_percent) {
            match random.below(3) {
                0 => page / 4 + random.below(40),
                1 => page / 2 + random.below(page),
                _ => 1 + random.below(page * self.value_pages_max),
            }
        } else {
            match random.below(10) {
                0 => 0,
                1..=6 => random.below(40),
                7 | 8 => random.below(200),
                _ => random.below(page / 4),
            }
        };
        random.bytes(len)
    }
}
