//! One random history: sessions on one database, from creation to the last comparison.
//!
//! Invariants:
//! 1. All choices follow from the seed and the reference, so that a history replays exactly; with
//!    the engine's own threads, all but the moment at which a buffered commit becomes visible.
//! 2. After each change of the clock the database has read it, so its time is known exactly.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bristlecone::io::sim::{START_MS, SimDisk};
use bristlecone::{Commit, Db, Durability, Options, Result};

use super::compare::{assert_same, assert_sound};
use super::held::{Held, Reader};
use super::interleave::{self, Interleaved};
use super::random::Random;
use super::reads::Reading;
use super::reference::{Now, Tree};
use super::settings::{compact_pages, log_bytes_min, replay_bytes, spill_bytes, stopped_after};
use super::shape::Shape;
use super::writes::Writing;

/// Where the database lives.
pub(crate) enum Place {
    Simulated(SimDisk),
    Real(tempfile::TempDir),
}

/// One committed state.
#[derive(Clone)]
pub(super) struct Version {
    pub(super) txn: u64,
    pub(super) root: Arc<Tree>,
    /// When its transaction began.
    pub(super) time_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Close,
    Drop,
    Kill,
}

/// A history under way.
pub(crate) struct History {
    random: Random,
    place: Place,
    options: Options,
    pub(crate) shape: Shape,
    /// States that readers may see: the oldest is published for sure, the newest is the tip.
    pub(super) versions: VecDeque<Version>,
    /// The database's clock.
    pub(super) now_ms: u64,
    /// The newest clock reading that a kill cannot take along.
    durable_ms: u64,
    checkpoints: u64,
    /// True when checkpoints start only when asked for, and commits come in the middle of them.
    interleaved: bool,
    /// Compare everything after every commit.
    pub(crate) careful: bool,
    pub(crate) operations: u64,
}

impl History {
    pub(crate) fn new(seed: u64, real: bool) -> History {
        let mut random = Random::new(seed);
        let page_bytes = random.pick(&[4 << 10, 4 << 10, 8 << 10, 32 << 10]);
        let big = random.percent(8);
        let shape = Shape {
            page_bytes,
            entries_max: if big { 3000 } else { random.pick(&[5, 40, 150]) },
            buckets_max: if big { 2 } else { random.pick(&[2, 4, 12]) },
            depth_max: if big { 2 } else { 5 },
            large_percent: if big { 2 } else { random.pick(&[0, 3, 20]) },
            value_pages_max: random.pick(&[2, 5, 12]),
            long_key_percent: random.pick(&[0, 2, 20]),
            build_max: if big { 6000 } else { 300 },
            simulated_clock: !real,
        };
        let interleaved = !real && random.percent(30);
        let options = Options::new()
            .page_bytes(page_bytes)
            .checkpoint_log_bytes(random.pick(&[2 << 10, 16 << 10, 200 << 10]))
            .checkpoint_memory_bytes(random.pick(&[64 << 10, 1 << 20, 1 << 30]))
            .memory_bytes_max(random.pick(&[256 << 10, 4 << 20, 1 << 30]))
            .wal_segment_bytes_max(random.pick(&[16 << 10, 64 << 10, 1 << 20]))
            .wal_piece_bytes(if big { 4 << 20 } else { random.pick(&[700, 5000, 4 << 20]) })
            .spill_bytes(spill_bytes(seed))
            .compact_pages(compact_pages(seed))
            .replay_bytes(replay_bytes(seed))
            .checkpoint_log_bytes_min(log_bytes_min(seed))
            .checkpoint_interval(Duration::from_millis(random.pick(&[1, 20, 60_000])))
            .buffered_delay(Duration::from_millis(random.pick(&[0, 1, 10])))
            .map(real && random.percent(80))
            .threads(real && random.percent(80))
            .sweep(false);
        let options = match interleaved {
            true => options
                .checkpoint_log_bytes(1 << 40)
                .checkpoint_log_bytes_min(1 << 40)
                .checkpoint_memory_bytes(1 << 40),
            false => options,
        };
        let place = if real {
            Place::Real(tempfile::tempdir().expect("a temporary directory"))
        } else {
            let disk = SimDisk::new(seed);
            disk.set_reserve_bytes_max(256 << 20);
            Place::Simulated(disk)
        };
        let now_ms = if real { 1_900_000_000_000 } else { START_MS };
        History {
            random,
            place,
            options,
            shape,
            versions: VecDeque::from([Version { txn: 0, root: Arc::default(), time_ms: now_ms }]),
            now_ms,
            durable_ms: now_ms,
            checkpoints: 0,
            interleaved,
            careful: false,
            operations: 0,
        }
    }

