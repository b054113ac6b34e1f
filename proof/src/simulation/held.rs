//! Readers that histories keep for a while.

use std::sync::Arc;

use bristlecone::{ReadTxn, Snapshot};

use super::compare::Reads;
use super::reference::{Now, Tree};

/// A reader that is kept for a while, and what it must go on to show.
pub(super) struct Held<'db> {
    pub(super) reader: Reader<'db>,
    pub(super) root: Arc<Tree>,
    pub(super) now: Now,
}

pub(super) enum Reader<'db> {
    Txn(ReadTxn<'db>),
    Snapshot(Snapshot),
}

impl Reader<'_> {
    pub(super) fn reads(&self) -> &dyn Reads {
        match self {
            Reader::Txn(txn) => txn,
            Reader::Snapshot(snapshot) => snapshot,
        }
    }
}
