//! A round of phases: one thread commits, quietly and while the engine works.
//!
//! Invariants:
//! 1. A commit counts in the phase in which it began; none begins after the work has ended.
//! 2. Every phase with work comes between two quiet ones.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bristlecone::{Db, Durability, Options};
use bristlecone_benches::data::Data;
use bristlecone_benches::device::Device;
use bristlecone_benches::random::Random;
use bristlecone_benches::record::{Commits, rounded};
use bristlecone_benches::scratch::Scratch;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Names of phases and their commits, the quiet one first.
pub(crate) type Done = Vec<(&'static str, Commits)>;

const PAIRS: &str = "pairs";
const EXPIRING: &str = "expiring";
const BESIDE: &str = "beside";
/// Keys that are committed beside the work.
const BESIDE_KEYS: usize = 10_000;
/// In a transaction of what is prepared between phases.
const TOGETHER: usize = 10_000;
/// Between two looks whether the engine's thread has removed all.
const LOOK: Duration = Duration::from_millis(1);
/// A sweep that takes longer goes nowhere.
const SWEEP_MAX: Duration = Duration::from_secs(120);

/// The sizes of a round.
pub(crate) struct Round<'a> {
    pub(crate) pairs: usize,
    pub(crate) expiring: usize,
    pub(crate) quiet: Duration,
    /// Of records that are to expire together: longer than it takes to put them.
    pub(crate) lifetime: Duration,
    pub(crate) seed: u64,
    pub(crate) device: Option<&'a Device>,
}

/// What is done while the thread commits, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// `Db::compact` after every other pair was deleted.
    Compaction,
    /// All that has expired is removed by the engine's thread, which rests between its steps.
    Sweep,
    /// The same by a call of `Db::sweep`, which does not rest.
    SweepCalled,
}

/// `Db::backup` goes here, beside the others, and into [`Round::during`].
const WORKS: [(Work, &str); 3] = [
    (Work::Compaction, "compaction"),
    (Work::Sweep, "sweep by the engine's thread"),
    (Work::SweepCalled, "sweep by a call"),
];
const QUIET: &str = "quiet";

/// Who commits, and what it has put.
struct Committer {
    random: Random,
    data: Data,
    /// The index of the newest value of each key, once it was put.
    newest: Vec<Option<usize>>,
}

impl Committer {
    /// Commits one durable put after the other as long as it is told to.
    fn commit_while(&mut self, db: &Db, mut goes_on: impl FnMut() -> bool) -> Result<Commits> {
        let mut commits = Commits::default();
        let begin = Instant::now();
        while goes_on() {
            let (key, value) =
                (self.random.below(BESIDE_KEYS), self.random.below(self.data.count()));
            let before = Instant::now();
            let mut txn = db.begin_write()?;
            txn.set_durability(Durability::Sync);
            txn.bucket_mut(BESIDE)?.put(self.data.key(key), self.data.value(value))?;
            txn.commit()?;
            let nanoseconds = u64::try_from(before.elapsed().as_nanos()).unwrap_or(u64::MAX);
            commits.latency.add(nanoseconds);
            self.newest[key] = Some(value);
        }
        commits.seconds = rounded(begin.elapsed().as_secs_f64(), 5);
        Ok(commits)
    }

    /// Commits for so long.
    fn commit_for(&mut self, db: &Db, duration: Duration) -> Result<Commits> {
        let begin = Instant::now();
        self.commit_while(db, || begin.elapsed() < duration)
    }

    /// Commits until `work`, which another thread does, has ended.
    fn commit_beside(
        &mut self,
        db: &Db,
        work: impl FnOnce() -> Result<()> + Send,
    ) -> Result<Commits> {
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let done = work();
                ended.store(true, Ordering::Release);
                done
            });
            let commits = self.commit_while(db, || !ended.load(Ordering::Acquire));
            worker.join().map_err(|_| "a thread panicked")??;
            commits
        })
    }
}