    /// Runs sessions until so many operations are done, and a last comparison.
    pub(crate) fn run(&mut self, operations: u64) -> Result<()> {
        while self.operations < operations {
            let session = 20 + self.random.below(2000) as u64;
            let until = operations.min(self.operations + session);
            let db = self.open()?;
            self.verify_all(&db)?;
            let end = self.session(&db, until)?;
            self.end(db, end)?;
        }
        let db = self.open()?;
        self.verify_all(&db)?;
        db.close()
    }

    fn open(&self) -> Result<Db> {
        match &self.place {
            Place::Simulated(disk) => {
                Db::open_on(Arc::new(Interleaved(disk.clone())), "/db", self.options.clone())
            }
            Place::Real(dir) => Db::open_with(dir.path().join("db"), self.options.clone()),
        }
    }

    fn end(&mut self, db: Db, end: End) -> Result<()> {
        match end {
            End::Close => {
                let snapshot = db.snapshot()?;
                let other = db.clone();
                db.close()?;
                assert!(other.begin_write().is_err(), "a closed database takes no writes");
                let published = self.find(snapshot.id().0);
                assert_same(&snapshot, &published, Now::at(self.now_ms))?;
                self.note_checkpoint(&other);
                drop(other);
                assert!(self.open().is_err_and(|error| error.is_locked()), "a snapshot is open");
                self.restart_clock();
            }
            End::Drop => {
                drop(db);
                // Whether that wrote a checkpoint is not told, so the clock goes on from now.
                self.durable_ms = self.now_ms;
                if let Place::Simulated(disk) = &self.place {
                    self.now_ms += self.random.below(1000) as u64;
                    disk.set_now_ms(self.now_ms);
                }
            }
            End::Kill => {
                if let Place::Simulated(disk) = &mut self.place {
                    let left = disk.fork();
                    disk.power_off();
                    *disk = left;
                }
                self.restart_clock();
                return Ok(());
            }
        }
        let tip = self.versions.pop_back().expect("there is a tip");
        self.versions = VecDeque::from([tip]);
        Ok(())
    }

    /// Sets the wall clock at random. The database's own goes on from what was durable.
    fn restart_clock(&mut self) {
        if let Place::Simulated(disk) = &self.place {
            let wall = self.durable_ms - 1000 + self.random.below(2000) as u64;
            disk.set_now_ms(wall);
            self.now_ms = wall.max(self.durable_ms);
        }
    }

    /// A checkpoint makes the clock durable.
    fn note_checkpoint(&mut self, db: &Db) {
        let checkpoints = db.stats().checkpoints;
        if checkpoints != self.checkpoints {
            (self.checkpoints, self.durable_ms) = (checkpoints, self.now_ms);
        }
    }

    /// Compares everything, after an open.
    fn verify_all(&mut self, db: &Db) -> Result<()> {
        let view = db.begin_read()?;
        let root = self.published(view.id().0);
        // A commit that nobody had seen may have been durable all the same, and its time with it.
        self.now_ms = self.now_ms.max(self.durable_ms);
        // What a kill took along never comes back.
        self.versions.truncate(1);
        assert_same(&view, &root, Now::at(self.now_ms))?;
        assert_sound(db)?;
        self.checkpoints = db.stats().checkpoints;
        Ok(())
    }

    /// The state of a transaction, which readers see from now on.
    fn published(&mut self, txn: u64) -> Arc<Tree> {
        while self.versions[0].txn < txn && self.versions.len() > 1 {
            self.versions.pop_front();
        }
        assert_eq!(self.versions[0].txn, txn, "a revision that was published, or may be by now");
        self.durable_ms = self.durable_ms.max(self.versions[0].time_ms);
        Arc::clone(&self.versions[0].root)
    }

