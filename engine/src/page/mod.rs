//! Node layouts: pure functions over the bytes of one page.
//!
//! Never does input or output, never follows a page id, never allocates a page. What a page
//! refers to is read and written through [`references`]; everything else is in the page itself.
//! Invariants:
//! 1. Bytes that pass [`validate`] panic in no function of this module.
//! 2. A page holds no checksum of itself: whoever refers to it does.
//! 3. Keys of a leaf ascend strictly, and so do the separators of an interior page.
//!
//! | module | what |
//! |---|---|
//! | `header` | the 24 bytes that open every page of a tree |
//! | `keys` | heads, common prefixes, separators |
//! | `entry` | one record in a leaf's heap |
//! | `bucket` | the record of a nested bucket, and the leaf image it can carry |
//! | `leaf`, `leaf_build`, `leaf_edit` | read, write whole, change in place |
//! | `interior`, `interior_build`, `interior_edit` | likewise |
//! | `live` | a copy without the free bytes |
//! | `overlay` | a changed leaf that leaves most entries where they are |
//! | `overflow` | values too large for a leaf |
//! | `references` | where a page refers to others |
//! | `validate` | is this page what its writer wrote? |

pub(crate) mod bucket;
pub(crate) mod entry;
pub(crate) mod header;
pub(crate) mod interior;
pub(crate) mod interior_build;
pub(crate) mod interior_edit;
pub(crate) mod keys;
pub(crate) mod leaf;
pub(crate) mod leaf_build;
pub(crate) mod leaf_edit;
pub(crate) mod live;
pub(crate) mod overflow;
pub(crate) mod overlay;
pub(crate) mod references;
pub(crate) mod validate;

pub(crate) use bucket::BucketRecord;
pub(crate) use entry::{Entry, Payload};
pub(crate) use header::{PAGE_HEADER_BYTES, PageKind};
pub(crate) use interior::Interior;
pub(crate) use interior_build::InteriorBuilder;
pub(crate) use interior_edit::InteriorMut;
pub(crate) use leaf::Leaf;
pub(crate) use leaf_build::LeafBuilder;
pub(crate) use leaf_edit::LeafMut;
pub(crate) use live::copy_live;
pub(crate) use references::{Reference, Target, references};
pub(crate) use validate::validate;
