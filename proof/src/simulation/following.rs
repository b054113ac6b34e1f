//! A follower that repeats what a history commits, and is the same after each transaction.
//!
//! Both are killed and cut at random. What is required:
//! * the feed tells each transaction once, in order, whatever happened meanwhile, and goes on after
//!   a restart of either where the follower is;
//! * what it told is durable: no cut of the first database brings it behind the follower;
//! * after each transaction the follower has the content of that version, by its clock.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bristlecone::io::sim::SimDisk;
use bristlecone::{
    Backup, BackupOptions, BackupProgress, Db, Durability, Options, RestoreOptions, Result,
};

use super::compare::{assert_same, assert_sound};
use super::crash::{CrashHistory, RESERVE_BYTES};
use super::reference::Now;
use super::unwind::Guarded;

/// Page size of the first database, and of copies of it.
const PAGE_BYTES: usize = 4 << 10;
/// Lives of the first database in a history.
const LIVES: usize = 6;

/// The follower, and its disk.
struct Follower {
    db: Guarded<Db>,
    disk: SimDisk,
    options: Options,
}

impl Follower {
    fn new(seed: u64, page_bytes: usize) -> Result<Follower> {
        let disk = SimDisk::new(seed);
        disk.set_reserve_bytes_max(RESERVE_BYTES);
        // What time it is, it has from the transactions alone.
        disk.set_now_ms(1);
        let options = Options::new().page_bytes(page_bytes).wal_segment_bytes_max(16 << 10);
        let options = options.sweep(false).checkpoint_log_bytes(40 << 10);
        let db = Guarded::new(Db::open_on(Arc::new(disk.clone()), "/db", options.clone())?);
        Ok(Follower { db, disk, options })
    }

    /// Begins anew with a copy of all there is.
    fn copy(&mut self, db: &Db, seed: u64) -> Result<()> {
        let mut go_on = |_: BackupProgress| ControlFlow::Continue(());
        let mut bytes = Vec::new();
        db.backup(&mut bytes, &BackupOptions::new(), &mut go_on)?;
        let disk = SimDisk::new(seed);
        disk.set_reserve_bytes_max(RESERVE_BYTES);
        disk.set_now_ms(1);
        Backup::from_reader(&bytes[..]).restore_on(
            Arc::new(disk.clone()),
            "/db",
            &RestoreOptions::new(),
            self.options.clone(),
            &mut go_on,
        )?;
        self.options = self.options.clone().page_bytes(PAGE_BYTES);
        self.restart(disk)
    }

    /// Goes on with what a kill or a cut leaves.
    fn restart(&mut self, left: SimDisk) -> Result<()> {
        self.disk.power_off();
        self.disk = left;
        self.disk.set_now_ms(1);
        let host = Arc::new(self.disk.clone());
        self.db = Guarded::new(Db::open_on(host, "/db", self.options.clone())?);
        Ok(())
    }
}

impl CrashHistory {
    /// Lives with a follower; tells how many transactions it repeated.
    pub(crate) fn follow(&mut self) -> Result<u64> {
        // Where little is kept it comes too late now and then, and begins anew with a copy.
        let kept = self.random.pick(&[0, 40 << 10, 200 << 10, 1 << 40]);
        self.options = self.options.clone().log_bytes_kept(kept);
        self.archives = false;
        let page_bytes = self.random.pick(&[4 << 10, 8 << 10]);
        let mut follower = Follower::new(self.random.number(), page_bytes)?;
        let mut repeated = 0;
        for _ in 0..LIVES {
            let db = Guarded::new(self.open()?);
            let behind = follower.db.begin_read()?.id();
            let ahead = db.begin_read()?.id();
            assert!(behind <= ahead, "transaction {behind} was told and lost");
            for _ in 0..3 {
                self.work(&db)?;
                repeated += self.catch_up(&db, &mut follower)?;
            }
            let left = match self.random.percent(50) {
                true => self.disk.fork(),
                false => self.disk.crash(self.random.number()),
            };
            self.disk.power_off();
            drop(db);
            self.disk = left;
        }
        assert_sound(&follower.db)?;
        Ok(repeated)
    }

    /// Repeats what there is, with restarts of the follower between.
    fn catch_up(&mut self, db: &Db, follower: &mut Follower) -> Result<u64> {
        let mut repeated = 0;
        'again: loop {
            let after = follower.db.begin_read()?.id();
            let mut changes = match db.changes(after) {
                Err(error) if error.is_compacted() => {
                    follower.copy(db, self.random.number())?;
                    continue;
                }
                changes => changes?,
            };
            while let Some(transaction) = changes.try_next()? {
                let durability = match self.random.percent(50) {
                    true => Durability::Sync,
                    false => Durability::Buffered,
                };
                follower.db.repeat(&transaction, durability)?;
                repeated += 1;
                if self.random.percent(50) {
                    follower.db.sync()?;
                    self.assert_follows(&follower.db)?;
                }
                if self.random.percent(6) {
                    let left = match self.random.percent(50) {
                        true => follower.disk.fork(),
                        false => follower.disk.crash(self.random.number()),
                    };
                    follower.restart(left)?;
                    continue 'again;
                }
            }
            follower.db.sync()?;
            self.assert_follows(&follower.db)?;
            assert_eq!(follower.db.begin_read()?.id(), db.begin_read()?.id());
            return Ok(repeated);
        }
    }

    /// Panics unless the follower shows the version of its last transaction, at its time.
    fn assert_follows(&self, follower: &Db) -> Result<()> {
        let view = follower.begin_read()?;
        let version = &self.versions[view.id().0 as usize];
        // A copy has the time at which it was made.
        let now = view.now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
        assert!(now >= version.time_ms);
        assert_same(&view, &version.root, Now::at(now))
    }
}
