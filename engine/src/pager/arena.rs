//! The arena's allocator: which memory is free, and which waits for readers to leave.
//!
//! Memory is handed out in units: one for an overlay, [`ARENA_UNITS`] adjoining ones for a page.
//! Owned by the writer lock. Knows units by index only and never looks into them. Invariants:
//! 1. A unit is in exactly one state: free, held by the open transaction, part of a tree, or
//!    retired and waiting.
//! 2. A retired page born at epoch B and freed at epoch F becomes free only when F is published
//!    (so that no later reader can enter before F) and no reader is at an epoch in [B, F).

use std::collections::BTreeMap;

use crate::ids::Epoch;
use crate::limits::ARENA_UNITS;

use super::waiting::Retired;

/// Free memory of the arena, and what a transaction retires of it.
#[derive(Debug)]
pub(crate) struct Arena {
    /// Single free units, the one freed last on top: it is the most likely to be in cache.
    units: Vec<u32>,
    /// Free pages by first unit, likewise.
    singles: Vec<u32>,
    /// Longer free runs by first unit. Adjoining runs are joined by [`Arena::coalesce`].
    runs: BTreeMap<u32, u32>,
    /// Units from here on were never used, or were given back to the system.
    fresh: u32,
    units_max: u32,
    /// Units handed out and not yet freed, the waiting ones included.
    used: u32,
    /// Of those, ones that overlays have.
    overlays: u32,
    /// Retired since the writer's seat was taken: what was retired before stays at the seat.
    retired: Vec<Retired>,
    /// How many wait, here and there.
    waiting: usize,
    /// So many waiting pages are worth a look at who still needs them: twice what the last look
    /// left, so that pages which cannot go yet are not looked at for each commit.
    worth_a_look: usize,
}

/// Fewer waiting pages than this are never worth a look at the reader table.
const WAITING_MIN: usize = 64;

impl Arena {
    /// An empty arena of at most `units_max` units.
    pub(crate) fn new(units_max: u32) -> Arena {
        Arena {
            units: Vec::new(),
            singles: Vec::new(),
            runs: BTreeMap::new(),
            fresh: 0,
            units_max,
            used: 0,
            overlays: 0,
            retired: Vec::new(),
            waiting: 0,
            worth_a_look: WAITING_MIN,
        }
    }

    /// Takes `count` adjoining units; `None` when the arena has no such room.
    pub(crate) fn allocate(&mut self, count: u32) -> Option<u32> {
        debug_assert!(count > 0);
        let index = match count {
            1 => self.units.pop().or_else(|| self.cut_page()),
            ARENA_UNITS => self.take_page(),
            _ => self.take_run(count).or_else(|| self.take_fresh(count)),
        }?;
        self.used += count;
        self.overlays += u32::from(count == 1);
        Some(index)
    }

    /// Returns units that nobody can reach.
    pub(crate) fn free(&mut self, index: u32, count: u32) {
        debug_assert!(self.used >= count);
        self.used -= count;
        self.overlays -= u32::from(count == 1);
        self.keep_free(index, count);
    }

    fn keep_free(&mut self, index: u32, count: u32) {
        match count {
            ARENA_UNITS => self.singles.push(index),
            // Pushed from high to low, so that low ones are used first.
            count if count < ARENA_UNITS => self.units.extend((index..index + count).rev()),
            count => {
                self.runs.insert(index, count);
            }
        }
    }

    /// Units handed out and not yet free again.
    pub(crate) fn used(&self) -> u32 {
        self.used
    }

    /// Pages that a file would need for all that.
    pub(crate) fn pages(&self) -> u32 {
        (self.used - self.overlays) / ARENA_UNITS + self.overlays
    }

    /// Units from here on were never used, or were given back to the system.
    pub(crate) fn fresh(&self) -> u32 {
        self.fresh
    }

    /// Takes note of pages that no tree reaches from their `freed` epoch on.
    pub(crate) fn retire(&mut self, retired: Retired) {
        debug_assert!(retired.id.is_arena());
        self.retired.push(retired);
        self.waiting += 1;
    }

    /// Leaves what was retired with what was retired before.
    pub(crate) fn leave_retired(&mut self, waiting: &mut Vec<Retired>) {
        waiting.append(&mut self.retired);
    }

    /// Frees what no present or future reader can reach.
    pub(crate) fn reclaim(
        &mut self,
        waiting: &mut Vec<Retired>,
        published: Epoch,
        readers: &[Epoch],
    ) {
        self.leave_retired(waiting);
        waiting.retain(|retired| {
            let keep = retired.freed > published || retired.is_pinned(readers);
            if !keep {
                self.free(retired.id.index(), retired.count);
            }
            keep
        });
        self.waiting = waiting.len();
        self.worth_a_look = (2 * self.waiting).max(WAITING_MIN);
    }

    /// True when so much waits that [`Arena::reclaim`] is worth its cost.
    pub(crate) fn wants_reclaim(&self) -> bool {
        self.waiting >= self.worth_a_look
    }

