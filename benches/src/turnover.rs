//! One kind of churn in a database of its own: puts, a look at the files every so many of them, and
//! the files when all is over.
//!
//! Invariants:
//! 1. A seed repeats what was put, so what is there at the end can be compared with it.
//! 2. A reader that is held sees the same from its beginning to its end.

use std::ops::ControlFlow;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use bristlecone::{Db, Durability, ReadOptions, ReadTxn};
use bristlecone_benches::data::{Data, Shape, touch_all};
use bristlecone_benches::random::Random;
use bristlecone_benches::record::{Asked, ChurnRun, Sample, Turnover, rounded};
use bristlecone_benches::scratch::{Scratch, disk_bytes};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const BUCKET: &str = "churn";
const READER: &str = "held";
/// Looks at the files while it is put.
const LOOKS: u64 = 100;
/// The reader begins when one part of so many was put: then there is something for it to hold.
const READER_BEGINS: u64 = 20;
/// Between two looks while what is left expires.
const LOOK: Duration = Duration::from_millis(100);
/// How much longer than a lifetime is waited until nothing is due.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is to be done.
pub(crate) struct Run<'a> {
    pub(crate) turnover: Turnover,
    pub(crate) with_reader: bool,
    pub(crate) asked: &'a Asked,
    /// Keys that are overwritten, or lasting pairs among those that expire; values of all puts.
    pub(crate) data: &'a Data,
    pub(crate) seed: u64,
}

/// An open database under a run.
struct Subject<'a> {
    run: &'a Run<'a>,
    db: &'a Db,
    dir: &'a Path,
    begin: Instant,
    samples: Vec<Sample>,
}

/// What a run puts, in the order in which it does.
struct Puts<'a> {
    run: &'a Run<'a>,
    random: Random,
    key: [u8; Shape::Random.key_bytes()],
}

impl Puts<'_> {
    /// The next key, the index of which matters to overwrites only, and the index of its value.
    fn pick(&mut self) -> (usize, usize) {
        let count = self.run.data.count();
        let index = match self.run.turnover {
            Turnover::Overwrites => self.random.below(count),
            Turnover::Expiries => {
                self.random.fill(&mut self.key);
                0
            }
        };
        (index, self.random.below(count))
    }
}

impl Run<'_> {
    /// Runs in a database of its own within `dir`.
    pub(crate) fn within(&self, dir: &Path) -> Result<ChurnRun> {
        let scratch = Scratch::within(dir)?;
        let db = Db::open(scratch.path().join("db"))?;
        db.update(|txn| {
            let mut bucket = txn.create_bucket(BUCKET)?;
            bucket.put_many(&self.data.pairs())
        })?;
        db.checkpoint()?;
        let dir = scratch.path();
        let mut subject =
            Subject { run: self, db: &db, dir, begin: Instant::now(), samples: Vec::new() };
        let ended = subject.run()?;
        db.close()?;
        Ok(ended)
    }

    fn puts(&self) -> Puts<'_> {
        // Not the keys of the data, which has the same seed.
        Puts { run: self, random: Random::new(!self.seed), key: Default::default() }
    }

    fn lifetime(&self) -> Duration {
        Duration::from_secs_f64(self.asked.lifetime_seconds)
    }
}

