//! Which pages of the file are lent to transactions, and what the open one has spilled to them.
//!
//! Lists only: never writes a page and never asks for one. [`super::spill`] does.

use crate::ids::{Epoch, PageId};
use crate::io::{Region, WriteBehind};
use crate::pager::Extent;

/// Pages that a transaction spilled, and its epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spilled {
    pub(crate) extent: Extent,
    pub(super) born: Epoch,
}

/// What the writer keeps of lent pages from one transaction to the next.
#[derive(Debug, Default)]
pub(crate) struct Lent {
    /// Not used yet.
    pub(super) room: Option<Extent>,
    /// Written by transactions that committed; in no checkpoint yet.
    committed: Vec<Spilled>,
    /// How many pages these are.
    committed_pages: u64,
    /// Not needed any more.
    pub(super) given_up: Vec<Extent>,
}

impl Lent {
    /// For a checkpoint of the root of this epoch: what the root may reach, and what no root does.
    pub(crate) fn hand_over(&mut self, epoch: Epoch) -> (Vec<Spilled>, Vec<Extent>) {
        let (used, later) = std::mem::take(&mut self.committed)
            .into_iter()
            .partition::<Vec<_>, _>(|spilled| spilled.born <= epoch);
        self.committed = later;
        self.committed_pages -= pages(&used);
        let mut unused = std::mem::take(&mut self.given_up);
        unused.extend(self.room.take());
        (used, unused)
    }

    /// What is not needed any more, for the space map.
    pub(super) fn take_given_up(&mut self) -> Vec<Extent> {
        std::mem::take(&mut self.given_up)
    }

    /// Takes back what a checkpoint that was given up had got for its root.
    pub(crate) fn restore(&mut self, used: &[Spilled]) {
        self.committed.extend_from_slice(used);
        self.committed_pages += pages(used);
    }

    /// Pages that transactions spilled, in no checkpoint yet.
    pub(super) fn committed_pages(&self) -> u64 {
        self.committed_pages
    }

    /// The birth of a page that a transaction spilled, in no checkpoint yet.
    pub(super) fn born(&self, id: PageId) -> Option<Epoch> {
        let spilled = self.committed.iter().find(|spilled| holds(spilled.extent, id))?;
        Some(spilled.born)
    }
}

/// What the open transaction has spilled.
#[derive(Debug, Default)]
pub(super) struct Spill {
    /// So many bytes of leaves go to the arena first; `None` where nothing is to be spilled.
    pub(super) after: Option<usize>,
    /// Bytes that were not handed over yet.
    pub(super) block: Option<Box<Block>>,
    pub(super) behind: Option<Box<WriteBehind>>,
    /// Pages in use, those of the block included.
    used: Vec<Extent>,
}

/// Bytes for the pages from `first` on.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) memory: Region,
    pub(super) first: u32,
    pub(super) bytes: usize,
}

impl Spill {
    /// Allows what comes beyond `after` bytes of leaves, and values of a quarter of that, to be
    /// spilled.
    pub(super) fn allow(&mut self, after: usize) {
        self.after = Some(after);
    }

    /// Ends a transaction that committed, of this epoch, or was rolled back.
    pub(super) fn end(&mut self, lent: &mut Lent, committed: Option<Epoch>) {
        let used = self.used.drain(..);
        match committed {
            Some(born) => {
                let before = lent.committed.len();
                lent.committed.extend(used.map(|extent| Spilled { extent, born }));
                lent.committed_pages += pages(&lent.committed[before..]);
            }
            None => {
                lent.given_up.extend(used);
                lent.given_up.extend(lent.room.take());
            }
        }
        *self = Spill::default();
    }

    /// Pages in use.
    pub(super) fn pages(&self) -> u64 {
        self.used.iter().map(|extent| u64::from(extent.count)).sum()
    }

    /// True for a page that the transaction has spilled.
    pub(super) fn holds(&self, id: PageId) -> bool {
        self.used.iter().any(|extent| holds(*extent, id))
    }

    /// Takes note of adjoining pages that the transaction uses.
    pub(super) fn note_run(&mut self, run: Extent) {
        match self.used.last_mut() {
            Some(last) if last.start + last.count == run.start => last.count += run.count,
            _ => self.used.push(run),
        }
    }

    /// Takes note of the next page that it uses.
    pub(super) fn note(&mut self, page: u32) {
        self.note_run(Extent { start: page, count: 1 });
    }
}

fn pages(spilled: &[Spilled]) -> u64 {
    spilled.iter().map(|spilled| u64::from(spilled.extent.count)).sum()
}

/// True for a page of the extent.
fn holds(extent: Extent, id: PageId) -> bool {
    id.0.wrapping_sub(extent.start) < extent.count
}
