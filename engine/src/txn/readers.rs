//! The reader table: which epochs are in use, so that their pages stay.
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

use crate::error::{Error, ErrorKind, Result};
use crate::ids::Epoch;
use crate::limits::READERS_MAX;
use crate::sync::atomic::{AtomicU64, Ordering};

use super::root::{Published, PublishedRoot, full_fence};

/// Slots made at once. The first block serves all but the most crowded programs.
#[cfg(not(loom))]
const BLOCK_SLOTS: usize = 64;
#[cfg(loom)]
const BLOCK_SLOTS: usize = 2;
const FREE: u64 = 0;

/// One reader's slot, alone on its pair of cache lines: processors fetch lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Slot(AtomicU64);

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
    slot: usize,
    epoch: Epoch,
}

impl Claim {
    /// The epoch that is held.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }
}

impl Readers {
    /// A table without readers.
    pub(crate) fn new() -> Readers {
        Readers { first: Block::new() }
    }

    /// Claims a slot for the root published now.
    #[inline(always)]
    pub(crate) fn pin(&self, published: &Published) -> Result<(Claim, PublishedRoot)> {
        let (mut seen, mut root) = published.load();
        let (slot, cell) = self.claim(root.epoch)?;
        loop {
            full_fence();
            let (again, newer) = published.load();
            if again == seen {
                return Ok((Claim { slot, epoch: root.epoch }, root));
            }
            (seen, root) = (again, newer);
            cell.0.store(root.epoch.0 + 1, Ordering::SeqCst);
        }
    }

    /// Gives a slot back.
    #[inline]
    pub(crate) fn release(&self, claim: &Claim) {
        // No swap: the claim is the reader's alone, and a locked instruction waits for all reads.
        let Some(slot) = self.slot(claim.slot) else { return };
        debug_assert_eq!(slot.0.load(Ordering::Relaxed), claim.epoch.0 + 1);
        slot.0.store(FREE, Ordering::Release);
    }

    /// Readers and snapshots open.
    pub(crate) fn count(&self) -> u64 {
        let mut count = 0;
        let mut block = Some(&self.first);
        while let Some(this) = block {
            let held = |slot: &&Slot| slot.0.load(Ordering::Relaxed) != FREE;
            count += this.slots.iter().filter(held).count() as u64;
            block = this.next.get().map(|next| &**next);
        }
        count
    }

    /// The epochs in use. Call it after publishing.
    pub(crate) fn epochs(&self) -> Vec<Epoch> {
        full_fence();
        let mut epochs = Vec::new();
        let mut block = Some(&self.first);
        while let Some(this) = block {
            for slot in &this.slots {
                match slot.0.load(Ordering::SeqCst) {
                    FREE => {}
                    held => epochs.push(Epoch(held - 1)),
                }
            }
            block = this.next.get().map(|next| &**next);
        }
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
                let free = slot.0.load(Ordering::Relaxed) == FREE;
                if free
                    && slot
                        .0
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

    #[inline]
    fn slot(&self, index: usize) -> Option<&Slot> {
        let mut block = &self.first;
        for _ in 0..index / BLOCK_SLOTS {
            block = block.next.get()?;
        }
        block.slots.get(index % BLOCK_SLOTS)
    }
}

impl Block {
    fn new() -> Block {
        let slots = (0..BLOCK_SLOTS).map(|_| Slot(AtomicU64::new(FREE))).collect();
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
        let (first, root) = readers.pin(&published).unwrap();
        assert_eq!(root.epoch, Epoch(5));
        published.publish(&Root { epoch: Epoch(6), ..Root::EMPTY });
        let (second, _) = readers.pin(&published).unwrap();
        assert_eq!(readers.epochs(), [Epoch(5), Epoch(6)]);
        readers.release(&first);
        assert_eq!(readers.epochs(), [Epoch(6)]);
        readers.release(&second);
        assert!(readers.epochs().is_empty());
    }

    #[test]
    fn more_readers_than_a_block_holds_are_welcome() {
        let (readers, published) = (Readers::new(), published(1));
        let claims: Vec<Claim> =
            (0..BLOCK_SLOTS * 3).map(|_| readers.pin(&published).unwrap().0).collect();
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
                    let (claim, root) = readers.pin(&published).unwrap();
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
