//! A database, or one bucket, out of a full backup.
//!
//! Everything is loaded from below in one transaction. That of a new database is not logged: a
//! checkpoint makes it durable, with the backup's transaction number. Then the list of expiries is
//! filled, in steps, since what comes in the order of keys does not come in the order of time.
//!
//! Invariants:
//! 1. Nothing is committed to a database that others see, and no database gets its name, before the
//!    end of the backup was read.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::checkpoint;
use crate::db::Db;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::TxnId;
use crate::io::Host;
use crate::limits::BACKUP_PUT_BYTES_MAX;
use crate::options::Options;
use crate::recovery::{remove_unfinished, sync_parent, unfinished_name};
use crate::txn::{Expiring, Hints, Load, Pin, Store, WriteTxn, place_of};

use super::content::Operation;
use super::forward::Forward;
use super::read::{Content, Event};
use super::walk::{Step, Walk};
use super::{RestoreOptions, RestoreReport, time_of};

/// Hints that are added in one transaction.
const HINTS_PER_STEP: usize = 64 << 10;
/// Memory that they may take before a checkpoint.
const HINT_BYTES_MAX: u64 = 64 << 20;

/// Restores into the directory `into`, which gets its database when all is done.
pub(super) fn into_new(
    mut content: Content<'_>,
    forward: Option<Forward<'_, '_>>,
    host: &Arc<dyn Host>,
    into: &Path,
    options: &RestoreOptions,
    database: Options,
) -> Result<RestoreReport> {
    if forward.is_some() && !options.bucket.is_empty() {
        return Err(Error::invalid("expected no bucket for a point in time, which is for all"));
    }
    if let Some(forward) = &forward {
        forward.check_begin(&content.source.header)?;
    }
    let unfinished = unfinished_name(&**host, into)?;
    let page_bytes = options.page_bytes.unwrap_or(content.source.header.page_bytes);
    let database = database.page_bytes(page_bytes).create(true).read_only(false).sweep(false);
    let restored = Db::open_on(Arc::clone(host), &unfinished, database)
        .and_then(|db| fill(&mut content, forward, db, options))
        .and_then(|report| {
            let renamed = host.rename(&unfinished, into);
            renamed.map_err(|error| Error::io("rename", &unfinished, error))?;
            sync_parent(&**host, into).inspect_err(|_| {
                // To be removed with the rest: nobody shall count on it.
                let _ = host.rename(into, &unfinished);
            })?;
            Ok(report)
        });
    // What is left of it is of no use to anybody, and the first failure is what matters. But when
    // it is locked it is somebody else's.
    if restored.as_ref().is_err_and(|error| !error.is_locked()) {
        let _ = remove_unfinished(&**host, &unfinished);
    }
    restored
}

fn fill(
    content: &mut Content<'_>,
    forward: Option<Forward<'_, '_>>,
    db: Db,
    options: &RestoreOptions,
) -> Result<RestoreReport> {
    let (store, header) = (db.store(), content.source.header);
    store.clock.advance(header.time_ms);
    let mut txn = WriteTxn::begin_unlogged(store)?;
    txn.set_id(header.last);
    let mut load = Load::begin(&mut txn, Hints::Later)?;
    let mut part = Part::new(&options.bucket, Around::Made);
    part.copy(content, &mut load)?;
    load.finish()?;
    txn.replace_tip()?;
    checkpoint::run(store, false)?;
    if part.expiring > 0 {
        add_hints(store, content)?;
    }
    let mut report = part.report(content, header.last);
    if let Some(forward) = forward {
        let reached = forward.go(store, &header, &mut *content.source.progress)?;
        (report.revision, report.transactions) = (reached.revision, reached.transactions);
        report.time = time_of(reached.time_ms);
    }
    if options.verify {
        verify(&db)?;
    }
    db.close()?;
    Ok(report)
}

