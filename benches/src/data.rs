//! The pairs that workloads use, made from a seed: random ones, records of JSON, small buckets.
//!
//! A pair has an index, its place in the random order in which it is loaded, and a rank, its place
//! in the order of keys. All keys of a shape have one length, and so have all values.

use std::io::Write;

use crate::random::Random;

/// A key and its value, as engines take them.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// Records of a small bucket.
pub const BUCKET_RECORDS: usize = 10;
/// Length of a small bucket's name in bytes. In [`Shape::Buckets`] a key begins with it.
pub const BUCKET_NAME_BYTES: usize = 18;

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What pairs look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Random keys and values.
    Random,
    /// Keys `container-UUID`; values that look like JSON and compress by a third at most.
    Records,
    /// Keys `container-NUMBER/field-N`, the name of a bucket and a key in it; random values.
    Buckets,
}

impl Shape {
    /// Length of a key in bytes.
    #[must_use]
    pub const fn key_bytes(self) -> usize {
        match self {
            Shape::Random => 24,
            Shape::Records => 46,
            Shape::Buckets => 26,
        }
    }

    /// Length of a value in bytes.
    #[must_use]
    pub const fn value_bytes(self) -> usize {
        match self {
            Shape::Random => 150,
            Shape::Records => 1500,
            Shape::Buckets => 20,
        }
    }
}

/// Pairs in memory.
#[derive(Debug)]
pub struct Data {
    shape: Shape,
    count: usize,
    /// Key and value of each index, one behind the other.
    bytes: Vec<u8>,
    /// The index of each rank.
    order: Vec<u32>,
    /// The rank of each index.
    ranks: Vec<u32>,
}

impl Data {
    /// So many random pairs of a seed. A smaller count gives the first of the same pairs.
    #[must_use]
    pub fn random(count: usize, seed: u64) -> Data {
        Data::of(Shape::Random, count, seed)
    }

    /// So many pairs of a shape, at most 2^32 - 1, of a seed. A smaller count gives the first of
    /// the same pairs.
    #[must_use]
    pub fn of(shape: Shape, count: usize, seed: u64) -> Data {
        let mut random = Random::new(seed);
        let mut bytes = vec![0; count * (shape.key_bytes() + shape.value_bytes())];
        let pairs = bytes.chunks_exact_mut(shape.key_bytes() + shape.value_bytes());
        for (index, pair) in pairs.enumerate() {
            let (key, value) = pair.split_at_mut(shape.key_bytes());
            match shape {
                Shape::Random => {
                    random.fill(key);
                    random.fill(value);
                }
                Shape::Records => fill_record(&mut random, key, value),
                Shape::Buckets => {
                    let (bucket, field) = (index / BUCKET_RECORDS, index % BUCKET_RECORDS);
                    write(key, format_args!("container-{bucket:08}/field-{field}"));
                    random.fill(value);
                }
            }
        }
        let mut data = Data { shape, count, bytes, order: Vec::new(), ranks: vec![0; count] };
        data.order = order(&data.pairs());
        for (rank, &index) in (0..).zip(&data.order) {
            data.ranks[index as usize] = rank;
        }
        data
    }

    /// What the pairs look like.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The number of pairs.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes of a key and its value.
    #[must_use]
    pub fn pair_bytes(&self) -> usize {
        self.shape.key_bytes() + self.shape.value_bytes()
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        (self.count * self.pair_bytes()) as u64
    }

    /// The key of an index.
    #[inline]
    #[must_use]
    pub fn key(&self, index: usize) -> &[u8] {
        self.pair(index).0
    }

    /// The value of an index.
    #[inline]
    #[must_use]
    pub fn value(&self, index: usize) -> &[u8] {
        self.pair(index).1
    }

    /// The pair of an index.
    #[inline]
    #[must_use]
    pub fn pair(&self, index: usize) -> Pair<'_> {
        let begin = index * self.pair_bytes();
        self.bytes[begin..begin + self.pair_bytes()].split_at(self.shape.key_bytes())
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
        (0..self.count).map(|index| self.pair(index)).collect()
    }
}

