//! Making what another database has committed.

use crate::error::{Error, ErrorKind, Result};
use crate::txn::WriteTxn;

use super::transaction::Transaction;

/// Does in `txn`, which was just begun, what `transaction` did, with its number and its time.
pub(crate) fn repeat(txn: &mut WriteTxn, transaction: &Transaction) -> Result<()> {
    if transaction.id() != txn.id() {
        let (expected, found) = (txn.id(), transaction.id());
        return Err(Error::invalid(format!("expected transaction {expected}, found {found}")));
    }
    txn.take_time(transaction.time_ms());
    make_again(txn, transaction)?;
    // Not before: what is refused changes nothing, the clock least of all.
    txn.store().clock.advance(transaction.time_ms());
    Ok(())
}

/// Does in `txn`, which sees what has expired, what `transaction` did.
pub(crate) fn make_again(txn: &mut WriteTxn, transaction: &Transaction) -> Result<()> {
    let made = transaction.operations(&mut |operation| {
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
    });
    made.and_then(|()| txn.return_to(1))
}
