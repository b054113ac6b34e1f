//! Power cuts on ext4 and XFS: the file system is shut down while the worker writes.
//!
//! Goal: what was acknowledged is on the device, as these file systems understand that.
//!
//! Method: an image behind a loop device; at a random moment the shutdown `ioctl` stops all writing
//! to it, the journal included. What was synced is there after the next mount, the rest is gone or
//! half there. Stores live on through many cuts.
//!
//! Limits: the device behind the image keeps every write that reached it, so a direct write that
//! was never synced survives. The simulated disk has no such mercy. That these rigs see lost names,
//! lengths and cached writes is shown by the one with a disk that lies.

use std::fs::File;

use bristlecone::MAP_FAILURE_EXIT_CODE;

use super::kernel;
use super::kills::{NEW_PERCENT, count, let_live, require_commits, short_time};
use super::mounts::{Image, Kind, lacks};
use super::oracle::Oracle;
use super::orders::Orders;
use super::places;
use super::session::{Ends, Session};
use super::strace;
use super::wrong::{Why, Wrong};
use crate::record::Evidence;
use crate::rig::{Counts, Plan, seeds};
use crate::simulation::random::Random;

/// Cuts of one file system.
const CUTS: u64 = 25;
/// The power stays on at most so long.
const LIFE_US: usize = 40_000;
/// After the cut, the worker lives at most so long.
const AFTER_US: usize = 2_000;
const EXT4_BYTES: u64 = 64 << 20;
/// No smaller XFS can be made.
const XFS_BYTES: u64 = 320 << 20;
/// What a worker may meet whose file system is gone.
const CUT: Ends =
    Ends { killed: true, failures: &["io", "outcome-unknown", "poisoned", "read-only"] };
/// A disk that lies is found out within so many stores, or the rig sees nothing.
const LIES: u64 = 8;

pub(crate) fn ext4(plan: &Plan) -> Evidence {
    let kind = |seed: u64| if seed % 4 == 3 { Kind::Ext4Writeback } else { Kind::Ext4 };
    cuts(plan, kind, EXT4_BYTES)
}

pub(crate) fn xfs(plan: &Plan) -> Evidence {
    cuts(plan, |_| Kind::Xfs, XFS_BYTES)
}

fn cuts(plan: &Plan, kind: impl Fn(u64) -> Kind + Sync, bytes: u64) -> Evidence {
    if let Some(why) = lacks(plan, kind(plan.seed), bytes) {
        return Evidence::skipped(why);
    }
    let evidence = seeds(plan, |seed, counts| {
        let cuts = CUTS.min(plan.cases);
        Ok(Machine::new(plan, seed, kind(seed), bytes)?.run(cuts, &[], counts)?)
    });
    require_commits(evidence)
}

/// With a disk that lies about syncs the rig must lose commits.
pub(crate) fn lying(plan: &Plan) -> Evidence {
    let kinds = [(Kind::Ext4, EXT4_BYTES), (Kind::Xfs, XFS_BYTES)];
    let lacks = kinds.iter().find_map(|&(kind, bytes)| lacks(plan, kind, bytes));
    if let Some(why) = lacks.or_else(strace::lacks) {
        return Evidence::skipped(why);
    }
    // Without the call that writes durably the engine writes and syncs, and a sync can be a lie.
    let lie = strace::inject(&[("fdatasync,fsync", "retval=0"), ("pwritev2", "error=EOPNOTSUPP")]);
    let lie: Vec<&str> = lie.iter().map(String::as_str).collect();
    seeds(&Plan { cases: plan.cases.max(2), ..plan.clone() }, |seed, counts| {
        let (kind, bytes) = kinds[seed as usize % 2];
        for store in 0..LIES {
            let machine = Machine::new(plan, seed + store, kind, bytes)?;
            let wrong = match machine.run(CUTS, &lie, &Counts::default()) {
                Ok(()) => continue,
                Err(wrong) => wrong,
            };
            match wrong.why {
                Why::Lost => {
                    counts.cases(1);
                    counts.add("stores until a loss", store + 1);
                    return Ok(());
                }
                // Lost as well, and not in silence.
                Why::Damaged => counts.add("stores that told of their damage", 1),
                Why::Mismatch => counts.add("stores with other content", 1),
                Why::Failed => return Err(format!("store {store}: {wrong}")),
            }
        }
        Err("a disk that lies about syncs lost nothing".to_owned())
    })
}

/// A file system, the store on it, and what is known of that.
#[derive(Debug)]
struct Machine<'a> {
    plan: &'a Plan,
    kind: Kind,
    image: Image,
    orders: Orders,
    oracle: Oracle,
    random: Random,
    /// Goes last, when nothing is mounted in it.
    _dir: tempfile::TempDir,
}

impl Machine<'_> {
    fn new(plan: &Plan, seed: u64, kind: Kind, bytes: u64) -> Result<Machine<'_>, String> {
        let dir = places::with_room(plan, bytes)?;
        let image = Image::new(dir.path(), kind, bytes)?;
        let orders = Orders::varied(image.point().join("db"), seed);
        let oracle = Oracle::new(&orders);
        let random = Random::new(seed);
        Ok(Machine { plan, kind, image, orders, oracle, random, _dir: dir })
    }

    fn run(mut self, cuts: u64, through: &[&str], counts: &Counts) -> Result<(), Wrong> {
        self.image.mount(self.kind, false)?;
        for cut in 0..cuts {
            if self.random.percent(NEW_PERCENT) {
                self.orders.dir = self.image.point().join(format!("db {cut}"));
                self.oracle = Oracle::new(&self.orders);
            }
            self.cut(through, counts).map_err(|wrong| wrong.at(&format!("cut {cut}")))?;
            counts.cases(1);
        }
        Ok(self.image.unmount()?)
    }

    fn cut(&mut self, through: &[&str], counts: &Counts) -> Result<(), Wrong> {
        let mut session = Session::start(through, &self.plan.worker, &self.orders)?;
        let_live(&mut session, &mut self.random, LIFE_US)?;
        File::open(self.image.point())
            .and_then(|point| kernel::shut_down(&point))
            .map_err(|error| format!("cannot shut the file system down: {error}"))?;
        std::thread::sleep(short_time(&mut self.random, AFTER_US));
        session.kill()?;
        let told = session.finish()?;
        if let Some(kind @ ("corrupt" | "not-a-database")) = told.failure() {
            return Err(Wrong::new(Why::Damaged, format!("{kind}: {:?}", told.lines.last())));
        }
        // A worker whose file system is gone may also be ended by its map.
        if told.status.code() != Some(MAP_FAILURE_EXIT_CODE) {
            told.check_end(CUT)?;
        }
        self.oracle.hear(&told)?;
        count(&told, counts);
        self.image.unmount()?;
        self.image.mount(self.kind, false)?;
        let looking = self.random.percent(60) && self.orders.dir.join("data").exists();
        self.oracle.examine(&self.orders.dir, looking)
    }
}
