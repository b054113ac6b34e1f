//! Group commit: many threads append, one of them writes for all.
//!
//! A record is appended to the pending group and waited for afterwards. Whoever waits and finds
//! nobody leading leads: it takes everything pending, has the [`Sink`] write and publish it, wakes
//! those who waited for it, and hands the lead to one waiter of the group that formed meanwhile.
//!
//! ```text
//!              append                lead: take                finish
//!   caller ------------> pending ----------------> in flight ----------> published
//!                           |                          |
//!                           +-------- failure ---------+-------------> outcome unknown
//! ```
//!
//! Never touches a file, a clock or a thread of its own, and holds no lock while the sink works.
//!
//! Invariants:
//! 1. One leader at a time: `leading` is set from the moment the lead is taken until the group is
//!    finished, and stays set while the lead is on its way to the waiter that it was handed to.
//! 2. `published <= durable <= appended`, and all three only grow. The sink publishes groups in
//!    the order of their records, each before anybody who waits for it is woken.
//! 3. The lead is handed only to a thread that sleeps in the pending group, so it is never lost.
//!    Futures are never handed the lead: their threads must not wait for a disk.
//! 4. After the first failure nothing is written or published any more. Every record that was
//!    appended and not published has the outcome unknown, now and later.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::task::{Poll, Waker};

use super::long::LongRecord;
use super::{Appended, Sequence};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard};

/// What a leader does with a group. Called by one thread at a time.
pub(super) trait Sink {
    /// What is published with a group, beside its last record.
    type End;
    /// Returns when all records of the batch are durable.
    fn write(&self, batch: &mut Batch) -> Result<Self::End>;
    /// Makes everything up to `durable` visible.
    fn publish(&self, durable: Sequence, end: Self::End);
}

/// Records in the order of their commits.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// A record before all others, most of which is written already.
    pub(super) long: Option<LongRecord>,
    /// The other records, one behind the other.
    bytes: Vec<u8>,
    /// Where each record ends in `bytes`.
    ends: Vec<usize>,
    /// Number of the last record.
    last: Sequence,
}

/// Memory of a batch that is kept for the next one; more than this goes back to the allocator.
const BATCH_BYTES_KEPT: usize = 1 << 20;

impl Batch {
    /// The records, oldest first, without the long one.
    pub(super) fn records(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    fn is_empty(&self) -> bool {
        self.ends.is_empty() && self.long.is_none()
    }

    /// How much is to be written, without the long record, which has its space.
    pub(super) fn load(&self) -> Load {
        Load { records: self.ends.len() as u64, bytes: self.bytes.len() as u64 }
    }

    /// Takes a large record's memory in exchange for its own, where that spares a copy.
    fn push(&mut self, record: &mut Vec<u8>, sequence: Sequence) {
        if self.bytes.is_empty() && record.len() > BATCH_BYTES_KEPT {
            std::mem::swap(&mut self.bytes, record);
        } else {
            self.bytes.extend_from_slice(record);
        }
        self.ends.push(self.bytes.len());
        self.last = sequence;
    }

    fn clear(&mut self) {
        self.long = None;
        self.bytes.clear();
        self.ends.clear();
        self.bytes.shrink_to(BATCH_BYTES_KEPT);
        self.ends.shrink_to(BATCH_BYTES_KEPT);
    }
}

/// A number of records and their bytes, without headers and padding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Load {
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// What waits to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Backlog {
    /// The group that a leader writes now.
    pub(super) flying: Load,
    /// The group that forms meanwhile.
    pub(super) pending: Load,
    /// One of them has a long record, which leaves the active segment as it is.
    pub(super) has_long: bool,
}

/// The state machine of group commit.
#[derive(Debug)]
pub(super) struct Group {
    state: Mutex<State>,
}

/// Guarded by the mutex of [`Group`], which is never held across a write, a publication or a wake.
#[derive(Debug)]
struct State {
    appended: Sequence,
    published: Sequence,
    /// Invariant 1.
    leading: bool,
    /// Appended and not yet taken by a leader.
    pending: Batch,
    pending_waiters: Waiters,
    /// Present from `take` to `finish`.
    flying: Option<Flying>,
    /// The first failure.
    poison: Option<Error>,
    /// The last batch's memory, for the next one.
    spare: Batch,
}

