//! Rigs on real file systems, with real processes.

pub mod allocator;
pub(crate) mod fsyncgate;
mod kernel;
pub(crate) mod kills;
mod mounts;
mod oracle;
pub mod orders;
pub(crate) mod power_cuts;
mod session;
mod strace;
pub(crate) mod syscalls;
mod transaction;
pub mod worker;
