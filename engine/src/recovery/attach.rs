//! Opening beside the process that owns the database, which may write to it meanwhile.
//!
//! The newest checkpoint and the log behind it are read as by any open, and the owner does not
//! know. What it does meanwhile can make that fail, never make it wrong: each page is held against
//! its checksum, each frame against its own. So a failure that it may have caused is tried again.
//!
//! Takes no lock, and makes or writes no file. Invariants:
//! 1. What is shown is a prefix of the owner's commits, and durable: the log up to the root of a
//!    meta page is, before that is written, and what is read behind it is synced before it is
//!    shown.
//! 2. It has every commit that was acknowledged when the attaching began.
//! 3. Damage is told only when nothing has moved while it was found.

use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::io::{Host, OpenMode};
use crate::limits::ATTACH_TRIES_MAX;
use crate::options::Options;
use crate::pager::{Meta, read_metas};
use crate::txn::Store;
use crate::wal::Wal;

use super::{DATA, LOG, Progress, assemble, check_shape, look, replay_log};

/// What moves when the owner writes checkpoints, or uses other files for its log.
/// `None` for what cannot be read.
type Shape = (Option<(Meta, Option<Meta>)>, Option<u64>);

/// Attaches to the database in `dir`.
pub(crate) fn attach(
    host: Arc<dyn Host>,
    dir: &Path,
    options: Options,
    progress: Progress<'_>,
) -> Result<Arc<Store>> {
    options.validate()?;
    look(&*host, dir, &options)?;
    let mut before: Option<Shape> = None;
    for _ in 0..ATTACH_TRIES_MAX {
        let error = match attach_once(&host, dir, &options, &mut *progress) {
            Err(error) if may_be_motion(&error) => error,
            result => return result,
        };
        let after = shape(&*host, dir);
        if before.as_ref() == Some(&after) {
            return Err(error);
        }
        before = Some(after);
    }
    let metas = before.and_then(|(metas, _)| metas);
    let checkpoint = metas.map_or(0, |(newest, _)| newest.checkpoint);
    Err(Error::from(ErrorKind::Outrun { path: dir.to_path_buf(), checkpoint }))
}

/// True for a failure that the owner may have caused.
fn may_be_motion(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Corrupt(_) | ErrorKind::Outrun { .. } => true,
        // Two meta pages that were both being written when they were read.
        ErrorKind::NotADatabase { .. } => true,
        _ => false,
    }
}

fn attach_once(
    host: &Arc<dyn Host>,
    dir: &Path,
    options: &Options,
    progress: Progress<'_>,
) -> Result<Arc<Store>> {
    let path = dir.join(DATA);
    let file = host.open(&path, OpenMode::Read).map_err(|e| Error::io("open", &path, e))?;
    let (newest, _) = read_metas(&*file, &path)?;
    check_shape(&*file, &path, &newest, options)?;
    let (host, options) = (Arc::clone(host), options.clone());
    // The other meta page protects nothing here, and its space map may go at any moment.
    let store = assemble(host, dir, file, &newest, None, options, None)?;
    replay_log(&store, &newest, progress)?;
    // The log that was read may have been recycled meanwhile, and then it ends where it should not.
    store.memory.refuse_outrun()?;
    Ok(store)
}

fn shape(host: &dyn Host, dir: &Path) -> Shape {
    let path = dir.join(DATA);
    let file = host.open(&path, OpenMode::Read).ok();
    let metas = file.and_then(|file| read_metas(&*file, &path).ok());
    (metas, Wal::shape(host, &dir.join(LOG)).ok())
}
