//! What is measured, and what all measurements share: threads that start together, the work that
//! engines put off, the load, and the comparison of all that is stored.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use bristlecone_benches::data::{Data, Pair, sorted};

use crate::device::{Counts, Device};
use crate::engines::{Engine, Result};
use crate::workload::Order;

/// In place of the index of a value: the key was deleted.
pub(crate) const DELETED: u32 = u32::MAX;

/// What was measured once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measure {
    /// In the unit of the workload.
    pub(crate) value: f64,
    /// A second figure, and its unit.
    pub(crate) beside: Option<(f64, String)>,
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
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) median: Duration,
    pub(crate) p99: Duration,
    pub(crate) worst: Duration,
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

/// Compares all that is stored with what was put. `newest` has the index of each key's value.
pub(crate) fn verify(engine: &dyn Engine, data: &Data, newest: &[u32]) -> Result<()> {
    let mut indexes =
        (0..data.count()).map(|rank| data.index_at(rank)).filter(|&index| newest[index] != DELETED);
    let (mut found, mut wrong) = (0, 0_u64);
    engine.visit(&mut |(key, value)| {
        found += 1;
        let right = indexes.next().is_some_and(|index| {
            key == data.key(index) && value == data.value(newest[index] as usize)
        });
        wrong += u64::from(!right);
    })?;
    match (wrong, indexes.next()) {
        (0, None) => Ok(()),
        _ => {
            let count = newest.iter().filter(|&&put| put != DELETED).count();
            Err(format!("expected {count} pairs as put, found {found}, {wrong} others").into())
        }
    }
}

/// What threads did side by side.
pub(crate) struct Abreast<T> {
    /// From the first start to the last end.
    pub(crate) elapsed: Duration,
    /// Processor time of all threads.
    pub(crate) cpu: Duration,
    pub(crate) results: Vec<T>,
}

/// Runs `work` in so many threads that start together, of a name that a profiler will show.
pub(crate) fn abreast<T: Send>(
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
pub(crate) fn settle(
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

pub(crate) fn counts(device: Option<&Device>) -> Result<Option<Counts>> {
    Ok(device.map(Device::counts).transpose()?)
}

pub(crate) fn rate<T>(operations: usize, abreast: &Abreast<T>) -> Measure {
    Measure {
        value: operations as f64 / abreast.elapsed.as_secs_f64(),
        cpu_seconds: Some(abreast.cpu.as_secs_f64() / operations as f64),
        ..Measure::default()
    }
}

pub(crate) fn check_sum(found: u64, expected: u64) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(format!("expected values that add up to {expected:#x}, found {found:#x}").into())
}
