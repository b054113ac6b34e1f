//! An allocator that refuses once, when it is told to: what the `proof` binary allocates with.
//!
//! One of the few files with `unsafe` code: an allocator cannot be written without. It hands every
//! call on to the system's, or returns null, which callers must expect.

#![allow(unsafe_code, reason = "the trait of allocators is unsafe")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

/// Allocations until the one that fails; zero when none does.
static LEFT: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, but for one allocation.
#[derive(Debug)]
pub struct FailingAllocator;

/// Makes an allocation of this process fail: 1 is the next one; 0 is none.
pub(crate) fn fail(allocation: u64) {
    LEFT.store(allocation, Ordering::Relaxed);
}

fn fails() -> bool {
    if LEFT.load(Ordering::Relaxed) == 0 {
        return false;
    }
    // Below zero nothing is left either: it takes longer than a process lives to come around.
    LEFT.fetch_sub(1, Ordering::Relaxed) == 1
}

// SAFETY: every call goes to the system's allocator unchanged, or returns null without effect.
unsafe impl GlobalAlloc for FailingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if fails() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise about the layout is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from the system's allocator with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if fails() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise about the layout is handed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if fails() {
            return std::ptr::null_mut();
        }
        // SAFETY: the pointer came from the system's allocator with this layout, and the caller's
        // promise about the size is handed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
