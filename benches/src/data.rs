//! The pairs that all workloads use: 24-byte random keys, 150-byte random values, from a seed.
//!
//! A pair has an index, its place in the random order in which it is loaded, and a rank, its place
//! in the order of keys.

use crate::random::Random;

/// Length of a key in bytes.
pub const KEY_BYTES: usize = 24;
/// Length of a value in bytes.
pub const VALUE_BYTES: usize = 150;

/// A key.
pub type Key = [u8; KEY_BYTES];
/// A value.
pub type Value = [u8; VALUE_BYTES];
/// A key and its value, as engines take them.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// Pairs in memory.
#[derive(Debug)]
pub struct Data {
    keys: Vec<Key>,
    values: Vec<Value>,
    /// The index of each rank.
    order: Vec<u32>,
    /// The rank of each index.
    ranks: Vec<u32>,
}

impl Data {
    /// So many pairs, at most 2^32 - 1, of a seed.
    #[must_use]
    pub fn random(count: usize, seed: u64) -> Data {
        let mut random = Random::new(seed);
        let mut keys = vec![[0; KEY_BYTES]; count];
        let mut values = vec![[0; VALUE_BYTES]; count];
        for (key, value) in keys.iter_mut().zip(&mut values) {
            random.fill(key);
            random.fill(value);
        }
        let mut order: Vec<u32> = (0..).take(count).collect();
        order.sort_unstable_by_key(|&index| keys[index as usize]);
        let mut ranks = vec![0; count];
        for (rank, &index) in (0..).zip(&order) {
            ranks[index as usize] = rank;
        }
        Data { keys, values, order, ranks }
    }

    /// The number of pairs.
    #[must_use]
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        (self.count() * (KEY_BYTES + VALUE_BYTES)) as u64
    }

    /// The key of an index.
    #[must_use]
    pub fn key(&self, index: usize) -> &Key {
        &self.keys[index]
    }

    /// The value of an index.
    #[must_use]
    pub fn value(&self, index: usize) -> &Value {
        &self.values[index]
    }

    /// The pair of an index.
    #[must_use]
    pub fn pair(&self, index: usize) -> Pair<'_> {
        (&self.keys[index], &self.values[index])
    }

    /// The index of a rank.
    #[must_use]
    pub fn index_at(&self, rank: usize) -> usize {
        self.order[rank] as usize
    }

    /// The rank of an index.
    #[must_use]
    pub fn rank_of(&self, index: usize) -> usize {
        self.ranks[index] as usize
    }

    /// All pairs in random order.
    #[must_use]
    pub fn pairs(&self) -> Vec<Pair<'_>> {
        (0..self.count()).map(|index| self.pair(index)).collect()
    }
}

/// The pairs in the order of their keys. Compares the first eight bytes before it looks at a key.
#[must_use]
pub fn sorted<'a>(pairs: &[Pair<'a>]) -> Vec<Pair<'a>> {
    let head = |key: &[u8]| key.first_chunk().map_or(0, |head| u64::from_be_bytes(*head));
    let mut order: Vec<(u64, u32)> =
        (0..).zip(pairs).map(|(index, (key, _))| (head(key), index)).collect();
    order.sort_unstable_by(|(a, i), (b, j)| {
        a.cmp(b).then_with(|| pairs[*i as usize].0.cmp(pairs[*j as usize].0))
    });
    order.into_iter().map(|(_, index)| pairs[index as usize]).collect()
}

/// Reads the first and the last eight bytes: what a reader of the value would fetch. Sums of this
/// are compared with what they must be, so no engine can leave a read out.
#[inline]
#[must_use]
pub fn touch(bytes: &[u8]) -> u64 {
    let first = bytes.first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk));
    let last = bytes.last_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk));
    first.wrapping_mul(31).wrapping_add(last)
}

/// Reads both halves of a pair.
#[inline]
#[must_use]
pub fn touch_pair((key, value): Pair<'_>) -> u64 {
    touch(key).wrapping_add(touch(value))
}