fn verify(db: &Db) -> Result<()> {
    let report = db.check(&mut |_| ControlFlow::Continue(()))?;
    match report.problems.into_iter().next() {
        Some(problem) => {
            Err(Error::corrupt(db.store().data_path(), 0, "a sound database", problem))
        }
        None => Ok(()),
    }
}

/// Restores one bucket into a database that is in use.
pub(super) fn into_existing(
    mut content: Content<'_>,
    db: &Db,
    path: &[Vec<u8>],
) -> Result<RestoreReport> {
    let Some((name, around)) = path.split_last() else {
        return Err(Error::invalid("expected the path of a bucket, found no name"));
    };
    let mut txn = db.begin_write()?;
    for name in around {
        match txn.enter(name) {
            Err(error) if error.is_bucket_not_found() => txn.create_and_enter(name)?,
            entered => entered?,
        }
    }
    txn.create_and_enter(name)?;
    let mut load = Load::begin(&mut txn, Hints::Now)?;
    let mut part = Part::new(path, Around::There);
    part.copy(&mut content, &mut load)?;
    load.finish()?;
    if part.sequence != 0 {
        txn.set_sequence(part.sequence)?;
    }
    if part.expires_at != 0 {
        txn.set_bucket_expiry(part.expires_at)?;
    }
    let revision = txn.commit()?;
    Ok(part.report(&content, revision))
}

/// Where the bucket that is wanted goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Around {
    /// To the load, with the buckets that lead to it.
    Made,
    /// It is the one that the load fills.
    There,
}

/// The part of a backup that is wanted: a bucket, or everything.
struct Part<'a> {
    path: &'a [Vec<u8>],
    around: Around,
    /// Open buckets, and how many of them lead to the wanted one or are it.
    depth: usize,
    matched: usize,
    is_found: bool,
    /// The sequence and the expiry of the wanted bucket.
    sequence: u64,
    expires_at: u64,
    buckets: u64,
    pairs: u64,
    bytes: u64,
    /// Records and buckets with an expiry.
    expiring: u64,
}

