//! Every bound of the server and the command line in one place, related to each other at compile
//! time. Sizes are in bytes unless the name says otherwise.
//!
//! The bounds of keys, values and nesting are the engine's: see `bristlecone::limits`.

use std::time::Duration;

/// Largest value that the API takes, as JSON text.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// Largest request body: the largest value and the object around it.
pub const BODY_BYTES_MAX: usize = VALUE_BYTES_MAX + (4 << 10);
/// A body that is too large is read and thrown away up to here, so that its sender gets to read
/// the answer; beyond it the connection is cut.
pub const BODY_BYTES_DISCARDED_MAX: usize = 8 << 20;
/// Longest path and query of a request.
pub const URI_BYTES_MAX: usize = 8 << 10;
/// All headers of a request together, the request line included.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// Connections that are served at once; further ones wait to be accepted.
pub const CONNECTIONS_MAX: usize = 4096;
/// Connections that wait to be accepted; the kernel may allow fewer. When it is full the kernel
/// answers a burst of clients with resets.
pub const BACKLOG_MAX: u32 = 4096;
/// Threads that wait for the engine's writer lock.
pub const WRITER_THREADS_MAX: usize = 64;

/// Keys in a list when the request does not say.
pub const LIST_KEYS_DEFAULT: usize = 100;
/// Most keys in a list.
pub const LIST_KEYS_MAX: usize = 1000;

/// Longest time to live, in seconds: a hundred years.
pub const TTL_SECONDS_MAX: f64 = 100.0 * 365.0 * 86_400.0;

/// Within this time the headers of a request have come; an idle connection is closed after it too.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Within this time a request is answered.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests under way get this long to finish when the server stops.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// An import up to this size, keys and values together, is one transaction.
pub const IMPORT_TXN_BYTES_MAX: u64 = 256 << 20;
/// Pairs of one bucket that an import collects before it writes them.
pub const IMPORT_BATCH_BYTES: usize = 4 << 20;

/// A command that only reads is begun so often, while the owner of the database overtakes it.
pub const ATTACHED_TRIES_MAX: usize = 10;
/// Memory for what such a command reads, where less than twice as much is available.
pub const ATTACHED_BYTES_MIN: u64 = 64 << 20;

/// Largest value that the command line reads from its standard input.
pub const INPUT_BYTES_MAX: usize = bristlecone::limits::VALUE_BYTES_MAX;

const _: () = assert!(VALUE_BYTES_MAX <= bristlecone::limits::VALUE_BYTES_MAX);
const _: () = assert!(BODY_BYTES_MAX < BODY_BYTES_DISCARDED_MAX);
// A key of the default page size fits into a URI with every byte escaped.
const _: () = assert!(
    bristlecone::limits::key_bytes_max(bristlecone::limits::PAGE_BYTES_DEFAULT) * 3 < URI_BYTES_MAX
);
const _: () = assert!(URI_BYTES_MAX < HEAD_BYTES_MAX);
const _: () = assert!(LIST_KEYS_DEFAULT <= LIST_KEYS_MAX);
const _: () = assert!((IMPORT_BATCH_BYTES as u64) < IMPORT_TXN_BYTES_MAX);

/// Of the log that no recovery needs, commands leave so many bytes for readers of changes.
pub const LOG_BYTES_KEPT: u64 = 256 << 20;