#[derive(Debug)]
struct Flying {
    last: Sequence,
    load: Load,
    has_long: bool,
    waiters: Waiters,
}

/// Those who wait for one group.
#[derive(Debug, Default)]
struct Waiters {
    /// Threads that sleep in `wake`, or are about to.
    sleepers: usize,
    wake: Arc<Wake>,
    /// Futures, by the record they wait for.
    wakers: BTreeMap<Sequence, Vec<Waker>>,
}

/// Where the threads of one group sleep.
#[derive(Debug, Default)]
struct Wake {
    signal: Mutex<Signal>,
    changed: Condvar,
}

/// Guarded by the mutex of [`Wake`].
#[derive(Clone, Debug, Default)]
enum Signal {
    /// Sleep on.
    #[default]
    None,
    /// One of the sleepers shall lead; the first to see this takes it.
    Lead,
    /// The group's outcome; final.
    Done(Result<()>),
}

impl Wake {
    /// Sleeps until the group is done or this thread shall lead.
    fn sleep(&self) -> Signal {
        let mut signal = self.signal.lock();
        loop {
            match &*signal {
                Signal::None => self.changed.wait(&mut signal),
                Signal::Lead => return std::mem::take(&mut *signal),
                Signal::Done(outcome) => return Signal::Done(outcome.clone()),
            }
        }
    }

    fn hand_lead(&self) {
        *self.signal.lock() = Signal::Lead;
        self.changed.notify_one();
    }

    fn done(&self, outcome: Result<()>) {
        *self.signal.lock() = Signal::Done(outcome);
        self.changed.notify_all();
    }
}

impl Waiters {
    /// Adds a waker, once however often its future is polled.
    fn register(&mut self, sequence: Sequence, waker: &Waker) {
        let wakers = self.wakers.entry(sequence).or_default();
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }

    fn wake_all(self, outcome: &Result<()>) {
        if self.sleepers > 0 {
            self.wake.done(outcome.clone());
        }
        self.wakers.into_values().flatten().for_each(Waker::wake);
    }
}

impl Group {
    pub(super) fn new() -> Group {
        Group {
            state: Mutex::new(State {
                appended: Sequence(0),
                published: Sequence(0),
                leading: false,
                pending: Batch::default(),
                pending_waiters: Waiters::default(),
                flying: None,
                poison: None,
                spare: Batch::default(),
            }),
        }
    }

    /// Adds a record to the pending group, and never waits for a write. Copies it, or takes its
    /// memory in exchange for other; what is left in `record` means nothing.
    pub(super) fn append_joining(&self, record: &mut Vec<u8>) -> Result<Appended> {
        let mut state = self.state.lock();
        state.check_poison()?;
        state.appended = Sequence(state.appended.0 + 1);
        let (sequence, joined) = (state.appended, !state.pending.is_empty());
        state.pending.push(record, sequence);
        Ok(Appended { sequence, joined })
    }

    /// Adds a long record, as [`Group::append_joining`] does with others. REQUIRES that whatever
    /// was appended before is published, and that nobody else appends.
    pub(super) fn append_long(&self, record: LongRecord) -> Result<Appended> {
        let mut state = self.state.lock();
        state.check_poison()?;
        let is_alone = state.pending.is_empty() && state.flying.is_none();
        assert!(is_alone, "nothing is appended while a long record is written");
        state.appended = Sequence(state.appended.0 + 1);
        state.pending.last = state.appended;
        state.pending.long = Some(record);
        Ok(Appended { sequence: state.appended, joined: false })
    }

    /// [`Group::append_joining`] for tests that need the number alone.
    #[cfg(test)]
    pub(super) fn append(&self, record: &[u8]) -> Result<Sequence> {
        self.append_joining(&mut record.to_vec()).map(|appended| appended.sequence)
    }

    /// Returns when the record is durable and published; leads when nobody does.
    pub(super) fn wait<S: Sink>(&self, sequence: Sequence, sink: &S) -> Result<()> {
        let mut state = self.state.lock();
        if let Some(outcome) = state.outcome(sequence) {
            return outcome;
        }
        if !state.leading {
            state.leading = true;
            return self.lead(state, sink);
        }
        let waiters = state.waiters(sequence);
        waiters.sleepers += 1;
        let wake = Arc::clone(&waiters.wake);
        drop(state);
        match wake.sleep() {
            Signal::Done(outcome) => outcome,
            Signal::None | Signal::Lead => self.lead(self.state.lock(), sink),
        }
    }

