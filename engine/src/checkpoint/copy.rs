//! Copying a root's arena pages to the file.
//!
//! Goes through the tree depth first with a stack of its own, so that the copies of a page's
//! children exist, with their places and checksums, when the page itself is copied. Copies are
//! gathered into long writes.
//!
//! Of an overlay the whole leaf is written. What it was laid over, if that is in the file, is no
//! part of what is written; the space map keeps it until the newest root needs it no more.
//!
//! Never changes an arena page. Invariants:
//! 1. Only pages taken from the space map for this checkpoint are written.
//! 2. A copy is born in the epoch of the root that is written: who reads an older one reads the
//!    original, and does not keep the copy when that is replaced.

use std::sync::atomic::Ordering;

use crate::error::Result;
use crate::ids::{Epoch, PageId, PageRef};
use crate::limits::{ARENA_UNITS, BUCKET_DEPTH_MAX, TREE_HEIGHT_MAX};
use crate::page::header::{Header, set_born};
use crate::page::{BucketRecord, Reference, Target, overflow, overlay, references};
use crate::pager::{Extent, SpaceMap};
use crate::tree::Pages;
use crate::txn::{Root, Store};

/// Writes are gathered up to this size, and synced as soon as there is so much: a commit that is
/// flushed meanwhile waits for one of them, not for all that a checkpoint writes.
const WRITE_BYTES: usize = 1 << 20;
/// Deepest path through buckets nested in each other.
const STACK_MAX: usize = TREE_HEIGHT_MAX * (BUCKET_DEPTH_MAX + 2);

/// Where each arena page of the root was copied to.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    /// By arena index; `NONE` for a page that was not copied.
    places: Vec<PageRef>,
    /// Everything that was copied.
    pub(super) originals: Vec<Original>,
}

/// What was copied: the first page, how many units of the arena, and when they were born.
#[derive(Clone, Copy, Debug)]
pub(super) struct Original {
    pub(super) id: PageId,
    pub(super) units: u32,
    pub(super) born: Epoch,
}

impl Moved {
    /// The copy of an arena page.
    pub(super) fn get(&self, id: PageId) -> Option<PageRef> {
        let place = self.places.get(id.index() as usize)?;
        (id.is_arena() && !place.id.is_none()).then_some(*place)
    }

    fn insert(&mut self, original: Original, place: PageRef) {
        let id = original.id;
        let index = id.index() as usize;
        if self.places.len() <= index {
            self.places.resize(index + 1, PageRef::NONE);
        }
        self.places[index] = place;
        self.originals.push(original);
    }
}

/// A page whose children are being copied.
struct Frame {
    page: PageRef,
    /// Its references to arena pages.
    references: Vec<Reference>,
    next: usize,
}

/// The copy under way.
pub(super) struct Copier<'a> {
    store: &'a Store,
    space: &'a mut SpaceMap,
    born: Epoch,
    moved: Moved,
    /// Everything taken from the space map, to be put back if the checkpoint is given up.
    taken: Vec<Extent>,
    /// Free pages taken and not used yet.
    room: Extent,
    /// Copies not written yet, for the pages from `buffer_page` on.
    buffer: Vec<u8>,
    buffer_page: u32,
    /// Bytes written since the last sync.
    unsynced: usize,
}

