//! What the tests of the log share: logs of small segments on a simulated disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Leaves, Position, ReplayRange, Sequence, Wal, WalOptions};
use crate::error::Result;
use crate::io::sim::{Fault, FaultPlan, OpKind, SimDisk, errno};
use crate::limits::{WAL_PIECE_BYTES_MAX, WAL_SEGMENT_BYTES_MIN};

/// The database that the logs belong to.
pub(super) const ID: [u8; 16] = *b"0123456789abcdef";
/// The smallest segments: three blocks for frames in each.
pub(super) const SMALL: WalOptions = WalOptions {
    segment_bytes_max: WAL_SEGMENT_BYTES_MIN,
    kept_bytes: 0,
    spares_max: 2,
    piece_bytes: WAL_PIECE_BYTES_MAX,
    threads: false,
};

/// Where the logs live.
pub(super) fn dir() -> &'static Path {
    Path::new("/wal")
}

/// Publishes to nobody.
pub(super) fn nothing(_: Sequence, _: Position) {}

/// A new log of small segments.
pub(super) fn create(disk: &SimDisk) -> Wal {
    create_with(disk, SMALL)
}

/// A new log.
pub(super) fn create_with(disk: &SimDisk, options: WalOptions) -> Wal {
    Wal::create(Arc::new(disk.clone()), dir(), ID, options).unwrap()
}

/// Opens a log of small segments and returns the records that were replayed.
pub(super) fn open(disk: &SimDisk, from: Position) -> Result<(Wal, Vec<Vec<u8>>)> {
    open_with(disk, from, SMALL)
}

/// Opens a log and returns the records that were replayed.
pub(super) fn open_with(
    disk: &SimDisk,
    from: Position,
    options: WalOptions,
) -> Result<(Wal, Vec<Vec<u8>>)> {
    let mut records = Vec::new();
    let mut replay = |_, record: &[u8]| {
        records.push(record.to_vec());
        Ok(())
    };
    let range = range(from, false);
    let wal = Wal::open(Arc::new(disk.clone()), dir(), ID, range, options, &mut replay)?;
    Ok((wal, records))
}

/// Makes one record durable, alone.
pub(super) fn commit(wal: &Wal, record: &[u8]) {
    wal.reserve(record.len(), Leaves::Nothing, &nothing).unwrap();
    let sequence = wal.append(record).unwrap();
    wal.wait(sequence, &nothing).unwrap();
}

/// Tears the operation `number` from now, counted from 1.
pub(super) fn fail_at(disk: &SimDisk, number: u64, forever: bool) {
    let plan = FaultPlan::new(OpKind::Any, Fault::Tear(errno::EIO)).after(number - 1);
    disk.fail(if forever { plan.forever() } else { plan });
}

/// Limits the disk to `bytes` more than what is used.
pub(super) fn limit_space(disk: &SimDisk, bytes: u64) {
    disk.set_capacity(Some(disk.space_bytes() + bytes));
}

/// The segment files that are or were in use, in the order of their names.
pub(super) fn files(disk: &SimDisk) -> Vec<PathBuf> {
    let is_used = |path: &PathBuf| {
        path.extension().is_some_and(|suffix| suffix == "wal")
            && disk.read_file(path).unwrap().iter().any(|&byte| byte != 0)
    };
    disk.list_all().into_keys().filter(is_used).collect()
}

/// Changes a file in the cache and on the device.
pub(super) fn damage(disk: &SimDisk, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = disk.read_file(path).unwrap();
    change(&mut content);
    disk.write_file(path, &content).unwrap();
}

/// Numbers that follow from a seed.
pub(super) fn pseudo_random(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    }
}

/// All of the log from a position on.
pub(super) fn range(from: Position, clean: bool) -> ReplayRange {
    ReplayRange { keep: from, from, clean }
}