    /// Like [`Group::wait`] for a future: never blocks and never leads.
    pub(super) fn poll(&self, sequence: Sequence, waker: &Waker) -> Poll<Result<()>> {
        let mut state = self.state.lock();
        if let Some(outcome) = state.outcome(sequence) {
            return Poll::Ready(outcome);
        }
        state.waiters(sequence).register(sequence, waker);
        Poll::Pending
    }

    /// Returns when everything that was appended before the call is durable and published.
    pub(super) fn flush<S: Sink>(&self, sink: &S) -> Result<()> {
        let (appended, published) = {
            let state = self.state.lock();
            (state.appended, state.published)
        };
        if appended == published { Ok(()) } else { self.wait(appended, sink) }
    }

    /// The last record that is durable and published.
    #[cfg(test)]
    pub(super) fn published(&self) -> Sequence {
        self.state.lock().published
    }

    /// What is not yet written. Fails once poisoned.
    pub(super) fn backlog(&self) -> Result<Backlog> {
        let state = self.state.lock();
        state.check_poison()?;
        let flying = state.flying.as_ref().map_or_else(Load::default, |flying| flying.load);
        let flying_long = state.flying.as_ref().is_some_and(|flying| flying.has_long);
        let has_long = flying_long || state.pending.long.is_some();
        Ok(Backlog { flying, pending: state.pending.load(), has_long })
    }

    /// The first failure, if there was one.
    #[cfg(test)]
    pub(super) fn poison(&self) -> Option<Error> {
        self.state.lock().poison.clone()
    }

    /// Takes what is pending, writes and publishes it. REQUIRES the lead.
    fn lead<S: Sink>(&self, mut state: MutexGuard<'_, State>, sink: &S) -> Result<()> {
        let batch = state.take();
        drop(state);
        let mut flight = Flight { group: self, batch };
        let outcome = sink.write(&mut flight.batch).map(|end| {
            sink.publish(flight.batch.last, end);
        });
        flight.land(outcome)
    }
}

impl State {
    fn check_poison(&self) -> Result<()> {
        match &self.poison {
            None => Ok(()),
            Some(first) => Err(Error::from(ErrorKind::Poisoned { first: first.clone() })),
        }
    }

    /// What is known of a record. `None` while it is pending or in flight.
    fn outcome(&self, sequence: Sequence) -> Option<Result<()>> {
        assert!(sequence <= self.appended, "only records that were appended can be waited for");
        if sequence <= self.published {
            return Some(Ok(()));
        }
        self.poison.as_ref().map(|cause| Err(unknown(cause)))
    }

    /// Those who wait for the group of a record whose outcome is not known yet.
    fn waiters(&mut self, sequence: Sequence) -> &mut Waiters {
        match &mut self.flying {
            Some(flying) if sequence <= flying.last => &mut flying.waiters,
            _ => &mut self.pending_waiters,
        }
    }

    /// Makes the pending group the one in flight.
    fn take(&mut self) -> Batch {
        assert!(self.leading && self.flying.is_none(), "one leader at a time");
        assert!(self.published < self.appended, "a leader has something to write");
        let batch = std::mem::replace(&mut self.pending, std::mem::take(&mut self.spare));
        let waiters = std::mem::take(&mut self.pending_waiters);
        let (last, load, has_long) = (batch.last, batch.load(), batch.long.is_some());
        self.flying = Some(Flying { last, load, has_long, waiters });
        batch
    }
}

/// A group that its leader writes. Dropped without landing (the sink panicked) it poisons the log,
/// so that nobody waits for ever.
struct Flight<'a> {
    group: &'a Group,
    batch: Batch,
}

