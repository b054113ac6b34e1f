//! Transactions: readers that pin a root, one writer that makes the next, and the commit between.
//!
//! Knows trees and the log, not what a user calls a bucket: those methods are added a layer up.
//! Invariants:
//! 1. published <= durable <= appended: a root is published only after its record is durable.
//! 2. Roots are published in the order in which their records were appended.
//! 3. A transaction that does not commit leaves no trace: not in the tree, the log or the arena.

mod clock;
mod commit;
mod compacting;
mod deadline;
mod dropped;
mod due;
mod lent;
mod level;
mod levels;
mod load;
mod marks;
mod operation;
mod pages;
mod read;
mod readers;
mod root;
mod seat;
mod signals;
mod sorted;
mod spill;
mod store;
mod sweep;
mod values;
mod write;

pub(crate) use clock::Clock;
pub use commit::Commit;
pub(crate) use lent::{Lent, Spilled};
pub(crate) use level::Stack;
pub(crate) use load::{Expiring, Hints, Load, place_of};
pub(crate) use marks::Marks;
pub(crate) use operation::{Operation, RecordReader};
pub use read::ReadTxn;
pub(crate) use read::{Pin, View};
pub(crate) use readers::{OpenReader, Readers};
pub(crate) use root::{Published, Root};
pub(crate) use seat::{Lists, Writer, WriterSeat};
pub(crate) use signals::Signals;
pub(crate) use store::{CommitQueue, FileState, Gauges, Store, WriterGuard};
pub(crate) use sweep::Swept;
pub use write::{Durability, WriteTxn};
