//! Values that are left alone when a test fails.
//!
//! A test that fails has met an engine with a bug, perhaps one that was seeded. Dropping a database
//! or transaction then does more work on what is broken; a second panic would end the whole run.

use std::ops::{Deref, DerefMut};

/// A value that is dropped as usual, except while a panic unwinds: then it is leaked.
pub(crate) struct Guarded<T>(Option<T>);

impl<T> Guarded<T> {
    pub(crate) fn new(value: T) -> Guarded<T> {
        Guarded(Some(value))
    }

    pub(crate) fn into_inner(mut self) -> T {
        self.0.take().expect("taken once, here")
    }
}

impl<T> Deref for Guarded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("taken only when consumed")
    }
}

impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("taken only when consumed")
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::mem::forget(self.0.take());
        }
    }
}