impl<'a> Copier<'a> {
    /// For a root of this epoch.
    pub(super) fn new(store: &'a Store, space: &'a mut SpaceMap, born: Epoch) -> Copier<'a> {
        Copier {
            store,
            space,
            born,
            moved: Moved::default(),
            taken: Vec::new(),
            room: Extent { start: 0, count: 0 },
            buffer: Vec::new(),
            buffer_page: 0,
            unsynced: 0,
        }
    }

    /// Copies everything that the root reaches in the arena; returns its records in the file.
    pub(super) fn copy_root(&mut self, root: &Root) -> Result<(BucketRecord, BucketRecord)> {
        let buckets = self.copy_tree(root.buckets.root)?;
        let system = self.copy_tree(root.system.root)?;
        self.write_buffer()?;
        Ok((
            BucketRecord { root: buckets, ..root.buckets },
            BucketRecord { root: system, ..root.system },
        ))
    }

    /// Ends the copy; pages that were taken and not used are free again.
    pub(super) fn finish(self) -> Moved {
        if self.room.count > 0 {
            self.space.put_back(self.room);
        }
        self.moved
    }

    /// Gives the copy up.
    pub(super) fn undo(self) {
        for extent in self.taken {
            self.space.put_back(extent);
        }
    }

    fn copy_tree(&mut self, root: PageRef) -> Result<PageRef> {
        if !root.id.is_arena() {
            return Ok(root);
        }
        let mut stack = vec![self.frame(root)];
        while let Some(frame) = stack.last_mut() {
            if let Some(reference) = frame.references.get(frame.next).copied() {
                frame.next += 1;
                match reference.target {
                    Target::Run { value_len } => self.copy_run(reference.page, value_len)?,
                    _ => stack.push(self.frame(reference.page)),
                }
                assert!(stack.len() <= STACK_MAX, "a tree has a bounded height");
            } else if let Some(frame) = stack.pop() {
                self.copy_page(&frame)?;
            }
        }
        Ok(self.moved.get(root.id).expect("invariant: just copied"))
    }

    fn frame(&self, page: PageRef) -> Frame {
        let memory = &self.store.memory;
        let references: Vec<Reference> =
            references(memory.bytes(page.id, 1)).filter(|to| to.page.id.is_arena()).collect();
        // What lies under overlays is read soon, and may not have been for long.
        for overlay in references.iter().map(|to| to.page.id).filter(|id| id.is_overlay()) {
            memory.expect_whole(overlay::base(memory.bytes(overlay, 1)));
        }
        Frame { page, references, next: 0 }
    }

    /// Copies a tree page whose children were copied.
    fn copy_page(&mut self, frame: &Frame) -> Result<()> {
        let page = self.take_page()?;
        let start = self.buffer.len();
        let (memory, id) = (&self.store.memory, frame.page.id);
        let bytes = memory.bytes(id, 1);
        let born = Header::read(bytes).born;
        let units = if id.is_overlay() { 1 } else { ARENA_UNITS };
        if id.is_overlay() {
            let base = overlay::base(bytes);
            self.buffer.resize(start + memory.page_bytes(), 0);
            let whole = &mut self.buffer[start..];
            overlay::write_whole(bytes, memory.page(base)?, whole, born);
            if !base.id.is_arena() {
                self.space.vacate(memory, base.id.0)?;
            }
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        let original = Original { id, units, born };
        let copy = &mut self.buffer[start..];
        for reference in &frame.references {
            let place = self.moved.get(reference.page.id).expect("invariant: children come first");
            reference.patch(copy, place);
        }
        set_born(copy, self.born);
        let crc = crc32fast::hash(copy);
        self.moved.insert(original, PageRef { id: PageId(page), crc });
        Ok(())
    }

    /// Copies the run of a large value: after the first bytes, with the header, straight from
    /// memory.
    fn copy_run(&mut self, run: PageRef, len: u32) -> Result<()> {
        let count = overflow::run_pages(len, self.store.memory.page_bytes());
        let extent = self.take_extent(count, true)?;
        let page_bytes = self.store.memory.page_bytes();
        let bytes = self.store.memory.bytes(run.id, count);
        let (head, rest) = bytes.split_at(bytes.len().min(WRITE_BYTES));
        let mut head = head.to_vec();
        set_born(&mut head, self.born);
        self.write(extent.start, &head)?;
        self.write(extent.start + (head.len() / page_bytes) as u32, rest)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&head);
        crc.update(rest);
        let place = PageRef { id: PageId(extent.start), crc: crc.finalize() };
        let units = count * ARENA_UNITS;
        let original = Original { id: run.id, units, born: Header::read(bytes).born };
        self.moved.insert(original, place);
        Ok(())
    }

    /// The next free page, behind the one before where there is room.
    fn take_page(&mut self) -> Result<u32> {
        if self.room.count == 0 {
            let want = WRITE_BYTES / self.store.memory.page_bytes();
            let want = u32::try_from(want).expect("invariant: at most 256 pages");
            self.room = self.take_extent(want, false)?;
        }
        let page = self.room.start;
        self.room.start += 1;
        self.room.count -= 1;
        let page_bytes = self.store.memory.page_bytes();
        let buffered = u32::try_from(self.buffer.len() / page_bytes).expect("invariant: 256 pages");
        if self.buffer_page + buffered != page || self.buffer.len() >= WRITE_BYTES {
            self.write_buffer()?;
            self.buffer_page = page;
        }
        Ok(page)
    }

    fn take_extent(&mut self, want: u32, exact: bool) -> Result<Extent> {
        let memory = &self.store.memory;
        let extent = match self.space.take(memory, want, exact)? {
            Some(extent) => extent,
            None => {
                // No more pages are to be copied than memory has units in use.
                let units = self.store.gauges.arena_units.load(Ordering::Relaxed);
                let least = if exact { want } else { 1 };
                self.space.make_room(memory, least, units)?;
                self.space.take(memory, want, exact)?.expect("invariant: the file has grown")
            }
        };
        self.taken.push(extent);
        Ok(extent)
    }

    fn write_buffer(&mut self) -> Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        if !buffer.is_empty() {
            self.write(self.buffer_page, &buffer)?;
        }
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    fn write(&mut self, page: u32, bytes: &[u8]) -> Result<()> {
        let memory = &self.store.memory;
        let count = u32::try_from(bytes.len() / memory.page_bytes()).expect("invariant: a run");
        memory.forget(page, count);
        let mut offset = u64::from(page) * memory.page_bytes() as u64;
        for piece in bytes.chunks(WRITE_BYTES) {
            memory.file().write_at(piece, offset).map_err(|e| memory.failed_write("write", e))?;
            offset += piece.len() as u64;
            self.unsynced += piece.len();
            if self.unsynced >= WRITE_BYTES {
                super::sync(self.store)?;
                self.unsynced = 0;
            }
        }
        Ok(())
    }
}
