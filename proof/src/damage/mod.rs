//! Rigs that damage a small store in every way there is, and read it.

mod store;

pub(crate) mod flips;
pub(crate) mod lengths;
pub(crate) mod sectors;
