//! Runs one workload on one engine, and checks that the work was done.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use bristlecone_benches::data::{Data, Pair, sorted, touch, touch_pair};
use bristlecone_benches::random::Random;

use crate::device::{Counts, Device};
use crate::engines::{Direction, Engine, Mode, Result};
use crate::workload::{FULL_SCANS, GETS_TOGETHER, Get, Order, SCAN_PAIRS};

/// Commits between two looks at the clock where commits take no time.
const BUFFERED_STRIDE: usize = 256;

/// What was measured once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measure {
    /// Operations per second, or MB.
    pub(crate) value: f64,
    /// Processor time of the calling threads for an operation, in seconds: what stays true on a
    /// busy machine. Threads of the engine are not counted.
    pub(crate) cpu_seconds: Option<f64>,
    /// The share of all processors that others used meanwhile.
    pub(crate) others: Option<f64>,
    /// For workloads that must be durable.
    pub(crate) durable: Option<Durable>,
    pub(crate) latency: Option<Latency>,
    /// Seconds to do the work that the engine has put off, not counted in `value`.
    pub(crate) settle_seconds: Option<f64>,
    /// Bytes written to the device, settling included, by bytes of keys and values.
    pub(crate) amplification: Option<f64>,
}

/// What the device did meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Durable {
    pub(crate) commits: u64,
    /// Flushes without which the commits cannot have been durable.
    pub(crate) flushes_min: u64,
    /// `None` when nobody counts them.
    pub(crate) flushes: Option<u64>,
}

impl Durable {
    /// Whether the device has flushed as often as it must have.
    pub(crate) fn is_shown(&self) -> bool {
        self.flushes.is_some_and(|flushes| flushes >= self.flushes_min)
    }
}

/// How long commits took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
}

