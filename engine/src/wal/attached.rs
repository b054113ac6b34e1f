//! Reading the log of a database that another process owns, and perhaps writes to meanwhile.
//!
//! What is read is judged by `recover`, which knows that a missing frame may have come since. This
//! file has what is left: files that come, go and are put to use again while they are read. Then
//! what was read may not fit together, and looks like damage.
//!
//! Never writes. Invariants:
//! 1. Damage that is found between two looks that give the same shape is damage, as long as the
//!    position replayed from is that of a meta page: what lies behind that is not recycled.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use super::reader::Window;
use super::record::BLOCK;
use super::recover::{Access, Request, open_files, recover};
use super::{Position, Replay, ReplayRange, Wal, segment};
use crate::error::Result;
use crate::io::Host;
use crate::limits::WAL_BLOCK_BYTES;

impl Wal {
    /// Replays like [`Wal::read_only`] from files that somebody else may be writing, up to the last
    /// whole record that is there, and makes that durable. Returns where it ends.
    pub(crate) fn attached(
        host: &dyn Host,
        dir: &Path,
        database_id: [u8; 16],
        range: ReplayRange,
        replay: Replay<'_>,
    ) -> Result<Position> {
        let access = Access::Attached;
        let request = Request { dir, database_id, range, kept_bytes: 0, access };
        recover(host, &request, replay).map(|segments| segments.end())
    }

    /// A number that changes when a file of the log comes, goes or is put to use, and not with the
    /// frames that come.
    pub(crate) fn shape(host: &dyn Host, dir: &Path) -> Result<u64> {
        let mut shape = DefaultHasher::new();
        let listing = segment::list(host, dir)?;
        let mut window = Window::default();
        for segment in open_files(host, &listing.segments, Access::Attached)? {
            segment.file_number.hash(&mut shape);
            window.read(&segment, 0, WAL_BLOCK_BYTES, BLOCK)?.hash(&mut shape);
        }
        Ok(shape.finish())
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::super::Leaves;
    use super::super::fixture::{ID, commit, create, damage, dir, files, nothing, range};
    use super::*;
    use crate::io::sim::SimDisk;

    /// What is replayed while, with the first record, `meanwhile` is done.
    fn attached(disk: &SimDisk, meanwhile: impl FnOnce()) -> Result<Vec<Vec<u8>>> {
        let (mut records, mut meanwhile) = (Vec::new(), Some(meanwhile));
        let mut replay = |_, record: &[u8]| {
            records.push(record.to_vec());
            if let Some(meanwhile) = meanwhile.take() {
                meanwhile();
            }
            Ok(())
        };
        Wal::attached(disk, dir(), ID, range(Position::START, false), &mut replay)?;
        Ok(records)
    }

    /// A log of so many records, in a segment that takes three frames, and one that is prepared.
    fn log(records: usize) -> (SimDisk, Wal) {
        let disk = SimDisk::new(7);
        let wal = create(&disk);
        wal.reserve(16_000, Leaves::Nothing, &nothing).unwrap();
        (0..records).for_each(|_| commit(&wal, b"before"));
        (disk, wal)
    }

    #[test]
    fn frames_and_segments_that_come_meanwhile_are_not_damage() {
        for (before, come) in (1..4).flat_map(|before| (0..9).map(move |come| (before, come))) {
            let (disk, wal) = log(before);
            let shape = Wal::shape(&disk, dir()).unwrap();
            let found = attached(&disk, || (0..come).for_each(|_| commit(&wal, b"later"))).unwrap();
            assert!(found[..before].iter().all(|record| record == b"before"), "{before} {come}");
            assert!(found[before..].iter().all(|record| record == b"later"), "{before} {come}");
            assert!(found.len() <= before + come, "{before} {come}");
            let is_same = Wal::shape(&disk, dir()).unwrap() == shape;
            assert_eq!(is_same, before + come <= 3, "{before} {come}");
        }
    }

    #[test]
    fn a_frame_that_is_missing_before_others_is_damage_whatever_came() {
        let (disk, wal) = log(3);
        let segment = &files(&disk)[0];
        damage(&disk, segment, |bytes| bytes[2 * WAL_BLOCK_BYTES + 40] ^= 1);
        for come in 0..9 {
            let found = attached(&disk, || (0..come).for_each(|_| commit(&wal, b"later")));
            assert!(found.unwrap_err().is_corrupt());
        }
        damage(&disk, segment, |bytes| bytes[2 * WAL_BLOCK_BYTES + 40] ^= 1);
        assert_eq!(attached(&disk, || {}).unwrap().len(), 3 + 36);
    }
}