impl Subject<'_> {
    fn run(&mut self) -> Result<ChurnRun> {
        let puts_max = self.run.asked.puts;
        let first = self.look(0)?;
        self.samples.push(first);
        let mut puts = self.run.puts();
        let early = if self.run.with_reader { puts_max / READER_BEGINS } else { 0 };
        self.put(&mut puts, 0, early)?;
        self.db.sync()?;
        // Borrows the database, and nothing of what changes meanwhile.
        let db = self.db;
        let label = ReadOptions::new().label(READER);
        let reader = self.run.with_reader.then(|| db.begin_read_with(label)).transpose()?;
        let seen = reader.as_ref().map(sum_of).transpose()?;
        self.put(&mut puts, early, puts_max)?;
        let put_seconds = rounded(self.begin.elapsed().as_secs_f64(), 5);
        let removed = self.wait_for_expiry()?;
        let settled = self.settled()?;
        let compacted = self.compacted()?;
        let seen_again = reader.as_ref().map(sum_of).transpose()?;
        drop(reader);
        let released = self.run.with_reader.then(|| self.compacted()).transpose()?;
        let failure = match self.verify() {
            _ if seen != seen_again => Some("the reader did not see the same again".to_owned()),
            Err(error) => Some(error.to_string()),
            Ok(()) if !removed => Some("not all that had expired was removed".to_owned()),
            Ok(()) => None,
        };
        Ok(ChurnRun {
            turnover: self.run.turnover,
            with_reader: self.run.with_reader,
            put_seconds,
            failure,
            settled,
            compacted,
            released,
            samples: std::mem::take(&mut self.samples),
        })
    }

    /// Puts from the number `from` on to the number `to`, a look after every hundredth of all.
    fn put(&mut self, puts: &mut Puts<'_>, from: u64, to: u64) -> Result<()> {
        let Asked { puts: puts_max, together, rate, .. } = *self.run.asked;
        let (mut done, lifetime) = (from, self.run.lifetime());
        while done < to {
            let count = (together as u64).min(to - done);
            let mut txn = self.db.begin_write()?;
            txn.set_durability(Durability::Buffered);
            let mut bucket = txn.bucket_mut(BUCKET)?;
            for _ in 0..count {
                let (key, value) = puts.pick();
                let value = self.run.data.value(value);
                match self.run.turnover {
                    Turnover::Overwrites => bucket.put(self.run.data.key(key), value)?,
                    Turnover::Expiries => bucket.put_with_ttl(puts.key, value, lifetime)?,
                }
            }
            drop(bucket);
            txn.commit()?;
            let looks_before = done * LOOKS / puts_max;
            done += count;
            if done * LOOKS / puts_max > looks_before {
                let sample = self.look(done)?;
                self.samples.push(sample);
            }
            if self.run.turnover == Turnover::Expiries {
                let due = self.begin + Duration::from_secs_f64(done as f64 / rate as f64);
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        }
        Ok(())
    }

    /// Waits until all that was put with a lifetime is removed; false when that does not come.
    fn wait_for_expiry(&mut self) -> Result<bool> {
        if self.run.turnover == Turnover::Overwrites {
            return Ok(true);
        }
        let patience = Instant::now() + self.run.lifetime() + PATIENCE;
        let puts = self.run.asked.puts;
        while self.db.stats().swept < puts {
            if Instant::now() > patience {
                return Ok(false);
            }
            thread::sleep(LOOK);
            let sample = self.look(puts)?;
            self.samples.push(sample);
        }
        Ok(true)
    }

    fn settled(&self) -> Result<Sample> {
        self.db.sync()?;
        self.db.checkpoint()?;
        self.look(self.run.asked.puts)
    }

    fn compacted(&self) -> Result<Sample> {
        self.db.compact(&mut |_| ControlFlow::Continue(()))?;
        self.look(self.run.asked.puts)
    }

    fn look(&self, puts: u64) -> Result<Sample> {
        let stats = self.db.stats();
        let readers = self.db.readers();
        let held = readers.iter().find(|reader| reader.label.as_deref() == Some(READER));
        let passing = match self.run.turnover {
            Turnover::Overwrites => 0,
            Turnover::Expiries => puts.saturating_sub(stats.swept),
        };
        let records = self.run.data.count() as u64 + passing;
        Ok(Sample {
            at: rounded(self.begin.elapsed().as_secs_f64(), 5),
            puts,
            live_bytes: records * self.run.data.pair_bytes() as u64,
            file_bytes: stats.file_bytes,
            free_bytes: stats.free_bytes,
            log_bytes: stats.log_file_bytes,
            disk_bytes: disk_bytes(self.dir)?,
            memory_bytes: stats.memory_bytes,
            pinned_bytes: held.map(|reader| reader.pinned_bytes),
            swept: stats.swept,
            ttl_lag_ms: u64::try_from(stats.ttl_lag.as_millis())?,
        })
    }

    /// Compares what is there with what was put, and checks every page.
    fn verify(&self) -> Result<()> {
        let data = self.run.data;
        let mut newest: Vec<usize> = (0..data.count()).collect();
        if self.run.turnover == Turnover::Overwrites {
            let mut puts = self.run.puts();
            for _ in 0..self.run.asked.puts {
                let (key, value) = puts.pick();
                newest[key] = value;
            }
        }
        let txn = self.db.begin_read()?;
        let bucket = txn.bucket(BUCKET)?;
        let (found, expected) = (bucket.len(), newest.len() as u64);
        if found != expected {
            return Err(format!("expected {expected} records, found {found}").into());
        }
        for (key, &value) in newest.iter().enumerate() {
            if bucket.get(data.key(key))? != Some(data.value(value)) {
                return Err("expected the value that was put last, found another".into());
            }
        }
        drop(txn);
        match self.db.check(&mut |_| ControlFlow::Continue(()))? {
            report if report.is_sound() => Ok(()),
            report => Err(format!("{} problems in the file", report.problems.len()).into()),
        }
    }
}

