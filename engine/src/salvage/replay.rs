//! Replaying what is left of the log on what was salvaged of the trees.
//!
//! Records up to the newest checkpoint concern only what is lost of its tree: they bring what the
//! older tree has of it up to date. Those behind it concern everything.
//!
//! Never decides what is lost in the trees. Invariants:
//! 1. Records are applied in the order of their transactions, each once.
//! 2. Transactions behind the newest checkpoint that were not applied are in the gaps.
//! 3. What a record makes known, because it creates, drops or writes it, is lost no more.

use crate::error::{Error, ErrorKind, Result};
use crate::ids::TxnId;
use crate::txn::{Operation, RecordReader};
use crate::wal::{Remains, Remnant};

use super::LogGap;
use super::losses::{Losses, Path};
use super::target::Target;

/// The first of the transactions that lead without a gap to `newest`; the one behind it when its
/// own record is not there.
pub(super) fn first_before(remains: &Remains, newest: TxnId) -> Result<TxnId> {
    let (mut first, mut next) = (TxnId(0), TxnId(0));
    remains.read(&mut |remnant| {
        let Remnant::Record(record) = remnant else { return Ok(()) };
        if let Ok(txn) = decode(record)
            && txn <= newest
            && txn >= next
        {
            if txn != next {
                first = txn;
            }
            next = txn.next();
        }
        Ok(())
    })?;
    Ok(if next == newest.next() { first } else { newest.next() })
}

/// The transaction of a record that can be read to its end.
fn decode(record: &[u8]) -> Result<TxnId, String> {
    let mut reader = RecordReader::new(record)?;
    while reader.next()?.is_some() {}
    Ok(reader.txn)
}

/// A replay under way.
pub(super) struct Replay<'a> {
    pub(super) target: &'a mut Target,
    /// What is lost in the newest tree.
    pub(super) regions: &'a Losses,
    /// What of that is not known from elsewhere.
    pub(super) losses: &'a mut Losses,
    /// The transaction of the newest checkpoint.
    pub(super) newest: TxnId,
    /// The next transaction to be applied.
    pub(super) next: TxnId,
    pub(super) gaps: Vec<LogGap>,
    /// Why records may be missing here.
    pub(super) why: Option<Error>,
    pub(super) unfinished: Option<Error>,
}

impl Replay<'_> {
    /// Takes everything that is left of the log.
    pub(super) fn run(&mut self, remains: &Remains) -> Result<()> {
        remains.read(&mut |remnant| {
            match remnant {
                Remnant::Record(record) => return self.record(record),
                Remnant::Break(why) => self.why = Some(why),
                Remnant::Unfinished(why) => self.unfinished = Some(why),
            }
            Ok(())
        })?;
        if let Some(why) = self.why.take() {
            let first = self.next.max(self.newest.next());
            self.gaps.push(LogGap { first, last: None, why });
        }
        Ok(())
    }

    fn record(&mut self, record: &[u8]) -> Result<()> {
        let txn = match decode(record) {
            Ok(txn) => txn,
            Err(found) => {
                self.why = Some(Error::invalid(format!("a record of the log: {found}")));
                return Ok(());
            }
        };
        if txn < self.next {
            self.why = None;
            return Ok(());
        }
        let first = self.next.max(self.newest.next());
        if txn > first {
            let unknown = || Error::invalid(format!("expected transaction {first}, found {txn}"));
            let why = self.why.take().unwrap_or_else(unknown);
            self.gaps.push(LogGap { first, last: Some(TxnId(txn.0 - 1)), why });
        }
        self.why = None;
        self.next = txn.next();
        match self.apply(record, txn > self.newest) {
            Err(error) if is_impossible(&error) => {
                self.gaps.push(LogGap { first: txn, last: Some(txn), why: error });
                Ok(())
            }
            done => done,
        }
    }

    /// Applies a record: `all` of it, or what concerns the regions.
    fn apply(&mut self, record: &[u8], all: bool) -> Result<()> {
        let unread = |found| Error::invalid(format!("a record of the log: {found}"));
        let mut reader = RecordReader::new(record).map_err(unread)?;
        self.target.advance_clock(reader.time_ms);
        let mut path = Path::new();
        while let Some(operation) = reader.next().map_err(unread)? {
            match operation {
                Operation::Enter { name } => path.push(name.to_vec()),
                Operation::Leave { levels } => {
                    let left = (path.len() as u64).saturating_sub(levels);
                    path.truncate(usize::try_from(left).unwrap_or(0));
                }
                Operation::Sequence { number } => {
                    if !path.is_empty() && (all || self.regions.hold_bucket(&path)) {
                        self.target.set_sequence(&path, number)?;
                    }
                }
                Operation::Expire { expires_at } => {
                    if !path.is_empty() && (all || self.regions.hold_bucket(&path)) {
                        self.target.set_expiry(&path, expires_at)?;
                    }
                }
                Operation::Put { key, value, expires_at } => {
                    if all || self.regions.hold(&path, key) {
                        self.target.put(&path, key, value, expires_at)?;
                        self.losses.forget_key(&path, key);
                    }
                }
                Operation::Delete { key } => {
                    if all || self.regions.hold(&path, key) {
                        self.target.delete(&path, key)?;
                        self.losses.forget_key(&path, key);
                    }
                }
                Operation::Create { name } => self.renew(&path, name, all, true)?,
                Operation::Drop { name } => self.renew(&path, name, all, false)?,
            }
        }
        Ok(())
    }

    /// A bucket is created or dropped: nothing of it stays as it was.
    fn renew(&mut self, path: &Path, name: &[u8], all: bool, created: bool) -> Result<()> {
        let bucket = [&path[..], &[name.to_vec()]].concat();
        self.losses.forget(&bucket);
        if all || self.regions.hold(path, name) {
            self.losses.forget_key(path, name);
            return match created {
                true => self.target.create(path, name),
                false => self.target.delete(path, name),
            };
        }
        // The newest tree tells of the bucket itself; of what is lost in it, this is the beginning.
        for (path, range) in self.regions.within(&bucket) {
            self.target.clear(&path, &range)?;
        }
        Ok(())
    }
}

/// True for an operation that no database accepts.
fn is_impossible(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidArgument { .. } | ErrorKind::TooLarge { .. })
}
