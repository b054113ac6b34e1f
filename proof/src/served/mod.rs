//! The server as a process: what its clients see when it is killed under load.

mod client;
pub(crate) mod linearizability;
mod register;
mod server;
