//! Histories cut by power failures, and what every disk that a cut may leave must hold.
//!
//! A history is a chain of lives. Each life opens what a cut left of the one before, so recovery is
//! part of its trace; then it writes, and at every operation of the trace the disks that a power
//! cut there may leave are recovered and compared. Some of these recoveries are traced and cut
//! themselves, to depth 3.
//!
//! What is required of each recovered disk:
//! * I1 its content is that of one commit, no older than the last that was acknowledged, no newer
//!   than the last that was begun; I2 whole; I3 with no pair that was deleted or had expired;
//!   I4 with the sequences of that commit;
//! * I5 `check` finds it sound, no page lost;
//! * I6 recovered again it is the same, also when that recovery is cut; so I8 a commit whose
//!   outcome was unknown stays as it was first found;
//! * I7 snapshots held over all this show what they first showed: checked as each life ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use bristlecone::io::Host;
use bristlecone::io::sim::errno::EIO;
use bristlecone::io::sim::{CrashImages, Fault, FaultPlan, OpKind, SimDisk, Trace};
use bristlecone::{Db, Durability, Options, Result, Snapshot, WriteTxn};

use super::compare::assert_same;
use super::expected::{Expected, Mark, Point, Progress, Version, verify};
use super::interleave::{self, Interleaved};
use super::ordering::Ordering;
use super::random::Random;
use super::reference::{Now, Tree};
use super::settings::{compact_pages, log_bytes_min, replay_bytes, spill_bytes, stopped_after};
use super::shape::Shape;
use super::tally::{PLACE, Tally};
use super::unwind::Guarded;
use super::writes::Writing;

/// How deep recoveries are cut.
pub(super) const DEPTH_MAX: u32 = 3;
/// The largest page memory: opening clears it.
pub(crate) const RESERVE_BYTES: usize = 2 << 20;

/// One history.
pub(crate) struct CrashHistory {
    pub(super) random: Random,
    pub(crate) shape: Shape,
    pub(crate) options: Options,
    pub(crate) disk: SimDisk,
    pub(super) versions: Vec<Version>,
    pub(super) acknowledged: u64,
    /// The revision that an earlier recovery of this very disk found.
    settled: Option<u64>,
    /// The latest time that the database may have seen.
    pub(super) latest_ms: u64,
    pub(crate) tally: Tally,
    /// Images to make at one operation.
    images_per_event: u64,
    /// Where a cut can leave no more disks than this, each of them is made.
    outcomes_max: u64,
    /// True when checkpoints start only when asked for, and commits come in the middle of them.
    pub(super) interleaved: bool,
    /// True when some of these commits come back to one key: see `returning`.
    pub(super) returns: bool,
    /// True when commits are archived now and then: see `archiving`.
    pub(super) archives: bool,
    /// Of a hundred other lives, those that end with an operation that fails, and which it may be.
    failing: (usize, &'static [OpKind]),
}

impl CrashHistory {
    pub(crate) fn new(seed: u64, images_per_event: u64) -> CrashHistory {
        let mut random = Random::new(seed);
        let shape = Shape {
            page_bytes: 4 << 10,
            entries_max: random.pick(&[4, 12, 40, 120]),
            buckets_max: random.pick(&[1, 2, 4]),
            depth_max: random.pick(&[1, 2, 4]),
            large_percent: random.pick(&[0, 5, 25]),
            value_pages_max: 3,
            long_key_percent: random.pick(&[0, 10]),
            build_max: 40,
            simulated_clock: true,
        };
        let interleaved = random.percent(40);
        let mut options = Options::new()
            .page_bytes(shape.page_bytes)
            .wal_segment_bytes_max(random.pick(&[16 << 10, 16 << 10, 32 << 10]))
            .wal_piece_bytes(random.pick(&[300, 3000, 4 << 20, 4 << 20]))
            .spill_bytes(spill_bytes(seed))
            .compact_pages(compact_pages(seed))
            .replay_bytes(replay_bytes(seed));
        if !interleaved {
            options = options
                .checkpoint_log_bytes(random.pick(&[1 << 10, 6 << 10, 40 << 10]))
                .checkpoint_log_bytes_min(log_bytes_min(seed))
                .checkpoint_memory_bytes(random.pick(&[40 << 10, 400 << 10]));
        }
        if seed % 8 == 5 {
            options = options.log_bytes_kept(1 << 40);
        }
        let disk = SimDisk::new(seed);
        disk.set_reserve_bytes_max(RESERVE_BYTES);
        let latest_ms = bristlecone::io::sim::START_MS;
        CrashHistory {
            random,
            shape,
            options,
            disk,
            versions: vec![Version { root: Arc::default(), time_ms: 0 }],
            acknowledged: 0,
            settled: None,
            latest_ms,
            tally: Tally::default(),
            images_per_event,
            outcomes_max: images_per_event,
            interleaved,
            returns: false,
            archives: seed % 8 == 5,
            failing: (15, &[OpKind::Sync, OpKind::WriteDurable, OpKind::SyncDir]),
        }
    }

