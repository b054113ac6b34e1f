//! From a full backup to a later point: the transactions after it are made again.
//!
//! Invariants:
//! 1. Every transaction from the full backup to the point is made, in order, once.
//! 2. Each backup that was begun is read to its end: what was cut short is found.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::changes::{self, Transaction};
use crate::checkpoint;
use crate::error::{Error, Result};
use crate::ids::TxnId;
use crate::txn::{Store, WriteTxn};

use super::changes::Log;
use super::container::Header;
use super::source::Source;
use super::{Backup, Progress};

/// Changes may take so much memory before a checkpoint.
const MEMORY_BYTES_MAX: u64 = 64 << 20;
/// Transactions that are made in one.
const TRANSACTIONS_PER_STEP: usize = 1000;
/// And bytes of them.
const BYTES_PER_STEP: usize = 4 << 20;

/// How far to restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestorePoint {
    /// As far as the backups go.
    Newest,
    /// Up to this transaction, the database's revision.
    Transaction(TxnId),
    /// Up to the last transaction that began at this time or before, by the database's clock.
    Time(SystemTime),
}

impl RestorePoint {
    /// True for a transaction up to the point.
    pub(super) fn includes(self, txn: TxnId, time_ms: u64) -> bool {
        match self {
            RestorePoint::Newest => true,
            RestorePoint::Transaction(last) => txn <= last,
            RestorePoint::Time(time) => match time.duration_since(UNIX_EPOCH) {
                Ok(since) => u128::from(time_ms) <= since.as_millis(),
                Err(_) => false,
            },
        }
    }
}

/// What is to be made after a full backup.
pub(super) struct Forward<'f, 'b> {
    pub(super) point: RestorePoint,
    pub(super) later: &'f mut dyn Iterator<Item = Result<Backup<'b>>>,
    /// The first transaction that there is behind those of `later`, if some are missing.
    pub(super) hole: Option<TxnId>,
}

/// How far it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    pub(super) revision: TxnId,
    pub(super) time_ms: u64,
    pub(super) transactions: u64,
}

impl Forward<'_, '_> {
    /// Refuses a point that the full backup is beyond.
    pub(super) fn check_begin(&self, full: &Header) -> Result<()> {
        match self.point.includes(full.last, full.time_ms) {
            true => Ok(()),
            false => Err(Error::invalid(format!(
                "expected a point from transaction {} on, found {:?}",
                full.last, self.point
            ))),
        }
    }

    /// Makes the transactions up to the point in a database that holds the full backup.
    pub(super) fn go(
        self,
        store: &Arc<Store>,
        full: &Header,
        progress: Progress<'_>,
    ) -> Result<Reached> {
        let begin = Reached { revision: full.last, time_ms: full.time_ms, transactions: 0 };
        let mut steps = Steps { store, reached: begin, txn: None, in_step: 0, bytes: 0 };
        let mut is_beyond = false;
        let point = self.point;
        let is_reached = |at: TxnId| matches!(point, RestorePoint::Transaction(last) if at >= last);
        while !is_beyond && !is_reached(steps.reached.revision) {
            let Some(backup) = self.later.next() else { break };
            let mut log = Log::begin(Source::begin(backup?, "restore", &mut *progress)?)?;
            check_follows(log.header(), full, steps.reached.revision)?;
            while let Some(transaction) = log.next()? {
                if transaction.id() <= steps.reached.revision {
                    continue;
                }
                is_beyond |= !self.point.includes(transaction.id(), transaction.time_ms());
                if !is_beyond {
                    steps.make(&transaction)?;
                }
            }
        }
        steps.end()?;
        let Reached { revision, .. } = steps.reached;
        match self.point {
            RestorePoint::Transaction(last) if revision < last => Err(Error::invalid(format!(
                "expected a transaction up to {revision}, found {last}"
            ))),
            RestorePoint::Transaction(_) => Ok(steps.reached),
            // Whether what is missing belongs to it, nobody can tell.
            _ if !is_beyond && self.hole.is_some() => Err(Error::invalid(format!(
                "expected changes from {} on, found the next of {:?}",
                revision.next(),
                self.hole.unwrap_or_default()
            ))),
            _ => Ok(steps.reached),
        }
    }
}

/// Refuses changes of another database, or of a later time.
fn check_follows(log: &Header, full: &Header, reached: TxnId) -> Result<()> {
    if log.database_id != full.database_id {
        let id = |header: &Header| u128::from_be_bytes(header.database_id);
        let (expected, found) = (id(full), id(log));
        let reason = format!("expected changes of database {expected:032x}, found {found:032x}");
        return Err(Error::invalid(reason));
    }
    if log.first > reached.next() {
        let (expected, found) = (reached.next(), log.first);
        return Err(Error::invalid(format!("expected changes from {expected} on, found {found}")));
    }
    Ok(())
}

/// Transactions that are made, many in one.
struct Steps<'s> {
    store: &'s Arc<Store>,
    reached: Reached,
    txn: Option<WriteTxn>,
    in_step: usize,
    bytes: usize,
}

impl Steps<'_> {
    fn make(&mut self, transaction: &Transaction) -> Result<()> {
        let txn = match &mut self.txn {
            Some(txn) => txn,
            none => none.insert(WriteTxn::begin_unlogged(self.store)?),
        };
        self.store.clock.advance(transaction.time_ms());
        changes::make_again(txn, transaction)?;
        self.reached.revision = transaction.id();
        self.reached.time_ms = transaction.time_ms();
        self.reached.transactions += 1;
        self.in_step += 1;
        self.bytes += transaction.as_bytes().len();
        match self.in_step >= TRANSACTIONS_PER_STEP || self.bytes >= BYTES_PER_STEP {
            true => self.end(),
            false => Ok(()),
        }
    }

    fn end(&mut self) -> Result<()> {
        (self.in_step, self.bytes) = (0, 0);
        let Some(mut txn) = self.txn.take() else { return Ok(()) };
        txn.set_id(self.reached.revision);
        txn.replace_tip()?;
        match self.store.arena_bytes() > MEMORY_BYTES_MAX {
            true => checkpoint::run(self.store, false).map(|_| ()),
            false => Ok(()),
        }
    }
}
