//! The reader table: which epochs are in use, so that their pages stay, and by whom.
//!
//! A reader claims a slot with one compare-and-swap, on a cache line pair of its own; nothing it
//! does waits for a writer or another reader. Slots are found from a per-thread hint, so that a
//! thread keeps using the same one.
//!
//! Never frees anything itself. Invariants:
//! 1. A slot holds zero when free, else the epoch that its reader may reach, plus one.
//! 2. A reader uses a root only if, after its slot was set, that root was still the published one.
//!    The publisher publishes before it looks at the slots. So either it sees the slot, or the
//!    reader sees the new root and tries again.
//! 3. What a slot tells of its reader beside the epoch decides nothing. It is the present reader's
//!    own, or the reader is not told of: one that is just beginning or ending.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Epoch, TxnId};
use crate::limits::READERS_MAX;
use crate::sync::atomic::{AtomicU64, Ordering};

use super::root::{Published, PublishedRoot, full_fence};
use std::sync::Arc;

/// Slots made at once. The first block serves all but the most crowded programs.
#[cfg(not(loom))]
const BLOCK_SLOTS: usize = 64;
#[cfg(loom)]
const BLOCK_SLOTS: usize = 2;
const FREE: u64 = 0;

/// What decides nothing is no part of a model check either.
type Told = std::sync::atomic::AtomicU64;

/// One reader's slot, alone on its pair of cache lines: processors fetch lines in pairs. Whoever
/// has claimed it writes to it, and nobody else.
#[derive(Debug)]
#[repr(align(128))]
struct Slot {
    held: AtomicU64,
    /// When the reader began, by the host's monotonic clock; zero until `txn` and the root are its
    /// own, and in a free slot.
    began_ns: Told,
    /// The last transaction that it sees.
    txn: Told,
    /// There is a note. Few readers have one, and the others have nothing to do with its lock.
    is_noted: AtomicBool,
    note: parking_lot::Mutex<Option<Note>>,
}

/// What a reader wants to be told of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Note {
    pub(crate) label: Option<Arc<str>>,
    /// How long it may read, and the time of the host's monotonic clock at which that ends.
    pub(crate) deadline: Option<(Duration, u64)>,
}

/// A reader as its slot tells of it.
#[derive(Debug)]
pub(crate) struct OpenReader {
    pub(crate) epoch: Epoch,
    pub(crate) txn: TxnId,
    pub(crate) began_ns: u64,
    pub(crate) note: Note,
}

#[derive(Debug)]
struct Block {
    slots: Box<[Slot]>,
    /// Made when all slots of this block were taken; never removed.
    next: std::sync::OnceLock<Box<Block>>,
}

/// All readers of one open database.
#[derive(Debug)]
pub(crate) struct Readers {
    first: Block,
}

/// A claimed slot. Must be given back with [`Readers::release`].
#[derive(Debug)]
pub(crate) struct Claim {
    pub(super) slot: usize,
    epoch: Epoch,
}

impl Readers {
    /// A table without readers.
    pub(crate) fn new() -> Readers {
        Readers { first: Block::new() }
    }

    /// Claims a slot for the root published now, and a reader that begins now.
    #[inline(always)]
    pub(crate) fn pin(
        &self,
        published: &Published,
        began_ns: u64,
    ) -> Result<(Claim, PublishedRoot)> {
        let (mut seen, mut root) = published.load();
        let (slot, cell) = self.claim(root.epoch)?;
        loop {
            full_fence();
            let (again, newer) = published.load();
            if again == seen {
                cell.txn.store(root.txn.0, Ordering::Relaxed);
                // Release: who sees it sees the transaction too.
                cell.began_ns.store(began_ns.max(1), Ordering::Release);
                return Ok((Claim { slot, epoch: root.epoch }, root));
            }
            (seen, root) = (again, newer);
            cell.held.store(root.epoch.0 + 1, Ordering::SeqCst);
        }
    }

    /// Leaves a note at the slot that a reader has claimed.
    pub(super) fn note(&self, slot: usize, note: Note) {
        if let Some(slot) = self.slot(slot) {
            *slot.note.lock() = Some(note);
            slot.is_noted.store(true, Ordering::Relaxed);
        }
    }