    /// With long records, and lives that end because something could not be made durable: with an
    /// even seed the names of files.
    pub(crate) fn with_failures(seed: u64, images_per_event: u64) -> CrashHistory {
        let history = CrashHistory::plain(seed);
        let options = history.options.wal_piece_bytes(300);
        let kinds: &[OpKind] = match seed % 2 {
            0 => &[OpKind::SyncDir],
            _ => &[OpKind::Sync, OpKind::WriteDurable],
        };
        CrashHistory { failing: (80, kinds), images_per_event, options, ..history }
    }

    /// With checkpoints by size alone, and no commit in the middle of one.
    pub(crate) fn plain(seed: u64) -> CrashHistory {
        let mut history = CrashHistory::new(seed, 1);
        let log_bytes = history.random.pick(&[1 << 10, 6 << 10, 40 << 10]);
        let options = history.options.checkpoint_log_bytes(log_bytes);
        CrashHistory { interleaved: false, options, ..history }
    }

    /// For a script: plain sizes, checkpoints only when asked for, all outcomes of small changes.
    pub(crate) fn scripted(outcomes_max: u64, images_per_event: u64) -> CrashHistory {
        let options = Options::new().page_bytes(4 << 10).wal_segment_bytes_max(16 << 10);
        let shape = Shape { page_bytes: 4 << 10, ..CrashHistory::new(0, 0).shape };
        let history = CrashHistory::new(0, images_per_event);
        CrashHistory { options, shape, outcomes_max, interleaved: false, ..history }
    }

    /// Lives so many lives, each from a disk that a cut of the one before left.
    pub(crate) fn run(&mut self, lives: u64) -> Result<()> {
        for life in 0..lives {
            PLACE.set((life, 0, 0));
            self.tally.lives += 1;
            let before = self.point();
            let trace = self.live()?;
            self.tally.events += trace.events().len() as u64;
            let next_life = self.next_life(&trace);
            self.examine(&trace, before, 0, Some(next_life))?;
        }
        Ok(())
    }

    /// Opens the disk and works on it for a while; returns the trace of it all.
    fn live(&mut self) -> Result<Trace> {
        self.disk.start_trace();
        let db = Guarded::new(self.open()?);
        let (percent, kinds) = self.failing;
        let failing = !self.interleaved && self.random.percent(percent);
        if failing {
            let kind = self.random.pick(kinds);
            let plan = FaultPlan::new(kind, Fault::Tear(EIO));
            self.disk.fail(plan.after(self.random.below(8) as u64));
        }
        match self.work(&db) {
            Ok(()) => {}
            Err(error) if failing => {
                assert!(!error.is_full() && !error.is_corrupt(), "after a failed sync: {error}");
            }
            Err(error) => return Err(error),
        }
        if failing {
            self.tally.failed_syncs += self.disk.stats().faults;
            self.disk.clear_faults();
            let left = self.disk.fork();
            self.disk.power_off();
            self.recover_for_good(&left)?;
        } else if self.random.percent(30) {
            let disk = self.disk.clone();
            db.into_inner().close()?;
            self.acknowledge_all(&disk);
        } else {
            self.disk.power_off();
        }
        Ok(self.disk.take_trace().expect("started above"))
    }

