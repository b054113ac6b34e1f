//! Histories on the simulated disk, what they must lead to, and what must hold after a crash.

mod archiving;
pub mod compare;
pub(crate) mod crash;
mod expected;
mod following;
mod held;
pub(crate) mod history;
mod interleave;
pub(crate) mod lie;
mod ordering;
pub mod random;
mod reads;
mod recover;
pub mod reference;
mod returning;
pub(crate) mod script;
mod settings;
mod shape;
mod sweeping;
pub(crate) mod tally;
mod unwind;
mod writes;
