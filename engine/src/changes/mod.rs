//! The change feed: every commit in order, read from the log, and repeated by a follower.
//!
//! Never holds anything up: a reader of changes pins neither pages nor log, and what it comes too
//! late for is told. Invariants:
//! 1. A transaction is told only when it is durable and visible, as a whole, and once.
//! 2. Those told by one reader have consecutive numbers.

mod feed;
mod repeat;
mod transaction;

pub use feed::Changes;
pub(crate) use repeat::{make_again, repeat};
pub use transaction::{Change, Transaction};
