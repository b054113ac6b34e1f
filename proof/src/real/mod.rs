//! Rigs on real file systems, with real processes.

pub mod allocator;
mod cgroups;
pub(crate) mod fsyncgate;
pub(crate) mod full;
mod kernel;
pub(crate) mod kills;
mod leftovers;
pub(crate) mod memory;
mod mounts;
pub(crate) mod openers;
mod oracle;
pub mod orders;
pub mod places;
pub(crate) mod power_cuts;
mod programs;
pub(crate) mod read_errors;
pub(crate) mod read_only;
mod session;
mod strace;
pub(crate) mod syscalls;
mod transaction;
pub mod worker;
mod wrong;