    /// Gives a slot back.
    #[inline]
    pub(crate) fn release(&self, claim: &Claim) {
        // No swap: the claim is the reader's alone, and a locked instruction waits for all reads.
        let Some(slot) = self.slot(claim.slot) else { return };
        debug_assert_eq!(slot.held.load(Ordering::Relaxed), claim.epoch.0 + 1);
        if slot.is_noted.load(Ordering::Relaxed) {
            slot.forget_note();
        }
        slot.began_ns.store(0, Ordering::Relaxed);
        slot.held.store(FREE, Ordering::Release);
    }

    /// Readers and snapshots open.
    pub(crate) fn count(&self) -> u64 {
        let held = |slot: &&Slot| slot.held.load(Ordering::Relaxed) != FREE;
        self.slots().filter(held).count() as u64
    }

    /// True when a reader is at an epoch before this one.
    pub(crate) fn has_before(&self, epoch: Epoch) -> bool {
        let held = self.slots().map(|slot| slot.held.load(Ordering::Relaxed));
        held.filter(|held| *held != FREE).any(|held| held - 1 < epoch.0)
    }

    /// When the oldest of the open readers began, by the host's monotonic clock.
    pub(crate) fn oldest_ns(&self) -> Option<u64> {
        let began = self.slots().map(|slot| slot.began_ns.load(Ordering::Relaxed));
        began.filter(|began_ns| *began_ns != 0).min()
    }

    /// The open readers. One that begins or ends meanwhile may be missing.
    pub(crate) fn open(&self) -> Vec<OpenReader> {
        self.slots().filter_map(Slot::look).collect()
    }

    /// The epochs in use. Call it after publishing.
    pub(crate) fn epochs(&self) -> Vec<Epoch> {
        full_fence();
        let held = self.slots().map(|slot| slot.held.load(Ordering::SeqCst));
        let mut epochs: Vec<Epoch> =
            held.filter(|held| *held != FREE).map(|held| Epoch(held - 1)).collect();
        epochs.sort_unstable();
        epochs.dedup();
        epochs
    }

    #[inline]
    fn claim(&self, epoch: Epoch) -> Result<(usize, &Slot)> {
        let hint = hint();
        let value = epoch.0 + 1;
        let mut block = &self.first;
        let mut base = 0;
        loop {
            for step in 0..BLOCK_SLOTS {
                let index = (hint + step) % BLOCK_SLOTS;
                let slot = &block.slots[index];
                let free = slot.held.load(Ordering::Relaxed) == FREE;
                if free
                    && slot
                        .held
                        .compare_exchange(FREE, value, Ordering::SeqCst, Ordering::Relaxed)
                        .is_ok()
                {
                    return Ok((base + index, slot));
                }
            }
            base += BLOCK_SLOTS;
            if base >= READERS_MAX {
                return Err(Error::from(ErrorKind::Full {
                    what: "reader table",
                    reason: format!("{READERS_MAX} readers are open"),
                }));
            }
            block = block.next.get_or_init(|| Box::new(Block::new()));
        }
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        let blocks =
            std::iter::successors(Some(&self.first), |block| block.next.get().map(|b| &**b));
        blocks.flat_map(|block| block.slots.iter())
    }

    #[inline]
    fn slot(&self, index: usize) -> Option<&Slot> {
        let mut block = &self.first;
        for _ in 0..index / BLOCK_SLOTS {
            block = block.next.get()?;
        }
        block.slots.get(index % BLOCK_SLOTS)
    }
}

impl Slot {
    fn free() -> Slot {
        Slot {
            held: AtomicU64::new(FREE),
            began_ns: Told::new(0),
            txn: Told::new(0),
            is_noted: AtomicBool::new(false),
            note: parking_lot::Mutex::new(None),
        }
    }

    /// The reader that holds the slot: `None` where there is none, or another one by the end of
    /// the look than at its beginning.
    fn look(&self) -> Option<OpenReader> {
        let who = || (self.held.load(Ordering::Acquire), self.began_ns.load(Ordering::Acquire));
        let (held, began_ns) = who();
        if held == FREE || began_ns == 0 {
            return None;
        }
        let txn = TxnId(self.txn.load(Ordering::Acquire));
        let note = self.note.lock().clone().unwrap_or_default();
        let reader = OpenReader { epoch: Epoch(held - 1), txn, began_ns, note };
        (who() == (held, began_ns)).then_some(reader)
    }

    #[cold]
    fn forget_note(&self) {
        self.is_noted.store(false, Ordering::Relaxed);
        *self.note.lock() = None;
    }
}

