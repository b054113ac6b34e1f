//! Every page of one tree, parents before and after their children.
//!
//! Never looks at entries: overflow runs and nested buckets are for the caller to follow, through
//! `page::references`. Invariants:
//! 1. Every page not passed over is entered once and left once, its children in between.
//! 2. After an error the walk is over.

use super::pages::Pages;
use super::path::{Step, open, open_root};
use crate::error::Result;
use crate::ids::PageRef;
use crate::limits::TREE_HEIGHT_MAX;
use crate::page::Interior;

/// A step of a walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Visit {
    /// The page comes now, its children next. It has not been read yet, unless it is the root.
    Enter(PageRef, u8),
    /// All children of the page have been left.
    Leave(PageRef, u8),
}

/// A walk over the pages of a tree.
#[derive(Debug)]
pub(crate) struct Walk<'a, P> {
    pages: &'a P,
    steps: [Step; TREE_HEIGHT_MAX],
    /// Pages entered and not left, from the root on.
    open: usize,
    root: PageRef,
    root_level: usize,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Start,
    Under,
    End,
}

impl<'a, P: Pages> Walk<'a, P> {
    /// A walk over the tree under `root`, which may be no page.
    pub(crate) fn new(pages: &'a P, root: PageRef) -> Walk<'a, P> {
        let stage = if root.id.is_none() { Stage::End } else { Stage::Start };
        let steps = [Step::NONE; TREE_HEIGHT_MAX];
        Walk { pages, steps, open: 0, root, root_level: 0, stage }
    }

    /// Passes over the children of the page just entered, and over leaving it.
    pub(crate) fn pass_over(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    fn step(&mut self) -> Result<Option<Visit>> {
        if self.stage == Stage::Start {
            let (_, level) = open_root(self.pages, self.root)?;
            self.root_level = usize::from(level);
            self.stage = Stage::Under;
            return Ok(Some(self.enter(self.root, level)));
        }
        let Some(top) = self.open.checked_sub(1) else {
            return Ok(None);
        };
        let Step { page, index } = self.steps[top];
        let level = (self.root_level - top) as u8;
        let bytes = open(self.pages, page, level)?;
        if level > 0 && index <= Interior::new(bytes).count() {
            self.steps[top].index += 1;
            return Ok(Some(self.enter(Interior::new(bytes).child(index), level - 1)));
        }
        self.open = top;
        Ok(Some(Visit::Leave(page, level)))
    }

    fn enter(&mut self, page: PageRef, level: u8) -> Visit {
        self.steps[self.open] = Step { page, index: 0 };
        self.open += 1;
        Visit::Enter(page, level)
    }
}

impl<P: Pages> Iterator for Walk<'_, P> {
    type Item = Result<Visit>;

    fn next(&mut self) -> Option<Result<Visit>> {
        if self.stage == Stage::End {
            return None;
        }
        let visit = self.step().transpose();
        if !matches!(visit, Some(Ok(_))) {
            self.stage = Stage::End;
        }
        visit
    }
}

#[cfg(test)]
mod tests {
    use super::super::insert;
    use super::super::page_store::PageStore;
    use super::super::pages::Tree;
    use super::*;
    use crate::page::{Entry, Payload, references};

    fn tree_of_three_levels(store: &mut PageStore) -> Tree {
        let mut tree = Tree::EMPTY;
        for number in 0..if cfg!(miri) { 32 } else { 96u8 } {
            // Groups of eight that differ at the end only: separators of a kilobyte, of which
            // four fill a page.
            let key = [&[number / 8][..], &[b'k'; 990], &[number % 8]].concat();
            let entry = Entry { key: &key, payload: Payload::Value(b""), expires_at: 0 };
            insert(store, &mut tree, &entry).unwrap();
        }
        tree
    }

    #[test]
    fn children_come_between_entering_and_leaving() {
        let mut store = PageStore::new(4096);
        let tree = tree_of_three_levels(&mut store);
        let mut open: Vec<(PageRef, u8)> = Vec::new();
        let mut pages = 0;
        for visit in Walk::new(&store, tree.root) {
            match visit.unwrap() {
                Visit::Enter(page, level) => {
                    if let Some((parent, parent_level)) = open.last() {
                        assert_eq!(*parent_level, level + 1);
                        let bytes = store.page(*parent).unwrap();
                        assert!(references(bytes).any(|reference| reference.page == page));
                    }
                    open.push((page, level));
                    pages += 1;
                }
                Visit::Leave(page, level) => assert_eq!(open.pop(), Some((page, level))),
            }
        }
        assert!(open.is_empty());
        assert_eq!(pages, store.pages_in_use());
        assert_eq!(Walk::new(&store, PageRef::NONE).count(), 0);
    }

    #[test]
    fn pages_passed_over_are_neither_opened_nor_left() {
        let mut store = PageStore::new(4096);
        let tree = tree_of_three_levels(&mut store);
        let height = store.audit(tree.root()).unwrap().height as u8;
        assert!(height >= 3);
        let mut walk = Walk::new(&store, tree.root);
        let mut lowest = u8::MAX;
        let (mut entered, mut left) = (0, 0);
        while let Some(visit) = walk.next() {
            match visit.unwrap() {
                Visit::Enter(_, level) => {
                    lowest = lowest.min(level);
                    entered += 1;
                    if level == height - 2 {
                        walk.pass_over();
                    }
                }
                Visit::Leave(..) => left += 1,
            }
        }
        assert_eq!(lowest, height - 2);
        assert_eq!(left, 1, "the root alone");
        assert!(entered > 2);
    }
}
