//! Gets and scans of random keys, whose sums must be those of what was put.

use std::hint::black_box;

use bristlecone_benches::data::{Data, touch, touch_pair};
use bristlecone_benches::random::Random;

use crate::engines::{Direction, Engine, Result};
use crate::measure::{Measure, abreast, check_sum, rate};
use crate::workload::{FULL_SCANS, GETS_TOGETHER, Get, SCAN_PAIRS};

/// The reads of one thread, and the sum that they must give.
pub(crate) struct Reads {
    /// The keys, one behind the other, so that a processor finds them as fast as engines take them.
    bytes: Vec<u8>,
    key_bytes: usize,
    sum: u64,
}

impl Reads {
    /// Reads of the keys of some indexes that give `sum`.
    pub(crate) fn of(data: &Data, indexes: &[usize], sum: u64) -> Reads {
        let bytes = indexes.iter().flat_map(|&index| data.key(index)).copied().collect();
        Reads { bytes, key_bytes: data.shape().key_bytes(), sum }
    }

    pub(crate) fn sum(&self) -> u64 {
        self.sum
    }

    pub(crate) fn keys(&self) -> Vec<&[u8]> {
        self.bytes.chunks_exact(self.key_bytes).collect()
    }
}

/// Random keys and the sum of their values, for each thread.
pub(crate) fn random_gets(data: &Data, threads: usize, count: usize, seed: u64) -> Vec<Reads> {
    random_reads(data, threads, count, seed, |index| touch(data.value(index)))
}

/// Random keys and the sum of the pairs from there on.
pub(crate) fn random_scans(data: &Data, direction: Direction, count: usize, seed: u64) -> Reads {
    let all = random_reads(data, 1, count, seed, |index| {
        let rank = data.rank_of(index);
        let ranks = match direction {
            Direction::Forward => rank..(rank + SCAN_PAIRS).min(data.count()),
            Direction::Reverse => (rank + 1).saturating_sub(SCAN_PAIRS)..rank + 1,
        };
        let touched = ranks.map(|rank| touch_pair(data.pair(data.index_at(rank))));
        touched.fold(0, u64::wrapping_add)
    });
    all.into_iter().next().expect("invariant: one thread was asked for")
}

fn random_reads(
    data: &Data,
    threads: usize,
    count: usize,
    seed: u64,
    sum_of: impl Fn(usize) -> u64,
) -> Vec<Reads> {
    let mut random = Random::new(seed);
    let reads = (0..threads).map(|_| {
        let picked: Vec<usize> = (0..count).map(|_| random.below(data.count())).collect();
        let sum = picked.iter().map(|&index| sum_of(index)).fold(0, u64::wrapping_add);
        Reads::of(data, &picked, sum)
    });
    reads.collect()
}

/// Gets random keys, each thread its own.
pub(crate) fn gets(engine: &dyn Engine, reads: &[Reads], how: Get) -> Result<Measure> {
    let keys: Vec<Vec<&[u8]>> = reads.iter().map(Reads::keys).collect();
    // The first get is outside of the time: the limit builds its map.
    engine.get_together(&keys[0][..1])?;
    let read = abreast("get", reads.len(), |thread| {
        let mut sum = 0_u64;
        for keys in keys[thread].chunks(GETS_TOGETHER) {
            sum = sum.wrapping_add(match how {
                Get::Together => engine.get_together(keys)?,
                Get::Each => engine.get_each(keys)?,
                Get::Many => engine.get_many(keys)?,
            });
        }
        Ok(black_box(sum))
    })?;
    for (found, reads) in read.results.iter().zip(reads) {
        check_sum(*found, reads.sum)?;
    }
    let operations: usize = keys.iter().map(Vec::len).sum();
    Ok(rate(operations, &read))
}

/// Short scans from random keys.
pub(crate) fn scans(engine: &dyn Engine, reads: &Reads, direction: Direction) -> Result<Measure> {
    let keys = reads.keys();
    // The first scan is outside of the time: the limit sorts its pairs.
    engine.scan(&keys[..1], 1, direction)?;
    let read = abreast("scan", 1, |_| {
        let mut sum = 0_u64;
        for starts in keys.chunks(GETS_TOGETHER) {
            sum = sum.wrapping_add(engine.scan(starts, SCAN_PAIRS, direction)?);
        }
        Ok(black_box(sum))
    })?;
    check_sum(read.results[0], reads.sum)?;
    Ok(rate(keys.len(), &read))
}

/// Reads everything, a few times.
pub(crate) fn full_scans(engine: &dyn Engine, data: &Data) -> Result<Measure> {
    let all = (0..data.count()).map(|index| touch_pair(data.pair(index)));
    let expected = all.fold(0, u64::wrapping_add);
    // As in `scans`.
    engine.scan(&[data.key(0)], 1, Direction::Forward)?;
    let read = abreast("full-scan", 1, |_| {
        (0..FULL_SCANS).map(|_| Ok(black_box(engine.scan_all()?))).collect::<Result<Vec<u64>>>()
    })?;
    read.results[0].iter().try_for_each(|&found| check_sum(found, expected))?;
    Ok(rate(data.count() * FULL_SCANS, &read))
}
