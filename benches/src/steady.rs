//! Threads that put without a pause, and a look at them every second.
//!
//! Invariants:
//! 1. Threads share no key, and a seed repeats what each has put: so all can be verified.
//! 2. Every commit is in exactly one second, the one in which it returned.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use bristlecone_benches::data::{Data, Pair};
use bristlecone_benches::histogram::Histogram;
use bristlecone_benches::machine;
use bristlecone_benches::random::Random;
use bristlecone_benches::record::{Load, Second, rounded};
use bristlecone_benches::scratch::disk_bytes;

use crate::engines::Result;
use crate::subject::Subject;

const SECOND: Duration = Duration::from_secs(1);
/// Seconds between two lines for who waits.
const LINES_SECONDS: usize = 10;

/// What is put where, and for how long.
pub(crate) struct Steady<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) data: &'a Data,
    pub(crate) load: &'a Load,
    pub(crate) duration: Duration,
    pub(crate) seed: u64,
    /// Where the files of the database are.
    pub(crate) dir: &'a Path,
    /// Anonymous memory that the bench itself holds.
    pub(crate) own_bytes: u64,
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) elapsed: Duration,
    pub(crate) latency: Histogram,
    pub(crate) seconds: Vec<Second>,
    /// Of each thread.
    pub(crate) commits: Vec<u64>,
    /// What a thread failed with.
    pub(crate) failure: Option<String>,
}

/// What the threads share with who looks at them.
struct Shared {
    /// Latencies since the last look, one histogram for each thread, so that none waits for
    /// another.
    recent: Vec<Mutex<Histogram>>,
    /// Set when a thread fails, so that the others end too.
    stop: AtomicBool,
    start: Barrier,
}

/// Random keys with random values, in threads that share no key.
struct Choice {
    random: Random,
    thread: usize,
    threads: usize,
}

impl Choice {
    /// The index of a key and the index of its new value.
    fn pick(&mut self, count: usize) -> (usize, usize) {
        let key = self.random.below(count / self.threads) * self.threads + self.thread;
        (key, self.random.below(count))
    }
}

