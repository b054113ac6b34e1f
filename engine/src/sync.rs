//! Locks, atomics and shared pointers, behind one name each, so that code built on them can be
//! model-checked.
//!
//! Normally these are the standard library's. Under `cfg(loom)` the same names stand for loom's
//! types, and loom runs a test under every interleaving it can tell apart. Code that shall be
//! checked takes its primitives from here and from nowhere else.
//!
//! Never adds behaviour of its own. Invariants:
//! 1. Guards come without a `Result`: a panic does not poison a lock. What it left half-done is
//!    the business of the code that holds the lock.
//! 2. A wait takes the guard by `&mut`, so that it fits into a loop.
//!
//! The standard library's condition variable, because it wakes all sleepers by one system call.
//! `parking_lot`'s wakes one, who wakes the next: with 64 threads that wait for one flush this
//! took a fifth of the commits per second.

#[cfg(loom)]
use loom::sync as base;
#[cfg(not(loom))]
use std::sync as base;

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{PoisonError, TryLockError};

pub(crate) use base::Arc;

/// Atomics and fences.
pub(crate) mod atomic {
    #[cfg(loom)]
    pub(crate) use super::base::atomic::fence;
    pub(crate) use super::base::atomic::{AtomicU64, Ordering};
}

/// A mutual exclusion lock.
#[derive(Default)]
pub(crate) struct Mutex<T>(base::Mutex<T>);

/// Holds a [`Mutex`]. Empty only while it is lent to a wait.
pub(crate) struct MutexGuard<'a, T>(Option<base::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(base::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        MutexGuard(Some(guard))
    }

    /// `None` where another thread holds it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(MutexGuard(Some(guard))),
            Err(TryLockError::Poisoned(poisoned)) => Some(MutexGuard(Some(poisoned.into_inner()))),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex")
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("invariant: a guard holds its lock outside of a wait")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("invariant: a guard holds its lock outside of a wait")
    }
}

/// A place to sleep until another thread changes what a [`Mutex`] guards.
#[derive(Debug, Default)]
pub(crate) struct Condvar(base::Condvar);

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar(base::Condvar::new())
    }

    /// Gives the lock up, sleeps until a notification or for no reason, takes the lock again.
    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.0.take().expect("invariant: a guard holds its lock outside of a wait");
        guard.0 = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}
