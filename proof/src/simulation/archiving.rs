//! A history that is archived, and points of it that are restored.
//!
//! The database is killed and cut at random. What is required:
//! * the archive has no gap, and no cut brings the database behind it;
//! * each point that is restored has the content of its transaction, by the clock of that time.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bristlecone::io::sim::SimDisk;
use bristlecone::{
    Archive, Backup, BackupOptions, BackupProgress, Db, Options, RestoreOptions, RestorePoint,
    Result, TxnId,
};

use super::compare::{assert_same, assert_sound};
use super::crash::CrashHistory;
use super::expected::{Expected, Version};
use super::reference::Now;
use super::unwind::Guarded;

const ARCHIVE: &str = "/archive";

fn go_on() -> impl FnMut(BackupProgress) -> ControlFlow<()> {
    |_| ControlFlow::Continue(())
}

impl CrashHistory {
    /// Lives until there are so many transactions, all archived, and restores so many points.
    pub(crate) fn restore_points(&mut self, transactions: usize, points: u64) -> Result<u64> {
        self.options = self.options.clone().log_bytes_kept(1 << 40);
        self.archives = true;
        while self.versions.len() <= transactions {
            let db = Guarded::new(self.open()?);
            let archived = self.archive()?.newest().unwrap_or(TxnId(0));
            assert!(archived <= db.begin_read()?.id(), "{archived} was archived and lost");
            for _ in 0..1 + self.random.below(20) {
                self.work(&db)?;
                if self.random.percent(15) {
                    self.add_to_archive(&db)?;
                }
            }
            let left = match self.random.percent(50) {
                true => self.disk.fork(),
                false => self.disk.crash(self.random.number()),
            };
            self.disk.power_off();
            drop(db);
            self.disk = left;
        }
        let db = Guarded::new(self.open()?);
        self.add_to_archive(&db)?;
        drop(db);
        let first = self.archive()?.full_backups().first().expect("it was archived").0;
        for _ in 0..points {
            let count = self.versions.len() as u64 - first;
            let point = first + self.random.below(count as usize) as u64;
            self.restore_point(point)?;
        }
        Ok(points)
    }

    fn archive(&self) -> Result<Archive> {
        Archive::open_on(Arc::new(self.disk.clone()), ARCHIVE)
    }

    /// Adds what is committed to the archive, which is on the same disk.
    pub(super) fn add_to_archive(&mut self, db: &Db) -> Result<()> {
        let options = BackupOptions::new();
        db.sync()?;
        if self.archive()?.newest().is_some() && self.random.percent(5) {
            // There may be one of this revision already.
            match db.archive_full(ARCHIVE, &options, &mut go_on()) {
                Err(error) if error.to_string().starts_with("expected a new file") => {}
                done => drop(done?),
            }
        }
        let report = db.archive(ARCHIVE, &options, &mut go_on())?;
        assert!(!report.has_gap, "{report:?}");
        assert_eq!(report.revision, db.begin_read()?.id());
        let disk = self.disk.clone();
        self.acknowledge_all(&disk);
        Ok(())
    }

    /// Panics unless the archive on a recovered disk is whole, and the database not behind it.
    pub(super) fn assert_archived(
        &mut self,
        disk: &SimDisk,
        revision: u64,
        expected: &Expected<'_>,
    ) -> Result<()> {
        let archive = Archive::open_on(Arc::new(disk.clone()), ARCHIVE)?;
        let Some(newest) = archive.newest() else { return Ok(()) };
        assert!(newest.0 <= revision, "{newest} was archived, and {revision} is there");
        for (path, _) in disk.list_all().iter().filter(|(path, _)| path.starts_with(ARCHIVE)) {
            if path.extension().is_some_and(|extension| extension == "bcb") {
                Backup::open_on(disk, path)?.verify(&mut go_on())?;
            }
        }
        if self.random.percent(10) {
            let oldest = archive.full_backups()[0].0;
            let point = oldest + self.random.below((newest.0 - oldest + 1) as usize) as u64;
            restore_point(disk, point, &expected.versions[point as usize])?;
        }
        Ok(())
    }

    fn restore_point(&mut self, point: u64) -> Result<()> {
        restore_point(&self.disk, point, &self.versions[point as usize])
    }
}

/// Restores a point from the archive on a disk, and compares it.
fn restore_point(disk: &SimDisk, point: u64, version: &Version) -> Result<()> {
    let disk = disk.fork();
    // What time it is, the transactions tell.
    disk.set_now_ms(1);
    disk.set_reserve_bytes_max(64 << 20);
    let archive = Archive::open_on(Arc::new(disk.clone()), ARCHIVE)?;
    let options = Options::new().page_bytes(4 << 10).threads(false).sweep(false);
    let (into, restore) = (Path::new("/restored"), RestoreOptions::new());
    let wanted = RestorePoint::Transaction(TxnId(point));
    let report = archive.restore_with(wanted, into, &restore, options.clone(), &mut go_on())?;
    assert_eq!(report.revision, TxnId(point));
    let db = Guarded::new(Db::open_on(Arc::new(disk.clone()), into, options)?);
    let view = db.begin_read()?;
    let now = view.now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64;
    assert!(report.transactions == 0 || now >= version.time_ms);
    assert_same(&view, &version.root, Now::at(now))?;
    assert_sound(&db)
}