impl Round<'_> {
    /// Runs in a database of its own within `dir`. What was done, and what was wrong, if something
    /// was.
    pub(crate) fn within(&self, dir: &Path) -> Result<(Done, Option<String>)> {
        let scratch = Scratch::within(dir)?;
        let path = scratch.path().join("db");
        let data = Data::random(self.pairs.max(BESIDE_KEYS), self.seed);
        let mut committer = Committer {
            random: Random::new(self.seed),
            data: Data::random(BESIDE_KEYS, !self.seed),
            newest: vec![None; BESIDE_KEYS],
        };
        let mut db = self.load(Db::open(&path)?, &data)?;
        let flushes = || self.device.map(Device::counts).transpose();
        let before = flushes()?;
        let mut quiet = Commits::default();
        let mut done = Done::new();
        for (work, name) in WORKS {
            db = self.prepare(db, &path, work)?;
            let commits = committer.commit_for(&db, self.quiet)?;
            quiet.add_all(&commits);
            done.push((name, self.during(&db, work, &mut committer)?));
        }
        quiet.add_all(&committer.commit_for(&db, self.quiet)?);
        done.insert(0, (QUIET, quiet));
        let flushes = flushes()?.zip(before).map(|(now, before)| now.since(before).flushes);
        let count = done.iter().map(|(_, commits)| commits.latency.count()).sum();
        // One thread commits, so a flush serves one commit.
        let shown = flushes.is_some_and(|flushes| flushes >= count);
        let failure = match self.verify(&db, &committer, &data) {
            Err(error) => Some(error.to_string()),
            Ok(()) if !shown => Some("fewer flushes than its commits need".to_owned()),
            Ok(()) => None,
        };
        db.close()?;
        Ok((done, failure))
    }

    /// All pairs, then without every other one: a file that a compaction makes half as long.
    fn load(&self, db: Db, data: &Data) -> Result<Db> {
        db.update(|txn| {
            txn.create_bucket(BESIDE)?;
            txn.create_bucket(PAIRS)?.put_many(&data.pairs()[..self.pairs])
        })?;
        let odd: Vec<&[u8]> = (1..self.pairs).step_by(2).map(|index| data.key(index)).collect();
        for keys in odd.chunks(TOGETHER) {
            db.update(|txn| txn.bucket_mut(PAIRS)?.delete_many(keys).map(|_| ()))?;
        }
        db.checkpoint()?;
        Ok(db)
    }

    /// What must be there before a phase: nothing that is due for one with a sweep.
    fn prepare(&self, db: Db, path: &Path, work: Work) -> Result<Db> {
        Ok(match work {
            Work::Compaction | Work::Sweep => db,
            Work::SweepCalled => {
                db.close()?;
                Options::new().sweep(false).open(path)?
            }
        })
    }

    /// Commits while the work is done.
    fn during(&self, db: &Db, work: Work, committer: &mut Committer) -> Result<Commits> {
        match work {
            Work::Compaction => committer.commit_beside(db, || {
                db.compact(&mut |_| ControlFlow::Continue(()))?;
                Ok(())
            }),
            Work::Sweep => {
                let swept = db.stats().swept;
                self.let_expire(db)?;
                committer.commit_beside(db, || self.wait_until_swept(db, swept))
            }
            Work::SweepCalled => {
                self.let_expire(db)?;
                committer.commit_beside(db, || {
                    let report = db.sweep(&mut |_| ControlFlow::Continue(()))?;
                    self.expect_swept(report.removed)
                })
            }
        }
    }

    /// Puts the records that expire, and returns at the moment at which all are expired.
    fn let_expire(&self, db: &Db) -> Result<()> {
        let mut random = Random::new(!self.seed);
        let value = [7; 150];
        let mut key = [0; 24];
        db.update(|txn| txn.create_bucket_if_missing(EXPIRING).map(|_| ()))?;
        let swept = db.stats().swept;
        let mut txn = db.begin_write()?;
        let begin = Instant::now();
        let mut bucket = txn.bucket_mut(EXPIRING)?;
        for _ in 0..self.expiring {
            random.fill(&mut key);
            bucket.put_with_ttl(key, value, self.lifetime)?;
        }
        drop(bucket);
        txn.commit()?;
        db.checkpoint()?;
        let left = self.lifetime.checked_sub(begin.elapsed());
        let left = left.filter(|_| db.stats().swept == swept);
        thread::sleep(left.ok_or("expected to have put all before it expires")?);
        Ok(())
    }

    fn wait_until_swept(&self, db: &Db, before: u64) -> Result<()> {
        let begin = Instant::now();
        while db.stats().swept - before < self.expiring as u64 && begin.elapsed() < SWEEP_MAX {
            thread::sleep(LOOK);
        }
        self.expect_swept(db.stats().swept - before)
    }

    fn expect_swept(&self, removed: u64) -> Result<()> {
        match removed == self.expiring as u64 {
            true => Ok(()),
            false => Err(format!("expected {} removed, found {removed}", self.expiring).into()),
        }
    }

    /// Compares what is there with what was put, and checks every page.
    fn verify(&self, db: &Db, committer: &Committer, data: &Data) -> Result<()> {
        let txn = db.begin_read()?;
        let (pairs, beside) = (txn.bucket(PAIRS)?, txn.bucket(BESIDE)?);
        for index in 0..self.pairs {
            let expected = (index % 2 == 0).then(|| data.value(index));
            if pairs.get(data.key(index))? != expected {
                return Err("expected every other pair, found others".into());
            }
        }
        for (key, newest) in committer.newest.iter().enumerate() {
            let expected = newest.map(|value| committer.data.value(value));
            if beside.get(committer.data.key(key))? != expected {
                return Err("expected the value that was put last, found another".into());
            }
        }
        let left = txn.bucket(EXPIRING)?.len();
        if left > 0 {
            return Err(format!("expected all removed that expired, found {left}").into());
        }
        drop(txn);
        match db.check(&mut |_| ControlFlow::Continue(()))? {
            report if report.is_sound() => Ok(()),
            report => Err(format!("{} problems in the file", report.problems.len()).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_has_commits_and_what_was_put_is_verified() {
        let round = Round {
            pairs: 2000,
            expiring: 1000,
            quiet: Duration::from_millis(20),
            lifetime: Duration::from_millis(1500),
            seed: 7,
            device: None,
        };
        let (done, failure) = round.within(&std::env::temp_dir()).expect("a round");
        // Nobody has seen the device flush.
        assert_eq!(failure.as_deref(), Some("fewer flushes than its commits need"));
        let names: Vec<&str> = done.iter().map(|(name, _)| *name).collect();
        assert_eq!(names[0], QUIET);
        assert_eq!(names[1..], WORKS.map(|(_, name)| name));
        let commits = |index: usize| done[index].1.latency.count();
        assert!(commits(0) > 0 && commits(2) > 0 && done[0].1.seconds >= 0.08, "{done:?}");
    }

    #[test]
    fn what_was_not_put_is_noticed() {
        let scratch = Scratch::new().expect("a directory");
        let db = Db::open(scratch.path().join("db")).expect("a database");
        let round = Round {
            pairs: 100,
            expiring: 10,
            quiet: Duration::ZERO,
            lifetime: Duration::ZERO,
            seed: 7,
            device: None,
        };
        let data = Data::random(100, 1);
        let mut committer = Committer {
            random: Random::new(1),
            data: Data::random(BESIDE_KEYS, 2),
            newest: vec![None; BESIDE_KEYS],
        };
        let db = round.load(db, &data).expect("a load");
        db.update(|txn| txn.create_bucket(EXPIRING).map(|_| ())).expect("a bucket");
        let mut left = 3;
        let commits = committer.commit_while(&db, || {
            left -= 1;
            left >= 0
        });
        assert_eq!(commits.expect("commits").latency.count(), 3);
        round.verify(&db, &committer, &data).expect("what was put");
        let key = committer.newest.iter().position(Option::is_some).expect("a key");
        committer.newest[key] = None;
        assert!(round.verify(&db, &committer, &data).is_err());
    }
}
