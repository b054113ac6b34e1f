//! A search over the heads of sorted keys: eight bytes of each, behind what all keys begin with.
//!
//! ```text
//! level 2:  every 16th head of level 1
//! level 1:  every 16th head of level 0
//! level 0:  all heads, in the order of their keys
//! ```
//!
//! One group of 16 heads, two cache lines, is read in each level, and all levels but the last stay
//! in the caches of the processor. Invariant: each level is sorted, and the top one has at most 16.

use bristlecone_benches::data::{common_prefix, head};

const GROUP: usize = 16;

#[derive(Debug)]
pub(super) struct Heads {
    /// Length of what all keys begin with.
    prefix: usize,
    /// From all heads up to the top.
    levels: Vec<Vec<u64>>,
}

impl Heads {
    /// The heads of sorted keys.
    pub(super) fn of<'a>(keys: impl Iterator<Item = &'a [u8]> + Clone) -> Heads {
        let prefix = common_prefix(keys.clone());
        let mut levels = vec![keys.map(|key| head(key, prefix)).collect::<Vec<u64>>()];
        while let Some(last) = levels.last().filter(|level| level.len() > GROUP) {
            let next = last.iter().copied().step_by(GROUP).collect();
            levels.push(next);
        }
        Heads { prefix, levels }
    }

    /// How many heads are below that of a key which begins as all do. The keys behind them may
    /// still be below it where they share its head.
    #[inline]
    pub(super) fn below(&self, key: &[u8]) -> usize {
        let head = head(key, self.prefix);
        // The group to read in a level is the last one whose first head is below; none is before
        // the first group of the top.
        let mut below = 1_usize;
        for level in self.levels.iter().rev() {
            let Some(group) = below.checked_sub(1) else { return 0 };
            let begin = group * GROUP;
            let heads = &level[begin..(begin + GROUP).min(level.len())];
            below = begin + heads.iter().map(|other| usize::from(*other < head)).sum::<usize>();
        }
        below
    }
}

#[cfg(test)]
mod tests {
    use bristlecone_benches::data::{Data, Shape};

    use super::*;

    #[test]
    fn finds_what_a_search_of_whole_keys_finds() {
        for shape in [Shape::Random, Shape::Records] {
            for count in [1, 15, 16, 17, 256, 257, 5000] {
                let data = Data::of(shape, count, 5);
                let keys = || (0..count).map(|rank| data.key(data.index_at(rank)));
                let heads = Heads::of(keys());
                for (rank, key) in keys().enumerate() {
                    assert_eq!(heads.below(key), rank, "{shape:?}, {count} keys");
                }
            }
        }
    }

    #[test]
    fn keys_between_others_and_beyond_them() {
        let keys: Vec<[u8; 4]> = (0..1000_u32).map(|number| (number * 2).to_be_bytes()).collect();
        let heads = Heads::of(keys.iter().map(|key| &key[..]));
        for number in 0..2002_u32 {
            let expected = keys.partition_point(|key| *key < number.to_be_bytes());
            assert_eq!(heads.below(&number.to_be_bytes()), expected, "{number}");
        }
    }
}