impl Flight<'_> {
    /// Ends the lead: records the outcome, hands the lead on, wakes the group.
    fn land(mut self, outcome: Result<()>) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        let group = self.group;
        std::mem::forget(self);
        finish(group, batch, outcome)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let cause = io::Error::other("the thread that led the flush panicked");
        let error = Error::io("write", Path::new("wal"), cause);
        // Every waiter gets the error, and this thread is unwinding already.
        let _ = finish(self.group, std::mem::take(&mut self.batch), Err(error));
    }
}

fn finish(group: &Group, mut batch: Batch, outcome: Result<()>) -> Result<()> {
    let last = batch.last;
    batch.clear();
    let mut state = group.state.lock();
    let flying = state.flying.take().expect("invariant: a leader finishes what it took");
    let (outcome, abandoned) = match outcome {
        Ok(()) => {
            assert!(state.published < last, "groups are published in order");
            state.published = last;
            (Ok(()), None)
        }
        Err(cause) => {
            let outcome = Err(unknown(&cause));
            state.poison = Some(cause);
            state.pending.clear();
            (outcome, Some(std::mem::take(&mut state.pending_waiters)))
        }
    };
    let heir = state.pending_waiters.sleepers > 0;
    let heir = heir.then(|| Arc::clone(&state.pending_waiters.wake));
    state.leading = heir.is_some();
    state.spare = batch;
    drop(state);
    // First the heir, so that the disk works while this thread wakes the others.
    if let Some(wake) = heir {
        wake.hand_lead();
    }
    flying.waiters.wake_all(&outcome);
    if let Some(waiters) = abandoned {
        waiters.wake_all(&outcome);
    }
    outcome
}

