//! Where to cut a page that became too full.
//!
//! An entry beyond the last of the tree goes alone to a new page, so that ascending keys leave
//! full pages behind, and likewise before the first; elsewhere the shortest separator in the
//! middle third decides. Pure: reads content, changes nothing. Invariants:
//! 1. Both sides of a cut fit a page, and neither is empty.
//! 2. An interior page can always be cut, with a separator on both sides. Any page holds three of
//!    the largest, so one that overflows has at least four to share out. A new separator outside
//!    the page's prefix is the first or the last; cut beside it, the others keep their prefix.
//!    Any other new separator can itself be the cut, and both sides are parts of the old page.

use std::cmp::Reverse;
use std::ops::Range;

use crate::page::keys::common_prefix_len;
use crate::page::leaf::LEAF_INDEX_BYTES;
use crate::page::{Entry, InteriorBuilder, Leaf, LeafBuilder, PAGE_HEADER_BYTES};

/// Which end of the tree the new content extends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Edge {
    Left,
    Right,
    None,
}

/// The entries of a leaf, with a change that is not made yet.
#[derive(Clone, Copy)]
pub(super) struct Sequence<'a> {
    leaf: Leaf<'a>,
    /// The entry, and where it goes: `Ok` instead of the one there, `Err` before it.
    change: Option<(Result<usize, usize>, &'a Entry<'a>)>,
}

/// One entry of a sequence.
enum Item<'a> {
    Stored(usize),
    New(&'a Entry<'a>),
}

impl<'a> Sequence<'a> {
    pub(super) fn new(leaf: Leaf<'a>) -> Sequence<'a> {
        Sequence { leaf, change: None }
    }

    pub(super) fn with(self, place: Result<usize, usize>, entry: &'a Entry<'a>) -> Sequence<'a> {
        Sequence { change: Some((place, entry)), ..self }
    }

    pub(super) fn count(&self) -> usize {
        self.leaf.count() + usize::from(matches!(self.change, Some((Err(_), _))))
    }

    pub(super) fn key(&self, index: usize) -> &'a [u8] {
        match self.item(index) {
            Item::Stored(index) => self.leaf.key(index),
            Item::New(entry) => entry.key,
        }
    }

    /// A leaf to be of these entries.
    pub(super) fn part(&self, range: Range<usize>) -> LeafBuilder {
        let mut builder = LeafBuilder::new();
        for index in range {
            match self.item(index) {
                Item::Stored(index) => builder.push_stored(&self.leaf, index),
                Item::New(entry) => builder.push(entry),
            }
        }
        builder
    }

    fn item(&self, index: usize) -> Item<'a> {
        match self.change {
            Some((Ok(place) | Err(place), entry)) if index == place => Item::New(entry),
            Some((Err(place), _)) if index > place => Item::Stored(index - 1),
            _ => Item::Stored(index),
        }
    }

    fn bytes(&self, index: usize) -> usize {
        let heap = match self.item(index) {
            Item::Stored(index) => self.leaf.stored(index).len(),
            Item::New(entry) => entry.stored_bytes(),
        };
        heap + LEAF_INDEX_BYTES
    }
}

/// How many entries go to the left page; `None` when no two pages can hold them.
pub(super) fn leaf_cut(sequence: &Sequence<'_>, edge: Edge, page_bytes: usize) -> Option<usize> {
    let count = sequence.count();
    let room = page_bytes - PAGE_HEADER_BYTES;
    let ends: Vec<usize> = (0..count)
        .scan(0, |end, index| {
            *end += sequence.bytes(index);
            Some(*end)
        })
        .collect();
    let total = ends.last().copied().unwrap_or(0);
    let fits = |cut: &usize| ends[*cut - 1] <= room && total - ends[*cut - 1] <= room;
    let off_middle = |cut: &usize| ends[*cut - 1].abs_diff(total / 2);
    let at_edge = match edge {
        Edge::Left => Some(1),
        Edge::Right => Some(count - 1),
        Edge::None => None,
    };
    if let Some(cut) = at_edge.filter(fits) {
        return Some(cut);
    }
    let separator_len = |cut: &usize| common_prefix_len(sequence.key(*cut - 1), sequence.key(*cut));
    (1..count)
        .filter(|cut| (total / 3..=total - total / 3).contains(&ends[*cut - 1]) && fits(cut))
        .min_by_key(|cut| (separator_len(cut), off_middle(cut)))
        .or_else(|| (1..count).filter(fits).min_by_key(off_middle))
}

/// Which separator goes up, when those gathered do not fit one page.
pub(super) fn interior_cut(builder: &InteriorBuilder, edge: Edge, page_bytes: usize) -> usize {
    let count = builder.count();
    let fits = |cut: usize| {
        builder.used_bytes(0..cut) <= page_bytes && builder.used_bytes(cut + 1..count) <= page_bytes
    };
    let at_edge = match edge {
        Edge::Left => Some(1),
        Edge::Right => Some(count - 2),
        Edge::None => None,
    };
    if let Some(cut) = at_edge.filter(|cut| fits(*cut)) {
        return cut;
    }
    let middle = count / 2;
    let mut cuts: Vec<usize> = (1..count - 1).collect();
    // Those in the middle third first, the shortest of them before all; then outwards.
    cuts.sort_by_key(|cut| {
        let is_central = (count / 3..=count - count / 3).contains(cut);
        let len = if is_central { builder.separator(*cut).len() } else { 0 };
        (Reverse(is_central), len, cut.abs_diff(middle))
    });
    let cut = cuts.into_iter().find(|cut| fits(*cut));
    cut.expect("invariant: an interior page can always be cut")
}