/// A key `container-UUID`, and a record of a container that fills `value` exactly.
fn fill_record(random: &mut Random, key: &mut [u8], value: &mut [u8]) {
    let (a, b) = (random.number(), random.number());
    // The version is 4, the variant 2: the bits that a random UUID has fixed.
    let uuid = format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        0x8000 | (b >> 48 & 0x3fff),
        b & 0xffff_ffff_ffff
    );
    write(key, format_args!("container-{uuid}"));
    let states = ["created", "running", "paused", "exited"];
    let [x, y, z] = [random.number(), random.number(), random.number()];
    let (name, state, created) = (x & 0xff_ffff, states[(x >> 24 & 3) as usize], x >> 32);
    let (cpus, memory) = (z & 0xf, z >> 32);
    let length = value.len();
    let written = write(
        value,
        format_args!(
            "{{\"id\":\"{uuid}\",\"name\":\"service-{name:x}\",\"state\":\"{state}\",\
             \"created\":{created},\"image\":\"sha256:{y:016x}{z:016x}\",\
             \"limits\":{{\"cpus\":{cpus},\"memory\":{memory}}},\"environment\":\""
        ),
    );
    let (filler, end) = value[written..].split_at_mut(length - written - 2);
    random.fill(filler);
    filler.iter_mut().for_each(|byte| *byte = LETTERS[usize::from(*byte % 64)]);
    end.copy_from_slice(b"\"}");
}

/// Writes text to the front of `bytes`, which have room for it. Returns its length.
fn write(bytes: &mut [u8], text: std::fmt::Arguments<'_>) -> usize {
    let length = bytes.len();
    let mut rest = bytes;
    rest.write_fmt(text).expect("invariant: the text fits");
    length - rest.len()
}

/// The pairs in the order of their keys. Compares eight bytes before it looks at a key.
#[must_use]
pub fn sorted<'a>(pairs: &[Pair<'a>]) -> Vec<Pair<'a>> {
    order(pairs).into_iter().map(|index| pairs[index as usize]).collect()
}

fn order(pairs: &[Pair<'_>]) -> Vec<u32> {
    let prefix = common_prefix(pairs.iter().map(|(key, _)| *key));
    let mut order: Vec<(u64, u32)> =
        (0..).zip(pairs).map(|(index, (key, _))| (head(key, prefix), index)).collect();
    order.sort_unstable_by(|(a, i), (b, j)| {
        a.cmp(b).then_with(|| pairs[*i as usize].0.cmp(pairs[*j as usize].0))
    });
    order.into_iter().map(|(_, index)| index).collect()
}

/// Length of what all keys begin with.
#[must_use]
pub fn common_prefix<'a>(mut keys: impl Iterator<Item = &'a [u8]>) -> usize {
    let Some(first) = keys.next() else { return 0 };
    keys.fold(first.len(), |length, key| {
        first[..length].iter().zip(key).take_while(|(a, b)| a == b).count()
    })
}

/// Eight bytes of a key behind a prefix, as a number of the same order; zeros behind its end.
#[inline]
#[must_use]
pub fn head(key: &[u8], prefix: usize) -> u64 {
    let rest = key.get(prefix..).unwrap_or_default();
    if let Some(head) = rest.first_chunk() {
        return u64::from_be_bytes(*head);
    }
    let mut head = [0; 8];
    head[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(head)
}

/// Whether two pairs are records of one small bucket.
#[must_use]
pub fn same_bucket((a, _): &Pair<'_>, (b, _): &Pair<'_>) -> bool {
    a[..BUCKET_NAME_BYTES] == b[..BUCKET_NAME_BYTES]
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

/// Reads all bytes.
#[inline]
#[must_use]
pub fn touch_all(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().map(|word| u64::from_le_bytes(*word)).fold(0, u64::wrapping_add);
    rest.iter().fold(sum, |sum, &byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPES: [Shape; 3] = [Shape::Random, Shape::Records, Shape::Buckets];

    #[test]
    fn fewer_pairs_of_a_seed_are_the_first_of_more() {
        for shape in SHAPES {
            let (few, many) = (Data::of(shape, 20, 7), Data::of(shape, 50, 7));
            (0..20).for_each(|index| assert_eq!(few.pair(index), many.pair(index), "{shape:?}"));
        }
    }

    #[test]
    fn ranks_follow_the_keys() {
        for shape in SHAPES {
            let data = Data::of(shape, 1000, 3);
            let keys: Vec<&[u8]> = (0..1000).map(|rank| data.key(data.index_at(rank))).collect();
            assert!(keys.is_sorted_by(|a, b| a < b), "{shape:?}");
            (0..1000).for_each(|rank| assert_eq!(data.rank_of(data.index_at(rank)), rank));
            let pairs = sorted(&data.pairs());
            assert!(pairs.iter().zip(&keys).all(|((key, _), other)| key == other), "{shape:?}");
        }
    }

    #[test]
    fn a_record_looks_like_json() {
        let data = Data::of(Shape::Records, 3, 1);
        for index in 0..3 {
            let text = std::str::from_utf8(data.value(index)).expect("text");
            assert!(text.starts_with("{\"id\":\"") && text.ends_with("\"}"), "{text}");
            assert!(!text.contains('\0'));
            let key = std::str::from_utf8(data.key(index)).expect("text");
            assert!(text.contains(key.trim_start_matches("container-")), "{text}");
        }
    }
}
