//! Every short string of operations on a new store, and every power cut in each.
//!
//! Most crash bugs of file systems need no more than three operations (CrashMonkey, 2018), so all
//! short strings are worth more than their number. Each operation is examined once for each string
//! that leads to it: the operations before were examined with a shorter string.

use std::sync::Arc;

use bristlecone::{Db, Result};

use super::crash::CrashHistory;
use super::expected::Version;
use super::reference::{Entry, Tree};
use super::tally::Tally;

const NAME: &[u8] = b"b";

/// One operation of a script; each is a transaction of its own where it writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Put,
    PutLarge,
    PutOverSegments,
    PutBuffered,
    Delete,
    Nest,
    DropBucket,
    Sync,
    Checkpoint,
    Reopen,
}

impl Step {
    pub(crate) const ALL: [Step; 10] = [
        Step::Put,
        Step::PutLarge,
        Step::PutOverSegments,
        Step::PutBuffered,
        Step::Delete,
        Step::Nest,
        Step::DropBucket,
        Step::Sync,
        Step::Checkpoint,
        Step::Reopen,
    ];
}

/// Runs a script on a new store and examines its last operation, or the creation of the store when
/// the script is empty.
pub(crate) fn examine(script: &[Step], outcomes_max: u64, images_per_event: u64) -> Result<Tally> {
    let mut history = CrashHistory::scripted(outcomes_max, images_per_event);
    let before = history.point();
    history.disk.start_trace();
    let mut db = history.open()?;
    let mut from = 0;
    for step in script {
        from = history.disk.trace().expect("started above").events().len();
        match step {
            Step::Reopen => db = history.reopen(db)?,
            step => history.step(&db, *step)?,
        }
    }
    history.disk.power_off();
    drop(db);
    let trace = history.disk.take_trace().expect("started above");
    history.examine(&trace, before, from, None)?;
    Ok(history.tally)
}

impl CrashHistory {
    /// Closes the database and opens it again.
    pub(crate) fn reopen(&mut self, db: Db) -> Result<Db> {
        db.close()?;
        let disk = self.disk.clone();
        self.acknowledge_all(&disk);
        Db::open_on(Arc::new(disk), "/db", self.options.clone())
    }

    /// Kills the process that has the database open, and opens it again.
    pub(crate) fn reopen_killed(&mut self, db: Db) -> Result<Db> {
        let left = self.disk.fork();
        self.disk.power_off();
        drop(db);
        self.disk = left;
        Db::open_on(Arc::new(self.disk.clone()), "/db", self.options.clone())
    }

    /// Does one step other than to reopen.
    pub(crate) fn step(&mut self, db: &Db, step: Step) -> Result<()> {
        match step {
            Step::Sync => db.sync()?,
            Step::Checkpoint => db.checkpoint()?,
            write => return self.write_step(db, write),
        }
        let disk = self.disk.clone();
        self.acknowledge_all(&disk);
        Ok(())
    }

    fn write_step(&mut self, db: &Db, step: Step) -> Result<()> {
        let time_ms = self.observe(db)?;
        let mut txn = db.begin_write()?;
        let mut root = Tree::clone(&self.versions.last().expect("never empty").root);
        if step == Step::DropBucket {
            if root.entries.remove(NAME).is_some() {
                txn.drop_bucket(NAME)?;
            }
            return self.commit(txn, Version { root: Arc::new(root), time_ms }, false);
        }
        root.entries.entry(NAME.to_vec()).or_insert_with(|| Entry::Bucket(Arc::default()));
        let tree = root.bucket_mut(NAME);
        let mut bucket = txn.create_bucket_if_missing(NAME)?;
        let number = self.versions.len() as u8;
        let value = |bytes: &[u8]| Entry::Value { bytes: bytes.into(), expires_at: 0 };
        match step {
            Step::Delete => {
                let was_there = tree.entries.remove(&b"key"[..]).is_some();
                assert_eq!(bucket.delete("key")?, was_there);
            }
            Step::Nest => {
                let mut nested = bucket.create_bucket_if_missing("nested")?;
                nested.put([number], [number])?;
                let entry = Entry::Bucket(Arc::default());
                let tree = {
                    tree.entries.entry(b"nested".to_vec()).or_insert(entry);
                    tree.bucket_mut(b"nested")
                };
                tree.entries.insert(vec![number], value(&[number]));
                tree.sequence += 1;
                assert_eq!(nested.next_sequence()?, tree.sequence);
            }
            _ => {
                let len = match step {
                    Step::PutLarge => 7000,
                    Step::PutOverSegments => 20_000,
                    _ => 9,
                };
                bucket.put("key", vec![number; len])?;
                tree.entries.insert(b"key".to_vec(), value(&vec![number; len]));
            }
        }
        drop(bucket);
        let buffered = step == Step::PutBuffered;
        self.commit(txn, Version { root: Arc::new(root), time_ms }, buffered)
    }
}
