//! Pages in memory, for tests: an arena that minds who may change what.
//!
//! Checks, beyond what a pager does: only owned pages are changed, no page is used after it was
//! retired, none is retired twice, and none is lost. Invariants:
//! 1. The bytes of a sealed page never change again.

use std::collections::BTreeSet;
use std::path::Path;

use super::audit::{AuditCounts, Seen, audit};
use super::pages::{Pages, PagesMut, Root};
use crate::codec::crc32;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Epoch, PageId, PageRef};
use crate::limits::ARENA_UNITS;
use crate::page::header::Header;
use crate::page::overflow::run_value;
use crate::page::{LeafMut, overlay};

/// Pages in memory.
pub(super) struct PageStore {
    page_bytes: usize,
    epoch: Epoch,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Allocations left before they fail.
    pub(super) budget: usize,
}

struct Slot {
    bytes: Box<[u8]>,
    state: State,
    /// Checksum of a sealed page.
    crc: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Owned,
    Sealed,
    /// No longer part of the tree; older versions of it may still be read.
    Retired,
    Free,
    /// In a run that starts before.
    RunTail,
}

impl PageStore {
    pub(super) fn new(page_bytes: usize) -> PageStore {
        let (slots, free) = (Vec::new(), Vec::new());
        PageStore { page_bytes, epoch: Epoch(1), slots, free, budget: usize::MAX }
    }

    /// From now on, no page there is may change.
    pub(super) fn seal(&mut self) {
        for slot in &mut self.slots {
            match slot.state {
                State::Owned => {
                    assert_eq!(Header::read(&slot.bytes).born, self.epoch);
                    slot.state = State::Sealed;
                    slot.crc = crc32(&slot.bytes);
                }
                State::Sealed | State::Retired => assert_eq!(slot.crc, crc32(&slot.bytes)),
                State::Free | State::RunTail => {}
            }
        }
        self.epoch = self.epoch.next();
    }

    /// Forgets retired pages, as if no reader were left.
    pub(super) fn collect(&mut self) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if slot.state == State::Retired {
                slot.state = State::Free;
                slot.bytes.fill(0xdd);
                self.free.push(index);
            }
        }
    }

    /// Audits a tree and all buckets in it, and finds every page either reachable or given back.
    pub(super) fn audit(&self, root: Root<'_>) -> Result<AuditCounts> {
        let mut reachable = BTreeSet::new();
        let mut roots = vec![root];
        let mut first = None;
        while let Some(root) = roots.pop() {
            let counts = audit(self, root, true, &mut |seen| {
                match seen {
                    Seen::Page(page) => assert!(reachable.insert(page.id), "{page:?} twice"),
                    Seen::Bucket { record, .. } => roots.push(Root::of_bucket(record)),
                    Seen::Run { .. } => {}
                }
                Ok(())
            })?;
            first.get_or_insert(counts);
        }
        let live = |slot: &Slot| matches!(slot.state, State::Owned | State::Sealed);
        let in_use = (0..self.slots.len()).filter(|index| live(&self.slots[*index]));
        let in_use: BTreeSet<PageId> = in_use.map(|index| self.id_of(index)).collect();
        assert_eq!(reachable, in_use, "reachable pages (left) are those in use (right)");
        Ok(first.expect("invariant: at least one tree was audited"))
    }

    pub(super) fn pages_in_use(&self) -> usize {
        let live = |slot: &&Slot| matches!(slot.state, State::Owned | State::Sealed);
        self.slots.iter().filter(live).count()
    }

    /// The bytes of a page, to damage them.
    pub(super) fn raw(&mut self, id: PageId) -> &mut [u8] {
        &mut self.slots[id.index() as usize].bytes
    }

    fn id_of(&self, index: usize) -> PageId {
        match self.slots[index].bytes.len() == self.unit_bytes() {
            true => PageId::overlay(index as u32),
            false => PageId::arena(index as u32),
        }
    }

    fn unit_bytes(&self) -> usize {
        self.page_bytes / ARENA_UNITS as usize
    }

    fn slot(&self, id: PageId) -> &Slot {
        let slot = &self.slots[id.index() as usize];
        let readable = matches!(slot.state, State::Owned | State::Sealed | State::Retired);
        assert!(readable, "{id} is {:?}", slot.state);
        slot
    }
}

