//! Everything the engine asks of the world: files, directories, locks, clock and randomness.
//!
//! The layers above see only the two traits [`Host`] and [`File`], so that the same engine runs on
//! the operating system (`real`) and on a simulated disk that forgets, reorders and tears what
//! was not synced (`sim`). `unsafe` code of the engine is in `region`,
//! and in `map_failure` a signal handler.
//!
//! Invariants:
//! 1. Nothing above this module touches a file, a map, the clock or randomness in any other way.
//! 2. A `File` or `Host` call that returns `Ok` did all that was asked: no short reads or writes.

mod behind;
mod map_failure;
mod real;
mod region;
#[cfg(any(test, feature = "simulation"))]
pub mod sim;

use std::fmt;
use std::io::Result;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

pub(crate) use behind::WriteBehind;
pub use map_failure::{MAP_FAILURE_EXIT_CODE, exit_on_map_failure};
pub(crate) use real::RealHost;
pub use region::Region;
pub(crate) use region::prefetch_slice;

/// How to open a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// An existing file, for reading only.
    Read,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// A new file, mode 0600; an existing one is an error.
    CreateNew,
}

/// The operating system, or a simulation of it.
pub trait Host: fmt::Debug + Send + Sync {
    /// Makes one directory with mode 0700. An existing one is `AlreadyExists`.
    fn create_dir(&self, dir: &Path) -> Result<()>;
    /// Names of the files and directories in `dir`, in any order.
    fn list(&self, dir: &Path) -> Result<Vec<String>>;
    /// Opens a file that holds pages. Reads may come from the operating system's cache.
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>>;
    /// Opens a log segment: writes go around the operating system's cache where the file system
    /// allows it. Buffers and offsets must then be multiples of [`crate::limits::WAL_BLOCK_BYTES`].
    fn open_log(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn File>>;
    /// Gives a file or directory a new name, replacing what had it.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> Result<()>;
    /// Removes an empty directory.
    fn remove_dir(&self, dir: &Path) -> Result<()>;
    /// Makes creations, renames and removals in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> Result<()>;
    /// Takes the exclusive lock on the file `path`, creating it if missing. `None` when it is held
    /// by somebody else. The lock ends when the value is dropped or its process dies.
    fn lock(&self, path: &Path) -> Result<Option<Box<dyn Lock>>>;
    /// Wall clock, in milliseconds since 1970. May jump either way.
    fn now_ms(&self) -> u64;
    /// A clock that only counts, in nanoseconds since some moment before this process began.
    fn monotonic_ns(&self) -> u64;
    /// The same clock at its last tick, some milliseconds ago at most: never ahead of
    /// [`Host::monotonic_ns`], and read in a few nanoseconds.
    fn monotonic_tick_ns(&self) -> u64;
    /// The same clock in milliseconds.
    fn monotonic_ms(&self) -> u64 {
        self.monotonic_ns() / 1_000_000
    }
    /// Waits for so long. A simulation moves its clocks instead.
    fn sleep_ms(&self, ms: u64);
    /// A random number.
    fn random(&self) -> u64;
    /// Memory for pages, zeroed, of at most `bytes`. Less may be reserved where the host is small;
    /// ask the region for its length.
    fn reserve(&self, bytes: usize) -> Result<Region>;
    /// True where the engine may run its own threads. A simulation drives everything itself.
    fn may_spawn(&self) -> bool;
}

/// One open file. Calls take `&self`; threads may read and write different ranges at once.
#[allow(clippy::len_without_is_empty, reason = "nobody asks whether a file is empty")]
pub trait File: fmt::Debug + Send + Sync {
    /// Length in bytes.
    fn len(&self) -> Result<u64>;
    /// Fills `buf` from `offset`. Past the end of the file is `UnexpectedEof`.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()>;
    /// Writes all of `buf` at `offset`. Not durable before the next [`File::sync`].
    fn write_at(&self, buf: &[u8], offset: u64) -> Result<()>;
    /// Writes all of `buf` at `offset` and returns when it is durable.
    fn write_durable_at(&self, buf: &[u8], offset: u64) -> Result<()>;
    /// Makes the file `len` bytes long with its blocks allocated, so that later writes within it
    /// need no new space. Fails with `StorageFull` without harm.
    fn allocate(&self, len: u64) -> Result<()>;
    /// Cuts or extends the file to `len` bytes.
    fn set_len(&self, len: u64) -> Result<()>;
    /// Makes content and length durable.
    fn sync(&self) -> Result<()>;
    /// Says that ranges will soon be read, in a map perhaps. Advice: hosts that cannot read ahead
    /// do nothing.
    fn read_ahead(&self, _ranges: &[Range<u64>]) {}
    /// Drops what the operating system caches of the file's first `bytes`, so that reads see the
    /// device. Advice: hosts without such a cache do nothing.
    fn forget_cached(&self, bytes: u64) -> Result<()>;
    /// Maps the file for reading, with `reserve` bytes of address space so that growth shows in the
    /// same map. `None` where the host has no maps; the caller then reads pages by `read_at`.
    fn map(&self, reserve: usize) -> Result<Option<Region>>;
}

/// A held lock; dropping it releases it.
pub trait Lock: fmt::Debug + Send + Sync {}