    fn find(&self, txn: u64) -> Arc<Tree> {
        let found = self.versions.iter().find(|version| version.txn == txn);
        Arc::clone(&found.expect("a revision that may be published").root)
    }

    pub(super) fn all_published(&mut self) {
        let tip = self.versions.back().expect("there is a tip").txn;
        self.published(tip);
    }

    fn session(&mut self, db: &Db, until: u64) -> Result<End> {
        let mut held: Vec<Held<'_>> = Vec::new();
        let mut commits: Vec<Commit> = Vec::new();
        while self.operations < until {
            self.operations += 1;
            match self.random.weighted(&[50, 20, 5, 6, 4, 3, 5, 4, 2]) {
                0 => self.write(db, &mut commits)?,
                1 => self.read(db)?,
                2 if held.len() < 12 => held.push(self.hold(db)?),
                3 | 4 if !held.is_empty() => {
                    let at = self.random.below(held.len());
                    let Held { reader, root, now } = &held[at];
                    assert_same(reader.reads(), root, *now)?;
                    if self.random.percent(60) {
                        held.swap_remove(at);
                    }
                }
                5 => self.step_clock(db)?,
                6 => self.checkpoint(db, held.is_empty())?,
                7 => self.sync(db, &mut commits)?,
                8 => self.sweep(db)?,
                _ => {}
            }
            self.note_checkpoint(db);
        }
        for Held { reader, root, now } in held {
            assert_same(reader.reads(), &root, now)?;
        }
        let simulated = matches!(self.place, Place::Simulated(_));
        Ok(self.random.pick(&[
            End::Close,
            End::Drop,
            if simulated { End::Kill } else { End::Drop },
        ]))
    }

    /// One write transaction, with every way to end it.
    fn write(&mut self, db: &Db, commits: &mut Vec<Commit>) -> Result<()> {
        let mut txn = db.begin_write()?;
        let tip = self.versions.back().expect("there is a tip").clone();
        assert_eq!(txn.id().0, tip.txn + 1);
        let mut root = Arc::clone(&tip.root);
        for _ in 0..1 + self.random.below(4) {
            let mut writing = Writing {
                random: &mut self.random,
                shape: &self.shape,
                now: Now::at(self.now_ms),
                operations: &mut self.operations,
            };
            writing.visit_root(&mut txn, Arc::make_mut(&mut root))?;
        }
        if self.random.percent(2) || self.careful {
            assert_same(&txn, &root, Now::at(self.now_ms))?;
        }
        let id = match self.random.weighted(&[50, 20, 12, 9, 9]) {
            0 => {
                let id = txn.commit()?.0;
                // One that changed nothing has nothing to wait for.
                let changed = id != tip.txn;
                self.commit(tip, id, root);
                if changed {
                    self.all_published();
                }
                return self.look(db);
            }
            1 => {
                txn.set_durability(Durability::Buffered);
                txn.commit()?
            }
            2 => {
                let commit = txn.commit_async()?;
                let id = commit.id();
                // A future that is dropped commits all the same. One that changed nothing waits for
                // nothing, not even for the commit before it.
                if self.random.percent(70) && id.0 != tip.txn {
                    commits.push(commit);
                }
                id
            }
            3 => {
                txn.rollback();
                return self.look(db);
            }
            _ => {
                drop(txn);
                return self.look(db);
            }
        };
        self.commit(tip, id.0, root);
        self.look(db)
    }

    /// Notes a commit. One that changed nothing has the number of the one before.
    fn commit(&mut self, tip: Version, id: u64, root: Arc<Tree>) {
        if id == tip.txn {
            assert!(root == tip.root, "a transaction without operations changed something");
        } else {
            assert_eq!(id, tip.txn + 1);
            self.versions.push_back(Version { txn: id, root, time_ms: self.now_ms });
        }
    }

    /// In a careful run, compares what is published now.
    pub(super) fn look(&mut self, db: &Db) -> Result<()> {
        if self.careful {
            let view = db.begin_read()?;
            let root = self.published(view.id().0);
            assert_same(&view, &root, Now::at(self.now_ms))?;
        }
        Ok(())
    }

