//! Buckets: named, ordered sets of records, nested to any depth within a limit.
//!
//! What users meet: [`Bucket`] to read, [`BucketMut`] to write, [`Range`] and [`Cursor`] to walk.
//! The methods that open buckets are added to the transactions here.
//!
//! Never touches pages itself; trees and levels do. Invariants:
//! 1. What a reading method returns is borrowed from the transaction, not from the handle.
//! 2. A record whose expiry has passed at the transaction's clock is never shown.

mod cursor;
mod range;
mod read;
mod top;
mod write;

pub use cursor::Cursor;
pub use range::{BucketNames, Keys, Range};
pub use read::{Bucket, Value};
pub use write::BucketMut;
