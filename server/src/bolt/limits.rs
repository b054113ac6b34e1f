//! Every bound of the bolt reader, in one place.
//!
//! It never reads anything: these are constants, related to each other at compile time.
//!
//! Invariants:
//! 1. Whatever bbolt itself can write lies within these bounds, except buckets nested deeper than
//!    `BUCKET_DEPTH_MAX` and page sizes outside `PAGE_BYTES_MIN..=PAGE_BYTES_MAX`.

/// The smallest page size that bbolt tries when it looks for its second meta page.
pub(super) const PAGE_BYTES_MIN: u64 = 1 << 10;

/// The largest page size that bbolt tries when it looks for its second meta page.
pub(super) const PAGE_BYTES_MAX: u64 = 16 << 20;

/// bbolt refuses to put a longer key; names of buckets are not bound by it.
pub(super) const KEY_BYTES_MAX: u64 = 32_768;

/// bbolt refuses to put a longer value.
pub(super) const VALUE_BYTES_MAX: u64 = (1 << 31) - 2;

/// Pages on the way from the root of one bucket's tree to a leaf. Branches of two children reach
/// 2^64 leaves at this height, so a taller tree cannot come from a sound file.
pub(super) const TREE_HEIGHT_MAX: usize = 64;

/// Buckets within buckets. bbolt knows no bound; ours keeps the memory of a walk in bounds.
pub(super) const BUCKET_DEPTH_MAX: usize = 1_024;

/// Bytes of the freelist that are held in memory at a time.
pub(super) const FREELIST_CHUNK_BYTES: usize = 64 << 10;

const _: () = assert!(PAGE_BYTES_MIN.is_power_of_two() && PAGE_BYTES_MAX.is_power_of_two());
const _: () = assert!(PAGE_BYTES_MIN < PAGE_BYTES_MAX);
const _: () = assert!(KEY_BYTES_MAX < VALUE_BYTES_MAX);
const _: () = assert!(FREELIST_CHUNK_BYTES.is_multiple_of(8));