fn unknown(cause: &Error) -> Error {
    Error::from(ErrorKind::OutcomeUnknown { cause: cause.clone() })
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::panic::AssertUnwindSafe;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Keeps what was written and published; fails when told.
    #[derive(Default)]
    struct Memory {
        written: std::sync::Mutex<Vec<Vec<u8>>>,
        published: std::sync::Mutex<Vec<Sequence>>,
        writers: AtomicUsize,
        fail_from: Option<usize>,
        panic: bool,
        delay: Duration,
    }

    impl Sink for Memory {
        type End = usize;

        fn write(&self, batch: &mut Batch) -> Result<usize> {
            assert_eq!(self.writers.fetch_add(1, Ordering::SeqCst), 0, "one leader at a time");
            assert!(!self.panic, "the sink panics");
            thread::sleep(self.delay);
            let mut written = self.written.lock().unwrap();
            if self.fail_from.is_some_and(|from| written.len() >= from) {
                self.writers.fetch_sub(1, Ordering::SeqCst);
                return Err(Error::io("write", Path::new("x"), io::Error::other("no")));
            }
            written.extend(batch.records().map(<[u8]>::to_vec));
            self.writers.fetch_sub(1, Ordering::SeqCst);
            Ok(written.len())
        }

        fn publish(&self, durable: Sequence, end: usize) {
            assert_eq!(durable.0, end as u64, "everything written is published, nothing more");
            self.published.lock().unwrap().push(durable);
        }
    }

    struct CountingWake(AtomicUsize);

    impl std::task::Wake for CountingWake {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn one_flush_writes_everything_pending_in_order() {
        let (group, sink) = (Group::new(), Memory::default());
        for n in 0..5_u8 {
            assert_eq!(group.append(&vec![n; usize::from(n)]).unwrap(), Sequence(u64::from(n) + 1));
        }
        assert_eq!(group.published(), Sequence(0));
        group.wait(Sequence(2), &sink).unwrap();
        let expected: Vec<_> = (0..5_u8).map(|n| vec![n; usize::from(n)]).collect();
        assert_eq!(*sink.written.lock().unwrap(), expected);
        assert_eq!(*sink.published.lock().unwrap(), [Sequence(5)]);
        group.wait(Sequence(5), &sink).unwrap();
        group.flush(&sink).unwrap();
        assert_eq!(sink.published.lock().unwrap().len(), 1, "nothing was left to write");
    }

    #[test]
    fn many_threads_return_only_when_their_record_is_published() {
        let (group, sink) = (Group::new(), Memory::default());
        let (threads, rounds) = if cfg!(miri) { (3, 5) } else { (8, 2000) };
        thread::scope(|scope| {
            for id in 0..threads {
                let (group, sink) = (&group, &sink);
                scope.spawn(move || {
                    for round in 0..rounds {
                        let sequence = group.append(format!("{id} {round}").as_bytes()).unwrap();
                        group.wait(sequence, sink).unwrap();
                        assert!(*sink.published.lock().unwrap().last().unwrap() >= sequence);
                        assert!(group.published() >= sequence);
                    }
                });
            }
        });
        assert!(sink.published.lock().unwrap().is_sorted());
        assert_eq!(sink.written.lock().unwrap().len(), threads * rounds);
    }

    #[test]
    fn a_future_is_woken_once_by_whoever_flushes() {
        let (group, sink) = (Group::new(), Memory::default());
        let count = std::sync::Arc::new(CountingWake(AtomicUsize::new(0)));
        let waker = Waker::from(std::sync::Arc::clone(&count));
        let first = group.append(b"a").unwrap();
        assert!(group.poll(first, &waker).is_pending());
        assert!(group.poll(first, &waker).is_pending());
        assert_eq!(sink.published.lock().unwrap().len(), 0, "a poll never writes");
        group.flush(&sink).unwrap();
        let woken = count.0.load(Ordering::SeqCst);
        // Miri gives copies of a waker different tables, so that they seem to be different wakers.
        assert!(woken == 1 || cfg!(miri) && woken == 2);
        assert!(matches!(group.poll(first, &waker), Poll::Ready(Ok(()))));
        group.append(b"b").unwrap();
        group.flush(&sink).unwrap();
        assert_eq!(count.0.load(Ordering::SeqCst), woken, "a waker belongs to its group");
    }

    #[test]
    fn a_failure_leaves_every_unpublished_outcome_unknown_for_ever() {
        let sink =
            Memory { fail_from: Some(1), delay: Duration::from_millis(1), ..Memory::default() };
        let group = Group::new();
        let first = group.append(b"a").unwrap();
        group.wait(first, &sink).unwrap();
        thread::scope(|scope| {
            let waiters: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        // A thread that comes after the failure is refused at once.
                        let outcome = group.append(b"b").and_then(|it| group.wait(it, &sink));
                        let error = outcome.unwrap_err();
                        assert!(error.is_outcome_unknown() || error.is_poisoned(), "{error}");
                    })
                })
                .collect();
            waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        });
        assert!(group.append(b"c").unwrap_err().is_poisoned());
        assert!(group.backlog().unwrap_err().is_poisoned());
        assert!(group.flush(&sink).unwrap_err().is_outcome_unknown());
        assert!(group.poison().is_some());
        group.wait(first, &sink).unwrap();
        let waker = Waker::noop();
        match group.poll(Sequence(2), waker) {
            Poll::Ready(Err(error)) => assert!(error.is_outcome_unknown()),
            other => panic!("expected an unknown outcome, found {other:?}"),
        }
        assert_eq!(*sink.published.lock().unwrap(), [Sequence(1)]);
    }

    #[test]
    fn a_panic_of_the_leader_strands_nobody() {
        let (group, sink) = (Group::new(), Memory { panic: true, ..Memory::default() });
        let first = group.append(b"a").unwrap();
        let led = std::panic::catch_unwind(AssertUnwindSafe(|| group.wait(first, &sink)));
        assert!(led.is_err());
        assert!(group.wait(first, &sink).unwrap_err().is_outcome_unknown());
        assert!(group.append(b"b").unwrap_err().is_poisoned());
    }
}

#[cfg(test)]
#[cfg(loom)]
mod loom_tests {
    use loom::thread;

    use super::*;
    use crate::sync::atomic::{AtomicU64, Ordering};

    /// Counts in atomics, so that loom sees what order it guarantees.
    struct Counter {
        written: AtomicU64,
        published: AtomicU64,
        fail_from: u64,
    }

    impl Counter {
        fn new(fail_from: u64) -> Counter {
            Counter { written: AtomicU64::new(0), published: AtomicU64::new(0), fail_from }
        }
    }

    impl Sink for Counter {
        type End = u64;

