//! Pages by id: where they lie in memory, which are free, and what the file says of itself.
//!
//! Knows nothing of keys or buckets. Invariants:
//! 1. A page that a published root reaches is never written, in memory or in the file.
//! 2. A page of the file is verified against its parent's checksum before the first byte of it is
//!    used, and again after each time it was written.
//! 3. A page of the file is written only by a checkpoint, or by a transaction it is lent to, and
//!    only if neither meta page reaches it and no reader can hold it.

mod arena;
mod attached;
mod create;
mod looks;
mod memory;
mod meta;
mod space;
mod space_group;
mod space_pages;
mod verified;
mod waiting;

pub(crate) use arena::Arena;
pub(crate) use create::create_data_file;
pub(crate) use memory::{PageMemory, Reserved, validate_in_file};
pub(crate) use meta::{META_BYTES, Meta, read_metas, read_surviving_metas};
pub(crate) use space::{Extent, Growth, SpaceMap};
pub(crate) use waiting::{Retired, Waiting};
