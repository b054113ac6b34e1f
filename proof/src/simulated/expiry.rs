//! Clocks that jump, ten years either way, with kills and power cuts between.
//!
//! Goal: a record is shown until its time and never after it, whatever the wall clock does. The
//! database's time is the latest of the wall clock's and that of its last durable commit: it goes
//! on, never back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bristlecone::io::Host;
use bristlecone::io::sim::{START_MS, SimDisk};
use bristlecone::{Db, Options, Result};

use crate::record::Evidence;
use crate::rig::{Counts, Plan, seeds};
use crate::simulation::random::Random;

/// Ten years.
const JUMP_MS: u64 = 10 * 365 * 24 * 3_600_000;
const STEPS: usize = 60;
const BUCKET: &str = "leases";
/// Larger than the simulation needs would make opening slow.
const RESERVE_BYTES: usize = 2 << 20;

/// Counts each record that was given a deadline as a case.
pub(crate) fn run(plan: &Plan) -> Evidence {
    seeds(plan, |seed, counts| {
        let mut schedule = Schedule::new(seed);
        schedule.run(counts).map_err(|error| error.to_string())
    })
}

struct Schedule {
    random: Random,
    disk: SimDisk,
    /// Deadlines of the records that were committed, by key.
    deadlines: BTreeMap<Vec<u8>, u64>,
    /// The database's time, and what of it no crash can take back.
    now_ms: u64,
    durable_ms: u64,
    checkpoints: u64,
}

impl Schedule {
    fn new(seed: u64) -> Schedule {
        let disk = SimDisk::new(seed);
        disk.set_reserve_bytes_max(RESERVE_BYTES);
        Schedule {
            random: Random::new(seed),
            disk,
            deadlines: BTreeMap::new(),
            now_ms: START_MS,
            // The first meta pages keep the time of the creation.
            durable_ms: START_MS,
            checkpoints: 0,
        }
    }

    fn run(&mut self, counts: &Counts) -> Result<()> {
        let mut db = self.open()?;
        for _ in 0..STEPS {
            match self.random.weighted(&[50, 25, 5, 20]) {
                0 => {
                    self.put(&db)?;
                    counts.cases(1);
                }
                1 => self.jump(&db)?,
                2 => db.checkpoint()?,
                _ => {
                    let left = match self.random.percent(50) {
                        true => self.disk.fork(),
                        false => self.disk.crash(self.random.number()),
                    };
                    self.disk.power_off();
                    drop(db);
                    self.disk = left;
                    db = self.open()?;
                    counts.add("restarts", 1);
                }
            }
            self.note_checkpoint(&db);
            let (shown, hidden) = self.verify(&db)?;
            counts.add("records seen", shown);
            counts.add("records hidden", hidden);
        }
        self.disk.power_off();
        Ok(())
    }

    fn open(&mut self) -> Result<Db> {
        self.now_ms = self.durable_ms.max(self.disk.now_ms());
        let options = Options::new().page_bytes(4 << 10).wal_segment_bytes_max(16 << 10);
        let db = Db::open_on(Arc::new(self.disk.clone()), "/db", options)?;
        db.begin_write()?.rollback();
        self.note_checkpoint(&db);
        Ok(db)
    }

    /// Checkpoints come by themselves too, and each keeps the time.
    fn note_checkpoint(&mut self, db: &Db) {
        let checkpoints = db.stats().checkpoints;
        if checkpoints > self.checkpoints {
            self.durable_ms = self.now_ms;
        }
        self.checkpoints = checkpoints;
    }

    /// Gives some record a new deadline: near, far or over.
    fn put(&mut self, db: &Db) -> Result<()> {
        let key = format!("lease-{}", self.random.below(12)).into_bytes();
        let far = self.random.percent(50);
        let span = if far { JUMP_MS } else { 10_000 };
        let deadline = self.now_ms - span / 4 + self.random.below(span as usize) as u64;
        db.update(|txn| {
            let mut bucket = txn.create_bucket_if_missing(BUCKET)?;
            bucket.put_until(&key, &key, UNIX_EPOCH + Duration::from_millis(deadline))
        })?;
        self.durable_ms = self.now_ms;
        self.deadlines.insert(key, deadline);
        Ok(())
    }

    /// Sets the wall clock.
    fn jump(&mut self, db: &Db) -> Result<()> {
        let span = self.random.pick(&[20_000, JUMP_MS]);
        let wall = START_MS - span + self.random.below(2 * span as usize) as u64;
        self.disk.set_now_ms(wall);
        self.now_ms = self.now_ms.max(wall);
        db.begin_write()?.rollback();
        Ok(())
    }

    /// Panics unless just the records whose time has not come are shown.
    fn verify(&self, db: &Db) -> Result<(u64, u64)> {
        let view = db.begin_read()?;
        let Ok(bucket) = view.bucket(BUCKET) else {
            assert!(self.deadlines.is_empty(), "the bucket is lost");
            return Ok((0, 0));
        };
        let mut shown = 0;
        for (key, &deadline) in &self.deadlines {
            let found = bucket.get(key)?.is_some();
            let name = key.escape_ascii();
            let left = i128::from(deadline) - i128::from(self.now_ms);
            assert_eq!(found, deadline > self.now_ms, "{name}, {left} ms before its time");
            shown += u64::from(found);
        }
        assert_eq!(bucket.iter()?.count() as u64, shown, "records in a scan");
        Ok((shown, self.deadlines.len() as u64 - shown))
    }
}
