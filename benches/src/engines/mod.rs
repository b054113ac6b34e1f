//! The engines that are compared, behind one trait.
//!
//! Each method does one kind of work many times, so that a call through the trait costs nothing
//! beside it. An engine does the work in the way that its own documentation recommends.

mod bristlecone;
mod limit;
mod limit_log;
#[cfg(feature = "peers")]
mod lmdb;
#[cfg(feature = "peers")]
mod redb;

use std::error::Error;
use std::fmt;
use std::path::Path;

use bristlecone_benches::data::{Data, Key, Pair};

pub(crate) use bristlecone_benches::record::Role;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// When a commit returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// When it is on the device.
    Durable,
    /// Before that: in the fastest mode of the engine that a later call can make durable.
    Buffered,
}

/// Which way a scan goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    Forward,
    Reverse,
}

/// A key-value engine with one set of pairs. Reads return the sum of
/// [`touch`](bristlecone_benches::data::touch) over what they read.
pub(crate) trait Engine: Send + Sync {
    /// Puts all pairs, in the order given, in one transaction that is durable on return.
    fn load(&self, pairs: &[Pair<'_>]) -> Result<()>;

    /// The same for pairs in the order of their keys, by the fastest way that the engine has.
    fn load_sorted(&self, pairs: &[Pair<'_>]) -> Result<()>;

    /// Gets all keys in one transaction.
    fn get_together(&self, keys: &[Key]) -> Result<u64>;

    /// Gets each key in a transaction of its own.
    fn get_each(&self, keys: &[Key]) -> Result<u64>;

    /// Gets all keys in one transaction, 16 at a time where the engine can.
    fn get_many(&self, keys: &[Key]) -> Result<u64> {
        self.get_together(keys)
    }

    /// In one transaction reads up to `pairs` pairs from each key on, the key included.
    fn scan(&self, starts: &[Key], pairs: usize, direction: Direction) -> Result<u64>;

    /// Reads all pairs.
    fn scan_all(&self) -> Result<u64>;

    /// Puts the pairs in one transaction; durable on return unless opened otherwise.
    fn put(&self, pairs: &[Pair<'_>]) -> Result<()>;

    /// Shows all pairs in the order of their keys.
    fn visit(&self, see: &mut dyn FnMut(Pair<'_>)) -> Result<()>;

    /// Does the work that the engine has put off: what is buffered is durable afterwards, and
    /// nothing is left for a thread of the engine to do while another engine is measured.
    fn settle(&self) -> Result<()>;
}

/// Opens or creates an engine's database in a directory.
type Open = fn(&Path, Mode, &Data) -> Result<Box<dyn Engine>>;

/// An engine that can be opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    /// What [`Mode::Buffered`] is called there.
    pub(crate) buffered: &'static str,
    pub(crate) open: Open,
}

/// All engines of this build.
pub(crate) const KINDS: &[Kind] = &[
    bristlecone::KIND,
    #[cfg(feature = "peers")]
    lmdb::KIND,
    #[cfg(feature = "peers")]
    redb::KIND,
    limit::KIND,
];

/// A key that was put was not found.
#[derive(Debug)]
struct Missing;

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected the value of a key that was put, found none")
    }
}

impl Error for Missing {}
