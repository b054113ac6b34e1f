//! Bristlecone: an embedded, transactional key-value engine for orchestrators.

mod bucket;
mod check;
mod checkpoint;
mod codec;
mod db;
mod error;
mod ids;
pub mod io;
pub mod limits;
mod options;
mod page;
mod pager;
mod recovery;
mod snapshot;
mod sync;
mod tree;
mod txn;
mod wal;

pub use bucket::{Bucket, BucketMut, BucketNames, Cursor, Range, Value};
pub use check::{CheckProgress, CheckReport, dump_page};
pub use db::{Db, Stats};
pub use error::{Corruption, Error, ErrorKind, Result};
pub use ids::TxnId;
pub use options::Options;
pub use snapshot::Snapshot;
pub use txn::{Commit, Durability, ReadTxn, WriteTxn};
