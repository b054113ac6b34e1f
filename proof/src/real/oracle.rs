//! What a store must hold after its worker ended, however that was.
//!
//! Commits have revisions without gaps, in the order in which they began. What is found must be
//! the first so many of those that were begun: all that was acknowledged, each whole, none of them
//! without the one before.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bristlecone::{Db, Options, Result as DbResult};

use super::orders::Orders;
use super::session::{Line, Told};
use super::transaction::{Transaction, bucket_name, digest, expected_digest};
use super::wrong::{Why, Wrong};
use crate::rig::message;
use crate::simulation::compare::assert_same;
use crate::simulation::reference::{Entry, Now, Tree};

#[derive(Clone, Copy, Debug)]
struct Begun {
    thread: usize,
    number: u64,
    revision: u64,
}

/// What is known of a store.
#[derive(Debug)]
pub(crate) struct Oracle {
    orders: Orders,
    /// The content up to `revision`.
    root: Tree,
    revision: u64,
    /// The last transaction of each thread up to `revision`.
    numbers: Vec<u64>,
    /// Begun after that, and not known to be there or not.
    begun: VecDeque<Begun>,
    acknowledged: u64,
}

impl Oracle {
    /// Of a store that is yet to be made.
    pub(crate) fn new(orders: &Orders) -> Oracle {
        Oracle {
            orders: orders.clone(),
            root: Tree::default(),
            revision: 0,
            numbers: vec![0; orders.threads],
            begun: VecDeque::new(),
            acknowledged: 0,
        }
    }

    /// Notes what a worker did, and checks what it found when it opened.
    pub(crate) fn hear(&mut self, told: &Told) -> Result<(), Wrong> {
        for line in &told.lines {
            match *line {
                Line::Opened { revision, digest } => {
                    self.settle(revision)?;
                    if digest != expected_digest(&self.root) {
                        let how = format!("a worker found other content at {revision}");
                        return Err(Wrong::new(Why::Mismatch, how));
                    }
                }
                Line::Begun { thread, number, revision } => {
                    // A number that is used again belonged to a transaction that was refused.
                    while self.begun.back().is_some_and(|last| last.revision >= revision) {
                        self.begun.pop_back();
                    }
                    self.begun.push_back(Begun { thread, number, revision });
                }
                Line::Acknowledged(revision) => {
                    self.acknowledged = self.acknowledged.max(revision);
                }
                Line::Refused(_) | Line::Failed { .. } => {}
            }
        }
        Ok(())
    }

    /// A store was found at this revision.
    fn settle(&mut self, revision: u64) -> Result<(), Wrong> {
        if revision < self.acknowledged.max(self.revision) {
            let (known, acknowledged) = (self.revision, self.acknowledged);
            let how =
                format!("{acknowledged} was acknowledged, {known} was seen, {revision} is found");
            return Err(Wrong::new(Why::Lost, how));
        }
        while let Some(next) = self.begun.front().copied().filter(|one| one.revision <= revision) {
            let (expected, number) = (self.revision + 1, self.numbers[next.thread] + 1);
            if (next.revision, next.number) != (expected, number) {
                let how = format!("expected revision {expected}, {number}, found {next:?}");
                return Err(Wrong::new(Why::Mismatch, how));
            }
            let Orders { seed, scale, .. } = self.orders;
            Transaction::new(seed, next.thread, next.number, scale).note(&mut self.root);
            self.numbers[next.thread] = next.number;
            self.revision = next.revision;
            self.begun.pop_front();
        }
        if self.revision != revision {
            let how = format!("revision {revision} was not begun, {} was", self.revision);
            return Err(Wrong::new(Why::Mismatch, how));
        }
        self.begun.clear();
        Ok(())
    }

    /// Opens the store, which must hold what it must, and commits once more to it. `looking` only
    /// reads, so that the next worker recovers what the last one left.
    pub(crate) fn examine(&mut self, dir: &Path, looking: bool) -> Result<(), Wrong> {
        self.open_and_compare(dir, looking).map_err(|wrong| wrong.at("examined"))
    }

