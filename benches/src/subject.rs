//! The database under a sustained load: Bristlecone, which tells sizes and checkpoints, or an
//! engine behind the trait that all engines share.

use std::path::Path;

use bristlecone::{Db, Durability};
use bristlecone_benches::data::Pair;

use crate::engines::{Engine, Kind, Mode, Opening, Result, Role};

const BUCKET: &str = "pairs";

/// An open database.
pub(crate) enum Subject {
    Ours { db: Db, durability: Durability },
    Other(Box<dyn Engine>),
}

/// What an engine tells of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub(crate) file_bytes: Option<u64>,
    pub(crate) log_bytes: Option<u64>,
    /// Checkpoints since the database was created.
    pub(crate) checkpoints: Option<u64>,
}

impl Subject {
    pub(crate) fn open(kind: Kind, dir: &Path, opening: &Opening) -> Result<Subject> {
        if kind.role != Role::Ours {
            return Ok(Subject::Other((kind.open)(dir, opening)?));
        }
        let db = Db::open(dir.join("db"))?;
        db.update(|txn| txn.create_bucket_if_missing(BUCKET).map(|_| ()))?;
        let durability = match opening.mode {
            Mode::Durable => Durability::Sync,
            Mode::Buffered => Durability::Buffered,
        };
        Ok(Subject::Ours { db, durability })
    }

    /// Puts all pairs in one durable transaction.
    pub(crate) fn load(&self, pairs: &[Pair<'_>]) -> Result<()> {
        match self {
            Subject::Ours { db, .. } => put(db, Durability::Sync, pairs),
            Subject::Other(engine) => engine.load(pairs),
        }
    }

    /// Puts the pairs in one transaction of the mode in which the database was opened.
    pub(crate) fn put(&self, pairs: &[Pair<'_>]) -> Result<()> {
        match self {
            Subject::Ours { db, durability } => put(db, *durability, pairs),
            Subject::Other(engine) => engine.put(pairs),
        }
    }

    /// Shows all pairs in the order of their keys.
    pub(crate) fn visit(&self, see: &mut dyn FnMut(Pair<'_>)) -> Result<()> {
        match self {
            Subject::Ours { db, .. } => {
                let txn = db.begin_read()?;
                for pair in txn.bucket(BUCKET)?.iter()? {
                    see(pair?);
                }
                Ok(())
            }
            Subject::Other(engine) => engine.visit(see),
        }
    }

    /// Does what was put off.
    pub(crate) fn settle(&self) -> Result<()> {
        match self {
            Subject::Ours { db, .. } => {
                db.sync()?;
                db.checkpoint()?;
                Ok(())
            }
            Subject::Other(engine) => engine.settle(),
        }
    }

    pub(crate) fn told(&self) -> Told {
        match self {
            Subject::Ours { db, .. } => {
                let stats = db.stats();
                Told {
                    file_bytes: Some(stats.file_bytes),
                    log_bytes: Some(stats.log_file_bytes),
                    checkpoints: Some(stats.checkpoints),
                }
            }
            Subject::Other(_) => Told::default(),
        }
    }
}

fn put(db: &Db, durability: Durability, pairs: &[Pair<'_>]) -> Result<()> {
    let mut txn = db.begin_write()?;
    txn.set_durability(durability);
    let mut bucket = txn.bucket_mut(BUCKET)?;
    for (key, value) in pairs {
        bucket.put(key, value)?;
    }
    drop(bucket);
    txn.commit()?;
    Ok(())
}
