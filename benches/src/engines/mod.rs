//! The engines that are compared, behind one trait.
//!
//! Each method does one kind of work many times, so that a call through the trait costs nothing
//! beside it. An engine does the work in the way that its own documentation recommends; each file
//! tells its settings and why.

mod bristlecone;
#[cfg(feature = "peers")]
mod canopydb;
#[cfg(feature = "peers")]
mod fjall;
mod heads;
#[cfg(feature = "libmdbx")]
mod libmdbx;
mod limit;
mod limit_log;
#[cfg(feature = "peers")]
mod lmdb;
#[cfg(feature = "peers")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "peers")]
mod sled;
#[cfg(feature = "peers")]
mod sqlite;

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bristlecone_benches::data::{Data, Pair};

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

/// Gets keys in a view that is held, and returns the sum of their values.
pub(crate) type View<'a> = dyn Fn(&[&[u8]]) -> Result<u64> + 'a;

/// A key-value engine with one set of pairs. Reads return the sum of
/// [`touch`](bristlecone_benches::data::touch) over what they read.
pub(crate) trait Engine: Send + Sync {
    /// Puts all pairs, in the order given, in one transaction that is durable on return.
    fn load(&self, pairs: &[Pair<'_>]) -> Result<()>;

    /// The same for pairs in the order of their keys, by the fastest way that the engine has.
    fn load_sorted(&self, pairs: &[Pair<'_>]) -> Result<()> {
        self.load(pairs)
    }

    /// Gets all keys in one transaction.
    fn get_together(&self, keys: &[&[u8]]) -> Result<u64>;

    /// Gets each key in a transaction of its own.
    fn get_each(&self, keys: &[&[u8]]) -> Result<u64>;

    /// Gets all keys in one transaction, 16 at a time where the engine can.
    fn get_many(&self, keys: &[&[u8]]) -> Result<u64> {
        self.get_together(keys)
    }

    /// Gets one key in a transaction of its own, and reads all of its value: the sum of
    /// [`touch_all`](bristlecone_benches::data::touch_all).
    fn get_whole(&self, key: &[u8]) -> Result<u64>;

    /// In one transaction reads up to `pairs` pairs from each key on, the key included.
    fn scan(&self, starts: &[&[u8]], pairs: usize, direction: Direction) -> Result<u64>;

    /// Reads all pairs.
    fn scan_all(&self) -> Result<u64>;

    /// Puts the pairs in one transaction; durable on return unless opened otherwise.
    fn put(&self, pairs: &[Pair<'_>]) -> Result<()>;

    /// Deletes the keys in one transaction; durable on return unless opened otherwise.
    fn delete(&self, keys: &[&[u8]]) -> Result<()>;

    /// Calls `body` with a view of the pairs as they are now, held until it returns.
    fn hold(&self, body: &mut dyn FnMut(&View<'_>) -> Result<()>) -> Result<()>;

    /// Creates small buckets in one transaction that is durable on return. A key begins with the
    /// name of its bucket; keys come in order. Without cheap buckets the name stays in the key.
    fn create_buckets(&self, pairs: &[Pair<'_>]) -> Result<()> {
        self.load_sorted(pairs)
    }

    /// In one transaction, for each key: opens the bucket of its name and gets it there.
    fn get_in_buckets(&self, keys: &[&[u8]]) -> Result<u64> {
        self.get_together(keys)
    }

    /// Shows all pairs in the order of their keys.
    fn visit(&self, see: &mut dyn FnMut(Pair<'_>)) -> Result<()>;

    /// Does the work that the engine has put off: what is buffered is durable afterwards, and
    /// nothing is left for a thread of the engine to do while another engine is measured.
    fn settle(&self) -> Result<()>;

    /// Gives space back to the file system, where the engine can while it is open.
    fn compact(&mut self) -> Result<()> {
        Ok(())
    }

    /// Closes the database, so that the next open has nothing to recover.
    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// How a database is opened.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) mode: Mode,
    /// Bytes of all keys and values, for caches that should hold them.
    #[cfg_attr(
        not(any(feature = "peers", feature = "rocksdb")),
        expect(dead_code, reason = "some peers ask for it")
    )]
    pub(crate) payload_bytes: u64,
    /// Length of most values.
    #[cfg_attr(not(feature = "peers"), expect(dead_code, reason = "some peers ask for it"))]
    pub(crate) value_bytes: usize,
    /// Memory to take for caches and changed pages; `None` for a cache of all data, and the
    /// engine's own default for the rest.
    pub(crate) memory_bytes: Option<u64>,
    /// What will be loaded; `None` where there is no limit.
    pub(crate) data: Option<Arc<Data>>,
}

impl Opening {
    /// Room for a cache that holds all data, as the page cache does for the engines that read
    /// through it, or half of the memory that was told.
    #[cfg(any(feature = "peers", feature = "rocksdb"))]
    fn cache_bytes(&self) -> u64 {
        self.memory_bytes.map_or_else(|| (1 << 30).max(4 * self.payload_bytes), |bytes| bytes / 2)
    }
}

/// Opens or creates an engine's database in a directory.
type Open = fn(&Path, &Opening) -> Result<Box<dyn Engine>>;

/// An engine that can be opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    /// What [`Mode::Buffered`] is called there.
    pub(crate) buffered: &'static str,
    /// Whether [`Engine::get_many`] is more than single gets.
    pub(crate) gets_many: bool,
    /// What small buckets are there.
    pub(crate) buckets: &'static str,
    /// How space is given back there.
    pub(crate) compaction: &'static str,
    pub(crate) open: Open,
}

/// All engines of this build.
pub(crate) const KINDS: &[Kind] = &[
    bristlecone::KIND,
    #[cfg(feature = "peers")]
    lmdb::KIND,
    #[cfg(feature = "libmdbx")]
    libmdbx::KIND,
    #[cfg(feature = "peers")]
    redb::KIND,
    #[cfg(feature = "peers")]
    sqlite::KIND,
    #[cfg(feature = "peers")]
    canopydb::KIND,
    #[cfg(feature = "rocksdb")]
    rocksdb::KIND,
    #[cfg(feature = "peers")]
    fjall::KIND,
    #[cfg(feature = "peers")]
    sled::KIND,
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

/// An engine cannot do this by its nature: no failure, and its round goes on.
#[derive(Debug)]
pub(crate) struct Unsupported(pub(crate) &'static str);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Unsupported {}