    /// Random reads in a fresh transaction.
    fn read(&mut self, db: &Db) -> Result<()> {
        let view = db.begin_read()?;
        let root = self.published(view.id().0);
        let now = Now::at(self.now_ms);
        for _ in 0..1 + self.random.below(6) {
            self.operations += 1;
            let names: Vec<(&[u8], &Arc<Tree>)> = root.visible_buckets(now).collect();
            if names.is_empty() {
                break;
            }
            let (name, mut tree) = self.random.pick(&names);
            let mut bucket = view.bucket(name)?;
            while self.random.percent(50) {
                let nested: Vec<(&[u8], &Arc<Tree>)> = tree.visible_buckets(now).collect();
                if nested.is_empty() {
                    break;
                }
                let (name, inner) = self.random.pick(&nested);
                (bucket, tree) = (bucket.bucket(name)?, inner);
            }
            let reading = Reading { bucket, tree, now };
            reading.step(&mut self.random, &self.shape)?;
        }
        Ok(())
    }

    /// Opens a reader to be kept. Comparing everything at once also makes it read the clock.
    fn hold<'db>(&mut self, db: &'db Db) -> Result<Held<'db>> {
        let (reader, txn) = if self.random.percent(50) {
            let snapshot = db.snapshot()?;
            let txn = snapshot.id().0;
            (Reader::Snapshot(snapshot), txn)
        } else {
            let view = db.begin_read()?;
            let txn = view.id().0;
            (Reader::Txn(view), txn)
        };
        let (root, now) = (self.published(txn), Now::at(self.now_ms));
        assert_same(reader.reads(), &root, now)?;
        Ok(Held { reader, root, now })
    }

    /// Moves the wall clock either way; the database's own never goes back.
    fn step_clock(&mut self, db: &Db) -> Result<()> {
        let Place::Simulated(disk) = &self.place else { return Ok(()) };
        let by = self.random.below(4000) as i64 - 1500;
        let wall = self.now_ms.saturating_add_signed(by);
        disk.set_now_ms(wall);
        self.now_ms = self.now_ms.max(wall);
        db.begin_write()?.rollback();
        Ok(())
    }

    fn checkpoint(&mut self, db: &Db, unread: bool) -> Result<()> {
        let tip = self.versions.back().expect("there is a tip").txn;
        let steps = self.random.percent(25).then(|| 1 + self.random.below(40));
        let act = || match steps {
            Some(steps) => {
                db.compact(&mut stopped_after(steps))?;
                db.checkpoint()
            }
            None => db.checkpoint(),
        };
        if self.interleaved {
            let during = db.clone();
            let callback = move |history: &mut History| {
                if history.random.percent(20) {
                    let commit = history.write(&during, &mut Vec::new());
                    commit.expect("a commit in the middle of a checkpoint");
                }
            };
            interleave::during(self, History::new(0, false), callback, act)?;
        } else {
            act()?;
        }
        if self.versions[0].txn < tip {
            self.published(tip);
        }
        if self.random.percent(10) || self.careful {
            assert_sound(db)?;
        }
        let stats = db.stats();
        if unread && matches!(self.place, Place::Simulated(_)) && !self.interleaved {
            assert_eq!(stats.memory_bytes, 0, "memory is free after a checkpoint: {stats:?}");
            assert_eq!(stats.log_bytes, 0, "{stats:?}");
        }
        Ok(())
    }

    /// Waits for one of the commits on their way, or for all.
    fn sync(&mut self, db: &Db, commits: &mut Vec<Commit>) -> Result<()> {
        if commits.is_empty() || self.random.percent(30) {
            db.sync()?;
            self.all_published();
            return self.look(db);
        }
        let commit = commits.swap_remove(self.random.below(commits.len()));
        let id = commit.id();
        let done = match self.random.percent(50) {
            true => commit.wait()?,
            false => block_on(commit)?,
        };
        assert_eq!(done, id);
        let view = db.begin_read()?;
        assert!(view.id() >= id, "a durable commit is visible");
        self.published(view.id().0);
        self.look(db)
    }
}

/// Polls until the commit is done, as the simplest of runtimes.
fn block_on(commit: Commit) -> Result<bristlecone::TxnId> {
    let mut commit = pin!(commit);
    loop {
        match commit.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::yield_now(),
        }
    }
}