    fn open_and_compare(&mut self, dir: &Path, looking: bool) -> Result<(), Wrong> {
        let db = Db::open_with(dir, self.orders.options().read_only(looking))?;
        self.found(&db)?;
        self.compare(&db)?;
        if !looking {
            self.commit(&db)?;
            self.compare(&db)?;
        }
        Ok(())
    }

    /// An open database has all that is known to be there, and is sound.
    pub(crate) fn compare(&self, db: &Db) -> Result<(), Wrong> {
        self.compare_reads(db)?;
        let report = db.check(&mut |_| ControlFlow::Continue(()))?;
        if !report.is_sound() || report.pages_reachable + report.pages_free != report.pages {
            return Err(Wrong::new(Why::Damaged, format!("{report:?}")));
        }
        Ok(())
    }

    /// What can be read is what must be there.
    pub(crate) fn compare_reads(&self, db: &Db) -> Result<(), Wrong> {
        let same = || assert_same(&db.begin_read()?, &self.root, Now::at(0));
        // Where all is well, nothing panics; and what panics then is not the content's fault.
        if digest(db)? == expected_digest(&self.root) {
            return Ok(same()?);
        }
        let how = match catch_unwind(AssertUnwindSafe(same)) {
            Ok(done) => done.map(|()| "other content, by its checksum alone".to_owned())?,
            Err(panic) => message(&*panic),
        };
        Err(Wrong::new(Why::Mismatch, how))
    }

    /// Notes what an open database holds.
    pub(crate) fn found(&mut self, db: &Db) -> Result<(), Wrong> {
        self.settle(db.stats().revision.0)
    }

    /// Commits the next transaction of the first thread to an open database.
    pub(crate) fn commit(&mut self, db: &Db) -> DbResult<()> {
        let Orders { seed, scale, .. } = self.orders;
        let (number, revision) = (self.numbers[0] + 1, self.revision + 1);
        let transaction = Transaction::new(seed, 0, number, scale);
        let mut txn = db.begin_write()?;
        transaction.write(&mut txn)?;
        match txn.commit() {
            Ok(committed) => assert_eq!(committed.0, revision, "revisions have no gaps"),
            Err(error) => {
                if error.is_outcome_unknown() {
                    self.begun.push_back(Begun { thread: 0, number, revision });
                }
                return Err(error);
            }
        }
        transaction.note(&mut self.root);
        (self.revision, self.acknowledged) = (revision, revision);
        self.numbers[0] = number;
        Ok(())
    }

    /// Deletes something that is known to be there from an open database, a whole bucket or a
    /// single key; `false` when nothing is known to be there.
    pub(crate) fn delete(&mut self, db: &Db, whole: bool) -> DbResult<bool> {
        for name in [1, 2, 0].map(|which| bucket_name(0, which)) {
            if !self.root.is_bucket(&name) {
                continue;
            }
            let tree = self.root.bucket_mut(&name);
            let key = tree.entries.iter().find_map(|(key, entry)| match entry {
                Entry::Value { .. } => Some(key.clone()),
                Entry::Bucket(_) => None,
            });
            match (whole, key) {
                (true, _) => {
                    db.update(|txn| txn.drop_bucket(&name))?;
                    self.root.entries.remove(&name);
                }
                (false, Some(key)) => {
                    let found = db.update(|txn| txn.bucket_mut(&name)?.delete(&key))?;
                    assert!(found, "{key:?} is known to be there");
                    self.root.bucket_mut(&name).entries.remove(&key);
                }
                (false, None) => continue,
            }
            self.revision += 1;
            self.acknowledged = self.revision;
            return Ok(true);
        }
        Ok(false)
    }

    /// How a store that it judges is opened.
    pub(crate) fn options(&self) -> Options {
        self.orders.options()
    }
}