    /// Opens the disk and checks what it holds.
    pub(super) fn open(&mut self) -> Result<Db> {
        let host = Arc::new(Interleaved(self.disk.clone()));
        let db = Guarded::new(Db::open_on(host, "/db", self.options.clone())?);
        let revision = db.begin_read()?.id().0;
        let expected = Expected {
            versions: &self.versions,
            acknowledged: self.acknowledged,
            begun: self.versions.len() as u64 - 1,
            settled: self.settled,
            latest_ms: self.latest_ms.max(self.disk.now_ms()),
        };
        verify(&db, &self.disk, &expected)?;
        // A cut may have taken the last clock reading along; from here on it is known again.
        self.latest_ms = expected.latest_ms;
        self.disk.set_now_ms(self.latest_ms);
        self.observe(&db)?;
        self.versions.truncate(revision as usize + 1);
        self.acknowledged = revision;
        self.disk.mark(Mark::Opened.tag());
        self.disk.mark(Mark::Acknowledged(revision).tag());
        Ok(db.into_inner())
    }

    /// Random transactions, checkpoints, clock steps and snapshots.
    pub(super) fn work(&mut self, db: &Db) -> Result<()> {
        let disk = self.disk.clone();
        let mut held: BTreeMap<u64, (Snapshot, Arc<Tree>, u64)> = BTreeMap::new();
        for step in 0..5 + self.random.below(25) as u64 {
            let checkpoints = if self.interleaved { 20 } else { 8 };
            let archives = if self.archives { 6 } else { 0 };
            match self.random.weighted(&[60, checkpoints, 6, 10, 5, 5, 4, archives]) {
                0 => self.write(db)?,
                1 if self.returns => self.checkpoints_with_returns(db)?,
                1 => self.checkpoint(db, held.is_empty())?,
                2 => {
                    db.sync()?;
                    self.acknowledge_all(&disk);
                }
                3 => {
                    let snapshot = db.snapshot()?;
                    let root = Arc::clone(&self.versions[snapshot.id().0 as usize].root);
                    let now_ms = self.observe(db)?;
                    assert_same(&snapshot, &root, Now::at(now_ms))?;
                    held.insert(step, (snapshot, root, now_ms));
                }
                4 => {
                    held.pop_first();
                }
                6 => self.sweep(db)?,
                7 => self.add_to_archive(db)?,
                _ => {
                    disk.advance_ms(self.random.below(4000) as i64 - 1500);
                    self.observe(db)?;
                }
            }
        }
        for (snapshot, root, now_ms) in held.values() {
            assert_same(snapshot, root, Now::at(*now_ms))?;
        }
        Ok(())
    }

    /// Writes a checkpoint, perhaps with commits in the middle of it.
    fn checkpoint(&mut self, db: &Db, unread: bool) -> Result<()> {
        let tip = self.versions.len() as u64 - 1;
        let steps = self.random.percent(30).then(|| 1 + self.random.below(12));
        let act = || match steps {
            Some(steps) => {
                db.compact(&mut stopped_after(steps))?;
                db.checkpoint()
            }
            None => db.checkpoint(),
        };
        if self.interleaved {
            let stand_in = CrashHistory::new(0, 0);
            let during = Guarded::new(db.clone());
            let callback = move |history: &mut CrashHistory| {
                if history.random.percent(30) {
                    history.write(&during).expect("a commit in the middle of a checkpoint");
                }
            };
            interleave::during(self, stand_in, callback, act)?;
        } else {
            act()?;
            let memory_bytes = db.stats().memory_bytes;
            assert!(!unread || memory_bytes == 0, "{memory_bytes} bytes of memory are lost");
        }
        // What was committed before the checkpoint began is durable, whatever came since.
        self.acknowledge(tip);
        Ok(())
    }