impl<'a> Part<'a> {
    fn new(path: &'a [Vec<u8>], around: Around) -> Part<'a> {
        Part {
            path,
            around,
            depth: 0,
            matched: 0,
            is_found: path.is_empty(),
            sequence: 0,
            expires_at: 0,
            buckets: 0,
            pairs: 0,
            bytes: 0,
            expiring: 0,
        }
    }

    /// Loads what is wanted, and reads the backup to its end.
    fn copy(&mut self, content: &mut Content<'_>, load: &mut Load<'_>) -> Result<()> {
        let mut value = Vec::new();
        while let Event::Operation(operation) = content.next()? {
            match operation {
                Operation::Enter { name, sequence, expires_at } => {
                    self.enter(load, name, sequence, expires_at)?;
                }
                Operation::Leave => self.leave(load)?,
                Operation::Put { key, value, expires_at } => {
                    if self.take_pair(key.len() + value.len(), expires_at) {
                        load.put(key, value, expires_at)?;
                    }
                }
                Operation::PutLong { key, len, expires_at } => {
                    let len = u32::try_from(len).expect("invariant: checked against the limit");
                    if !self.take_pair(key.len() + len as usize, expires_at) {
                        continue;
                    }
                    let key = key.to_vec();
                    if len as usize <= BACKUP_PUT_BYTES_MAX {
                        value.resize(len as usize, 0);
                        content.read_value(&mut value)?;
                        load.put(&key, &value, expires_at)?;
                    } else {
                        load.put_long(&key, len, expires_at, &mut |piece| {
                            content.read_value(piece)
                        })?;
                    }
                }
            }
        }
        match self.is_found {
            true => Ok(()),
            false => {
                let name = self.path.join(&b'/');
                Err(Error::from(ErrorKind::BucketNotFound { name }))
            }
        }
    }

    /// True within the wanted bucket.
    fn is_wanted(&self) -> bool {
        self.matched == self.path.len()
    }

    fn enter(
        &mut self,
        load: &mut Load<'_>,
        name: &[u8],
        sequence: u64,
        expires_at: u64,
    ) -> Result<()> {
        self.depth += 1;
        if self.is_wanted() {
            self.buckets += 1;
            self.expiring += u64::from(expires_at != 0);
            return load.enter(name, sequence, expires_at);
        }
        if self.matched + 1 < self.depth || self.path[self.matched] != name {
            return Ok(());
        }
        self.matched += 1;
        let is_it = self.is_wanted();
        if is_it {
            (self.is_found, self.sequence, self.expires_at) = (true, sequence, expires_at);
            self.buckets += 1;
        }
        match (self.around, is_it) {
            (Around::There, _) => Ok(()),
            (Around::Made, false) => load.enter(name, 0, 0),
            (Around::Made, true) => {
                self.expiring += u64::from(expires_at != 0);
                load.enter(name, sequence, expires_at)
            }
        }
    }

    fn leave(&mut self, load: &mut Load<'_>) -> Result<()> {
        let is_within = self.is_wanted() && self.depth > self.path.len();
        let is_matched = self.matched == self.depth;
        if is_matched {
            self.matched -= 1;
        }
        self.depth -= 1;
        match is_within || is_matched && self.around == Around::Made {
            true => load.leave(),
            false => Ok(()),
        }
    }

    /// True when a pair of so many bytes is wanted, which is then counted.
    fn take_pair(&mut self, bytes: usize, expires_at: u64) -> bool {
        let is_wanted = self.is_wanted();
        if is_wanted {
            self.pairs += 1;
            self.bytes += bytes as u64;
            self.expiring += u64::from(expires_at != 0);
        }
        is_wanted
    }

    fn report(&self, content: &Content<'_>, revision: TxnId) -> RestoreReport {
        let Part { buckets, pairs, bytes: content_bytes, .. } = *self;
        let backup = content.report();
        let (time, transactions) = (backup.time, 0);
        RestoreReport { backup, revision, time, transactions, buckets, pairs, content_bytes }
    }
}

/// Adds to the list of expiries what a load has left out.
fn add_hints(store: &Arc<Store>, content: &mut Content<'_>) -> Result<()> {
    let pin = Pin::new(store)?;
    let added = add_hints_of(store, &pin, content);
    pin.release(store);
    added?;
    checkpoint::run(store, false)?;
    Ok(())
}

fn add_hints_of(store: &Arc<Store>, pin: &Pin, content: &mut Content<'_>) -> Result<()> {
    let mut walk = Walk::new(store, pin);
    let (mut open, mut expiring): (Vec<&[u8]>, Vec<Expiring>) = (Vec::new(), Vec::new());
    loop {
        let step = walk.next()?;
        let (key, expires_at) = match step {
            Some(Step::Enter { name, expires_at, .. }) => (name, expires_at),
            Some(Step::Pair { key, expires_at, .. }) => (key, expires_at),
            Some(Step::Leave) => {
                open.pop();
                continue;
            }
            None => break,
        };
        if expires_at != 0 {
            expiring.push((expires_at, place_of(open.iter().copied().chain([key]))));
            if expiring.len() == HINTS_PER_STEP {
                add_some(store, &mut expiring, content)?;
            }
        }
        if let Some(Step::Enter { name, .. }) = step {
            open.push(name);
        }
    }
    add_some(store, &mut expiring, content)
}

fn add_some(
    store: &Arc<Store>,
    expiring: &mut Vec<Expiring>,
    content: &mut Content<'_>,
) -> Result<()> {
    content.source.tell()?;
    // Those that are due together lie together.
    expiring.sort_unstable();
    let mut txn = WriteTxn::begin_unlogged(store)?;
    txn.add_hints(expiring)?;
    txn.replace_tip()?;
    expiring.clear();
    match store.arena_bytes() > HINT_BYTES_MAX {
        true => checkpoint::run(store, false).map(|_| ()),
        false => Ok(()),
    }
}
