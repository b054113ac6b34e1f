//! Every page of one tree, parents before and after their children.
//!
//! Never looks at entries: overflow runs and nested buckets are for the caller to follow, through
//! `page::references`. Invariants:
//! 1. Every page not skipped is entered once and left once, its children in between.
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
    pub(crate) fn skip(&mut self) {
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
