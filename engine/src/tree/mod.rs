//! B+trees over pages: find, scan, insert, remove, build, walk and audit.
//!
//! Knows pages only through [`Pages`] and [`PagesMut`]; never opens a file, never decides when a
//! page may be reused, never follows an overflow run or a nested bucket on its own. Invariants:
//! 1. A page that is not owned is never changed: it is copied, and its parent made to point to
//!    the copy, up to the root.
//! 2. An owned page has only owned pages above it.
//! 3. Every descent is bounded by the level each page states, which falls by one at each step.
//! 4. Damage gives an error through [`Pages::damaged`], never a panic and never an endless loop.
//! 5. An error leaves a whole tree: pages that a change needs are allocated before it begins.
//!
//! | module | what |
//! |---|---|
//! | `pages` | what a tree asks of whoever keeps its pages |
//! | `path` | from the root to a leaf, for reading and for changing |
//! | `get`, `cursor` | one key, many keys; in order |
//! | `insert`, `split`, `cut` | put an entry, make room for it |
//! | `remove` | take an entry, merge what it leaves |
//! | `bulk` | a tree from sorted entries |
//! | `compact` | full leaves, and pages where they shall lie |
//! | `audit` | every page; every rule |

pub(crate) mod audit;
pub(crate) mod bulk;
pub(crate) mod compact;
pub(crate) mod cursor;
mod cut;
pub(crate) mod get;
pub(crate) mod insert;
pub(crate) mod pages;
mod path;
pub(crate) mod remove;
mod split;

#[cfg(test)]
mod histories;
#[cfg(test)]
mod page_store;

pub(crate) use audit::{Seen, audit};
pub(crate) use bulk::BulkBuilder;
pub(crate) use compact::{LongRun, Window, Wish, compact, refers_to, touch};
pub(crate) use cursor::Cursor;
pub(crate) use get::{expect_leaves, get, get_from, get_many, touch_leaf};
pub(crate) use insert::{insert, overwrite};
pub(crate) use pages::{
    Pages, PagesMut, READ_AHEAD_MAX, Replaced, ReplacedPayload, Root, Tree, leaf_of,
};
pub(crate) use path::{Opened, open_root};
pub(crate) use remove::remove;
