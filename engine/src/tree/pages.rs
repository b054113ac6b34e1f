//! What a tree asks of whoever keeps its pages, and how a tree is named.
//!
//! Holds no page. Invariants:
//! 1. Between two calls that change a page, a reference from [`Pages::page`] stays good.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::ids::{Epoch, PageId, PageRef};
use crate::page::bucket::BucketRecord;
use crate::page::header::set_born;
use crate::page::{Entry, Leaf, LeafMut, Payload, overlay};

/// Ranges of pages that are read ahead at once.
pub(crate) const READ_AHEAD_MAX: usize = 32;

/// Pages by reference; a page of the file is verified at its first touch.
pub(crate) trait Pages {
    /// Bytes of a page.
    fn page_bytes(&self) -> usize;

    /// The bytes of a page, or of an overlay.
    fn page(&self, page: PageRef) -> Result<&[u8]>;

    /// Says that the opening of a page will soon be read; a hint that may do nothing.
    fn expect(&self, _page: PageRef) {}

    /// The same of a page that most likely has not been read for long: where it has to come from
    /// the device, all of it is asked for.
    fn expect_whole(&self, page: PageRef) {
        self.expect(page);
    }

    /// Says that pages of the file will soon be read, `READ_AHEAD_MAX` ranges at most; a hint that
    /// may do nothing.
    fn read_ahead(&self, _pages: &[Range<u32>]) {}

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

    /// The place of a page of a tree that is built: `fill` writes it, and nobody will change it in
    /// place; content undefined before.
    fn place_built(&mut self, fill: &mut dyn FnMut(&mut [u8])) -> Result<PageRef> {
        let id = self.allocate(1)?;
        fill(self.page_mut(id, 1));
        Ok(PageRef::unsealed(id))
    }

    /// True for a page this transaction may change in place.
    fn is_owned(&self, id: PageId) -> bool;

    /// REQUIRES: `is_owned(id)`, and no overlay. For a run: `count` pages.
    fn page_mut(&mut self, id: PageId, count: u32) -> &mut [u8];

    /// The leaf of an owned page or overlay, to be changed.
    fn leaf_mut(&mut self, leaf: PageRef) -> Result<LeafMut<'_>>;

    /// The page (or run of `count`) is no longer part of the tree, nor is an overlay's base.
    fn retire(&mut self, page: PageRef, count: u32) -> Result<()>;

    /// An owned overlay with room for `need` bytes, which takes the place of a leaf: the leaf, or
    /// the base of one that is an overlay, stays as its base. `None`, and nothing changes, where a
    /// copy of the whole leaf serves better.
    fn lay_over(&mut self, leaf: PageRef, need: usize) -> Result<Option<PageId>>;

    /// An owned copy of a page, whole also where that is an overlay. The page stays as it is.
    fn copy_page(&mut self, page: PageRef) -> Result<PageId> {
        let content = self.page(page)?;
        let content = if overlay::is_overlay(content) {
            let (base, mut whole) =
                (self.page(overlay::base(content))?, vec![0; self.page_bytes()]);
            overlay::write_whole(content, base, &mut whole, self.epoch());
            whole
        } else {
            content.to_vec()
        };
        let (epoch, id) = (self.epoch(), self.allocate(1)?);
        let bytes = self.page_mut(id, 1);
        bytes.copy_from_slice(&content);
        set_born(bytes, epoch);
        Ok(id)
    }
}

/// The leaf that these bytes are: with its base, if they are an overlay.
// Always inline, as the leaf itself: a view of six slices that is returned travels through memory.
#[inline(always)]
pub(crate) fn leaf_of<'a, P: Pages>(pages: &'a P, bytes: &'a [u8]) -> Result<Leaf<'a>> {
    if overlay::is_overlay(bytes) {
        return Ok(Leaf::over(bytes, pages.page(overlay::base(bytes))?));
    }
    Ok(Leaf::new(bytes))
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
        Root::of_decoded(&BucketRecord::decode(record), record)
    }

    /// The same, where the record was decoded before.
    #[inline]
    pub(crate) fn of_decoded(decoded: &BucketRecord, record: &'a [u8]) -> Root<'a> {
        match decoded.image(record) {
            Some(image) => Root::Image(image),
            None => Root::of_page(decoded.root),
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
