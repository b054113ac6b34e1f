//! Disks that lie: writes that are reported as done and go nowhere or elsewhere, and syncs that are
//! reported as done and did nothing.
//!
//! Nobody can keep a commit on such a disk. What is required: what is shown is right, or it is an
//! error that says what is damaged; and what is opened is some committed state.

use std::ops::ControlFlow;
use std::sync::Arc;

use bristlecone::Db;
use bristlecone::io::Host;
use bristlecone::io::sim::{Fault, FaultPlan, OpKind, SimDisk};

use super::compare::{Shown, assert_agrees};
use super::crash::CrashHistory;
use super::reference::Now;
use super::unwind::Guarded;

/// Disks made of each: what a kill leaves, and some that a power cut may leave.
const CUTS: u64 = 3;

/// What came of a lie.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Lied {
    /// Whether the fault was met.
    pub(crate) met: u64,
    /// Databases read afterwards.
    pub(crate) databases: u64,
    /// Of those, ones that reported damage, at the open or in a read.
    pub(crate) damaged: u64,
    /// Of those, ones that opened at a revision older than one that was acknowledged.
    pub(crate) rolled_back: u64,
}

impl CrashHistory {
    /// A life on a good disk, and one with a lie in it.
    pub(crate) fn lie(&mut self) -> bristlecone::Result<Lied> {
        let mut lied = Lied::default();
        let db = Guarded::new(self.open()?);
        self.work(&db)?;
        let fault = self.random.pick(&[Fault::LoseWrite, Fault::Misdirect, Fault::Lie]);
        let plan = FaultPlan::new(OpKind::Any, fault).after(self.random.below(20) as u64);
        let forever = fault == Fault::Lie && self.random.percent(50);
        self.disk.fail(if forever { plan.forever() } else { plan });
        if let Err(error) = self.work(&db) {
            assert!(error.is_corrupt() || error.is_poisoned(), "after {fault:?}: {error}");
        }
        lied.met = self.disk.stats().faults.min(1);
        self.disk.clear_faults();
        self.look(&db, &self.disk.clone(), &mut lied)?;
        let mut left = vec![self.disk.fork()];
        left.extend((0..CUTS).map(|_| self.disk.crash(self.random.number())));
        self.disk.power_off();
        drop(db);
        for disk in left {
            let opened = Db::open_on(Arc::new(disk.clone()), "/db", self.options.clone());
            match opened {
                Ok(db) => self.look(&Guarded::new(db), &disk, &mut lied)?,
                Err(error) => {
                    let typed = error.is_corrupt() || is_not_a_database(&error);
                    assert!(typed, "expected damage after {fault:?}, found {error}");
                    lied.databases += 1;
                    lied.damaged += 1;
                }
            }
            disk.power_off();
        }
        Ok(lied)
    }

    fn look(&self, db: &Db, disk: &SimDisk, lied: &mut Lied) -> bristlecone::Result<()> {
        let view = db.begin_read()?;
        let revision = view.id().0 as usize;
        let version = self.versions.get(revision).expect("no more revisions than were begun");
        let latest = self.latest_ms.max(disk.now_ms());
        let now = Now { earliest: version.time_ms.max(disk.now_ms()).min(latest), latest };
        let Shown { damaged, .. } = assert_agrees(&view, &version.root, now);
        let sound =
            db.check(&mut |_| ControlFlow::Continue(())).is_ok_and(|report| report.is_sound());
        assert!(damaged == 0 || !sound, "a read found damage that the check did not find");
        lied.databases += 1;
        lied.damaged += u64::from(!sound);
        lied.rolled_back += u64::from((revision as u64) < self.acknowledged);
        Ok(())
    }
}

/// True where the files that make a database were never written.
fn is_not_a_database(error: &bristlecone::Error) -> bool {
    matches!(error.kind(), bristlecone::ErrorKind::NotADatabase { .. })
}