    /// Joins adjoining free units and gives the tail beyond `keep` units back: the caller releases
    /// the memory of the returned range of units.
    pub(crate) fn coalesce(&mut self, keep: u32) -> Option<(u32, u32)> {
        let mut free: Vec<(u32, u32)> = std::mem::take(&mut self.runs).into_iter().collect();
        free.extend(self.singles.drain(..).map(|index| (index, ARENA_UNITS)));
        free.extend(self.units.drain(..).map(|index| (index, 1)));
        free.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::new();
        for (start, count) in free {
            match joined.last_mut() {
                Some((from, len)) if *from + *len == start => *len += count,
                _ => joined.push((start, count)),
            }
        }
        let mut released = None;
        if let Some(&(start, count)) = joined.last()
            && start + count == self.fresh
        {
            // The system takes nothing smaller than a page back.
            let from = start.max(keep).checked_next_multiple_of(ARENA_UNITS);
            if let Some(from) = from.filter(|from| *from < self.fresh) {
                joined.pop();
                if start < from {
                    joined.push((start, from - start));
                }
                released = Some((from, self.fresh - from));
                self.fresh = from;
            }
        }
        // From high to low, so that low ones are used first.
        joined.iter().rev().for_each(|&(index, count)| self.keep_free(index, count));
        released
    }

    fn take_page(&mut self) -> Option<u32> {
        let free = self.singles.pop().or_else(|| self.take_run(ARENA_UNITS));
        free.or_else(|| self.take_fresh(ARENA_UNITS))
    }

    /// Takes a page, of which all units but the first stay free.
    fn cut_page(&mut self) -> Option<u32> {
        let Some(index) = self.take_page() else { return self.take_fresh(1) };
        self.keep_free(index + 1, ARENA_UNITS - 1);
        Some(index)
    }

    /// The smallest run that is long enough; what is left of it stays free.
    fn take_run(&mut self, count: u32) -> Option<u32> {
        let fits = self.runs.iter().filter(|run| *run.1 >= count);
        let (&start, &len) = match count {
            // Any run serves a single page; the first is found without a search.
            ARENA_UNITS => self.runs.iter().next()?,
            _ => fits.min_by_key(|run| *run.1)?,
        };
        self.runs.remove(&start);
        self.keep_free(start + count, len - count);
        Some(start)
    }

    fn take_fresh(&mut self, count: u32) -> Option<u32> {
        if count > self.units_max - self.fresh {
            return None;
        }
        let index = self.fresh;
        self.fresh += count;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PageId;

    fn retired(index: u32, born: u64, freed: u64) -> Retired {
        Retired { id: PageId::arena(index), count: 1, born: Epoch(born), freed: Epoch(freed) }
    }

    #[test]
    fn a_page_waits_for_publication_and_for_the_readers_that_can_reach_it() {
        let mut arena = Arena::new(8);
        for _ in 0..3 {
            arena.allocate(1).unwrap();
        }
        arena.retire(retired(0, 3, 5));
        arena.retire(retired(1, 6, 8));
        arena.retire(retired(2, 1, 9));
        let mut waiting = Vec::new();
        arena.reclaim(&mut waiting, Epoch(4), &[]);
        assert_eq!(arena.used(), 3, "no epoch without them is published");
        // The reader at 5 entered after page 0 was freed and before page 1 was born.
        arena.reclaim(&mut waiting, Epoch(8), &[Epoch(5)]);
        assert_eq!(waiting, [retired(2, 1, 9)]);
        arena.reclaim(&mut waiting, Epoch(9), &[Epoch(5)]);
        assert_eq!(arena.used(), 1, "the reader at 5 reaches page 2");
        arena.reclaim(&mut waiting, Epoch(9), &[]);
        assert_eq!(arena.used(), 0);
    }

    #[test]
    fn runs_are_reused_split_and_joined() {
        const PAGE: u32 = ARENA_UNITS;
        let mut arena = Arena::new(100 * PAGE);
        let run = arena.allocate(10 * PAGE).unwrap();
        let single = arena.allocate(PAGE).unwrap();
        arena.free(run, 10 * PAGE);
        assert_eq!(arena.allocate(4 * PAGE), Some(run));
        assert_eq!(arena.allocate(PAGE), Some(run + 4 * PAGE));
        assert_eq!(arena.allocate(6 * PAGE), Some(11 * PAGE), "what is left is too short");
        arena.free(run, 4 * PAGE);
        arena.free(run + 4 * PAGE, PAGE);
        arena.free(11 * PAGE, 6 * PAGE);
        arena.free(single, PAGE);
        assert_eq!(arena.used(), 0);
        assert_eq!(arena.coalesce(8 * PAGE), Some((8 * PAGE, 9 * PAGE)));
        assert_eq!(arena.allocate(8 * PAGE), Some(0));
        assert_eq!(arena.allocate(93 * PAGE), None);
        assert_eq!(arena.allocate(92 * PAGE), Some(8 * PAGE));
    }

    #[test]
    fn pages_are_cut_into_units_and_units_joined_to_pages() {
        const PAGE: u32 = ARENA_UNITS;
        let mut arena = Arena::new(2 * PAGE + 1);
        let units: Vec<u32> = (0..2 * PAGE + 1).map(|_| arena.allocate(1).unwrap()).collect();
        assert_eq!(units, (0..2 * PAGE + 1).collect::<Vec<_>>());
        assert_eq!((arena.allocate(1), arena.used()), (None, 2 * PAGE + 1));
        // All but the first of the second page.
        for unit in units.iter().rev().filter(|unit| **unit != PAGE) {
            arena.free(*unit, 1);
        }
        assert_eq!(arena.allocate(PAGE), None, "nothing is joined yet");
        assert_eq!(arena.coalesce(u32::MAX), None);
        let pages = [arena.allocate(PAGE), arena.allocate(PAGE)];
        assert_eq!(pages, [Some(0), Some(PAGE + 1)]);
        assert_eq!((arena.allocate(1), arena.used()), (None, 2 * PAGE + 1));
    }
}
