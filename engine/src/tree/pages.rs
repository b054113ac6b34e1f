//! What a tree asks of whoever keeps its pages, and how a tree is named.
//!
//! Holds no page. Invariants:
//! 1. Between two calls that change a page, a reference from [`Pages::page`] stays good.

use crate::error::{Error, Result};
use crate::ids::{Epoch, PageId, PageRef};
use crate::page::bucket::{self, BucketRecord};
use crate::page::header::set_born;
use crate::page::{Entry, Payload};

/// Pages by reference; a page of the file is verified at its first touch.
pub(crate) trait Pages {
    /// Bytes of a page.
    fn page_bytes(&self) -> usize;

    /// The bytes of a page.
    fn page(&self, page: PageRef) -> Result<&[u8]>;

    /// Says that the opening of a page will soon be read; a hint that may do nothing.
    fn expect(&self, _page: PageRef) {}

    /// The bytes of the value in an overflow run, in place.
    fn run(&self, run: PageRef, value_len: u32) -> Result<&[u8]>;

    /// A typed error for a tree page that contradicts its parent (wrong level, too deep ...).
    fn damaged(&self, page: PageRef, expected: &str, found: String) -> Error;
}

/// The one writer's view.
pub(crate) trait PagesMut: Pages {
    /// The version of the tree in the making.
    fn epoch(&self) -> Epoch;

    /// `count` adjoining arena pages, content undefined.
    fn allocate(&mut self, count: u32) -> Result<PageId>;

    /// True for a page this transaction may change in place.
    fn is_owned(&self, id: PageId) -> bool;

    /// REQUIRES: `is_owned(id)`. For a run: `count` pages.
    fn page_mut(&mut self, id: PageId, count: u32) -> &mut [u8];

    /// The page (or run of `count`) is no longer part of the tree.
    fn retire(&mut self, page: PageRef, count: u32) -> Result<()>;

    /// An owned copy of a page, born in this epoch. The page itself stays as it is.
    ///
    /// Whoever can borrow two pages at once should override this: it copies twice.
    fn copy_page(&mut self, page: PageRef) -> Result<PageId> {
        let content = self.page(page)?.to_vec();
        let (epoch, id) = (self.epoch(), self.allocate(1)?);
        let bytes = self.page_mut(id, 1);
        bytes.copy_from_slice(&content);
        set_born(bytes, epoch);
        Ok(id)
    }
}

/// Where a tree to read starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Root<'a> {
    /// There is no entry.
    Empty,
    /// The root page.
    Page(PageRef),
    /// An inline bucket: a tree of one leaf, within an entry of another.
    Image(&'a [u8]),
}

impl<'a> Root<'a> {
    /// The tree of a nested bucket, given its record.
    #[inline]
    pub(crate) fn of_bucket(record: &'a [u8]) -> Root<'a> {
        match bucket::image(record) {
            Some(image) => Root::Image(image),
            None => Root::of_page(BucketRecord::decode(record).root),
        }
    }

    /// The tree under a page, which may be none.
    #[inline]
    pub(crate) fn of_page(page: PageRef) -> Root<'a> {
        if page.id.is_none() { Root::Empty } else { Root::Page(page) }
    }
}

/// A tree to change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tree {
    /// The root page; `NONE` when there is no entry.
    pub(crate) root: PageRef,
    /// Entries of the tree.
    pub(crate) entries: u64,
}

impl Tree {
    /// A tree without entries.
    pub(crate) const EMPTY: Tree = Tree { root: PageRef::NONE, entries: 0 };

    /// Where to start reading.
    #[inline]
    pub(crate) fn root(&self) -> Root<'static> {
        Root::of_page(self.root)
    }
}

/// What an insert replaced or a removal took. The pages of a run or of a bucket's tree are still
/// in use: retiring them is up to the caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Replaced {
    pub(crate) payload: ReplacedPayload,
    /// Unix time in milliseconds; 0 for never.
    pub(crate) expires_at: u64,
}

/// What the entry held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ReplacedPayload {
    /// A value within the leaf.
    Value {
        /// Length of the value.
        len: usize,
    },
    /// A value in a run of pages.
    Overflow {
        /// First page of the run.
        run: PageRef,
        /// Length of the value.
        len: u32,
    },
    /// A bucket, by its record.
    Bucket(Box<[u8]>),
}

impl Replaced {
    pub(crate) fn of(entry: &Entry<'_>) -> Replaced {
        let payload = match entry.payload {
            Payload::Value(value) => ReplacedPayload::Value { len: value.len() },
            Payload::Overflow { run, len } => ReplacedPayload::Overflow { run, len },
            Payload::Bucket(record) => ReplacedPayload::Bucket(record.into()),
        };
        Replaced { payload, expires_at: entry.expires_at }
    }
}
