//! What a commit changed, as a reader of changes gets it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};
use crate::ids::TxnId;
use crate::limits::BUCKET_DEPTH_MAX;
use crate::txn::{Operation, RecordReader};

/// A committed transaction: its number, its time, and what it changed, in order.
#[derive(Clone, PartialEq, Eq)]
pub struct Transaction {
    id: TxnId,
    time_ms: u64,
    record: Vec<u8>,
}

/// One change in a bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Change<'a> {
    /// A value was written. An expiry that was moved or taken away shows as one too.
    Put {
        /// Its key.
        key: &'a [u8],
        /// The value.
        value: &'a [u8],
        /// When it expires; `None` for one that stays.
        expires_at: Option<SystemTime>,
    },
    /// What was under a key was removed: by somebody, or because it had expired.
    Delete {
        /// The key.
        key: &'a [u8],
    },
    /// A bucket was created in the bucket.
    CreateBucket {
        /// Its name.
        name: &'a [u8],
    },
    /// A bucket in the bucket was dropped with all it held: by somebody, or because it had expired.
    DropBucket {
        /// Its name.
        name: &'a [u8],
    },
    /// The bucket's sequence counter was set.
    SetSequence {
        /// What it is now.
        number: u64,
    },
    /// The bucket's own expiry was set.
    SetExpiry {
        /// When it expires; `None` when it stays.
        expires_at: Option<SystemTime>,
    },
}

impl Transaction {
    /// The transaction of a record of the log. `Err` says what was expected and what was found.
    pub(super) fn of_record(record: Vec<u8>) -> Result<Transaction, String> {
        let RecordReader { txn, time_ms, .. } = RecordReader::new(&record)?;
        Ok(Transaction { id: txn, time_ms, record })
    }

    /// The transaction that [`as_bytes`](Transaction::as_bytes) has told.
    ///
    /// # Errors
    /// `InvalidArgument` for bytes that are none. They have no checksum of their own.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Transaction> {
        let invalid = |found| Error::invalid(format!("a transaction's bytes: {found}"));
        let transaction = Transaction::of_record(bytes).map_err(invalid)?;
        transaction.visit(|_, _| Ok(()))?;
        Ok(transaction)
    }

    /// The bytes to keep or to send: a record, as the documentation of the format says.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.record
    }

    /// Its number: the database's revision once it was committed.
    #[must_use]
    pub fn id(&self) -> TxnId {
        self.id
    }

    /// Its clock, in milliseconds since 1970: that of the database it was committed to, read when
    /// it began.
    #[must_use]
    pub fn time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.time_ms.min(i64::MAX as u64))
    }

    pub(crate) fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Tells `change` what was changed, in order, with the names of the buckets that lead there;
    /// there are none for top-level buckets that are created or dropped.
    ///
    /// # Errors
    /// Those of `change`, which end it. `InvalidArgument` for a record that cannot be.
    pub fn visit<'a>(
        &'a self,
        mut change: impl FnMut(&[&'a [u8]], Change<'a>) -> Result<()>,
    ) -> Result<()> {
        let mut names: Vec<&[u8]> = Vec::new();
        self.operations(&mut |operation| {
            let told = match operation {
                Operation::Enter { name } => {
                    names.push(name);
                    return Ok(());
                }
                Operation::Leave { levels } => {
                    let left = usize::try_from(levels).ok().map(|up| names.len().checked_sub(up));
                    names.truncate(left.flatten().unwrap_or(0));
                    return Ok(());
                }
                Operation::Put { key, value, expires_at } => {
                    Change::Put { key, value, expires_at: time_of(expires_at) }
                }
                Operation::Delete { key } => Change::Delete { key },
                Operation::Create { name } => Change::CreateBucket { name },
                Operation::Drop { name } => Change::DropBucket { name },
                Operation::Sequence { number } => Change::SetSequence { number },
                Operation::Expire { expires_at } => {
                    Change::SetExpiry { expires_at: time_of(expires_at) }
                }
            };
            change(&names, told)
        })
    }

    /// Tells `each` the operations, in order. Refuses those that no commit can have.
    pub(super) fn operations<'a>(
        &'a self,
        each: &mut dyn FnMut(Operation<'a>) -> Result<()>,
    ) -> Result<()> {
        let invalid = |found| Error::invalid(format!("transaction {}: {found}", self.id));
        let mut reader = RecordReader::new(&self.record).map_err(invalid)?;
        let mut depth = 0_usize;
        while let Some(operation) = reader.next().map_err(invalid)? {
            match operation {
                Operation::Enter { .. } if depth < BUCKET_DEPTH_MAX => depth += 1,
                Operation::Leave { levels } if levels <= depth as u64 => depth -= levels as usize,
                Operation::Create { .. } if depth < BUCKET_DEPTH_MAX => {}
                Operation::Drop { .. } => {}
                Operation::Put { .. }
                | Operation::Delete { .. }
                | Operation::Sequence { .. }
                | Operation::Expire { .. }
                    if depth > 0 => {}
                _ => {
                    let found = format!("expected a change in a bucket, found {operation:?}");
                    return Err(invalid(found));
                }
            }
            each(operation)?;
        }
        Ok(())
    }
}

fn time_of(expires_at: u64) -> Option<SystemTime> {
    match expires_at {
        0 => None,
        expires_at => UNIX_EPOCH.checked_add(Duration::from_millis(expires_at)),
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("id", &self.id)
            .field("time_ms", &self.time_ms)
            .field("bytes", &self.record.len())
            .finish()
    }
}