        fn write(&self, batch: &mut Batch) -> Result<u64> {
            // Relaxed: the group itself must order one leader after the other.
            let before = self.written.load(Ordering::Relaxed);
            assert_eq!(before, self.published.load(Ordering::Relaxed), "published in order");
            if before >= self.fail_from {
                return Err(Error::io("write", Path::new("x"), io::Error::other("no")));
            }
            let load = batch.load();
            assert_eq!(before + load.records, batch.last.0, "groups are taken in order");
            self.written.store(before + load.records, Ordering::Relaxed);
            Ok(before + load.records)
        }

        fn publish(&self, durable: Sequence, end: u64) {
            assert_eq!(durable.0, end);
            assert!(durable.0 <= self.written.load(Ordering::Relaxed), "published <= durable");
            assert!(durable.0 > self.published.load(Ordering::Relaxed), "published in order");
            self.published.store(durable.0, Ordering::Relaxed);
        }
    }

    fn model(check: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(builder.preemption_bound.unwrap_or(3));
        builder.check(check);
    }

    fn commit(group: &Group, sink: &Counter) -> Result<()> {
        let sequence = group.append(b"r")?;
        group.wait(sequence, sink)?;
        assert!(sink.published.load(Ordering::Relaxed) >= sequence.0, "published before woken");
        Ok(())
    }

    #[test]
    fn loom_two_committers_and_a_flusher_all_return() {
        model(|| {
            let shared = Arc::new((Group::new(), Counter::new(u64::MAX)));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || commit(&shared.0, &shared.1).unwrap())
                })
                .collect();
            shared.0.flush(&shared.1).unwrap();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(shared.0.published(), Sequence(2));
        });
    }

    #[test]
    fn loom_three_committers_hand_over_the_lead() {
        model(|| {
            let shared = Arc::new((Group::new(), Counter::new(u64::MAX)));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || commit(&shared.0, &shared.1).unwrap())
                })
                .collect();
            commit(&shared.0, &shared.1).unwrap();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(shared.0.published(), Sequence(3));
            assert!(!shared.0.state.lock().leading, "nobody leads when nothing is left");
        });
    }

    #[test]
    fn loom_a_committer_that_comes_back_finds_the_lead_free_or_is_woken() {
        model(|| {
            let shared = Arc::new((Group::new(), Counter::new(u64::MAX)));
            let other = Arc::clone(&shared);
            let thread = thread::spawn(move || {
                commit(&other.0, &other.1).unwrap();
                commit(&other.0, &other.1).unwrap();
            });
            commit(&shared.0, &shared.1).unwrap();
            commit(&shared.0, &shared.1).unwrap();
            thread.join().unwrap();
            assert_eq!(shared.0.published(), Sequence(4));
        });
    }

    #[test]
    fn loom_a_failure_reaches_everybody() {
        model(|| {
            let shared = Arc::new((Group::new(), Counter::new(1)));
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || commit(&shared.0, &shared.1).is_ok())
                })
                .collect();
            let mine = commit(&shared.0, &shared.1).is_ok();
            let acknowledged = threads
                .into_iter()
                .fold(u64::from(mine), |sum, t| sum + u64::from(t.join().unwrap()));
            // The first group is written, whatever its size, and every later one fails.
            assert_eq!(acknowledged, shared.1.published.load(Ordering::Relaxed));
            assert_eq!(acknowledged, shared.0.published().0);
            assert_eq!(acknowledged < 3, shared.0.poison().is_some());
        });
    }

    /// Sets a flag; wakes like a task of a runtime on another thread.
    struct Flag(std::sync::atomic::AtomicBool);

    impl std::task::Wake for Flag {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }

    #[test]
    fn loom_a_future_that_is_pending_after_the_flush_was_or_will_be_woken() {
        model(|| {
            let shared = Arc::new((Group::new(), Counter::new(u64::MAX)));
            let sequence = shared.0.append(b"r").unwrap();
            let other = Arc::clone(&shared);
            let thread = thread::spawn(move || other.0.flush(&other.1).unwrap());
            let flag = std::sync::Arc::new(Flag(false.into()));
            let waker = Waker::from(std::sync::Arc::clone(&flag));
            let polled = shared.0.poll(sequence, &waker);
            thread.join().unwrap();
            let woken = flag.0.load(std::sync::atomic::Ordering::SeqCst);
            assert_eq!(polled.is_pending(), woken);
            assert!(shared.0.poll(sequence, &waker).is_ready());
        });
    }
}
