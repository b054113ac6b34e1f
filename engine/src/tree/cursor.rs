//! The entries of a tree in key order, both ways.
//!
//! Never copies an entry and never looks at an expiry. Invariants:
//! 1. A cursor stands on an entry, before the first, after the last, or has failed.
//! 2. After an error it gives no entry until the next seek.
//! 3. While it stands on an entry, `steps` lead from the root to `leaf`.

use super::pages::{Pages, READ_AHEAD_MAX, Root, leaf_of};
use super::path::{Step, expect_child, open, open_root};
use crate::error::Result;
use crate::ids::PageRef;
use crate::limits::TREE_HEIGHT_MAX;
use crate::page::{Entry, Interior, Leaf};

/// A place among the entries of a tree.
#[derive(Debug)]
pub(crate) struct Cursor<'a, P> {
    pages: &'a P,
    root: Root<'a>,
    /// The leaf at hand; empty unless the cursor stands on an entry.
    leaf: Leaf<'a>,
    /// The entry at hand; one before the first of all when `leaf` is empty.
    index: usize,
    place: Place,
    steps: [Step; TREE_HEIGHT_MAX],
    /// Interior pages above the leaf.
    depth: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    BeforeFirst,
    OnEntry,
    AfterLast,
    Failed,
}

/// Where a descent ends.
#[derive(Clone, Copy)]
enum Aim<'k> {
    First,
    Last,
    NotBelow(&'k [u8]),
}

/// `index` while the leaf is empty: stepping forward from it gives 0, which the leaf has not.
const NO_INDEX: usize = usize::MAX;

/// So many leaves are read ahead at once by a scan that comes to the first of such a group below
/// their parent, or to another parent: few short scans do.
const LEAVES_AHEAD: usize = READ_AHEAD_MAX;

/// Leaves whose numbers differ by no more than this are read ahead together.
const GAP_PAGES: u32 = 4;

/// Entries that are asked for ahead where a scan begins.
const EXPECTED: usize = 4;

