//! A database on a simulated disk, and what a kill leaves of it.

use std::sync::Arc;

use bristlecone::io::sim::SimDisk;
use bristlecone::{Db, Options, Result};

pub(crate) fn open(disk: &SimDisk, options: Options) -> Result<Db> {
    Db::open_on(Arc::new(disk.clone()), "/db", options)
}

/// Opens what a kill leaves.
pub(crate) fn reopen(disk: &mut SimDisk, db: Db, options: Options) -> Result<Db> {
    let left = disk.fork();
    disk.power_off();
    drop(db);
    *disk = left;
    open(disk, options)
}
