//! What no tree reaches any more, and readers perhaps do: pages that wait to be used again.
//!
//! Lists only: never frees a page and never asks who reads. Invariants:
//! 1. Pages born at epoch B and freed at epoch F are reached by a reader at an epoch in [B, F), and
//!    by no other.

use crate::ids::{Epoch, PageId};
use crate::mutation::{self, Mutation};

/// Pages that a tree no longer reaches from epoch `freed` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retired {
    /// The first page.
    pub(crate) id: PageId,
    /// How many adjoining pages of the file, or units of the arena.
    pub(crate) count: u32,
    /// The epoch that made them.
    pub(crate) born: Epoch,
    /// The first epoch without them.
    pub(crate) freed: Epoch,
}

impl Retired {
    /// True when one of the readers' epochs can reach the pages.
    pub(crate) fn is_pinned(&self, readers: &[Epoch]) -> bool {
        let reaches = |&reader: &Epoch| self.born <= reader && reader < self.freed;
        readers.iter().any(reaches) && !mutation::is(Mutation::PageReusedUnderReader)
    }
}

/// All pages that wait for readers, for a root without them to be published, or for a checkpoint;
/// those of an open transaction apart.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Units of the arena.
    pub(crate) units: Vec<Retired>,
    /// Pages of the file that no checkpoint has freed yet.
    pub(crate) pages: Vec<Retired>,
    /// Of the pages that checkpoints have freed, how many each reader could reach when the newest
    /// one began. Readers that came later reach none of them: they were freed before.
    pub(crate) freed_pages: Vec<(Epoch, u64)>,
}

impl Waiting {
    /// How many units of the arena, and how many pages of the file, each of the readers keeps. The
    /// epochs ascend. What several readers reach is counted for each.
    pub(crate) fn pinned(&self, readers: &[Epoch]) -> Vec<(u64, u64)> {
        let pages = pinned(&self.pages, readers);
        let pinned = pinned(&self.units, readers).into_iter().zip(pages).zip(readers);
        let freed_pages = |reader: &Epoch| {
            let of_reader = self.freed_pages.iter().find(|(epoch, _)| epoch == reader);
            of_reader.map_or(0, |(_, pages)| *pages)
        };
        pinned.map(|((units, pages), reader)| (units, pages + freed_pages(reader))).collect()
    }
}

/// How much of what was retired each of the readers' epochs, which ascend, can reach: one look at
/// each retired run, however many readers there are.
pub(super) fn pinned(retired: &[Retired], readers: &[Epoch]) -> Vec<u64> {
    // What more, and what less, a reader reaches than the one before it.
    let mut more = vec![0; readers.len() + 1];
    let mut less = more.clone();
    for Retired { count, born, freed, .. } in retired {
        let first = readers.partition_point(|reader| reader < born);
        let end = readers.partition_point(|reader| reader < freed);
        if first < end {
            more[first] += u64::from(*count);
            less[end] += u64::from(*count);
        }
    }
    let mut reached = 0;
    let changes = more.into_iter().zip(less).take(readers.len());
    changes
        .map(|(more, less)| {
            reached = reached + more - less;
            reached
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reader_is_told_what_was_freed_behind_it_and_born_before() {
        let retired = |count, born, freed| Retired {
            id: PageId(9),
            count,
            born: Epoch(born),
            freed: Epoch(freed),
        };
        let readers = [Epoch(2), Epoch(5), Epoch(9)];
        let waiting = Waiting {
            units: vec![retired(1, 2, 3), retired(10, 3, 5), retired(100, 5, 10)],
            pages: vec![retired(1000, 0, 9)],
            freed_pages: vec![(Epoch(4), 7), (Epoch(5), 40_000)],
        };
        assert_eq!(waiting.pinned(&readers), [(1, 1000), (100, 41_000), (100, 0)]);
        assert_eq!(waiting.pinned(&[]), []);
        for (at, reader) in readers.iter().enumerate() {
            let alone = std::slice::from_ref(reader);
            let reached = waiting.units.iter().filter(|retired| retired.is_pinned(alone));
            let units: u64 = reached.map(|retired| u64::from(retired.count)).sum();
            assert_eq!(units, waiting.pinned(&readers)[at].0, "the rule by which it is kept");
        }
    }
}