/// The sum of all keys and values that a reader sees.
fn sum_of(txn: &ReadTxn<'_>) -> Result<u64> {
    let mut sum = 0_u64;
    for pair in txn.bucket(BUCKET)?.iter()? {
        let (key, value) = pair?;
        sum = sum.wrapping_mul(31).wrapping_add(touch_all(key)).wrapping_add(touch_all(value));
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(turnover: Turnover, with_reader: bool) -> ChurnRun {
        let asked = Asked {
            puts: 4000,
            together: 10,
            keys: 50,
            lasting: 50,
            lifetime_seconds: 0.2,
            rate: 20_000,
        };
        let data = Data::random(asked.keys, 1);
        let run = Run { turnover, with_reader, asked: &asked, data: &data, seed: 7 };
        run.within(&std::env::temp_dir()).expect("a run")
    }

    #[test]
    fn all_that_was_overwritten_is_verified_and_every_look_is_told() {
        let run = run(Turnover::Overwrites, true);
        assert_eq!(run.failure, None);
        assert_eq!(run.samples.len() as u64, 1 + LOOKS);
        assert!(run.samples.is_sorted_by(|one, next| one.puts < next.puts && one.at <= next.at));
        assert!(run.samples.iter().all(|sample| sample.live_bytes == 50 * 174));
        assert!(run.settled.pinned_bytes.is_some_and(|bytes| bytes > 0), "{:?}", run.settled);
        assert_eq!(run.last().pinned_bytes, None);
    }

    #[test]
    fn what_expires_is_waited_for() {
        let run = run(Turnover::Expiries, false);
        assert_eq!(run.failure, None);
        assert_eq!((run.settled.live_bytes, run.settled.swept), (50 * 174, 4000));
        assert_eq!((run.settled.puts, run.released), (4000, None));
    }

    #[test]
    fn a_reader_that_saw_another_sum_is_noticed() {
        let data = Data::random(10, 1);
        let scratch = Scratch::new().expect("a directory");
        let db = Db::open(scratch.path().join("db")).expect("a database");
        let put = |value: &[u8]| {
            let put = db.update(|txn| {
                let mut bucket = txn.create_bucket_if_missing(BUCKET)?;
                (0..10).try_for_each(|key| bucket.put(data.key(key), value))
            });
            put.expect("puts");
        };
        let sum = || sum_of(&db.begin_read().expect("a reader")).expect("a sum");
        put(b"one");
        let before = sum();
        assert_eq!(sum(), before);
        put(b"two");
        assert_ne!(sum(), before);
    }
}