/// Loads all pairs in one durable transaction.
pub(crate) fn load(
    engine: &dyn Engine,
    pairs: &[Pair<'_>],
    order: Order,
    device: Option<&Device>,
) -> Result<Measure> {
    let before = counts(device)?;
    let name = match order {
        Order::Random => "load-random",
        Order::Sorted => "load-sorted",
    };
    let loaded = abreast(name, 1, |_| match order {
        Order::Random => engine.load(pairs),
        Order::Sorted => engine.load_sorted(&sorted(pairs)),
    })?;
    let during = counts(device)?.zip(before).map(|(now, before)| now.since(before));
    let (settle_seconds, written) = settle(engine, device, before)?;
    let payload: u64 = pairs.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
    // Bytes that have not reached the device cannot be durable, flush or no flush.
    let flushes = during.map(|it| if it.written_bytes >= payload { it.flushes } else { 0 });
    Ok(Measure {
        durable: Some(Durable { commits: 1, flushes_min: 1, flushes }),
        settle_seconds: Some(settle_seconds),
        amplification: written.map(|bytes| bytes as f64 / payload as f64),
        ..rate(pairs.len(), &loaded)
    })
}

/// The reads of one thread, and the sum that they must give.
pub(crate) struct Reads {
    /// The keys, one behind the other, so that a processor finds them as fast as engines take them.
    bytes: Vec<u8>,
    key_bytes: usize,
    sum: u64,
}

impl Reads {
    fn keys(&self) -> Vec<&[u8]> {
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
        let bytes = picked.iter().flat_map(|&index| data.key(index)).copied().collect();
        Reads { bytes, key_bytes: data.shape().key_bytes(), sum }
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
        let mut choice = Choice::of(commits, thread);
        for _ in 0..done.commits * commits.puts {
            let (key, value) = choice.pick(data.count());
            newest[key] = u32::try_from(value)?;
        }
    }
    let total: usize = done.iter().map(|done| done.commits).sum();
    let operations = total * commits.puts;
    let pair_bytes = data.payload_bytes() / data.count() as u64;
    let payload = operations as u64 * pair_bytes;
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

/// What a thread has committed.
struct Done {
    commits: usize,
    /// Of each commit, where each is timed.
    nanoseconds: Vec<u32>,
}

fn commit_for(engine: &dyn Engine, data: &Data, commits: &Commits, thread: usize) -> Result<Done> {
    let mut choice = Choice::of(commits, thread);
    let mut done = Done { commits: 0, nanoseconds: Vec::with_capacity(1 << 17) };
    let mut pairs: Vec<Pair<'_>> = Vec::with_capacity(commits.puts);
    let stride = if commits.mode == Mode::Durable { 1 } else { BUFFERED_STRIDE };
    let begin = Instant::now();
    let mut now = begin;
    while now - begin < commits.duration {
        for _ in 0..stride {
            pairs.clear();
            for _ in 0..commits.puts {
                let (key, value) = choice.pick(data.count());
                pairs.push((data.key(key), data.value(value)));
            }
            engine.put(&pairs)?;
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

/// Compares all that is stored with what was put.
pub(crate) fn verify(engine: &dyn Engine, data: &Data, newest: &[u32]) -> Result<()> {
    let mut rank = 0;
    let mut wrong = 0_u64;
    engine.visit(&mut |(key, value)| {
        if rank < data.count() {
            let index = data.index_at(rank);
            let put = newest[index] as usize;
            wrong += u64::from(key != data.key(index) || value != data.value(put));
        }
        rank += 1;
    })?;
    match (wrong, rank == data.count()) {
        (0, true) => Ok(()),
        _ => {
            let count = data.count();
            Err(format!("expected {count} pairs as put, found {rank}, {wrong} others").into())
        }
    }
}

/// What threads did side by side.
struct Abreast<T> {
    /// From the first start to the last end.
    elapsed: Duration,
    /// Processor time of all threads.
    cpu: Duration,
    results: Vec<T>,
}

/// Runs `work` in so many threads that start together, of a name that a profiler will show.
fn abreast<T: Send>(
    name: &str,
    threads: usize,
    work: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Abreast<T>> {
    let barrier = Barrier::new(threads);
    let run = |thread: usize| {
        barrier.wait();
        let (begin, cpu) = (Instant::now(), cpu_time());
        let result = work(thread);
        (begin, Instant::now(), cpu_time().saturating_sub(cpu), result)
    };
    let run = &run;
    let joined: Vec<_> = thread::scope(|scope| {
        let spawn = |thread: usize| {
            let builder = thread::Builder::new().name(name.to_owned());
            builder.spawn_scoped(scope, move || run(thread)).expect("a thread can be started")
        };
        let handles: Vec<_> = (0..threads).map(spawn).collect();
        handles.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    let mut results = Vec::with_capacity(threads);
    let mut cpu = Duration::ZERO;
    let (mut begin, mut end) = (None::<Instant>, None::<Instant>);
    for outcome in joined {
        let (from, to, busy, result) = outcome.map_err(|_| "a thread panicked")?;
        results.push(result?);
        cpu += busy;
        begin = Some(begin.map_or(from, |begin| begin.min(from)));
        end = Some(end.map_or(to, |end| end.max(to)));
    }
    let elapsed = begin.zip(end).map(|(begin, end)| end - begin).unwrap_or_default();
    Ok(Abreast { elapsed, cpu, results })
}

/// Processor time of this thread so far.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Has the engine do what it put off. Returns the seconds that took, and the bytes that the device
/// has written since `before`.
fn settle(
    engine: &dyn Engine,
    device: Option<&Device>,
    before: Option<Counts>,
) -> Result<(f64, Option<u64>)> {
    let begin = Instant::now();
    engine.settle()?;
    let seconds = begin.elapsed().as_secs_f64();
    let written = counts(device)?.zip(before).map(|(now, before)| now.since(before).written_bytes);
    Ok((seconds, written))
}

fn counts(device: Option<&Device>) -> Result<Option<Counts>> {
    Ok(device.map(Device::counts).transpose()?)
}

fn rate<T>(operations: usize, abreast: &Abreast<T>) -> Measure {
    Measure {
        value: operations as f64 / abreast.elapsed.as_secs_f64(),
        cpu_seconds: Some(abreast.cpu.as_secs_f64() / operations as f64),
        ..Measure::default()
    }
}

fn check_sum(found: u64, expected: u64) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(format!("expected values that add up to {expected:#x}, found {found:#x}").into())
}

fn latency(mut nanoseconds: Vec<u32>) -> Option<Latency> {
    nanoseconds.sort_unstable();
    let at = |hundredths: usize| {
        let place = nanoseconds.len() * hundredths / 100;
        nanoseconds.get(place).map(|&ns| Duration::from_nanos(u64::from(ns)))
    };
    Some(Latency { median: at(50)?, p99: at(99)? })
}
