//! Recoveries of disks that a cut or a kill left: compared, repeated, cut again, and gone on with.

use std::sync::Arc;

use bristlecone::io::Host;
use bristlecone::io::sim::{CrashImages, SimDisk};
use bristlecone::{Db, Result};

use super::compare::{assert_same, assert_sound};
use super::crash::{CrashHistory, DEPTH_MAX};
use super::expected::{Expected, Point, verify};
use super::reference::{Entry, Now, Tree};
use super::tally::PLACE;
use super::unwind::Guarded;

impl CrashHistory {
    /// Recovers a disk that is left of the present one, as often as it takes to see that what is
    /// found stays; returns its revision.
    pub(crate) fn recover_left(&mut self, disk: SimDisk) -> Result<u64> {
        let Point { versions, acknowledged, latest_ms, settled } = self.point();
        let begun = versions.len() as u64 - 1;
        let versions = &versions;
        let expected = Expected { versions, acknowledged, begun, settled, latest_ms };
        let again = disk.fork();
        let settled = Some(self.recover(disk, &expected, DEPTH_MAX)?);
        self.recover(again, &Expected { settled, ..expected }, DEPTH_MAX)
    }

    /// Recovers a disk that a kill left, and what power cuts leave of it then: the same revision.
    pub(super) fn recover_for_good(&mut self, left: &SimDisk) -> Result<()> {
        let Point { versions, acknowledged, latest_ms, .. } = self.point();
        let begun = versions.len() as u64 - 1;
        let expected =
            Expected { versions: &versions, acknowledged, begun, settled: None, latest_ms };
        let db = Guarded::new(Db::open_on(Arc::new(left.clone()), "/db", self.options.clone())?);
        let settled = Some(verify(&db, left, &expected)?);
        let (kept, cut) = (left.fork(), left.crash(self.random.number()));
        left.power_off();
        drop(db);
        for disk in [kept, cut] {
            self.recover(disk, &Expected { settled, ..expected }, DEPTH_MAX)?;
        }
        Ok(())
    }

    /// Recovers a disk and compares it; returns the revision found.
    pub(super) fn recover(
        &mut self,
        disk: SimDisk,
        expected: &Expected<'_>,
        depth: u32,
    ) -> Result<u64> {
        let (life, event, image) = PLACE.get();
        PLACE.set((life, event, image + 1));
        self.tally.images += 1;
        self.tally.images_of_recovery += u64::from(depth > 0);
        let cut = depth < DEPTH_MAX && self.random.percent(if depth == 0 { 4 } else { 25 });
        if cut {
            disk.start_trace();
        }
        if self.random.percent(50) {
            // Nobody promises that the wall clock is right after a power cut.
            disk.advance_ms(-(self.random.below(4000) as i64));
        }
        let db = Db::open_on(Arc::new(disk.clone()), "/db", self.options.clone());
        let db = Guarded::new(db?);
        let trace = disk.take_trace();
        let revision = verify(&db, &disk, expected)?;
        if self.archives {
            self.assert_archived(&disk, revision, expected)?;
        }
        let again = self.random.percent(10).then(|| disk.fork());
        if self.random.percent(5) {
            self.go_on(&db, &disk, expected)?;
        }
        disk.power_off();
        drop(db);
        let settled = &Expected { settled: Some(revision), ..*expected };
        if let Some(again) = again {
            // What readers have seen is durable, whatever the first recovery was given.
            let seed = self.random.number();
            self.recover(again.crash(seed), settled, DEPTH_MAX)?;
            self.recover(again, settled, DEPTH_MAX)?;
        }
        if let Some(trace) = trace {
            // A disk that a kill left may lose more while it is recovered; a settled one may not.
            let settled = if expected.settled.is_some() || depth == 0 { settled } else { expected };
            let mut images = CrashImages::new(&trace);
            while images.advance().is_some() {
                if self.random.percent(40) {
                    let seed = self.random.number();
                    self.recover(images.image(seed), settled, depth + 1)?;
                }
            }
        }
        Ok(revision)
    }

    /// A recovered disk takes commits, and keeps them.
    fn go_on(&mut self, db: &Db, disk: &SimDisk, expected: &Expected<'_>) -> Result<()> {
        let bucket = b"after-the-cut";
        let id = db.begin_write()?.id().0;
        db.update(|txn| txn.create_bucket_if_missing(bucket)?.put("key", id.to_be_bytes()))?;
        if self.random.percent(50) {
            db.checkpoint()?;
        }
        let left = disk.crash(self.random.number());
        let db = Db::open_on(Arc::new(left.clone()), "/db", self.options.clone());
        let db = Guarded::new(db?);
        assert_sound(&db)?;
        let view = db.begin_read()?;
        assert_eq!(view.id().0, id, "a commit after the recovery is lost");
        let mut root = Tree::clone(&expected.versions[id as usize - 1].root);
        let mut tree = Tree::default();
        let bytes = Arc::from(&id.to_be_bytes()[..]);
        let entry = Entry::Value { bytes, expires_at: 0 };
        tree.entries.insert(b"key".to_vec(), entry);
        root.entries.insert(bucket.to_vec(), Entry::Bucket(Arc::new(tree)));
        let now = Now { earliest: left.now_ms(), latest: expected.latest_ms.max(left.now_ms()) };
        assert_same(&view, &root, now)?;
        left.power_off();
        Ok(())
    }
}