    /// Makes the database read its clock, and tells what it read.
    pub(super) fn observe(&mut self, db: &Db) -> Result<u64> {
        self.latest_ms = self.now_ms(&self.disk);
        self.disk.mark(Mark::Clock(self.latest_ms).tag());
        db.begin_write()?.rollback();
        Ok(self.latest_ms)
    }

    /// The database's clock, which never goes back while it is open.
    fn now_ms(&self, disk: &SimDisk) -> u64 {
        disk.now_ms().max(self.latest_ms)
    }

    /// Notes that commits up to this one are durable.
    pub(super) fn acknowledge(&mut self, txn: u64) {
        self.acknowledged = self.acknowledged.max(txn);
        self.disk.mark(Mark::Acknowledged(self.acknowledged).tag());
    }

    pub(super) fn acknowledge_all(&mut self, disk: &SimDisk) {
        self.acknowledged = self.versions.len() as u64 - 1;
        disk.mark(Mark::Acknowledged(self.acknowledged).tag());
    }

    pub(super) fn write(&mut self, db: &Db) -> Result<()> {
        let now_ms = self.observe(db)?;
        let mut txn = Guarded::new(db.begin_write()?);
        let id = txn.id().0;
        assert_eq!(id, self.versions.len() as u64, "numbers of transactions have no gap");
        let mut root = Arc::clone(&self.versions.last().expect("never empty").root);
        for _ in 0..1 + self.random.below(2) {
            let mut writing = Writing {
                random: &mut self.random,
                shape: &self.shape,
                now: Now::at(now_ms),
                operations: &mut self.tally.commits,
            };
            writing.visit_root(&mut txn, Arc::make_mut(&mut root))?;
        }
        if self.random.percent(12) {
            txn.into_inner().rollback();
            return Ok(());
        }
        let buffered = self.random.percent(35);
        self.commit(txn.into_inner(), Version { root, time_ms: now_ms }, buffered)
    }

    /// Notes that a transaction is about to be committed that leads to this version.
    pub(super) fn begin_version(&mut self, version: Version) {
        self.versions.push(version);
        self.disk.mark(Mark::Begun(self.versions.len() as u64 - 1).tag());
    }

