//! Bristlecone: an embedded, transactional key-value engine for orchestrators.
//!
//! A database is a directory, owned by one process. It holds nested [`Bucket`]s of ordered keys.
//! Any number of [`ReadTxn`]s read, each its own version, without waiting; one [`WriteTxn`] at a
//! time writes, and commits of many threads share a flush.
//!
//! ```
//! use std::time::Duration;
//!
//! # fn main() -> bristlecone::Result<()> {
//! # let dir = tempfile::tempdir().expect("a temporary directory");
//! # let path = dir.path().join("state");
//! let db = bristlecone::Db::open(&path)?;
//! db.update(|txn| {
//!     let mut nodes = txn.create_bucket_if_missing("nodes")?;
//!     nodes.put("node-1", r#"{"Role":"worker"}"#)?;
//!     nodes.put_with_ttl("lease-1", "held", Duration::from_secs(30))
//! })?;
//! db.view(|txn| {
//!     let nodes = txn.bucket("nodes")?;
//!     assert_eq!(nodes.get("node-1")?, Some(&br#"{"Role":"worker"}"#[..]));
//!     for pair in nodes.prefix("node-")? {
//!         let (key, value) = pair?;
//!         println!("{} has {} bytes", key.escape_ascii(), value.len());
//!     }
//!     Ok(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! # Promises
//!
//! 1. A commit with [`Durability::Sync`] is on the device when it returns.
//! 2. Readers see only what is durable, and never half a transaction.
//! 3. A damaged page or log gives an error of kind [`ErrorKind::Corrupt`], never a wrong value.
//! 4. After a failed write or sync nothing more is accepted, and a commit whose fate is not known
//!    says so: [`ErrorKind::OutcomeUnknown`].
//!
//! # What it does not do
//!
//! It does not repair damaged data: it finds it, and [`salvage`] copies what is left into a new
//! database. It is not a server. One process owns a database; others can read it meanwhile, each
//! time as it is then ([`Db::attach`]). The data file is mapped: a program that truncates it under
//! the engine stops the process, by SIGBUS or as [`exit_on_map_failure`] says.

mod backup;
mod bucket;
mod changes;
mod check;
mod checkpoint;
mod codec;
mod compact;
mod db;
mod error;
mod ids;
pub mod io;
pub mod limits;
#[cfg(not(feature = "simulation"))]
mod mutation;
#[cfg(feature = "simulation")]
#[doc(hidden)]
pub mod mutation;
mod options;
mod page;
mod pager;
mod recovery;
mod salvage;
mod snapshot;
mod sync;
mod tree;
mod ttl;
mod txn;
mod wal;

pub use backup::{
    Archive, ArchiveReport, Backup, BackupKind, BackupOptions, BackupProgress, BackupReport,
    RestoreOptions, RestorePoint, RestoreReport,
};
pub use bucket::{Bucket, BucketMut, BucketNames, Cursor, Keys, Range, Value};
pub use changes::{Change, Changes, Transaction};
pub use check::{CheckProgress, CheckReport, dump_page};
pub use compact::{CompactProgress, CompactReport};
pub use db::{Db, ReaderStats, Stats};
pub use error::{Corruption, Error, ErrorKind, Result};
pub use ids::TxnId;
pub use io::{MAP_FAILURE_EXIT_CODE, exit_on_map_failure};
pub use options::{Options, ReadOptions};
pub use recovery::OpenProgress;
#[doc(hidden)]
pub use salvage::salvage_on;
pub use salvage::{LogGap, Loss, SalvageProgress, SalvageReport, salvage};
pub use snapshot::Snapshot;
pub use ttl::{SweepProgress, SweepReport};
pub use txn::{Commit, Durability, ReadTxn, WriteTxn};

/// The README's code is compiled and run with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