impl Steady<'_> {
    /// Puts for the whole duration.
    pub(crate) fn run(&self) -> Result<Outcome> {
        let threads = self.load.threads;
        let shared = Shared {
            recent: (0..threads).map(|_| Mutex::default()).collect(),
            stop: AtomicBool::new(false),
            start: Barrier::new(threads + 1),
        };
        let shared = &shared;
        thread::scope(|scope| {
            let spawn = |thread: usize| {
                let builder = thread::Builder::new().name("put".to_owned());
                builder.spawn_scoped(scope, move || self.put_all(thread, shared))
            };
            let handles: Vec<ScopedJoinHandle<'_, _>> =
                (0..threads).map(|thread| spawn(thread).expect("a thread can start")).collect();
            let outcome = self.watch(shared, handles);
            // Threads that nobody looks at any more need not go on.
            shared.stop.store(true, Ordering::Relaxed);
            outcome
        })
    }

    /// One thread's puts. Returns its commits, and why it ended early, if so.
    fn put_all(&self, thread: usize, shared: &Shared) -> (u64, Option<String>) {
        let mut choice = self.choice(thread);
        let mut pairs: Vec<Pair<'_>> = Vec::with_capacity(self.load.puts);
        let mut commits = 0;
        shared.start.wait();
        let begin = Instant::now();
        let mut now = begin;
        while now - begin < self.duration && !shared.stop.load(Ordering::Relaxed) {
            pairs.clear();
            for _ in 0..self.load.puts {
                let (key, value) = choice.pick(self.data.count());
                pairs.push((self.data.key(key), self.data.value(value)));
            }
            let before = Instant::now();
            if let Err(error) = self.subject.put(&pairs) {
                shared.stop.store(true, Ordering::Relaxed);
                return (commits, Some(error.to_string()));
            }
            now = Instant::now();
            let nanoseconds = u64::try_from((now - before).as_nanos()).unwrap_or(u64::MAX);
            lock(&shared.recent[thread]).add(nanoseconds);
            commits += 1;
        }
        (commits, None)
    }

    /// Looks at the threads every second until they end.
    fn watch(
        &self,
        shared: &Shared,
        handles: Vec<ScopedJoinHandle<'_, (u64, Option<String>)>>,
    ) -> Result<Outcome> {
        let mut checkpoints = self.subject.told().checkpoints.unwrap_or_default();
        let (mut latency, mut seconds) = (Histogram::default(), Vec::new());
        shared.start.wait();
        let begin = Instant::now();
        // The last second is looked at when all threads have ended.
        let mut next = begin + SECOND;
        while next < begin + self.duration && !shared.stop.load(Ordering::Relaxed) {
            thread::sleep(next.saturating_duration_since(Instant::now()));
            next += SECOND;
            let second = self.look(shared, begin, &mut latency, &mut checkpoints)?;
            if (seconds.len() + 1) % LINES_SECONDS == 0 {
                let Second { at, commits, worst_us, .. } = second;
                eprintln!("  {at:6.1} s {commits:8} commits/s, worst {worst_us:8.0} us");
            }
            seconds.push(second);
        }
        let mut ended = Vec::new();
        for handle in handles {
            ended.push(handle.join().map_err(|_| "a thread panicked")?);
        }
        let elapsed = begin.elapsed();
        seconds.push(self.look(shared, begin, &mut latency, &mut checkpoints)?);
        let failure = ended.iter().find_map(|(_, failure)| failure.clone());
        let commits = ended.into_iter().map(|(commits, _)| commits).collect();
        Ok(Outcome { elapsed, latency, seconds, commits, failure })
    }

    /// Takes what ended since the last look, and looks at sizes.
    fn look(
        &self,
        shared: &Shared,
        begin: Instant,
        latency: &mut Histogram,
        checkpoints_before: &mut u64,
    ) -> Result<Second> {
        let at = begin.elapsed().as_secs_f64();
        let mut recent = Histogram::default();
        for one in &shared.recent {
            recent.add_all(&std::mem::take(&mut *lock(one)));
        }
        latency.add_all(&recent);
        let told = self.subject.told();
        let checkpoints = told.checkpoints.map(|now| {
            let new = now.saturating_sub(*checkpoints_before);
            *checkpoints_before = now;
            new
        });
        let microseconds = |nanoseconds: u64| rounded(nanoseconds as f64 / 1000.0, 4);
        Ok(Second {
            at: rounded(at, 6),
            commits: recent.count(),
            p50_us: microseconds(recent.quantile(0.5)),
            p99_us: microseconds(recent.quantile(0.99)),
            worst_us: microseconds(recent.worst()),
            disk_bytes: disk_bytes(self.dir)?,
            memory_bytes: machine::anonymous_bytes()?.saturating_sub(self.own_bytes),
            file_bytes: told.file_bytes,
            log_bytes: told.log_bytes,
            checkpoints,
        })
    }

    /// Compares the database with what so many commits of each thread have put.
    pub(crate) fn verify(&self, commits: &[u64]) -> Result<()> {
        let count = self.data.count();
        let mut newest: Vec<usize> = (0..count).collect();
        for (thread, &commits) in commits.iter().enumerate() {
            let mut choice = self.choice(thread);
            for _ in 0..commits * self.load.puts as u64 {
                let (key, value) = choice.pick(count);
                newest[key] = value;
            }
        }
        let (mut rank, mut wrong) = (0, 0_u64);
        self.subject.visit(&mut |(key, value)| {
            if rank < count {
                let index = self.data.index_at(rank);
                let expected = (self.data.key(index), self.data.value(newest[index]));
                wrong += u64::from((key, value) != expected);
            }
            rank += 1;
        })?;
        match (wrong, rank == count) {
            (0, true) => Ok(()),
            _ => Err(format!("expected {count} pairs as put, found {rank}, {wrong} others").into()),
        }
    }

    fn choice(&self, thread: usize) -> Choice {
        let random = Random::new(self.seed ^ ((thread as u64 + 1) << 40));
        Choice { random, thread, threads: self.load.threads }
    }
}

/// The guard of a histogram, which no panic leaves half changed.
fn lock(one: &Mutex<Histogram>) -> std::sync::MutexGuard<'_, Histogram> {
    one.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::{KINDS, Mode, Opening, Role};
    use bristlecone_benches::scratch::Scratch;

    #[test]
    fn what_was_put_is_verified_and_every_commit_is_in_a_second() {
        let data = Data::random(1000, 1);
        let scratch = Scratch::new().expect("a directory");
        let ours = KINDS.iter().find(|kind| kind.role == Role::Ours).expect("our own engine");
        let dir = scratch.path();
        let opening = Opening {
            mode: Mode::Buffered,
            payload_bytes: data.payload_bytes(),
            value_bytes: data.shape().value_bytes(),
            memory_bytes: None,
            data: None,
        };
        let subject = Subject::open(*ours, dir, &opening).expect("a database");
        subject.load(&data.pairs()).expect("a load");
        let load = Load { pairs: 1000, threads: 3, puts: 2, durable: false };
        let duration = Duration::from_millis(1100);
        let steady = Steady {
            subject: &subject,
            data: &data,
            load: &load,
            duration,
            seed: 7,
            dir,
            own_bytes: 0,
        };
        let Outcome { latency, seconds, mut commits, failure, .. } = steady.run().expect("a run");
        assert_eq!(failure, None);
        let total: u64 = commits.iter().sum();
        assert!(total > 3 && latency.count() == total && seconds.len() == 2, "{seconds:?}");
        assert_eq!(seconds.iter().map(|second| second.commits).sum::<u64>(), total);
        // What is buffered is not yet shown.
        subject.settle().expect("all that was put off");
        steady.verify(&commits).expect("the pairs that were put");
        // Keys that nobody has put keep their values: more commits than there were are noticed.
        commits[1] += 100;
        assert!(steady.verify(&commits).is_err());
    }
}