impl<'a, P: Pages> Cursor<'a, P> {
    /// A cursor before the first entry.
    #[inline]
    pub(crate) fn new(pages: &'a P, root: Root<'a>) -> Cursor<'a, P> {
        Cursor {
            pages,
            root,
            leaf: Leaf::EMPTY,
            index: NO_INDEX,
            place: Place::BeforeFirst,
            steps: [Step::NONE; TREE_HEIGHT_MAX],
            depth: 0,
        }
    }

    /// The entry at hand.
    #[inline]
    pub(crate) fn current(&self) -> Option<Entry<'a>> {
        self.leaf.get(self.index)
    }

    /// Goes to the next entry; from before the first, to the first.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Entry<'a>>> {
        let next = self.index.wrapping_add(1);
        if let Some(entry) = self.leaf.get(next) {
            self.index = next;
            return Ok(Some(entry));
        }
        self.next_leaf()
    }

    /// Goes to the next entry of the leaf at hand and gives its key and value, if it is a value
    /// within the leaf and for good. Otherwise stays: [`next`](Cursor::next) knows more.
    #[inline]
    pub(crate) fn next_plain(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let next = self.index.wrapping_add(1);
        let pair = self.leaf.plain_pair(next)?;
        self.index = next;
        Some(pair)
    }

    /// As [`next_plain`](Cursor::next_plain), to the previous entry.
    #[inline]
    pub(crate) fn previous_plain(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let previous = self.index.wrapping_sub(1);
        let pair = self.leaf.plain_pair(previous)?;
        self.index = previous;
        Some(pair)
    }

    /// Goes to the previous entry; from after the last, to the last.
    #[inline]
    pub(crate) fn prev(&mut self) -> Result<Option<Entry<'a>>> {
        let previous = self.index.wrapping_sub(1);
        if let Some(entry) = self.leaf.get(previous) {
            self.index = previous;
            return Ok(Some(entry));
        }
        self.previous_leaf()
    }

    /// Goes to the first entry whose key is not below `key`; after the last if there is none.
    #[inline]
    pub(crate) fn seek(&mut self, key: &[u8]) -> Result<Option<Entry<'a>>> {
        self.seek_to(Aim::NotBelow(key))
    }

    /// Says that the entries before the one at hand will soon be read, or those after it.
    #[inline]
    pub(crate) fn expect_beside(&self, before: bool) {
        for distance in 1..=EXPECTED {
            let index = match before {
                true => self.index.wrapping_sub(distance),
                false => self.index.wrapping_add(distance),
            };
            self.leaf.expect_entry(index);
        }
    }

    /// Goes to the first entry.
    pub(crate) fn seek_to_first(&mut self) -> Result<Option<Entry<'a>>> {
        self.seek_to(Aim::First)
    }

    /// Goes to the last entry.
    pub(crate) fn seek_to_last(&mut self) -> Result<Option<Entry<'a>>> {
        self.seek_to(Aim::Last)
    }

    fn seek_to(&mut self, aim: Aim<'_>) -> Result<Option<Entry<'a>>> {
        self.leave(Place::AfterLast);
        match self.root {
            Root::Empty => return Ok(None),
            Root::Image(image) => {
                self.depth = 0;
                self.stand_in(Leaf::new(image), aim);
            }
            Root::Page(root) => {
                let arrived = self.descend_from_root(root, aim);
                self.fuse(arrived)?;
            }
        }
        match (self.current(), aim) {
            (Some(entry), _) => Ok(Some(entry)),
            (None, Aim::Last) => self.previous_leaf(),
            (None, _) => self.next_leaf(),
        }
    }

    fn descend_from_root(&mut self, root: PageRef, aim: Aim<'_>) -> Result<()> {
        let (_, level) = open_root(self.pages, root)?;
        self.depth = usize::from(level);
        self.descend(root, level, aim)
    }

    /// Goes down from a page at `level` to a leaf, and stands in it.
    fn descend(&mut self, page: PageRef, level: u8, aim: Aim<'_>) -> Result<()> {
        let (mut page, mut level) = (page, level);
        let mut bytes = open(self.pages, page, level)?;
        while level > 0 {
            let interior = Interior::new(bytes);
            let index = match aim {
                Aim::First => 0,
                Aim::Last => interior.count(),
                Aim::NotBelow(key) => interior.search(key),
            };
            self.steps[self.depth - usize::from(level)] = Step::new(page, index);
            page = interior.child(index);
            level -= 1;
            // Where a scan begins; the leaves that it steps to are not asked for one by one, or the
            // system would not notice that first reads are in order.
            expect_child(self.pages, page, level);
            bytes = open(self.pages, page, level)?;
        }
        self.stand_in(leaf_of(self.pages, bytes)?, aim);
        Ok(())
    }

    /// Stands on the entry aimed at, or just outside the leaf where there is none.
    fn stand_in(&mut self, leaf: Leaf<'a>, aim: Aim<'_>) {
        self.index = match aim {
            Aim::First => 0,
            Aim::Last => leaf.count().wrapping_sub(1),
            Aim::NotBelow(key) => leaf.search(key).unwrap_or_else(|index| index),
        };
        self.leaf = leaf;
        self.place = Place::OnEntry;
    }

    /// The first entry of the next leaf that has one.
    #[cold]
    fn next_leaf(&mut self) -> Result<Option<Entry<'a>>> {
        match self.place {
            Place::BeforeFirst => self.seek_to_first(),
            Place::AfterLast | Place::Failed => Ok(None),
            Place::OnEntry => self.beyond_leaf(Aim::First, Place::AfterLast),
        }
    }

    /// The last entry of the previous leaf that has one.
    #[cold]
    fn previous_leaf(&mut self) -> Result<Option<Entry<'a>>> {
        match self.place {
            Place::AfterLast => self.seek_to_last(),
            Place::BeforeFirst | Place::Failed => Ok(None),
            Place::OnEntry => self.beyond_leaf(Aim::Last, Place::BeforeFirst),
        }
    }

    fn beyond_leaf(&mut self, aim: Aim<'_>, end: Place) -> Result<Option<Entry<'a>>> {
        loop {
            let stepped = self.step_aside(aim);
            if !self.fuse(stepped)? {
                self.leave(end);
                return Ok(None);
            }
            if let Some(entry) = self.current() {
                return Ok(Some(entry));
            }
        }
    }

    /// Stands in the leaf to the right, or to the left when aiming at the last entry. False when
    /// there is none.
    fn step_aside(&mut self, aim: Aim<'_>) -> Result<bool> {
        for depth in (0..self.depth).rev() {
            let (page, index) = (self.steps[depth].page, self.steps[depth].index());
            let level = (self.depth - depth) as u8;
            let interior = Interior::new(open(self.pages, page, level)?);
            let aside = match aim {
                Aim::Last => index.checked_sub(1),
                _ => Some(index + 1).filter(|index| *index <= interior.count()),
            };
            let Some(aside) = aside else {
                continue;
            };
            self.steps[depth] = Step::new(page, aside);
            // Whoever comes this far will most likely go on.
            let beyond = match aim {
                Aim::Last => aside.checked_sub(1),
                _ => Some(aside + 1),
            };
            beyond.into_iter().for_each(|index| self.pages.expect(interior.child(index)));
            // Of each group, the leaf that a scan comes to first.
            let entrance = match aim {
                Aim::Last => LEAVES_AHEAD - 1,
                _ => 0,
            };
            if level == 1 && aside % LEAVES_AHEAD == entrance {
                read_ahead(self.pages, &interior, aside, aim);
            }
            self.descend(interior.child(aside), level - 1, aim)?;
            if level > 1 {
                let last = self.steps[self.depth - 1];
                let interior = Interior::new(open(self.pages, last.page, 1)?);
                read_ahead(self.pages, &interior, last.index(), aim);
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Stands outside all leaves.
    fn leave(&mut self, place: Place) {
        self.place = place;
        self.leaf = Leaf::EMPTY;
        self.index = NO_INDEX;
    }

    fn fuse<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.leave(Place::Failed);
        }
        result
    }
}

/// Says that the leaves from child `index` on will be read, up to the end of its group of
/// `LEAVES_AHEAD`: those that lie together as one range.
fn read_ahead<P: Pages>(pages: &P, interior: &Interior<'_>, index: usize, aim: Aim<'_>) {
    let group = index / LEAVES_AHEAD * LEAVES_AHEAD;
    let (from, to) = match aim {
        Aim::Last => (group, index + 1),
        _ => (index, (group + LEAVES_AHEAD).min(interior.count() + 1)),
    };
    let (mut places, mut count) = ([0; LEAVES_AHEAD], 0);
    for id in (from..to).map(|index| interior.child(index).id).filter(|id| !id.is_arena()) {
        places[count] = id.index();
        count += 1;
    }
    let places = &mut places[..count];
    places.sort_unstable();
    let (mut ranges, mut count) = ([const { 0..0 }; LEAVES_AHEAD], 0);
    for together in places.chunk_by(|a, b| b - a <= GAP_PAGES) {
        ranges[count] = together[0]..together[together.len() - 1] + 1;
        count += 1;
    }
    pages.read_ahead(&ranges[..count]);
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::ops::Range;

    use super::super::insert;
    use super::super::page_store::PageStore;
    use super::super::pages::Tree;
    use super::*;
    use crate::error::Error;
    use crate::ids::{Epoch, PageId};
    use crate::page::{InteriorBuilder, LeafBuilder, Payload};

    fn entry(key: &[u8]) -> Entry<'_> {
        Entry { key, payload: Payload::Value(&[1; 300]), expires_at: 0 }
    }

    #[test]
    fn a_cursor_turns_round_at_both_ends() {
        let keys = [b"a", b"b", b"c"];
        let mut builder = LeafBuilder::new();
        keys.iter().for_each(|key| builder.push(&entry(*key)));
        let (image, store) = (builder.image(), PageStore::new(4096));
        let mut cursor = Cursor::new(&store, Root::Image(&image));
        assert_eq!(cursor.prev().unwrap(), None);
        for _ in 0..2 {
            for key in keys {
                assert_eq!(cursor.next().unwrap(), Some(entry(key)));
            }
            assert_eq!(cursor.next().unwrap(), None);
            assert_eq!(cursor.next().unwrap(), None);
            for key in keys.iter().rev() {
                assert_eq!(cursor.prev().unwrap(), Some(entry(*key)));
            }
            assert_eq!(cursor.prev().unwrap(), None);
            assert_eq!(cursor.prev().unwrap(), None);
        }
        assert_eq!(cursor.seek(b"bb").unwrap(), Some(entry(b"c")));
        assert_eq!(cursor.seek(b"d").unwrap(), None);
        assert_eq!(cursor.prev().unwrap(), Some(entry(b"c")));
        assert_eq!(cursor.seek_to_first().unwrap(), Some(entry(b"a")));
        assert_eq!(cursor.seek_to_last().unwrap(), Some(entry(b"c")));
        assert_eq!(cursor.current(), Some(entry(b"c")));
    }

    #[test]
    fn an_empty_tree_has_no_entry_either_way() {
        let store = PageStore::new(4096);
        let mut cursor = Cursor::new(&store, Root::Empty);
        assert_eq!(cursor.next().unwrap(), None);
        assert_eq!(cursor.prev().unwrap(), None);
        assert_eq!(cursor.seek(b"k").unwrap(), None);
        assert_eq!(cursor.seek_to_first().unwrap(), None);
        assert_eq!(cursor.seek_to_last().unwrap(), None);
    }

    #[test]
    fn after_damage_there_is_nothing_until_the_next_seek() {
        let (mut store, mut tree) = (PageStore::new(4096), Tree::EMPTY);
        for number in 0..100u32 {
            insert(&mut store, &mut tree, &entry(&number.to_be_bytes())).unwrap();
        }
        let middle = Interior::new(store.page(tree.root).unwrap()).child(4);
        let kind = std::mem::replace(&mut store.raw(middle.id)[0], 9);
        let mut cursor = Cursor::new(&store, tree.root());
        let error = loop {
            match cursor.next() {
                Ok(entry) => assert!(entry.is_some()),
                Err(error) => break error,
            }
        };
        assert!(error.is_corrupt());
        assert!(error.to_string().contains("a tree page of level 0, found kind 9 level 0"));
        assert_eq!(cursor.current(), None);
        assert_eq!(cursor.next().unwrap(), None);
        assert_eq!(cursor.prev().unwrap(), None);
        assert_eq!(cursor.seek(&0u32.to_be_bytes()).unwrap().unwrap().key, 0u32.to_be_bytes());
        store.raw(middle.id)[0] = kind;
        store.audit(tree.root()).unwrap();
    }

    /// Has no pages; remembers which are asked for.
    #[derive(Default)]
    struct Asked(RefCell<Vec<(u32, u32)>>);

    impl Pages for Asked {
        fn page_bytes(&self) -> usize {
            4096
        }

        fn page(&self, page: PageRef) -> Result<&[u8]> {
            Err(self.damaged(page, "a page", "none".into()))
        }

        fn read_ahead(&self, pages: &[Range<u32>]) {
            let ranges = pages.iter().map(|range| (range.start, range.end - range.start));
            self.0.borrow_mut().extend(ranges);
        }

        fn run(&self, run: PageRef, _: u32) -> Result<&[u8]> {
            self.page(run)
        }

        fn damaged(&self, _: PageRef, expected: &str, found: String) -> Error {
            Error::invalid(format!("expected {expected}, found {found}"))
        }
    }

    /// What a scan asks for at child `index` of a page with 80 children.
    fn asked(ids: impl Fn(u32) -> PageId, index: usize, aim: Aim<'_>) -> Vec<(u32, u32)> {
        let child = |number| PageRef { id: ids(number), crc: 0 };
        let (mut builder, mut bytes) = (InteriorBuilder::new(), vec![0; 4096]);
        builder.push_first(child(0));
        for number in 1..80_u32 {
            builder.insert(number as usize - 1, &number.to_be_bytes(), child(number));
        }
        assert!(builder.write(0..builder.count(), &mut bytes, 1, Epoch(1)));
        let pages = Asked::default();
        read_ahead(&pages, &Interior::new(&bytes), index, aim);
        pages.0.into_inner()
    }

    #[test]
    fn leaves_that_lie_together_are_read_ahead() {
        let in_order = |number| PageId(1000 + number);
        assert_eq!(asked(in_order, 32, Aim::First), [(1032, 32)]);
        assert_eq!(asked(in_order, 64, Aim::First), [(1064, 16)]);
        assert_eq!(asked(in_order, 63, Aim::Last), [(1032, 32)]);
        assert_eq!(asked(in_order, 70, Aim::Last), [(1064, 7)]);
        assert_eq!(asked(in_order, 3, Aim::Last), [(1000, 4)]);
        let in_memory = |number| match number % 2 {
            0 => PageId::arena(number),
            _ => PageId(1000 + number),
        };
        assert_eq!(asked(in_memory, 0, Aim::First), [(1001, 31)]);
        assert_eq!(asked(PageId::arena, 0, Aim::First), []);
        let one_moved = |number| if number == 5 { PageId(9000) } else { in_order(number) };
        assert_eq!(asked(one_moved, 0, Aim::First), [(1000, 32), (9000, 1)]);
        let scattered = |number| PageId(1000 * number + 1);
        let single = (0..32).map(|number| (1000 * number + 1, 1)).collect::<Vec<_>>();
        assert_eq!(asked(scattered, 0, Aim::First), single);
    }
}
