//! Reads and commits at the same time: readers beside a writer, and a reader that holds a view.

use std::hint::black_box;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use bristlecone_benches::data::{Data, touch};
use bristlecone_benches::random::Random;
use bristlecone_benches::scratch::disk_bytes;

use crate::commits::latency;
use crate::device::Device;
use crate::engines::{Engine, Result, Role};
use crate::measure::{Durable, Measure, abreast, check_sum, counts, settle};
use crate::reads::Reads;
use crate::workload::{GETS_TOGETHER, HELD_KEYS, OVERWRITES_MAX};

const READERS: usize = 2;
/// Transactions of gets that a reader repeats: enough keys that no cache holds their values.
const READ_TXNS: usize = 200;

/// What a thread has done.
struct Done {
    operations: usize,
    seconds: f64,
    /// Of each commit.
    nanoseconds: Vec<u32>,
}

/// Two threads get pairs of even indexes while one commits a put to an odd one at a time.
pub(crate) fn gets_beside_commits(
    engine: &dyn Engine,
    data: &Data,
    newest: &mut [u32],
    (duration, seed): (Duration, u64),
    device: Option<&Device>,
) -> Result<Measure> {
    let gets: Vec<_> = (0..READERS).map(|it| gets_of(data, newest, seed + it as u64)).collect();
    // Outside of the time, as in other gets.
    engine.get_together(&gets[0][0].keys()[..1])?;
    let before = counts(device)?;
    let done = abreast("beside", READERS + 1, |thread| match gets.get(thread) {
        Some(gets) => get_for(engine, gets, duration),
        None => commit_for(engine, data, duration, seed),
    })?;
    let during = counts(device)?.zip(before).map(|(now, before)| now.since(before));
    let (settle_seconds, _) = settle(engine, device, before)?;
    let (readers, writer) = (&done.results[..READERS], &done.results[READERS]);
    let mut picks = Random::new(seed);
    for _ in 0..writer.operations {
        let (key, value) = pick_odd(&mut picks, data.count());
        newest[key] = u32::try_from(value)?;
    }
    let commits = writer.operations as u64;
    let flushes = during.map(|during| during.flushes);
    Ok(Measure {
        value: readers.iter().map(|done| done.operations as f64 / done.seconds).sum(),
        beside: Some((writer.operations as f64 / writer.seconds, "puts/s".to_owned())),
        durable: Some(Durable { commits, flushes_min: commits, flushes }),
        latency: latency(writer.nanoseconds.clone()),
        settle_seconds: Some(settle_seconds),
        ..Measure::default()
    })
}

/// The reads of one thread, for each transaction.
fn gets_of(data: &Data, newest: &[u32], seed: u64) -> Vec<Reads> {
    let mut random = Random::new(!seed);
    let mut gets = || {
        let picked: Vec<usize> =
            (0..GETS_TOGETHER).map(|_| random.below(data.count() / 2) * 2).collect();
        let values = picked.iter().map(|&index| touch(data.value(newest[index] as usize)));
        Reads::of(data, &picked, values.fold(0, u64::wrapping_add))
    };
    (0..READ_TXNS).map(|_| gets()).collect()
}

fn get_for(engine: &dyn Engine, gets: &[Reads], duration: Duration) -> Result<Done> {
    let keys: Vec<Vec<&[u8]>> = gets.iter().map(Reads::keys).collect();
    let begin = Instant::now();
    let mut operations = 0;
    for (keys, gets) in keys.iter().zip(gets).cycle() {
        check_sum(black_box(engine.get_together(keys)?), gets.sum())?;
        operations += keys.len();
        if begin.elapsed() >= duration {
            break;
        }
    }
    Ok(Done { operations, seconds: begin.elapsed().as_secs_f64(), nanoseconds: Vec::new() })
}

fn commit_for(engine: &dyn Engine, data: &Data, duration: Duration, seed: u64) -> Result<Done> {
    let mut random = Random::new(seed);
    let mut nanoseconds = Vec::with_capacity(1 << 15);
    let begin = Instant::now();
    let mut now = begin;
    while now - begin < duration {
        let (key, value) = pick_odd(&mut random, data.count());
        engine.put(&[(data.key(key), data.value(value))])?;
        let after = Instant::now();
        nanoseconds.push(u32::try_from((after - now).as_nanos()).unwrap_or(u32::MAX));
        now = after;
    }
    let seconds = begin.elapsed().as_secs_f64();
    Ok(Done { operations: nanoseconds.len(), seconds, nanoseconds })
}

/// The index of a key and the index of its new value.
fn pick_odd(random: &mut Random, count: usize) -> (usize, usize) {
    (random.below(count / 2) * 2 + 1, random.below(count))
}

/// Holds a view while few keys are overwritten often, one in a transaction, and reads them in the
/// view before and after that. The value is by how much the directory has grown, in MB.
pub(crate) fn long_reader(
    engine: &dyn Engine,
    role: Role,
    data: &Data,
    newest: &mut [u32],
    (dir, seed): (&Path, u64),
) -> Result<Measure> {
    let overwrites = OVERWRITES_MAX.min(data.count() / 5);
    let keys: Vec<&[u8]> = (0..HELD_KEYS).map(|index| data.key(index)).collect();
    let values = newest[..HELD_KEYS].iter().map(|&value| touch(data.value(value as usize)));
    let sum = values.fold(0, u64::wrapping_add);
    let pick = |random: &mut Random| (random.below(HELD_KEYS), random.below(data.count()));
    let overwrite = || -> Result<Duration> {
        let mut random = Random::new(seed);
        let begin = Instant::now();
        for _ in 0..overwrites {
            let (key, value) = pick(&mut random);
            engine.put(&[(data.key(key), data.value(value))])?;
        }
        Ok(begin.elapsed())
    };
    engine.settle()?;
    let before = disk_bytes(dir)?;
    let (mut elapsed, mut after) = (Duration::ZERO, before);
    engine.hold(&mut |view| {
        check_sum(view(&keys)?, sum)?;
        // A thread of its own: in some engines a thread has one transaction at a time.
        elapsed = thread::scope(|scope| scope.spawn(overwrite).join())
            .map_err(|_| "a thread panicked")??;
        engine.settle()?;
        after = disk_bytes(dir)?;
        check_sum(view(&keys)?, sum)
    })?;
    let mut random = Random::new(seed);
    for _ in 0..overwrites {
        let (key, value) = pick(&mut random);
        newest[key] = u32::try_from(value)?;
    }
    let grown = match role {
        // Its log is zero-filled. It must keep a second version of each key.
        Role::Limit => (HELD_KEYS * data.pair_bytes()) as u64,
        _ => after.saturating_sub(before),
    };
    let rate = overwrites as f64 / elapsed.as_secs_f64();
    Ok(Measure {
        value: grown as f64 / 1e6,
        beside: Some((rate, "puts/s".to_owned())),
        ..Measure::default()
    })
}
