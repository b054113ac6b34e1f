//! The evidence that Bristlecone keeps what it was given.
//!
//! A [`rig::Rig`] puts the engine through one kind of fault: power cuts on a simulated disk and on
//! real file systems, kills, failing and lying disks, damaged files. [`rigs::RIGS`] is the list of
//! them all, with how much of each the three tiers run. A run writes a [`record::Record`], and
//! [`tables`] makes the tables of `docs/testing.md` from those.
//!
//! Layers, the lowest first: `record`, `rig`; `simulation` (histories and what must hold, over the
//! simulated disk); `simulated`, `damage`, `real` and `served` (the rigs); `rigs`, `tables`.

mod damage;
pub mod real;
pub mod record;
pub mod rig;
pub mod rigs;
mod served;
mod simulated;
pub mod simulation;
pub mod tables;