impl Pages for PageStore {
    fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    fn page(&self, page: PageRef) -> Result<&[u8]> {
        if page.id.is_none() || page.id.index() as usize >= self.slots.len() {
            return Err(self.damaged(page, "a page", "none".into()));
        }
        Ok(&self.slot(page.id).bytes)
    }

    fn run(&self, run: PageRef, value_len: u32) -> Result<&[u8]> {
        Ok(run_value(&self.slot(run.id).bytes, value_len))
    }

    fn damaged(&self, page: PageRef, expected: &str, found: String) -> Error {
        Error::corrupt(Path::new("memory"), u64::from(page.id.0), expected, found)
    }
}

impl PagesMut for PageStore {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn allocate(&mut self, count: u32) -> Result<PageId> {
        let Some(budget) = self.budget.checked_sub(1) else {
            let full = ErrorKind::Full { what: "page store", reason: "budget spent".into() };
            return Err(Error::from(full));
        };
        self.budget = budget;
        if count == 1
            && let Some(index) = self.free.pop()
        {
            self.slots[index].bytes = vec![0xcc; self.page_bytes].into();
            self.slots[index].state = State::Owned;
            return Ok(PageId::arena(index as u32));
        }
        let index = self.slots.len();
        for tail in 0..count as usize {
            let bytes = if tail == 0 { count as usize * self.page_bytes } else { 0 };
            let state = if tail == 0 { State::Owned } else { State::RunTail };
            self.slots.push(Slot { bytes: vec![0xcc; bytes].into(), state, crc: 0 });
        }
        Ok(PageId::arena(index as u32))
    }

    fn is_owned(&self, id: PageId) -> bool {
        id.is_arena() && self.slots[id.index() as usize].state == State::Owned
    }

    fn page_mut(&mut self, id: PageId, count: u32) -> &mut [u8] {
        assert!(self.is_owned(id), "{id} is changed and not owned");
        let bytes = &mut self.slots[id.index() as usize].bytes;
        assert_eq!(bytes.len(), count as usize * self.page_bytes);
        bytes
    }

    fn leaf_mut(&mut self, leaf: PageRef) -> Result<LeafMut<'_>> {
        assert!(self.is_owned(leaf.id), "{} is changed and not owned", leaf.id);
        let index = leaf.id.index() as usize;
        if !leaf.id.is_overlay() {
            return Ok(LeafMut::new(&mut self.slots[index].bytes));
        }
        let base = overlay::base(&self.slots[index].bytes).id;
        assert_eq!(self.slot(base).state, State::Sealed, "a base is part of the tree");
        let both = self.slots.get_disjoint_mut([index, base.index() as usize]);
        let [leaf, base] = both.expect("an overlay is not its own base");
        Ok(LeafMut::over(&mut leaf.bytes, &base.bytes))
    }

    fn lay_over(&mut self, leaf: PageRef, need: usize) -> Result<Option<PageId>> {
        let (epoch, mut bytes) = (self.epoch, vec![0xcc; self.unit_bytes()]);
        if !overlay::lay(self.page(leaf)?, leaf, &mut bytes, need, epoch) {
            return Ok(None);
        }
        let id = PageId::overlay(self.allocate(1)?.index());
        self.slots[id.index() as usize].bytes = bytes.into();
        if leaf.id.is_overlay() {
            self.retire_slot(leaf.id);
        }
        Ok(Some(id))
    }

    fn retire(&mut self, page: PageRef, _count: u32) -> Result<()> {
        if page.id.is_overlay() {
            let base = overlay::base(self.page(page)?);
            self.retire_slot(base.id);
        }
        self.retire_slot(page.id);
        Ok(())
    }
}

impl PageStore {
    fn retire_slot(&mut self, id: PageId) {
        let index = id.index() as usize;
        let slot = &mut self.slots[index];
        match slot.state {
            State::Owned => {
                slot.state = State::Free;
                slot.bytes.fill(0xdd);
                self.free.push(index);
            }
            State::Sealed => slot.state = State::Retired,
            state => panic!("{id} is retired while {state:?}"),
        }
    }
}
