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
