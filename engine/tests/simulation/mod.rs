//! What the random tests share: a reference, random operations, comparison, crash checks.
//!
//! Each test crate compiles all of it and uses a part.
#![allow(dead_code, reason = "each test crate uses a part of what the random tests share")]

pub(crate) mod compare;
pub(crate) mod crash;
pub(crate) mod interleave;
pub(crate) mod ordering;
pub(crate) mod random;
pub(crate) mod reads;
pub(crate) mod reference;
pub(crate) mod script;
pub(crate) mod shape;
pub(crate) mod unwind;
pub(crate) mod writes;
