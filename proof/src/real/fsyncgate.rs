//! A device that runs out of room behind a file system that does not know: writes are accepted,
//! their sync fails once, and the next one succeeds though the data is gone.
//!
//! Goal: after a failed sync nothing is acknowledged and nothing that was lost is believed, while
//! the system's cache still shows it.
//!
//! Method: an ext4 without a journal on an image of 64 MiB, on a file system in memory that has
//! room for less. The store is opened again by a new process, first from what the cache holds,
//! then from the device alone.
//!
//! The loop device says of a write that found room for its first part only that it was done. So
//! that it does not lie, it is given one block at a time.

use tempfile::TempDir;

use super::mounts::{Image, Kind, Mount, cannot};
use super::oracle::Oracle;
use super::orders::Orders;
use super::places;
use super::session::{self, Ends};
use crate::record::Evidence;
use crate::rig::{Counts, Plan, seeds};

const KIND: Kind = Kind::Ext4Unjournaled;
const IMAGE_BYTES: u64 = 64 << 20;
/// Makes the values so large that the device is full after some ten commits.
const SCALE: usize = 40;
/// More than there is room for.
const COMMITS: u64 = 2_000;

pub(crate) fn run(plan: &Plan) -> Evidence {
    if let Some(why) = cannot(|| Device::new(plan, plan.seed).map(drop)) {
        return Evidence::skipped(why);
    }
    seeds(plan, |seed, counts| {
        run_one(plan, seed, counts)?;
        counts.cases(1);
        Ok(())
    })
}

/// A device with less room than it says, and the file system on it.
#[derive(Debug)]
struct Device {
    image: Image,
    memory: Mount,
    /// Goes last, when nothing is mounted in it.
    _dir: TempDir,
}

impl Device {
    fn new(plan: &Plan, seed: u64) -> Result<Device, String> {
        let dir = places::on_disk(plan)?;
        let mut memory = Mount::at(dir.path().join("device"))?;
        memory.mount_memory(&format!("size={}k", 8192 + 64 * (seed % 64)))?;
        let mut image = Image::new(memory.point(), KIND, IMAGE_BYTES)?;
        image.mount(KIND, false)?;
        image.write_blockwise()?;
        Ok(Device { image, memory, _dir: dir })
    }
}

fn run_one(plan: &Plan, seed: u64, counts: &Counts) -> Result<(), String> {
    let mut device = Device::new(plan, seed)?;
    let orders = Orders::new(device.image.point().join("db"), seed).commits(COMMITS);
    let orders = Orders { scale: SCALE, pread: seed % 2 == 1, ..orders };
    let mut oracle = Oracle::new(&orders);
    let told = session::run(&plan.worker, &orders)?;
    told.check_end(Ends::failed(&["full", "io", "outcome-unknown", "poisoned"]))?;
    oracle.hear(&told)?;
    let kind = told.failure().ok_or("the device was not full")?;
    counts.add(&format!("stopped: {kind}"), 1);
    counts.add("acknowledged", told.acknowledged());
    // What the cache shows now may not be on the device. The new process reads only.
    let again = Orders { read: true, ..orders.clone() };
    let told = session::run(&plan.worker, &again)?;
    told.check_end(Ends::failed(&["full", "io"])).map_err(|error| format!("again: {error}"))?;
    match told.failure() {
        Some(_) => counts.add("refused by a new process", 1),
        None => oracle.hear(&told)?,
    }
    device.image.unmount()?;
    device.memory.remount("size=64m")?;
    device.image.mount(KIND, false)?;
    oracle.examine(&orders.dir, false)?;
    device.image.unmount()?;
    device.memory.unmount()
}
