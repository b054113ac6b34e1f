//! Commits and deletes for a time, or until all is done, by one thread or many.

use std::time::{Duration, Instant};

use bristlecone_benches::data::{Data, Pair};
use bristlecone_benches::random::Random;

use crate::device::Device;
use crate::engines::{Engine, Mode, Result};
use crate::measure::{DELETED, Durable, Latency, Measure, abreast, counts, rate, settle};
use crate::workload::DELETES_TOGETHER;

/// Commits between two looks at the clock where commits take no time.
const BUFFERED_STRIDE: usize = 256;

/// What threads commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commits {
    pub(crate) threads: usize,
    /// Puts in a transaction.
    pub(crate) puts: usize,
    pub(crate) mode: Mode,
    pub(crate) duration: Duration,
    pub(crate) seed: u64,
}

/// Random keys with random values, in threads that share no key.
struct Choice {
    random: Random,
    thread: usize,
    threads: usize,
}

impl Choice {
    fn of(commits: &Commits, thread: usize) -> Choice {
        let random = Random::new(commits.seed ^ ((thread as u64 + 1) << 40));
        Choice { random, thread, threads: commits.threads }
    }

    /// The index of a key and the index of its new value.
    fn pick(&mut self, count: usize) -> (usize, usize) {
        let key = self.random.below(count / self.threads) * self.threads + self.thread;
        (key, self.random.below(count))
    }
}

/// Overwrites random keys for a time. Brings `newest`, the index of each key's value, up to date.
pub(crate) fn commits(
    engine: &dyn Engine,
    data: &Data,
    commits: &Commits,
    newest: &mut [u32],
    device: Option<&Device>,
) -> Result<Measure> {
    let before = counts(device)?;
    let committed =
        abreast("commit", commits.threads, |thread| commit_for(engine, data, commits, thread))?;
    let during = counts(device)?.zip(before).map(|(now, before)| now.since(before));
    let (settle_seconds, written) = settle(engine, device, before)?;
    let done = &committed.results;
    for (thread, done) in done.iter().enumerate() {
        replay(commits, thread, done.commits, newest)?;
    }
    let total: usize = done.iter().map(|done| done.commits).sum();
    let operations = total * commits.puts;
    let payload = (operations * data.pair_bytes()) as u64;
    // A thread waits for its commit, so a flush serves at most one commit of each.
    let flushes_min = total.div_ceil(commits.threads) as u64;
    let durable = Durable {
        commits: total as u64,
        flushes_min,
        flushes: during.map(|during| during.flushes),
    };
    Ok(Measure {
        durable: (commits.mode == Mode::Durable).then_some(durable),
        latency: latency(done.iter().flat_map(|done| &done.nanoseconds).copied().collect()),
        settle_seconds: Some(settle_seconds),
        amplification: written.map(|bytes| bytes as f64 / payload as f64),
        ..rate(operations, &committed)
    })
}

/// Brings `newest` up to date with the first commits of a thread.
pub(crate) fn replay(
    commits: &Commits,
    thread: usize,
    count: usize,
    newest: &mut [u32],
) -> Result<()> {
    let mut choice = Choice::of(commits, thread);
    for _ in 0..count * commits.puts {
        let (key, value) = choice.pick(newest.len());
        newest[key] = u32::try_from(value)?;
    }
    Ok(())
}

/// What a thread has committed.
struct Done {
    commits: usize,
    /// Of each commit, where each is timed.
    nanoseconds: Vec<u32>,
}

fn commit_for(engine: &dyn Engine, data: &Data, commits: &Commits, thread: usize) -> Result<Done> {
    let mut writer = Writer::of(commits, thread);
    let mut done = Done { commits: 0, nanoseconds: Vec::with_capacity(1 << 17) };
    let stride = if commits.mode == Mode::Durable { 1 } else { BUFFERED_STRIDE };
    let begin = Instant::now();
    let mut now = begin;
    while now - begin < commits.duration {
        for _ in 0..stride {
            writer.commit(engine, data)?;
            done.commits += 1;
        }
        let after = Instant::now();
        if stride == 1 {
            done.nanoseconds.push(u32::try_from((after - now).as_nanos()).unwrap_or(u32::MAX));
        }
        now = after;
    }
    Ok(done)
}

/// Commits random pairs, one transaction after the other.
pub(crate) struct Writer {
    choice: Choice,
    puts: usize,
}

impl Writer {
    pub(crate) fn of(commits: &Commits, thread: usize) -> Writer {
        Writer { choice: Choice::of(commits, thread), puts: commits.puts }
    }

    pub(crate) fn commit(&mut self, engine: &dyn Engine, data: &Data) -> Result<()> {
        let mut picked = || {
            let (key, value) = self.choice.pick(data.count());
            (data.key(key), data.value(value))
        };
        if self.puts == 1 {
            return engine.put(&[picked()]);
        }
        let pairs: Vec<Pair<'_>> = (0..self.puts).map(|_| picked()).collect();
        engine.put(&pairs)
    }
}

/// Deletes every other pair, so that each page loses some. Marks them in `newest`.
pub(crate) fn delete_half(
    engine: &dyn Engine,
    data: &Data,
    newest: &mut [u32],
    device: Option<&Device>,
) -> Result<Measure> {
    let keys: Vec<&[u8]> = (0..data.count()).skip(1).step_by(2).map(|it| data.key(it)).collect();
    let before = counts(device)?;
    let deleted = abreast("delete", 1, |_| {
        keys.chunks(DELETES_TOGETHER).try_for_each(|keys| engine.delete(keys))
    })?;
    let during = counts(device)?.zip(before).map(|(now, before)| now.since(before));
    let (settle_seconds, _) = settle(engine, device, before)?;
    newest.iter_mut().skip(1).step_by(2).for_each(|newest| *newest = DELETED);
    let commits = keys.len().div_ceil(DELETES_TOGETHER) as u64;
    let flushes = during.map(|during| during.flushes);
    Ok(Measure {
        durable: Some(Durable { commits, flushes_min: commits, flushes }),
        settle_seconds: Some(settle_seconds),
        ..rate(keys.len(), &deleted)
    })
}

/// The middle and the slowest hundredth.
pub(crate) fn latency(mut nanoseconds: Vec<u32>) -> Option<Latency> {
    nanoseconds.sort_unstable();
    let last = nanoseconds.len().checked_sub(1)?;
    let at = |hundredths: usize| {
        let place = (nanoseconds.len() * hundredths / 100).min(last);
        nanoseconds.get(place).map(|&ns| Duration::from_nanos(u64::from(ns)))
    };
    Some(Latency { median: at(50)?, p99: at(99)?, worst: at(100)? })
}