    /// Commits a transaction that leads to this version.
    pub(super) fn commit(
        &mut self,
        mut txn: WriteTxn,
        version: Version,
        buffered: bool,
    ) -> Result<()> {
        let (disk, id) = (self.disk.clone(), txn.id().0);
        if buffered {
            txn.set_durability(Durability::Buffered);
        }
        self.begin_version(version);
        match txn.commit() {
            Ok(done) if done.0 == id && buffered => {}
            Ok(done) if done.0 == id => self.acknowledge_all(&disk),
            // Nothing was changed.
            Ok(_) => drop(self.versions.pop()),
            Err(error) => {
                if !error.is_outcome_unknown() {
                    self.versions.pop();
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Panics unless the database shows a version that it may show.
    pub(crate) fn assert_readable(&mut self, db: &Db) -> Result<()> {
        let view = db.begin_read()?;
        let version = &self.versions[view.id().0 as usize];
        assert!(view.id().0 >= self.acknowledged);
        assert_same(&view, &version.root, Now::at(self.latest_ms))
    }

    /// Where the history stands.
    pub(super) fn point(&self) -> Point {
        let (versions, acknowledged) = (self.versions.clone(), self.acknowledged);
        Point { versions, acknowledged, latest_ms: self.latest_ms, settled: self.settled }
    }

    /// Recovers what a cut at each operation may leave, from the operation `from` on. Stops where
    /// the next life begins, and begins it.
    pub(super) fn examine(
        &mut self,
        trace: &Trace,
        before: Point,
        from: usize,
        next_life: Option<usize>,
    ) -> Result<()> {
        let new_versions = std::mem::take(&mut self.versions);
        let mut now = Progress { begun: before.versions.len() as u64 - 1, opened: false };
        let Point { versions: old_versions, mut acknowledged, mut latest_ms, settled } = before;
        let mut images = CrashImages::new(trace);
        let mut ordering = Ordering::new(&images, self.shape.page_bytes);
        while let Some(event) = images.advance() {
            PLACE.set((PLACE.get().0, event.index, 0));
            ordering.check(event, &images);
            latest_ms = latest_ms.max(event.now_ms);
            let mark = event.mark().map(Mark::of_tag);
            match mark {
                Some(Mark::Begun(txn)) => now.begun = txn,
                Some(Mark::Acknowledged(txn)) => {
                    acknowledged = txn;
                    ordering.check_acknowledged(&images);
                }
                Some(Mark::Clock(now_ms)) => latest_ms = latest_ms.max(now_ms),
                Some(Mark::Opened) => now.opened = true,
                None => {}
            }
            let versions = if now.opened { &new_versions } else { &old_versions };
            let begun = now.begun.min(versions.len() as u64 - 1);
            let settled = if now.opened { None } else { settled };
            let expected = Expected { versions, acknowledged, begun, settled, latest_ms };
            // A mark alone leaves nothing new, unless it says that more must be kept.
            let is_new = matches!(mark, None | Some(Mark::Acknowledged(_) | Mark::Opened));
            if is_new && event.index >= from {
                self.examine_event(&images, &expected)?;
            }
            if Some(event.index) == next_life {
                return self.begin_life(&images, &expected);
            }
        }
        self.versions = new_versions;
        Ok(())
    }

    /// Makes the disk that a cut or a kill here leaves the one of the next life.
    fn begin_life(&mut self, images: &CrashImages<'_>, expected: &Expected<'_>) -> Result<()> {
        let killed = self.random.percent(25);
        let seed = self.random.number();
        self.disk = if killed { images.killed() } else { images.image(seed) };
        // What a recovery of this disk finds is what every later one must find.
        let found = if killed { None } else { Some(self.disk.fork()) };
        self.settled = found.map(|disk| self.recover(disk, expected, 1)).transpose()?;
        self.versions = expected.versions.to_vec();
        (self.acknowledged, self.latest_ms) = (expected.acknowledged, expected.latest_ms);
        self.disk.advance_ms(self.random.below(3000) as i64 - 1500);
        Ok(())
    }

    /// The operation at which the next life begins: often while this one was recovering, or in the
    /// middle of a meta page.
    fn next_life(&mut self, trace: &Trace) -> usize {
        let opened = trace.events().iter().position(|event| event.mark() == Some(2));
        let (count, opened) = (trace.events().len(), opened.unwrap_or(0));
        let metas: Vec<usize> = trace
            .events()
            .iter()
            .filter(|event| event.path.ends_with("data"))
            .filter(|event| event.written().is_some_and(|range| range.start < self.metas_end()))
            .map(|event| event.index)
            .collect();
        match self.random.below(5) {
            0 => self.random.below(opened + 1),
            1 => count - 1,
            2 if !metas.is_empty() => metas[self.random.below(metas.len())],
            _ => opened + self.random.below(count - opened),
        }
    }

    /// Where the pages behind the two meta pages begin.
    fn metas_end(&self) -> u64 {
        2 * self.shape.page_bytes as u64
    }

    fn examine_event(&mut self, images: &CrashImages<'_>, expected: &Expected<'_>) -> Result<()> {
        if images.outcomes() <= self.outcomes_max {
            for image in images.all(8).expect("they are few") {
                self.recover(image, expected, 0)?;
            }
            return Ok(());
        }
        for _ in 0..self.images_per_event {
            let seed = self.random.number();
            self.recover(images.image(seed), expected, 0)?;
        }
        if self.random.percent(10) {
            self.recover(images.killed(), &Expected { settled: None, ..*expected }, 1)?;
        }
        Ok(())
    }
}
