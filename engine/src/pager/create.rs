//! The data file of a new database.

use std::path::Path;

use crate::error::{Error, Result};
use crate::ids::{Epoch, TxnId};
use crate::io::{Host, OpenMode};
use crate::page::BucketRecord;
use crate::wal::Position;

use super::meta::Meta;
use super::space::SpaceMap;

/// Writes an empty data file at `path` and makes it durable, its name apart.
pub(crate) fn create_data_file(
    host: &dyn Host,
    path: &Path,
    page_bytes: usize,
    database_id: [u8; 16],
) -> Result<()> {
    let failed = |operation| move |e| Error::io(operation, path, e);
    let file = host.open(path, OpenMode::CreateNew).map_err(failed("create"))?;
    let mut space = SpaceMap::empty(page_bytes);
    let bytes = u64::from(space.file_pages()) * page_bytes as u64;
    file.allocate(bytes).map_err(failed("allocate"))?;
    space.write_changed(Epoch(0), &mut |page, bytes| {
        file.write_at(bytes, u64::from(page) * page_bytes as u64).map_err(failed("write"))
    })?;
    let meta = Meta {
        page_bytes,
        database_id,
        checkpoint: 0,
        epoch: Epoch(0),
        txn: TxnId(0),
        clock_ms: host.now_ms(),
        log: Position::START,
        clean: true,
        file_pages: space.file_pages(),
        buckets: BucketRecord::EMPTY,
        system: BucketRecord::EMPTY,
        directories: space.directories(),
    };
    file.write_at(&meta.encode(), meta.slot() as u64 * page_bytes as u64)
        .map_err(failed("write"))?;
    file.sync().map_err(failed("sync"))
}
