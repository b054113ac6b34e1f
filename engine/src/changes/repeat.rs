//! Making what another database has committed.

use crate::error::{Error, ErrorKind, Result};
use crate::txn::WriteTxn;

use super::transaction::Transaction;

/// Does in `txn`, which was just begun, what `transaction` did.
pub(crate) fn repeat(txn: &mut WriteTxn, transaction: &Transaction) -> Result<()> {
    if transaction.id() != txn.id() {
        let (expected, found) = (txn.id(), transaction.id());
        return Err(Error::invalid(format!("expected transaction {expected}, found {found}")));
    }
    txn.take_time(transaction.time_ms());
    transaction.operations(&mut |operation| {
        txn.apply(operation).map_err(|error| match error.kind() {
            ErrorKind::BucketNotFound { .. }
            | ErrorKind::BucketExists { .. }
            | ErrorKind::NotABucket { .. }
            | ErrorKind::IsABucket { .. } => Error::invalid(format!(
                "expected the content that transaction {} was made on, found another: {error}",
                transaction.id()
            )),
            _ => error,
        })
    })
}
