//! Where transactions end in the log, a few of many: so that a reader of changes need not read the
//! log from its beginning.
//!
//! Invariants:
//! 1. Marks ascend, by transaction and by position.

use std::collections::VecDeque;

use crate::ids::TxnId;
use crate::wal::Position;

/// Between two marks of one segment lies at least so much of the log.
const BYTES_BETWEEN: u64 = 1 << 20;
/// Beyond so many the oldest are forgotten: some GB of log.
const MARKS_MAX: usize = 4096;

/// Transactions and the positions behind their records.
#[derive(Debug, Default)]
pub(crate) struct Marks(VecDeque<(TxnId, Position)>);

impl Marks {
    /// Takes note that the record of `txn` ends at `end`, if the last note is some way before.
    pub(crate) fn note(&mut self, txn: TxnId, end: Position) {
        if let Some((_, last)) = self.0.back()
            && last.segment == end.segment
            && end.offset < last.offset + BYTES_BETWEEN
        {
            return;
        }
        if self.0.len() == MARKS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((txn, end));
    }

    /// A position behind which all transactions after `txn` lie, as late as is known.
    pub(crate) fn before(&self, txn: TxnId) -> Option<Position> {
        let later = self.0.partition_point(|(marked, _)| *marked <= txn);
        later.checked_sub(1).map(|last| self.0[last].1)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::ids::Lsn;

    #[test]
    fn the_last_mark_before_a_transaction_is_found() {
        let mut marks = Marks::default();
        assert_eq!(marks.before(TxnId(7)), None);
        let at = |segment, offset| Position { segment, offset, lsn: Lsn(1) };
        marks.note(TxnId(10), at(1, 4096));
        marks.note(TxnId(11), at(1, 8192));
        marks.note(TxnId(12), at(2, 4096));
        marks.note(TxnId(20), at(2, 4096 + BYTES_BETWEEN));
        for (txn, found) in [
            (9, None),
            (10, Some(at(1, 4096))),
            (11, Some(at(1, 4096))),
            (12, Some(at(2, 4096))),
            (19, Some(at(2, 4096))),
            (20, Some(at(2, 4096 + BYTES_BETWEEN))),
            (99, Some(at(2, 4096 + BYTES_BETWEEN))),
        ] {
            assert_eq!(marks.before(TxnId(txn)), found, "transaction {txn}");
        }
        for segment in 3..10_000 {
            marks.note(TxnId(segment * 10), at(segment, 4096));
        }
        assert_eq!(marks.0.len(), MARKS_MAX);
        assert_eq!(marks.before(TxnId(99_994)), Some(at(9999, 4096)));
    }
}
