//! Rigs on the simulated disk.

pub(crate) mod crashes;
pub(crate) mod expiry;
pub(crate) mod faults;
pub(crate) mod followers;
pub(crate) mod histories;
pub(crate) mod lies;
pub(crate) mod mutations;
pub(crate) mod points;
pub(crate) mod scripts;