impl Block {
    fn new() -> Block {
        let slots = (0..BLOCK_SLOTS).map(|_| Slot::free()).collect();
        Block { slots, next: std::sync::OnceLock::new() }
    }
}

/// Where this thread starts to look for a slot.
#[cfg(not(loom))]
#[inline]
fn hint() -> usize {
    use std::cell::Cell;
    use std::sync::atomic::AtomicUsize;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static HINT: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    HINT.with(|hint| {
        if hint.get() == usize::MAX {
            hint.set(NEXT.fetch_add(1, Ordering::Relaxed) % BLOCK_SLOTS);
        }
        hint.get()
    })
}

#[cfg(loom)]
fn hint() -> usize {
    0
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::txn::root::Root;

    fn published(epoch: u64) -> Published {
        let published = Published::new();
        published.publish(&Root { epoch: Epoch(epoch), ..Root::EMPTY });
        published
    }

    #[test]
    fn epochs_are_held_until_released() {
        let (readers, published) = (Readers::new(), published(5));
        let (first, root) = readers.pin(&published, 1).unwrap();
        assert_eq!(root.epoch, Epoch(5));
        published.publish(&Root { epoch: Epoch(6), ..Root::EMPTY });
        let (second, _) = readers.pin(&published, 1).unwrap();
        assert_eq!(readers.epochs(), [Epoch(5), Epoch(6)]);
        readers.release(&first);
        assert_eq!(readers.epochs(), [Epoch(6)]);
        readers.release(&second);
        assert!(readers.epochs().is_empty());
    }

    #[test]
    fn each_reader_is_told_of_until_it_is_released() {
        let (readers, published) = (Readers::new(), published(5));
        let (first, _) = readers.pin(&published, 70).unwrap();
        let note = Note { label: Some("backup".into()), deadline: None };
        readers.note(first.slot, note);
        let (second, _) = readers.pin(&published, 60).unwrap();
        let open = readers.open();
        let told = |index: usize| (open[index].began_ns, open[index].note.label.as_deref());
        assert_eq!([told(0), told(1)], [(70, Some("backup")), (60, None)]);
        assert_eq!(readers.oldest_ns(), Some(60));
        readers.release(&second);
        readers.release(&first);
        assert!(readers.open().is_empty() && readers.oldest_ns().is_none());
        // The same slot: nothing of the reader before shows.
        let (third, _) = readers.pin(&published, 80).unwrap();
        assert_eq!(third.slot, first.slot);
        assert_eq!(readers.open()[0].note.label, None);
        readers.release(&third);
    }

    #[test]
    fn more_readers_than_a_block_holds_are_welcome() {
        let (readers, published) = (Readers::new(), published(1));
        let claims: Vec<Claim> =
            (0..BLOCK_SLOTS * 3).map(|_| readers.pin(&published, 1).unwrap().0).collect();
        assert_eq!(readers.epochs(), [Epoch(1)]);
        claims.iter().for_each(|claim| readers.release(claim));
        assert!(readers.epochs().is_empty());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::txn::root::Root;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicBool;

    /// A page is reachable from the root at epoch 1 and gone at epoch 2. Whatever the interleaving,
    /// a reader that got epoch 1 never finds the page reused.
    #[test]
    fn loom_a_pinned_root_keeps_its_pages() {
        loom::model(|| {
            let readers = Arc::new(Readers::new());
            let published = Arc::new(Published::new());
            published.publish(&Root { epoch: Epoch(1), ..Root::EMPTY });
            let reused = Arc::new(AtomicBool::new(false));
            let reader = {
                let (readers, published, reused) =
                    (Arc::clone(&readers), Arc::clone(&published), Arc::clone(&reused));
                loom::thread::spawn(move || {
                    let (claim, root) = readers.pin(&published, 1).unwrap();
                    assert!(root.is_consistent(), "a torn root was handed out");
                    if root.epoch == Epoch(1) {
                        assert!(!reused.load(Ordering::SeqCst), "a reachable page was reused");
                    }
                    readers.release(&claim);
                })
            };
            published.publish(&Root { epoch: Epoch(2), ..Root::EMPTY });
            if !readers.epochs().contains(&Epoch(1)) {
                reused.store(true, Ordering::SeqCst);
            }
            published.publish(&Root { epoch: Epoch(3), ..Root::EMPTY });
            reader.join().unwrap();
        });
    }
}
