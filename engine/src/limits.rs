//! Every bound of the engine in one place, related to each other by compile-time assertions.
//!
//! Sizes are in bytes unless the name says otherwise. Bounds that depend on the page size are
//! functions of it.

/// Smallest page size a database can be created with.
pub const PAGE_BYTES_MIN: usize = 4 << 10;
/// Page size of a new database unless another is asked for.
pub const PAGE_BYTES_DEFAULT: usize = 8 << 10;
/// Largest page size a database can be created with.
pub const PAGE_BYTES_MAX: usize = 32 << 10;

/// Largest value: one byte short of 1 GiB.
pub const VALUE_BYTES_MAX: usize = (1 << 30) - 1;

/// Buckets nest to this depth; a bucket at the top has depth 1.
pub const BUCKET_DEPTH_MAX: usize = 64;

/// Levels of one tree, the leaves included. With the smallest fan-out that splits can leave (two
/// children) real trees stay far below it; a descent that goes deeper has met damage.
pub const TREE_HEIGHT_MAX: usize = 32;

/// Keys that `get_many` takes through the tree at once.
pub const GET_MANY_WIDTH: usize = 16;

/// Checkpoints, epochs, transactions, frames and segments have numbers below this one. At a
/// thousand million a second they last for a century; a file with a higher one is damaged.
pub const COUNTER_MAX: u64 = 1 << 62;

/// Pages a data file can have: page ids have 31 bits.
pub const FILE_PAGES_MAX: u32 = (1 << 31) - 1;

/// Address space reserved for the map of the data file, so that growth never moves it.
pub const MAP_BYTES_RESERVED: usize = 1 << 40;
/// The least that a data file may be limited to.
pub const DATA_BYTES_MIN: u64 = 1 << 20;
/// Address space reserved for pages that have no place in the file yet.
pub const ARENA_BYTES_RESERVED: usize = 64 << 30;
/// That memory is handed out in units of which a page has so many. A whole page takes all of them
/// and an overlay, which leaves most entries where they are, takes one.
pub const ARENA_UNITS: u32 = 2;

/// The log is written in blocks of this size: a power cut tears no smaller unit that could hold
/// acknowledged data.
pub const WAL_BLOCK_BYTES: usize = 4 << 10;
/// Smallest log segment.
pub const WAL_SEGMENT_BYTES_MIN: u64 = 16 << 10;
/// First log segment of a new database; later ones double up to the configured size.
pub const WAL_SEGMENT_BYTES_FIRST: u64 = 256 << 10;
/// Largest log segment.
pub const WAL_SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// One frame of the log carries at most this much; a larger commit spans several frames.
pub const WAL_FRAME_BYTES_MAX: usize = 4 << 20;

/// A record longer than this goes to the log in pieces, while its transaction runs.
pub const WAL_PIECE_BYTES_MAX: usize = WAL_FRAME_BYTES_MAX - 36;

/// Records that wait to be written, in bytes: more make a commit wait for a flush.
pub const WAL_PENDING_BYTES_MAX: u64 = 32 << 20;
/// Spare segments that are kept for the next round, unless the options say otherwise.
pub const WAL_SPARES_MAX: usize = 4;

/// Bytes of frames that are kept ready for transactions that only remove, so that a full disk takes
/// deletes when it takes nothing else. A quarter of a segment where that is less.
pub const WAL_RESERVE_BYTES: u64 = 32 << 10;

/// A salvage commits when it has written so many bytes.
pub const SALVAGE_TXN_BYTES: usize = 4 << 20;

/// Largest block of a backup, its header and checksum left out.
pub const BACKUP_BLOCK_BYTES_MAX: usize = 1 << 20;
/// A value longer than this comes in blocks of its own in a backup.
pub const BACKUP_PUT_BYTES_MAX: usize = 64 << 10;

/// Threads and snapshots that can read at once.
pub const READERS_MAX: usize = 64 << 10;
/// An open beside the owner is tried so often, as long as the owner makes it fail.
pub const ATTACH_TRIES_MAX: usize = 10;
/// Longest label of a reader.
pub const READER_LABEL_BYTES_MAX: usize = 256;

/// Largest key at a page size: a quarter of the page, so that any page holds three.
#[must_use]
pub const fn key_bytes_max(page_bytes: usize) -> usize {
    page_bytes / 4
}

/// A leaf entry up to this size, key and value together, stays in its leaf. A larger value moves
/// to pages of its own.
#[must_use]
pub const fn inline_bytes_max(page_bytes: usize) -> usize {
    page_bytes / 4
}

/// A bucket whose entries fit in this many bytes lives inside its parent's entry.
#[must_use]
pub const fn inline_bucket_bytes_max(page_bytes: usize) -> usize {
    page_bytes / 4
}

const _: () = assert!(PAGE_BYTES_MIN.is_power_of_two() && PAGE_BYTES_MAX.is_power_of_two());
const _: () = assert!(PAGE_BYTES_MIN <= PAGE_BYTES_DEFAULT && PAGE_BYTES_DEFAULT <= PAGE_BYTES_MAX);
// Offsets within a page are u16.
const _: () = assert!(PAGE_BYTES_MAX <= u16::MAX as usize);
// The length of a value is a u32 in its overflow reference.
const _: () = assert!(VALUE_BYTES_MAX < u32::MAX as usize);
const _: () = assert!(WAL_FRAME_BYTES_MAX.is_multiple_of(WAL_BLOCK_BYTES));
const _: () = assert!(WAL_SEGMENT_BYTES_MIN as usize >= 2 * WAL_BLOCK_BYTES);
const _: () = assert!(WAL_SEGMENT_BYTES_MIN <= WAL_SEGMENT_BYTES_FIRST);
const _: () = assert!(key_bytes_max(PAGE_BYTES_DEFAULT) == 2048);
// A put, with its kind, its lengths and its expiry, fits in a block of a backup.
const _: () =
    assert!(BACKUP_PUT_BYTES_MAX + key_bytes_max(PAGE_BYTES_MAX) + 64 <= BACKUP_BLOCK_BYTES_MAX);
